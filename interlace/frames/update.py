"""lme4's dot notation for changing a formula."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from interlace.errors import FormulaError
from interlace.frames.bars import read_rhs, read_sides
from interlace.frames.names import display
from interlace.frames.parse import Response, read_response
from interlace.frames.terms import Term, expand, flatten, sum_of, term_key
from interlace.frames.tokens import Token, tokenize
from interlace.frames.tree import Bar, Dot, Node, Number, Offset, Sum, groups_of, has_dot_in, replace_dot, write

__all__ = ["update_formula"]


def update_formula(old: str, new: str, *, extra_transforms: Collection[str] = ()) -> str:
    """Apply lme4's dot notation: ``update_formula("y ~ x + (1 | g)", ". ~ . + z")``.

    Parameters
    ----------
    old, new : str
    extra_transforms : collection of str
        Names of the caller's functions that the formulas may call.

    Returns
    -------
    str
        Taking away what is not there is a FormulaError.
    """
    old_left, old_right = read_sides(old)
    new_left, new_right = read_sides(new)
    response = _response(old_left, new_left, extra_transforms)
    before = read_rhs(old_right, extra_transforms)
    after = read_rhs(new_right, extra_transforms)
    items = _substituted(after, flatten(before))
    return f"{response.text} ~ {write(Sum(tuple(_simplified(items))))}"


def _response(old: list[Token], new: list[Token], extra: Collection[str]) -> Response:
    """Build the new left-hand side, with ``.`` replaced by the old one."""
    if not new:
        return read_response(old, extra)
    text = read_response(old, extra).text
    dots = [i for i, token in enumerate(new) if token.text == "." and token.kind == "op"]
    if not dots:
        return read_response(new, extra)
    if len(new) == 1:
        return read_response(old, extra)
    spelled = "".join(f"({text})" if i in dots else _spelled(token) for i, token in enumerate(new))
    return read_response(tokenize(spelled), extra)


def _spelled(token: Token) -> str:
    return f" {token.text} " if token.kind == "op" and token.text not in "()," else token.text


def _substituted(after: Node, before: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
    """Items of the new right-hand side, its ``.`` opened."""
    items: list[tuple[int, Node]] = []
    plain = [(sign, item) for sign, item in before if not isinstance(item, Bar | Offset)]
    for sign, item in flatten(after):
        if isinstance(item, Dot):
            items.extend((sign * inner, old) for inner, old in before)
        elif isinstance(item, Bar):
            items.append(
                (sign, Bar(replace_dot(item.effects, Sum(tuple(plain))), item.group, item.double, item.structure))
            )
        else:
            items.append((sign, replace_dot(item, Sum(tuple(plain)))))
            if sign > 0 and has_dot_in(item):  # ". * f" crosses the fixed effects and keeps the rest, as in R
                items.extend((inner, old) for inner, old in before if isinstance(old, Bar | Offset))
    return items


def _simplified(items: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
    """Carry out what is taken away, and drop what is there twice."""
    fixed: list[tuple[int, Node]] = [(sign, item) for sign, item in items if not isinstance(item, Bar | Offset)]
    bars = _without([(s, i) for s, i in items if isinstance(i, Bar)], "random-effects term")
    offsets = _without([(s, i) for s, i in items if isinstance(i, Offset)], "offset")
    flat = _flat(fixed)
    if any(sign < 0 for sign, _ in flat):
        flat = _rebuilt(flat)
    else:
        flat = [(1, item) for item in dict.fromkeys(item for _, item in flat)]
    return [*(flat or [(1, Number(1))]), *((1, item) for item in offsets), *((1, item) for item in bars)]


def _flat(items: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
    return [pair for sign, item in items for pair in flatten(item, sign)]


def _rebuilt(items: list[tuple[int, Node]]) -> list[tuple[int, Node]]:
    """Expand to terms, because something was taken away."""
    _check_removals(items)
    return list(sum_of(expand(Sum(tuple(items)))).items)


def _check_removals(items: list[tuple[int, Node]]) -> None:
    there = {frozenset[str]()}
    for sign, item in items:
        if isinstance(item, Number):
            continue
        terms = expand(item, intercept=False)
        if sign > 0:
            there.update(map(term_key, terms))
            continue
        for term in terms:
            if term_key(term) not in there:
                listed = ", ".join(sorted(":".join(map(display, sorted(t))) for t in there if t)) or "an intercept only"
                raise FormulaError(f"cannot take away {_named(term)}: the formula has {listed}")


def _named(term: Term) -> str:
    return ":".join(map(display, term))


def _without(items: list[tuple[int, Node]], what: str) -> list[Node]:
    kept: list[Node] = []
    for sign, item in items:
        same = [other for other in kept if _same(other, item)]
        if sign < 0 and not same and isinstance(item, Bar):  # (x | g) takes diag(x | g) away too, and the reverse
            same = [o for o in kept if isinstance(o, Bar) and _same(o, replace(item, structure=o.structure))]
        if sign > 0 and not same:
            kept.append(item)
        elif sign < 0 and not same:
            have = ", ".join(write(other) for other in kept) or "none"
            raise FormulaError(f"cannot take away the {what} {write(item)}: the formula has {have}")
        elif sign < 0:
            kept = [other for other in kept if other not in same]
    return kept


def _same(a: Node, b: Node) -> bool:
    if isinstance(a, Bar) and isinstance(b, Bar):
        alike = set(map(term_key, expand(a.effects))) == set(map(term_key, expand(b.effects)))
        groups = [frozenset(g.columns) for g in groups_of(a.group)] == [
            frozenset(g.columns) for g in groups_of(b.group)
        ]
        return alike and groups and (a.double, a.structure) == (b.double, b.structure)
    return a == b
