"""The numbers of one fitted generalized linear mixed model, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas
from interlace.core.dispersion import ProfiledDispersion
from interlace.core.families import NegativeBinomial
from interlace.core.optsummary import OptSummary
from interlace.core.pirls import Pirls
from interlace.core.working import WorkingModel
from interlace.estimate.glmm_problem import GlmmProblem, target
from interlace.estimate.state import Check
from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from interlace.core.cholmod import AnyElimination

__all__ = ["GlmmState", "curvature"]

#: Step of the second derivatives, in standard errors.
_STEP = 4e-3


@dataclass(frozen=True)
class GlmmState:
    """Estimates of a generalized linear mixed model; t terms, p kept fixed-effects columns, n rows.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
        Covariance parameters in lme4's order: the random effects of a term have the covariance ``unit**2 L L'``.
    beta : ndarray, shape (p,)
    sigma : float
        Root of the dispersion; 1 for a family without one.
    modes : tuple of ndarray, shapes (q_i, k_i)
        Conditional modes b of each term.
    criterion : float
        -2 log(likelihood), all constants included for every number of nodes.
    kept : ndarray of int64, shape (p,)
        Columns of ``Design.X`` in the fit; the others were linearly dependent.
    fixed, eta, fitted : ndarray, shape (n,)
        X beta + offset; that plus Z b, the linear predictor; the means.
    model : WorkingModel
        Response, family and link, at the estimated dispersion or theta.
    opt : OptSummary
    checks : tuple of Check
    problem : GlmmProblem
    """

    theta: FloatArray
    beta: FloatArray
    sigma: float
    modes: tuple[FloatArray, ...]
    criterion: float
    kept: IntArray
    fixed: FloatArray
    eta: FloatArray
    fitted: FloatArray
    model: WorkingModel
    opt: OptSummary
    checks: tuple[Check, ...]
    problem: GlmmProblem

    @property
    def reml(self) -> bool:
        """Generalized models are fitted by maximum likelihood."""
        return False

    @property
    def unit(self) -> float:
        """Theta is on the scale of the linear predictor; relative to sigma in the convention of lme4 1.1."""
        return self.sigma if isinstance(self.model, ProfiledDispersion) else 1.0

    @property
    def has_scale(self) -> bool:
        """Whether a dispersion was estimated."""
        return self.model.family.has_dispersion

    @property
    def n_extra(self) -> int:
        """Parameters beside theta and beta: a dispersion, or a negative binomial's theta, known or not, as lme4."""
        return int(self.has_scale or isinstance(self.model.family, NegativeBinomial))

    @cached_property
    def beta_cov(self) -> FloatArray:
        """Covariance of ``beta``, shape (p, p).

        From the curvature of the deviance in all parameters, so that the uncertainty of theta counts; for ``nAGQ = 0``
        given theta, as in lme4.
        """
        problem = self.problem
        if problem.nodes == 0:
            return self._given_theta()
        with blas.limited(problem.structure.m):
            H = curvature(self)
        if not np.isfinite(H).all():  # so near to impossible means that not even the differences stay clear of them
            return self._given_theta()
        n_theta, p = self.theta.size, self.beta.size
        at = np.arange(n_theta, n_theta + p)
        others = np.delete(np.arange(H.shape[0]), at)
        # Parameters on the boundary have no curvature of their own: they count as known.
        schur = (
            H[np.ix_(at, at)]
            - H[np.ix_(at, others)]
            @ np.linalg.pinv(H[np.ix_(others, others)], rcond=1e-8, hermitian=True)
            @ H[np.ix_(others, at)]
        )
        values = np.linalg.eigvalsh(schur)
        if values.size and not values[0] > 1e-10 * values[-1]:
            return self._given_theta()
        root = problem.basis.backward(np.linalg.inv(np.linalg.cholesky(0.5 * schur)).T)
        return np.asarray(root @ root.T)

    @cached_property
    def missing_curvature(self) -> FloatArray:
        """What the approximate Hessian of the optimizer lacks at the estimates, inner basis, shape (r, r)."""
        deviance = target(self.problem)
        with blas.limited(self.problem.structure.m):
            modes = deviance.at(self.opt.x)
            missing = curvature(self) - deviance.information(modes, deviance.derivatives(modes))
        return missing if np.isfinite(missing).all() else np.zeros_like(missing)

    def _given_theta(self) -> FloatArray:
        """Covariance given theta; not a number where the working weights do not identify all coefficients."""
        try:
            root = self.problem.basis.backward(self.elimination().beta_root)
        except np.linalg.LinAlgError:
            return np.full((self.beta.size, self.beta.size), np.nan)
        scale = self.sigma**2 if isinstance(self.model, ProfiledDispersion) else 1.0
        return np.asarray(scale * (root @ root.T))

    def elimination(self) -> AnyElimination:
        """Elimination of (Z, X) with the working weights at the estimates, in the inner basis."""
        problem = self.problem
        pirls = Pirls(problem.structure, problem.codes, problem.Z, self.model, problem.X)
        working = self.model.weighing(self.model.at(self.eta))
        L = problem.structure.factors(self.opt.x[: self.theta.size])
        return pirls.eliminate(L, working.fisher)


def curvature(state: GlmmState) -> FloatArray:
    """Second derivatives of the deviance in (theta, beta, further parameter), inner basis, shape (r, r).

    Central differences of fourth order of the exact gradient (Fornberg, 1988, Mathematics of Computation 51, 699-706).
    """
    deviance = target(state.problem)
    x, approximate = state.opt.x, np.abs(np.diagonal(state.opt.hessian))

    def across(step: FloatArray) -> FloatArray:
        ahead, behind = (deviance.derivatives(deviance.at(x + s * step)).gradient for s in (1.0, -1.0))
        return np.asarray(ahead - behind)

    H = np.empty((x.size, x.size))
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = _STEP * min(1.0, float(np.sqrt(2.0 / max(approximate[i], 1e-300))))
        H[i] = (8.0 * across(step) - across(2.0 * step)) / (12.0 * step[i])
    return 0.5 * (H + H.T)
