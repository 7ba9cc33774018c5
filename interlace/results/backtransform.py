"""From the scale of the linear predictor back to that of the response."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from interlace.estimate.glmm_state import GlmmState
from interlace.frames.evaluate import inspect

if TYPE_CHECKING:
    from interlace.core.familybase import Family
    from interlace.core.linkbase import Link
    from interlace.estimate.state import State
    from interlace.typing import FloatArray

__all__ = ["Scale", "scale_of"]


@dataclass(frozen=True, eq=False)
class Scale:
    """The scale on which a model is linear.

    Attributes
    ----------
    name : str
        Of the link function, or of what the formula does to the response (``log(y)``); ``"identity"``.
    column : str
        Heading of means of the response: ``prob``, ``rate`` or ``response``.
    mean, slope : callable
        The response as a function of the linear predictor, and its derivative.
    branch : bool
        Whether the function is used on one side of zero only, the one where the estimate lies.
    domain, bounds : (float, float)
        Between which linear predictors and means of the response must lie.
    ratio : str or None
        Heading of differences turned into ratios, where there are such.
    unit : float
        Natural logarithm of the base of these ratios.
    """

    name: str
    column: str
    mean: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]
    branch: bool = False
    domain: tuple[float, float] = (-np.inf, np.inf)
    bounds: tuple[float, float] = (-np.inf, np.inf)
    ratio: str | None = None
    unit: float = 1.0

    def back(self, estimate: FloatArray, se: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means of the response and their standard errors by the delta method; NaN where there is no mean."""
        with np.errstate(all="ignore"):
            mean = self.mean(estimate)
            inside = (estimate > self.domain[0]) & (estimate < self.domain[1])
            inside &= (mean >= self.bounds[0]) & (mean <= self.bounds[1])
            spread = np.abs(self.slope(estimate)) * se
        return np.where(inside, mean, np.nan), np.where(inside, spread, np.nan)

    def ends(self, estimate: FloatArray, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Turn the ends of intervals into means, the smaller one first."""
        if self.branch:
            lower = np.where(estimate > 0.0, np.maximum(lower, 0.0), lower)
            upper = np.where(estimate < 0.0, np.minimum(upper, -0.0), upper)
        with np.errstate(all="ignore"):
            ends = [np.clip(self.mean(np.clip(end, *self.domain)), *self.bounds) for end in (lower, upper)]
        first, second = (np.where(np.isnan(self.back(estimate, estimate)[0]), np.nan, end) for end in ends)
        return np.minimum(first, second), np.maximum(first, second)


def scale_of(state: State) -> Scale:
    """Find the scale of a fit.

    Parameters
    ----------
    state : State
        Of a linear model, log(y), log2(y), log10(y), log1p(y) and sqrt(y) are known as transformations, and those of a
        sum with a number, log(y + 1).

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("log(Reaction) ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> scale_of(result.state).name
    'log'
    """
    if isinstance(state, GlmmState):
        return _of_link(state.model.link, state.model.family)
    response = state.problem.design.spec.formula.response
    call = inspect(response.codes[0]).tree
    if response.kind == "cbind" or not isinstance(call, ast.Call):
        return _identity()
    scale = _transformations().get(ast.unparse(call.func).removeprefix("np."))
    if scale is None:
        return _identity()
    added = _added(call.args[0])
    if not added:
        return scale
    written = f"{scale.name}(mu {'-' if added < 0.0 else '+'} {abs(added):g})"
    return replace(scale, name=written, mean=partial(_less, scale.mean, added))


def _added(argument: ast.expr) -> float:
    """Number that is added to something, 0 for anything else than a sum."""
    if isinstance(argument, ast.BinOp) and isinstance(argument.op, ast.Add | ast.Sub):
        left, right = (_number(side) for side in (argument.left, argument.right))
        if right is not None:
            return right if isinstance(argument.op, ast.Add) else -right
        if left is not None and isinstance(argument.op, ast.Add):
            return left
    return 0.0


def _number(side: ast.expr) -> float | None:
    if isinstance(side, ast.UnaryOp) and isinstance(side.op, ast.USub):
        value = _number(side.operand)
        return None if value is None else -value
    return float(side.value) if isinstance(side, ast.Constant) and isinstance(side.value, int | float) else None


def _less(mean: Callable[[FloatArray], FloatArray], added: float, x: FloatArray) -> FloatArray:
    return mean(x) - added


def _identity() -> Scale:
    return Scale("identity", "emmean", np.asarray, np.ones_like)


def _of_link(link: Link, family: Family) -> Scale:
    if link.name == "identity":
        return _identity()
    column = {"binomial": "prob", "poisson": "rate"}.get(family.name, "response")
    ratio = {"log": "ratio", "logit": "odds.ratio"}.get(link.name)
    one_sided = not bool(link.valid_eta(np.zeros(1))[0])
    branch = one_sided or link.even
    return Scale(link.name, column, link.mu, link.d1, branch, link.eta_domain, family.mu_domain, ratio)


def _transformations() -> dict[str, Scale]:
    return {
        "log": Scale("log", "response", np.exp, np.exp, ratio="ratio"),
        "log2": _of_base(2.0, "log2"),
        "log10": _of_base(10.0, "log10"),
        "log1p": Scale("log1p", "response", np.expm1, np.exp),
        "sqrt": Scale("sqrt", "response", np.square, _twice, branch=True),
    }


def _of_base(base: float, name: str) -> Scale:
    """Logarithms of a base; only functions that pickle can find by name."""
    slope = partial(_power_slope, base)
    return Scale(name, "response", partial(np.power, base), slope, ratio="ratio", unit=float(np.log(base)))


def _power_slope(base: float, x: FloatArray) -> FloatArray:
    return np.asarray(np.log(base) * np.power(base, x))


def _twice(x: FloatArray) -> FloatArray:
    return 2.0 * x
