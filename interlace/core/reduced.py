"""What is left of a sparse system after its leading block, known by its products with vectors only.

F = I + T'(Z_2'WZ_2 - C'W C)T with C = Z_1'WZ_2 and T the factors of the other blocks (see
:mod:`interlace.core.factor`). Its diagonal blocks, one k x k matrix for each level, are cheap to have exactly, and so
are their derivatives: they precondition F and carry most of its log-determinant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interlace.core.crossproducts import CrossProducts
from interlace.core.small import inverse
from interlace.typing import FloatArray, IntArray

__all__ = ["Pairs", "ReducedSystem", "Roots", "scale_levels"]


@dataclass(frozen=True)
class Pairs:
    """Levels of the leading block and of another one that occur together.

    Attributes
    ----------
    lead, other : ndarray of int64, shape (N,)
        Level of each.
    slabs : ndarray, shape (N, k_1, k_i)
        Z_1'WZ_i over the rows of each pair.
    """

    lead: IntArray
    other: IntArray
    slabs: FloatArray

    @classmethod
    def of(cls, cp: CrossProducts, r: int) -> Pairs:
        """Pairs of the leading block and block ``r``."""
        assert cp.Cz is not None
        a, b = cp.structure.blocks[0], cp.structure.blocks[r]
        entries = cp.Cz[:, cp.structure.rest_slices[r - 1]].tocoo()
        row, column = (x.astype(np.int64) for x in entries.coords)
        keys = (row // a.k) * b.q + column // b.k
        if a.k == b.k == 1:
            return cls(row, column, entries.data.reshape(-1, 1, 1))
        found, place = np.unique(keys, return_inverse=True)
        slabs = np.zeros((found.size, a.k, b.k))
        slabs[place, row % a.k, column % b.k] = entries.data
        return cls(found // b.q, found % b.q, slabs)

    def onto_other(self, W: FloatArray, q: int) -> FloatArray:
        """Sum over the pairs of each level of the other block of C'W_j C; shapes (q_1, k_1, k_1) to (q, k_i, k_i)."""
        if self.slabs.size == self.lead.size:
            return _sums(self.other, self.slabs**2 * W[self.lead], q)
        return _sums(self.other, self.slabs.transpose(0, 2, 1) @ (W[self.lead] @ self.slabs), q)

    def onto_lead(self, N: FloatArray, q: int) -> FloatArray:
        """Sum over the pairs of each leading level of C N_l C'; shapes (q_i, k_i, k_i) to (q, k_1, k_1)."""
        if self.slabs.size == self.lead.size:
            return _sums(self.lead, self.slabs**2 * N[self.other], q)
        return _sums(self.lead, (self.slabs @ N[self.other]) @ self.slabs.transpose(0, 2, 1), q)


def _sums(index: IntArray, slabs: FloatArray, q: int) -> FloatArray:
    """Sums of the slabs with each index, shape (q, k, k)."""
    k = slabs.shape[1]
    out = np.empty((q, k, k))
    for a in range(k):
        for b in range(k):
            out[:, a, b] = np.bincount(index, weights=slabs[:, a, b], minlength=q)
    return out


def scale_levels(slabs: FloatArray, x: FloatArray) -> FloatArray:
    """Product of a block-diagonal matrix, slabs (q, k, k), with x, shape (q k, r)."""
    if slabs.shape[1] == 1:
        return np.asarray(slabs[:, :, 0] * x)
    q, k = slabs.shape[0], slabs.shape[1]
    product: FloatArray = np.matmul(slabs, x.reshape(q, k, -1)).reshape(q * k, -1)
    return product


class Roots:
    """Inverse Cholesky factors G^-1 of diagonal blocks P = G G', one block of levels after the other.

    Parameters
    ----------
    blocks : sequence of ndarray, shapes (q_i, k_i, k_i)
    """

    def __init__(self, blocks: Sequence[FloatArray]) -> None:
        halves = [np.linalg.cholesky(P) for P in blocks]
        self.logdet = 2.0 * sum(float(np.log(np.diagonal(G, axis1=1, axis2=2)).sum()) for G in halves)
        self.halves: list[FloatArray] = [np.asarray(G, dtype=np.float64) for G in halves]
        self.inverses: list[FloatArray] = [np.linalg.inv(G).astype(np.float64, copy=False) for G in halves]

    def inner(self) -> list[FloatArray]:
        """P^-1 by level, shapes (q_i, k_i, k_i)."""
        return [np.matmul(G.transpose(0, 2, 1), G) for G in self.inverses]

    def times(self, x: FloatArray, *, transpose: bool) -> FloatArray:
        """G^-1 x, or G^-T x; shapes (m, r)."""
        return self._scale(self.inverses, x, transpose=transpose)

    def inverse_times_transposed(self, x: FloatArray) -> FloatArray:
        """G'x, shape (m, r)."""
        return self._scale(self.halves, x, transpose=True)

    def precondition(self, x: FloatArray) -> FloatArray:
        """P^-1 x, shape (m, r)."""
        return self.times(self.times(x, transpose=False), transpose=True)

    @staticmethod
    def _scale(slabs: Sequence[FloatArray], x: FloatArray, *, transpose: bool) -> FloatArray:
        out, start = np.empty_like(x), 0
        for G in slabs:
            stop = start + G.shape[0] * G.shape[1]
            out[start:stop] = scale_levels(G.transpose(0, 2, 1) if transpose else G, x[start:stop])
            start = stop
        return out


class ReducedSystem:
    """F at one theta.

    Parameters
    ----------
    cp : CrossProducts
        With the storage of a whole system.
    pairs : sequence of Pairs
        Of the leading block with each of the others.
    L : sequence of ndarray, shapes (k_i, k_i)
        Factors of all blocks.

    Attributes
    ----------
    log_lead : float
        Log determinant of D.
    D_inverse, W : ndarray, shapes (q_1, k_1, k_1)
        (I + L'A L)^-1 and L D^-1 L' of the leading block.
    S : list of ndarray, shapes (q_i, k_i, k_i)
        Diagonal blocks of Z_2'WZ_2 - C'W C.
    """

    def __init__(self, cp: CrossProducts, pairs: Sequence[Pairs], L: Sequence[FloatArray]) -> None:
        assert cp.Cz is not None
        assert cp.Szz is not None
        self.structure, self.L, self._Cz, self._Szz = cp.structure, list(L), cp.Cz, cp.Szz
        D = L[0].T @ cp.A[0] @ L[0] + np.eye(L[0].shape[0])
        self.log_lead = float(np.linalg.slogdet(D)[1].sum()) if D.shape[1] > 1 else float(np.log(D).sum())
        self.D_inverse = inverse(D)
        self.W = L[0] @ self.D_inverse @ L[0].T
        self.S = [cp.own(r) - found.onto_other(self.W, found_q) for r, found, found_q in self._numbered(pairs)]

    def _numbered(self, pairs: Sequence[Pairs]) -> list[tuple[int, Pairs, int]]:
        return [(r, found, self.structure.blocks[r].q) for r, found in enumerate(pairs, start=1)]

    def factors(self, x: FloatArray, *, transpose: bool = False) -> FloatArray:
        """T x or T'x, shapes (m_z, r)."""
        out = np.empty_like(x)
        for block, where, L in zip(self.structure.rest, self.structure.rest_slices, self.L[1:], strict=True):
            if block.k == 1:
                np.multiply(x[where], L[0, 0], out=out[where])
            else:
                part = x[where].reshape(block.q, block.k, -1)
                out[where] = np.matmul(L.T if transpose else L, part).reshape(block.size, -1)
        return out

    def onto_lead(self, t: FloatArray) -> FloatArray:
        """C t, shape (q_1 k_1, r)."""
        return np.asarray(self._Cz @ t)

    def from_lead(self, u: FloatArray) -> FloatArray:
        """C'u, shape (m_z, r)."""
        return np.asarray(self._Cz.T @ u)

    def complement(self, t: FloatArray, Ct: FloatArray) -> FloatArray:
        """(Z_2'WZ_2 - C'W C) t from t and C t, shape (m_z, r)."""
        return np.asarray(self._Szz @ t - self.from_lead(scale_levels(self.W, Ct)))

    def apply(self, x: FloatArray) -> FloatArray:
        """F x, shapes (m_z, r)."""
        t = self.factors(x)
        return x + self.factors(self.complement(t, self.onto_lead(t)), transpose=True)

    @property
    def entries(self) -> int:
        """Nonzeros of C and of Z_2'WZ_2."""
        return int(self._Cz.nnz + self._Szz.nnz)

    def blocks(self) -> list[FloatArray]:
        """Diagonal blocks of F, shapes (q_i, k_i, k_i)."""
        return [L.T @ S @ L + np.eye(L.shape[0]) for S, L in zip(self.S, self.L[1:], strict=True)]
