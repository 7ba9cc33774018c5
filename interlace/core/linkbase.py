"""What a link function is: the interface that every link, also a user's own, has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from interlace.typing import BoolArray, FloatArray

__all__ = ["Derivatives", "Link"]


class Derivatives(NamedTuple):
    """First three derivatives of something with respect to eta, each of shape (n,)."""

    d1: FloatArray
    d2: FloatArray
    d3: FloatArray


class Link(ABC):
    """A link function; subclass it to define your own.

    Required are ``name``, `eta`, `mu`, `d1`, `d2` and `d3`. The other methods have defaults that follow from these and
    are worth replacing only where the defaults lose digits. All take and give arrays of shape (n,).

    Attributes
    ----------
    name : str
    even : bool
        Whether -eta means the same as eta, so that each response has two modes.
    mu_domain, eta_domain : (float, float)
        Open intervals between which mu and eta must lie.
    """

    name: ClassVar[str]
    mu_domain: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    eta_domain: ClassVar[tuple[float, float]] = (-np.inf, np.inf)
    even: ClassVar[bool] = False

    @abstractmethod
    def eta(self, mu: FloatArray) -> FloatArray:
        """The link function itself."""

    @abstractmethod
    def mu(self, eta: FloatArray) -> FloatArray:
        """Inverse link."""

    @abstractmethod
    def d1(self, eta: FloatArray) -> FloatArray:
        """First derivative d mu / d eta."""

    @abstractmethod
    def d2(self, eta: FloatArray) -> FloatArray:
        """Second derivative of mu with respect to eta."""

    @abstractmethod
    def d3(self, eta: FloatArray) -> FloatArray:
        """Third derivative of mu with respect to eta."""

    def valid_mu(self, mu: FloatArray) -> BoolArray:
        """Where the link function is defined."""
        return np.asarray((mu > self.mu_domain[0]) & (mu < self.mu_domain[1]))

    def valid_eta(self, eta: FloatArray) -> BoolArray:
        """Where the inverse link is defined."""
        return np.asarray((eta > self.eta_domain[0]) & (eta < self.eta_domain[1]))

    def complement(self, eta: FloatArray) -> FloatArray:
        """1 - mu, for links of probabilities."""
        return np.asarray(1.0 - self.mu(eta))

    def log_mu(self, eta: FloatArray) -> FloatArray:
        """Logarithm of mu."""
        with np.errstate(all="ignore"):
            return np.asarray(np.log(self.mu(eta)))

    def log_complement(self, eta: FloatArray) -> FloatArray:
        """Logarithm of 1 - mu, for links of probabilities."""
        with np.errstate(all="ignore"):
            return np.asarray(np.log(self.complement(eta)))

    def log_mu_derivatives(self, eta: FloatArray) -> Derivatives:
        """Derivatives of log(mu)."""
        with np.errstate(all="ignore"):
            scale = 1.0 / self.mu(eta)
            return _log_derivatives(Derivatives(self.d1(eta) * scale, self.d2(eta) * scale, self.d3(eta) * scale))

    def log_complement_derivatives(self, eta: FloatArray) -> Derivatives:
        """Derivatives of log(1 - mu)."""
        with np.errstate(all="ignore"):
            scale = -1.0 / self.complement(eta)
            return _log_derivatives(Derivatives(self.d1(eta) * scale, self.d2(eta) * scale, self.d3(eta) * scale))


def _log_derivatives(r: Derivatives) -> Derivatives:
    """Derivatives of log f from f'/f, f''/f and f'''/f."""
    square = r.d1 * r.d1
    return Derivatives(r.d1, r.d2 - square, r.d3 + r.d1 * (2.0 * square - 3.0 * r.d2))
