"""Columns as text, their hashes, and the data file."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import interlace
from interlace.reporting import data_hash, read_data
from interlace.reporting.data import ColumnType, column_type, texts_of, typed
from interlace.reporting.stored import model_data
from interlace.results.fixed import coefficient_names

PLAIN = {"x": [1.0, 0.1, -2.5e-300, 1e22], "n": [1, 2, 3, 4], "b": [True, False, True, True], "g": ["a", "ä", "a", ""]}


def test_hash_is_what_the_documentation_says() -> None:
    texts = {
        "x": ["1", "0.1", "-2.5e-300", "1e+22"],
        "n": ["1", "2", "3", "4"],
        "b": ["true", "false", "true", "true"],
        "g": ["a", "ä", "a", ""],
    }

    def sha(value: object) -> str:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    assert data_hash(PLAIN) == sha(sorted([name, sha(column)] for name, column in texts.items()))


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame(PLAIN),
        pd.DataFrame(PLAIN).convert_dtypes(),
        pd.DataFrame(PLAIN).astype({"g": "category", "n": "float32", "b": object}),
        pd.DataFrame(PLAIN).convert_dtypes(dtype_backend="pyarrow"),
        pd.DataFrame(PLAIN, index=list("abcd"))[["g", "b", "n", "x"]],
        pl.DataFrame(PLAIN),
        pl.DataFrame(PLAIN).with_columns(pl.col("g").cast(pl.Categorical), pl.col("n").cast(pl.UInt8)),
        pa.table(PLAIN),
    ],
    ids=["pandas", "nullable", "other types", "arrow types", "other order", "polars", "polars types", "arrow"],
)
def test_hash_does_not_depend_on_library_types_or_order_of_columns(frame: object) -> None:
    assert data_hash(frame) == data_hash(PLAIN)


@pytest.mark.parametrize(
    "changed",
    [
        PLAIN | {"x": [1.0, np.nextafter(0.1, 1), -2.5e-300, 1e22]},
        PLAIN | {"g": ["a", "ä", "", "a"]},
        {name: list(reversed(values)) for name, values in PLAIN.items()},
        {"y" if name == "x" else name: values for name, values in PLAIN.items()},
        {name: values for name, values in PLAIN.items() if name != "b"},
    ],
    ids=["last bit", "two swapped", "rows reversed", "renamed", "column less"],
)
def test_hash_sees_every_change(changed: dict[str, list[object]]) -> None:
    assert data_hash(changed) != data_hash(PLAIN)


@pytest.mark.parametrize(
    "values",
    [
        pd.Series([0.1, 1 / 3, 5e-324, 1.7976931348623157e308]),
        pd.Series([2**62, -(2**62), 0, 2**53 + 1]),
        pd.Series([True, False, True, True]),
        pd.Series(["a", "", " x ", 'quo"te,\n']),
        pd.Series(pd.Categorical(["b", "a", "b", "b"], categories=["b", "a", "unused"])),
        pd.Series(pd.Categorical([3.5, 1.0, 3.5, 1.0], ordered=True)),
    ],
    ids=["reals", "whole", "truth", "text", "levels", "ordered"],
)
def test_values_come_back_from_text(values: pd.Series) -> None:
    texts = texts_of("x", values)
    again = typed("x", texts, column_type("x", values))  # type: ignore[arg-type]
    pd.testing.assert_series_equal(again, values, check_dtype=str(values.dtype) not in ("object", "str"))


def test_missing_values_are_none() -> None:
    assert texts_of("x", pd.Series([1.5, None, np.nan])) == ["1.5", None, None]
    assert texts_of("g", pd.Series(["a", None], dtype="category")) == ["a", None]
    assert texts_of("n", pd.Series([1, None], dtype="Int64")) == ["1", None]


@pytest.mark.parametrize(("text", "kind"), [("x", "number"), ("1.5", "integer"), ("yes", "boolean")])
def test_text_of_another_type_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ValueError, match="column 'col' should hold values of type"):
        typed("col", [text], ColumnType(kind))  # type: ignore[arg-type]


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="column 'g' has the value 'c', which is none of its levels"):
        typed("g", ["c"], ColumnType("text", ("a", "b")))


def test_data_file_holds_the_columns_used_and_nothing_else(tmp_path: Path) -> None:
    data = interlace.datasets.load("sleepstudy").assign(secret="s")
    data.loc[3, "Days"] = np.nan
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", data)
    folder = interlace.report(result, tmp_path / "out", check_r=False).folder
    with (folder / "data.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert sorted(header) == ["Days", "Reaction", "Subject"]
    assert len(rows) == 179
    again = read_data(folder)
    assert list(again["Subject"].cat.categories) == list(data["Subject"].cat.categories)
    refit = interlace.fit("Reaction ~ Days + (1 | Subject)", again)
    np.testing.assert_array_equal(refit.state.beta, result.state.beta)
    record = json.loads((folder / "results.json").read_text("utf-8"))["models"][0]["data"]
    assert record["sha256"] == data_hash(data.dropna(), ["Reaction", "Days", "Subject"])


def test_arrays_become_columns() -> None:
    data = interlace.datasets.load("sleepstudy")
    weights = np.linspace(1.0, 2.0, len(data))
    result = interlace.fit("Reaction ~ Days", data, groups="Subject", weights=weights, offset=weights**2)
    held, call = model_data(result)
    frame = held.frame()
    np.testing.assert_array_equal(frame[call["call"]["weights"]], weights)
    np.testing.assert_array_equal(frame[call["call"]["offset"]], weights**2)
    again = interlace.fit("Reaction ~ Days", frame, groups="Subject", weights="(weights)", offset="(offset)")
    np.testing.assert_array_equal(again.state.beta, result.state.beta)
    assert coefficient_names(again.state) == ["Intercept", "Days"]


def test_a_fit_to_another_response_is_refused(sleepstudy: interlace.LMMResult) -> None:
    with pytest.raises(ValueError, match="the response 'Reaction' of this fit is not what its formula gives"):
        model_data(sleepstudy.refit(sleepstudy.model.endog[::-1]))


def test_functions_of_the_user_are_refused() -> None:
    data = interlace.datasets.load("sleepstudy")
    control = interlace.Control(extra_transforms={"half": lambda x: x / 2})
    result = interlace.fit("Reaction ~ half(Days) + (1 | Subject)", data, control=control)
    with pytest.raises(ValueError, match="extra_transforms"):
        model_data(result)


def test_labels_whose_texts_sort_otherwise_are_refused() -> None:
    data = interlace.datasets.load("sleepstudy")
    days = data["Days"].astype(int)
    months = [pd.Period(year=2000 + day, month=1, freq="M") for day in days]
    by_month = interlace.fit("Reaction ~ 1 + (1 | when)", data.assign(when=pd.PeriodIndex(months)))
    assert model_data(by_month)[0].frame()["when"].iloc[0] == "2000-01"
    intervals = pd.IntervalIndex.from_arrays(days + 8, days + 9)  # as text (10, 11] comes before (8, 9]
    with pytest.raises(ValueError, match="the data as text do not give the same model matrices: make the grouping"):
        model_data(interlace.fit("Reaction ~ 1 + (1 | when)", data.assign(when=intervals)))
