"""Random splits of rows: the sums of the parts are those of all rows, and what was added can be taken away."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import interlace
from interlace import federated
from interlace.core import stored
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.sums import LevelSums, cross_products
from tests.problems import KINDS, frame_of, random_problem
from tests.products import STORAGES, assert_same, blocks_of

splits = settings(derandomize=True, deadline=None, max_examples=40)
cases, seeds, counts = st.sampled_from(STORAGES), st.integers(0, 2**32 - 1), st.integers(2, 5)


def some(rows: Rows, where: np.ndarray) -> Rows:
    return Rows([c[where] for c in rows.codes], [Z[where] for Z in rows.Z], rows.Xy[where], float(where.sum()))


@splits
@given(cases, seeds, counts)
def test_cross_products_of_parts_add_up(case, seed, count):
    kind, storage = case
    structure, rows = storage(kind, seed)
    part = np.random.default_rng(seed).integers(0, count, rows.n)
    parts = [CrossProducts.from_rows(structure, some(rows, part == i)) for i in range(count)]
    whole = CrossProducts.from_rows(structure, some(rows, part >= 0))
    total = parts[0]
    for other in parts[1:]:
        total = total + other
    assert_same(total, whole, rtol=1e-12, atol=1e-12)
    assert_same(total - parts[-1] + parts[-1], whole, rtol=1e-12, atol=1e-12)
    left = CrossProducts.from_rows(structure, some(rows, part != 0))
    assert_same(whole - parts[0], left, rtol=1e-12, atol=1e-12)


@splits
@given(cases, seeds)
def test_files_hold_the_very_numbers(tmp_path_factory, case, seed):
    kind, storage = case
    cp = CrossProducts.from_rows(*storage(kind, seed))
    path = tmp_path_factory.mktemp("sums") / "sums.npz"
    stored.save(cp, path)
    again = blocks_of(stored.load(path))
    for name, values in blocks_of(cp).items():
        np.testing.assert_array_equal(again[name], values)


@splits
@given(cases, seeds, counts)
def test_level_sums_of_parts_add_up(case, seed, count):
    kind, storage = case
    structure, rows = storage(kind, seed)
    part = np.random.default_rng(seed).permutation(np.arange(rows.n) % count)
    sizes, order = [block.q for block in structure.blocks], list(range(len(structure.blocks)))

    def sums(where: np.ndarray) -> LevelSums:
        chosen = some(rows, where)
        return LevelSums.of_rows(chosen.codes, sizes, chosen.Z, chosen.Xy, chosen.log_weights)

    total = sums(part == 0)
    for i in range(1, count):
        total = total + sums(part == i)
    whole = CrossProducts.from_rows(structure, some(rows, part >= 0))
    assert_same(cross_products(structure, total, order), whole, rtol=1e-12, atol=1e-12)
    left = cross_products(structure, total - sums(part == 0), order)
    assert_same(left, CrossProducts.from_rows(structure, some(rows, part != 0)), rtol=1e-11, atol=1e-11)


@splits
@given(st.sampled_from(KINDS), seeds, counts, st.sampled_from(["REML", "ML"]))
def test_sites_find_the_criterion_of_all_rows(kind, seed, count, method):
    problem = random_problem(np.random.default_rng(seed), kind)
    assume(all(t.n_levels > 1 and t.n_levels * t.k < problem.y.size for t in problem.terms))
    formula, frame = frame_of(problem)
    site = np.random.default_rng(seed).permutation(np.arange(len(frame)) % count)
    plan = federated.plan(formula)
    parts = [federated.summarize(plan, frame[site == i], str(i), min_cell=1) for i in range(count)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = federated.fit(plan, parts, method=method), interlace.fit(formula, frame, method=method)
    assert ours.state.criterion == pytest.approx(theirs.state.criterion, rel=1e-10, abs=1e-8)
    np.testing.assert_allclose(ours.state.beta, theirs.state.beta, rtol=1e-5, atol=1e-6)
