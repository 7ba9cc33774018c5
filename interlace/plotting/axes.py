"""Axes to draw in, and the colors of all figures."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "BLUE",
    "COLORS",
    "GRAY",
    "ORANGE",
    "as_returned",
    "figure_of",
    "new_figure",
    "one_axes",
    "several_axes",
]

#: Colors that people who are color-blind tell apart (Okabe and Ito, 2008, Color Universal Design).
BLUE, ORANGE = "#0072B2", "#D55E00"
COLORS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
GRAY = "0.45"


def new_figure(size: tuple[float, float]) -> Figure:
    """Make a figure of pyplot's, so that notebooks and ``plt.show()`` show it.

    Parameters
    ----------
    size : (float, float)
        Width and height in inches.

    Raises
    ------
    ImportError
        Matplotlib is not there.
    """
    try:
        from matplotlib import pyplot as plt
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "interlace-lme[plot]"') from error
    return plt.figure(figsize=size, layout="constrained")


def one_axes(ax: Axes | None, size: tuple[float, float] = (6.4, 4.4)) -> Axes:
    """Axes that are given, or those of a new figure.

    Raises
    ------
    TypeError
        ``ax`` is something else.
    """
    if ax is None:
        return new_figure(size).add_subplot()
    if not hasattr(ax, "transData"):
        raise TypeError(f"ax must be matplotlib Axes, such as those of plt.subplots(), not {type(ax).__name__}")
    return ax


def several_axes(
    ax: Axes | Sequence[Axes] | None,
    names: Sequence[str],
    size: tuple[float, float] = (4.4, 4.0),
    *,
    columns: int = 3,
) -> list[Axes]:
    """One axes for each of some names: those that are given, or those of a new figure.

    Parameters
    ----------
    ax : Axes, sequence or array of them, or None
    names : sequence of str
        What the axes are for.
    size : (float, float)
        Width and height of each in inches.
    columns : int
        Most columns of a new figure.

    Raises
    ------
    ValueError
        There are not as many axes as names.
    TypeError
        For what are no axes.
    """
    if ax is None:
        wide = min(len(names), columns)
        high = ceil(len(names) / wide)
        figure = new_figure((max(6.4, size[0] * wide), size[1] * high))
        return [figure.add_subplot(high, wide, i + 1) for i in range(len(names))]
    given = list(np.ravel(np.array(ax, dtype=object)))
    if len(given) != len(names):
        raise ValueError(f"ax holds {len(given)} axes, but there are {len(names)} plots: {', '.join(names)}")
    return [one_axes(some) for some in given]


def as_returned(axes: Sequence[Axes]) -> Any:
    """One axes as it is, several as an array."""
    if len(axes) == 1:
        return axes[0]
    out = np.empty(len(axes), dtype=object)
    out[:] = axes
    return out


def figure_of(ax: Axes) -> Figure | SubFigure:
    """Figure, or part of one, that axes are in."""
    figure = ax.get_figure()
    assert figure is not None  # axes that were removed from their figure cannot be drawn in
    return figure
