"""Split formula text into tokens, refuse text that could not be a formula, and walk along the tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

from interlace.errors import FormulaError

__all__ = ["OPERANDS", "Cursor", "Token", "close_of", "tokenize"]

_MAX_CHARS = 200_000
_MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    |(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<quoted>`[^`]+`)
    |(?P<name>[^\W\d][\w.]*)
    |(?P<op>\|\||\*\*|<=|>=|==|!=|//|:=|->|%\w*%|[-~+*/:^(),|<>=\[\]{}.%&@!;?$])
    """,
    re.VERBOSE,
)


#: Kinds of tokens that need an operator between them.
OPERANDS = ("name", "quoted", "number", "string")


@dataclass(frozen=True, slots=True)
class Token:
    """One token: its kind (``number``, ``string``, ``quoted``, ``name``, ``op``), text, and start in the formula."""

    kind: str
    text: str
    start: int


def tokenize(text: str) -> list[Token]:
    """Split ``text``; brackets must balance and not nest absurdly deep."""
    if len(text) > _MAX_CHARS:
        raise FormulaError(f"the formula is {len(text)} characters long; at most {_MAX_CHARS} are read")
    tokens: list[Token] = []
    opened: list[int] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise FormulaError(_unreadable(text, at))
        kind, piece = str(found.lastgroup), found.group()
        if kind == "name" and "__" in piece:
            raise FormulaError(
                f"names with a double underscore are not allowed in a formula: {piece!r}. "
                f"If it is a column, write it in backticks: `{piece}`."
            )
        if kind == "op":
            _balance(text, piece, at, opened)
        if kind != "space":
            tokens.append(Token(kind, piece, at))
        at = found.end()
    if opened:
        raise FormulaError(f"a parenthesis is never closed: {_excerpt(text, opened[-1])!r}. Add the missing ')'.")
    return tokens


def close_of(tokens: list[Token], opening: int) -> int:
    """Position of the parenthesis that closes the one at ``opening``."""
    depth = 0
    for i in range(opening, len(tokens)):
        if tokens[i].kind == "op":
            depth += (tokens[i].text == "(") - (tokens[i].text == ")")
            if depth == 0:
                return i
    raise FormulaError("a parenthesis is never closed")  # tokenize() has made sure that this cannot happen


def _balance(text: str, piece: str, at: int, opened: list[int]) -> None:
    if piece == "(":
        opened.append(at)
        if len(opened) > _MAX_DEPTH:
            raise FormulaError(f"parentheses are nested more than {_MAX_DEPTH} deep in the formula; simplify it")
    elif piece == ")":
        if not opened:
            raise FormulaError(f"')' without '(' in the formula, at {_excerpt(text, max(at - 15, 0))!r}")
        opened.pop()


def _unreadable(text: str, at: int) -> str:
    what = text[at]
    if what in "\"'`":
        return f"the quote {what} opened at {_excerpt(text, at)!r} is never closed"
    return f"the formula holds a character that cannot be read, {what!r}, at {_excerpt(text, at)!r}"


def _excerpt(text: str, at: int) -> str:
    return text[at : at + 30] + ("..." if len(text) > at + 30 else "")


class Cursor:
    """A place in a list of tokens."""

    def __init__(self, tokens: list[Token], at: int = 0) -> None:
        self.tokens = tokens
        self.at = at

    def peek(self) -> str:
        """Text of the next token when it is an operator, else its kind in angle brackets; '' at the end."""
        if self.at >= len(self.tokens):
            return ""
        token = self.tokens[self.at]
        return token.text if token.kind == "op" else f"<{token.kind}>"

    def take(self) -> Token:
        """Return the next token and move past it."""
        self.at += 1
        return self.tokens[self.at - 1]

    def finish(self) -> None:
        """Complain about whatever is left."""
        if self.at >= len(self.tokens):
            return
        here = self.tokens[self.at].text
        if here in ("|", "||"):
            raise FormulaError("a random-effects term must stand in parentheses: write (1 | group)")
        if self.at and here in (".", "["):
            what = "attribute access" if here == "." else "subscripts"
            raise FormulaError(f"not allowed in a formula: {what}, after {self.tokens[self.at - 1].text!r}")
        if self.at and (self.tokens[self.at].kind in OPERANDS or here == "("):
            before = self.tokens[self.at - 1].text
            raise FormulaError(
                f"an operator is missing between {before!r} and {here!r} in the formula: write '+' between terms"
            )
        if here == "%in%":
            raise FormulaError(
                "'%in%' cannot be used between terms of a formula; write a:b for an interaction alone, or a / b for "
                "b within a"
            )
        raise FormulaError(
            f"{here!r} cannot be used between terms of a formula; "
            "put arithmetic and comparisons into I(...), for example I(x > 0)"
        )
