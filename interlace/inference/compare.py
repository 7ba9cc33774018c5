"""Comparing fits of the same data by their likelihoods: which may be compared, and how likely a difference is.

The parametric bootstrap draws responses from the smaller model and fits both models to each; the p-value is
(1 + r) / (1 + B), with r of the B statistics at least as large as the observed one (Davison and Hinkley, 1997,
*Bootstrap Methods and their Application*, section 4.2; Halekoh and Hojsgaard, 2014, J. Stat. Softw. 59(9)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.probes import difference_error as error_of_difference
from interlace.errors import DataError, ModelError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import fit_problem
from interlace.estimate.refits import refit, refit_responses
from interlace.estimate.state import FitState, State
from interlace.inference.bootstrap import bootstrap
from interlace.inference.contrasts import chi_square_p_value
from interlace.prediction.simulate import draws

if TYPE_CHECKING:
    from interlace.typing import FloatArray, IntArray

__all__ = [
    "Comparison",
    "Simulated",
    "check_comparable",
    "compare",
    "difference_error",
    "simulated_ratios",
    "with_one_criterion",
]

#: Numbers that the simulated responses of one round may hold.
_ROUND = 1_000_000
#: Families whose densities are with respect to the same measure.
_MEASURE = {
    "poisson": "counts",
    "negative.binomial": "counts",
    "Gamma": "measurements",
    "inverse.gaussian": "measurements",
    "gaussian": "measurements",
}


@dataclass(frozen=True)
class Comparison:
    """Fits in the order of their numbers of parameters, each compared with the one before it.

    Attributes
    ----------
    order : ndarray of int64, shape (m,)
        Positions of the fits in the order in which they were given.
    n_params : ndarray of int64, shape (m,)
    criterion : ndarray, shape (m,)
        -2 log(likelihood), restricted where all fits are by REML.
    nobs : int
    monte_carlo : ndarray, shape (m - 1,)
        Standard error of each statistic due to random probes; zero for exact criteria.
    """

    order: IntArray
    n_params: IntArray
    criterion: FloatArray
    nobs: int
    monte_carlo: FloatArray

    @property
    def aic(self) -> FloatArray:
        """Akaike's criterion, shape (m,)."""
        return self.criterion + 2.0 * self.n_params

    @property
    def aicc(self) -> FloatArray:
        """AIC corrected for small samples (Hurvich and Tsai, 1989), shape (m,); NaN for as many parameters as rows."""
        k, left = self.n_params, self.nobs - self.n_params - 1
        return np.asarray(np.where(left > 0, self.aic + 2.0 * k * (k + 1) / np.maximum(left, 1), np.nan))

    @property
    def bic(self) -> FloatArray:
        """Schwarz's criterion, shape (m,)."""
        return np.asarray(self.criterion + np.log(self.nobs) * self.n_params)

    @property
    def df(self) -> IntArray:
        """Parameters that each fit has more than the one before it, shape (m - 1,)."""
        return np.diff(self.n_params)

    @property
    def statistic(self) -> FloatArray:
        """Likelihood-ratio statistics, shape (m - 1,); zero where the larger model fits worse."""
        return np.maximum(-np.diff(self.criterion), 0.0)

    @property
    def p_values(self) -> FloatArray:
        """Upper tail probabilities of the chi-square distribution, shape (m - 1,); NaN without degrees of freedom."""
        return np.where(self.df > 0, chi_square_p_value(self.statistic, self.df), np.nan)


def compare(states: Sequence[State]) -> Comparison:
    """Put fits into the order of their numbers of parameters.

    Parameters
    ----------
    states : sequence of FitState or of GlmmState
        That `check_comparable` accepts, with criteria that can be compared (`with_one_criterion`).

    Returns
    -------
    Comparison

    Raises
    ------
    ModelError
        The log-determinants of two fits were estimated with different random probes.
    """
    n_params = np.array([len(s.beta) + len(s.theta) + s.n_extra for s in states], dtype=np.int64)
    order = np.argsort(n_params, kind="stable")
    criterion = np.array([s.criterion for s in states])
    in_order = [states[i] for i in order]
    errors = np.array([difference_error(a, b) for a, b in pairwise(in_order)], dtype=np.float64)
    return Comparison(order, n_params[order], criterion[order], states[0].problem.design.n, errors)


def difference_error(a: State, b: State) -> float:
    """Standard error of the difference of two criteria due to random probes, 0 for exact ones.

    Parameters
    ----------
    a, b : FitState or GlmmState

    Raises
    ------
    ModelError
        Without common probes a difference is not accurate enough.
    """
    first, second = a.opt.monte_carlo, b.opt.monte_carlo
    if first is not None and second is not None and first.probes.seed != second.probes.seed:
        raise ModelError(
            f"the criteria were estimated with random probes of different seeds ({first.probes.seed} and "
            f"{second.probes.seed}), so that their difference has the errors of both: fit both with the same "
            "Control(seed=...)"
        )
    return error_of_difference(first, second)


def check_comparable(states: Sequence[State], names: Sequence[str]) -> None:
    """Refuse fits whose likelihoods are not of the same data.

    Parameters
    ----------
    states : sequence of FitState or GlmmState
    names : sequence of str

    Raises
    ------
    DataError
        Rows, responses or weights differ.
    ModelError
        Linear and generalized models, or families for other kinds of responses.
    """
    first, label = states[0], names[0]
    design = first.problem.design
    for state, name in zip(states[1:], names[1:], strict=True):
        other = state.problem.design
        if isinstance(state, GlmmState) != isinstance(first, GlmmState):
            kinds = ["a generalized" if isinstance(s, GlmmState) else "a linear" for s in (first, state)]
            raise ModelError(
                f"{label} is {kinds[0]} model and {name} {kinds[1]} one; their likelihoods cannot be compared. Fit "
                "both by the same function"
            )
        if other.n != design.n:
            raise DataError(
                f"{label} uses {design.n} rows and {name} {other.n}: missing values may have left rows out. "
                "Fit both to the rows that are complete for all their columns, as in data.dropna(subset=[...])"
            )
        if not np.allclose(other.y, design.y, rtol=1e-10, atol=0.0):
            raise DataError(
                f"the responses {design.response!r} of {label} and {other.response!r} of {name} differ; models can be "
                "compared only on the same values in the same order of rows"
            )
        if not np.allclose(_weights(other.weights, other.y), _weights(design.weights, design.y), rtol=1e-10, atol=0.0):
            raise DataError(f"the weights of {label} and {name} differ; fit both with the same weights=")
        measures = [_measure(s) for s in (first, state)]
        if measures[0] != measures[1]:
            raise ModelError(
                f"{label} has a response of {measures[0]} and {name} one of {measures[1]}; their likelihoods cannot be "
                "compared"
            )


def _weights(weights: FloatArray | None, y: FloatArray) -> FloatArray:
    return np.ones_like(y) if weights is None else weights


def _measure(state: State) -> str:
    """What the likelihood is a density of."""
    if not isinstance(state, GlmmState):
        return ""
    name = state.model.family.name
    return _MEASURE.get(name, f"the family {name!r}")


def _by_ml(state: State) -> State:
    """Fit by ML what was fitted by REML; the cross-products stay."""
    if isinstance(state, FitState) and state.reml:
        return fit_problem(replace(state.problem, reml=False))
    return state


def with_one_criterion(states: Sequence[State], names: Sequence[str], *, by_ml: bool) -> tuple[list[State], list[str]]:
    """Fit by ML what was fitted by REML, or see that the restricted likelihoods can be compared.

    Parameters
    ----------
    states : sequence of FitState or GlmmState
    names : sequence of str
    by_ml : bool
        Whether to fit again; False compares the fits as they are.

    Returns
    -------
    list of FitState or GlmmState
    list of str
        Names of those that were fitted again.

    Raises
    ------
    ModelError
        ``by_ml`` is False, and fits by REML and by ML, or with other fixed effects, are to be compared.
    """
    restricted = [state.reml for state in states]
    if by_ml:
        refitted = [name for name, reml in zip(names, restricted, strict=True) if reml]
        return [_by_ml(state) for state in states], refitted
    if any(restricted) and not all(restricted):
        raise ModelError(
            "some of the fits are by REML and some by ML, and such likelihoods cannot be compared; leave refit=False "
            "out, or fit all with the same method="
        )
    columns = states[0].problem.design.X[:, states[0].kept]
    for state, name in zip(states[1:], names[1:], strict=True):
        X = state.problem.design.X[:, state.kept]
        if restricted[0] and not (X.shape == columns.shape and np.allclose(X, columns, rtol=1e-10)):
            raise ModelError(
                f"{names[0]} and {name} are fits by REML with different fixed effects, whose restricted likelihoods "
                "cannot be compared; leave refit=False out to compare fits by ML"
            )
    return list(states), []


@dataclass(frozen=True)
class Simulated:
    """Likelihood-ratio statistics of responses drawn from the smaller of two models.

    Attributes
    ----------
    observed : float
        Statistic of the data.
    values : ndarray, shape (nsim,)
        NaN where a fit failed.
    messages : tuple of str, length nsim
        Why it failed; empty where it did not.
    """

    observed: float
    values: FloatArray
    messages: tuple[str, ...]

    @property
    def used(self) -> int:
        """Number of replicates that could be fitted."""
        return int(np.isfinite(self.values).sum())

    @property
    def p_value(self) -> float:
        """Share of statistics at least as large as the observed one, which counts as one of them."""
        return (1 + int((self.values >= self.observed).sum())) / (1 + self.used)


def simulated_ratios(
    smaller: State, larger: State, nsim: int, rng: np.random.Generator, *, n_jobs: int | None = None
) -> Simulated:
    """Parametric bootstrap of the likelihood-ratio statistic of two models.

    Parameters
    ----------
    smaller, larger : FitState or GlmmState
        Of the same data, by ML.
    nsim : int
    rng : numpy.random.Generator
        Is advanced.
    n_jobs : int, optional
        Processes, for generalized models; linear ones are fitted many at once.

    Returns
    -------
    Simulated

    Raises
    ------
    ModelError
        No replicate could be fitted.
    """
    if isinstance(smaller, FitState) and isinstance(larger, FitState):
        found = _linear_ratios(smaller, larger, nsim, rng)
        if not found.used:
            raise ModelError(f"none of the {nsim} replicates could be fitted; the first one: {found.messages[0]}")
        return found
    replicates = bootstrap(smaller, nsim, rng, statistic=partial(_ratio, larger), n_jobs=n_jobs)
    observed = max(smaller.criterion - larger.criterion, 0.0)
    return Simulated(observed, replicates.values[:, 0], replicates.messages)


def _linear_ratios(smaller: FitState, larger: FitState, nsim: int, rng: np.random.Generator) -> Simulated:
    step = max(1, min(250, _ROUND // smaller.fixed.size))
    values, messages = [], []
    for start in range(0, nsim, step):
        Y = draws(smaller, min(step, nsim - start), rng)
        small, large = refit_responses(smaller, Y), refit_responses(larger, Y)
        good = small.converged & large.converged
        values.append(np.where(good, np.maximum(small.criterion - large.criterion, 0.0), np.nan))
        messages += [a or b for a, b in zip(small.messages, large.messages, strict=True)]
    observed = max(smaller.criterion - larger.criterion, 0.0)
    return Simulated(observed, np.concatenate(values), tuple(messages))


def _ratio(larger: State, smaller: State) -> FloatArray:
    """Statistic of a refit of the smaller model, with one of the larger model to its response."""
    fit = refit(larger, smaller.problem.design.y)
    if not fit.opt.converged:
        raise ModelError(f"the larger model did not converge: {fit.opt.message}")
    return np.array([max(smaller.criterion - fit.criterion, 0.0)])
