"""Fitted lines of the groups over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.diagnostics.model import state_of
from interlace.plotting.axes import BLUE, COLORS, GRAY, ORANGE, as_returned, one_axes, several_axes
from interlace.plotting.group_lines import group_lines
from interlace.plotting.points import draw_points
from interlace.plotting.predictors import chosen_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from interlace.plotting.group_lines import GroupLine, GroupLines

__all__ = ["plot_fitted"]

#: Most levels that are drawn if none are chosen, in one axes and in panels.
_DRAWN, _PANELS = 100, 36


def plot_fitted(
    result: Any,
    x: str | None = None,
    group: str | None = None,
    *,
    levels: Sequence[Any] | None = None,
    panels: bool = False,
    points: bool = True,
    ax: Axes | Sequence[Axes] | None = None,
) -> Any:
    """Draw the fitted mean of each group over a predictor, with the data and the line of the population.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    x : str, optional
        Predictor of the fixed effects. By default one with a random slope, or the first that varies within groups.
    group : str, optional
        Grouping factor; by default the first within whose levels the predictor varies.
    levels : sequence, optional
        Levels to draw; at most 100, evenly chosen, by default, and 36 in panels.
    panels : bool
        Whether each group has axes of its own.
    points : bool
        Whether to draw the data of these groups.
    ax : matplotlib Axes, or with ``panels`` a sequence of them, optional
        A new figure by default.

    Returns
    -------
    Axes, or with ``panels`` ndarray of Axes

    Raises
    ------
    ValueError
        There is no such predictor, grouping factor or level; nothing varies within groups; the offset was an array.
    TypeError
        ``result`` is no fitted mixed model, or ``ax`` no axes.

    Notes
    -----
    Lines go over the range that the predictor has in the group, and include the random effects of the factor and of
    those it is nested in; those of crossed factors are zero, as all are for the population. Other predictors are at
    their mean or most frequent value in the group, or in all rows for the population. The line of a generalized model
    is that of its mean on the scale of the response.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_fitted
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ax = plot_fitted(result)
    >>> ax.get_xlabel(), ax.get_ylabel(), ax.get_title()
    ('Days', 'Reaction', 'Fitted lines, 18 levels of Subject')
    """
    state = state_of(result)
    term, x = chosen_predictor(state, group, x)
    found = group_lines(state, term, x, levels, most=_PANELS if panels else _DRAWN)
    if panels:
        axes = several_axes(ax, [line.name for line in found.groups], (2.0, 1.9), columns=6)
        _draw_panels(axes, found, points)
        return as_returned(axes)
    ax = one_axes(ax, (6.8, 4.6))  # type: ignore[arg-type]  # a sequence is refused there
    colored = len(found.groups) <= len(COLORS)
    if points and not colored:
        x_data, y_data = (np.concatenate([getattr(line, name) for line in found.groups]) for name in ("x", "y"))
        draw_points(ax, x_data, y_data, color=GRAY)
    for i, line in enumerate(found.groups):
        if points and colored:
            draw_points(ax, line.x, line.y, color=COLORS[i])
        color, alpha, text = (COLORS[i], 1.0, line.name) if colored else (BLUE, 0.5, None)
        ax.plot(line.at, line.mean, _marker(line), color=color, linewidth=1.2, alpha=alpha, label=text)
    ax.plot(*found.population, color="black", linewidth=2.4, label="population")
    of = "" if len(found.groups) == len(term.levels) else f"of {len(term.levels)} "
    title = f"Fitted lines, {len(found.groups)} {of}levels of {term.group}"
    ax.set(title=title, xlabel=x, ylabel=state.problem.design.response)
    found.name_values(ax)
    ax.legend(loc="best", framealpha=0.85, edgecolor="none", fontsize="small", title=term.group if colored else None)
    return ax


def _marker(line: GroupLine) -> str:
    """A group with one value of the predictor has a point for a line."""
    return "-" if line.at.size > 1 else "D"


def _draw_panels(axes: Sequence[Axes], found: GroupLines, points: bool) -> None:
    """One group in each axes, with the same limits; names at the edges of the grid."""
    for ax, line in zip(axes, found.groups, strict=True):
        if points:
            draw_points(ax, line.x, line.y)
        ax.plot(*found.population, color=GRAY, linewidth=1.0, linestyle="--")
        ax.plot(line.at, line.mean, _marker(line), color=ORANGE, linewidth=1.6)
        ax.set_title(line.name, fontsize="small")
        found.name_values(ax)
        ax.tick_params(labelsize="small")
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    left, right = zip(*(ax.get_xlim() for ax in axes), strict=True)
    for i, ax in enumerate(axes):
        ax.set(xlim=(min(left), max(right)), ylim=(min(low), max(high)))
        place = ax.get_subplotspec()
        if place is None or place.is_first_col():
            ax.set_ylabel(found.response, fontsize="small")
        else:
            ax.tick_params(labelleft=False)
        if place is None or i + place.get_gridspec().ncols >= len(axes):
            ax.set_xlabel(found.predictor, fontsize="small")
        else:
            ax.tick_params(labelbottom=False)
