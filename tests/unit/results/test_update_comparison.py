"""The workflow of model comparison: models made by update(), tested by anova(); numbers of lme4 1.1-31."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.results.lmm import LMMResult

COLUMNS = ["npar", "AIC", "BIC", "logLik", "Chisq", "Df", "Pr(>Chisq)"]
SMALL = (4, 1704.687738, 1719.081426, -848.343869)
LARGE = (6, 1708.157752, 1729.748284, -848.0788762, 0.5299855995, 2, 0.7672114741)


@pytest.fixture(scope="module")
def cake() -> pd.DataFrame:
    return interlace.datasets.load("cake")


@pytest.fixture(scope="module")
def result(cake: pd.DataFrame) -> LMMResult:
    return interlace.fit("angle ~ temp + (1 | recipe:replicate)", cake, method="ML")


def assert_table(table: pd.DataFrame, *rows: tuple[float, ...]) -> None:
    found = table[COLUMNS].to_numpy(dtype=float, na_value=np.nan)
    expected = np.full(found.shape, np.nan)
    for row, values in zip(expected, rows, strict=True):
        row[: len(values)] = values
    assert_allclose(found, expected, rtol=1e-6)


def test_a_fixed_effect_is_added(result: LMMResult) -> None:
    table = interlace.anova(result, result.update(". ~ . + recipe"))
    assert_table(table, SMALL, LARGE)
    assert table.attrs["note"] == ""


def test_a_random_effects_term_is_added(result: LMMResult) -> None:
    """The p-value is about a variance at its boundary, as in R."""
    larger = result.update(". ~ . + recipe")
    table = interlace.anova(larger, larger.update(". ~ . + (1 | replicate)"))
    assert_table(table, LARGE[:4], (7, 1669.550934, 1694.739887, -827.7754669, 40.60681871, 1, 1.861559161e-10))


def test_a_sensitivity_analysis_without_some_rows(result: LMMResult, cake: pd.DataFrame) -> None:
    few = cake[cake["replicate"] != "1"]
    smaller = result.update(data=few)
    larger = result.update(". ~ . + recipe", data=few)
    assert smaller.nobs == larger.nobs == 252
    assert larger.method == "ML"
    assert_table(
        interlace.anova(smaller, larger),
        (4, 1568.682823, 1582.800539, -780.3414115),
        (6, 1571.596167, 1592.772741, -779.7980833, 1.086656418, 2, 0.5808119683),
    )
    with pytest.raises(interlace.errors.DataError, match="rows"):
        interlace.anova(result, larger)


def test_predictor_and_method_change_in_one_call(result: LMMResult) -> None:
    """anova() of fits by REML takes their ML fits; so do AIC and BIC."""
    final = result.update(". ~ . + recipe", method="REML")
    assert final.method == "REML"
    assert_allclose([final.reml_criterion, final.sigma], [1693.844, 4.55054], rtol=1e-6)
    table = interlace.anova(result.update(method="REML"), final)
    assert_table(table, SMALL, LARGE)
    assert table.attrs["note"].startswith("m1, m2: fitted again by ML")
    assert (result.method, result.formula) == ("ML", "angle ~ temp + (1 | recipe:replicate)")


def test_the_response_changes_and_a_predictor_goes(result: LMMResult) -> None:
    null = result.update("log(.) ~ . - temp")
    assert_table(
        interlace.anova(null, null.update(". ~ . + temp")),
        (3, -102.5887235, -91.79345759, 54.29436173),
        (4, -183.1813739, -168.787686, 95.59068693, 82.5926504, 1, 1.008312917e-19),
    )
