"""Conditional modes of the random effects with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.diagnostics.model import state_of
from interlace.estimate.derived import conditional_covariances
from interlace.inference.wald import critical_value
from interlace.plotting.axes import BLUE, GRAY, as_returned, several_axes
from interlace.plotting.labels import shortened
from interlace.plotting.random_terms import chosen_effects

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from interlace.frames.design import RandomTerm
    from interlace.typing import FloatArray, IntArray

__all__ = ["plot_ranef"]

#: Levels with a name on the axis, and height of a line in inches.
_NAMED, _LINE = 60, 0.17


def plot_ranef(
    result: Any,
    group: str | None = None,
    *,
    effect: str | None = None,
    level: float = 0.95,
    ax: Axes | Sequence[Axes] | None = None,
) -> Any:
    """Draw the conditional modes of the random effects with intervals, in order of size: the caterpillar plot.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    group : str, optional
        A grouping factor; all of them by default.
    effect : str, optional
        One random effect, ``"Intercept"`` or a name of a column; all of them by default.
    level : float
        Confidence level of the intervals.
    ax : matplotlib Axes, or a sequence of them, optional
        One for each random effect; a new figure by default.

    Returns
    -------
    Axes, or ndarray of Axes if there are several random effects

    Raises
    ------
    ValueError
        There is no such grouping factor or effect; ``ax`` holds another number of axes.
    TypeError
        ``result`` is no fitted mixed model, or ``ax`` no axes.

    Notes
    -----
    Intervals are normal ones, from the conditional standard deviations given the data and all parameters
    (``random_effects_se``); they are no tests of differences between levels. The effects of one term are in the order
    of the first, as in lme4.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_ranef
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> intercepts, slopes = plot_ranef(result)
    >>> intercepts.get_title(), [text.get_text() for text in intercepts.get_yticklabels()][-1]
    ('Intercept | Subject', '337')
    """
    state = state_of(result)
    wide = float(critical_value(level))
    effects = chosen_effects(state, group, effect)
    covariances = conditional_covariances(state)
    names = [one.name for one in effects]
    most = max(len(term.levels) if len(term.levels) <= _NAMED else _NAMED // 2 for _, term, _ in effects)
    axes = several_axes(ax, names, (4.2, max(3.4, 1.0 + _LINE * most)))
    first: dict[int, IntArray] = {}
    for where, name, (i, term, j) in zip(axes, names, effects, strict=True):
        modes, spread = state.modes[i][:, j], np.sqrt(np.maximum(covariances[i][:, j, j], 0.0))
        order = first.setdefault(i, np.argsort(modes, kind="stable"))
        _draw(where, term, modes[order], wide * spread[order], order)
        where.set(title=name, xlabel=f"Conditional mode, {100 * level:g} % interval")
    return as_returned(axes)


def _draw(ax: Axes, term: RandomTerm, modes: FloatArray, reach: FloatArray, order: IntArray) -> None:
    place = np.arange(1.0, modes.size + 1.0)
    few = modes.size <= _NAMED
    ax.axvline(0.0, color=GRAY, linewidth=1.0, linestyle="--")
    ax.hlines(place, modes - reach, modes + reach, colors=BLUE, linewidth=1.4 if few else 0.6, alpha=1 if few else 0.35)
    ax.plot(modes, place, "o" if few else ".", color=BLUE if few else "black", markersize=4 if few else 1.5)
    ax.set_ylim(0.3, modes.size + 0.7)
    if few:
        names = [shortened(str(text)) for text in term.levels[order]]
        ax.set_yticks(place, names, fontsize="small" if modes.size <= 30 else "x-small")
    else:
        ax.set_ylabel(f"{modes.size} levels of {term.group}, by size")
