"""A measure of influence by unit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from interlace.plotting.axes import GRAY, one_axes
from interlace.plotting.influence_values import influence_of
from interlace.plotting.labels import check_count, label_points, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.diagnostics.cutoffs import Limits
    from interlace.diagnostics.influence_series import DeletionOptions

__all__ = ["plot_influence"]

#: Units above which only those with a name have a stem, and above which groups have no names on the axis.
_STEMS, _NAMED = 2000, 30


def plot_influence(
    model: Any,
    level: int | str = 1,
    *,
    measure: str | None = None,
    cutoff: float | Limits | None = None,
    label: int = 5,
    ax: Axes | None = None,
    **options: Unpack[DeletionOptions],
) -> Axes:
    """Draw a measure of influence of each row or group, with a cut-off and the names of the largest.

    Parameters
    ----------
    model : LMMResult, GLMMResult, statsmodels' MixedLMResults, CaseDeletion, or Series
        A Series is one measure, as `interlace.influence.cooks_distance` and its like return it. Of a Series or of
        refits that `interlace.influence.case_delete` made, ``level`` and the options are those they were made with.
    level : 1 or str
        1 for rows; else a grouping factor.
    measure : str, optional
        Column of `interlace.influence.lmer_influence_measures`: ``"cooksd"`` (default), ``"mdffits"``, ``"covtrace"``,
        ``"covratio"``, ``"rvc.sigma2"``, ``"leverage.overall"``, ``"dfbetas.<coefficient>"``, ... The name of a Series
        by default.
    cutoff : float, or (low, high), optional
        What lies above the number, or outside the pair, has another color; `interlace.influence.internal_cutoff` by
        default.
    label : int
        How many of the largest (farthest from 1 for ``covratio``, from 0 for others) get their label.
    ax : matplotlib Axes, optional
        A new figure by default.
    **options
        ``approx``, ``optimizer``, ``n_jobs``, ``show_progress``: as for `interlace.influence.hlm_influence`. By default
        the model is fitted again without each unit; with many rows use ``approx=True``.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        There is no such measure or grouping factor; a measure has no finite value.
    TypeError
        ``model`` is no fitted mixed model, or ``ax`` no axes.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_influence
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ax = plot_influence(result, "Subject", label=2)
    >>> ax.get_title(), [text.get_text() for text in ax.texts]
    ("Cook's distance, levels of Subject", ['309', '335'])
    """
    label = check_count(label)
    found = influence_of(model, level, measure, cutoff, **options)
    ax = one_axes(ax, (7.2, 4.2))
    place = np.arange(1.0, found.values.size + 1.0)
    colors = found.colors()
    worst = found.worst(label)
    stems = worst if place.size > _STEMS else np.arange(place.size)
    shades = [colors[i] for i in stems]
    ax.vlines(place[stems], found.neutral, found.values[stems], colors=shades, linewidth=1.0, alpha=0.7)
    ax.scatter(place, found.values, s=(18 if place.size <= 400 else 5), c=colors, linewidths=0, zorder=3)
    ax.axhline(found.neutral, color=GRAY, linewidth=0.8)
    found.draw_limits(ax, across=True)
    ax.margins(y=0.12)
    if found.neutral == 0.0 and np.nanmin(found.values) >= 0.0:
        ax.set_ylim(bottom=0.0)
    where = "Row, in order of the data" if found.unit is None else f"Level of {found.unit}, in order of appearance"
    ax.set(title=f"{found.name}, {found.units}", xlabel=where, ylabel=found.name)
    if found.unit is not None and place.size <= _NAMED:
        names = [shortened(str(text), 16) for text in found.labels]
        ax.set_xticks(place, names, rotation=90 if max(map(len, names)) * place.size > 60 else 0, fontsize="small")
        ax.set_xlabel(found.unit)
    ax.legend(loc="best", frameon=False, fontsize="small")
    label_points(ax, place[worst], found.values[worst], found.texts(worst), beside=(place, found.values))
    return ax
