"""Residuals against fitted values."""

from __future__ import annotations

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

__all__ = ["plot_resid"]


def plot_resid(
    result: Any,
    *,
    kind: ResidualKind | None = None,
    type: str | None = None,
    smooth: bool = True,
    label: int = 3,
    nsim: int = 250,
    seed: Seed = 1,
    ax: Axes | None = None,
) -> Axes:
    """Draw residuals against fitted values, with a smooth line that stays near zero if the model is right.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    kind : {"conditional", "marginal"}, optional
        Around the fitted values given the random effects, or around the population's mean. By default conditional for
        a linear model and marginal for a generalized one.
    type : str, optional
        Of a linear model ``"studentized"`` (default), ``"pearson"``, ``"raw"`` or ``"cholesky"``, as in
        `interlace.diagnostics.resid_conditional` and `interlace.diagnostics.resid_marginal`. Of a generalized model
        ``"quantile"`` (default; from simulations, normal if the model is true), or with ``kind="conditional"``
        ``"deviance"`` (its default), ``"pearson"`` (both over sigma), ``"response"``, ``"working"``.
    smooth : bool
        Whether to draw a robust local regression (Cleveland's lowess).
    label : int
        How many of the largest residuals get the label of their row.
    nsim, seed
        Of the simulations for quantile residuals.
    ax : matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        The model has no such residuals.
    TypeError
        ``result`` is no fitted mixed model, or ``ax`` no axes.

    Notes
    -----
    More than 5000 rows are drawn as counts in hexagons. A row that determines its own fitted value has no studentized
    residual and is left out. A generalized model is drawn against its linear predictor.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_resid
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ax = plot_resid(result)
    >>> ax.get_ylabel(), ax.get_xlabel()
    ('Studentized residual', 'Fitted Reaction, given the random effects')
    """
    label = check_count(label)
    found = residuals_of(result, kind, type, nsim=nsim, seed=seed)
    ax = one_axes(ax)
    ax.axhline(0.0, color=GRAY, linewidth=1.0, linestyle="--")
    draw_points(ax, found.at, found.values)
    if smooth:
        draw_smooth(ax, found.at, found.values)
    ax.set(title="Residuals against fitted values", xlabel=found.at_name, ylabel=found.name)
    name_largest(ax, found.at, found.values, np.abs(found.values), found.labels, label)
    return ax
