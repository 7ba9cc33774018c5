"""Names beside points that do not cover each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.typing import FloatArray, IntArray

__all__ = ["check_count", "label_points", "largest", "shortened"]

_SIZE = 8.0  # points
#: Width of a letter and height of a line, in sizes of the font.
_WIDTH, _HEIGHT = 0.58, 1.25
#: Directions to try, the nearer ones first; in points from the center of the marker.
_PLACES = tuple((reach * dx, reach * dy) for reach in (6.0, 14.0, 24.0) for dx, dy in (
    (1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1),
))  # fmt: skip


def check_count(label: Any) -> int:
    """Refuse what is no number of points to name.

    Raises
    ------
    ValueError
    """
    if isinstance(label, bool) or not isinstance(label, int | np.integer) or label < 0:
        raise ValueError(f"label must be the number of points to name, 0 or more, not {label!r}")
    return int(label)


def largest(size: FloatArray, count: int) -> IntArray:
    """Positions of the largest values, the largest first; those that are not numbers are left out.

    Examples
    --------
    >>> largest(np.array([1.0, np.nan, 3.0, 2.0]), 2)
    array([2, 3])
    """
    known = np.flatnonzero(~np.isnan(size))
    return known[np.argsort(-size[known], kind="stable")[:count]]


def shortened(text: str, most: int = 28) -> str:
    """Text of at most some letters.

    Examples
    --------
    >>> shortened("a long name of a level", 10)
    'a long na…'
    """
    return text if len(text) <= most else text[: most - 1] + "…"


def label_points(
    ax: Axes,
    x: FloatArray,
    y: FloatArray,
    texts: Sequence[str],
    *,
    beside: tuple[FloatArray, FloatArray] | None = None,
) -> None:
    """Write a name beside each of a few points, the most important first.

    Parameters
    ----------
    ax : Axes
        With all else drawn, as the limits of the axes decide what overlaps.
    x, y : ndarray, shape (m,)
    texts : sequence of str, length m
    beside : (ndarray, ndarray), optional
        Other points, which names should rather not cover.
    """
    ax.get_xlim(), ax.get_ylim()  # has matplotlib find the limits
    pixels = _dots(ax)
    frame = ax.get_window_extent()
    inside = (frame.x0, frame.y0, frame.x1, frame.y1)
    points = ax.transData.transform(np.column_stack([x, y]))
    taken = [(px - 3 * pixels, py - 3 * pixels, px + 3 * pixels, py + 3 * pixels) for px, py in points]
    others = np.empty((0, 2)) if beside is None else ax.transData.transform(np.column_stack(beside))
    for (px, py), at, text in zip(points, zip(x, y, strict=True), texts, strict=True):
        boxes = [_box(px, py, dx, dy, len(text), pixels) for dx, dy in _PLACES]
        covers = [
            (not _within(box, inside), sum(_meet(box, other) for other in taken), _count(box, others)) for box in boxes
        ]
        chosen = covers.index(min(covers))
        taken.append(boxes[chosen])
        dx, dy = _PLACES[chosen]
        ax.annotate(
            text,
            at,
            (dx, dy),
            textcoords="offset points",
            ha=("center", "left", "right")[int(np.sign(dx))],
            va=("center", "bottom", "top")[int(np.sign(dy))],
            fontsize=_SIZE,
        )


_Box = tuple[float, float, float, float]


def _dots(ax: Axes) -> float:
    """Pixels of a point, 1/72 inch."""
    figure = ax.get_figure(root=True)
    return 1.0 if figure is None else figure.dpi / 72.0


def _box(px: float, py: float, dx: float, dy: float, letters: int, pixels: float) -> _Box:
    """Rectangle of a text in pixels: left, bottom, right, top."""
    width, height = letters * _WIDTH * _SIZE * pixels, _HEIGHT * _SIZE * pixels
    x, y = px + dx * pixels, py + dy * pixels
    left = x - width * (0.5, 0.0, 1.0)[int(np.sign(dx))]
    bottom = y - height * (0.5, 0.0, 1.0)[int(np.sign(dy))]
    return left, bottom, left + width, bottom + height


def _count(box: _Box, points: FloatArray) -> int:
    """Number of points inside."""
    x, y = points.T
    return int(((x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])).sum())


def _within(box: _Box, frame: _Box) -> bool:
    return box[0] >= frame[0] and box[1] >= frame[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _meet(one: _Box, other: _Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
