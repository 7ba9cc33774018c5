"""A model fitted from batches is the model of the whole frame: numbers, names, levels and order."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import interlace
from interlace.streaming import batches

MODELS: dict[str, dict[str, Any]] = {
    "slopes": {"formula": "y ~ x + (x | g)"},
    "double bar": {"formula": "y ~ x + z + (x + z || g)"},
    "text and categories": {"formula": "y ~ color * size + x + (1 | g)"},
    "no intercept": {"formula": "y ~ 0 + size + x:color + (1 | g)"},
    "factor slopes": {"formula": "y ~ x + (0 + color | item)"},
    "nested": {"formula": "y ~ x + (1 | school/g)"},
    "nested, slopes": {"formula": "y ~ x + (x | school) + (1 | school:g)"},
    "crossed": {"formula": "y ~ x + color + (x | item) + (1 | g)"},
    "three factors": {"formula": "y ~ x + (1 | g) + (1 | item) + (1 | school)"},
    "same factor twice": {"formula": "y ~ x + (1 + x + z | g) + (0 + w | g)"},
    "groups": {"formula": "y ~ x", "groups": ["g", "item"]},
    "missing values": {"formula": "y ~ gaps + color + (1 | holes)"},
    "undefined": {"formula": "log(y - 97) ~ sqrt(x) + (1 | g)"},
    "computed factor": {"formula": "y ~ C(count > 3) + C(count) + (1 | g)"},
    "logical": {"formula": "y ~ yes + I(x > 0) + (1 | g)"},
    "dependent columns": {"formula": "y ~ x + I(2 * x) + color + (1 | g)"},
    "contrasts": {"formula": "y ~ color + C(size, contr.helmert) + (1 | g)", "contrasts": {"color": "sum"}},
    "weights": {"formula": "y ~ x + color + (x | g)", "weights": "w"},
    "weights of zero": {"formula": "y ~ x + color + (1 | g)", "weights": "zeros", "method": "ML"},
    "offset": {"formula": "y ~ x + offset(z / 2) + (1 | g)", "offset": "shift", "weights": "w"},
    "diagonal": {"formula": "y ~ x + (x | g)", "covariance": {"g": "diagonal"}},
    "large mean": {"formula": "I(y + 1e7) ~ I(x + 1e5) + (I(x + 1e5) | g)"},
    "dot": {"formula": "y ~ . + (1 | g)", "narrow": ["y", "z", "g", "x", "color"]},
}


def same(mine: interlace.LMMResult, theirs: interlace.LMMResult) -> None:
    assert mine.state.criterion == pytest.approx(theirs.state.criterion, rel=0, abs=1e-9 * max(theirs.nobs, 1e3))
    assert mine.nobs == theirs.nobs
    assert mine.formula == theirs.formula
    assert mine.ngroups == theirs.ngroups
    pd.testing.assert_series_equal(mine.fe_params, theirs.fe_params, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(mine.theta, theirs.theta, rtol=1e-6, atol=1e-7)
    assert mine.sigma == pytest.approx(theirs.sigma, rel=1e-8)
    for key, modes in theirs.random_effects.items():
        assert mine.random_effects[key].index.tolist() == modes.index.tolist()
        np.testing.assert_allclose(mine.random_effects[key], modes, rtol=1e-5, atol=1e-6)
    assert [check.code for check in mine.state.checks] == [check.code for check in theirs.state.checks]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [64, 1000])
def test_the_fit_is_that_of_the_frame(
    frame: pd.DataFrame, parquet: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, size: int
) -> None:
    model = dict(MODELS[name])
    if "narrow" in model:
        frame, parquet = frame[model.pop("narrow")], tmp_path / "narrow.parquet"
        frame.to_parquet(parquet)
    monkeypatch.setattr(batches, "_ROWS", size)
    mine = interlace.fit(data=parquet, **model)
    theirs = interlace.fit(data=frame, **model)
    same(mine, theirs)
    np.testing.assert_allclose(mine.fittedvalues, theirs.fittedvalues, rtol=1e-6)
    assert mine.fittedvalues.index.tolist() == theirs.fittedvalues.index.tolist()
    np.testing.assert_allclose(mine.residuals("pearson"), theirs.residuals("pearson"), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_sparse_storage_and_many_levels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    n = 6000
    data = pd.DataFrame({"a": rng.integers(0, 900, n), "b": rng.integers(0, 300, n), "x": rng.normal(size=n)})
    data["y"] = rng.normal(size=900)[data["a"]] + rng.normal(size=300)[data["b"]] + data["x"] + rng.normal(size=n)
    data.to_parquet(tmp_path / "rows.parquet")
    monkeypatch.setattr(batches, "_ROWS", 500)
    mine = interlace.fit("y ~ x + (1 | a) + (1 | b)", tmp_path / "rows.parquet")
    theirs = interlace.fit("y ~ x + (1 | a) + (1 | b)", data)
    storage = mine.state.problem.structure.storage
    assert storage == theirs.state.problem.structure.storage
    assert storage.sparse
    same(mine, theirs)


#: What needs no row of the data, or rows that it is given.
MEMBERS: dict[str, Callable[[interlace.LMMResult, pd.DataFrame], Any]] = {
    "summary": lambda model, _: str(model.summary()),
    "tidy": lambda model, _: model.tidy(),
    "glance": lambda model, _: model.glance(),
    "Satterthwaite": lambda model, _: model.fe_pvalues,
    "Kenward-Roger": lambda model, _: model.update(df_method="kenward-roger").fe_pvalues,
    "VarCorr": lambda model, _: str(interlace.VarCorr(model)),
    "ranef": lambda model, _: model.random_effects["g"],
    "standard errors of modes": lambda model, _: model.random_effects_se["g"],
    "Wald": lambda model, _: model.confint(method="wald"),
    "profile": lambda model, _: model.confint(),
    "profile of standard deviations": lambda model, _: model.confint(scale="sd"),
    "likelihood ratio": lambda model, _: interlace.anova(model.update(". ~ . - z"), model),
    "type 1": lambda model, _: interlace.anova_table(model, type=1),
    "type 2": lambda model, _: interlace.anova_table(model, type=2),
    "type 3": lambda model, _: interlace.anova_table(model, type=3),
    "type 3 with interactions": lambda model, _: interlace.anova_table(model.update(". ~ . + x:color + color:size")),
    "type 3, other contrasts": lambda model, _: interlace.anova_table(
        model.update(". ~ . + x:color", contrasts={"color": "sum"})
    ),
    "R2": lambda model, _: interlace.r2_nakagawa(model),
    "ICC": lambda model, _: interlace.icc(model),
    "R2 with an offset": lambda model, _: interlace.r2_nakagawa(model.update(offset="shift", weights="w")),
    "drop1": lambda model, _: interlace.drop1(model),
    "predict": lambda model, new: model.predict(new, interval="prediction"),
    "predict with some effects": lambda model, new: model.predict(new, re_formula="~ (1 | g)"),
    "endog": lambda model, _: model.model.endog,
}


@pytest.mark.filterwarnings("ignore::interlace.RankDeficiencyWarning")
@pytest.mark.parametrize("name", MEMBERS)
def test_members_of_the_result_are_those_of_a_fit_in_memory(name: str, frame: pd.DataFrame, parquet: Path) -> None:
    formula = "y ~ x + z + color + (x | g) + (1 | item)"
    data = frame[frame["color"] != "never"]
    mine = interlace.fit(formula, ds.dataset(parquet).filter(ds.field("color") != "never"))
    theirs = interlace.fit(formula, data)
    left, right = (MEMBERS[name](model, data.head(20)) for model in (mine, theirs))
    if isinstance(right, str):
        assert left == right
    elif isinstance(right, pd.DataFrame):
        pd.testing.assert_frame_equal(left, right, rtol=1e-6, atol=1e-9)
    elif isinstance(right, pd.Series):
        pd.testing.assert_series_equal(left, right, rtol=1e-6, atol=1e-9)
    else:
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("kind", ["nested", "crossed"])
def test_second_order_quantities_of_several_factors(kind: str, frame: pd.DataFrame, parquet: Path) -> None:
    formula = {"nested": "y ~ x + (x | school/g)", "crossed": "y ~ x + (x | g) + (x | item)"}[kind]
    data = frame.assign(y=frame["y"] + frame["school"].map({"n": 3.0, "s": -3.0, "e": 1.0, "w": 0.0}) * frame["x"])
    table = pa.Table.from_pandas(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)
        mine = interlace.fit(formula, ds.dataset(table), df_method="kenward-roger")
        theirs = interlace.fit(formula, data, df_method="kenward-roger")
    np.testing.assert_allclose(mine.fe_df, theirs.fe_df, rtol=1e-6)
    np.testing.assert_allclose(mine.fe_bse, theirs.fe_bse, rtol=1e-7)


@pytest.mark.parametrize(
    ("formula", "specs"),
    [
        ("y ~ x * color + size + (1 | g)", "~ color | size"),
        ("y ~ x + I(x**2) + yes + (1 | g)", "yes"),
        ("y ~ dummy * color + C(count) + (1 | g)", ["dummy", "count"]),
        ("y ~ school + block + log(w) + offset(shift) + (1 | g)", "block"),
        ("y ~ school/block + (1 | g)", ["block"]),
        ("y ~ log(x) + C(x > 0.5) + (1 | g)", "x"),
        ("y ~ x + z + (1 | g)", "~ 1"),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_marginal_means(
    frame: pd.DataFrame, formula: str, specs: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(batches, "_ROWS", 70)
    data = frame.assign(
        dummy=(frame["z"] > 0).astype(int), block=frame["school"].isin(["n", "s"]).map({True: "a", False: "b"})
    )
    data.to_parquet(tmp_path / "rows.parquet")
    mine = interlace.emmeans(interlace.fit(formula, tmp_path / "rows.parquet"), specs).to_frame()
    theirs = interlace.emmeans(interlace.fit(formula, data), specs).to_frame()
    pd.testing.assert_frame_equal(mine, theirs, rtol=1e-7, atol=1e-10)


def test_results_can_be_copied_and_pickled(parquet: Path) -> None:
    result = interlace.fit("y ~ x + (x | g)", parquet)
    for again in (copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert again.llf == result.llf
        np.testing.assert_array_equal(again.fittedvalues, result.fittedvalues)


def test_memory_does_not_grow_with_the_rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(batches, "_ROWS", 2000)
    peaks = []
    for n in (10_000, 100_000):
        rng = np.random.default_rng(1)
        data = pd.DataFrame({"g": rng.integers(0, 50, n), "x": rng.normal(size=n)})
        data["y"] = rng.normal(size=50)[data["g"]] + data["x"] + rng.normal(size=n)
        data.to_parquet(tmp_path / "rows.parquet", row_group_size=2000)
        interlace.fit("y ~ x + (1 | g)", tmp_path / "rows.parquet")  # what is imported or cached once does not count
        tracemalloc.start()
        interlace.fit("y ~ x + (1 | g)", tmp_path / "rows.parquet")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
