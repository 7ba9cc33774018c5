"""From formula text (and ``groups=`` / ``random=``) to what the frames layer evaluates; cached, and free of data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Literal

from interlace.errors import FormulaError, ModelError
from interlace.frames.bars import read_bar, read_expression, read_rhs, read_sides
from interlace.frames.evaluate import inspect
from interlace.frames.names import display, encode
from interlace.frames.terms import Term, expand, flatten, sum_of, term_key
from interlace.frames.tokens import Token, close_of
from interlace.frames.tree import (
    Bar,
    Factor,
    Group,
    Leaf,
    Node,
    Number,
    Offset,
    Sum,
    code_text,
    groups_of,
    has_dot_in,
    replace_dot,
    single_groups,
    write,
)
from interlace.typing import Structure

__all__ = ["Formula", "RandomPart", "Response", "parse", "read_response", "with_columns"]


@dataclass(frozen=True)
class Response:
    """Left-hand side: one expression, or two for ``cbind(successes, failures)``."""

    kind: Literal["expression", "cbind"]
    codes: tuple[str, ...]

    @property
    def text(self) -> str:
        """As the formula spells it."""
        written = [code_text(code) for code in self.codes]
        return written[0] if self.kind == "expression" else f"cbind({', '.join(written)})"

    @property
    def name(self) -> str:
        """As results show it: a bare column without backticks."""
        return display(self.codes[0]) if self.kind == "expression" else self.text


@dataclass(frozen=True)
class RandomPart:
    """One random-effects term: its terms (``()`` the intercept), grouping factor and covariance structure."""

    terms: tuple[Term, ...]
    group: Group
    structure: Structure


@dataclass(frozen=True)
class Formula:
    """A parsed formula.

    Attributes
    ----------
    response : Response
    fixed : Node
        Right-hand side without bars and offsets (an empty ``Sum`` when there was nothing else).
    terms : tuple of Term
        Fixed-effects terms in order; empty until ``replace_dot`` when ``has_dot``.
    bars : tuple of Bar
        Random-effects terms as written.
    random : tuple of RandomPart
        The same, with ``||`` and ``/`` expanded, in formula order.
    offsets : tuple of str
        Expressions inside ``offset()``.
    has_dot : bool
    """

    response: Response
    fixed: Node
    terms: tuple[Term, ...]
    bars: tuple[Bar, ...]
    random: tuple[RandomPart, ...]
    offsets: tuple[str, ...]
    has_dot: bool

    @cached_property
    def text(self) -> str:
        """Canonical text of the whole formula."""
        items = list(flatten(self.fixed)) or [(1, Number(1))]
        items += [(1, Offset(code)) for code in self.offsets]
        items += [(1, bar) for bar in self.bars]
        return f"{self.response.text} ~ {write(Sum(tuple(items)))}"

    def with_structures(self, structures: Sequence[Structure]) -> Formula:
        """Formula that writes the given covariance structures, one for each of ``random``, into its bars."""
        if all(part.structure == structure for part, structure in zip(self.random, structures, strict=True)):
            return self
        bars: list[Bar] = []
        left = list(structures)
        for bar in self.bars:
            parts = _expand_bars([bar])
            given, left = left[: len(parts)], left[len(parts) :]
            if all(structure == bar.structure for structure in given):
                bars.append(bar)
            elif len(set(given)) == 1 and not bar.double:
                bars.append(replace(bar, structure=given[0]))
            else:  # structures that differ within (x | a/b) or (x || g): write its parts out
                groups = single_groups(bar.group) * (len(parts) // len(single_groups(bar.group)))
                bars += [
                    Bar(sum_of(part.terms), group, structure=structure)
                    for part, group, structure in zip(parts, groups, given, strict=True)
                ]
        return replace(self, bars=tuple(bars), random=_expand_bars(bars))

    @cached_property
    def x_terms(self) -> tuple[str, ...]:
        """Names of the fixed-effects terms."""
        return tuple(":".join(map(display, term)) or "Intercept" for term in self.terms)

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """Every expression outside the response: fixed effects, offsets, random slopes."""
        codes = [code for term in self.terms for code in term]
        codes += self.offsets
        codes += [code for part in self.random for term in part.terms for code in term]
        return tuple(dict.fromkeys(codes))

    @cached_property
    def grouping(self) -> tuple[str, ...]:
        """Grouping columns."""
        return tuple(dict.fromkeys(name for part in self.random for name in part.group.columns))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that the formula reads: response, predictors, offsets, grouping columns."""
        names = (name for code in (*self.response.codes, *self.codes) for name in inspect(code).columns)
        return tuple(dict.fromkeys((*names, *self.grouping)))

    @cached_property
    def plain(self) -> bool:
        """Whether all expressions are bare columns or factors: none can be undefined where its column is not."""
        expressions = map(inspect, (*self.response.codes, *self.codes))
        return all(e.kind in ("column", "levels") and e.inner is None for e in expressions)


@lru_cache(maxsize=256)
def parse(
    formula: str,
    groups: tuple[str, ...] | None = None,
    random: tuple[str, ...] | None = None,
    extra: frozenset[str] = frozenset(),
) -> Formula:
    """Parse and check a formula; terms may come from only one of bars, ``groups`` and ``random``."""
    left, right = read_sides(formula)
    response = read_response(left, extra)
    fixed, bars, offsets = _split_rhs(read_rhs(right, extra))
    has_dot = any(has_dot_in(item) for _, item in flatten(fixed))
    terms = () if has_dot else expand(fixed)
    bars = _one_source(bars, groups, random, extra)
    return Formula(response, fixed, terms, bars, _expand_bars(bars), offsets, has_dot)


def read_response(tokens: list[Token], extra: Collection[str] = ()) -> Response:
    """Parse the left-hand side."""
    if not tokens:
        raise FormulaError("the formula has nothing on the left of '~': name the response, as in y ~ x + (1 | group)")
    if (
        tokens[0].text == "cbind"
        and len(tokens) > 1
        and tokens[1].text == "("
        and close_of(tokens, 1) == len(tokens) - 1
    ):
        parts = _split_commas(tokens[2:-1])
        if len(parts) != 2 or not all(parts):
            raise FormulaError("cbind() on the left of '~' takes two columns: cbind(successes, failures)")
        return Response("cbind", tuple(read_expression(part, extra) for part in parts))
    return Response("expression", (read_expression(tokens, extra),))


def _split_commas(tokens: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _split_rhs(node: Node) -> tuple[Node, tuple[Bar, ...], tuple[str, ...]]:
    """Take random-effects terms and offsets out of a right-hand side."""
    rest: list[tuple[int, Node]] = []
    bars: list[Bar] = []
    offsets: list[str] = []
    for sign, item in flatten(node):
        if isinstance(item, Bar | Offset) and sign < 0:
            raise FormulaError(f"{write(item)} is taken away, but a formula can only add it; leave it out instead")
        if isinstance(item, Bar):
            bars.append(item)
        elif isinstance(item, Offset):
            offsets.append(item.code)
        else:
            rest.append((sign, item))
    fixed = rest[0][1] if len(rest) == 1 and rest[0][0] > 0 else Sum(tuple(rest))
    return fixed, tuple(bars), tuple(offsets)


def _one_source(
    bars: tuple[Bar, ...],
    groups: tuple[str, ...] | None,
    random: tuple[str, ...] | None,
    extra: Collection[str],
) -> tuple[Bar, ...]:
    given = [name for name, there in (("bars in the formula", bars), ("groups=", groups), ("random=", random)) if there]
    if len(given) > 1:
        raise FormulaError(f"random-effects terms are given twice, by {' and by '.join(given)}; use one of them")
    if groups:
        return tuple(Bar(Number(1), Leaf(name, name)) for name in groups)
    if random:
        return tuple(bar for text in random for bar in read_bar(text, extra))
    if not bars:
        raise ModelError(
            "the model has no random effects: add a term such as (1 | group) to the formula, or groups='group'. "
            "For a model without random effects use, for example, statsmodels' ols() or glm()."
        )
    return bars


def _expand_bars(bars: Iterable[Bar]) -> tuple[RandomPart, ...]:
    """Apply ``||`` and ``/``, in lme4's order; the same term twice is an error."""
    parts: list[RandomPart] = []
    seen: set[tuple[frozenset[frozenset[str]], frozenset[str]]] = set()
    for bar in bars:
        if any(has_dot_in(item) for _, item in flatten(bar.effects)):
            raise FormulaError(f"'.' cannot stand for columns in a random-effects term: {write(bar)}")
        terms = expand(bar.effects)
        if not terms:
            raise FormulaError(
                f"the random-effects term {write(bar)} has no effects; write (1 | group) or (0 + x | group)"
            )
        for piece in [(term,) for term in terms] if bar.double else [terms]:
            for group in groups_of(bar.group):
                key = (frozenset(map(term_key, piece)), frozenset(group.columns))
                if key in seen:
                    raise FormulaError(f"the random-effects term {write(bar)} is given twice (on {group.name!r})")
                if len(set(group.columns)) < len(group.columns):
                    raise FormulaError(f"the grouping factor {group.name!r} names a column twice")
                seen.add(key)
                parts.append(RandomPart(piece, group, bar.structure))
    return tuple(parts)


def with_columns(formula: Formula, columns: Sequence[str]) -> Formula:
    """Let ``.`` in ``formula`` stand for ``columns``."""
    if not columns:
        raise FormulaError("'.' in the formula stands for all other columns, but the data have none")
    fixed = replace_dot(formula.fixed, Sum(tuple((1, Factor(encode(name))) for name in columns)))
    return replace(formula, fixed=fixed, terms=expand(fixed), has_dot=False)
