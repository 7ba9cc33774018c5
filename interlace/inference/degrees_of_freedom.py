"""One place that knows how each method finds degrees of freedom."""

from __future__ import annotations

from typing import get_args

import numpy as np

from interlace.errors import ModelError
from interlace.estimate.state import FitState, State
from interlace.inference.contrasts import CoefficientTests
from interlace.inference.kenward_roger import kenward_roger
from interlace.inference.satterthwaite import satterthwaite
from interlace.typing import DfMethod

__all__ = ["coefficient_tests"]


def coefficient_tests(state: State, method: DfMethod) -> CoefficientTests:
    """Collect what tests of the fixed effects by one method need.

    Parameters
    ----------
    state : FitState or GlmmState
        A generalized model has ``"normal"`` only.
    method : {"satterthwaite", "kenward-roger", "residual", "normal"}

    Returns
    -------
    CoefficientTests

    Raises
    ------
    ModelError
        The model has no such degrees of freedom, or Kenward and Roger's would take too much memory.

    Examples
    --------
    >>> import numpy as np
    >>> import interlace
    >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
    >>> tests = coefficient_tests(result.state, "kenward-roger")
    >>> tests.coefficient_df.round(2)
    array([15.53, 24.  , 24.  , 24.  ])
    >>> found = tests.joint(np.eye(4)[1:])
    >>> found.num_df, round(found.den_df, 2), round(found.statistic, 2)
    (3, 24.0, 22.36)
    """
    if method not in get_args(DfMethod):
        raise ValueError(f"ddf must be one of {', '.join(get_args(DfMethod))}; not {method!r}")
    if method == "normal":
        return CoefficientTests(method, state.beta, state.beta_cov, np.inf)
    if not isinstance(state, FitState):
        raise ModelError(
            f"tests of generalized models use the normal and chi-square distributions, and have no {method!r} degrees "
            "of freedom: leave ddf out"
        )
    if method == "residual":
        return CoefficientTests(method, state.beta, state.beta_cov, float(state.problem.design.n - state.beta.size))
    if state.beta.size == 0:
        return CoefficientTests(method, state.beta, state.beta_cov, np.nan)  # nothing to test
    if method == "satterthwaite":
        return CoefficientTests(method, state.beta, state.beta_cov, np.nan, satterthwaite(state))
    found = kenward_roger(state)
    return CoefficientTests(method, state.beta, found.adjusted, np.nan, found.sensitivity)
