"""Cross-products of the same rows with other weights, again and again, as iteratively reweighted least squares does.

What the weights do not change is found once: the places of all products, and the pattern of a sparse part. A map like
:class:`interlace.core.schur.SparseMap` would list all pairs of entries within a level, which pays when many theta
follow one matrix; here the matrix is new every time, and `ProductMap` multiplies it with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas

from interlace.core.crossproducts import CrossProducts, as_slabs
from interlace.core.factor import Elimination
from interlace.core.schur import LeadingMap, SparseMap
from interlace.core.small import diagonal_blocks
from interlace.core.structure import Structure
from interlace.typing import FloatArray, IntArray

__all__ = ["ProductMap", "WeightedProducts", "leading_map"]

#: Products up to which one pass over all pairs of columns is faster than one pass for each.
_ONE_PASS = 400_000
#: Entries of a dense piece of the leading block's products.
_PIECE = 2_000_000
#: Multiply-adds of a product of a sparse with a dense matrix in the time of one with an entry that is looked up.
_GATHERED = 35.0
#: Pairs of entries within a level that are listed, at most (1.8 GB).
_MOST_PAIRS = 150_000_000
#: Multiply-adds of the dense product in the time of one of the sparse product.
_DENSE_SPEED = 100.0


@dataclass(frozen=True)
class _Sums:
    """Sums within cells of the products of two sets of columns.

    Attributes
    ----------
    cells : ndarray of int64, shape (n,)
        Cell of each row.
    size : int
        Number of cells.
    left, right : sequence of ndarray, shapes (n,)
        Columns; None for one that is 1 throughout.
    """

    cells: IntArray
    size: int
    left: Sequence[FloatArray | None]
    right: Sequence[FloatArray | None]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(cells, columns on the left, columns on the right)."""
        return self.size, len(self.left), len(self.right)

    def at(self, weights: FloatArray) -> FloatArray:
        """Weighted sums, of that shape."""
        total, u, v = self.shape
        if 1 < u * v <= _ONE_PASS // max(weights.size, 1):
            cells, products = self._at_once
            flat = np.bincount(cells, weights=(products * weights).reshape(-1), minlength=total * u * v)
            return np.ascontiguousarray(flat.reshape(u * v, total).T, dtype=np.float64).reshape(self.shape)
        out = np.empty(self.shape)
        for a, left in enumerate(self.left):
            once = weights if left is None else weights * left
            for b, right in enumerate(self.right):
                twice = once if right is None else once * right
                out[:, a, b] = np.bincount(self.cells, weights=twice, minlength=total)
        return out

    @cached_property
    def _at_once(self) -> tuple[IntArray, FloatArray]:
        """Cells of all pairs of columns one after the other, and the products, shape (u v, n)."""
        ones = np.ones(self.cells.size)
        left, right = ([ones if c is None else c for c in side] for side in (self.left, self.right))
        products = np.stack([a * b for a in left for b in right])
        shift = self.size * np.arange(products.shape[0])
        return (self.cells + shift[:, None]).reshape(-1), products


class WeightedProducts:
    """Z'WZ, Z'WX and X'WX of one design at any weights W; the response is zero.

    Parameters
    ----------
    structure : Structure
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.
    Z : sequence of ndarray, shapes (n, k_i)
    X : ndarray, shape (n, p)
    """

    def __init__(self, structure: Structure, codes: Sequence[IntArray], Z: Sequence[FloatArray], X: FloatArray) -> None:
        self.structure, self._codes, self._X = structure, codes, X
        self._columns = [[_unless_ones(z) for z in np.ascontiguousarray(Z_i.T)] for Z_i in Z]
        numbers, s = range(len(structure.blocks)), structure.n_chain
        self._own = [self._sums(codes[i], structure.blocks[i].q, i, i) for i in numbers]
        self._onto = {(i, j): self._sums(codes[i], structure.blocks[i].q, i, j) for i, j in structure.parents}
        sparse_lead = structure.storage.sparse
        self._pairs: dict[tuple[int, int], _Sums] = {}
        self._keys: dict[int, IntArray] = {}
        for i in numbers:
            for j in range(max(i + 1, s), len(structure.blocks)):
                q = structure.blocks[j].q
                cells, size = codes[i] * q + codes[j], structure.blocks[i].q * q
                if i == 0 and sparse_lead:
                    self._keys[j], cells = _occurring(cells, size)
                    size = self._keys[j].size
                self._pairs[i, j] = self._sums(cells, size, i, j)

    def _sums(self, cells: IntArray, size: int, i: int, j: int) -> _Sums:
        return _Sums(cells, size, self._columns[i], self._columns[j])

    def at(self, weights: FloatArray) -> CrossProducts:
        """Cross-products at weights of any sign, shape (n,)."""
        structure, s, m_z = self.structure, self.structure.n_chain, self.structure.m_z
        dense_lead = not structure.storage.sparse
        own = [sums.at(weights) for sums in self._own]
        P = {key: sums.at(weights) for key, sums in self._onto.items()}
        WX = [weights * x for x in self._X.T]
        C = []
        for i, block in enumerate(structure.chain):
            slab = np.zeros((block.q, block.k, structure.m if dense_lead else structure.p + 1))
            if dense_lead:
                for where, j in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
                    slab[:, :, where] = self._dense(i, j, weights)
            self._with_columns(i, WX, slab[:, :, -1 - structure.p : -1])
            C.append(slab)
        S = np.zeros((structure.m, structure.m))
        for r, where in zip(range(s, len(structure.blocks)), structure.rest_slices, strict=True):
            block = structure.blocks[r]
            level = np.arange(block.q)
            S[where, where].reshape(block.q, block.k, block.q, block.k)[level, :, level, :] = own[r]
            for j, other in zip(range(r + 1, len(structure.blocks)), structure.rest_slices[r - s + 1 :], strict=True):
                cross = self._dense(r, j, weights).reshape(block.size, -1)
                S[where, other], S[other, where] = cross, cross.T
            columns = np.empty((block.q, block.k, structure.p))
            self._with_columns(r, WX, columns)
            S[where, m_z:-1] = columns.reshape(block.size, -1)
        if structure.p:
            S[m_z:-1, :m_z] = S[:m_z, m_z:-1].T
            S[m_z:-1, m_z:-1] = self._X.T @ np.column_stack(WX)
        S[-1, -1] = 1.0
        Cz = None if dense_lead else self._sparse(weights)
        return CrossProducts(structure, weights.size, 0.0, tuple(own[:s]), P, tuple(C), Cz, S, None)

    def _dense(self, i: int, j: int, weights: FloatArray) -> FloatArray:
        """Z_i'WZ_j with every pair of levels, shape (q_i, k_i, q_j k_j)."""
        a, b = self.structure.blocks[i], self.structure.blocks[j]
        return as_slabs(self._pairs[i, j].at(weights), a.k, b)

    def _with_columns(self, i: int, WX: Sequence[FloatArray], out: FloatArray) -> None:
        """Z_i'WX by level, into shape (q_i, k_i, p)."""
        for a, z in enumerate(self._columns[i]):
            for b, x in enumerate(WX):
                out[:, a, b] = np.bincount(self._codes[i], weights=x if z is None else z * x, minlength=out.shape[0])

    def _sparse(self, weights: FloatArray) -> sparse.csr_array:
        """Z_1'WZ_rest, shape (q_1 k_1, m_z), on a pattern that is found once."""
        indices, indptr, order = self._pattern
        data = np.concatenate([self._pairs[0, j].at(weights).reshape(-1) for j in self._keys])
        return _csr(data if order is None else data[order], indices, indptr, self.structure)

    @cached_property
    def _pattern(self) -> tuple[IntArray, IntArray, IntArray | None]:
        """Column indices, where rows begin, and where each entry comes from; None for their own order."""
        structure, rows, cols = self.structure, [], []
        lead = structure.blocks[0]
        for (j, keys), where in zip(self._keys.items(), structure.rest_slices, strict=True):
            block = structure.blocks[j]
            shape = (keys.size, lead.k, block.k)
            row = (keys // block.q)[:, None, None] * lead.k + np.arange(lead.k)[None, :, None]
            col = (keys % block.q)[:, None, None] * block.k + np.arange(block.k)[None, None, :] + where.start
            rows.append(np.broadcast_to(row, shape).reshape(-1))
            cols.append(np.broadcast_to(col, shape).reshape(-1))
        row, col = np.concatenate(rows), np.concatenate(cols)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=lead.size))])
        if len(self._keys) == 1 and lead.k == 1:
            return col.astype(np.int32), indptr.astype(np.int32), None
        order = np.lexsort((col, row))
        return col[order].astype(np.int32), indptr.astype(np.int32), order

    def variances(self, e: Elimination, inverse: FloatArray) -> FloatArray:
        """Variances z_i'N z_i of the random part of every row given beta, shape (n,), for sparse storage.

        With N_1R = -W C N_RR and N_11 = W + W C N_RR C' W on the pairs of levels that occur, N_RR = ``inverse``; see
        :mod:`interlace.core.joint`.

        Parameters
        ----------
        e : Elimination
            By a `ProductMap`.
        inverse : ndarray, shape (m, m)
            With zeros for X and y.
        """
        assert isinstance(e.lead, ProductMap)
        W, codes, places = e.W[0], self._codes, self.structure.rest_slices
        own = W + np.matmul(np.matmul(W, e.lead.adjoint(inverse)), W)
        total = self._forms(0, 0, own[codes[0]])
        crossing = e.lead.scaled(-W, e.lead.on_pattern(inverse))
        for j in self._keys:
            total += 2.0 * self._forms(0, j, crossing[self._positions(j)][self._pairs[0, j].cells])
        for j, at in zip(self._keys, places, strict=True):
            block = self.structure.blocks[j]
            total += self._forms(j, j, diagonal_blocks(inverse[at, at], block.q, block.k)[codes[j]])
            for h, other in zip(list(self._keys)[j:], places[j:], strict=True):
                above = self.structure.blocks[h]
                N = inverse[at, other].reshape(block.q, block.k, above.q, above.k)
                total += 2.0 * self._forms(j, h, N[codes[j], :, codes[h], :])
        return total

    def _forms(self, i: int, j: int, N: FloatArray) -> FloatArray:
        """z_i'N z_j of every row, N of shape (n, k_i, k_j)."""
        total = np.zeros(N.shape[0])
        for a, left in enumerate(self._columns[i]):
            for b, right in enumerate(self._columns[j]):
                value = N[:, a, b] if left is None else N[:, a, b] * left
                total += value if right is None else value * right
        return total

    def _positions(self, j: int) -> IntArray:
        """Where the sparse part has the products of each pair of levels with block j, shape (pairs, k_1, k_j)."""
        sizes = {h: int(np.prod(self._pairs[0, h].shape)) for h in self._keys}
        start = sum(size for h, size in sizes.items() if h < j)
        listed = np.arange(start, start + sizes[j]).reshape(self._pairs[0, j].shape)
        order = self._pattern[2]
        if order is None:
            return listed
        position = np.empty_like(order)
        position[order] = np.arange(order.size)
        return position[listed]


def _csr(data: FloatArray, indices: IntArray, indptr: IntArray, structure: Structure) -> sparse.csr_array:
    return sparse.csr_array((data, indices, indptr), shape=(structure.blocks[0].size, structure.m_z))


def _unless_ones(column: FloatArray) -> FloatArray | None:
    return None if (column == 1.0).all() else column


def _occurring(cells: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Cells that occur, in order, and which of them each row has."""
    if size > 40 * cells.size:
        keys, inverse = np.unique(cells, return_inverse=True)
        return keys, inverse
    occurs = np.zeros(size, dtype=bool)
    occurs[cells] = True
    keys = np.flatnonzero(occurs)
    number = np.empty(size, dtype=np.int64)
    number[keys] = np.arange(keys.size)
    return keys, number[cells]


class ProductMap(LeadingMap):
    """By multiplication, for one evaluation, or where a list of pairs would fill the memory.

    Parameters
    ----------
    cp : CrossProducts
        With sparse storage.
    """

    def __init__(self, cp: CrossProducts) -> None:
        super().__init__(cp)
        self._known: tuple[FloatArray, FloatArray] | None = None

    def _pieces(self) -> list[tuple[int, int]]:
        """First and last level (exclusive) of dense pieces."""
        size = max(1, _PIECE // (self._k * self._m_z))
        return [(first, min(first + size, self._q)) for first in range(0, self._q, size)]

    def _square(self, W: FloatArray) -> FloatArray:
        entries = np.diff(self._Cz.indptr).astype(np.float64)
        if _DENSE_SPEED * float(entries @ entries) < 0.5 * self._q * self._k * float(self._m_z) ** 2:
            weighted = sparse.csr_array(
                (self.scaled(W, self._Cz.data), self._Cz.indices, self._Cz.indptr), self._Cz.shape
            )
            return np.asarray((self._CzT @ weighted).toarray())
        total = np.zeros((self._m_z, self._m_z), order="F")
        for first, last in self._pieces():
            rows = slice(first * self._k, last * self._k)
            piece = self._Cz[rows].toarray()
            if self._k == 1:
                # A weight is positive, and its root halves the work.
                piece *= np.sqrt(W[first:last, 0])
                total = blas.dsyrk(1.0, piece.T, beta=1.0, c=total, overwrite_c=1)
            else:
                weighted = np.matmul(W[first:last], piece.reshape(last - first, self._k, -1)).reshape(piece.shape)
                total = blas.dgemm(1.0, piece.T, weighted.T, beta=1.0, c=total, trans_b=1, overwrite_c=1)
        return np.asarray(np.triu(total) + np.triu(total, 1).T if self._k == 1 else total)

    def scaled(self, W: FloatArray, entries: FloatArray) -> FloatArray:
        """W_j M_j for every level, M with the pattern of Cz and these entries; entries of the product."""
        q, k, indptr = self._q, self._k, self._Cz.indptr
        level = np.repeat(np.arange(q), np.diff(indptr)[::k])
        rows = _rows_of_each_level(entries, indptr, k)
        products = [sum(W[level, a, b] * row for b, row in enumerate(rows)) for a in range(k)]
        if k == 1:
            return np.asarray(products[0])
        out, row = np.empty_like(entries), np.repeat(np.arange(q * k), np.diff(indptr))
        for a, product in enumerate(products):
            out[row % k == a] = product
        return out

    def on_pattern(self, G: FloatArray) -> FloatArray:
        """Entries of Cz G where Cz has entries, in its order; G symmetric, shape (m, m)."""
        if self._known is not None and self._known[0] is G:
            return self._known[1]
        inner = np.ascontiguousarray(G[: self._m_z, : self._m_z])
        entries = np.diff(self._Cz.indptr).astype(np.float64)
        few = _GATHERED * float(entries @ entries) < self._Cz.nnz * float(self._m_z)
        out = self._by_gathering(inner) if few else self._by_product(inner)
        self._known = (G, out)
        return out

    def _by_product(self, G: FloatArray) -> FloatArray:
        """The product with everything, and what is wanted of it."""
        out, indptr = np.empty(self._Cz.nnz), self._Cz.indptr
        for first, last in self._pieces():
            rows = slice(first * self._k, last * self._k)
            product = self._Cz[rows] @ G
            entries = slice(indptr[rows.start], indptr[rows.stop])
            row = np.repeat(np.arange(product.shape[0]), np.diff(indptr[rows.start : rows.stop + 1]))
            out[entries] = product[row, self._Cz.indices[entries]]
        return out

    def _by_gathering(self, G: FloatArray) -> FloatArray:
        """What is wanted row by row, with all rows that have the same number of entries at once."""
        out, indptr, counts = np.empty(self._Cz.nnz), self._Cz.indptr, np.diff(self._Cz.indptr)
        for count in np.unique(counts[counts > 0]):
            same = np.flatnonzero(counts == count)
            for some in np.array_split(same, -(-same.size * int(count) ** 2 // _PIECE)):
                entries = indptr[some][:, None] + np.arange(count)
                columns = self._Cz.indices[entries]
                block = G[columns[:, :, None], columns[:, None, :]]
                out[entries] = np.matmul(block, self._Cz.data[entries][:, :, None])[:, :, 0]
        return out

    def _half_forms(self, G: FloatArray) -> FloatArray:
        q, k = self._q, self._k
        indptr, product = self._Cz.indptr, self.on_pattern(G)
        # The rows of a level have entries in the same columns.
        forms, level = np.zeros((q, k, k)), np.repeat(np.arange(q), np.diff(indptr)[::k])
        left, right = (_rows_of_each_level(x, indptr, k) for x in (product, self._Cz.data))
        for a, b in np.ndindex(k, k):
            forms[:, a, b] = np.bincount(level, weights=left[a] * right[b], minlength=q)
        return 0.5 * forms


def leading_map(cp: CrossProducts) -> LeadingMap | None:
    """What eliminates a leading block with sparse storage at many theta; None with dense storage.

    All pairs are listed, unless that would fill the memory. (Sums of chunks may lack entries in some rows of a level,
    for which there are pairs but no `ProductMap`.)
    """
    if cp.Cz is None:
        return None
    entries = np.diff(cp.Cz.indptr[:: cp.structure.blocks[0].k]).astype(np.float64)
    few = float(entries @ entries) <= 2.0 * _MOST_PAIRS
    return SparseMap(cp) if few or cp.structure.blocks[0].k > 1 else ProductMap(cp)


def _rows_of_each_level(entries: FloatArray, indptr: NDArray[np.integer[Any]], k: int) -> list[FloatArray]:
    """Entries of the first, second, ... row of every level."""
    if k == 1:
        return [entries]
    row = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    return [entries[row % k == a] for a in range(k)]
