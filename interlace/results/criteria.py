"""Likelihood, counts and convergence members of a result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.solvers import DENSE, Cost
from interlace.estimate.derived import theta_errors
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import FitState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from interlace.estimate.state import Check, State
    from interlace.typing import FloatArray, Solver

__all__ = ["Convergence", "Criteria", "MonteCarloErrors", "convergence_record"]


@dataclass(frozen=True)
class Convergence:
    """How the optimization went.

    Attributes
    ----------
    converged : bool
    optimizer : str
        Algorithm that produced the estimates.
    iterations, evaluations, restarts : int
        Outer iterations, evaluations of the criterion, and times the boundary test sent the optimizer back.
    gradient_norm : float
        Largest absolute derivative of the criterion by a parameter of the optimizer at the estimate, covariates in
        standard units.
    hessian_eigenvalues : ndarray, shape (r,)
        Of the (approximate) second derivatives of the criterion by these parameters, ascending; all positive at a
        regular optimum. The parameters are theta; in a generalized model with ``nAGQ`` of 1 or more beta too, and the
        logarithm of the dispersion or of a negative binomial's theta where that is estimated.
    messages : tuple of str
        Why the optimizer stopped, and what the checks of the fit found.
    details : mapping of str to float
        Empty for a linear model. ``nAGQ``: how the integral over the random effects was approximated.
        ``lme4_criterion``, with ``nAGQ`` above 1 and no dispersion: what lme4 1.1 gives for -2 log-likelihood, which
        lacks the part that is the same for all models of the response (-2 log density at means equal to the response).
    solver : {"dense", "cholmod", "iterative"}
        How the system of the crossed random effects was solved; ``Control(solver=...)`` sets it.
    costs : mapping from str to Cost
        Estimated ``seconds`` and ``gigabytes`` of the ways that were considered.
    reason : str
        Why this solver.
    monte_carlo : MonteCarloErrors or None
        What random probes add to the errors of a fit by iteration; None for an exact one.
    """

    converged: bool
    optimizer: str
    iterations: int
    evaluations: int
    restarts: int
    gradient_norm: float
    hessian_eigenvalues: FloatArray
    messages: tuple[str, ...]
    details: Mapping[str, float] = field(default_factory=dict)
    solver: Solver = "dense"
    costs: Mapping[Solver, Cost] = field(default_factory=dict)
    reason: str = ""
    monte_carlo: MonteCarloErrors | None = None


@dataclass(frozen=True)
class MonteCarloErrors:
    """Errors of a fit whose log-determinant was estimated; they come on top of those of sampling.

    Attributes
    ----------
    criterion : float
        Standard error of the deviance or REML criterion.
    theta : ndarray, shape (n_theta,)
        Standard errors of theta.
    probes : int
        Number of random vectors.
    seed : int
    """

    criterion: float
    theta: FloatArray
    probes: int
    seed: int


def convergence_record(state: State) -> Convergence:
    """Collect the optimizer's record and the messages of the checks."""
    opt = state.opt
    plan = state.problem.plan if isinstance(state, FitState) else DENSE
    stopped = (opt.message,) if opt.message else ()
    return Convergence(
        converged=opt.converged,
        optimizer=opt.optimizer,
        iterations=opt.iterations,
        evaluations=opt.evaluations,
        restarts=opt.restarts,
        gradient_norm=opt.gradient_norm,
        hessian_eigenvalues=np.asarray(np.linalg.eigvalsh(opt.hessian), dtype=np.float64),
        messages=stopped + tuple(check.message for check in state.checks),
        details=_approximation(state) if isinstance(state, GlmmState) else {},
        solver=plan.solver,
        costs=plan.costs,
        reason=plan.reason,
        monte_carlo=_monte_carlo(state) if isinstance(state, FitState) else None,
    )


def _monte_carlo(state: FitState) -> MonteCarloErrors | None:
    errors = state.opt.monte_carlo
    if errors is None:
        return None
    return MonteCarloErrors(
        errors.criterion, theta_errors(state, errors.theta_cov), errors.probes.count, errors.probes.seed
    )


def _approximation(state: GlmmState) -> dict[str, float]:
    """How the likelihood was approximated, and lme4's criterion where it is on another scale."""
    nodes, model = state.problem.nodes, state.model
    if nodes <= 1 or state.has_scale:
        return {"nAGQ": nodes}
    saturated = model.minus_two_loglik(state.eta) - model.deviance(state.fitted)
    return {"nAGQ": nodes, "lme4_criterion": state.criterion - saturated}


class Criteria:
    """Likelihood and counts, with lme4's constants, and how the optimization went.

    For a fit by REML the likelihood is the restricted one, so ``llf``, ``deviance``, ``aic`` and ``bic`` of two fits
    can be compared only if their fixed effects are the same. Generalized models are fitted by maximum likelihood; the
    likelihood is complete for every ``nAGQ``, so that such fits can be compared. lme4 1.1 leaves a constant out for an
    ``nAGQ`` above 1; ``convergence.details`` has its value.
    """

    state: State

    @property
    def nobs(self) -> int:
        """Number of rows used: complete, and of positive weight.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).nobs
        180
        """
        return self.state.problem.design.n

    @property
    def n_params(self) -> int:
        """Number of parameters: ``attr(logLik(m), "df")``.

        Coefficients, covariance parameters theta, and one for the residual variance or the dispersion, or for the theta
        of a negative binomial response, given or estimated. Binomial and Poisson responses have no such further one.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).n_params
        6
        """
        return len(self.state.beta) + len(self.state.theta) + self.state.n_extra

    @property
    def df_resid(self) -> int:
        """Rows minus parameters, ``nobs - n_params``: lme4's ``df.residual(m)``. The t tests use ``fe_df`` instead.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).df_resid
        174
        """
        return self.nobs - self.n_params

    @property
    def method(self) -> str:
        """``"REML"`` or ``"ML"``.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).method
        'REML'
        """
        return "REML" if self.state.reml else "ML"

    @property
    def llf(self) -> float:
        """Log-likelihood, restricted for a fit by REML: lme4's ``logLik(m)``.

        For a generalized model as approximated with its ``nAGQ``, all constants included.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).llf, 3)
        -871.814
        """
        return -0.5 * self.state.criterion

    @property
    def deviance(self) -> float:
        """lme4's ``deviance(m)``.

        Of a linear model: -2 log-likelihood, or the REML criterion for a fit by REML. Of a generalized model: the sum
        of the squared deviance residuals, given the conditional modes. That is a measure of fit, and not -2
        log-likelihood (``-2 * llf``), which is what tests of nested models and ``aic`` use.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df, method="ML").deviance, 3)
        1751.939
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size")
        >>> round(result.deviance, 3), round(-2 * result.llf, 3)
        (73.472, 184.053)
        """
        state = self.state
        return state.model.deviance(state.fitted) if isinstance(state, GlmmState) else state.criterion

    @property
    def reml_criterion(self) -> float | None:
        """REML criterion, lme4's ``REMLcrit(m)``; None for a fit by ML and for generalized models.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).reml_criterion, 3)
        1743.628
        """
        return self.state.criterion if self.state.reml else None

    @property
    def aic(self) -> float:
        """Akaike's criterion, -2 llf + 2 n_params: ``AIC(m)``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).aic, 3)
        1755.628
        """
        return self.state.criterion + 2.0 * self.n_params

    @property
    def bic(self) -> float:
        """Schwarz's criterion, -2 llf + log(nobs) n_params: ``BIC(m)``; log(nobs) under REML too.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).bic, 3)
        1774.786
        """
        return self.state.criterion + float(np.log(self.nobs)) * self.n_params

    @property
    def sigma(self) -> float:
        """Residual standard deviation, or root of the dispersion: lme4's ``sigma(m)``.

        The dispersion is what multiplies the variance function of a Gamma, inverse Gaussian or Gaussian response; 1 for
        binomial, Poisson and negative binomial responses.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).sigma, 3)
        25.592
        """
        return self.state.sigma

    @property
    def scale(self) -> float:
        """Residual variance or dispersion, ``sigma ** 2``; of a row of weight w it is ``scale / w``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).scale, 2)
        654.94
        """
        return self.state.sigma**2

    @property
    def converged(self) -> bool:
        """Whether the optimizer met its stopping rule and the boundary test passed.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).converged
        True
        """
        return self.state.opt.converged

    @property
    def convergence(self) -> Convergence:
        """Record of the optimization: optimizer, iterations, gradient, eigenvalues of the Hessian, messages.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> record = interlace.fit("Reaction ~ Days + (Days | Subject)", df).convergence
        >>> record.gradient_norm < 1e-3, bool((record.hessian_eigenvalues > 0).all())
        (True, True)
        """
        return convergence_record(self.state)

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was found about the fit, each with what to do about it; empty where nothing was.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).checks
        ()
        """
        return self.state.checks
