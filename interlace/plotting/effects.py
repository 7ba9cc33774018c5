"""Means of the response over a predictor, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.errors import ModelError
from interlace.estimate.state import FitState
from interlace.frames.levels import level_text
from interlace.frames.reference_grid import fixed_columns
from interlace.plotting.axes import COLORS, as_returned, several_axes
from interlace.plotting.labels import shortened
from interlace.plotting.predictors import check_predictor, is_numeric
from interlace.results.arguments import state_of_result
from interlace.results.emmeans import emmeans

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes

    from interlace.estimate.state import State
    from interlace.frames.design import Design
    from interlace.results.emmeans import EmmeansResult, Kind, Weighting
    from interlace.typing import DfMethod, FloatArray

__all__ = ["plot_effects"]

#: Points of a line; lines that have colors of their own.
_STEPS, _MOST_LINES = 60, len(COLORS)
_SCALES = {"prob": "Probability", "rate": "Rate", "response": "Mean"}


def plot_effects(
    result: Any,
    x: str | None = None,
    *,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
    type: Kind = "response",
    level: float = 0.95,
    weights: Weighting = "equal",
    ddf: DfMethod | None = None,
    ax: Axes | Sequence[Axes] | None = None,
) -> Any:
    """Draw the mean of the response over a predictor, with confidence intervals; random effects are zero.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    x : str, optional
        Predictor; each of them in axes of its own by default.
    by : str, optional
        Another predictor, with a line or a row of points for each of its levels; a numeric one is taken at its mean and
        one standard deviation to either side, unless ``at`` gives its values.
    at : mapping from column to a value or values, optional
        As for `interlace.emmeans`; a numeric ``x`` goes from the smallest to the largest of its values.
    type : {"response", "link"}
        Scale of the means.
    level : float
        Confidence level of the intervals, each by itself.
    weights, ddf
        As for `interlace.emmeans`.
    ax : matplotlib Axes, or a sequence of them, optional
        One for each predictor; a new figure by default.

    Returns
    -------
    Axes, or ndarray of Axes if there are several predictors

    Raises
    ------
    ValueError
        There is no such predictor, or ``by`` has too many levels.
    TypeError
        ``result`` is no result of interlace, or ``ax`` no axes.

    Notes
    -----
    These are the estimated marginal means of `interlace.emmeans`: other numeric predictors at their means, averages
    over the levels of other factors. Polynomials and splines are drawn as functions of their variable.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_effects
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> ax = plot_effects(result, "Days")
    >>> ax.get_title(), ax.get_ylabel()
    ('Effect of Days', 'Mean of Reaction')
    """
    state = state_of_result(result)
    design = state.problem.design
    for argument, name in (("x", x), ("by", by)):
        if name is not None:
            check_predictor(design, argument, name)
    if x is not None and x == by:
        raise ValueError(f"x and by are both {x!r}")
    names = [x] if x is not None else [name for name in fixed_columns(design) if name != by]
    if not names:
        raise ModelError("the fixed effects have no predictor whose effect could be drawn")
    axes = several_axes(ax, names, (4.8, 4.0))
    for where, name in zip(axes, names, strict=True):
        values = dict(at or {})
        line = is_numeric(design, name) and (name in values or design.frame[name].nunique() > 2)
        if line:
            values[name] = _range(design, name, values.get(name))
        if by is not None and by not in values and is_numeric(design, by) and design.frame[by].nunique() > 2:
            values[by] = _around_mean(design.frame[by].to_numpy(dtype=np.float64))
        means = emmeans(result, name, by=by, at=values, type=type, ddf=ddf, level=level, weights=weights)
        _draw(where, means, name, by, line)
        where.set(title=f"Effect of {name}" + (f" by {by}" if by else ""), xlabel=name, ylabel=_label(means, state))
    return as_returned(axes)


def _range(design: Design, name: str, given: Any) -> FloatArray:
    values = design.frame[name].to_numpy(dtype=np.float64) if given is None else np.asarray(given, dtype=np.float64)
    return np.unique(np.linspace(values.min(), values.max(), _STEPS))


def _around_mean(values: FloatArray) -> FloatArray:
    """Mean and one standard deviation to either side, rounded to the third digit of the latter."""
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    digits = 2 - int(np.floor(np.log10(sd)))
    return np.array([round(mean + k * sd, digits) for k in (-1, 0, 1)])


def _label(means: EmmeansResult, state: State) -> str:
    response = state.problem.design.response
    if means.scale.name == "identity":
        return f"Mean of {response}"
    if isinstance(state, FitState):
        return f"{response}, back-transformed" if means.type == "response" else f"Mean of {response}"
    if means.type == "link":
        return f"Linear predictor ({means.scale.name})"
    return f"{_SCALES[means.scale.column]} of {response}"


def _draw(ax: Axes, means: EmmeansResult, x: str, by: str | None, line: bool) -> None:
    table = means.to_frame()
    first = means.factors.shape[1]
    columns = {"mean": table.iloc[:, first], "low": table.iloc[:, -2], "high": table.iloc[:, -1], "x": means.factors[x]}
    drawn = pd.DataFrame(columns)
    groups = [None] if by is None else list(dict.fromkeys(means.factors[by]))
    if len(groups) > _MOST_LINES:
        raise ModelError(
            f"by={by!r} has {len(groups)} levels; choose at most {_MOST_LINES} of them with at={{{by!r}: [...]}}"
        )
    levels = list(dict.fromkeys(means.factors[x]))
    for i, group in enumerate(groups):
        own = drawn if by is None else drawn[means.factors[by] == group]
        text = None if by is None else shortened(level_text(group))
        if line:
            at = own["x"].to_numpy(dtype=np.float64)
            ax.plot(at, own["mean"], color=COLORS[i], linewidth=1.8, label=text)
            ax.fill_between(at, own["low"], own["high"], color=COLORS[i], alpha=0.18, linewidth=0)
        else:
            at = np.array([levels.index(value) for value in own["x"]]) + 0.12 * (i - 0.5 * (len(groups) - 1))
            reach = np.abs(own[["low", "high"]].to_numpy() - own[["mean"]].to_numpy()).T
            ax.errorbar(at, own["mean"], reach, fmt="o", color=COLORS[i], capsize=3, markersize=5, label=text)
    if not line:
        names = [shortened(level_text(level), 16) for level in levels]
        long = max(map(len, names)) * len(names) > 50
        ax.set_xticks(range(len(levels)), names, rotation=40 if long else 0, ha="right" if long else "center")
        ax.set_xlim(-0.5, len(levels) - 0.5)
    if by is not None:
        ax.legend(title=by, frameon=False, fontsize="small")
