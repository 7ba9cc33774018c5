"""Fit a linear mixed model in four stages: prepare, objective, optimize, finish; each can be called alone."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas, posterior
from interlace.core.cholmod import AnyElimination
from interlace.core.iterative import IterativeElimination, IterativeObjective
from interlace.core.iterative_fit import minimize_iteratively, with_probes
from interlace.core.optimize import Settings, minimize
from interlace.core.optsummary import OptSummary
from interlace.core.scaling import Response, convert_theta
from interlace.core.start import starting_points
from interlace.estimate import checks, refusals
from interlace.estimate.control import Control
from interlace.estimate.problem import LinearProblem, by_term, objective, prepare
from interlace.estimate.state import FitState
from interlace.typing import FloatArray, Optimizer

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = [
    "at_theta",
    "finish",
    "fit_design",
    "fit_problem",
    "objective",
    "optimize",
    "prepare",
    "refit_response",
    "state_at",
]


def fit_design(
    design: Design,
    *,
    reml: bool,
    optimizer: Optimizer = "auto",
    theta0: FloatArray | None = None,
    control: Control | None = None,
) -> FitState:
    """Prepare, optimize and finish.

    Parameters
    ----------
    design : Design
    reml : bool
    optimizer : {"auto", "lbfgsb", "bobyqa"}
    theta0 : ndarray, shape (n_theta,), optional
        Starting point in lme4's order; moment estimates by default.
    control : Control, optional

    Returns
    -------
    FitState
    """
    return fit_problem(prepare(design, reml=reml, control=control), optimizer=optimizer, theta0=theta0)


def fit_problem(problem: LinearProblem, *, optimizer: Optimizer = "auto", theta0: FloatArray | None = None) -> FitState:
    """Optimize and finish; the arguments are those of :func:`fit_design`."""
    with blas.limited(problem.structure.m):
        return finish(problem, *optimize(problem, optimizer=optimizer, theta0=theta0))


def at_theta(design: Design, theta: FloatArray, *, reml: bool, control: Control | None = None) -> FitState:
    """Everything that a fit returns, at a given theta and without an optimizer."""
    problem = prepare(design, reml=reml, control=control)
    return state_at(problem, theta)


def state_at(problem: LinearProblem, theta: FloatArray) -> FitState:
    """Estimates of beta, b and sigma at ``theta`` (basis of the formula)."""
    inner = convert_theta(problem.terms, problem.bases, np.asarray(theta, dtype=np.float64), to_user=False)
    probes = problem.structure.storage.probes
    if probes is not None and probes.reference is None:
        cp = with_probes(problem.cp, replace(probes, reference=tuple(inner.tolist())))
        problem = replace(problem, cp=cp, structure=cp.structure)
    target = objective(problem)
    with blas.limited(problem.structure.m):
        e = target.at(inner)
        d = target.derivatives(e)
        summary = OptSummary(
            optimizer="none",
            x=inner,
            value=target.value(e),
            converged=True,
            iterations=0,
            evaluations=1,
            gradient=d.gradient,
            hessian=target.information(e, d),
            message="evaluated at a given theta",
        )
        if isinstance(target, IterativeObjective):
            summary = replace(summary, monte_carlo=target.monte_carlo(e, summary.hessian))
        return replace(finish(problem, summary, e), theta=np.array(theta, dtype=np.float64))


def optimize(
    problem: LinearProblem, *, optimizer: Optimizer = "auto", theta0: FloatArray | None = None
) -> tuple[OptSummary, AnyElimination]:
    """Minimize the profiled deviance; summary and elimination are in the inner basis."""
    given = None if theta0 is None else checks.start_values(problem, theta0)
    start, *rivals = starting_points(problem.cp, reml=problem.reml) if given is None else [given]
    control = problem.control
    settings = Settings(control.tol, control.max_iterations, control.max_restarts)
    summary: OptSummary
    e: AnyElimination
    if problem.structure.storage.probes is not None:
        summary, e = minimize_iteratively(
            problem.cp, start, reml=problem.reml, optimizer=optimizer, settings=settings, rivals=rivals
        )
    else:
        target = objective(problem)
        summary, e = minimize(target, start, optimizer=optimizer, settings=settings, rivals=rivals, rows=problem.cp.n)
    checks.residual_left(problem, e)
    return summary, e


def finish(problem: LinearProblem, summary: OptSummary, e: AnyElimination) -> FitState:
    """Estimates in the basis of the formula from an elimination in the inner basis."""
    if isinstance(e, IterativeElimination):  # with the probes that were used in the end
        problem = replace(problem, structure=e.structure, cp=e.objective.cp)
    scale = problem.response.scale
    N = problem.cp.n - (problem.structure.p if problem.reml else 0)
    sigma = scale * math.sqrt(e.pwrss / N)
    inner_beta = problem.response.coefficients + scale * e.beta
    beta = problem.basis.backward(inner_beta)
    root = problem.basis.backward(e.beta_root)
    criterion = summary.value + 2.0 * N * math.log(scale)
    if problem.reml:
        criterion += 2.0 * problem.basis.log_det
    user_theta = convert_theta(problem.terms, problem.bases, summary.x, to_user=True)
    modes = [scale * (b @ M.T) for b, M in by_term(problem, posterior.modes(e))]
    state = FitState(
        theta=user_theta,
        beta=beta,
        beta_cov=sigma * sigma * (root @ root.T),
        sigma=sigma,
        modes=tuple(modes),
        criterion=criterion,
        reml=problem.reml,
        kept=problem.basis.kept,
        means=problem.means(beta, modes),
        opt=replace(summary, value=criterion),
        checks=(),
        problem=problem,
    )
    found = tuple(checks.diagnose(state))
    return replace(state, checks=found) if found else state


def refit_response(state: FitState, y: FloatArray, *, optimizer: Optimizer = "auto") -> FitState:
    """Fit the same design to another response.

    Parameters
    ----------
    state : FitState
    y : ndarray, shape (n,)
    optimizer : {"auto", "lbfgsb", "bobyqa"}

    Returns
    -------
    FitState
    """
    old = state.problem
    design = replace(old.design, y=y)
    root = None if design.weights is None else np.sqrt(design.weights)
    target = y if design.offset is None else y - design.offset
    response = Response.of(old.rows.Xy[:, :-1], target if root is None else target * root)
    refusals.residual_spread(design, old.basis, response)
    rows = replace(old.rows, Xy=np.concatenate([old.rows.Xy[:, :-1], response.values[:, None]], axis=1))
    problem = replace(old, design=design, response=response, rows=rows, cp=old.cp.with_response(rows))
    return fit_problem(problem, optimizer=optimizer)
