"""Numbers of a formula beside its model matrices: the response, and offsets."""

from __future__ import annotations

import numpy as np

from interlace.errors import NEEDS_GLMM, DataError, FormulaError
from interlace.frames.encode import fit_encoder
from interlace.frames.evaluate import evaluate, inspect
from interlace.frames.parse import Formula
from interlace.frames.rows import Rows
from interlace.typing import FloatArray

__all__ = ["offset_term", "response_values"]


def response_values(formula: Formula, rows: Rows) -> FloatArray:
    """Response, shape (n,), a copy."""
    expression = inspect(formula.response.codes[0])
    text = formula.response.name
    if expression.kind == "column":
        name = expression.columns[0]
        kind = rows.column(name).kind
        if kind in ("bool", "factor"):
            raise DataError(_not_gaussian(name, rows.column(name).describe()))
        return np.array(rows.numbers(name, "response"), dtype=np.float64)
    if expression.kind != "rows":
        encoder = fit_encoder(expression.code, rows, {}, {})
        pieces = encoder.pieces(rows, reduced=True)
        if encoder.categorical or len(pieces) != 1:
            raise DataError(_not_gaussian(text, "not one number a row"))
        return np.array(pieces[0][1], dtype=np.float64)
    values = evaluate(expression, rows.raw, rows.n)
    if values.dtype == np.bool_:
        raise DataError(_not_gaussian(text, "true/false values"))
    if np.isinf(values).any():
        raise DataError(
            f"the response {text} has infinite values (log of zero, or a division by zero?); drop or repair those rows"
        )
    return np.array(values)


def _not_gaussian(text: str, holds: str) -> str:
    return (
        f"the response {text!r} must be numeric, but it holds {holds}. A response of two kinds {NEEDS_GLMM}; otherwise "
        "convert it with pandas.to_numeric"
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
