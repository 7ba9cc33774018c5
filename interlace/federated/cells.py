"""The rule of smallest cells: which sums would say too much about single rows.

A *partition* divides the rows of a site by levels of grouping factors and of categorical predictors. The sums that
leave a site are sums over the cells of some partitions; those with a response, a covariate or a weight in them must be
over enough rows. Sums over two cells of which one contains the other must not differ by few rows either.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, combinations_with_replacement

import numpy as np

from interlace.errors import DataError
from interlace.federated.evaluation import Evaluated
from interlace.federated.plans import Plan
from interlace.frames.evaluate import inspect
from interlace.frames.levels import level_text
from interlace.frames.terms import Term
from interlace.typing import FloatArray, IntArray

__all__ = ["few_values", "refuse_small_cells"]

#: Distinct values up to which numbers make cells as levels do.
_FEW = 2

_REMEDY = "leave those rows out, merge levels, or, where your rules allow it, give a smaller min_cell"


@dataclass(frozen=True, eq=False)
class _Factor:
    name: str
    codes: IntArray
    levels: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Site:
    """What the rule is applied to."""

    plan: Plan
    found: Evaluated
    site: str
    min_cell: int

    @cached_property
    def factors(self) -> dict[str, _Factor]:
        """Categorical predictors and grouping factors by name; numbers with few values too."""
        rows, out = self.found.rows, {}
        for code in self.plan.parsed.codes:
            expression = inspect(code)
            if code in self.plan.factor_codes:
                name = expression.columns[0]
                codes, levels = rows.factor(name)
                out[name] = _Factor(name, codes, tuple(map(level_text, levels)))
        for name in self.plan.numbers:
            values = few_values(rows.numbers(name))
            if values is not None and values.size > 1:
                out[name] = _Factor(name, np.searchsorted(values, rows.numbers(name)), tuple(map(level_text, values)))
        for group, codes, spec in zip(self.plan.groups, self.found.codes, self.found.groups, strict=True):
            out["|" + group.name] = _Factor(group.name, codes, tuple(map(level_text, spec.levels)))
        return out

    def split(self, term: Term) -> tuple[frozenset[str], bool]:
        """Factors in a term, and whether it has a covariate in it."""
        names: set[str] = set()
        covariate = False
        for code in term:
            columns = [name for name in inspect(code).columns if name in self.factors]
            names.update(columns)
            covariate |= len(columns) < len(inspect(code).columns)
        return frozenset(names), covariate

    @cached_property
    def partitions(self) -> tuple[dict[frozenset[str], bool], list[frozenset[str]]]:
        """Partitions by their factors, and whether sums over their cells hold values; those with the response."""
        fixed = [self.split(term) for term in self.plan.parsed.terms]
        slopes: dict[str, list[tuple[frozenset[str], bool]]] = {}
        for part in self.plan.parsed.random:
            slopes.setdefault("|" + part.group.name, []).extend(self.split(term) for term in part.terms)
        response = (frozenset[str](), True)
        sums = [*combinations_with_replacement([*fixed, response], 2)]
        by_group: dict[str, list[tuple[frozenset[str], bool]]] = {
            group: [(names | {group}, covariate) for names, covariate in terms] for group, terms in slopes.items()
        }
        for terms in by_group.values():
            sums += combinations_with_replacement(terms, 2)
            sums += [(term, other) for term in terms for other in (*fixed, response)]
        for one, two in combinations(by_group.values(), 2):
            sums += [(a, b) for a in one for b in two]
        out: dict[frozenset[str], bool] = {}
        for (names, a), (more, b) in sums:
            out[names | more] = out.get(names | more, False) or a or b or self.found.weights is not None
        with_response = [names for names, _ in fixed] + [names for terms in by_group.values() for names, _ in terms]
        return out, list(dict.fromkeys(with_response))

    def cells(self, names: frozenset[str]) -> tuple[IntArray, IntArray]:
        """Cell of each row, and the number of rows of each cell."""
        codes = np.zeros(self.found.rows.n, dtype=np.int64)
        for name in sorted(names):
            factor = self.factors[name]
            codes = np.unique(codes * len(factor.levels) + factor.codes, return_inverse=True)[1]
        return codes, np.bincount(codes).astype(np.int64)

    def called(self, names: frozenset[str], row: int) -> str:
        """The cell that a row is in, in words."""
        factors = (self.factors[name] for name in sorted(names))
        return " and ".join(f"{f.name} {f.levels[f.codes[row]]!r}" for f in factors)


def few_values(numbers: FloatArray) -> FloatArray | None:
    """The distinct values of numbers, ascending; None for more than two.

    Examples
    --------
    >>> few_values(np.array([1.0, 0.0, 1.0])), few_values(np.array([1.0, 2.0, 3.0]))
    (array([0., 1.]), None)
    """
    values = np.unique(numbers)
    return values if values.size <= _FEW else None


def refuse_small_cells(plan: Plan, found: Evaluated, site: str, min_cell: int) -> None:
    """Refuse to sum up rows where a sum would be over fewer than ``min_cell`` of them; 1 allows everything.

    Raises
    ------
    DataError
        With the cells that are too small, and what to do.
    """
    if min_cell <= 1:
        return
    rows = _Site(plan, found, site, min_cell)
    for check in (_small_cells, _too_many_columns, _near_constant_columns, _small_differences):
        for problem in check(rows):
            raise DataError(f"site {site!r}: {problem} (min_cell={min_cell}): {_REMEDY}")


def _small_cells(site: _Site) -> Iterator[str]:
    partitions, _ = site.partitions
    for names in sorted((names for names, holds in partitions.items() if holds), key=len):
        codes, counts = site.cells(names)
        small = np.flatnonzero(counts < site.min_cell)
        if small.size and names:
            smallest = int(small[counts[small].argmin()])
            called = " x ".join(site.factors[name].name for name in sorted(names))
            noun = f"{small.size} levels of {called!r} have" if small.size > 1 else f"one level of {called!r} has"
            example = site.called(names, int(np.flatnonzero(codes == smallest)[0]))
            yield f"{noun} too few rows, {example} only {counts[smallest]}"


def _too_many_columns(site: _Site) -> Iterator[str]:
    """As many sums as rows would give the rows away."""
    n, p = site.found.X.shape
    if n < p + site.min_cell:
        yield f"{n} rows are too few for {p} fixed-effects columns"
    for group, codes, widths in _columns_by_group(site):
        counts = np.bincount(codes)
        if counts.min() < site.min_cell + widths - 1:
            yield f"a level of {group!r} has {counts.min()} rows, too few for sums of {widths} columns"


def _columns_by_group(site: _Site) -> Iterator[tuple[str, IntArray, int]]:
    for group, codes in zip(site.plan.groups, site.found.codes, strict=True):
        parts = zip(site.plan.parsed.random, site.found.Z, strict=True)
        yield group.name, codes, sum(Z.shape[1] for part, Z in parts if part.group.name == group.name)


def _near_constant_columns(site: _Site) -> Iterator[str]:
    """A column that is the same in all rows of a cell but few gives these away: its products are theirs alone."""
    spec, everywhere = site.plan.encoding.spec, np.zeros(site.found.rows.n, dtype=np.int64)
    columns = [(name, values, everywhere, "") for name, values in zip(spec.x_names, site.found.X.T, strict=True)]
    codes = dict(zip((group.name for group in site.plan.groups), site.found.codes, strict=True))
    for term, Z in zip(spec.random, site.found.Z, strict=True):
        group = term.group.group.name
        within = f" of a level of {group!r}"
        columns += [(name, values, codes[group], within) for name, values in zip(term.names, Z.T, strict=True)]
    for name, values, cell, within in columns:
        fewest = _fewest_off_the_mode(cell, values)
        if 0 < fewest < site.min_cell:
            yield f"{name!r} is the same in all rows{within} but {fewest}"


def _fewest_off_the_mode(cell: IntArray, values: FloatArray) -> int:
    """Smallest number, above 0, of rows of a cell whose value is not its most common one; 0 where there is none."""
    _, place = np.unique(values, return_inverse=True)
    keys, counts = np.unique(cell * (int(place.max()) + 1) + place, return_counts=True)
    of_cell = keys // (int(place.max()) + 1)
    most = np.zeros(int(cell.max()) + 1, dtype=np.int64)
    np.maximum.at(most, of_cell, counts)
    off = np.bincount(cell) - most
    return int(off[off > 0].min(initial=np.iinfo(np.int64).max)) if (off > 0).any() else 0


def _small_differences(site: _Site) -> Iterator[str]:
    """Two sums of responses over cells of which one contains the other and few rows more."""
    for one, two in combinations(site.partitions[1], 2):
        (a, of_a), (b, of_b) = site.cells(one), site.cells(two)
        keys, first, together = np.unique(a * of_b.size + b, return_index=True, return_counts=True)
        size_a, size_b = of_a[keys // of_b.size], of_b[keys % of_b.size]
        inside = ((together == size_a) | (together == size_b)) & (size_a != size_b)
        close = inside & (np.abs(size_a - size_b) < site.min_cell)
        if close.any():
            at = int(np.flatnonzero(close)[0])
            row, few = int(first[at]), int(abs(size_a[at] - size_b[at]))
            yield (
                f"the rows of {site.called(one, row) or 'the site'} and those of {site.called(two, row) or 'the site'} "
                f"are the same but for {few}, so that the difference of their sums is the sum of so few"
            )
