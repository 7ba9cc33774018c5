"""Predictions of generalized models against lme4's, and their standard errors against dense equations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from interlace.errors import DataError

Z95 = stats.norm.ppf(0.975)


@pytest.fixture(scope="module")
def cbpp():
    data = interlace.datasets.load("cbpp")
    return interlace.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial")


@pytest.fixture(scope="module")
def ticks():
    data = interlace.datasets.load("grouseticks")
    return interlace.glmer("TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | LOCATION)", data, "poisson")


@pytest.fixture(scope="module")
def inverse():
    data = interlace.datasets.load("sleepstudy")
    return interlace.glmer("Reaction ~ Days + (1 | Subject)", data, "Gamma", link="inverse")


@pytest.fixture(scope="module")
def counts() -> pd.DataFrame:
    """Counts in 8 groups whose mean rises with x, and would be zero a little below the x of the data."""
    rng = np.random.default_rng(3)
    x, g = np.tile(np.linspace(0.0, 1.0, 10), 8), np.repeat(np.arange(8), 10)
    return pd.DataFrame({"y": rng.poisson(1.0 + 6.0 * x + 0.2 * g), "x": x, "g": g})


@pytest.fixture
def new():
    return pd.DataFrame({"period": ["1", "2", "4"], "herd": ["1", "15", "99"]}, index=list("abc"))


def test_cbpp_has_lme4s_predictions(cbpp, new):
    link, mean = [-0.80851208504, -2.92134124562, -2.97884598345], [0.30820765196, 0.05110861599, 0.04839074243]
    assert_allclose(cbpp.predict(new, type="link"), link, rtol=1e-5)
    fit = cbpp.predict(new)
    assert fit.name == "fit"
    assert list(fit.index) == list("abc")
    assert_allclose(fit, mean, rtol=1e-5)
    fixed = [-1.39853212631, -2.39086488259, -2.97884598345]
    assert_allclose(cbpp.predict(new, type="link", include_re=False), fixed, rtol=1e-5)
    assert_allclose(cbpp.predict(new, re_formula="~0"), [0.19804914415, 0.08387195260, 0.04839074243], rtol=1e-5)


def test_own_rows(cbpp, ticks):
    for result in (cbpp, ticks):
        assert_allclose(result.predict(), result.fittedvalues, rtol=1e-12)
        assert_allclose(result.predict(result.model.data.frame), result.fittedvalues, rtol=1e-12)
        assert_allclose(result.predict(type="link"), result.state.eta, rtol=1e-12)


def test_grouseticks_has_lme4s_predictions(ticks):
    assert_allclose(ticks.predict(type="link")[:3], [-0.605034918, -0.605034918, -0.158448109], rtol=2e-5)
    assert_allclose(ticks.predict(include_re=False)[:3], [1.49465499890, 1.49465499890, 1.26753385950], rtol=2e-5)
    chosen = ticks.predict(re_formula="~ (1 | LOCATION)")
    assert_allclose(chosen[:3], [1.04278284577, 1.04278284577, 1.41498055443], rtol=2e-5)


def test_the_offset_is_included_as_in_lme4():
    data = interlace.datasets.load("Mmmec")
    data["log_expected"] = np.log(data["expected"])
    result = interlace.glmer("deaths ~ uvb + offset(log(expected)) + (1 | nation / region)", data, "poisson")
    assert_allclose(result.llf, -1095.34240255, rtol=1e-9)
    assert_allclose(result.predict(data)[:3], [71.0495303428, 79.1036555333, 45.4997785170], rtol=1e-5)
    fixed = result.predict(data, type="link", include_re=False)
    assert_allclose(fixed[:3], [3.95417231801, 4.40799528868, 3.85494365909], rtol=1e-5)
    nation = result.predict(data, re_formula="~ (1 | nation)")
    assert_allclose(nation[:3], [48.3969675920, 76.1922787918, 43.8251783228], rtol=1e-5)
    twice = result.predict(data.assign(expected=2 * data["expected"]))
    assert_allclose(twice, 2 * result.fittedvalues)
    column = interlace.glmer("deaths ~ uvb + (1 | nation / region)", data, "poisson", offset="log_expected")
    assert_allclose(column.predict(data), result.predict(data))
    array = interlace.glmer("deaths ~ uvb + (1 | nation / region)", data, "poisson", offset=data["log_expected"])
    assert_allclose(array.predict(), result.predict())
    with pytest.raises(DataError, match="the offset of this fit was an array"):
        array.predict(data)


def test_se_comes_from_the_joint_covariance_given_theta(cbpp, new):
    """Also pinned to the square roots that R gives for the same matrices of lme4's fit."""
    X, Z, mu = cbpp.model.exog, cbpp.model.Z.toarray(), cbpp.fittedvalues.to_numpy()
    V, weight = np.column_stack([X, Z]), cbpp.model.weights * mu * (1 - mu)
    penalty = np.diag([0.0] * 4 + [1 / cbpp.variance_components["herd"]] * 15)
    cov = np.linalg.inv(V.T @ (V * weight[:, None]) + penalty)
    own = np.column_stack([np.array([[1, 0, 0, 0], [1, 1, 0, 0]]), np.zeros((2, 15))])
    levels = list(cbpp.random_effects["herd"].index)
    own[0, 4 + levels.index("1")] = own[1, 4 + levels.index("15")] = 1.0
    table = cbpp.predict(new, type="link", se=True)
    assert list(table.columns) == ["fit", "se"]
    assert_allclose(table["se"][:2], np.sqrt(np.einsum("mi,ij,mj->m", own, cov, own)), rtol=1e-7)
    assert_allclose(table["se"][:2], [0.370727478, 0.468779900], rtol=1e-5)


def test_se_without_random_effects_is_that_of_the_coefficients(cbpp, new):
    x = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 1]])
    expected = np.einsum("mi,ij,mj->m", x, cbpp.fe_cov.to_numpy(), x)
    assert_allclose(cbpp.predict(new, type="link", include_re=False, se=True)["se"] ** 2, expected)
    assert_allclose(np.sqrt(expected), [0.23247181637, 0.31021368918, 0.43007128421], rtol=1e-5)
    unseen = new.assign(herd="somewhere")
    whole = cbpp.predict(unseen, type="link", se=True)["se"]
    assert_allclose(whole**2, expected + cbpp.variance_components["herd"])


def test_many_equal_rows(cbpp, new):
    """Above a number of rows, equal ones are computed once."""
    new.loc["b", "period"] = None
    many = pd.concat([new] * 4000, ignore_index=True)
    few, table = (cbpp.predict(rows, se=True, interval="confidence") for rows in (new, many))
    assert_allclose(table.to_numpy().reshape(4000, 3, 4), np.broadcast_to(few, (4000, 3, 4)), rtol=1e-12)


def test_se_of_means_is_the_delta_method(cbpp, inverse, new):
    sleep = pd.DataFrame({"Days": [0, 9], "Subject": ["308", "?"]})
    for result, rows in ((cbpp, new), (inverse, sleep)):
        link, mean = (result.predict(rows, type=type, se=True) for type in ("link", "response"))
        step = 1e-5
        slope = (result.link.mu(link["fit"] + step * link["se"]) - result.link.mu(link["fit"] - step * link["se"])) / (
            2 * step
        )
        assert_allclose(mean["se"], np.abs(slope), rtol=1e-6)
        assert (mean["se"] > 0).all()


def test_confidence_intervals_of_means_are_those_of_the_linear_predictor(cbpp, new):
    link = cbpp.predict(new, type="link", se=True, interval="confidence")
    assert list(link.columns) == ["fit", "se", "lower", "upper"]
    assert_allclose(link["upper"] - link["fit"], Z95 * link["se"])
    assert_allclose(link["fit"] - link["lower"], Z95 * link["se"])
    mean = cbpp.predict(new, interval="confidence")
    assert list(mean.columns) == ["fit", "lower", "upper"]
    assert_allclose(mean, 1 / (1 + np.exp(-link[["fit", "lower", "upper"]])))
    narrow = cbpp.predict(new, interval="confidence", level=0.5)
    assert (narrow["upper"] < mean["upper"]).all()


def test_ends_swap_for_a_decreasing_link(inverse):
    link = inverse.predict(type="link", interval="confidence")
    mean = inverse.predict(interval="confidence")
    assert (mean["lower"] < mean["fit"]).all()
    assert (mean["fit"] < mean["upper"]).all()
    assert_allclose(mean["lower"], 1 / link["upper"])
    assert_allclose(mean["upper"], 1 / link["lower"])


def test_an_interval_that_reaches_impossible_predictors_is_open(inverse):
    """1/mu falls with Days: first its lower end becomes negative, which no mean has, then 1/mu itself."""
    slope, intercept = -inverse.fe_params["Days"], inverse.fe_params["Intercept"]
    days = intercept / slope
    table = inverse.predict(
        {"Days": [0.5 * days, 0.999 * days, 1.2 * days]}, include_re=False, se=True, interval="confidence"
    )
    assert np.isfinite(table.iloc[0]).all()
    link = inverse.predict({"Days": [0.999 * days]}, include_re=False, type="link", interval="confidence")
    assert link["lower"][0] < 0 < link["fit"][0]
    assert_allclose(table.iloc[1][["lower", "upper"]], [1 / link["upper"][0], np.inf])
    assert table.iloc[2].isna().all()


def test_intervals_stay_within_the_range_of_the_mean(counts):
    identity = interlace.glmer("y ~ x + (1 | g)", counts, "poisson", link="identity")
    rows = {"x": [-0.15, -0.5], "g": [0, 0]}
    link = identity.predict(rows, type="link", interval="confidence")
    mean = identity.predict(rows, interval="confidence")
    assert link["lower"][0] < 0 < link["fit"][0]
    assert_allclose(mean.loc[0], [link["fit"][0], 0.0, link["upper"][0]])
    assert link["fit"][1] < 0
    assert mean.loc[1].isna().all()


def test_an_interval_stays_on_its_branch_of_the_square_root(counts):
    wide = counts.assign(y=counts["y"] * (1 + counts["g"] % 3))
    root = interlace.glmer("y ~ x + (1 | g)", wide, "poisson", link="sqrt")
    crossing = -root.fe_params["Intercept"] / root.fe_params["x"]
    rows = {"x": [crossing + 0.01, crossing - 0.01]}
    link = root.predict(rows, type="link", interval="confidence", include_re=False)
    mean = root.predict(rows, interval="confidence", include_re=False)
    assert_allclose(mean["lower"], 0.0, atol=0)
    assert_allclose(mean["upper"], [link["upper"][0] ** 2, link["lower"][1] ** 2])
    assert_allclose(mean["fit"], link["fit"] ** 2)


def test_prediction_intervals_are_refused_with_a_way_out(cbpp):
    with pytest.raises(ValueError, match=r"'prediction' is for linear models: .*'binomial'.* simulate\(\) draws"):
        cbpp.predict(interval="prediction")
    with pytest.raises(ValueError, match="type must be 'response' or 'link', not 'terms'"):
        cbpp.predict(type="terms")
    with pytest.raises(ValueError, match="interval must be None, 'confidence' or 'prediction', not 'credible'"):
        cbpp.predict(interval="credible")


def test_missing_values_and_new_levels(cbpp, new):
    new.loc["b", "period"] = None
    table = cbpp.predict(new, se=True, interval="confidence")
    assert table.isna().all(axis=1).tolist() == [False, True, False]
    assert table.notna().all(axis=1).tolist() == [True, False, True]
    with pytest.raises(DataError, match=r"levels of 'herd' that the model has not seen: '99'"):
        cbpp.predict(new, allow_new_levels=False)
