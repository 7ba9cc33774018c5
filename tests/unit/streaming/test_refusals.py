"""What a fit from batches cannot do is said, with what can be done instead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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
        ("y ~ poly(x, 2) + (1 | g)", r"poly\(x, 2\) needs all rows at once"),
        ("y ~ center(x) + (1 | g)", r"center\(x\)"),
        ("y ~ x + (1 + scale(x) | g)", r"scale\(x\)"),
        ("y ~ lag(x) + (1 | g)", r"lag\(x\)"),
        ("scale(y) ~ x + (1 | g)", r"scale\(y\)"),
        ("y ~ f(x) + (1 | g)", r"f\(x\)"),
    ],
)
def test_expressions_that_learn_from_the_rows(parquet: Path, formula: str, named: str) -> None:
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


def test_other_models_do_not_stream(parquet: Path) -> None:
    message = r"data must be a pandas.*only interlace.fit reads files and lazy frames in batches"
    with pytest.raises(TypeError, match=message):
        interlace.glmer("yes ~ x + (1 | g)", parquet, "binomial")
    with pytest.raises(TypeError, match=message):
        interlace.glmer_nb("count ~ x + (1 | g)", parquet)
    with pytest.raises(TypeError, match=message):
        interlace.cross_val("y ~ x + (1 | g)", parquet, "g")


def test_rows_that_change_while_they_are_read(tmp_path: Path, frame: pd.DataFrame) -> None:
    path = tmp_path / "rows.parquet"
    frame.to_parquet(path)
    result = interlace.fit("y ~ x + (1 | g)", path)
    frame.assign(g=frame["g"] + 1000).to_parquet(path)
    with pytest.raises(DataError, match="data changed while they were read"):
        _ = result.fittedvalues
