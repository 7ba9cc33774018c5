"""Expressions that learn something from the data (knots, means, orthogonal polynomials, contrasts).

formulaic evaluates them, one at a time; its ModelSpec is kept for new data.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError, InterlaceError
from interlace.frames.evaluate import FUNCTIONS, Expression, unquoted
from interlace.frames.names import display, encode
from interlace.frames.rows import Rows, refuse_infinite
from interlace.typing import FloatArray

__all__ = ["Extra", "FormulaicEncoder", "Piece", "fit_formulaic"]

#: The caller's functions.
Extra: TypeAlias = Mapping[str, Callable[..., Any]]
#: Name and values of one column.
Piece: TypeAlias = tuple[str, FloatArray]


@dataclass(frozen=True)
class FormulaicEncoder:
    """An expression that formulaic evaluates, with what it learned from the fitted rows.

    Attributes
    ----------
    code : str
        What formulaic is given to evaluate.
    beside_constant, alone : formulaic.ModelSpec
        For ``1 + expression`` and, when the expression spans the constant, ``0 + expression``.
    levels : mapping from column name to its levels in the fit
    prefix : (str, str) or None
        Start of column names to replace (``C(x, contr.sum)`` by ``x`` when ``contrasts=`` asked for it).
    recoded : bool
        Whether ``contrasts=`` changed the coding.
    """

    expression: Expression
    code: str
    beside_constant: Any
    alone: Any
    levels: Mapping[str, pd.Index[Any]]
    extra: Extra
    prefix: tuple[str, str] | None
    recoded: bool

    @property
    def categorical(self) -> bool:
        """Whether it spans the constant."""
        return self.alone is not None

    def pieces(self, rows: Rows, reduced: bool) -> list[Piece]:
        """Its columns, shape (n,) each."""
        full = self.categorical and not reduced
        spec = self.alone if full else self.beside_constant
        matrix = rows.learned.get((self.code, full))
        if matrix is None:
            frame = _formulaic_frame(self.expression, rows, self.levels)
            matrix = _through_formulaic(self.expression, spec, frame, self.extra)
        if self.expression.inner is not None:  # C(log(x)): formulaic codes what is undefined as zeros
            codes = rows.factor(rows.factor_names(self.expression)[0])[0]
            matrix = np.where((codes < 0)[:, None], np.nan, matrix)
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

    def _name(self, name: str) -> str:
        if self.prefix is not None and name.startswith(self.prefix[0]):
            return self.prefix[1] + name[len(self.prefix[0]) :]
        return display(name)


def fit_formulaic(expression: Expression, rows: Rows, extra: Extra, contrast: str | None = None) -> FormulaicEncoder:
    """Let formulaic learn an expression, or a factor with the ``contrast`` that ``contrasts=`` asks for, from rows."""
    from formulaic import Formula  # type: ignore[import-untyped]
    from formulaic.parser.types import Factor, Term  # type: ignore[import-untyped]

    names = rows.factor_names(expression)
    code = _code_for_formulaic(expression, next(iter(names), ""), contrast)
    factor = Term([Factor(code, eval_method="python")])
    constant = Term([Factor("1", eval_method="literal")])
    hashed = expression.code.startswith("hashed(")
    coded = contrast is not None or expression.code.startswith("C(")
    factors = [name for name in names if coded or rows.column(name).kind != "number"]
    levels = {} if hashed else {name: rows.factor(name)[1] for name in factors}
    frame = _formulaic_frame(expression, rows, levels)
    matrix = _through_formulaic(expression, Formula([constant, factor], _ordering="none"), frame, extra)
    beside, alone = matrix.model_spec, None
    rows.learned[code, False] = np.asarray(matrix)
    blocks = [s for part in beside.structure for s in part.scoped_terms if s.factors]
    spans = any(f.reduced for block in blocks for f in block.factors)
    if spans:
        matrix = _through_formulaic(expression, Formula([factor], _ordering="none"), frame, extra)
        alone, rows.learned[code, True] = matrix.model_spec, np.asarray(matrix)
    prefix = (code, expression.label) if contrast is not None or expression.inner is not None else None
    return FormulaicEncoder(expression, code, beside, alone, levels, dict(extra), prefix, contrast is not None)


def _code_for_formulaic(expression: Expression, name: str, contrast: str | None) -> str:
    """Write the expression for formulaic, with a contrast from ``contrasts=``, or what ``C()`` computes as a column."""
    if contrast is not None:
        return f"C({encode(name)}, contr.{contrast})"
    if expression.inner is None:
        return unquoted(expression.code)
    tree = ast.parse(expression.code, mode="eval").body
    assert isinstance(tree, ast.Call)
    tree.args[0] = ast.Name(encode(name), ast.Load())
    return ast.unparse(tree)


def _formulaic_frame(expression: Expression, rows: Rows, levels: Mapping[str, pd.Index[Any]]) -> pd.DataFrame:
    columns: dict[str, Any] = {}
    for name in rows.factor_names(expression):
        if name in levels:
            codes = rows.known_codes(name, levels[name])
            # What C() could not compute has the code -1, and its rows are overwritten later.
            columns[encode(name)] = pd.Categorical.from_codes(np.maximum(codes, 0), categories=levels[name])
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
