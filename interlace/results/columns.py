"""Columns of a data frame as plain arrays and JSON, and back; nothing here can execute anything."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError

__all__ = ["decode_column", "decode_index", "encode_column", "encode_index"]

#: JSON description of a column; names of arrays in it refer to ``Arrays``.
Description: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, np.ndarray]


def encode_column(values: pd.Series | pd.Index, key: str, arrays: Arrays) -> Description:
    """Describe a column; its numbers go to ``arrays`` under ``key``.

    Parameters
    ----------
    values : Series or Index
        Numbers, booleans, dates, text, categories, or a mixture of text and numbers.
    key : str
        Name of the array; what stands behind its last ``|`` is what messages call the column.
    arrays : dict
        Receives the arrays.

    Returns
    -------
    dict
        What ``decode_column`` needs.

    Examples
    --------
    >>> import pandas as pd
    >>> arrays = {}
    >>> encode_column(pd.Series(["a", "b", "a"], dtype=object), "g", arrays)
    {'kind': 'labels', 'array': 'g', 'dtype': 'object', 'levels': ['a', 'b']}
    >>> arrays["g"].tolist()
    [0, 1, 0]
    """
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        arrays[key] = np.asarray(pd.Categorical(values).codes, dtype=np.int32)
        levels = encode_column(dtype.categories, f"levels|{key}", arrays)
        return {"kind": "category", "array": key, "ordered": bool(dtype.ordered), "levels": levels}
    if isinstance(dtype, np.dtype) and dtype.kind in "iufb":
        arrays[key] = np.asarray(values)
        return {"kind": "plain", "array": key}
    if isinstance(dtype, pd.ArrowDtype) and str(dtype).startswith(("date", "time32", "time64", "decimal")):
        return _labels(values, key, arrays)  # which says that these cannot be saved
    if pd.api.types.is_datetime64_any_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        arrays[key] = np.asarray(values.astype("int64"))
        return {"kind": "time", "array": key, "dtype": str(dtype)}
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_bool_dtype(dtype):
        kind = "bool" if pd.api.types.is_bool_dtype(dtype) else None
        arrays[key] = _without_missing(values, key, kind)
        return {"kind": "extension", "array": key, "dtype": str(dtype)}
    return _labels(values, key, arrays)


def _labels(values: pd.Series | pd.Index, key: str, arrays: Arrays) -> Description:
    codes, labels = pd.factorize(np.asarray(values, dtype=object))
    arrays[key] = codes.astype(np.int32)
    return {"kind": "labels", "array": key, "dtype": str(values.dtype), "levels": [_scalar(v, key) for v in labels]}


def _without_missing(values: pd.Series | pd.Index, key: str, kind: str | None) -> np.ndarray:
    """Numbers of a nullable column; the rows of a fit have no missing ones."""
    out = np.asarray(values.to_numpy(dtype=kind))
    if out.dtype == object:
        out = np.asarray(values.to_numpy(dtype=np.float64))
    if out.dtype.kind not in "iufb":
        raise DataError(f"column {_called(key)!r} of type {values.dtype} cannot be saved; convert it to a numpy type")
    return out


def _scalar(value: object, key: str) -> str | int | float | bool:
    """Turn a label into what JSON has."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str | bool | int | float):
        return value
    raise DataError(
        f"column {_called(key)!r} has labels of type {type(value).__name__}, which cannot be saved; make them text"
    )


def _called(key: str) -> str:
    return key.rpartition("|")[2]


def decode_column(description: Description, arrays: Arrays) -> pd.Series:
    """Restore the column that ``encode_column`` described.

    Parameters
    ----------
    description : dict
    arrays : dict

    Returns
    -------
    Series, with a RangeIndex

    Examples
    --------
    >>> import pandas as pd
    >>> arrays = {}
    >>> decode_column(encode_column(pd.Series(["a", "b", "a"], dtype=object), "g", arrays), arrays).tolist()
    ['a', 'b', 'a']
    """
    kind, values = description["kind"], arrays[description["array"]]
    if kind == "plain":
        return pd.Series(values)
    if kind == "category":
        levels = pd.Index(decode_column(description["levels"], arrays))
        return pd.Series(pd.Categorical.from_codes(values, categories=levels, ordered=description["ordered"]))
    if kind in ("time", "extension"):
        return pd.Series(values).astype(description["dtype"])
    if kind == "labels":
        levels = np.empty(len(description["levels"]) + 1, dtype=object)
        levels[:-1], levels[-1] = description["levels"], None  # code -1 is a missing label
        return pd.Series(levels[values], dtype=object).astype(description["dtype"])
    raise DataError(f"unknown kind of column {kind!r}; the file was written by a later version of interlace")


def encode_index(index: pd.Index, arrays: Arrays) -> Description:
    """Describe row labels, a MultiIndex level by level.

    Examples
    --------
    >>> import pandas as pd
    >>> encode_index(pd.RangeIndex(3), {})
    {'kind': 'range', 'start': 0, 'stop': 3, 'step': 1, 'names': [None]}
    """
    names = [None if name is None else _scalar(name, "index") for name in index.names]
    if isinstance(index, pd.RangeIndex):
        return {"kind": "range", "start": index.start, "stop": index.stop, "step": index.step, "names": names}
    parts = [index.get_level_values(i) for i in range(index.nlevels)]
    columns = [encode_column(part, f"labels {i}|index", arrays) for i, part in enumerate(parts)]
    return {"kind": "labels", "columns": columns, "names": names}


def decode_index(description: Description, arrays: Arrays) -> pd.Index:
    """Restore the row labels that ``encode_index`` described."""
    names = description["names"]
    if description["kind"] == "range":
        return pd.RangeIndex(description["start"], description["stop"], description["step"], name=names[0])
    columns = [decode_column(column, arrays) for column in description["columns"]]
    if len(columns) == 1:
        only: pd.Index = pd.Index(columns[0], name=names[0])
        return only
    return pd.MultiIndex.from_arrays([pd.Index(column) for column in columns], names=names)
