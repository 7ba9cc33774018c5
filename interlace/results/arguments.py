"""What functions of results accept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.members import Members

__all__ = ["listed_names", "one_of", "state_of_result"]


def state_of_result(result: Members) -> State:
    """Arrays of a result, or a TypeError that says what was given instead.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    State

    Examples
    --------
    >>> state_of_result("y ~ x")
    Traceback (most recent call last):
    TypeError: expected a result of interlace.fit() or interlace.glmer(), not str
    """
    state: State | None = getattr(result, "state", None)
    if state is None:
        raise TypeError(f"expected a result of interlace.fit() or interlace.glmer(), not {type(result).__name__}")
    return state


def listed_names(argument: str, value: Any, what: str) -> tuple[str, ...]:
    """One name or several, or a TypeError that says which argument is something else.

    Parameters
    ----------
    argument : str
    value : str or iterable of str
    what : str
        What the names are of.

    Examples
    --------
    >>> listed_names("by", "period", "factor")
    ('period',)
    """
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Iterable):
        raise TypeError(f"{argument} must be the name of a {what} or several, not {value!r}")
    return tuple(value)


def one_of(argument: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse what an argument cannot be.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> one_of("scale", "log", ("theta", "sd", "var"))
    Traceback (most recent call last):
    ValueError: scale must be one of theta, sd, var; not 'log'
    """
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}; not {value!r}")
