"""Packaged data: hashes, types, level order, descriptions and the error for an unknown name."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import time

import numpy as np
import pandas as pd
import pytest

from interlace import datasets
from interlace.datasets.catalogue import provenance
from interlace.datasets.reader import csv_bytes

LME4 = ["sleepstudy", "cbpp", "Penicillin", "Pastes", "Dyestuff", "Dyestuff2", "InstEval", "VerbAgg", "grouseticks"]
LME4 += ["cake", "Arabidopsis"]
HLMDIAG = ["radon", "autism", "ahd", "wages"]


def test_the_promised_sets_are_there() -> None:
    assert set(LME4 + HLMDIAG) <= set(datasets.names())


@pytest.mark.parametrize("name", datasets.names())
def test_the_stored_file_is_the_recorded_one(name: str) -> None:
    assert hashlib.sha256(csv_bytes(name)).hexdigest() == datasets.describe(name).sha256


@pytest.mark.parametrize("name", datasets.names())
def test_load_agrees_with_the_record(name: str) -> None:
    frame, about = datasets.load(name), datasets.describe(name)
    assert len(frame) == about.rows
    assert list(frame.columns) == list(about.columns)
    for column, kind in provenance()[name]["columns"].items():
        assert str(frame[column].dtype) == kind["type"]
        if kind["type"] == "category":
            assert frame[column].cat.ordered == kind["ordered"]


@pytest.mark.parametrize("name", datasets.names())
def test_no_label_is_lost(name: str) -> None:
    """A label missing from the recorded levels would silently become a missing value."""
    raw = pd.read_csv(io.BytesIO(csv_bytes(name)), dtype=str, keep_default_na=False)
    assert (datasets.load(name).isna() == (raw == "")).all(axis=None)


@pytest.mark.parametrize("name", datasets.names())
def test_descriptions_are_complete(name: str) -> None:
    about = datasets.describe(name)
    assert all([about.title, about.citation, about.license])
    assert all(about.columns.values())
    assert about.family in {"gaussian", "binomial", "poisson"}
    text = str(about)
    assert all(part in text for part in [about.citation, *about.columns])


@pytest.mark.parametrize("name", datasets.names())
def test_typical_models_name_real_columns(name: str) -> None:
    about = datasets.describe(name)
    words = set(re.findall(r"[A-Za-z_][\w.]*", about.typical_model)) - {"I", "log", "offset", "cbind"}
    assert words <= set(about.columns)


def test_levels_keep_the_order_of_r() -> None:
    assert list(datasets.load("InstEval")["dept"].cat.categories)[:3] == ["15", "5", "10"]
    oats = datasets.load("Oats")["Block"]
    assert oats.cat.ordered
    assert list(oats.cat.categories) == ["VI", "V", "III", "IV", "II", "I"]
    assert list(datasets.load("autism")["sicdegp"].cat.categories) == ["low", "med", "high"]


def test_labels_that_look_missing_are_labels() -> None:
    assert "None" in set(datasets.load("Alfalfa")["Date"])


@pytest.mark.parametrize("name", datasets.names())
def test_numbers_are_exact(name: str) -> None:
    """Python's float() is correctly rounded; the reader must not lose a bit."""
    rows = list(csv.reader(io.StringIO(csv_bytes(name).decode("utf-8"))))
    for column, cells in zip(rows[0], zip(*rows[1:], strict=True), strict=True):
        values = datasets.load(name)[column]
        if values.dtype == np.float64:
            expected = [float(cell) if cell else np.nan for cell in cells]
            np.testing.assert_array_equal(values, expected)


def test_missing_cells_are_missing() -> None:
    assert datasets.load("ahd")["sbvalue"].isna().sum() == 42


def test_every_call_gives_a_new_frame() -> None:
    first = datasets.load("Dyestuff")
    first.loc[0, "Yield"] = -1.0
    assert (datasets.load("Dyestuff")["Yield"] > 0).all()


@pytest.mark.parametrize(("wrong", "right"), [("sleepstudie", "sleepstudy"), ("insteval", "InstEval")])
def test_an_unknown_name_gets_a_suggestion(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"no data set is called '{wrong}'; did you mean '{right}'"):
        datasets.load(wrong)


def test_a_name_like_no_other_gets_the_list() -> None:
    with pytest.raises(ValueError, match=r"datasets\.names\(\)"):
        datasets.describe("zzzzzzzz")


def test_a_name_is_a_string() -> None:
    with pytest.raises(TypeError, match="not int"):
        datasets.load(3)  # type: ignore[arg-type]


def test_descriptions_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        datasets.describe("cake").columns["angle"] = "x"  # type: ignore[index]


def test_the_largest_sets_load_quickly() -> None:
    best = min(_seconds("InstEval") for _ in range(3))
    assert best < 0.15


def _seconds(name: str) -> float:
    start = time.perf_counter()
    datasets.load(name)
    return time.perf_counter() - start
