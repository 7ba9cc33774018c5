"""The response of linear and generalized models in one form."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import interlace
from interlace.core.families import Binomial, Gaussian, Poisson
from interlace.core.familynames import link_for
from interlace.prediction.response import has_mean, linear_predictor, response_model


def test_a_linear_model_is_gaussian_with_the_identity_link() -> None:
    data = interlace.datasets.load("sleepstudy").assign(w=np.tile([0.5, 2.0], 90))
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", data, weights="w")
    model = response_model(result.state)
    assert (model.family.name, model.link.name) == ("gaussian", "identity")
    assert_allclose(model.weights, data["w"])
    assert_allclose(response_model(result.update(weights=None).state).weights, np.ones(180))
    assert_allclose(linear_predictor(result.state), result.fittedvalues)


def test_a_generalized_model_keeps_its_own() -> None:
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period", data, "binomial", groups="herd", weights="size")
    assert response_model(result.state) is result.state.model
    assert_allclose(1 / (1 + np.exp(-linear_predictor(result.state))), result.fittedvalues)


@pytest.mark.parametrize(
    ("family", "link", "eta", "expected"),
    [
        (Binomial(), "logit", [-800.0, 0.0, 40.0, np.nan], [True, True, True, False]),
        (Binomial(), "log", [-1.0, 0.0, 0.1], [True, True, False]),
        (Poisson(), "identity", [-0.1, 0.0, 2.0, np.inf], [False, True, True, False]),
        (Poisson(), "sqrt", [-0.1, 0.0, 2.0], [True, False, True]),
        (Gaussian(), "inverse", [-0.1, 0.0, 2.0], [True, False, True]),
    ],
)
def test_where_a_linear_predictor_has_a_mean(family, link, eta, expected) -> None:
    chosen, values = link_for(family, link), np.array(eta)
    with np.errstate(all="ignore"):
        assert_array_equal(has_mean(family, chosen, values, chosen.mu(values)), expected)
