"""Any data frame, one column at a time, as numpy arrays and integer codes.

The only place where a caller's frame is touched (``foreign`` is its part for what is not pandas). Nothing is written to
it, and only columns that a model uses are read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.foreign import FEW_ROWS, mapping_rows, mapping_series, narwhals_frame, narwhals_series
from interlace.frames.levels import sorted_levels
from interlace.frames.names import suggest
from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray

__all__ = ["Column", "Kind", "Table", "all_finite", "refuse_reordered"]

#: ``number`` and ``bool`` can be used in arithmetic; ``factor`` covers strings and categoricals; ``other`` (dates,
#: periods, intervals) can only be a grouping column; ``mixed`` and ``complex`` cannot be used at all.
Kind: TypeAlias = Literal["number", "bool", "factor", "other", "mixed", "complex"]

_BY_DTYPE_KIND: dict[str, Kind] = {
    "f": "number",
    "i": "number",
    "u": "number",
    "b": "bool",
    "c": "complex",
    "M": "other",
    "m": "other",
    "U": "factor",
}
_BY_INFERRED: dict[str, Kind] = {
    "string": "factor", "boolean": "bool", "integer": "number", "floating": "number", "mixed-integer-float": "number",
    "decimal": "number", "empty": "number", "categorical": "factor", "complex": "complex", "mixed": "mixed",
    "mixed-integer": "mixed",
}  # fmt: skip

_WORDS = {
    "number": "numbers",
    "bool": "true/false values",
    "factor": "text or categories",
    "complex": "complex numbers",
}
_COPY_ON_WRITE = int(pd.__version__.split(".")[0]) >= 3


def all_finite(values: FloatArray) -> bool:
    """Whether no value is missing or infinite: one pass over them where their squares can be summed."""
    with np.errstate(over="ignore"):
        squares = np.vdot(values, values)
    return math.isfinite(squares) or bool(np.isfinite(values).all())


class Column:
    """One column of the caller's data, full length, with the views of it that a model needs."""

    def __init__(self, name: str, series: pd.Series[Any]) -> None:
        self.name = name
        self.series = series
        self.dtype: Any = series.dtype

    @cached_property
    def kind(self) -> Kind:
        """What the column can be used for."""
        dtype = self.dtype
        if isinstance(dtype, np.dtype):
            if dtype.kind != "O":
                return _BY_DTYPE_KIND.get(dtype.kind, "other")
            return self._inferred
        if isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)):  # a union of them would be made anew each time
            return "factor"
        if str(dtype).startswith("dictionary"):
            return "factor"
        found = _BY_DTYPE_KIND.get(getattr(dtype, "kind", "O"))
        return self._inferred if found is None or found == "other" else found

    @property
    def _inferred(self) -> Kind:
        """Kind of a column of Python objects."""
        kind = _BY_INFERRED.get(pd.api.types.infer_dtype(self.series, skipna=True), "other")
        if kind == "mixed":
            types = {type(value) for value in self.series.dropna()}
            # Objects of one type that can be told apart (UUIDs, members of an enumeration) can still name groups.
            if len(types) == 1 and not issubclass(next(iter(types)), list | tuple | dict | set | np.ndarray):
                return "other"
        return kind

    @cached_property
    def numbers(self) -> FloatArray:
        """Values as float64, missing as NaN; for kinds ``number`` and ``bool``."""
        if isinstance(self.dtype, np.dtype) and self.dtype.kind in "fiub":
            return np.asarray(self.series.to_numpy(), dtype=np.float64)
        if self.dtype == object:
            return np.asarray(pd.to_numeric(self.series.map(_as_float), errors="raise"), dtype=np.float64)
        return np.asarray(self.series.to_numpy(dtype="float64", na_value=np.nan), dtype=np.float64)

    @cached_property
    def coded(self) -> tuple[IntArray, pd.Index[Any]]:
        """Codes into sorted levels (category order for categoricals), -1 where missing; unused levels still there."""
        values: Any = self.series
        if isinstance(self.dtype, pd.CategoricalDtype):
            array: Any = values.array
            return np.asarray(array.codes, dtype=np.int64), array.categories
        if self.kind == "bool":
            numbers = self.numbers
            codes = np.where(np.isnan(numbers), -1, numbers == 1).astype(np.int64)
            return codes, pd.Index([False, True])
        if self.kind == "mixed":
            raise DataError(
                f"column {self.name!r} holds values of mixed types ({self._types()}); make it one type, "
                f"for example data[{self.name!r}].astype(str)"
            )
        if str(self.dtype).startswith("dictionary"):
            values = values.astype(object)
        elif isinstance(self.dtype, np.dtype) and self.dtype.kind in "iufb":
            values = values.to_numpy()
            if values.dtype == np.float16:
                values = values.astype(np.float32)  # pandas has no index of half precision
        elif isinstance(self.dtype, pd.StringDtype) and len(values) < FEW_ROWS:
            values = values.to_numpy(dtype=object)  # on few rows Python's hashing beats arrow's fixed cost
        codes, found = pd.factorize(values)
        return sorted_levels(np.asarray(codes, dtype=np.int64), found)

    @cached_property
    def missing(self) -> BoolArray | None:
        """Rows without a value, or None when there are none."""
        if isinstance(self.dtype, np.dtype) and self.dtype.kind in "iub":
            return None
        if self.kind in ("number", "bool"):
            if all_finite(self.numbers):
                return None
            mask = np.isnan(self.numbers)  # nullable and arrow columns can hold NaN besides null
        elif self.kind == "factor":
            mask = self.coded[0] < 0
        else:
            mask = np.asarray(self.series.isna(), dtype=np.bool_)
        return mask if mask.any() else None

    @property
    def kept(self) -> pd.Series[Any]:
        """The column in a form that later changes of the caller's frame cannot reach."""
        # pandas 3 copies on write, so holding the series is enough; before, a real copy is needed.
        return self.series if _COPY_ON_WRITE else self.series.copy()

    def describe(self) -> str:
        """Say what the column holds, for messages."""
        if self.kind == "mixed":
            return f"values of mixed types ({self._types()})"
        return f"{_WORDS.get(self.kind, 'dates or other objects')} (dtype {self.dtype})"

    def _types(self) -> str:
        return ", ".join(sorted({type(v).__name__ for v in self.series.dropna()}))


class Table:
    """The caller's data: named columns, number of rows, index.

    Parameters
    ----------
    data : pandas, polars or pyarrow frame, any eager narwhals frame, or a mapping from names to arrays
    what : str
        The caller's name for it, for messages.
    """

    def __init__(self, data: FrameLike, what: str = "data") -> None:
        self._what = what
        self._columns: dict[str, Column] = {}
        self._keys: dict[str, Any] | None = None
        if isinstance(data, pd.DataFrame):
            self._frame: Any = data
            if isinstance(data.columns, pd.MultiIndex):
                raise DataError(f"{what} has several levels of column names; flatten them to one first")
            self.n = len(data)
        elif isinstance(data, Mapping):
            self._frame = data
            self.n = mapping_rows(data, what)
        else:
            self._frame = narwhals_frame(data, what)
            self.n = len(self._frame)

    @cached_property
    def index(self) -> pd.Index[Any]:
        """Row labels; positions for data without an index."""
        return self._frame.index if isinstance(self._frame, pd.DataFrame) else pd.RangeIndex(self.n)

    @cached_property
    def _labels(self) -> pd.Index[Any] | None:
        """Index of the first pandas column of a mapping, which the others are held against."""
        return next((values.index for values in self._frame.values() if isinstance(values, pd.Series)), None)

    @property
    def names(self) -> list[str]:
        """Column names as text."""
        keys = self._frame if isinstance(self._frame, Mapping) else self._frame.columns
        return [str(key) for key in keys]

    def __contains__(self, name: str) -> bool:
        return name in self._columns or self._key(name) is not None

    def _key(self, name: str) -> Any:
        """Find the frame's own key for ``name``: itself, or a label (a number, say) whose text is ``name``."""
        keys = self._frame if isinstance(self._frame, Mapping) else self._frame.columns
        if name in keys:
            return name
        if self._keys is None:
            self._keys = {str(key): key for key in keys}
        return self._keys.get(name)

    def column(self, name: str) -> Column:
        """Column called ``name``; it must exist, once."""
        found = self._columns.get(name)
        if found is None:
            found = self._columns[name] = Column(name, self._series(name))
        return found

    def _series(self, name: str) -> pd.Series[Any]:
        key = self._key(name)
        if key is None:
            raise DataError(f"column {name!r} not found in {self._what}{suggest(name, self.names)}")
        if isinstance(self._frame, pd.DataFrame):
            series = self._frame[key]
            if isinstance(series, pd.DataFrame):
                raise DataError(
                    f"{self._what} has {series.shape[1]} columns called {name!r}; "
                    "names must be unique: rename or drop one"
                )
            return cast("pd.Series[Any]", series)
        if isinstance(self._frame, Mapping):
            values = self._frame[key]
            if isinstance(values, pd.Series) and self._labels is not None:
                refuse_reordered(f"{self._what}[{name!r}]", values.index, self._labels, "the column before it")
            return mapping_series(f"{self._what}[{name!r}]", values, self.n)
        return narwhals_series(self._frame[key])


def refuse_reordered(what: str, given: pd.Index[Any], rows: pd.Index[Any], other: str = "data") -> None:
    """Refuse a Series whose labels are those of ``rows`` in another order: by position it would be paired wrongly."""
    if given is rows or len(given) != len(rows) or given.equals(rows):
        return
    if given.is_unique and rows.is_unique and bool(given.isin(rows).all()):
        raise DataError(
            f"{what} has the index labels of {other} in another order. Values count by position: reindex the Series "
            "to the index of the data, or pass its .to_numpy() if the order is meant"
        )


def _as_float(value: Any) -> float:
    return float("nan") if value is None or value is pd.NA else float(value)
