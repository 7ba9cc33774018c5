"""Cross-products: every block against V'V written out, and their arithmetic."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interlace.core import crossproducts, schur
from interlace.core.crossproducts import CrossProducts, Rows, group_products
from interlace.core.schur import SparseMap
from interlace.core.structure import Structure
from tests.problems import KINDS, Array, random_problem
from tests.products import assert_same

CASES = [(k, s) for k in KINDS for s in (False, True) if not (s and k in ("one", "slopes", "split"))]
every_case = pytest.mark.parametrize(("kind", "sparse"), CASES)


def layout(kind: str, sparse: bool, seed: int = 1) -> tuple[Structure, Rows]:
    return random_problem(np.random.default_rng(seed), kind).layout(sparse=sparse)


def wide(structure: Structure, rows: Rows, i: int) -> Array:
    """Z of block i with one column for every level and covariate."""
    block = structure.blocks[i]
    out = np.zeros((rows.n, block.q, block.k))
    out[np.arange(rows.n), rows.codes[i]] = rows.Z[i]
    return out.reshape(rows.n, -1)


def part(rows: Rows, where: Array | slice) -> Rows:
    return Rows([c[where] for c in rows.codes], [z[where] for z in rows.Z], rows.Xy[where])


@every_case
def test_blocks_are_those_of_the_dense_product(kind, sparse):
    structure, rows = layout(kind, sparse)
    cp = CrossProducts.from_rows(structure, rows)
    s, chain = structure.n_chain, structure.chain
    rest = np.concatenate([wide(structure, rows, r) for r in range(s, len(structure.blocks))] + [rows.Xy], axis=1)
    np.testing.assert_allclose(cp.S, rest.T @ rest, atol=1e-10)
    for i, block in enumerate(chain):
        Z = wide(structure, rows, i)
        level = np.arange(block.q)
        own = (Z.T @ Z).reshape(block.q, block.k, block.q, block.k)
        np.testing.assert_allclose(cp.A[i], own[level, :, level, :], atol=1e-10)
        own[level, :, level, :] = 0.0
        assert not own.any()
        right = rows.Xy if sparse else rest
        np.testing.assert_allclose(cp.C[i].reshape(block.size, -1), Z.T @ right, atol=1e-10)
        for j in range(i + 1, s):
            cross = (Z.T @ wide(structure, rows, j)).reshape(block.q, block.k, chain[j].q, chain[j].k)
            parent = structure.parents[i, j]
            np.testing.assert_allclose(cp.P[i, j], cross[level, :, parent, :], atol=1e-10)
            cross[level, :, parent, :] = 0.0
            assert not cross.any()
    if sparse:
        np.testing.assert_allclose(cp.Cz.toarray(), wide(structure, rows, 0).T @ rest[:, : structure.m_z], atol=1e-10)


@every_case
def test_chunks_add_up_to_the_whole(kind, sparse):
    structure, rows = layout(kind, sparse)
    rows = replace(rows, log_weights=2.0)
    whole = CrossProducts.from_rows(structure, rows)
    cuts = [slice(0, 1), slice(1, 30), slice(30, 31), slice(31, None)]
    chunks = (replace(part(rows, c), log_weights=0.5) for c in cuts)
    assert_same(CrossProducts.from_chunks(structure, chunks), whole)


@every_case
def test_adding_and_taking_away_rows(kind, sparse):
    structure, rows = layout(kind, sparse)
    out = np.random.default_rng(2).random(rows.n) < 0.3
    whole = CrossProducts.from_rows(structure, rows)
    some, others = (CrossProducts.from_rows(structure, part(rows, w)) for w in (out, ~out))
    assert_same(whole - some, others)
    assert_same(whole + some - some, whole)
    assert_same(some + others, others + some)


@every_case
def test_a_new_response_changes_only_its_column(kind, sparse):
    structure, rows = layout(kind, sparse)
    old = CrossProducts.from_rows(structure, rows)
    before = old.S.copy()
    y = np.random.default_rng(3).normal(size=rows.n)
    changed = replace(rows, Xy=np.column_stack([rows.Xy[:, :-1], y]))
    assert_same(old.with_response(changed), CrossProducts.from_rows(structure, changed))
    np.testing.assert_array_equal(old.S, before)


def test_different_structures_are_refused():
    structure, rows = layout("slopes", False)
    less = replace(structure, p=structure.p - 1)
    a, b = (
        CrossProducts.from_rows(structure, rows),
        CrossProducts.from_rows(less, replace(rows, Xy=rows.Xy[:, 1:])),
    )
    for operation in (lambda: a + b, lambda: a - b):
        with pytest.raises(ValueError, match="different structures cannot be combined"):
            operation()


def test_equal_structures_go_together():
    (structure, rows), (same, _) = layout("mixed", False), layout("mixed", False)
    a, b = CrossProducts.from_rows(structure, rows), CrossProducts.from_rows(same, rows)
    assert_same(a + b - a, b)
    with pytest.raises(ValueError, match="72 rows cannot be taken out of those of 71"):
        CrossProducts.from_rows(structure, part(rows, slice(1, None))) - b


def test_no_chunks_are_refused():
    structure, _ = layout("one", False)
    with pytest.raises(ValueError, match="no chunks"):
        CrossProducts.from_chunks(structure, [])


@pytest.mark.parametrize("limit", [0, 10**9])
def test_group_products_by_columns_and_at_once(limit, monkeypatch):
    monkeypatch.setattr(crossproducts, "_ONE_SHOT", limit)
    rng = np.random.default_rng(0)
    index, U, V = rng.integers(0, 4, 30), rng.normal(size=(30, 2)), rng.normal(size=(30, 3))
    expected = np.stack([U[index == g].T @ V[index == g] for g in range(6)])
    np.testing.assert_allclose(group_products(index, 6, U, V), expected, atol=1e-13)


@pytest.mark.parametrize("at_once", [1, 10**6])
@pytest.mark.parametrize("kind", ["nested", "crossed", "crossed-slopes", "mixed"])
def test_sparse_map_is_linear_and_its_adjoint_is_one(kind, at_once, monkeypatch):
    """<S - complement(W), G> = <W, adjoint(G)> for symmetric W and G, and both agree with dense algebra."""
    monkeypatch.setattr(schur, "_AT_ONCE", at_once)
    structure, rows = layout(kind, True)
    cp = CrossProducts.from_rows(structure, rows)
    lead, block = SparseMap(cp), structure.blocks[0]
    rng = np.random.default_rng(5)
    W = rng.normal(size=(block.q, block.k, block.k))
    W = W + W.transpose(0, 2, 1)
    G = rng.normal(size=(structure.m, structure.m))
    G = G + G.T
    C = np.concatenate([cp.Cz.toarray(), cp.C[0].reshape(block.size, -1)], axis=1).reshape(block.q, block.k, -1)
    taken = np.einsum("jax,jab,jby->xy", C, W, C)
    np.testing.assert_allclose(lead.complement(W, cp.S), cp.S - taken, atol=1e-9)
    np.testing.assert_allclose(lead.adjoint(G), np.einsum("jax,xy,jby->jab", C, G, C), atol=1e-8)
    assert (taken * G).sum() == pytest.approx((W * lead.adjoint(G)).sum(), rel=1e-11)
    v, w = rng.normal(size=(structure.m, 2)), rng.normal(size=(block.q, block.k, 2))
    np.testing.assert_allclose(lead.times(v), C @ v, atol=1e-10)
    np.testing.assert_allclose(lead.transposed(w), np.einsum("jax,jar->xr", C, w), atol=1e-10)


def test_pairs_of_levels_are_kept_for_another_response_and_no_longer_than_the_model():
    structure, rows = layout("crossed", True)
    cp = CrossProducts.from_rows(structure, rows)
    pairs = SparseMap(cp)._pairs
    other = cp.with_response(replace(rows, Xy=rows.Xy[:, ::-1]))
    assert SparseMap(other)._pairs is pairs
    again = CrossProducts.from_rows(structure, replace(rows, Z=[2.0 * Z for Z in rows.Z]))
    assert SparseMap(again)._pairs.sum() == pytest.approx(16.0 * pairs.sum())
    assert len(schur._last) == 1
    del cp, other, again
    assert not schur._last
