"""Which distribution tests and intervals of the fixed effects use."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import interlace
from interlace.inference import degrees_of_freedom

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    return interlace.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def normal(sleepstudy: pd.DataFrame) -> interlace.LMMResult:
    return interlace.fit(FORMULA, sleepstudy, df_method="normal")


@pytest.mark.parametrize(
    ("df_method", "df", "note"),
    [
        ("satterthwaite", 17.0, "t tests use Satterthwaite's degrees of freedom."),
        ("kenward-roger", 17.0, "t tests use Kenward and Roger's degrees of freedom and standard errors."),
        ("residual", 178.0, "t tests use the residual degrees of freedom n - p = 178."),
    ],
)
def test_student_t_by_each_method(sleepstudy: pd.DataFrame, df_method: str, df: float, note: str) -> None:
    result = interlace.fit(FORMULA, sleepstudy, df_method=df_method)
    np.testing.assert_allclose(result.fe_df, df, rtol=1e-5)
    assert note in str(result.summary())
    statistic = result.fe_params / result.fe_bse
    tidy, shown = result.tidy("fixed"), result.summary().tables["fixed"]
    for table in (tidy["p_value"], shown["Pr(>|t|)"], result.fe_pvalues):
        np.testing.assert_allclose(table, 2 * stats.t.sf(np.abs(statistic), result.fe_df), rtol=1e-10)
    reach = stats.t.isf(0.05, result.fe_df) * result.fe_bse
    np.testing.assert_allclose(result.conf_int(alpha=0.1)[1], result.fe_params + reach)
    np.testing.assert_allclose(result.tidy("fixed", level=0.9)["conf_high"], result.fe_params + reach)


def test_kenward_roger_adjusts_covariances_everywhere() -> None:
    data = interlace.datasets.load("Penicillin")
    data["half"] = (np.arange(144) % 5 < 2) * 1.0
    formula = "diameter ~ half + (1 | plate) + (1 | sample)"
    plain, adjusted = (interlace.fit(formula, data, df_method=m) for m in ("satterthwaite", "kenward-roger"))
    assert adjusted.fe_bse["half"] > plain.fe_bse["half"] * (1 + 1e-6)
    np.testing.assert_allclose(adjusted.fe_bse, np.sqrt(np.diagonal(adjusted.fe_cov)))
    np.testing.assert_allclose(adjusted.tidy("fixed")["std_error"], adjusted.fe_bse)
    np.testing.assert_allclose(adjusted.summary().tables["fixed"]["Std. Error"], adjusted.fe_bse)
    np.testing.assert_allclose(adjusted.fe_tvalues, adjusted.fe_params / adjusted.fe_bse)


def test_degrees_of_freedom_are_found_when_asked_for_and_once(
    sleepstudy: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real = degrees_of_freedom.satterthwaite
    monkeypatch.setattr(degrees_of_freedom, "satterthwaite", lambda state: (calls.append("now"), real(state))[1])
    result = interlace.fit(FORMULA, sleepstudy)
    assert result.fe_bse.size == result.fe_tvalues.size == 2
    assert not calls
    assert result.fe_df.size == result.fe_pvalues.size == len(result.summary().tables["fixed"]) == 2
    assert calls == ["now"]
    again = pickle.loads(pickle.dumps(result))
    pd.testing.assert_series_equal(again.fe_df, result.fe_df)
    assert calls == ["now", "now"]


def test_without_fixed_effects_there_is_nothing_to_test(sleepstudy: pd.DataFrame) -> None:
    for df_method in ("satterthwaite", "kenward-roger"):
        result = interlace.fit("Reaction ~ 0 + (Days | Subject)", sleepstudy, df_method=df_method)
        assert result.fe_df.empty
        assert result.fe_cov.shape == (0, 0)
        assert "No fixed-effects coefficients" in str(result.summary())


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
