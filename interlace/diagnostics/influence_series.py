"""Single measures of influence, of a model or of refits that were made before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import pandas as pd

from interlace.diagnostics.case_deletion import deletion_of
from interlace.diagnostics.components import component_names
from interlace.errors import ModelError
from interlace.results.fixed import coefficient_names

if TYPE_CHECKING:
    from interlace.diagnostics.case_deletion import CaseDeletion
    from interlace.diagnostics.units import Delete
    from interlace.typing import FloatArray, Optimizer

__all__ = ["DeletionOptions", "cooks_distance", "covratio", "covtrace", "dfbetas", "mdffits", "rvc"]


class DeletionOptions(TypedDict, total=False):
    """Keywords that every measure passes on: see `interlace.influence.hlm_influence`."""

    approx: bool
    delete: Delete | None
    optimizer: Optimizer | None
    n_jobs: int | None
    show_progress: bool


def cooks_distance(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.Series:
    """Cook's distances for the fixed effects, (b - b_(u))' C^-1 (b - b_(u)) / p.

    Parameters
    ----------
    model : LMMResult, GLMMResult, statsmodels' MixedLMResults, or CaseDeletion
        Of refits that `case_delete` made, the units are those of the refits: ``level`` and options may be left out.
    level : 1 or str
        1 for rows; else a grouping factor.
    **options
        ``approx``, ``delete``, ``optimizer``, ``n_jobs``, ``show_progress``: as for `hlm_influence`.

    Returns
    -------
    Series, shape (units,)
        Indexed by the rows' labels, or by the levels in order of first appearance.

    Raises
    ------
    ValueError, TypeError
        As `hlm_influence`.

    Notes
    -----
    lme4's ``cooks.distance(m)`` is another measure, see `lme4_cooks_distance`; its ``cooks.distance(influence(m))`` is
    this one times (units - p) / units.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> cooks_distance(result, "Subject").nlargest(2).round(3)
    Subject
    309    0.149
    335    0.129
    Name: cooksd, dtype: float64
    """
    deletion = deletion_of(model, level, **options)
    return _series(deletion, deletion.measures.cooksd, "cooksd")


def mdffits(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.Series:
    """MDFFITS for the fixed effects: Cook's distance with the covariance without the unit.

    Parameters, result and errors are those of `cooks_distance`.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> mdffits(result, "Subject", approx=True).head(2).round(3)
    Subject
    308    0.087
    309    0.140
    Name: mdffits, dtype: float64
    """
    deletion = deletion_of(model, level, **options)
    return _series(deletion, deletion.measures.mdffits, "mdffits")


def covtrace(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.Series:
    """COVTRACE, abs(trace(C^-1 C_(u)) - p): change of the precision of the fixed effects; 0 for none.

    Parameters, result and errors are those of `cooks_distance`.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> covtrace(result, "Subject", approx=True).head(1).round(3)
    Subject
    308    0.118
    Name: covtrace, dtype: float64
    """
    deletion = deletion_of(model, level, **options)
    return _series(deletion, deletion.measures.covtrace, "covtrace")


def covratio(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.Series:
    """COVRATIO, det C_(u) / det C: change of the precision of the fixed effects; 1 for none.

    Parameters, result and errors are those of `cooks_distance`.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> covratio(result, "Subject", approx=True).head(1).round(3)
    Subject
    308    1.121
    Name: covratio, dtype: float64
    """
    deletion = deletion_of(model, level, **options)
    return _series(deletion, deletion.measures.covratio, "covratio")


def rvc(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.DataFrame:
    """Relative change v_(u) / v - 1 of each variance component, from exact refits.

    Parameters and errors are those of `cooks_distance`; ``approx=True``, which leaves the components as they are, is a
    ValueError.

    Returns
    -------
    DataFrame, shape (units, components)
        Columns ``sigma2``, ``D11``, ``D21``, ``D22``, ... NaN or infinite for a component that is zero in the fit to
        all rows; -1 for one that drops to zero, and below -1 for a covariance that changes its sign.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> rvc(result, "Subject").head(2).round(3)
             sigma2    D11    D21    D22
    Subject
    308      -0.146  0.134 -0.152 -0.131
    309       0.052 -0.166 -2.598 -0.062
    """
    deletion = deletion_of(model, level, **options)
    if not deletion.exact:
        raise ModelError("rvc() needs exact refits: with approx=True the variance components stay as they are")
    return _frame(deletion, deletion.measures.rvc, component_names(deletion.state))


def dfbetas(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> pd.DataFrame:
    """Change b - b_(u) of each coefficient, full less deleted, over its standard error without the unit.

    Parameters and errors are those of `cooks_distance`. lme4's ``dfbetas`` has the opposite sign: see
    `lme4_influence`.

    Returns
    -------
    DataFrame, shape (units, p)

    References
    ----------
    Belsley, D. A., Kuh, E. and Welsch, R. E. (1980). Regression Diagnostics. Wiley, eq. 2.7.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> dfbetas(result, "Subject").head(2).round(3)
             Intercept   Days
    Subject
    308         -0.059  0.449
    309         -0.411 -0.310
    """
    deletion = deletion_of(model, level, **options)
    return _frame(deletion, deletion.measures.dfbetas, coefficient_names(deletion.state))


def _series(deletion: CaseDeletion, values: FloatArray, name: str) -> pd.Series:
    return pd.Series(values, index=deletion.index, name=name)


def _frame(deletion: CaseDeletion, values: FloatArray, names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(values, index=deletion.index, columns=names)
