"""Folds of cross-validation as rows of a model: whole levels of a grouping factor, or what a splitter says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.errors import DataError
from interlace.frames.adapt import Table
from interlace.frames.levels import compact
from interlace.frames.names import suggest
from interlace.frames.tree import groups_of
from interlace.prediction.cross_validation import Fold, Tally, level_sets, rows_by_level

if TYPE_CHECKING:
    import pandas as pd

    from interlace.frames.design import Design
    from interlace.prediction.simulate import Seed
    from interlace.typing import FrameLike, IntArray

__all__ = ["Split", "folds_of", "groups_left_out", "split_by"]


@dataclass(frozen=True, eq=False)
class Split:
    """The factor whose levels stay together.

    Attributes
    ----------
    name : str
    codes : ndarray of int64, shape (n,)
        Level of each row in use, -1 where it is missing.
    levels : pandas.Index
    """

    name: str
    codes: IntArray
    levels: pd.Index[Any]

    @cached_property
    def tally(self) -> Tally:
        """Rows of each level."""
        return Tally.of(self.codes, len(self.levels))


def split_by(design: Design, data: FrameLike, name: str | None = None) -> Split:
    """The factor of that name: of the model, or any other column; the first one of the model by default.

    Parameters
    ----------
    design : Design
    data : data frame or mapping
        From which the design was built.
    name : str, optional

    Raises
    ------
    DataError
        There is no such column.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("Pastes")
    >>> design = interlace.fit("strength ~ 1 + (1 | batch / cask)", df).state.problem.design
    >>> split_by(design, df).name
    'batch'
    """
    if name is None:  # a / b stands for b:a and a, of which a is the one that leaves nothing behind
        name = groups_of(design.spec.formula.bars[0].group)[-1].name
    for term in design.terms:
        if term.group == name:
            return Split(name, term.codes, term.levels)
    table = Table(data)
    if name not in table:
        raise DataError(f"groups column {name!r} not found in data{suggest(name, table.names)}")
    codes, levels = table.column(name).coded
    codes = codes[design.rows]
    there = codes >= 0
    out = np.full(codes.size, -1, dtype=np.int64)
    out[there], kept = compact(codes[there], len(levels))
    return Split(name, out, levels if kept is None else levels[kept])


def folds_of(split: Split, design: Design, cv: Any, k: int, seed: Seed) -> list[Fold]:
    """Read ``cv=``; ``interlace.cross_val`` documents it.

    Parameters
    ----------
    split : Split
    design : Design
    cv, k, seed
        As given.

    Returns
    -------
    list of Fold

    Raises
    ------
    ValueError, TypeError
        It is none of what it may be, or its positions are not rows.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("Dyestuff")
    >>> design = interlace.fit("Yield ~ 1 + (1 | Batch)", df).state.problem.design
    >>> [len(fold.test) for fold in folds_of(split_by(design, df), design, "kfold", 4, 1)]
    [10, 10, 5, 5]
    """
    if isinstance(cv, str):
        if cv not in ("logo", "kfold"):
            raise ValueError(f"cv must be 'logo', 'kfold', a splitter or pairs of positions, not {cv!r}")
        return _by_group(split, None if cv == "logo" else k, seed)
    n = split.codes.size
    if callable(getattr(cv, "split", None)):
        rows = np.flatnonzero(split.codes >= 0).astype(np.int64)
        frame, y = design.frame.iloc[rows], design.y[rows]
        pairs = [(rows[train], rows[test]) for train, test in cv.split(frame, y, split.codes[rows])]
    elif isinstance(cv, Iterable):
        pairs = [_rows_of(pair, number, design) for number, pair in enumerate(cv)]
    else:
        raise TypeError(
            f"cv must be 'logo', 'kfold', a splitter of scikit-learn or (train, test) pairs of positions, not {cv!r}"
            + ("; a number of folds is k=" if isinstance(cv, int) else "")
        )
    if not pairs:
        raise ValueError("cv gives no folds")
    return [_fold(train, test, number, n) for number, (train, test) in enumerate(pairs)]


def _by_group(split: Split, k: int | None, seed: Seed) -> list[Fold]:
    rows = rows_by_level(split.codes, len(split.levels))
    nowhere = np.flatnonzero(split.codes < 0).astype(np.int64)
    folds = []
    for levels in level_sets(len(split.levels), k, seed):
        test = np.sort(np.concatenate([rows[level] for level in levels]))
        folds.append(Fold(test, np.concatenate([test, nowhere])))
    return folds


def _rows_of(pair: Any, number: int, design: Design) -> tuple[IntArray, IntArray]:
    """Rows in use at the positions in the caller's frame that a pair of a user's gives."""
    try:
        train, test = pair
    except (TypeError, ValueError) as error:
        raise TypeError(f"cv must give (train, test) pairs of positions; fold {number} is {pair!r}") from error
    total = len(design.all_index)
    place = np.full(total, -1, dtype=np.int64)
    place[design.rows] = np.arange(design.rows.size)
    found = [place[_positions(side, number, total)] for side in (train, test)]
    return found[0][found[0] >= 0], found[1][found[1] >= 0]


def _positions(given: Any, number: int, total: int) -> IntArray:
    values = np.asarray(given)
    if values.dtype == np.bool_ and values.shape == (total,):
        return np.flatnonzero(values).astype(np.int64)
    if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
        raise TypeError(f"cv must give positions of rows as whole numbers; fold {number} has {given!r}")
    if values.size and (values.min() < 0 or values.max() >= total):
        raise ValueError(f"cv gives positions outside the {total} rows of the data in fold {number}")
    return values.astype(np.int64)


def _fold(train: IntArray, test: IntArray, number: int, n: int) -> Fold:
    used = np.zeros(n, dtype=np.bool_)
    used[train] = True
    both = int(np.count_nonzero(used[test]))
    if both:
        raise ValueError(
            f"fold {number} of cv has {both} row{'s' * (both > 1)} in both its training and its test part: such a "
            "score says nothing about new data"
        )
    return Fold(np.unique(test).astype(np.int64), np.flatnonzero(~used).astype(np.int64))


def groups_left_out(split: Split, fold: Fold) -> tuple[Any, ...]:
    """Levels among the rows to predict of which the fit has no row.

    Examples
    --------
    >>> import pandas as pd
    >>> split = Split("g", np.array([0, 0, 1, 1, 2]), pd.Index(["a", "b", "c"]))
    >>> groups_left_out(split, Fold(np.array([1, 4]), np.array([1, 4])))
    ('c',)
    """
    levels = np.intersect1d(split.codes[fold.test], split.tally.emptied(fold.lost))
    return tuple(split.levels[level] for level in levels)
