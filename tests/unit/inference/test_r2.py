"""Variance decompositions against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import interlace
from interlace.errors import ModelError
from interlace.estimate.derived import term_covariances
from interlace.inference.principal_components import principal_components
from interlace.inference.r2 import null_state, variances
from tests.glmm_fits import cbpp


def test_variances_of_random_effects_are_the_mean_diagonal_of_z_psi_z() -> None:
    result = interlace.fit("Reaction ~ Days + (Days || Subject)", interlace.datasets.load("sleepstudy"))
    found = variances(result.state)
    Z = result.model.Z.toarray()
    intercept, slope = (float(cov[0, 0]) for cov in term_covariances(result.state))
    days = interlace.datasets.load("sleepstudy")["Days"].to_numpy()
    assert Z.shape == (180, 36)
    assert found.by_group == {"Subject": pytest.approx(intercept + slope * np.mean(days**2))}
    assert found.fixed == pytest.approx(result.fe_params["Days"] ** 2 * np.var(days, ddof=1))
    assert found.distribution == pytest.approx(result.scale)
    assert found.marginal + (1 - found.marginal) * found.adjusted == pytest.approx(found.conditional)


def test_offsets_are_no_explained_variance() -> None:
    frame = interlace.datasets.load("sleepstudy")
    plain = interlace.fit("Reaction ~ Days", frame, groups="Subject")
    moved = interlace.fit("Reaction ~ Days", frame, groups="Subject", offset=5.0 * frame["Days"])
    expected = (plain.fe_params["Days"] - 5) ** 2 * frame["Days"].var()
    assert variances(moved.state).fixed == pytest.approx(expected, rel=1e-6)


def test_a_level_for_every_row_is_overdispersion() -> None:
    formula = "TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION) + (1 | INDEX)"
    result = interlace.glmer(formula, interlace.datasets.load("grouseticks"), "poisson")
    found = variances(result.state)
    assert found.own == ("INDEX",)
    own = result.variance_components
    assert found.random == pytest.approx(own["BROOD"] + own["LOCATION"])
    assert found.residual == pytest.approx(found.distribution + own["INDEX"])


@pytest.mark.parametrize("family", ["poisson", "negative.binomial", "Gamma"])
def test_approximations_for_a_log_link(family: str) -> None:
    """Nakagawa, Johnson and Schielzeth (2017), table 1: with nu the shape of a Gamma."""
    frame = interlace.datasets.load("grouseticks").assign(one=lambda d: d["TICKS"] + 0.5 * (family == "Gamma"))
    formula = "one ~ YEAR + (1 | BROOD)"
    if family == "negative.binomial":
        result = interlace.glmer_nb(formula, frame)
    else:
        result = interlace.glmer(formula, frame, family, link="log")
    null = result.update("one ~ 1 + (1 | BROOD)")
    tau = null.variance_components["BROOD"]
    for mean, mu in [
        ("typical", np.exp(null.fe_params["Intercept"])),
        ("average", np.exp(null.fe_params["Intercept"] + tau / 2)),
    ]:
        parts = {"poisson": 1 / mu, "Gamma": result.scale}
        relative = parts.get(family) or 1 / mu + 1 / result.family.theta
        expected = {
            "delta": relative,
            "lognormal": np.log1p(relative),
            "trigamma": float(special.polygamma(1, 1 / relative)),
        }
        found = {name: variances(result.state, name, mean).distribution for name in expected}  # type: ignore[arg-type]
        assert found == pytest.approx(expected, rel=1e-5)
    default = {"Gamma": "delta"}.get(family, "lognormal")
    assert variances(result.state) == variances(result.state, default)  # type: ignore[arg-type]


def test_the_delta_method_for_other_links() -> None:
    frame = interlace.datasets.load("grouseticks")
    root = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", frame, "poisson", link="sqrt")
    assert variances(root.state).distribution == pytest.approx(0.25)
    p = 1 / (1 + np.exp(-cbpp().update("incidence / size ~ 1 + (1 | herd)").fe_params["Intercept"]))
    assert variances(cbpp().state, "delta").distribution == pytest.approx(1 / (p * (1 - p)), rel=1e-5)


def test_the_offset_is_part_of_the_typical_response() -> None:
    frame = interlace.datasets.load("grouseticks")
    same = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", frame, "poisson")
    moved = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", frame, "poisson", offset=np.full(len(frame), 2.0))
    assert variances(moved.state).distribution == pytest.approx(variances(same.state).distribution, rel=1e-5)


def test_a_fit_without_predictors_is_its_own_null_model() -> None:
    frame = interlace.datasets.load("Penicillin")
    state = interlace.fit("diameter ~ 1", frame, groups=["plate", "sample"]).state
    assert null_state(state) is state
    recoded = interlace.fit("diameter ~ 0 + x + (1 | plate)", frame.assign(x=2.0)).state
    assert null_state(recoded) is recoded


def test_the_null_model_is_fitted_only_where_it_is_needed() -> None:
    assert variances(cbpp().state).null is None
    null = null_state(cbpp().state)
    assert variances(cbpp().state, "delta", null=null).null is null
    assert len(null.beta) == 1
    other = cbpp().update("incidence / size ~ 1 + (1 | herd)")
    assert null.criterion == pytest.approx(-2 * other.llf, abs=1e-8)


def test_what_cannot_be_approximated() -> None:
    linear = interlace.fit("Reaction ~ Days", interlace.datasets.load("sleepstudy"), groups="Subject").state
    with pytest.raises(ValueError, match="approximation='delta' is for generalized models"):
        variances(linear, "delta")
    with pytest.raises(ValueError, match="approximation must be one of 'theoretical', 'lognormal'"):
        variances(linear, "exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mean must be 'typical' or 'average', not 'median'"):
        variances(linear, mean="median")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="approximation='lognormal' needs a log link, and this model has 'logit'"):
        variances(cbpp().state, "lognormal")
    with pytest.raises(ModelError, match="mean='average' needs a log link"):
        variances(cbpp().state, "delta", "average")
    poisson = interlace.glmer("TICKS ~ 1 + (1 | BROOD)", interlace.datasets.load("grouseticks"), "poisson").state
    with pytest.raises(ModelError, match="not for the family 'poisson' with the link 'log'; use 'delta'"):
        variances(poisson, "theoretical")


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_a_singular_fit_has_numbers() -> None:
    found = variances(interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff2")).state)
    assert (found.marginal, found.conditional, found.adjusted) == (0.0, 0.0, 0.0)


def test_components_are_eigenvectors_of_the_relative_covariance() -> None:
    frame = interlace.datasets.load("Machines")
    state = interlace.fit("score ~ Machine + (Machine | Worker)", frame).state
    (found,) = principal_components(state)
    psi = term_covariances(state)[0] / state.sigma**2
    np.testing.assert_allclose(found.rotation * found.sdev**2 @ found.rotation.T, psi, atol=1e-8)
    assert (np.diff(found.sdev) < 0).all()
    assert found.proportion.sum() == pytest.approx(1.0)
    largest = np.abs(found.rotation).argmax(axis=0)
    assert (found.rotation[largest, [0, 1, 2]] > 0).all()


def test_terms_on_one_factor_are_taken_together() -> None:
    frame = interlace.datasets.load("sleepstudy")
    (found,) = principal_components(interlace.fit("Reaction ~ Days + (Days || Subject)", frame).state)
    assert found.names == ("Intercept", "Days")
    np.testing.assert_allclose(np.abs(found.rotation), np.eye(2), atol=1e-12)
