"""Algebra of fixed-effects terms: from a parsed formula to a list of terms, and how factors in them are coded.

A term is a tuple of expressions (``()`` is the intercept). The rules are Wilkinson and Rogers' as R and formulaic
apply them; the second half decides, for each factor in each term, whether it needs a column per level or one level
fewer (dropping its reference) so that the columns together are structurally of full rank, in formulaic's order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import TypeAlias

from interlace.errors import FormulaError
from interlace.frames.tree import Bar, Cross, Dot, Factor, Node, Number, Offset, Power, Sum

__all__ = ["Scoped", "Term", "expand", "flatten", "scope", "sum_of", "term_key"]

Term: TypeAlias = tuple[str, ...]
#: One block of columns: (expression, reduced?) for each factor of it.
Scoped: TypeAlias = tuple[tuple[str, bool], ...]

_MAX_TERMS = 3000


def flatten(node: Node, sign: int = 1) -> list[tuple[int, Node]]:
    """Signed items of a sum, nested sums opened."""
    if not isinstance(node, Sum):
        return [(sign, node)]
    out: list[tuple[int, Node]] = []
    for inner, item in node.items:
        out.extend(flatten(item, sign * inner))
    return out


def term_key(term: Term) -> frozenset[str]:
    """Return what makes two terms the same: ``a:b`` and ``b:a`` are."""
    return frozenset(term)


def expand(node: Node, *, intercept: bool = True) -> tuple[Term, ...]:
    """Terms of a fixed part without bars and offsets, sorted by degree; the intercept is there unless removed."""
    found: dict[frozenset[str], Term] = {frozenset(): ()} if intercept else {}
    for sign, item in flatten(node):
        if isinstance(item, Number):
            if (item.value == 1) == (sign > 0):
                found.setdefault(frozenset(), ())
            else:
                found.pop(frozenset(), None)
            continue
        for term in _terms(item):
            if sign > 0:
                found.setdefault(term_key(term), term)
            else:
                found.pop(term_key(term), None)
    return tuple(sorted(found.values(), key=len))


def sum_of(terms: Iterable[Term]) -> Sum:
    """Write terms as the sum that ``expand`` reads them from; the opposite of ``expand``."""
    terms = list(terms)
    items: list[tuple[int, Node]] = [] if () in terms else [(1, Number(0))]
    items += [(1, _product(term)) for term in terms if term]
    return Sum(tuple(items) or ((1, Number(1)),))


def _product(term: Term) -> Node:
    node: Node = Factor(term[0])
    for code in term[1:]:
        node = Cross(":", node, Factor(code))
    return node


def _terms(node: Node) -> list[Term]:
    match node:
        case Number(1):
            return [()]
        case Number():
            raise FormulaError("0 can only be added to a formula, to leave out the intercept")
        case Factor(code):
            return [(code,)]
        case Sum():
            return list(expand(node, intercept=False))
        case Cross(op, left, right):
            return _crossed(op, _terms(left), _terms(right))
        case Power(base, n):
            terms = _terms(base)
            out = terms
            for _ in range(n - 1):
                out = _limited(_unique([*out, *(_merge(a, b) for a, b in product(out, terms))]))
            return out
        case Dot():
            raise FormulaError("'.' has no meaning here; name the columns")
        case Bar():
            raise FormulaError("a random-effects term can only be added to a formula with '+'")
        case Offset():
            raise FormulaError("offset() can only be added to a formula with '+'")


def _crossed(op: str, left: list[Term], right: list[Term]) -> list[Term]:
    if op == "/":
        inside: Term = ()
        for term in left:
            inside = _merge(inside, term)
        return _limited(_unique([*left, *(_merge(inside, b) for b in right)]))
    both = [_merge(a, b) for a, b in product(left, right)]
    return _limited(_unique([*left, *right, *both] if op == "*" else both))


def _merge(a: Term, b: Term) -> Term:
    return tuple(dict.fromkeys(a + b))


def _unique(terms: Iterable[Term]) -> list[Term]:
    found: dict[frozenset[str], Term] = {}
    for term in terms:
        found.setdefault(term_key(term), term)
    return list(found.values())


def _limited(terms: list[Term]) -> list[Term]:
    if len(terms) > _MAX_TERMS:
        raise FormulaError(f"the formula expands to more than {_MAX_TERMS} terms; use fewer '*' or '^'")
    return terms


@lru_cache(maxsize=512)
def _scope(terms: tuple[Term, ...], categorical: frozenset[str]) -> tuple[tuple[Scoped, ...], ...]:
    spanned: set[frozenset[tuple[str, bool]]] = set()
    out: list[tuple[Scoped, ...]] = []
    for term in terms:
        if sum(code in categorical for code in term) > 12:
            raise FormulaError("an interaction of more than 12 factors is not supported")
        choices = [((code, True), None) if code in categorical else ((code, False),) for code in term]
        span: list[Scoped] = [tuple(c for c in chosen if c is not None) for chosen in product(*choices)]
        new = [s for s in span if frozenset(s) not in spanned]
        spanned.update(frozenset(s) for s in new)
        out.append(tuple(_simplify(new)))
    return tuple(out)


def scope(terms: Sequence[Term], is_categorical: Callable[[str], bool]) -> tuple[tuple[Scoped, ...], ...]:
    """For each term the blocks of columns it adds, given which expressions are factors.

    Every factor in a term spans the constant, so ``f`` stands for {1, f without its reference level}. What earlier
    terms span already is left out, and ``a + a:(f reduced)`` is written as ``a:(f full)``.
    """
    codes = {code for term in terms for code in term}
    return _scope(tuple(terms), frozenset(code for code in codes if is_categorical(code)))


def _simplify(blocks: Iterable[Scoped]) -> list[Scoped]:
    kept: list[Scoped] = []
    for block in sorted(blocks, key=len):
        absorbed = _absorb(kept, block)
        kept = [*kept, block] if absorbed is None else absorbed
    return kept


def _absorb(kept: list[Scoped], block: Scoped) -> list[Scoped] | None:
    """Join ``block`` with a kept one that lacks just one reduced factor of it."""
    for other in kept:
        extra = [f for f in block if f not in other]
        if len(other) == len(block) - 1 and len(extra) == 1 and extra[0][1]:
            full = tuple((code, False) if (code, reduced) == extra[0] else (code, reduced) for code, reduced in block)
            return _simplify([*(k for k in kept if k != other), full])
    return None
