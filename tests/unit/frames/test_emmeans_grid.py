"""The grid of predictor values."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.frames.design import Design
from interlace.frames.reference_grid import factor_columns, fixed_columns, reference_grid


def design(formula: str) -> Design:
    rng = np.random.default_rng(3)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=60) + np.repeat(rng.normal(size=10), 6),
            "g": np.repeat(np.arange(10), 6),
            "f": np.tile(["a", "b", "c"], 20),
            "n": np.tile([1, 2, 3, 4], 15),
            "x": rng.normal(size=60),
            "b": np.tile([True, False], 30),
        }
    )
    data.loc[0, "x"] = np.nan
    return interlace.fit(formula + " + (1 | g)", data).state.problem.design


def test_factors_at_all_levels_and_numbers_at_the_mean_of_the_rows_in_use() -> None:
    found = design("y ~ f * x + b")
    grid = reference_grid(found)
    assert grid.names == ("f", "x", "b")
    assert grid.sizes == (3, 1, 2)
    mean = found.frame["x"].mean()
    assert grid.variables[1].values.tolist() == pytest.approx([mean])
    assert grid.variables[1].codes is None
    np.testing.assert_allclose(grid.X[:, found.x_names.index("x")], mean)
    assert grid.X[:, found.x_names.index("f[T.c]")].tolist() == [0, 0, 0, 0, 1, 1]


def test_levels_in_a_chosen_order() -> None:
    grid = reference_grid(design("y ~ f + x"), {"f": ["c", "a"], "x": [1.5, 2, -1]})
    assert grid.variables[0].values.tolist() == ["c", "a"]
    codes = grid.variables[0].codes
    assert codes is not None
    assert codes[:5].tolist() == [-1, 0, 1, -1, 0]  # rows b, c, a, b, c: the first has no x
    assert grid.X[:, -1].tolist() == [1.5, 2, -1] * 2


def test_numbers_in_factors_keep_their_values() -> None:
    found = design("y ~ C(n, contr.sum) + x")
    assert factor_columns(found) == {"n"}
    assert reference_grid(found).variables[0].values.tolist() == [1, 2, 3, 4]
    assert reference_grid(found, {"n": "2"}).variables[0].values.tolist() == [2]


def test_only_fixed_effects_count() -> None:
    found = interlace.fit("Reaction ~ 1 + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    assert fixed_columns(found.state.problem.design) == ()
    grid = reference_grid(found.state.problem.design)
    assert grid.X.tolist() == [[1.0]]


def test_text_in_a_comparison_is_a_factor() -> None:
    found = design('y ~ I(f == "a") + x')
    grid = reference_grid(found)
    assert grid.variables[0].values.tolist() == ["a", "b", "c"]
    assert grid.X[:, 1].tolist() == [1, 0, 0]
