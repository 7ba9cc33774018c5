"""Expressions that learn from all rows give what they give in a frame, whatever the batches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import formulaic
import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import DataError
from interlace.streaming import batches, files

MODELS: dict[str, dict[str, Any]] = {
    "center": {"formula": "y ~ center(x) + (1 | g)"},
    "scale": {"formula": "y ~ scale(x) + color + (scale(x) | g)"},
    "orthogonal polynomial": {"formula": "y ~ poly(x, 3) + (poly(x, 2) | item)"},
    "B-spline": {"formula": "y ~ bs(x, df=5) * color + (1 | g)"},
    "natural spline": {"formula": "y ~ cr(x, df=4, constraints='center') + (1 | g)"},
    "cyclic spline": {"formula": "y ~ cc(z, df=4, constraints='center') + (1 | g)"},
    "arithmetic around it": {"formula": "y ~ I(center(x) ** 2) + center(x) + (center(x) || g)"},
    "two columns": {"formula": "y ~ center(x * z) + x + (1 | g)"},
    "response": {"formula": "scale(y) ~ x + (1 | g)"},
    "missing values": {"formula": "y ~ scale(gaps) + (1 | holes)"},
    "weights of zero": {"formula": "y ~ scale(x) + (1 | g)", "weights": "zeros"},
    "undefined elsewhere": {"formula": "y ~ scale(x) + log(z) + (1 | item)"},
    "whole numbers": {"formula": "y ~ poly(count, 2) + (1 | g)"},
    "truth values": {"formula": "y ~ center(yes) + (1 | g)"},
    "of the user": {"formula": "y ~ half(x) + (1 | g)", "control": interlace.Control()},
    "hashed": {"formula": "y ~ hashed(color, levels=4) + x + (1 | g)"},
}


@formulaic.transforms.stateful_transform
def half(data: Any, _state: Any = None) -> Any:
    _state.setdefault("mean", data.mean())
    return data / 2.0 - _state["mean"]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [64, 1000])
def test_the_fit_is_that_of_the_frame(
    frame: pd.DataFrame, parquet: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    model = dict(MODELS[name])
    if "control" in model:
        model["control"] = interlace.Control(extra_transforms={"half": half})
    monkeypatch.setattr(batches, "_ROWS", size)
    monkeypatch.setattr(files, "_PART_ROWS", 200)
    mine = interlace.fit(data=parquet, **model)
    theirs = interlace.fit(data=frame, **model)
    assert mine.state.criterion == pytest.approx(theirs.state.criterion, rel=1e-10)
    assert mine.nobs == theirs.nobs
    pd.testing.assert_series_equal(mine.fe_params, theirs.fe_params, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(mine.theta, theirs.theta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(mine.fittedvalues, theirs.fittedvalues, rtol=1e-7, atol=1e-8)
    if "response" not in name:
        new = frame.dropna().head(7)
        np.testing.assert_allclose(mine.predict(new), theirs.predict(new), rtol=1e-7, atol=1e-8)


def test_marginal_means(frame: pd.DataFrame, parquet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_ROWS", 100)
    formula = "y ~ poly(x, 2) + color + center(z) + (1 | g)"
    mine = interlace.emmeans(interlace.fit(formula, parquet), "color").to_frame()
    theirs = interlace.emmeans(interlace.fit(formula, frame), "color").to_frame()
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-7, atol=1e-10)


def test_later_calls_learn_again(frame: pd.DataFrame, parquet: Path) -> None:
    mine, theirs = (interlace.fit("y ~ scale(x) + (1 | g)", data) for data in (parquet, frame))
    new = "log(y - 90) ~ . + center(z)"
    pd.testing.assert_series_equal(mine.update(new).fe_params, theirs.update(new).fe_params, rtol=1e-8)


def test_no_more_is_kept_than_the_levels(parquet: Path) -> None:
    for name in ("x", "poly(x, 2)"):
        design = interlace.fit(f"y ~ {name} + color + (1 | g)", parquet).state.problem.design
        assert len(design.frame_of_levels) <= 45  # 40 levels of g, 5 of color


def test_nothing_to_learn_from(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame.assign(x=np.nan).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="no row is left"):
        interlace.fit("y ~ scale(x) + (1 | g)", tmp_path / "rows.parquet")


def test_a_mean_that_is_undefined_leaves_no_row(frame: pd.DataFrame, parquet: Path) -> None:
    for data in (parquet, frame):
        with pytest.raises(DataError, match="no row is left"):
            interlace.fit("y ~ center(log(x)) + (1 | g)", data)


def test_what_cannot_be_computed_is_named(parquet: Path) -> None:
    with pytest.raises(DataError, match=r"the term poly\(color, 2\) of the formula cannot be evaluated"):
        interlace.fit("y ~ poly(color, 2) + (1 | g)", parquet)
