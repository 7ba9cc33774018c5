"""Likelihood, counts and convergence members of a result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from interlace.estimate.state import Check, FitState
    from interlace.typing import FloatArray

__all__ = ["Convergence", "Criteria", "convergence_record"]


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
        Largest absolute derivative of the criterion by theta at the estimate, covariates in standard units.
    hessian_eigenvalues : ndarray, shape (n_theta,)
        Of the (approximate) second derivatives of the criterion by theta, covariates in standard units, ascending; all
        positive at a regular optimum.
    messages : tuple of str
        Why the optimizer stopped, and what the checks of the fit found.
    """

    converged: bool
    optimizer: str
    iterations: int
    evaluations: int
    restarts: int
    gradient_norm: float
    hessian_eigenvalues: FloatArray
    messages: tuple[str, ...]


def convergence_record(state: FitState) -> Convergence:
    """Collect the optimizer's record and the messages of the checks."""
    opt = state.opt
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
    )


class Criteria:
    """Likelihood and counts, with lme4's constants, and how the optimization went.

    For a fit by REML the likelihood is the restricted one, so ``llf``, ``deviance``, ``aic`` and ``bic`` of two fits
    can be compared only if their fixed effects are the same.
    """

    state: FitState

    @property
    def nobs(self) -> int:
        """Number of rows used: complete, and of positive weight.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).nobs
        180
        """
        return len(self.state.fitted)

    @property
    def n_params(self) -> int:
        """Number of parameters, p + n_theta + 1 (the residual variance): ``attr(logLik(m), "df")``.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).n_params
        6
        """
        return len(self.state.beta) + len(self.state.theta) + 1

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
        """-2 log-likelihood: the ML deviance, or for a fit by REML the REML criterion, as lme4's ``deviance(m)``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df, method="ML").deviance, 3)
        1751.939
        """
        return self.state.criterion

    @property
    def reml_criterion(self) -> float | None:
        """REML criterion, lme4's ``REMLcrit(m)``; None for a fit by ML.

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
        """Residual standard deviation: lme4's ``sigma(m)``.

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
        """Residual variance, ``sigma ** 2``; of a row of weight w it is ``scale / w``.

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
