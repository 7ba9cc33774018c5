"""Rows and groups that diagnostics look at one at a time, and sets of them by their labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.diagnostics.units import grouping_term, sets_of, units_of


@pytest.fixture(scope="module")
def shuffled():
    """Groups whose sorted order, order of appearance and order of digits all differ, with a row left out."""
    rng = np.random.default_rng(4)
    g = rng.permutation(np.repeat([f"g{i}" for i in range(1, 13)], 4))
    frame = pd.DataFrame({"y": rng.normal(size=48), "g": g, "h": rng.integers(0, 4, 48)}, index=np.arange(100, 148))
    frame.loc[103, "y"] = np.nan
    return frame


@pytest.fixture(scope="module")
def state(shuffled):
    return interlace.fit("y ~ 1 + (1 | g) + (1 | h)", shuffled).state


def test_groups_stand_in_order_of_first_appearance(state, shuffled):
    used = shuffled.dropna()
    for level in ("g", "h"):
        units = units_of(state, level)
        assert units.labels.tolist() == pd.unique(used[level]).tolist()
        for label, rows in zip(units.labels, units.rows, strict=True):
            assert rows.tolist() == np.flatnonzero((used[level] == label).to_numpy()).tolist()


def test_rows_carry_the_labels_of_the_frame(state, shuffled):
    units = units_of(state)
    assert len(units) == 47
    assert units.level is None
    assert units.labels.tolist() == shuffled.dropna().index.tolist()
    assert [rows.tolist() for rows in units.rows] == [[i] for i in range(47)]


@pytest.mark.parametrize("level", [True, 2, "x", None, 1.5, ["g"], np.array([1, 2]), pd.Series([1])])
def test_what_is_no_level(state, level):
    with pytest.raises(ValueError, match="is not a grouping factor of this model; use 1 for single rows, or 'g', 'h'"):
        units_of(state, level)


def test_spellings_of_an_interaction():
    state = interlace.fit("strength ~ 1 + (1 | batch / cask)", interlace.datasets.load("Pastes")).state
    for spelling in ("cask:batch", "batch:cask", "batch/cask", "batch : cask"):
        assert grouping_term(state, spelling).group == "cask:batch"


def test_sets_of_rows_by_label(state):
    assert sets_of(state, 1, [100, 147, 100]).rows[0].tolist() == [0, 46]
    assert sets_of(state, 1, np.array([101])).labels.tolist() == ["deleted"]
    several = sets_of(state, 1, {"a": [100], 2: pd.Index([101, 102])})
    assert several.level == "set"
    assert several.labels.tolist() == ["a", 2]
    assert [rows.tolist() for rows in several.rows] == [[0], [1, 2]]


def test_a_label_that_several_rows_share_means_all_of_them(shuffled):
    frame = shuffled.dropna().set_axis(np.arange(47) % 40, axis=0)
    state = interlace.fit("y ~ 1 + (1 | g)", frame).state
    assert sets_of(state, 1, [0]).rows[0].tolist() == [0, 40]


def test_sets_of_levels_whatever_their_type(state, shuffled):
    used = shuffled.dropna()
    expected = np.flatnonzero(used["h"].isin([0, 2]).to_numpy()).tolist()
    for labels in ([0, 2], ["0", "2"], [0.0, 2.0]):
        assert sets_of(state, "h", labels).rows[0].tolist() == expected


@pytest.mark.parametrize(
    ("level", "delete", "error", "message"),
    [
        (1, [103], ValueError, "delete=: 103 is not the label of a row in use"),
        ("g", ["g1", "g99"], ValueError, "delete=: 'g99' is not a level of 'g'"),
        ("g", "g1", TypeError, "must be a list of labels, or a dict of such lists; not str 'g1'"),
        (1, 5, TypeError, "must be a list of labels, or a dict of such lists; not int 5"),
        (1, {"a": 100}, TypeError, "a dict of such lists; not int 100"),
        ("g", {"a": "g1"}, TypeError, "a dict of such lists; not str 'g1'"),
        ("g", [["g1"], ["g2"]], TypeError, r"\['g1'\] is no label. Several sets have names"),
        (1, [], ValueError, "the set 'deleted' is empty"),
        (1, {}, ValueError, "names no set"),
        (1, {"a": [100], "b": []}, ValueError, "the set 'b' is empty"),
        ("nothing", ["a"], ValueError, "is not a grouping factor"),
    ],
)
def test_what_names_no_set(state, level, delete, error, message):
    with pytest.raises(error, match=message):
        sets_of(state, level, delete)


def test_labels_that_pandas_would_find_in_part(shuffled):
    """Part of a key is in an index and yet no label of it; the text of a date is one where rows have dates."""
    used = shuffled.dropna()
    keys = pd.MultiIndex.from_arrays([used["g"], np.arange(len(used))])
    days = pd.date_range("2020-01-01", periods=len(used))
    keyed, dated = (interlace.fit("y ~ 1 + (1 | g)", used.set_axis(index, axis=0)).state for index in (keys, days))
    assert sets_of(keyed, 1, [keys[2], keys[5]]).rows[0].tolist() == [2, 5]
    with pytest.raises(ValueError, match=f"{used['g'].iloc[0]!r} is not the label of a row in use"):
        sets_of(keyed, 1, [keys[2], used["g"].iloc[0]])
    for labels in ([days[2], days[5]], ["2020-01-03", "2020-01-06"], [days[2], "2020-01-06"]):
        assert sets_of(dated, 1, labels).rows[0].tolist() == [2, 5]
    with pytest.raises(ValueError, match="'2019-01-03' is not the label of a row in use"):
        sets_of(dated, 1, [days[2], "2019-01-03"])
    of_days = interlace.fit("y ~ 1 + (1 | g)", used.assign(g=days[used["g"].astype("category").cat.codes])).state
    with pytest.raises(ValueError, match="'2020-01-03' is not a level of 'g'"):
        sets_of(of_days, "g", ["2020-01-03"])
