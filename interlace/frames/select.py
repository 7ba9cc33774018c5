"""Which rows a model uses, and values given per row (weights, offset)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.adapt import Column, Table, refuse_reordered
from interlace.frames.names import suggest
from interlace.frames.rows import Rows, missing_rows, refuse_infinite
from interlace.typing import BoolArray, FloatArray

__all__ = ["PerRow", "numeric_values", "per_row", "select_rows"]


@dataclass(frozen=True)
class PerRow:
    """Weights or offset: values for every row of the data, and the column they came from."""

    values: FloatArray
    column: str | None
    label: str


def per_row(argument: str, given: Any, table: Table) -> PerRow | None:
    """Read ``weights=`` or ``offset=``: a column name, or one number per row of the data."""
    if given is None:
        return None
    if isinstance(given, str):
        if given not in table:
            raise DataError(f"{argument} column {given!r} not found in data{suggest(given, table.names)}")
        column, label = table.column(given), f"{argument} column {given!r}"
        name: str | None = given
    else:
        column, label, name = _array_column(argument, given, table), argument, None
    return PerRow(_numbers(column, label), name, label)


def numeric_values(argument: str, given: Any) -> FloatArray:
    """Read an array-like of numbers of any kind (pandas, polars, pyarrow, a list), missing ones as NaN; shape (n,)."""
    return _numbers(Column(argument, _array_series(argument, given, "hold one number a row")), argument)


def _numbers(column: Column, label: str) -> FloatArray:
    if column.kind != "number":
        raise DataError(f"{label} must be numeric, but holds {column.describe()}")
    return column.numbers


def _array_column(argument: str, given: Any, table: Table) -> Column:
    if isinstance(given, pd.Series):
        refuse_reordered(argument, given.index, table.index)
    wanted = f"be the name of a column or hold one number for each of the {table.n} rows of data"
    series = _array_series(argument, given, wanted)
    if len(series) != table.n:
        raise DataError(
            f"{argument} has {len(series)} values, but data has {table.n} rows; give one value per row of data"
        )
    return Column(argument, series)


def _array_series(argument: str, given: Any, wanted: str) -> pd.Series[Any]:
    if isinstance(given, pd.Series):
        return given.reset_index(drop=True)
    values = given.to_numpy() if hasattr(given, "to_numpy") else np.asarray(given)
    if values.ndim != 1:
        found = f"it has shape {values.shape}" + ("" if values.ndim else f" ({type(given).__name__})")
        raise DataError(f"{argument} must {wanted}; {found}")
    return pd.Series(values)


def select_rows(
    table: Table, names: Iterable[str], weights: PerRow | None, offset: PerRow | None, na_action: str
) -> tuple[Rows, int]:
    """Rows without a missing value in any column used and with a weight above zero; also how many had weight zero."""
    if table.n == 0:
        raise DataError("data has no rows; there is nothing to fit")
    mask, counts = missing_rows(table, names)
    for given in (weights, offset):
        if given is not None and given.column is None:
            missing = np.isnan(given.values)
            if missing.any():
                counts[given.label] = int(missing.sum())
                mask = missing if mask is None else mask | missing
    if mask is not None:
        _judge_missing(mask, counts, na_action)
    keep = None if mask is None else ~mask
    n_zero = 0
    if weights is not None:
        keep, n_zero = _positive(weights, keep)
    if offset is not None:
        refuse_infinite(offset.values if keep is None else offset.values[keep], offset.label)
    return Rows(table, None if keep is None else np.flatnonzero(keep).astype(np.int64)), n_zero


def _judge_missing(mask: BoolArray, counts: dict[str, int], na_action: str) -> None:
    listed = ", ".join(f"{name} ({count})" for name, count in counts.items())
    if na_action == "raise":
        raise DataError(
            f"na_action='raise' and values are missing in: {listed}; drop or fill them, or use na_action='drop'"
        )
    if mask.all():
        raise DataError(
            "no row is left: every row has a missing value in some column of the model. "
            f"Missing values by column: {listed}"
        )


def _positive(weights: PerRow, keep: BoolArray | None) -> tuple[BoolArray | None, int]:
    used = weights.values if keep is None else weights.values[keep]
    refuse_infinite(used, weights.label)
    negative = int((used < 0).sum())
    if negative:
        raise DataError(f"{weights.label} must not be negative; {negative} value{'s are' if negative > 1 else ' is'}")
    zero = int((used == 0).sum())
    if zero == len(used):
        raise DataError(f"{weights.label}: every row has weight zero, so no row is left")
    if zero:
        positive = weights.values > 0
        keep = positive if keep is None else keep & positive
    return keep, zero
