"""What an optimizer needs to know of a deviance: value, derivatives, and how much of it is rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["D", "P", "Point", "Slopes", "Target"]


class Point(Protocol):
    """The model at one parameter vector."""

    @property
    def L(self) -> Sequence[FloatArray]:
        """Relative covariance factor of each block, shapes (k_i, k_i)."""


class Slopes(Protocol):
    """First derivatives at one point."""

    @property
    def gradient(self) -> FloatArray:
        """By the parameters, shape (r,)."""

    @property
    def a(self) -> Sequence[FloatArray]:
        """Slopes of the log density by the random effects of each level, shapes (q_i, k_i)."""


P = TypeVar("P", bound=Point)
D = TypeVar("D", bound=Slopes)


class Target(Protocol[P, D]):
    """A deviance as a function of theta, shape (n_theta,), and of whatever parameters follow it; shape (r,) in all."""

    structure: Structure
    evaluations: int

    def at(self, x: FloatArray, /) -> P:
        """Evaluate the model at ``x``."""

    def value(self, point: P, /) -> float:
        """Deviance; infinity where it is not defined."""

    def derivatives(self, point: P, /) -> D:
        """Gradient, and what the Hessian needs."""

    def information(self, point: P, d: D, /) -> FloatArray:
        """Approximate Hessian, shape (r, r)."""

    def psi_gradients(self, point: P, d: D, /) -> Sequence[FloatArray]:
        """Derivative by Psi = L L' of each block, symmetric (k_i, k_i)."""

    def psi_weight(self, point: P, /) -> float:
        """Factor of a'a in the second derivative by Psi."""

    def noise(self, value: float, /) -> float:
        """Rounding noise of a deviance of this size."""

    def lost(self, point: P, /) -> float:
        """Further noise, where what is left of the response is as small as its rounding."""

    def vanished(self, point: P, /) -> bool:
        """Whether the residual variance is nothing but rounding."""

    def __call__(self, x: FloatArray, /) -> float:
        """Deviance at ``x``."""
