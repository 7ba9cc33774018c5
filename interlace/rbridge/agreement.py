"""How far two fits of the same model are apart, quantity by quantity."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from interlace.rbridge.differences import Difference, differences
from interlace.rbridge.numbers import FitNumbers

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AgreementTable", "Row", "compare", "limits"]


@dataclass(frozen=True)
class Row:
    """One quantity: the largest difference, what it may be, and where it was found."""

    quantity: str
    difference: float
    limit: float
    unit: str
    where: str
    reason: str = ""

    @property
    def agrees(self) -> bool:
        """Whether the difference is within its limit; a difference that is not a number is not."""
        return self.difference <= self.limit

    @property
    def margin(self) -> float:
        """How many times the difference fits into the limit."""
        if self.difference == 0:
            return math.inf
        return self.limit / self.difference


@dataclass(frozen=True)
class AgreementTable:
    """Agreement of a fit of interlace with lme4's.

    Attributes
    ----------
    rows : tuple of Row
        One for each quantity compared.
    gain : float
        lme4's criterion minus ours: positive when interlace found the lower one.
    reference : str
        Which R and lme4, live or recorded.
    warnings : tuple of str
        What R said about its fit.
    judged : bool
        False when lme4 stopped at a worse optimum: other quantities then differ because lme4's are not the
        estimates, and only the criterion counts.
    criterion : float
        lme4's.
    """

    rows: tuple[Row, ...]
    gain: float
    reference: str
    warnings: tuple[str, ...] = field(default=())
    judged: bool = True
    criterion: float = math.nan

    @property
    def agrees(self) -> bool:
        """Whether every quantity is within its limit."""
        return all(row.agrees for row in self.rows if self.judged or row.quantity in ("deviance", "counts"))

    @property
    def failures(self) -> tuple[Row, ...]:
        """Quantities beyond their limits."""
        return tuple(row for row in self.rows if not row.agrees)

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a data frame."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "quantity": row.quantity, "difference": row.difference, "limit": row.limit, "margin": row.margin,
                    "agrees": row.agrees, "unit": row.unit, "where": row.where,
                }
                for row in self.rows
            ]
        )  # fmt: skip

    def __str__(self) -> str:
        """Return the table as text, with the verdict in the first line."""
        verdict = "agrees with" if self.agrees else "DIFFERS from"
        lines = [f"interlace {verdict} {self.reference}"]
        if not self.judged:
            lines.append(f"lme4 stopped at a worse optimum, {self.gain:.3g} above ours: only the criterion is judged")
        lines.append(f"{'':2}{'quantity':<22}{'difference':>12}{'limit':>9}  {'unit'}")
        for row in self.rows:
            mark = " " if row.agrees or not self.judged else "!"
            lines.append(f"{mark:2}{row.quantity:<22}{row.difference:>12.2e}{row.limit:>9.0e}  {row.unit}")
            if not row.agrees:
                lines.append(f"{'':4}at {row.where}")
        lines += [f"  R said: {text}" for text in self.warnings]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        html: str = self.frame.to_html(index=False)
        return f"<p>{str(self).splitlines()[0]}</p>{html}"


@lru_cache(maxsize=1)
def _tolerances() -> dict[str, Any]:
    text = (files("interlace.rbridge") / "tolerances.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def limits(model: str | None = None, *, generalized: bool = False) -> Mapping[str, Mapping[str, Any]]:
    """Limit, unit and reason of each quantity; with the exceptions of one model of the parity catalogue.

    Generalized models have more quantities than linear ones, and units of their own for some.
    """
    table: dict[str, dict[str, Any]] = dict(_tolerances()["limit"])
    if generalized:
        more: dict[str, dict[str, Any]] = _tolerances()["generalized"]
        table |= {quantity: table.get(quantity, {}) | entry for quantity, entry in more.items()}
    exceptions: dict[str, dict[str, Any]] = _tolerances().get("exception", {}).get(model, {})
    return {quantity: entry | exceptions.get(quantity, {}) for quantity, entry in table.items()}


def compare(ours: FitNumbers, theirs: FitNumbers, *, reference: str, model: str | None = None) -> AgreementTable:
    """Compare a fit of interlace with lme4's.

    Parameters
    ----------
    ours, theirs : FitNumbers
    reference : str
        What to call lme4's side.
    model : str, optional
        Name in the parity catalogue, for its exceptions.

    Returns
    -------
    AgreementTable
    """
    allowed = limits(model, generalized=theirs.generalized is not None)
    rows = tuple(_rows(differences(ours, theirs), allowed))
    gain = theirs.criterion - ours.criterion
    worse = allowed["deviance"]["limit"] * max(1.0, abs(theirs.criterion))
    return AgreementTable(rows, gain, reference, theirs.warnings, not gain > worse, theirs.criterion)


def _rows(found: list[Difference], allowed: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    for quantity, entry in allowed.items():
        of_this = [item for item in found if item.quantity == quantity]
        if of_this:
            worst = max(of_this, key=lambda item: math.inf if math.isnan(item.value) else item.value)
            yield Row(quantity, worst.value, float(entry["limit"]), entry["unit"], worst.where, entry.get("reason", ""))
