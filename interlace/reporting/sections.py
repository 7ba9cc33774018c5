"""Everything a report says of one model, before it is written in a language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from interlace.diagnostics.checks_of_model import check_model
from interlace.reporting import tables
from interlace.reporting.agreement import Agreement, CheckR, agreement
from interlace.reporting.equation import Math, equation
from interlace.reporting.figures import Figure, agreement_figure, diagnostics_figure
from interlace.reporting.numbers import SEED, Numbers, numbers_of, ratio_name, to_json
from interlace.reporting.prose import Prose, methods
from interlace.reporting.stored import ModelData, model_data
from interlace.reporting.tables import Cell, Path, Table

if TYPE_CHECKING:
    from interlace.results.intervals import Intervals

__all__ = ["Section", "section", "tables_of"]


@dataclass(frozen=True)
class Section:
    """One model of a report.

    Attributes
    ----------
    name : str
    formula : str
    data : ModelData
    call : dict
        What was asked for, as JSON.
    numbers : dict
    ratio : str
        What exponentials of the coefficients are; empty where they are nothing.
    prose : Prose
    equation : list of Math
    checks : Table
    agreement : Agreement
    diagnostics_figure : Figure
    agreement_figure : Figure or None
    """

    name: str
    formula: str
    data: ModelData
    call: dict[str, Any]
    numbers: Numbers
    ratio: str
    prose: Prose
    equation: list[Math]
    checks: Table
    agreement: Agreement
    diagnostics_figure: Figure
    agreement_figure: Figure | None

    @property
    def figures(self) -> list[Figure]:
        """All figures."""
        return [figure for figure in (self.diagnostics_figure, self.agreement_figure) if figure is not None]

    @property
    def tables(self) -> list[Table]:
        """Tables of the numbers in the record."""
        return tables_of(self.numbers, self.ratio)

    @property
    def printed(self) -> dict[Path, str]:
        """Text of every number that the tables show."""
        return {path: text for table in self.tables for path, text in table.printed.items()}

    def record(self, file: str | None) -> dict[str, Any]:
        """Return all of it that is numbers, as JSON; ``file`` is the name of the data file."""
        return {
            "name": self.name,
            "formula": self.formula,
            "data": {"file": file, **self.data.record()},
            "call": self.call,
            "seed": SEED,
            "numbers": to_json(self.numbers),
            "printed": [[*path, text] for path, text in self.printed.items()],
            "agreement": to_json(self.agreement.record()),
        }


def tables_of(numbers: Numbers, ratio: str) -> list[Table]:
    """Tables of the numbers of a model, in the order of the report."""
    found = [tables.fixed_effects(numbers)] if numbers["coefficients"] else []
    if ratio and numbers["ratios"]:
        found.append(tables.ratios(numbers, ratio))
    found += [tables.random_effects(numbers), tables.whole_fit(numbers)]
    if "bootstrap" in numbers:
        found.append(tables.intervals(numbers))
    return [*found, *tables.influence(numbers)]


def section(
    name: str,
    result: Intervals,
    environment: dict[str, Any],
    *,
    check_r: CheckR = "auto",
    bootstrap: int = 0,
    prefix: str = "",
) -> Section:
    """Compute everything that the report says of a result; names of figures begin with ``prefix``."""
    data, call = model_data(result)
    compared = agreement(result, check_r)
    return Section(
        name=name,
        formula=result.formula,
        data=data,
        call=call,
        numbers=numbers_of(result, bootstrap=bootstrap),
        ratio=ratio_name(result),
        prose=methods(result, environment, bootstrap=bootstrap),
        equation=equation(result),
        checks=_checks(result),
        agreement=compared,
        diagnostics_figure=diagnostics_figure(result, prefix),
        agreement_figure=agreement_figure(compared, prefix),
    )


def _checks(result: Intervals) -> Table:
    found = check_model(result, seed=SEED)
    rows = []
    for check, outcome in zip(found, found.to_frame()["result"], strict=True):
        what = check.code.replace("-", " ") + (f" ({check.term})" if check.term else "")
        sentences = [check.message, *([check.advice] if check.advice else [])]
        said = " ".join(f"{sentence[:1].upper()}{sentence[1:].rstrip('.')}." for sentence in sentences)
        rows.append((Cell(outcome), Cell(what), Cell(said)))
    return Table("Checks of the model", ("Result", "Check", "What was found"), tuple(rows), text_columns=3)
