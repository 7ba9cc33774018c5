"""Residuals and model frames of generalized models; the numbers are those of R 4.2 with lme4 1.1-31."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import interlace
from interlace.families import NegativeBinomial
from interlace.results.rows import residuals

TYPES = ("response", "pearson", "deviance", "working")
CBIND = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


def ticks() -> pd.DataFrame:
    data = interlace.datasets.load("grouseticks")
    data["HT"] = (data["HEIGHT"] - 462) / 30
    data["w"] = np.resize([1.0, 2.0, 0.5], len(data))
    return data


def cbpp(link: str | None = None) -> interlace.GLMMResult:
    return interlace.glmer(CBIND, interlace.datasets.load("cbpp"), "binomial", link=link)


def assert_residuals(result, expected) -> None:
    for type, values in zip(TYPES, expected, strict=True):
        assert_allclose(result.residuals(type)[:4], values, rtol=2e-5, atol=2e-6, err_msg=type)


def test_binomial_with_weights():
    expected = [
        [-0.16535050909802, 0.10825174596086, 0.31848691208916, -0.084028752566962],
        [-1.3398616872375, 1.0751259038801, 2.8796155210358, -0.67726407553128],
        [-1.4380319347657, 0.98874318337797, 2.3569977843928, -0.93685806857764],
        [-0.77550814877174, 0.88982068213165, 2.8929099278963, -1.091737325601],
    ]
    data = interlace.datasets.load("cbpp")
    proportions = interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")
    for result in (cbpp(), proportions):
        assert_residuals(result, expected)


def test_binomial_with_a_link_that_is_not_canonical():
    expected = [
        [-0.16120899349567, 0.11502575930829, 0.32363912109059, -0.078930300704788],
        [-1.3112493071109, 1.1661267696802, 2.9791797463884, -0.6545768368998],
        [-1.4066978344694, 1.0629733641221, 2.41470088079, -0.90675006338731],
        [-0.63901714620865, 0.91708600923466, 2.8591196643939, -1.0422600049008],
    ]
    assert_residuals(cbpp("cloglog"), expected)


def test_poisson():
    result = interlace.glmer("TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | LOCATION)", ticks(), "poisson")
    expected = [
        [-0.54605535898469, -0.54605535898469, -0.85346724997258, -1.1672161920051],
        [-0.73895558661174, -0.73895558661174, -0.92383291236705, -1.0803778005888],
        [-1.0450410125777, -1.0450410125777, -1.3064970340361, -1.5278849380795],
        [-1, -1, -1, -1],
    ]
    assert_residuals(result, expected)


def test_poisson_with_weights_or_a_square_root():
    weighted = interlace.glmer("TICKS ~ YEAR + HT + (1 | BROOD)", ticks(), "poisson", weights="w")
    expected = [
        [-0.42808086969232, -0.42808086969232, -0.85747182773167, -0.857164956584],
        [-0.65427889289837, -0.92529008391133, -0.65477928637506, -0.92583203475792],
        [-0.92529008391133, -1.3085577857967, -0.92599774715259, -1.3093242200341],
        [-1, -1, -1, -1],
    ]
    assert_residuals(weighted, expected)
    data = interlace.datasets.load("cbpp")
    root = interlace.glmer("incidence ~ period + (1 | herd)", data, "poisson", link="sqrt")
    expected = [
        [-2.6933367281259, 1.3462030320011, 2.635750684802, -0.86732410950642],
        [-1.2432251762779, 1.0468138709346, 2.2566149229558, -0.93130237275893],
        [-1.4052355805901, 0.93852258699822, 1.8259296038951, -1.3170604462259],
        [-0.62161258813896, 0.52340693546728, 1.1283074614779, -0.46565118637947],
    ]
    assert_residuals(root, expected)


def test_negative_binomial():
    result = interlace.glmer("TICKS ~ YEAR + HT + (1 | BROOD)", ticks(), NegativeBinomial(2.5))
    expected = [
        [-0.68686278846033, -0.68686278846033, -0.83000593255754, -1.2526875152837],
        [-0.73404606700226, -0.73404606700226, -0.78938359931337, -0.91352445460171],
        [-1.1016947152528, -1.1016947152528, -1.1972538445656, -1.4250991582424],
        [-1, -1, -1, -1],
    ]
    assert_residuals(result, expected)
    assert_allclose(result.residuals("pearson", scaled=True), result.residuals("pearson"))


def test_gamma_and_its_scale():
    """At lme4's convention for the dispersion, which is not the default."""
    data = interlace.datasets.load("sleepstudy")
    control = interlace.Control(dispersion="lme4")
    result = interlace.glmer("Reaction ~ Days + (1 | Subject)", data, "Gamma", link="log", control=control)
    expected = [
        [-34.104309752153, -34.713339278549, -52.706548464645, 7.4966307400767],
        [-0.12022770782109, -0.11830676588223, -0.17365834291308, 0.023878942031925],
        [-0.12541495971577, -0.12332335313922, -0.18487087187662, 0.023691478433045],
        [-0.12022770782109, -0.11830676588223, -0.17365834291308, 0.023878942031925],
    ]
    assert_residuals(result, expected)
    scaled = [-1.1406644054714, -1.1224394044766, -1.6475893457843, 0.22655226245072]
    assert_allclose(result.residuals("pearson", scaled=True)[:4], scaled, rtol=2e-5)


def test_deviance_residuals_are_the_default_and_sum_to_the_deviance():
    result = cbpp()
    for default in (result.resid, result.residuals()):
        assert_array_equal(default, result.residuals("deviance"))
        assert default.name == "resid"
    mu, y, m = result.fittedvalues.to_numpy(), result.model.endog, result.model.weights
    inside = y > 0
    y, mu, m = y[inside], mu[inside], m[inside]
    squares = 2 * m * (y * np.log(y / mu) + (1 - y) * np.log((1 - y) / (1 - mu)))
    assert_allclose(result.resid[inside] ** 2, squares)
    assert_allclose((result.resid**2).sum(), 73.471722755163, rtol=1e-6)  # deviance(m) in lme4
    with pytest.raises(ValueError, match="residual type must be one of response, pearson, deviance, working; not"):
        result.residuals("partial")


def test_means_that_round_to_the_response_leave_no_nan():
    state = cbpp().state
    eta = np.where(np.arange(56) % 2 == 0, 60.0, -800.0)
    y = (eta > 0).astype(float)
    model = replace(state.model, y=y)
    extreme = replace(state, model=model, eta=eta, fitted=model.link.mu(eta))
    assert set(extreme.fitted) == {0.0, 1.0}
    for type in TYPES[:3]:
        assert_array_equal(residuals(extreme, type), np.zeros(56), err_msg=type)
    assert_allclose(residuals(extreme, "working"), np.where(eta > 0, 1.0, -1.0))  # the limits, 1/mu and -1/(1 - mu)


def test_the_model_as_it_entered_the_fit():
    result, data = cbpp(), interlace.datasets.load("cbpp")
    model = result.model
    assert_allclose(model.endog, data["incidence"] / data["size"])
    assert model.endog_names == "cbind(incidence, size - incidence)"
    assert_allclose(model.weights, data["size"])
    assert model.offset is None
    offset = interlace.glmer("incidence / size ~ 1 + offset(log(size)) + (1 | herd)", data, "binomial", weights="size")
    assert_allclose(offset.model.offset, np.log(data["size"]))


def test_a_computed_response_is_a_column_of_the_model_frame():
    result, data = cbpp(), interlace.datasets.load("cbpp")
    frame = result.model.data.frame
    assert list(frame.columns) == ["cbind(incidence, size - incidence)", "incidence", "size", "period", "herd"]
    assert_allclose(frame.iloc[:, 0], data["incidence"] / data["size"])
    new = result.simulate(seed=1)["sim_1"]
    again = result.refit(new).model.data.frame
    assert_allclose(again.iloc[:, 0], new)
    assert_array_equal(again["incidence"], data["incidence"])


def test_a_linear_models_computed_response_is_there_too():
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("log(Reaction) ~ Days + (1 | Subject)", data)
    new = np.log(data["Reaction"])
    assert_allclose(result.model.data.frame["log(Reaction)"], new)
    again = result.refit(2 * new).model.data.frame
    assert_allclose(again["log(Reaction)"], 2 * new)
    assert_array_equal(again["Reaction"], data["Reaction"])


@pytest.mark.parametrize("kind", ["text", "category", "bool", "boolean", "number"])
def test_a_response_of_two_kinds_is_replaced_only_by_another_one(kind):
    rng = np.random.default_rng(1)
    g = np.repeat(np.arange(30), 8)
    y = (rng.normal(size=240) + rng.normal(size=30)[g] > 0).astype(int)
    text = pd.Series(np.where(y == 1, "yes", "no"))
    columns = {
        "text": text,
        "category": text.astype("category"),
        "bool": pd.Series(y == 1),
        "boolean": pd.Series(y == 1, dtype="boolean"),
        "number": pd.Series(y),
    }
    data = pd.DataFrame({"y": columns[kind], "g": g})
    result = interlace.glmer("y ~ 1 + (1 | g)", data, "binomial")
    pd.testing.assert_frame_equal(result.model.data.frame, data)
    new = result.simulate(seed=1)["sim_1"]
    again = result.refit(new)
    assert_array_equal(again.model.data.frame["y"], new)
    assert_allclose(interlace.glmer("y ~ 1 + (1 | g)", again.model.data.frame, "binomial").llf, again.llf)
