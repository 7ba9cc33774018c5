"""Any data frame, one column at a time, as numpy arrays and integer codes.

The only place where a caller's frame is touched. Nothing is written to it, and only columns that a model uses are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, TypeAlias, cast

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.names import suggest
from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray

__all__ = ["Column", "Kind", "Table", "compact", "level_text", "match_levels", "refuse_reordered"]

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
_ARRAYS = (pd.Series, pd.Index, pd.api.extensions.ExtensionArray, np.ndarray, list, tuple, range)
_FEW_ROWS = 20_000
_COPY_ON_WRITE = int(pd.__version__.split(".")[0]) >= 3


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
        if isinstance(dtype, pd.CategoricalDtype | pd.StringDtype):
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
        elif isinstance(self.dtype, pd.StringDtype) and len(values) < _FEW_ROWS:
            values = values.to_numpy(dtype=object)  # on few rows Python's hashing beats arrow's fixed cost
        codes, found = pd.factorize(values)
        return _sorted(np.asarray(codes, dtype=np.int64), found)

    @cached_property
    def missing(self) -> BoolArray | None:
        """Rows without a value, or None when there are none."""
        if isinstance(self.dtype, np.dtype) and self.dtype.kind in "iub":
            return None
        if self.kind in ("number", "bool"):
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
            self.n = _mapping_rows(data, what)
        else:
            self._frame = _narwhals(data, what)
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
            return _mapping_series(f"{self._what}[{name!r}]", values, self.n)
        return _narwhals_series(self._frame[key])


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


def _sorted(codes: IntArray, found: Any) -> tuple[IntArray, pd.Index[Any]]:
    """Sort the levels and renumber the codes; objects that cannot be compared stay as they came."""
    values = found if isinstance(found, np.ndarray) else found.to_numpy()
    if values.dtype == object:
        keys = values.tolist()
        try:
            order = np.asarray(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        except TypeError:
            return codes, pd.Index(found)
    else:
        order = np.argsort(values).astype(np.int64)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1  # codes of -1 (missing) pick this one
    return rank[codes], pd.Index(found[order])


def compact(codes: IntArray, n_levels: int) -> tuple[IntArray, IntArray | None]:
    """Renumber ``codes`` so that every level occurs; also the levels kept, None when that is all of them."""
    counts = np.bincount(codes, minlength=n_levels)
    if counts.all():
        return codes, None
    kept = np.flatnonzero(counts).astype(np.int64)
    rank = np.empty(n_levels, dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    return rank[codes], kept


def level_text(level: Any) -> str:
    """Label of a level: numbers without a needless ``.0``, as R writes them."""
    if isinstance(level, float | np.floating) and float(level).is_integer() and abs(float(level)) < 1e15:
        return str(int(level))
    return str(level)


def match_levels(codes: IntArray, found: pd.Index[Any], levels: pd.Index[Any]) -> IntArray:
    """Codes within ``levels`` of values coded in ``found``; -1 for a level not among ``levels``.

    Levels are compared as they are; where the kinds differ (1 against 1.0 or "1"), by their labels.
    """
    place = _indexer(levels, found)
    absent = np.flatnonzero(place < 0)
    if len(absent) and _kind(levels) != _kind(found):
        by_text = {text: i for i, level in enumerate(levels) for text in (str(level), level_text(level))}
        for i in absent:
            place[i] = by_text.get(level_text(found[int(i)]), -1)
    return np.append(place, -1)[codes]


def _indexer(levels: pd.Index[Any], found: pd.Index[Any]) -> IntArray:
    places = {level: i for i, level in enumerate(levels.tolist())}
    strict_bool = (_kind(levels) == "boolean") != (_kind(found) == "boolean")  # True == 1 in Python, but not here
    return np.asarray([-1 if strict_bool else places.get(level, -1) for level in found.tolist()], dtype=np.int64)


def _kind(levels: pd.Index[Any]) -> str:
    return str(pd.api.types.infer_dtype(levels, skipna=True))


def _mapping_rows(data: Mapping[Any, Any], what: str) -> int:
    for name, values in data.items():
        try:
            return len(values)
        except TypeError:
            raise DataError(
                f"{what}[{name!r}] is a single value or an iterator ({type(values).__name__}); each column must be a "
                "list or an array"
            ) from None
    return 0


def _mapping_series(what: str, values: Any, n: int) -> pd.Series[Any]:
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
        return _narwhals_series(nw.from_native(values, series_only=True))
    except TypeError:
        if isinstance(values, Iterable) and not isinstance(values, str | bytes):
            return list(values)
    raise DataError(f"{what} must be a list or an array, not {type(values).__name__}")


def _narwhals(data: Any, what: str) -> Any:
    import narwhals.stable.v1 as nw

    try:
        return nw.from_native(data, eager_only=True)
    except TypeError:
        lazy = " It is lazy: call .collect() first." if hasattr(data, "collect") else ""
        raise TypeError(
            f"{what} must be a pandas, polars or pyarrow data frame, or a dict of columns, "
            f"not {type(data).__module__}.{type(data).__name__}.{lazy}"
        ) from None


def _narwhals_series(series: Any) -> pd.Series[Any]:
    """Convert a polars, pyarrow, ... column to pandas, without needing pyarrow for polars."""
    import narwhals.stable.v1 as nw

    dtype = series.dtype
    if isinstance(dtype, nw.Enum | nw.Categorical):
        categories = series.cat.get_categories().to_list()
        if series.implementation.is_polars() and not isinstance(dtype, nw.Enum):
            categories = sorted(categories)  # polars numbers them by first use anywhere in the session
        return pd.Series(pd.Categorical(series.to_list(), categories=categories))
    if dtype.is_decimal():
        series = series.cast(nw.Float64)
        dtype = series.dtype
    if dtype.is_numeric() or (isinstance(dtype, nw.Boolean) and not series.null_count()):
        return pd.Series(np.array(series.to_numpy()))
    if len(series) > _FEW_ROWS:
        try:
            return cast("pd.Series[Any]", series.to_pandas())
        except ImportError:  # polars makes the short cut through pyarrow, which may be absent
            pass
    return pd.Series(series.to_list())
