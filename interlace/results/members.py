"""All members that give numbers of a result, in one class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlace.results.criteria import Criteria
from interlace.results.fixed import FixedEffects
from interlace.results.random import RandomEffects
from interlace.results.rows import Rows

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.call import FitCall, GlmerCall

__all__ = ["Members"]


class Members(FixedEffects, RandomEffects, Criteria, Rows):
    """Numbers of a fit, computed from its arrays when asked for.

    Parameters
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    """

    def __init__(self, state: State, call: FitCall | GlmerCall) -> None:
        self.state = state
        self.call = call

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "call": self.call}  # what was cached is computed again

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.formula}, {self.method}, {self.nobs} rows>"

    @property
    def formula(self) -> str:
        """The whole formula, random-effects terms included.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject").formula
        'Reaction ~ Days + (1 | Subject)'
        """
        return self.state.problem.design.formula
