"""Nested factors by enumeration of what occurs, and their weights by averaging twice."""

from __future__ import annotations

import numpy as np

from interlace.inference.nesting import cell_weights, nested_factors

REGION = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
PLACE = np.array([0, 0, 1, 2, 2, 3, 4, 5, 5])
CROSSED = np.array([0, 1, 0, 1, 0, 1, 0, 1, 0])


def test_levels_that_occur_with_one_level_are_nested() -> None:
    codes, sizes = [REGION, CROSSED, PLACE], (3, 2, 6)
    assert nested_factors(codes, sizes, [{0}, {1}, {2}]) == {2: (0,)}
    assert nested_factors([REGION, CROSSED, None], (3, 2, 1), [{0}, {1}, {2}]) == {}
    # One region alone is no factor, and everything would be nested in it.
    assert nested_factors([np.where(REGION == 0, 0, -1), PLACE], (1, 6), [{0}, {1}]) == {}


def test_of_factors_that_determine_each_other_the_first_is_nested() -> None:
    assert nested_factors([REGION, 2 - REGION], (3, 3), [{0}, {1}]) == {0: (1,)}


def test_terms_without_margins_are_nested() -> None:
    rng = np.random.default_rng(0)
    codes, sizes = list(rng.integers(0, 2, (3, 100))), (2, 2, 2)
    intercept: set[int] = set()
    assert nested_factors(codes, sizes, [intercept, {0}, {0, 1}]) == {1: (0,)}
    assert nested_factors(codes, sizes, [intercept, {0}, {0, 1}, {0, 1, 2}]) == {1: (0,), 2: (0, 1)}
    assert nested_factors(codes, sizes, [intercept, {0}, {1}, {0, 1}]) == {}
    assert nested_factors(codes, sizes, [intercept, {0, 1}]) == {}
    assert nested_factors([codes[0], None], (2, 1), [intercept, {0}, {0, 1}]) == {}


def test_weights_average_within_the_levels_around_first() -> None:
    codes, sizes = [REGION, CROSSED, PLACE], (3, 2, 6)
    weights = cell_weights({2: (0,)}, codes, sizes)
    values = np.random.default_rng(1).normal(size=sizes)
    places = {region: sorted(set(PLACE[region == REGION])) for region in range(3)}
    for c in range(2):
        expected = np.mean([np.mean([values[region, c, p] for p in found]) for region, found in places.items()])
        np.testing.assert_allclose((weights * values)[:, c].sum() / weights[:, c].sum(), expected)
    assert (cell_weights({}, codes, sizes) == 1.0).all()
