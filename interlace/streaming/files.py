"""Files of rows: which ones a caller names, the types of their columns, and the parts in which they are read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from interlace.errors import DataError
from interlace.streaming.parts import ArrowPart, Fragment, Part, Piece, RowGroups, opened

__all__ = ["Files", "arrow", "dataset_pieces", "files_of", "in_parts", "is_path"]

_FORMATS = {
    ".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".csv.gz": "csv", ".arrow": "ipc", ".ipc": "ipc",
    ".feather": "feather",
}  # fmt: skip

#: Texts in CSV files that mean a missing value, to pandas too.
_MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip

#: Rows from which pieces make a part: sums of parts cost time and memory that grow with the levels.
_PART_ROWS = 500_000
#: Bytes of a file that count as a row where the rows are not counted.
_ROW_BYTES = 64


@dataclass(frozen=True)
class Files:
    """Files of one kind, as they were found.

    Attributes
    ----------
    paths : sequence of str
    schemas : sequence of pyarrow.Schema
        Of each file.
    pieces : sequence of callable
        Of each file, a function that makes its pieces, each with its number of rows, for a schema of some columns.
    """

    paths: Sequence[str]
    schemas: Sequence[Any]
    pieces: Sequence[Callable[[Any], Iterator[tuple[int, Piece]]]]

    @property
    def names(self) -> list[str]:
        """Every column of any file."""
        return list(dict.fromkeys(name for schema in self.schemas for name in schema.names))

    def parts(self, columns: Sequence[str]) -> tuple[Part, ...]:
        """Parts of the rows, with some columns, whose types are those that hold the values of all files.

        Raises
        ------
        DataError
            A file lacks a column, or there is no such type.
        """
        schema = arrow().schema([self._field(column) for column in columns])
        return in_parts(piece for pieces in self.pieces for piece in pieces(schema))

    def _field(self, column: str) -> Any:
        """Name and type of a column in all files."""
        pa = arrow()
        found = [schema.get_field_index(column) for schema in self.schemas]  # -1 also for two of one name
        lacks = next((path for path, at in zip(self.paths, found, strict=True) if at < 0), None)
        if lacks is not None:
            have = next((path for path, at in zip(self.paths, found, strict=True) if at >= 0), None)
            if have is None or column in self.schemas[self.paths.index(lacks)].names:
                raise DataError(f"the file {lacks!r} has several columns called {column!r}; rename or drop one")
            raise DataError(
                f"the file {lacks!r} has no column {column!r}, which {have!r} has; files must have all columns in use"
            )
        types = [schema.field(column).type for schema in self.schemas]
        if all(kind == types[0] for kind in types[1:]):
            return pa.field(column, types[0])
        plain = [kind.value_type if pa.types.is_dictionary(kind) else kind for kind in types]
        joined = pa.field(column, plain[0])
        for kind, path in zip(plain[1:], self.paths[1:], strict=True):
            try:
                both = [pa.schema([joined]), pa.schema([pa.field(column, kind)])]
                joined = pa.unify_schemas(both, promote_options="permissive").field(0)
            except (pa.ArrowTypeError, pa.ArrowInvalid):
                raise DataError(
                    f"column {column!r} holds {joined.type} in the file {self.paths[0]!r} and {kind} in {path!r}; "
                    "write the files with one type, or pass a pyarrow.dataset.dataset(..., schema=...)"
                ) from None
        return joined


def arrow() -> Any:
    """Import what reads files."""
    try:
        import pyarrow.csv
        import pyarrow.dataset
    except ImportError as error:
        raise ImportError(
            'reading data in batches needs pyarrow: pip install "interlace-lme[scale]", or pass a data frame'
        ) from error
    return pyarrow


def is_path(data: Any) -> bool:
    """Whether ``data`` names a file."""
    return isinstance(data, str | os.PathLike)


def files_of(paths: Sequence[str | os.PathLike[str]]) -> Files:
    """Look at all files, which must be of one kind.

    Parameters
    ----------
    paths : sequence of str or path-like
        Files, and directories of them.

    Raises
    ------
    DataError
        A file is absent, named twice or of another kind.
    """
    found = [file for path in paths for file in _below(os.fspath(path))]
    _refuse_repeated(found)
    kinds = {_format(file) for file in found}
    if len(kinds) > 1:
        raise DataError(f"data names files of several kinds ({', '.join(sorted(kinds))}); give files of one kind")
    names = [str(file) for file in found]
    kind = kinds.pop()
    return _parquet(names) if kind == "parquet" else _others(names, kind)


def in_parts(pieces: Iterable[tuple[int, Piece]]) -> tuple[Part, ...]:
    """Neighboring pieces together, as many as make a part worth its while; each comes with its number of rows."""
    out, waiting, count = [], [], 0
    for rows, piece in pieces:
        waiting.append(piece)
        count += rows
        if count >= _PART_ROWS:
            out.append(ArrowPart(tuple(waiting)))
            waiting, count = [], 0
    if waiting:
        out.append(ArrowPart(tuple(waiting)))
    return tuple(out)


def dataset_pieces(dataset: Any) -> Iterator[tuple[int, Piece]]:
    """Files, or row groups, of a ``pyarrow.dataset.FileSystemDataset`` that is not filtered."""
    for fragment in dataset.get_fragments():
        if hasattr(fragment, "split_by_row_group"):
            for part in fragment.split_by_row_group():
                yield sum(group.num_rows for group in part.row_groups), Fragment(part, dataset.schema)
        else:
            yield _rough_rows(fragment.path), Fragment(fragment, dataset.schema)


def _parquet(names: list[str]) -> Files:
    schemas, pieces = [], []
    for name in names:
        with opened(name) as file:
            schemas.append(file.schema_arrow)
            counts = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        pieces.append(partial(_row_groups, name, counts))
    return Files(names, schemas, pieces)


def _row_groups(path: str, counts: Sequence[int], schema: Any) -> Iterator[tuple[int, Piece]]:
    for groups in _together(counts):
        yield sum(counts[i] for i in groups), RowGroups(path, groups, schema)


def _together(rows: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Numbers of neighboring row groups that have as many rows as a part."""
    groups: list[int] = []
    count = 0
    for i, more in enumerate(rows):
        groups.append(i)
        count += more
        if count >= _PART_ROWS:
            yield tuple(groups)
            groups, count = [], 0
    if groups:
        yield tuple(groups)


def _others(names: list[str], kind: str) -> Files:
    pa = arrow()
    read: Any = kind
    if kind == "csv":
        options = pa.csv.ConvertOptions(strings_can_be_null=True, null_values=list(_MISSING))
        read = pa.dataset.CsvFileFormat(convert_options=options)
    filled = [name for name in names if Path(name).stat().st_size] if kind == "csv" else names
    if not filled:
        raise DataError(f"data names {names[0]!r}, which is empty; there is nothing to fit")
    fragments = list(pa.dataset.dataset(filled, format=read).get_fragments())
    schemas = [fragment.physical_schema for fragment in fragments]
    return Files(filled, schemas, [partial(_whole_file, *file) for file in zip(filled, fragments, strict=True)])


def _whole_file(path: str, fragment: Any, schema: Any) -> Iterator[tuple[int, Piece]]:
    yield _rough_rows(path), Fragment(fragment, schema)


def _rough_rows(path: str) -> int:
    """Guess the number of rows of a file that does not say it."""
    return Path(path).stat().st_size // _ROW_BYTES if Path(path).is_file() else _PART_ROWS


def _refuse_repeated(files: Sequence[Path]) -> None:
    seen: set[Path] = set()
    for file in files:
        where = file.resolve()
        if where in seen:
            raise DataError(f"data names the file {str(file)!r} twice, and its rows would count twice; name it once")
        seen.add(where)


def _below(given: str) -> list[Path]:
    """Return the file itself, or all files of a known kind in a directory, by name."""
    path = Path(given)
    if path.is_file():
        return [path]
    if not path.exists():
        raise DataError(
            f"data names the file {given!r}, which does not exist; a pattern can be given as glob.glob(...), files "
            "on other machines as a pyarrow.dataset.dataset(..., filesystem=...)"
        )
    found = sorted(file for file in path.rglob("*") if file.is_file() and _known(file) is not None)
    if not found:
        raise DataError(f"the directory {given!r} holds no file of a kind that can be read: {_listed()}")
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
