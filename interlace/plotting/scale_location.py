"""Spread of the residuals against fitted values."""

from __future__ import annotations

from math import gamma, pi, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.plotting.axes import GRAY, one_axes
from interlace.plotting.labels import check_count
from interlace.plotting.points import draw_points, draw_smooth, name_largest
from interlace.plotting.residual_values import residuals_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.plotting.residual_values import ResidualKind
    from interlace.prediction.simulate import Seed

__all__ = ["plot_scale_location"]

#: Mean of the root of the absolute value of a standard normal variable.
_EXPECTED = 2.0**0.25 * gamma(0.75) / sqrt(pi)


def plot_scale_location(
    result: Any,
    *,
    kind: ResidualKind | None = None,
    type: str | None = None,
    label: int = 3,
    nsim: int = 250,
    seed: Seed = 1,
    ax: Axes | None = None,
) -> Axes:
    """Draw the root of the sizes of the residuals against fitted values: a level smooth line means equal variances.

    Parameters
    ----------
    result, kind, type, label, nsim, seed, ax
        As for `plot_resid`.

    Returns
    -------
    Axes
        The dashed line is where the mean would be for standard normal residuals, 0.822; of residuals that are not
        standardized there is none.

    Raises
    ------
    ValueError, TypeError
        As `plot_resid`.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_scale_location
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> plot_scale_location(result, type="pearson").get_ylabel()
    'Root of |Pearson residual|'
    """
    label = check_count(label)
    found = residuals_of(result, kind, type, nsim=nsim, seed=seed)
    ax = one_axes(ax)
    spread = np.sqrt(np.abs(found.values))
    if found.normal:
        ax.axhline(_EXPECTED, color=GRAY, linewidth=1.0, linestyle="--")
    draw_points(ax, found.at, spread)
    draw_smooth(ax, found.at, spread)
    ax.set_ylim(bottom=0.0)
    ax.set(title="Spread of the residuals", xlabel=found.at_name, ylabel=f"Root of |{found.name}|")
    name_largest(ax, found.at, spread, spread, found.labels, label)
    return ax
