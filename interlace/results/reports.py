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
        """Summarize the fit as lme4 does, with tests of the fixed effects.

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

    def tidy(
        self,
        effects: Sequence[Effects] = ("fixed", "ran_pars"),
        *,
        level: float = 0.95,
        exponentiate: bool = False,
    ) -> pd.DataFrame:
        """One row an estimate, with the columns of R's ``broom.mixed::tidy``.

        Parameters
        ----------
        effects : sequence of {"fixed", "ran_pars", "ran_vals"}
            Coefficients; standard deviations and correlations of the random effects; conditional modes (which add a
            column ``level``).
        level : float
            Confidence level of ``conf_low`` and ``conf_high``.
        exponentiate : bool
            Whether to give the coefficients as ratios: odds ratios with a logit link, rate ratios with a log link, or
            ratios of means after ``log(y)``. Estimates and ends of intervals are exponentiated, standard errors are
            those of the ratio by the delta method; tests are of the coefficients themselves. The other rows stay as
            they are.

        Returns
        -------
        DataFrame
            Columns ``effect, group, term, estimate, std_error, statistic, df, p_value, conf_low, conf_high``. The
            residual, ``sd__Observation``, has a row only if a residual variance or dispersion was estimated.

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
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size")
        >>> result.tidy("fixed", exponentiate=True)[["term", "estimate", "conf_low", "conf_high"]].round(3).tail(1)
                  term  estimate  conf_low  conf_high
        3  period[T.4]     0.206     0.089      0.476
        """
        return tables.tidy(self, effects, level=level, exponentiate=exponentiate)

    def glance(self) -> pd.DataFrame:
        """One row about the whole fit, with the columns of R's ``broom.mixed::glance``.

        Returns
        -------
        DataFrame, one row
            Columns ``nobs, sigma, logLik, AIC, BIC, REMLcrit`` (``deviance`` for a fit by ML, with the meaning that
            ``deviance`` has for the model) ``, df_residual``.

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
        """Add what is known about each row to the model frame, with the columns of ``broom.mixed::augment``.

        Returns
        -------
        DataFrame, n rows
            The columns used, then:

            - ``.fitted`` and ``.eta``: the linear predictor X beta + Z b + offset; ``.fixed``: X beta + offset.
            - ``.mu``: the mean, the same as ``.fitted`` in a linear model.
            - ``.resid``: y minus the mean; in a generalized model the deviance residual.
            - ``.offset``; ``.weights``: prior weights, numbers of trials of a binomial response.
            - ``.sqrtrwt``: root of the weight over the variance function; ``.wtres``: y minus the mean, times that (the
              Pearson residual); ``.sqrtXwt``: ``.sqrtrwt`` times the derivative of the mean by the linear predictor.

            Of a linear model also, after ``.resid``:

            - ``.hat``: leverages, the diagonal of the matrix that turns y into the fitted values; lme4's ``hatvalues``.
            - ``.cooksd``: lme4's ``cooks.distance``, made of ``.hat`` and the conditional residuals alone. The change
              of the fixed effects when the row is left out is `interlace.influence.cooks_distance`.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).augment()[["Reaction", ".fitted"]].head(1).round(2)
           Reaction  .fitted
        0    249.56   253.66
        """
        return tables.augment(self.state)
