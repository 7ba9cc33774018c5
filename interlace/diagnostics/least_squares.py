"""Ordinary least squares in every group at once.

The columns of each group are made orthonormal one after the other (Gram-Schmidt, twice), all groups in one operation on
arrays over the rows. A column is dropped in a group where the columns before it determine it, by the rule and the
tolerance of R's ``lm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["GroupwiseFit", "fit_by_group"]

#: A column is dropped in a group where this share of it, or less, is left beside those before it.
_TOLERANCE = 1e-7
#: 1 - h of a row that determines its own fitted value is rounding only.
_DETERMINED = 1e-10
#: Residuals this small beside the fitted values are rounding only.
_EXACT = 1e-14


@dataclass(frozen=True)
class GroupwiseFit:
    """Regressions of n rows in q groups, each on p columns; weighted rows where there are weights.

    Attributes
    ----------
    codes : ndarray of int64, shape (n,)
        Group of each row.
    residual : ndarray, shape (n,)
    leverage : ndarray, shape (n,)
        Diagonal of the hat matrix of the row's own group.
    kept : ndarray of bool, shape (q, p)
        Columns that are not dropped.
    R : ndarray, shape (q, p, p)
        Upper triangular, with zero rows for dropped columns: X = Q R in each group.
    projected : ndarray, shape (q, p)
        Q'y of each group.
    """

    codes: IntArray
    residual: FloatArray
    leverage: FloatArray
    kept: BoolArray
    R: FloatArray
    projected: FloatArray

    @cached_property
    def sigma(self) -> FloatArray:
        """Residual standard deviation of each group, shape (q,); NaN where nothing but rounding is left."""
        q = self.kept.shape[0]
        free = np.bincount(self.codes, minlength=q) - self.kept.sum(axis=1)
        squares = np.bincount(self.codes, self.residual**2, minlength=q)
        fitted = np.einsum("gp,gp->g", self.projected, self.projected)
        left = np.where((free > 0) & (squares > _EXACT**2 * fitted), squares, np.nan)
        return np.asarray(np.sqrt(left / np.maximum(free, 1)))

    @cached_property
    def semi_standardized(self) -> FloatArray:
        """Residuals over sqrt(1 - h), shape (n,); NaN for rows that determine their own fitted value."""
        left = 1.0 - self.leverage
        return self.residual / np.sqrt(np.where(left > _DETERMINED, left, np.nan))

    @cached_property
    def standardized(self) -> FloatArray:
        """``semi_standardized`` over the residual standard deviation of the row's group, shape (n,)."""
        return self.semi_standardized / self.sigma[self.codes]

    @cached_property
    def coefficients(self) -> FloatArray:
        """Coefficients of each group, shape (q, p); NaN for dropped columns."""
        p = self.kept.shape[1]
        out = np.zeros(self.kept.shape)
        for j in reversed(range(p)):
            left = self.projected[:, j] - np.einsum("gk,gk->g", self.R[:, j, j + 1 :], out[:, j + 1 :])
            out[:, j] = np.where(self.kept[:, j], left / np.where(self.kept[:, j], self.R[:, j, j], 1.0), 0.0)
        return np.where(self.kept, out, np.nan)


def fit_by_group(X: FloatArray, y: FloatArray, codes: IntArray, q: int) -> GroupwiseFit:
    """Regress the rows of each group on its rows of ``X``.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Columns in the order in which they are kept rather than dropped.
    y : ndarray, shape (n,)
    codes : ndarray of int64, shape (n,)
        Group of each row, 0 to q - 1.
    q : int
        Number of groups; all of them have rows.

    Returns
    -------
    GroupwiseFit

    Examples
    --------
    >>> import numpy as np
    >>> X = np.column_stack([np.ones(5), [0.0, 1, 2, 0, 0]])
    >>> fit_by_group(X, np.array([1.0, 3, 5, 2, 4]), np.array([0, 0, 0, 1, 1]), 2).coefficients.round(6).tolist()
    [[1.0, 2.0], [3.0, nan]]
    """
    order = np.argsort(codes, kind="stable")
    of_row = codes[order]
    starts = np.searchsorted(of_row, np.arange(q))

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.add.reduceat(values, starts))

    columns, n, p = X[order].T.copy(), y.size, X.shape[1]
    Q, R, kept = np.zeros((p, n)), np.zeros((q, p, p)), np.zeros((q, p), dtype=np.bool_)
    for j in range(p):
        left = columns[j]
        norm = np.sqrt(total(left**2))
        for _ in range(2):
            for i in range(j):
                share = total(Q[i] * left)
                R[:, i, j] += share
                left = left - Q[i] * share[of_row]
        remaining = np.sqrt(total(left**2))
        kept[:, j] = remaining > _TOLERANCE * norm
        R[:, j, j] = np.where(kept[:, j], remaining, 0.0)
        Q[j] = left * np.where(kept[:, j], 1.0 / np.where(kept[:, j], remaining, 1.0), 0.0)[of_row]
    residual, projected = y[order], np.zeros((q, p))
    for _ in range(2):
        for j in range(p):
            share = total(Q[j] * residual)
            projected[:, j] += share
            residual = residual - Q[j] * share[of_row]
    back = np.empty(n, dtype=np.int64)
    back[order] = np.arange(n)
    leverage = np.minimum(np.einsum("pn,pn->n", Q, Q), 1.0)
    return GroupwiseFit(codes, residual[back], leverage[back], kept, R, projected)
