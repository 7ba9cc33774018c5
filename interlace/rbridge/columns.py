"""Columns of a data frame in the few kinds that R knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from interlace.errors import DataError
from interlace.rbridge.names import r_label

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NA_INTEGER", "Column", "column_of"]

NA_INTEGER = int(np.iinfo(np.int32).min)

Kind = Literal["numeric", "integer", "logical", "factor", "ordered"]


@dataclass(frozen=True)
class Column:
    """One column as R will hold it.

    Attributes
    ----------
    kind : {"numeric", "integer", "logical", "factor", "ordered"}
    values : ndarray, shape (n,)
        Doubles (NaN for missing) or 32-bit integers (``NA_INTEGER`` for missing); a factor's codes count from 1.
    levels : tuple of str
        Levels of a factor in order.
    """

    kind: Kind
    values: NDArray[Any]
    levels: tuple[str, ...] = ()


def column_of(series: pd.Series[Any]) -> Column:
    """Convert a pandas column: numbers stay numbers, booleans become logical, everything else a factor.

    Text becomes a factor whose levels are sorted by code point, the order that R has in the C locale.
    """
    import pandas as pd
    from pandas.api import types

    dtype = series.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = np.asarray(series.cat.codes, dtype=np.int64)
        labels = tuple(r_label(level) for level in series.cat.categories)
        return _factor(codes, labels, "ordered" if dtype.ordered else "factor")
    if types.is_bool_dtype(dtype):
        values = series.astype("boolean").to_numpy(dtype=np.float64, na_value=np.nan)
        return Column("logical", np.where(np.isnan(values), NA_INTEGER, values).astype(np.int32))
    if types.is_numeric_dtype(dtype):
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        if types.is_integer_dtype(dtype) and not np.isnan(values).any() and np.abs(values).max(initial=0) < 2**31:
            return Column("integer", values.astype(np.int32))
        return Column("numeric", values)
    if types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
        raise DataError(f"column {series.name!r} holds dates, which R's models cannot use: convert it to numbers")
    codes, uniques = pd.factorize(series, sort=True)
    return _factor(np.asarray(codes, dtype=np.int64), tuple(r_label(level) for level in uniques), "factor")


def _factor(codes: NDArray[np.int64], labels: tuple[str, ...], kind: Kind) -> Column:
    return Column(kind, np.where(codes < 0, NA_INTEGER, codes + 1).astype(np.int32), labels)
