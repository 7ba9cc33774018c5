"""The result of a linear mixed model: a thin shell over its arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from interlace.errors import hints_at
from interlace.estimate.checks import warn
from interlace.prediction.predict import predict
from interlace.results.actions import Actions
from interlace.results.call import FitCall, changed_call, design_of, state_of, streamed_state_of
from interlace.results.fixed import coefficient_tests_of
from interlace.results.refit import refitted
from interlace.streaming.sources import is_stream

if TYPE_CHECKING:
    import pandas as pd

    from interlace.estimate.state import FitState
    from interlace.frames.design import Design
    from interlace.prediction.predict import Interval
    from interlace.typing import FrameLike

__all__ = ["PREDICT_SPELLINGS", "LMMResult", "fit_call"]


#: Arguments of predict() in lme4 and statsmodels.
PREDICT_SPELLINGS = {
    "re_form": 're_formula= takes "~0" for no random effects, or bars such as "~ (1 | g)"',
    "se_fit": "write se=True",
    "exog": "new rows are newdata=",
}


class LMMResult(Actions):
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

    state: FitState
    call: FitCall

    @hints_at(PREDICT_SPELLINGS)
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
            estimates and the random effects' modes, given the variance parameters. Where no random effects are used,
            from ``fe_cov``, which is Kenward and Roger's with ``df_method="kenward-roger"``.
        interval : {"confidence", "prediction"}, optional
            Of the linear predictor; or of a new observation of weight 1, whose residual variance is added.
        level : float
            Confidence level of the interval, from the t distribution with degrees of freedom by the ``df_method`` of
            the fit (notes), or from the normal distribution for ``df_method="normal"``.

        Returns
        -------
        Series ``fit``, or DataFrame with columns among ``fit``, ``se``, ``lower``, ``upper``, m rows
            Indexed as ``newdata``. A row with a missing value is NaN. The offset is included.

        Notes
        -----
        An unseen level adds z' Psi z, the variance of its random effects, to the variance. Random effects left out
        count as zero and add nothing: for an average over groups, not for a new group.

        Degrees of freedom of ``interval="confidence"`` without random effects are those of the test of x'beta for each
        row, so that the interval is that of an estimated marginal mean. Where random effects or the residual variance
        enter, they are Satterthwaite's for the variance v of the prediction as a whole, 2 v^2 / var(v), which is what
        the t quantile needs: few for a new group out of six, near n for a new observation of a known one.
        ``df_method="kenward-roger"`` uses these too, having none of its own; ``"residual"`` has n - p for everything.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
        >>> new = {"Days": [0, 5], "Subject": ["308", "someone new"]}
        >>> result.predict(new, se=True, interval="prediction").round(1)
             fit    se  lower  upper
        0  253.7  12.3  197.6  309.7
        1  303.7  40.9  205.1  402.4
        """
        needed = interval is not None or (se and self.call.df_method == "kenward-roger")
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
            tests=coefficient_tests_of(self) if needed else None,
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
    if is_stream(call.data):
        state = streamed_state_of(call)
    else:
        state = state_of(call, design_of(call) if design is None else design)
    warn(state.checks, stacklevel=stacklevel)
    return LMMResult(state, call)
