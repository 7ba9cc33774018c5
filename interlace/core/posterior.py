"""Conditional modes and conditional variances from an elimination, all relative to the residual variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack

from interlace.core.cholmod import AnyElimination, SparseElimination
from interlace.core.factor import Elimination, scale_rest
from interlace.core.objective import chain_products, forward
from interlace.core.small import diagonal_blocks
from interlace.typing import FloatArray, IntArray

__all__ = ["conditional_covariances", "modes", "quadratic_forms"]


def modes(e: AnyElimination) -> list[FloatArray]:
    """Conditional modes b of every block, shapes (q_i, k_i)."""
    if isinstance(e, SparseElimination):
        return e.modes()
    structure, s = e.structure, e.structure.n_chain
    v = np.append(-e.solution, 1.0)
    Tv = scale_rest(structure, e.rest_L, v[:, None], transpose=False)
    b: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
    for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        b[r] = -Tv[where].reshape(block.q, block.k)
    for i in reversed(range(s)):
        right = e.apply_C(i, Tv)
        for j in range(i + 1, s):
            right = right - np.matmul(e.P[i, j], b[j][structure.parents[i, j]][:, :, None])
        b[i] = np.matmul(e.W[i], right)[:, :, 0]
    return b


def conditional_covariances(e: AnyElimination) -> list[FloatArray]:
    """Covariance of b given y, beta, theta and sigma = 1, by level.

    These are the diagonal blocks of Lambda (Lambda'Z'WZ Lambda + I)^-1 Lambda'.

    Returns
    -------
    list of ndarray, shapes (q_i, k_i, k_i)
        Per block of the structure.
    """
    if isinstance(e, SparseElimination):
        return e.conditional_covariances()
    structure, s = e.structure, e.structure.n_chain
    m, m_z = structure.m, structure.m_z
    TGT = e.congruence(e.padded_inverse(m_z))
    out = []
    for W, (K, _) in zip(e.W, chain_products(e, TGT, np.zeros((m, 1))), strict=True):
        out.append(W + np.matmul(W, np.matmul(K, W)))
    for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        out.append(diagonal_blocks(TGT[where, where], block.q, block.k))
    return out


#: Rows of right-hand sides that are worked on together.
_CHUNK = 2048


def quadratic_forms(e: AnyElimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """Variance of x'beta + z'(b_hat - b) in units of sigma^2 for each row, from the joint covariance of beta and b.

    Parameters
    ----------
    e : Elimination
    X : ndarray, shape (m, p)
        In the basis of the elimination.
    Z : sequence of ndarray, shapes (m, k_i)
        Per block of the structure.
    codes : sequence of ndarray of int64, shapes (m,)
        Level of each row; -1 where the block does not enter.

    Returns
    -------
    ndarray, shape (m,)
    """
    if isinstance(e, SparseElimination):
        return e.quadratic_forms(X, Z, codes)
    rows = X.shape[0]
    out = np.empty(rows)
    for start in range(0, rows, _CHUNK):
        part = slice(start, min(start + _CHUNK, rows))
        Z_part, codes_part = [z[part] for z in Z], [c[part] for c in codes]
        if e.lead is None and _consistent(e, codes_part):
            out[part] = _by_row(e, X[part], Z_part, codes_part)
        else:
            out[part] = _by_system(e, X[part], Z_part, codes_part)
    return out


def _consistent(e: Elimination, codes: Sequence[IntArray]) -> bool:
    """True when every row lies in the chain as the fitted rows did: each level within its own containing levels."""
    return all(
        bool(((codes[i] < 0) | (parent[np.maximum(codes[i], 0)] == codes[j])).all())
        for (i, j), parent in e.structure.parents.items()
    )


def _rest_rows(e: Elimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """[Z_rest | X | 0] of new rows, shape (rows, m)."""
    structure, s = e.structure, e.structure.n_chain
    rest = np.zeros((X.shape[0], structure.m))
    for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        seen = np.flatnonzero(codes[r] >= 0)
        for a in range(block.k):
            rest[seen, where.start + codes[r][seen] * block.k + a] = Z[r][seen, a]
    rest[:, structure.m_z : structure.m - 1] = X
    return rest


def _by_row(e: Elimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """Forward elimination of each row along its own chain of levels."""
    structure, s = e.structure, e.structure.n_chain
    rest = _rest_rows(e, X, Z, codes)
    rho = [np.where((codes[i] >= 0)[:, None], Z[i], 0.0) for i in range(s)]
    total = np.zeros(X.shape[0])
    for i in range(s):
        level = np.maximum(codes[i], 0)
        Wr = np.matmul(e.W[i][level], rho[i][:, :, None])
        total += (rho[i] * Wr[:, :, 0]).sum(axis=1)
        for j in range(i + 1, s):
            rho[j] = rho[j] - np.matmul(e.P[i, j][level].transpose(0, 2, 1), Wr)[:, :, 0]
        rest = rest - np.einsum("lkm,lk->lm", e.C[i][level], Wr[:, :, 0])
    n = structure.m - 1
    if n:
        Y, _ = lapack.dtrtrs(e.R[:n, :n], scale_rest(structure, e.rest_L, rest.T)[:n], trans=1)
        total += (Y * Y).sum(axis=0)
    return total


def _by_system(e: Elimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """Forward elimination with full right-hand sides, a few rows at a time."""
    structure, s = e.structure, e.structure.n_chain
    rest = _rest_rows(e, X, Z, codes).T
    out = np.empty(X.shape[0])
    step = 64
    for start in range(0, X.shape[0], step):
        rows = np.arange(start, min(start + step, X.shape[0]))
        rho = []
        for i in range(s):
            block = structure.blocks[i]
            right = np.zeros((block.q, block.k, rows.size))
            seen = codes[i][rows] >= 0
            right[codes[i][rows[seen]], :, np.flatnonzero(seen)] = Z[i][rows[seen]]
            rho.append(right)
        out[rows] = np.diagonal(forward(e, rho, rest[:, rows]))
    return out
