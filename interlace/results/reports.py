"""Members of a result that show it: printed, in a notebook, and as tidy tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlace.results import tables
from interlace.results.members import Members
from interlace.results.summary import Summary, short_text, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from interlace.results.tables import Effects

__all__ = ["Reports"]


class Reports(Members):
    """Text, HTML and tables of a whole fit."""

    def __str__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    def summary(self) -> Summary:
        """Summarize the fit as lme4 does, with t tests of the fixed effects.

        Returns
        -------
        Summary
            ``str()`` and notebooks show it; ``.tables`` has the numbers, ``.to_latex()`` the tables for a paper.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> print(str(interlace.fit("Reaction ~ Days + (Days | Subject)", df).summary()).splitlines()[0])
        Linear mixed model fit by REML
        """
        return summarize(self)

    def tidy(self, effects: Sequence[Effects] = ("fixed", "ran_pars"), *, level: float = 0.95) -> pd.DataFrame:
        """One row an estimate, with the columns of R's ``broom.mixed::tidy``.

        Parameters
        ----------
        effects : sequence of {"fixed", "ran_pars", "ran_vals"}
            Coefficients; standard deviations and correlations of the random effects; conditional modes (which add a
            column ``level``).
        level : float
            Confidence level of ``conf_low`` and ``conf_high``.

        Returns
        -------
        DataFrame
            Columns ``effect, group, term, estimate, std_error, statistic, df, p_value, conf_low, conf_high``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).tidy()[["group", "term", "estimate"]].round(3)
              group                 term  estimate
        0      None            Intercept   251.405
        1      None                 Days    10.467
        2   Subject        sd__Intercept    24.740
        3   Subject             sd__Days     5.922
        4   Subject  cor__Intercept.Days     0.066
        5  Residual      sd__Observation    25.592
        """
        return tables.tidy(self, effects, level=level)

    def glance(self) -> pd.DataFrame:
        """One row about the whole fit, with the columns of R's ``broom.mixed::glance``.

        Returns
        -------
        DataFrame, one row
            Columns ``nobs, sigma, logLik, AIC, BIC, REMLcrit`` (``deviance`` for a fit by ML) ``, df_residual``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).glance().round(2)
           nobs  sigma  logLik      AIC      BIC  REMLcrit  df_residual
        0   180  25.59 -871.81  1755.63  1774.79   1743.63          174
        """
        return tables.glance(self)

    def augment(self) -> pd.DataFrame:
        """Add what is known about each row to the model frame.

        Returns
        -------
        DataFrame, n rows
            The columns used, then ``.fitted`` (X beta + Z b + offset), ``.resid``, ``.fixed`` (X beta + offset),
            ``.mu`` (same as ``.fitted``), ``.offset``, ``.weights`` and ``.wtres`` (residual times the root of the
            weight).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).augment()[["Reaction", ".fitted"]].head(1).round(2)
           Reaction  .fitted
        0    249.56   253.66
        """
        return tables.augment(self.state)
