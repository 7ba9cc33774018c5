"""The public entry points: signature, documentation, and the stages in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interlace.errors import hints_at
from interlace.results.call import OTHER_SPELLINGS, FitCall
from interlace.results.lmm import LMMResult, fit_call

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.estimate.control import Control
    from interlace.typing import DfMethod, FrameLike, Method, Optimizer

__all__ = ["fit"]


@hints_at(OTHER_SPELLINGS)
def fit(
    formula: str,
    data: FrameLike,
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    method: Method = "REML",
    weights: ArrayLike | str | None = None,
    offset: ArrayLike | str | None = None,
    optimizer: Optimizer = "auto",
    theta0: ArrayLike | None = None,
    covariance: Mapping[str, str] | None = None,
    contrasts: Mapping[str, Any] | None = None,
    df_method: DfMethod = "satterthwaite",
    na_action: str = "drop",
    control: Control | None = None,
) -> LMMResult:
    """Fit a linear mixed-effects model, as R's ``lme4::lmer`` does.

    The profiled deviance is minimized over the relative covariance parameters theta from cross-products of the data
    (Bates, Maechler, Bolker and Walker, 2015, *Fitting Linear Mixed-Effects Models Using lme4*, J. Stat. Softw. 67(1)).

    Parameters
    ----------
    formula : str
        Fixed effects in the Wilkinson language of formulaic; random effects as lme4 writes them, ``(1 + x | g)``,
        ``(x || g)``, ``(1 | a/b)``. The left-hand side may be arithmetic: ``log(y)``, ``incidence / size``.
    data : data frame or mapping
        pandas, polars, pyarrow or any eager narwhals frame of n rows, or a dict of columns. It is not modified. Rows
        with a missing value in a column in use are left out.
    groups : str or sequence of str, optional
        Shorthand for random intercepts: ``groups="g"`` is ``(1 | g)``.
    random : str or sequence of str, optional
        Random-effects terms apart from the formula: ``random=["(1 + x | g)"]``.
    method : {"REML", "ML"}
    weights : array-like of shape (n,) or str, optional
        Precision weights (residual variance ``sigma^2 / weight``), or the column that holds them.
    offset : array-like of shape (n,) or str, optional
        Known part of the mean, or the column that holds it.
    optimizer : {"auto", "lbfgsb", "bobyqa"}
        Newton's method with exact gradients, bounded L-BFGS-B, or the derivative-free BOBYQA (extra ``[bobyqa]``).
        Each is followed by a test that an optimum on the boundary is one.
    theta0 : array-like of shape (n_theta,), optional
        Starting values in lme4's order; moment estimates by default.
    covariance : mapping of str to {"unstructured", "diagonal"}, optional
        Covariance structure by grouping factor.
    contrasts : mapping of str to {"treatment", "sum", "helmert", "poly"}, optional
        Coding of categorical predictors; treatment with the first category as reference by default.
    df_method : {"satterthwaite", "kenward-roger", "residual", "normal"}
        Tests and intervals of fixed effects: from the normal distribution for ``"normal"``, otherwise from Student's t.
        This version has the residual degrees of freedom n - p only: it uses them for ``"satterthwaite"`` and
        ``"kenward-roger"`` too, and says so in ``summary()``.
    na_action : {"drop", "raise"}
        What to do with rows that have missing values.
    control : Control, optional
        Tolerances, limits, and functions that formulas may call.

    Returns
    -------
    LMMResult

    Raises
    ------
    FormulaError
        The formula cannot be read or is not allowed (a ValueError).
    DataError
        A column, weight or offset is missing or cannot be used (a ValueError).
    ModelError
        The data cannot identify the model (a ValueError).

    Warns
    -----
    ConvergenceWarning
        The optimizer did not converge, or the fit is singular.
    RankDeficiencyWarning
        Fixed-effects columns were dropped because earlier ones determine them.
    scipy.linalg.LinAlgWarning
        The fixed-effects matrix is ill-conditioned.

    See Also
    --------
    interlace.rbridge.check : The same model in lme4, number by number.

    Examples
    --------
    >>> import interlace
    >>> sleepstudy = interlace.datasets.load("sleepstudy")
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", sleepstudy)
    >>> round(result.reml_criterion, 4)
    1743.6283
    >>> result.fe_params.round(3).to_dict()
    {'Intercept': 251.405, 'Days': 10.467}
    """
    call = FitCall(
        formula,
        data,
        groups=groups,
        random=[random] if isinstance(random, str) else random,
        method=method,
        weights=weights,
        offset=offset,
        optimizer=optimizer,
        theta0=theta0,
        covariance=covariance,
        contrasts=contrasts,
        df_method=df_method,
        na_action=na_action,
        control=control,
    )
    return fit_call(call, stacklevel=4)  # the caller of the decorated function
