"""tidy, glance and augment."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose


def test_tidy_has_brooms_columns(slopes):
    table = slopes.tidy()
    assert list(table.columns) == [
        "effect",
        "group",
        "term",
        "estimate",
        "std_error",
        "statistic",
        "df",
        "p_value",
        "conf_low",
        "conf_high",
    ]
    assert table["effect"].tolist() == ["fixed"] * 2 + ["ran_pars"] * 4
    assert table["term"].tolist()[2:] == ["sd__Intercept", "sd__Days", "cor__Intercept.Days", "sd__Observation"]
    assert table["group"].tolist() == [None, None, "Subject", "Subject", "Subject", "Residual"]
    assert_allclose(table["estimate"][:2], slopes.fe_params)
    assert_allclose(table["p_value"][:2], slopes.fe_pvalues)
    assert_allclose(table[["conf_low", "conf_high"]][:2], slopes.fe_conf_int)
    assert table["std_error"][2:].isna().all()


def test_tidy_of_random_values(slopes, crossed):
    table = slopes.tidy("ran_vals", level=0.9)
    assert table.columns[2] == "level"
    assert len(table) == 36
    assert table["term"].tolist()[:2] == ["Intercept", "Days"]
    assert_allclose(table["estimate"][:2], slopes.random_effects["Subject"].iloc[0])
    assert_allclose(table["std_error"][:2], slopes.random_effects_se["Subject"].iloc[0])
    assert_allclose(table["conf_high"] - table["estimate"], 1.6448536269514722 * table["std_error"])
    assert crossed.tidy(["ran_vals"])["group"].tolist() == ["plate"] * 24 + ["sample"] * 6


def test_tidy_refuses_unknown_effects(slopes):
    with pytest.raises(ValueError, match="effects may be fixed, ran_pars, ran_vals; not 'random'"):
        slopes.tidy(["random"])
    assert slopes.tidy([]).empty


def test_glance_is_one_row(slopes, slopes_ml):
    row = slopes.glance()
    assert list(row.columns) == ["nobs", "sigma", "logLik", "AIC", "BIC", "REMLcrit", "df_residual"]
    assert row.shape == (1, 7)
    assert row["df_residual"][0] == 174
    assert "deviance" in slopes_ml.glance().columns


def test_augment(weighted, sleep):
    table = weighted.augment()
    assert table.index.equals(sleep.index)
    assert_allclose(table[".fitted"] + table[".resid"], sleep["Reaction"])
    assert_allclose(table[".wtres"], weighted.residuals("pearson"))
    assert_allclose(table[".offset"], np.tile([10.0, -5.0], 90))
    fixed = 248.6137355024 + 10.6525178812 * sleep["Days"] + table[".offset"]
    assert_allclose(table[".fixed"], fixed, rtol=1e-7)
    assert {"Reaction", "Days", "Subject", "w", "o"} <= set(table.columns)
