"""Refits of one prepared model: to new responses, or without some of its rows; in the basis of the formula."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from interlace.core.batch import KnownFit, at_once, minimize_each, minimize_many
from interlace.core.batch_fits import BatchFits, joined
from interlace.core.batch_stack import Stack, stackable
from interlace.core.covariance import entries
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.expansion import Expanded, expanded, lattice_size
from interlace.core.nearby import known_fit
from interlace.core.newton import VANISHED
from interlace.core.objective import Objective
from interlace.core.optimize import Settings
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.structure import Structure
from interlace.core.terms import Term, theta_slices
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Prepared", "Refits", "portion", "refit_all", "refit_without_rows"]

#: Refits that are worth an expansion where they could be stacked: so many, and so many for each point of its lattice.
_MANY, _STACKED = 500, 30
#: Rows of a set, beyond which an expansion gains nothing.
_SMALL = 400
#: Share of the refits that an expansion has to settle for another one to be tried on the rest.
_GAINED = 0.2
#: Residual sum of squares, relative to that of the response of all rows, that is nothing but rounding.
_VANISHED = 1e-13
#: Rows and sets of rows of one expansion, and refits that are made one by one together.
_ROWS_TOGETHER, _SETS_TOGETHER, _FEW = 20_000, 1000, 16


class Prepared(Protocol):
    """A linear model in the inner basis, ready to be fitted; read only."""

    @property
    def terms(self) -> tuple[Term, ...]:
        """Random-effects terms, covariates in the basis of the formula."""

    @property
    def bases(self) -> tuple[TermBasis, ...]:
        """To the inner basis of each term."""

    @property
    def basis(self) -> FixedBasis:
        """Of the fixed effects."""

    @property
    def structure(self) -> Structure:
        """Elimination order."""

    @property
    def response(self) -> Response:
        """Of the fit."""

    @property
    def rows(self) -> Rows:
        """Weighted rows in the inner basis."""

    @property
    def cp(self) -> CrossProducts:
        """Their cross-products."""

    @property
    def reml(self) -> bool:
        """Whether to fit by REML."""


@dataclass(frozen=True)
class Refits:
    """Estimates of B refits in the basis of the formula; NaN where there are none.

    Attributes
    ----------
    theta : ndarray, shape (B, n_theta)
        In lme4's order, relative to sigma.
    beta : ndarray, shape (B, p)
    beta_cov : ndarray, shape (B, p, p)
    sigma : ndarray, shape (B,)
    criterion : ndarray, shape (B,)
        ML deviance or REML criterion, -2 log(likelihood).
    converged : ndarray of bool, shape (B,)
    messages : tuple of str, length B
        Why a refit did not converge; empty where it did.
    evaluations : ndarray of int64, shape (B,)
        Of its own deviance, on the way to the estimate: other starting points, from which singular fits are confirmed,
        do not count. 0 where an expansion of the deviance of all rows gives the refit.
    fell_back : ndarray of bool, shape (B,)
        Refits that were made one by one.
    """

    theta: FloatArray
    beta: FloatArray
    beta_cov: FloatArray
    sigma: FloatArray
    criterion: FloatArray
    converged: BoolArray
    messages: tuple[str, ...]
    evaluations: IntArray
    fell_back: BoolArray


def refit_all(problem: Prepared, Y: FloatArray, start: FloatArray, *, settings: Settings | None = None) -> Refits:
    """Fit the same design to many responses.

    Parameters
    ----------
    problem : Prepared
    Y : ndarray, shape (n, B)
        Less the offset, times the square roots of the weights.
    start : ndarray, shape (n_theta,)
        Theta of a similar fit, inner basis.
    settings : Settings, optional

    Returns
    -------
    Refits
    """
    X, rows = problem.rows.Xy[:, :-1], problem.rows
    coefficients = X.T @ Y
    residual = Y - X @ coefficients
    # As for one response: a second projection removes what rounding left of the first.
    again = X.T @ residual
    residual -= X @ again
    scale = np.sqrt(np.einsum("nb,nb->b", residual, residual) / max(X.shape[0] - X.shape[1], 1))
    # A response that X reproduces up to rounding leaves nothing to be fitted.
    nothing = scale <= 1e-13 * np.sqrt(np.einsum("nb,nb->b", Y, Y) / X.shape[0])
    residual /= np.where(nothing, 1.0, scale)
    residual[:, nothing] = 0.0
    if stackable(problem.structure):
        stack = Stack.of_responses(problem.cp, rows, residual)
        fits = minimize_many(stack, start, reml=problem.reml, settings=settings)
    else:
        parts = (problem.cp.with_response(replace(rows, Xy=np.column_stack([X, y]))) for y in residual.T)
        fits = minimize_each(parts, start, reml=problem.reml, settings=settings)
    n = np.full(Y.shape[1], problem.cp.n)
    return _in_formula_basis(problem, fits, n, (coefficients + again).T, scale)


def refit_without_rows(
    problem: Prepared,
    subsets: Sequence[IntArray],
    start: FloatArray,
    *,
    log_weights: FloatArray | None = None,
    settings: Settings | None = None,
) -> Refits:
    """Fit the same model without some rows, for many choices of them.

    Parameters
    ----------
    problem : Prepared
    subsets : sequence of ndarray of int64
        Rows that each refit lacks.
    start : ndarray, shape (n_theta,)
        Theta of the fit to all rows, inner basis.
    log_weights : ndarray, shape (n,), optional
        Logarithms of the weights, if there are any.
    settings : Settings, optional

    Returns
    -------
    Refits
        Where the rows left do not identify the fixed effects, NaN and a message.
    """
    settings = settings or Settings()
    known = known_fit(problem.cp, start, reml=problem.reml, settings=settings)
    fits, left = _by_expansion(problem, subsets, start, known, log_weights)
    if left.size:
        others = _one_way_or_another(problem, [subsets[i] for i in left], known, log_weights, settings)
        fits = others if left.size == len(subsets) else fits.replaced(left, others)
    n = problem.cp.n - np.array([len(subset) for subset in subsets])
    fits = _without_rounding(problem, fits, n)
    response = problem.response
    coefficients = np.broadcast_to(response.coefficients, fits.beta.shape)
    return _in_formula_basis(problem, fits, n, coefficients, np.full(n.size, response.scale))


def portion(structure: Structure, subsets: Sequence[IntArray]) -> int:
    """How many refits without some rows are made in one go, so that more at a time would gain little.

    Parameters
    ----------
    structure : Structure
    subsets : sequence of ndarray of int64
    """
    single = all(len(subset) == 1 for subset in subsets)
    if _worth_it(structure, len(subsets), single=single):
        return _ROWS_TOGETHER if single else _SETS_TOGETHER
    return max(_FEW, at_once(structure, shared=False)) if stackable(structure) else _FEW


def _worth_it(structure: Structure, count: int, *, single: bool) -> bool:
    """Whether so many refits cost more than the lattice of an expansion."""
    size = lattice_size(structure.n_theta)
    if size is None or structure.storage.whole:
        return False
    if stackable(structure):
        return single and count >= max(_MANY, _STACKED * size)
    return count >= size


def _by_expansion(
    problem: Prepared, subsets: Sequence[IntArray], start: FloatArray, known: KnownFit, log_weights: FloatArray | None
) -> tuple[BatchFits, IntArray]:
    """Refits that an expansion around a regular optimum gives, and the numbers of those that it leaves."""
    fits, left = BatchFits.nothing(problem.structure, len(subsets)), np.arange(len(subsets))
    if known.correction is None or known.explored:
        return fits, left
    objective = Objective(problem.cp, reml=problem.reml)
    small = np.array([i for i, subset in enumerate(subsets) if 0 < len(subset) <= _SMALL], dtype=np.int64)
    single = all(len(subset) == 1 for subset in subsets)
    # What lies outside the lattice may lie within the wider one that it has for itself.
    while _worth_it(problem.structure, small.size, single=single):
        chosen = [subsets[i] for i in small.tolist()]
        found = expanded(objective, problem.rows, start, chosen)
        fits = fits.replaced(small[found.trusted], _trusted_fits(found, chosen, log_weights))
        small = small[~found.trusted]
        if found.trusted.mean() < _GAINED:
            break
    return fits, np.flatnonzero(~fits.converged)


def _trusted_fits(found: Expanded, subsets: Sequence[IntArray], log_weights: FloatArray | None) -> BatchFits:
    """Refits that an expansion settles."""
    value, good = found.value, found.trusted
    if log_weights is not None:
        value = value + np.array([log_weights[subset].sum() for subset in subsets])
    count = int(good.sum())
    return BatchFits(
        found.theta[good],
        value[good],
        found.beta[good],
        found.beta_cov[good],
        found.sigma[good],
        converged=np.ones(count, dtype=np.bool_),
        evaluations=np.zeros(count, dtype=np.int64),
        fell_back=np.zeros(count, dtype=np.bool_),
        messages=("",) * count,
    )


def _one_way_or_another(
    problem: Prepared,
    subsets: Sequence[IntArray],
    known: KnownFit,
    log_weights: FloatArray | None,
    settings: Settings,
) -> BatchFits:
    """Refits by an optimizer: stacked, or one by one."""
    if not stackable(problem.structure):
        remainders = _remainders(problem, subsets, log_weights)
        return minimize_each(remainders, known, reml=problem.reml, settings=settings)
    step = at_once(problem.structure, shared=False)
    parts = []
    for first in range(0, len(subsets), step):
        stack = Stack.of_deletions(problem.cp, problem.rows, subsets[first : first + step], log_weights)
        parts.append(minimize_many(stack, known, reml=problem.reml, settings=settings))
    return joined(parts)


def _remainders(
    problem: Prepared, subsets: Sequence[IntArray], log_weights: FloatArray | None
) -> Iterator[CrossProducts]:
    """Cross-products without each subset."""
    rows = problem.rows
    for subset in subsets:
        lost = 0.0 if log_weights is None else float(log_weights[subset].sum())
        part = Rows([c[subset] for c in rows.codes], [z[subset] for z in rows.Z], rows.Xy[subset], lost)
        yield problem.cp - CrossProducts.from_rows(problem.structure, part)


def _without_rounding(problem: Prepared, fits: BatchFits, n: IntArray) -> BatchFits:
    """Refits, less those to a response that is reproduced: what is left then is the rounding of what was taken away."""
    N = n - (problem.structure.p if problem.reml else 0)
    vanished = np.flatnonzero(N * fits.sigma**2 <= _VANISHED * problem.cp.S[-1, -1])
    nothing = BatchFits.nothing(problem.structure, vanished.size, [VANISHED] * vanished.size)
    return fits.replaced(vanished, nothing)


def _in_formula_basis(
    problem: Prepared, fits: BatchFits, n: IntArray, coefficients: FloatArray, scale: FloatArray
) -> Refits:
    """Undo the changes of basis; ``coefficients`` (B, p) and ``scale`` (B,) are those of each response."""
    basis = problem.basis
    N = n - (problem.structure.p if problem.reml else 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        criterion = fits.value + 2.0 * N * np.log(scale) + (2.0 * basis.log_det if problem.reml else 0.0)
    beta = basis.backward((coefficients + scale[:, None] * fits.beta).T).T
    inverse = basis.backward(np.eye(basis.kept.size))
    cov = inverse @ fits.beta_cov @ inverse.T
    return Refits(
        _theta(problem, fits.theta),
        beta,
        scale[:, None, None] ** 2 * cov,
        scale * fits.sigma,
        criterion,
        fits.converged,
        fits.messages,
        fits.evaluations,
        fits.fell_back,
    )


def _theta(problem: Prepared, theta: FloatArray) -> FloatArray:
    """Theta in the basis of the formula, shape (B, n_theta)."""
    out = np.full(theta.shape, np.nan)
    known = np.flatnonzero(np.isfinite(theta).all(axis=1))
    slices = theta_slices(tuple((t.k, t.structure) for t in problem.terms))
    for term, basis, where in zip(problem.terms, problem.bases, slices, strict=True):
        rows, cols = entries(term.k, term.structure)
        L = np.zeros((known.size, term.k, term.k))
        L[:, rows, cols] = theta[known][:, where]
        out[known, where] = _lower_factors(basis.M @ L)[:, rows, cols]
    return out


def _lower_factors(roots: FloatArray) -> FloatArray:
    """Lower-triangular factor with nonnegative diagonal of each root, shape (B, k, k)."""
    if roots.shape[1] == 1:
        return np.abs(roots)
    upper = np.asarray(np.linalg.qr(roots.transpose(0, 2, 1), mode="r"))
    lower = upper.transpose(0, 2, 1)
    signs = np.where(np.diagonal(lower, axis1=1, axis2=2) < 0.0, -1.0, 1.0)
    return np.asarray(np.tril(lower) * signs[:, None])
