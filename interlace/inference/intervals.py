"""Intervals of the parameters of a fit that need no profile: Wald's and the bootstrap's; arrays only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interlace.estimate.glmm_state import GlmmState, curvature
from interlace.estimate.state import State
from interlace.inference import wald
from interlace.inference.degrees_of_freedom import coefficient_tests
from interlace.inference.profile_parameters import Parameter, of_fit
from interlace.typing import DfMethod, FloatArray

__all__ = ["wald_intervals"]


def wald_intervals(state: State, parameters: Sequence[Parameter], level: float, method: DfMethod) -> FloatArray:
    """Estimate -/+ quantile times standard error, for fixed effects.

    Parameters
    ----------
    state : FitState or GlmmState
    parameters : sequence of Parameter, length r
    level : float
        Confidence level.
    method : {"satterthwaite", "kenward-roger", "residual", "normal"}
        Where degrees of freedom, and for Kenward and Roger's method standard errors, come from.

    Returns
    -------
    ndarray, shape (r, 2)
        NaN for variance parameters, whose estimates are too far from normal, as lme4 has it. Theta of a negative
        binomial response has an interval on the logarithmic scale, from the curvature of the deviance; NaN where the
        deviance does not curve upwards.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> wald_intervals(state, [Parameter("sd", 0), Parameter("beta")], 0.95, "normal").round(2)
    array([[    nan,     nan],
           [1489.51, 1565.49]])
    """
    out = np.full((len(parameters), 2), np.nan)
    fixed = [i for i, parameter in enumerate(parameters) if parameter.kind == "beta"]
    if fixed:
        tests = coefficient_tests(state, method)
        ends = wald.interval(tests.beta, wald.standard_errors(tests.cov), tests.coefficient_df, level)
        out[fixed] = ends[[parameters[i].row for i in fixed]]
    shape = [i for i, parameter in enumerate(parameters) if parameter.kind == "shape"]
    if shape and isinstance(state, GlmmState):
        value, se = of_fit(state, [parameters[i] for i in shape]), np.full(len(shape), _shape_error(state))
        out[shape] = np.exp(wald.interval(np.log(value), se, level=level))
    return out


def _shape_error(state: GlmmState) -> float:
    """Standard error of log(theta), the last parameter of the deviance; variances of zero count as known."""
    H = curvature(state)
    precision = H[-1, -1] - H[-1, :-1] @ np.linalg.pinv(H[:-1, :-1], rcond=1e-8, hermitian=True) @ H[:-1, -1]
    return float(np.sqrt(2.0 / precision)) if precision > 0.0 else np.nan
