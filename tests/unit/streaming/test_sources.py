"""Every kind of source gives the rows that a frame has."""

from __future__ import annotations

import datetime as dt
import decimal
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import interlace
from interlace.errors import DataError
from interlace.streaming import batches
from interlace.streaming.sources import source_of

FORMULA = "y ~ x + color + gaps + (x | g) + (1 | holes)"


def parquet(frame: pd.DataFrame, folder: Path) -> Any:
    frame.to_parquet(folder / "rows.parquet")
    return str(folder / "rows.parquet")


def several(frame: pd.DataFrame, folder: Path) -> Any:
    paths = [folder / f"part {i}.parquet" for i in range(3)]
    for i, path in enumerate(paths):
        frame.iloc[i * 300 : (i + 1) * 300].to_parquet(path)
    return paths


def directory(frame: pd.DataFrame, folder: Path) -> Any:
    several(frame, folder)
    return folder


def csv(frame: pd.DataFrame, folder: Path) -> Any:
    frame.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


def zipped_csv(frame: pd.DataFrame, folder: Path) -> Any:
    frame.to_csv(folder / "rows.csv.gz", index=False)
    return folder / "rows.csv.gz"


def arrow(frame: pd.DataFrame, folder: Path) -> Any:
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as file, pa.ipc.new_file(file, _table(frame).schema) as writer:
        writer.write_table(_table(frame), max_chunksize=100)
    return folder / "rows.arrow"


def feathered(frame: pd.DataFrame, folder: Path) -> Any:
    feather.write_feather(_table(frame), folder / "rows.feather")
    return folder / "rows.feather"


def dataset(frame: pd.DataFrame, folder: Path) -> Any:
    return ds.dataset(parquet(frame, folder))


def lazy(frame: pd.DataFrame, folder: Path) -> Any:
    return pl.scan_parquet(parquet(frame, folder)).with_columns(unused=pl.lit(1))


def relation(frame: pd.DataFrame, folder: Path) -> Any:
    return duckdb.sql(f"select * from '{parquet(frame, folder)}'")


def _table(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame, preserve_index=False)


SOURCES = [parquet, several, directory, csv, zipped_csv, arrow, feathered, dataset, lazy, relation]


@pytest.mark.parametrize("make", SOURCES)
@pytest.mark.parametrize("size", [170, 5000])
def test_each_source_gives_the_fit_of_the_frame(
    make: Callable[[pd.DataFrame, Path], Any],
    size: int,
    frame: pd.DataFrame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "_ROWS", size)
    mine = interlace.fit(FORMULA, make(frame, tmp_path))
    theirs = interlace.fit(FORMULA, frame)
    assert mine.reml_criterion == pytest.approx(theirs.reml_criterion, rel=0, abs=1e-9)
    pd.testing.assert_series_equal(mine.fe_params, theirs.fe_params, rtol=1e-9)
    assert mine.ngroups == theirs.ngroups
    assert mine.random_effects["g"].index.tolist() == theirs.random_effects["g"].index.tolist()
    np.testing.assert_allclose(mine.resid, theirs.resid, rtol=1e-7, atol=1e-9)


def test_polars_without_batches_is_read_in_slices(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pl.LazyFrame, "collect_batches", raising=False)
    source = source_of(pl.LazyFrame({"a": range(10), "b": range(10)}))
    assert [batch["a"].to_list() for batch in source.frames(["a"], 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_whole_numbers_with_gaps_are_the_same_levels_in_every_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_ROWS", 100)
    rng = np.random.default_rng(5)
    g = pd.array(rng.integers(1, 9, 400), dtype="Int64")
    data = pd.DataFrame({"g": g, "y": rng.normal(size=400) + np.asarray(g, dtype=float)})
    data.loc[350, "g"] = pd.NA
    data.to_parquet(tmp_path / "rows.parquet")
    mine = interlace.fit("y ~ 1 + (1 | g)", tmp_path / "rows.parquet")
    theirs = interlace.fit("y ~ 1 + (1 | g)", pq.read_table(tmp_path / "rows.parquet"))
    assert mine.random_effects["g"].index.equals(theirs.random_effects["g"].index)
    assert mine.llf == pytest.approx(theirs.llf, abs=1e-9)


def test_files_of_other_types_become_those_of_the_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    data = pd.DataFrame({"g": rng.integers(0, 5, 200), "x": rng.integers(0, 9, 200).astype(float)})
    data["y"] = data["x"] + data["g"] + rng.normal(size=200)
    data.iloc[:100].to_parquet(tmp_path / "a.parquet")
    data.iloc[100:].astype({"x": int, "g": np.int8}).to_parquet(tmp_path / "b.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    mine = interlace.fit("y ~ x + (1 | g)", paths)
    assert mine.llf == pytest.approx(interlace.fit("y ~ x + (1 | g)", data).llf, abs=1e-9)
    data.iloc[100:].drop(columns="x").to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"b.parquet' has no column 'x', which .*a.parquet' has"):
        interlace.fit("y ~ x + (1 | g)", paths)


#: Files that differ: how the second one is made of its half of the rows, and the whole frame that they amount to.
SECOND: dict[str, Callable[[pd.DataFrame], Any]] = {
    "other columns not in use": lambda part: part.assign(extra=1).drop(columns="z"),
    "another order of columns": lambda part: part[list(part.columns[::-1])],
    "text in place of categories": lambda part: part.astype({"size": str}),
    "other types not in use": lambda part: part.assign(z="text"),
    "narrow types": lambda part: part.astype({"g": "int16", "count": "int8"}),
}


@pytest.mark.parametrize("ending", ["parquet", "csv"])
@pytest.mark.parametrize("how", SECOND)
def test_files_that_differ(frame: pd.DataFrame, tmp_path: Path, how: str, ending: str) -> None:
    parts = [frame.iloc[:450], SECOND[how](frame.iloc[450:])]
    for i, part in enumerate(parts):
        path = tmp_path / f"{i}.{ending}"
        part.to_parquet(path) if ending == "parquet" else part.to_csv(path, index=False)
    formula = "y ~ x + count + size + (1 | g)"
    mine, theirs = interlace.fit(formula, tmp_path), interlace.fit(formula, frame.astype({"size": str}))
    assert mine.llf == pytest.approx(theirs.llf, rel=1e-10)
    assert mine.ngroups == theirs.ngroups


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_types_that_do_not_fit(frame: pd.DataFrame, tmp_path: Path, ending: str) -> None:
    for i, part in enumerate([frame.iloc[:450], frame.iloc[450:].assign(g="text")]):
        path = tmp_path / f"{i}.{ending}"
        part.to_parquet(path) if ending == "parquet" else part.to_csv(path, index=False)
    with pytest.raises(DataError, match=r"'g' holds int64 in the file .*0\..* and (large_)?string in '.*1\."):
        interlace.fit("y ~ x + (1 | g)", tmp_path)


def test_files_without_rows(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "0.csv").touch()
    (tmp_path / "1.csv").write_text(",".join(frame.columns) + "\n")
    with pytest.raises(DataError, match="no rows"):
        interlace.fit("y ~ x + (1 | g)", tmp_path)
    frame.to_csv(tmp_path / "2.csv", index=False)
    mine = interlace.fit("y ~ x + color + (1 | g)", tmp_path)
    assert mine.llf == pytest.approx(interlace.fit("y ~ x + color + (1 | g)", frame).llf, rel=1e-10)
    with pytest.raises(DataError, match=r"0.csv', which is empty"):
        interlace.fit("y ~ x + (1 | g)", tmp_path / "0.csv")


def test_values_of_another_type_than_the_first_ones(frame: pd.DataFrame, tmp_path: Path) -> None:
    lines = ["y,x,g", *(f"{i % 17},{i % 13},{i % 7}" for i in range(200_000)), "1,1,A7"]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="CSV conversion error.*type of a column is that of the first block"):
        interlace.fit("y ~ x + (1 | g)", tmp_path / "rows.csv")


def test_a_closed_connection(frame: pd.DataFrame) -> None:
    connection = duckdb.connect()
    connection.register("rows", frame[["y", "x", "g"]])
    relation = connection.sql("select * from rows")
    connection.close()
    with pytest.raises(DataError, match="data cannot be read: ConnectionException"):
        interlace.fit("y ~ x + (1 | g)", relation)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.parquet", None, "does not exist"),
        ("rows.xlsx", b"PK", "whose ending is none of"),
        ("rows.parquet", b"nothing of the kind", "data cannot be read"),
        ("rows.csv", b"y,x,g\n1,2\n", "data cannot be read"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        interlace.fit("y ~ x + (1 | g)", tmp_path / name)


def test_bad_collections_of_files(tmp_path: Path, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="holds no file"):
        interlace.fit("y ~ x + (1 | g)", tmp_path)
    mixed = [csv(frame, tmp_path), parquet(frame, tmp_path)]
    with pytest.raises(DataError, match="several kinds"):
        interlace.fit("y ~ x + (1 | g)", mixed)


def test_columns_of_one_name_in_a_file(frame: pd.DataFrame, tmp_path: Path) -> None:
    columns = [frame["x"], frame["x"], frame["y"], frame["g"]]
    table = pa.Table.from_arrays([pa.array(column) for column in columns], names=["x", "x", "y", "g"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet' has several columns called 'x'"):
        interlace.fit("y ~ x + (1 | g)", tmp_path)
    assert interlace.fit("y ~ 1 + (1 | g)", tmp_path).nobs == len(frame)


def test_a_file_named_twice(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = parquet(frame, tmp_path)
    for data in ([path, path], [path, tmp_path], [path, f"{tmp_path}/../{tmp_path.name}/rows.parquet"]):
        with pytest.raises(DataError, match=r"rows.parquet' twice"):
            interlace.fit("y ~ x + (1 | g)", data)


@pytest.mark.parametrize("name", ["https://example.org/rows.parquet", "s3://bucket/rows.parquet", "*.parquet"])
def test_names_of_what_is_no_file_here(name: str) -> None:
    with pytest.raises(DataError, match=rf"the file '{re.escape(name)}', which does not exist; .*filesystem="):
        interlace.fit("y ~ x + (1 | g)", name)


def test_batches_of_one_row(frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ROWS", 1)
    data = frame.head(120)
    mine = interlace.fit("y ~ x + (1 | school)", parquet(data, tmp_path))
    assert mine.llf == pytest.approx(interlace.fit("y ~ x + (1 | school)", data).llf, rel=1e-10)


def test_columns_of_one_name(frame: pd.DataFrame) -> None:
    columns = [frame["x"], frame["x"], frame["y"], frame["g"]]
    table = pa.Table.from_arrays([pa.array(column) for column in columns], names=["x", "x", "y", "g"])
    with pytest.raises(DataError, match="data cannot be read"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(table))
    with pytest.raises(DataError, match="data cannot be read: ColumnNotFoundError"):
        interlace.fit("y ~ x + (1 | g)", pl.from_pandas(frame[["y", "g"]]).lazy().with_columns(x=pl.col("absent")))


#: Columns in kinds that a frame of another library, or another batch, could hold differently.
KINDS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "dates": lambda data: pa.array([dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in data["g"].tolist()]),
    "times": lambda data: pa.array([dt.datetime(2020, 1, 1, i % 24) for i in data["g"].tolist()]),
    "truth values with gaps": lambda data: pa.array([None if i % 7 == 0 else i % 2 == 0 for i in range(len(data))]),
    "decimals": lambda data: pa.array([decimal.Decimal(i) / 8 for i in data["g"].tolist()]),
    "large whole numbers with gaps": lambda data: pa.array([i + 2**60 if i % 7 else None for i in data["g"].tolist()]),
    "large whole numbers without a sign": lambda data: pa.array([i + 2**63 for i in data["g"].tolist()], pa.uint64()),
    "half precision": lambda data: pa.array(data["g"].astype(np.float16)),
    "large whole numbers": lambda data: pa.array([i + 2**60 for i in data["g"].tolist()]),
    "text that comes late": lambda data: pa.array([None] * 700 + data["item"].tolist()[700:]),
    "large text": lambda data: pa.array(data["color"], pa.large_string()),
    "dictionaries that differ": lambda data: pa.chunked_array(
        [pa.array(data["item"][i : i + 100]).dictionary_encode() for i in range(0, len(data), 100)]
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [70, 5000])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_columns_of_every_kind(kind: str, size: int, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ROWS", size)
    table = pa.table({"y": frame["y"], "x": frame["x"], "k": KINDS[kind](frame)})
    mine = interlace.fit("y ~ x + (1 | k)", ds.dataset(table))
    theirs = interlace.fit("y ~ x + (1 | k)", table)
    assert mine.llf == pytest.approx(theirs.llf, abs=1e-9)
    assert mine.random_effects["k"].index.equals(theirs.random_effects["k"].index)
    assert mine.ngroups["k"] == len(set(table["k"].drop_null().to_pylist()))


def test_errors_of_a_lazy_query_are_told(frame: pd.DataFrame) -> None:
    broken = pl.from_pandas(frame[["y", "x", "g", "color"]]).lazy().with_columns(x=pl.col("color").cast(pl.Float64))
    with pytest.raises(DataError, match="data cannot be read: InvalidOperationError"):
        interlace.fit("y ~ x + (1 | g)", broken)
