"""Parameters that a profile can hold fixed, in the order in which lme4 lists them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from interlace.core.covariance import entries
from interlace.core.dispersion import FreeTheta
from interlace.estimate.derived import term_factors
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import State
from interlace.typing import FloatArray

__all__ = [
    "Kind",
    "Parameter",
    "coefficients",
    "covariance_parameters",
    "estimates",
    "of_fit",
    "shapes",
    "standard_deviations",
]

Kind: TypeAlias = Literal["theta", "sd", "cor", "cov", "sigma", "shape", "beta"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a mixed model.

    Attributes
    ----------
    kind : {"theta", "sd", "cor", "cov", "sigma", "shape", "beta"}
        Entry of a relative covariance factor; standard deviation, correlation or covariance of random effects;
        residual standard deviation; theta of a negative binomial response; fixed effect.
    term : int
        Number of the random-effects term; -1 for the last three kinds.
    row, col : int
        Entry of the factor, or the two effects (``row >= col``); ``row`` is the number of a fixed effect.
    """

    kind: Kind
    term: int = -1
    row: int = 0
    col: int = 0


def _of_terms(state: State, diagonal: Kind, other: Kind) -> list[Parameter]:
    out = []
    for number, (k, structure) in enumerate(state.problem.shapes):
        for row, col in zip(*entries(k, structure), strict=True):
            kind = diagonal if row == col else other
            out.append(Parameter(kind, number, int(row), int(col)))
    return out


def covariance_parameters(state: State) -> list[Parameter]:
    """Relative covariance parameters, in the order of theta."""
    return _of_terms(state, "theta", "theta")


def standard_deviations(state: State, *, other: Literal["cor", "cov"] = "cor") -> list[Parameter]:
    """Standard deviations and correlations (or covariances) in the order of theta, then sigma or `shapes`, if any.

    Parameters
    ----------
    state : State
    other : {"cor", "cov"}
        What to give for two effects of one term.
    """
    out = _of_terms(state, "sd", other)
    return [*out, Parameter("sigma")] if state.has_scale else [*out, *shapes(state)]


def shapes(state: State) -> list[Parameter]:
    """Theta of a negative binomial response, if it was estimated."""
    return [] if _shape(state) is None else [Parameter("shape")]


def _shape(state: State) -> float | None:
    if not isinstance(state, GlmmState) or not isinstance(state.model, FreeTheta):
        return None
    return state.model.theta


def coefficients(state: State) -> list[Parameter]:
    """Fixed effects in the fit."""
    return [Parameter("beta", row=j) for j in range(state.beta.size)]


def estimates(
    factors: Sequence[FloatArray],
    unit: float,
    sigma: float,
    beta: FloatArray,
    parameters: Sequence[Parameter],
    shape: float | None = None,
) -> FloatArray:
    """Find the values of parameters.

    Parameters
    ----------
    factors : sequence of ndarray, shapes (k_i, k_i)
        Relative covariance factor of each term in the basis of the formula.
    unit, sigma : float
        What the factors are relative to, and the residual standard deviation.
    beta : ndarray, shape (p,)
    parameters : sequence of Parameter, length r
    shape : float, optional
        Theta of a negative binomial response; needed if it is among the parameters.

    Returns
    -------
    ndarray, shape (r,)
        A correlation beside a variance of zero is NaN.

    Examples
    --------
    >>> import numpy as np
    >>> factor = np.array([[3.0, 0.0], [3.0, 4.0]])
    >>> wanted = [Parameter("sd", 0, 1, 1), Parameter("cor", 0, 1, 0), Parameter("sigma")]
    >>> estimates([factor], 2.0, 2.0, np.empty(0), wanted)
    array([10. ,  0.6,  2. ])
    """
    out = np.empty(len(parameters))
    for i, parameter in enumerate(parameters):
        match parameter.kind:
            case "sigma":
                out[i] = sigma
            case "shape":
                out[i] = math.nan if shape is None else shape
            case "beta":
                out[i] = beta[parameter.row]
            case "theta":
                out[i] = factors[parameter.term][parameter.row, parameter.col]
            case _:
                out[i] = _from_factor(factors[parameter.term], unit, parameter)
    return out


def _from_factor(L: FloatArray, unit: float, parameter: Parameter) -> float:
    first, second = L[parameter.row], L[parameter.col]
    if parameter.kind == "sd":
        return unit * float(np.linalg.norm(first))
    product = float(first @ second)
    if parameter.kind == "cov":
        return unit * unit * product
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    # Rounding must not push a correlation of a singular fit beyond 1.
    return min(max(product / lengths, -1.0), 1.0) if lengths > 0.0 else math.nan


def of_fit(state: State, parameters: Sequence[Parameter]) -> FloatArray:
    """Values of parameters at the estimates of a fit, shape (r,)."""
    return estimates(term_factors(state), state.unit, state.sigma, state.beta, parameters, _shape(state))
