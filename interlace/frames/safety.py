"""What an expression in a formula may say.

A formula is data, never code. Every expression (``log(x)``, ``poly(x, 2)``, ``I(a / b)``) is parsed into a Python
syntax tree and held against an allow-list *before* anything is evaluated: documented transforms, arithmetic and
comparison. Whatever the list does not name is refused: attributes, subscripts, lambdas, comprehensions, f-strings,
assignments, boolean operators, starred arguments, any other call. Each column has by then been replaced by an
identifier of its own (``names.encode``), so a column called ``log`` cannot stand in for the function.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from interlace.errors import FormulaError
from interlace.frames.names import CONTRAST_CLASSES, decode, display

__all__ = ["CONTRASTS", "ELEMENTWISE", "STATEFUL", "canonical"]

#: Functions of one column, evaluated row by row; also as ``np.<name>``.
ELEMENTWISE = frozenset(["log", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan"])
#: Transforms that learn something from the data (knots, means, levels) or encode several columns.
STATEFUL = frozenset(["C", "poly", "bs", "cs", "cr", "cc", "center", "scale", "lag", "hashed"])
#: Ways to code a factor, ``contr.<name>``.
CONTRASTS = frozenset(["treatment", "sum", "helmert", "poly", "diff", "sas", "SAS"])

_MAX_NODES = 400
_MAX_POWER = 64
_MAX_SIZE = 1000  # degrees, degrees of freedom, buckets: anything above only exhausts memory

#: What to use for functions of R that have another name here.
_INSTEAD = {
    "ns": "cr(x, df=4, constraints='center'), a natural cubic spline, or bs(x, df=4), a B-spline",
    "s": "cr(x, df=4, constraints='center') or bs(x, df=4), splines without a penalty",
    "relevel": "C(x, contr.treatment('reference level'))",
    "ifelse": "the comparison itself, I(x > 4), or a column of data",
}

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)

_REFUSED: dict[type[ast.AST], str] = {
    ast.Attribute: "attribute access",
    ast.Subscript: "subscripts",
    ast.Lambda: "lambda functions",
    ast.ListComp: "comprehensions",
    ast.SetComp: "comprehensions",
    ast.DictComp: "comprehensions",
    ast.GeneratorExp: "comprehensions",
    ast.JoinedStr: "f-strings",
    ast.NamedExpr: "assignments (:=)",
    ast.IfExp: "conditional expressions",
    ast.BoolOp: "'and' / 'or'",
    ast.Starred: "starred arguments",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.Dict: "dictionaries",
    ast.Set: "sets",
}


def canonical(source: str, extra: Collection[str] = ()) -> str:
    """Check the expression ``source`` and return it in canonical spelling (``log(x+1)`` becomes ``log(x + 1)``).

    Parameters
    ----------
    source : str
        Python expression in which columns are already encoded.
    extra : collection of str
        Functions that the caller has opted in (``Control(extra_transforms=...)``).
    """
    try:
        tree = ast.parse(source, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise FormulaError(
            f"the expression {_shown(source)} in the formula cannot be read: check its spelling"
        ) from error
    count = sum(1 for _ in ast.walk(tree))
    if count > _MAX_NODES:
        raise FormulaError(
            f"the expression {_shown(source)} in the formula is too long; compute it as a column of data first"
        )
    _Checker(source, extra).value(tree.body)
    return ast.unparse(tree)


def _shown(source: str) -> str:
    text = display(source)
    return repr(text if len(text) <= 60 else text[:57] + "...")


class _Checker:
    """Walks one expression; each method accepts one kind of position and refuses the rest."""

    def __init__(self, source: str, extra: Collection[str]) -> None:
        self.source = source
        self.extra = extra

    def refuse(self, what: str, remedy: str = "") -> FormulaError:
        remedy = (
            remedy or "documented transforms, arithmetic and comparisons; compute anything else as a column of data"
        )
        return FormulaError(f"not allowed in a formula: {what}, in {_shown(self.source)}. Use instead: {remedy}.")

    def value(self, node: ast.AST) -> None:
        """Accept something that has a value for every row, or a number."""
        match node:
            case ast.Name():
                return  # a column; whether it exists is checked against the data
            case ast.Constant():
                self.number(node)
            case ast.BinOp(left=left, op=op, right=right) if isinstance(op, _OPERATORS):
                self.value(left)
                self.value(right)
                if isinstance(op, ast.Pow):
                    self.power(left, right)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub(), operand=operand):
                self.value(operand)
            case ast.Compare(left=left, ops=ops, comparators=others) if all(isinstance(op, _COMPARISONS) for op in ops):
                if len(ops) > 1:
                    raise self.refuse("chained comparison", "one comparison at a time")
                for side in (left, *others):
                    if not _is_string(side):
                        self.value(side)
            case ast.Call():
                self.call(node)
            case _:
                raise self.unlisted(node)

    def unlisted(self, node: ast.AST) -> FormulaError:
        if isinstance(node, ast.BinOp | ast.UnaryOp | ast.Compare):
            return self.refuse(f"the operator in {_shown(ast.unparse(node))}")
        return self.refuse(_REFUSED.get(type(node), type(node).__name__.lower()))

    def number(self, node: ast.Constant) -> None:
        if type(node.value) not in (int, float):
            raise self.refuse(f"the constant {node.value!r} here")
        if isinstance(node.value, int) and abs(node.value) >= 2**63:
            raise self.refuse("a whole number of more than 18 digits", "write it as a decimal, like 1e20")

    def power(self, base: ast.expr, exponent: ast.expr) -> None:
        """Powers of constants alone are refused, and large ones: ``9 ** 9 ** 9`` would run for years."""
        if not any(isinstance(part, ast.Name) for part in ast.walk(base)):
            raise self.refuse("a power without a column in its base", "write the number itself")
        size = exponent.operand if isinstance(exponent, ast.UnaryOp) else exponent
        literal = isinstance(size, ast.Constant) and type(size.value) in (int, float)
        if not literal or abs(size.value) > _MAX_POWER:  # type: ignore[attr-defined]
            raise self.refuse(f"an exponent that is not a number up to {_MAX_POWER}", "x ** 2")

    def call(self, node: ast.Call) -> None:
        name = self.function(node.func)
        if name in ELEMENTWISE or name == "I":
            if len(node.args) != 1 or node.keywords:
                raise self.refuse(f"{name}() with other than one argument", f"{name}(x)")
            self.value(node.args[0])
        elif name == "Q":
            if len(node.args) != 1 or node.keywords or not _is_string(node.args[0]):
                raise self.refuse("Q() of anything but one column name in quotes", 'Q("my column")')
        elif name in STATEFUL:
            if not node.args:
                raise self.refuse(f"{name}() without a column", f"{name}(x)")
            self.value(node.args[0])
            for arg in node.args[1:]:
                self.option(name, arg, None)
            if name == "poly":
                self.degree([*node.args[1:2], *(k.value for k in node.keywords if k.arg == "degree")])
            self.keywords(name, node)
        else:
            for arg in node.args:
                self.option_or_value(name, arg)
            self.keywords(name, node)

    def keywords(self, name: str, node: ast.Call) -> None:
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.refuse("starred arguments")
            self.option(name, keyword.value, keyword.arg)

    def function(self, node: ast.expr) -> str:
        """Name of the function that is called, when it is one that may be."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id == "np" and node.attr in ELEMENTWISE:
                return node.attr
            raise self.refuse(f"a call of {ast.unparse(node)}()")
        if isinstance(node, ast.Name):
            name = node.id
            if name in ELEMENTWISE or name in STATEFUL or name in ("I", "Q") or name in self.extra:
                return name
            raise self.refuse(
                f"a call of {decode(name)}()",
                _INSTEAD.get(name)
                or "a documented transform, or a function of yours through control=Control(extra_transforms=...)",
            )
        raise self.unlisted(node)

    def option_or_value(self, name: str, node: ast.expr) -> None:
        """Accept an argument of a function that the caller opted in: a column or an option."""
        try:
            self.value(node)
        except FormulaError:
            self.option(name, node, None)

    def option(self, name: str, node: ast.expr, keyword: str | None) -> None:
        """Accept an option of a transform: a constant, a list of constants, or a contrast."""
        if keyword is None and isinstance(node, ast.Starred):
            raise self.refuse("starred arguments")
        if isinstance(node, ast.List | ast.Tuple):
            for item in node.elts:
                self.constant(item)
        elif name == "C" and isinstance(node, ast.Attribute | ast.Name | ast.Call):
            self.contrast(node)
        else:
            self.constant(node)
            limited = keyword in ("df", "degree", "levels") or (keyword is None and name not in ("C", "lag"))
            if limited and isinstance(node, ast.Constant) and isinstance(node.value, int) and node.value > _MAX_SIZE:
                raise self.refuse(f"{keyword or 'an option'} = {node.value} in {name}()", f"a number up to {_MAX_SIZE}")

    def degree(self, given: list[ast.expr]) -> None:
        """Accept the degree of a polynomial: a whole number of at least 1."""
        for node in given:
            if not isinstance(node, ast.Constant) or type(node.value) is not int or node.value < 1:
                raise self.refuse(f"{ast.unparse(node)} as the degree of poly()", "a whole number from 1: poly(x, 2)")

    def constant(self, node: ast.expr) -> None:
        inner = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd) else node
        if not isinstance(inner, ast.Constant) or not isinstance(inner.value, int | float | str | bool | None):
            raise self.refuse(
                f"{_shown(ast.unparse(node))} as an option", "a number, a text, True, False or a list of them"
            )

    def contrast(self, node: ast.expr) -> None:
        func = node.func if isinstance(node, ast.Call) else node
        if isinstance(func, ast.Attribute):
            good = isinstance(func.value, ast.Name) and func.value.id == "contr" and func.attr in CONTRASTS
        else:
            good = isinstance(func, ast.Name) and func.id in CONTRAST_CLASSES
        if not good:
            raise self.refuse(
                f"{_shown(ast.unparse(func))} as contrasts", "contr.treatment, contr.sum, contr.helmert or contr.poly"
            )
        if isinstance(node, ast.Call):
            for arg in node.args:
                self.option("contr", arg, None)
            self.keywords("contr", node)


def _is_string(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
