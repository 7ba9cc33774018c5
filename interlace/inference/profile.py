"""Profile likelihood: intervals and curves for every parameter of a mixed model.

The interval of a parameter holds the values that a likelihood ratio test does not reject: those at which the deviance,
minimized over all other parameters, exceeds its minimum by no more than the quantile of the chi-squared distribution
with one degree of freedom (Bates et al., 2015, section 5.1). Its ends are found by root finding on that deviance
itself, each minimization with exact gradients, so they are exact up to rounding; lme4 interpolates a grid by splines.

Relative covariance parameters theta are profiled on the criterion of the fit, which is the REML criterion for a REML
fit. Everything else, standard deviations, correlations, sigma and coefficients, is profiled on the likelihood, also
for a REML fit, as lme4 does it: the REML criterion is not a function of the coefficients.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias, TypeVar

import numpy as np

from interlace.core import blas
from interlace.core.dispersion import ProfiledDispersion
from interlace.core.terms import split_theta
from interlace.errors import ModelError
from interlace.estimate.glmm_problem import GlmmProblem
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.parallel import whole_number_of_jobs
from interlace.estimate.state import State
from interlace.inference.profile_coefficients import LinearCoefficient
from interlace.inference.profile_parameters import Parameter, estimates
from interlace.inference.profile_roots import Path, Solved, crossing, march
from interlace.inference.profile_sections import ProfileSection, Surface, restricted_section, surface
from interlace.inference.wald import critical_value
from interlace.typing import BoolArray, FloatArray

__all__ = ["Curve", "Limits", "ProfileResult", "profile_curves", "profile_limits"]

#: Steps of a curve from the estimate to its end.
_STEPS = 8
#: Deviance below that of the fit which shows that the fit is not at the minimum.
_LOWER = 1e-6
#: Times that lower minima are followed.
_ROUNDS = 4


@dataclass(frozen=True)
class Limits:
    """Profile intervals of r parameters.

    Attributes
    ----------
    ends : ndarray, shape (r, 2)
    rises : ndarray, shape (r, 2)
        Rise of the deviance at each end: the quantile, or less at the bound of a parameter.
    lowest : float
        Lowest criterion of the fit that was met, relative to the fit: negative when that was not at the minimum, and
        the intervals are those around the minimum then.
    failed : ndarray of bool, shape (r,)
        Whether a minimization over the other parameters did not converge at an end.
    """

    ends: FloatArray
    rises: FloatArray
    lowest: float
    failed: BoolArray

    @property
    def improved(self) -> bool:
        """Whether a deviance lower than that of the fit was met."""
        return self.lowest < -_LOWER


@dataclass(frozen=True)
class Curve:
    """Profile of one parameter at m points in ascending order, the estimate among them.

    Attributes
    ----------
    parameter : Parameter
    values : ndarray, shape (m,)
    zeta : ndarray, shape (m,)
        Signed root of the rise of the deviance.
    others : ndarray, shape (m, r)
        All parameters of the table at each point.
    """

    parameter: Parameter
    values: FloatArray
    zeta: FloatArray
    others: FloatArray


@dataclass(frozen=True)
class ProfileResult:
    """Profiles for plotting.

    Attributes
    ----------
    parameters : tuple of Parameter
        Columns of ``Curve.others``.
    curves : tuple of Curve
    """

    parameters: tuple[Parameter, ...]
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class _Minima:
    """Deviances of one fit at their minima: of the criterion of the fit (True), and of the likelihood (False)."""

    state: State
    surfaces: dict[bool, Surface]

    @classmethod
    def of(cls, state: State, parameters: Sequence[Parameter]) -> _Minima:
        """Minimize the deviances that the parameters need."""
        kinds = {_fitted(state, parameter) for parameter in parameters}
        return cls(state, {fitted: surface(state, fitted=fitted) for fitted in kinds})

    def section(self, parameter: Parameter) -> ProfileSection | None:
        """Section of a parameter; None where the data say nothing about it."""
        found = self.surfaces[_fitted(self.state, parameter)]
        if parameter.kind == "beta" and not isinstance(self.state, GlmmState):
            return LinearCoefficient(parameter, found)
        return restricted_section(parameter, found)

    def better(self, lowest: Sequence[_Lowest]) -> _Minima | None:
        """Minima near the lowest points met, where these are lower; None when there are none."""
        surfaces = dict(self.surfaces)
        for fitted in surfaces:
            low = min((low for low in lowest if low.fitted == fitted), key=lambda low: low.rise, default=None)
            if low is not None and low.rise < -_LOWER:
                surfaces[fitted] = surface(self.state, fitted=fitted, theta=low.theta)
        return None if surfaces == self.surfaces else _Minima(self.state, surfaces)


@dataclass(frozen=True)
class _Lowest:
    """Lowest point of one profile: its deviance relative to the minimum, theta, and which deviance that was."""

    rise: float
    theta: FloatArray
    fitted: bool


def _fitted(state: State, parameter: Parameter) -> bool:
    """Whether a parameter is profiled on the criterion of the fit; by maximum likelihood there is no other."""
    return parameter.kind == "theta" or not state.reml


def _possible(state: State, parameters: Sequence[Parameter]) -> None:
    """Refuse what maximizes no likelihood."""
    problem = state.problem
    if not isinstance(problem, GlmmProblem) or not parameters:
        return
    if isinstance(problem.model, ProfiledDispersion):
        raise ModelError(
            "a fit with lme4's convention for dispersions maximizes no likelihood, so that there is nothing to "
            'profile; fit with the default Control(dispersion="ml"), or use method="wald" or method="boot"'
        )
    if problem.nodes == 0 and any(parameter.kind == "beta" for parameter in parameters):
        raise ModelError(
            "coefficients of a fit with nAGQ=0 do not minimize its deviance, so that they have no profile; fit with "
            'nAGQ=1, or choose parm="theta_" or method="wald"'
        )


def profile_limits(
    state: State, parameters: Sequence[Parameter], level: float = 0.95, *, n_jobs: int | None = 1
) -> Limits:
    """Profile likelihood intervals.

    Parameters
    ----------
    state : FitState or GlmmState
    parameters : sequence of Parameter, length r
    level : float
        Confidence level.
    n_jobs : int, optional
        Processes, one parameter at a time each; None is what ``joblib.parallel_config`` says.

    Returns
    -------
    Limits
        A standard deviation or a diagonal entry of theta whose profile does not reach the quantile has the lower end
        0, a correlation the end -1 or 1, any other parameter an infinite one. A correlation beside a variance of zero
        has the interval from -1 to 1, a covariance there is NaN.

    Raises
    ------
    ModelError
        For a generalized model in lme4's convention for dispersions, and for coefficients of a fit with ``nAGQ=0``.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> profile_limits(state, [Parameter("sd", 0), Parameter("sigma"), Parameter("beta")]).ends.round(2)
    array([[  12.2 ,   84.06],
           [  38.23,   67.66],
           [1486.45, 1568.55]])
    """
    _possible(state, parameters)
    n_jobs, quantile = whole_number_of_jobs(n_jobs), float(critical_value(level)) ** 2
    with blas.limited(state.problem.structure.m):
        found, lowest = _at_minimum(state, parameters, partial(_interval, quantile=quantile), n_jobs=n_jobs)
    ends = np.array([f.ends for f in found]).reshape(-1, 2)
    rises = np.array([f.rises for f in found]).reshape(-1, 2)
    return Limits(ends, rises, lowest, np.array([f.failed for f in found], dtype=np.bool_))


@dataclass(frozen=True)
class _Interval:
    """Ends and their rises, and whether a minimization failed."""

    ends: tuple[float, float]
    rises: tuple[float, float]
    failed: bool


_F = TypeVar("_F")
#: What is found about one parameter (or None where the data say nothing about it), and the solutions it took.
_Work: TypeAlias = "Callable[[ProfileSection | None, Parameter], tuple[_F, list[Solved]]]"


def _at_minimum(
    state: State, parameters: Sequence[Parameter], work: _Work[_F], *, n_jobs: int | None = 1
) -> tuple[list[_F], float]:
    """Do some work on every profile, again from lower minima if it meets them.

    Returns
    -------
    list
        What the work found, for each parameter.
    float
        Lowest criterion of the fit that was met, relative to the fit.
    """
    minima, lowest = _Minima.of(state, parameters), 0.0
    for _ in range(_ROUNDS):
        if _alone(n_jobs) or len(parameters) < 2:
            done = [_one(minima, parameter, work) for parameter in parameters]
        else:
            from joblib import Parallel, delayed

            done = Parallel(n_jobs=n_jobs)(delayed(_one)(minima, parameter, work) for parameter in parameters)
        lows = [low for _, low in done if low is not None]
        # A second minimum of the likelihood says nothing against a fit by REML.
        lowest += min((low.rise for low in lows if low.fitted), default=0.0)
        better = minima.better(lows)
        if better is None:
            break
        minima = better
    return [found for found, _ in done], lowest


def _alone(n_jobs: int | None) -> bool:
    """Whether this process does all; joblib is slow to import, and cannot have been configured before it is."""
    return n_jobs == 1 or (n_jobs is None and "joblib" not in sys.modules)


def _one(minima: _Minima, parameter: Parameter, work: _Work[_F]) -> tuple[_F, _Lowest | None]:
    with blas.limited(minima.state.problem.structure.m):
        section = minima.section(parameter)
        found, points = work(section, parameter)
        if section is None or not points:
            return found, None
        low = min(points, key=lambda p: p.rise)
        return found, _Lowest(min(low.rise, 0.0), section.values(low).theta, _fitted(minima.state, parameter))


def _interval(section: ProfileSection | None, parameter: Parameter, quantile: float) -> tuple[_Interval, list[Solved]]:
    if section is None:
        end = 1.0 if parameter.kind == "cor" else math.nan
        return _Interval((-end, end), (0.0, 0.0), False), []
    paths = [Path(section, -1.0), Path(section, 1.0)]
    low, high = (crossing(path, quantile) for path in paths)
    ends, rises = (section.natural(low.s), section.natural(high.s)), (low.rise, high.rise)
    failed = not (low.converged and high.converged)
    return _Interval(ends, rises, failed), [p for path in paths for p in path.points]


def profile_curves(
    state: State, parameters: Sequence[Parameter], table: Sequence[Parameter], level: float = 0.99
) -> ProfileResult:
    """Profiles for plotting.

    Parameters
    ----------
    state : FitState or GlmmState
    parameters : sequence of Parameter
        Those to be profiled.
    table : sequence of Parameter, length r
        Those whose values at every point are kept.
    level : float
        Confidence level that the curves reach, or the bound of the parameter.

    Returns
    -------
    ProfileResult
        Without the correlations beside a variance of zero.
    """
    _possible(state, parameters)
    work = partial(_curve, state=state, table=table, highest=float(critical_value(level)))
    with blas.limited(state.problem.structure.m):
        curves, _ = _at_minimum(state, parameters, work)
    return ProfileResult(tuple(table), tuple(curve for curve in curves if curve is not None))


def _curve(
    section: ProfileSection | None, parameter: Parameter, state: State, table: Sequence[Parameter], highest: float
) -> tuple[Curve | None, list[Solved]]:
    if section is None:
        return None, []
    below = march(Path(section, -1.0), highest, _STEPS)
    above = march(Path(section, 1.0), highest, _STEPS)
    points = [*reversed(below), section.start, *above]
    others = []
    for point in points:
        v = section.values(point)
        others.append(estimates(split_theta(state.problem.shapes, v.theta), v.unit, v.sigma, v.beta, table, v.shape))
    zeta = [p.zeta(-1.0) for p in reversed(below)] + [0.0] + [p.zeta(1.0) for p in above]
    values = np.array([section.natural(p.s) for p in points])
    return Curve(parameter, values, np.array(zeta), np.array(others)), points
