"""The linear map from the weights W of the leading block to its part of the Schur complement, and its adjoint.

S -> S - sum_j C_j' W_j C_j is linear in W. With dense storage it is one matrix product; with sparse storage
the map itself is built once as a sparse matrix and applied to W at every evaluation.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from interlace.core.crossproducts import CrossProducts
from interlace.typing import FloatArray, IntArray

__all__ = ["SparseMap", "scale_blocks"]


def scale_blocks(W: FloatArray, C: FloatArray) -> FloatArray:
    """Products W_j C_j for every level; shapes (q, k, k) and (q, k, m)."""
    if W.shape[1] == 1:
        scalar: FloatArray = W * C
        return scalar
    product: FloatArray = np.matmul(W, C)
    return product


class SparseMap:
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
        self._pairs = _pair_matrix(cp.Cz, lead.q, lead.k)

    def complement(self, W: FloatArray, S: FloatArray) -> FloatArray:
        """S - sum_j C_j' W_j C_j, shape (m, m)."""
        m_z = self._m_z
        WCx = scale_blocks(W, self._Cx.reshape(self._q, self._k, -1)).reshape(self._Cx.shape)
        out = S.copy()
        out[:m_z, :m_z] -= (self._pairs.T @ W.reshape(-1)).reshape(m_z, m_z)
        cross = self._CzT @ WCx
        out[:m_z, m_z:] -= cross
        out[m_z:, :m_z] -= cross.T
        out[m_z:, m_z:] -= self._Cx.T @ WCx
        return out

    def adjoint(self, G: FloatArray) -> FloatArray:
        """C_j G C_j' for every level, shape (q, k, k); G symmetric, shape (m, m)."""
        m_z, q, k = self._m_z, self._q, self._k
        zz = (self._pairs @ np.ascontiguousarray(G[:m_z, :m_z]).reshape(-1)).reshape(q, k, k)
        half = self._Cz @ G[:m_z, m_z:] + 0.5 * (self._Cx @ G[m_z:, m_z:])
        mixed = np.matmul(half.reshape(q, k, -1), self._Cx.reshape(q, k, -1).transpose(0, 2, 1))
        result: FloatArray = zz + mixed + mixed.transpose(0, 2, 1)
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


def _pair_matrix(Cz: sparse.csr_array, q: int, k: int) -> sparse.csr_array:
    """Matrix M, shape (q k k, m_z m_z), with vec(sum_j Cz_j' W_j Cz_j) = M' vec(W)."""
    m_z = Cz.shape[1]
    entry_row = np.repeat(np.arange(q * k), np.diff(Cz.indptr))
    level = entry_row // k
    count = np.bincount(level, minlength=q)
    # Entries of one level are contiguous; each is paired with every entry of its level.
    partners = count[level]
    left = np.repeat(np.arange(entry_row.size), partners)
    start = np.repeat((np.cumsum(count) - count)[level] - (np.cumsum(partners) - partners), partners)
    right = np.arange(left.size) + start
    columns: IntArray = Cz.indices[left].astype(np.int64) * m_z + Cz.indices[right]
    values = Cz.data[left] * Cz.data[right]
    shape = (q * k * k, m_z * m_z)
    if k == 1:
        return sparse.csr_array((values, columns, np.concatenate([[0], np.cumsum(count * count)])), shape=shape)
    rows = (level[left] * k + entry_row[left] % k) * k + entry_row[right] % k
    return sparse.csr_array((values, (rows, columns)), shape=shape)
