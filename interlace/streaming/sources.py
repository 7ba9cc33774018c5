"""Where rows come from: files, pyarrow datasets, lazy frames of polars, relations of DuckDB, data frames of dask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeVar

from interlace.errors import DataError
from interlace.estimate.parallel import in_order
from interlace.streaming.cluster import Partition, PartitionedFrame
from interlace.streaming.files import Files, arrow, dataset_pieces, files_of, in_parts, is_path
from interlace.streaming.parts import ArrowPart, Fragment, Part, gathered, told

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Source", "is_stream", "source_of"]

T = TypeVar("T")


class Source(ABC):
    """Rows of named columns that can be read again and again, in the same order each time."""

    #: Names of all columns.
    names: list[str]

    @abstractmethod
    def parts(self, columns: Sequence[str]) -> Iterable[Part]:
        """Parts of the rows, in order; they need not hold more than some columns."""

    def frames(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        """Read some columns as frames of at most about ``size`` rows, in order, in this process."""
        for part in self.parts(columns):
            yield from part.frames(columns, size)

    def settled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Give columns that were put together from parts what the source knows of them."""
        return frame

    def total(
        self, work: Callable[[Part], T], merge: Callable[[T, T], T], columns: Sequence[str], n_jobs: int | None
    ) -> T | None:
        """Sum up what ``work`` finds in each part; None where there is no part.

        Parameters
        ----------
        work : callable
            Can be sent to other processes.
        merge : callable
            Joins the findings of neighbors; may change the first.
        columns : sequence of str
            What ``work`` reads.
        n_jobs : int or None
            Processes, as for ``in_order``. The result does not depend on it.
        """
        parts = list(self.parts(columns))
        return reduce(merge, in_order(work, parts, n_jobs=n_jobs)) if parts else None


@dataclass
class _Files(Source):
    """Files on disk."""

    files: Files

    def __post_init__(self) -> None:
        self.names = self.files.names

    def parts(self, columns: Sequence[str]) -> tuple[Part, ...]:
        return self.files.parts(columns)


@dataclass
class _Parts(Source):
    """Parts that hold every column: datasets, and queries, which are one part."""

    names: list[str]
    known: tuple[Part, ...]

    def parts(self, columns: Sequence[str]) -> tuple[Part, ...]:
        return self.known


@dataclass(frozen=True)
class _LazyFrame(Part):
    """A query of polars."""

    frame: Any

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        wanted = self.frame.select(list(columns))
        if hasattr(wanted, "collect_batches"):
            yield from wanted.collect_batches(chunk_size=size, maintain_order=True)
            return
        start = 0
        while len(part := wanted.slice(start, size).collect()):
            yield part
            start += size


@dataclass(frozen=True)
class _Relation(Part):
    """A query of DuckDB."""

    relation: Any

    def read(self, columns: Sequence[str], size: int) -> Iterator[Any]:
        quoted = ('"' + name.replace('"', '""') + '"' for name in columns)
        wanted = self.relation.project(", ".join(quoted))
        reader = wanted.to_arrow_reader if hasattr(wanted, "to_arrow_reader") else wanted.fetch_arrow_reader
        return gathered(reader(size), size)


@dataclass
class _Dask(Source):
    """A data frame of dask: parts are summed up where they are."""

    frame: PartitionedFrame
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.names = self.frame.names

    def parts(self, columns: Sequence[str]) -> Iterator[Part]:
        return map(Partition, self.frame.computed(columns))

    def settled(self, frame: pd.DataFrame) -> pd.DataFrame:
        return self.frame.settled(frame)

    def total(
        self, work: Callable[[Part], T], merge: Callable[[T, T], T], columns: Sequence[str], n_jobs: int | None
    ) -> T | None:
        with told():
            return self.frame.total(work, merge, columns)


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
    return is_path(data) or _maker(data) is not None


def source_of(data: Any) -> Source:
    """Prepare to read ``data``.

    Parameters
    ----------
    data : str or path-like, list of them, pyarrow.dataset.Dataset, polars.LazyFrame, DuckDBPyRelation, dask.DataFrame

    Raises
    ------
    DataError
        There is no such file, or it is of no kind that can be read in batches.
    ImportError
        pyarrow, which reads files and what DuckDB sends, is not installed.
    """
    with told():
        return _of_files([data]) if is_path(data) else (_maker(data) or _of_files)(data)


def _maker(data: Any) -> Callable[[Any], Source] | None:
    if isinstance(data, list | tuple) and data and all(map(is_path, data)):
        return _of_files
    names = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(data).__mro__}
    known = {
        "pyarrow.Dataset": _of_dataset,
        "polars.LazyFrame": _of_lazy_frame,
        "duckdb.DuckDBPyRelation": _of_relation,
        "dask.DataFrame": _of_dask,
        "dask_expr.DataFrame": _of_dask,
    }
    return next((make for name, make in known.items() if name in names), None)


def _of_files(paths: Any) -> Source:
    arrow()
    return _Files(files_of(paths))


def _of_dataset(data: Any) -> Source:
    arrow()
    names = list(data.schema.names)
    try:
        parts = in_parts(dataset_pieces(data)) if type(data).__name__ == "FileSystemDataset" else ()
    except ValueError:  # it is filtered, and its files are not to be had one by one
        parts = ()
    return _Parts(names, parts or (ArrowPart((Fragment(data),)),))


def _of_lazy_frame(data: Any) -> Source:
    return _Parts(list(data.collect_schema().names()), (_LazyFrame(data),))


def _of_relation(data: Any) -> Source:
    arrow()
    return _Parts(list(data.columns), (_Relation(data),))


def _of_dask(data: Any) -> Source:
    if not data.npartitions:
        raise DataError("data has no rows; there is nothing to fit")
    return _Dask(PartitionedFrame(data))
