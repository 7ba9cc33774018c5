"""What results of every kind of model can do: draw new responses, and be saved."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from interlace.prediction.simulate import simulate
from interlace.results import persist
from interlace.results.intervals import Intervals

if TYPE_CHECKING:
    import pandas as pd

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
