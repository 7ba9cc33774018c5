"""Predictors to draw over, and rows to predict for: one varies, the others are what they typically are in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.errors import DataError, ModelError
from interlace.frames.evaluate import inspect
from interlace.frames.names import suggest
from interlace.frames.reference_grid import factor_columns, fixed_columns
from interlace.plotting.random_terms import group_term

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.frames.design import Design, RandomTerm
    from interlace.typing import IntArray

__all__ = ["check_predictor", "chosen_predictor", "is_numeric", "typical_rows"]


def is_numeric(design: Design, name: str) -> bool:
    """Whether a predictor is read as a number."""
    return name not in factor_columns(design) and pd.api.types.is_numeric_dtype(design.frame[name])


def check_predictor(design: Design, argument: str, name: str) -> None:
    """Refuse what is no predictor of the fixed effects.

    Raises
    ------
    DataError
    """
    columns = fixed_columns(design)
    if name not in columns:
        known = ", ".join(map(repr, columns)) or "none"
        near = suggest(str(name), list(columns))
        raise DataError(f"{argument}={name!r} is not a predictor of the fixed effects{near}; these are {known}")


def chosen_predictor(state: State, group: str | None, x: str | None) -> tuple[RandomTerm, str]:
    """Grouping factor and predictor to draw lines over: those asked for, or the first ones that make lines.

    Of predictors that vary within groups those with a random slope come first, then numbers.

    Raises
    ------
    ValueError
        There is no such factor or predictor, or no predictor varies within groups.
    """
    design = state.problem.design
    if x is not None:
        check_predictor(design, "x", x)
    columns = fixed_columns(design) if x is None else (x,)
    if not columns:
        raise ModelError("the fixed effects have no predictor: there is no line to draw")
    terms = design.terms if group is None else (group_term(state, group),)
    slopes = {name for part in design.spec.random for code in part.encoders for name in inspect(code).columns}
    for term in terms:
        groups = design.frame.groupby(term.codes)
        inside = [name for name in columns if (groups[name].nunique() > 1).any()]
        if inside:
            return term, min(inside, key=lambda name: (name not in slopes, not is_numeric(design, name)))
    if x is not None:
        return terms[0], x
    listed = ", ".join(repr(term.group) for term in terms)
    raise ModelError(f"no predictor varies within levels of {listed}: there is no line to draw; choose one with x=")


def typical_rows(design: Design, codes: IntArray, x: str, steps: int) -> tuple[pd.DataFrame, IntArray]:
    """Rows for each group along one predictor, over the range that it has there.

    Parameters
    ----------
    design : Design
    codes : ndarray of int64, shape (n,)
        Group of each row; -1 for none.
    x : str
    steps : int
        Values of a numeric predictor in each group; a factor takes the levels it has there.

    Returns
    -------
    frame : DataFrame, m rows
        All columns of the model: numeric ones at their mean in the group, others at their most frequent value.
    group : ndarray of int64, shape (m,)

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> design = result.state.problem.design
    >>> frame, group = typical_rows(design, design.terms[0].codes, "Days", 2)
    >>> frame[["Days", "Subject"]].head(3).values.tolist(), group[:3]
    ([[0.0, '308'], [9.0, '308'], [0.0, '309']], array([0, 0, 1]))
    """
    frame = design.frame.drop(columns=design.response, errors="ignore")
    numeric = {name for name in frame.columns if is_numeric(design, name)}
    parts = []
    chosen = np.unique(codes[codes >= 0])
    for code in chosen:
        some = frame[codes == code]
        grid = _along(some[x], steps, x in numeric)
        part = some.iloc[np.zeros(len(grid), dtype=np.int64)].reset_index(drop=True)
        for name in frame.columns:
            if name != x and some[name].nunique() > 1:
                part[name] = _typical(some[name], name in numeric, len(grid))
        part[x] = grid
        parts.append(part)
    return pd.concat(parts, ignore_index=True), np.repeat(chosen, [len(part) for part in parts])


def _along(values: pd.Series, steps: int, numeric: bool) -> pd.Series:
    """Values of the predictor in ascending order."""
    if numeric:
        return pd.Series(np.linspace(float(values.min()), float(values.max()), steps))
    return values.drop_duplicates().sort_values().reset_index(drop=True)


def _typical(values: pd.Series, numeric: bool, count: int) -> pd.Series:
    value = values.mean() if numeric else values.mode().iloc[0]
    return pd.Series([value] * count, dtype="float64" if numeric else values.dtype)
