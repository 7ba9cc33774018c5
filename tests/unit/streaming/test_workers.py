"""Files are read by several processes, and the numbers are those of one, to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

import interlace
from interlace.errors import DataError
from interlace.streaming import files
from interlace.streaming.sources import source_of

FORMULA = "y ~ poly(x, 2) + color + (x | g) + (1 | item)"


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_PART_ROWS", 250)


def equal(mine: interlace.LMMResult, theirs: interlace.LMMResult) -> None:
    assert mine.state.criterion == theirs.state.criterion
    np.testing.assert_array_equal(mine.fe_params, theirs.fe_params)
    np.testing.assert_array_equal(mine.random_effects["g"], theirs.random_effects["g"])


@pytest.mark.parametrize("kind", ["row groups", "csv", "dataset"])
def test_the_numbers_do_not_depend_on_the_processes(
    kind: str, frame: pd.DataFrame, parquet: Path, tmp_path: Path
) -> None:
    data: Any = parquet
    if kind == "csv":
        data = [tmp_path / f"{i}.csv" for i in range(3)]
        for i, path in enumerate(data):
            frame.iloc[300 * i : 300 * (i + 1)].to_csv(path, index=False)
    elif kind == "dataset":
        data = ds.dataset(parquet)
    assert len(list(source_of(data).parts(()))) > 2
    one, two = (interlace.fit(FORMULA, data, control=interlace.Control(n_jobs=n)) for n in (1, 2))
    equal(two, one)
    np.testing.assert_array_equal(two.resid, one.resid)
    assert two.llf == pytest.approx(interlace.fit(FORMULA, frame).llf, rel=1e-10)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_any_backend_of_joblib(parquet: Path, n_jobs: int | None) -> None:
    one = interlace.fit(FORMULA, parquet)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        equal(interlace.fit(FORMULA, parquet, control=interlace.Control(n_jobs=n_jobs)), one)


def test_what_cannot_be_taken_apart_is_read_here(frame: pd.DataFrame) -> None:
    filtered = ds.dataset(pa.Table.from_pandas(frame)).filter(ds.field("x") > 0)
    mine = interlace.fit("y ~ x + (1 | g)", filtered, control=interlace.Control(n_jobs=2))
    assert mine.llf == pytest.approx(interlace.fit("y ~ x + (1 | g)", frame[frame["x"] > 0]).llf, rel=1e-10)


def test_errors_in_other_processes_are_those_of_this_one(frame: pd.DataFrame, tmp_path: Path) -> None:
    for i in range(3):
        (frame if i < 2 else frame.assign(x=np.inf)).to_parquet(tmp_path / f"{i}.parquet")
    with pytest.raises(DataError, match=r"'x' has 900 infinite values"):
        interlace.fit("y ~ x + (1 | g)", tmp_path, control=interlace.Control(n_jobs=2))


def test_parts_without_rows_in_use(frame: pd.DataFrame, tmp_path: Path) -> None:
    pieces = [frame.head(0), frame.assign(x=np.nan), frame, frame.assign(x=-1.0), frame.head(0)]
    for i, piece in enumerate(pieces):
        pq.write_table(pa.Table.from_pandas(piece, preserve_index=False), tmp_path / f"{i}.parquet")
    mine = interlace.fit("y ~ log(x) + (1 | g) + (1 | item)", tmp_path)
    theirs = interlace.fit("y ~ log(x) + (1 | g) + (1 | item)", frame)
    assert mine.llf == pytest.approx(theirs.llf, rel=1e-10)
    assert mine.nobs == theirs.nobs


@pytest.mark.parametrize("n_jobs", [0, 1.5, True])
def test_bad_numbers_of_processes(n_jobs: Any) -> None:
    with pytest.raises(ValueError, match="n_jobs must be a whole number of processes"):
        interlace.Control(n_jobs=n_jobs)
