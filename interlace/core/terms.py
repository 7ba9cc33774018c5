"""Random-effects terms, and the blocks in which they are eliminated.

A *term* is what a formula says: one grouping factor, k covariates, one covariance structure. A *block* is what the
algebra sees: every column that shares a grouping factor, so that its part of Z'WZ is block diagonal by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np

from interlace.core.covariance import count_theta, entries
from interlace.typing import FloatArray, IntArray, Structure

__all__ = ["Block", "Term", "consecutive", "gather_blocks", "split_theta", "theta_slices"]


@dataclass(frozen=True)
class Term:
    """One random-effects term.

    Attributes
    ----------
    group : str
        Grouping factor; terms with the same ``group`` share their ``codes``.
    codes : ndarray of int64, shape (n,)
    Z : ndarray, shape (n, k)
    n_levels : int
    structure : {"unstructured", "diagonal"}
    """

    group: str
    codes: IntArray
    Z: FloatArray
    n_levels: int
    structure: Structure

    @property
    def k(self) -> int:
        """Number of columns."""
        return int(self.Z.shape[1])


@dataclass(frozen=True)
class Block:
    """All columns on one grouping factor; ``L[rows, cols] = theta[slots]`` fills its k x k factor.

    Attributes
    ----------
    q, k : int
        Levels of the factor, and columns of all its terms together.
    rows, cols, slots : ndarray of int64, shape (number of parameters,)
    members : tuple of (int, slice)
        Number of each term in the block, and its columns.
    """

    q: int
    k: int
    rows: IntArray
    cols: IntArray
    slots: IntArray
    members: tuple[tuple[int, slice], ...]

    @property
    def size(self) -> int:
        """Number of random effects, q k."""
        return self.q * self.k

    @property
    def restricted(self) -> bool:
        """Whether some entries of the lower triangle are zero by design."""
        return self.slots.size < self.k * (self.k + 1) // 2

    def factor(self, theta: FloatArray) -> FloatArray:
        """Relative covariance factor L, shape (k, k), at the parameters of the whole model."""
        L = np.zeros((self.k, self.k))
        L[self.rows, self.cols] = theta[self.slots]
        return L


def consecutive(sizes: Sequence[int]) -> list[slice]:
    """Slices of these lengths, one after the other."""
    return [slice(stop - size, stop) for size, stop in zip(sizes, accumulate(sizes), strict=True)]


@lru_cache(maxsize=256)
def theta_slices(terms: tuple[tuple[int, Structure], ...]) -> list[slice]:
    """Where each term's parameters stand in theta; terms given as (k, structure), hashable for the cache."""
    return consecutive([count_theta(k, structure) for k, structure in terms])


def split_theta(terms: Sequence[tuple[int, Structure]], theta: FloatArray) -> list[FloatArray]:
    """Factors L, shape (k, k), of each term."""
    out = []
    for (k, structure), where in zip(terms, theta_slices(tuple(terms)), strict=True):
        L = np.zeros((k, k))
        L[entries(k, structure)] = theta[where]
        out.append(L)
    return out


def gather_blocks(terms: Sequence[Term]) -> tuple[list[Block], list[IntArray], list[FloatArray]]:
    """Merge the terms on each grouping factor; blocks by decreasing number of levels.

    Returns
    -------
    blocks : list of Block
    codes : list of ndarray of int64, shapes (n,)
    Z : list of ndarray, shapes (n, k_block)
    """
    slices = theta_slices(tuple((t.k, t.structure) for t in terms))
    by_group: dict[str, list[int]] = {}
    for number, term in enumerate(terms):
        by_group.setdefault(term.group, []).append(number)
    order = sorted(by_group.values(), key=lambda numbers: -terms[numbers[0]].n_levels)
    blocks = [_merge(terms, slices, numbers) for numbers in order]
    codes = [terms[numbers[0]].codes for numbers in order]
    Z = [
        terms[numbers[0]].Z if len(numbers) == 1 else np.concatenate([terms[i].Z for i in numbers], axis=1)
        for numbers in order
    ]
    return blocks, codes, Z


def _merge(terms: Sequence[Term], slices: Sequence[slice], numbers: Sequence[int]) -> Block:
    """One block of the terms with these numbers."""
    if len(numbers) == 1:
        (i,) = numbers
        term, own = terms[i], np.arange(slices[i].start, slices[i].stop, dtype=np.int64)
        return Block(term.n_levels, term.k, *entries(term.k, term.structure), own, ((i, slice(0, term.k)),))
    rows, cols, slots, members = [], [], [], []
    start = 0
    for i in numbers:
        r, c = entries(terms[i].k, terms[i].structure)
        rows.append(r + start)
        cols.append(c + start)
        slots.append(np.arange(slices[i].start, slices[i].stop, dtype=np.int64))
        members.append((i, slice(start, start + terms[i].k)))
        start += terms[i].k
    join = np.concatenate
    return Block(terms[numbers[0]].n_levels, start, join(rows), join(cols), join(slots), tuple(members))
