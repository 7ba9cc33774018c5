"""The linear map from the weights W of the leading block to its part of the Schur complement, and its adjoint.

S -> S - sum_j C_j' W_j C_j is linear in W. With dense storage it is one matrix product; with sparse storage
the map itself is built once as a sparse matrix and applied to W at every evaluation.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod

import numpy as np
from scipy import sparse

from interlace.core.crossproducts import CrossProducts
from interlace.typing import FloatArray, IntArray

__all__ = ["LeadingMap", "SparseMap", "scale_blocks"]


def scale_blocks(W: FloatArray, C: FloatArray) -> FloatArray:
    """Products W_j C_j for every level; shapes (q, k, k) and (q, k, m)."""
    if W.shape[1] == 1:
        scalar: FloatArray = W * C
        return scalar
    product: FloatArray = np.matmul(W, C)
    return product


class LeadingMap(ABC):
    """Schur complement of one leading block whose products with the rest are sparse.

    Parameters
    ----------
    cp : CrossProducts
        With sparse storage; C_j = [Cz_j | Cx_j].
    """

    def __init__(self, cp: CrossProducts) -> None:
        assert cp.Cz is not None
        lead = cp.structure.blocks[0]
        self._q, self._k, self._m_z = lead.q, lead.k, cp.structure.m_z
        self._Cz = cp.Cz
        self._CzT = cp.Cz.T.tocsr()
        self._Cx = cp.C[0].reshape(lead.size, -1)

    @abstractmethod
    def _square(self, W: FloatArray) -> FloatArray:
        """Sum over levels of Cz_j' W_j Cz_j, shape (m_z, m_z)."""

    @abstractmethod
    def _half_forms(self, G: FloatArray) -> FloatArray:
        """Matrices, shape (q, k, k), that with their transposes add up to Cz_j G Cz_j'; G of shape (m, m)."""

    def complement(self, W: FloatArray, S: FloatArray) -> FloatArray:
        """S - sum_j C_j' W_j C_j, shape (m, m)."""
        m_z = self._m_z
        WCx = scale_blocks(W, self._Cx.reshape(self._q, self._k, -1)).reshape(self._Cx.shape)
        out = S.copy()
        out[:m_z, :m_z] -= self._square(W)
        cross = self._CzT @ WCx
        out[:m_z, m_z:] -= cross
        out[m_z:, :m_z] -= cross.T
        out[m_z:, m_z:] -= self._Cx.T @ WCx
        return out

    def adjoint(self, G: FloatArray) -> FloatArray:
        """C_j G C_j' for every level, shape (q, k, k); G symmetric, shape (m, m)."""
        m_z, q, k = self._m_z, self._q, self._k
        half = self._Cz @ G[:m_z, m_z:] + 0.5 * (self._Cx @ G[m_z:, m_z:])
        mixed = np.matmul(half.reshape(q, k, -1), self._Cx.reshape(q, k, -1).transpose(0, 2, 1))
        mixed += self._half_forms(G)
        result: FloatArray = mixed + mixed.transpose(0, 2, 1)
        return result

    def times(self, v: FloatArray) -> FloatArray:
        """C_j v for every level; ``v`` of shape (m, r), result (q, k, r)."""
        out = self._Cz @ v[: self._m_z] + self._Cx @ v[self._m_z :]
        return out.reshape(self._q, self._k, -1)

    def times_each(self, N: FloatArray) -> FloatArray:
        """C_j N_j' for every level; ``N`` of shape (q, r, m - 1) or (q, r, m), result (q, k, r)."""
        q, k, r = self._q, self._k, N.shape[1]
        row = np.repeat(np.arange(q * k), np.diff(self._Cz.indptr))
        out = np.empty((q * k, r))
        for b in range(r):
            products = self._Cz.data * N[row // k, b, self._Cz.indices]
            out[:, b] = np.bincount(row, weights=products, minlength=q * k)
        right = N[:, :, self._m_z :]
        dense = self._Cx.reshape(q, k, -1)[:, :, : right.shape[2]]
        result: FloatArray = out.reshape(q, k, r) + np.matmul(dense, right.transpose(0, 2, 1))
        return result

    def transposed(self, w: FloatArray) -> FloatArray:
        """Sum over levels of C_j' w_j; ``w`` of shape (q, k, r), result (m, r)."""
        flat = w.reshape(self._q * self._k, -1)
        return np.concatenate([self._CzT @ flat, self._Cx.T @ flat])


class SparseMap(LeadingMap):
    """By a list of all pairs of entries within a level, which pays when many theta follow one matrix.

    Parameters
    ----------
    cp : CrossProducts
        With sparse storage.
    """

    def __init__(self, cp: CrossProducts) -> None:
        super().__init__(cp)
        self._pairs = _known_pairs(self._Cz, self._q, self._k)

    def _square(self, W: FloatArray) -> FloatArray:
        upper = (self._pairs.T @ W.reshape(-1)).reshape(self._m_z, self._m_z)
        return np.asarray(upper + np.triu(upper, 1).T)

    def _half_forms(self, G: FloatArray) -> FloatArray:
        upper = np.array(G[: self._m_z, : self._m_z], order="C")
        upper.flat[:: self._m_z + 1] *= 0.5
        return np.asarray(self._pairs @ upper.reshape(-1)).reshape(self._q, self._k, self._k)


#: Pairs that are formed at once.
_AT_ONCE = 300_000


#: The pair matrix that was formed last, and what it was formed from; gone when that is.
_last: list[tuple[weakref.ref[sparse.csr_array], sparse.csr_array]] = []


def _known_pairs(Cz: sparse.csr_array, q: int, k: int) -> sparse.csr_array:
    """The pair matrix: formed once for all that is asked of one model, whatever its response."""
    for known, pairs in tuple(_last):
        if known() is Cz:
            return pairs
    pairs = _pair_matrix(Cz, q, k)
    _last[:] = [(weakref.ref(Cz, lambda _: _last.clear()), pairs)]
    return pairs


def _pair_matrix(Cz: sparse.csr_array, q: int, k: int) -> sparse.csr_array:
    """Matrix M, shape (q k k, m_z m_z), with vec(sum_j Cz_j' W_j Cz_j) = M' vec(W) on and above the diagonal.

    The map takes most of the memory of such a fit: it is formed a few levels at a time, in its final place.
    """
    m_z = Cz.shape[1]
    row = np.repeat(np.arange(q * k), np.diff(Cz.indptr))
    # Entries by level, then column: the partners of an entry are those from the first of its column to the last of
    # its level.
    level, within = np.divmod(row, k)
    starts = Cz.indptr[::k].astype(np.int64)
    order = np.argsort(level * m_z + Cz.indices, kind="stable")
    within, column, values = within[order], Cz.indices[order].astype(np.int64), Cz.data[order]
    cell = level * m_z + column
    first = np.searchsorted(cell, cell)
    last = starts[level + 1]
    total = np.concatenate([[0], np.cumsum(last - first)])
    kind = np.int32 if max(int(total[-1]), m_z * m_z) < np.iinfo(np.int32).max else np.int64
    data, indices, count = np.empty(total[-1]), np.empty(total[-1], dtype=kind), np.zeros(q * k * k, dtype=np.int64)
    for start, stop in _levels_at_once(starts, total):
        left = np.repeat(np.arange(start, stop), (last - first)[start:stop])
        right = np.arange(total[start], total[stop]) - (total[:-1] - first)[left]
        cells = (level[left] * k + within[left]) * k + within[right]
        if k > 1:
            by_cell = np.argsort(cells, kind="stable")
            left, right = left[by_cell], right[by_cell]
        where = slice(total[start], total[stop])
        np.multiply(values[left], values[right], out=data[where])
        np.add(column[left] * m_z, column[right], out=indices[where], casting="same_kind")
        count += np.bincount(cells, minlength=count.size)
    indptr = np.concatenate([[0], np.cumsum(count)]).astype(kind)
    return sparse.csr_array((data, indices, indptr), shape=(q * k * k, m_z * m_z))


def _levels_at_once(starts: IntArray, total: IntArray) -> list[tuple[int, int]]:
    """First and last entry (exclusive) of pieces of whole levels with a limited number of pairs, or of one level."""
    edges = total[starts]
    wanted = np.searchsorted(edges, np.arange(_AT_ONCE, int(edges[-1]) + _AT_ONCE, _AT_ONCE))
    stops = starts[np.unique(np.minimum(wanted, starts.size - 1))].tolist()
    return list(zip([0, *stops[:-1]], stops, strict=True))
