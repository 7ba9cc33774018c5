"""Equal rows are found, and predicted once."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.prediction.distinct import distinct_rows


def test_every_row_is_one_of_the_distinct_ones() -> None:
    rng = np.random.default_rng(3)
    columns = [rng.integers(0, 3, 500), rng.integers(0, 4, 500) * 0.5, np.ones(500), rng.integers(-1, 2, 500)]
    found = distinct_rows(columns, 500)
    assert found is not None
    first, which = found
    assert len(first) == len(np.unique(np.column_stack(columns), axis=0))
    for column in columns:
        assert np.array_equal(column[first][which], column)
    assert np.array_equal(which[first], np.arange(len(first)))


@pytest.mark.parametrize("n", [0, 1, 7])
def test_few_rows(n: int) -> None:
    found = distinct_rows([np.ones(n)], n, at_most=1.0)
    assert found is not None
    assert len(found[0]) == min(n, 1)


def test_mostly_distinct_rows_are_not_worth_it() -> None:
    assert distinct_rows([np.arange(10.0)], 10) is None
