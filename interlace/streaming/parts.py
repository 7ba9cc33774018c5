"""Rows in parts, each of which can be read apart from the others, in this process or in another one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

from interlace.errors import DataError, InterlaceError

__all__ = ["ArrowPart", "Fragment", "Part", "Piece", "Readable", "RowGroups", "gathered", "opened", "told"]

_CSV_HINT = (
    ". The type of a column is that of the first block of its file; for another one pass a "
    'pyarrow.dataset.dataset(..., format="csv", schema=...)'
)


@contextmanager
def told() -> Iterator[None]:
    """Tell whatever fails in pyarrow, polars, DuckDB or dask, which have classes of their own, as a ``DataError``."""
    try:
        yield
    except (InterlaceError, ImportError):
        raise
    except Exception as error:
        hint = _CSV_HINT if "CSV conversion error" in str(error) else ""
        raise DataError(f"data cannot be read: {type(error).__name__}: {error}{hint}") from error


class Readable(Protocol):
    """Rows that can be read again and again, in the same order each time."""

    def frames(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Read some columns as frames of at most about ``size`` rows, in order."""


class Part(ABC):
    """Rows that one process reads from the first to the last."""

    def __len__(self) -> int:
        """It is one task."""
        return 1

    @abstractmethod
    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Read some columns as frames of at most about ``size`` rows."""

    def frames(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Read frames that are not empty; whatever fails is told as a ``DataError``."""
        with told():
            found = self.read(columns, size)
        while True:
            with told():
                batch = next(found, None)
            if batch is None:
                return
            if len(batch):
                yield batch


class Piece(ABC):
    """Rows of a file, as batches of pyarrow."""

    @abstractmethod
    def batches(self, columns: list[str], size: int) -> Iterator[Any]:
        """Read some columns as record batches or tables of at most about ``size`` rows."""


@dataclass(frozen=True)
class ArrowPart(Part):
    """Pieces of files, read one after the other."""

    pieces: tuple[Piece, ...]

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Tables of pyarrow."""
        return gathered(chain.from_iterable(piece.batches(list(columns), size) for piece in self.pieces), size)


@dataclass(frozen=True)
class RowGroups(Piece):
    """Some row groups of a Parquet file, read little by little: pyarrow's scanner holds several of them.

    Attributes
    ----------
    path : str
    groups : tuple of int
    schema : pyarrow.Schema
        Types that the columns are converted to.
    """

    path: str
    groups: tuple[int, ...]
    schema: Any

    def batches(self, columns: list[str], size: int) -> Iterator[Any]:
        """Tables of the row groups, in the types of the schema."""
        import pyarrow as pa

        schema = pa.schema([self.schema.field(name) for name in columns])
        with opened(self.path) as file:
            for batch in file.iter_batches(batch_size=size, row_groups=list(self.groups), columns=columns):
                part = pa.table(batch).select(columns)
                yield part if part.schema.equals(schema) else part.cast(schema)


@dataclass(frozen=True)
class Fragment(Piece):
    """A file of a dataset of pyarrow, or the whole dataset.

    Attributes
    ----------
    rows : pyarrow.dataset.Fragment or Dataset
    schema : pyarrow.Schema or None
        That of the dataset, for a fragment.
    """

    rows: Any
    schema: Any = None

    def batches(self, columns: list[str], size: int) -> Iterator[Any]:
        """Record batches of the dataset."""
        given = {} if self.schema is None else {"schema": self.schema}
        # Reading ahead is what takes memory: by default 16 batches of each of 4 files are held.
        found: Iterator[Any] = self.rows.to_batches(
            columns=columns, batch_size=size, batch_readahead=1, fragment_readahead=1, use_threads=False, **given
        )
        return found


def opened(path: str) -> Any:
    """Parquet file of which little is held at a time."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)


def gathered(batches: Iterable[Any], size: int) -> Iterator[Any]:
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
