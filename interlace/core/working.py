"""The log density as a function of the linear predictor: what PIRLS and its gradient need of a model's family.

With s the score, d log p / d eta, W_F the expected and W_O the observed information (McCullagh and Nelder, section
2.5), all at dispersion 1; divide them by the dispersion for any other. The forms are chosen so that no digits are lost
where mu rounds to an end of its range:

* binomial: log p = w (y A + (1 - y) B) with A = log mu and B = log(1 - mu), and W_F = -w A' B';
* variances that are nearly powers of mu (Poisson, Gamma, inverse Gaussian, negative binomial): derivatives L of log mu,
  with a = (y - mu) mu / V and b = mu^2 / V, f the elasticity of V less 1, and g = f + 2 f^2 - mu^2 V'' / V;
* all others: the chain rule on r = mu' / V.

A value that doubles cannot hold becomes +-1e306.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from interlace.core.families import (
    Binomial,
    Family,
    Gamma,
    InverseGaussian,
    NegativeBinomial,
    Poisson,
    log_choose,
)
from interlace.core.linkbase import Link
from interlace.core.links import Logit
from interlace.errors import ModelError
from interlace.typing import FloatArray

__all__ = ["Curvature", "ThetaDerivatives", "Working", "WorkingModel"]

Curvature: TypeAlias = Literal["expected", "observed"]

_LARGEST = 1e306
_EXPONENT = 700.0  # exp() of it is near the largest double
_ROWS = 8192  # rows at a time


@dataclass(frozen=True)
class Working:
    """Log density of every row at one linear predictor: means and derivatives, shapes (n,), dispersion 1.

    Attributes
    ----------
    mu : ndarray
    score : ndarray
        First derivative of the log density with respect to eta.
    fisher, observed : ndarray
        Expected and observed information, minus the second derivative; one and the same array for canonical links.
    d_fisher, d_observed : ndarray
        Their derivatives with respect to eta.
    valid : bool
        Whether every row has a distribution; in rows that have none all arrays hold NaN.
    """

    mu: FloatArray
    score: FloatArray
    fisher: FloatArray
    observed: FloatArray
    d_fisher: FloatArray
    d_observed: FloatArray
    valid: bool


class ThetaDerivatives(NamedTuple):
    """Derivatives with respect to a negative binomial's theta at fixed eta, shapes (n,)."""

    loglik: FloatArray
    score: FloatArray
    fisher: FloatArray
    observed: FloatArray


class _Pieces(NamedTuple):
    """Score and information before prior weights are applied."""

    score: FloatArray
    fisher: FloatArray
    observed: FloatArray
    d_fisher: FloatArray
    d_observed: FloatArray


@dataclass(frozen=True, eq=False)
class WorkingModel:
    """A response with its family and link.

    Parameters
    ----------
    family : Family
    link : Link
    y : ndarray, shape (n,)
        Response; proportions for the binomial.
    weights : ndarray, shape (n,)
        Prior weights; numbers of trials for the binomial.
    trials : ndarray, shape (n,), optional
        Numbers of trials of a binomial where the weights are trials times something else.
    curvature : {"expected", "observed"}
        Which information is the weight W in log|Lambda'Z'WZ Lambda + I|.

    Notes
    -----
    Every ``eta`` is the whole linear predictor, offset included.
    """

    family: Family
    link: Link
    y: FloatArray
    weights: FloatArray
    trials: FloatArray | None = None
    curvature: Curvature = "expected"

    def at(self, eta: FloatArray) -> Working:
        """Means and derivatives at a linear predictor of shape (n,)."""
        if eta.size <= _ROWS:
            return self._at(eta)
        arrays = np.empty((4 if self.canonical else 6, eta.size))
        valid = True
        for start in range(0, eta.size, _ROWS):  # temporaries that fit into the cache: three times as fast
            some = slice(start, start + _ROWS)
            part = WorkingModel(self.family, self.link, self.y[some], self.weights[some])._at(eta[some])
            valid = valid and part.valid
            columns = (part.mu, part.score, part.fisher, part.d_fisher, part.observed, part.d_observed)
            for row, column in zip(arrays, columns, strict=False):
                row[some] = column
        mu, score, fisher, d_fisher = arrays[:4]
        observed, d_observed = (fisher, d_fisher) if self.canonical else arrays[4:]
        return Working(mu, score, fisher, observed, d_fisher, d_observed, valid)

    def _at(self, eta: FloatArray) -> Working:
        with np.errstate(all="ignore"):
            if isinstance(self.family, Binomial) and isinstance(self.link, Logit):
                mu, pieces = _logistic(self.y, eta)
                score, fisher, d_fisher = (
                    self.weights * piece for piece in (pieces.score, pieces.fisher, pieces.d_fisher)
                )
            else:
                mu = self.link.mu(eta)
                pieces = self._pieces(eta, mu)
                score, fisher, d_fisher = map(self._weighted, (pieces.score, pieces.fisher, pieces.d_fisher))
            observed, d_observed = fisher, d_fisher
            if not self.canonical:
                observed, d_observed = map(self._weighted, (pieces.observed, pieces.d_observed))
            if self.confined:
                inside = self.link.valid_eta(eta) & self.family.valid_mu(mu)
                if not inside.all():
                    mu = np.where(inside, mu, np.nan)  # a user's link may have given back eta itself
                    for array in (score, fisher, d_fisher, observed, d_observed):
                        array[~inside] = np.nan
            valid = not np.isnan(np.max(score, initial=0.0))
            return Working(mu, score, fisher, observed, d_fisher, d_observed, valid)

    @cached_property
    def canonical(self) -> bool:
        """Whether observed and expected information are the same."""
        return self.link.name == self.family.canonical_link

    def weighing(self, working: Working) -> Working:
        """Put the information that ``curvature`` asks for in the place of the expected one."""
        if self.curvature == "expected":
            return working
        return replace(working, fisher=working.observed, d_fisher=working.d_observed)

    @property
    def n_extra(self) -> int:
        """Number of further parameters that are estimated: none for a family whose density is known given mu."""
        return 0

    @property
    def extra_start(self) -> FloatArray:
        """Starting values of the further parameters, shape (n_extra,)."""
        return np.empty(0)

    def with_extra(self, extra: FloatArray) -> WorkingModel:
        """Same response with other values of the further parameters, shape (n_extra,)."""
        return self

    def extra(self, eta: FloatArray) -> ThetaDerivatives | None:
        """Derivatives with respect to the further parameter; None without one."""
        return None

    def surplus(self, eta: FloatArray) -> float:
        """What the reported deviance has beyond the one that the modes minimize."""
        return 0.0

    def surplus_slope(self, eta: FloatArray, working: Working) -> float:
        """Derivative of `surplus` by eta, as a multiple of the score."""
        return 0.0

    @cached_property
    def start_eta(self) -> FloatArray:
        """Linear predictor of R's starting means, shape (n,); means the link cannot take become the mean response."""
        mu = self.family.start_mu(self.y, self.weights)
        allowed = self.link.valid_mu(mu) & self.family.valid_mu(mu)
        if not allowed.all():
            mean = np.array([np.average(self.y, weights=self.weights)])
            if not (self.link.valid_mu(mean) & self.family.valid_mu(mean)).all():
                raise ModelError(
                    f"the {self.link.name!r} link has no linear predictor for a response whose mean is {mean[0]:g}"
                )
            mu = np.where(allowed, mu, mean)
        return self.link.eta(mu)

    def log_density(self, eta: FloatArray, dispersion: float = 1.0) -> FloatArray:
        """Log density of every row, shape (n,); minus infinity where eta is impossible.

        For the binomial exact where mu rounds to 0 or 1, which a function of mu cannot be.
        """
        with np.errstate(all="ignore"):
            if isinstance(self.family, Binomial):
                value = self.weights * self._bernoulli(eta) + self._log_choose
            else:
                value = self._log_density(self.link.mu(eta), dispersion)
            if self.confined:
                value = np.where(self.link.valid_eta(eta) & self.family.valid_mu(self.link.mu(eta)), value, -np.inf)
            if self.link.even:
                # The other mode of a positive response lies beyond a density of zero, and does not belong to the model.
                value = np.where((eta < 0.0) & (self.y > 0.0), -np.inf, value)
            return np.asarray(value)

    def minus_two_loglik(self, eta: FloatArray, dispersion: float = 1.0) -> float:
        """-2 times the sum of `log_density`; infinity where eta is impossible or not a number."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = -2.0 * float(np.sum(self.log_density(eta, dispersion)))
        return np.inf if np.isnan(value) else value

    def loglik(self, mu: FloatArray, dispersion: float = 1.0) -> float:
        """Sum of the log densities at means of shape (n,)."""
        with np.errstate(all="ignore"):
            return float(np.sum(self._log_density(mu, dispersion)))

    def deviance(self, mu: FloatArray) -> float:
        """Sum of weighted unit deviances at means of shape (n,)."""
        with np.errstate(all="ignore"):
            return float(np.sum(self.weights * self.family.unit_deviance(self.y, mu)))

    def theta_derivatives(self, eta: FloatArray) -> ThetaDerivatives:
        """Derivatives with respect to the theta of a negative binomial family at fixed eta."""
        if not isinstance(self.family, NegativeBinomial):
            raise TypeError(f"only a negative binomial family has a theta, not {self.family.name!r}")
        with np.errstate(all="ignore"):
            mu = self.link.mu(eta)
            L1, L2, _ = self.link.log_mu_derivatives(eta)
            # mu / V = 1 - p with p = mu / (mu + theta), and d p / d theta = -p / (mu + theta); d p / d eta = p q L1
            slope, p = mu / (mu + self.family.theta) ** 2, mu / (mu + self.family.theta)
            residual = self.y - mu
            score = residual * slope * L1
            fisher = mu * slope * L1**2
            observed = fisher - residual * slope * (L2 + (1.0 - 2.0 * p) * L1**2)
            loglik = self.family.d_theta(self.y, mu, self.weights)
            return ThetaDerivatives(loglik, *(self._weighted(piece) for piece in (score, fisher, observed)))

    def _pieces(self, eta: FloatArray, mu: FloatArray) -> _Pieces:
        if isinstance(self.family, Binomial):
            return _binomial(self.y, self.link, eta)
        if isinstance(self.family, Poisson | Gamma | InverseGaussian | NegativeBinomial):
            return _by_log_mean(self.family, self.y, self.link, eta, mu)
        return _by_chain_rule(self.family, self.y, self.link, eta, mu)

    def _weighted(self, piece: FloatArray) -> FloatArray:
        value = self.weights * piece
        if value.size and not abs(value.max()) + abs(value.min()) <= _LARGEST:
            np.clip(value, -_LARGEST, _LARGEST, out=value)
        return value

    @cached_property
    def confined(self) -> bool:
        """Whether some linear predictors are impossible, or belong to another mode."""
        if self.link.even:
            return True
        if type(self.link).valid_eta is not Link.valid_eta or self.link.eta_domain != (-np.inf, np.inf):
            return True
        (low, high), (lowest, highest) = self.link.mu_domain, self.family.mu_domain
        return low < lowest or high > highest

    @cached_property
    def _log_choose(self) -> FloatArray:
        return log_choose(self.y, self.weights, self.trials)

    @cached_property
    def _saturated(self) -> dict[float, FloatArray]:
        """Log densities at mu = y by dispersion; only the last one is kept."""
        return {}

    def _log_density(self, mu: FloatArray, dispersion: float) -> FloatArray:
        if isinstance(self.family, Binomial):
            return self.family.loglik(self.y, mu, self.weights, dispersion, self.trials)
        # an exponential family: saturated log density less half the deviance
        saturated = self._saturated.get(dispersion)
        if saturated is None:
            saturated = self.family.loglik(self.y, self.y, self.weights, dispersion)
            self._saturated.clear()
            self._saturated[dispersion] = saturated
        if not np.isfinite(saturated).all():  # a family of the user's own that cannot have mu = y everywhere
            return self.family.loglik(self.y, mu, self.weights, dispersion)
        return np.asarray(saturated - self.weights * self.family.unit_deviance(self.y, mu) / (2.0 * dispersion))

    def _bernoulli(self, eta: FloatArray) -> FloatArray:
        """Log density of one trial, y log(mu) + (1 - y) log(1 - mu)."""
        y = self.y
        if isinstance(self.link, Logit):
            shared = np.log1p(np.exp(-np.abs(eta)))
            return np.asarray(y * (np.minimum(eta, 0.0) - shared) - (1.0 - y) * (np.maximum(eta, 0.0) + shared))
        success = np.where(y > 0.0, y * self.link.log_mu(eta), 0.0)
        return np.asarray(success + np.where(y < 1.0, (1.0 - y) * self.link.log_complement(eta), 0.0))


def _logistic(y: FloatArray, eta: FloatArray) -> tuple[FloatArray, _Pieces]:
    """Binomial with its canonical link: one exponential serves everything."""
    odds_against = np.exp(-np.clip(eta, -_EXPONENT, _EXPONENT))
    mu = 1.0 / (1.0 + odds_against)
    complement = odds_against * mu
    variance = mu * complement
    slope = variance * (complement - mu)
    return mu, _Pieces(y * complement - (1.0 - y) * mu, variance, variance, slope, slope)


def _binomial(y: FloatArray, link: Link, eta: FloatArray) -> _Pieces:
    """From the derivatives of log(mu) and log(1 - mu)."""
    A, B = link.log_mu_derivatives(eta), link.log_complement_derivatives(eta)
    z = 1.0 - y
    return _Pieces(
        score=y * A.d1 + z * B.d1,
        fisher=-A.d1 * B.d1,
        observed=-(y * A.d2 + z * B.d2),
        d_fisher=-(A.d2 * B.d1 + A.d1 * B.d2),
        d_observed=-(y * A.d3 + z * B.d3),
    )


def _by_log_mean(
    family: Poisson | Gamma | InverseGaussian | NegativeBinomial,
    y: FloatArray,
    link: Link,
    eta: FloatArray,
    mu: FloatArray,
) -> _Pieces:
    """From the derivatives of log(mu); with a log link these are 1, 0, 0 and the terms that would cancel vanish."""
    f: FloatArray | float
    g: FloatArray | float
    if isinstance(family, Poisson):
        a, b, f, g = y - mu, mu, 0.0, 0.0
    elif isinstance(family, Gamma):
        a, b, f, g = (y - mu) / mu, np.ones_like(mu), 1.0, 1.0
    elif isinstance(family, InverseGaussian):
        a, b, f, g = (y - mu) / mu / mu, 1.0 / mu, 2.0, 4.0
    else:
        f = mu / (mu + family.theta)
        q = 1.0 / (1.0 + mu / family.theta)
        a, b, g = (y - mu) * q, mu * q, f * (2.0 * f - 1.0)
    L1, L2, L3 = link.log_mu_derivatives(eta)
    square = L1 * L1
    fisher = b * square
    return _Pieces(
        score=a * L1,
        fisher=fisher,
        observed=fisher - a * (L2 - f * square),
        d_fisher=b * L1 * (2.0 * L2 + (1.0 - f) * square),
        d_observed=b * L1 * (3.0 * L2 + (1.0 - 2.0 * f) * square) - a * (L3 - 3.0 * f * L1 * L2 + g * L1 * square),
    )


def _by_chain_rule(family: Family, y: FloatArray, link: Link, eta: FloatArray, mu: FloatArray) -> _Pieces:
    """From variance function and link, for families of which nothing else is known."""
    m1, m2, m3 = link.d1(eta), link.d2(eta), link.d3(eta)
    V, V1, V2 = family.variance(mu), family.d_variance(mu), family.d2_variance(mu)
    r = m1 / V
    f = r * V1  # r and V' first: where V' is zero, the other products may overflow
    r1 = m2 / V - f * r
    r2 = m3 / V - 3.0 * f * (m2 / V) - (r * V2) * r * m1 + 2.0 * f * f * r
    residual = y - mu
    return _Pieces(
        score=residual * r,
        fisher=m1 * r,
        observed=m1 * r - residual * r1,
        d_fisher=m2 * r + m1 * r1,
        d_observed=m2 * r + 2.0 * m1 * r1 - residual * r2,
    )
