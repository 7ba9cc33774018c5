"""A measure of influence in order of size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from interlace.plotting.axes import one_axes
from interlace.plotting.influence_values import influence_of
from interlace.plotting.labels import check_count, label_points, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.diagnostics.cutoffs import Limits
    from interlace.diagnostics.influence_series import DeletionOptions

__all__ = ["dotplot_diag"]

#: Units that have their names on the axis.
_NAMED = 40


def dotplot_diag(
    model: Any,
    level: int | str = 1,
    *,
    measure: str | None = None,
    cutoff: float | Limits | None = None,
    label: int = 5,
    ax: Axes | None = None,
    **options: Unpack[DeletionOptions],
) -> Axes:
    """Draw the sorted values of a measure of influence, with a cut-off: HLMdiag's ``dotplot_diag``.

    Parameters
    ----------
    model, level, measure, cutoff, ax, **options
        As for `plot_influence`.
    label : int
        How many of the largest get their label, where there are too many units for all names to stand on the axis (40).

    Returns
    -------
    Axes
        One dot a unit, the smallest value at the bottom; beyond the cut-off in another color.

    Raises
    ------
    ValueError, TypeError
        As `plot_influence`.

    References
    ----------
    Loy, A. and Hofmann, H. (2014). HLMdiag: a suite of diagnostics for hierarchical linear models in R. Journal of
    Statistical Software 56(5).

    Examples
    --------
    >>> import interlace
    >>> from interlace.influence import cooks_distance
    >>> from interlace.plotting import dotplot_diag
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ax = dotplot_diag(cooks_distance(result, "Subject"), cutoff=0.14)
    >>> [text.get_text() for text in ax.get_yticklabels()][-2:]
    ['335', '309']
    """
    label = check_count(label)
    found = influence_of(model, level, measure, cutoff, **options)
    known = np.flatnonzero(~np.isnan(found.values))
    order = known[np.argsort(found.values[known], kind="stable")]
    named = order.size <= _NAMED
    ax = one_axes(ax, (5.4, max(3.2, 1.2 + 0.17 * order.size) if named else 5.0))
    place = np.empty(found.values.size)
    place[order] = np.arange(1.0, order.size + 1.0)
    colors = np.array(found.colors())
    ax.scatter(found.values[order], place[order], s=20 if order.size <= 400 else 8, c=colors[order], linewidths=0)
    found.draw_limits(ax, across=False)
    unit = "Row" if found.unit is None else found.unit
    ax.set(title=f"{found.name}, {found.units}", xlabel=found.name, ylabel=f"{unit}, by size of the measure")
    ax.margins(x=0.08)
    ax.legend(loc="lower right", framealpha=0.9, edgecolor="none", fontsize="small")
    if named:
        ax.set_yticks(place[order], [shortened(str(text)) for text in found.labels[order]], fontsize="small")
        ax.grid(axis="y", linewidth=0.4, alpha=0.5)
        ax.set_ylim(0.3, order.size + 0.7)
    else:
        worst = found.worst(label)
        dots = (found.values[order], place[order])
        label_points(ax, found.values[worst], place[worst], found.texts(worst), beside=dots)
    return ax
