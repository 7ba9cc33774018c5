"""What results of every kind of model can do: draw new responses, be drawn, and be saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from interlace.prediction.simulate import simulate
from interlace.results import persist
from interlace.results.intervals import Intervals

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure, SubFigure

    from interlace.prediction.simulate import Seed

__all__ = ["Actions"]


class Actions(Intervals):
    """Members that make something new of a fit."""

    def simulate(self, nsim: int = 1, seed: Seed = None, *, conditional: bool = False) -> pd.DataFrame:
        """Draw new responses from the fitted model.

        Parameters
        ----------
        nsim : int
        seed : int or numpy.random.Generator, optional
            The same integer gives the same responses; the first columns do not depend on ``nsim``.
        conditional : bool
            Keep the random effects at their modes instead of drawing new ones.

        Returns
        -------
        DataFrame, shape (nobs, nsim)
            Columns ``sim_1``, ``sim_2``, ...; proportions for a binomial response. ``refit`` takes each of them.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> result.simulate(3, seed=1).shape
        (180, 3)
        """
        return simulate(self.state, nsim, seed, conditional=conditional)

    def plot(
        self,
        group: str | None = None,
        *,
        nsim: int = 250,
        seed: Seed = 1,
        figure: Figure | SubFigure | None = None,
    ) -> Any:
        """Draw one page about the fit: residuals, their spread and distribution, random effects, influence.

        Parameters
        ----------
        group : str, optional
            Grouping factor whose random effects are shown; by default the first, which is the one with the most levels.
        nsim, seed
            Of the simulations for the quantile residuals of a generalized model.
        figure : matplotlib Figure or SubFigure, optional
            An empty one to draw in; a new one of pyplot's by default.

        Returns
        -------
        ndarray of matplotlib Axes, shape (2, 3)
            `interlace.plotting.plot_model` says what is in them, and `interlace.plotting` has each figure by itself.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> result.plot()[0, 0].get_title()
        'Residuals against fitted values'
        """
        from interlace.plotting.panel import plot_model

        return plot_model(self, group, nsim=nsim, seed=seed, figure=figure)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fit to a file that ``interlace.load`` reads; see ``interlace.results.persist`` for the format.

        Parameters
        ----------
        path : str or path-like
            An existing file is replaced.

        Examples
        --------
        >>> import interlace, pathlib, tempfile
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result.save(pathlib.Path(folder, "sleep.interlace"))
        ...     interlace.load(pathlib.Path(folder, "sleep.interlace")).llf == result.llf
        True
        """
        persist.save(self.state, self.call, path)
