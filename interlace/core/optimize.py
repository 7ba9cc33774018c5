"""Minimize a deviance and prove the optimum: Newton (default), L-BFGS-B or BOBYQA, then the boundary test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from interlace.core.boundary import find_escape
from interlace.core.covariance import REGULAR, any_singular, singular_values
from interlace.core.newton import minimize_newton, newton_step
from interlace.core.optsummary import OptSummary
from interlace.core.rivals import few_rows, other_points, smaller_points
from interlace.core.target import D, P, Target
from interlace.typing import FloatArray, Optimizer

__all__ = ["Settings", "minimize"]


@dataclass(frozen=True)
class Settings:
    """When an optimizer stops.

    Attributes
    ----------
    tol : float
        Newton: decrement (units of the deviance) below which the last step is taken.
    max_iterations : int
    max_restarts : int
        Times that the boundary test may send the optimizer on.
    correction : ndarray, shape (r, r), or None
        Newton: what the approximate Hessian lacks at the starting points, if that is known.
    """

    tol: float = 1e-12
    max_iterations: int = 100
    max_restarts: int = 10
    correction: FloatArray | None = None


_Algorithm: TypeAlias = Callable[[Target[P, D], FloatArray, Settings], tuple[OptSummary, P, D]]


def minimize(
    target: Target[P, D],
    x: FloatArray,
    *,
    optimizer: Optimizer,
    settings: Settings,
    rivals: Sequence[FloatArray] = (),
    far: bool = True,
    rows: int | None = None,
    alone: bool = False,
) -> tuple[OptSummary, P]:
    """Minimize a deviance; the result passes the boundary test or says that it does not.

    Parameters
    ----------
    target : Target
    x : ndarray, shape (r,)
        Starting point, theta first.
    optimizer : {"auto", "lbfgsb", "bobyqa"}
    settings : Settings
    rivals : sequence of ndarray, shapes (r,)
        Other starting points; the one with the lowest deviance is used, the rest when the likelihood may have several
        optima.
    far : bool
        Whether such a likelihood is cheap enough to start from far away as well.
    rows : int, optional
        Rows of the data; if they are few, regular fits get a second opinion too.
    alone : bool
        Whether ``x`` is known to be near the lowest optimum, so that none is looked for elsewhere.

    Returns
    -------
    OptSummary
        With the signs of each factor's columns chosen so that diagonals are not negative.
    Point
        At the optimum, before the change of signs (which leaves beta, b and sigma as they are).
    """
    starts = sorted([x, *rivals], key=target) if rivals else [x]
    summary, point = _run_to_proof(target, starts[0], _ALGORITHMS[optimizer], settings)
    if optimizer == "auto" and target.structure.n_theta > 1 and not alone:
        for start in _second_opinions(target, summary.x, point, starts, far=far, rows=rows):
            if not np.isfinite(target(start)):
                continue
            other, other_point = _run_to_proof(target, start, _newton, replace(settings, correction=None))
            if other.value < summary.value:
                summary, point = other, other_point
    return _tidied(target, summary, point)


def _second_opinions(
    target: Target[P, D], x: FloatArray, point: P, starts: Sequence[FloatArray], *, far: bool, rows: int | None
) -> Sequence[FloatArray]:
    """Where to start again after a fit at ``x``."""
    structure = target.structure
    theta, others = x[: structure.n_theta], starts[0][structure.n_theta :]
    points: list[FloatArray] = []
    if any_singular(point.L) or any(block.restricted for block in structure.blocks):
        points = other_points(structure, [starts[0][: structure.n_theta]], far=far)
    elif rows is not None and few_rows(structure, rows):
        points = smaller_points(structure, theta)
    return [*starts[1:], *(np.concatenate([point, others]) for point in points)] if points else []


def _run_to_proof(
    target: Target[P, D], x: FloatArray, run: _Algorithm[P, D], settings: Settings
) -> tuple[OptSummary, P]:
    """Run an optimizer, and again from every point that the boundary test finds to be lower."""
    summary, point, d = run(target, x, settings)
    restarts = 0
    trace, iterations = summary.trace, summary.iterations
    while (moved := _leave_boundary(target, summary, point, d)) is not None:
        if restarts == settings.max_restarts:
            summary = replace(summary, converged=False, message="the boundary test kept failing")
            break
        restarts += 1
        summary, point, d = run(target, moved, replace(settings, correction=None))
        trace += summary.trace
        iterations += summary.iterations
    return (replace(summary, restarts=restarts, iterations=iterations, trace=trace) if restarts else summary), point


#: Newton decrement up to which the word of a first-order or derivative-free algorithm is believed that it converged,
#: and up to which it has converged whatever it says.
_FAR, _NEAR = 1e-3, 1e-6

#: Gradient with which a regular optimum is known to be no boundary.
_FLAT = 1e-6


def _leave_boundary(target: Target[P, D], summary: OptSummary, point: P, d: D) -> FloatArray | None:
    """Point with a lower deviance off the boundary, or None when there is none to be seen."""
    if summary.gradient_norm < _FLAT and all(singular_values(L)[0] > REGULAR for L in point.L):
        # dd/dL = 2 G_Psi L: with a gradient of zero and L far from singular, G_Psi is zero as well.
        return None
    fraction = 1.0
    for _ in range(12):
        escape = find_escape(target, point, d, summary.x, fraction=fraction)
        if escape is None:
            return None
        if target(escape.x) < summary.value - 1e-9:
            return escape.x
        fraction /= 4.0
    return None


#: Columns of a factor shorter than this are zero; the deviance notices nothing below the square of it.
_ZERO = 1e-9


def _tidied(target: Target[P, D], summary: OptSummary, point: P) -> tuple[OptSummary, P]:
    """Flip columns with a negative diagonal entry, which changes nothing, and make columns exactly zero that are so."""
    x = summary.x
    sign, zero = np.ones(x.size), np.zeros(x.size, dtype=np.bool_)
    for block, L in zip(target.structure.blocks, point.L, strict=True):
        diagonal = L.diagonal()
        if diagonal.min() > _ZERO:
            continue
        sign[block.slots[diagonal[block.cols] < 0.0]] = -1.0
        zero[block.slots[np.linalg.norm(L, axis=0)[block.cols] < _ZERO]] = True
    if sign.min() > 0.0 and not zero.any():
        return _counted(target, summary), point
    tidied = np.where(zero, 0.0, sign * x)
    if x[zero].any():
        point = target.at(tidied)
    gradient, hessian = sign * summary.gradient, np.outer(sign, sign) * summary.hessian
    return _counted(target, replace(summary, x=tidied, gradient=gradient, hessian=hessian)), point


def _counted(target: Target[P, D], summary: OptSummary) -> OptSummary:
    """With the evaluations of all runs."""
    if summary.evaluations == target.evaluations:
        return summary
    return replace(summary, evaluations=target.evaluations)


def _newton(target: Target[P, D], x: FloatArray, settings: Settings) -> tuple[OptSummary, P, D]:
    limit, correction = settings.max_iterations, settings.correction
    return minimize_newton(target, x, tol=settings.tol, max_iterations=limit, correction=correction)


def _bounds(target: Target[P, D], size: int) -> list[tuple[float | None, float | None]]:
    """Diagonal entries of the factors are not negative; ``size`` parameters in all."""
    lower: list[tuple[float | None, float | None]] = [(None, None)] * size
    for block in target.structure.blocks:
        for row, col, slot in zip(block.rows, block.cols, block.slots, strict=True):
            if row == col:
                lower[slot] = (0.0, None)
    return lower


def _lbfgsb(target: Target[P, D], x: FloatArray, settings: Settings) -> tuple[OptSummary, P, D]:
    from scipy.optimize import minimize as scipy_minimize

    def with_gradient(x: FloatArray) -> tuple[float, FloatArray]:
        point = target.at(x)
        value = target.value(point)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(x)
        return value, target.derivatives(point).gradient

    found = scipy_minimize(
        with_gradient,
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(target, x.size),
        options={
            "maxiter": 50 * settings.max_iterations,
            "maxfun": 100 * settings.max_iterations,
            "ftol": 1e-15,
            "gtol": 1e-7,
        },
    )
    return _finish(target, "lbfgsb", found.x, int(found.nit), bool(found.success), str(found.message))


def _bobyqa(target: Target[P, D], x: FloatArray, settings: Settings) -> tuple[OptSummary, P, D]:
    try:
        import pybobyqa
    except ImportError as error:
        raise ImportError(
            'optimizer="bobyqa" needs the package Py-BOBYQA: pip install "interlace-lme[bobyqa]"'
        ) from error
    if x.size == 0:
        return _newton(target, x, settings)
    limits = _bounds(target, x.size)
    lower = np.array([-1e20 if a is None else a for a, _ in limits])
    with np.errstate(all="ignore"):  # its own models overflow where a deviance is infinite
        found = pybobyqa.solve(
            lambda x: min(target(x), 1e300),
            x,
            bounds=(lower, np.full(x.size, 1e20)),
            rhobeg=0.2,
            rhoend=1e-8,
            maxfun=max(2000, 200 * settings.max_iterations),
            do_logging=False,
            print_progress=False,
        )
    success = found.flag in (found.EXIT_SUCCESS, found.EXIT_SLOW_WARNING)
    return _finish(target, "bobyqa", np.asarray(found.x), int(found.nruns), success, str(found.msg))


def _finish(
    target: Target[P, D], name: str, x: FloatArray, iterations: int, success: bool, message: str
) -> tuple[OptSummary, P, D]:
    """Derivatives where a first-order or derivative-free algorithm stopped; they decide whether it converged."""
    point = target.at(x)
    d = target.derivatives(point)
    hessian = target.information(point, d)
    interior = np.array([low is None or x[i] > 1e-6 for i, (low, _) in enumerate(_bounds(target, x.size))], dtype=bool)
    free = np.ix_(interior, interior)
    decrement = newton_step(d.gradient[interior], hessian[free])[1] if interior.any() else 0.0
    summary = OptSummary(
        optimizer=name,
        x=x,
        value=target.value(point),
        converged=decrement < (_FAR if success else _NEAR),
        iterations=iterations,
        evaluations=target.evaluations,
        gradient=d.gradient,
        hessian=hessian,
        message=message,
        trace=((x, target.value(point)),),
    )
    return summary, point, d


_ALGORITHMS: dict[str, _Algorithm[Any, Any]] = {
    "auto": _newton,
    "lbfgsb": _lbfgsb,
    "bobyqa": _bobyqa,
}
