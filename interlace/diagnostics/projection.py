"""What one row, or a set of rows, contributes to a fitted model, without a matrix that has n rows and n columns.

On the weighted scale, y* = W^1/2 y and so on, the marginal covariance relative to sigma^2 is V = I + Z Psi Z'. Then

    H = I - P with P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1,   fitted - offset = H y (conditional modes included),

so that the weighted conditional residual is e = P y. Deleting the rows I while theta and sigma stay as they are gives

    beta - beta_(I) = B_I (P_II)^-1 e_I,   C_(I) = C + B_I (P_II)^-1 B_I',   with C = (X'V^-1 X)^-1 and B = C X'V^-1.

A generalized model is, at its conditional modes, a linear one for the working response: W is the information of each
row about its linear predictor, and e = W^-1/2 times the score. Its formulas are then one step of Newton's method for
(beta, b) without the rows I from the estimates of all (Pregibon 1981), with theta as it is.

References
----------
Demidenko, E. and Stukel, T. A. (2005). Influence analysis for linear mixed-effects models. Statistics in Medicine 24,
893-909. Christensen, R., Pearson, L. M. and Johnson, W. (1992). Case-deletion diagnostics for mixed models.
Technometrics 34, 38-45. Pregibon, D. (1981). Logistic regression diagnostics. Annals of Statistics 9, 705-724.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interlace.core import blas, posterior
from interlace.core.cholmod import AnyElimination
from interlace.core.crossproducts import Rows
from interlace.core.downdates import pull
from interlace.core.working import Working
from interlace.estimate.glmm_problem import GlmmProblem
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.hat import hat_diagonal
from interlace.estimate.problem import LinearProblem
from interlace.estimate.state import State
from interlace.typing import FloatArray, IntArray

__all__ = ["Projection"]


@dataclass(frozen=True)
class Projection:
    """H, P and B of a fitted model, entry by entry when asked for; all on the weighted scale.

    Parameters
    ----------
    state : State
        n rows, p fixed effects.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> projection = Projection(interlace.fit("Reaction ~ Days + (Days | Subject)", df).state)
    >>> projection.leverage[:3].round(4)
    array([0.2293, 0.1697, 0.1268])
    """

    state: State

    @cached_property
    def rows(self) -> Rows:
        """Weighted rows in the basis of the fit."""
        problem = self.state.problem
        if isinstance(problem, LinearProblem):
            return problem.rows
        assert isinstance(problem, GlmmProblem)
        root = self.root_weights[:, None]
        response = np.zeros((root.size, 1))  # nothing here depends on it
        return Rows(list(problem.codes), [root * Z for Z in problem.Z], np.column_stack([root * problem.X, response]))

    @cached_property
    def root_weights(self) -> FloatArray:
        """Square roots of the prior weights, or of the working weights, shape (n,)."""
        if isinstance(self.state, GlmmState):
            return np.sqrt(self._working.fisher)
        weights = self.state.problem.design.weights
        return np.ones(self.state.fitted.size) if weights is None else np.sqrt(weights)

    @cached_property
    def residual(self) -> FloatArray:
        """Weighted conditional residuals e = P y, shape (n,); those of the working response in a generalized model."""
        if isinstance(self.state, GlmmState):
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.nan_to_num(self._working.score / self.root_weights, posinf=0.0, neginf=0.0)
        return self.root_weights * (self.state.problem.design.y - self.state.fitted)

    @property
    def scale(self) -> float:
        """Variance of a row of weight 1, to which V and C are relative."""
        return self.state.unit**2

    @cached_property
    def coefficient_cov(self) -> FloatArray:
        """``scale`` times C, shape (p, p): the covariance of the fixed effects given theta."""
        root = self.state.problem.basis.backward(self.elimination.beta_root)
        return np.asarray(self.scale * (root @ root.T))

    @cached_property
    def leverage(self) -> FloatArray:
        """Diagonal of H, shape (n,): lme4's ``hatvalues``."""
        return hat_diagonal(self.elimination, self.rows)

    @cached_property
    def fixed_leverage(self) -> FloatArray:
        """Diagonal of X (X'V^-1 X)^-1 X'V^-1, shape (n,): the share of the fixed effects in ``leverage``."""
        return np.asarray(np.einsum("np,np->n", self.rows.Xy[:, :-1], self._inner_pull))

    @cached_property
    def pull(self) -> FloatArray:
        """Columns of B as rows, shape (n, p): beta = pull' y, coefficients in the order of the fit."""
        return self.state.problem.basis.backward(self._inner_pull.T).T

    def hat_block(self, index: IntArray) -> FloatArray:
        """Rows and columns ``index`` of H, shape (r, r)."""
        rows = self.rows
        with blas.limited(self.state.problem.structure.m):
            return posterior.bilinear_forms(
                self.elimination, rows.Xy[index, :-1], [z[index] for z in rows.Z], [c[index] for c in rows.codes]
            )

    @cached_property
    def _working(self) -> Working:
        assert isinstance(self.state, GlmmState)
        model = self.state.model
        return model.weighing(model.at(self.state.eta))

    @cached_property
    def elimination(self) -> AnyElimination:
        """Elimination of (Z, X) at the estimates."""
        with blas.limited(self.state.problem.structure.m):
            return self.state.elimination()

    @cached_property
    def _inner_pull(self) -> FloatArray:
        """``pull`` in the basis of the fit."""
        return pull(self.elimination, self.rows)
