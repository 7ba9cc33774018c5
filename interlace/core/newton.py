"""Newton's method on the whole space, with curvature repaired where it is not positive.

The deviance is even under sign changes of the columns of a factor, so no bounds are needed: signs are fixed
at the end. Steps come from the average information plus the curvature of V in theta (see
:meth:`interlace.core.objective.Objective.information`), which is close to the Hessian near the optimum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import lapack

from interlace.core.boundary import valley_ends
from interlace.core.optsummary import OptSummary
from interlace.core.target import D, P, Target
from interlace.typing import FloatArray

__all__ = ["VANISHED", "minimize_newton", "newton_step"]

#: Message of a run into a perfect fit.
VANISHED = "the residual variance vanishes"

#: Decrement that may be left when rounding or a flat optimum (one of fourth order) stops the iteration.
_ACCEPTED = 1e-7
#: At the iteration limit: so many steps that gained less than this count as convergence.
_FLAT = (20, 1e-5)
#: Every so many steps, see whether the iteration creeps along a valley of nearly singular factors.
_REVIEW, _SMALL = 8, 0.05
#: Decrement below which the steps are close enough to the optimum to learn its curvature from them.
_LOCAL = 1.0


def newton_step(gradient: FloatArray, hessian: FloatArray) -> tuple[FloatArray, float]:
    """Descent step, and its decrement g'|H|^-1 g.

    Negative curvature is replaced by its absolute value, and curvature too small to divide by is raised.

    Parameters
    ----------
    gradient : ndarray, shape (r,)
    hessian : ndarray, shape (r, r)

    Returns
    -------
    step : ndarray, shape (r,)
    decrement : float
        Twice the decrease that the quadratic model predicts; infinity, with a step of zero, where derivatives are not
        finite.
    """
    if not (np.isfinite(gradient).all() and np.isfinite(hessian).all()):
        return np.zeros_like(gradient), math.inf
    values, vectors, failed = lapack.dsyevd(hessian)
    if failed:
        return np.zeros_like(gradient), math.inf
    size = np.abs(values)
    curvature = np.maximum(size, 1e-9 * size.max() + 1e-300)
    along = vectors.T @ gradient
    return -(vectors @ (along / curvature)), float((along * along / curvature).sum())


def minimize_newton(
    target: Target[P, D],
    x: FloatArray,
    *,
    tol: float = 1e-12,
    max_iterations: int = 100,
    correction: FloatArray | None = None,
) -> tuple[OptSummary, P, D]:
    """Minimize a deviance.

    Parameters
    ----------
    target : Target
    x : ndarray, shape (r,)
        Starting point, theta first; no factor may be exactly 0 there.
    tol : float
        The last step is taken when the decrement falls below it (units of the deviance).
    max_iterations : int
    correction : ndarray, shape (r, r), optional
        What the approximate Hessian lacks at the starting point.

    Returns
    -------
    OptSummary
    Point, Slopes
        At the optimum.
    """
    start_evaluations = target.evaluations
    point = target.at(x)
    value = target.value(point)
    d = target.derivatives(point)
    trace = [(x, value)]
    radius = 2.0 * max(1.0, float(np.linalg.norm(x)))
    message, converged = "iteration limit reached", False
    hessian = target.information(point, d)
    correction = np.zeros_like(hessian) if correction is None else correction
    for _ in range(max_iterations):
        step, decrement = newton_step(d.gradient, hessian + correction)
        if not math.isfinite(decrement):
            message = "the deviance has no derivatives here"
            break
        if decrement <= tol * tol:
            converged, message = True, "gradient is zero"
            break
        lost = target.lost(point)
        last = decrement <= max(tol, 1e-3 * lost)
        step *= min(1.0, radius / max(float(np.linalg.norm(step)), 1e-300))
        noise = target.noise(value) + 10.0 * lost
        found = _line_search(target, x, value, step, float(step @ d.gradient), noise)
        if found is None:
            converged = decrement <= _ACCEPTED
            message = "no further decrease" if converged else "line search failed"
            break
        fraction, x, value, point = found
        if len(trace) % _REVIEW == 0:
            x, value, point = _out_of_valley(target, x, value, point)
        radius = 2.0 * radius if fraction == 1.0 else max(radius * fraction, 1e-3)
        old, d = d, target.derivatives(point)
        trace.append((x, value))
        if target.vanished(point):
            message = VANISHED
            break
        if last:
            converged, message = True, "decrement below tolerance"
            break
        hessian = target.information(point, d)
        if decrement < _LOCAL and fraction == 1.0:
            correction = _secant(correction, hessian, x - trace[-2][0], d.gradient - old.gradient)
        else:
            correction = np.zeros_like(hessian)
    else:
        if _creeping(trace) or newton_step(d.gradient, hessian)[1] <= _ACCEPTED:
            converged, message = True, "no decrease worth mentioning"
    evaluations = target.evaluations - start_evaluations
    summary = OptSummary(
        "newton", x, value, converged, len(trace) - 1, evaluations, d.gradient, hessian, 0, message, tuple(trace)
    )
    return summary, point, d


def _creeping(trace: Sequence[tuple[FloatArray, float]]) -> bool:
    """Whether many steps have gained next to nothing.

    Where the first rows of a factor vanish its columns can be rotated at almost no cost: a long flat valley.
    """
    return len(trace) > _FLAT[0] and trace[-_FLAT[0]][1] - trace[-1][1] < _FLAT[1]


def _out_of_valley(target: Target[P, D], x: FloatArray, value: float, point: P) -> tuple[FloatArray, float, P]:
    """Lowest end of the valleys near ``x``, if it is not higher."""
    for end in valley_ends(target.structure, x, small=_SMALL):
        there = target.at(end)
        at_end = target.value(there)
        if at_end <= value + target.noise(value):
            x, value, point = end, at_end, there
    return x, value, point


def _secant(correction: FloatArray, hessian: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """Symmetric rank-one update of what the average information lacks, so that it explains the last gradient change.

    Nocedal and Wright (2006), *Numerical Optimization*, eq. 6.24, with its safeguard 6.26.
    """
    missing = change - (hessian + correction) @ step
    along = float(missing @ step)
    if abs(along) <= 1e-8 * float(np.linalg.norm(missing) * np.linalg.norm(step)):
        return correction
    return correction + np.outer(missing, missing) / along


def _line_search(
    target: Target[P, D],
    x: FloatArray,
    value: float,
    step: FloatArray,
    slope: float,
    noise: float,
) -> tuple[float, FloatArray, float, P] | None:
    """First point along ``step`` with a sufficient decrease; None when there is none beyond the noise."""
    fraction = 1.0
    for _ in range(30):
        trial = x + fraction * step
        point = target.at(trial)
        new = target.value(point)
        if new <= value + 1e-4 * fraction * slope + noise:
            return fraction, trial, new, point
        # Minimum of the parabola through value, slope and the new value, kept within sensible bounds.
        drop = new - value - fraction * slope
        shrink = -0.5 * fraction * slope / drop if math.isfinite(new) and drop > 0.0 else 0.1
        fraction *= min(max(shrink, 0.1), 0.5)
    return None
