"""A model fitted again without each of many sets of its rows.

Linear models lose the cross-products of the rows, many sets at once (:func:`interlace.estimate.refits.refit_without`);
everything else is fitted again one set after the other, from the estimates of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import get_args

import numpy as np

from interlace.diagnostics.components import component_values
from interlace.errors import InterlaceError
from interlace.estimate.parallel import in_order, whole_number_of_jobs
from interlace.estimate.refits import portions, refit_rows, refit_without, why_none
from interlace.estimate.state import FitState, State
from interlace.typing import BoolArray, FloatArray, IntArray, Optimizer

__all__ = ["Deletions", "exact_deletions", "optimizer_of"]

#: Refits that are one task where they are made one by one.
_FEW = 8
#: Sum of squares of a random-effects column, relative to that of all rows, that is nothing but rounding.
_NOTHING = 1e-12


@dataclass(frozen=True)
class Deletions:
    """Estimates without each of u sets of rows; NaN where there are none.

    Attributes
    ----------
    beta : ndarray, shape (u, p)
    beta_cov : ndarray, shape (u, p, p)
    theta : ndarray, shape (u, n_theta)
    sigma : ndarray, shape (u,)
    components : ndarray, shape (u, c)
        Variance components, in the order of `interlace.diagnostics.components.component_names`.
    criterion : ndarray, shape (u,)
        -2 log(likelihood), or the REML criterion.
    converged : ndarray of bool, shape (u,)
    evaluations : ndarray of int64, shape (u,)
        Of the deviance of each refit, on the way to its estimates; 0 where an expansion of that of all rows gives them.
    messages : tuple of str, length u
        Why there are no estimates; empty where there are.
    """

    beta: FloatArray
    beta_cov: FloatArray
    theta: FloatArray
    sigma: FloatArray
    components: FloatArray
    criterion: FloatArray
    converged: BoolArray
    evaluations: IntArray
    messages: tuple[str, ...]

    @classmethod
    def nothing(cls, state: State, messages: Sequence[str]) -> Deletions:
        """No estimates, for the reasons given."""
        u, p = len(messages), state.beta.size
        sigma, theta = np.full(u, np.nan), np.full((u, state.theta.size), np.nan)
        return cls(
            beta=np.full((u, p), np.nan),
            beta_cov=np.full((u, p, p), np.nan),
            theta=theta,
            sigma=sigma,
            components=component_values(state, theta, sigma, sigma),
            criterion=sigma.copy(),
            converged=np.zeros(u, dtype=np.bool_),
            evaluations=np.zeros(u, dtype=np.int64),
            messages=tuple(messages),
        )

    @classmethod
    def joined(cls, parts: Sequence[Deletions]) -> Deletions:
        """Several sets of refits, one after the other."""
        if len(parts) == 1:
            return parts[0]
        joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)[:-1]}
        return cls(**joined, messages=tuple(message for part in parts for message in part.messages))

    def take(self, index: IntArray) -> Deletions:
        """Some of the refits."""
        taken = {f.name: getattr(self, f.name)[index] for f in fields(self)[:-1]}
        return Deletions(**taken, messages=tuple(self.messages[i] for i in index.tolist()))

    def scattered(self, state: State, where: IntArray, messages: Sequence[str]) -> Deletions:
        """These estimates at the places ``where`` of as many sets as there are messages; the others have none."""
        if where.size == len(messages):
            return self
        out = Deletions.nothing(state, messages)
        for f in fields(self)[:-1]:
            getattr(out, f.name)[where] = getattr(self, f.name)
        texts = list(messages)
        for i, message in zip(where.tolist(), self.messages, strict=True):
            texts[i] = message
        return replace(out, messages=tuple(texts))


def exact_deletions(
    state: State,
    subsets: Sequence[IntArray],
    *,
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> Deletions:
    """Fit a model again without each of some sets of rows, every parameter anew.

    Parameters
    ----------
    state : State
        REML or ML, weights and offset are kept.
    subsets : sequence of ndarray of int64
        Rows, 0 to n - 1, that each refit lacks.
    optimizer : {"auto", "lbfgsb", "bobyqa"}, optional
        That of the fit by default. With "auto" linear models are refitted many at once.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; the numbers do not depend on it.
    show_progress : bool

    Returns
    -------
    Deletions
        Without estimates where the rows left do not identify the model or the optimizer fails; ``messages`` says why.

    Raises
    ------
    ValueError
        An argument is out of range.

    Examples
    --------
    >>> import interlace, numpy as np
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> found = exact_deletions(state, [np.array([0]), np.arange(25)])
    >>> found.beta.round(2)
    array([[1526.09],
           [    nan]])
    >>> found.messages[1]
    "one level of the grouping factor 'Batch' is left"
    """
    optimizer, n_jobs = optimizer_of(state, optimizer), whole_number_of_jobs(n_jobs)
    messages = _obstacles(state, subsets)
    possible = np.flatnonzero([not message for message in messages])
    if not possible.size:
        return Deletions.nothing(state, messages)
    work: Callable[[Sequence[IntArray]], Deletions]
    chosen = [subsets[i] for i in possible.tolist()]
    if optimizer == "auto" and isinstance(state, FitState):
        tasks, work = portions(state, chosen), partial(_together, state)
    else:
        tasks = [chosen[first : first + _FEW] for first in range(0, len(chosen), _FEW)]
        work = partial(_one_by_one, state, optimizer)
    parts = list(in_order(work, tasks, n_jobs=n_jobs, progress="deletion" if show_progress else ""))
    return Deletions.joined(parts).scattered(state, possible, messages)


def optimizer_of(state: State, optimizer: Optimizer | None) -> Optimizer:
    """Optimizer of the refits: the one that is given, or that of the fit.

    Raises
    ------
    ValueError
        There is no such optimizer.
    """
    if optimizer is None:
        return next((name for name in get_args(Optimizer) if name == state.opt.optimizer), "auto")
    if optimizer not in get_args(Optimizer):
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, get_args(Optimizer)))}; not {optimizer!r}")
    return optimizer


def _obstacles(state: State, subsets: Sequence[IntArray]) -> list[str]:
    """Why the rows left cannot identify the random effects; empty where they can.

    The conditions are those of a first fit (`interlace.estimate.refusals.identifiable`), on the levels that are left.
    """
    out = [""] * len(subsets)
    sizes = np.array([len(rows) for rows in subsets])
    taken, member = np.concatenate(subsets), np.repeat(np.arange(sizes.size), sizes)
    left_rows = state.fitted.size - sizes
    for term in state.problem.design.terms:
        q, k = len(term.levels), term.Z.shape[1]
        cells, lost = np.unique(member * q + term.codes[taken], return_counts=True)
        emptied = lost == np.bincount(term.codes, minlength=q)[cells % q]
        left = q - np.bincount(cells // q, weights=emptied, minlength=sizes.size).astype(np.int64)
        squares = term.Z * term.Z
        total = squares.sum(axis=0)
        gone = [np.bincount(member, weights=column, minlength=sizes.size) for column in squares[taken].T]
        vanished = total - np.column_stack(gone) <= _NOTHING * total
        too_many = (left * k >= left_rows) & state.has_scale
        for u in np.flatnonzero((left < 2) | too_many | vanished.any(axis=1)):
            if left[u] < 2:
                out[u] = f"{'one level' if left[u] else 'no level'} of the grouping factor {term.group!r} is left"
            elif too_many[u]:
                out[u] = f"{left_rows[u]} rows are left for {left[u] * k} random effects of {term.group!r}"
            else:
                name = term.names[int(np.argmax(vanished[u]))]
                out[u] = f"column {name!r} of the random effects of {term.group!r} is zero in all rows left"
    return out


def _together(state: FitState, subsets: Sequence[IntArray]) -> Deletions:
    """Refits of a linear model, many at once."""
    fits = refit_without(state, subsets)
    found = Deletions(
        fits.beta,
        fits.beta_cov,
        fits.theta,
        fits.sigma,
        component_values(state, fits.theta, fits.sigma, fits.sigma),
        fits.criterion,
        fits.converged,
        fits.evaluations,
        fits.messages,
    )
    if fits.converged.all():
        return found
    texts = [message or "the optimizer did not converge" for message in fits.messages]
    converged = np.flatnonzero(fits.converged)
    return found.take(converged).scattered(state, converged, texts)


def _one_by_one(state: State, optimizer: Optimizer, subsets: Sequence[IntArray]) -> Deletions:
    """Refits of any model, one after the other."""
    parts = []
    for rows in subsets:
        keep = np.ones(state.fitted.size, dtype=np.bool_)
        keep[rows] = False
        try:
            parts.append(_of_refit(state, refit_rows(state, keep, optimizer=optimizer)))
        except (InterlaceError, np.linalg.LinAlgError) as error:
            parts.append(Deletions.nothing(state, [str(error)]))
    return Deletions.joined(parts)


def _of_refit(state: State, refit: State) -> Deletions:
    """Estimates of one refit, if there are any and they are of the same coefficients."""
    evaluations = np.array([refit.opt.evaluations])
    message = why_none(state, refit)
    if message:
        return replace(Deletions.nothing(state, [message]), evaluations=evaluations)
    theta, sigma, unit = refit.theta[None], np.array([refit.sigma]), np.array([refit.unit])
    return Deletions(
        refit.beta[None],
        refit.beta_cov[None],
        theta,
        sigma,
        component_values(state, theta, sigma, unit),
        np.array([refit.criterion]),
        np.array([True]),
        evaluations,
        ("",),
    )
