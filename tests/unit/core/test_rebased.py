"""Cross-products in another basis of a block's columns, against those of rows that were multiplied by it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from interlace.core.crossproducts import CrossProducts
from interlace.core.rebased import rebased
from tests.products import assert_same, dense, every_storage


@every_storage
def test_it_is_what_the_rows_give(kind, storage):
    structure, rows = storage(kind)
    cp = CrossProducts.from_rows(structure, rows)
    for i, block in enumerate(structure.blocks):
        Q = np.random.default_rng(i).normal(size=(block.k, block.k))
        Z = [z @ Q if j == i else z for j, z in enumerate(rows.Z)]
        assert_same(rebased(cp, i, Q), CrossProducts.from_rows(structure, replace(rows, Z=Z)), rtol=1e-11, atol=1e-11)


def test_the_old_ones_are_left_alone():
    structure, rows = dense("crossed-slopes")
    cp = CrossProducts.from_rows(structure, rows)
    before = cp.S.copy()
    rebased(cp, 1, 2.0 * np.eye(structure.blocks[1].k))
    np.testing.assert_array_equal(cp.S, before)
