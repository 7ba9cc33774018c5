"""Wald tests and intervals against scipy's distributions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from interlace.inference import wald


@pytest.mark.parametrize("df", [1.0, 1.5, 17.3, 178.0, 1e6])
def test_t_distribution(df):
    statistic = np.array([-36.8, -1.96, 0.0, 0.3, 12.0])
    assert_allclose(wald.p_values(statistic, df), 2 * stats.t.sf(np.abs(statistic), df), rtol=1e-9)
    assert_allclose(wald.critical_value(0.9, df), stats.t.isf(0.05, df), rtol=1e-9)


def test_infinite_df_is_the_normal_distribution():
    statistic = np.array([1.0, 1.96, 30.0])
    assert_allclose(wald.p_values(statistic), 2 * stats.norm.sf(statistic), rtol=1e-9)
    mixed = wald.p_values(statistic, np.array([np.inf, 5.0, np.inf]))
    assert_allclose(mixed[1], 2 * stats.t.sf(1.96, 5), rtol=1e-9)
    assert_allclose(wald.critical_value(0.95), 1.959963984540054)


def test_zero_standard_errors():
    assert wald.statistics(np.array([2.0]), np.array([0.0]))[0] == np.inf
    assert np.isnan(wald.statistics(np.array([0.0]), np.array([0.0]))[0])
    assert wald.p_values(np.array([np.inf]), 10.0)[0] == 0.0


def test_null_values_and_intervals_agree():
    estimate, se = np.array([3.0]), np.array([1.5])
    low, high = wald.interval(estimate, se, 7.0, 0.95)[0]
    for end in (low, high):
        assert_allclose(wald.p_values(wald.statistics(estimate, se, end), 7.0), 0.05)


@pytest.mark.parametrize("level", [0.0, 1.0, 95, -0.1])
def test_levels_are_between_zero_and_one(level):
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        wald.critical_value(level)
