"""Follow a profile deviance from its minimum, and find where it crosses a level.

A *section* gives the minimum of a deviance over all parameters but one. Its root zeta = +-sqrt(d(s) - d(estimate))
is close to linear, so crossings are found by inverse Hermite interpolation of s as a function of zeta, inside a
bracket as soon as there is one. The slope of a profile needs no more than the derivative by the fixed parameter, all
else equal (envelope theorem).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from interlace.core.newton import minimize_newton
from interlace.core.optsummary import OptSummary
from interlace.core.target import Target
from interlace.typing import FloatArray

__all__ = ["Path", "Section", "Solved", "crossing", "march", "minimum"]

#: Decrement at which the minimization over the other parameters stops, far from the level and near it. After the last
#: step much less than that is left.
_COARSE, _FINE = 1e-4, 1e-9
#: Distance from the level (in units of the deviance) that is near.
_NEAR = 0.1
#: How well a crossing reaches its level, in units of the deviance.
_LEVEL_TOL = 1e-9
#: How close a coarse solution may be to count as the crossing, once it is refined.
_CLOSE = 1e-3
#: Distance from the level that rounding may leave.
_ROUGH = 1e-5
#: Minimizations for one crossing, and the distance (in first steps) at which a profile counts as never crossing.
_MAX_POINTS, _FARTHEST = 80, 1e12
#: How far a line through two solutions is trusted, in their distance.
_REACH = 3.0
#: Decrease by which another minimum is lower.
_LOWER = 1e-6
#: Curvature, relative to the largest, below which a stationary point is a saddle; and decrease worth leaving it for.
_SADDLE, _WORTHWHILE = -1e-7, 1e-10


@dataclass(frozen=True, eq=False)
class Solved:
    """Minimum of the deviance with the parameter at ``s``.

    Attributes
    ----------
    s : float
    z : ndarray, shape (r,)
        The other parameters.
    rise : float
        Deviance above that of the estimate.
    slope : float
        Derivative of ``rise`` by s; NaN where it is not known.
    noise : float
        Rounding noise of ``rise``; 0 where there is no deviance.
    converged : bool
    point : Any
        The model, as the section's deviance gives it.
    """

    s: float
    z: FloatArray
    rise: float
    slope: float
    noise: float
    converged: bool
    point: Any

    def zeta(self, direction: float) -> float:
        """Signed root of the rise."""
        return direction * math.sqrt(max(self.rise, 0.0))


class Section(Protocol):
    """Profile of one parameter, on an inner scale."""

    @property
    def start(self) -> Solved:
        """The estimate; its ``slope`` is the second derivative of the profile."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Range of s."""

    def rivals(self, found: Solved) -> list[FloatArray]:
        """Where a minimization that ended at ``found`` should start again, if it may have several minima."""

    def drift(self) -> FloatArray:
        """Derivative of z by s at the estimate, shape (r,)."""

    def solve(self, s: float, z: FloatArray, tol: float) -> Solved:
        """Minimize over the other parameters, from ``z``, until the decrement falls below ``tol``."""


def minimum(
    target: Target[Any, Any], z: FloatArray, *, tol: float, max_iterations: int
) -> tuple[FloatArray, float, Any, Any, bool]:
    """Minimize a deviance over free coordinates, and leave saddle points.

    Returns
    -------
    z : ndarray, shape (r,)
    value : float
        Infinity where no deviance was found.
    point, slopes : Any
    converged : bool
    """
    if z.size == 0:
        point = target.at(z)
        value = target.value(point)
        return z, value, point, target.derivatives(point) if math.isfinite(value) else None, math.isfinite(value)
    summary: OptSummary | None
    try:
        summary, point, d = minimize_newton(target, z, tol=tol, max_iterations=max_iterations)
    except np.linalg.LinAlgError:  # numbers that are none
        summary = None
    if summary is None or not math.isfinite(summary.value):
        # There is no deviance at the start.
        return z, math.inf, None, None, False
    for _ in range(5):
        # Coordinates of a vanishing variance have no slope, whatever lies beside them.
        values, vectors = np.linalg.eigh(summary.hessian)
        if values[0] >= _SADDLE * max(abs(values[-1]), 1.0):
            break
        moved = _beside(target, summary.x, summary.value, vectors[:, 0])
        if moved is None:
            break
        summary, point, d = minimize_newton(target, moved, tol=tol, max_iterations=max_iterations)
    return summary.x, summary.value, point, d, summary.converged


def _beside(target: Target[Any, Any], z: FloatArray, value: float, direction: FloatArray) -> FloatArray | None:
    """Lowest of some points along a line, if it is lower than the point itself."""
    steps = [sign * size for size in (1.0, 0.3, 0.1, 0.03, 0.01) for sign in (1.0, -1.0)]
    found = [(target(z + step * direction), step) for step in steps]
    lowest, step = min(found)
    return z + step * direction if lowest < value - _WORTHWHILE else None


class Path:
    """Solutions on one side of the estimate, each started from what those before it predict.

    Parameters
    ----------
    section : Section
    direction : float
        1.0 or -1.0.
    """

    def __init__(self, section: Section, direction: float) -> None:
        self._section, self.direction = section, direction
        self.bound = section.bounds[1 if direction > 0.0 else 0]
        self.points = [section.start]
        self._drift = section.drift()

    def solve(self, s: float, tol: float = _FINE) -> Solved:
        """Solve at ``s``, and again from the nearest solution where the prediction is no good."""
        near = sorted(self.points, key=lambda p: abs(p.s - s))[:2]
        guess = near[0].z
        if near[0].s == s:
            self.points.remove(near[0])
        elif len(self.points) == 1:
            guess = guess + (s - near[0].s) * self._drift
        else:
            part = (s - near[0].s) / (near[1].s - near[0].s)
            if abs(part) <= _REACH:
                guess = guess + part * (near[1].z - near[0].z)
        found = self._section.solve(s, guess, tol)
        if not (found.converged and math.isfinite(found.rise)):
            again = self._section.solve(s, near[0].z, tol)
            if again.rise <= found.rise or not math.isfinite(found.rise):
                found = again
        if math.isfinite(found.rise):
            self.points.append(found)
        return found

    def lower(self, found: Solved) -> Solved | None:
        """Another minimum at the same s that is lower; the path goes on from there."""
        others = [self._section.solve(found.s, z, _COARSE) for z in self._section.rivals(found)]
        lowest = min(others, key=lambda other: other.rise, default=found)
        if not lowest.rise < found.rise - _LOWER:
            return None
        self.points = [self.points[0], lowest]
        return lowest

    def joined(self, inside: Solved, found: Solved) -> Solved | None:
        """Another minimum where ``found`` is that is lower, from ``inside``; all other solutions beyond are dropped.

        Looked for where the profile seems to jump, which the minimum over all other parameters cannot.
        """
        if inside is self.points[0]:
            return None
        expected = abs(inside.slope * (found.s - inside.s))
        if found.rise - inside.rise <= 4.0 * expected + _CLOSE:
            return None
        other = self._section.solve(found.s, inside.z, _FINE)
        if not other.rise < found.rise - _LOWER:
            return None
        self.points = [p for p in self.points if self.direction * (p.s - inside.s) <= 0.0] + [other]
        return other

    def first_step(self, level: float) -> float:
        """Step from the estimate that a parabola takes to a level of the deviance."""
        start = self._section.start
        curvature = start.slope
        if curvature > 0.0 and math.isfinite(curvature):
            return math.sqrt(2.0 * level / curvature)
        return 0.1 * max(abs(start.s), 1.0)


def crossing(path: Path, level: float) -> Solved:
    """First crossing of a level, or the bound of the parameter where the profile ends below it.

    Parameters
    ----------
    path : Path
    level : float
        Rise of the deviance.

    Returns
    -------
    Solved
        With ``rise`` below the level at a bound, and ``s`` infinite where the profile stays below it.
    """
    start, direction = path.points[0], path.direction
    if start.s == path.bound:
        return start
    step = path.first_step(level)
    inside, outside, tol = start, None, _COARSE
    s = _within(start.s + direction * step, path.bound, direction)
    for tries in range(_MAX_POINTS):
        found = path.solve(s, tol)
        gap = found.rise - level
        if abs(gap) <= _NEAR and tol > _FINE:
            tol = _FINE
            if abs(gap) <= _CLOSE:
                found = path.solve(s, tol)
                gap = found.rise - level
        if abs(gap) <= _LEVEL_TOL * max(level, 1.0) + 2.0 * found.noise:
            other = path.lower(found)
            if other is None:
                return found
            found, gap, outside = other, other.rise - level, None
        if gap < 0.0:
            inside = found
            if abs(s - start.s) > _FARTHEST * step:
                return _never(found, direction)
        else:
            outside = found
        if outside is not None and (other := path.joined(inside, outside)) is not None:
            inside, outside = (other, None) if other.rise < level else (inside, other)
        if outside is None and inside.s == path.bound:
            return inside
        proposed = _proposal(path, inside, outside, level, careful=tries % 5 == 4)
        if proposed == s:
            break
        s = proposed
    return replace(found, converged=found.converged and abs(found.rise - level) <= _ROUGH)


def _never(found: Solved, direction: float) -> Solved:
    return replace(found, s=direction * math.inf, slope=0.0)


def _within(s: float, bound: float, direction: float) -> float:
    return min(s, bound) if direction > 0.0 else max(s, bound)


def _proposal(path: Path, inside: Solved, outside: Solved | None, level: float, *, careful: bool) -> float:
    """Where to look next: interpolate, and keep within the bracket or a moderate extrapolation."""
    start, direction = path.points[0], path.direction
    goal = math.sqrt(level)
    guess = _interpolated(path.points, direction, goal)
    if outside is None:
        reach = direction * (inside.s - start.s)
        least, most = start.s + direction * 1.05 * reach, start.s + direction * 4.0 * reach
        low, high = sorted((least, most))
        s = min(max(guess, low), high) if math.isfinite(guess) else start.s + direction * 2.0 * reach
        return _within(s, path.bound, direction)
    low, high = sorted((inside.s, outside.s))
    if math.isfinite(guess) and low < guess < high and not careful:
        return guess
    if not math.isfinite(outside.rise):
        return 0.5 * (low + high)
    # The chord of zeta, kept off the ends so that the bracket shrinks every now and then.
    a, b = math.sqrt(max(inside.rise, 0.0)), math.sqrt(outside.rise)
    part = min(max((goal - a) / (b - a), 0.1), 0.9) if b > a else 0.5
    return inside.s + part * (outside.s - inside.s)


def _interpolated(points: list[Solved], direction: float, goal: float) -> float:
    """Where zeta reaches the goal, by the cubic through the two points nearest to it; NaN where that is no guide."""
    near = sorted(points, key=lambda p: abs(math.sqrt(max(p.rise, 0.0)) - goal))[:2]
    if len(near) < 2:
        return math.nan
    (a, rate_a), (b, rate_b) = ((math.sqrt(max(p.rise, 0.0)), _rate(p, p is points[0], direction)) for p in near)
    if a == b:
        return math.nan
    t, width = (goal - a) / (b - a), b - a
    if not (rate_a > 0.0 and rate_b > 0.0):
        # Without slopes: the chord; a straight line from the better point where it has a slope.
        if rate_a > 0.0:
            return near[0].s + direction * (goal - a) * rate_a
        return near[0].s + t * (near[1].s - near[0].s) if math.isnan(rate_a) else math.nan
    h00, h10 = (1.0 + 2.0 * t) * (1.0 - t) ** 2, t * (1.0 - t) ** 2
    h01, h11 = t * t * (3.0 - 2.0 * t), t * t * (t - 1.0)
    return h00 * near[0].s + h01 * near[1].s + direction * width * (h10 * rate_a + h11 * rate_b)


def _rate(point: Solved, is_start: bool, direction: float) -> float:
    """Derivative of s by zeta, outward."""
    if is_start:
        return math.sqrt(2.0 / point.slope) if point.slope > 0.0 else math.nan
    slope = direction * point.slope
    return 2.0 * math.sqrt(max(point.rise, 0.0)) / slope if slope != 0.0 else math.inf


def march(path: Path, highest: float, count: int) -> list[Solved]:
    """Solutions at about equal steps of zeta, up to the first beyond ``highest`` or to the bound.

    Parameters
    ----------
    path : Path
    highest : float
        Absolute value of zeta.
    count : int
        Steps to there.

    Returns
    -------
    list of Solved
        Going outward, without the estimate.
    """
    start, direction = path.points[0], path.direction
    step = highest / count
    out: list[Solved] = []
    s = _within(start.s + direction * path.first_step(step * step), path.bound, direction)
    while start.s != path.bound and len(out) < 4 * count:
        found = path.solve(s)
        if not math.isfinite(found.rise):
            break
        out.append(found)
        if math.sqrt(max(found.rise, 0.0)) >= highest or found.s == path.bound:
            break
        rate = _rate(found, False, direction)
        before = out[-2].s if len(out) > 1 else start.s
        last = abs(found.s - before)
        width = min(max(step * rate, 0.3 * last), 3.0 * last) if math.isfinite(rate) and rate > 0.0 else last
        s = _within(found.s + direction * width, path.bound, direction)
    return out
