"""Files of fits."""

from __future__ import annotations

import datetime
import json
import warnings
import zipfile

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import interlace
from interlace.errors import DataError
from interlace.results.columns import decode_column, decode_index, encode_column, encode_index


def roundtrip(result, folder):
    result.save(folder / "fit.interlace")
    return interlace.load(folder / "fit.interlace")


def assert_same(a, b):
    for name in ("theta", "llf", "sigma", "aic"):
        assert_array_equal(getattr(a, name), getattr(b, name))
    pd.testing.assert_series_equal(a.fe_params, b.fe_params)
    pd.testing.assert_frame_equal(a.fe_cov, b.fe_cov)
    pd.testing.assert_series_equal(a.fittedvalues, b.fittedvalues, check_index_type=False)
    for key, modes in a.random_effects.items():
        assert_array_equal(modes, b.random_effects[key])
        assert modes.index.equals(b.random_effects[key].index)
        np.testing.assert_allclose(a.random_effects_se[key], b.random_effects_se[key], rtol=1e-10)
    assert str(a.summary()) == str(b.summary())
    assert a.checks == b.checks
    assert a.converged == b.converged


def test_the_same_numbers_come_back(slopes, slopes_ml, crossed, split, singular, tmp_path):
    for result in (slopes, slopes_ml, crossed, split, singular):
        loaded = roundtrip(result, tmp_path)
        assert_same(result, loaded)
        assert loaded.method == result.method
        assert loaded.convergence.optimizer == result.convergence.optimizer


def test_a_loaded_fit_goes_on_working(slopes, tmp_path):
    loaded = roundtrip(slopes, tmp_path)
    new = {"Days": [1.0, 2.0], "Subject": ["308", "?"]}
    np.testing.assert_allclose(loaded.predict(new, se=True), slopes.predict(new, se=True), rtol=1e-10)
    assert loaded.update(". ~ . + I(Days**2)").fe_params.size == 3
    assert loaded.update(method="ML").method == "ML"
    assert loaded.refit(2 * loaded.model.endog).sigma == pytest.approx(2 * slopes.sigma, rel=1e-5)
    assert_same(loaded, roundtrip(loaded, tmp_path))


def test_a_refit_keeps_its_response(slopes, tmp_path):
    again = slopes.refit(slopes.model.endog[::-1])
    loaded = roundtrip(again, tmp_path)
    assert_same(again, loaded)
    assert_array_equal(loaded.model.endog, again.model.endog)


def test_every_kind_of_argument(sleep, tmp_path):
    rng = np.random.default_rng(3)
    sleep["kind"] = pd.Categorical(np.tile(list("cabc"), 45), categories=list("cbaz"), ordered=True)
    sleep["ok"] = rng.random(180) > 0.5
    sleep["n"] = pd.array(rng.integers(0, 5, 180), dtype="Int64")
    sleep["when"] = pd.Timestamp("2020-02-02")
    sleep.loc[4, "n"] = pd.NA
    sleep.index = pd.Index([f"row {i}" for i in range(180)], name="label")
    result = interlace.fit(
        "Reaction ~ poly(Days, 2) + kind + ok + n + (Days | Subject)",
        sleep,
        weights=rng.uniform(0.5, 2, 180),
        offset=rng.normal(size=180),
        contrasts={"kind": "sum"},
        covariance={"Subject": "diagonal"},
        method="ML",
        control=interlace.Control(tol=1e-11),
    )
    loaded = roundtrip(result, tmp_path)
    assert_same(result, loaded)
    new = sleep.iloc[[0, 7]]
    for fit in (result, loaded):
        with pytest.raises(DataError, match="the offset of this fit was an array"):
            fit.predict(new)
    plain = result.update(offset=None)
    assert_array_equal(roundtrip(plain, tmp_path).predict(new), plain.predict(new))
    assert loaded.call.control == result.call.control


def test_weights_and_offset_by_name(weighted, tmp_path):
    loaded = roundtrip(weighted, tmp_path)
    assert_same(weighted, loaded)
    assert loaded.call.weights == "w"


def test_awkward_names_labels_and_rows(sleep, tmp_path):
    sleep = sleep.rename(columns={"Days": "time | of, day", "Subject": "who: is/it"})
    sleep["who: is/it"] = sleep["who: is/it"].astype(int)
    sleep["cond"] = [f'"{i}:é' for i in np.arange(180) % 3]
    sleep["w"] = np.where(np.arange(180) % 10 == 3, 0.0, 1.5)
    sleep.index = pd.Index(np.arange(180) // 2)
    result = interlace.fit("Reaction ~ cond + `time | of, day` + (1 | `who: is/it`)", sleep, weights="w")
    assert result.nobs == 162
    loaded = roundtrip(result, tmp_path)
    assert_same(result, loaded)
    assert loaded.fittedvalues.index.equals(result.fittedvalues.index)
    assert_array_equal(loaded.predict(sleep), result.predict(sleep))


@pytest.mark.parametrize(
    "formula",
    [
        "Reaction ~ lag(Days) + (1 | Subject)",
        "log(Reaction - 250) ~ poly(Days, 2) + (1 | Subject)",
        "log(Reaction - 250) ~ scale(Days) + part + (scale(Days) | Subject)",
    ],
)
def test_expressions_that_leave_rows_out(sleep, tmp_path, formula):
    """What an expression learned from rows that another one left out is learned again from the file."""
    sleep["part"] = np.where(sleep["Reaction"] < 240, "a", np.where(sleep["Days"] < 5, "b", "c"))
    sleep.loc[7, "Days"] = np.nan
    weights = np.where(np.arange(180) % 10 == 3, 0.0, 1.0 + np.arange(180) % 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "a" occurs in rows left out only
        result = interlace.fit(formula, sleep, weights=weights)
        assert result.nobs < 161
        loaded = roundtrip(result, tmp_path)
        assert_same(result, loaded)
        assert loaded.fittedvalues.index.equals(result.fittedvalues.index)
        pd.testing.assert_frame_equal(loaded.augment(), result.augment())
        assert_array_equal(loaded.predict(sleep), result.predict(sleep))
        assert loaded.update(method="ML").llf == pytest.approx(result.update(method="ML").llf, abs=1e-9)


def test_nested_and_interaction_terms(tmp_path):
    pastes = interlace.datasets.load("Pastes")
    result = interlace.fit("strength ~ 1 + (1 | batch/cask)", pastes)
    loaded = roundtrip(result, tmp_path)
    assert_same(result, loaded)
    assert_array_equal(loaded.predict(pastes), result.predict(pastes))


def test_functions_cannot_be_saved(sleep, tmp_path):
    control = interlace.Control(extra_transforms={"twice": _twice})
    result = interlace.fit("Reaction ~ twice(Days) + (1 | Subject)", sleep, control=control)
    with pytest.raises(DataError, match=r"extra_transforms \('twice'\) cannot be saved"):
        result.save(tmp_path / "f")
    assert not (tmp_path / "f").exists()


def _twice(x):
    return 2 * x


def test_nothing_in_the_file_is_a_pickle(slopes, tmp_path):
    slopes.save(tmp_path / "f")
    with zipfile.ZipFile(tmp_path / "f") as archive:
        assert sorted(archive.namelist()) == ["arrays.json", "arrays.npz", "meta.json"]
        meta = json.loads(archive.read("meta.json"))
        with archive.open("arrays.npz") as packed, np.load(packed, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype != object for name in arrays.files)
    assert (meta["format"], meta["version"]) == ("interlace-result", 1)
    assert meta["formula"] == "Reaction ~ Days + (Days | Subject)"


def rewrite(path, **changes):
    """Replace members of a zip file."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | changes
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_files_that_are_not_ours(slopes, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"y,x\n1,2\n")
    with pytest.raises(DataError, match="is not a result saved by interlace"):
        interlace.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other", "")
    with pytest.raises(DataError, match="is not a result saved by interlace"):
        interlace.load(path)
    with pytest.raises(FileNotFoundError):
        interlace.load(tmp_path / "absent")


def test_later_versions_and_damage(slopes, tmp_path):
    path = tmp_path / "f"
    slopes.save(path)
    meta = json.loads(zipfile.ZipFile(path).read("meta.json"))
    rewrite(path, **{"meta.json": json.dumps(meta | {"version": 99})})
    with pytest.raises(DataError, match="format version 99"):
        interlace.load(path)
    rewrite(path, **{"meta.json": "{"})
    with pytest.raises(DataError, match="is damaged"):
        interlace.load(path)
    estimates = meta["estimates"] | {"criterion": 1.0}
    rewrite(path, **{"meta.json": json.dumps(meta | {"estimates": estimates})})
    with pytest.raises(DataError, match="do not belong to the stored data"):
        interlace.load(path)
    slopes.save(path)
    rewrite(path, **{"arrays.npz": b"PK nothing"})
    with pytest.raises(DataError, match="is damaged"):
        interlace.load(path)
    slopes.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError):
        interlace.load(path)
    incomplete = {key: value for key, value in meta.items() if key != "columns"}
    slopes.save(path)
    rewrite(path, **{"meta.json": json.dumps(incomplete)})
    with pytest.raises(DataError, match="is damaged"):
        interlace.load(path)


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, 2, 3], dtype="int8"),
        pd.Series([0.1, np.nan, np.inf]),
        pd.Series([True, False, True]),
        pd.Series(["a", "", "é"], dtype=object),
        pd.Series(["a", "b", "a"], dtype="string"),
        pd.Series(["a", None, "a"], dtype=object),
        pd.Series([1, "b", 2.5], dtype=object),
        pd.Series([1, 2, 3], dtype="Int64"),
        pd.Series([1.5, 2, 3], dtype="Float32"),
        pd.Series([True, False, True], dtype="boolean"),
        pd.Series(pd.Categorical(["x", "y", "x"], categories=["y", "x", "z"], ordered=True)),
        pd.Series(pd.Categorical([3, 1, 3])),
        pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"])),
        pd.Series(pd.to_datetime(["2020-01-01", "2021-01-01", "2022-01-01"]).tz_localize("Europe/Berlin")),
        pd.Series(pd.to_timedelta([1, 2, 3], unit="s")),
    ],
    ids=lambda s: str(s.dtype),
)
def test_columns_come_back(column):
    arrays = {}
    described = json.loads(json.dumps(encode_column(column, "column|x", arrays)))
    pd.testing.assert_series_equal(decode_column(described, arrays), column)


def test_columns_that_cannot_be_saved():
    with pytest.raises(DataError, match="column 'x' has labels of type tuple"):
        encode_column(pd.Series([(1, 2), (3, 4)]), "column|x", {})


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(2, 8, 3),
        pd.Index([5, 5, 1], name="i"),
        pd.Index(["a", "b"]),
        pd.DatetimeIndex(["2020-01-01", "2020-03-01"]),
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
    ],
)
def test_row_labels_come_back(index):
    arrays = {}
    back = decode_index(json.loads(json.dumps(encode_index(index, arrays))), arrays)
    pd.testing.assert_index_equal(back, index, exact="equiv")


def test_paths(slopes, tmp_path):
    path = str(tmp_path / "fit").encode()
    slopes.save(path)
    assert interlace.load(path).llf == slopes.llf
    for wrong in (None, 5, ["a"]):
        for use in (slopes.save, interlace.load):
            with pytest.raises(TypeError, match=r"expected str, bytes or os\.PathLike object"):
                use(wrong)


@pytest.mark.parametrize("kind", ["Float64", "polars", "list"])
def test_weights_of_any_kind_with_missing_values(sleep, tmp_path, kind):
    values = [None, *([1.0, 2.0] * 90)[1:]]
    weights = {
        "Float64": lambda: pd.array(values, dtype="Float64"),
        "polars": lambda: pytest.importorskip("polars").Series(values),
        "list": lambda: values,
    }[kind]()
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", sleep, weights=weights, offset=weights)
    assert result.nobs == 179
    assert_same(result, roundtrip(result, tmp_path))


def test_arrow_dates_cannot_be_saved(sleep, tmp_path):
    pa = pytest.importorskip("pyarrow")
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(int(s)) for s in sleep["Subject"]]
    sleep["Subject"] = pd.Series(days, dtype=pd.ArrowDtype(pa.date32()))
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", sleep)
    with pytest.raises(DataError, match="'Subject' has labels of type date, which cannot be saved; make them text"):
        result.save(tmp_path / "fit")
