"""Exponents of growth, and the models that grow."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from benchmarks.growth import AXES, POINTS, Point, exponents, fit, made, points, summary


def test_exponents_of_powers_and_of_a_bend() -> None:
    sizes = [10, 100, 1000, 10_000]
    assert exponents(sizes, [3e-6 * size**2 for size in sizes]) == pytest.approx((2.0, 2.0))
    slope, last = exponents(sizes, [0.1 + 1e-4 * size for size in sizes])
    assert 0.0 < slope < last < 1.0


def test_formulas() -> None:
    assert Point(100, 10).formula == "y ~ x + (1 | g)"
    assert Point(100, 10, slopes=2, columns=3).formula == "y ~ x + x2 + x3 + (1 + x + x2 | g)"
    assert Point(100, 10, items=5, binary=True).formula == "s ~ x + (1 | g) + (1 | h)"


def test_every_size_has_its_model_and_sizes_grow() -> None:
    for axis in AXES:
        assert len(axis.sizes) == len(axis.points)
        assert list(axis.sizes) == sorted(set(axis.sizes))
        assert len(set(axis.points)) == len(axis.points)
    assert sum(len(axis.sizes) for axis in AXES) == len(POINTS)


def test_the_limit_is_one_of_rows() -> None:
    [rows] = [axis for axis in AXES if axis.key == "rows"]
    assert [size for size, _ in points(rows, 100_000)] == [1_000, 10_000, 100_000]


def test_data_have_what_the_model_needs_and_the_levels_that_they_should() -> None:
    point = Point(2_000, 20, items=7, slopes=2, columns=3)
    result = fit(point, made(point))
    assert result.ngroups == {"g": 20, "h": 7}
    assert result.converged
    assert np.abs(result.fe_params.iloc[1:] - 0.5).max() < 5 * result.fe_bse.iloc[1:].max()
    binary = Point(500, 10, binary=True)
    assert isinstance(fit(binary, made(binary)), interlace.GLMMResult)


def test_summary_leaves_out_what_was_not_measured() -> None:
    lines = summary({"rows": ([10, 100], [1.0, 10.0]), "groups": ([10], [1.0])}).splitlines()
    assert lines[2:] == ["| rows, 100 groups, a slope | 10 to 100 | 1.00 | 1.00 | 1 |"]
