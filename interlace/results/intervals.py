"""Members of a result that say how sure its parameters are: intervals, profiles, bootstrap.

What they call is imported when it is called: a first fit would take a third longer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlace.results.reports import Reports

if TYPE_CHECKING:
    import pandas as pd

    from interlace.inference.bootstrap import Kind
    from interlace.prediction.simulate import Seed
    from interlace.results.bootstrap import BootstrapResult, ResultStatistic
    from interlace.results.confint import IntervalMethod, Parm, Scale
    from interlace.results.profiles import Profiles

__all__ = ["Intervals"]


class Intervals(Reports):
    """Intervals of all parameters."""

    def confint(
        self,
        level: float = 0.95,
        *,
        method: IntervalMethod = "profile",
        scale: Scale = "theta",
        parm: Parm = None,
        nsim: int = 1000,
        seed: Seed = None,
        n_jobs: int | None = None,
    ) -> pd.DataFrame:
        """Confidence intervals, by default of the variance parameters from the profile likelihood.

        Parameters
        ----------
        level : float
        method : {"profile", "wald", "boot"}
            From the profile of the deviance, found by solving for the ends themselves; from standard errors (not of
            variance parameters, as in lme4); or percentiles of a parametric bootstrap.
        scale : {"theta", "sd", "var"}
            ``"theta"``: the relative Cholesky factor, with a row of ones for the residual; multiply by ``sigma`` for
            standard deviations. ``"sd"``: standard deviations, correlations and sigma under lme4's names, and the fixed
            effects. ``"var"``: variances and covariances.
        parm : str, int, or sequence of these, optional
            Rows by name or position; ``"theta_"`` and ``"beta_"`` for all of a kind.
        nsim, seed
            Of the bootstrap.
        n_jobs : int, optional
            Processes, as for ``joblib.Parallel``.

        Returns
        -------
        DataFrame
            One row a parameter, with the columns ``estimate``, ``2.5 %`` and ``97.5 %`` (for a level of 0.95).

        Notes
        -----
        With ``scale="theta"`` the profile is that of the criterion of the fit, REML for a REML fit; with ``"sd"`` and
        ``"var"``, and for fixed effects, it is that of the likelihood, also for a REML fit, as in lme4. A profile that
        never reaches the limit gives 0 for a standard deviation and -1 or 1 for a correlation.

        The row ``theta_nb`` of a fit by ``glmer_nb`` is the theta of its negative binomial distribution, which the
        summary gives as ``Negative Binomial(...)``; lme4 has no interval for it. Its logarithm is profiled, and Wald's
        interval is symmetric on that scale; an upper end of infinity means that the data could be Poisson's.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject")
        >>> result.confint().round(3)
                  estimate  2.5 %  97.5 %
        Subject      1.198  0.839   1.806
        residual     1.000  1.000   1.000
        """
        from interlace.results.confint import confint

        return confint(
            self.state,
            self.call,
            level,
            method=method,
            scale=scale,
            parm=parm,
            nsim=nsim,
            seed=seed,
            n_jobs=n_jobs,
            stacklevel=3,
        )

    def profile(self, *, scale: Scale = "sd", parm: Parm = None, level: float = 0.99) -> Profiles:
        """Profile the likelihood for plotting: lme4's ``profile(m)``.

        Parameters
        ----------
        scale : {"sd", "var", "theta"}
        parm : str, int, or sequence of these, optional
            Parameters to profile; all of the scale by default.
        level : float
            Confidence level that the profiles reach.

        Returns
        -------
        Profiles
            ``to_frame()`` has the points with their signed roots zeta, ``confint()`` the intervals.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> result.profile(parm="sigma").confint().round(2)
               estimate  2.5 %  97.5 %
        sigma     49.51  38.23   67.66
        """
        from interlace.results.profiles import profile

        return profile(self.state, self.call, scale=scale, parm=parm, level=level)

    def bootstrap(
        self,
        nsim: int = 1000,
        seed: Seed = None,
        statistic: ResultStatistic | None = None,
        *,
        kind: Kind = "parametric",
        scale: Scale = "sd",
        n_jobs: int | None = None,
        show_progress: bool = False,
    ) -> BootstrapResult:
        """Draw responses from the model, fit it to each, and collect statistics: lme4's ``bootMer``.

        Parameters
        ----------
        nsim : int
        seed : int or numpy.random.Generator, optional
            An integer gives the same replicates every time, whatever ``n_jobs`` is.
        statistic : callable, optional
            Takes the result of every refit; returns a number, an array, or a Series or mapping with names. By default
            standard deviations and correlations of the random effects, sigma, and fixed effects.
        kind : {"parametric", "conditional", "semiparametric"}
            Random effects and responses drawn from the model; responses only, the random effects at their modes; or
            residuals drawn with replacement around the fitted values (linear models only).
        scale : {"sd", "var", "theta"}
            Of the variance parameters when there is no ``statistic``.
        n_jobs : int, optional
            Processes, as for ``joblib.Parallel``.
        show_progress : bool

        Returns
        -------
        BootstrapResult
            ``.ci(kind="percentile")``, ``.bias``, ``.se``, ``.replicates``, ``.failures``.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> result.bootstrap(200, seed=1, statistic=lambda refit: refit.sigma)
        <BootstrapResult: parametric, 200 replicates of 1 statistic, 0 failed>
        """
        from interlace.results.bootstrap import bootstrap

        return bootstrap(
            self, nsim, seed, statistic, kind=kind, scale=scale, n_jobs=n_jobs, show_progress=show_progress
        )
