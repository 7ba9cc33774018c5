"""Data that cannot be used: every message names the column, level or argument, and says what to do."""

import datetime
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest

from interlace.errors import DataError, FormulaError, ModelError
from interlace.frames.build import build_design
from interlace.frames.newdata import new_rows

FORMULA = "y ~ x + f + (1 | g)"


@pytest.fixture
def data():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "y": rng.normal(size=40),
            "x": rng.uniform(1, 2, size=40),
            "f": rng.choice(list("abc"), 40),
            "g": np.repeat(list("pqrs"), 10),
        }
    )


def refused(message, formula, frame, error=DataError, **kwargs):
    with pytest.raises(error, match=message) as caught:
        build_design(formula, frame, **kwargs)
    assert isinstance(caught.value, ValueError | TypeError)


def test_empty_frame(data):
    refused("data has no rows", FORMULA, data.head(0))
    refused("data has no rows", FORMULA, {c: [] for c in data})
    refused("data has no rows", FORMULA, pl.from_pandas(data.head(0)))
    refused("unknown variables", FORMULA, pd.DataFrame(), error=FormulaError)


def test_all_rows_missing(data):
    refused(r"no row is left.*x \(40\)", FORMULA, data.assign(x=np.nan))
    refused(r"no row is left.*g \(40\)", FORMULA, data.assign(g=None))
    refused(r"no row is left.*y \(40\)", FORMULA, data.assign(y=pd.Series([pd.NA] * 40, dtype="Int64")))
    half = np.arange(40) < 20
    refused(r"x \(20\), f \(20\)", FORMULA, data.assign(x=data.x.where(half), f=data.f.where(~half)))


def test_na_action_raise(data):
    data.loc[[3, 4], "x"] = np.nan
    refused(r"missing in: x \(2\)", FORMULA, data, na_action="raise")
    build_design(FORMULA, data.dropna(), na_action="raise")
    refused("na_action must be", FORMULA, data, na_action="omit")


@pytest.mark.parametrize("bad", [np.inf, -np.inf])
def test_infinite_values(data, bad):
    spoiled = data.copy()
    spoiled.loc[[2, 9], "x"] = bad
    refused("column 'x' has 2 infinite values", FORMULA, spoiled)
    refused("column 'x' has 2 infinite values", "y ~ f + (x | g)", spoiled)
    refused("column 'x' has 2 infinite values", "y ~ poly(x, 2) + (1 | g)", spoiled)
    refused("column 'x' has 2 infinite values", "y ~ log(x) + (1 | g)", spoiled)
    spoiled = data.copy()
    spoiled.loc[2, "y"] = bad
    refused("response 'y' has 1 infinite value;", FORMULA, spoiled)
    refused("'y' has 1 infinite value", "y / 2 ~ x + (1 | g)", spoiled)
    weights = np.ones(40)
    weights[0] = bad
    refused("weights has 1 infinite value", FORMULA, data, weights=weights)
    refused("offset has 1 infinite value", FORMULA, data, offset=weights)
    refused("weights column 'w' has 1 infinite", FORMULA, data.assign(w=weights), weights="w")


def test_infinite_values_in_dropped_rows_do_not_matter(data):
    data.loc[2, "x"] = np.inf
    data.loc[2, "f"] = None
    assert len(build_design(FORMULA, data).y) == 39


def test_expressions_that_become_infinite_or_undefined(data):
    refused(r"log\(x - x\) in the formula has 40 infinite", "y ~ log(x - x) + (1 | g)", data)
    refused("response log.* has infinite values", "log(x - x) ~ x + (1 | g)", data)
    refused("no row is left: an expression", "y ~ log(-x) + (1 | g)", data)
    refused(r"offset\(log\(x - x\)\) has infinite", "y ~ x + offset(log(x - x)) + (1 | g)", data)
    partly = data.assign(z=np.where(np.arange(40) == 5, -1.0, 1.0))
    assert len(build_design("y ~ log(z) + (1 | g)", partly).y) == 39
    refused("undefined .NaN. in 1 rows", "y ~ log(z) + (1 | g)", partly, na_action="raise")


def test_response_must_be_numeric(data):
    refused("response 'f' must be numeric.*needs a generalized linear mixed model", "f ~ x + (1 | g)", data)
    refused(
        "response 'b' must be numeric.*true/false.*needs a generalized linear mixed model",
        "b ~ x + (1 | g)",
        data.assign(b=data.x > 1.5),
    )
    refused("needs a generalized linear mixed model", "I(y > 0) ~ x + (1 | g)", data)
    refused("needs a generalized linear mixed model", "y ~ x + (1 | g)", data.assign(y=data.f.astype("category")))
    refused("response 'y' must be numeric", FORMULA, data.assign(y=data.y.astype(str)))
    refused("response 'y' must be numeric", FORMULA, data.assign(y=pd.Timestamp("2020-01-01")))
    refused("response 'y' must be numeric", FORMULA, data.assign(y=data.y + 1j))
    refused("not one number a row", "poly(y, 2) ~ x + (1 | g)", data)
    refused("'f' holds text", "log(f) ~ x + (1 | g)", data)


def test_predictors_that_have_no_numbers(data):
    refused(
        "column 'x' cannot be used as a predictor.*turn it into a number",
        FORMULA,
        data.assign(x=pd.Timestamp("2020-01-01")),
    )
    refused("column 'x' cannot be used", FORMULA, data.assign(x=pd.Timedelta("1D")))
    refused("column 'x' cannot be used", FORMULA, data.assign(x=datetime.date(2020, 1, 1)))
    refused("column 'x' cannot be used.*complex", FORMULA, data.assign(x=data.x + 1j))
    mixed = data.assign(x=[1, "a"] * 20)
    refused(r"column 'x' cannot be used.*mixed types \(int, str\)", FORMULA, mixed)
    refused("column 'x' cannot be used", FORMULA, data.assign(x=[[1]] * 40))
    refused("column 'x' cannot be used", FORMULA, pl.from_pandas(data).with_columns(x=pl.date(2020, 1, 1)))
    assert build_design(FORMULA, data.assign(x=[Decimal("1.5"), Decimal("2")] * 20)).X[0, 1] == 1.5


def test_groups_of_mixed_types(data):
    refused(
        r"column 'g' holds values of mixed types \(int, str\).*astype\(str\)", FORMULA, data.assign(g=[1, "a"] * 20)
    )
    refused("complex", FORMULA, data.assign(g=data.x + 1j))


def test_duplicate_column_names(data):
    double = pd.concat([data, data[["x"]]], axis=1)
    refused("data has 2 columns called 'x'.*rename", FORMULA, double)
    refused("data has 2 columns called 'g'", FORMULA, pd.concat([data, data[["g"]]], axis=1))
    assert build_design("y ~ f + (1 | g)", double).X.shape[0] == 40
    refused("several levels of column names", FORMULA, pd.concat({"a": data}, axis=1))


def test_data_of_the_wrong_kind(data):
    for wrong in ([1, 2], "data.csv", None, np.ones((3, 3)), 3.5):
        refused("data must be a pandas, polars or pyarrow data frame", FORMULA, wrong, error=TypeError)
    refused("It is lazy", FORMULA, pl.from_pandas(data).lazy(), error=TypeError)
    columns = {c: data[c].to_numpy() for c in data}
    refused("data.'x'. has 3 values", FORMULA, {**columns, "x": [1, 2, 3]})
    refused("must be one-dimensional", FORMULA, {**columns, "x": np.ones((40, 2))})
    refused("single value", FORMULA, {"y": 3.0, "x": 1.0})
    refused("must be a list or an array", FORMULA, {**columns, "x": "abc"})


def test_weights(data):
    good = np.ones(40)
    refused("weights must not be negative; 1 value is", FORMULA, data, weights=np.where(np.arange(40) == 3, -1, good))
    refused("weights has 39 values, but data has 40 rows", FORMULA, data, weights=good[1:])
    refused("every row has weight zero", FORMULA, data, weights=0 * good)
    refused("weights must be numeric", FORMULA, data, weights=["a"] * 40)
    refused("weights must be numeric", FORMULA, data, weights=good + 1j)
    refused("weights column 'f' must be numeric", FORMULA, data, weights="f")
    refused("weights column 'ww' not found in data .did you mean 'w'", FORMULA, data.assign(w=1.0), weights="ww")
    refused("it has shape", FORMULA, data, weights=np.ones((40, 1)))
    refused("it has shape", FORMULA, data, weights=2.0)
    refused("no row is left", FORMULA, data, weights=good * np.nan)
    for kind in (list, tuple, pd.Series, pl.Series, np.array):
        np.testing.assert_array_equal(build_design(FORMULA, data, weights=kind(list(good))).weights, good)
    relabeled = pd.Series(np.arange(1.0, 41), index=np.arange(100, 140))  # by position, whatever its labels
    np.testing.assert_array_equal(build_design(FORMULA, data, weights=relabeled).weights, relabeled)


def test_series_in_another_order_than_the_data(data):
    backwards = pd.Series(np.arange(1.0, 41), index=np.arange(40)[::-1])
    refused("weights has the index labels of data in another order.*reindex", FORMULA, data, weights=backwards)
    refused("offset has the index labels of data in another order.*to_numpy", FORMULA, data, offset=backwards)
    columns = {name: data[name] for name in data}
    np.testing.assert_array_equal(build_design(FORMULA, columns, weights=backwards.to_numpy()).weights, backwards)
    refused(r"data\['x'\] has the index labels of the column before it", FORMULA, {**columns, "x": data.x.iloc[::-1]})
    assert len(build_design(FORMULA, {**columns, "x": data.x.set_axis(range(7, 47))}).y) == 40


def test_contrasts_and_covariance_of_the_wrong_kind(data):
    for name in ("contrasts", "covariance", "extra_transforms"):
        for wrong in ("sum", ["sum"], {1: "sum"}):
            refused(f"{name} must be a dict with names as keys", FORMULA, data, error=TypeError, **{name: wrong})
    refused("choose one of 'treatment', 'sum'", FORMULA, data, error=FormulaError, contrasts={"f": np.eye(3)})


def test_objects_that_name_groups(data):
    ids = {name: uuid.UUID(int=i) for i, name in enumerate("pqrs")}
    expected = build_design(FORMULA, data).terms[0]
    found = build_design(FORMULA, data.assign(g=data.g.map(ids)))
    np.testing.assert_array_equal(found.terms[0].codes, expected.codes)
    assert new_rows(found, data.assign(g=data.g.map(ids)).tail(1)).codes[0].tolist() == [3]
    refused(r"mixed types \(tuple\)", FORMULA, data.assign(g=[(name,) for name in data.g]))
    refused("column 'g' cannot be used as a predictor", "y ~ g + (1 | f)", data.assign(g=data.g.map(ids)))


def test_offset(data):
    refused("offset has 3 values", FORMULA, data, offset=[1, 2, 3])
    refused("offset column 'nope' not found in data", FORMULA, data, offset="nope")
    refused("offset column 'f' must be numeric", FORMULA, data, offset="f")
    refused("offset 'f' must be numeric", "y ~ x + offset(f) + (1 | g)", data)
    refused("row-by-row arithmetic", "y ~ x + offset(scale(x)) + (1 | g)", data, error=FormulaError)


def test_a_slope_factor_with_one_level_adds_nothing(data):
    term = build_design("y ~ x + (k | g)", data.assign(k="a")).terms[0]
    assert term.names == ("Intercept",)


def test_new_data_errors(data):
    design = build_design(FORMULA, data)
    with pytest.raises(DataError, match="newdata lacks columns.*'f', 'g'"):
        new_rows(design, data[["y", "x"]])
    with pytest.raises(DataError, match="'x' .did you mean 'xx'"):
        new_rows(design, data.rename(columns={"x": "xx"}))
    with pytest.raises(DataError, match="factor 'f' has level 'zz' that the fit has not seen .it knows 'a', 'b', 'c'"):
        new_rows(design, data.head(2).assign(f=["a", "zz"]))
    with pytest.raises(DataError, match="column 'x' must be numeric"):
        new_rows(design, data.head(2).assign(x=["a", "b"]))
    with pytest.raises(DataError, match="column 'x' has 1 infinite value"):
        new_rows(design, data.head(2).assign(x=[1, np.inf]))
    with pytest.raises(TypeError, match="newdata must be a pandas, polars"):
        new_rows(design, [1])
    with pytest.raises(DataError, match=r"newdata\['x'\] is a single value or an iterator \(int\)"):
        new_rows(design, {"x": 1, "f": "a", "g": "p"})
    coded = build_design("y ~ C(f, contr.sum) + (1 | g)", data)
    with pytest.raises(DataError, match="factor 'f' has level 'zz'"):
        new_rows(coded, data.head(2).assign(f=["a", "zz"]))
    spline = build_design("y ~ bs(x, df=4) + (1 | g)", data)
    with pytest.raises(DataError, match=r"the term bs\(x, df=4\) of the formula cannot be evaluated"):
        new_rows(spline, data.head(2).assign(x=[1, 50]))


def test_errors_are_the_documented_classes(data):
    for formula, error in [("y ~ x", ModelError), ("y ~ q + (1 | g)", FormulaError), ("y ~ x + (1 | q)", DataError)]:
        with pytest.raises(error) as caught:
            build_design(formula, data)
        assert isinstance(caught.value, ValueError)
        assert not isinstance(caught.value, KeyError)


def test_a_factor_with_too_many_levels_for_a_predictor():
    n = 30_000
    labels = [f"id{i}" for i in range(n)]
    wide = pd.DataFrame({"y": np.arange(n) % 7.0, "id": labels, "g": np.arange(n) % 50})
    for formula in ("y ~ id + (1 | g)", "y ~ 1 + (id | g)", "y ~ C(id) + (1 | g)"):
        refused(r"matrix of 30000 rows and 30000 columns \(7 GB\).*can be a grouping factor", formula, wide, ModelError)
