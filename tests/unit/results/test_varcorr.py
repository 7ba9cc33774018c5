"""VarCorr as lme4 prints and tabulates it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.results.varcorr import VarianceTable

SLOPES = """\
 Groups   Name      Std.Dev.  Corr
 Subject  Intercept  24.7405
          Days        5.9221 0.066
 Residual            25.5918"""


def test_prints_as_lme4(slopes):
    assert str(interlace.VarCorr(slopes)) == SLOPES
    assert repr(interlace.VarCorr(slopes)) == SLOPES


def test_split_terms_are_printed_apart(split):
    lines = str(interlace.VarCorr(split)).splitlines()
    assert lines[0].split() == ["Groups", "Name", "Std.Dev."]
    assert lines[2].split() == ["Subject.1", "Days", "5.9882"]


def test_data_frame_has_the_columns_of_r(slopes_ml):
    table = interlace.VarCorr(slopes_ml).as_dataframe()
    assert list(table.columns) == ["grp", "var1", "var2", "vcov", "sdcor"]
    assert table["grp"].tolist() == ["Subject", "Subject", "Subject", "Residual"]
    assert table["var1"].tolist() == ["Intercept", "Days", "Intercept", None]
    assert table["var2"].tolist() == [None, None, "Days", None]
    assert_allclose(table["vcov"], [565.5152710427, 32.6821976138, 11.0554144586, 654.9410375802], rtol=2e-4)
    assert_allclose(table["sdcor"], [23.7805649857756, 5.7168345798898, 0.0813199745871, 25.5918158320228], rtol=2e-4)


def test_lower_triangle_order(slopes):
    table = interlace.VarCorr(slopes).as_dataframe(order="lower.tri")
    assert table["var2"].tolist() == [None, "Days", None, None]
    with pytest.raises(ValueError, match="order must be"):
        interlace.VarCorr(slopes).as_dataframe(order="upper")


def test_diagonal_terms_have_no_correlations():
    cov = np.diag([4.0, 9.0])
    table = VarianceTable(("g",), (("Intercept", "x"),), (cov,), ("diagonal",), 1.0)
    assert table.as_dataframe()["var2"].isna().all()
    assert "Corr" not in str(table)


def test_three_effects_line_up():
    cov = np.array([[4.0, 1.0, 0.5], [1.0, 9.0, -2.0], [0.5, -2.0, 16.0]])
    table = VarianceTable(
        ("g", "h"), (("Intercept", "x", "z"), ("Intercept",)), (cov, np.eye(1)), ("unstructured",) * 2, 1
    )
    lines = str(table).splitlines()
    assert lines[0].split() == ["Groups", "Name", "Std.Dev.", "Corr"]
    assert lines[3].split() == ["z", "4", "0.062", "-0.167"]
    assert "<table" in table._repr_html_()


def test_a_zero_variance_has_no_correlation():
    cov = np.array([[4.0, 0.0], [0.0, 0.0]])
    table = VarianceTable(("g",), (("Intercept", "x"),), (cov,), ("unstructured",), 1.0)
    assert np.isnan(table.as_dataframe()["sdcor"][2])
    assert str(table).splitlines()[2].split() == ["x", "0"]


@pytest.mark.parametrize("tol", ["a", -1.0, float("nan")])
def test_tolerances_are_numbers(slopes, tol):
    with pytest.raises(ValueError, match="tol must be a number of at least 0"):
        interlace.isSingular(slopes, tol=tol)
