"""Columns of data as text: what is written to a data file, and what its hash is computed from.

A value has one text, whatever frame it comes from: whole numbers are written without a decimal point, also where the
column holds floating point numbers; others with the fewest digits that give the same number again; truth values as
``true`` and ``false``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.adapt import Column, Table

if TYPE_CHECKING:
    from interlace.typing import FrameLike

__all__ = ["ColumnType", "column_hash", "column_type", "data_hash", "described", "hash_of", "texts_of", "typed"]

Kind: TypeAlias = Literal["number", "integer", "boolean", "text"]

#: Whole numbers beyond this are not all floating point numbers.
_EXACT = 2.0**53


@dataclass(frozen=True)
class ColumnType:
    """What the texts of a column stand for.

    Attributes
    ----------
    kind : {"number", "integer", "boolean", "text"}
        Of the values, or of the labels of a categorical column.
    levels : tuple of str or None
        Labels of a categorical column in their order; None for a column that is not categorical.
    ordered : bool
    """

    kind: Kind
    levels: tuple[str, ...] | None = None
    ordered: bool = False


def described(kind: ColumnType) -> dict[str, Any]:
    """The type as JSON; ``ColumnType(**...)`` reads it."""
    return asdict(kind) | {"levels": None if kind.levels is None else list(kind.levels)}


def column_type(name: str, values: pd.Series[Any]) -> ColumnType:
    """Find the type of a column.

    Raises
    ------
    DataError
        The column holds a mixture, or complex numbers.
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        labels = values.dtype.categories.to_series()
        levels = tuple(str(text) for text in _plain_texts(name, labels))
        return ColumnType(_kind(name, labels), levels, bool(values.dtype.ordered))
    return ColumnType(_kind(name, values))


def _kind(name: str, values: pd.Series[Any]) -> Kind:
    found = Column(name, values).kind
    if found in ("mixed", "complex"):
        raise DataError(f"a data file cannot hold the values of column {name!r} ({found}); make them numbers or text")
    if found == "number":
        return "integer" if pd.api.types.is_integer_dtype(values.dtype) else "number"
    return "boolean" if found == "bool" else "text"


def texts_of(name: str, values: pd.Series[Any]) -> list[str | None]:
    """Texts of a column, None for missing values.

    Parameters
    ----------
    name : str
        For messages.
    values : Series, length n

    Returns
    -------
    list of length n

    Examples
    --------
    >>> import pandas as pd
    >>> texts_of("x", pd.Series([1.0, 0.1, None])), texts_of("g", pd.Series(["a", "b"], dtype="category"))
    (['1', '0.1', None], ['a', 'b'])
    """
    if isinstance(values.dtype, pd.CategoricalDtype):
        levels: list[str | None] = [*_plain_texts(name, values.dtype.categories.to_series()), None]
        return [levels[code] for code in values.cat.codes.tolist()]
    return _plain_texts(name, values)


def _plain_texts(name: str, values: pd.Series[Any]) -> list[str | None]:
    kind, column = _kind(name, values), Column(name, values)
    found: list[Any] = column.numbers.tolist() if kind == "number" else values.tolist()
    gone = [False] * len(found) if column.missing is None else column.missing.tolist()
    return [None if missing else _TEXT[kind](value) for value, missing in zip(found, gone, strict=True)]


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else repr(value)


def _whole(value: Any) -> str:
    return str(int(value))


def _truth(value: Any) -> str:
    return str(bool(value)).lower()


_TEXT: dict[Kind, Callable[[Any], str]] = {"number": _number, "integer": _whole, "boolean": _truth, "text": str}


def typed(name: str, texts: Sequence[str], kind: ColumnType) -> pd.Series[Any]:
    """Make a column of its texts.

    Parameters
    ----------
    name : str
        For messages.
    texts : sequence of str, length n
    kind : ColumnType

    Returns
    -------
    Series, length n

    Raises
    ------
    DataError
        A text is none of that type, or no level of a categorical column.

    Examples
    --------
    >>> typed("g", ["b", "a"], ColumnType("text", ("b", "a"))).cat.codes.tolist()
    [0, 1]
    """
    if kind.levels is None:
        return pd.Series(_values(name, texts, kind.kind))
    place = {level: i for i, level in enumerate(kind.levels)}
    unknown = next((text for text in texts if text not in place), None)
    if unknown is not None:
        raise DataError(f"column {name!r} has the value {unknown!r}, which is none of its levels in the report")
    levels = pd.Index(_values(name, kind.levels, kind.kind))
    return pd.Series(pd.Categorical.from_codes([place[t] for t in texts], categories=levels, ordered=kind.ordered))


def _values(name: str, texts: Sequence[str], kind: Kind) -> np.ndarray[Any, Any]:
    try:
        if kind == "number":
            return np.array([float(text) for text in texts], dtype=np.float64)
        if kind == "integer":
            return np.array([int(text) for text in texts], dtype=np.int64)
        if kind == "boolean":
            return np.array([{"true": True, "false": False}[text] for text in texts], dtype=np.bool_)
    except (ValueError, KeyError, OverflowError) as error:
        raise DataError(f"column {name!r} should hold values of type {kind}, but: {error}") from error
    return np.array(texts, dtype=object)


def column_hash(texts: Sequence[str | None]) -> str:
    """SHA-256 of a column: of the JSON array of its texts without spaces, in UTF-8."""
    return _sha256(list(texts))


def _sha256(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def data_hash(data: FrameLike, columns: Sequence[str] | None = None) -> str:
    """Hash of data that depends on names, values and the order of rows alone.

    Parameters
    ----------
    data : frame or mapping of columns
        Any frame that ``interlace.fit`` takes. Types do not matter, so that 1 and 1.0, or text and a categorical column
        of the same labels, are the same.
    columns : sequence of str, optional
        All by default.

    Returns
    -------
    str
        SHA-256 of the JSON array of ``[name, hash of the column]``, sorted by name; the hash of a column is the SHA-256
        of the JSON array of its values as text (see `interlace.reporting.data`).

    Examples
    --------
    >>> import pandas as pd
    >>> whole, real = pd.DataFrame({"x": [1, 2], "g": ["a", "b"]}), pd.DataFrame({"g": ["a", "b"], "x": [1.0, 2.0]})
    >>> data_hash(whole) == data_hash(real.astype({"g": "category"}))
    True
    >>> data_hash(whole) == data_hash(whole[::-1])
    False
    """
    table = Table(data)
    names = table.names if columns is None else columns
    return hash_of({name: column_hash(texts_of(name, table.column(name).series)) for name in names})


def hash_of(columns: Mapping[str, str]) -> str:
    """Hash of data from the hashes of their columns."""
    return _sha256(sorted(columns.items()))
