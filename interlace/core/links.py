"""Link functions: how a mean mu depends on its linear predictor eta, with three derivatives.

Everything here is R's `make.link` (McCullagh and Nelder, Generalized Linear Models, 2nd ed., sections 2.2 and 4.3),
with one difference. R clamps: a logit's eta to +-30, a probability to [2.2e-16, 1 - 2.2e-16], a slope to at least
2.2e-16. Clamped derivatives are not derivatives of the clamped function, so an optimizer that relies on them loses its
way in the tails. Here nothing is clamped while doubles can hold it: 1 - mu, log(mu) and log(1 - mu) have methods of
their own, exact where mu rounds to 0 or 1. Wherever R does not clamp, the numbers agree to rounding. Only exp(eta) is
held at exp(+-700), so that it neither overflows nor becomes zero.
"""

# ruff: noqa: D102 - the methods are documented once, in Link
from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar

import numpy as np
from scipy import special

from interlace.core.linkbase import Derivatives, Link
from interlace.errors import ModelError
from interlace.typing import BoolArray, FloatArray

__all__ = [
    "LINKS",
    "Cauchit",
    "Cloglog",
    "Derivatives",
    "Identity",
    "Inverse",
    "InverseSquare",
    "Link",
    "Log",
    "Logit",
    "Probit",
    "Sqrt",
    "link",
]

_SQRT_2PI = float(np.sqrt(2.0 * np.pi))
_FAR = 3.0  # from here on Mills' ratio is taken from its continued fraction
_DEPTH = 80  # steps of the fraction, for 15 digits at _FAR
_SMALL = 0.5  # below it, z/(e^z - 1) is taken from its power series
_EXPONENT = 700.0  # exp() of it is near the largest double
_BERNOULLI = special.bernoulli(24) / special.factorial(np.arange(25))


class _Symmetric(Link):
    """A distribution function symmetric about zero: 1 - mu(eta) = mu(-eta)."""

    mu_domain = (0.0, 1.0)

    def complement(self, eta: FloatArray) -> FloatArray:
        return self.mu(-eta)

    def log_complement(self, eta: FloatArray) -> FloatArray:
        return self.log_mu(-eta)

    def log_complement_derivatives(self, eta: FloatArray) -> Derivatives:
        d1, d2, d3 = self.log_mu_derivatives(-eta)
        return Derivatives(-d1, d2, -d3)


@dataclass(frozen=True)
class Logit(_Symmetric):
    """log(mu / (1 - mu))."""

    name: ClassVar[str] = "logit"

    def eta(self, mu: FloatArray) -> FloatArray:
        return np.asarray(special.logit(mu))

    def mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(special.expit(eta))

    def d1(self, eta: FloatArray) -> FloatArray:
        return np.asarray(special.expit(eta) * special.expit(-eta))

    def d2(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-self.d1(eta) * np.tanh(0.5 * eta))

    def d3(self, eta: FloatArray) -> FloatArray:
        v = self.d1(eta)
        return np.asarray(v * (1.0 - 6.0 * v))

    def log_mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(np.minimum(eta, 0.0) - np.log1p(np.exp(-np.abs(eta))))

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        v = self.d1(eta)
        return Derivatives(self.complement(eta), -v, np.asarray(v * np.tanh(0.5 * eta)))


@dataclass(frozen=True)
class Probit(_Symmetric):
    """Normal quantile of mu."""

    name: ClassVar[str] = "probit"

    def eta(self, mu: FloatArray) -> FloatArray:
        return np.asarray(special.ndtri(mu))

    def mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(special.ndtr(eta))

    def d1(self, eta: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-0.5 * eta * eta) / _SQRT_2PI)

    def d2(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-eta * self.d1(eta))

    def d3(self, eta: FloatArray) -> FloatArray:
        return np.asarray((eta * eta - 1.0) * self.d1(eta))

    def log_mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(special.log_ndtr(eta))

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        """With h = phi/Phi: h, -h (eta + h), h ((eta + h)^2 + h (eta + h) - 1)."""
        with np.errstate(over="ignore"):
            h = 2.0 / (_SQRT_2PI * special.erfcx(eta / -np.sqrt(2.0)))
        s = eta + h
        d2, d3 = -h * s, h * (s * s + h * s - 1.0)
        far = np.flatnonzero(eta < -_FAR)
        if far.size:
            # There eta and h cancel, but s is the fraction 1/(t + c), c = 2/(t + e), e = 3/(t + 4/(t + ...)), t = -eta.
            t = -eta[far]
            e = np.zeros_like(t)
            for numerator in range(_DEPTH, 2, -1):
                e = numerator / (t + e)
            c = 2.0 / (t + e)
            tail = 1.0 / (t + c)
            hazard = t + tail
            h[far], d2[far] = hazard, -hazard * tail
            d3[far] = 2.0 * hazard * tail * (e - c) / ((t + c) * (t + e))
        return Derivatives(h, d2, d3)


@dataclass(frozen=True)
class Cauchit(_Symmetric):
    """Quantile of the Cauchy distribution."""

    name: ClassVar[str] = "cauchit"

    def eta(self, mu: FloatArray) -> FloatArray:
        # tan(pi (mu - 1/2)) would lose the digits of a small mu
        with np.errstate(divide="ignore"):
            small = np.minimum(mu, 1.0 - mu)
            return np.asarray(np.where(mu == 0.5, 0.0, np.sign(mu - 0.5) / np.tan(np.pi * small)))

    def mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(np.arctan2(1.0, -eta) / np.pi)

    def d1(self, eta: FloatArray) -> FloatArray:
        return np.asarray(1.0 / (np.pi * (1.0 + eta * eta)))

    def d2(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-2.0 * eta * self.d1(eta) / (1.0 + eta * eta))

    def d3(self, eta: FloatArray) -> FloatArray:
        u = 1.0 + eta * eta
        return np.asarray(self.d1(eta) * (6.0 - 8.0 / u) / u)


@dataclass(frozen=True)
class Cloglog(Link):
    """log(-log(1 - mu))."""

    name: ClassVar[str] = "cloglog"
    mu_domain = (0.0, 1.0)

    def eta(self, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(np.log(-np.log1p(-mu)))

    def mu(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-np.expm1(-_exp(eta)))

    def complement(self, eta: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-_exp(eta)))

    def d1(self, eta: FloatArray) -> FloatArray:
        z = _exp(eta)
        return np.asarray(z * np.exp(-z))

    def d2(self, eta: FloatArray) -> FloatArray:
        z = _exp(eta)
        return np.asarray(z * np.exp(-z) * (1.0 - z))

    def d3(self, eta: FloatArray) -> FloatArray:
        z = _exp(eta)
        slope = z * np.exp(-z)
        return np.asarray((slope * z - 3.0 * slope) * z + slope)  # in this order z^2 never overflows

    def log_mu(self, eta: FloatArray) -> FloatArray:
        return _log1mexp(_exp(eta))

    def log_complement(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-_exp(eta))

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        """With z = exp(eta), k = z / (exp(z) - 1), m = 1 - z - k: k, k m, k (m^2 - z - k m)."""
        z = _exp(eta)
        k = z * np.exp(-z) / -np.expm1(-z)
        m = 1.0 - z - k
        small = np.flatnonzero(z < _SMALL)
        if small.size:  # m = -z/2 - sum of B_j z^j / j!, j > 1
            x = z[small]
            m[small] = -0.5 * x - x * x * np.polynomial.polynomial.polyval(x, _BERNOULLI[2:])
        d2 = k * m
        return Derivatives(k, d2, np.asarray(d2 * m - k * z - k * d2))

    def log_complement_derivatives(self, eta: FloatArray) -> Derivatives:
        d1 = -_exp(eta)
        return Derivatives(d1, d1, d1)


@dataclass(frozen=True)
class Log(Link):
    """log(mu); for probabilities eta must be negative, which the family's range of mu sees to."""

    name: ClassVar[str] = "log"
    mu_domain = (0.0, np.inf)

    def eta(self, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(np.log(mu))

    def mu(self, eta: FloatArray) -> FloatArray:
        return _exp(eta)

    def d1(self, eta: FloatArray) -> FloatArray:
        return _exp(eta)

    def d2(self, eta: FloatArray) -> FloatArray:
        return _exp(eta)

    def d3(self, eta: FloatArray) -> FloatArray:
        return _exp(eta)

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        zero = np.zeros_like(eta)
        return Derivatives(np.ones_like(eta), zero, zero)

    def complement(self, eta: FloatArray) -> FloatArray:
        return np.asarray(-np.expm1(np.minimum(eta, _EXPONENT)))

    def log_mu(self, eta: FloatArray) -> FloatArray:
        return eta

    def log_complement(self, eta: FloatArray) -> FloatArray:
        return _log1mexp(-eta)

    def log_complement_derivatives(self, eta: FloatArray) -> Derivatives:
        with np.errstate(all="ignore"):
            odds = np.minimum(1.0 / np.expm1(np.minimum(-eta, _EXPONENT)), 1e100)  # its cube must not overflow
        d2 = odds * (1.0 + odds)
        return Derivatives(-odds, -d2, np.asarray(-d2 * (1.0 + 2.0 * odds)))


class _Power(Link):
    """mu = eta ** exponent."""

    exponent: ClassVar[float]

    def mu(self, eta: FloatArray) -> FloatArray:
        return self._term(eta, 0)

    def d1(self, eta: FloatArray) -> FloatArray:
        return self._term(eta, 1)

    def d2(self, eta: FloatArray) -> FloatArray:
        return self._term(eta, 2)

    def d3(self, eta: FloatArray) -> FloatArray:
        return self._term(eta, 3)

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        with np.errstate(all="ignore"):
            u = 1.0 / eta
            d1 = self.exponent * u
            return Derivatives(d1, -d1 * u, 2.0 * d1 * u * u)

    def _term(self, eta: FloatArray, order: int) -> FloatArray:
        c, power = _falling(self.exponent, order), self.exponent - order
        if c == 0.0 or power == 0.0:  # also at eta = 0, where the power need not exist
            return np.full_like(eta, c)
        with np.errstate(all="ignore"):
            return np.asarray(c * eta**power)


@dataclass(frozen=True)
class Identity(_Power):
    """mu itself."""

    name: ClassVar[str] = "identity"
    exponent = 1.0

    def eta(self, mu: FloatArray) -> FloatArray:
        return mu


@dataclass(frozen=True)
class Sqrt(_Power):
    """sqrt(mu); as in lme4 a negative eta is not refused, and means the same mu as -eta."""

    name: ClassVar[str] = "sqrt"
    even: ClassVar[bool] = True
    mu_domain = (0.0, np.inf)
    exponent = 2.0

    def eta(self, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(np.sqrt(mu))

    def valid_eta(self, eta: FloatArray) -> BoolArray:
        return np.asarray(np.isfinite(eta) & (eta != 0.0))


@dataclass(frozen=True)
class Inverse(_Power):
    """1 / mu."""

    name: ClassVar[str] = "inverse"
    exponent = -1.0

    def eta(self, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(1.0 / mu)

    def valid_mu(self, mu: FloatArray) -> BoolArray:
        return np.asarray(np.isfinite(mu) & (mu != 0.0))

    def valid_eta(self, eta: FloatArray) -> BoolArray:
        return self.valid_mu(eta)


@dataclass(frozen=True)
class InverseSquare(_Power):
    """1 / mu^2."""

    name: ClassVar[str] = "1/mu^2"
    mu_domain = (0.0, np.inf)
    eta_domain = (0.0, np.inf)
    exponent = -0.5

    def eta(self, mu: FloatArray) -> FloatArray:
        with np.errstate(all="ignore"):
            return np.asarray(1.0 / (mu * mu))


def _falling(exponent: float, order: int) -> float:
    """Falling factorial exponent (exponent - 1) ... with ``order`` factors."""
    return float(np.prod([exponent - i for i in range(order)]))


def _log1mexp(z: FloatArray) -> FloatArray:
    """log(1 - exp(-z)), z > 0, from whichever form keeps the digits."""
    half = np.log(2.0)
    with np.errstate(all="ignore"):
        near, far = np.log(-np.expm1(-np.minimum(z, half))), np.log1p(-np.exp(-np.maximum(z, half)))
        return np.asarray(np.where(z < half, near, far))


def _exp(eta: FloatArray) -> FloatArray:
    return np.asarray(np.exp(np.clip(eta, -_EXPONENT, _EXPONENT)))


#: Every link by its name.
LINKS: dict[str, Link] = {
    one.name: one
    for one in (Logit(), Probit(), Cloglog(), Cauchit(), Log(), Identity(), Sqrt(), Inverse(), InverseSquare())
}


def link(name: str | Link) -> Link:
    """The link of that name; an object is given back as it is.

    Raises
    ------
    ValueError
        If there is no such link; the message lists those there are.
    TypeError
        If it is neither a name nor a `Link`.
    """
    if isinstance(name, Link):
        return name
    if not isinstance(name, str):
        raise TypeError(f"link must be a name or a Link object, not {type(name).__name__}")
    found = LINKS.get(name.strip().casefold())
    if found is None:
        close = get_close_matches(name.strip().casefold(), LINKS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ModelError(f"there is no link {name!r}{hint} The links are {', '.join(map(repr, LINKS))}")
    return found
