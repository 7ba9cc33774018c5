"""Sums of a mixed model that no order of elimination has been chosen for yet: what separate holders of rows exchange.

With V = [X | y] and U_i the columns of grouping factor i, rows multiplied by the square roots of their weights,
:class:`LevelSums` holds a triangular factor of V, U_i'U_i and U_i'V level by level, and U_i'U_j for the pairs of levels
that occur together. These are all blocks of the cross-products, whatever order the elimination then takes; they can be
added, taken away, and carried to another basis. The factor of V in place of V'V keeps the digits that products lose
(Golub and Van Loan, 2013, *Matrix Computations*, 4th ed., section 5.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy import sparse

from interlace.core.crossproducts import CrossProducts, group_products, pair_matrix
from interlace.core.streams import with_rows
from interlace.core.structure import Structure
from interlace.typing import FloatArray, IntArray

__all__ = ["Constants", "LevelSums", "cross_products", "root_of_gram", "without_rows"]

#: Share of a column's sum of squares below which what taking rows away leaves is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Constants:
    """What columns were centered and scaled by: ``column = center + scale * (column of the sums)``.

    Attributes
    ----------
    center, scale : ndarray, shapes (k,)
        The center of every column is 0 where there is no constant column.
    constant : int or None
        Place of the column of ones, by which sums can be moved to other centers.
    """

    center: FloatArray
    scale: FloatArray
    constant: int | None

    def onto(self, other: Constants) -> FloatArray:
        """Matrix T, shape (k, k), with (columns by ``other``) = (columns by these constants) T."""
        T = np.diag(self.scale / other.scale)
        if self.constant is not None:
            T[self.constant] += (self.center - other.center) / other.scale
        return T

    @property
    def raw(self) -> FloatArray:
        """The same, to columns that are neither centered nor scaled."""
        return self.onto(Constants(np.zeros_like(self.center), np.ones_like(self.scale), self.constant))

    def pooled(self, n: int, other: Constants, m: int) -> Constants:
        """Constants of n rows and m others together.

        Examples
        --------
        >>> one = Constants(np.array([0.0, 1.0]), np.array([1.0, 2.0]), 0)
        >>> two = Constants(np.array([0.0, 4.0]), np.array([1.0, 2.0]), 0)
        >>> one.pooled(2, two, 1).center
        array([0., 2.])
        """
        if n + m == 0:
            return self
        center = (n * self.center + m * other.center) / (n + m)
        squares = sum(r * (c.scale**2 + (c.center - center) ** 2) for r, c in ((n, self), (m, other)))
        scale = np.sqrt(squares / (n + m))
        if self.constant is not None:
            center[self.constant], scale[self.constant] = 0.0, 1.0
        return Constants(center, scale, self.constant)


@dataclass(frozen=True)
class LevelSums:
    """Sums of n rows over t grouping factors of q_i levels and k_i columns, and p fixed-effects columns.

    Attributes
    ----------
    n : int
    log_weights : float
        Sum of the logarithms of the weights; 0 without weights.
    root : ndarray, shape (p + 1, p + 1)
        Upper triangular factor of V, no element of its diagonal negative.
    counts : tuple of ndarray of int64, shapes (q_i,)
        Rows of each level.
    own : tuple of ndarray, shapes (q_i, k_i, k_i)
        U_i'U_i by level.
    with_v : tuple of ndarray, shapes (q_i, k_i, p + 1)
        U_i'V by level.
    meetings : ndarray of int64, shape (r, t)
        Levels of the factors that occur together in a row, each combination once, sorted.
    pairs : dict of (int, int) to ndarray, shapes (pairs, k_i, k_j)
        U_i'U_j for i < j, pair by pair of levels, as :meth:`keys` lists these.
    """

    n: int
    log_weights: float
    root: FloatArray
    counts: tuple[IntArray, ...]
    own: tuple[FloatArray, ...]
    with_v: tuple[FloatArray, ...]
    meetings: IntArray
    pairs: dict[tuple[int, int], FloatArray]

    @classmethod
    def of_rows(
        cls,
        codes: Sequence[IntArray],
        sizes: Sequence[int],
        U: Sequence[FloatArray],
        V: FloatArray,
        log_weights: float = 0.0,
    ) -> LevelSums:
        """Sums of rows that are multiplied by the square roots of their weights.

        Parameters
        ----------
        codes : sequence of ndarray of int64, shapes (n,)
        sizes : sequence of int
            Numbers of levels.
        U : sequence of ndarray, shapes (n, k_i)
        V : ndarray, shape (n, p + 1)
        log_weights : float
        """
        meetings = np.unique(np.column_stack(codes), axis=0)
        pairs = {}
        for i, j in combinations(range(len(codes)), 2):
            _, place = np.unique(codes[i] * sizes[j] + codes[j], return_inverse=True)
            pairs[i, j] = group_products(place, int(place.max()) + 1, U[i], U[j])
        return cls(
            V.shape[0],
            log_weights,
            _square(with_rows(np.empty((0, V.shape[1])), V)),
            tuple(np.bincount(c, minlength=q).astype(np.int64) for c, q in zip(codes, sizes, strict=True)),
            tuple(group_products(c, q, u, u) for c, q, u in zip(codes, sizes, U, strict=True)),
            tuple(group_products(c, q, u, V) for c, q, u in zip(codes, sizes, U, strict=True)),
            meetings,
            pairs,
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of levels q_i."""
        return tuple(count.size for count in self.counts)

    def keys(self, i: int, j: int) -> IntArray:
        """Pairs of levels that occur, ascending: level of i times q_j plus level of j."""
        return np.unique(self.meetings[:, i] * self.sizes[j] + self.meetings[:, j])

    def carried(self, T: Sequence[FloatArray], to_v: FloatArray) -> LevelSums:
        """Sums of the columns U_i T_i and V ``to_v``, shapes (k_i, k_i') and (p + 1, p' + 1)."""
        return replace(
            self,
            root=_square(with_rows(np.empty((0, to_v.shape[1])), self.root @ to_v)),
            own=tuple(t.T @ own @ t for t, own in zip(T, self.own, strict=True)),
            with_v=tuple(t.T @ part @ to_v for t, part in zip(T, self.with_v, strict=True)),
            pairs={(i, j): T[i].T @ part @ T[j] for (i, j), part in self.pairs.items()},
        )

    def placed(self, places: Sequence[IntArray], sizes: Sequence[int]) -> LevelSums:
        """The same with level l of factor i at ``places[i][l]`` among ``sizes[i]`` levels; those left out are empty."""
        meetings = np.column_stack([place[self.meetings[:, i]] for i, place in enumerate(places)])
        pairs = {}
        for (i, j), part in self.pairs.items():
            old = self.keys(i, j)
            new = places[i][old // self.sizes[j]] * sizes[j] + places[j][old % self.sizes[j]]
            pairs[i, j] = part[np.argsort(new)]
        return replace(
            self,
            counts=tuple(map(_spread, self.counts, places, sizes)),
            own=tuple(map(_spread, self.own, places, sizes)),
            with_v=tuple(map(_spread, self.with_v, places, sizes)),
            meetings=np.unique(meetings, axis=0),
            pairs=pairs,
        )

    def kept(self, levels: Sequence[IntArray]) -> LevelSums:
        """Only these levels of each factor; the others have no rows."""
        places = []
        for size, wanted in zip(self.sizes, levels, strict=True):
            place = np.full(size, -1, dtype=np.int64)
            place[wanted] = np.arange(wanted.size)
            places.append(place)
        left = np.column_stack([place[self.meetings[:, i]] for i, place in enumerate(places)])
        left = left[(left >= 0).all(axis=1)]
        pairs = {}
        for (i, j), part in self.pairs.items():
            old, width = self.keys(i, j), self.sizes[j]
            there = np.isin(old, levels[i][left[:, i]] * width + levels[j][left[:, j]])
            pairs[i, j] = part[there]
        return replace(
            self,
            counts=tuple(count[wanted] for count, wanted in zip(self.counts, levels, strict=True)),
            own=tuple(own[wanted] for own, wanted in zip(self.own, levels, strict=True)),
            with_v=tuple(part[wanted] for part, wanted in zip(self.with_v, levels, strict=True)),
            meetings=left,
            pairs=pairs,
        )

    def __add__(self, other: LevelSums) -> LevelSums:
        """Sums of the rows of both; levels and columns are the same."""
        return self._combine(other, 1, _square(with_rows(self.root, other.root)))

    def __sub__(self, other: LevelSums) -> LevelSums:
        """Sums without the rows of ``other``; ValueError where these are not among them."""
        if other.n > self.n or any((a < b).any() for a, b in zip(self.counts, other.counts, strict=True)):
            raise ValueError("more rows than there are")
        return self._combine(other, -1, without_rows(self.root, other.root))

    def _combine(self, other: LevelSums, sign: int, root: FloatArray) -> LevelSums:
        meetings = np.unique(np.concatenate([self.meetings, other.meetings]), axis=0)
        total = replace(
            self,
            n=self.n + sign * other.n,
            log_weights=self.log_weights + sign * other.log_weights,
            root=root,
            counts=tuple(a + sign * b for a, b in zip(self.counts, other.counts, strict=True)),
            own=tuple(a + sign * b for a, b in zip(self.own, other.own, strict=True)),
            with_v=tuple(a + sign * b for a, b in zip(self.with_v, other.with_v, strict=True)),
            meetings=meetings,
        )
        pairs = {}
        for (i, j), part in self.pairs.items():
            keys = total.keys(i, j)
            sums = np.zeros((keys.size, *part.shape[1:]))
            sums[np.searchsorted(keys, self.keys(i, j))] = part
            sums[np.searchsorted(keys, other.keys(i, j))] += sign * other.pairs[i, j]
            pairs[i, j] = sums
        return replace(total, pairs=pairs)


Values = TypeVar("Values", FloatArray, IntArray)


def _spread(values: Values, place: IntArray, size: int) -> Values:
    out: Values = np.zeros((size, *values.shape[1:]), dtype=values.dtype)
    out[place] = values
    return out


def _square(R: FloatArray) -> FloatArray:
    """Triangular factor with as many rows as columns and a diagonal that is not negative."""
    out = np.zeros((R.shape[1], R.shape[1]))
    out[: R.shape[0]] = np.where(np.diagonal(R) < 0.0, -1.0, 1.0)[:, None] * R
    return out


def root_of_gram(G: FloatArray) -> FloatArray:
    """Triangular factor R, shape (k, k), with R'R = G up to rounding; G may be singular.

    Examples
    --------
    >>> root_of_gram(np.array([[4.0, 2.0], [2.0, 1.0]])).round(6)
    array([[2., 1.],
           [0., 0.]])
    """
    size = np.sqrt(np.maximum(np.diagonal(G), 0.0))
    unit = np.where(size > 0.0, size, 1.0)
    values, vectors = np.linalg.eigh(G / np.outer(unit, unit))
    half = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T * unit
    return _square(with_rows(np.empty((0, G.shape[0])), half))


def without_rows(R: FloatArray, gone: FloatArray) -> FloatArray:
    """Triangular factor after rows with the factor ``gone`` are taken away, shapes (p, p).

    Cross-products are formed for it, so that about half of the digits are lost where the columns are nearly collinear.

    Raises
    ------
    ValueError
        Those rows are not among the rows of ``R``.
    """
    G = R.T @ R - gone.T @ gone
    size = np.sqrt((R * R).sum(axis=0))
    unit = np.where(size > 0.0, size, 1.0)
    scaled = G / np.outer(unit, unit)
    values = np.linalg.eigvalsh(scaled)
    if values[0] < -_ROUNDING * max(1.0, float(gone.shape[0])):
        raise ValueError("sums of squares would become negative")
    return root_of_gram(G)


def cross_products(structure: Structure, sums: LevelSums, order: Sequence[int]) -> CrossProducts:
    """Lay sums out for an elimination.

    Parameters
    ----------
    structure : Structure
    sums : LevelSums
        With the columns of the structure's blocks, and [X | y] of its p columns.
    order : sequence of int
        Factor of each block.
    """
    s, blocks, storage = structure.n_chain, structure.blocks, structure.storage
    rest = range(s, len(blocks))
    P = {}
    for i, j in structure.parents:
        level, _, products = _pair(sums, order[i], order[j])
        P[i, j] = np.zeros((blocks[i].q, blocks[i].k, blocks[j].k))
        P[i, j][level] = products

    def matrix(i: int, j: int) -> sparse.csr_array:
        return pair_matrix(blocks[i], blocks[j], *_pair(sums, order[i], order[j]))

    C = []
    for i, block in enumerate(structure.chain):
        dense = [] if storage.sparse else [matrix(i, r).toarray().reshape(block.q, block.k, -1) for r in rest]
        C.append(np.concatenate([*dense, sums.with_v[order[i]]], axis=2))
    with_xy = np.concatenate(
        [*(sums.with_v[order[r]].reshape(blocks[r].size, -1) for r in rest), sums.root.T @ sums.root]
    )
    grid = [[matrix(r, c) for c in rest] for r in rest]
    Szz = sparse.csr_array(sparse.block_array(grid, format="csr")) if storage.whole else None
    S = with_xy
    if not storage.whole:
        S = np.zeros((structure.m, structure.m))
        S[:, structure.m_z :] = with_xy
        S[structure.m_z :, : structure.m_z] = with_xy[: structure.m_z].T
        for at, row in zip(structure.rest_slices, grid, strict=True):
            for other, part in zip(structure.rest_slices, row, strict=True):
                S[at, other] = part.toarray()
    Cz = sparse.csr_array(sparse.hstack([matrix(0, r) for r in rest], format="csr")) if storage.sparse else None
    own = tuple(sums.own[f] for f in order[:s])
    return CrossProducts(structure, sums.n, sums.log_weights, own, P, tuple(C), Cz, S, Szz)


def _pair(sums: LevelSums, f: int, g: int) -> tuple[IntArray, IntArray, FloatArray]:
    """Pairs of levels of two factors that occur, and the products of their columns; f = g is allowed."""
    if f == g:
        level = np.arange(sums.sizes[f])
        return level, level, sums.own[f]
    if f > g:
        second, first, products = _pair(sums, g, f)
        return first, second, products.transpose(0, 2, 1)
    keys = sums.keys(f, g)
    return keys // sums.sizes[g], keys % sums.sizes[g], sums.pairs[f, g]
