"""Pandas columns in the kinds that R knows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from interlace.errors import DataError
from interlace.rbridge.columns import NA_INTEGER, column_of


def test_numbers() -> None:
    assert column_of(pd.Series([1.5, np.nan])).kind == "numeric"
    whole = column_of(pd.Series([1, 2**31 - 1]))
    assert whole.kind == "integer"
    assert whole.values.tolist() == [1, 2**31 - 1]
    assert column_of(pd.Series([1, 2**40])).kind == "numeric"


def test_nullable_and_arrow_numbers() -> None:
    for dtype in ("Int64", "int64[pyarrow]", "Float64"):
        column = column_of(pd.Series([1, None, 3], dtype=dtype))
        assert column.kind == "numeric"
        np.testing.assert_array_equal(column.values, [1, np.nan, 3])


@pytest.mark.parametrize("dtype", ["boolean", "bool[pyarrow]"])
def test_logical(dtype: str) -> None:
    column = column_of(pd.Series([True, False, None], dtype=dtype))
    assert column.kind == "logical"
    assert column.values.tolist() == [1, 0, NA_INTEGER]


def test_text_becomes_a_factor_in_code_point_order() -> None:
    column = column_of(pd.Series(["b", "B", "a", None]))
    assert column.kind == "factor"
    assert column.levels == ("B", "a", "b")
    assert column.values.tolist() == [3, 1, 2, NA_INTEGER]


def test_categories_keep_their_order() -> None:
    series = pd.Series(pd.Categorical(["lo", "hi", None], categories=["lo", "mid", "hi"], ordered=True))
    column = column_of(series)
    assert column.kind == "ordered"
    assert column.levels == ("lo", "mid", "hi")
    assert column.values.tolist() == [1, 3, NA_INTEGER]


def test_dates_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="'when' holds dates"):
        column_of(pd.Series(pd.to_datetime(["2020-01-01"]), name="when"))
