"""Row-by-row evaluation of checked expressions with numpy: arithmetic, comparisons, ``log`` and its like.

Expressions that learn something from the data (``poly``, ``bs``, ``C`` with contrasts, ...) are left to formulaic.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeGuard

import numpy as np

from interlace.errors import DataError
from interlace.frames.names import CONTRAST_CLASSES, decode, display, encode
from interlace.frames.safety import ELEMENTWISE

__all__ = ["FUNCTIONS", "Expression", "evaluate", "inspect", "unquoted", "whole_numbers"]

#: The row-by-row functions, by their names in formulas.
FUNCTIONS: dict[str, Callable[..., Any]] = {name: getattr(np, name) for name in sorted(ELEMENTWISE)}

_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: np.true_divide,
    ast.FloorDiv: np.floor_divide, ast.Mod: np.mod, ast.Pow: np.power,
}  # fmt: skip
_COMPARE: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """What kind of expression ``code`` is, and which columns it reads.

    Attributes
    ----------
    kind : {"column", "levels", "rows", "stateful"}
        A bare column (or ``Q("...")``); ``C(x)`` without options; row-by-row arithmetic; anything else.
    inner : Expression or None
        For ``C(a > 4, ...)``: the row-by-row expression that is evaluated before it becomes a factor.
    """

    code: str
    kind: Literal["column", "levels", "rows", "stateful"]
    columns: tuple[str, ...]
    tree: ast.expr
    inner: Expression | None = None

    @property
    def label(self) -> str:
        """As users see it."""
        return display(self.code)


@lru_cache(maxsize=2048)
def inspect(code: str) -> Expression:
    """Classify a checked expression."""
    tree = ast.parse(code, mode="eval").body
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    columns: dict[str, None] = {}
    for node in ast.walk(tree):
        quoted = _quoted(node)
        if quoted is not None:
            columns[quoted] = None
        elif isinstance(node, ast.Name) and id(node) not in called and not _is_contrast(node):
            columns[decode(node.id)] = None
    inner = _inner(tree)
    if _is_column(tree):
        kind: Literal["column", "levels", "rows", "stateful"] = "column"
    elif _is_coded(tree) and len(tree.args) == 1 and not tree.keywords and (inner or _is_column(tree.args[0])):
        kind = "levels"
    elif all(_row_by_row(node) for node in ast.walk(tree) if isinstance(node, ast.Call)):
        kind = "rows"
    else:
        kind = "stateful"
    return Expression(code, kind, tuple(columns), tree, inner)


def _is_coded(node: ast.expr) -> TypeGuard[ast.Call]:
    return isinstance(node, ast.Call) and _called(node) == "C"


def _inner(tree: ast.expr) -> Expression | None:
    """What a ``C(...)`` has to evaluate first; None for a bare column, and for what only formulaic can evaluate."""
    if not _is_coded(tree) or _is_column(tree.args[0]):
        return None
    inner = inspect(ast.unparse(tree.args[0]))
    return inner if inner.kind == "rows" else None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _quoted(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and _called(node) == "Q" and isinstance(node.args[0], ast.Constant):
        return str(node.args[0].value)
    return None


def _is_column(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) or _quoted(node) is not None


def _is_contrast(node: ast.Name) -> bool:
    """Names that are no columns: a column called so would have been encoded."""
    return node.id in ("contr", "np") or node.id in CONTRAST_CLASSES


def _row_by_row(node: ast.Call) -> bool:
    return _called(node) in ELEMENTWISE or _called(node) in ("I", "Q")


def unquoted(code: str) -> str:
    """``code`` with every ``Q("name")`` replaced by the identifier of that column, for formulaic."""
    if "Q(" not in code:
        return code

    class Replace(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            name = _quoted(node)
            return ast.Name(encode(name), ast.Load()) if name is not None else self.generic_visit(node)

    return ast.unparse(Replace().visit(ast.parse(code, mode="eval")))


def evaluate(expression: Expression, read: Callable[[str], Any], n: int) -> Any:
    """Value of a row-by-row expression, shape (n,): float64, or bool for a comparison.

    Parameters
    ----------
    read : callable
        Gives the values of a column: float64, bool, or objects for text.
    """
    with np.errstate(all="ignore"):
        value = np.asarray(_value(expression.tree, read, expression))
    if value.ndim == 0:
        value = np.broadcast_to(value, (n,))
    return value if value.dtype == np.bool_ else np.ascontiguousarray(value, dtype=np.float64)


def whole_numbers(expression: Expression) -> bool:
    """Whether an expression of whole numbers is one itself, so that its levels are written ``2`` and not ``2.0``."""
    return all(
        _called(node) in ("I", "Q", "abs")
        if isinstance(node, ast.Call)
        else not isinstance(node, ast.Div) and not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        for node in ast.walk(expression.tree)
    )


def _value(node: ast.expr, read: Callable[[str], Any], whole: Expression) -> Any:
    match node:
        case ast.Name(id=name):
            return read(decode(name))
        case ast.Constant(value=value):
            return float(value) if isinstance(value, int) else value
        case ast.BinOp(left=left, op=op, right=right):
            return _BINARY[type(op)](_number(left, read, whole), _number(right, read, whole))
        case ast.UnaryOp(op=op, operand=operand):
            value = _number(operand, read, whole)
            return -value if isinstance(op, ast.USub) else value
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            a, b = _value(left, read, whole), _value(right, read, whole)
            return _compared(type(op), a, b, whole)
        case ast.Call():
            quoted = _quoted(node)
            if quoted is not None:
                return read(quoted)
            name = _called(node)
            inner = _value(node.args[0], read, whole)
            return inner if name == "I" else FUNCTIONS[name](_as_number(inner, node.args[0], whole))
    raise AssertionError(f"unchecked expression {whole.code}")


def _compared(op: type[ast.AST], a: Any, b: Any, whole: Expression) -> Any:
    texts = [isinstance(side, str) or (isinstance(side, np.ndarray) and side.dtype.kind == "O") for side in (a, b)]
    if texts[0] != texts[1]:
        raise DataError(f"{whole.label} in the formula compares text with numbers; put both into the same kind")
    return np.asarray(_COMPARE[op](a, b), dtype=np.bool_)


def _number(node: ast.expr, read: Callable[[str], Any], whole: Expression) -> Any:
    return _as_number(_value(node, read, whole), node, whole)


def _as_number(value: Any, node: ast.expr, whole: Expression) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            what = display(ast.unparse(node))
            raise DataError(f"{whole.label} in the formula needs numbers, but {what!r} holds text or categories")
        if value.dtype == np.bool_:
            return value.astype(np.float64)
    return value
