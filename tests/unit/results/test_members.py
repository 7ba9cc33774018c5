"""Members of LMMResult against numbers that lme4 1.1-31 prints (bobyqa, rhoend 1e-12)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace


def test_fixed_effects_have_lme4s_values_and_names(slopes):
    assert list(slopes.fe_params.index) == ["Intercept", "Days"]
    assert_allclose(slopes.fe_params, [251.4051048485, 10.4672859596], rtol=1e-9)
    assert_allclose(slopes.fe_bse, [6.82455577628, 1.54578893242], rtol=1e-5)
    assert_allclose(slopes.fe_cov.loc["Intercept", "Days"], -1.45109562721, rtol=1e-4)
    assert_allclose(slopes.fe_tvalues, slopes.fe_params / slopes.fe_bse)


def test_tests_use_t_with_satterthwaites_df(slopes):
    assert_allclose(slopes.fe_df, 17.0, rtol=1e-5)
    assert_allclose(slopes.fe_pvalues, 2 * stats.t.sf(np.abs(slopes.fe_tvalues), slopes.fe_df), rtol=1e-10)
    reach = stats.t.isf(0.025, slopes.fe_df) * slopes.fe_bse
    assert list(slopes.fe_conf_int.columns) == ["2.5 %", "97.5 %"]
    assert_allclose(slopes.fe_conf_int["2.5 %"], slopes.fe_params - reach)
    assert_allclose(slopes.fe_conf_int["97.5 %"], slopes.fe_params + reach)


def test_statsmodels_spellings_are_the_same_numbers(slopes):
    for ours, theirs in (("fe_params", "params"), ("fe_bse", "bse"), ("fe_tvalues", "tvalues")):
        pd.testing.assert_series_equal(getattr(slopes, ours), getattr(slopes, theirs))
    pd.testing.assert_series_equal(slopes.fe_pvalues, slopes.pvalues)
    pd.testing.assert_frame_equal(slopes.fe_cov, slopes.cov_params())
    assert_allclose(slopes.conf_int(alpha=0.05), slopes.fe_conf_int)
    assert list(slopes.conf_int().columns) == [0, 1]


def test_criteria_have_lme4s_constants(slopes, slopes_ml):
    assert_allclose(slopes.reml_criterion, 1743.62827196, rtol=1e-10)
    assert_allclose([slopes.aic, slopes.bic], [1755.62827196, 1774.78601306], rtol=1e-10)
    assert_allclose(
        [slopes_ml.deviance, slopes_ml.aic, slopes_ml.bic], [1751.939344463, 1763.939344463, 1783.097085569]
    )
    assert slopes_ml.reml_criterion is None
    for result in (slopes, slopes_ml):
        assert_allclose(-2 * result.llf, result.deviance)
        assert (result.nobs, result.n_params, result.df_resid, result.ngroups) == (180, 6, 174, {"Subject": 18})
    assert (slopes.method, slopes_ml.method) == ("REML", "ML")


def test_variance_parameters(slopes, slopes_ml, crossed):
    assert_allclose(slopes.theta, [0.9667327914714, 0.0151690598804, 0.2309095980853], rtol=1e-4)
    assert_allclose(slopes.sigma, 25.5918158926, rtol=1e-6)
    assert_allclose(slopes.scale, slopes.sigma**2)
    psi = slopes_ml.variance_components["Subject"]
    assert list(psi.columns) == list(psi.index) == ["Intercept", "Days"]
    assert_allclose(psi, [[565.5152710427, 11.0554144586], [11.0554144586, 32.6821976138]], rtol=2e-4)
    assert_allclose(crossed.variance_components["plate"], 0.716908176766, rtol=1e-5)
    assert_allclose(crossed.variance_components["sample"], 3.730917588346, rtol=1e-5)


def test_random_effects_of_a_vector_term(slopes):
    modes = slopes.random_effects["Subject"]
    assert modes.index.name == "Subject"
    assert_allclose(modes.loc["308"], [2.25856550059, 9.19897190423], rtol=1e-4)
    assert_allclose(modes.loc["309"], [-40.39857692492, -8.61970318296], rtol=1e-5)
    cov = slopes.random_effects_cov["Subject"].loc["308"]
    assert_allclose(cov, [[145.7050939873, -21.44442513376], [-21.44442513376, 5.31227349584]], rtol=1e-4)
    assert_allclose(slopes.random_effects_se["Subject"].loc["308"], np.sqrt(np.diag(cov)))


def test_random_effects_of_a_scalar_term_are_series(crossed):
    modes = crossed.random_effects["sample"]
    assert isinstance(modes, pd.Series)
    assert_allclose(modes[["A", "F"]], [2.1870579667706, -3.0037441695589], rtol=1e-6)
    assert_allclose(crossed.random_effects_cov["sample"]["A"], 0.0408730335768, rtol=1e-5)
    assert_allclose(crossed.random_effects_se["sample"] ** 2, crossed.random_effects_cov["sample"])
    assert list(interlace.ranef(crossed)) == ["plate", "sample"]


def test_a_second_term_on_a_factor_has_its_own_key(split):
    assert list(split.random_effects) == ["Subject", "Subject.1"]
    assert isinstance(split.random_effects["Subject"], pd.Series)
    assert list(split.random_effects["Subject.1"].columns) == ["Days"]
    assert isinstance(split.variance_components["Subject.1"], float)
    assert_allclose(split.variance_components["Subject.1"], 35.8582017808, rtol=1e-5)
    assert split.ngroups == {"Subject": 18}


def test_rows(slopes, sleep):
    assert_allclose(slopes.fittedvalues[:3], [253.663670349, 273.329928213, 292.996186077], rtol=1e-6)
    assert_allclose(slopes.resid, sleep["Reaction"] - slopes.fittedvalues)
    assert slopes.fittedvalues.index.equals(sleep.index)


def test_residual_types_follow_lme4(weighted):
    assert_allclose(weighted.fe_params, [248.6137355024, 10.6525178812], rtol=1e-7)
    assert_allclose(weighted.sigma, 36.7639440357, rtol=1e-6)
    assert_allclose(weighted.reml_criterion, 1844.49460079, rtol=1e-10)
    assert_allclose(weighted.fittedvalues[:3], [299.874815230, 295.527333112, 321.179850993], rtol=1e-6)
    raw, weight_root = (
        [-50.3148152304, -36.8226331117, -70.3792509929],
        [-35.5779470436, -36.8226331117, -99.5312912638],
    )
    assert_allclose(weighted.resid[:3], raw, rtol=1e-5)
    assert_allclose(weighted.residuals("working")[:3], raw, rtol=1e-5)
    assert_allclose(weighted.residuals("pearson")[:3], weight_root, rtol=1e-5)
    assert_allclose(weighted.residuals("deviance")[:3], weight_root, rtol=1e-5)
    scaled = [-0.967740213319, -1.001596375945, -2.707307223813]
    assert_allclose(weighted.residuals("pearson", scaled=True)[:3], scaled, rtol=1e-5)
    with pytest.raises(ValueError, match="residual type must be one of response, pearson"):
        weighted.residuals("partial")


def test_rows_keep_the_callers_labels(sleep):
    sleep.index = pd.Index([f"r{i}" for i in range(180)], name="id")
    sleep.loc["r3", "Days"] = np.nan
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", sleep)
    assert result.nobs == 179
    assert list(result.resid.index) == [f"r{i}" for i in range(180) if i != 3]
    assert result.model.data.frame.index.equals(result.resid.index)


def test_singularity(slopes, singular):
    assert not slopes.is_singular
    assert slopes.boundary_flags == {"Subject": False}
    assert singular.is_singular
    assert interlace.isSingular(singular)
    assert singular.boundary_flags == {"Batch": True}
    assert not interlace.isSingular(slopes)
    assert interlace.isSingular(slopes, tol=10.0)
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\) or interlace.glmer\(\), not int"):
        interlace.isSingular(3)


def test_convergence_record(slopes, singular):
    record = slopes.convergence
    assert slopes.converged
    assert record.converged
    assert record.evaluations >= 1
    assert record.gradient_norm < 1e-3
    assert record.hessian_eigenvalues.shape == (3,)
    assert (record.hessian_eigenvalues > 0).all()
    assert any("zero" in message for message in singular.convergence.messages)
    assert singular.checks[0].code == "singular"


def test_model_spells_what_statsmodels_spells(slopes, sleep):
    model = slopes.model
    assert model.formula == slopes.formula == "Reaction ~ Days + (Days | Subject)"
    assert (model.exog_names, model.endog_names) == (["Intercept", "Days"], "Reaction")
    assert_allclose(model.endog, sleep["Reaction"])
    assert_allclose(model.exog, np.column_stack([np.ones(180), sleep["Days"]]))
    assert_allclose(model.exog_re, model.exog)
    assert list(model.groups) == list(sleep["Subject"])
    assert list(model.data.frame.columns) == ["Reaction", "Days", "Subject"]
    assert model.data.xnames == ["Intercept", "Days"]
    assert model.weights is None
    assert model.offset is None


def test_z_reproduces_the_fitted_values(slopes, crossed, split):
    for result in (slopes, crossed, split):
        b = np.concatenate([np.asarray(modes).reshape(-1) for modes in result.random_effects.values()])
        fitted = result.model.exog @ result.fe_params.to_numpy() + result.model.Z @ b
        assert_allclose(fitted, result.fittedvalues, rtol=1e-10)


def test_what_is_handed_out_can_be_changed_without_harm(slopes):
    before = slopes.theta.copy()
    for name in ("fe_params", "fittedvalues", "resid"):
        values = getattr(slopes, name)
        values.iloc[:] = 0.0
    slopes.theta[:] = 0.0
    slopes.model.endog[:] = 0.0
    modes = slopes.random_effects["Subject"]
    modes.iloc[:] = 0.0
    assert_allclose(slopes.theta, before)
    assert slopes.fe_params["Days"] > 10
    assert slopes.resid.abs().max() > 1
    assert slopes.model.endog.min() > 0
    assert np.abs(slopes.random_effects["Subject"].to_numpy()).max() > 1


def test_dropped_columns_are_absent(sleep):
    sleep["twice"] = 2 * sleep["Days"]
    with pytest.warns(interlace.RankDeficiencyWarning, match="twice"):
        result = interlace.fit("Reaction ~ Days + twice + (1 | Subject)", sleep)
    assert list(result.fe_params.index) == result.model.exog_names == ["Intercept", "Days"]
    assert result.model.exog.shape == (180, 2)
    assert result.n_params == 4
    assert_allclose(result.predict(sleep), result.fittedvalues)


def test_no_fixed_effects(sleep):
    result = interlace.fit("Reaction ~ 0 + (1 | Subject)", sleep)
    assert result.fe_params.empty
    assert result.fe_conf_int.shape == (0, 2)
    assert result.n_params == 2
    assert "No fixed-effects coefficients" in str(result.summary())
    assert_allclose(result.predict(sleep), result.fittedvalues)
