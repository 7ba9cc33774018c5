"""Stacks of small matrices with one more leading axis: members of a batch, then levels."""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from interlace.typing import FloatArray

__all__ = ["gram", "inverse_factors", "log_product", "sum_products", "times", "times_vector"]

#: Order from which matrices are factorized one by one, which is then faster than numpy's stacks.
_ONE_BY_ONE = 48


def times(W: FloatArray, C: FloatArray) -> FloatArray:
    """Products W_j C_j for every member and level."""
    return np.asarray(W * C if W.shape[-1] == 1 else W @ C)


def sum_products(flat: FloatArray, v: FloatArray) -> FloatArray:
    """Sum over levels of C_j' v_j; shapes (B or 1, q k, d) and (B, q, k, 1) to (B, d)."""
    columns = v.reshape(v.shape[0], -1)
    if flat.shape[0] == 1:
        return np.asarray(columns @ flat[0])
    return np.asarray((columns[:, None] @ flat)[:, 0])


def times_vector(C: FloatArray, v: FloatArray) -> FloatArray:
    """C_j v for every level; shapes (1, q, k, d) and (B, d, 1) to (B, q, k, 1)."""
    _, q, k, d = C.shape
    return np.asarray((v[..., 0] @ C.reshape(q * k, d).T).reshape(-1, q, k, 1))


def gram(left: FloatArray, right: FloatArray) -> FloatArray:
    """Sums over levels of left_j' right_j, shapes (B, q, k, r) to (B, r, r)."""
    B, q, k, r = left.shape
    return np.asarray(left.reshape(B, q * k, r).transpose(0, 2, 1) @ right.reshape(B, q * k, r))


def log_product(D: FloatArray) -> FloatArray:
    """Sums of logarithms over levels; infinity where rounding has made one of the numbers negative."""
    bad = D.min(axis=1) <= 0.0
    if not bad.any():
        return np.asarray(np.log(D).sum(axis=1))
    return np.where(bad, np.inf, np.log(np.where(D > 0.0, D, 1.0)).sum(axis=1))


def inverse_factors(F: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Inverse of the lower Cholesky factor of each matrix, and logarithms of its diagonal; NaN if not definite."""
    d = F.shape[1]
    if d == 0:
        return np.empty(F.shape), np.empty((F.shape[0], 0))
    if d >= _ONE_BY_ONE:
        lower = np.empty(F.shape)
        logs = np.empty(F.shape[:2])
        for b, M in enumerate(F):
            K, info = lapack.dpotrf(M, lower=1, clean=1)
            lower[b] = lapack.dtrtri(K, lower=1)[0] if info == 0 else np.nan
            logs[b] = np.log(np.diagonal(K)) if info == 0 else np.nan
        return lower, logs
    K = _cholesky(F)
    diagonal = np.arange(d)
    return _triangular_inverse(K), np.log(K[:, diagonal, diagonal])


def _cholesky(F: FloatArray) -> FloatArray:
    """Lower factors, NaN for matrices that are not positive definite, which halving the stack finds."""
    try:
        return np.asarray(np.linalg.cholesky(F))
    except np.linalg.LinAlgError:
        if F.shape[0] == 1:
            return np.full(F.shape, np.nan)
        middle = F.shape[0] // 2
        return np.concatenate([_cholesky(F[:middle]), _cholesky(F[middle:])])


def _triangular_inverse(K: FloatArray) -> FloatArray:
    """Inverse of each lower-triangular matrix, row by row for all members."""
    d = K.shape[1]
    out = np.zeros(K.shape)
    for r in range(d):
        pivot = 1.0 / K[:, r, r]
        out[:, r, r] = pivot
        if r:
            out[:, r, :r] = -pivot[:, None] * (K[:, None, r, :r] @ out[:, :r, :r])[:, 0]
    return out
