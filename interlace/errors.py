"""Exceptions and warnings, one tree with one root.

Every class also inherits the builtin that a caller would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

__all__ = [
    "NEEDS_GLMM",
    "ConvergenceWarning",
    "DataError",
    "FormulaError",
    "InterlaceError",
    "ModelError",
    "RankDeficiencyWarning",
    "hints_at",
]


P = ParamSpec("P")
R = TypeVar("R")

#: What messages about linear models say of responses that are not Gaussian.
NEEDS_GLMM = 'needs a generalized linear mixed model: interlace.glmer(..., family="binomial")'


class InterlaceError(Exception):
    """Root of every error that interlace raises on purpose."""


class FormulaError(InterlaceError, ValueError):
    """The formula cannot be read, or says something a formula may not say."""


class DataError(InterlaceError, ValueError):
    """A column, weight, offset or level is missing or cannot be used."""


class ModelError(InterlaceError, ValueError):
    """The data cannot identify the model that was asked for."""


class ConvergenceWarning(UserWarning):
    """The optimizer did not converge, or the fit is singular (on the boundary)."""


class RankDeficiencyWarning(UserWarning):
    """Columns of the fixed-effects model matrix were dropped because earlier ones determine them."""


def hints_at(hints: Mapping[str, str]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function so that arguments which other libraries have, and it has not, are refused with a hint.

    Parameters
    ----------
    hints : mapping from argument to what to do instead

    Examples
    --------
    >>> @hints_at({"REML": "write method='ML'"})
    ... def fit(formula: str) -> None: ...
    >>> fit("y ~ x", REML=False)
    Traceback (most recent call last):
    TypeError: fit() has no argument 'REML': write method='ML'
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs:
                if name in hints:
                    raise TypeError(f"{function.__name__}() has no argument {name!r}: {hints[name]}")
            return function(*args, **kwargs)

        return checked

    return decorated
