"""The rule of smallest cells: what it refuses, against rows counted by hand, and what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from interlace import federated
from interlace.errors import DataError


def site(**changes: Any) -> pd.DataFrame:
    """Four wards of 20 rows, two treatments of 10 rows in each."""
    n = 80
    rng = np.random.default_rng(8)
    d = pd.DataFrame({"ward": np.repeat(["n", "e", "s", "w"], 20), "treatment": np.tile(["a", "b"], 40)})
    d["x"], d["y"], d["w"] = rng.normal(size=n), rng.normal(size=n), rng.uniform(1.0, 2.0, n)
    d["other"] = np.tile(np.arange(8), 10)
    d["flag"] = np.tile([0.0, 0.0, 1.0, 1.0], 20)
    for name, (rows, value) in changes.items():
        d.loc[rows, name] = value
    return d


LEVELS = {"treatment": ["a", "b", "c"]}


def summarized(formula: str, data: pd.DataFrame, min_cell: int = 5, **plan: Any) -> federated.Part:
    levels = LEVELS if "treatment" in formula else None
    return federated.summarize(federated.plan(formula, levels=levels, **plan), data, "A", min_cell=min_cell)


@pytest.mark.parametrize(
    ("formula", "changes", "message"),
    [
        (
            "y ~ x + (1 | ward)",
            {"ward": ([0, 1, 2], "attic")},
            "one level of 'ward' has too few rows, ward 'attic'",
        ),
        ("y ~ treatment + (1 | ward)", {"treatment": ([4, 40], "c")}, "treatment 'c' only 2"),
        ("y ~ treatment * x + (1 | ward)", {"treatment": ([*range(0, 20, 2)], "b")}, None),
        (
            "y ~ treatment * x + (1 | ward)",
            {"treatment": ([*range(0, 16, 2)], "b")},
            "treatment 'a' and ward 'n' only 2",
        ),
        ("y ~ x + (treatment | ward)", {"treatment": ([*range(0, 16, 2)], "b")}, "treatment 'a' and ward 'n' only 2"),
        ("y ~ flag + (1 | ward)", {"flag": ([*range(80)], 0.0)}, None),
        ("y ~ flag + (1 | ward)", {"flag": ([*range(3, 80)], 0.0)}, "flag '1' only 1"),
        ("y ~ x + (1 | ward)", {"x": ([*range(77)], 1.0)}, "'x' is the same in all rows but 3"),
        ("y ~ 1 + (x | ward)", {"x": ([*range(17)], 1.0)}, "'x' is the same in all rows of a level of 'ward' but 3"),
        ("y ~ 1 + (x | ward) + (1 | other)", {}, "8 rows|too few rows"),
    ],
)
def test_small_cells_are_refused(formula, changes, message):
    data = site(**changes)
    if message is None:
        summarized(formula, data)
        return
    with pytest.raises(DataError, match=message) as caught:
        summarized(formula, data)
    assert "site 'A'" in str(caught.value)
    assert "min_cell=5" in str(caught.value)
    summarized(formula, data, min_cell=1)


def test_a_level_may_have_just_enough_rows():
    data = site(ward=([*range(5)], "attic"))
    summarized("y ~ x + (1 | ward)", data)
    with pytest.raises(DataError, match="ward 'attic' only 5"):
        summarized("y ~ x + (1 | ward)", data, min_cell=6)
    with pytest.raises(DataError, match="a level of 'ward' has 5 rows, too few for sums of 2 columns"):
        summarized("y ~ x + (x | ward)", data)


def test_a_site_needs_more_rows_than_columns():
    data = site().head(9).assign(ward="n")
    summarized("y ~ x + I(x**2) + I(x**3) + (1 | ward)", data)
    with pytest.raises(DataError, match="9 rows are too few for 5 fixed-effects columns"):
        summarized("y ~ x + I(x**2) + I(x**3) + I(x**4) + (1 | ward)", data)


def test_pairs_of_levels_are_counts_unless_something_is_measured_in_them():
    data = site(other=([*range(3)], 9))
    data["other"] = np.where(data["other"] == 9, 0, data["other"])
    summarized("y ~ x + (1 | ward) + (1 | other)", data)  # 2 or 3 rows a pair
    for formula, plan in (
        ("y ~ x + (x | ward) + (1 | other)", {}),
        ("y ~ x + (1 | ward) + (1 | other)", {"weights": "w"}),
    ):
        with pytest.raises(DataError, match="levels of 'other x ward' have too few rows"):
            summarized(formula, data, **plan)


def test_sums_over_almost_the_same_rows_are_refused():
    """All rows of treatment c are in ward n, which has two more: their responses would be a difference."""
    data = site()
    data["treatment"] = np.where((data["ward"] == "n") & (data.index >= 2), "c", data["treatment"])
    with pytest.raises(DataError, match="are the same but for 2"):
        summarized("y ~ treatment + (1 | ward)", data)
    data.loc[[0, 1], "treatment"] = "c"
    summarized("y ~ treatment + (1 | ward)", data)


def test_what_is_refused_could_be_found_out():
    """From the sums that the rule refuses, the response of a single row follows; from those that it allows, a mean."""
    data = site(ward=([0], "attic"))
    part = summarized("y ~ x + (1 | ward)", data, min_cell=1)
    level = part.labels[0].index(("attic",))
    constant = part.sums.with_v[0][level, 0, 0]
    found = part.v.center[-1] + part.v.scale[-1] * part.sums.with_v[0][level, 0, -1] / constant
    assert found == pytest.approx(data["y"][0], rel=1e-12)


def test_what_is_disclosed_is_listed():
    part = summarized("y ~ x + treatment + (x | ward) + (1 | other)", site(), min_cell=1, weights="w")
    table = part.disclosed().set_index(["what", "of"])["numbers"]
    sums, columns = part.sums, ("products of columns", "Intercept, x, treatment[T.b], treatment[T.c], y")
    assert table[columns] == np.triu_indices(5)[0].size
    assert table["products with all columns by level", "ward: " + columns[1]] == sums.with_v[0].size
    assert table["products by pairs of levels", "ward x other"] == sums.pairs[0, 1].size
    assert table["names of levels", "other"] == 8
    assert table["sum of log weights, rows of weight 0", "w"] == 2
