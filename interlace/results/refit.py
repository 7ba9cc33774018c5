"""The same model on another response."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.estimate.glmm import refit_glmm
from interlace.estimate.lmm import refit_response
from interlace.frames.adapt import refuse_reordered
from interlace.frames.select import numeric_values
from interlace.results.call import frame_length

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.estimate.glmm_state import GlmmState
    from interlace.estimate.state import FitState, State
    from interlace.results.call import FitCall, GlmerCall, ModelCall
    from interlace.typing import FloatArray

__all__ = ["new_response", "refitted", "refitted_glmm"]


def refitted(state: FitState, call: FitCall, y: ArrayLike) -> FitState:
    """Estimates for a new response; ``LMMResult.refit`` documents the arguments."""
    return refit_response(state, new_response(state, call, y), optimizer=call.optimizer)


def refitted_glmm(state: GlmmState, call: GlmerCall, y: ArrayLike) -> GlmmState:
    """Estimates for a new response; ``GLMMResult.refit`` documents the arguments."""
    return refit_glmm(state, new_response(state, call, y), optimizer=call.optimizer)


def new_response(state: State, call: ModelCall, y: ArrayLike) -> FloatArray:
    """Values for the rows in use, shape (n,), from values for these or for all rows of the original data."""
    n, rows = state.problem.design.n, state.problem.design.rows
    plain = isinstance(y, np.ndarray) and y.dtype == np.float64 and y.ndim == 1
    values = np.array(y, dtype=np.float64) if plain else numeric_values("the new response", y)
    if isinstance(y, pd.Series):
        for labels in (state.problem.design.index, state.problem.design.all_index):
            refuse_reordered("the new response", y.index, labels)
    if len(values) != n:
        total = frame_length(call.data)
        if len(values) != total:
            either = f"{n} values (the rows used)" + (f" or {total} (all rows of the data)" if total != n else "")
            raise DataError(f"the new response has {len(values)} values; it must have {either}")
        values = values[rows]
    if not np.isfinite(values).all():
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"the new response is missing or infinite at row {bad} of the {n} in use; leave such rows out with "
            "update(data=...)"
        )
    return np.ascontiguousarray(values)
