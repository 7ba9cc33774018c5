"""Figures as PNG images, without pyplot: nothing is shown, and nothing stays open."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["png"]


def png(draw: Callable[[Figure], Any], *, size: tuple[float, float], dpi: int = 110) -> bytes:
    r"""Draw a figure and give it as the bytes of a PNG file.

    Parameters
    ----------
    draw : callable
        Draws in the empty figure that it is given.
    size : (float, float)
        Width and height in inches.
    dpi : int

    Returns
    -------
    bytes
        The same for the same figure: the file does not say when and by which version it was made.

    Raises
    ------
    ImportError
        Matplotlib is not there.

    Examples
    --------
    >>> png(lambda figure: figure.add_subplot(), size=(2, 1))[:4]
    b'\x89PNG'
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError('figures need matplotlib: pip install "interlace-lme[plot]"') from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi, metadata={"Software": None})
    return file.getvalue()
