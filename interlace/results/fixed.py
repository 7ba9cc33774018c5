"""Fixed-effects members of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.inference import wald
from interlace.inference.degrees_of_freedom import coefficient_tests

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.inference.contrasts import CoefficientTests
    from interlace.results.call import FitCall, GlmerCall
    from interlace.typing import DfMethod, FloatArray

__all__ = ["FixedEffects", "coefficient_names", "coefficient_tests_of", "residual_df"]


def coefficient_names(state: State) -> list[str]:
    """Names of the p coefficients in the fit, in order; linearly dependent columns have none."""
    names = state.problem.design.x_names
    return [names[j] for j in state.kept]


def residual_df(state: State) -> int:
    """Residual degrees of freedom n - p of the fixed-effects part."""
    return state.problem.design.n - len(state.beta)


def coefficient_tests_of(result: FixedEffects, ddf: DfMethod | None = None) -> CoefficientTests:
    """What tests of the fixed effects of a result need; found once for each method.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        The method of the fit by default.
    """
    method = result.call.df_method if ddf is None else ddf
    known: dict[str, CoefficientTests] = vars(result).setdefault("_tests_by_method", {})
    if method not in known:
        known[method] = coefficient_tests(result.state, method)
    return known[method]


def _covariance(result: FixedEffects) -> FloatArray:
    """Covariance that the tests use; only that of Kenward and Roger has to be computed."""
    if result.call.df_method == "kenward-roger":
        return coefficient_tests_of(result).cov
    return result.state.beta_cov


def interval_columns(level: float) -> list[str]:
    """R's headings of the two ends of an interval: ``2.5 %``, ``97.5 %``."""
    return [f"{100 * tail:.3g} %" for tail in ((1 - level) / 2, (1 + level) / 2)]


class FixedEffects:
    """What is known about the p fixed-effects coefficients.

    Everything is a pandas object indexed by coefficient, made anew at each access, so that changing it changes no
    result. Columns of X that others determine are left out of the fit and of every table.

    Tests and intervals of linear models use t distributions with degrees of freedom by the ``df_method`` of the fit:

    - ``"satterthwaite"``: from how well the variances behind each coefficient are known, as in R's lmerTest.
    - ``"kenward-roger"``: the same with covariances adjusted for small samples (R's pbkrtest); for fits by REML.
    - ``"residual"``: n - p for all; too optimistic for effects that vary between groups, of which the data hold few.
    - ``"normal"``: the normal distribution.

    Generalized models always use the normal distribution, as lme4's do. Their coefficients are on the scale of the
    linear predictor; ``tidy(exponentiate=True)`` gives odds ratios or rate ratios.
    """

    state: State
    call: FitCall | GlmerCall

    def _by_coefficient(self, values: object, name: str | None = None) -> pd.Series:
        return pd.Series(values, index=pd.Index(coefficient_names(self.state)), name=name, dtype=float)

    @property
    def fe_params(self) -> pd.Series:
        """Estimates of the fixed effects, shape (p,): lme4's ``fixef(m)``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_params.round(3)
        Intercept    251.405
        Days          10.467
        Name: estimate, dtype: float64
        """
        return self._by_coefficient(self.state.beta.copy(), "estimate")

    @property
    def fe_bse(self) -> pd.Series:
        """Standard errors, shape (p,): roots of the diagonal of ``fe_cov``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_bse.round(3)
        Intercept    6.825
        Days         1.546
        Name: std_error, dtype: float64
        """
        return self._by_coefficient(wald.standard_errors(_covariance(self)), "std_error")

    @property
    def fe_df(self) -> pd.Series:
        """Degrees of freedom of each test, shape (p,), by the ``df_method`` of the fit.

        Infinity with ``df_method="normal"`` and for generalized models.

        Raises
        ------
        ModelError
            With ``df_method="kenward-roger"``, for a fit by ML, or one of so many levels that it takes too much memory.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_df.round(3)
        Intercept    17.0
        Days         17.0
        Name: df, dtype: float64
        """
        return self._by_coefficient(coefficient_tests_of(self).coefficient_df, "df")

    @property
    def fe_tvalues(self) -> pd.Series:
        """Estimates by their standard errors, t (or z) statistics, shape (p,).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_tvalues["Days"], 3)
        np.float64(6.771)
        """
        se = wald.standard_errors(_covariance(self))
        return self._by_coefficient(wald.statistics(self.state.beta, se), "statistic")

    @property
    def fe_zvalues(self) -> pd.Series:
        """Same as ``fe_tvalues``, under the name for tests that use the normal distribution, shape (p,).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size")
        >>> round(result.fe_zvalues["period[T.2]"], 3)
        np.float64(-3.236)
        """
        return self.fe_tvalues

    @property
    def fe_pvalues(self) -> pd.Series:
        """Two-sided p-values of t tests with ``fe_df`` degrees of freedom, or of z tests, shape (p,).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> float(interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_pvalues["Days"].round(8))
        3.26e-06
        """
        return self._by_coefficient(wald.p_values(self.fe_tvalues.to_numpy(), self.fe_df.to_numpy()), "p_value")

    @property
    def fe_conf_int(self) -> pd.DataFrame:
        """95 % Wald intervals from the t distribution with ``fe_df`` degrees of freedom, or the normal, shape (p, 2).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_conf_int.round(2)
                    2.5 %  97.5 %
        Intercept  237.01  265.80
        Days         7.21   13.73
        """
        out = self.conf_int()
        return out.set_axis(interval_columns(0.95), axis=1)

    @property
    def fe_cov(self) -> pd.DataFrame:
        """Covariance matrix of the estimates, shape (p, p): lme4's ``vcov(m)``.

        Of a linear model, given the variance parameters; with ``df_method="kenward-roger"`` adjusted for their
        uncertainty and for small samples (pbkrtest's ``vcovAdj(m)``). Of a generalized model, from the curvature of the
        likelihood in all parameters together, so that the uncertainty of variances, dispersion and a negative
        binomial's theta counts; with ``nAGQ=0``, given the variance parameters.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fe_cov.round(3)
                   Intercept   Days
        Intercept     46.575 -1.451
        Days          -1.451  2.389
        """
        names = coefficient_names(self.state)
        return pd.DataFrame(_covariance(self).copy(), index=names, columns=names)

    @property
    def params(self) -> pd.Series:
        """Same as ``fe_params``, under statsmodels' name.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).params["Days"], 3)
        np.float64(10.467)
        """
        return self.fe_params

    @property
    def bse(self) -> pd.Series:
        """Same as ``fe_bse``, under statsmodels' name.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).bse["Days"], 3)
        np.float64(1.546)
        """
        return self.fe_bse

    @property
    def tvalues(self) -> pd.Series:
        """Same as ``fe_tvalues``, under statsmodels' name.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> round(interlace.fit("Reaction ~ Days + (Days | Subject)", df).tvalues["Days"], 3)
        np.float64(6.771)
        """
        return self.fe_tvalues

    @property
    def pvalues(self) -> pd.Series:
        """Same as ``fe_pvalues``, under statsmodels' name.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> bool(interlace.fit("Reaction ~ Days + (Days | Subject)", df).pvalues["Days"] < 1e-5)
        True
        """
        return self.fe_pvalues

    def cov_params(self) -> pd.DataFrame:
        """Give ``fe_cov`` under statsmodels' name.

        Returns
        -------
        DataFrame, shape (p, p)

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).cov_params().shape
        (2, 2)
        """
        return self.fe_cov

    def conf_int(self, alpha: float = 0.05) -> pd.DataFrame:
        """Wald intervals of the fixed effects, as statsmodels gives them.

        Parameters
        ----------
        alpha : float
            One minus the confidence level.

        Returns
        -------
        DataFrame, shape (p, 2)
            Columns 0 and 1, from the t distribution with ``fe_df`` degrees of freedom.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).conf_int(alpha=0.1).round(2)
                        0       1
        Intercept  239.53  263.28
        Days         7.78   13.16
        """
        if not isinstance(alpha, int | float | np.number):
            raise TypeError(f"alpha must be a number between 0 and 1, not {alpha!r}")
        if not 0.0 < alpha < 1.0:
            raise ValueError(f"alpha must lie between 0 and 1, not {alpha!r}; use 0.05 for 95 % intervals")
        se = wald.standard_errors(_covariance(self))
        ends = wald.interval(self.state.beta, se, self.fe_df.to_numpy(), 1.0 - alpha)
        return pd.DataFrame(ends, index=coefficient_names(self.state))
