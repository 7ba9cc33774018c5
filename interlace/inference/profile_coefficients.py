"""Profiles of coefficients of linear models, which are not among the parameters of the deviance.

With the coefficient of a column x known to be s, the model has the response y - s x and one column less; theta remains
to be minimized over. In the inner basis the column is a direction among orthonormal ones.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np

from interlace.core.cholmod import AnyElimination
from interlace.estimate.problem import LinearProblem, objective
from interlace.inference.profile_deviance import with_known_coefficient, without_a_column
from interlace.inference.profile_parameters import Parameter
from interlace.inference.profile_roots import Solved, minimum
from interlace.inference.profile_sections import ProfileSection, Surface, Values
from interlace.typing import FloatArray

__all__ = ["LinearCoefficient"]


class LinearCoefficient(ProfileSection):
    """Profile of a coefficient of a linear model.

    Parameters
    ----------
    parameter : Parameter
    found : Surface
        Of the likelihood.
    """

    def __init__(self, parameter: Parameter, found: Surface) -> None:
        super().__init__(parameter, found.problem)
        assert isinstance(found.problem, LinearProblem)
        problem = self._linear = found.problem
        self._full = objective(problem)
        self._theta = found.x(problem)[:-1]
        self._e = self._full.at(self._theta)
        self._least = float(self._full.value(self._e))
        p = problem.structure.p
        row = problem.basis.backward(np.eye(p))[parameter.row]
        #: Direction in the inner coefficients that the coefficient measures, and those across it.
        self._along = row / np.linalg.norm(row)
        self._across = np.linalg.qr(np.column_stack([row, np.eye(p)]))[0][:, 1:p]
        self._structure = without_a_column(problem.structure)
        self._center = float(problem.basis.backward(problem.response.coefficients)[parameter.row])
        self._unit = problem.response.scale * float(np.linalg.norm(row))

    def drift(self) -> FloatArray:
        """Zero: theta hardly changes with a coefficient."""
        return np.zeros(self._theta.size)

    def join(self, found: Solved) -> FloatArray:
        """All parameters of the deviance at a point of the profile: theta."""
        return found.z

    def split(self, x: FloatArray) -> FloatArray:
        """Free coordinates: theta."""
        return x

    def solve(self, s: float, z: FloatArray, tol: float) -> Solved:
        """Minimize over theta."""
        inner = (s - self._center) / self._unit
        cp = with_known_coefficient(self._linear.cp, self._structure, self._across, self._along, inner)
        at = objective(replace(self._linear, structure=self._structure, cp=cp))
        z, value, point, d, converged = minimum(at, z, tol=tol, max_iterations=self._linear.control.max_iterations)
        slope, noise = (self._slope(inner, z), at.noise(value)) if d is not None else (math.nan, 0.0)
        return Solved(s, z, value - self._least, slope, noise, converged, (z, inner, point))

    def _precision(self, e: AnyElimination) -> float:
        """Inverse variance of the inner coefficient along the direction, relative to sigma^2."""
        root = self._along @ e.beta_root
        return 1.0 / float(root @ root)

    def _slope(self, inner: float, theta: FloatArray) -> float:
        # With x the column and theta fixed, r2(s) = r2(estimate) + (s - estimate)^2 x'Px.
        e = self._full.at(theta)
        if not self._full.value(e) < math.inf:
            return math.nan
        precision, distance = self._precision(e), inner - float(self._along @ e.beta)
        rate = self._linear.cp.n / (e.pwrss + distance**2 * precision)
        return float(2.0 * rate * distance * precision / self._unit)

    @cached_property
    def start(self) -> Solved:
        """The estimate."""
        inner = float(self._along @ self._e.beta)
        curvature = 2.0 * self._linear.cp.n * self._precision(self._e) / (self._e.pwrss * self._unit**2)
        s = self._center + self._unit * inner
        return Solved(s, self._theta, 0.0, curvature, 0.0, True, (self._theta, inner, None))

    def values(self, solved: Solved) -> Values:
        """All parameters of the model at a point of the profile."""
        theta, inner, e = solved.point
        beta = self._e.beta if e is None else self._across @ e.beta + inner * self._along
        pwrss = (self._e if e is None else e).pwrss
        sigma = self.sigma(0.5 * math.log(pwrss / self._linear.cp.n))
        return Values(self.theta(theta), sigma, sigma, self.linear_beta(beta))
