"""Minimize a profiled deviance and prove the optimum: Newton (default), L-BFGS-B or BOBYQA, then the boundary test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interlace.core.boundary import find_escape
from interlace.core.cholmod import AnyElimination, AnyObjective
from interlace.core.covariance import singular_values
from interlace.core.newton import minimize_newton, newton_step
from interlace.core.objective import Derivatives
from interlace.core.optsummary import OptSummary
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
    """

    tol: float = 1e-12
    max_iterations: int = 100
    max_restarts: int = 10


_Result = tuple[OptSummary, AnyElimination, Derivatives]
_Algorithm = Callable[[AnyObjective, FloatArray, Settings], _Result]


def minimize(
    objective: AnyObjective,
    theta: FloatArray,
    *,
    optimizer: Optimizer,
    settings: Settings,
    rivals: Sequence[FloatArray] = (),
) -> tuple[OptSummary, AnyElimination]:
    """Minimize the deviance over theta; the result passes the boundary test or says that it does not.

    Parameters
    ----------
    objective : Objective
    theta : ndarray, shape (n_theta,)
        Starting point.
    optimizer : {"auto", "lbfgsb", "bobyqa"}
    settings : Settings
    rivals : sequence of ndarray, shapes (n_theta,)
        Other starting points; the one with the lowest deviance is used, the rest when the likelihood may have several
        optima.

    Returns
    -------
    OptSummary
        With the signs of each factor's columns chosen so that diagonals are not negative.
    Elimination
        At the optimum, before the change of signs (which leaves beta, b and sigma as they are).
    """
    starts = sorted([theta, *rivals], key=objective) if rivals else [theta]
    summary, e = _run_to_proof(objective, starts[0], _ALGORITHMS[optimizer], settings)
    if optimizer == "auto" and theta.size > 1:
        for start in _second_opinions(objective, e, starts):
            other, other_e = _run_to_proof(objective, start, _newton, settings)
            if other.value < summary.value:
                summary, e = other, other_e
    tidied = _tidied(objective, summary.theta)
    if (np.abs(tidied) != np.abs(summary.theta)).any():
        e = objective.eliminate(tidied)
    return replace(summary, theta=tidied, evaluations=objective.evaluations), e


def _second_opinions(objective: AnyObjective, e: AnyElimination, starts: Sequence[FloatArray]) -> Sequence[FloatArray]:
    """Where to start again: degenerate fits and restricted covariances are where likelihoods have several optima."""
    if _singular(e) or any(block.restricted for block in objective.structure.blocks):
        return [*starts[1:], *_other_starts(objective, starts[0])]
    return []


def _run_to_proof(
    objective: AnyObjective, theta: FloatArray, run: _Algorithm, settings: Settings
) -> tuple[OptSummary, AnyElimination]:
    """Run an optimizer, and again from every point that the boundary test finds to be lower."""
    summary, e, d = run(objective, theta, settings)
    restarts = 0
    trace, iterations = summary.trace, summary.iterations
    while (moved := _leave_boundary(objective, summary, e, d)) is not None:
        if restarts == settings.max_restarts:
            summary = replace(summary, converged=False, message="the boundary test kept failing")
            break
        restarts += 1
        summary, e, d = run(objective, moved, settings)
        trace += summary.trace
        iterations += summary.iterations
    return (replace(summary, restarts=restarts, iterations=iterations, trace=trace) if restarts else summary), e


#: Newton decrement up to which the word of a first-order or derivative-free algorithm is believed that it converged,
#: and up to which it has converged whatever it says.
_FAR, _NEAR = 1e-3, 1e-6

#: Gradient and singular value with which an optimum is known to be no boundary.
_FLAT, _REGULAR = 1e-6, 1e-2
#: Singular value of a factor, in standard units, below which it counts as singular.
_SINGULAR = 1e-4


def _singular(e: AnyElimination) -> bool:
    """Whether any factor is close to singular."""
    return any(singular_values(L)[0] < _SINGULAR for L in e.L)


#: Number of parameters up to which runs are cheap enough to start from far away as well.
_FEW = 12


def _other_starts(objective: AnyObjective, theta: FloatArray) -> list[FloatArray]:
    """Identity factors, where lme4 starts; large and small variances exchanged, as rival optima often do; far out."""
    identity = np.zeros(objective.structure.n_theta)
    for block in objective.structure.blocks:
        identity[block.slots[block.rows == block.cols]] = 1.0
    exchanged = identity * np.clip(1.0 / np.maximum(np.abs(theta), 1e-3), 0.05, 20.0)
    return [identity, exchanged, *([3.0 * identity, 10.0 * identity] if theta.size <= _FEW else [])]


def _leave_boundary(
    objective: AnyObjective, summary: OptSummary, e: AnyElimination, d: Derivatives
) -> FloatArray | None:
    """Point with a lower deviance off the boundary, or None when there is none to be seen."""
    if summary.gradient_norm < _FLAT and all(singular_values(L)[0] > _REGULAR for L in e.L):
        # dd/dL = 2 G_Psi L: with a gradient of zero and L far from singular, G_Psi is zero as well.
        return None
    fraction = 1.0
    for _ in range(12):
        escape = find_escape(objective, e, d, summary.theta, fraction=fraction)
        if escape is None:
            return None
        if objective(escape.theta) < summary.value - 1e-9:
            return escape.theta
        fraction /= 4.0
    return None


#: Columns of a factor shorter than this are zero; the deviance notices nothing below the square of it.
_ZERO = 1e-9


def _tidied(objective: AnyObjective, theta: FloatArray) -> FloatArray:
    """Flip columns with a negative diagonal entry, which changes nothing, and make columns exactly zero that are so."""
    out = theta.copy()
    for block in objective.structure.blocks:
        L = block.factor(theta)
        out[block.slots[L.diagonal()[block.cols] < 0.0]] *= -1.0
        out[block.slots[np.linalg.norm(L, axis=0)[block.cols] < _ZERO]] = 0.0
    return out


def _newton(objective: AnyObjective, theta: FloatArray, settings: Settings) -> _Result:
    return minimize_newton(objective, theta, tol=settings.tol, max_iterations=settings.max_iterations)


def _bounds(objective: AnyObjective) -> list[tuple[float | None, float | None]]:
    """Diagonal entries of the factors are not negative."""
    lower: list[tuple[float | None, float | None]] = [(None, None)] * objective.structure.n_theta
    for block in objective.structure.blocks:
        for row, col, slot in zip(block.rows, block.cols, block.slots, strict=True):
            if row == col:
                lower[slot] = (0.0, None)
    return lower


def _lbfgsb(objective: AnyObjective, theta: FloatArray, settings: Settings) -> _Result:
    from scipy.optimize import minimize as scipy_minimize

    def with_gradient(x: FloatArray) -> tuple[float, FloatArray]:
        e = objective.eliminate(x)
        value = objective.value(e)
        if not np.isfinite(value):
            return 1e300, np.zeros_like(x)
        return value, objective.derivatives(e).gradient

    found = scipy_minimize(
        with_gradient,
        theta,
        jac=True,
        method="L-BFGS-B",
        bounds=_bounds(objective),
        options={
            "maxiter": 50 * settings.max_iterations,
            "maxfun": 100 * settings.max_iterations,
            "ftol": 1e-15,
            "gtol": 1e-7,
        },
    )
    return _finish(objective, "lbfgsb", found.x, int(found.nit), bool(found.success), str(found.message))


def _bobyqa(objective: AnyObjective, theta: FloatArray, settings: Settings) -> _Result:
    try:
        import pybobyqa
    except ImportError as error:
        raise ImportError(
            'optimizer="bobyqa" needs the package Py-BOBYQA: pip install "interlace-lme[bobyqa]"'
        ) from error
    if theta.size == 0:
        return _newton(objective, theta, settings)
    limits = _bounds(objective)
    lower = np.array([-1e20 if a is None else a for a, _ in limits])
    found = pybobyqa.solve(
        lambda x: min(objective(x), 1e300),
        theta,
        bounds=(lower, np.full(theta.size, 1e20)),
        rhobeg=0.2,
        rhoend=1e-8,
        maxfun=max(2000, 200 * settings.max_iterations),
        do_logging=False,
        print_progress=False,
    )
    success = found.flag in (found.EXIT_SUCCESS, found.EXIT_SLOW_WARNING)
    return _finish(objective, "bobyqa", np.asarray(found.x), int(found.nruns), success, str(found.msg))


def _finish(
    objective: AnyObjective, name: str, theta: FloatArray, iterations: int, success: bool, message: str
) -> _Result:
    """Derivatives where a first-order or derivative-free algorithm stopped; they decide whether it converged."""
    e = objective.eliminate(theta)
    d = objective.derivatives(e)
    hessian = objective.information(e, d)
    interior = np.array([low is None or theta[i] > 1e-6 for i, (low, _) in enumerate(_bounds(objective))], dtype=bool)
    free = np.ix_(interior, interior)
    decrement = newton_step(d.gradient[interior], hessian[free])[1] if interior.any() else 0.0
    summary = OptSummary(
        optimizer=name,
        theta=theta,
        value=objective.value(e),
        converged=decrement < (_FAR if success else _NEAR),
        iterations=iterations,
        evaluations=objective.evaluations,
        gradient=d.gradient,
        hessian=hessian,
        message=message,
        trace=((theta, objective.value(e)),),
    )
    return summary, e, d


_ALGORITHMS: dict[str, _Algorithm] = {
    "auto": _newton,
    "lbfgsb": _lbfgsb,
    "bobyqa": _bobyqa,
}
