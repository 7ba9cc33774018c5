"""A deviance with one parameter fixed, in the form in which the optimizer takes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from interlace.core.structure import LeadingStorage, Structure
from interlace.core.target import Target
from interlace.inference.profile_restrictions import Restriction
from interlace.typing import FloatArray

__all__ = ["Restricted", "RestrictedPoint", "RestrictedSlopes"]


@dataclass(frozen=True)
class RestrictedPoint:
    """The model at one z.

    Attributes
    ----------
    x : ndarray, shape (r,)
    z : ndarray, shape (r - 1,)
    inner : Any
        The deviance's own point.
    """

    x: FloatArray
    z: FloatArray
    inner: Any


@dataclass(frozen=True)
class RestrictedSlopes:
    """First derivatives at one z.

    Attributes
    ----------
    gradient : ndarray, shape (r - 1,)
    by_s : float
        By the value of the fixed parameter, all else equal.
    J : ndarray, shape (r, r - 1)
    inner : Any
        The deviance's own derivatives.
    """

    gradient: FloatArray
    by_s: float
    J: FloatArray
    inner: Any


#: Free coordinates are not entries of factors, so an optimizer must not look for blocks among them.
_NO_BLOCKS = Structure((), 0, {}, 0, 0, LeadingStorage(sparse=False))


class Restricted:
    """A deviance with one parameter fixed, as a function of the free coordinates.

    Parameters
    ----------
    deviance : Target
    restriction : Restriction
    s : float
    """

    structure = _NO_BLOCKS

    def __init__(self, deviance: Target[Any, Any], restriction: Restriction, s: float) -> None:
        self._deviance, self._restriction, self.s = deviance, restriction, s
        self.evaluations = 0

    def at(self, z: FloatArray) -> RestrictedPoint:
        """Evaluate the model at ``z``."""
        self.evaluations += 1
        x = self._restriction.join(self.s, z)
        return RestrictedPoint(x, z, self._deviance.at(x))

    def value(self, point: RestrictedPoint) -> float:
        """Deviance; infinity where it is not defined."""
        return self._deviance.value(point.inner)

    def derivatives(self, point: RestrictedPoint) -> RestrictedSlopes:
        """Gradient, and what the Hessian needs."""
        d = self._deviance.derivatives(point.inner)
        J, by_s = self._restriction.jacobian(self.s, point.z)
        return RestrictedSlopes(J.T @ d.gradient, float(by_s @ d.gradient), J, d)

    def information(self, point: RestrictedPoint, d: RestrictedSlopes) -> FloatArray:
        """Approximate Hessian, shape (r - 1, r - 1)."""
        H = self._deviance.information(point.inner, d.inner)
        return d.J.T @ H @ d.J + self._restriction.curvature(self.s, point.z, d.inner.gradient)

    def psi_gradients(self, point: RestrictedPoint, d: RestrictedSlopes) -> Sequence[FloatArray]:
        """Derivative by Psi of each block of the deviance."""
        return self._deviance.psi_gradients(point.inner, d.inner)

    def psi_weight(self, point: RestrictedPoint) -> float:
        """Factor of a'a in the second derivative by Psi."""
        return self._deviance.psi_weight(point.inner)

    def noise(self, value: float) -> float:
        """Rounding noise of a deviance of this size."""
        return self._deviance.noise(value)

    def lost(self, point: RestrictedPoint) -> float:
        """Further noise of a response that is almost reproduced."""
        return self._deviance.lost(point.inner)

    def vanished(self, point: RestrictedPoint) -> bool:
        """Whether the residual variance is nothing but rounding."""
        return self._deviance.vanished(point.inner)

    def __call__(self, z: FloatArray) -> float:
        """Deviance at ``z``."""
        return self.value(self.at(z))
