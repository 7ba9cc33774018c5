"""Quantile residuals: their distribution, and the same along the predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import rankdata

from interlace.diagnostics.model import state_of
from interlace.diagnostics.quantile import quantile_residuals
from interlace.plotting.axes import BLUE, GRAY, ORANGE, as_returned, several_axes
from interlace.plotting.envelope import uniform_envelope, uniform_medians
from interlace.plotting.points import draw_points
from interlace.plotting.qq import shown_places
from interlace.plotting.smooth import local_quantiles
from interlace.prediction.response import linear_predictor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from interlace.diagnostics.quantile import QuantileResiduals
    from interlace.prediction.simulate import Seed
    from interlace.typing import BoolArray, FloatArray

__all__ = ["plot_quantile_residuals"]

_QUARTILES = (0.25, 0.5, 0.75)


def plot_quantile_residuals(
    result: Any,
    *,
    nsim: int = 250,
    seed: Seed = 1,
    conditional: bool = False,
    confidence: float = 0.95,
    ax: Sequence[Axes] | None = None,
) -> Any:
    """Draw quantile residuals by simulation: ordered against uniform quantiles, and against ranked predictions.

    They tell more of a model for counts or proportions than other residuals, as they are uniform for every family if
    the model is true.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    nsim, seed, conditional
        As for `interlace.diagnostics.quantile_residuals`.
    confidence : float
        Probability that all points of the Q-Q plot lie within the band, were they independent.
    ax : sequence of two matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    ndarray of Axes, shape (2,)
        The first has the p-values of the tests of uniformity, dispersion and outliers. In the second the full lines are
        quartiles of the residuals among neighbors, which the dashed ones would be if the model is true; rows that lie
        outside all simulations have another color.

    Raises
    ------
    ValueError
        ``nsim`` or ``seed`` is out of range, the model cannot simulate, or ``ax`` holds another number of axes.
    TypeError
        ``result`` is no fitted mixed model, or ``ax`` no axes.

    References
    ----------
    Dunn, P. K. and Smyth, G. K. (1996). Randomized quantile residuals. Journal of Computational and Graphical
    Statistics 5, 236-244. The pair of plots is that of the R package DHARMa (F. Hartig).

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_quantile_residuals
    >>> df = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
    >>> qq, against = plot_quantile_residuals(result)
    >>> against.get_xlabel()
    'Rank of the linear predictor, random effects zero'
    """
    state = state_of(result)
    left, right = axes = several_axes(ax, ["Q-Q plot", "residuals against predictions"], (5.0, 4.4))
    found = quantile_residuals(result, nsim=nsim, seed=seed, conditional=conditional)
    values = found.values.to_numpy()
    _draw_qq(left, values, confidence)
    left.text(0.97, 0.04, _tests(found), transform=left.transAxes, ha="right", va="bottom", fontsize="small")
    eta = linear_predictor(state) if conditional else state.fixed
    rank = (rankdata(eta) - 0.5) / eta.size
    _draw_along(right, rank, values, found.outliers.to_numpy())
    given = "given the random effects" if conditional else "random effects zero"
    right.set(title="Quantile residuals along predictions", xlabel=f"Rank of the linear predictor, {given}")
    return as_returned(axes)


def _draw_qq(ax: Axes, values: FloatArray, confidence: float) -> None:
    n = values.size
    places = shown_places(n)
    expected = uniform_medians(places + 1, n)
    lower, upper = uniform_envelope(places + 1, n, confidence, simultaneous=True)
    text = f"{100 * confidence:g} % simultaneous"
    ax.fill_between(expected, lower, upper, color=GRAY, alpha=0.22, linewidth=0, label=text)
    ax.axline((0.0, 0.0), slope=1.0, color=GRAY, linewidth=1.0, linestyle="--")
    ax.scatter(expected, np.sort(values)[places], s=16 if n <= 400 else 8, color=BLUE, alpha=0.75, linewidths=0)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Quantile of the uniform distribution")
    ax.set(ylabel="Quantile residual", title="Uniform Q-Q plot")
    ax.legend(loc="upper left", frameon=False, fontsize="small")


def _tests(found: QuantileResiduals) -> str:
    tests = (found.test_uniformity(), found.test_dispersion(), found.test_outliers())
    return "\n".join(f"{test.name}: p = {test.p_value:.2g}" for test in tests)


def _draw_along(ax: Axes, rank: FloatArray, values: FloatArray, outliers: BoolArray) -> None:
    draw_points(ax, rank, values)
    if outliers.any():
        ax.scatter(
            rank[outliers], values[outliers], s=26, color=ORANGE, marker="*", zorder=3, label="outside simulations"
        )
        ax.legend(loc="upper left", bbox_to_anchor=(0.0, 1.0), fontsize="small", framealpha=0.8)
    at, lines = local_quantiles(rank, values, _QUARTILES)
    for quartile, line in zip(_QUARTILES, lines, strict=True):
        ax.axhline(quartile, color=GRAY, linewidth=1.0, linestyle="--")
        if at.size >= 3:
            ax.plot(at, line, color=ORANGE, linewidth=1.6)
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="Quantile residual")
