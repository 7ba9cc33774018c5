"""Quantiles of residuals and of random effects against those of the normal distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy.special import ndtri

from interlace.diagnostics.model import state_of
from interlace.diagnostics.standardized_modes import standardized_modes
from interlace.diagnostics.units import grouping_term
from interlace.errors import ModelError
from interlace.inference.wald import critical_value
from interlace.plotting.axes import BLUE, GRAY, as_returned, one_axes, several_axes
from interlace.plotting.envelope import uniform_envelope, uniform_medians
from interlace.plotting.labels import check_count, label_points, largest, shortened
from interlace.plotting.random_terms import chosen_effects
from interlace.plotting.residual_values import residuals_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from interlace.plotting.residual_values import ResidualKind
    from interlace.prediction.simulate import Seed
    from interlace.typing import FloatArray, IntArray

__all__ = ["Envelope", "plot_qq", "shown_places"]

Envelope: TypeAlias = Literal["pointwise", "simultaneous"]

#: Points drawn at either end, and in all, of a larger sample.
_ENDS, _MOST = 500, 3000


def plot_qq(
    result: Any,
    level: int | str = 1,
    *,
    kind: ResidualKind | None = None,
    type: str | None = None,
    effect: str | None = None,
    envelope: Envelope | None = "pointwise",
    confidence: float = 0.95,
    label: int = 3,
    nsim: int = 250,
    seed: Seed = 1,
    ax: Axes | Sequence[Axes] | None = None,
) -> Any:
    """Draw ordered residuals, or ordered random effects, against quantiles of the normal distribution.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for residuals of the rows; a grouping factor for the conditional modes of its random effects.
    kind, type
        Of the residuals of the rows, as for `plot_resid`; those that are standard normal if the model is true:
        ``"studentized"``, ``"pearson"``, ``"cholesky"`` of a linear model, ``"quantile"`` of a generalized one.
    effect : str, optional
        One random effect, ``"Intercept"`` or a name of a column; all of them by default.
    envelope : {"pointwise", "simultaneous"} or None
        Band that holds each point, or all of them, with the probability ``confidence``.
    confidence : float
    label : int
        How many of the points that are farthest from the line get the label of their row or level.
    nsim, seed
        Of the simulations for quantile residuals.
    ax : matplotlib Axes, or a sequence of them, optional
        Several for a factor with several random effects; a new figure by default.

    Returns
    -------
    Axes, or ndarray of Axes if there are several random effects

    Raises
    ------
    ValueError
        There is no such grouping factor, type or envelope; all random effects are zero.
    TypeError
        ``result`` is no fitted mixed model, or ``ax`` no axes.

    Notes
    -----
    The line is where both quantiles are the same: nothing is fitted to the points. Conditional modes are divided by
    their own standard deviations in repeated samples (Lange and Ryan, 1989, Annals of Statistics 17, 624-642): the
    modes of small groups are shrunken, and would otherwise make the tails look short. The band is that of independent
    values; as parameters are estimated it is somewhat wide, and the more so the fewer groups there are. Of more than
    3000 points some of those in the middle are not drawn.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_qq
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> [ax.get_title() for ax in plot_qq(result, "Subject")]
    ['Random effects: Intercept | Subject', 'Random effects: Days | Subject']
    """
    label = check_count(label)
    critical_value(confidence)
    if envelope not in (None, "pointwise", "simultaneous"):
        raise ValueError(f"envelope must be 'pointwise', 'simultaneous' or None, not {envelope!r}")
    if level == 1 and not isinstance(level, bool):
        found = residuals_of(result, kind, type, nsim=nsim, seed=seed)
        if not found.normal:
            raise ValueError(
                f"{found.type} residuals are not standard normal even if the model is true; "
                "use type='quantile' for a generalized model, 'studentized' for a linear one"
            )
        ax = one_axes(ax, (5.2, 4.6))  # type: ignore[arg-type]  # a sequence is refused there
        return _draw(ax, found.values, found.labels, found.name, "Normal Q-Q plot", envelope, confidence, label)
    if kind is not None or type is not None:
        raise ValueError("kind and type are of residuals of the rows: leave them out with level=")
    state = state_of(result)
    group = grouping_term(state, level).group
    wanted = {(one.number, one.column) for one in chosen_effects(state, group, effect)}
    effects = [one for one in standardized_modes(state) if (one.number, one.column) in wanted and one.values.size > 1]
    if not effects:
        raise ModelError(f"the random effects of {group!r} are zero: there is no distribution to look at")
    names = [one.name for one in effects]
    axes = several_axes(ax, names, (4.6, 4.2))
    for where, one in zip(axes, effects, strict=True):
        title = f"Random effects: {one.name}"
        _draw(where, one.values, one.levels, "Standardized conditional mode", title, envelope, confidence, label)
    return as_returned(axes)


def _draw(
    ax: Axes,
    values: FloatArray,
    labels: pd.Index,
    name: str,
    title: str,
    envelope: Envelope | None,
    confidence: float,
    label: int,
) -> Axes:
    order = np.argsort(values, kind="stable")
    n = values.size
    places = shown_places(n)
    values, labels = values[order][places], labels[order][places]
    expected = ndtri(uniform_medians(places + 1, n))
    if envelope is not None:
        ends = uniform_envelope(places + 1, n, confidence, simultaneous=envelope == "simultaneous")
        text = f"{100 * confidence:g} % {envelope}"
        ax.fill_between(expected, *ndtri(ends), color=GRAY, alpha=0.22, linewidth=0, label=text)
    ax.axline((0.0, 0.0), slope=1.0, color=GRAY, linewidth=1.0, linestyle="--")
    few = n <= 400
    ax.scatter(expected, values, s=20 if few else 9, color=BLUE, alpha=0.75 if few else 0.5, linewidths=0)
    ax.set(title=title, xlabel="Quantile of the normal distribution", ylabel=name)
    if envelope is not None:
        ax.legend(loc="upper left", frameon=False, fontsize="small")
    worst = largest(np.abs(values - expected), label)
    names = [shortened(str(text)) for text in labels[worst]]
    label_points(ax, expected[worst], values[worst], names, beside=(expected, values))
    return ax


def shown_places(n: int) -> IntArray:
    """Positions of the points to draw: all, or the ends and an even choice of the rest."""
    if n <= _MOST:
        return np.arange(n)
    middle = np.linspace(_ENDS, n - _ENDS - 1, _MOST - 2 * _ENDS).astype(np.int64)
    return np.concatenate([np.arange(_ENDS), middle, np.arange(n - _ENDS, n)])
