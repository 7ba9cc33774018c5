"""Read a formula: R's operators, lme4's random-effects terms, and Python expressions as the leaves.

The grammar, loosest first: ``+ -``, ``* /``, ``:``, ``^ **``, then names, calls and brackets. ``(effects | group)``
and ``(effects || group)`` are random-effects terms. The left-hand side is a Python expression, so ``a / b`` divides.
"""

from __future__ import annotations

import keyword
from collections.abc import Collection

from interlace.errors import FormulaError
from interlace.frames.names import CONTRAST_CLASSES, encode
from interlace.frames.nesting import GroupReader, counted
from interlace.frames.safety import canonical
from interlace.frames.tokens import OPERANDS, Cursor, Token, close_of, tokenize
from interlace.frames.tree import Bar, Cross, Dot, Factor, Node, Number, Offset, Power, Sum

__all__ = ["read_bar", "read_expression", "read_rhs", "read_sides"]

_MAX_TOKENS = 1000
_ALIASES = {"factor": "C", "as.factor": "C"}
#: Words with a meaning inside Python's expressions. Others (``yield``, ``class``, ``from``) can only be columns here.
_WORDS = frozenset(
    ["and", "or", "not", "in", "is", "if", "else", "for", "lambda", "async", "await", "True", "False", "None"]
)


def read_sides(formula: str) -> tuple[list[Token], list[Token]]:
    """Tokens on the left and on the right of ``~``."""
    tokens = tokenize(formula)
    tildes = [i for i, t in enumerate(tokens) if t.text == "~" and t.kind == "op"]
    if len(tildes) != 1:
        found = "no '~'" if not tildes else f"{len(tildes)} '~'"
        raise FormulaError(f"the formula {formula!r} has {found}; write response ~ predictors + (1 | group)")
    left, right = tokens[: tildes[0]], tokens[tildes[0] + 1 :]
    if not right:
        raise FormulaError(f"the formula {formula!r} has nothing on the right of '~'; write '1' for an intercept only")
    return left, right


def read_rhs(tokens: list[Token], extra: Collection[str] = ()) -> Node:
    """Parse the right-hand side of a formula."""
    reader = _Reader(tokens, extra)
    node = reader.sum()
    reader.finish()
    return node


def read_bar(text: str, extra: Collection[str] = ()) -> list[Bar]:
    """Parse one entry of ``random=``: ``"(1 + x | g)"``, with or without the brackets."""
    tokens = tokenize(text)
    if tokens and tokens[0].text == "~":
        bar = text.strip().removeprefix("~").strip()
        bar = bar if bar.startswith("(") else f"({bar})"
        raise FormulaError(
            f"random= holds {text!r}, a one-sided formula as in nlme; write lme4's term random=[{bar!r}]"
        )
    node = _Reader(tokens, extra).only_bar()
    items = node.items if isinstance(node, Sum) else ((1, node),)
    bars = [item for _, item in items if isinstance(item, Bar)]
    if not bars or len(bars) != len(items):
        raise FormulaError(f"random= holds {text!r}, which is not a random-effects term; write '(1 + x | group)'")
    return bars


def read_expression(tokens: list[Token], extra: Collection[str] = (), *, what: str = "the response") -> str:
    """Parse a Python expression (the left-hand side, an offset, a transform) to its checked, canonical code."""
    if len(tokens) > _MAX_TOKENS:
        raise FormulaError(f"the expression for {what} is too long; compute it as a column of data first")
    if len(tokens) == 1 and tokens[0].kind == "name":
        _refuse_word(tokens[0].text)
    pieces: list[str] = []
    end = tokens[0].start if tokens else 0
    coding = any(token.text in ("C", "factor", "as.factor") for token in tokens)
    nothing = Token("op", "", end)
    for before, token, after in zip([nothing, *tokens], tokens, [*tokens[1:], nothing], strict=False):
        _refuse_in_expression(before, token)
        option = after.text == "=" and after.kind == "op"
        # C(x, Sum): a contrast, while the column Sum is meant in log(Sum) and in C(Sum)
        contrast = coding and before.text in (",", "=")
        pieces.append(" " * (token.start - end > 0) + _python(token, after.text == "(", option, contrast))
        end = token.start + len(token.text)
    return canonical("".join(pieces), extra)


def _refuse_in_expression(before: Token, token: Token) -> None:
    """Refuse what Python would read otherwise than R, or not at all."""
    if before.kind in OPERANDS and token.kind in OPERANDS:
        raise FormulaError(f"an operator is missing between {before.text!r} and {token.text!r} in the formula")
    if token.kind == "op" and token.text in ("&", "|", "||", "!"):
        raise FormulaError(
            f"not allowed in a formula: the operator {token.text!r} in an expression. Put the condition into a "
            "column of data first."
        )


def _python(token: Token, called: bool, option: bool, contrast: bool) -> str:
    """Python spelling of one token: columns encoded, R's operators and function names translated."""
    text = token.text
    if token.kind == "quoted":
        return encode(text[1:-1])
    if token.kind == "op" and text == "^":
        return "**"
    if token.kind != "name" or option or text in ("True", "False", "None"):
        return text
    if text in ("TRUE", "FALSE"):
        return text.capitalize()
    if called and text not in _WORDS:
        return _ALIASES.get(text) or _function(text)
    if contrast and (text.startswith("contr.") or text in CONTRAST_CLASSES):
        return text
    if text in _WORDS:
        return text  # a syntax error, or refused, rather than a column: backticks name such a column
    return encode(text)


def _function(name: str) -> str:
    """Name of a function as Python reads it; ``as.numeric`` and ``is.na`` hold words that it would stumble over."""
    if any(keyword.iskeyword(part) for part in name.split(".")):
        raise FormulaError(
            f"not allowed in a formula: a call of {name}(). Use instead: a documented transform, or compute it as a "
            "column of data."
        )
    return name


def _refuse_word(name: str) -> None:
    if name in _WORDS:
        raise FormulaError(f"{name!r} is a word of Python; a column called so goes in backticks: `{name}`")


class _Reader(Cursor):
    """Recursive descent over the tokens of one right-hand side."""

    def __init__(self, tokens: list[Token], extra: Collection[str]) -> None:
        super().__init__(tokens)
        self.extra = extra

    def only_bar(self) -> Node:
        node: Node = self.bar_body() if _has_bar(self.tokens) else self.sum()
        self.finish()
        return node

    # -- fixed part --------------------------------------------------------------------------------------------
    def sum(self) -> Node:
        items: list[tuple[int, Node]] = []
        sign = self.sign(first=True)
        while True:
            items.append((sign, self.product()))
            if self.peek() not in ("+", "-"):
                break
            sign = self.sign(first=False)
        return items[0][1] if len(items) == 1 and items[0][0] > 0 else Sum(tuple(items))

    def sign(self, *, first: bool) -> int:
        sign = 1
        if self.peek() in ("+", "-"):
            sign = -1 if self.take().text == "-" else 1
            if sign > 0 and self.peek() == "-" and not first:  # x + -1, which R users write
                self.take()
                sign = -1
            if self.peek() in ("+", "-"):
                raise FormulaError(f"two signs in a row in the formula: {self.tokens[self.at - 1].text}{self.peek()}")
        elif not first:
            raise FormulaError("an operator is missing between two terms of the formula")
        return sign

    def product(self) -> Node:
        node = self.interaction()
        joined = 0
        while self.peek() in ("*", "/"):
            op = self.take().text
            node = Cross(op, node, self.interaction())
            joined = counted(joined)
        return node

    def interaction(self) -> Node:
        node = self.power()
        joined = 0
        while self.peek() == ":":
            self.take()
            node = Cross(":", node, self.power())
            joined = counted(joined)
        return node

    def power(self) -> Node:
        node = self.atom()
        if self.peek() in ("^", "**"):
            self.take()
            token = self.take() if self.peek() == "<number>" else None
            if token is None or not token.text.isdigit() or not 1 <= int(token.text) <= 20:
                raise FormulaError("the power of terms in a formula must be a whole number from 1 to 20: (a + b)^2")
            node = Power(node, int(token.text))
        return node

    def atom(self) -> Node:
        kind = self.peek()
        if kind == "(":
            return self.bracket()
        if kind == ".":
            self.take()
            return Dot()
        if kind == "<number>":
            return self.number()
        if kind == "<quoted>":
            return Factor(encode(self.take().text[1:-1]))
        if kind == "<name>":
            return self.name()
        if kind == "":
            raise FormulaError("the formula ends where a term is expected: remove the last operator or complete it")
        if kind == "<string>":
            raise FormulaError(
                f"the text {self.take().text} is not a term; a column with an odd name goes in backticks"
            )
        before = repr(self.tokens[self.at - 1].text) if self.at else "the start"
        raise FormulaError(f"a term is missing between {before} and {self.tokens[self.at].text!r} in the formula")

    def number(self) -> Node:
        text = self.take().text
        if text not in ("0", "1"):
            raise FormulaError(
                f"the number {text} is not a term of a formula; only 0 and 1 (intercept) are. "
                "Arithmetic goes into I(...)"
            )
        return Number(int(text))

    def name(self) -> Node:
        token = self.tokens[self.at]
        if not (self.at + 1 < len(self.tokens) and self.tokens[self.at + 1].text == "("):
            _refuse_word(token.text)
            self.take()
            return Factor(encode(token.text))
        end = close_of(self.tokens, self.at + 1)
        inner = self.tokens[self.at + 2 : end]
        start, self.at = self.at, end + 1
        if token.text == "offset":
            return Offset(read_expression(inner, self.extra, what="offset()"))
        if token.text in ("diag", "us"):
            return self.structured(token.text, inner)
        if token.text == "cbind":
            raise FormulaError("cbind(successes, failures) is a binomial response: it belongs on the left of '~'")
        return Factor(read_expression(self.tokens[start : end + 1], self.extra, what="a term"))

    def structured(self, name: str, inner: list[Token]) -> Node:
        reader = _Reader(inner, self.extra)
        bar = reader.bar_body()
        reader.finish()
        if bar.double:
            raise FormulaError(f"{name}(... || ...) says the structure twice; write {name}(... | ...)")
        return Bar(bar.effects, bar.group, False, "diagonal" if name == "diag" else "unstructured")

    # -- brackets and bars -------------------------------------------------------------------------------------
    def bracket(self) -> Node:
        opening = self.at
        end = close_of(self.tokens, opening)
        reader = _Reader(self.tokens[opening + 1 : end], self.extra)
        if not reader.tokens:
            raise FormulaError("empty parentheses in the formula")
        self.at = end + 1
        if _has_bar(reader.tokens):
            node: Node = reader.bar_body()
        else:
            node = reader.sum()
        reader.finish()
        return node

    def bar_body(self) -> Bar:
        text = " ".join(t.text for t in self.tokens)
        if self.peek() in ("|", "||"):
            raise FormulaError(f"nothing on the left of the bar in ({text}); write (1 | group) for a random intercept")
        effects = self.sum()
        if self.peek() not in ("|", "||"):
            self.finish()
            raise FormulaError(f"({text}) is not a random-effects term; write (1 + x | group)")
        double = self.take().text == "||"
        if self.peek() == "":
            raise FormulaError(f"no grouping factor on the right of the bar in ({text}); write (1 | group)")
        groups = GroupReader(self.tokens, self.at)
        group = groups.nesting()
        self.at = groups.at
        return Bar(effects, group, double)


def _has_bar(tokens: list[Token]) -> bool:
    """Whether a bar stands in these tokens outside any inner parentheses."""
    depth = 0
    for token in tokens:
        if token.kind == "op":
            depth += (token.text == "(") - (token.text == ")")
            if depth == 0 and token.text in ("|", "||"):
                return True
    return False
