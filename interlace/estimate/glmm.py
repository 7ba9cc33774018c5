"""Fit a generalized linear mixed model in four stages: prepare, target, optimize, finish; each can be called alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas
from interlace.core.batch import inside
from interlace.core.dispersion import FreeDispersion, FreeTheta, ProfiledDispersion
from interlace.core.familybase import Family
from interlace.core.laplace import Laplace
from interlace.core.linkbase import Link
from interlace.core.optimize import Settings, minimize
from interlace.core.optsummary import OptSummary
from interlace.core.pirls import Modes
from interlace.core.scaling import FixedBasis, convert_theta
from interlace.errors import ModelError
from interlace.estimate import checks
from interlace.estimate.control import Control
from interlace.estimate.glmm_checks import SEPARATION_ADVICE, diagnose, separated, separation_message
from interlace.estimate.glmm_problem import GlmmProblem, prepare_glmm, target
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.problem import by_term
from interlace.typing import BoolArray, FloatArray, Optimizer

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = ["finish", "fit_glmm", "optimize", "prepare_glmm", "refit_glmm", "refit_glmm_rows", "state_at", "target"]

#: Starting standard deviation of every random effect, in standard units.
_START = 0.5


def fit_glmm(
    design: Design,
    family: Family,
    link: Link,
    *,
    nodes: int = 1,
    free_theta: bool = False,
    optimizer: Optimizer = "auto",
    theta0: FloatArray | None = None,
    control: Control | None = None,
) -> GlmmState:
    """Prepare, optimize and finish.

    Parameters
    ----------
    design : Design
    family : Family
    link : Link
    nodes : int
        lme4's ``nAGQ``.
    free_theta : bool
        Whether the theta of a negative binomial family is estimated.
    optimizer : {"auto", "lbfgsb", "bobyqa"}
    theta0 : ndarray, shape (n_theta,), optional
        Starting point in lme4's order.
    control : Control, optional

    Returns
    -------
    GlmmState
    """
    problem = prepare_glmm(design, family, link, nodes=nodes, free_theta=free_theta, control=control)
    return _estimated(problem, optimizer=optimizer, theta0=theta0)


def _estimated(problem: GlmmProblem, *, optimizer: Optimizer, theta0: FloatArray | None = None) -> GlmmState:
    with blas.limited(problem.structure.m):
        return finish(problem, *optimize(problem, optimizer=optimizer, theta0=theta0))


def optimize(
    problem: GlmmProblem, *, optimizer: Optimizer = "auto", theta0: FloatArray | None = None
) -> tuple[OptSummary, Modes]:
    """Minimize the deviance; summary and modes are in the inner basis."""
    deviance = target(problem)
    starts = [starting_point(problem, theta0)]
    if isinstance(problem.model, ProfiledDispersion):
        # No likelihood: there may be one optimum with and one without random effects.
        n_theta = problem.structure.n_theta
        starts.append(np.concatenate([np.zeros(n_theta), starts[0][n_theta:]]))
    control = problem.control
    settings = Settings(control.tol, control.max_iterations, control.max_restarts)
    found = [
        minimize(deviance, _possible(problem, deviance, start), optimizer=optimizer, settings=settings, far=False)
        for start in starts
    ]
    best = min(found, key=lambda pair: pair[0].value)
    if not np.isfinite(best[0].value):
        raise _no_modes(problem)
    return best


def _possible(problem: GlmmProblem, deviance: Laplace, start: FloatArray) -> FloatArray:
    """Starting point, with smaller variances if there are no conditional modes at it."""
    if problem.nodes and not problem.model.confined:
        return start
    n_theta = problem.structure.n_theta
    for factor in (1.0, 0.1, 0.01, 1e-3):
        trial = np.concatenate([factor * start[:n_theta], start[n_theta:]])
        if np.isfinite(deviance(trial)):
            return trial
    raise _no_modes(problem)


def _no_modes(problem: GlmmProblem) -> ModelError:
    """Why there is no deviance at any starting point."""
    design, model = problem.design, problem.model
    names = separated(design, problem.basis.kept, model)
    if names:
        return ModelError(f"{separation_message(names, design.response)}: {SEPARATION_ADVICE}")
    return ModelError(
        f"no conditional modes were found for the response {design.response!r} with the link {model.link.name!r}; if "
        "the fixed effects reproduce the response exactly, nothing is left to estimate variances from; else choose a "
        "link that takes every linear predictor, or rescale the predictors"
    )


def starting_point(problem: GlmmProblem, theta0: FloatArray | None = None) -> FloatArray:
    """Where the optimizer begins: coefficients of the model without random effects, and moderate variances.

    Parameters
    ----------
    problem : GlmmProblem
    theta0 : ndarray, shape (n_theta,), optional
        Start of theta, basis of the formula.

    Returns
    -------
    ndarray, shape (r,)
    """
    if theta0 is None:
        theta = np.zeros(problem.structure.n_theta)
        for block in problem.structure.blocks:
            theta[block.slots[block.rows == block.cols]] = _START
    else:
        theta = checks.start_values(problem, theta0)
    beta = problem.beta if problem.nodes else np.empty(0)
    return np.concatenate([theta, beta, problem.model.extra_start])


def finish(problem: GlmmProblem, summary: OptSummary, modes: Modes) -> GlmmState:
    """Estimates in the basis of the formula from modes in the inner basis."""
    n_theta = problem.structure.n_theta
    inner_beta = modes.gamma if problem.nodes == 0 else summary.x[n_theta : n_theta + problem.X.shape[1]]
    b = [u @ L.T for u, L in zip(modes.u, modes.L, strict=True)]
    if not modes.converged:
        summary = replace(summary, converged=False, message="the conditional modes did not converge")
    state = GlmmState(
        theta=convert_theta(problem.terms, problem.bases, summary.x[:n_theta], to_user=True),
        beta=problem.basis.backward(inner_beta),
        sigma=_sigma(modes),
        modes=tuple(values @ M.T for values, M in by_term(problem, b)),
        criterion=summary.value,
        kept=problem.basis.kept,
        fixed=problem.X @ inner_beta + problem.offset,
        eta=modes.eta,
        fitted=modes.working.mu,
        model=modes.model,
        opt=summary,
        checks=(),
        problem=problem,
    )
    found = tuple(diagnose(state))
    if any(check.code in ("separation", "diverging") for check in found):
        state = replace(state, opt=replace(summary, converged=False, message="the likelihood has no maximum"))
    return replace(state, checks=found) if found else state


def _sigma(modes: Modes) -> float:
    """Root of the dispersion; in lme4's convention that of the penalized weighted residual sum of squares over n."""
    model = modes.model
    if isinstance(model, FreeDispersion):
        return float(np.sqrt(model.phi))
    if isinstance(model, ProfiledDispersion):
        mu = modes.working.mu
        squares = float(np.sum(model.weights * (model.y - mu) ** 2 / model.family.variance(mu)))
        return float(np.sqrt((squares + modes.penalty) / model.y.size))
    return 1.0


def state_at(problem: GlmmProblem, x: FloatArray) -> GlmmState:
    """Everything that a fit returns, at given parameters of the inner basis and without an optimizer."""
    deviance = target(problem)
    with blas.limited(problem.structure.m):
        modes = deviance.at(np.asarray(x, dtype=np.float64))
        d = deviance.derivatives(modes)
        summary = OptSummary(
            optimizer="none",
            x=modes.x,
            value=deviance.value(modes),
            converged=True,
            iterations=0,
            evaluations=1,
            gradient=d.gradient,
            hessian=deviance.information(modes, d),
            message="evaluated at given parameters",
        )
        return finish(problem, summary, modes)


def refit_glmm(state: GlmmState, y: FloatArray, *, optimizer: Optimizer = "auto") -> GlmmState:
    """Fit the same design to another response.

    Parameters
    ----------
    state : GlmmState
    y : ndarray, shape (n,)
        In the form of ``state.problem.design.y``: proportions for a binomial family.
    optimizer : {"auto", "lbfgsb", "bobyqa"}

    Returns
    -------
    GlmmState
    """
    old = state.problem
    problem = prepare_glmm(
        replace(old.design, y=y),
        old.model.family,
        old.model.link,
        nodes=old.nodes,
        free_theta=isinstance(old.model, FreeTheta),
        control=old.control,
    )
    return _estimated(problem, optimizer=optimizer)


def refit_glmm_rows(state: GlmmState, keep: BoolArray, *, optimizer: Optimizer = "auto") -> GlmmState:
    """Fit the same model to some of its rows, from the estimates of all; levels without rows keep their places.

    Parameters
    ----------
    state : GlmmState
    keep : ndarray of bool, shape (n,)
    optimizer : {"auto", "lbfgsb", "bobyqa"}

    Returns
    -------
    GlmmState
        Columns of X are those of the full fit.

    Raises
    ------
    ModelError
        Where the rows left do not identify the fixed effects, or their response does not vary.
    """
    problem = _some_rows(state.problem, keep)
    x = state.opt.x.copy()
    n_theta = problem.structure.n_theta
    x[:n_theta] = inside(problem.structure, x[:n_theta])
    control = problem.control
    missing = state.missing_curvature if optimizer == "auto" else None  # few rows less change little in it
    settings = Settings(control.tol, control.max_iterations, control.max_restarts, missing)
    with blas.limited(problem.structure.m):
        deviance = target(problem)
        start = _possible(problem, deviance, x)
        return finish(problem, *minimize(deviance, start, optimizer=optimizer, settings=settings, far=False))


def _some_rows(problem: GlmmProblem, keep: BoolArray) -> GlmmProblem:
    """The same problem with some of its rows, if they can be fitted."""
    some = problem.some_rows(keep)
    model = some.model
    reason = model.family.check_response(model.y, model.weights)
    if some.design.offset is None and float(np.ptp(model.y)) == 0.0:
        reason = reason or f"it is constant ({model.y[0]:g} in all rows left)"
    if reason:
        raise ModelError(f"without these rows the response does not fit the family {model.family.name!r}: {reason}")
    if FixedBasis.of(some.X, tol=problem.control.rank_tol).kept.size < some.X.shape[1]:
        raise ModelError("the rows do not identify the fixed effects")
    return some
