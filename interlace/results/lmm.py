"""The result of a linear mixed model: a thin shell over its arrays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from interlace.estimate.checks import warn
from interlace.prediction.predict import predict
from interlace.results import persist, tables
from interlace.results.call import FitCall, changed_call, design_of, state_of
from interlace.results.criteria import Criteria
from interlace.results.fixed import FixedEffects
from interlace.results.random import RandomEffects
from interlace.results.refit import refitted
from interlace.results.rows import Rows
from interlace.results.summary import Summary, short_text, summarize

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from interlace.estimate.state import FitState
    from interlace.frames.design import Design
    from interlace.prediction.predict import Interval
    from interlace.results.tables import Effects
    from interlace.typing import FrameLike

__all__ = ["LMMResult", "fit_call", "load"]


class LMMResult(FixedEffects, RandomEffects, Criteria, Rows):
    """A fitted linear mixed model.

    Parameters
    ----------
    state : FitState
        Estimates, as arrays.
    call : FitCall
        Arguments of the call that made it.

    Notes
    -----
    Nothing is computed before it is asked for. A result does not change; ``update`` and ``refit`` make new ones.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df)
    <LMMResult: Reaction ~ Days + (Days | Subject), REML, 180 rows>
    """

    def __init__(self, state: FitState, call: FitCall) -> None:
        self.state = state
        self.call = call

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self.state, "call": self.call}  # what was cached is computed again

    def __repr__(self) -> str:
        return f"<LMMResult: {self.formula}, {self.method}, {self.nobs} rows>"

    def __str__(self) -> str:
        return short_text(self)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()

    @property
    def formula(self) -> str:
        """The whole formula, random-effects terms included.

        Examples
        --------
        >>> import interlace
        >>> interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject").formula
        'Reaction ~ Days + (1 | Subject)'
        """
        return self.state.problem.design.formula

    def summary(self) -> Summary:
        """What was found, printed as lme4 prints it, with t tests of the fixed effects.

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
        """The model frame with what is known about each row.

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

    def predict(
        self,
        newdata: FrameLike | None = None,
        *,
        type: str = "response",
        include_re: bool = True,
        re_formula: str | None = None,
        allow_new_levels: bool = True,
        se: bool = False,
        interval: Interval | None = None,
        level: float = 0.95,
    ) -> pd.Series | pd.DataFrame:
        """Predict for new rows, or for the rows of the fit.

        Parameters
        ----------
        newdata : frame or mapping, m rows, optional
            Grouping factors may be absent where no random effect of theirs is used.
        type : {"response", "link"}
            The same thing for a linear model.
        include_re : bool
            Whether to use the random effects; False is the same as ``re_formula="~0"``.
        re_formula : str, optional
            Random effects to use, as lme4's ``re.form``: all (None), none (``"~0"``), or those named by bars such as
            ``"~ (1 | Subject)"``, which also picks the intercept out of ``(Days | Subject)``.
        allow_new_levels : bool
            Levels that the fit has not seen get random effects of zero; False makes them an error.
        se : bool
            Whether to give standard errors of the linear predictor: from the joint covariance of the fixed effects'
            estimates and the random effects' modes, given the variance parameters.
        interval : {"confidence", "prediction"}, optional
            Of the linear predictor; or of a new observation of weight 1, whose residual variance is added.
        level : float
            Confidence level of the interval, from the t distribution with n - p degrees of freedom.

        Returns
        -------
        Series ``fit``, or DataFrame with columns among ``fit``, ``se``, ``lower``, ``upper``, m rows
            Indexed as ``newdata``. A row with a missing value is NaN. The offset is included.

        Notes
        -----
        An unseen level adds z' Psi z, the variance of its random effects, to the variance. Random effects left out
        count as zero and add nothing: for an average over groups, not for a new group.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> new = {"Days": [0, 5], "Subject": ["308", "someone new"]}
        >>> result.predict(new, se=True, interval="prediction").round(1)
             fit    se  lower  upper
        0  253.7  12.3  197.7  309.7
        1  303.7  40.9  208.5  399.0
        """
        return predict(
            self.state,
            newdata,
            type=type,
            include_re=include_re,
            re_formula=re_formula,
            allow_new_levels=allow_new_levels,
            se=se,
            interval=interval,
            level=level,
        )

    def update(self, formula: str | None = None, data: FrameLike | None = None, **fit_kwargs: Any) -> LMMResult:
        """Fit again with something changed; everything else is as in the original call.

        Parameters
        ----------
        formula : str, optional
            A new formula, in which ``.`` stands for what was there: ``". ~ . + x"``, ``"log(.) ~ ."``,
            ``". ~ . - (1 | g)"``. Starting values are not inherited by a new formula.
        data : frame or mapping, optional
            New data.
        **fit_kwargs
            Any other argument of ``interlace.fit``. ``groups`` or ``random`` replace all random-effects terms given by
            either.

        Returns
        -------
        LMMResult

        Notes
        -----
        A change of ``method``, ``optimizer`` or ``theta0`` alone uses the arrays of this fit. Anything else evaluates
        the formula on the data again; the response given to ``refit`` is then left behind, as in lme4.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject")
        >>> result.update(". ~ . + I(Days**2)", method="ML")
        <LMMResult: Reaction ~ Days + I(Days ** 2) + (1 | Subject), ML, 180 rows>
        """
        call, same_design = changed_call(self.call, self.state.problem.design, formula, data, fit_kwargs)
        return fit_call(call, self.state.problem.design if same_design else None, stacklevel=3)

    def refit(self, y: ArrayLike) -> LMMResult:
        """Fit the same model to another response: lme4's ``refit``.

        Parameters
        ----------
        y : array-like, shape (nobs,) or as many values as the original data have rows
            New values of the left-hand side of the formula, transformed if that is; in the order of the rows.

        Returns
        -------
        LMMResult

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
        >>> (result.refit(2 * df["Reaction"]).fe_params / result.fe_params).round(6).tolist()
        [2.0, 2.0]
        """
        state = refitted(self.state, self.call, y)
        warn(state.checks, stacklevel=2)
        return LMMResult(state, self.call)

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


def fit_call(call: FitCall, design: Design | None = None, *, stacklevel: int = 2) -> LMMResult:
    """Carry out a call of ``fit``: design, then estimation, then one warning of what is wrong with it.

    Parameters
    ----------
    call : FitCall
    design : Design, optional
        The design of the call, if there is one already.
    stacklevel : int
        As in ``warnings.warn``, counted from the caller of this function.

    Returns
    -------
    LMMResult

    Examples
    --------
    >>> import interlace
    >>> fit_call(FitCall("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy")))
    <LMMResult: Reaction ~ Days + (1 | Subject), REML, 180 rows>
    """
    state = state_of(call, design_of(call) if design is None else design)
    warn(state.checks, stacklevel=stacklevel)
    return LMMResult(state, call)


def load(path: str | os.PathLike[str]) -> LMMResult:
    """Read a fit that ``LMMResult.save`` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    LMMResult
        With the numbers of the fit that was saved. No optimizer runs, and nothing in the file is executed.

    Raises
    ------
    DataError
        The file is not such a file, is damaged, or was written by a later version.

    Examples
    --------
    >>> import interlace, pathlib, tempfile
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(pathlib.Path(folder, "sleep.interlace"))
    ...     interlace.load(pathlib.Path(folder, "sleep.interlace"))
    <LMMResult: Reaction ~ Days + (Days | Subject), REML, 180 rows>
    """
    return LMMResult(*persist.load(path))
