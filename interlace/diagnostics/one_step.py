"""Fixed effects without each of many sets of rows while theta and sigma stay as they are.

With P, B and e as in :mod:`interlace.diagnostics.projection`,

    beta - beta_(I) = B_I (P_II)^-1 e_I,   cov beta_(I) = sigma^2 (C + B_I (P_II)^-1 B_I').

That is generalized least squares on the rows left, with the covariance matrix of the whole fit. For single rows these
are quotients. For sets it is the same to take their cross-products away and to solve what is left, which is done for
many sets at once, and for sets so large that P_II, a matrix of their rows, would cost more.

In a generalized model all of this is about the working response at the conditional modes, and no longer exact: one step
of Newton's method for (beta, b), from the point where the penalized likelihood of all rows has no slope. For beta that
is nearly so: it maximizes the likelihood with b integrated out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from interlace.core import blas
from interlace.core.batch import at_once
from interlace.core.batch_factor import eliminate_stack
from interlace.core.batch_stack import Stack, stackable
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.downdates import downdates
from interlace.core.level_deletions import solutions_without, splits_by_level
from interlace.core.objective import Objective
from interlace.core.profiled import profiled_deviance
from interlace.diagnostics.components import component_values
from interlace.diagnostics.deletion import Deletions
from interlace.diagnostics.projection import Projection
from interlace.estimate.state import State
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["one_step_deletions"]

#: Smallest eigenvalue of X'X without the rows I, relative to its largest, that lets the coefficients be told apart.
_ESTIMABLE = 1e-10
#: Rows of a set from which its cross-products are cheaper than P_II.
_LARGE = 400
#: Entries of the matrices that are formed at once.
_WORK = 2_000_000


def one_step_deletions(state: State, subsets: Sequence[IntArray]) -> Deletions:
    """Estimates of beta without each of some sets of rows, theta and sigma held at their estimates.

    Parameters
    ----------
    state : State
    subsets : sequence of ndarray of int64
        Rows, 0 to n - 1, that are left out.

    Returns
    -------
    Deletions
        NaN, and a message, where the rows left do not identify the fixed effects.

    Examples
    --------
    >>> import interlace, numpy as np
    >>> df = interlace.datasets.load("sleepstudy")
    >>> state = interlace.fit("Reaction ~ Days + (Days | Subject)", df).state
    >>> (state.beta - one_step_deletions(state, [np.arange(10)]).beta).round(4)
    array([[-0.4243,  0.6646]])
    """
    projection = Projection(state)
    structure = state.problem.structure
    with blas.limited(structure.m):
        several = any(len(rows) > 1 for rows in subsets)
        if several and splits_by_level(structure) and all(len(rows) for rows in subsets):
            change, cov = _level_by_level(projection, subsets)
        elif several and stackable(structure):
            change, cov = _sets_at_once(projection, subsets)
        else:
            change, cov = _in_closed_form(projection, subsets)
    sigma = np.full(len(subsets), state.sigma)
    theta = np.tile(state.theta, (len(subsets), 1))
    known = np.asarray(np.isfinite(cov).all(axis=(1, 2)))
    return Deletions(
        beta=state.beta - change,
        beta_cov=cov,
        theta=theta,
        sigma=sigma,
        components=component_values(state, theta, sigma, np.full(len(subsets), state.unit)),
        criterion=np.full(len(subsets), np.nan),
        converged=known,
        evaluations=np.zeros(len(subsets), dtype=np.int64),
        messages=tuple("" if k else "the rows do not identify the fixed effects" for k in known),
    )


def _in_closed_form(projection: Projection, subsets: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Changes beta - beta_(I), shape (u, p), and covariances, shape (u, p, p), from P_II; large sets otherwise."""
    p = projection.state.beta.size
    change, cov = np.empty((len(subsets), p)), np.empty((len(subsets), p, p))
    large = np.array([len(rows) > _LARGE for rows in subsets])
    small = np.flatnonzero(~large)
    if small.size:
        e, rows, chosen = projection.elimination, projection.rows, [subsets[i] for i in small.tolist()]
        found = downdates(e, rows, projection.residual, chosen)
        whole = e.beta_root @ e.beta_root.T
        change[small], cov[small] = _in_formula_basis(projection, found.change, whole + found.spread)
    for i in np.flatnonzero(large).tolist():
        change[i], cov[i] = _without(projection, subsets[i])
    return change, cov


def _unknown(projection: Projection) -> tuple[FloatArray, FloatArray]:
    p = projection.state.beta.size
    return np.full(p, np.nan), np.full((p, p), np.nan)


def _balanced(projection: Projection) -> tuple[CrossProducts, Rows]:
    """Cross-products with a response of zero, and rows that have their residuals as the response.

    At the estimates the residuals of all rows balance each other. Without the rows I the products of the response are
    -[Z | X]_I' e_I, what is then missing in the balance, and the solution is beta_(I) - beta.
    """
    rows, e = projection.rows, projection.residual
    X = rows.Xy[:, :-1]
    whole = CrossProducts.from_rows(
        projection.state.problem.structure, replace(rows, Xy=np.column_stack([X, np.zeros(e.size)]))
    )
    S = whole.S.copy()
    S[-1, -1] = 1.0 + 2.0 * (e @ e)  # what is left of it has to be positive, and is not used
    return replace(whole, S=S), replace(rows, Xy=np.column_stack([X, e]))


def _sets_at_once(projection: Projection, subsets: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """Changes, shape (u, p), and covariances, shape (u, p, p), by taking cross-products away."""
    structure = projection.state.problem.structure
    whole, rows = _balanced(projection)
    m_z, step, theta = structure.m_z, at_once(structure, shared=False), _inner_theta(projection)
    changes, covs = [], []
    for first in range(0, len(subsets), step):
        stack = Stack.of_deletions(whole, rows, subsets[first : first + step])
        e = eliminate_stack(stack, np.tile(theta, (stack.size, 1)))
        unknown = ~_estimable(stack.S[:, m_z:, m_z:])
        root = e.half[:, m_z:, m_z:]
        cov, change = root.transpose(0, 2, 1) @ root, -e.solution[:, m_z:]
        cov[unknown], change[unknown] = np.nan, np.nan
        changes.append(change)
        covs.append(cov)
    return _in_formula_basis(projection, np.concatenate(changes), np.concatenate(covs))


def _level_by_level(projection: Projection, subsets: Sequence[IntArray]) -> tuple[FloatArray, FloatArray]:
    """The same from the levels that the rows belong to, with one leading factor."""
    whole, rows = _balanced(projection)
    e = Objective(whole, reml=False).at(_inner_theta(projection))
    work = np.cumsum([len(subset) * whole.structure.m**2 for subset in subsets]) // _WORK
    changes, covs = [], []
    for piece in np.split(np.arange(len(subsets)), np.flatnonzero(np.diff(work)) + 1):
        beta, cov, gram = solutions_without(e, rows, [subsets[i] for i in piece.tolist()])
        unknown = ~_estimable(gram)
        beta[unknown], cov[unknown] = np.nan, np.nan
        changes.append(-beta)
        covs.append(cov)
    return _in_formula_basis(projection, np.concatenate(changes), np.concatenate(covs))


def _without(projection: Projection, index: IntArray) -> tuple[FloatArray, FloatArray]:
    """Change, shape (p,), and covariance, shape (p, p), for one set of many rows."""
    structure = projection.state.problem.structure
    whole, rows = _balanced(projection)
    part = Rows([c[index] for c in rows.codes], [z[index] for z in rows.Z], rows.Xy[index])
    left = whole - CrossProducts.from_rows(structure, part)
    if not _estimable(left.S[None, structure.m_z : -1, -structure.p - 1 : -1])[0]:
        return _unknown(projection)
    e = profiled_deviance(left, reml=False).at(_inner_theta(projection))
    root = e.beta_root
    change, cov = _in_formula_basis(projection, -e.beta[None], (root @ root.T)[None])
    return change[0], cov[0]


def _inner_theta(projection: Projection) -> FloatArray:
    return projection.state.opt.x[: projection.state.theta.size]


def _estimable(gram: FloatArray) -> BoolArray:
    """Whether X'X of the rows left, shape (u, p, p), is far from singular."""
    if not gram.shape[1]:
        return np.ones(gram.shape[0], dtype=np.bool_)
    values = np.linalg.eigvalsh(gram)
    return np.asarray(values[:, 0] > _ESTIMABLE * values[:, -1])


def _in_formula_basis(projection: Projection, change: FloatArray, cov: FloatArray) -> tuple[FloatArray, FloatArray]:
    basis = projection.state.problem.basis
    back = basis.backward(np.eye(change.shape[1]))
    return change @ back.T, projection.scale * (back @ cov @ back.T)
