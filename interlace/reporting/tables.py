"""Tables of a report: what is printed, and which number each cell shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from interlace.reporting.numbers import Numbers
from interlace.results.latex import booktabs
from interlace.results.text import p_value

__all__ = [
    "Cell",
    "Path",
    "Table",
    "fixed_effects",
    "fixed_text",
    "influence",
    "intervals",
    "number",
    "random_effects",
    "ratios",
    "whole_fit",
]

#: Keys that lead to a number in the record of a model.
Path: TypeAlias = "tuple[str, ...]"

_DIGITS_OF_SE, _DIGITS = 3, 4
_MOST_DECIMALS, _LARGEST = 10, 1e15
_ENDS, _PERCENT = ("conf_low", "conf_high"), ("2.5 %", "97.5 %")


@dataclass(frozen=True)
class Cell:
    """Text of a cell, and the numbers that it shows: where they are in the record, and the text of each."""

    text: str
    shows: tuple[tuple[Path, str], ...] = ()


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes
    ----------
    caption : str
    headings : tuple of str
    rows : tuple of tuple of Cell
    text_columns : int
        Columns at the left that hold text; the others are numbers.
    note : str
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    text_columns: int = 1
    note: str = ""

    @property
    def printed(self) -> dict[Path, str]:
        """Text of every number of the record that the table shows."""
        return dict(shown for row in self.rows for cell in row for shown in cell.shows)

    @property
    def texts(self) -> list[list[str]]:
        """Texts of the rows."""
        return [[cell.text for cell in row] for row in self.rows]

    def to_latex(self) -> str:
        """A ``tabular`` environment with the rules of booktabs."""
        columns = [(name, [row[j] for row in self.texts]) for j, name in enumerate(self.headings)]
        return booktabs(columns, text_columns=self.text_columns)


def fixed_text(value: float, decimals: int) -> str:
    """Text with so many decimals, in scientific notation where that would be long.

    Examples
    --------
    >>> fixed_text(2.5, 3), fixed_text(-0.0001, 2), fixed_text(2.5e-13, 15)
    ('2.500', '0.00', '2.50e-13')
    """
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "")
    if decimals > _MOST_DECIMALS or abs(value) >= _LARGEST:
        return f"{value:.{_DIGITS_OF_SE - 1}e}"
    text = f"{value:.{decimals}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def _decimals(value: float, digits: int) -> int:
    """Decimals that show a value to so many significant digits."""
    if not math.isfinite(value) or value == 0.0:
        return digits - 1
    return max(0, digits - 1 - math.floor(math.log10(abs(value))))


def number(numbers: Mapping[str, Any], *path: str, decimals: int | None = None, digits: int = _DIGITS) -> Cell:
    """Cell of the number at a path, with so many decimals or significant digits."""
    value: Any = numbers
    for key in path:
        value = value[key]
    if isinstance(value, int):
        return _shown(str(value), path)
    return _shown(fixed_text(value, _decimals(value, digits) if decimals is None else decimals), path)


def _shown(text: str, path: Path) -> Cell:
    return Cell(text, ((path, text),))


def fixed_effects(numbers: Numbers) -> Table:
    """Coefficients with standard errors, tests and intervals; estimates to three digits of their standard errors."""
    coefficients = numbers["coefficients"]
    normal = all(math.isinf(row["df"]) for row in coefficients.values())
    rows = []
    for name, row in coefficients.items():
        path, places = ("coefficients", name), _decimals(row["std_error"], _DIGITS_OF_SE)
        cells = [number(numbers, *path, column, decimals=places) for column in ("estimate", "std_error")]
        cells += [] if normal else [number(numbers, *path, "df", decimals=1)]
        cells += [number(numbers, *path, "statistic", decimals=2), _shown(p_value(row["p_value"]), (*path, "p_value"))]
        cells += [number(numbers, *path, end, decimals=places) for end in _ENDS]
        rows.append((Cell(name), *cells))
    headings = ("", "Estimate", "SE", *(("z",) if normal else ("df", "t")), "p", *_PERCENT)
    return Table("Fixed effects", headings, tuple(rows))


def ratios(numbers: Numbers, what: str) -> Table:
    """Exponentials of the coefficients, which are ``what``: odds ratios, rate ratios."""
    rows = []
    for name, row in numbers["ratios"].items():
        places = _decimals(row["estimate"], _DIGITS_OF_SE)
        shown = (number(numbers, "ratios", name, column, decimals=places) for column in ("estimate", *_ENDS))
        rows.append((Cell(name), *shown))
    note = "Exponentials of the estimates and of the ends of their intervals."
    return Table(
        f"{what}s" if not what.startswith("Ratio ") else "Ratios of means",
        ("", what, *_PERCENT),
        tuple(rows),
        note=note,
    )


def random_effects(numbers: Numbers) -> Table:
    """Standard deviations and correlations of the random effects, and of the residuals if there are any."""
    rows: list[tuple[Cell, ...]] = []
    widest = 0
    for key, term in numbers["random_effects"].items():
        for name in term["sd"]:
            path = ("random_effects", key)
            with_others = term.get("correlation", {}).get(name, {})
            widest = max(widest, len(with_others))
            correlations = (number(numbers, *path, "correlation", name, other, decimals=2) for other in with_others)
            label = key if name == next(iter(term["sd"])) else ""
            rows.append((Cell(label), Cell(name), number(numbers, *path, "sd", name), *correlations))
    if "sigma" in numbers:
        rows.append((Cell("Residual"), Cell(""), number(numbers, "sigma")))
    headings = ["Group", "Effect", "SD", *(["Correlation"] + [""] * (widest - 1) if widest else [])]
    filled = tuple((*row, *[Cell("")] * (len(headings) - len(row))) for row in rows)
    return Table("Random effects", tuple(headings), filled, text_columns=2)


def whole_fit(numbers: Numbers) -> Table:
    """Counts and criteria of the fit."""
    rows = [(Cell("Observations"), number(numbers, "rows"))]
    rows += [(Cell(f"Levels of {name}"), number(numbers, "levels", name)) for name in numbers["levels"]]
    rows += [(Cell("Parameters"), number(numbers, "parameters"))]
    rows += [(Cell(_capital(name)), number(numbers, "criteria", name, decimals=2)) for name in numbers["criteria"]]
    if "negative_binomial_theta" in numbers:
        rows.append((Cell("Theta of the negative binomial"), number(numbers, "negative_binomial_theta")))
    return Table("The fit as a whole", ("", "Value"), tuple(rows))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def influence(numbers: Numbers) -> list[Table]:
    """Levels of each grouping factor with the largest Cook's distances."""
    found = []
    for group, distances in numbers["influence"].items():
        rows = tuple((Cell(level), number(numbers, "influence", group, level, digits=3)) for level in distances)
        found.append(Table(f"Most influential levels of {group}", ("", "Cook's distance"), rows))
    return [table for table in found if table.rows]


def intervals(numbers: Numbers) -> Table:
    """Bootstrap intervals of all parameters."""
    found = numbers["bootstrap"]
    rows = []
    for name in found["intervals"]:
        path = ("bootstrap", "intervals", name)
        rows.append((Cell(name), *(number(numbers, *path, column) for column in ("estimate", *_ENDS))))
    note = f"Percentile intervals of {found['replicates']} replicates, seed {found['seed']}"
    note += f"; {found['failed']} failed." if found["failed"] else "."
    return Table("Parametric bootstrap", ("", "Estimate", *_PERCENT), tuple(rows), note=note)
