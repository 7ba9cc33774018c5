"""What a fit from batches cannot do is said, with what can be done instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import interlace
from interlace import influence
from interlace.errors import DataError, FormulaError, ModelError
from interlace.streaming import batches

ROWS = "has read its rows in batches"


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        ("y ~ lag(x) + (1 | g)", r"lag\(x\) looks at the rows before"),
        ("y ~ center(lag(x)) + (1 | g)", r"lag\(x\)\) looks at the rows before"),
        ("y ~ f(x) + (1 | g)", r"f\(x\) calls f\(\), a function of your own"),
        ("y ~ x + (scale(f(x)) | g)", r"calls f\(\), a function of your own"),
        ("f(y) ~ x + (1 | g)", r"calls f\(\), a function of your own"),
    ],
)
def test_expressions_that_look_at_other_rows(parquet: Path, formula: str, named: str) -> None:
    control = interlace.Control(extra_transforms={"f": np.square})
    with pytest.raises(FormulaError, match=named):
        interlace.fit(formula, parquet, control=control)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"weights": np.ones(900)}, DataError, "weights must be the name of a column"),
        ({"offset": [1.0] * 900}, DataError, "offset must be the name of a column"),
        ({"weights": "absent"}, DataError, "weights column 'absent' not found"),
        ({"weights": "z"}, DataError, "must not be negative"),
        ({"na_action": "raise", "weights": "gaps"}, DataError, r"missing in: gaps"),
        ({"na_action": "never"}, DataError, "na_action must be"),
        ({"formula": "y ~ xx + (1 | g)"}, FormulaError, "formula refers to unknown variables"),
        ({"formula": "y ~ x", "groups": "gg"}, DataError, "groups column 'gg' not found in data"),
        ({"formula": "color ~ x + (1 | g)"}, DataError, "must be numeric"),
        ({"formula": "y ~ x"}, ModelError, "no random effects"),
        ({"formula": "I(0 * y) ~ x + (1 | g)"}, ModelError, "constant"),
        ({"formula": "I(2 * x) ~ x + (1 | g)"}, ModelError, "exactly"),
        ({"formula": "I(1e80 * y) ~ x + (1 | g)"}, ModelError, "change its units"),
        ({"formula": "y ~ x + (1 | w)"}, ModelError, "as many levels"),
        ({"formula": "y ~ C(g) + (1 | g)"}, ModelError, "already determine"),
        ({"formula": "log(x - 100) ~ z + (1 | g)"}, DataError, "no row is left"),
        ({"formula": "y ~ I(1 / (count - 1)) + (1 | g)"}, DataError, "infinite"),
        ({"formula": "log(x) ~ z + (1 | g)", "na_action": "raise"}, DataError, "undefined"),
        ({"theta0": [1.0, 2.0]}, ValueError, "theta0 must hold 1 values"),
    ],
)
@pytest.mark.parametrize("size", [50, 5000])
def test_bad_models_are_refused_as_in_memory(
    parquet: Path,
    frame: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
    size: int,
) -> None:
    monkeypatch.setattr(batches, "_ROWS", size)
    given = {"formula": "y ~ x + (1 | g)"} | arguments
    with pytest.raises(error, match=message):
        interlace.fit(data=parquet, **given)
    if not any(isinstance(value, np.ndarray | list) for value in arguments.values()) or "theta0" in arguments:
        with pytest.raises(error, match=message):
            interlace.fit(data=frame, **given)


def test_no_rows(frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no rows"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(pa.Table.from_pandas(frame.head(0))))
    with pytest.raises(DataError, match="no row is left"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(pa.Table.from_pandas(frame.assign(x=np.nan))))
    with pytest.raises(DataError, match="no row is left"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(pa.Table.from_pandas(frame.assign(w=0.0))), weights="w")


def test_perfect_fits(frame: pd.DataFrame) -> None:
    exact = frame.assign(y=2.0 * frame["x"] + frame["g"] % 7)
    with pytest.raises(ModelError, match="perfect fit"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(pa.Table.from_pandas(exact)))
    nearly = exact.assign(y=exact["y"] + 1e-5 * frame["z"])
    with pytest.warns(interlace.ConvergenceWarning, match="residual variance"):
        interlace.fit("y ~ x + (1 | g)", ds.dataset(pa.Table.from_pandas(nearly)))


NEEDS_ROWS: dict[str, Callable[[interlace.LMMResult], Any]] = {
    "predict": lambda model: model.predict(),
    "augment": lambda model: model.augment(),
    "simulate": lambda model: model.simulate(1, seed=1),
    "bootstrap": lambda model: model.bootstrap(5, seed=1),
    "bootstrap intervals": lambda model: model.confint(method="boot", nsim=5, seed=1),
    "refit": lambda model: model.refit(np.ones(900)),
    "save": lambda model: model.save("never.interlace"),
    "influence": lambda model: influence.hlm_influence(model, level="g"),
    "Cook's distance": influence.cooks_distance,
    "residual tables": interlace.hlm_resid,
    "leverage": interlace.leverage,
    "plot": lambda model: model.plot(),
    "exog": lambda model: model.model.exog,
    "Z": lambda model: model.model.Z,
    "frame": lambda model: model.model.data.frame,
    "proportional weights": lambda model: interlace.emmeans(model, "color", weights="proportional"),
    "ranova": interlace.ranova,
}


@pytest.mark.parametrize("name", NEEDS_ROWS)
def test_what_needs_all_rows_at_once(parquet: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = interlace.fit("y ~ x + color + (x | g)", parquet)
    with pytest.raises(ModelError, match=ROWS):
        NEEDS_ROWS[name](result)
    assert not list(tmp_path.iterdir())


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": Path,
    "text": str,
    "list": lambda path: [path],
    "dataset": ds.dataset,
    "lazy frame": pl.scan_parquet,
    "relation": lambda path: duckdb.sql(f"select * from '{path}'"),
    "dask": dd.read_parquet,
}


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize("kind", SOURCES)
def test_other_models_do_not_stream(parquet: Path, frame: pd.DataFrame, kind: str) -> None:
    data = SOURCES[kind](parquet)
    linear = interlace.fit("y ~ x + (1 | g)", frame)
    binomial = interlace.glmer("yes ~ x + (1 | g)", frame, "binomial")
    calls: list[Callable[[], Any]] = [
        lambda: interlace.glmer("yes ~ x + (1 | g)", data, "binomial"),
        lambda: interlace.glmer_nb("count ~ x + (1 | g)", data),
        lambda: interlace.cross_val("y ~ x + (1 | g)", data, "g"),
        lambda: interlace.cross_val("yes ~ x + (1 | g)", data, "g", family="binomial"),
        lambda: binomial.update(data=data),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="only interlace.fit reads files and lazy frames in batches.*a sample"):
            call()
    for model in (linear, binomial):
        with pytest.raises(TypeError, match="newdata must be a pandas"):
            model.predict(data)
    assert linear.update(data=data).llf == pytest.approx(linear.llf, rel=1e-10)


def test_rows_that_change_while_they_are_read(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    result = interlace.fit("y ~ x + (1 | g)", path)
    frame.assign(g=frame["g"] + 1000).to_parquet(path)
    with pytest.raises(DataError, match="data changed while they were read"):
        _ = result.fittedvalues
