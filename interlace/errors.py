"""Exceptions and warnings, one tree with one root.

Every class also inherits the builtin that a caller would expect, so ``except ValueError`` keeps working.
"""

from __future__ import annotations

__all__ = [
    "ConvergenceWarning",
    "DataError",
    "FormulaError",
    "InterlaceError",
    "ModelError",
    "RankDeficiencyWarning",
]


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
