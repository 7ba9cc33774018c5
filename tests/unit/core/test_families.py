"""Families against R and scipy.stats, as distributions, and against one another through numerical checks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import integrate, stats

from interlace.core.customfamily import validate_family
from interlace.core.families import (
    Binomial,
    Family,
    Gamma,
    Gaussian,
    InverseGaussian,
    NegativeBinomial,
    Poisson,
)
from interlace.core.familynames import family, link_for
from interlace.core.linkbase import Link
from interlace.core.links import LINKS, link
from tests.responses import ALL, PAIRS

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("error::RuntimeWarning")]

EXAMPLES = {"binomial": [0.0, 0.25, 1.0], "poisson": [0.0, 1.0, 7.0, 40.0], "negative.binomial": [0.0, 1.0, 30.0]}
POSITIVE = [0.3, 1.0, 5.5]

every_family = pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
every_pair = pytest.mark.parametrize(("one", "name"), PAIRS, ids=lambda x: x if isinstance(x, str) else x.name)


def numbers(text):
    return np.array(text.split(), dtype=float)


# R 4.2.2: densities d*(..., log=TRUE), times the weights where R's aic() multiplies; dev.resids(y, mu, 1); mustart
COUNTS, MEANS, WEIGHTS = np.array([0, 1, 3, 12, 40.0]), np.array([0.4, 2, 2.5, 15, 33]), np.array([1, 2, 0.5, 3, 1])
AMOUNTS, TRIALS = np.array([0.2, 1, 3, 12.5, 40]), np.array([1, 1, 10, 7, 20.0])
PROPORTIONS, CHANCES = np.array([0, 1, 0.3, 0, 1]), np.array([0.2, 0.9, 0.45, 0.01, 0.97])
DISPERSION = 0.6
R = {
    "binomial": (PROPORTIONS, CHANCES, TRIALS),
    "poisson": (COUNTS, MEANS, WEIGHTS),
    "negative.binomial": (COUNTS, MEANS, WEIGHTS),
    "Gamma": (AMOUNTS, MEANS, WEIGHTS),
    "inverse.gaussian": (AMOUNTS, MEANS, WEIGHTS),
    "gaussian": (AMOUNTS, MEANS, WEIGHTS),
}
R_LOGLIK = {
    "binomial": numbers("""
        -0.22314355131420971 -0.10536051565782628 -1.79289035116061157
        -0.07035235097451009 -0.60918414969417145
    """),
    "poisson": [-0.4, -2.6137056388801092, -0.7714436368027949, -7.4718362473060971, -3.4603372560981862],
    "negative.binomial": numbers("""
        -0.3592254592342518 -2.8133103092553546 -1.0267518359685421
        -9.8675719238372750 -4.4439230748798622
    """),
    "Gamma": numbers("""
        0.5745501507381503 -2.0697755233919004 -0.9205260773871132
        -9.7943877658493292 -4.4347707806662378
    """),
    "gaussian": numbers("""
        -0.6968590546550109 -1.9836187977083717 -1.1142659782683166
        -15.7392195769876242 -41.4968590546550118
    """),
}
R_DEVIANCE = {
    "binomial": numbers("""
        0.44628710262841953 0.21072103131565270 0.09434781467874437
        0.02010067170700301 0.06091841496941731
    """),
    "poisson": [0.8, 0.61370563888010943, 0.09392934076372761, 0.64455476845896698, 1.38975141179648887],
    "negative.binomial": numbers("""
        0.71845091846850395 0.31514329073554470 0.03663629655283884
        0.07010786098743349 0.06404716134450616
    """),
    "Gamma": numbers("""
        0.38629436111989057 0.38629436111989057 0.03535688641209084
        0.03130978025457587 0.03949863894751204
    """),
    "inverse.gaussian": [1.25, 0.25, 0.013333333333333334, 0.002222222222222222, 0.001124885215794307],
}
R_START = {
    "binomial": [0.25, 0.75, 0.3181818181818182, 0.0625, 0.9761904761904762],
    "poisson": [0.1, 1.1, 3.1, 12.1, 40.1],
    "negative.binomial": [0.1666666666666667, 1, 3, 12, 40],
}
# family$aic(y, n, mu, wt, sum of dev.resids), less the 2 that R adds for the dispersion
R_AIC = {"Gamma": 28.82742748103757, "inverse.gaussian": 41.0489338378301, "gaussian": 26.27998457367218}


@pytest.mark.parametrize("name", R_LOGLIK)
def test_log_densities_are_those_of_r(name):
    one = next(f for f in ALL if f.name == name)
    np.testing.assert_allclose(one.loglik(*R[name], DISPERSION), R_LOGLIK[name], rtol=1e-12)


@pytest.mark.parametrize("name", R_DEVIANCE)
def test_deviances_are_those_of_r(name):
    one = next(f for f in ALL if f.name == name)
    y, mu, _ = R[name]
    np.testing.assert_allclose(one.unit_deviance(y, mu), R_DEVIANCE[name], rtol=1e-11)


@every_family
def test_starting_means_are_those_of_r(one):
    y, _, weights = R[one.name]
    np.testing.assert_allclose(one.start_mu(y, weights), R_START.get(one.name, y), rtol=1e-14)


@pytest.mark.parametrize("name", R_AIC)
def test_aic_at_the_estimated_dispersion_is_that_of_r(name):
    one, (y, mu, weights) = family(name), R[name]
    dispersion = one.dispersion_estimate(y, mu, weights)
    assert -2 * np.sum(one.loglik(y, mu, weights, dispersion)) == pytest.approx(R_AIC[name], rel=1e-12)


def test_binomial_with_trials_and_other_weights():
    """R: binomial()$aic(c(0, .5, .3, 0, 1), n, mu, wt) with n = c(1, 2, 10, 7, 20), wt = n * c(1, .5, 2, 3, 1.5)."""
    trials = np.array([1, 2, 10, 7, 20.0])
    weights = trials * np.array([1, 0.5, 2, 3, 1.5])
    values = Binomial().loglik(np.array([0, 0.5, 0.3, 0, 1]), CHANCES, weights, trials=trials)
    assert -2 * values.sum() == pytest.approx(11.58231349029237, rel=1e-12)


def test_binomial_with_fractional_successes_keeps_its_slope():
    """R would round 0.5 successes to 0, and its likelihood would no longer belong to its score."""
    y, mu, w, h = np.array([1.0]), np.array([0.3]), np.array([0.5]), 1e-6
    slope = (Binomial().loglik(y, mu + h, w) - Binomial().loglik(y, mu - h, w)) / (2 * h)
    assert slope[0] == pytest.approx(0.5 / 0.3, rel=1e-8)


@pytest.mark.parametrize("mu", [0.05, 1.3, 20.0])
def test_densities_are_those_of_scipy(mu):
    counts, amounts, phi = np.arange(12.0), np.array([0.01, 0.7, 3.0, 45.0]), 0.37
    m = np.full_like(counts, mu)
    one = np.ones_like
    check = np.testing.assert_allclose
    check(Poisson().loglik(counts, m, one(m)), stats.poisson.logpmf(counts, mu), rtol=1e-11)
    for theta in (0.03, 2.5, 400.0):
        expected = stats.nbinom.logpmf(counts, theta, theta / (theta + mu))
        check(NegativeBinomial(theta).loglik(counts, m, one(m)), expected, rtol=1e-9, atol=1e-11)
    m = np.full_like(amounts, mu)
    check(Gamma().loglik(amounts, m, one(m), phi), stats.gamma.logpdf(amounts, 1 / phi, scale=mu * phi), rtol=1e-11)
    expected = stats.invgauss.logpdf(amounts, mu * phi, scale=1 / phi)
    check(InverseGaussian().loglik(amounts, m, one(m), phi), expected, rtol=1e-10)
    check(Gaussian().loglik(amounts, m, one(m), phi), stats.norm.logpdf(amounts, mu, phi**0.5), rtol=1e-12)


def test_negative_binomial_tends_to_poisson():
    y, mu, one = np.arange(30.0), np.full(30, 7.0), np.ones(30)
    for theta in (1e8, 1e12):
        near = NegativeBinomial(theta)
        np.testing.assert_allclose(near.loglik(y, mu, one), Poisson().loglik(y, mu, one), atol=300 / theta + 1e-9)
        np.testing.assert_allclose(near.unit_deviance(y, mu), Poisson().unit_deviance(y, mu), atol=600 / theta + 1e-12)


def test_discrete_families_sum_to_one():
    y = np.arange(4000.0)
    for one in (Poisson(), NegativeBinomial(0.4), NegativeBinomial(60.0)):
        assert np.exp(one.loglik(y, np.full(4000, 13.0), np.ones(4000))).sum() == pytest.approx(1, abs=1e-11)
    trials = np.full(38, 37.0)
    assert np.exp(Binomial().loglik(np.arange(38) / 37, np.full(38, 0.2), trials)).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("one", [Gamma(), InverseGaussian(), Gaussian()], ids=lambda one: one.name)
def test_continuous_families_integrate_to_one(one):
    def density(y):
        return float(np.exp(one.loglik(np.array([y]), np.array([2.0]), np.ones(1), 0.4))[0])

    low = -10.0 if one.name == "gaussian" else 0.0
    total = sum(integrate.quad(density, a, b, epsabs=1e-12)[0] for a, b in ((low, 0.5), (0.5, 3), (3, 15), (15, 200)))
    assert total == pytest.approx(1, abs=1e-8)


@every_family
def test_simulated_moments(one):
    n, mu, phi = 200_000, 0.3 if one.name == "binomial" else 2.5, 0.2
    weights = np.full(n, 4.0 if one.name in ("binomial", "gaussian") else 1.0)
    drawn = one.simulate(np.full(n, mu), weights, phi, np.random.default_rng(1))
    variance = float(one.variance(np.array([mu]))[0]) / weights[0] * (phi if one.has_dispersion else 1)
    assert drawn.shape == (n,)
    assert drawn.dtype == np.float64
    assert drawn.mean() == pytest.approx(mu, abs=5 * np.sqrt(variance / n))
    assert drawn.var() == pytest.approx(variance, rel=0.05)
    assert one.check_response(drawn, weights) is None
    assert one.response_warning(drawn, weights) is None


@every_family
def test_derivative_by_dispersion_or_theta(one):
    y, mu, weights = R[one.name]
    h = 1e-5
    if one.has_dispersion:
        slope = (one.loglik(y, mu, weights, 0.6 + h) - one.loglik(y, mu, weights, 0.6 - h)) / (2 * h)
        np.testing.assert_allclose(one.d_dispersion(y, mu, weights, 0.6), slope, rtol=1e-7, atol=1e-8)
    else:
        assert not one.d_dispersion(y, mu, weights, 0.6).any()
        assert one.dispersion_estimate(y, mu, weights) == 1.0
    if isinstance(one, NegativeBinomial):
        slope = NegativeBinomial(1.7 + h).loglik(y, mu, weights) - NegativeBinomial(1.7 - h).loglik(y, mu, weights)
        np.testing.assert_allclose(one.d_theta(y, mu, weights), slope / (2 * h), rtol=1e-7, atol=1e-8)


@every_pair
def test_own_families_pass_the_check_for_user_families(one, name):
    validate_family(one, link_for(one, name), np.array(EXAMPLES.get(one.name, POSITIVE)))


WRONG = {
    "variance": lambda mu: mu**1.5,
    "d_variance": lambda mu: mu,
    "d2_variance": lambda mu: 1.001 * np.full_like(mu, 2.0),
    "loglik": lambda y, mu, weights, dispersion=1.0: 1.01 * Gamma().loglik(y, mu, weights, dispersion),
    "unit_deviance": lambda y, mu: 0.5 * Gamma().unit_deviance(y, mu),
    "d_dispersion": lambda y, mu, weights, dispersion=1.0: np.zeros_like(mu),
}


@pytest.mark.parametrize("method", WRONG)
def test_the_check_names_the_method_at_fault(method):
    broken = type("Broken", (Gamma,), {method: staticmethod(WRONG[method]), "name": "broken"})()
    named = "d_variance" if method == "variance" else method  # a wrong variance first parts from its derivative
    with pytest.raises(ValueError, match=rf"family 'broken': {named}\(\) is wrong at mu = "):
        validate_family(broken, link("log"), np.array(POSITIVE))


@pytest.mark.parametrize("method", ["mu", "d1", "d2", "d3"])
def test_the_check_names_the_method_of_a_link(method):
    right = getattr(link("log"), method)
    parts = {method: staticmethod(lambda eta: 1.01 * right(eta)), "name": "skew"}
    skew = type("Skew", (type(link("log")),), parts)()
    with pytest.raises(ValueError, match=rf"link 'skew': {method}\(\) is wrong at eta = "):
        validate_family(Gamma(), skew, np.array(POSITIVE))


def test_the_check_looks_at_shapes_signs_and_examples():
    scalar = type("Scalar", (Gamma,), {"variance": lambda self, mu: 1.0, "name": "scalar"})()
    with pytest.raises(ValueError, match=r"variance\(\) must return an array of shape \(9,\), not \(\)"):
        validate_family(scalar, link("log"), np.array(POSITIVE))
    negative = type("Negative", (Gamma,), {"variance": lambda self, mu: -mu, "name": "negative"})()
    with pytest.raises(ValueError, match=r"variance\(\) must be positive, but is -0\.3 at mu = 0\.3"):
        validate_family(negative, link("log"), np.array(POSITIVE))
    with pytest.raises(ValueError, match="no example has a mean"):
        validate_family(Gamma(), link("log"), np.array([-1.0]))


class Tweedie(Family):
    """A minimal family of a user: only what is required."""

    name = "tweedie"

    def variance(self, mu):
        return mu**1.5

    def d_variance(self, mu):
        return 1.5 * mu**0.5

    def d2_variance(self, mu):
        return 0.75 * mu**-0.5

    def loglik(self, y, mu, weights, dispersion=1.0):
        return -0.5 * weights * self.unit_deviance(y, mu) / dispersion

    def unit_deviance(self, y, mu):
        return 4 * (y * (mu**-0.5 - y**-0.5) - (y**0.5 - mu**0.5))


def test_a_minimal_family():
    one = Tweedie()
    validate_family(one, link("log"), np.array(POSITIVE))
    assert family(one) is one
    assert family(Tweedie).name == "tweedie"
    assert link_for(one).name == "identity"
    assert link_for(one, "sqrt").name == "sqrt"
    assert one.label == "tweedie"
    assert one.check_response(np.array([1.0]), np.ones(1)) is None
    assert one.response_warning(np.array([1.0]), np.ones(1)) is None
    with pytest.raises(ValueError, match="'tweedie' cannot simulate"):
        one.simulate(np.ones(2), np.ones(2), 1.0, np.random.default_rng(0))
    one.has_dispersion = True
    with pytest.raises(ValueError, match=r"must define d_dispersion\(\)"):
        one.d_dispersion(np.ones(2), np.ones(2), np.ones(2))


def test_impossible_responses():
    one = np.ones(3)
    cases = [
        (Binomial(), [0, 1.2, -1], one, r"outside \[0, 1\] at 2 of 3 rows \(first at row 1, counted from 0\)"),
        (Binomial(), [0, 1, 1], [1, 0, -2], "trials .* is not positive at 2 of 3"),
        (Poisson(), [0, -1, 2], one, "count, is negative at 1 of 3"),
        (Poisson(), [0, 1.5, 2], one, "not a whole number at 1 of 3"),
        (NegativeBinomial(2), [0, -1, 2], one, "is negative at 1 of 3"),
        (Gamma(), [0, 1, 2], one, "not positive at 1 of 3"),
        (InverseGaussian(), [-3, 0, 2], one, "not positive at 2 of 3"),
        (Gaussian(), [np.nan, np.inf, 2], one, "not a finite number at 2 of 3"),
    ]
    for model, y, weights, message in cases:
        found = model.check_response(np.array(y, dtype=float), np.array(weights, dtype=float))
        assert found is not None
        assert re.search(message, found), found


def test_suspicious_responses():
    one = np.ones(3)
    assert "not a whole number, and no weights say" in Binomial().response_warning(np.array([0, 0.5, 1]), one)
    assert "not a whole number at 1 of 3" in Binomial().response_warning(np.array([0, 0.25, 1]), 2 * one)
    assert Binomial().response_warning(np.array([0, 0.1, 0.3]), 10 * one) is None
    assert "every response is 1" in Binomial().response_warning(one, one)
    assert "every response is 0" in Binomial().response_warning(0 * one, one)
    assert "every response is 0" in Poisson().response_warning(0 * one, one)
    assert "not a whole number" in NegativeBinomial(1).response_warning(np.array([0, 0.5, 1]), one)
    with pytest.raises(ValueError, match="number of trials .* not whole at 3 of 3"):
        Binomial().simulate(0.5 * one, 1.5 * one, 1.0, np.random.default_rng(0))


def test_names():
    for text in ("binomial", "Poisson", "gamma", "Gamma", "inverse.gaussian", "inverse_gaussian", "gaussian"):
        assert family(text).name.casefold().startswith(text.casefold()[:7])
    assert family(Poisson) == Poisson()
    assert NegativeBinomial(1.23456).label == "Negative Binomial(1.2346)"
    with pytest.raises(ValueError, match=r"no family 'poison'; did you mean 'poisson'\? The families are 'binomial'"):
        family("poison")
    with pytest.raises(ValueError, match="has no likelihood"):
        family("quasipoisson")
    for text in ("negative.binomial", "nbinom", "NegativeBinomial", NegativeBinomial):
        with pytest.raises(ValueError, match=r"NegativeBinomial\(theta=\.\.\.\)"):
            family(text)
    for theta in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="theta .* must be positive and finite"):
            NegativeBinomial(theta)
    with pytest.raises(TypeError, match="not 3"):
        family(3)


def test_links_of_families():
    assert [link_for(one).name for one in ALL] == ["logit", "log", "inverse", "1/mu^2", "identity", "log"]
    with pytest.raises(
        ValueError, match="family 'poisson' has no link 'logit'. Its links are 'log', 'identity', 'sqrt'"
    ):
        link_for(Poisson(), "logit")
    assert link_for(Poisson(), LINKS["logit"]) is LINKS["logit"]
    assert isinstance(link_for(Binomial(), "cauchit"), Link)
