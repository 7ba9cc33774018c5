"""Expressions of our formula language written the way R writes them."""

from __future__ import annotations

import ast
import keyword
import re
from typing import TypeGuard

from interlace.errors import FormulaError

__all__ = ["deparse", "quote_name"]

_SAME = {
    "I", "abs", "bs", "cbind", "cos", "exp", "expm1", "factor", "log", "log10", "log1p", "log2", "poly", "scale", "sin",
    "sqrt", "tan",
}  # fmt: skip
_CONTRASTS = {"contr.sum", "contr.helmert", "contr.poly", "contr.treatment"}
_OPERATORS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", 1), ast.Sub: (" - ", 1), ast.Mult: (" * ", 2), ast.Div: ("/", 2), ast.Pow: ("^", 4),
    ast.Mod: ("%%", 3), ast.FloorDiv: ("%/%", 3),
}  # fmt: skip
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: " < ", ast.LtE: " <= ", ast.Gt: " > ", ast.GtE: " >= ", ast.Eq: " == ", ast.NotEq: " != ",
}  # fmt: skip
_KEYWORDS = "|".join(set(keyword.kwlist) - {"True", "False", "None", "not"})  # names of columns like any other in R
_RESERVED = {"if", "else", "repeat", "while", "function", "for", "next", "break", "TRUE", "FALSE", "NULL", "in"}


def quote_name(name: str) -> str:
    """Return a column name as R code: in backticks unless R reads it as a name without them."""
    plain = re.fullmatch(r"(?:[^\W\d_]|\.(?!\d))[\w.]*", name) is not None and name not in _RESERVED
    return name if plain else f"`{name}`"


def deparse(expression: str) -> str:
    """Write one expression as R does when it names a coefficient.

    Parameters
    ----------
    expression : str
        For instance ``I(x ** 2)``, ``C(period)``, ``np.log(size)``, ``poly(x, 2)``, ``Q("my var")``.

    Returns
    -------
    str
        ``I(x^2)``, ``factor(period)``, ``log(size)``, ``poly(x, 2)``, ```my var```.

    Raises
    ------
    FormulaError
        For text that is no expression, or uses a function without a counterpart in R.
    """
    quoted: list[str] = []

    def hide(match: re.Match[str]) -> str:
        quoted.append(match.group(1) or match.group(0))
        return f"_quoted{len(quoted) - 1}_"

    hidden = re.sub(rf"`([^`]*)`|(?<![\w.])(?:{_KEYWORDS})(?![\w.])", hide, expression).replace("^", "**")
    try:
        tree = ast.parse(hidden.strip(), mode="eval").body
    except SyntaxError as error:
        raise FormulaError(f"{expression!r} cannot be read as an expression") from error
    return _Writer(quoted).write(tree)[0]


class _Writer:
    """Writes a syntax tree; each method returns the text and how tightly it binds (9: an atom)."""

    def __init__(self, quoted: list[str]) -> None:
        self.quoted = quoted

    def write(self, node: ast.expr) -> tuple[str, int]:
        match node:
            case ast.Name() | ast.Attribute():
                return quote_name(self.name(node)), 9
            case ast.Constant():
                return self.constant(node.value), 9
            case ast.Call():
                return self.call(node), 9
            case _:
                return self.operation(node)

    def operation(self, node: ast.expr) -> tuple[str, int]:
        match node:
            case ast.BinOp():
                return self.binary(node)
            case ast.UnaryOp(op=ast.USub()):
                return "-" + self.within(node.operand, 3), 3
            case ast.UnaryOp(op=ast.Not()):
                return "!" + self.within(node.operand, 0), 0
            case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
                left, right = self.within(node.left, 1), self.within(node.comparators[0], 1)
                return left + _COMPARISONS[type(operator)] + right, 0
            case _:
                raise FormulaError(f"{ast.unparse(node)!r} has no counterpart in R")

    def within(self, node: ast.expr, strength: int) -> str:
        text, own = self.write(node)
        return text if own >= strength else f"({text})"

    def name(self, node: ast.expr) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self.name(node.value)}.{node.attr}"
        if not isinstance(node, ast.Name):
            raise FormulaError(f"{ast.unparse(node)!r} has no counterpart in R")
        hidden = re.fullmatch(r"_quoted(\d+)_", node.id)
        return self.quoted[int(hidden.group(1))] if hidden else node.id

    @staticmethod
    def constant(value: object) -> str:
        if isinstance(value, bool):
            return "TRUE" if value else "FALSE"
        if value is None:
            return "NULL"
        if isinstance(value, str):
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        if isinstance(value, (int, float)):
            return f"{value:.15g}"
        raise FormulaError(f"{value!r} has no counterpart in R")

    def binary(self, node: ast.BinOp) -> tuple[str, int]:
        if type(node.op) not in _OPERATORS:
            raise FormulaError(f"{ast.unparse(node)!r} has no counterpart in R")
        text, strength = _OPERATORS[type(node.op)]
        right_binds = isinstance(node.op, ast.Pow)
        left = self.within(node.left, strength + right_binds)
        right = self.within(node.right, strength + (not right_binds))
        return left + text + right, strength

    def call(self, node: ast.Call) -> str:
        function = self.name(node.func).removeprefix("np.")
        if function == "C":
            return self.coded(node)
        arguments = [self.write(argument)[0] for argument in node.args]
        arguments += [f"{keyword.arg} = {self.write(keyword.value)[0]}" for keyword in node.keywords]
        match function:
            case "Q" if self.is_quoted(node):
                return quote_name(str(ast.literal_eval(node.args[0])))
            case "center":
                return f"scale({', '.join(arguments)}, scale = FALSE)"
            case _ if function in _SAME:
                return f"{function}({', '.join(arguments)})"
            case _:
                raise FormulaError(f"{function}() has no counterpart in R's formulas")

    @staticmethod
    def is_quoted(node: ast.expr) -> TypeGuard[ast.Call]:
        """Whether this is ``Q("my column")``."""
        return (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) == "Q"
            and len(node.args) == 1
            and isinstance(node.args[0], ast.Constant)
        )

    def coded(self, node: ast.Call) -> str:
        column = self.write(node.args[0])[0]
        if len(node.args) == 1 and not node.keywords:
            return f"factor({column})"
        if not isinstance(node.args[0], ast.Name) and not self.is_quoted(node.args[0]):
            column = f"factor({column})"  # R's C() takes factors only
        contrast = node.args[1] if len(node.args) > 1 else node.keywords[0].value
        if not isinstance(contrast, ast.Call):
            chosen = self.name(contrast)
            if chosen not in _CONTRASTS:
                raise FormulaError(f"contrast {chosen!r} has no counterpart in R: use one of {sorted(_CONTRASTS)}")
            return f"C({column}, {chosen})"
        chosen = self.name(contrast.func)
        options = [*contrast.args, *(keyword.value for keyword in contrast.keywords)]
        if chosen == "contr.treatment" and len(options) == 1:
            return f"relevel(factor({self.write(node.args[0])[0]}), ref = {self.write(options[0])[0]})"
        if chosen in _CONTRASTS and not options:
            return f"C({column}, {chosen})"
        raise FormulaError(f"{ast.unparse(contrast)!r} has no counterpart in R")
