"""Rows, or groups of rows, that a diagnostic looks at one at a time."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.levels import match_levels

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.typing import IntArray

__all__ = ["Delete", "Units", "grouping_term", "is_of_rows", "sets_of", "units_of"]

#: Labels of rows or of groups that are left out together, or several such sets by name.
Delete: TypeAlias = "Sequence[Any] | Mapping[Any, Sequence[Any]]"


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


def is_of_rows(level: Any) -> bool:
    """Whether a level is that of single rows.

    Examples
    --------
    >>> is_of_rows(1), is_of_rows("1"), is_of_rows(True), is_of_rows([1])
    (True, False, False, False)
    """
    return isinstance(level, int | float | np.integer) and not isinstance(level, bool) and level == 1


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
    if is_of_rows(level):
        return Units(None, state.problem.design.index, tuple(np.arange(state.fitted.size)[:, None]))
    term = grouping_term(state, level)
    by_level = np.argsort(term.codes, kind="stable")
    counts = np.bincount(term.codes, minlength=len(term.levels))
    rows = np.split(by_level, np.cumsum(counts)[:-1])
    order = np.argsort([some[0] for some in rows], kind="stable")
    return Units(term.group, term.levels[order], tuple(rows[j] for j in order))


def sets_of(state: State, level: int | str, delete: Delete) -> Units:
    """Sets of rows, or of levels of a grouping factor, as a user names them.

    Parameters
    ----------
    state : State
    level : 1 or str
        What the labels are of: rows, or levels of a grouping factor.
    delete : sequence of labels, or mapping from names to such sequences
        One set, or several; rows by their labels in the caller's frame.

    Returns
    -------
    Units
        With ``level`` "set"; the labels are the names of the sets, "deleted" if there is only one without a name.

    Raises
    ------
    ValueError
        A label is not among the rows in use or the levels, or a set is empty.
    TypeError
        For what is neither a sequence of labels nor a mapping to such sequences.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("strength ~ 1 + (1 | batch / cask)", interlace.datasets.load("Pastes")).state
    >>> sets_of(state, "cask:batch", {"first": ["a:A"], "both": ["a:A", "b:A"]}).rows
    (array([0, 1]), array([0, 1, 2, 3]))
    >>> sets_of(state, 1, [60])
    Traceback (most recent call last):
    interlace.errors.DataError: delete=: 60 is not the label of a row in use
    """
    sets = delete if isinstance(delete, Mapping) else {"deleted": delete}
    if not sets:
        raise DataError("delete= names no set of rows")
    rows = tuple(_labelled_rows(state, level, _as_labels(labels)) for labels in sets.values())
    for name, some in zip(sets, rows, strict=True):
        if not some.size:
            raise DataError(f"delete=: the set {name!r} is empty")
    return Units("set", pd.Index(list(sets), name="set"), rows)


def _as_labels(labels: Any) -> list[Any]:
    """Labels of one set, in a form that can be looked up."""
    expected = "delete= must be a list of labels, or a dict of such lists"
    if isinstance(labels, str) or not isinstance(labels, Sequence | np.ndarray | pd.Index | pd.Series):
        raise TypeError(f"{expected}; not {type(labels).__name__} {labels!r}")
    for label in labels:
        if not isinstance(label, Hashable):
            raise TypeError(f"{expected}; {label!r} is no label. Several sets have names: {{'a': [...], 'b': [...]}}")
    return list(labels)


def _labelled_rows(state: State, level: int | str, labels: list[Any]) -> IntArray:
    """Positions, ascending, of the rows that carry one of the labels."""
    if is_of_rows(level):
        index = state.problem.design.index
        return np.unique(_places(index.get_indexer_for, labels, "the label of a row in use"))
    term = grouping_term(state, level)

    def places_of(wanted: pd.Index) -> IntArray:
        return match_levels(np.arange(wanted.size), wanted, term.levels)

    return np.flatnonzero(np.isin(term.codes, _places(places_of, labels, f"a level of {term.group!r}")))


def _places(places_of: Callable[[pd.Index], Any], labels: list[Any], what: str) -> IntArray:
    """Places of labels; of a label that is not there the error says what it is not."""
    places = np.asarray(places_of(pd.Index(labels)), dtype=np.int64)
    if (places >= 0).all():
        return places
    found = []
    for label in labels:  # what pandas makes of a label may depend on those beside it
        found.append(np.asarray(places_of(pd.Index([label])), dtype=np.int64))
        if (found[-1] < 0).any():
            raise DataError(f"delete=: {label!r} is not {what}")
    return np.concatenate(found)


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
    'cask:batch'
    >>> grouping_term(state, "sample")
    Traceback (most recent call last):
    ValueError: level='sample' is not a grouping factor of this model; use 1 for single rows, or 'cask:batch', 'batch'
    """
    terms = state.problem.design.terms
    for term in terms:
        if isinstance(level, str) and level == term.group:
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
