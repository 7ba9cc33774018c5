"""Cross-validation of a fitted model on arrays: folds of whole groups, refits without each, predictions for its rows.

A linear model is refitted from the cross-products of all rows less those of a fold, many folds at once; a generalized
one from its rows, starting at the estimates of all. A fold that this cannot settle is left to the caller.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas, posterior
from interlace.core.batch_stack import stackable
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.scaling import convert_theta
from interlace.core.terms import split_theta
from interlace.errors import InterlaceError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.parallel import in_order
from interlace.estimate.problem import LinearProblem, by_term, objective
from interlace.estimate.refits import digits_lost, refit_rows, refit_without
from interlace.estimate.state import FitState, State
from interlace.prediction.predict import means
from interlace.prediction.predictive_density import generalized_density, linear_likelihood
from interlace.prediction.response import response_model
from interlace.prediction.simulate import generator

if TYPE_CHECKING:
    from interlace.core.batch_refits import Refits
    from interlace.frames.design import Design
    from interlace.prediction.simulate import Seed
    from interlace.typing import FloatArray, IntArray

__all__ = ["Fold", "LeftOut", "Tally", "identifies", "left_out", "level_sets", "rows_by_level", "tallies"]

#: Folds of a small linear model that are fitted together, whatever the number of processes, so that this does not
#: change the numbers.
_TOGETHER = 50


@dataclass(frozen=True, eq=False)
class Fold:
    """One split of the n rows of a model.

    Attributes
    ----------
    test : ndarray of int64
        Rows to predict.
    lost : ndarray of int64
        Rows that the fit does without: those to predict, and others that it may not use.
    """

    test: IntArray
    lost: IntArray


@dataclass(frozen=True, eq=False)
class LeftOut:
    """Predictions for the m rows that a fold leaves out.

    Attributes
    ----------
    mean : ndarray, shape (m,)
        Means of the response; random effects of levels that the fit has not seen are zero.
    log_density : float
        Log density of the m responses given the rows of the fit; NaN where it was not asked for.
    converged : bool
    messages : tuple of str
        What was found about the fit.
    """

    mean: FloatArray
    log_density: float
    converged: bool
    messages: tuple[str, ...]


def level_sets(n_levels: int, k: int | None = None, seed: Seed = None) -> list[IntArray]:
    """Levels that each fold leaves out.

    Parameters
    ----------
    n_levels : int
    k : int, optional
        Number of folds, of numbers of levels as equal as possible, drawn at random; one for each level by default.
    seed : int, numpy.random.Generator or None

    Raises
    ------
    ValueError
        There are fewer levels than folds, or fewer than two of either.

    Examples
    --------
    >>> [levels.tolist() for levels in level_sets(5, 2, seed=1)]
    [[0, 1, 4], [2, 3]]
    """
    if n_levels < 2:
        raise ValueError(f"cross-validation needs at least two groups, and there is {n_levels}")
    if k is None:
        return list(np.arange(n_levels, dtype=np.int64)[:, None])
    if isinstance(k, bool) or not isinstance(k, int | np.integer):
        raise TypeError(f"k must be a whole number of folds, not {k!r}")
    if not 2 <= k <= n_levels:
        raise ValueError(f"k must be from 2 to the number of groups, {n_levels}; not {k}")
    order = generator(seed).permutation(n_levels).astype(np.int64)
    return [np.sort(part) for part in np.array_split(order, k)]


def rows_by_level(codes: IntArray, n_levels: int) -> list[IntArray]:
    """Rows of each level, ascending; rows with a code of -1 belong to none.

    Examples
    --------
    >>> import numpy as np
    >>> [rows.tolist() for rows in rows_by_level(np.array([1, 0, -1, 1]), 2)]
    [[1], [0, 3]]
    """
    order = np.argsort(codes, kind="stable").astype(np.int64)
    stops = np.cumsum(np.bincount(codes + 1, minlength=n_levels + 1))
    return np.split(order, stops)[1:-1]


@dataclass(frozen=True, eq=False)
class Tally:
    """Which levels of a factor are left without some rows, found in a time that depends on these rows only.

    Attributes
    ----------
    codes : ndarray of int64, shape (n,)
        Level of each row, -1 where it is missing.
    counts : ndarray of int64, shape (q,)
        Rows of each level.

    Examples
    --------
    >>> Tally.of(np.array([0, 0, 1, 2, 1]), 3).emptied(np.array([0, 2, 3, 4]))
    array([1, 2])
    """

    codes: IntArray
    counts: IntArray

    @classmethod
    def of(cls, codes: IntArray, n_levels: int) -> Tally:
        """From the level of each row."""
        return cls(codes, np.bincount(codes + 1, minlength=n_levels + 1)[1:].astype(np.int64))

    def emptied(self, lost: IntArray) -> IntArray:
        """Levels of which no row is left, ascending."""
        codes = self.codes[lost]
        levels, counts = np.unique(codes[codes >= 0], return_counts=True)
        emptied: IntArray = levels[counts == self.counts[levels]]
        return emptied


def tallies(design: Design) -> list[Tally]:
    """Of the grouping factor of each random-effects term."""
    return [Tally.of(term.codes, len(term.levels)) for term in design.terms]


def identifies(design: Design, counted: Sequence[Tally], fold: Fold) -> bool:
    """Whether the levels left by a fold are plainly enough for a fit, which then need not say what is wrong.

    The conditions are those of `interlace.estimate.refusals.identifiable`; ``counted`` are the tallies of the design.
    """
    left = design.y.size - fold.lost.size
    for term, tally in zip(design.terms, counted, strict=True):
        levels = len(term.levels) - tally.emptied(fold.lost).size
        if levels < 2 or levels * term.Z.shape[1] >= left:
            return False
    return bool(left > design.X.shape[1])


def left_out(
    state: State,
    folds: Sequence[Fold],
    *,
    density: bool = False,
    n_jobs: int | None = 1,
    progress: str = "",
) -> list[LeftOut | None]:
    """Refit a model without the rows of each fold, and predict these.

    Parameters
    ----------
    state : State
        The fit to all rows.
    folds : sequence of Fold
    density : bool
        Whether to compute log densities.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; the numbers do not depend on it.
    progress : str
        Name of a progress bar on standard error; none by default.

    Returns
    -------
    list of LeftOut or None
        None where the model has to be fitted from the rows that are left: they do not identify all coefficients, or the
        refit failed.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> rows = np.arange(5)
    >>> [found] = left_out(state, [Fold(rows, rows)], density=True)
    >>> found.mean.round(3), round(float(found.log_density), 3)
    (array([1532., 1532., 1532., 1532., 1532.]), -28.527)
    """
    if isinstance(state, GlmmState):
        size, work = 1, partial(_generalized, state, density)
    else:
        assert isinstance(state, FitState)
        size = _TOGETHER if stackable(state.problem.structure) else 1
        work = partial(_linear, state, density)
    tasks = [folds[first : first + size] for first in range(0, len(folds), size)]
    return [one for part in in_order(work, tasks, n_jobs=n_jobs, progress=progress, unit="fold") for one in part]


def _linear(state: FitState, density: bool, folds: Sequence[Fold]) -> list[LeftOut | None]:
    """Folds of a linear model, refitted at once."""
    fits = refit_without(state, [fold.lost for fold in folds])
    counted = tallies(state.problem.design)
    # Where digits went with the rows, predictions from what is left of the cross-products would have none either.
    possible = np.isfinite(fits.criterion) & ~digits_lost(state, fits)
    with blas.limited(0):
        return [
            _of_linear(state.problem, fits, b, fold, density, seen=_any_seen(counted, fold)) if possible[b] else None
            for b, fold in enumerate(folds)
        ]


def _of_linear(problem: LinearProblem, fits: Refits, b: int, fold: Fold, density: bool, *, seen: bool) -> LeftOut:
    theta, beta = fits.theta[b], fits.beta[b]
    inner = convert_theta(problem.terms, problem.bases, theta, to_user=False)
    mean = _fixed_part(problem.design, problem.basis.kept, fold.test, beta)
    part = _without(problem, fold.lost) if seen or density else problem
    if seen:
        e = objective(part).at(inner)
        modes = [problem.response.scale * (v @ M.T) for v, M in by_term(problem, posterior.modes(e))]
        mean = mean + _random_part(problem.design, fold.test, modes)
    log_density = float("nan")
    if density:
        spare = np.setdiff1d(fold.lost, fold.test)
        whole = _without(problem, spare) if spare.size else problem
        log_density = linear_likelihood(whole, theta, beta, fits.sigma[b])
        log_density -= linear_likelihood(part, theta, beta, fits.sigma[b])
    message = fits.messages[b] or ("" if fits.converged[b] else "the optimizer did not converge")
    found = ([message] if message else []) + _singular(problem, inner)
    return LeftOut(mean, log_density, bool(fits.converged[b]), tuple(found))


def _without(problem: LinearProblem, lost: IntArray) -> LinearProblem:
    """The problem with the cross-products of fewer rows."""
    rows, weights = problem.rows, problem.design.weights
    logs = 0.0 if weights is None else float(np.log(weights[lost]).sum())
    part = Rows([codes[lost] for codes in rows.codes], [Z[lost] for Z in rows.Z], rows.Xy[lost], logs)
    return replace(problem, cp=problem.cp - CrossProducts.from_rows(problem.structure, part))


def _any_seen(counted: Sequence[Tally], fold: Fold) -> bool:
    """Whether some row to predict has a level that the fit has seen."""
    return any(not np.isin(tally.codes[fold.test], tally.emptied(fold.lost)).all() for tally in counted)


def _singular(problem: LinearProblem, theta: FloatArray) -> list[str]:
    """What a fit's checks say of factors on the boundary; ``theta`` in the inner basis."""
    factors = split_theta(problem.shapes, theta)
    return [
        f"singular fit: the covariance matrix of ({' + '.join(term.names)} | {term.group}) is not of full rank"
        for term, L in zip(problem.design.terms, factors, strict=True)
        if np.linalg.svd(L, compute_uv=False)[-1] < problem.control.singular_tol
    ]


def _generalized(state: GlmmState, density: bool, folds: Sequence[Fold]) -> list[LeftOut | None]:
    """Folds of a generalized model, each refitted from its rows and the estimates of all."""
    return [_of_generalized(state, density, fold) for fold in folds]


def _of_generalized(state: GlmmState, density: bool, fold: Fold) -> LeftOut | None:
    n = state.fitted.size
    train, test = np.ones(n, dtype=np.bool_), np.zeros(n, dtype=np.bool_)
    train[fold.lost], test[fold.test] = False, True
    try:
        fitted = refit_rows(state, train)
    except (InterlaceError, np.linalg.LinAlgError):
        return None
    assert isinstance(fitted, GlmmState)
    design = state.problem.design
    eta = _fixed_part(design, state.kept, fold.test, fitted.beta) + _random_part(design, fold.test, fitted.modes)
    log_density = generalized_density(state.problem, fitted, test, train) if density else float("nan")
    found = tuple(check.message for check in fitted.checks if check.severity != "info")
    return LeftOut(means(response_model(fitted), eta), log_density, fitted.opt.converged, found)


def _fixed_part(design: Design, kept: IntArray, rows: IntArray, beta: FloatArray) -> FloatArray:
    """X beta + offset of some rows."""
    fixed: FloatArray = np.einsum("np,p->n", design.X[rows][:, kept], beta)  # equal rows, equal bits
    return fixed if design.offset is None else fixed + design.offset[rows]


def _random_part(design: Design, rows: IntArray, modes: Sequence[FloatArray]) -> FloatArray:
    """Z b of some rows."""
    total = np.zeros(rows.size)
    for term, b in zip(design.terms, modes, strict=True):
        total += np.einsum("nk,nk->n", term.Z[rows], b[term.codes[rows]])
    return total
