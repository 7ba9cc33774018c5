"""Sums over rows that come in batches, from which the bases and the order of elimination are chosen.

Bases need triangular factors, which rows can be added to without squaring the condition number (TSQR: Demmel, Grigori,
Hoemmen and Langou, 2012, SIAM J. Sci. Comput. 34, A206-A239). The order of elimination needs to know which levels of
the grouping factors meet, not how often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from interlace.core.crossproducts import Rows
from interlace.typing import FloatArray, IntArray

__all__ = ["LevelPairs", "StreamedRows", "first_places", "with_rows"]


def with_rows(R: FloatArray, rows: FloatArray) -> FloatArray:
    """Triangular factor of a matrix to which rows are added.

    Parameters
    ----------
    R : ndarray, shape (r, p)
        Triangular factor of the rows so far; r is 0 before the first, and at most p.
    rows : ndarray, shape (n, p)

    Returns
    -------
    ndarray, shape (min(r + n, p), p)
        Its cross-products are those of all rows.

    Examples
    --------
    >>> R = with_rows(np.empty((0, 1)), np.array([[3.0], [4.0]]))
    >>> float(abs(with_rows(R, np.array([[12.0]]))[0, 0]))
    13.0
    """
    return np.asarray(np.linalg.qr(np.concatenate([R, rows]), mode="r"))


def first_places(codes: IntArray, size: int) -> IntArray:
    """Place of the first row of each code, shape (size,); ``len(codes)`` for a code that does not occur.

    Parameters
    ----------
    codes : ndarray of int64, shape (n,)
        Between 0 and size - 1; -1 for none.
    size : int
    """
    places = np.full(size + 1, codes.size, dtype=np.int64)
    places[codes[::-1]] = np.arange(codes.size - 1, -1, -1)  # the last assignment to a place is the one that stays
    return places[:size]


@dataclass
class LevelPairs:
    """Rows of codes in which every pair of levels of two grouping factors that meets is found at least once.

    What the analysis of the structure reads of the codes, which levels lie within which and how many pairs of levels
    there are, is the same for these rows as for all.

    Attributes
    ----------
    sizes : tuple of int
        Number of levels of each factor.
    found : list of ndarray of int64, shapes (r, number of factors)
    """

    sizes: tuple[int, ...]
    found: list[IntArray] = field(default_factory=list)
    _seen: dict[tuple[int, int], IntArray] = field(default_factory=dict)

    def add(self, codes: Sequence[IntArray]) -> None:
        """Look at the codes of more rows, one array of shape (n,) for each factor."""
        new = []
        for i, j in combinations(range(len(self.sizes)), 2):
            pairs: IntArray = codes[i] * self.sizes[j] + codes[j]
            keys, places = np.unique(pairs, return_index=True)
            seen = self._seen.get((i, j), np.empty(0, dtype=np.int64))
            at: IntArray = np.asarray(np.searchsorted(seen, keys), dtype=np.int64)
            unknown = np.append(seen, -1)[at] != keys
            self._seen[i, j] = np.insert(seen, at[unknown], keys[unknown])
            new.append(places[unknown])
        if new:
            rows = np.unique(np.concatenate(new))
            self.found.append(np.column_stack([c[rows] for c in codes]))

    @property
    def codes(self) -> list[IntArray]:
        """Codes of each factor, shapes (r,)."""
        if len(self.sizes) == 1:
            return [np.arange(self.sizes[0], dtype=np.int64)]
        together = np.concatenate(self.found)
        return [np.ascontiguousarray(together[:, i]) for i in range(len(self.sizes))]


class StreamedRows(Rows):
    """Rows that are not kept: whoever looks at them reads them again, batch by batch.

    Parameters
    ----------
    read : callable
        Gives the rows in batches, from the first to the last.
    n : int
        Number of rows of all batches.
    log_weights : float
    refusal : callable
        Makes the error for what needs all rows at once.
    """

    def __init__(
        self, read: Callable[[], Iterator[Rows]], n: int, log_weights: float, refusal: Callable[[], Exception]
    ) -> None:
        vars(self).update(read=read, refusal=refusal, count=n, log_weights=log_weights, pairs={})

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(vars(self)["count"])

    @property
    def codes(self) -> Sequence[IntArray]:
        """Refused."""
        raise vars(self)["refusal"]()

    @property
    def Z(self) -> Sequence[FloatArray]:
        """Refused."""
        raise vars(self)["refusal"]()

    @property
    def Xy(self) -> FloatArray:
        """Refused."""
        raise vars(self)["refusal"]()

    def chunks(self) -> Iterator[Rows]:
        """Read all rows once more."""
        found: Iterator[Rows] = vars(self)["read"]()
        return found

    def changed(self, change: Callable[[Rows], Rows]) -> Rows:
        """Rows to which ``change`` is applied, batch by batch, when they are read."""
        return StreamedRows(lambda: map(change, self.chunks()), self.n, self.log_weights, vars(self)["refusal"])
