"""What functions of results accept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.members import Members

__all__ = ["state_of_result"]


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
