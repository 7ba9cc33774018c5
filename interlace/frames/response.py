"""Numbers of a formula beside its model matrices: the response, and offsets."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from interlace.errors import NEEDS_GLMM, DataError, FormulaError
from interlace.frames.encode import fit_encoder
from interlace.frames.evaluate import Expression, evaluate, inspect
from interlace.frames.levels import level_text
from interlace.frames.parse import Formula
from interlace.frames.rows import Rows
from interlace.frames.stateful import Extra
from interlace.typing import FloatArray

__all__ = ["Outcome", "check_family", "offset_term", "prior_weights", "response_values"]

BINOMIAL = "binomial"
_SHOWN = 5  # levels that a message lists


@dataclass(frozen=True, eq=False)
class Outcome:
    """A response as numbers.

    Attributes
    ----------
    y : ndarray, shape (n,)
        NaN where an expression is undefined.
    trials : ndarray, shape (n,), or None
        Numbers of trials of ``cbind(successes, failures)``; ``y`` are then the proportions of successes.
    success : str or None
        Label of what counts as 1, for a response of two kinds that are not numbers.
    """

    y: FloatArray
    trials: FloatArray | None = None
    success: str | None = None


def check_family(formula: Formula, family: str | None) -> None:
    """Refuse ``cbind(successes, failures)`` for every family but the binomial; no data are needed."""
    if formula.response.kind != "cbind" or family == BINOMIAL:
        return
    if family is None:
        raise FormulaError(f"cbind(successes, failures) is a binomial response, which {NEEDS_GLMM}")
    raise FormulaError(
        f'cbind(successes, failures) is a response of the family "binomial", not of {family!r}: choose '
        "family=\"binomial\", or write one number a row on the left of '~'"
    )


def response_values(formula: Formula, rows: Rows, family: str | None, extra: Extra) -> tuple[Outcome, Rows]:
    """Evaluate the left-hand side.

    Parameters
    ----------
    formula : Formula
    rows : Rows
    family : str or None
        Name of the family; None for a linear model.
    extra : mapping from name to function
        Functions of the caller's that the formula may call.

    Returns
    -------
    Outcome
        Its arrays are copies.
    Rows
        The rows that it is of: those of ``cbind(successes, failures)`` without any trial are left out.

    Raises
    ------
    DataError
        The response is not numeric; for the binomial, not of two kinds either.
    """
    if formula.response.kind == "cbind":
        return _proportions(formula, rows)
    expression = _bare(inspect(formula.response.codes[0]))
    text = formula.response.name
    if expression.kind in ("column", "levels"):
        return _of_column(expression, text, rows, family), rows
    if expression.kind == "stateful":
        encoder = fit_encoder(expression.code, rows, {}, extra)
        pieces = encoder.pieces(rows, reduced=True)
        if encoder.categorical or len(pieces) != 1:
            raise DataError(
                f"the response {text!r} is not one number a row; compute the numbers you mean as a column of data first"
            )
        return Outcome(np.array(pieces[0][1], dtype=np.float64)), rows
    values, logical = _evaluated(expression, rows, f"the response {text}")
    if logical and family != BINOMIAL:
        _refuse(text, "holds true/false values", family)
    return Outcome(values, success="True" if logical else None), rows


def prior_weights(outcome: Outcome, given: FloatArray | None) -> tuple[FloatArray | None, FloatArray | None]:
    """Prior weights of a response, and the numbers of trials where these are something else, as R's ``glm`` has them.

    Parameters
    ----------
    outcome : Outcome
    given : ndarray, shape (n,), or None
        The caller's weights.
    """
    if outcome.trials is None or given is None:
        return (given if outcome.trials is None else outcome.trials), None
    return outcome.trials * given, outcome.trials


def _bare(expression: Expression) -> Expression:
    """Take away what changes nothing: ``I()``, and ``C()`` around a comparison, which has two levels anyway."""
    tree = expression.tree
    while isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name):
        inside = tree.args[0]
        if tree.func.id != "I" and not (tree.func.id == "C" and isinstance(inside, ast.Compare)):
            break
        tree = inside
    return expression if tree is expression.tree else inspect(ast.unparse(tree))


def _of_column(expression: Expression, text: str, rows: Rows, family: str | None) -> Outcome:
    """Response that is a bare column or ``C(...)``."""
    name = rows.factor_names(expression)[0]
    if expression.kind == "levels":
        if family != BINOMIAL:
            _refuse(text, "holds the levels of a factor", family)
        return _two_levels(expression, text, rows)
    column = rows.column(name)
    if column.kind in ("bool", "factor") and family != BINOMIAL:
        _refuse(text, f"holds {column.describe()}", family)
    if column.kind == "factor":
        return _two_levels(expression, text, rows)
    success = "True" if column.kind == "bool" else None
    return Outcome(np.array(rows.numbers(name, "response"), dtype=np.float64), success=success)


def _two_levels(expression: Expression, text: str, rows: Rows) -> Outcome:
    """Response that is a factor: its second level counts as success."""
    codes, levels = rows.factor(rows.factor_names(expression)[0])
    found = levels.tolist()
    if len(found) == 1:
        raise DataError(
            f"the response {text!r} has only the level {level_text(found[0])!r} in the rows used, and a binomial "
            "response needs two: look for missing values, or give the response as numbers 0 and 1"
        )
    if len(found) > 2:
        listed = ", ".join(repr(level_text(level)) for level in found[:_SHOWN]) + (", ..." if found[_SHOWN:] else "")
        inner = expression.inner
        compared = f"data[{expression.columns[0]!r}]" if inner is None else inner.label
        raise DataError(
            f"the response {text!r} has {len(found)} levels ({listed}), and a binomial response needs two. R counts "
            f"every level but the first as success; if that is meant, use {compared} != {found[0]!r} as the response"
        )
    return Outcome(np.where(codes < 0, np.nan, codes), success=level_text(found[1]))


def _proportions(formula: Formula, rows: Rows) -> tuple[Outcome, Rows]:
    """Response ``cbind(successes, failures)``."""
    successes, failures = (_counts(code, formula.response.name, rows) for code in formula.response.codes)
    trials = successes + failures
    empty = trials == 0.0
    if empty.all():
        raise DataError(f"the response {formula.response.name} has 0 trials in every row, so no row is left")
    if empty.any():
        keep = np.flatnonzero(~empty).astype(np.int64)
        rows = Rows(rows.table, rows.positions[keep])
        successes, trials = successes[keep], trials[keep]
    return Outcome(successes / trials, trials), rows


def _counts(code: str, response: str, rows: Rows) -> FloatArray:
    """One part of ``cbind()``: not negative, NaN where an expression is undefined."""
    expression = _bare(inspect(code))
    what = f"{expression.label!r} in {response}"
    if expression.kind == "column":
        values = rows.numbers(expression.columns[0], f"{response}: column")
    elif expression.kind == "rows":
        values, _ = _evaluated(expression, rows, what)
    else:
        raise FormulaError(f"{what} is not row-by-row arithmetic; compute it as a column of data first")
    negative = int((values < 0.0).sum())
    if negative:
        raise DataError(
            f"{what} is negative in {negative} row{'s' * (negative > 1)}: give the number of successes and the number "
            "of failures (not of trials), neither below 0"
        )
    return values


def _evaluated(expression: Expression, rows: Rows, what: str) -> tuple[FloatArray, bool]:
    """Row-by-row expression as new numbers, finite or NaN, and whether it is a comparison."""
    found = evaluate(expression, rows.raw, rows.n)
    values = np.array(found, dtype=np.float64)
    if np.isinf(values).any():
        raise DataError(f"{what} has infinite values (log of zero, or a division by zero?); drop or repair those rows")
    for node in ast.walk(expression.tree):
        # A comparison with an undefined side, log(-1) > 0, is missing in R; numpy calls it false.
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                part = inspect(ast.unparse(side))
                if any(rows.column(name).kind != "factor" for name in part.columns):
                    values[np.isnan(evaluate(part, rows.raw, rows.n))] = np.nan
    return values, found.dtype == np.bool_


def _refuse(text: str, holds: str, family: str | None) -> NoReturn:
    """Refuse a response that is not numeric."""
    kinds = (
        'Two kinds, or a comparison, are a response of family="binomial"'
        if family is not None
        else f"A response of two kinds {NEEDS_GLMM}"
    )
    raise DataError(
        f"the response {text!r} must be numeric, but it {holds}. {kinds}; otherwise convert it with pandas.to_numeric"
    )


def offset_term(code: str, rows: Rows) -> FloatArray:
    """Value of one ``offset()`` term, shape (n,)."""
    expression = inspect(code)
    if expression.kind == "column":
        return np.array(rows.numbers(expression.columns[0], "offset"))
    if expression.kind != "rows":
        raise FormulaError(
            f"offset({expression.label}) is not row-by-row arithmetic; compute it as a column of data first"
        )
    values = evaluate(expression, rows.raw, rows.n).astype(np.float64)
    if np.isinf(values).any():
        raise DataError(f"offset({expression.label}) has infinite values (log of zero?); drop or repair those rows")
    return np.asarray(values, dtype=np.float64)
