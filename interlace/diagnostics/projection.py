"""What one row, or a set of rows, contributes to a fitted linear model, without a matrix that has n rows and n columns.

On the weighted scale, y* = W^1/2 y and so on, the marginal covariance relative to sigma^2 is V = I + Z Psi Z'. Then

    H = I - P with P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1,   fitted - offset = H y (conditional modes included),

so that the weighted conditional residual is e = P y. Deleting the rows I while theta and sigma stay as they are gives

    beta - beta_(I) = B_I (P_II)^-1 e_I,   C_(I) = C + B_I (P_II)^-1 B_I',   with C = (X'V^-1 X)^-1 and B = C X'V^-1.

References
----------
Demidenko, E. and Stukel, T. A. (2005). Influence analysis for linear mixed-effects models. Statistics in Medicine 24,
893-909. Christensen, R., Pearson, L. M. and Johnson, W. (1992). Case-deletion diagnostics for mixed models.
Technometrics 34, 38-45.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interlace.core import blas, posterior
from interlace.core.cholmod import AnyElimination
from interlace.core.crossproducts import Rows
from interlace.estimate.state import FitState
from interlace.typing import FloatArray, IntArray

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection:
    """H, P and B of a fitted linear model, entry by entry when asked for; all on the weighted scale.

    Parameters
    ----------
    state : FitState
        n rows, p fixed effects.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> projection = Projection(interlace.fit("Reaction ~ Days + (Days | Subject)", df).state)
    >>> projection.leverage[:3].round(4)
    array([0.2293, 0.1697, 0.1268])
    """

    state: FitState

    @property
    def rows(self) -> Rows:
        """Weighted rows in the basis of the fit."""
        return self.state.problem.rows

    @cached_property
    def root_weights(self) -> FloatArray:
        """Square roots of the prior weights, shape (n,)."""
        design = self.state.problem.design
        return np.ones(design.y.size) if design.weights is None else np.sqrt(design.weights)

    @cached_property
    def residual(self) -> FloatArray:
        """Weighted conditional residuals e = P y, shape (n,)."""
        return self.root_weights * (self.state.problem.design.y - self.state.fitted)

    @cached_property
    def leverage(self) -> FloatArray:
        """Diagonal of H, shape (n,): lme4's ``hatvalues``."""
        rows = self.rows
        with blas.limited(self.state.problem.structure.m):
            return posterior.quadratic_forms(self._elimination, rows.Xy[:, :-1], rows.Z, rows.codes)

    @cached_property
    def fixed_leverage(self) -> FloatArray:
        """Diagonal of X (X'V^-1 X)^-1 X'V^-1, shape (n,): the share of the fixed effects in ``leverage``."""
        return np.einsum("np,np->n", self.rows.Xy[:, :-1], self._inner_pull)

    @cached_property
    def pull(self) -> FloatArray:
        """Columns of B as rows, shape (n, p): beta = pull' y, coefficients in the order of the fit."""
        return self.state.problem.basis.backward(self._inner_pull.T).T

    def hat_block(self, index: IntArray) -> FloatArray:
        """Rows and columns ``index`` of H, shape (r, r)."""
        rows = self.rows
        with blas.limited(self.state.problem.structure.m):
            return posterior.bilinear_forms(
                self._elimination, rows.Xy[index, :-1], [z[index] for z in rows.Z], [c[index] for c in rows.codes]
            )

    @cached_property
    def _elimination(self) -> AnyElimination:
        with blas.limited(self.state.problem.structure.m):
            return self.state.elimination()

    @cached_property
    def _inner_pull(self) -> FloatArray:
        """``pull`` in the basis of the fit."""
        e, rows = self._elimination, self.rows
        left = rows.Xy[:, :-1].copy()
        for z, codes, columns in zip(rows.Z, rows.codes, posterior.modes_of_columns(e), strict=True):
            for a in range(z.shape[1]):
                left -= z[:, a, None] * columns[codes, a]
        return np.asarray(left @ (e.beta_root @ e.beta_root.T))
