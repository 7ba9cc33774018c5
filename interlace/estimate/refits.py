"""Refits of a fitted model: to another response, or to some of its rows; one by one, or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas
from interlace.core.batch_refits import Refits, portion, refit_all, refit_without_rows
from interlace.core.newton import VANISHED
from interlace.core.optimize import Settings
from interlace.errors import InterlaceError
from interlace.estimate.glmm import refit_glmm, refit_glmm_rows
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import at_theta, fit_design, refit_response
from interlace.estimate.state import FitState, State
from interlace.typing import BoolArray, FloatArray, IntArray, Optimizer

if TYPE_CHECKING:
    from interlace.estimate.control import Control

__all__ = [
    "digits_lost",
    "portions",
    "refit",
    "refit_responses",
    "refit_rows",
    "refit_rows_at",
    "refit_without",
    "why_none",
]

#: Residual variance relative to that of the response given X, and standard deviation relative to that of the whole fit,
#: with which cross-products less those of a unit have too few digits left.
_LITTLE, _DROP = 1e-6, 0.1


def refit(state: State, y: FloatArray) -> State:
    """Fit the same model to another response, shape (n,)."""
    if isinstance(state, GlmmState):
        return refit_glmm(state, y)
    assert isinstance(state, FitState)
    return refit_response(state, y)


def refit_rows(state: State, keep: BoolArray, *, optimizer: Optimizer = "auto") -> State:
    """Fit the same model to some of its rows; levels without rows keep their places.

    Parameters
    ----------
    state : State
    keep : ndarray of bool, shape (n,)
    optimizer : {"auto", "lbfgsb", "bobyqa"}

    Returns
    -------
    State
    """
    if isinstance(state, GlmmState):
        return refit_glmm_rows(state, keep, optimizer=optimizer)
    problem = state.problem
    design = problem.design.some_rows(keep)
    return fit_design(design, reml=state.reml, optimizer=optimizer, control=problem.control)


def refit_rows_at(state: FitState, keep: BoolArray, theta: FloatArray) -> FitState:
    """Estimates from some rows of a linear model at a given theta; levels without rows keep their places.

    Parameters
    ----------
    state : FitState
    keep : ndarray of bool, shape (n,)
    theta : ndarray, shape (n_theta,)
        Of an earlier refit.

    Returns
    -------
    FitState
    """
    problem = state.problem
    return at_theta(problem.design.some_rows(keep), theta, reml=state.reml, control=problem.control)


def refit_responses(state: FitState, Y: FloatArray) -> Refits:
    """Fit a linear model to many responses at once.

    Parameters
    ----------
    state : FitState
    Y : ndarray, shape (B, n)
        In the form of ``state.problem.design.y``.

    Returns
    -------
    Refits

    Examples
    --------
    >>> import interlace, numpy as np
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> y = state.problem.design.y
    >>> refit_responses(state, np.array([y, 2.0 * y])).beta.round(3)
    array([[1527.5],
           [3055. ]])
    """
    problem = state.problem
    design = problem.design
    less_offset = Y if design.offset is None else Y - design.offset
    weighted = less_offset if design.weights is None else less_offset * np.sqrt(design.weights)
    with blas.limited(0):
        return refit_all(problem, weighted.T, state.opt.x, settings=_settings(problem.control))


def refit_without(state: FitState, subsets: Sequence[IntArray]) -> Refits:
    """Fit a linear model without some of its rows, for many choices of them at once.

    Parameters
    ----------
    state : FitState
    subsets : sequence of ndarray of int64
        Rows, 0 to n - 1, that each refit lacks.

    Returns
    -------
    Refits
        Fixed-effects columns are those of the full fit; where the rows left do not identify them, NaN and a message.

    Examples
    --------
    >>> import interlace, numpy as np
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> refit_without(state, [np.array([0]), np.arange(5)]).beta.round(2)
    array([[1526.09],
           [1532.  ]])
    """
    problem = state.problem
    weights = problem.design.weights
    logs = None if weights is None else np.log(weights)
    # What deletion changes is small beside the estimates, and measures are made of the changes.
    settings = replace(_settings(problem.control), tol=0.1 * problem.control.tol)
    with blas.limited(0):
        fits = refit_without_rows(problem, subsets, state.opt.x, log_weights=logs, settings=settings)
    lost = np.flatnonzero(digits_lost(state, fits))
    return _from_rows(state, fits, subsets, lost) if lost.size else fits


def digits_lost(state: FitState, fits: Refits) -> BoolArray:
    """Refits whose digits went with the rows: nearly all of the variance was due to these, outliers without measure.

    Rounding of the cross-products of all rows is then large beside what is left of them.

    Parameters
    ----------
    state : FitState
    fits : Refits
        Without some of its rows.

    Returns
    -------
    ndarray of bool, shape (B,)
    """
    problem = state.problem
    variance = problem.response.scale**2 * problem.cp.S[-1, -1] / problem.cp.n
    little = (fits.sigma**2 < _LITTLE * variance) & (fits.sigma < _DROP * state.sigma)
    return np.asarray(little | [message == VANISHED for message in fits.messages])


def why_none(state: State, refit: State) -> str:
    """Why a refit has no estimates of the coefficients of a fit; empty if it has."""
    if not np.array_equal(refit.kept, state.kept):
        return "the rows do not identify the fixed effects"
    if not refit.opt.converged:
        reasons = [check.message for check in refit.checks if check.code in ("separation", "diverging")]
        return reasons[0] if reasons else refit.opt.message or "the optimizer did not converge"
    return "" if np.isfinite(refit.beta_cov).all() else "the fixed effects have no covariance"


def _from_rows(state: FitState, fits: Refits, subsets: Sequence[IntArray], index: IntArray) -> Refits:
    """Some of the refits made again, from the rows that are left."""
    arrays = {f.name: getattr(fits, f.name).copy() for f in fields(Refits) if f.name != "messages"}
    estimates, messages = ("theta", "beta", "beta_cov", "sigma", "criterion"), list(fits.messages)
    for b in index.tolist():
        keep = np.ones(state.fitted.size, dtype=np.bool_)
        keep[subsets[b]] = False
        arrays["fell_back"][b] = True
        try:
            found = refit_rows(state, keep)
        except (InterlaceError, np.linalg.LinAlgError) as error:
            messages[b] = str(error)
        else:
            messages[b] = why_none(state, found)
            arrays["evaluations"][b] = found.opt.evaluations
        arrays["converged"][b] = not messages[b]
        for name in estimates:
            arrays[name][b] = np.nan if messages[b] else getattr(found, name)
    return Refits(**arrays, messages=tuple(messages))


def portions(state: FitState, subsets: Sequence[IntArray]) -> list[list[IntArray]]:
    """Cut sets of rows into as many as are refitted in one go; more at a time would gain little.

    Parameters
    ----------
    state : FitState
    subsets : sequence of ndarray of int64

    Returns
    -------
    list of list of ndarray
        Of nearly equal length.
    """
    pieces = -(-len(subsets) // portion(state.problem.structure, subsets))
    ends = np.linspace(0, len(subsets), pieces + 1).round().astype(int)
    return [list(subsets[a:b]) for a, b in pairwise(ends.tolist())]


def _settings(control: Control) -> Settings:
    return Settings(control.tol, control.max_iterations, control.max_restarts)
