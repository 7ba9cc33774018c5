"""Fit a linear mixed model in four stages: prepare, objective, optimize, finish; each can be called alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas, posterior
from interlace.core.cholmod import AnyElimination, AnyObjective, SparseObjective, worth_it
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.optsummary import OptSummary
from interlace.core.scaling import FixedBasis, Response, TermBasis, convert_theta
from interlace.core.start import starting_points
from interlace.core.structure import Structure, analyze, with_cholmod
from interlace.core.terms import Term, gather_blocks, split_theta
from interlace.estimate import checks
from interlace.estimate.control import Control
from interlace.estimate.state import FitState
from interlace.typing import FloatArray, IntArray, Optimizer
from interlace.typing import Structure as CovarianceStructure

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = [
    "Problem",
    "at_theta",
    "conditional_covariances",
    "elimination",
    "finish",
    "fit_design",
    "linear_predictor_variance",
    "objective",
    "optimize",
    "prepare",
    "refit_response",
    "singular_values",
    "state_at",
    "term_covariances",
    "term_factors",
]


@dataclass(frozen=True)
class Problem:
    """A design in the inner basis, ready to be optimized.

    Attributes
    ----------
    design : Design
    reml : bool
    control : Control
    terms : tuple of Term
        In the order of the design, covariates in the basis of the formula.
    bases : tuple of TermBasis
        To the inner basis of each term.
    basis : FixedBasis
    response : Response
    structure : Structure
    rows : Rows
        Weighted rows in the inner basis.
    cp : CrossProducts
    """

    design: Design
    reml: bool
    control: Control
    terms: tuple[Term, ...]
    bases: tuple[TermBasis, ...]
    basis: FixedBasis
    response: Response
    structure: Structure
    rows: Rows
    cp: CrossProducts


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
    problem = prepare(design, reml=reml, control=control)
    with blas.limited(problem.structure.m):
        summary, e = optimize(problem, optimizer=optimizer, theta0=theta0)
        return finish(problem, summary, e)


def at_theta(design: Design, theta: FloatArray, *, reml: bool, control: Control | None = None) -> FitState:
    """Everything that a fit returns, at a given theta and without an optimizer."""
    problem = prepare(design, reml=reml, control=control)
    return state_at(problem, theta)


def state_at(problem: Problem, theta: FloatArray) -> FitState:
    """Estimates of beta, b and sigma at ``theta`` (basis of the formula)."""
    target = objective(problem)
    inner = convert_theta(problem.terms, problem.bases, np.asarray(theta, dtype=np.float64), to_user=False)
    with blas.limited(problem.structure.m):
        e = target.eliminate(inner)
        d = target.derivatives(e)
        summary = OptSummary(
            optimizer="none",
            theta=inner,
            value=target.value(e),
            converged=True,
            iterations=0,
            evaluations=1,
            gradient=d.gradient,
            hessian=target.information(e, d),
            message="evaluated at a given theta",
        )
        return replace(finish(problem, summary, e), theta=np.array(theta, dtype=np.float64))


def prepare(design: Design, *, reml: bool, control: Control | None = None) -> Problem:
    """Check the design, change to the inner basis and form the cross-products."""
    control = control or Control()
    checks.identifiable(design)
    root = None if design.weights is None else np.sqrt(design.weights)
    X = design.X if root is None else design.X * root[:, None]
    y = design.y if design.offset is None else design.y - design.offset
    basis = FixedBasis.of(X, tol=control.rank_tol)
    inner_X = basis.forward(X)
    response = Response.of(inner_X, y if root is None else y * root)
    checks.residual_spread(design, basis, response)
    terms = tuple(Term(t.group, t.codes, t.Z, len(t.levels), t.structure) for t in design.terms)
    log_weights = 0.0 if design.weights is None else float(np.log(design.weights).sum())
    typical = math.exp(log_weights / design.y.size)
    bases = tuple(TermBasis.of(t, typical_weight=typical) for t in terms)
    inner = [replace(t, Z=_weighted(t.Z @ b.M, root)) for t, b in zip(terms, bases, strict=True)]
    blocks, codes, Z = gather_blocks(inner)
    n_theta = sum(block.slots.size for block in blocks)
    structure, order = analyze(blocks, codes, basis.kept.size, n_theta)
    if worth_it(structure, [codes[i] for i in order]):
        structure, order = with_cholmod(structure, order)
    checks.affordable(structure, terms)
    Xy = np.column_stack([inner_X, response.values])
    rows = Rows([codes[i] for i in order], [Z[i] for i in order], Xy, log_weights)
    cp = CrossProducts.from_rows(structure, rows)
    problem = Problem(design, reml, control, terms, bases, basis, response, structure, rows, cp)
    checks.absorbed(problem)
    return problem


def _weighted(Z: FloatArray, root: FloatArray | None) -> FloatArray:
    return Z if root is None else Z * root[:, None]


def objective(problem: Problem) -> AnyObjective:
    """Profiled deviance in the inner basis."""
    if problem.structure.storage.cholmod:
        return SparseObjective(problem.cp, reml=problem.reml)
    return Objective(problem.cp, reml=problem.reml)


def optimize(
    problem: Problem, *, optimizer: Optimizer = "auto", theta0: FloatArray | None = None
) -> tuple[OptSummary, AnyElimination]:
    """Minimize the profiled deviance; summary and elimination are in the inner basis."""
    target = objective(problem)
    given = None if theta0 is None else checks.start_values(problem, theta0)
    start, *rivals = starting_points(problem.cp, reml=problem.reml) if given is None else [given]
    control = problem.control
    settings = Settings(control.tol, control.max_iterations, control.max_restarts)
    summary, e = minimize(target, start, optimizer=optimizer, settings=settings, rivals=rivals)
    checks.residual_left(problem, e)
    return summary, e


def finish(problem: Problem, summary: OptSummary, e: AnyElimination) -> FitState:
    """Estimates in the basis of the formula from an elimination in the inner basis."""
    design, scale = problem.design, problem.response.scale
    N = problem.cp.n - (problem.structure.p if problem.reml else 0)
    sigma = scale * float(np.sqrt(e.pwrss / N))
    inner_beta = problem.response.coefficients + scale * e.beta
    beta = problem.basis.backward(inner_beta)
    root = problem.basis.backward(e.beta_root)
    criterion = summary.value + 2.0 * N * float(np.log(scale))
    if problem.reml:
        criterion += 2.0 * problem.basis.log_det
    user_theta = convert_theta(problem.terms, problem.bases, summary.theta, to_user=True)
    modes = [scale * (b @ M.T) for b, M in _by_term(problem, posterior.modes(e))]
    X = design.X if problem.basis.kept.size == design.X.shape[1] else design.X[:, problem.basis.kept]
    fixed = X @ beta
    if design.offset is not None:
        fixed = fixed + design.offset
    fitted = fixed
    for term, b in zip(problem.terms, modes, strict=True):
        fitted = fitted + np.einsum("nk,nk->n", term.Z, b[term.codes])
    state = FitState(
        theta=user_theta,
        beta=beta,
        beta_cov=sigma * sigma * (root @ root.T),
        sigma=sigma,
        modes=tuple(modes),
        criterion=criterion,
        reml=problem.reml,
        kept=problem.basis.kept,
        fixed=fixed,
        fitted=fitted,
        opt=replace(summary, value=criterion),
        checks=(),
        problem=problem,
    )
    return replace(state, checks=tuple(checks.diagnose(state)))


def _by_term(problem: Problem, by_block: Sequence[FloatArray]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Columns of block arrays (q, k) and the change of basis M, for each term of the design in turn."""
    found = {}
    for block, values in zip(problem.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            found[number] = values[:, where]
    for number, basis in enumerate(problem.bases):
        yield found[number], basis.M


def elimination(state: FitState) -> AnyElimination:
    """Elimination at the estimates (inner basis), for quantities computed on demand."""
    target = objective(state.problem)
    with blas.limited(state.problem.structure.m):
        return target.eliminate(state.opt.theta)


def refit_response(state: FitState, y: FloatArray) -> FitState:
    """Fit the same design to another response.

    Parameters
    ----------
    state : FitState
    y : ndarray, shape (n,)

    Returns
    -------
    FitState
    """
    old = state.problem
    design = replace(old.design, y=y)
    root = None if design.weights is None else np.sqrt(design.weights)
    target = y if design.offset is None else y - design.offset
    response = Response.of(old.rows.Xy[:, :-1], target if root is None else target * root)
    checks.residual_spread(design, old.basis, response)
    rows = replace(old.rows, Xy=np.column_stack([old.rows.Xy[:, :-1], response.values]))
    problem = replace(old, design=design, response=response, rows=rows, cp=old.cp.with_response(rows))
    with blas.limited(problem.structure.m):
        return finish(problem, *optimize(problem))


def conditional_covariances(state: FitState) -> tuple[FloatArray, ...]:
    """Covariance of the conditional modes of each level given theta, sigma and beta, as lme4's ``condVar``.

    Returns
    -------
    tuple of ndarray, shapes (q_i, k_i, k_i)
    """
    e = elimination(state)
    with blas.limited(state.problem.structure.m):
        by_block = posterior.conditional_covariances(e)
    found: dict[int, FloatArray] = {}
    for block, values in zip(state.problem.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            M = state.problem.bases[number].M
            found[number] = state.sigma**2 * (M @ values[:, where, where] @ M.T)
    return tuple(found[i] for i in range(len(found)))


def linear_predictor_variance(
    state: FitState, X: FloatArray, Z: Sequence[FloatArray | None], codes: Sequence[IntArray | None]
) -> FloatArray:
    """Variance of x'beta_hat + z'(b_hat - b) for new rows, from the joint covariance of beta_hat and b_hat - b.

    Parameters
    ----------
    state : FitState
    X : ndarray, shape (m, p)
        The kept fixed-effects columns.
    Z : sequence of ndarray, shapes (m, k_i), or None
        Per term; None leaves the term out.
    codes : sequence of ndarray of int64, shapes (m,), or None
        Level of each row; -1 for a level that the fit has not seen, which adds z'Psi z.

    Returns
    -------
    ndarray, shape (m,)
    """
    problem = state.problem
    e = elimination(state)
    inner_X = problem.basis.forward_kept(X)
    block_Z, block_codes = [], []
    for block in problem.structure.blocks:
        columns = np.zeros((X.shape[0], block.k))
        level = np.full(X.shape[0], -1, dtype=np.int64)
        for number, where in block.members:
            z, c = Z[number], codes[number]
            if z is not None and c is not None:
                columns[:, where] = np.where((c >= 0)[:, None], z @ problem.bases[number].M, 0.0)
                level = np.maximum(level, c)
        block_Z.append(columns)
        block_codes.append(level)
    with blas.limited(problem.structure.m):
        variance = state.sigma**2 * posterior.quadratic_forms(e, inner_X, block_Z, block_codes)
    for z, c, psi in zip(Z, codes, term_covariances(state), strict=True):
        if z is not None and c is not None:
            unseen = c < 0
            variance[unseen] += np.einsum("nk,kj,nj->n", z[unseen], psi, z[unseen])
    return variance


def term_factors(state: FitState) -> tuple[FloatArray, ...]:
    """Relative covariance factors L, lower triangular (k_i, k_i), of each term in the basis of the formula."""
    return tuple(split_theta(_shapes(state.problem), state.theta))


def term_covariances(state: FitState) -> tuple[FloatArray, ...]:
    """Covariance matrices sigma^2 L L', shapes (k_i, k_i), of each term."""
    return tuple(state.sigma**2 * (L @ L.T) for L in term_factors(state))


def singular_values(state: FitState) -> tuple[FloatArray, ...]:
    """Singular values of each term's factor with its covariates in standard units, ascending.

    The smallest one is the standard deviation, relative to sigma, of the least variable direction of the random
    effects; unlike theta it does not depend on the units of the covariates.
    """
    factors = split_theta(_shapes(state.problem), state.opt.theta)
    return tuple(np.asarray(np.linalg.svd(L, compute_uv=False)[::-1]) for L in factors)


def _shapes(problem: Problem) -> list[tuple[int, CovarianceStructure]]:
    return [(t.k, t.structure) for t in problem.terms]
