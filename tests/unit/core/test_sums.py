"""Sums by level: laid out they are the cross-products of the rows, and they can be carried, added and taken away."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.structure import Structure
from interlace.core.sums import Constants, LevelSums, cross_products, root_of_gram, without_rows
from tests.products import assert_same, dense, every_storage


def sums_of(structure: Structure, rows: Rows, where: slice = slice(None)) -> LevelSums:
    sizes = [block.q for block in structure.blocks]
    return LevelSums.of_rows(
        [c[where] for c in rows.codes], sizes, [Z[where] for Z in rows.Z], rows.Xy[where], rows.log_weights
    )


@every_storage
def test_laid_out_they_are_the_cross_products_of_the_rows(kind, storage):
    structure, rows = storage(kind)
    order = list(range(len(structure.blocks)))
    found = cross_products(structure, sums_of(structure, rows), order)
    assert_same(found, CrossProducts.from_rows(structure, rows), rtol=1e-13, atol=1e-13)


@every_storage
def test_factors_may_come_in_another_order(kind, storage):
    structure, rows = storage(kind)
    order = list(range(len(structure.blocks)))[::-1]
    sums = LevelSums.of_rows(
        [rows.codes[i] for i in order], [structure.blocks[i].q for i in order], [rows.Z[i] for i in order], rows.Xy
    )
    found = cross_products(structure, sums, [order.index(i) for i in range(len(order))])
    assert_same(found, CrossProducts.from_rows(structure, rows), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("kind", ["slopes", "nested3", "crossed-slopes", "mixed"])
def test_parts_add_up_and_can_be_taken_away(kind):
    structure, rows = dense(kind)
    whole, a, b = (sums_of(structure, rows, where) for where in (slice(None), slice(0, 25), slice(25, None)))
    order = list(range(len(structure.blocks)))
    assert_same(
        cross_products(structure, a + b, order), cross_products(structure, whole, order), rtol=1e-12, atol=1e-12
    )
    left = whole - a
    assert left.n == b.n
    np.testing.assert_array_equal(left.counts[0], b.counts[0])
    np.testing.assert_allclose(left.root.T @ left.root, b.root.T @ b.root, rtol=1e-10, atol=1e-10)
    wanted = [np.flatnonzero(count) for count in left.counts]
    np.testing.assert_allclose(left.kept(wanted).own[0], b.kept(wanted).own[0], rtol=1e-11, atol=1e-11)
    with pytest.raises(ValueError, match="more rows"):
        a - whole


def test_rows_that_were_never_there_cannot_be_taken_away():
    rng = np.random.default_rng(4)
    R, other = (np.linalg.qr(size * rng.normal(size=(30, 3)), mode="r") for size in (1.0, 5.0))
    with pytest.raises(ValueError, match="negative"):
        without_rows(R, other)


def test_levels_can_be_put_in_other_places():
    structure, rows = dense("crossed-slopes")
    sums = sums_of(structure, rows)
    rng = np.random.default_rng(2)
    places = [rng.permutation(q + 2)[:q] for q in sums.sizes]
    sizes = [q + 2 for q in sums.sizes]
    moved = sums.placed(places, sizes)
    codes = [place[c] for place, c in zip(places, rows.codes, strict=True)]
    direct = LevelSums.of_rows(codes, sizes, rows.Z, rows.Xy)
    np.testing.assert_array_equal(moved.meetings, direct.meetings)
    np.testing.assert_array_equal(moved.pairs[0, 1], direct.pairs[0, 1])
    for ours, theirs in zip((*moved.own, *moved.with_v), (*direct.own, *direct.with_v), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    back = moved.kept([np.sort(place) for place in places])
    assert back.sizes == sums.sizes
    np.testing.assert_array_equal(np.sort(back.counts[0]), np.sort(sums.counts[0]))


def test_carried_they_are_those_of_other_columns():
    structure, rows = dense("mixed")
    rng = np.random.default_rng(3)
    T = [rng.normal(size=(Z.shape[1], Z.shape[1])) for Z in rows.Z]
    V = rng.normal(size=(rows.Xy.shape[1],) * 2)
    found = sums_of(structure, rows).carried(T, V)
    sizes = [block.q for block in structure.blocks]
    direct = LevelSums.of_rows(rows.codes, sizes, [Z @ t for Z, t in zip(rows.Z, T, strict=True)], rows.Xy @ V)
    np.testing.assert_allclose(found.root, direct.root, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip((*found.own, *found.with_v), (*direct.own, *direct.with_v), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    for key, pairs in found.pairs.items():
        np.testing.assert_allclose(pairs, direct.pairs[key], rtol=1e-10, atol=1e-10)


def test_constants_are_exchanged_and_pooled():
    rng = np.random.default_rng(5)
    x = np.column_stack([np.ones(50), 1e6 + rng.normal(size=50), 3.0 * rng.normal(size=50)])
    groups = x[:20], x[20:]
    one, two = (Constants(np.r_[0.0, g[:, 1:].mean(0)], np.r_[1.0, g[:, 1:].std(0)], 0) for g in groups)
    pooled = one.pooled(20, two, 30)
    np.testing.assert_allclose(pooled.center[1:], x[:, 1:].mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(pooled.scale[1:], x[:, 1:].std(axis=0), rtol=1e-9)
    columns = (groups[0] - one.center) / one.scale
    np.testing.assert_allclose(columns @ one.onto(pooled), (groups[0] - pooled.center) / pooled.scale, atol=1e-9)
    np.testing.assert_allclose(columns @ one.raw, groups[0], rtol=1e-14)


def test_root_of_a_singular_matrix():
    half = np.random.default_rng(6).normal(size=(2, 4)) * [1.0, 1e-6, 1e6, 0.0]
    R = root_of_gram(half.T @ half)
    scale = np.where(half.any(axis=0), np.linalg.norm(half, axis=0), 1.0)
    np.testing.assert_allclose(R.T @ R / np.outer(scale, scale), half.T @ half / np.outer(scale, scale), atol=1e-12)
    assert not np.tril(R, -1).any()
