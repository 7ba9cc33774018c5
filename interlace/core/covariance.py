"""Relative covariance factors: which entries of Lambda the parameters theta fill, and changes of basis.

A random-effects term with k columns has a k x k lower-triangular factor L with ``cov(b_level) = sigma^2 L L'``.
Its parameters are entries of L taken column by column, the order of lme4 (Bates et al., 2015,
*Fitting Linear Mixed-Effects Models Using lme4*, J. Stat. Softw. 67(1), eq. 4).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from interlace.typing import FloatArray, IntArray, Structure

__all__ = [
    "REGULAR",
    "SINGULAR",
    "any_singular",
    "cholesky_factor",
    "count_theta",
    "entries",
    "lower_factor",
    "singular_values",
]

#: Singular values of a factor, in standard units, below which it counts as singular, and above which it is no boundary.
SINGULAR, REGULAR = 1e-4, 1e-2


@lru_cache(maxsize=64)
def entries(k: int, structure: Structure) -> tuple[IntArray, IntArray]:
    """Rows and columns of L that theta fills, in the order of theta.

    Parameters
    ----------
    k : int
        Number of columns of the term.
    structure : {"unstructured", "diagonal"}

    Returns
    -------
    rows, cols : ndarray of int64, shape (k (k + 1) / 2,) or (k,)

    Examples
    --------
    >>> entries(2, "unstructured")
    (array([0, 1, 1]), array([0, 0, 1]))
    """
    if structure == "diagonal":
        diagonal = np.arange(k, dtype=np.int64)
        return diagonal, diagonal
    cols, rows = np.triu_indices(k)
    return rows.astype(np.int64), cols.astype(np.int64)


def count_theta(k: int, structure: Structure) -> int:
    """Number of parameters of a term with ``k`` columns."""
    return k if structure == "diagonal" else k * (k + 1) // 2


def lower_factor(root: FloatArray) -> FloatArray:
    """Lower-triangular L with nonnegative diagonal and ``L L' = root root'``; exact for singular roots too.

    Parameters
    ----------
    root : ndarray, shape (k, j)
        Any matrix square root, triangular or not.

    Returns
    -------
    ndarray, shape (k, k)
    """
    k = root.shape[0]
    if root.size == 1:
        return np.abs(root)
    if k == 1:
        return np.asarray(np.sqrt((root * root).sum(axis=1, keepdims=True)))
    if root.shape == (2, 2):
        return _lower_factor_2(root)
    upper: FloatArray = np.asarray(np.linalg.qr(root.T, mode="r"))
    if upper.shape[0] < k:
        upper = np.vstack([upper, np.zeros((k - upper.shape[0], k))])
    signs = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    lower: FloatArray = np.tril((upper * signs[:, None]).T)
    return lower


def _lower_factor_2(root: FloatArray) -> FloatArray:
    """Factor of a 2 x 2 root in closed form, an order of magnitude faster than a decomposition."""
    (a, b), (c, d) = root.tolist()
    first = math.hypot(a, b)
    if first == 0.0:
        return np.array([[0.0, 0.0], [0.0, math.hypot(c, d)]])
    return np.array([[first, 0.0], [(a * c + b * d) / first, abs(a * d - b * c) / first]])


def any_singular(factors: Iterable[FloatArray]) -> bool:
    """Whether any factor, shapes (k_i, k_i), counts as singular."""
    return any(singular_values(L)[0] < SINGULAR for L in factors)


def singular_values(L: FloatArray) -> FloatArray:
    """Singular values of a factor, shape (k,), ascending; closed forms for k <= 2.

    The smallest is the standard deviation, relative to sigma, of the least variable direction of the random effects.
    """
    if L.shape[0] == 1:
        return np.asarray(np.abs(L[0]), dtype=np.float64)
    if L.shape[0] == 2:
        (a, b), (c, d) = L.tolist()
        # sigma_1 +- sigma_2 are the norms of the two conformal parts of the matrix.
        plus, minus = math.hypot(a + d, b - c), math.hypot(a - d, b + c)
        largest = 0.5 * (plus + minus)
        return np.array([abs(a * d - b * c) / largest if largest > 0.0 else 0.0, largest])
    return np.asarray(np.linalg.svd(L, compute_uv=False)[::-1], dtype=np.float64)


def cholesky_factor(psi: FloatArray) -> FloatArray:
    """Lower-triangular factor of a positive semidefinite matrix; eigenvalues below zero by rounding count as zero."""
    values, vectors = np.linalg.eigh(psi)
    return lower_factor(vectors * np.sqrt(np.maximum(values, 0.0)))
