"""Relative covariance factors: which entries of Lambda the parameters theta fill, and changes of basis.

A random-effects term with k columns has a k x k lower-triangular factor L with ``cov(b_level) = sigma^2 L L'``.
Its parameters are entries of L taken column by column, the order of lme4 (Bates et al., 2015,
*Fitting Linear Mixed-Effects Models Using lme4*, J. Stat. Softw. 67(1), eq. 4).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from interlace.typing import FloatArray, IntArray, Structure

__all__ = ["cholesky_factor", "count_theta", "entries", "lower_factor"]


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
    if k == 1:
        return np.asarray(np.sqrt((root * root).sum(axis=1, keepdims=True)))
    upper: FloatArray = np.asarray(np.linalg.qr(root.T, mode="r"))
    if upper.shape[0] < k:
        upper = np.vstack([upper, np.zeros((k - upper.shape[0], k))])
    signs = np.where(np.diagonal(upper) < 0, -1.0, 1.0)
    lower: FloatArray = np.tril((upper * signs[:, None]).T)
    return lower


def cholesky_factor(psi: FloatArray) -> FloatArray:
    """Lower-triangular factor of a positive semidefinite matrix; eigenvalues below zero by rounding count as zero."""
    values, vectors = np.linalg.eigh(psi)
    return lower_factor(vectors * np.sqrt(np.maximum(values, 0.0)))
