"""Fixed and random effects of generalized models against lme4 1.1-31 (tolPwrss 1e-13, Newton on differences)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from tests import glmm_fits

CBPP = [-1.39853214237353, -0.992332734874246, -1.12867208416878, -1.5803138851797]
CBPP_SE = [0.23247199226093668, 0.3066424978892714, 0.3266378505220744, 0.42743658659669037]


def test_cbpp():
    result = glmm_fits.cbpp()
    assert list(result.fe_params.index) == ["Intercept", "period[T.2]", "period[T.3]", "period[T.4]"]
    assert_allclose(result.fe_params, CBPP, rtol=1e-8)
    assert_allclose(result.fe_bse, CBPP_SE, rtol=1e-7)
    assert_allclose(result.fe_cov.iloc[0, 1], -0.025920074497715, rtol=1e-7)


def test_quadrature_changes_standard_errors():
    result = glmm_fits.cbpp(9)
    se = [0.23351139619448769, 0.3067679696696125, 0.32676835570844526, 0.4275944816892484]
    assert_allclose(result.fe_params, [-1.39923019257784, -0.991403876504133, -1.12781967730454, -1.57947101615727])
    assert_allclose(result.fe_bse, se, rtol=1e-7)


def test_without_nodes_standard_errors_are_given_theta():
    result = glmm_fits.cbpp(0)
    se = [0.22757462203295648, 0.3032873487285612, 0.3235118030146242, 0.42445550134492893]
    assert_allclose(result.fe_params, [-1.36047175513395, -0.97617747118492, -1.11107689354739, -1.55968051591544])
    assert_allclose(result.fe_bse, se, rtol=1e-8)


def test_verbal_aggression():
    result = glmm_fits.verbal()
    estimates = [0.199059101580653, 0.0574295834074204, 0.320710425770352]
    se = [0.40653346999861156, 0.016838894116044823, 0.19192762701584756]
    assert_allclose(result.fe_params[:3], estimates, rtol=1e-7)
    assert_allclose(result.fe_bse[:3], se, rtol=1e-7)


def test_negative_binomial():
    fixed = glmm_fits.ticks_nb(2.0)
    se = [0.19538857982953814, 0.23447433575541865, 0.25797416782031957, 0.003487310071399846]
    assert_allclose(fixed.fe_bse, se, rtol=1e-7)
    free = glmm_fits.ticks_nb()
    assert_allclose(free.family.theta, 3.30343237219897, rtol=1e-8)
    estimates = [0.488474362887678, 1.16272573344963, -0.979615128476641, -0.023582149578489]
    assert_allclose(free.fe_params, estimates, rtol=1e-8)
    # glmer.nb takes the estimated theta as known; here its uncertainty counts, which matters little.
    known = [0.19390627090270882, 0.23257106955428913, 0.2565685281145895, 0.0034767739975839094]
    assert_allclose(free.fe_bse, known, rtol=1e-3)
    assert np.abs(free.fe_bse / known - 1).max() > 1e-5


def test_tests_and_intervals_are_normal():
    result = glmm_fits.cbpp()
    assert np.isinf(result.fe_df).all()
    z = np.divide(CBPP, CBPP_SE)
    assert_allclose(result.fe_zvalues, z, rtol=1e-7)
    assert_allclose(result.fe_pvalues, 2 * stats.norm.sf(np.abs(z)), rtol=1e-5)
    reach = stats.norm.isf(0.025) * result.fe_bse
    assert_allclose(result.fe_conf_int["2.5 %"], result.fe_params - reach)
    assert_allclose(result.conf_int(alpha=0.05)[1], result.fe_params + reach)


def test_spellings_of_the_statistics(slopes):
    for result in (glmm_fits.cbpp(), slopes):
        pd.testing.assert_series_equal(result.fe_zvalues, result.fe_tvalues)
        pd.testing.assert_series_equal(result.fe_zvalues, result.tvalues)
        pd.testing.assert_series_equal(result.params, result.fe_params)


NESTED = {
    "INDEX": (0.541508844804985, ["1", "202"], [-0.147476430102826, -0.0216573615955621], 0.26354746752228),
    "BROOD": (0.750033685044545, ["501", "626"], [-0.565852240581839, 1.43011748348604], 0.402952526432242),
    "LOCATION": (0.528719963936128, ["1", "32"], [-0.181330359163813, -0.281185499794761], 0.160702682361188),
}


@pytest.mark.parametrize("group", NESTED)
def test_random_effects_of_nested_terms(group):
    result = glmm_fits.ticks("TICKS ~ YEAR + cHEIGHT + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION)")
    sd, levels, modes, variance = NESTED[group]
    assert_allclose(result.variance_components[group], sd**2, rtol=1e-8)
    assert_allclose(interlace.ranef(result)[group][levels], modes, rtol=1e-7)
    assert_allclose(result.random_effects_cov[group][levels[0]], variance, rtol=1e-8)
    assert_allclose(result.random_effects_se[group][levels[0]], np.sqrt(variance), rtol=1e-8)


def test_theta_is_the_standard_deviation():
    result = glmm_fits.cbpp()
    assert_allclose(result.theta, [0.642261448442591], rtol=1e-8)
    assert_allclose(result.random_effects["herd"][["1", "15"]], [0.590020033270571, -0.530476331496632], rtol=1e-7)
    assert_allclose(result.random_effects_cov["herd"][["1", "15"]], [0.121288549405158, 0.15816755273741], rtol=1e-8)
    assert result.ngroups == {"herd": 15}


def test_variances_are_multiplied_by_the_dispersion_in_the_convention_of_lme4_alone():
    likely = glmm_fits.reaction()
    assert_allclose(likely.variance_components["Subject"], likely.theta[0] ** 2)
    result = glmm_fits.reaction(link="inverse", nodes=0, dispersion="lme4")
    assert_allclose(result.theta, [0.00267816696588989], rtol=1e-6)
    assert_allclose(result.sigma, 0.101712068407017, rtol=1e-6)
    assert_allclose(result.variance_components["Subject"], (0.00267816696588989 * result.sigma) ** 2, rtol=1e-6)
    assert_allclose(np.diag(result.fe_cov), [6.78351013207551e-09, 7.78392213716143e-11], rtol=1e-6)


def test_the_residual_has_a_row_only_with_a_dispersion():
    table = interlace.VarCorr(glmm_fits.cbpp()).as_dataframe()
    assert table["grp"].tolist() == ["herd"]
    assert_allclose(table[["vcov", "sdcor"]].to_numpy()[0], [0.642261448442591**2, 0.642261448442591], rtol=1e-8)
    assert "Residual" not in str(interlace.VarCorr(glmm_fits.ticks_nb()))
    result = glmm_fits.reaction()
    table = interlace.VarCorr(result).as_dataframe()
    assert table["grp"].tolist() == ["Subject", "Residual"]
    assert_allclose(table["sdcor"], [result.theta[0], result.sigma])


def test_slopes_have_a_covariance_matrix():
    data = interlace.datasets.load("grouseticks")
    result = interlace.glmer(
        "TICKS ~ YEAR + (1 + cHEIGHT | LOCATION)", data.assign(cHEIGHT=data["cHEIGHT"] / 50), "poisson"
    )
    a, b, c = result.theta
    psi = [[a * a, a * b], [a * b, b * b + c * c]]
    assert_allclose(result.variance_components["LOCATION"], psi)
    assert str(interlace.VarCorr(result)).splitlines()[0].split() == ["Groups", "Name", "Std.Dev.", "Corr"]


def test_singular_fits_are_flagged():
    alike = {"count": np.tile([1.0, 2.0, 3.0], 10), "group": np.repeat([f"g{i}" for i in range(10)], 3)}
    with pytest.warns(interlace.ConvergenceWarning, match="zero"):
        result = interlace.glmer("count ~ 1 + (1 | group)", alike, "poisson")
    assert result.boundary_flags == {"group": True}
    assert interlace.isSingular(result)
    assert not interlace.isSingular(glmm_fits.cbpp())
    assert interlace.isSingular(glmm_fits.cbpp(), tol=1.0)
