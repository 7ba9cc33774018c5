"""The profile of each kind of parameter: which deviance, in which coordinates, with what held fixed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from interlace.core.covariance import any_singular
from interlace.core.dispersion import FreeDispersion, FreeTheta
from interlace.core.rivals import other_points
from interlace.core.scaling import convert_theta
from interlace.core.terms import split_theta
from interlace.estimate.glmm import optimize as optimize_glmm
from interlace.estimate.glmm_problem import GlmmProblem, target
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import optimize
from interlace.estimate.problem import LinearProblem, objective
from interlace.estimate.state import FitState, State
from interlace.inference.profile_basis import Triangle, effects_first, effects_in_order
from interlace.inference.profile_deviance import Unprofiled
from interlace.inference.profile_parameters import Parameter
from interlace.inference.profile_restricted import Restricted
from interlace.inference.profile_restrictions import Angle, Covariance, Plane, Product, Restriction
from interlace.inference.profile_roots import Section, Solved, minimum
from interlace.typing import FloatArray

__all__ = ["ProfileSection", "RestrictedSection", "Surface", "Values", "restricted_section", "surface"]


@dataclass(frozen=True)
class Values:
    """Parameters of a model on the user's scale.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
    unit, sigma : float
        What theta is relative to, and the residual standard deviation.
    beta : ndarray, shape (p,)
    shape : float or None
        Theta of a negative binomial response, where it was estimated.
    """

    theta: FloatArray
    unit: float
    sigma: float
    beta: FloatArray
    shape: float | None = None


@dataclass(frozen=True, eq=False)
class Surface:
    """A deviance that is to be profiled, at its minimum.

    Attributes
    ----------
    problem : LinearProblem or GlmmProblem
    theta : ndarray, shape (n_theta,)
        In the basis of the formula.
    rest : ndarray
        Further parameters in the inner basis: the logarithm of sigma, or beta and what follows it.
    """

    problem: LinearProblem | GlmmProblem
    theta: FloatArray
    rest: FloatArray

    def x(self, problem: LinearProblem | GlmmProblem) -> FloatArray:
        """All parameters in the inner basis of a rotated problem."""
        inner = convert_theta(problem.terms, problem.bases, self.theta, to_user=False)
        return np.concatenate([inner, self.rest])


def surface(state: State, *, fitted: bool, theta: FloatArray | None = None) -> Surface:
    """Minimum of the deviance of a fit.

    Parameters
    ----------
    state : FitState or GlmmState
    fitted : bool
        Whether to keep the REML criterion of a REML fit; otherwise it is fitted again by maximum likelihood.
    theta : ndarray, shape (n_theta,), optional
        Where to look for another minimum than that of the fit.
    """
    if isinstance(state, GlmmState):
        x = state.opt.x if theta is None else optimize_glmm(state.problem, theta0=theta)[0].x
        n_theta = state.theta.size
        user = convert_theta(state.problem.terms, state.problem.bases, x[:n_theta], to_user=True)
        return Surface(state.problem, user, x[n_theta:])
    assert isinstance(state, FitState)
    problem = state.problem if fitted else replace(state.problem, reml=False)
    if theta is None and problem.reml == state.reml:
        x = state.opt.x
        e = objective(problem).at(x)
    else:
        summary, e = optimize(problem, theta0=theta)
        x = summary.x
    N = problem.cp.n - (problem.structure.p if problem.reml else 0)
    user = convert_theta(problem.terms, problem.bases, x, to_user=True)
    return Surface(problem, user, np.array([0.5 * math.log(e.pwrss / N)]))


class ProfileSection(Section):
    """A :class:`~interlace.inference.profile_roots.Section` that can tell what its numbers mean.

    Parameters
    ----------
    parameter : Parameter
    problem : LinearProblem or GlmmProblem
        In the basis that the parameter needs.
    bounds : (float, float)
        Range of s.
    """

    def __init__(
        self,
        parameter: Parameter,
        problem: LinearProblem | GlmmProblem,
        bounds: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        self.parameter, self.problem = parameter, problem
        #: Places in z of coordinates that are zero at a boundary.
        self.squares: tuple[int, ...] = ()
        self._bounds = bounds

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of s."""
        return self._bounds

    def rivals(self, found: Solved) -> list[FloatArray]:
        """Where to start a minimization again: with correlations, or at a variance of zero, it may have several minima.

        A column of a factor that is zero stays so whatever lies further away: there the gradient vanishes, and the
        second derivatives only tell what a small variance would do.
        """
        starts = []
        if any(k > 1 and structure == "unstructured" for k, structure in self.problem.shapes):
            starts.append(self.start.z)
            for place in self.squares:
                starts.append(found.z.copy())
                starts[-1][place] = 0.0
        structure, x = self.problem.structure, self.join(found)
        theta = x[: structure.n_theta]
        if structure.n_theta > 1 and any_singular(structure.factors(theta)):
            for point in other_points(structure, [theta], far=False):
                starts.append(self.split(np.concatenate([point, x[structure.n_theta :]])))
        return starts

    def join(self, found: Solved) -> FloatArray:
        """All parameters of the deviance at a point of the profile, theta first."""
        raise NotImplementedError

    def split(self, x: FloatArray) -> FloatArray:
        """Free coordinates of parameters of the deviance, whatever value they give to the fixed one."""
        raise NotImplementedError

    def natural(self, s: float) -> float:
        """Value of the parameter on the user's scale."""
        if self.parameter.kind == "cor":
            return math.sin(s)
        if self.parameter.kind == "sigma":
            return self.sigma(s)
        if self.parameter.kind == "shape":
            return math.exp(s) if s < self.bounds[1] else math.inf
        return s

    def values(self, solved: Solved) -> Values:
        """All parameters of the model at a point of the profile."""
        raise NotImplementedError

    def sigma(self, log_sigma: float) -> float:
        """Residual standard deviation from its logarithm in the inner units."""
        scale = self.problem.response.scale if isinstance(self.problem, LinearProblem) else 1.0
        return scale * math.exp(min(log_sigma, 700.0))

    def theta(self, x: FloatArray) -> FloatArray:
        """Theta in the basis of the formula, from parameters in the inner basis."""
        problem = self.problem
        return convert_theta(problem.terms, problem.bases, x[: problem.structure.n_theta], to_user=True)

    def linear_beta(self, inner: FloatArray) -> FloatArray:
        """Coefficients of a linear model, from those in the inner basis."""
        assert isinstance(self.problem, LinearProblem)
        response = self.problem.response
        return self.problem.basis.backward(response.coefficients + response.scale * inner)


class RestrictedSection(ProfileSection):
    """Profile of a parameter that is a function of the parameters of one deviance."""

    def __init__(
        self,
        parameter: Parameter,
        problem: LinearProblem | GlmmProblem,
        deviance: Any,
        restriction: Restriction,
        x: FloatArray,
        bounds: tuple[float, float],
    ) -> None:
        super().__init__(parameter, problem, bounds)
        self._deviance, self._restriction = deviance, restriction
        self._s, self._z = restriction.split(x)
        self.squares = restriction.squares
        self._least = deviance.value(deviance.at(restriction.join(self._s, self._z)))

    @cached_property
    def _at_start(self) -> tuple[Any, FloatArray, float]:
        """Point at the estimate, the tangent dz/ds, and the second derivative of the profile."""
        at = Restricted(self._deviance, self._restriction, self._s)
        point = at.at(self._z)
        d = at.derivatives(point)
        H = self._deviance.information(point.inner, d.inner)
        _, by_s = self._restriction.jacobian(self._s, self._z)
        own, mixed, free = float(by_s @ H @ by_s), d.J.T @ (H @ by_s), d.J.T @ H @ d.J
        drift = -np.linalg.pinv(free, rcond=1e-8, hermitian=True) @ mixed if free.size else np.empty(0)
        return point, drift, own + float(mixed @ drift)

    @cached_property
    def start(self) -> Solved:
        """The estimate."""
        point, _, curvature = self._at_start
        return Solved(self._s, self._z, 0.0, curvature, 0.0, True, point)

    def drift(self) -> FloatArray:
        """Derivative of z by s at the estimate."""
        return self._at_start[1]

    def join(self, found: Solved) -> FloatArray:
        """All parameters of the deviance at a point of the profile, theta first."""
        return self._restriction.join(found.s, found.z)

    def split(self, x: FloatArray) -> FloatArray:
        """Free coordinates of parameters of the deviance, whatever value they give to the fixed one."""
        return self._restriction.split(x)[1]

    def solve(self, s: float, z: FloatArray, tol: float) -> Solved:
        """Minimize over the other parameters."""
        at = Restricted(self._deviance, self._restriction, s)
        limit = self.problem.control.max_iterations
        z, value, point, d, converged = minimum(at, z, tol=tol, max_iterations=limit)
        slope = d.by_s if d is not None else math.nan
        noise = at.noise(value) if d is not None else 0.0
        return Solved(s, z, value - self._least, slope, noise, converged, point)

    def values(self, solved: Solved) -> Values:
        """All parameters of the model at a point of the profile."""
        x, inner, n_theta = solved.point.x, solved.point.inner, self.problem.structure.n_theta
        if isinstance(self.problem, LinearProblem):
            e = inner.e if isinstance(self._deviance, Unprofiled) else inner
            # Sigma is the last parameter, or profiled out.
            log_sigma = x[-1] if x.size > n_theta else 0.5 * math.log(e.pwrss / self._deviance.N)
            sigma = self.sigma(float(log_sigma))
            return Values(self.theta(x), sigma, sigma, self.linear_beta(e.beta))
        p = self.problem.X.shape[1]
        beta = x[n_theta : n_theta + p] if self.problem.nodes else inner.gamma
        free = isinstance(self.problem.model, FreeDispersion)
        sigma = self.sigma(0.5 * float(x[-1])) if free else 1.0
        shape = math.exp(x[-1]) if isinstance(self.problem.model, FreeTheta) else None
        return Values(self.theta(x), 1.0, sigma, self.problem.basis.backward(beta), shape)


def restricted_section(parameter: Parameter, found: Surface) -> RestrictedSection | None:
    """Profile of a parameter that is a function of the parameters of one deviance.

    Parameters
    ----------
    parameter : Parameter
    found : Surface

    Returns
    -------
    RestrictedSection, or None
        None for a correlation or covariance beside a variance of zero, which the data say nothing about.
    """
    match parameter.kind:
        case "theta":
            return _theta_section(parameter, found)
        case "sd":
            problem, triangle = effects_first(found.problem, parameter.term, (parameter.row,))
            return _sd_section(parameter, found, problem, triangle)
        case "cor" | "cov":
            return _pair_section(parameter, found)
        case _:
            return _rest_section(parameter, found)


def _theta_section(parameter: Parameter, found: Surface) -> RestrictedSection:
    problem, triangle = effects_in_order(found.problem, parameter.term)
    deviance = _deviance(problem)
    x = _start(found, problem, log_sigma=False)
    r, c = parameter.row, parameter.col
    normal = np.zeros(x.size)
    # Below a diagonal matrix M the factor has no entries.
    used = [k for k in range(c, r + 1) if triangle.slots[k, c] >= 0]
    normal[triangle.slots[used, c]] = triangle.M[r, used]
    # A column of the factor may change its sign, but only as a whole.
    square = None if r == c else int(triangle.slots[c, c])
    bounds = (0.0 if r == c else -math.inf, math.inf)
    plane = Plane(normal, int(triangle.slots[r, c]), square)
    return RestrictedSection(parameter, problem, deviance, plane, x, bounds)


def _sd_section(
    parameter: Parameter, found: Surface, problem: LinearProblem | GlmmProblem, triangle: Triangle
) -> RestrictedSection:
    j = parameter.row if problem.shapes[parameter.term][1] == "diagonal" else 0
    slot, scale = int(triangle.slots[j, j]), float(triangle.M[j, j])
    if isinstance(problem, LinearProblem):
        x = _start(found, problem, log_sigma=True)
        product = Product(slot, scale * problem.response.scale)
        return RestrictedSection(parameter, problem, _unprofiled(problem), product, x, (0.0, math.inf))
    x = found.x(problem)
    normal = np.zeros(x.size)
    normal[slot] = scale
    return RestrictedSection(parameter, problem, _deviance(problem), Plane(normal, slot), x, (0.0, math.inf))


def _pair_section(parameter: Parameter, found: Surface) -> RestrictedSection | None:
    L = split_theta(found.problem.shapes, found.theta)[parameter.term]
    # Standard deviations relative to that of the residuals, in standard units of the covariates.
    lengths = np.linalg.norm(L, axis=1) * np.linalg.norm(found.problem.bases[parameter.term].inverse, axis=0)
    if min(lengths[parameter.row], lengths[parameter.col]) < found.problem.control.singular_tol:
        return None
    problem, triangle = effects_first(found.problem, parameter.term, (parameter.col, parameter.row))
    M, slots = triangle.M[:2, :2], triangle.slots
    if parameter.kind == "cor":
        x = _start(found, problem, log_sigma=False)
        angle = Angle((int(slots[0, 0]), int(slots[1, 0]), int(slots[1, 1])), M)
        right = 0.5 * math.pi
        return RestrictedSection(parameter, problem, _deviance(problem), angle, x, (-right, right))
    linear = isinstance(problem, LinearProblem)
    x = _start(found, problem, log_sigma=linear)
    scale = problem.response.scale if isinstance(problem, LinearProblem) else 1.0
    covariance = Covariance((int(slots[0, 0]), int(slots[1, 0])), M, scale, linear)
    deviance = _unprofiled(problem) if isinstance(problem, LinearProblem) else _deviance(problem)
    return RestrictedSection(parameter, problem, deviance, covariance, x, (-math.inf, math.inf))


def _rest_section(parameter: Parameter, found: Surface) -> RestrictedSection:
    """Sigma, a negative binomial's theta, or a coefficient of a generalized model."""
    problem, x = found.problem, found.x(found.problem)
    normal, upper = np.zeros(x.size), math.inf
    if isinstance(problem, GlmmProblem) and parameter.kind == "shape":
        assert isinstance(problem.model, FreeTheta)
        normal[-1], pivot, upper = 1.0, x.size - 1, math.log(problem.model.ceiling)
        x[-1] = min(x[-1], upper)
    elif parameter.kind == "sigma":
        normal[-1] = 1.0 if isinstance(problem, LinearProblem) else 0.5
        pivot = x.size - 1
    else:
        where = problem.structure.n_theta + np.arange(problem.structure.p)
        normal[where] = problem.basis.backward(np.eye(where.size))[parameter.row]
        pivot = int(np.argmax(np.abs(normal)))
    deviance = _unprofiled(problem) if isinstance(problem, LinearProblem) else _deviance(problem)
    return RestrictedSection(parameter, problem, deviance, Plane(normal, pivot), x, (-math.inf, upper))


def _deviance(problem: LinearProblem | GlmmProblem) -> Any:
    return objective(problem) if isinstance(problem, LinearProblem) else target(problem)


def _unprofiled(problem: LinearProblem) -> Unprofiled:
    return Unprofiled(objective(problem), problem.cp.n)


def _start(found: Surface, problem: LinearProblem | GlmmProblem, *, log_sigma: bool) -> FloatArray:
    """Parameters of the deviance at its minimum; those of a linear model with the logarithm of sigma or without."""
    x = found.x(problem)
    return x[:-1] if isinstance(problem, LinearProblem) and not log_sigma else x
