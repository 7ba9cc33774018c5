"""One page about a fit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.diagnostics.model import state_of
from interlace.errors import ModelError
from interlace.estimate.derived import term_covariances
from interlace.estimate.state import FitState
from interlace.plotting.axes import new_figure
from interlace.plotting.caterpillar import plot_ranef
from interlace.plotting.influence_index import plot_influence
from interlace.plotting.labels import shortened
from interlace.plotting.qq import plot_qq
from interlace.plotting.quantiles import plot_quantile_residuals
from interlace.plotting.random_terms import group_term
from interlace.plotting.residuals import plot_resid
from interlace.plotting.scale_location import plot_scale_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.prediction.simulate import Seed

__all__ = ["plot_model"]


def plot_model(
    result: Any,
    group: str | None = None,
    *,
    nsim: int = 250,
    seed: Seed = 1,
    figure: Figure | SubFigure | None = None,
) -> Any:
    """Draw one page about a fit: residuals, their spread and distribution, random effects, influence.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    group : str, optional
        Grouping factor whose random effects are shown; by default the first, which is the one with the most levels.
    nsim, seed
        Of the simulations for the quantile residuals of a generalized model.
    figure : matplotlib Figure or SubFigure, optional
        An empty one to draw in; a new one by default.

    Returns
    -------
    ndarray of Axes, shape (2, 3)
        Residuals against fitted values, Q-Q plot of the residuals, spread of the residuals; Q-Q plot and caterpillar
        plot of the first random effect of the factor that varies, Cook's distances of the rows from one-step deletions.
        Of a generalized model the first two are those of the quantile residuals. A figure that the model does not have
        (all random effects zero, no fixed effects) says so.

    Raises
    ------
    ValueError
        There is no such grouping factor.
    TypeError
        ``result`` is no fitted mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> axes = result.plot()
    >>> [ax.get_title() for ax in axes[1]]
    ['Random effects: Intercept | Subject', 'Intercept | Subject', "Cook's distance, rows (one step)"]
    """
    state = state_of(result)
    term = group_term(state, group)
    figure = new_figure((13.5, 8.0)) if figure is None else figure
    axes = np.array([[figure.add_subplot(2, 3, 3 * i + j + 1) for j in range(3)] for i in range(2)], dtype=object)
    if isinstance(state, FitState):
        plot_resid(result, ax=axes[0, 0])
        plot_qq(result, ax=axes[0, 1])
    else:
        plot_quantile_residuals(result, nsim=nsim, seed=seed, ax=[axes[0, 1], axes[0, 0]])
    plot_scale_location(result, nsim=nsim, seed=seed, ax=axes[0, 2])
    effect = _varying(state, term)
    plot_ranef(result, term.group, effect=effect, ax=axes[1, 1])
    with _reason_in(axes[1, 0], f"Random effects: {effect} | {term.key}"):
        plot_qq(result, term.group, effect=effect, ax=axes[1, 0])
    title = "Cook's distance, rows (one step)"
    with _reason_in(axes[1, 2], title):
        plot_influence(result, approx=True, label=3, ax=axes[1, 2]).set_title(title)
    figure.suptitle(shortened(state.problem.design.formula, 110))
    return axes


@contextmanager
def _reason_in(ax: Axes, title: str) -> Iterator[None]:
    """Write into the axes why the model has no such figure."""
    try:
        yield
    except ModelError as error:
        ax.set_title(title)
        ax.text(0.5, 0.5, str(error).replace(": ", ":\n"), transform=ax.transAxes, ha="center", va="center")


def _varying(state: State, term: RandomTerm) -> str:
    """Name of the first random effect with a variance; of the first if none has one."""
    number = next(i for i, other in enumerate(state.problem.design.terms) if other.key == term.key)
    variances = np.diagonal(term_covariances(state)[number])
    return term.names[int(np.argmax(variances > 0.0))]
