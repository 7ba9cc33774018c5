"""Read what stands on the right of a bar: ``g``, ``a:b``, ``a/b``, ``factor(g)``."""

from __future__ import annotations

from interlace.errors import FormulaError
from interlace.frames.tokens import Cursor, close_of
from interlace.frames.tree import GroupNode, Leaf, Nest

__all__ = ["GroupReader", "counted"]

_MAX_JOINED = 60
_FACTOR_CALLS = frozenset(("factor", "as.factor", "C"))


class GroupReader(Cursor):
    """Recursive descent over a grouping factor."""

    def nesting(self) -> GroupNode:
        """Read factors joined by ``/``, the whole of what a bar groups by."""
        node = self.crossing()
        joined = 0
        while self.peek() == "/":
            self.take()
            node = Nest("/", node, self.crossing())
            joined = counted(joined)
        if self.peek() in ("+", "*", "|", "||", "-", "^", "**"):
            raise FormulaError(
                f"{self.peek()!r} cannot join grouping factors; use a:b, a/b, or separate terms (1 | a) + (1 | b)"
            )
        return node

    def crossing(self) -> GroupNode:
        """Read factors joined by ``:``."""
        node = self.grouping()
        joined = 0
        while self.peek() == ":":
            self.take()
            node = self.cross(node, self.grouping())
            joined = counted(joined)
        return node

    def cross(self, left: GroupNode, right: GroupNode) -> Nest:
        """Join two factors by ``:``."""
        for side in (left, right):
            if isinstance(side, Nest) and side.op == "/":
                raise FormulaError("a '/' inside a ':' of grouping factors is ambiguous; write the terms out")
        return Nest(":", left, right)

    def grouping(self) -> GroupNode:
        """Read one factor."""
        kind = self.peek()
        if kind == "(":
            return self.bracketed_group()
        if kind == "<quoted>":
            column = self.take().text[1:-1]
            return Leaf(column, column)
        if kind != "<name>":
            found = f"found {self.tokens[self.at].text!r}" if kind else "found nothing"
            raise FormulaError(f"the grouping factor on the right of a bar must be a column; {found}")
        token = self.take()
        if self.peek() != "(":
            return Leaf(token.text, token.text)
        return self.group_call(token.text)

    def bracketed_group(self) -> GroupNode:
        """Read factors in parentheses, which lme4 keeps in the name."""
        end = close_of(self.tokens, self.at)
        reader = GroupReader(self.tokens[self.at + 1 : end])
        node = reader.nesting()
        reader.finish()
        self.at = end + 1
        return Nest(node.op, node.left, node.right, bracketed=True) if isinstance(node, Nest) else node

    def group_call(self, name: str) -> GroupNode:
        """``factor(g)`` is the column g; ``interaction(a, b)`` is a:b."""
        end = close_of(self.tokens, self.at)
        inner = self.tokens[self.at + 1 : end]
        columns = [t.text[1:-1] if t.kind == "quoted" else t.text for t in inner[::2]]
        commas = all(t.text == "," for t in inner[1::2]) and len(inner) % 2 == 1
        named = all(t.kind in ("name", "quoted") for t in inner[::2])
        self.at = end + 1
        if commas and named and name in _FACTOR_CALLS and len(columns) == 1:
            return Leaf(columns[0], f"{name}({columns[0]})")
        if commas and named and name == "interaction" and len(columns) > 1:
            node: GroupNode = Leaf(columns[0], columns[0])
            for column in columns[1:]:
                node = Nest(":", node, Leaf(column, column))
            return node
        raise FormulaError(
            f"the grouping factor {name}({', '.join(t.text for t in inner if t.text != ',')}) is not a column; "
            "compute it as a column of data first (factor(g) and interaction(a, b) are understood)"
        )


def counted(joined: int) -> int:
    """One more, as long as the chain stays short enough to walk."""
    if joined >= _MAX_JOINED:
        raise FormulaError(f"more than {_MAX_JOINED} names are joined by ':', '*' or '/' in one term of the formula")
    return joined + 1
