"""Columns of model matrices: how each expression of a formula becomes numbers, on the fitted rows and on new ones.

Bare numeric columns, factors with treatment contrasts and row-by-row arithmetic are built here with numpy, under
formulaic's names. Everything else goes through formulaic, one expression at a time, whose ModelSpec is kept for new
data (knots, means, orthogonal polynomials, contrasts).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError, FormulaError, InterlaceError, ModelError
from interlace.frames.evaluate import FUNCTIONS, Expression, evaluate, inspect, unquoted
from interlace.frames.names import display, encode, quote
from interlace.frames.rows import Rows, refuse_infinite
from interlace.frames.terms import Scoped
from interlace.typing import FloatArray, IntArray

__all__ = ["Encoder", "assemble", "fit_encoder", "recoded"]

Extra: TypeAlias = Mapping[str, Callable[..., Any]]
#: Largest model matrix that is made, in GB; a fit needs about five times as much.
_MEMORY_LIMIT = 4.0
#: Name and values of one column; None for a constant one.
Piece: TypeAlias = tuple[str, FloatArray]


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
        return [
            (f"{label}[{mark}{level}]", (codes == i).astype(np.float64))
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
        return rows.known_codes(self.expression.columns[0], self.levels)


@dataclass(frozen=True)
class FormulaicEncoder:
    """An expression that formulaic evaluates, with what it learned from the fitted rows.

    Attributes
    ----------
    beside_constant, alone : formulaic.ModelSpec
        For ``1 + expression`` and, when the expression spans the constant, ``0 + expression``.
    levels : mapping from column name to its levels in the fit
    prefix : (str, str) or None
        Start of column names to replace (``C(x, contr.sum)`` by ``x`` when ``contrasts=`` asked for it).
    """

    expression: Expression
    beside_constant: Any
    alone: Any
    levels: Mapping[str, pd.Index[Any]]
    extra: Extra
    prefix: tuple[str, str] | None

    @property
    def categorical(self) -> bool:
        """Whether it spans the constant."""
        return self.alone is not None

    def pieces(self, rows: Rows, reduced: bool) -> list[Piece]:
        """Its columns, shape (n,) each."""
        full = self.categorical and not reduced
        spec = self.alone if full else self.beside_constant
        matrix = rows.learned.get((self._key, full))
        if matrix is None:
            frame = _formulaic_frame(self.expression, rows, self.levels)
            matrix = _through_formulaic(self.expression, spec, frame, self.extra)
        skip = 0 if full else 1  # the constant
        return [
            (self._name(name), _finite(np.array(matrix[:, i], dtype=np.float64), self.expression.label))
            for i, name in enumerate(spec.column_names)
            if i >= skip
        ]

    def width(self, reduced: bool) -> int:
        """Count its columns."""
        full = self.categorical and not reduced
        return len((self.alone if full else self.beside_constant).column_names) - (not full)

    @property
    def _key(self) -> str:
        return self.prefix[0] if self.prefix is not None else self.expression.code

    def _name(self, name: str) -> str:
        if self.prefix is not None and name.startswith(self.prefix[0]):
            return self.prefix[1] + name[len(self.prefix[0]) :]
        return display(name)


Encoder: TypeAlias = NumberEncoder | FactorEncoder | FormulaicEncoder


def fit_encoder(code: str, rows: Rows, contrasts: Mapping[str, str], extra: Extra) -> Encoder:
    """Decide how an expression is encoded, learning levels, knots, means ... from ``rows``."""
    expression = inspect(code)
    kind = expression.kind
    if kind in ("column", "levels"):
        name = expression.columns[0]
        if kind == "column" and not rows.is_factor(name):
            if name in contrasts:
                raise FormulaError(
                    f"contrasts= names {name!r}, which is numeric; write C({quote(name)}) in the formula for a factor"
                )
            return NumberEncoder(expression)
        contrast = contrasts.get(name) or contrasts.get(expression.label, "treatment")
        if contrast != "treatment":
            return _fit_formulaic(expression, rows, extra, f"C({encode(name)}, contr.{contrast})")
        return FactorEncoder(expression, rows.factor(name)[1])
    if kind == "rows":
        if evaluate(expression, rows.raw, rows.n).dtype == np.bool_:
            values = evaluate(expression, rows.raw, rows.n)
            return FactorEncoder(expression, pd.Index([level for level in (False, True) if (values == level).any()]))
        return NumberEncoder(expression)
    return _fit_formulaic(expression, rows, extra)


def recoded(encoder: Encoder) -> bool:
    """Whether ``contrasts=`` changed the coding of this factor."""
    return isinstance(encoder, FormulaicEncoder) and encoder.prefix is not None


def _fit_formulaic(expression: Expression, rows: Rows, extra: Extra, instead: str | None = None) -> FormulaicEncoder:
    from formulaic import Formula  # type: ignore[import-untyped]
    from formulaic.parser.types import Factor, Term  # type: ignore[import-untyped]

    factor = Term([Factor(instead or unquoted(expression.code), eval_method="python")])
    constant = Term([Factor("1", eval_method="literal")])
    hashed = expression.code.startswith("hashed(")
    factors = [n for n in expression.columns if rows.column(n).kind != "number" or _is_c(expression) or instead]
    levels = {} if hashed else {name: rows.factor(name)[1] for name in factors}
    frame = _formulaic_frame(expression, rows, levels)
    matrix = _through_formulaic(expression, Formula([constant, factor], _ordering="none"), frame, extra)
    key, beside, alone = instead or expression.code, matrix.model_spec, None
    rows.learned[key, False] = np.asarray(matrix)
    blocks = [s for part in beside.structure for s in part.scoped_terms if s.factors]
    spans = any(f.reduced for block in blocks for f in block.factors)
    if spans:
        matrix = _through_formulaic(expression, Formula([factor], _ordering="none"), frame, extra)
        alone, rows.learned[key, True] = matrix.model_spec, np.asarray(matrix)
    prefix = (instead, expression.label) if instead else None
    return FormulaicEncoder(expression, beside, alone, levels, dict(extra), prefix)


def _is_c(expression: Expression) -> bool:
    return expression.code.startswith("C(")


def _formulaic_frame(expression: Expression, rows: Rows, levels: Mapping[str, pd.Index[Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in expression.columns:
        if name in levels:
            codes = rows.known_codes(name, levels[name])
            columns[encode(name)] = pd.Categorical.from_codes(codes, categories=levels[name])
        else:
            columns[encode(name)] = rows.series(name)
    return pd.DataFrame(columns)


def _through_formulaic(expression: Expression, spec: Any, frame: pd.DataFrame, extra: Extra) -> Any:
    """Evaluate in a context of its own, so that no variable of the caller's is ever seen."""
    context = {**FUNCTIONS, **extra}
    try:
        with np.errstate(all="ignore"):
            return spec.get_model_matrix(frame, context=context, na_action="ignore", output="numpy")
    except InterlaceError:
        raise
    except Exception as error:
        lines = str(error.__cause__ or error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DataError(f"the term {expression.label} of the formula cannot be evaluated: {reason}") from error


def _finite(values: FloatArray, label: str) -> FloatArray:
    refuse_infinite(values, f"{label} in the formula")
    return values


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
