"""Where batches of rows come from: files, pyarrow datasets, lazy frames of polars, relations of DuckDB."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlace.errors import DataError, InterlaceError

__all__ = ["Source", "is_stream", "source_of"]

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".arrow": "ipc", ".ipc": "ipc",
    ".feather": "feather",
}  # fmt: skip

#: Texts in CSV files that mean a missing value, to pandas too.
_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip


@contextmanager
def _told() -> Iterator[None]:
    """Tell whatever fails in pyarrow, polars or DuckDB, which have classes of their own, as a ``DataError``."""
    try:
        yield
    except (InterlaceError, ImportError):
        raise
    except Exception as error:
        raise DataError(f"data cannot be read: {type(error).__name__}: {error}") from error


class Source(ABC):
    """Rows of named columns that can be read again and again, in the same order each time."""

    #: Names of all columns.
    names: list[str]

    @abstractmethod
    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Read some columns as frames of at most about ``size`` rows."""

    def batches(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Frames of some columns, in order; whatever fails while reading is told as a ``DataError``."""
        with _told():
            found = self.read(columns, size)
        while True:
            with _told():
                batch = next(found, None)
            if batch is None:
                return
            if len(batch):
                yield batch


@dataclass
class _ParquetFiles(Source):
    """Parquet files, read one after the other and little by little: pyarrow's scanner holds several row groups."""

    paths: Sequence[str]

    def __post_init__(self) -> None:
        with self._opened(self.paths[0]) as file:
            self.schema = file.schema_arrow
        self.names = list(self.schema.names)

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        return _gathered(self._parts(list(columns), size), size)

    def _parts(self, columns: list[str], size: int) -> Iterator[Any]:
        import pyarrow as pa

        schema = pa.schema([self.schema.field(name) for name in columns])
        for path in self.paths:
            with self._opened(path) as file:
                for batch in file.iter_batches(batch_size=size, columns=columns):
                    part = pa.table(batch).select(columns)
                    yield part if part.schema.equals(schema) else part.cast(schema)

    @staticmethod
    def _opened(path: str) -> Any:
        import pyarrow.parquet as pq

        return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


@dataclass
class _ArrowDataset(Source):
    """A dataset of pyarrow, that of files among them."""

    dataset: Any

    def __post_init__(self) -> None:
        self.names = list(self.dataset.schema.names)

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        # Reading ahead is what takes memory: by default 16 batches of each of 4 files are held.
        found = self.dataset.to_batches(
            columns=list(columns), batch_size=size, batch_readahead=1, fragment_readahead=1, use_threads=False
        )
        return _gathered(found, size)


@dataclass
class _LazyFrame(Source):
    """A query of polars."""

    frame: Any

    def __post_init__(self) -> None:
        self.names = list(self.frame.collect_schema().names())

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        wanted = self.frame.select(list(columns))
        if hasattr(wanted, "collect_batches"):
            yield from wanted.collect_batches(chunk_size=size, maintain_order=True)
            return
        start = 0
        while len(part := wanted.slice(start, size).collect()):
            yield part
            start += size


@dataclass
class _Relation(Source):
    """A query of DuckDB."""

    relation: Any

    def __post_init__(self) -> None:
        self.names = list(self.relation.columns)

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        quoted = ('"' + name.replace('"', '""') + '"' for name in columns)
        wanted = self.relation.project(", ".join(quoted))
        reader = wanted.to_arrow_reader if hasattr(wanted, "to_arrow_reader") else wanted.fetch_arrow_reader
        return _gathered(reader(size), size)


def _gathered(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Arrow tables of ``size`` rows, or a little more, from smaller batches."""
    import pyarrow as pa

    waiting: list[Any] = []
    count = 0
    for batch in batches:
        waiting.append(pa.table(batch))
        count += batch.num_rows
        if count >= size:
            yield pa.concat_tables(waiting)
            waiting, count = [], 0
    if count:
        yield pa.concat_tables(waiting)


def _is_path(data: Any) -> bool:
    return isinstance(data, str | os.PathLike)


def is_stream(data: Any) -> bool:
    """Whether ``data`` names rows that are elsewhere, instead of holding them.

    Parameters
    ----------
    data : object

    Examples
    --------
    >>> is_stream("rows.parquet"), is_stream({"y": [1.0, 2.0]})
    (True, False)
    """
    return _is_path(data) or _maker(data) is not None


def source_of(data: Any) -> Source:
    """Prepare to read ``data``.

    Parameters
    ----------
    data : str or path-like, list of them, pyarrow.dataset.Dataset, polars.LazyFrame or DuckDBPyRelation

    Raises
    ------
    DataError
        There is no such file, or it is of no kind that can be read in batches.
    ImportError
        pyarrow, which reads files and what DuckDB sends, is not installed.
    """
    with _told():
        return _files([data]) if _is_path(data) else (_maker(data) or _files)(data)


def _maker(data: Any) -> Callable[[Any], Source] | None:
    if isinstance(data, list | tuple) and data and all(map(_is_path, data)):
        return _files
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(data).__mro__}
    known = {"pyarrow.Dataset": _ArrowDataset, "polars.LazyFrame": _LazyFrame, "duckdb.DuckDBPyRelation": _relation}
    return next((make for name, make in known.items() if name in names), None)


def _relation(data: Any) -> Source:
    _arrow()
    return _Relation(data)


def _arrow() -> Any:
    try:
        import pyarrow.csv
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError(
            'reading data in batches needs pyarrow: pip install "interlace-lme[scale]", or pass a data frame'
        ) from error
    return pyarrow


def _files(paths: Sequence[str | os.PathLike[str]]) -> Source:
    """One dataset of all files, which must be of one kind."""
    arrow = _arrow()
    found = [file for path in paths for file in _below(Path(path))]
    kinds = {_format(file) for file in found}
    if len(kinds) > 1:
        raise DataError(f"data names files of several kinds ({', '.join(sorted(kinds))}); give files of one kind")
    kind: Any = kinds.pop()
    if kind == "csv":
        options = arrow.csv.ConvertOptions(strings_can_be_null=True, null_values=list(_MISSING))
        kind = arrow.dataset.CsvFileFormat(convert_options=options)
    names = [str(file) for file in found]
    return _ParquetFiles(names) if kind == "parquet" else _ArrowDataset(arrow.dataset.dataset(names, format=kind))


def _below(path: Path) -> list[Path]:
    """Return the file itself, or all files of a known kind in a directory, by name."""
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(
            f"data names the file {str(path)!r}, which does not exist; a pattern can be given as glob.glob(...), files "
            "on other machines as a pyarrow.dataset.dataset(..., filesystem=...)"
        )
    found = sorted(file for file in path.rglob("*") if file.is_file() and _known(file) is not None)
    if not found:
        raise DataError(f"the directory {str(path)!r} holds no file of a kind that can be read: {_listed()}")
    return found


def _known(file: Path) -> str | None:
    name = file.name.lower()
    return next((kind for ending, kind in _FORMATS.items() if name.endswith(ending)), None)


def _format(file: Path) -> str:
    kind = _known(file)
    if kind is None:
        raise DataError(
            f"data names {str(file)!r}, whose ending is none of {_listed()}; rename it, or pass a "
            "pyarrow.dataset.dataset(...) that knows its format"
        )
    return kind


def _listed() -> str:
    return ", ".join(_FORMATS)
