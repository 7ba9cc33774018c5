"""The result of a generalized linear mixed model: a thin shell over its arrays."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from interlace.errors import hints_at
from interlace.estimate.checks import warn
from interlace.prediction.predict import predict
from interlace.results.actions import Actions
from interlace.results.call import GlmerCall, changed_call, design_of, glmm_state_of
from interlace.results.lmm import PREDICT_SPELLINGS
from interlace.results.refit import refitted_glmm

if TYPE_CHECKING:
    import pandas as pd

    from interlace.core.familybase import Family
    from interlace.core.linkbase import Link
    from interlace.estimate.glmm_state import GlmmState
    from interlace.frames.design import Design
    from interlace.prediction.predict import Interval
    from interlace.typing import FrameLike

__all__ = ["GLMMResult", "glmer_call"]


class GLMMResult(Actions):
    """A fitted generalized linear mixed model.

    Parameters
    ----------
    state : GlmmState
        Estimates, as arrays.
    call : GlmerCall
        Arguments of the call that made it.

    Notes
    -----
    Nothing is computed before it is asked for; standard errors are, from the curvature of the deviance. A result does
    not change; ``update`` and ``refit`` make new ones.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cbpp")
    >>> interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
    <GLMMResult: incidence / size ~ period + (1 | herd), binomial (logit), 56 rows>
    """

    state: GlmmState
    call: GlmerCall

    @property
    def family(self) -> Family:
        """Family of the response, with the estimated theta for ``glmer_nb``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size").family.name
        'binomial'
        """
        return self.state.model.family

    @property
    def link(self) -> Link:
        """Link between mean and linear predictor.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size").link.name
        'logit'
        """
        return self.state.model.link

    def __repr__(self) -> str:
        family = f"{self.family.label} ({self.link.name})"
        return f"<{type(self).__name__}: {self.formula}, {family}, {self.nobs} rows>"

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
            Means (probabilities, for a binomial response), or linear predictors.
        include_re : bool
            Whether to use the random effects; False is the same as ``re_formula="~0"``.
        re_formula : str, optional
            Random effects to use, as lme4's ``re.form``: all (None), none (``"~0"``), or those named by bars such as
            ``"~ (1 | herd)"``.
        allow_new_levels : bool
            Levels that the fit has not seen get random effects of zero; False makes them an error.
        se : bool
            Whether to give standard errors: of the linear predictor, from the joint covariance of the fixed effects'
            estimates and the random effects' modes, given the variance parameters; for ``type="response"`` times the
            slope of the mean (delta method).
        interval : {"confidence"}, optional
            Of the linear predictor; for ``type="response"`` its ends are turned into means. For the spread of new
            observations use ``simulate``.
        level : float
            Confidence level of the interval, from the normal distribution.

        Returns
        -------
        Series ``fit``, or DataFrame with columns among ``fit``, ``se``, ``lower``, ``upper``, m rows
            Indexed as ``newdata``. A row with a missing value is NaN. The offset is included.

        Notes
        -----
        A mean without random effects is that of a group whose random effects are zero, not the average over groups.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
        >>> result.predict({"period": ["1", "4"], "herd": ["1", "new"]}).round(4).tolist()
        [0.3082, 0.0484]
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

    def update(self, formula: str | None = None, data: FrameLike | None = None, **glmer_kwargs: Any) -> GLMMResult:
        """Fit again with something changed; everything else is as in the original call.

        Parameters
        ----------
        formula : str, optional
            A new formula, in which ``.`` stands for what was there: ``". ~ . + x"``. Starting values are not inherited
            by a new formula.
        data : frame or mapping, optional
            New data.
        **glmer_kwargs
            Any other argument of ``interlace.glmer``: ``nAGQ=9``, ``link="probit"``. A new ``family`` takes the place
            of a negative binomial whose theta was estimated.

        Returns
        -------
        GLMMResult

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
        >>> round(result.update(nAGQ=9).llf, 4), round(result.update(". ~ 1").llf, 4)
        (-91.9834, -104.8313)
        """
        call = self.call
        if "family" in glmer_kwargs:
            call, glmer_kwargs = replace(call, free_theta=False), {"link": None} | glmer_kwargs
        call, same_design = changed_call(call, self.state.problem.design, formula, data, glmer_kwargs)
        return glmer_call(call, self.state.problem.design if same_design else None, stacklevel=3)

    def refit(self, y: ArrayLike) -> GLMMResult:
        """Fit the same model to another response: lme4's ``refit``.

        Parameters
        ----------
        y : array-like, shape (nobs,) or as many values as the original data have rows
            New responses as numbers: counts, amounts, 0/1, or proportions of the same numbers of trials.

        Returns
        -------
        GLMMResult

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("cbpp")
        >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
        >>> bool(result.refit(df["incidence"] / df["size"]).llf == result.llf)
        True
        """
        state = refitted_glmm(self.state, self.call, y)
        warn(state.checks, stacklevel=2)
        return GLMMResult(state, self.call)


def glmer_call(call: GlmerCall, design: Design | None = None, *, stacklevel: int = 2) -> GLMMResult:
    """Carry out a call of ``glmer``: design, then estimation, then one warning of what is wrong with it.

    Parameters
    ----------
    call : GlmerCall
    design : Design, optional
        The design of the call, if there is one already.
    stacklevel : int
        As in ``warnings.warn``, counted from the caller of this function.

    Returns
    -------
    GLMMResult

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cbpp")
    >>> glmer_call(GlmerCall("incidence / size ~ period + (1 | herd)", df, weights="size"))
    <GLMMResult: incidence / size ~ period + (1 | herd), binomial (logit), 56 rows>
    """
    state = glmm_state_of(call, design_of(call) if design is None else design)
    warn(state.checks, stacklevel=stacklevel)
    return GLMMResult(state, call)
