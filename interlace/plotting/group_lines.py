"""Fitted means of groups along a predictor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.levels import level_text, match_levels
from interlace.plotting.labels import shortened
from interlace.plotting.predictors import is_numeric, typical_rows
from interlace.prediction.predict import linear_predictor_of_rows, means, prediction_rows
from interlace.prediction.response import response_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["GroupLine", "GroupLines", "group_lines"]

#: Points of a line.
_STEPS = 40


class GroupLine(NamedTuple):
    """Line and data of one group: places on the axis and means, shapes (m,); places and responses, shapes (n_j,)."""

    name: str
    at: FloatArray
    mean: FloatArray
    x: FloatArray
    y: FloatArray


@dataclass(frozen=True, eq=False)
class GroupLines:
    """Fitted lines of some groups.

    Attributes
    ----------
    groups : list of GroupLine
    population : (ndarray, ndarray)
        Places and means of the line with all random effects zero.
    predictor, response : str
    values : pandas.Index or None
        Levels of a predictor that is a factor, which stand at 0, 1, 2 ...
    """

    groups: list[GroupLine]
    population: tuple[FloatArray, FloatArray]
    predictor: str
    response: str
    values: pd.Index | None

    def name_values(self, ax: Axes) -> None:
        """Name the levels of a factor on the axis."""
        if self.values is not None:
            ax.set_xticks(range(len(self.values)), [shortened(level_text(value), 14) for value in self.values])


def group_lines(state: State, term: RandomTerm, x: str, levels: Sequence[Any] | None, *, most: int) -> GroupLines:
    """Lines of the groups of a factor over a predictor; `interlace.plotting.plot_fitted` says what is in them.

    Raises
    ------
    ValueError
        The factor has no such level, or new rows cannot have the offset of the fit.
    """
    design = state.problem.design
    data = design.frame[x]
    values = None if is_numeric(design, x) else pd.Index(data.drop_duplicates().sort_values())
    chosen = _levels(term, levels, most)
    frame, of_line = typical_rows(design, np.where(np.isin(term.codes, chosen), term.codes, -1), x, _STEPS)
    mean = _mean(state, frame, _within(state, term))
    groups = []
    for code in chosen:
        line, rows = of_line == code, term.codes == code
        places = _places(frame[x][line], values), mean[line], _places(data[rows], values), design.y[rows]
        groups.append(GroupLine(shortened(level_text(term.levels[code])), *places))
    whole, _ = typical_rows(design, np.zeros(term.codes.size, dtype=np.int64), x, 2 * _STEPS)
    nothing = tuple(np.zeros(len(other.names), dtype=bool) for other in design.terms)
    population = _places(whole[x], values), _mean(state, whole, nothing)
    return GroupLines(groups, population, x, design.response, values)


def _places(data: pd.Series, values: pd.Index | None) -> FloatArray:
    """Where values of the predictor stand on the axis."""
    return np.asarray(data if values is None else values.get_indexer(pd.Index(data)), dtype=np.float64)


def _levels(term: RandomTerm, levels: Sequence[Any] | None, most: int) -> IntArray:
    """Codes of the levels to draw."""
    q = len(term.levels)
    if levels is None:
        return np.unique(np.linspace(0, q - 1, min(q, most)).round()).astype(np.int64)
    wanted = pd.Index([levels] if isinstance(levels, str) else list(levels))
    codes = match_levels(np.arange(len(wanted), dtype=np.int64), wanted, term.levels)
    if not len(wanted) or (codes < 0).any():
        unknown = ", ".join(repr(wanted[int(i)]) for i in np.flatnonzero(codes < 0))
        known = ", ".join(repr(str(level)) for level in term.levels[:10])
        raise DataError(
            f"levels={levels!r}: {unknown or 'nothing'} is no level of {term.group!r}, which has {known} ..."
        )
    return codes


def _within(state: State, term: RandomTerm) -> tuple[BoolArray, ...]:
    """Random effects that are the same for all rows of a group: its own, and those of factors it is nested in."""
    found = []
    for other in state.problem.design.terms:
        of_group = np.zeros(len(term.levels), dtype=np.int64)
        of_group[term.codes] = other.codes
        found.append(np.full(len(other.names), bool((of_group[term.codes] == other.codes).all())))
    return tuple(found)


def _mean(state: State, frame: pd.DataFrame, effects: tuple[BoolArray, ...]) -> FloatArray:
    """Mean of the response with some of the random effects; all levels are of the fit."""
    rows = prediction_rows(state, frame, effects)
    return means(response_model(state), linear_predictor_of_rows(state, rows, effects))
