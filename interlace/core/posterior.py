"""Conditional modes and conditional variances from an elimination, all relative to the residual variance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack

from interlace.core.cholmod import AnyElimination, SparseElimination
from interlace.core.factor import Elimination, scale_rest
from interlace.core.joint import joint_covariance
from interlace.core.objective import chain_products, forward
from interlace.core.small import diagonal_blocks
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["bilinear_forms", "conditional_covariances", "modes", "modes_of_columns", "quadratic_forms"]


def modes(e: AnyElimination) -> list[FloatArray]:
    """Conditional modes b of every block, shapes (q_i, k_i)."""
    if isinstance(e, SparseElimination):
        return e.modes()
    return [b[:, :, 0] for b in _back(e, e.contrast[:, None])]


def modes_of_columns(e: AnyElimination) -> list[FloatArray]:
    """Conditional modes of every block if the columns of X were the response and beta were zero.

    With these modes B, X - Z B is V^-1 X, where V = I + Z Psi Z'.

    Parameters
    ----------
    e : Elimination

    Returns
    -------
    list of ndarray, shapes (q_i, k_i, p)
    """
    if isinstance(e, SparseElimination):
        return e.modes_of_columns()
    structure = e.structure
    m_z, p = structure.m_z, structure.p
    v = np.zeros((structure.m, p))
    v[m_z : m_z + p] = np.eye(p)
    if m_z and p:
        u, _ = lapack.dtrtrs(e.R[:m_z, :m_z], e.R[:m_z, m_z : m_z + p])
        v[:m_z] = -u
    return _back(e, v)


def _back(e: Elimination, v: FloatArray) -> list[FloatArray]:
    """Modes of what is left of [X | y] v_x when the spherical modes of the rest are -v_rest; v of shape (m, r)."""
    structure, s = e.structure, e.structure.n_chain
    Tv = scale_rest(structure, e.rest_L, v, transpose=False)
    b: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
    for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        b[r] = -Tv[where].reshape(block.q, block.k, -1)
    for i in reversed(range(s)):
        right = e.apply_C(i, Tv)
        for j in range(i + 1, s):
            right = right - np.matmul(e.P[i, j], b[j][structure.parents[i, j]])
        b[i] = np.matmul(e.W[i], right)
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


#: Largest number of entries of the covariance of a chain block with the rest that is formed (400 MB).
_AFFORDABLE = 50_000_000


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
    out = np.empty(X.shape[0])
    by_level = _consistent(e, codes)
    if sum(block.size for block in e.structure.chain) * e.structure.m > _AFFORDABLE:
        by_level[:] = False
    for rows, forms in ((by_level, _by_level), (~by_level, _by_system)):
        if rows.any():
            out[rows] = forms(e, X[rows], [z[rows] for z in Z], [c[rows] for c in codes])
    return out


def _by_level(e: Elimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """From the blocks of the joint covariance that the row's own levels pick out."""
    return joint_covariance(e).quadratic_forms(X, Z, codes)


def _consistent(e: Elimination, codes: Sequence[IntArray]) -> BoolArray:
    """Rows that lie in the chain as the fitted rows did: each level within its own containing levels."""
    out = np.ones(codes[0].size, dtype=np.bool_)
    for (i, j), parent in e.structure.parents.items():
        out &= (codes[i] < 0) | (parent[np.maximum(codes[i], 0)] == codes[j])
    return out


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


def bilinear_forms(e: AnyElimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """Covariance of x'beta + z'(b_hat - b) in units of sigma^2 between rows; a few rows, as all pairs are formed.

    Parameters
    ----------
    e, X, Z, codes
        As for `quadratic_forms`.

    Returns
    -------
    ndarray, shape (m, m)
    """
    if isinstance(e, SparseElimination):
        return e.bilinear_forms(X, Z, codes)
    rho = []
    for block, z, c in zip(e.structure.chain, Z, codes, strict=False):
        right = np.zeros((block.q, block.k, c.size))
        seen = np.flatnonzero(c >= 0)
        right[c[seen], :, seen] = z[seen]
        rho.append(right)
    return forward(e, rho, _rest_rows(e, X, Z, codes).T)


def _by_system(e: Elimination, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
    """Forward elimination with full right-hand sides, a few rows at a time."""
    out = np.empty(X.shape[0])
    step = 64
    for start in range(0, X.shape[0], step):
        rows = slice(start, start + step)
        out[rows] = np.diagonal(bilinear_forms(e, X[rows], [z[rows] for z in Z], [c[rows] for c in codes]))
    return out
