"""Changes of basis that make the cross-products well conditioned, and the way back.

Cross-products square the condition number of what goes in, so X becomes X R^-1 with orthonormal columns, y becomes
its least-squares residual in units of its own spread, and the columns of each random-effects term are made
orthonormal on average (only scaled where the covariance structure is diagonal). All three maps are undone exactly:

    beta = beta_0 + s R^-1 beta*,  sigma = s sigma*,  b = s M b*,  L = lower(M L*),
    deviance = deviance* + 2 N log s (+ 2 log |det R| for REML).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.linalg import lapack

from interlace.core.covariance import entries, lower_factor
from interlace.core.small import smallest_eigenvalue
from interlace.core.terms import Term, theta_slices
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["FixedBasis", "Response", "TermBasis", "convert_theta", "independent_columns"]

#: Columns that LAPACK's QR decomposition takes at a time.
_QR_BLOCK = 32


def independent_columns(R: FloatArray, *, tol: float = 1e-7) -> IntArray:
    """Columns that earlier ones do not determine, as LINPACK's limited pivoting finds them.

    A column is dependent when what is left of it after projecting out the independent columns before it is
    shorter than ``tol`` times the column.

    Parameters
    ----------
    R : ndarray, shape (r, p)
        The matrix, or the triangular factor of it.
    tol : float
        The tolerance that R's ``lm`` and ``lmer`` use.

    Returns
    -------
    ndarray of int64
        Indices of the independent columns, ascending.
    """
    basis = np.zeros((R.shape[0], 0))
    kept = []
    for j in range(R.shape[1]):
        column = R[:, j]
        norm = float(np.linalg.norm(column))
        left = column - basis @ (basis.T @ column)
        left = left - basis @ (basis.T @ left)
        remaining = float(np.linalg.norm(left))
        if norm > 0.0 and remaining > tol * norm:
            kept.append(j)
            basis = np.column_stack([basis, left / remaining])
    return np.array(kept, dtype=np.int64)


def _triangle(X: FloatArray) -> FloatArray:
    """Upper-triangular factor of the QR decomposition."""
    if X.shape[1] == 0:
        return np.empty((0, 0))
    factored, _, _, _ = lapack.dgeqrf(X, lwork=_QR_BLOCK * X.shape[1])
    return np.where(_upper(*X.shape), factored[: X.shape[1]], 0.0)


@lru_cache(maxsize=64)
def _upper(n: int, p: int) -> BoolArray:
    """Where the triangular factor of an (n, p) matrix has entries that are not zero, shape (min(n, p), p)."""
    return np.arange(min(n, p))[:, None] <= np.arange(p)


def _inverse(R: FloatArray) -> FloatArray:
    """Inverse of an upper-triangular matrix without zeros on its diagonal."""
    found: FloatArray = lapack.dtrtri(R)[0]
    return found


@dataclass(frozen=True)
class FixedBasis:
    """Orthonormal basis of the fixed-effects columns.

    Attributes
    ----------
    kept : ndarray of int64, shape (p,)
        Independent columns of the full matrix.
    R : ndarray, shape (p, p)
        Upper triangular; ``X[:, kept] = X* R``.
    """

    kept: IntArray
    R: FloatArray

    @classmethod
    def of(cls, X: FloatArray, *, tol: float = 1e-7) -> FixedBasis:
        """Basis of the columns of (weighted) ``X``, shape (n, p_all), independent up to ``tol``."""
        if X.shape[1] == 0:
            return cls(np.empty(0, dtype=np.int64), np.empty((0, 0)))
        R = _triangle(X)
        diagonal = np.abs(np.diagonal(R))
        norms = np.sqrt((R * R).sum(axis=0))
        if R.shape[0] == X.shape[1] and (diagonal > 10.0 * tol * norms).all():
            return cls(np.arange(X.shape[1], dtype=np.int64), R)
        kept = independent_columns(R, tol=tol)
        return cls(kept, _triangle(X[:, kept]))

    @property
    def log_det(self) -> float:
        """Log of the absolute determinant of R."""
        return float(np.log(np.abs(np.diagonal(self.R))).sum())

    def forward(self, X: FloatArray) -> FloatArray:
        """X* = X[:, kept] R^-1 from all columns of X."""
        return self.forward_kept(X if self.kept.size == X.shape[1] else X[:, self.kept])

    def forward_kept(self, X: FloatArray) -> FloatArray:
        """X R^-1 from the kept columns only."""
        if self.kept.size == 0:
            return np.empty((X.shape[0], 0))
        out, _ = lapack.dtrtrs(self.R, X.T, trans=1)
        result: FloatArray = out.T
        return result

    def backward(self, beta: FloatArray) -> FloatArray:
        """R^-1 beta*, for a vector (p,) or the columns of a matrix (p, r)."""
        if self.kept.size == 0:
            return beta
        out, _ = lapack.dtrtrs(self.R, beta)
        result: FloatArray = out.reshape(beta.shape)
        return result


@dataclass(frozen=True)
class Response:
    """Least-squares residual of the response in units of its spread: ``y = X* coefficients + scale y*``."""

    values: FloatArray
    coefficients: FloatArray
    scale: float

    @classmethod
    def of(cls, X: FloatArray, y: FloatArray) -> Response:
        """Residual of (weighted) ``y``, shape (n,), from the orthonormal columns ``X``, shape (n, p)."""
        coefficients = X.T @ y
        residual = y - X @ coefficients
        # A second projection removes what rounding left of the first.
        again = X.T @ residual
        residual = residual - X @ again
        scale = math.sqrt(float(residual @ residual) / max(y.size - X.shape[1], 1))
        return cls(residual / scale if scale > 0.0 else residual, coefficients + again, scale)


#: Columns of a term are collinear when one is this close to the span of those before it (relative to its length).
_COLLINEAR = 1e-9


@dataclass(frozen=True)
class TermBasis:
    """Change of basis of one term: ``Z* = Z M``, hence ``b = M b*`` and ``L L' = M L* L*' M'``."""

    M: FloatArray
    inverse: FloatArray

    @classmethod
    def of(cls, term: Term, *, typical_weight: float = 1.0) -> TermBasis:
        """Orthonormal on average for an unstructured term, scaled columns otherwise.

        Parameters
        ----------
        term : Term
            With its columns as in the formula, not weighted.
        typical_weight : float
            Size of the weights, so that their units do not matter either.
        """
        gram = term.Z.T @ term.Z / term.Z.shape[0]
        scale = np.sqrt(gram.diagonal())
        scale[scale == 0.0] = 1.0
        inverse = np.diag(scale)
        if term.structure == "unstructured" and term.k > 1:
            correlation = gram / (scale[:, None] * scale)
            if smallest_eigenvalue(correlation[None])[0] > 1e-6:
                inverse = lapack.dpotrf(correlation, clean=1)[0] * scale
            else:
                # The Gram matrix has lost the digits by which such columns differ; a QR decomposition has not.
                R = _triangle(term.Z / scale) / math.sqrt(term.Z.shape[0])
                if R.shape[0] == term.k and np.abs(np.diagonal(R)).min() > _COLLINEAR:
                    inverse = R * scale
        inverse = inverse * math.sqrt(typical_weight)
        return cls(_inverse(inverse), inverse)

    def to_user(self, L: FloatArray) -> FloatArray:
        """Factor in the basis of the formula from the factor in the inner basis."""
        return lower_factor(self.M @ L)

    def to_inner(self, L: FloatArray) -> FloatArray:
        """Factor in the inner basis from the one in the basis of the formula."""
        return lower_factor(self.inverse @ L)


def convert_theta(terms: Sequence[Term], bases: Sequence[TermBasis], theta: FloatArray, *, to_user: bool) -> FloatArray:
    """Theta of the whole model in the other basis."""
    out = np.empty_like(theta)
    for term, basis, where in zip(terms, bases, theta_slices(tuple((t.k, t.structure) for t in terms)), strict=True):
        L = np.zeros((term.k, term.k))
        where_L = entries(term.k, term.structure)
        L[where_L] = theta[where]
        out[where] = (basis.to_user(L) if to_user else basis.to_inner(L))[where_L]
    return out
