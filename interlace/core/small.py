"""Stacks of small symmetric matrices; closed forms for 2 x 2, an order of magnitude faster than LAPACK calls."""

from __future__ import annotations

import numpy as np

from interlace.typing import FloatArray

__all__ = ["diagonal_blocks", "inverse", "smallest_eigenvalue"]


def diagonal_blocks(M: FloatArray, q: int, k: int) -> FloatArray:
    """The q diagonal blocks of a (q k, q k) matrix, shape (q, k, k)."""
    level = np.arange(q)
    return np.asarray(M.reshape(q, k, q, k)[level, :, level, :])


def smallest_eigenvalue(A: FloatArray) -> FloatArray:
    """Smallest eigenvalue of each symmetric matrix, shapes (q, k, k) to (q,)."""
    if A.shape[1] == 2:
        mean, half = 0.5 * (A[:, 0, 0] + A[:, 1, 1]), 0.5 * (A[:, 0, 0] - A[:, 1, 1])
        lowest: FloatArray = mean - np.sqrt(half * half + A[:, 0, 1] ** 2)
        return lowest
    return np.asarray(np.linalg.eigvalsh(A)[:, 0], dtype=np.float64)


def inverse(A: FloatArray) -> FloatArray:
    """Inverse of each well-conditioned symmetric matrix, shape (q, k, k)."""
    if A.shape[1] == 1:
        return np.asarray(1.0 / A)
    if A.shape[1] == 2:
        a, b, c = A[:, 0, 0], A[:, 0, 1], A[:, 1, 1]
        determinant = a * c - b * b
        out = np.empty_like(A)
        out[:, 0, 0], out[:, 1, 1] = c / determinant, a / determinant
        out[:, 0, 1] = out[:, 1, 0] = -b / determinant
        return out
    return np.linalg.inv(A).astype(np.float64, copy=False)
