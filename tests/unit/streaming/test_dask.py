"""Data frames of dask give the fit of the frame; a worker that dies in the middle changes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.dataframe as dd
import joblib
import numpy as np
import pandas as pd
import pytest
from distributed import Client, LocalCluster

import interlace
from interlace.errors import DataError, FormulaError, ModelError
from interlace.streaming.cluster import PartitionedFrame

MODELS: dict[str, dict[str, Any]] = {
    "nested, slopes": {"formula": "y ~ x * color + (x | school/g)"},
    "crossed": {"formula": "y ~ x + size + (x | g) + (1 | item)"},
    "missing values, weights, offset": {
        "formula": "y ~ gaps + offset(z) + (1 | holes)",
        "weights": "zeros",
        "offset": "shift",
    },
    "learned": {"formula": "y ~ poly(x, 2) + scale(gaps) + (scale(z) | g)"},
    "undefined": {"formula": "log(y - 97) ~ sqrt(x) + C(count > 3) + (1 | g)"},
}


#: Marks the partition in which a worker is going to die.
MARK = 12345.0


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def partitioned(frame: pd.DataFrame, npartitions: int = 7) -> Any:
    return dd.from_pandas(frame, npartitions=npartitions, sort=False)


def equal(mine: interlace.LMMResult, theirs: interlace.LMMResult) -> None:
    assert mine.state.criterion == theirs.state.criterion
    np.testing.assert_array_equal(mine.fe_params, theirs.fe_params)
    np.testing.assert_array_equal(mine.theta, theirs.theta)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_the_fit_is_that_of_the_frame(frame: pd.DataFrame, name: str) -> None:
    model = MODELS[name]
    with dask.config.set(scheduler="threads"):
        mine = interlace.fit(data=partitioned(frame), **model)
        np.testing.assert_allclose(mine.fittedvalues, interlace.fit(data=frame, **model).fittedvalues, rtol=1e-7)
    theirs = interlace.fit(data=frame, **model)
    assert mine.state.criterion == pytest.approx(theirs.state.criterion, rel=1e-10)
    assert (mine.nobs, mine.ngroups) == (theirs.nobs, theirs.ngroups)
    pd.testing.assert_series_equal(mine.fe_params, theirs.fe_params, rtol=1e-7, atol=1e-9)
    for key, modes in theirs.random_effects.items():
        assert mine.random_effects[key].index.tolist() == modes.index.tolist()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
def test_workers_do_not_change_a_bit(frame: pd.DataFrame, client: Client, name: str) -> None:
    data, model = partitioned(frame), MODELS[name]
    there = interlace.fit(data=data, **model)
    with dask.config.set(scheduler="synchronous"):
        equal(there, interlace.fit(data=data, **model))


class DiesOnce:
    """Passes partitions on, but the process that is given a certain one for the k-th time ends there and then."""

    def __init__(self, folder: Path, k: int) -> None:
        self.folder, self.k = folder, k

    def __call__(self, part: pd.DataFrame) -> pd.DataFrame:
        if (part["z"] == MARK).any():
            count = len(list(self.folder.iterdir()))
            (self.folder / f"time {count}").touch()
            if count == self.k:
                os._exit(1)
        return part


@pytest.mark.parametrize("k", range(4), ids=["columns", "levels", "moments", "cross-products"])
def test_a_worker_that_dies_in_a_pass_changes_nothing(
    frame: pd.DataFrame, client: Client, tmp_path: Path, k: int
) -> None:
    formula = "y ~ scale(x) + color + (x | g) + (1 | item)"
    data = partitioned(frame.assign(z=frame["z"].where(frame.index != 450, MARK)))
    undisturbed = interlace.fit(formula, data)
    mine = interlace.fit(formula, data.map_partitions(DiesOnce(tmp_path, k), meta=data._meta))
    assert len(list(tmp_path.iterdir())) == 5  # four passes, and one of them again
    equal(mine, undisturbed)


def test_joblib_on_a_cluster(parquet: Path, client: Client) -> None:
    one = interlace.fit("y ~ scale(x) + (x | g)", [parquet])
    with joblib.parallel_config(backend="dask"):
        equal(interlace.fit("y ~ scale(x) + (x | g)", [parquet], control=interlace.Control(n_jobs=-1)), one)


def test_no_more_than_a_partition_comes_here(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    data = partitioned(frame, 9)
    monkeypatch.setattr(type(data), "compute", lambda *_, **__: pytest.fail("the whole frame is computed"))
    result = interlace.fit("y ~ scale(x) + color + (x | g)", data)
    sizes = [len(part) for part in PartitionedFrame(data).computed(["y"])]
    assert max(sizes) <= 101
    assert result.resid.size == 900


def test_sums_are_brought_home_by_a_tree(frame: pd.DataFrame) -> None:
    data = PartitionedFrame(partitioned(frame, 16))
    depth = data.total(lambda _: (1, 0), lambda a, b: (a[0] + b[0], 1 + max(a[1], b[1])), ["y"])
    assert depth == (16, 4)


def test_categories_that_dask_does_not_know(frame: pd.DataFrame) -> None:
    text = frame.sort_values("color", ascending=False, ignore_index=True)
    theirs = interlace.fit("y ~ color + (1 | item)", text.astype({"color": "category", "item": "category"}))
    for n in (1, 5):
        data = partitioned(text, n).astype({"color": "category", "item": "category"})
        assert not data["color"].cat.known
        mine = interlace.fit("y ~ color + (1 | item)", data)
        pd.testing.assert_series_equal(mine.fe_params, theirs.fe_params, rtol=1e-7)
        assert mine.random_effects["item"].index.tolist() == theirs.random_effects["item"].index.tolist()


def test_partitions_without_rows_and_of_other_types(frame: pd.DataFrame) -> None:
    parts = [
        frame.head(0),
        frame.iloc[:400],
        frame.iloc[400:500].assign(gaps=np.nan),
        frame.iloc[500:].astype({"g": "int8", "x": "float32"}),
        frame.head(0).astype({"g": "int8"}),
    ]
    data = dd.from_map(lambda i: parts[i], range(5), meta=frame.head(0))
    formula = "y ~ x + gaps + color + (1 | g)"
    mine, theirs = interlace.fit(formula, data), interlace.fit(formula, pd.concat(parts))
    assert mine.llf == pytest.approx(theirs.llf, rel=1e-10)
    assert mine.random_effects["g"].index.tolist() == theirs.random_effects["g"].index.tolist()


def test_partitions_of_types_that_do_not_fit(frame: pd.DataFrame) -> None:
    parts = [frame.iloc[:400], frame.iloc[400:].assign(x="text", g="text")]
    data = dd.from_map(lambda i: parts[i], range(2), meta=frame.head(0))
    with pytest.raises(DataError, match=r"'g' holds values of mixed types"):
        interlace.fit("y ~ 1 + (1 | g)", data)
    with pytest.raises(DataError, match=r"'x'"):
        interlace.fit("y ~ x + (1 | item)", data)


def test_no_rows(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="data has no rows"):
        interlace.fit("y ~ x + (1 | g)", partitioned(frame.head(0), 1))
    with pytest.raises(DataError, match=r"data has no rows|data cannot be read"):  # dask itself fails on it
        interlace.fit("y ~ x + (1 | g)", partitioned(frame).partitions[0:0])


def _broken(part: pd.DataFrame) -> pd.DataFrame:
    if len(part):
        raise ZeroDivisionError("the caller's own")
    return part


def test_errors_are_told(frame: pd.DataFrame, client: Client) -> None:
    data = partitioned(frame)
    with pytest.raises(DataError, match="data cannot be read: ZeroDivisionError: the caller's own"):
        interlace.fit("y ~ x + (1 | g)", data.map_partitions(_broken, meta=data._meta))
    with pytest.raises(DataError, match="na_action='raise' and values are missing in: gaps"):
        interlace.fit("y ~ gaps + (1 | g)", data, na_action="raise")
    with pytest.raises(FormulaError, match=r"lag\(x\) looks at the rows before"):
        interlace.fit("y ~ lag(x) + (1 | g)", data)
    with pytest.raises(FormulaError, match="formula refers to unknown variables"):
        interlace.fit("y ~ xx + (1 | g)", data)
    with pytest.raises(ModelError, match="has read its rows in batches"):
        interlace.fit("y ~ x + (1 | g)", data).simulate(1, seed=1)


def test_what_is_no_frame(frame: pd.DataFrame) -> None:
    data = partitioned(frame)
    for other in (data["y"], data.to_dask_array(), data.to_delayed()[0]):
        with pytest.raises(TypeError, match="data must be a pandas, polars or pyarrow data frame"):
            interlace.fit("y ~ x + (1 | g)", other)
