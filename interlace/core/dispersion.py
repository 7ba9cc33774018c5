"""Responses whose distribution has a parameter beside the mean: a dispersion, or a negative binomial's theta.

`FreeDispersion` and `FreeTheta` make its logarithm one more parameter of the likelihood, which is maximized over it.
`ProfiledDispersion` is lme4's convention for Gamma, inverse Gaussian and Gaussian responses: modes are found with a
dispersion of 1, and the density is then evaluated at deviance / n. Its estimates do not maximize a likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from interlace.core.families import Gaussian, NegativeBinomial
from interlace.core.working import ThetaDerivatives, Working, WorkingModel
from interlace.typing import FloatArray

__all__ = ["FreeDispersion", "FreeTheta", "ProfiledDispersion"]

#: The logarithm of a dispersion stays within these, where doubles can hold what is computed from it.
_FARTHEST = 300.0
#: Theta stays below this many times the mean response, where the distribution is Poisson's to eight digits.
_POISSON = 1e6


@dataclass(frozen=True, eq=False)
class FreeDispersion(WorkingModel):
    """A response whose dispersion is estimated; everything is at the dispersion ``phi``."""

    phi: float = 1.0

    @property
    def n_extra(self) -> int:
        """One: log(phi)."""
        return 1

    @property
    def extra_start(self) -> FloatArray:
        """From log(phi) of this object."""
        return np.array([np.log(self.phi)])

    def with_extra(self, extra: FloatArray) -> FreeDispersion:
        """Same response at the dispersion exp(extra[0])."""
        return replace(self, phi=float(np.exp(np.clip(extra[0], -_FARTHEST, _FARTHEST))))

    def at(self, eta: FloatArray) -> Working:
        """Means and derivatives at a linear predictor of shape (n,)."""
        w = super().at(eta)
        score, fisher, d_fisher = w.score / self.phi, w.fisher / self.phi, w.d_fisher / self.phi
        if self.canonical:
            return Working(w.mu, score, fisher, fisher, d_fisher, d_fisher, w.valid)
        return Working(w.mu, score, fisher, w.observed / self.phi, d_fisher, w.d_observed / self.phi, w.valid)

    def log_density(self, eta: FloatArray, dispersion: float | None = None) -> FloatArray:
        """Log density of every row, shape (n,)."""
        return super().log_density(eta, self.phi if dispersion is None else dispersion)

    def minus_two_loglik(self, eta: FloatArray, dispersion: float | None = None) -> float:
        """-2 times the sum of `log_density`."""
        return super().minus_two_loglik(eta, self.phi if dispersion is None else dispersion)

    def extra(self, eta: FloatArray) -> ThetaDerivatives:
        """Derivatives with respect to log(phi): score and information are inversely proportional to phi."""
        w = self.at(eta)
        with np.errstate(all="ignore"):
            loglik = self.phi * self.family.d_dispersion(self.y, w.mu, self.weights, self.phi)
        return ThetaDerivatives(loglik, -w.score, -self.weighing(w).fisher, -w.observed)


@dataclass(frozen=True, eq=False)
class FreeTheta(WorkingModel):
    """A negative binomial response whose theta is estimated."""

    @property
    def theta(self) -> float:
        """Theta of the family."""
        assert isinstance(self.family, NegativeBinomial)
        return self.family.theta

    @property
    def n_extra(self) -> int:
        """One: log(theta)."""
        return 1

    @property
    def extra_start(self) -> FloatArray:
        """From log(theta) of the family."""
        return np.array([np.log(self.theta)])

    def with_extra(self, extra: FloatArray) -> FreeTheta:
        """Same response with theta = exp(extra[0])."""
        theta = float(np.exp(np.clip(extra[0], -_FARTHEST, np.log(self.ceiling))))
        return replace(self, family=NegativeBinomial(theta=theta))

    @property
    def ceiling(self) -> float:
        """Largest theta, from which on the distribution counts as Poisson's."""
        return _POISSON * max(1.0, float(self.y.mean()))

    def extra(self, eta: FloatArray) -> ThetaDerivatives:
        """Derivatives with respect to log(theta); zero at the ceiling."""
        if self.theta >= 0.999999 * self.ceiling:
            nothing = np.zeros_like(eta)
            return ThetaDerivatives(nothing, nothing, nothing, nothing)
        loglik, score, fisher, observed = (self.theta * part for part in self.theta_derivatives(eta))
        return ThetaDerivatives(loglik, score, fisher if self.curvature == "expected" else observed, observed)


@dataclass(frozen=True, eq=False)
class ProfiledDispersion(WorkingModel):
    """A response in lme4's convention; see the module."""

    def dispersion(self, eta: FloatArray) -> float:
        """Deviance over the number of rows (Gaussian) or the sum of the weights, as R's ``aic`` functions take it."""
        return self.deviance(self.link.mu(eta)) / self._count

    @property
    def _count(self) -> float:
        return float(self.y.size) if isinstance(self.family, Gaussian) else float(self.weights.sum())

    def surplus(self, eta: FloatArray) -> float:
        """-2 log density at the dispersion of `dispersion`, less that at 1."""
        return self.minus_two_loglik(eta, self.dispersion(eta)) - self.minus_two_loglik(eta)

    def surplus_slope(self, eta: FloatArray, working: Working) -> float:
        """Derivative of `surplus` by eta, as a multiple of the score at dispersion 1."""
        phi = self.dispersion(eta)
        with np.errstate(all="ignore"):
            by_phi = float(np.sum(self.family.d_dispersion(self.y, working.mu, self.weights, phi)))
        # The deviance has the derivative -2 score.
        return -2.0 / phi + 4.0 * by_phi / self._count + 2.0
