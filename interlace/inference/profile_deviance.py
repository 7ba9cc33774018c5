"""Deviances of linear models for profiles: with sigma as a parameter, and with one coefficient known.

With sigma not profiled out the deviance is

    d(theta, sigma) = log|D| + log|F_22| + N log(2 pi sigma^2) + r2(theta) / sigma^2 - sum log w,

and everything about it follows from the profiled deviance of :mod:`interlace.core.objective`, because the derivative of
r2 by a factor L is -2 a'a L, with a = Z'Py of each level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interlace.core.cholmod import AnyObjective
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Derivatives
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["Unprofiled", "UnprofiledPoint", "UnprofiledSlopes", "with_known_coefficient", "without_a_column"]


@dataclass(frozen=True)
class UnprofiledPoint:
    """A linear model at (theta, log sigma); ``e`` is the elimination at theta."""

    x: FloatArray
    e: Any

    @property
    def weight(self) -> float:
        """1 / sigma^2."""
        return math.exp(-2.0 * self.x[-1])


@dataclass(frozen=True)
class UnprofiledSlopes:
    """Gradient by (theta, log sigma); that of r2 by theta, with its sign changed; and the profiled derivatives."""

    gradient: FloatArray
    fall: FloatArray
    profiled: Derivatives


class Unprofiled:
    """Deviance as a function of x = (theta, log sigma).

    Parameters
    ----------
    objective : Objective or SparseObjective
    n : int
        N of the objective.
    """

    def __init__(self, objective: AnyObjective, n: int) -> None:
        self._objective, self._n = objective, n
        self.structure: Structure = objective.structure
        self.evaluations = 0

    def at(self, x: FloatArray) -> UnprofiledPoint:
        """Elimination at ``x``."""
        self.evaluations += 1
        return UnprofiledPoint(x, self._objective.at(x[:-1]))

    def value(self, point: UnprofiledPoint) -> float:
        """Deviance; infinity where it is not defined."""
        profiled = self._objective.value(point.e)
        if not math.isfinite(profiled):
            return math.inf
        n, r2 = self._n, point.e.pwrss
        return float(profiled + n * (2.0 * point.x[-1] - math.log(r2 / n) - 1.0) + r2 * point.weight)

    def derivatives(self, point: UnprofiledPoint) -> UnprofiledSlopes:
        """Exact first derivatives."""
        e = point.e
        d = self._objective.derivatives(e)
        fall = np.zeros(self.structure.n_theta)
        for block, a, L in zip(self.structure.blocks, d.a, e.L, strict=True):
            fall[block.slots] = 2.0 * (a.T @ (a @ L))[block.rows, block.cols]
        theta = d.gradient + (self._n / e.pwrss - point.weight) * fall
        sigma = 2.0 * (self._n - e.pwrss * point.weight)
        return UnprofiledSlopes(np.append(theta, sigma), fall, d)

    def information(self, point: UnprofiledPoint, d: UnprofiledSlopes) -> FloatArray:
        """Average information for theta, with the exact rows of log sigma; shape (n_theta + 1, n_theta + 1)."""
        e, n_theta = point.e, self.structure.n_theta
        profiled = self._n / e.pwrss
        ratio = point.weight / profiled
        H = np.empty((n_theta + 1, n_theta + 1))
        theta = self._objective.information(e, d.profiled) + np.outer(d.fall, d.fall) * profiled**2 / self._n
        H[:n_theta, :n_theta] = ratio * theta
        psi = self._objective.psi_gradients(e, d.profiled)
        for block, G, a in zip(self.structure.blocks, psi, d.profiled.a, strict=True):
            # The curvature of Psi in theta, whose trace part does not change with sigma.
            excess = (1.0 - ratio) * (G + profiled * a.T @ a)
            same = block.cols[:, None] == block.cols
            H[block.slots[:, None], block.slots] += 2.0 * same * excess[block.rows[:, None], block.rows]
        H[n_theta, :n_theta] = H[:n_theta, n_theta] = 2.0 * point.weight * d.fall
        H[n_theta, n_theta] = 4.0 * point.weight * e.pwrss
        return H

    def psi_gradients(self, point: UnprofiledPoint, d: UnprofiledSlopes) -> Sequence[FloatArray]:
        """Derivative by Psi of each block."""
        shift = self._n / point.e.pwrss - point.weight
        psi = self._objective.psi_gradients(point.e, d.profiled)
        return [G + shift * a.T @ a for G, a in zip(psi, d.profiled.a, strict=True)]

    def psi_weight(self, point: UnprofiledPoint) -> float:
        """Factor of a'a in the second derivative by Psi."""
        return point.weight

    def noise(self, value: float) -> float:
        """Rounding noise of a deviance of this size."""
        return self._objective.noise(value)

    def lost(self, point: UnprofiledPoint) -> float:
        """Further noise of a response that is almost reproduced."""
        return self._objective.lost(point.e)

    def vanished(self, point: UnprofiledPoint) -> bool:
        """Whether the residual variance is nothing but rounding."""
        return self._objective.vanished(point.e)

    def __call__(self, x: FloatArray) -> float:
        """Deviance at ``x``."""
        return self.value(self.at(x))


def without_a_column(structure: Structure) -> Structure:
    """Same random effects with one column of X less."""
    return replace(structure, p=structure.p - 1)


def with_known_coefficient(
    cp: CrossProducts, structure: Structure, others: FloatArray, direction: FloatArray, value: float
) -> CrossProducts:
    """Cross-products of y - value * X direction, on the columns X others.

    Parameters
    ----------
    cp : CrossProducts
    structure : Structure
        From :func:`without_a_column`.
    others : ndarray, shape (p, p - 1)
    direction : ndarray, shape (p,)
    value : float
    """
    p = cp.structure.p
    change = np.zeros((p + 1, p))
    change[:p, : p - 1] = others
    change[:p, -1] = -value * direction
    change[-1, -1] = 1.0

    def columns(values: FloatArray) -> FloatArray:
        """Change the last p + 1 columns."""
        return np.concatenate([values[..., : -(p + 1)], values[..., -(p + 1) :] @ change], axis=-1)

    wide = columns(cp.S)
    S = np.concatenate([wide[: -(p + 1)], change.T @ wide[-(p + 1) :]])
    return replace(cp, structure=structure, C=tuple(columns(C) for C in cp.C), S=S)
