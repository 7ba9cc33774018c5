"""The public entry points: signature, documentation, and the stages in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from interlace.core.families import NegativeBinomial
from interlace.errors import hints_at
from interlace.results.call import OTHER_SPELLINGS, OTHER_SPELLINGS_GLMER, FitCall, GlmerCall
from interlace.results.glmm import GLMMResult, glmer_call
from interlace.results.lmm import LMMResult, fit_call

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.core.familybase import Family
    from interlace.core.linkbase import Link
    from interlace.estimate.control import Control
    from interlace.typing import DfMethod, FrameLike, Method, Optimizer

__all__ = ["fit", "glmer", "glmer_nb"]


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
        with a missing value in a column in use are left out. Data larger than memory are read in batches (notes): a
        path or list of paths of Parquet, CSV or Arrow files, or a directory of them; a ``pyarrow.dataset.Dataset``, a
        polars ``LazyFrame``, a DuckDB relation, a dask ``DataFrame``.
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
        Tests and intervals of fixed effects use Student's t with degrees of freedom by Satterthwaite's method (as R's
        lmerTest), by Kenward and Roger's with their adjusted covariance (as pbkrtest; fits by REML only), or the
        residual ones n - p; or the normal distribution. They are computed when first asked for.
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

    Notes
    -----
    A fit from batches is that of the whole frame, and its memory grows with the levels and not with the rows. Weights
    and offset are then names of columns, expressions that look at other rows (``lag(x)``) are refused, those that learn
    from all of them (``poly(x, 2)``) keep the columns that they read, ``fittedvalues`` and ``resid`` read the data
    again, and what needs all rows at once (influence, bootstrap, ``simulate``, ``save``) is refused.

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


@hints_at(OTHER_SPELLINGS_GLMER)
def glmer(
    formula: str,
    data: FrameLike,
    family: str | Family | type[Family],
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    link: str | Link | None = None,
    nAGQ: int = 1,
    weights: ArrayLike | str | None = None,
    offset: ArrayLike | str | None = None,
    optimizer: Optimizer = "auto",
    theta0: ArrayLike | None = None,
    covariance: Mapping[str, str] | None = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    control: Control | None = None,
) -> GLMMResult:
    """Fit a generalized linear mixed-effects model by maximum likelihood, as R's ``lme4::glmer`` does.

    The likelihood is approximated by Laplace's method at the conditional modes, which penalized iteratively reweighted
    least squares finds, or by adaptive Gauss-Hermite quadrature; it is maximized over theta and beta together with its
    exact gradient (Bates, Maechler, Bolker and Walker, 2015, J. Stat. Softw. 67(1); Pinheiro and Bates, 1995,
    J. Comput. Graph. Stat. 4, 12-35).

    Parameters
    ----------
    formula : str
        As for `fit`. The left-hand side of a binomial model is 0/1, true/false, a factor of two levels (the second one
        is success), ``cbind(successes, failures)``, or a proportion with the numbers of trials as ``weights``.
    data : data frame or mapping
        pandas, polars, pyarrow or any eager narwhals frame of n rows, or a dict of columns.
    family : str or Family
        ``"binomial"``, ``"poisson"``, ``"Gamma"``, ``"inverse.gaussian"``, ``"gaussian"`` (with a link other than the
        identity), or an object of `interlace.families`, such as ``NegativeBinomial(theta=2)`` or one of your own.
    groups : str or sequence of str, optional
        Shorthand for random intercepts: ``groups="g"`` is ``(1 | g)``.
    random : str or sequence of str, optional
        Random-effects terms apart from the formula.
    link : str or Link, optional
        The family's default if not given; see `interlace.families`.
    nAGQ : int
        1 for the Laplace approximation; more for so many quadrature nodes in each dimension, for models with one
        grouping factor and at most three random effects for each of its levels; 0 for a faster, rougher fit whose beta
        is found together with the modes.
    weights : array-like of shape (n,) or str, optional
        Numbers of trials of binomial proportions; multipliers of the log density for other families.
    offset : array-like of shape (n,) or str, optional
        Known part of the linear predictor, or the column that holds it.
    optimizer : {"auto", "lbfgsb", "bobyqa"}
        Newton's method with exact gradients, bounded L-BFGS-B, or the derivative-free BOBYQA (extra ``[bobyqa]``).
    theta0 : array-like of shape (n_theta,), optional
        Starting values in lme4's order.
    covariance : mapping of str to {"unstructured", "diagonal"}, optional
        Covariance structure by grouping factor.
    contrasts : mapping of str to {"treatment", "sum", "helmert", "poly"}, optional
        Coding of categorical predictors; treatment with the first category as reference by default.
    na_action : {"drop", "raise"}
        What to do with rows that have missing values.
    control : Control, optional
        Tolerances, limits, and conventions: ``Control(dispersion=, information=)``.

    Returns
    -------
    GLMMResult

    Raises
    ------
    FormulaError
        The formula cannot be read or is not allowed (a ValueError).
    DataError
        A column, weight or offset is missing or cannot be used, or the response is not of the family (a ValueError).
    ModelError
        There is no such family or link, or the data cannot identify the model (a ValueError).

    Warns
    -----
    ConvergenceWarning
        The optimizer did not converge, the fit is singular, or the likelihood has no maximum (separation).
    RankDeficiencyWarning
        Fixed-effects columns were dropped because earlier ones determine them.
    UserWarning
        The response is suspicious: successes that are not whole numbers.

    See Also
    --------
    interlace.rbridge.check : The same model in lme4, number by number.

    Notes
    -----
    The log-likelihood has all its constants for every ``nAGQ``, so that fits can be compared; lme4 up to 1.1 leaves
    some out for ``nAGQ > 1``. A dispersion (Gamma, inverse Gaussian, Gaussian) is estimated by maximum likelihood, and
    variances of random effects are on the scale of the linear predictor.

    Examples
    --------
    >>> import interlace
    >>> cbpp = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period", cbpp, "binomial", groups="herd", weights="size")
    >>> round(-2 * result.llf, 4)
    184.0526
    >>> result.fe_params.round(3).to_dict()
    {'Intercept': -1.399, 'period[T.2]': -0.992, 'period[T.3]': -1.129, 'period[T.4]': -1.58}
    """
    call = GlmerCall(
        formula,
        data,
        groups=groups,
        random=[random] if isinstance(random, str) else random,
        family=family,
        link=link,
        nAGQ=nAGQ,
        weights=weights,
        offset=offset,
        optimizer=optimizer,
        theta0=theta0,
        covariance=covariance,
        contrasts=contrasts,
        na_action=na_action,
        control=control,
    )
    return glmer_call(call, stacklevel=4)  # the caller of the decorated function


@hints_at(OTHER_SPELLINGS_GLMER | {"family": "the family is the negative binomial", "theta": "theta is estimated"})
def glmer_nb(
    formula: str,
    data: FrameLike,
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    link: str | Link | None = None,
    nAGQ: int = 1,
    weights: ArrayLike | str | None = None,
    offset: ArrayLike | str | None = None,
    optimizer: Optimizer = "auto",
    theta0: ArrayLike | None = None,
    covariance: Mapping[str, str] | None = None,
    contrasts: Mapping[str, Any] | None = None,
    na_action: str = "drop",
    control: Control | None = None,
) -> GLMMResult:
    """Fit a negative binomial mixed model whose theta is estimated, as R's ``lme4::glmer.nb`` does.

    The variance of a count with mean mu is ``mu + mu**2 / theta``. Theta of the family is maximized over together with
    the covariance parameters and beta, not in an outer loop.

    Parameters
    ----------
    formula, data, groups, random, link, nAGQ, weights, offset, optimizer, theta0
    covariance, contrasts, na_action, control
        As for `glmer`; ``theta0`` starts the covariance parameters. The default link is the logarithm.

    Returns
    -------
    GLMMResult
        ``result.family.theta`` is the estimate.

    See Also
    --------
    glmer : With ``family=NegativeBinomial(theta=...)`` for a theta that is known.

    Examples
    --------
    >>> import interlace
    >>> ticks = interlace.datasets.load("grouseticks")
    >>> result = interlace.glmer_nb("TICKS ~ YEAR", ticks, groups=["BROOD", "LOCATION"])
    >>> round(result.family.theta, 3)
    3.295
    """
    call = GlmerCall(
        formula,
        data,
        groups=groups,
        random=[random] if isinstance(random, str) else random,
        family=NegativeBinomial(theta=1.0),
        free_theta=True,
        link=link,
        nAGQ=nAGQ,
        weights=weights,
        offset=offset,
        optimizer=optimizer,
        theta0=theta0,
        covariance=covariance,
        contrasts=contrasts,
        na_action=na_action,
        control=control,
    )
    return glmer_call(call, stacklevel=4)
