"""What R says of the same model: values side by side, differences, or why there are none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from interlace.errors import FormulaError, ModelError
from interlace.rbridge.check import agreement_with, counterpart
from interlace.rbridge.names import canonical
from interlace.rbridge.ours import numbers_of
from interlace.rbridge.session import RError, missing, require
from interlace.reporting.numbers import criterion_name
from interlace.reporting.tables import Cell, Table

if TYPE_CHECKING:
    from interlace.rbridge.agreement import AgreementTable
    from interlace.rbridge.numbers import FitNumbers
    from interlace.results.intervals import Intervals

__all__ = ["Agreement", "CheckR", "agreement"]

CheckR: TypeAlias = Literal["auto"] | bool


@dataclass(frozen=True)
class Agreement:
    """Comparison of a fit with lme4's, or the reason why there is none.

    Attributes
    ----------
    table : AgreementTable or None
        Every quantity with the largest difference and its limit.
    reason : str
        Why the fit was not checked; empty where it was.
    values : tuple of Table
        Values of both sides.
    """

    table: AgreementTable | None
    reason: str = ""
    values: tuple[Table, ...] = ()

    @property
    def outcome(self) -> Literal["agrees", "differs", "unchecked"]:
        """The outcome in a word."""
        if self.table is None:
            return "unchecked"
        return "agrees" if self.table.agrees else "differs"

    @property
    def sentence(self) -> str:
        """The outcome in a sentence."""
        if self.table is None:
            return f"The fit was not checked against R: {self.reason}."
        if not self.table.judged:
            return (
                f"The same model was fitted to the same rows by {self.table.reference}, which stopped at a worse "
                f"optimum: its criterion is {self.table.gain:.3g} above the one here. Only the criterion was judged."
            )
        if self.table.agrees:
            return (
                f"The same model was fitted to the same rows by {self.table.reference}: all quantities that were "
                "compared agree within their limits."
            )
        failed = ", ".join(row.quantity.replace("_", " ") for row in self.table.failures)
        return f"The same model was fitted to the same rows by {self.table.reference}, which DIFFERS in: {failed}."

    @property
    def limits(self) -> Table | None:
        """Largest difference of each quantity beside its limit."""
        if self.table is None:
            return None
        rows = tuple(
            (
                Cell(row.quantity.replace("_", " ")),
                Cell(row.unit),
                Cell(f"{row.difference:.1e}" if row.difference else "0"),
                Cell(f"{row.limit:.0e}" if row.limit else "0"),
                Cell("yes" if row.agrees else "NO"),
            )
            for row in self.table.rows
        )
        headings = ("Quantity", "In units of", "Largest difference", "Limit", "Within")
        return Table(f"Differences from {self.table.reference}", headings, rows, text_columns=2)

    def record(self) -> dict[str, Any]:
        """Return the comparison as JSON."""
        if self.table is None:
            return {"checked": False, "reason": self.reason}
        rows = [
            {"quantity": row.quantity, "difference": row.difference, "limit": row.limit, "unit": row.unit}
            for row in self.table.rows
        ]
        return {
            "checked": True,
            "reference": self.table.reference,
            "agrees": self.table.agrees,
            "criterion": self.table.criterion,
            "rows": rows,
            "warnings": list(self.table.warnings),
        }


def agreement(result: Intervals, check_r: CheckR = "auto") -> Agreement:
    """Fit the model of a result in lme4 and put the two side by side.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    check_r : {"auto", True, False}
        Where R is there; always; never.

    Returns
    -------
    Agreement

    Raises
    ------
    ImportError
        ``check_r=True`` and R, lme4 or rpy2 is missing.
    """
    if check_r is False:
        return Agreement(None, "this was not asked for")
    if check_r is True:
        require()
    if missing():
        return Agreement(None, "R with lme4 was not available")
    try:
        theirs = counterpart(result)
    except (ModelError, FormulaError, RError) as error:
        return Agreement(None, str(error))
    table = agreement_with(theirs, result)
    return Agreement(table, values=(_coefficients(result, theirs), _deviations(result, theirs)))


def _coefficients(result: Intervals, theirs: FitNumbers) -> Table:
    """Estimates and standard errors of both, and the differences of estimates in standard errors."""
    ours = numbers_of(result)
    place = {canonical(name): j for j, name in enumerate(theirs.names)}
    rows = []
    for j, name in enumerate(result.fe_params.index):
        i = place.get(canonical(ours.names[j]))
        if i is None:
            continue
        cells = [_value(value) for value in (ours.beta[j], theirs.beta[i], ours.se[j], theirs.se[i])]
        difference = Cell(f"{(ours.beta[j] - theirs.beta[i]) / ours.se[j]:.1e}")
        rows.append((Cell(str(name)), *cells, difference))
    headings = ("", "Estimate", "in R", "SE", "in R", "Difference / SE")
    note = "Standard errors are those before Kenward and Roger's adjustment, which lme4 does not have."
    adjusted = result.call.df_method == "kenward-roger"
    return Table("Fixed effects in R", headings, tuple(rows), note=note if adjusted else "")


def _deviations(result: Intervals, theirs: FitNumbers) -> Table:
    """Standard deviations of both, and the criterion."""
    ours = numbers_of(result)
    pairs = [(f"{key}: {name}", a, b) for key, name, a, b in _pairs(result, ours, theirs)]
    if result.state.has_scale:
        pairs.append(("Residual", ours.sigma, theirs.sigma))
    pairs.append((criterion_name(result), ours.criterion, theirs.criterion))
    rows = [(Cell(name), _value(a), _value(b), _relative(a, b)) for name, a, b in pairs]
    return Table("Standard deviations in R", ("", "Here", "in R", "Relative difference"), tuple(rows))


def _pairs(result: Intervals, ours: FitNumbers, theirs: FitNumbers) -> Iterator[tuple[str, str, float, float]]:
    names = {term.key: term.names for term in result.state.problem.design.terms}
    for key, term in ours.terms.items():
        other = theirs.terms.get(key)
        if other is None:
            continue
        found = {canonical(name): float(sd) for name, sd in zip(other.names, other.sd, strict=True)}
        for shown, name, sd in zip(names[key], term.names, term.sd, strict=True):
            if canonical(name) in found:
                yield key, shown, float(sd), found[canonical(name)]


def _value(value: float) -> Cell:
    """Nine significant digits: enough to see that two numbers are the same."""
    return Cell(f"{value:.9g}")


def _relative(ours: float, theirs: float) -> Cell:
    scale = max(abs(theirs), abs(ours))
    return Cell("0" if ours == theirs else f"{(ours - theirs) / scale:.1e}")
