"""The data of a model in a report: the columns it uses, as a file and as a record."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.errors import DataError, ModelError
from interlace.frames.adapt import Table
from interlace.reporting.data import ColumnType, column_hash, column_type, described, hash_of, texts_of, typed
from interlace.reporting.files import read_table
from interlace.results.call import design_of
from interlace.results.columns import Arrays
from interlace.results.persist import describe_call, restored_call

if TYPE_CHECKING:
    from interlace.frames.design import Design
    from interlace.results.intervals import Intervals

__all__ = ["RESULTS", "ModelData", "data_from", "model_data", "read_data", "read_results"]

#: Name of the file with the numbers.
RESULTS = "results.json"
FORMAT, VERSION = "interlace-report", 1
_PARTS: dict[str, type] = {"models": list, "environment": dict, "sha256_of_models": str, "sha256_of_files": dict}


@dataclass(frozen=True)
class ModelData:
    """The columns that a model uses, on the rows on which its formula is evaluated.

    Attributes
    ----------
    texts : dict from name to list of str
        Values as text; none is missing.
    types : dict from name to ColumnType
    """

    texts: Mapping[str, Sequence[str]]
    types: Mapping[str, ColumnType]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(next(iter(self.texts.values()), ()))

    def frame(self) -> pd.DataFrame:
        """Columns with their types."""
        return pd.DataFrame({name: typed(name, texts, self.types[name]) for name, texts in self.texts.items()})

    def record(self) -> dict[str, Any]:
        """Number of rows, types and hashes, as JSON."""
        hashes = {name: column_hash(texts) for name, texts in self.texts.items()}
        columns = [{"name": name, **described(self.types[name]), "sha256": hashes[name]} for name in self.texts]
        return {"rows": self.rows, "sha256": hash_of(hashes), "columns": columns}

    def write_csv(self, path: Path) -> None:
        """Write the file that `read_data` reads."""
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(self.texts)
            writer.writerows(zip(*self.texts.values(), strict=True))


def model_data(result: Intervals) -> tuple[ModelData, dict[str, Any]]:
    """Collect data and call of a fit so that the same model can be fitted to the data file.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    ModelData
        Weights or an offset that were given as arrays are columns ``(weights)`` and ``(offset)``.
    dict
        The call as JSON, see ``interlace.results.persist.describe_call``.

    Raises
    ------
    DataError
        A column cannot be written as text, or the call has functions of the user's.
    ModelError
        The fit is of another response than its data have.
    """
    arrays: Arrays = {}
    call = describe_call(result.state, result.call, arrays)
    frame = result.state.problem.design.complete_frame
    for name in ("weights", "offset"):
        if isinstance(call["call"][name], dict):
            column = _unused(f"({name})", frame.columns)
            frame[column] = arrays[call["call"][name]["array"]]
            call["call"][name] = column
    try:
        json.dumps(call)
    except TypeError as error:
        raise DataError(f"an argument of the fit cannot be written as text: {error}") from error
    types = {str(name): column_type(str(name), frame[name]) for name in frame.columns}
    texts = {str(name): [str(text) for text in texts_of(str(name), frame[name])] for name in frame.columns}
    data = ModelData(texts, types)
    _require_same(result.state.problem.design, design_of(restored_call(call, data.frame(), {})))
    return data, call


def _unused(name: str, taken: Iterable[object]) -> str:
    while name in taken:
        name += "*"
    return name


def _require_same(design: Design, again: Design) -> None:
    """Compare the design with the one that the data as text give."""
    if design.y.shape != again.y.shape or not np.array_equal(design.y, again.y):
        raise ModelError(
            f"the response {design.response!r} of this fit is not what its formula gives on its data, as after "
            "refit(): put the response into the data and fit the model to them"
        )
    same = [np.array_equal(design.X, again.X), len(design.terms) == len(again.terms)]
    for one, other in zip(design.terms, again.terms, strict=False):
        same += [np.array_equal(one.Z, other.Z), np.array_equal(one.codes, other.codes)]
    for name in ("weights", "offset"):
        one, other = getattr(design, name), getattr(again, name)
        same.append((one is None) == (other is None) and (one is None or np.array_equal(one, other)))
    if not all(same):
        raise DataError(
            "the data as text do not give the same model matrices: make the grouping columns and predictors of the "
            "model numbers, text or categories before fitting it"
        )


def read_results(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read ``results.json`` of a report.

    Raises
    ------
    DataError
        There is none, it is damaged, or a later version wrote it.
    """
    path = Path(folder, RESULTS)
    if not path.is_file():
        raise DataError(f"{os.fspath(folder)!r} has no file {RESULTS}: it is not a report of interlace")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{os.fspath(path)!r} is damaged and cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DataError(f"{os.fspath(path)!r} was not written by interlace.report()")
    if found.get("version") != VERSION:
        raise DataError(
            f"{os.fspath(path)!r} has format version {found.get('version')!r}; this version of interlace reads "
            f"{VERSION}: update interlace, or write the report again"
        )
    for key, kind in _PARTS.items():
        if not isinstance(found.get(key), kind):
            raise DataError(f"{os.fspath(path)!r} is damaged: it has no {key!r}")
    if not all(isinstance(model, dict) and isinstance(model.get("name"), str) for model in found["models"]):
        raise DataError(f"{os.fspath(path)!r} is damaged: a model has no name")
    return found


def read_data(
    folder: str | os.PathLike[str], model: int = 1, data: str | os.PathLike[str] | None = None
) -> pd.DataFrame:
    """Read the data of a model in a report, with the types that its columns had.

    Parameters
    ----------
    folder : str or path-like
        What `interlace.report` wrote.
    model : int
        Which of the models, from 1.
    data : str or path-like, optional
        Another file with these columns; needed where the report was written without data.

    Returns
    -------
    DataFrame
        The columns that the model uses; of another file, its rows without missing values.

    Raises
    ------
    DataError
        The file or a column is missing, or a column holds values of another type.

    Examples
    --------
    >>> import interlace, pathlib, tempfile
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = interlace.report(result, pathlib.Path(folder, "out"), check_r=False)
    ...     read_data(pathlib.Path(folder, "out")).head(2)
        Yield Batch
    0  1545.0     A
    1  1440.0     A
    """
    models = read_results(folder)["models"]
    if not 1 <= model <= len(models):
        raise DataError(f"the report has the models 1 to {len(models)}, not {model!r}")
    return data_from(folder, models[model - 1]["data"], data).frame()


def data_from(
    folder: str | os.PathLike[str], record: Mapping[str, Any], data: str | os.PathLike[str] | None = None
) -> ModelData:
    """Read the data that a record describes, from the file of the report or from another one."""
    types = {
        column["name"]: ColumnType(
            column["kind"], None if column["levels"] is None else tuple(column["levels"]), column["ordered"]
        )
        for column in record["columns"]
    }
    if data is not None:
        return ModelData(_foreign(data, types), types)
    if record["file"] is None:
        raise DataError("the report was written without its data: name the file that holds them")
    return ModelData(_own(Path(folder, record["file"]), list(types)), types)


def _own(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    if not path.is_file():
        raise DataError(f"the data file {path.name!r} of the report is missing: name a file that holds the data")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
        table = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
        return {name: table[name] for name in names}
    except KeyError as error:
        raise DataError(f"the data file {path.name!r} of the report has no column {error.args[0]!r}") from error
    except (ValueError, csv.Error) as error:
        raise DataError(f"the data file {path.name!r} of the report is damaged: {error}") from error


def _foreign(path: str | os.PathLike[str], types: Mapping[str, ColumnType]) -> dict[str, list[str]]:
    """Columns of a file that the report did not write, without rows that have a missing value."""
    table = Table(read_table(path, text=[name for name, kind in types.items() if kind.kind == "text"]), os.fspath(path))
    texts = {name: texts_of(name, table.column(name).series) for name in types}
    complete = [i for i, row in enumerate(zip(*texts.values(), strict=True)) if None not in row]
    return {name: [str(column[i]) for i in complete] for name, column in texts.items()}
