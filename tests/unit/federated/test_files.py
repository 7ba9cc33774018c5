"""Plans and parts as files; wrong ones are refused in words."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from interlace import federated
from interlace.errors import DataError
from tests.unit.core.test_stored import changed
from tests.unit.federated.test_pooled import EXACT, assert_same_fit, crossed, fit_all

FORMULA = "y ~ x * t + (x | g) + (1 | h)"


def part_of(site: int, **summary: Any) -> federated.Part:
    df = crossed()
    plan = federated.plan(FORMULA, levels={"t": ["a", "b", "c"]}, weights="w")
    return federated.summarize(plan, df[df["k"] % 3 == site], f"site {site}", min_cell=1, **summary)


def test_a_fit_from_files_is_that_from_parts(tmp_path):
    parts = [part_of(k) for k in range(3)]
    for part in parts:
        part.save(tmp_path / f"{part.sites[0]}.npz")
    plan = parts[0].plan
    plan.save(tmp_path / "plan.json")
    plan = federated.Plan.load(tmp_path / "plan.json")
    paths = [tmp_path / f"site {k}.npz" for k in range(3)]
    ours, theirs = (
        federated.fit(plan, [str(paths[0]), *paths[1:]], control=EXACT),
        federated.fit(plan, parts, control=EXACT),
    )
    np.testing.assert_array_equal(ours.state.theta, theirs.state.theta)
    assert ours.state.criterion == theirs.state.criterion
    assert_same_fit(ours, fit_all(FORMULA, crossed(), weights="w"))


def test_every_number_of_a_part_is_kept(tmp_path):
    part = part_of(0) + part_of(1)
    part.save(tmp_path / "part.npz")
    again = federated.Part.load(tmp_path / "part.npz")
    assert repr(again) == repr(part)
    assert (again.plan, again.labels, again.min_cell) == (part.plan, part.labels, part.min_cell)
    assert again.disclosed().equals(part.disclosed())
    for name in ("root", "meetings"):
        np.testing.assert_array_equal(getattr(again.sums, name), getattr(part.sums, name))
    for name in ("own", "with_v", "counts"):
        for a, b in zip(getattr(again.sums, name), getattr(part.sums, name), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(again.sums.pairs[0, 1], part.sums.pairs[0, 1])
    assert again.extras.number_sums == part.extras.number_sums


@pytest.mark.parametrize(
    ("meta", "arrays", "message"),
    [
        ({"format": "interlace-result"}, {}, "is not a part"),
        ({"version": 2}, {}, "format version 2"),
        ({"plan": {"formula": "y ~ x"}}, {}, "damaged"),
        ({"plan": {"formula": FORMULA, "levels": {"t": ["a", "b"]}, "weights": "w"}}, {}, "root is float64 of shape"),
        ({"plan": {"speed": 1}}, {}, "its plan cannot be read"),
        ({"plan": {"formula": "y ~ __import__('os') + (1 | g)", "levels": {}}}, {}, "damaged"),
        ({"n": 299}, {}, "do not add up to the 299 rows"),
        ({"n": "all"}, {}, "damaged"),
        ({"sites": []}, {}, "sites"),
        ({"log_weights": float("nan")}, {}, "impossible"),
        ({"labels": [[["g"]], [["h"]]]}, {}, r"counts\[0\]"),
        ({"number_sums": 3}, {}, "damaged"),
        ({}, {"meetings": np.zeros((3, 2), dtype=np.int64)}, "pairs|occur together"),
        ({}, {"meetings": np.full((3, 2), 10**9)}, "damaged|pairs|occur together"),
        ({}, {"root": np.zeros((7, 7))}, "do not add up"),
        ({}, {"root": np.full((7, 7), np.nan)}, "finite|shape"),
        ({}, {"v|scale": np.zeros(7)}, "impossible"),
        ({}, {"own|0": np.ones((30, 2, 2)) * [[1.0, 2.0], [3.0, 1.0]]}, "symmetric"),
        ({}, {"own|0": np.ones((30, 2, 2)) * [[1.0, 2.0], [2.0, 1.0]]}, "negative"),
        ({}, {"with_v|1": np.ones((12, 1, 7))}, "do not add up to those over all rows"),
        ({}, {"pairs|0|1": np.array(["x"])}, "pairs"),
    ],
)
def test_wrong_files_are_refused(tmp_path, meta, arrays, message):
    path = tmp_path / "part.npz"
    part_of(0).save(path)
    changed(path, arrays, **meta)
    with pytest.raises(DataError, match=message) as caught:
        federated.Part.load(path)
    assert "part.npz" in str(caught.value)


def test_a_changed_sum_is_noticed(tmp_path):
    part = part_of(0)
    for name, values in (("with_v|0", part.sums.with_v[0]), ("pairs|0|1", part.sums.pairs[0, 1])):
        path = tmp_path / "part.npz"
        part.save(path)
        altered = values.copy()
        altered[0, 0, 0] += 25.0
        changed(path, {name: altered})
        with pytest.raises(DataError, match="do not add up"):
            federated.Part.load(path)


def test_no_code_is_in_a_file(tmp_path):
    path = tmp_path / "part.npz"
    part_of(0).save(path)
    changed(path, {"root": np.array([0.5, 1.5])})
    with pytest.raises(DataError):
        federated.Part.load(path)
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(DataError, match="is not a part"):
        federated.Part.load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "is not a plan"),
        ("[]", "is not a plan"),
        ("{}", "is not a plan"),
        (json.dumps({"format": "interlace-plan", "version": 7}), "format version 7"),
        (json.dumps({"format": "interlace-plan", "version": 1, "speed": 2}), "cannot be read"),
        (json.dumps({"format": "interlace-plan", "version": 1, "formula": "y ~ center(x) + (1 | g)"}), "center"),
    ],
)
def test_wrong_plans_are_refused(tmp_path, text, message):
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        federated.Plan.load(tmp_path / "plan.json")


def test_labels_and_rows_are_not_in_a_file_that_was_made_with_a_secret(tmp_path):
    df = crossed()
    df["h"] = [f"hospital-{h}" for h in df["h"]]
    plan = federated.plan("y ~ x + (1 | h)")
    part = federated.summarize(plan, df, "A", secret="sixteen characters at least")
    part.save(tmp_path / "part.npz")
    content = (tmp_path / "part.npz").read_bytes()
    assert not re.search(rb"hospital-\d", content)
    assert {len(label) for (label,) in part.labels[0]} == {16}
    other = federated.summarize(plan, df, "B", secret="another one, of other sites")
    assert not {*part.labels[0]} & {*other.labels[0]}
