"""Pieces of a parsed formula, and how they are written out again."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
    "code_text",
    "groups_of",
    "has_dot_in",
    "replace_dot",
    "single_groups",
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


def has_dot_in(node: Node) -> bool:
    """Whether a ``.`` stands anywhere in ``node``."""
    match node:
        case Dot():
            return True
        case Sum(items):
            return any(has_dot_in(item) for _, item in items)
        case Number() | Factor() | Offset() | Bar():
            return False
        case Power(base):
            return has_dot_in(base)
        case Cross():
            return has_dot_in(node.left) or has_dot_in(node.right)


def replace_dot(node: Node, by: Node) -> Node:
    """``node`` with every ``.`` replaced."""
    match node:
        case Dot():
            return by
        case Sum(items):
            return Sum(tuple((sign, replace_dot(item, by)) for sign, item in items))
        case Number() | Factor() | Offset() | Bar():
            return node
        case Power(base, n):
            return Power(replace_dot(base, by), n)
        case Cross():
            return replace(node, left=replace_dot(node.left, by), right=replace_dot(node.right, by))


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
            return _write_bar(node)
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


def _write_bar(bar: Bar) -> str:
    """Text of a random-effects term."""
    mark = "||" if bar.double else "|"
    inside = f"({write(bar.effects)} {mark} {_write_group(bar.group)})"
    return f"diag{inside}" if bar.structure == "diagonal" else inside


def _write_group(node: GroupNode) -> str:
    """Text on the right of a bar."""
    if isinstance(node, Leaf):
        return quote(node.column) if node.text == node.column else node.text
    text = f"{_write_group(node.left)}{node.op}{_write_group(node.right)}"
    return f"({text})" if node.bracketed else text


def single_groups(node: GroupNode) -> tuple[GroupNode, ...]:
    """Nodes without ``/`` that ``node`` stands for: ``b:a`` and ``a`` for ``a/b``."""
    if isinstance(node, Leaf) or node.op == ":":
        return (node,)
    outer = single_groups(node.left)
    bracket = isinstance(node.right, Nest) and node.right.bracketed
    inner = [_bracketed(i) if bracket else i for i in single_groups(node.right)]
    return (*(Nest(":", i, _bracketed(outer[0])) for i in inner), *outer)


def _bracketed(node: GroupNode) -> GroupNode:
    return replace(node, bracketed=True) if isinstance(node, Nest) else node


def groups_of(node: GroupNode) -> tuple[Group, ...]:
    """Return the grouping factors that ``node`` stands for: one, unless it nests with ``/``.

    ``a/b`` gives ``b:a`` and ``a``; ``a/b/c`` gives ``c:(b:a)``, ``b:a`` and ``a``, as lme4 names them.
    """
    return tuple(map(_group, single_groups(node)))


def _group(node: GroupNode) -> Group:
    if isinstance(node, Leaf):
        return Group(node.text, (node.column,))
    left, right = _group(node.left), _group(node.right)
    left_name = f"({left.name})" if isinstance(node.left, Nest) and node.left.bracketed else left.name
    right_name = f"({right.name})" if isinstance(node.right, Nest) else right.name
    return Group(f"{left_name}:{right_name}", left.columns + right.columns)
