"""The hat matrix of a linear mixed model at its estimates, entry by entry, and the distance that lme4 makes of it.

The fitted values, conditional modes included, are H y plus what the offset adds; see Demidenko and Stukel (2005),
Influence analysis for linear mixed-effects models, Statistics in Medicine 24, 893-909.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interlace.core import blas, posterior
from interlace.estimate import refusals

if TYPE_CHECKING:
    from interlace.core.cholmod import AnyElimination
    from interlace.core.crossproducts import Rows
    from interlace.estimate.state import FitState
    from interlace.typing import FloatArray

__all__ = ["conditional_cooks_distance", "hat_diagonal", "one_minus"]

#: 1 - h below this is nothing but rounding: the row determines its own fitted value.
_DETERMINED = 1e-10


def hat_diagonal(e: AnyElimination, rows: Rows) -> FloatArray:
    """Diagonal of H, shape (n,): lme4's ``hatvalues``.

    Parameters
    ----------
    e : Elimination
        At the estimates.
    rows : Rows
        Weighted, in the basis of the elimination.

    Examples
    --------
    >>> import interlace
    >>> from interlace.estimate.derived import elimination
    >>> state = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state
    >>> hat_diagonal(elimination(state), state.problem.rows)[:3].round(4)
    array([0.2293, 0.1697, 0.1268])
    """
    refusals.many_solutions(e, rows.n, "leverages")
    with blas.limited(e.structure.m):
        found: FloatArray = posterior.quadratic_forms(e, rows.Xy[:, :-1], rows.Z, rows.codes)
        return found


def one_minus(hat: FloatArray) -> FloatArray:
    """1 - h; NaN where a row determines its own fitted value, so that what is divided by it is undefined too."""
    left = 1.0 - hat
    return np.where(left > _DETERMINED, left, np.nan)


def conditional_cooks_distance(state: FitState, hat: FloatArray) -> FloatArray:
    """Cook's distance (r / (1 - h))^2 h / p of conditional residuals r = sqrt(w) (y - fitted) / sigma, from H alone.

    That is what lme4's ``cooks.distance`` gives for a fit by ``lmer``. It is the distance of ordinary regression with
    the leverages of a mixed model in it, not the change of the fixed effects when the row is left out.

    Parameters
    ----------
    state : FitState
    hat : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (n,)
        NaN for a model without fixed effects.

    References
    ----------
    Cook, R. D. and Weisberg, S. (1982). Residuals and Influence in Regression. Chapman and Hall, section 3.2.
    """
    design, p = state.problem.design, state.beta.size
    residual = (design.y - state.fitted) / state.sigma
    if design.weights is not None:
        residual = residual * np.sqrt(design.weights)
    return (residual / one_minus(hat)) ** 2 * hat / (p if p else np.nan)
