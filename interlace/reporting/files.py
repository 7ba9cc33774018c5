"""Tables from files: CSV and Parquet."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from interlace.datasets.reader import EXACT_FLOATS
from interlace.errors import DataError

__all__ = ["read_table"]

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_PARQUET = (".parquet", ".pq")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


def read_table(path: str | os.PathLike[str], *, text: Collection[str] = ()) -> pd.DataFrame:
    r"""Read a table from a CSV or Parquet file.

    Parameters
    ----------
    path : str or path-like
        The name ends in ``.csv``, ``.tsv`` (both also compressed: ``.csv.gz``) or ``.parquet``.
    text : collection of str
        Columns of a CSV file to take as text, though they look like numbers.

    Returns
    -------
    DataFrame
        Empty cells of a CSV file, ``NA`` and ``NaN`` are missing values. Numbers are read to the last bit.

    Raises
    ------
    DataError
        There is no such file, it is of another kind, or it cannot be read.
    ImportError
        A Parquet file needs pyarrow.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "data.csv")
    ...     _ = path.write_text("g,x\n01,1.5\n02,\n")
    ...     read_table(path, text=["g"])
        g    x
    0  01  1.5
    1  02  NaN
    """
    file = Path(path)
    kind = _kind(file)
    if not file.is_file():
        raise DataError(f"there is no file {os.fspath(path)!r}")
    try:
        if kind in _PARQUET:
            _require_pyarrow(file)
            return pd.read_parquet(file)
        options: dict[str, Any] = {"dtype": dict.fromkeys(text, str), **EXACT_FLOATS}
        frame: pd.DataFrame = pd.read_csv(file, sep=_SEPARATORS[kind], **options)
    except ImportError:
        raise
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{os.fspath(path)!r} cannot be read as {kind[1:].upper()}: {_first_line(error)}") from error
    return frame


def _kind(file: Path) -> str:
    """Ending of the name that says what the file is."""
    endings = [ending.lower() for ending in file.suffixes]
    if endings and endings[-1] in _COMPRESSED:
        endings.pop()
        if endings and endings[-1] in _PARQUET:
            endings = []
    if endings and endings[-1] in (*_SEPARATORS, *_PARQUET):
        return endings[-1]
    known = ", ".join(_listed())
    raise DataError(f"{os.fspath(file)!r}: the ending of the name must say what the file is; known are {known}")


def _listed() -> Iterable[str]:
    return (*_SEPARATORS, *(f"{ending}.gz" for ending in _SEPARATORS), *_PARQUET)


def _require_pyarrow(file: Path) -> None:
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{os.fspath(file)!r} is a Parquet file, which needs pyarrow: pip install pyarrow") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
