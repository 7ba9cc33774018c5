"""Confidence intervals from the replicates of a bootstrap.

Davison and Hinkley (1997), *Bootstrap Methods and their Application*, ch. 5, which R's package boot computes; the
acceleration of BCa intervals (Efron, 1987, J. Am. Stat. Assoc. 82, 171-185) from leaving out one group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from scipy.special import ndtr, ndtri

from interlace.errors import ModelError
from interlace.estimate.glmm_problem import GlmmProblem
from interlace.estimate.problem import LinearProblem
from interlace.estimate.refits import refit_rows, refit_without
from interlace.estimate.state import FitState, State
from interlace.inference.bootstrap import Replicates, all_parameters, bootstrap
from interlace.inference.bootstrap_statistics import Statistic, as_vector, evaluated, of_refits
from interlace.inference.profile_parameters import Parameter, of_fit
from interlace.inference.wald import critical_value
from interlace.prediction.simulate import whole_number_of_draws
from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from interlace.prediction.simulate import Seed

__all__ = ["BootstrapIntervals", "IntervalKind", "Jackknife", "bootstrap_intervals", "intervals", "jackknife"]

IntervalKind: TypeAlias = Literal["percentile", "basic", "bca", "normal"]


@dataclass(frozen=True)
class BootstrapIntervals:
    """Intervals of some parameters, and where they come from.

    Attributes
    ----------
    ends : ndarray, shape (s, 2)
    replicates : Replicates
    """

    ends: FloatArray
    replicates: Replicates


@dataclass(frozen=True)
class Jackknife:
    """Statistics without one group at a time.

    Attributes
    ----------
    values : ndarray, shape (g, s)
        A row of NaN where the fit failed.
    messages : tuple of str, length g
        Why it failed; empty where it did not.
    """

    values: FloatArray
    messages: tuple[str, ...]

    @property
    def acceleration(self) -> FloatArray:
        """Skewness of the influence of the groups, by 6, shape (s,); 0 for a statistic that they do not change."""
        known = np.isfinite(self.values)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, self.values, 0.0).sum(axis=0) / count
        influence = np.where(known, mean - self.values, 0.0)
        squares = (influence**2).sum(axis=0)
        scale = np.where(squares > 0.0, squares, 1.0)
        return np.asarray((influence**3).sum(axis=0) / (6.0 * scale**1.5))


def bootstrap_intervals(
    state: State,
    parameters: Sequence[Parameter] | None = None,
    level: float = 0.95,
    *,
    kind: IntervalKind = "percentile",
    nsim: int = 1000,
    seed: Seed = None,
    n_jobs: int | None = None,
    show_progress: bool = False,
) -> BootstrapIntervals:
    """Parametric bootstrap intervals of parameters of a fit.

    Parameters
    ----------
    state : FitState or GlmmState
    parameters : sequence of Parameter, length s, optional
        `all_parameters` by default.
    level : float
        Between 0 and 1.
    kind : {"percentile", "basic", "bca", "normal"}
    nsim, seed, n_jobs, show_progress
        As for `bootstrap`.

    Returns
    -------
    BootstrapIntervals

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> bootstrap_intervals(state, nsim=200, seed=1).ends.shape
    (3, 2)
    """
    _checked(kind)
    critical_value(level)
    if whole_number_of_draws(nsim) < 2:
        raise ValueError("nsim must be at least 2 for intervals; 1000 or more are usual")
    found = bootstrap(state, nsim, seed, parameters=parameters, n_jobs=n_jobs, show_progress=show_progress)
    acceleration = jackknife(state, parameters=parameters).acceleration if kind == "bca" else None
    return BootstrapIntervals(intervals(found, level, kind, acceleration), found)


def _checked(kind: IntervalKind) -> None:
    if kind not in get_args(IntervalKind):
        raise ValueError(f"kind must be one of {', '.join(map(repr, get_args(IntervalKind)))}; not {kind!r}")


def intervals(
    replicates: Replicates,
    level: float = 0.95,
    kind: IntervalKind = "percentile",
    acceleration: FloatArray | None = None,
) -> FloatArray:
    """Intervals of every statistic.

    Parameters
    ----------
    replicates : Replicates
    level : float
        Between 0 and 1.
    kind : {"percentile", "basic", "bca", "normal"}
        Quantiles of the replicates; these mirrored at the estimate; with bias correction and acceleration; or
        estimate less bias -/+ normal quantile times standard error.
    acceleration : ndarray, shape (s,), optional
        Needed for "bca": see `jackknife`.

    Returns
    -------
    ndarray, shape (s, 2)
        From the replicates that did not fail and whose statistic is a number; NaN where fewer than two are.

    Examples
    --------
    >>> import numpy as np
    >>> found = Replicates(np.arange(1.0, 100.0)[:, None], np.array([50.0]), ("",) * 99)
    >>> intervals(found, 0.9)
    array([[ 5., 95.]])
    """
    _checked(kind)
    z = float(critical_value(level))
    if kind == "bca" and acceleration is None:
        raise ValueError('kind="bca" needs the acceleration of every statistic: see jackknife()')
    if kind == "normal":
        center, reach = replicates.estimate - replicates.bias, z * replicates.se
        return np.column_stack([center - reach, center + reach])
    out = np.full((replicates.estimate.size, 2), np.nan)
    tails = ndtr(np.array([-z, z]))
    for j, (column, estimate) in enumerate(zip(replicates.values.T, replicates.estimate, strict=True)):
        known = np.sort(column[np.isfinite(column)])
        if known.size < 2 or not np.isfinite(estimate):
            continue
        if kind == "basic":
            out[j] = 2.0 * estimate - _quantiles(known, tails)[::-1]
        elif kind == "bca" and acceleration is not None:
            out[j] = _quantiles(known, _adjusted(known, estimate, float(acceleration[j]), z))
        else:
            out[j] = _quantiles(known, tails)
    return out


def _adjusted(values: FloatArray, estimate: float, acceleration: float, z: float) -> FloatArray:
    """Levels of the quantiles that are the ends of a BCa interval (Davison and Hinkley, eq. 5.21).

    Replicates equal to the estimate, of which there are many on a boundary, count half.
    """
    R = values.size
    below = (np.count_nonzero(values < estimate) + 0.5 * np.count_nonzero(values == estimate)) / R
    w = float(ndtri(min(max(below, 0.5 / R), 1.0 - 0.5 / R)))
    reach = w + np.array([-z, z])
    return np.asarray(ndtr(w + reach / (1.0 - acceleration * reach)))


def _quantiles(values: FloatArray, levels: FloatArray) -> FloatArray:
    """Quantiles of sorted replicates, interpolated on the normal scale (Davison and Hinkley, eq. 5.8)."""
    R = values.size
    place = (R + 1) * levels
    # A level such as 0.05 of 99 replicates is meant to hit one of them; rounding must not decide which.
    near = np.round(place)
    place = np.where(np.abs(place - near) < 1e-9 * R, near, place)
    low = np.clip(np.floor(place), 1, R).astype(np.int64)
    high = np.minimum(low + 1, R)
    inside = (place > low) & (place < R)
    left, right = ndtri(low / (R + 1)), ndtri(high / (R + 1))
    share = np.where(inside, (ndtri(levels) - left) / np.where(right > left, right - left, 1.0), 0.0)
    return np.asarray(values[low - 1] + share * (values[high - 1] - values[low - 1]))


def jackknife(
    state: State, *, parameters: Sequence[Parameter] | None = None, statistic: Statistic | None = None
) -> Jackknife:
    """Statistics without one group at a time.

    The groups are independent of each other as far as possible: the levels of the outermost of nested factors, or of
    the factor with the most levels where factors are crossed.

    Parameters
    ----------
    state : State
    parameters, statistic
        As for `bootstrap`.

    Returns
    -------
    Jackknife

    Raises
    ------
    ModelError
        The model could be fitted without fewer than two of the groups.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> jackknife(state).acceleration.round(3)
    array([0.062, 0.034, 0.028])
    """
    noted = all_parameters(state) if parameters is None else parameters
    groups, count = _groups(state)
    if statistic is None and isinstance(state, FitState):
        fits = refit_without(state, [np.flatnonzero(groups == level) for level in range(count)])
        values, messages = of_refits(state, fits, noted), list(fits.messages)
    else:
        function = statistic or partial(of_fit, parameters=noted)
        width = as_vector(function(state)).size
        values, messages = evaluated(
            (partial(refit_rows, state, groups != level) for level in range(count)), function, width
        )
    if sum(not message for message in messages) < 2:
        raise ModelError(
            "the acceleration of BCa intervals needs fits without one group at a time, and these fail, the first one "
            f'with: {messages[0] or messages[1]}; use kind="percentile" or kind="basic"'
        )
    return Jackknife(values, tuple(messages))


def _groups(state: State) -> tuple[IntArray, int]:
    """Level of each row of the factor whose groups are left out, and number of levels."""
    problem = state.problem
    assert isinstance(problem, LinearProblem | GlmmProblem)
    codes = problem.rows.codes if isinstance(problem, LinearProblem) else problem.codes
    structure = problem.structure
    at = structure.n_chain - 1 if not structure.rest else 0
    return codes[at], structure.blocks[at].q
