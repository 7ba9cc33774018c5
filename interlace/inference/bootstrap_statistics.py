"""Statistics of refits: a user's function of each fit, or parameters of many refits at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np

from interlace.core import blas
from interlace.core.batch_refits import Refits
from interlace.core.terms import split_theta
from interlace.estimate.state import FitState, State
from interlace.inference.profile_parameters import Parameter, estimates
from interlace.typing import FloatArray

__all__ = ["Statistic", "as_vector", "evaluated", "of_refits"]

#: What is computed from every refit: a number, or an array of s numbers.
Statistic: TypeAlias = Callable[[State], FloatArray]


def as_vector(values: object) -> FloatArray:
    """What a statistic returned, as an array."""
    array = np.atleast_1d(np.asarray(values, dtype=np.float64))
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"statistic must return a number or a vector of numbers, not an array of shape {array.shape}")
    return array


def evaluated(fits: Iterable[Callable[[], State]], function: Statistic, width: int) -> tuple[FloatArray, list[str]]:
    """Statistics of fits that may fail: NaN and a message for those that do.

    Parameters
    ----------
    fits : iterable of callable
        Each makes one fit.
    function : callable
    width : int
        Length s of the statistic.

    Returns
    -------
    values : ndarray, shape (number of fits, s)
    messages : list of str
    """
    rows, messages = [], []
    for fit in fits:
        row, message = np.full(width, np.nan), ""
        try:
            with blas.limited(0):
                state = fit()
                if state.opt.converged:
                    found = as_vector(function(state))
                    if found.size == width:
                        row = found
                    else:
                        message = f"the statistic has {found.size} values instead of {width}"
                else:
                    message = f"did not converge: {state.opt.message}"
        except Exception as error:  # whatever a user's function or a hopeless sample raises is reported
            message = f"{type(error).__name__}: {error}"
        rows.append(row)
        messages.append(message)
    return np.array(rows).reshape(len(rows), width), messages


def of_refits(state: FitState, fits: Refits, parameters: Sequence[Parameter]) -> FloatArray:
    """Parameters of batched refits of a fit, shape (B, s); NaN for those that failed."""
    values = np.full((fits.sigma.size, len(parameters)), np.nan)
    for b, message in enumerate(fits.messages):
        if not message:
            factors = split_theta(state.problem.shapes, fits.theta[b])
            values[b] = estimates(factors, fits.sigma[b], fits.sigma[b], fits.beta[b], parameters)
    return values
