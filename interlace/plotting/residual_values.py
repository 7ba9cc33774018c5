"""Residuals of the rows beside what they are drawn against, with labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from interlace.diagnostics.model import state_of
from interlace.diagnostics.quantile import quantile_residuals
from interlace.diagnostics.row_residuals import ResidualScale, conditional_residuals, marginal_residuals
from interlace.estimate.state import FitState
from interlace.prediction.response import linear_predictor, response_model
from interlace.results.rows import ResidualType, residuals

if TYPE_CHECKING:
    import pandas as pd

    from interlace.estimate.state import State
    from interlace.prediction.simulate import Seed
    from interlace.typing import FloatArray

__all__ = ["ResidualKind", "RowResiduals", "residuals_of"]

ResidualKind: TypeAlias = Literal["conditional", "marginal"]

_NAMES = {
    "raw": "Residual",
    "pearson": "Pearson residual",
    "studentized": "Studentized residual",
    "cholesky": "Cholesky residual",
    "quantile": "Quantile residual (normal scale)",
    "deviance": "Deviance residual",
    "response": "Response residual",
    "working": "Working residual",
}


@dataclass(frozen=True, eq=False)
class RowResiduals:
    """Residuals of the rows that have one.

    Attributes
    ----------
    at : ndarray, shape (m,)
        Fitted values, or linear predictors of a generalized model.
    values : ndarray, shape (m,)
    labels : pandas.Index, length m
        Of the rows in the caller's frame.
    type : str
        Raw, studentized, quantile, ...
    name, at_name : str
        Labels of the axes.
    normal : bool
        Whether the residuals are standard normal (nearly, where parameters are estimated) if the model is true.
    """

    at: FloatArray
    values: FloatArray
    labels: pd.Index
    type: str
    name: str
    at_name: str
    normal: bool


def residuals_of(
    result: Any, kind: ResidualKind | None, type: str | None, *, nsim: int = 250, seed: Seed = 1
) -> RowResiduals:
    """Residuals of a fit and what to draw them against; `interlace.plotting.plot_resid` documents the arguments.

    Raises
    ------
    ValueError
        For a kind or type that the model does not have.
    TypeError
        For what is no fitted mixed model.
    """
    state = state_of(result)
    if kind not in (None, *get_args(ResidualKind)):
        raise ValueError(f"kind must be 'conditional' or 'marginal', not {kind!r}")
    response = state.problem.design.response
    if isinstance(state, FitState):
        values, at, type = _linear(state, kind or "conditional", type or "studentized")
        given, normal = kind != "marginal", type != "raw"
        drawn = f"Fitted {response}"
    else:
        values, at, type = _generalized(result, state, kind, type, nsim, seed)
        given, normal = kind == "conditional", type == "quantile"
        drawn = f"Linear predictor ({response_model(state).link.name})"
    at_name = f"{drawn}, {'given the random effects' if given else 'random effects zero'}"
    name = _NAMES[type]
    if type in ("raw", "response"):
        name = f"{name} of {response}"
    known = np.isfinite(values) & np.isfinite(at)
    return RowResiduals(at[known], values[known], state.problem.design.index[known], type, name, at_name, normal)


def _linear(state: FitState, kind: ResidualKind, type: str) -> tuple[FloatArray, FloatArray, str]:
    if type not in get_args(ResidualScale):
        allowed = ", ".join(map(repr, get_args(ResidualScale)))
        raise ValueError(f"type of residuals of a linear model must be one of {allowed}; not {type!r}")
    if kind == "marginal":
        return marginal_residuals(state, type), state.fixed, type  # type: ignore[arg-type]  # checked above
    return conditional_residuals(state, type), state.fitted, type  # type: ignore[arg-type]  # checked above


def _generalized(
    result: Any, state: State, kind: ResidualKind | None, type: str | None, nsim: int, seed: Seed
) -> tuple[FloatArray, FloatArray, str]:
    type = type or ("deviance" if kind == "conditional" else "quantile")
    if type == "quantile":
        given = kind == "conditional"
        found = quantile_residuals(result, nsim=nsim, seed=seed, conditional=given)
        return found.normal.to_numpy(), linear_predictor(state) if given else state.fixed, type
    if type not in get_args(ResidualType):
        allowed = ", ".join(map(repr, ("quantile", *get_args(ResidualType))))
        raise ValueError(f"type of residuals of a generalized model must be one of {allowed}; not {type!r}")
    if kind == "marginal":
        raise ValueError(
            f"{type} residuals of a generalized model are given the random effects: use kind='conditional', or "
            "type='quantile' with kind='marginal'"
        )
    values = residuals(state, type, scaled=type in ("pearson", "deviance"))
    return values, linear_predictor(state), type
