"""Many points in one axes: dots while they can be told apart, counts in hexagons beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interlace.plotting.axes import BLUE, ORANGE, figure_of
from interlace.plotting.labels import label_points, largest, shortened
from interlace.plotting.smooth import lowess

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

    from interlace.typing import FloatArray

__all__ = ["draw_points", "draw_smooth", "name_largest"]

#: Points above which hexagons are drawn.
_MOST = 5000


def draw_points(ax: Axes, x: FloatArray, y: FloatArray, *, color: str = BLUE) -> None:
    """Draw points; more than 5000 as the number of them in hexagons, darker for more.

    Parameters
    ----------
    ax : Axes
    x, y : ndarray, shape (n,)
        Finite.
    color : str
        Of the dots.
    """
    if _crowded(x, y):
        wide = min(60, max(8, 4 * np.unique(x).size))  # a few values of x get wide hexagons
        cells = ax.hexbin(x, y, gridsize=(wide, 36), bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
        bar = figure_of(ax).colorbar(cells, ax=ax, pad=0.01)
        bar.set_label("rows per hexagon")
        return
    few = x.size <= 400
    ax.scatter(x, y, s=20 if few else 9, color=color, alpha=0.65 if few else 0.35, linewidths=0)


def _crowded(x: FloatArray, y: FloatArray) -> bool:
    return bool(x.size > _MOST and np.ptp(x) > 0.0 and np.ptp(y) > 0.0)


def name_largest(ax: Axes, x: FloatArray, y: FloatArray, size: FloatArray, labels: pd.Index, count: int) -> None:
    """Write the labels of those points that are the largest by a measure; of hexagons draw these points, too.

    Parameters
    ----------
    ax : Axes
    x, y, size : ndarray, shape (n,)
    labels : pandas.Index, length n
    count : int
    """
    worst = largest(size, count)
    if _crowded(x, y):
        ax.scatter(x[worst], y[worst], s=9, color="black", linewidths=0)
    label_points(ax, x[worst], y[worst], [shortened(str(text)) for text in labels[worst]], beside=(x, y))


def draw_smooth(ax: Axes, x: FloatArray, y: FloatArray) -> None:
    """Draw a robust smooth line through points, where there are at least three values of x."""
    if np.unique(x).size >= 3:
        at, line = lowess(x, y)
        ax.plot(at, line, color=ORANGE, linewidth=1.8, label="smooth")
