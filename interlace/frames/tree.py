"""Pieces of a parsed formula, and how they are written out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from interlace.frames.names import decode, display, quote
from interlace.typing import Structure

__all__ = [
    "Bar",
    "Cross",
    "Dot",
    "Factor",
    "Group",
    "GroupNode",
    "Leaf",
    "Nest",
    "Node",
    "Number",
    "Offset",
    "Power",
    "Sum",
    "write",
]


@dataclass(frozen=True)
class Number:
    """``0`` or ``1``: leave out, or keep, the intercept."""

    value: int


@dataclass(frozen=True)
class Factor:
    """A column or a transform of columns, as the checked expression ``code``."""

    code: str


@dataclass(frozen=True)
class Dot:
    """``.``: every other column, or in an update what stood there before."""


@dataclass(frozen=True)
class Offset:
    """``offset(expression)``."""

    code: str


@dataclass(frozen=True)
class Sum:
    """``+a - b + c`` as ``((1, a), (-1, b), (1, c))``."""

    items: tuple[tuple[int, Node], ...]


@dataclass(frozen=True)
class Cross:
    """``a * b``, ``a / b`` or ``a : b``."""

    op: str
    left: Node
    right: Node


@dataclass(frozen=True)
class Power:
    """``(a + b) ^ n``."""

    base: Node
    n: int


@dataclass(frozen=True)
class Leaf:
    """One grouping column, with the spelling it had (``factor(g)``)."""

    column: str
    text: str


@dataclass(frozen=True)
class Nest:
    """``a:b`` (op ``:``) or ``a/b`` (op ``/``) on the right of a bar."""

    op: str
    left: GroupNode
    right: GroupNode
    bracketed: bool = False


@dataclass(frozen=True)
class Bar:
    """``(effects | group)``."""

    effects: Node
    group: GroupNode
    double: bool = False
    structure: Structure = "unstructured"


@dataclass(frozen=True)
class Group:
    """A grouping factor: lme4's name for it, and its columns in the order of their labels."""

    name: str
    columns: tuple[str, ...]


GroupNode: TypeAlias = Leaf | Nest
Node: TypeAlias = Number | Factor | Dot | Offset | Sum | Cross | Power | Bar


def write(node: Node, *, inner: bool = False) -> str:
    """Write ``node`` as formula text; ``inner`` brackets sums."""
    match node:
        case Number(value):
            return str(value)
        case Factor(code):
            return code_text(code)
        case Dot():
            return "."
        case Offset(code):
            return f"offset({code_text(code)})"
        case Power(base, n):
            return f"{_operand(base)}^{n}"
        case Cross(op, left, right):
            text = f":{_operand(right)}" if op == ":" else f" {op} {_operand(right)}"
            text = (_operand(left) if op == ":" else write(left, inner=True)) + text
            return text
        case Bar():
            return write_bar(node)
        case Sum(((1, only),)):
            return write(only, inner=inner)
        case Sum(items):
            text = ""
            for sign, item in items:
                joint = ("-" if sign < 0 else "") if not text else (" - " if sign < 0 else " + ")
                text += joint + write(item, inner=True)
            return f"({text})" if inner else text


def _operand(node: Node) -> str:
    text = write(node, inner=True)
    return f"({text})" if isinstance(node, Cross | Power) and not text.startswith("(") else text


def code_text(code: str) -> str:
    """Text of an expression, a bare column in backticks where it needs them."""
    shown = display(code)
    return quote(decode(code)) if shown != code and decode(code) != code else shown


def write_bar(bar: Bar) -> str:
    """Text of a random-effects term."""
    mark = "||" if bar.double else "|"
    inside = f"({write(bar.effects)} {mark} {write_group(bar.group)})"
    return f"diag{inside}" if bar.structure == "diagonal" else inside


def write_group(node: GroupNode) -> str:
    """Text on the right of a bar."""
    if isinstance(node, Leaf):
        return quote(node.column) if node.text == node.column else node.text
    text = f"{write_group(node.left)}{node.op}{write_group(node.right)}"
    return f"({text})" if node.bracketed else text


def groups_of(node: GroupNode) -> tuple[Group, ...]:
    """Return the grouping factors that ``node`` stands for: one, unless it nests with ``/``.

    ``a/b`` gives ``b:a`` and ``a``; ``a/b/c`` gives ``c:(b:a)``, ``b:a`` and ``a``, as lme4 names them.
    """
    if isinstance(node, Leaf):
        return (Group(node.text, (node.column,)),)
    if node.op == "/":
        outer = groups_of(node.left)
        inner = groups_of(node.right)
        bracket = _bracketed(node.right)
        nested = tuple(_joined(i, outer[0], bracket and len(i.columns) > 1, len(outer[0].columns) > 1) for i in inner)
        return nested + outer
    left, right = groups_of(node.left)[0], groups_of(node.right)[0]
    return (_joined(left, right, _bracketed(node.left), isinstance(node.right, Nest)),)


def _bracketed(node: GroupNode) -> bool:
    return isinstance(node, Nest) and node.bracketed


def _joined(left: Group, right: Group, bracket_left: bool, bracket_right: bool) -> Group:
    a = f"({left.name})" if bracket_left else left.name
    b = f"({right.name})" if bracket_right else right.name
    return Group(f"{a}:{b}", left.columns + right.columns)
