"""Several models side by side."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from interlace.reporting.numbers import Numbers, numbers_of
from interlace.reporting.tables import Cell, Path, Table, fixed_effects, random_effects, whole_fit
from interlace.results.glmm import GLMMResult
from interlace.results.lmm import LMMResult
from interlace.results.text import align

if TYPE_CHECKING:
    from interlace.results.intervals import Intervals

__all__ = ["ModelComparison", "compare", "named", "side_by_side"]

_REML = "Criteria of fits by REML can be compared only between models with the same fixed effects."


@dataclass(frozen=True, repr=False)
class ModelComparison:
    """Estimates of several models; ``print`` it, show it in a notebook, or take it to another library.

    Attributes
    ----------
    models : dict from name to dict
        Numbers of each model, see `interlace.reporting.numbers.numbers_of`.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> one = interlace.fit("Reaction ~ Days + (1 | Subject)", df, method="ML")
    >>> two = one.update(". ~ Days + (Days | Subject)")
    >>> print(interlace.compare(one, two, names=["intercepts", "slopes"]))
                              intercepts         slopes
    Intercept              251.41 (9.51)  251.41 (6.63)
    Days                   10.467 (0.802)  10.47 (1.50)
    SD Intercept | Subject         36.01          23.78
    ...
    """

    models: Mapping[str, Numbers]

    @property
    def table(self) -> Table:
        """Cells as text: estimates with standard errors in parentheses."""
        return side_by_side(self.models)

    def __str__(self) -> str:
        table = self.table
        cells = table.texts
        columns = [(name, [row[j] for row in cells], "<" if j == 0 else ">") for j, name in enumerate(table.headings)]
        lines = align(columns, gap="  ")
        return "\n".join([*lines, *([table.note] if table.note else [])])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = self.table
        frame = pd.DataFrame(table.texts, columns=pd.Index(table.headings))
        note = f"<p>{html.escape(table.note)}</p>" if table.note else ""
        return "<div>" + frame.to_html(index=False, border=0) + note + "</div>"

    def to_frame(self) -> pd.DataFrame:
        """Numbers at full precision.

        Returns
        -------
        DataFrame
            One row a number, indexed by ``part`` (coefficient, random effect, fit) and ``term``; one column a model,
            and below it ``estimate`` and ``std_error``. Missing where a model has no such number.
        """
        columns = {
            (name, column): pd.Series(_column(numbers, column), dtype=float)
            for name, numbers in self.models.items()
            for column in ("estimate", "std_error")
        }
        order = list(dict.fromkeys(key for column in columns.values() for key in column.index))
        order.sort(key=lambda key: ("coefficient", "random effect", "fit").index(key[0]))
        index = pd.MultiIndex.from_tuples(order, names=["part", "term"])
        out = pd.DataFrame({key: column.reindex(order).to_numpy() for key, column in columns.items()}, index=index)
        out.columns = pd.MultiIndex.from_tuples(list(columns), names=["model", None])
        return out

    def to_latex(self) -> str:
        """A ``tabular`` environment for a document that loads booktabs; names are escaped."""
        return self.table.to_latex() + "\n"

    def to_great_tables(self) -> Any:
        """A table of the great_tables package, to be styled there.

        Returns
        -------
        great_tables.GT

        Raises
        ------
        ImportError
            great_tables is not there.
        """
        try:
            from great_tables import GT
        except ImportError as error:
            raise ImportError("this needs great_tables: pip install great-tables") from error
        table = self.table
        headings = ["term", *table.headings[1:]]
        built = GT(pd.DataFrame(table.texts, columns=pd.Index(headings)), rowname_col="term")
        return built.tab_source_note(table.note) if table.note else built


def compare(*results: Intervals, names: Sequence[str] | None = None) -> ModelComparison:
    """Put estimates of several models side by side.

    Parameters
    ----------
    *results : LMMResult or GLMMResult
    names : sequence of str, optional
        What to call them; ``Model 1``, ``Model 2``, ... by default.

    Returns
    -------
    ModelComparison
        ``str()`` and notebooks show it; ``to_frame()`` has the numbers, ``to_latex()`` the table for a paper,
        ``to_great_tables()`` one to be styled.

    Raises
    ------
    TypeError
        One of them is no fitted model.
    ValueError
        There are none, or the names are not as many or not different.

    See Also
    --------
    interlace.anova : Tests of nested models.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> one = interlace.fit("Reaction ~ Days + (1 | Subject)", df, method="ML")
    >>> two = one.update(". ~ Days + (Days | Subject)")
    >>> interlace.compare(one, two).to_frame().loc[("fit", "AIC")].round(2).dropna().tolist()
    [1802.08, 1763.94]
    """
    return ModelComparison(
        {name: numbers_of(result, influence=False) for name, result in named(results, names).items()}
    )


def named(results: Sequence[Intervals], names: Sequence[str] | None = None) -> dict[str, Intervals]:
    """Check results and their names, and put them together."""
    for result in results:
        if not isinstance(result, LMMResult | GLMMResult):
            raise TypeError(f"expected results of interlace.fit() or glmer(), not {type(result).__name__}")
    if not results:
        raise ValueError("there is no result: pass one or more results of interlace.fit() or glmer()")
    chosen = [f"Model {i + 1}" for i in range(len(results))] if names is None else [str(name) for name in names]
    if len(chosen) != len(results):
        raise ValueError(f"names has {len(chosen)} names for {len(results)} models")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"names must differ from each other: {', '.join(map(repr, chosen))}")
    return dict(zip(chosen, results, strict=True))


def _column(numbers: Numbers, column: str) -> dict[tuple[str, str], float]:
    out = {("coefficient", name): row[column] for name, row in numbers["coefficients"].items()}
    if column == "std_error":
        return out
    for key, term in numbers["random_effects"].items():
        out |= {("random effect", f"SD {name} | {key}"): sd for name, sd in term["sd"].items()}
        for name, others in term.get("correlation", {}).items():
            out |= {("random effect", f"Correlation {name}, {other} | {key}"): r for other, r in others.items()}
    if "sigma" in numbers:
        out["random effect", "SD Residual"] = numbers["sigma"]
    out["fit", "Observations"] = float(numbers["rows"])
    out |= {("fit", f"Levels of {name}"): float(count) for name, count in numbers["levels"].items()}
    return out | {("fit", name): value for name, value in numbers["criteria"].items()}


def side_by_side(models: Mapping[str, Numbers]) -> Table:
    """Table of several models; paths of its cells begin with the number of the model, from 0."""
    columns = [_cells(numbers, str(i)) for i, numbers in enumerate(models.values())]
    rows = []
    for part in range(3):
        labels = dict.fromkeys(label for column in columns for label in column[part])
        rows += [(Cell(label), *(column[part].get(label, Cell("")) for column in columns)) for label in labels]
    by_reml = ["REML criterion" in numbers["criteria"] for numbers in models.values()]
    fixed = {tuple(numbers["coefficients"]) for numbers in models.values()}
    note = _REML if any(by_reml) and (len(fixed) > 1 or not all(by_reml)) else ""
    return Table("Estimates, with standard errors in parentheses", ("", *models), tuple(rows), note=note)


def _cells(numbers: Numbers, model: str) -> tuple[dict[str, Cell], dict[str, Cell], dict[str, Cell]]:
    """Cells of one model by label: coefficients, random effects, the fit."""
    fixed = {name.text: _both(model, estimate, error) for name, estimate, error, *_ in fixed_effects(numbers).rows}
    random: dict[str, Cell] = {}
    group = ""
    for key, name, sd, *correlations in random_effects(numbers).rows:
        group = key.text or group
        random[f"SD {name.text} | {group}" if name.text else "SD Residual"] = _prefixed(model, sd)
        for cell in correlations:
            if cell.shows:
                other = cell.shows[0][0][-1]
                random[f"Correlation {name.text}, {other} | {group}"] = _prefixed(model, cell)
    whole = {label.text: _prefixed(model, cell) for label, cell in whole_fit(numbers).rows}
    return fixed, random, whole


def _prefixed(model: str, cell: Cell) -> Cell:
    return Cell(cell.text, tuple(((model, *path), text) for path, text in cell.shows))


def _both(model: str, estimate: Cell, error: Cell) -> Cell:
    shows: tuple[tuple[Path, str], ...] = _prefixed(model, estimate).shows + _prefixed(model, error).shows
    return Cell(f"{estimate.text} ({error.text})", shows)
