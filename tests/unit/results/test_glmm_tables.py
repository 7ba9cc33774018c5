"""tidy, glance and augment of generalized models."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from tests import glmm_fits

ROWS = [0, 14, 27, 41, 55]
#: Of these rows, from lme4 1.1-31: predict(m, type = "link"), and residuals of each type.
ETA = [-0.808512109102956, -2.93956870743807, -0.799160213353007, -2.45568141552911, -3.50932235904986]
RESPONSE = [-0.165350503967494, -0.0502318455667341, 0.0427359904382145, 0.045975930280659, -0.0290481421589923]
PEARSON = [-1.33986165184754, -0.563321582676397, 0.538702191759652, 0.482027352699461, -0.669893805124434]
DEVIANCE = [-1.43803189603035, -0.786414944952734, 0.5324580389143, 0.447417354774208, -0.94039978570241]
WORKING = [-0.77550813186711, -1.05288853425151, 0.199721488658308, 0.631717420757104, -1.02991718067627]


def test_tidy_without_a_dispersion_has_no_residual():
    table = glmm_fits.cbpp().tidy()
    assert table["effect"].tolist() == ["fixed"] * 4 + ["ran_pars"]
    assert table["term"].tolist()[3:] == ["period[T.4]", "sd__Intercept"]
    assert_allclose(table["estimate"][4], 0.642261448442591, rtol=1e-8)
    assert np.isinf(table["df"][:4]).all()
    assert glmm_fits.reaction().tidy("ran_pars")["term"].tolist() == ["sd__Intercept", "sd__Observation"]


def test_odds_ratios():
    result = glmm_fits.cbpp()
    plain, ratios = result.tidy(), result.tidy(exponentiate=True)
    b, se, z = -0.992332734874246, 0.3066424978892714, stats.norm.isf(0.025)
    row = ratios.loc[1]
    assert_allclose(row["estimate"], np.exp(b), rtol=1e-8)
    assert_allclose(row["std_error"], np.exp(b) * se, rtol=1e-7)
    assert_allclose([row["conf_low"], row["conf_high"]], np.exp([b - z * se, b + z * se]), rtol=1e-7)
    same = ["term", "statistic", "df", "p_value"]
    pd.testing.assert_frame_equal(plain[same], ratios[same])
    pd.testing.assert_frame_equal(plain[4:], ratios[4:])


def test_ratios_of_a_linear_model(slopes):
    assert_allclose(slopes.tidy("fixed", exponentiate=True)["estimate"], np.exp(slopes.fe_params))


def test_tidy_of_random_values():
    table = glmm_fits.verbal().tidy("ran_vals").set_index(["group", "level"])
    row = table.loc[("item", "S4WantShout")]
    assert_allclose(row["estimate"], 0.680777765734172, rtol=1e-7)
    assert_allclose(row["std_error"] ** 2, 0.0210536044709884, rtol=1e-8)
    assert len(table) == 340


def test_glance_has_the_conditional_deviance():
    row = glmm_fits.cbpp().glance().loc[0]
    assert list(row.index) == ["nobs", "sigma", "logLik", "AIC", "BIC", "deviance", "df_residual"]
    expected = [56, 1, -92.0262818647571, 194.052563729514, 204.17932218319, 73.4717233667658, 51]
    assert_allclose(row, expected, rtol=1e-9)


def test_augment_has_the_columns_of_broom_mixed():
    table = glmm_fits.cbpp().augment()
    assert_allclose(table[".fitted"].iloc[ROWS], ETA, rtol=1e-8)
    assert_allclose(table[".eta"], table[".fitted"])
    assert_allclose(table[".mu"].iloc[ROWS], 1 / (1 + np.exp(-np.array(ETA))), rtol=1e-8)
    assert_allclose(table[".resid"].iloc[ROWS], DEVIANCE, rtol=1e-7)
    assert_allclose(table[".wtres"].iloc[ROWS], PEARSON, rtol=1e-7)
    assert_allclose(table[".sqrtrwt"].iloc[ROWS], np.divide(PEARSON, RESPONSE), rtol=1e-7)
    assert_allclose(table[".sqrtXwt"].iloc[ROWS], np.divide(PEARSON, WORKING), rtol=1e-7)
    assert_allclose(table[".weights"], interlace.datasets.load("cbpp")["size"])
    assert (table[".offset"] == 0).all()


def test_augment_with_a_falling_link():
    # lme4: m@resp$sqrtXwt, $sqrtrwt, $eta and $wtres of the first two rows
    table = glmm_fits.reaction(link="inverse", nodes=0, dispersion="lme4").augment().head(2)
    assert_allclose(table[".sqrtXwt"], [-282.937535711665, -292.573998295478], rtol=1e-6)
    assert_allclose(table[".sqrtrwt"], [0.00353434901270603, 0.00341793872943581], rtol=1e-6)
    assert_allclose(table[".eta"], [0.00353434901270603, 0.00341793872943581], rtol=1e-6)
    assert_allclose(table[".wtres"], [-0.117967860389083, -0.115763186382928], rtol=1e-5)
    assert_allclose(table[".resid"], [-0.122954656536499, -0.120558509697518], rtol=1e-5)


def test_augment_counts_the_offset():
    data = interlace.datasets.load("grouseticks")
    data["o"] = np.log(1.0 + np.arange(1, 404) % 3)
    result = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", offset="o", nAGQ=0)
    table = result.augment()
    # lme4: predict(m, re.form = NA) and m@resp$eta
    assert_allclose(table[".fixed"].head(3), [0.501486350391717, 0.906951458499881, -0.191660830168228], rtol=1e-6)
    assert_allclose(table[".fitted"].head(3), [-0.991582348737306, -0.586117240629142, -0.867671527347834], rtol=1e-6)
    assert_allclose(table[".offset"], data["o"])


def test_augment_where_means_round_to_zero_and_one():
    ends = {"y": [0.0, 1.0] * 20, "known": [-800.0, 800.0] * 20, "g": [f"g{i // 8}" for i in range(40)]}
    ends["y"][:4], ends["known"][:4] = [0.0, 1.0, 1.0, 0.0], [0.0] * 4
    with pytest.warns(interlace.ConvergenceWarning, match="zero"):
        result = interlace.glmer("y ~ 1 + (1 | g)", ends, "binomial", offset="known", nAGQ=0)
    with np.errstate(divide="raise", invalid="raise"):
        table = result.augment()
    assert (table[".wtres"][4:].abs() < 1e-100).all()
    assert np.isinf(table[".sqrtrwt"][5])
    assert_allclose(table[".sqrtXwt"][:4], 0.5)
