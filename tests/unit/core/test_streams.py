"""Sums over rows that come in batches, against the same of all rows together."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.streams import LevelPairs, StreamedRows, first_places, with_rows
from interlace.core.structure import analyze
from interlace.core.terms import gather_blocks
from tests.problems import KINDS, random_problem


@pytest.mark.parametrize("sizes", [(1, 1, 5), (3, 50, 2, 7), (40,)])
def test_triangular_factors_have_the_cross_products_of_all_rows(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(n, 4)) * [1.0, 1e6, 1e-6, 1.0] for n in sizes]
    R = np.empty((0, 4))
    for part in parts:
        R = with_rows(R, part)
    whole = np.concatenate(parts)
    assert R.shape[0] <= 4
    np.testing.assert_allclose(R.T @ R, whole.T @ whole, rtol=1e-11, atol=1e-15)


def test_factors_keep_what_squares_lose() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=400)
    whole = np.column_stack([x, x + 1e-9 * rng.normal(size=400)])
    R = np.empty((0, 2))
    for part in np.array_split(whole, 7):
        R = with_rows(R, part)
    expected = np.linalg.svd(whole, compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(R, compute_uv=False), expected, rtol=1e-6)


def test_first_places() -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(-1, 9, 40)
    expected = [next((i for i, c in enumerate(codes) if c == level), 40) for level in range(10)]
    assert first_places(codes, 10).tolist() == expected
    assert first_places(np.empty(0, dtype=np.int64), 2).tolist() == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_structure_of_pairs_is_that_of_all_rows(kind: str) -> None:
    problem = random_problem(np.random.default_rng(4), kind, n=300)
    blocks, codes, _ = gather_blocks(problem.terms)
    pairs = LevelPairs(tuple(block.q for block in blocks))
    for part in np.array_split(np.arange(codes[0].size), 11):
        pairs.add([c[part] for c in codes])
    expected, order = analyze(blocks, codes, 2, problem.n_theta)
    found, same = analyze(blocks, pairs.codes, 2, problem.n_theta)
    assert same == order
    assert found.storage == expected.storage
    assert found.parents.keys() == expected.parents.keys()
    for key, parent in expected.parents.items():
        np.testing.assert_array_equal(found.parents[key], parent)
    for i in range(len(blocks)):
        for j in range(i):
            mine, theirs = (set(zip(c[i].tolist(), c[j].tolist(), strict=True)) for c in (pairs.codes, codes))
            assert mine == theirs
    assert (
        len(pairs.codes[0])
        <= sum(np.unique(codes[i] * 1000 + codes[j]).size for i in range(len(blocks)) for j in range(i)) + blocks[0].q
    )


def test_streamed_rows_are_read_again_and_never_held() -> None:
    structure, rows = random_problem(np.random.default_rng(5), "crossed").layout()

    def read() -> list[Rows]:
        parts = np.array_split(np.arange(rows.n), 5)
        return iter([Rows([c[p] for c in rows.codes], [z[p] for z in rows.Z], rows.Xy[p]) for p in parts])

    streamed = StreamedRows(read, rows.n, 0.0, lambda: RuntimeError("not kept"))
    assert streamed.n == rows.n
    for scale in (1.0, 3.0):
        changed = streamed.changed(lambda part, scale=scale: Rows(part.codes, part.Z, scale * part.Xy))
        found = CrossProducts.from_chunks(structure, changed.chunks())
        expected = CrossProducts.from_rows(structure, Rows(rows.codes, rows.Z, scale * rows.Xy))
        np.testing.assert_allclose(found.S, expected.S, rtol=1e-10, atol=1e-10)
    for name in ("codes", "Z", "Xy"):
        with pytest.raises(RuntimeError, match="not kept"):
            getattr(streamed, name)
