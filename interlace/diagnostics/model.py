"""What the diagnostics accept as a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlace.estimate.state import FitState
from interlace.results.arguments import state_of_result

if TYPE_CHECKING:
    from interlace.estimate.state import State

__all__ = ["linear_state_of", "state_of"]


def state_of(model: Any) -> State:
    """Arrays of a fitted model.

    Parameters
    ----------
    model : LMMResult, GLMMResult, or statsmodels' MixedLMResults

    Returns
    -------
    State

    Raises
    ------
    TypeError
        For anything else.
    """
    if any(kind.__module__.startswith("statsmodels.") for kind in type(model).__mro__):
        from interlace.interop.statsmodels import as_state

        return as_state(model)
    return state_of_result(model)


def linear_state_of(model: Any, what: str) -> FitState:
    """Arrays of a fitted linear model; ``what`` is asked for, in the message for a generalized one.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    what : str

    Returns
    -------
    FitState

    Raises
    ------
    TypeError
        For anything else.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cbpp")
    >>> fit = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
    >>> linear_state_of(fit, "hlm_resid()")
    Traceback (most recent call last):
    TypeError: hlm_resid() is defined for linear mixed models, and this is a generalized one
    """
    state = state_of(model)
    if not isinstance(state, FitState):
        raise TypeError(f"{what} is defined for linear mixed models, and this is a generalized one")
    return state
