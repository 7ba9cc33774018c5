"""New responses drawn from a fitted model."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import pandas as pd

from interlace.core.families import Gaussian
from interlace.errors import ModelError
from interlace.estimate.derived import term_factors
from interlace.prediction.response import has_mean, response_model

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.core.working import WorkingModel
    from interlace.estimate.state import State
    from interlace.typing import FloatArray

__all__ = ["Seed", "draws", "generator", "simulate", "whole_number_of_draws"]

Seed: TypeAlias = int | np.random.Generator | None

#: Numbers that the arrays of one batch of simulations may hold.
_BATCH = 1_000_000


def simulate(state: State, nsim: int = 1, seed: Seed = None, *, conditional: bool = False) -> pd.DataFrame:
    """Draw new responses from a fitted model.

    Parameters
    ----------
    state : State
    nsim : int
        Number of simulations.
    seed : int, numpy.random.Generator or None
        An integer gives the same responses every time; a generator is advanced; None gives others every time.
    conditional : bool
        Whether the random effects stay at their conditional modes (lme4's ``use.u=TRUE``) instead of being drawn anew.

    Returns
    -------
    DataFrame, shape (n, nsim)
        Columns ``sim_1``, ``sim_2``, ..., rows as the fit used them. Column i is the same for every ``nsim`` of i or
        more. The responses are what ``refit`` takes: of the transformed left-hand side, if it is one; proportions of
        the same numbers of trials for a binomial family.

    Raises
    ------
    ValueError
        ``nsim`` or ``seed`` is out of range; the family cannot simulate, or not with these weights; or a linear
        predictor has no mean.
    TypeError
        ``nsim`` or ``seed`` is something else.

    Notes
    -----
    Estimates count as known. The residual variance of a linear model is sigma^2 / weight, the dispersion of a Gamma or
    inverse Gaussian response sigma^2 / weight. The weights of counts (Poisson, negative binomial), which multiply a log
    density, have no meaning for a single response and are left out, as in R.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> new = simulate(result.state, 3, seed=1)
    >>> new.shape, list(new.columns)
    ((180, 3), ['sim_1', 'sim_2', 'sim_3'])
    >>> new["sim_1"].equals(simulate(result.state, seed=1)["sim_1"])
    True
    """
    values = draws(state, whole_number_of_draws(nsim), generator(seed), conditional=conditional)
    names = [f"sim_{i + 1}" for i in range(len(values))]
    return pd.DataFrame(values.T, index=state.problem.design.index, columns=names)


def generator(seed: Seed) -> np.random.Generator:
    """Source of random numbers.

    Parameters
    ----------
    seed : int, numpy.random.Generator or None

    Raises
    ------
    TypeError, ValueError
        It is none of these; it is negative.

    Examples
    --------
    >>> generator(1).integers(100) == generator(1).integers(100)
    np.True_
    """
    if seed is None or isinstance(seed, np.random.Generator):
        return np.random.default_rng(seed)
    try:
        number = operator.index(seed)
    except TypeError:
        number = None
    if number is None or isinstance(seed, bool | np.bool_):
        raise TypeError(f"seed must be a whole number, a numpy.random.Generator or None, not {seed!r}")
    if number < 0:
        raise ValueError(f"seed must not be negative, but is {seed}")
    return np.random.default_rng(number)


def whole_number_of_draws(nsim: int) -> int:
    """Check how many responses are to be drawn.

    Raises
    ------
    TypeError
        ``nsim`` is no whole number.
    ValueError
        It is less than 1.

    Examples
    --------
    >>> whole_number_of_draws(0)
    Traceback (most recent call last):
    ValueError: nsim must be at least 1, but is 0
    """
    try:
        count = operator.index(nsim)
    except TypeError:
        count = None
    if count is None or isinstance(nsim, bool | np.bool_):
        raise TypeError(f"nsim must be a whole number, not {nsim!r}")
    if count < 1:
        raise ValueError(f"nsim must be at least 1, but is {nsim}")
    return count


def draws(state: State, nsim: int, rng: np.random.Generator, *, conditional: bool = False) -> FloatArray:
    """Responses as an array; see `simulate`.

    Parameters
    ----------
    state : State
    nsim : int
    rng : numpy.random.Generator
    conditional : bool

    Returns
    -------
    ndarray, shape (nsim, n)

    Examples
    --------
    >>> import interlace, numpy as np
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> draws(result.state, 3, np.random.default_rng(1)).shape
    (3, 180)
    """
    model = response_model(state)
    # Random effects and responses come from two streams, so that each can be drawn for many simulations at once and
    # still not depend on how many there are.
    for_effects, for_responses = map(np.random.default_rng, rng.integers(2**63, size=(2, 4)))
    out = np.empty((nsim, state.fixed.size))
    fixed = state.fixed + _random_part(state, [modes[None] for modes in state.modes])[0] if conditional else state.fixed
    wide = max([modes.size for modes in state.modes] + [state.fixed.size * modes.shape[1] for modes in state.modes])
    step = max(1, _BATCH // wide)
    for start in range(0, nsim, step):
        some = slice(start, min(start + step, nsim))
        eta = np.broadcast_to(fixed, out[some].shape)
        if not conditional:
            eta = fixed + _random_part(state, _new_effects(state, len(eta), for_effects))
        _fill(out[some], model, eta, state.sigma**2, for_responses)
    return out


def _new_effects(state: State, count: int, rng: np.random.Generator) -> list[FloatArray]:
    """Random effects of every term from N(0, unit^2 L L'), shapes (count, q_i, k_i)."""
    sizes = [modes.size for modes in state.modes]
    standard = rng.standard_normal((count, sum(sizes)))
    parts = np.split(standard, np.cumsum(sizes)[:-1], axis=1)
    return [
        u.reshape(count, *modes.shape) @ (state.unit * L.T)
        for u, modes, L in zip(parts, state.modes, term_factors(state), strict=True)
    ]


def _random_part(state: State, effects: Sequence[FloatArray]) -> FloatArray:
    """Z b of several sets of random effects b, shapes (count, q_i, k_i); shape (count, n)."""
    total = np.zeros((effects[0].shape[0], state.fixed.size))
    for term, b in zip(state.problem.design.terms, effects, strict=True):
        for j in range(term.Z.shape[1]):
            total += b[:, :, j].take(term.codes, axis=1) * term.Z[:, j]
    return total


def _fill(out: FloatArray, model: WorkingModel, eta: FloatArray, dispersion: float, rng: np.random.Generator) -> None:
    """Draw one response for every linear predictor, shape (count, n), into ``out``."""
    family, link = model.family, model.link
    with np.errstate(all="ignore"):
        mu = link.mu(eta)
    bad = ~has_mean(family, link, eta, mu)
    if bad.any():
        raise ModelError(
            f"cannot simulate: with the {link.name!r} link, linear predictors such as {eta[bad][0]:.4g} (at "
            f"{int(bad.any(axis=0).sum())} of {bad.shape[1]} rows) give no mean of the family {family.name!r}. Use a "
            'link for which every linear predictor has one, such as "log"; or keep the random effects of the fit with '
            "conditional=True"
        )
    weights = model.weights if model.trials is None else model.trials
    if isinstance(family, Gaussian):
        out[:] = family.simulate(mu, weights, dispersion, rng)
        return
    for i in range(len(mu)):  # one at a time: that is what a user's own family can do
        try:
            out[i] = family.simulate(mu[i], weights, dispersion, rng)
        except ModelError:
            raise
        except ValueError as error:
            raise ModelError(
                f"cannot simulate: the family {family.name!r} gives no responses for means between {mu[i].min():.4g} "
                f"and {mu[i].max():.4g}: {error}"
            ) from error
