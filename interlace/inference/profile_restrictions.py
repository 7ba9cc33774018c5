"""Models in which one parameter has a given value: maps from the parameters that are left to all of them.

A restriction at the value s is a smooth map from free coordinates z to the parameters x of a deviance, so that the
minimum over z is unconstrained and has exact derivatives: gradient J'g with J = dx/dz, Hessian J'HJ plus the second
derivatives of the map weighed with g.

The maps are simple because the effect (or the two effects) at issue come first in their term, in a basis in which the
factor of the formula is ``M L`` with M lower triangular (see :mod:`interlace.inference.profile_basis`): the first
standard deviation is M_00 L_00, and the first correlation concerns L_00, L_10 and L_11 only. Where the sign of a
coordinate matters (negative standard deviations would turn a correlation into its opposite), the coordinate is a
square: that keeps it from passing through zero and leaves a minimum at zero regular.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from interlace.typing import FloatArray

__all__ = ["Angle", "Covariance", "Plane", "Product", "Restriction"]


class Restriction(Protocol):
    """Map from (s, z) to x: value of the fixed parameter, shape (r - 1,) or so, and shape (r,)."""

    def split(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Find s and z of a point."""

    def join(self, s: float, z: FloatArray) -> FloatArray:
        """Find the point of s and z."""

    def jacobian(self, s: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of x by z, shape (r, r - 1), and by s, shape (r,)."""

    def curvature(self, s: float, z: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'x by z, shape (r - 1, r - 1)."""

    @property
    def squares(self) -> tuple[int, ...]:
        """Places in z of coordinates that enter as squares."""


def _with_entry(z: FloatArray, place: int, value: float) -> FloatArray:
    """Insert a number into a vector; much faster than :func:`numpy.insert`."""
    x = np.empty(z.size + 1)
    x[:place], x[place], x[place + 1 :] = z[:place], value, z[place:]
    return x


def _identity_around(size: int, place: int) -> FloatArray:
    """Identity matrix with a row of zeros inserted, shape (size + 1, size)."""
    J = np.zeros((size + 1, size))
    columns = np.arange(size)
    J[columns + (columns >= place), columns] = 1.0
    return J


@dataclass(frozen=True)
class Plane:
    """A linear function of the parameters: normal'x = s.

    Attributes
    ----------
    normal : ndarray, shape (r,)
    pivot : int
        Parameter that the equation is solved for.
    square : int or None
        Parameter that must not be negative.
    """

    normal: FloatArray
    pivot: int
    square: int | None = None

    def split(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Find s and z of a point."""
        z = np.delete(x, self.pivot)
        if self.square is not None:
            z[self._place] = math.sqrt(max(x[self.square], 0.0))
        return float(self.normal @ x), z

    def join(self, s: float, z: FloatArray) -> FloatArray:
        """Find the point of s and z."""
        y = z.copy()
        if self.square is not None:
            y[self._place] **= 2
        solved = (s - float(np.delete(self.normal, self.pivot) @ y)) / self.normal[self.pivot]
        return _with_entry(y, self.pivot, solved)

    def jacobian(self, s: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of x by z and by s."""
        J = _identity_around(z.size, self.pivot)
        J[self.pivot] = -self._slopes
        if self.square is not None:
            J[:, self._place] *= 2.0 * z[self._place]
        by_s = np.zeros(self.normal.size)
        by_s[self.pivot] = 1.0 / self.normal[self.pivot]
        return J, by_s

    def curvature(self, s: float, z: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'x by z."""
        out = np.zeros((z.size, z.size))
        if self.square is not None:
            at = self._place
            out[at, at] = 2.0 * (gradient[self.square] - self._slopes[at] * gradient[self.pivot])
        return out

    @property
    def squares(self) -> tuple[int, ...]:
        """Places in z of coordinates that enter as squares."""
        return () if self.square is None else (self._place,)

    @property
    def _slopes(self) -> FloatArray:
        """Minus the derivatives of the pivot by the others."""
        return np.asarray(np.delete(self.normal, self.pivot) / self.normal[self.pivot])

    @property
    def _place(self) -> int:
        """Place of the squared parameter in z."""
        assert self.square is not None
        return self.square - (self.pivot < self.square)


@dataclass(frozen=True)
class Product:
    """A standard deviation: scale * x[slot] * exp(x[-1]) = s, with the logarithm of sigma as the last parameter."""

    slot: int
    scale: float
    squares: tuple[int, ...] = ()

    def split(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Find s and z of a point."""
        return float(self.scale * x[self.slot] * math.exp(x[-1])), np.delete(x, self.slot)

    def join(self, s: float, z: FloatArray) -> FloatArray:
        """Find the point of s and z."""
        return _with_entry(z, self.slot, s * math.exp(-z[-1]) / self.scale)

    def jacobian(self, s: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of x by z and by s."""
        by_s = np.zeros(z.size + 1)
        by_s[self.slot] = math.exp(-z[-1]) / self.scale
        J = _identity_around(z.size, self.slot)
        J[self.slot, -1] = -s * by_s[self.slot]
        return J, by_s

    def curvature(self, s: float, z: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'x by z."""
        out = np.zeros((z.size, z.size))
        out[-1, -1] = gradient[self.slot] * s * math.exp(-z[-1]) / self.scale
        return out


@dataclass(frozen=True)
class Angle:
    """A correlation rho of the first two effects of a term: s = arcsin(rho), which is smooth at rho = +-1.

    In z the first factor entry is u^2, the one below it makes room for t, and the third is left out:
    L_00 = u^2, L_10 = t^2 sin(s) - (M_10 / M_11) u^2, L_11 = t^2 cos(s).

    Attributes
    ----------
    slots : (int, int, int)
        Places of L_00, L_10 and L_11 in x.
    M : ndarray, shape (2, 2)
        Lower triangular.
    """

    slots: tuple[int, int, int]
    M: FloatArray

    @property
    def squares(self) -> tuple[int, int]:
        """Places of u and t in z."""
        first, below, last = self.slots
        return first - (last < first), below - (last < below)

    @property
    def _lean(self) -> float:
        return float(self.M[1, 0] / self.M[1, 1])

    def split(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Find s and z of a point."""
        first, below, last = self.slots
        u, t = self.squares
        z = np.delete(x, last)
        along, across = x[below] + self._lean * x[first], x[last]
        z[u], z[t] = math.sqrt(max(x[first], 0.0)), math.sqrt(math.hypot(along, across))
        return math.atan2(along, across), z

    def join(self, s: float, z: FloatArray) -> FloatArray:
        """Find the point of s and z."""
        first, below, last = self.slots
        u, t = self.squares
        x = _with_entry(z, last, z[t] ** 2 * math.cos(s))
        x[first] = z[u] ** 2
        x[below] = z[t] ** 2 * math.sin(s) - self._lean * z[u] ** 2
        return x

    def jacobian(self, s: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of x by z and by s."""
        first, below, last = self.slots
        u, t = self.squares
        J = _identity_around(z.size, last)
        J[first, u], J[below, u] = 2.0 * z[u], -2.0 * self._lean * z[u]
        J[below, t], J[last, t] = 2.0 * z[t] * math.sin(s), 2.0 * z[t] * math.cos(s)
        by_s = np.zeros(z.size + 1)
        by_s[below], by_s[last] = z[t] ** 2 * math.cos(s), -(z[t] ** 2) * math.sin(s)
        return J, by_s

    def curvature(self, s: float, z: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'x by z."""
        first, below, last = self.slots
        u, t = self.squares
        out = np.zeros((z.size, z.size))
        out[u, u] = 2.0 * (gradient[first] - self._lean * gradient[below])
        out[t, t] = 2.0 * (math.sin(s) * gradient[below] + math.cos(s) * gradient[last])
        return out


@dataclass(frozen=True)
class Covariance:
    """A covariance of the first two effects of a term: scale^2 M_00 L_00 (M_10 L_00 + M_11 L_10) sigma^2 = s.

    Attributes
    ----------
    slots : (int, int)
        Places of L_00 and L_10 in x; the second is left out of z.
    M : ndarray, shape (2, 2)
        Lower triangular.
    scale : float
    log_sigma : bool
        Whether the last parameter is the logarithm of sigma; otherwise sigma = 1.
    """

    slots: tuple[int, int]
    M: FloatArray
    scale: float
    log_sigma: bool
    squares: tuple[int, ...] = ()

    @property
    def _first(self) -> int:
        """Place of L_00 in z."""
        return self.slots[0] - (self.slots[1] < self.slots[0])

    def _above(self, z: FloatArray) -> tuple[float, float]:
        """L_00, and (L_10 + L_00 M_10 / M_11) / s."""
        first = float(z[self._first])
        variance = math.exp(2.0 * z[-1]) if self.log_sigma else 1.0
        return first, 1.0 / (self.scale**2 * variance * self.M[0, 0] * self.M[1, 1] * first)

    def split(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Find s and z of a point; L_00 must not be zero."""
        first, below = self.slots
        z = np.delete(x, below)
        return float((x[below] + x[first] * self.M[1, 0] / self.M[1, 1]) / self._above(z)[1]), z

    def join(self, s: float, z: FloatArray) -> FloatArray:
        """Find the point of s and z."""
        L, rate = self._above(z)
        return _with_entry(z, self.slots[1], s * rate - L * self.M[1, 0] / self.M[1, 1])

    def jacobian(self, s: float, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Derivatives of x by z and by s."""
        L, rate = self._above(z)
        below = self.slots[1]
        J = _identity_around(z.size, below)
        J[below, self._first] = -s * rate / L - self.M[1, 0] / self.M[1, 1]
        if self.log_sigma:
            J[below, -1] = -2.0 * s * rate
        by_s = np.zeros(z.size + 1)
        by_s[below] = rate
        return J, by_s

    def curvature(self, s: float, z: FloatArray, gradient: FloatArray) -> FloatArray:
        """Second derivatives of gradient'x by z."""
        L, rate = self._above(z)
        at, weight = self._first, gradient[self.slots[1]] * s * rate
        out = np.zeros((z.size, z.size))
        out[at, at] = 2.0 * weight / L**2
        if self.log_sigma:
            out[at, -1] = out[-1, at] = 2.0 * weight / L
            out[-1, -1] = 4.0 * weight
        return out
