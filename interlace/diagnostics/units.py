"""Rows, or groups of rows, that a diagnostic looks at one at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.typing import IntArray

__all__ = ["Units", "grouping_term", "units_of"]


@dataclass(frozen=True, eq=False)
class Units:
    """Sets of rows, in order of first appearance in the data.

    Attributes
    ----------
    level : str or None
        Grouping factor whose levels the units are; None for single rows.
    labels : pandas.Index, length u
        Labels of the levels, or of the rows in the caller's frame.
    rows : tuple of ndarray of int64, length u
        Positions, 0 to n - 1, among the rows in use.
    """

    level: str | None
    labels: pd.Index
    rows: tuple[IntArray, ...]

    def __len__(self) -> int:
        """Number of units u."""
        return len(self.rows)


def units_of(state: State, level: int | str = 1) -> Units:
    """Single rows, or the levels of a grouping factor.

    Parameters
    ----------
    state : State
    level : 1 or str
        1 for rows; else a grouping factor, spelled as in the formula or as lme4 names it (``cask:batch``).

    Returns
    -------
    Units

    Raises
    ------
    ValueError
        If there is no such grouping factor.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("strength ~ 1 + (1 | batch / cask)", interlace.datasets.load("Pastes")).state
    >>> units = units_of(state, "batch")
    >>> len(units), units.labels[0], units.rows[0]
    (10, 'A', array([0, 1, 2, 3, 4, 5]))
    """
    if level == 1 and not isinstance(level, bool):
        return Units(None, state.problem.design.index, tuple(np.arange(state.fitted.size)[:, None]))
    term = grouping_term(state, level)
    by_level = np.argsort(term.codes, kind="stable")
    counts = np.bincount(term.codes, minlength=len(term.levels))
    rows = np.split(by_level, np.cumsum(counts)[:-1])
    order = np.argsort([some[0] for some in rows], kind="stable")
    return Units(term.group, term.levels[order], tuple(rows[j] for j in order))


def grouping_term(state: State, level: int | str) -> RandomTerm:
    """First random-effects term of a grouping factor, by any of its spellings.

    Raises
    ------
    ValueError
        If there is no such grouping factor.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("strength ~ 1 + (1 | batch / cask)", interlace.datasets.load("Pastes")).state
    >>> grouping_term(state, "batch/cask").group
    'batch:cask'
    >>> grouping_term(state, "sample")
    Traceback (most recent call last):
    ValueError: level='sample' is not a grouping factor of this model; use 1 for single rows, or 'batch:cask', 'batch'
    """
    terms = state.problem.design.terms
    for term in terms:
        if level == term.group:
            return term
    if isinstance(level, str):
        wanted = _parts(level.replace("/", ":"))
        for term in terms:
            if wanted == _parts(term.group):
                return term
    known = ", ".join(repr(group) for group in dict.fromkeys(term.group for term in terms))
    raise ValueError(f"level={level!r} is not a grouping factor of this model; use 1 for single rows, or {known}")


def _parts(group: str) -> Sequence[str]:
    return sorted(part.strip() for part in group.split(":"))
