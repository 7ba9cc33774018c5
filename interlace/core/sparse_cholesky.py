"""Sparse Cholesky factorization through scikit-sparse, whatever its version."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from scipy import sparse

from interlace.typing import FloatArray, IntArray

__all__ = ["Factor", "available", "new_factor"]


def available() -> bool:
    """Whether scikit-sparse is installed."""
    return importlib.util.find_spec("sksparse") is not None


class Factor(Protocol):
    """What is asked of a sparse Cholesky factorization, whatever the version of scikit-sparse."""

    def factorize(self, H: sparse.csc_array) -> None:
        """Factorize a matrix with the pattern that was analyzed."""

    def solve(self, b: FloatArray) -> FloatArray:
        """H^-1 b; b of shape (q,) or (q, r)."""

    def logdet(self) -> float:
        """Log determinant of H."""

    def fill(self, H: sparse.csc_array) -> IntArray:
        """Factorize and count the nonzeros of each column of the factor."""


def _matrix(H: sparse.csc_array) -> sparse.csc_matrix:
    """H as the kind of matrix, and with the kind of indices, that scikit-sparse 0.4 wants every time."""
    out = sparse.csc_matrix(H)
    # In place, while all arrays are still shared with H: sorting only some of them later would scramble H.
    out.sort_indices()
    kind = np.int32 if out.nnz < np.iinfo(np.int32).max else np.int64
    out.indices, out.indptr = out.indices.astype(kind), out.indptr.astype(kind)
    return out


class _Factor04:
    """scikit-sparse before 0.5."""

    def __init__(self, H: sparse.csc_array) -> None:
        from sksparse.cholmod import analyze

        self._factor: Any = analyze(_matrix(H))

    def factorize(self, H: sparse.csc_array) -> None:
        self._factor.cholesky_inplace(_matrix(H))

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._factor(b))

    def logdet(self) -> float:
        return float(self._factor.logdet())

    def fill(self, H: sparse.csc_array) -> IntArray:
        self.factorize(H)
        return np.asarray(np.diff(self._factor.L().indptr), dtype=np.int64)


class _Factor05:
    """scikit-sparse from 0.5 on."""

    def __init__(self, H: sparse.csc_array) -> None:
        from sksparse.cholmod import CholeskyFactor

        self._factor: Any = CholeskyFactor(H)

    def factorize(self, H: sparse.csc_array) -> None:
        self._factor.factorize(H)

    def solve(self, b: FloatArray) -> FloatArray:
        return np.asarray(self._factor.solve(np.ascontiguousarray(b)))

    def logdet(self) -> float:
        return float(self._factor.logdet())

    def fill(self, H: sparse.csc_array) -> IntArray:
        del H  # the analysis has counted already
        return np.asarray(self._factor.colcount, dtype=np.int64)


def new_factor(H: sparse.csc_array) -> Factor:
    """Analyze the pattern of ``H`` with the scikit-sparse that is installed."""
    from sksparse import cholmod

    make: Callable[[sparse.csc_array], Factor] = _Factor05 if hasattr(cholmod, "CholeskyFactor") else _Factor04
    return make(H)
