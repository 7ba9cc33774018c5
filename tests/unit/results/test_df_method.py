"""Which distribution tests and intervals of the fixed effects use."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import interlace

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    return interlace.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def normal(sleepstudy: pd.DataFrame) -> interlace.LMMResult:
    return interlace.fit(FORMULA, sleepstudy, df_method="normal")


@pytest.mark.parametrize("df_method", ["satterthwaite", "kenward-roger", "residual"])
def test_student_t_with_residual_degrees_of_freedom(sleepstudy: pd.DataFrame, df_method: str) -> None:
    result = interlace.fit(FORMULA, sleepstudy, df_method=df_method)
    assert (result.fe_df == 178).all()
    assert "t tests use the residual degrees of freedom n - p = 178." in str(result.summary())


def test_normal_distribution(normal: interlace.LMMResult) -> None:
    z, se = normal.fe_tvalues, normal.fe_bse
    assert np.isinf(normal.fe_df).all()
    np.testing.assert_allclose(normal.fe_pvalues, 2 * stats.norm.sf(np.abs(z)), rtol=1e-12)
    np.testing.assert_allclose(normal.fe_conf_int["97.5 %"], normal.fe_params + stats.norm.ppf(0.975) * se, rtol=1e-12)
    tidy = normal.tidy("fixed")
    np.testing.assert_allclose(tidy["p_value"], normal.fe_pvalues)
    np.testing.assert_allclose(tidy["conf_high"], normal.fe_conf_int["97.5 %"])


def test_intervals_of_predictions_are_normal_too(normal: interlace.LMMResult, sleepstudy: pd.DataFrame) -> None:
    table = normal.predict(sleepstudy.head(3), se=True, interval="confidence")
    np.testing.assert_allclose(table["upper"], table["fit"] + stats.norm.ppf(0.975) * table["se"], rtol=1e-12)


def test_summary_speaks_of_z(normal: interlace.LMMResult) -> None:
    summary = normal.summary()
    assert list(summary.tables["fixed"]) == ["Estimate", "Std. Error", "z value", "Pr(>|z|)"]
    assert "z tests use the normal distribution." in str(summary)
    assert "t value" not in str(summary) + summary.to_latex() + summary._repr_html_()


def test_method_survives_update_and_saving(normal: interlace.LMMResult, tmp_path: object) -> None:
    assert np.isinf(normal.update(". ~ . - Days").fe_df).all()
    normal.save(f"{tmp_path}/fit")
    assert np.isinf(interlace.load(f"{tmp_path}/fit").fe_df).all()
    assert (normal.update(df_method="residual").fe_df == 178).all()


@pytest.mark.parametrize("df_method", ["nope", None, []])
def test_anything_else_is_refused_with_the_choices(sleepstudy: pd.DataFrame, df_method: object) -> None:
    with pytest.raises(
        ValueError, match="df_method must be one of satterthwaite, kenward-roger, residual, normal; not"
    ):
        interlace.fit(FORMULA, sleepstudy, df_method=df_method)
