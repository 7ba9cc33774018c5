"""Residuals of the rows of a linear mixed model: around the population's mean, and given the random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.diagnostics.marginal_covariance import MarginalCovariance
from interlace.diagnostics.model import linear_state_of
from interlace.diagnostics.projection import Projection
from interlace.estimate.derived import elimination
from interlace.estimate.hat import one_minus

if TYPE_CHECKING:
    from interlace.estimate.state import FitState
    from interlace.typing import FloatArray

__all__ = ["ResidualScale", "conditional_residuals", "marginal_residuals", "resid_conditional", "resid_marginal"]

ResidualScale: TypeAlias = Literal["raw", "pearson", "studentized", "cholesky"]


def resid_marginal(model: Any, type: ResidualScale = "raw") -> pd.Series:
    """Residuals around the population's mean, r = y - X beta - offset.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    type : {"raw", "pearson", "studentized", "cholesky"}
        ``raw``: r. ``pearson``: r_i over the root of V_ii, with V = Z Psi Z' + sigma^2 W^-1 the covariance of the
        response and W the prior weights. ``studentized``: r_i over the root of (V - X (X'V^-1 X)^-1 X')_ii, its
        standard deviation once beta is estimated. ``cholesky``: L^-1 r with V = L L' and L the lower Cholesky factor in
        the order of the rows; uncorrelated with variance 1 if the model holds.

    Returns
    -------
    Series, shape (n,)
        NaN where a studentized residual is zero for certain, because beta was estimated from it alone.

    Raises
    ------
    ValueError
        For another type, and for Cholesky residuals of more than 10,000 rows and as many random effects that are all
        connected by crossed factors.
    TypeError
        For what is no linear mixed model.

    References
    ----------
    Houseman, E. A., Ryan, L. M. and Coull, B. A. (2004). Cholesky residuals for assessing normal errors in a linear
    model with correlated outcomes. Journal of the American Statistical Association 99, 383-394. Singer, J. M., Rocha,
    F. M. M. and Nobre, J. S. (2017). Graphical tools for detecting departures from linear mixed model assumptions and
    some remedial measures. International Statistical Review 85, 290-324.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> resid_marginal(result, "cholesky").head(2).round(3)
    0   -0.052
    1   -0.071
    Name: resid, dtype: float64
    """
    return _series(linear_state_of(model, "resid_marginal()"), marginal_residuals, type)


def resid_conditional(model: Any, type: ResidualScale = "raw") -> pd.Series:
    """Residuals given the conditional modes, e = y - X beta - Z b - offset.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    type : {"raw", "pearson", "studentized", "cholesky"}
        ``raw``: e. ``pearson``: e_i sqrt(w_i) / sigma, with w the prior weights. ``studentized``: that over the root of
        1 - h_i, with h the leverages (lme4's ``rstudent``). ``cholesky``: the same as ``pearson``, as errors of
        different rows are independent given the random effects.

    Returns
    -------
    Series, shape (n,)
        NaN where a studentized residual is zero for certain, because the row determines its own fitted value.

    Raises
    ------
    ValueError
        For another type.
    TypeError
        For what is no linear mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> resid_conditional(result, "studentized").head(2).round(3)
    0   -0.183
    1   -0.627
    Name: resid, dtype: float64
    """
    return _series(linear_state_of(model, "resid_conditional()"), conditional_residuals, type)


def _series(state: FitState, residuals: Any, type: str) -> pd.Series:
    if type not in get_args(ResidualScale):
        raise ValueError(f"residual type must be one of {', '.join(get_args(ResidualScale))}; not {type!r}")
    return pd.Series(residuals(state, type), index=state.problem.design.index, name="resid")


def marginal_residuals(state: FitState, type: ResidualScale) -> FloatArray:
    """Residuals around the population's mean, shape (n,); see `resid_marginal`."""
    raw = state.problem.design.y - state.fixed
    if type == "raw":
        return raw
    V = MarginalCovariance(state)
    scaled = raw * _root_weights(state) / state.sigma
    if type == "cholesky":
        return V.decorrelated(scaled)
    if type == "pearson":
        return np.asarray(scaled / np.sqrt(V.diagonal))
    spread = state.problem.rows.Xy[:, :-1] @ elimination(state).beta_root
    share = np.einsum("np,np->n", spread, spread) / V.diagonal
    return np.asarray(scaled / np.sqrt(V.diagonal * one_minus(share)))


def conditional_residuals(state: FitState, type: ResidualScale) -> FloatArray:
    """Residuals given the conditional modes, shape (n,); see `resid_conditional`."""
    raw = state.problem.design.y - state.fitted
    if type == "raw":
        return raw
    scaled = raw * _root_weights(state) / state.sigma
    if type == "studentized":
        return np.asarray(scaled / np.sqrt(one_minus(Projection(state).leverage)))
    return np.asarray(scaled)


def _root_weights(state: FitState) -> FloatArray | float:
    weights = state.problem.design.weights
    return 1.0 if weights is None else np.sqrt(weights)
