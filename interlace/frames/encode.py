"""Columns of model matrices: how each expression of a formula becomes numbers, on the fitted rows and on new ones.

Bare numeric columns, factors with treatment contrasts and row-by-row arithmetic are built here with numpy, under
formulaic's names; everything else goes through formulaic (``stateful``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import FormulaError, ModelError
from interlace.frames.evaluate import Expression, evaluate, inspect
from interlace.frames.names import quote
from interlace.frames.rows import Rows, refuse_infinite
from interlace.frames.stateful import Extra, FormulaicEncoder, Piece, fit_formulaic
from interlace.frames.terms import Scoped
from interlace.typing import FloatArray, IntArray

__all__ = ["Encoder", "assemble", "fit_encoder", "recoded"]

#: Largest model matrix that is made, in GB; a fit needs about five times as much.
_MEMORY_LIMIT = 4.0


@dataclass(frozen=True)
class NumberEncoder:
    """A numeric column, or arithmetic on columns: one column of the model matrix."""

    expression: Expression
    categorical: bool = False

    def pieces(self, rows: Rows, reduced: bool) -> list[Piece]:
        """Its single column, shape (n,)."""
        if self.expression.kind == "column":
            return [(self.expression.label, rows.numbers(self.expression.columns[0]))]
        values = evaluate(self.expression, rows.raw, rows.n).astype(np.float64, copy=False)
        refuse_infinite(values, f"{self.expression.label} in the formula")
        return [(self.expression.label, values)]

    def width(self, reduced: bool) -> int:
        """Count its columns."""
        return 1


@dataclass(frozen=True)
class FactorEncoder:
    """A factor with treatment contrasts: a 0/1 column per level, the first left out where the term is reduced."""

    expression: Expression
    levels: pd.Index[Any]
    categorical: bool = True

    def pieces(self, rows: Rows, reduced: bool) -> list[Piece]:
        """Its indicator columns, shape (n,) each."""
        codes, label = self.codes(rows), self.expression.label
        mark = "T." if reduced else ""
        undefined = self.expression.inner is not None and bool((codes < 0).any())
        return [
            (f"{label}[{mark}{level}]", np.where(codes < 0, np.nan, codes == i) if undefined else (codes == i) * 1.0)
            for i, level in enumerate(self.levels)
            if i or not reduced
        ]

    def width(self, reduced: bool) -> int:
        """Count its columns."""
        return len(self.levels) - reduced

    def codes(self, rows: Rows) -> IntArray:
        """Level of each row; a level unknown to the fit is an error."""
        if self.expression.kind == "rows":
            values = evaluate(self.expression, rows.raw, rows.n)
            places = np.searchsorted(np.asarray(self.levels, dtype=np.bool_), values)
            return np.asarray(places, dtype=np.int64)
        return rows.known_codes(rows.factor_names(self.expression)[0], self.levels)


Encoder: TypeAlias = NumberEncoder | FactorEncoder | FormulaicEncoder


def fit_encoder(code: str, rows: Rows, contrasts: Mapping[str, str], extra: Extra) -> Encoder:
    """Decide how an expression is encoded, learning levels, knots, means ... from ``rows``, if it is not known."""
    known: Encoder | None = rows.known.get(code)
    if known is not None:
        return known
    expression = inspect(code)
    kind = expression.kind
    if kind in ("column", "levels"):
        name = rows.factor_names(expression)[0]
        if kind == "column" and not rows.is_factor(name):
            if name in contrasts:
                raise FormulaError(
                    f"contrasts= names {name!r}, which is numeric; write C({quote(name)}) in the formula for a factor"
                )
            return NumberEncoder(expression)
        contrast = contrasts.get(name) or contrasts.get(expression.label, "treatment")
        if contrast != "treatment":
            return fit_formulaic(expression, rows, extra, contrast)
        return FactorEncoder(expression, rows.factor(name)[1])
    if kind == "rows":
        values = evaluate(expression, rows.raw, rows.n)
        if values.dtype == np.bool_:
            return FactorEncoder(expression, pd.Index([level for level in (False, True) if (values == level).any()]))
        return NumberEncoder(expression)
    return fit_formulaic(expression, rows, extra)


def recoded(encoder: Encoder) -> bool:
    """Whether ``contrasts=`` changed the coding of this factor."""
    return isinstance(encoder, FormulaicEncoder) and encoder.recoded


def assemble(
    blocks: tuple[tuple[Scoped, ...], ...], encoders: Mapping[str, Encoder], rows: Rows
) -> tuple[FloatArray, tuple[str, ...], tuple[int, ...]]:
    """Model matrix from scoped terms.

    Returns
    -------
    matrix : ndarray, shape (n, p), C order
    names : tuple of str, length p
    assign : tuple of int, length p
        Term that each column belongs to.
    """
    _affordable(blocks, encoders, rows.n)
    cache: dict[tuple[str, bool], list[Piece]] = {}
    columns: list[FloatArray | float] = []
    names: list[str] = []
    assign: list[int] = []
    for number, scoped in enumerate(blocks):
        for block in scoped:
            for name, values in _products(block, encoders, rows, cache):
                names.append(name)
                columns.append(values)
                assign.append(number)
    matrix = np.empty((rows.n, len(columns)))
    for j, column in enumerate(columns):
        matrix[:, j] = column
    return matrix, tuple(names), tuple(assign)


def _affordable(blocks: tuple[tuple[Scoped, ...], ...], encoders: Mapping[str, Encoder], n: int) -> None:
    """Refuse a matrix that would fill the memory: as a rule a column of labels taken for a predictor."""
    widths = [[encoders[code].width(reduced) for code, reduced in block] for scoped in blocks for block in scoped]
    p = sum(prod(width) for width in widths)
    gigabytes = 8e-9 * n * p
    if gigabytes > _MEMORY_LIMIT:
        count, label = max((encoder.width(True), encoder.expression.label) for encoder in encoders.values())
        raise ModelError(
            f"the formula makes a matrix of {n} rows and {p} columns ({gigabytes:.0f} GB), {count} of them or more "
            f"from {label!r}. A column with that many levels can be a grouping factor, (1 | {label}), or a number"
        )


def _products(
    block: Scoped, encoders: Mapping[str, Encoder], rows: Rows, cache: dict[tuple[str, bool], list[Piece]]
) -> list[tuple[str, FloatArray | float]]:
    """Columns of one block: products over its factors, the first factor changing fastest."""
    out: list[tuple[str, FloatArray | float]] = []
    for position, (code, reduced) in enumerate(block):
        pieces = cache.get((code, reduced))
        if pieces is None:
            pieces = cache[code, reduced] = encoders[code].pieces(rows, reduced)
        if position == 0:
            out = list(pieces)
        else:
            out = [(f"{name}:{more}", values * factor) for more, factor in pieces for name, values in out]
    return out if block else [("Intercept", 1.0)]
