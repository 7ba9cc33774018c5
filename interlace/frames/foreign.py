"""Columns of frames that are not pandas, and of mappings, as pandas series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import pandas as pd

from interlace.errors import DataError

__all__ = ["FEW_ROWS", "mapping_rows", "mapping_series", "narwhals_frame", "narwhals_series"]

#: Below this many rows, conversions through Python objects beat the fixed cost of arrow's.
FEW_ROWS = 20_000
_ARRAYS = (pd.Series, pd.Index, pd.api.extensions.ExtensionArray, np.ndarray, list, tuple, range)


def mapping_rows(data: Mapping[Any, Any], what: str) -> int:
    """Count the rows of a mapping of columns by its first one."""
    for name, values in data.items():
        try:
            return len(values)
        except TypeError:
            raise DataError(
                f"{what}[{name!r}] is a single value or an iterator ({type(values).__name__}); each column must be a "
                "list or an array"
            ) from None
    return 0


def mapping_series(what: str, values: Any, n: int) -> pd.Series[Any]:
    """Convert one column of a mapping, which must have ``n`` values; ``what`` names it in messages."""
    if not isinstance(values, _ARRAYS):
        values = _foreign_values(what, values)
    if np.ndim(values) != 1:
        raise DataError(f"{what} must be one-dimensional, not of shape {np.shape(values)}")
    if len(values) != n:
        raise DataError(f"{what} has {len(values)} values, but the first column has {n}; columns must be equally long")
    if isinstance(values, pd.Series):
        return values.reset_index(drop=True)
    return pd.Series(values, copy=True) if isinstance(values, np.ndarray) else pd.Series(values)


def _foreign_values(what: str, values: Any) -> Any:
    """Convert a polars or pyarrow column inside a mapping."""
    import narwhals.stable.v1 as nw

    try:
        return narwhals_series(nw.from_native(values, series_only=True))
    except TypeError:
        if isinstance(values, Iterable) and not isinstance(values, str | bytes):
            return list(values)
    raise DataError(f"{what} must be a list or an array, not {type(values).__name__}")


def narwhals_frame(data: Any, what: str) -> Any:
    """Wrap an eager frame of any library that narwhals knows."""
    import narwhals.stable.v1 as nw

    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        steps = (name for name in ("collect", "compute", "to_table", "df") if hasattr(data, name))
        lazy = next((f" It is lazy: call .{name}() first." for name in steps), "")
        raise TypeError(
            f"{what} must be a pandas, polars or pyarrow data frame, or a dict of columns, "
            f"not {type(data).__module__}.{type(data).__name__}.{lazy}"
        ) from None


def narwhals_series(series: Any) -> pd.Series[Any]:
    """Convert a polars, pyarrow, ... column to pandas, without needing pyarrow for polars."""
    import narwhals.stable.v1 as nw

    dtype = series.dtype
    if isinstance(dtype, nw.Enum | nw.Categorical):
        categories = series.cat.get_categories().to_list()
        if series.implementation.is_polars() and not isinstance(dtype, nw.Enum):
            categories = sorted(categories)  # polars numbers them by first use anywhere in the session
        # Not narwhals' own conversion, which takes missing values of arrow's dictionaries for the last category (2.29).
        values = _by_arrow(series.to_native())
        if values is None or not isinstance(values.dtype, pd.CategoricalDtype):
            return pd.Series(pd.Categorical(series.to_list(), categories=categories))
        return values.cat.set_categories(categories, ordered=False).rename(None)
    if dtype.is_decimal():
        series = series.cast(nw.Float64)
        dtype = series.dtype
    if dtype.is_integer() and series.null_count():  # floats would take large numbers of neighbors for the same
        missing = series.is_null().to_numpy()
        return pd.Series(pd.arrays.IntegerArray(np.array(series.fill_null(0).to_numpy()), np.array(missing)))
    if dtype.is_numeric() or (isinstance(dtype, nw.Boolean) and not series.null_count()):
        return pd.Series(np.array(series.to_numpy()))
    values = _by_arrow(series)
    return pd.Series(series.to_list()) if values is None else values


def _by_arrow(series: Any) -> pd.Series[Any] | None:
    """A long column, of narwhals or of a library, through arrow's buffers; None for a short one or without pyarrow."""
    if len(series) <= FEW_ROWS:
        return None
    try:
        return cast("pd.Series[Any]", series.to_pandas())
    except ImportError:  # polars makes the short cut through pyarrow, which may be absent
        return None
