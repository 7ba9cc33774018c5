"""Families of response distributions, with the conventions of R's families and of lme4.

Sources: McCullagh and Nelder, Generalized Linear Models, 2nd ed., chapter 2 and section 8.2; Venables and Ripley,
Modern Applied Statistics with S, 4th ed., section 7.4, for the negative binomial. Prior weights mean what they mean in
R: numbers of trials (binomial), inverse variances (Gaussian), multipliers of the log density (all others).
"""

# ruff: noqa: D102 - the methods are documented once, in Family
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.random import Generator
from scipy import special

from interlace.core.familybase import Family, rows
from interlace.errors import ModelError
from interlace.typing import BoolArray, FloatArray

__all__ = [
    "Binomial",
    "Family",
    "Gamma",
    "Gaussian",
    "InverseGaussian",
    "NegativeBinomial",
    "Poisson",
    "log_choose",
]

_LOG_2PI = float(np.log(2.0 * np.pi))
_COUNT_TOLERANCE = 1e-7  # relative; R's dpois and dnbinom
_SUCCESS_TOLERANCE = 1e-3  # absolute; R's binomial


@dataclass(frozen=True)
class Binomial(Family):
    """Proportions of successes; the weights are the numbers of trials.

    The log density is R's ``dbinom(weights y, weights, mu)``. R rounds the number of successes first, which changes
    nothing for whole numbers; otherwise it would part the likelihood from its own derivatives, so that here the
    factorials are extended by the gamma function and nothing is rounded.
    """

    name: ClassVar[str] = "binomial"
    default_link = canonical_link = "logit"
    links = ("logit", "probit", "cloglog", "cauchit", "log")
    mu_domain = (0.0, 1.0)

    def variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(mu * (1.0 - mu))

    def d_variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(1.0 - 2.0 * mu)

    def d2_variance(self, mu: FloatArray) -> FloatArray:
        return np.full_like(mu, -2.0)

    def loglik(
        self,
        y: FloatArray,
        mu: FloatArray,
        weights: FloatArray,
        dispersion: float = 1.0,
        trials: FloatArray | None = None,
    ) -> FloatArray:
        """Log density; ``trials`` only where weights are trials times something else, as in R's cbind with weights."""
        kernel = special.xlogy(y, mu) + special.xlog1py(1.0 - y, -mu)
        return np.asarray(weights * kernel + log_choose(y, weights, trials))

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        return np.asarray(2.0 * (special.rel_entr(y, mu) + special.rel_entr(1.0 - y, 1.0 - mu)))

    def start_mu(self, y: FloatArray, weights: FloatArray) -> FloatArray:
        return np.asarray((weights * y + 0.5) / (weights + 1.0))

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        return (
            super().check_response(y, weights)
            or rows((y < 0.0) | (y > 1.0), "the response of a binomial model, a proportion, lies outside [0, 1]")
            or rows(~(weights > 0.0), "the number of trials (weights) is not positive")
        )

    def response_warning(self, y: FloatArray, weights: FloatArray) -> str | None:
        successes = weights * y
        fractional = np.abs(successes - np.round(successes)) > _SUCCESS_TOLERANCE
        problem = "the number of successes (response times weights) is not a whole number"
        if np.any(fractional) and np.all(weights == 1.0):
            problem += ", and no weights say how many trials the proportions are of,"
        return rows(fractional, problem) or _constant(y, (0.0, 1.0))

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        problem = rows(weights != np.round(weights), "the number of trials (weights) is not whole")
        if problem:
            raise ModelError(f"cannot simulate: {problem}")
        return np.asarray(rng.binomial(weights.astype(np.int64), mu) / weights)


@dataclass(frozen=True)
class _Power(Family):
    """Families whose variance is a power of the mean."""

    power: ClassVar[int]
    mu_domain = (0.0, np.inf)

    def variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(mu**self.power)

    def d_variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(float(self.power) * mu ** (self.power - 1))

    def d2_variance(self, mu: FloatArray) -> FloatArray:
        c = float(self.power * (self.power - 1))
        return np.asarray(c * mu ** (self.power - 2)) if c else np.zeros_like(mu)


@dataclass(frozen=True)
class Poisson(_Power):
    """Counts; the weights multiply the log density."""

    name: ClassVar[str] = "poisson"
    default_link = canonical_link = "log"
    links = ("log", "identity", "sqrt")
    power = 1

    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        return np.asarray(weights * (special.xlogy(y, mu) - mu - special.gammaln(y + 1.0)))

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            excess = (mu - y) / y
            near = y * (excess - np.log1p(excess))  # no digits are lost between large numbers
            return np.asarray(2.0 * np.where(np.abs(excess) < 0.5, near, special.kl_div(y, mu)))

    def start_mu(self, y: FloatArray, weights: FloatArray) -> FloatArray:
        return np.asarray(y + 0.1)

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        return (
            super().check_response(y, weights)
            or rows(y < 0.0, "the response of a Poisson model, a count, is negative")
            or rows(_fractional(y), "the response of a Poisson model, a count, is not a whole number")
        )

    def response_warning(self, y: FloatArray, weights: FloatArray) -> str | None:
        return _constant(y, (0.0,))

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        return rng.poisson(mu).astype(np.float64)


@dataclass(frozen=True)
class Gamma(_Power):
    """Positive amounts with a constant coefficient of variation; shape 1/dispersion, weights multiply."""

    name: ClassVar[str] = "Gamma"
    default_link = canonical_link = "inverse"
    links = ("inverse", "log", "identity")
    has_dispersion = True
    power = 2

    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        k = 1.0 / dispersion
        with np.errstate(all="ignore"):
            log_y, constant = np.log(y), k * np.log(k) - special.gammaln(k)
            value = k * (log_y - np.log(mu) - y / mu) + constant - log_y
        return np.asarray(weights * np.where(y > 0.0, value, -np.inf))

    def d_dispersion(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        k = 1.0 / dispersion
        by_shape = np.log(k) + 1.0 - special.digamma(k) + np.log(y / mu) - y / mu
        return np.asarray(-weights * by_shape * k * k)

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(2.0 * ((y - mu) / mu - np.log(np.where(y == 0.0, 1.0, y / mu))))

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        problem = "the response of a Gamma model, a positive amount, is not positive"
        return super().check_response(y, weights) or rows(y <= 0.0, problem)

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        shape = weights / dispersion
        return rng.gamma(shape, mu / shape)


@dataclass(frozen=True)
class InverseGaussian(_Power):
    """Positive amounts whose variance is dispersion mu^3; weights multiply the log density."""

    name: ClassVar[str] = "inverse.gaussian"
    default_link = canonical_link = "1/mu^2"
    links = ("1/mu^2", "inverse", "log", "identity")
    has_dispersion = True
    power = 3

    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        with np.errstate(all="ignore"):
            value = -0.5 * (_LOG_2PI + np.log(dispersion) + 3.0 * np.log(y) + self.unit_deviance(y, mu) / dispersion)
        return np.asarray(weights * np.where(y > 0.0, value, -np.inf))

    def d_dispersion(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        return np.asarray(weights * (self.unit_deviance(y, mu) / dispersion - 1.0) / (2.0 * dispersion))

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            ratio = (y - mu) / mu
            return np.asarray(ratio * ratio / y)

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        problem = "the response of an inverse Gaussian model, a positive amount, is not positive"
        return super().check_response(y, weights) or rows(y <= 0.0, problem)

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        return rng.wald(mu, weights / dispersion)


@dataclass(frozen=True)
class Gaussian(Family):
    """Normal responses with variance dispersion / weights, for links other than the identity."""

    name: ClassVar[str] = "gaussian"
    default_link = canonical_link = "identity"
    links = ("identity", "log", "inverse")
    has_dispersion = True

    def variance(self, mu: FloatArray) -> FloatArray:
        return np.ones_like(mu)

    def d_variance(self, mu: FloatArray) -> FloatArray:
        return np.zeros_like(mu)

    def d2_variance(self, mu: FloatArray) -> FloatArray:
        return np.zeros_like(mu)

    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        with np.errstate(over="ignore"):
            scaled = weights / dispersion
            return np.asarray(-0.5 * (_LOG_2PI - np.log(scaled) + scaled * (y - mu) ** 2))

    def d_dispersion(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        return np.asarray((weights * (y - mu) ** 2 / dispersion - 1.0) / (2.0 * dispersion))

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return np.asarray((y - mu) ** 2)

    def dispersion_estimate(self, y: FloatArray, mu: FloatArray, weights: FloatArray) -> float:
        """Deviance over the number of rows, since the weights are inverse variances."""
        return float(np.sum(weights * self.unit_deviance(y, mu)) / y.size)

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        return rng.normal(mu, np.sqrt(dispersion / weights))


@dataclass(frozen=True)
class NegativeBinomial(Family):
    """Counts with variance mu + mu^2/theta (NB2), theta known; weights multiply the log density.

    Parameters
    ----------
    theta : float
        Positive; the Poisson distribution is its limit at infinity.
    """

    theta: float
    name: ClassVar[str] = "negative.binomial"
    default_link = "log"
    links = ("log", "identity", "sqrt")
    mu_domain = (0.0, np.inf)

    def __post_init__(self) -> None:
        if isinstance(self.theta, bool) or not isinstance(self.theta, int | float | np.number):
            raise TypeError(f"theta of a negative binomial family must be a number, not {self.theta!r}")
        if not (np.isfinite(self.theta) and self.theta > 0.0):
            raise ModelError(f"theta of a negative binomial family must be positive and finite, not {self.theta}")

    @property
    def label(self) -> str:
        return f"Negative Binomial({round(self.theta, 4):g})"

    def variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(mu * (1.0 + mu / self.theta))

    def d_variance(self, mu: FloatArray) -> FloatArray:
        return np.asarray(1.0 + 2.0 * mu / self.theta)

    def d2_variance(self, mu: FloatArray) -> FloatArray:
        return np.full_like(mu, 2.0 / self.theta)

    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        # 1 / ((y + theta) B(y + 1, theta)) is Gamma(y + theta) / (Gamma(theta) y!) without their cancellation
        constant = -special.betaln(y + 1.0, self.theta) - np.log(y + self.theta)
        kernel = special.xlogy(y, mu) - y * np.log(mu + self.theta) - self.theta * np.log1p(mu / self.theta)
        return np.asarray(weights * (kernel + constant))

    def d_theta(self, y: FloatArray, mu: FloatArray, weights: FloatArray) -> FloatArray:
        """Derivative of `loglik` with respect to theta."""
        gamma_part = special.digamma(y + self.theta) - special.digamma(self.theta)
        return np.asarray(weights * (gamma_part - np.log1p(mu / self.theta) + (mu - y) / (mu + self.theta)))

    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        gap = np.log1p((y - mu) / (mu + self.theta))
        return np.asarray(2.0 * (special.rel_entr(y, mu) - (y + self.theta) * gap))

    def start_mu(self, y: FloatArray, weights: FloatArray) -> FloatArray:
        return np.where(y == 0.0, 1.0 / 6.0, y)

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        problem = "the response of a negative binomial model, a count, is negative"
        return super().check_response(y, weights) or rows(y < 0.0, problem)

    def response_warning(self, y: FloatArray, weights: FloatArray) -> str | None:
        problem = "the response of a negative binomial model, a count, is not a whole number"
        return rows(_fractional(y), problem) or _constant(y, (0.0,))

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        return rng.negative_binomial(self.theta, self.theta / (self.theta + mu)).astype(np.float64)


def log_choose(y: FloatArray, weights: FloatArray, trials: FloatArray | None = None) -> FloatArray:
    """The part of a binomial log density that does not depend on mu, shape (n,)."""
    m = weights if trials is None else trials
    successes = m * y
    constant = special.gammaln(m + 1.0) - special.gammaln(successes + 1.0) - special.gammaln(m - successes + 1.0)
    return np.asarray(constant if trials is None else constant * (weights / m))


def _fractional(y: FloatArray) -> BoolArray:
    return np.asarray(np.abs(y - np.round(y)) > _COUNT_TOLERANCE * np.maximum(1.0, np.abs(y)))


def _constant(y: FloatArray, extremes: tuple[float, ...]) -> str | None:
    """Whether every response is the same extreme value, which puts the likelihood's maximum at infinity."""
    for value in extremes:
        if y.size and np.all(y == value):
            return f"every response is {value:g}: the likelihood has no maximum"
    return None
