"""Equal rows are found, and predicted once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.prediction import predict as module
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


def test_variances_are_those_of_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    df = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
    many = pd.concat([df, df.assign(Subject="new"), df, df.assign(Days=np.nan)], ignore_index=True)
    plain = result.predict(many, se=True, interval="prediction")
    monkeypatch.setattr(module, "_MANY_ROWS", 10)
    calls = []
    inner = module.linear_predictor_variance
    monkeypatch.setattr(
        module, "linear_predictor_variance", lambda state, X, *rest: calls.append(len(X)) or inner(state, X, *rest)
    )
    pd.testing.assert_frame_equal(result.predict(many, se=True, interval="prediction"), plain, rtol=1e-12)
    assert calls == [190]  # 180 rows of the data, and 10 days of a new subject
