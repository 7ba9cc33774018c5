"""lme4's measures of influence under lme4's definitions, which differ from HLMdiag's under the same names.

=====================================  ================================================================================
lme4 1.1                               here
=====================================  ================================================================================
``cooks.distance(m)``                  `lme4_cooks_distance`: from the diagonal of the conditional hat matrix
``hatvalues(m)``                       `hatvalues`: HLMdiag's ``leverage.overall``
``rstudent(m)``                        `rstudent`: nothing is deleted in it, in spite of its name
``influence(m, groups)``               `lme4_influence`: from exact refits, deleted less full
=====================================  ================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
import pandas as pd

from interlace.diagnostics.case_deletion import CaseDeletion, deletion_of
from interlace.diagnostics.model import linear_state_of
from interlace.diagnostics.projection import Projection
from interlace.errors import ModelError
from interlace.estimate.hat import conditional_cooks_distance, one_minus

if TYPE_CHECKING:
    from interlace.diagnostics.influence_series import DeletionOptions
    from interlace.estimate.state import FitState
    from interlace.typing import FloatArray

__all__ = ["Lme4Influence", "hatvalues", "lme4_cooks_distance", "lme4_influence", "rstudent"]


def hatvalues(model: Any) -> pd.Series:
    """Diagonal of the hat matrix H, with H y the fitted values (less offset), random effects included.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults

    Returns
    -------
    Series, shape (n,)
        lme4's ``hatvalues(m)``; HLMdiag's ``leverage.overall``.

    Raises
    ------
    TypeError
        For what is no linear mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> hatvalues(result).head(2).round(4)
    0    0.2293
    1    0.1697
    Name: hatvalues, dtype: float64
    """
    state = linear_state_of(model, "hatvalues()")
    return _by_row(state, Projection(state).leverage.copy(), "hatvalues")


def rstudent(model: Any) -> pd.Series:
    """Conditional residuals e over their standard errors, e_i / (sigma sqrt(1 - h_i)).

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults

    Returns
    -------
    Series, shape (n,)
        lme4's ``rstudent(m)``: internally studentized, with the sigma of all rows; e carries the root of the weights.

    Raises
    ------
    TypeError
        For what is no linear mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> rstudent(result).head(2).round(4)
    0   -0.1827
    1   -0.6272
    Name: rstudent, dtype: float64
    """
    state = linear_state_of(model, "rstudent()")
    projection = Projection(state)
    return _by_row(state, projection.residual / (state.sigma * np.sqrt(one_minus(projection.leverage))), "rstudent")


def lme4_cooks_distance(model: Any) -> pd.Series:
    """lme4's ``cooks.distance(m)``: (e_i / (1 - h_i))^2 h_i / (sigma^2 p), with e and h conditional on the modes.

    For ordinary regression this is Cook's distance; for mixed models it measures the pull of a row on the fitted
    values, random effects included, and not that on the fixed effects, which `cooks_distance` measures.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults

    Returns
    -------
    Series, shape (n,)

    Raises
    ------
    TypeError
        For what is no linear mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> lme4_cooks_distance(result).head(2).round(4)
    0    0.0050
    1    0.0402
    Name: cooks_distance, dtype: float64
    """
    state = linear_state_of(model, "lme4_cooks_distance()")
    return _by_row(state, conditional_cooks_distance(state, Projection(state).leverage), "cooks_distance")


def _by_row(state: FitState, values: FloatArray, name: str) -> pd.Series:
    return pd.Series(values, index=state.problem.design.index, name=name)


@dataclass(frozen=True, eq=False)
class Lme4Influence:
    """What lme4's methods find in ``influence(m)``; all changes are deleted less full, the opposite of HLMdiag's.

    Attributes
    ----------
    deletion : CaseDeletion
        The exact refits.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> found = lme4_influence(result, "Subject")
    >>> found.cooks_distance.head(2).round(4)
    Subject
    308    0.0821
    309    0.1320
    Name: cooks_distance, dtype: float64
    """

    deletion: CaseDeletion

    @property
    def dfbeta(self) -> pd.DataFrame:
        """b_(u) - b, shape (units, p)."""
        return self.deletion.coefficients - self.deletion.state.beta

    @property
    def dfbetas(self) -> pd.DataFrame:
        """``dfbeta`` over the standard errors without the unit, shape (units, p)."""
        found = self.deletion.measures
        return pd.DataFrame(-found.dfbetas, index=self.deletion.index, columns=self.dfbeta.columns)

    @property
    def cooks_distance(self) -> pd.Series:
        """(m - p) / (m p) (b_(u) - b)' C^-1 (b_(u) - b) with m units, shape (m,)."""
        units = len(self.deletion.units)
        share = (units - self.deletion.state.beta.size) / units
        return pd.Series(share * self.deletion.measures.cooksd, index=self.deletion.index, name="cooks_distance")

    @property
    def dfbeta_var_cov(self) -> pd.DataFrame:
        """Changes of the variance components, shape (units, c): ``dfbeta(influence(m), which = "var.cov")``."""
        return self.deletion.variance_components - self.deletion.measures.components


def lme4_influence(model: Any, level: int | str = 1, **options: Unpack[DeletionOptions]) -> Lme4Influence:
    """Refit without each row or group, and scale the changes as lme4's ``influence(m)`` does.

    Parameters
    ----------
    model : LMMResult or GLMMResult, statsmodels' MixedLMResults, or CaseDeletion
    level : 1 or str
        1 for rows; else a grouping factor: lme4's argument ``groups``.
    **options
        ``delete``, ``optimizer``, ``n_jobs``, ``show_progress``: as for `hlm_influence`.

    Returns
    -------
    Lme4Influence

    Raises
    ------
    ValueError, TypeError
        As `hlm_influence`; a ValueError for ``approx=True``.

    Notes
    -----
    lme4 refits with its default optimizer, which may stop short of the optimum; refits here do not.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> lme4_influence(result, "Subject").dfbeta.head(2).round(4)
             Intercept    Days
    Subject
    308         0.4243 -0.6646
    309         2.7265  0.4827
    """
    deletion = deletion_of(model, level, **options)
    if not deletion.exact:
        raise ModelError("lme4_influence() is made of exact refits: leave approx=True out")
    return Lme4Influence(deletion)
