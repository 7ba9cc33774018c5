"""Which random effects a figure shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from interlace.diagnostics.units import grouping_term

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm

__all__ = ["Effect", "chosen_effects", "group_term"]


class Effect(NamedTuple):
    """One random effect: number of the term in the model, term, number of the effect in the term."""

    number: int
    term: RandomTerm
    column: int

    @property
    def name(self) -> str:
        """Title of its axes."""
        return f"{self.term.names[self.column]} | {self.term.key}"


def group_term(state: State, group: str | None) -> RandomTerm:
    """First term on a grouping factor, by any of its spellings; the first term of all by default.

    Raises
    ------
    ValueError
        There is no such factor.
    """
    terms = state.problem.design.terms
    if group is None:
        return terms[0]
    try:
        return grouping_term(state, group)
    except ValueError:
        known = ", ".join(repr(name) for name in dict.fromkeys(term.group for term in terms))
        raise ValueError(f"group={group!r} is not a grouping factor of this model; use {known}") from None


def chosen_effects(state: State, group: str | None, effect: str | None) -> list[Effect]:
    """Random effects of a grouping factor, or of all; one of them, or all.

    Raises
    ------
    ValueError
        There is no such factor or effect.
    """
    of_group = None if group is None else group_term(state, group).group
    inside = [(i, term) for i, term in enumerate(state.problem.design.terms) if of_group in (None, term.group)]
    found = [Effect(i, term, j) for i, term in inside for j, name in enumerate(term.names) if effect in (None, name)]
    if not found:
        known = ", ".join(repr(name) for name in dict.fromkeys(name for _, term in inside for name in term.names))
        raise ValueError(f"effect={effect!r} is not a random effect; use {known}")
    return found
