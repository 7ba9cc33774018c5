"""Quantities of a fit that are computed on demand, in the basis of the formula."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from interlace.core import blas, covariance, posterior
from interlace.core.cholmod import AnyElimination
from interlace.core.scaling import convert_theta
from interlace.core.terms import split_theta
from interlace.estimate import refusals
from interlace.estimate.state import FitState, State
from interlace.typing import FloatArray, IntArray

__all__ = [
    "conditional_covariances",
    "dependencies",
    "elimination",
    "linear_predictor_variance",
    "singular_values",
    "term_covariances",
    "term_factors",
    "theta_errors",
]


def elimination(state: State) -> AnyElimination:
    """Elimination at the estimates (inner basis), for quantities computed on demand."""
    with blas.limited(state.problem.structure.m):
        return state.elimination()


def conditional_covariances(state: State) -> tuple[FloatArray, ...]:
    """Covariance of the conditional modes of each level given theta, sigma and beta, as lme4's ``condVar``.

    Returns
    -------
    tuple of ndarray, shapes (q_i, k_i, k_i)
    """
    e = elimination(state)
    refusals.many_solutions(
        e, sum(b.size for b in state.problem.structure.blocks), "covariances of the conditional modes"
    )
    with blas.limited(state.problem.structure.m):
        by_block = posterior.conditional_covariances(e)
    found: dict[int, FloatArray] = {}
    for block, values in zip(state.problem.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            M = state.problem.bases[number].M
            found[number] = state.unit**2 * (M @ values[:, where, where] @ M.T)
    return tuple(found[i] for i in range(len(found)))


def linear_predictor_variance(
    state: State, X: FloatArray, Z: Sequence[FloatArray | None], codes: Sequence[IntArray | None]
) -> FloatArray:
    """Variance of x'beta_hat + z'(b_hat - b) for new rows, from the joint covariance of beta_hat and b_hat - b.

    Parameters
    ----------
    state : State
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
    refusals.many_solutions(e, X.shape[0], "standard errors of predictions")
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
        variance = state.unit**2 * posterior.quadratic_forms(e, inner_X, block_Z, block_codes)
    for z, c, psi in zip(Z, codes, term_covariances(state), strict=True):
        if z is not None and c is not None:
            unseen = c < 0
            variance[unseen] += np.einsum("nk,kj,nj->n", z[unseen], psi, z[unseen])
    return variance


def term_factors(state: State) -> tuple[FloatArray, ...]:
    """Relative covariance factors L, lower triangular (k_i, k_i), of each term in the basis of the formula."""
    return tuple(split_theta(state.problem.shapes, state.theta))


def term_covariances(state: State) -> tuple[FloatArray, ...]:
    """Covariance matrices sigma^2 L L', shapes (k_i, k_i), of each term."""
    return tuple(state.unit**2 * (L @ L.T) for L in term_factors(state))


def theta_errors(state: FitState, cov: FloatArray) -> FloatArray:
    """Standard errors of theta, shape (n_theta,), from their covariance in the inner basis; by the delta method."""
    problem, x = state.problem, state.opt.x
    step = 1e-6 * np.maximum(np.abs(x), 1e-3)
    ends = [
        [convert_theta(problem.terms, problem.bases, x + sign * h, to_user=True) for sign in (1.0, -1.0)]
        for h in np.diag(step)
    ]
    slopes = np.array([(above - below) / (2.0 * h) for (above, below), h in zip(ends, step, strict=True)])
    return np.asarray(np.sqrt(np.maximum(np.diagonal(slopes.T @ cov @ slopes), 0.0)))


def singular_values(state: State) -> tuple[FloatArray, ...]:
    """Singular values of each term's factor with its covariates in standard units, ascending.

    The smallest one is the standard deviation, relative to sigma, of the least variable direction of the random
    effects; unlike theta it does not depend on the units of the covariates.
    """
    factors = split_theta(state.problem.shapes, state.opt.x)
    return tuple(covariance.singular_values(L) for L in factors)


def dependencies(state: State) -> tuple[dict[int, FloatArray], ...]:
    """Random effects that the others of their term determine, in a degenerate fit.

    Where the covariance matrix of a term has rank k - r, r of its effects are linear functions of the rest at every
    level. Which r is a matter of choice: those that the vanishing directions weigh most, in standard units.

    Returns
    -------
    tuple of dict
        For each term: column number of a dependent effect to its coefficients, shape (k,), on the independent ones.
        All zero for an effect whose variance is zero; empty for a term of full rank.
    """
    out = []
    factors = split_theta(state.problem.shapes, state.opt.x)
    for L, basis in zip(factors, state.problem.bases, strict=True):
        left, values, _ = np.linalg.svd(L)
        vanishing = left[:, values < state.problem.control.singular_tol].T @ basis.inverse
        unit = np.linalg.norm(basis.inverse, axis=0)
        out.append(_solved_for_some(vanishing, unit))
    return tuple(out)


def _solved_for_some(vanishing: FloatArray, unit: FloatArray) -> dict[int, FloatArray]:
    """Rows v with v'b = 0, shape (r, k), solved for r of the entries of b; ``unit`` makes columns comparable."""
    count = vanishing.shape[0]
    if count == 0:
        return {}
    _, _, order = scipy.linalg.qr(vanishing / unit, pivoting=True)
    chosen = order[:count]
    coefficients = -np.linalg.solve(vanishing[:, chosen], vanishing)
    coefficients[:, chosen] = 0.0
    size = np.abs(coefficients) / unit * unit[chosen][:, None]
    coefficients[size < 1e-6] = 0.0
    return {int(j): row for j, row in sorted(zip(chosen, coefficients, strict=True), key=lambda pair: pair[0])}
