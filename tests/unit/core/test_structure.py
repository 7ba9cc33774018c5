"""Which blocks are eliminated level by level, in which order, and how their products are stored."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.core import structure as module
from interlace.core.structure import Structure, analyze, parents_of
from interlace.core.terms import Term, gather_blocks
from tests.problems import term


def analyzed(*labels: np.ndarray, k: int = 1) -> tuple[Structure, list[str]]:
    """Structure of scalar terms named a, b, ... and the order of their names."""
    n = len(labels[0])
    terms = [term(name, codes, np.ones((n, k))) for name, codes in zip("abcdef", labels, strict=False)]
    blocks, codes, _ = gather_blocks(terms)
    names = [terms[b.members[0][0]].group for b in blocks]
    structure, order = analyze(blocks, codes, 2, len(terms) * k)
    return structure, [names[i] for i in order]


ROWS = np.arange(240)


def test_single_factor_is_a_chain_of_one():
    structure, _ = analyzed(ROWS % 12)
    assert structure.n_chain == 1
    assert structure.rest == ()
    assert structure.m == 3
    assert structure.m_z == 0


def test_nested_factors_are_found_whatever_their_order():
    pupil, room, school = ROWS // 2, ROWS // 10, ROWS // 60
    for labels in ((pupil, room, school), (school, pupil, room), (room, school, pupil)):
        structure, _ = analyzed(*labels)
        assert [b.q for b in structure.blocks] == [120, 24, 4]
        assert structure.n_chain == 3
        np.testing.assert_array_equal(structure.parents[0, 1], np.arange(120) // 5)
        np.testing.assert_array_equal(structure.parents[1, 2], np.arange(24) // 6)
        np.testing.assert_array_equal(structure.parents[0, 2], np.arange(120) // 30)


def test_implicitly_nested_labels_are_not_nested():
    """Rooms numbered 0 to 4 within every school are crossed with it."""
    structure, names = analyzed((ROWS // 4) % 5, ROWS // 60)
    assert structure.n_chain == 1
    assert names == ["a", "b"]


def test_crossed_factors_form_the_rest():
    structure, _ = analyzed(ROWS % 20, (ROWS * 7 // 3) % 9)
    assert (structure.n_chain, structure.m_z) == (1, 9)
    assert structure.rest_slices == (slice(0, 9),)


def test_mixture_of_nested_and_crossed():
    structure, names = analyzed(ROWS // 4, ROWS % 7, ROWS // 24, (ROWS // 3) % 5)
    assert names[:2] == ["a", "c"]
    assert structure.n_chain == 2
    assert sorted(names[2:]) == ["b", "d"]
    assert structure.rest_slices[-1].stop == structure.m_z == 12


def test_equal_factors_under_two_names_are_a_chain():
    structure, _ = analyzed(ROWS % 8, ROWS % 8)
    assert structure.n_chain == 2
    np.testing.assert_array_equal(structure.parents[0, 1], np.arange(8))


def test_collectors_sum_over_the_levels_below():
    structure, _ = analyzed(ROWS // 2, ROWS // 10)
    values = np.random.default_rng(0).normal(size=(120, 3))
    np.testing.assert_allclose(structure.collectors[0, 1] @ values, values.reshape(24, 5, 3).sum(axis=1), atol=1e-13)


def test_parents_of():
    child = np.array([0, 0, 1, 2, 1])
    np.testing.assert_array_equal(parents_of(child, 3, np.array([1, 1, 0, 1, 0])), [1, 0, 1])
    assert parents_of(child, 3, np.array([1, 0, 0, 1, 0])) is None


def test_dense_storage_for_small_and_for_well_filled_problems():
    assert not analyzed(ROWS % 20, ROWS % 9)[0].storage.sparse
    full = np.arange(40_000)
    structure, _ = analyzed(full % 400, full // 400)
    assert not structure.storage.sparse


def test_sparse_storage_where_few_pairs_of_levels_meet():
    rng = np.random.default_rng(0)
    structure, _ = analyzed(rng.integers(0, 2000, 8000), rng.integers(0, 500, 8000))
    assert structure.storage.sparse
    assert structure.n_chain == 1


def test_sparse_storage_gives_up_the_chain(monkeypatch):
    """With sparse storage only the leading block is eliminated by level; the factor that contains it joins the rest."""
    monkeypatch.setattr(module, "DENSE_LIMIT", 1000)
    rng = np.random.default_rng(0)
    lead = rng.integers(0, 800, 4000)
    structure, names = analyzed(lead, rng.integers(0, 300, 4000), lead // 8)
    assert structure.storage.sparse
    assert (structure.n_chain, structure.parents) == (1, {})
    assert names == ["a", "b", "c"]


def test_blocks_gather_the_terms_of_a_factor():
    Z = np.arange(720.0).reshape(240, 3)
    a, b = term("g", ROWS % 6, Z[:, :2]), term("h", ROWS % 10, Z[:, :1])
    c = Term("g", a.codes, Z[:, 2:], a.n_levels, "diagonal")
    blocks, codes, columns = gather_blocks([a, b, c])
    assert [(block.q, block.k) for block in blocks] == [(10, 1), (6, 3)]
    np.testing.assert_array_equal(columns[1], Z)
    np.testing.assert_array_equal(codes[1], a.codes)
    assert blocks[1].members == ((0, slice(0, 2)), (2, slice(2, 3)))
    np.testing.assert_array_equal(blocks[1].factor(np.array([1.0, 2, 3, 4, 5])), [[1, 0, 0], [2, 3, 0], [0, 0, 5]])
    np.testing.assert_array_equal(blocks[0].factor(np.array([1.0, 2, 3, 4, 5])), [[4.0]])


@pytest.mark.parametrize("k", [1, 3])
def test_sizes_count_columns(k):
    structure, _ = analyzed(ROWS % 20, (ROWS * 7 // 3) % 9, k=k)
    assert [b.size for b in structure.blocks] == [20 * k, 9 * k]
    assert structure.m == 9 * k + 2 + 1
