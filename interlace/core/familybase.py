"""What a response family is: the interface that every family, also a user's own, has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.random import Generator

from interlace.errors import ModelError
from interlace.typing import BoolArray, FloatArray

__all__ = ["Family", "rows"]


class Family(ABC):
    """Conditional distribution of the response given its mean; subclass it to define your own.

    It must be an exponential family in the sense of McCullagh and Nelder (section 2.2): the derivative of the log
    density with respect to mu is ``weights (y - mu) / (dispersion variance(mu))``. Required are ``name``, `variance`,
    `d_variance`, `d2_variance`, `loglik` and `unit_deviance`; `interlace.core.customfamily.validate_family` checks
    that they agree. All arrays have shape (n,).

    Attributes
    ----------
    name : str
        As R names the family.
    default_link : str
    links : tuple of str
        Names that are allowed; `Link` objects always are. Empty: every name.
    canonical_link : str
        The link for which observed and expected information agree; empty if there is none.
    has_dispersion : bool
    mu_domain : (float, float)
        Open interval in which mu must lie.
    """

    name: ClassVar[str]
    default_link: ClassVar[str] = "identity"
    links: ClassVar[tuple[str, ...]] = ()
    canonical_link: ClassVar[str] = ""
    has_dispersion: ClassVar[bool] = False
    mu_domain: ClassVar[tuple[float, float]] = (-np.inf, np.inf)

    @property
    def label(self) -> str:
        """What a summary prints."""
        return self.name

    @abstractmethod
    def variance(self, mu: FloatArray) -> FloatArray:
        """Variance function V(mu)."""

    @abstractmethod
    def d_variance(self, mu: FloatArray) -> FloatArray:
        """Its first derivative."""

    @abstractmethod
    def d2_variance(self, mu: FloatArray) -> FloatArray:
        """Its second derivative."""

    @abstractmethod
    def loglik(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        """Log density of every row, all constants included; minus infinity where y cannot occur."""

    @abstractmethod
    def unit_deviance(self, y: FloatArray, mu: FloatArray) -> FloatArray:
        """Deviance of every row at weight 1; the deviance of a fit is the sum of weights times these."""

    def valid_mu(self, mu: FloatArray) -> BoolArray:
        """Whether the family has a distribution with this mean."""
        return np.asarray((mu > self.mu_domain[0]) & (mu < self.mu_domain[1]))

    def d_dispersion(self, y: FloatArray, mu: FloatArray, weights: FloatArray, dispersion: float = 1.0) -> FloatArray:
        """Derivative of `loglik` with respect to the dispersion; zero where there is none."""
        if self.has_dispersion:
            raise ModelError(f"the family {self.name!r} has a dispersion, so it must define d_dispersion()")
        return np.zeros_like(mu)

    def dispersion_estimate(self, y: FloatArray, mu: FloatArray, weights: FloatArray) -> float:
        """Dispersion as R's ``aic`` takes it, deviance over the sum of weights; 1 for families without one."""
        if not self.has_dispersion:
            return 1.0
        return float(np.sum(weights * self.unit_deviance(y, mu)) / np.sum(weights))

    def start_mu(self, y: FloatArray, weights: FloatArray) -> FloatArray:
        """Means to start from, R's ``mustart``."""
        return np.array(y, dtype=np.float64)

    def check_response(self, y: FloatArray, weights: FloatArray) -> str | None:
        """What makes the response impossible, as a sentence that counts the rows; None if nothing does."""
        return rows(~np.isfinite(y), "the response is not a finite number")

    def response_warning(self, y: FloatArray, weights: FloatArray) -> str | None:
        """What is suspicious about a response that `check_response` lets pass; None if nothing is."""
        return None

    def simulate(self, mu: FloatArray, weights: FloatArray, dispersion: float, rng: Generator) -> FloatArray:
        """One response drawn for every row."""
        raise ModelError(f"the family {self.name!r} cannot simulate: it does not define simulate()")


def rows(bad: BoolArray, problem: str) -> str | None:
    """The problem and at how many rows it occurs, or None."""
    count = int(np.count_nonzero(bad))
    if not count:
        return None
    first = int(np.flatnonzero(bad)[0])
    return f"{problem} at {count} of {bad.size} rows (first at row {first}, counted from 0)"
