"""Bootstrap of a fitted model: responses drawn from it, the model fitted to each, and what becomes of the estimates.

The responses of replicate i depend on the seed and on i alone, so neither the number of workers nor the statistic
changes them. Linear models are refitted many at once (:mod:`interlace.core.batch`), everything else one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from interlace.errors import ModelError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.parallel import in_order, whole_number_of_jobs
from interlace.estimate.refits import refit, refit_responses
from interlace.estimate.state import FitState, State
from interlace.inference.bootstrap_statistics import Statistic, as_vector, evaluated, of_refits
from interlace.inference.profile_parameters import Parameter, coefficients, of_fit, standard_deviations
from interlace.prediction.simulate import draws, generator, whole_number_of_draws
from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from interlace.prediction.simulate import Seed

__all__ = ["Kind", "Replicates", "all_parameters", "bootstrap"]

Kind: TypeAlias = Literal["parametric", "conditional", "semiparametric"]

#: Replicates that are drawn from one stream of random numbers, and streams whose replicates are fitted together.
_CHUNK, _TOGETHER = 50, 5


@dataclass(frozen=True)
class Replicates:
    """Statistics of the replicates of a bootstrap.

    Attributes
    ----------
    values : ndarray, shape (nsim, s)
        A row of NaN for a replicate that failed.
    estimate : ndarray, shape (s,)
        The same of the fit itself.
    messages : tuple of str, length nsim
        Why a replicate failed; empty where it did not.
    """

    values: FloatArray
    estimate: FloatArray
    messages: tuple[str, ...]

    @property
    def failures(self) -> IntArray:
        """Numbers of the replicates that failed."""
        return np.flatnonzero([bool(message) for message in self.messages])

    @property
    def bias(self) -> FloatArray:
        """Mean of the replicates less the estimate, shape (s,)."""
        return np.asarray(_each(self.values, np.mean) - self.estimate)

    @property
    def se(self) -> FloatArray:
        """Standard deviations of the replicates, shape (s,)."""
        return _each(self.values, lambda column: np.std(column, ddof=1))


def _each(values: FloatArray, function: Callable[[FloatArray], np.floating]) -> FloatArray:
    """A function of the numbers in every column that are not NaN; NaN where there are fewer than two."""
    out = np.full(values.shape[1], np.nan)
    for j, column in enumerate(values.T):
        known = column[np.isfinite(column)]
        if known.size > 1:
            out[j] = function(known)
    return out


@dataclass(frozen=True)
class _Task:
    """Replicates that are drawn and fitted together: sizes of their chunks, and a source of random numbers for each."""

    counts: Sequence[int]
    streams: Sequence[np.random.SeedSequence]

    def __len__(self) -> int:
        return sum(self.counts)


#: Carries out a task: statistics of its replicates, and why any failed.
_Work: TypeAlias = Callable[[_Task], tuple[FloatArray, list[str]]]


def bootstrap(
    state: State,
    nsim: int = 1000,
    seed: Seed = None,
    *,
    parameters: Sequence[Parameter] | None = None,
    statistic: Statistic | None = None,
    kind: Kind = "parametric",
    n_jobs: int | None = None,
    show_progress: bool = False,
) -> Replicates:
    """Draw responses from a fitted model and fit the model to each of them.

    Parameters
    ----------
    state : FitState or GlmmState
    nsim : int
        Number of replicates.
    seed : int, numpy.random.Generator or None
        An integer gives the same replicates every time, whatever ``n_jobs`` and ``statistic`` are.
    parameters : sequence of Parameter, optional
        What to note of every refit; `all_parameters` by default.
    statistic : callable, optional
        Something else to note instead: takes a state, gives a number or an array of shape (s,).
    kind : {"parametric", "conditional", "semiparametric"}
        Random effects and responses drawn from the model; responses only, with the random effects at their modes
        (lme4's ``use.u=TRUE``); or modes and residuals kept, the residuals drawn with replacement (linear models).
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``: one, or what ``joblib.parallel_config`` says, by default.
    show_progress : bool

    Returns
    -------
    Replicates

    Raises
    ------
    ModelError
        No replicate could be fitted.
    TypeError, ValueError
        An argument is out of range; the statistic of the fit itself is not a vector.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> found = bootstrap(state, 200, seed=1)
    >>> found.values.shape, found.estimate.round(1)
    ((200, 3), array([  42. ,   49.5, 1527.5]))
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(map(repr, get_args(Kind)))}; not {kind!r}")
    if kind == "semiparametric" and isinstance(state, GlmmState):
        raise ModelError(
            'kind="semiparametric" resamples residuals, which needs a linear model; use "parametric" or "conditional"'
        )
    n_jobs = whole_number_of_jobs(n_jobs)
    noted = all_parameters(state) if parameters is None else parameters
    function = statistic or partial(of_fit, parameters=noted)
    estimate = as_vector(function(state))
    counts, streams = _streams(nsim, seed)
    work: _Work
    if statistic is None and isinstance(state, FitState):
        size, work = _TOGETHER, partial(_many, state, noted, kind)
    else:
        size, work = 1, partial(_one_by_one, state, function, estimate.size, kind)
    tasks = [_Task(counts[i : i + size], streams[i : i + size]) for i in range(0, len(counts), size)]
    values, messages = [], []
    for part, why in in_order(work, tasks, n_jobs=n_jobs, progress="bootstrap" if show_progress else ""):
        values.append(part)
        messages += why
    if all(messages):
        raise ModelError(f"none of the {nsim} replicates could be fitted; the first one: {messages[0]}")
    return Replicates(np.concatenate(values), estimate, tuple(messages))


def all_parameters(state: State) -> list[Parameter]:
    """Standard deviations and correlations in the order of theta, sigma or a negative binomial's theta, fixed effects.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state
    >>> [parameter.kind for parameter in all_parameters(state)]
    ['sd', 'cor', 'sd', 'sigma', 'beta', 'beta']
    """
    return [*standard_deviations(state), *coefficients(state)]


def _streams(nsim: int, seed: Seed) -> tuple[list[int], list[np.random.SeedSequence]]:
    """Sizes of the chunks of replicates, and a source of random numbers for each."""
    nsim = whole_number_of_draws(nsim)
    entropy = generator(seed).integers(2**63, size=4).tolist()
    counts = [min(_CHUNK, nsim - start) for start in range(0, nsim, _CHUNK)]
    return counts, np.random.SeedSequence(entropy).spawn(len(counts))


def _responses(state: State, kind: Kind, task: _Task) -> FloatArray:
    """New responses of all chunks, shape (sum of counts, n)."""
    parts = []
    for count, stream in zip(task.counts, task.streams, strict=True):
        rng = np.random.default_rng(stream)
        if kind == "semiparametric":
            design = state.problem.design
            root = 1.0 if design.weights is None else np.sqrt(design.weights)
            residuals = (design.y - state.fitted) * root
            parts.append(state.fitted + rng.choice(residuals, (count, residuals.size)) / root)
        else:
            parts.append(draws(state, count, rng, conditional=kind == "conditional"))
    return np.concatenate(parts)


def _many(state: FitState, parameters: Sequence[Parameter], kind: Kind, task: _Task) -> tuple[FloatArray, list[str]]:
    """Parameters of a linear model, all refits at once."""
    fits = refit_responses(state, _responses(state, kind, task))
    return of_refits(state, fits, parameters), list(fits.messages)


def _one_by_one(
    state: State,
    statistic: Statistic,
    width: int,
    kind: Kind,
    task: _Task,
) -> tuple[FloatArray, list[str]]:
    """Statistics of any model, one refit after the other."""
    Y = _responses(state, kind, task)
    return evaluated((partial(refit, state, y) for y in Y), statistic, width)
