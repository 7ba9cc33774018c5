"""Scores and information: against finite differences of the log density for every family and link, and in the tails."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from interlace.core.families import (
    Binomial,
    Family,
    Gamma,
    Gaussian,
    InverseGaussian,
    NegativeBinomial,
    Poisson,
)
from interlace.core.familynames import link_for
from interlace.core.links import Link, link
from interlace.core.working import WorkingModel
from tests.responses import PAIRS

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("error::RuntimeWarning")]

every_pair = pytest.mark.parametrize(("one", "name"), PAIRS, ids=lambda x: x if isinstance(x, str) else x.name)
ARRAYS = ("score", "fisher", "observed", "d_fisher", "d_observed")


def grid(one, name):
    """Linear predictors well inside the domain, but far out where the domain is the whole line."""
    if one.name == "binomial":
        return -np.geomspace(0.02, 30, 25) if name == "log" else np.linspace(-9, 1.9 if name == "cloglog" else 9, 31)
    if name == "log":
        return np.linspace(-12, 12, 31)
    if name == "identity" and one.name == "gaussian":
        return np.linspace(-9, 9, 31)
    return np.geomspace(0.03, 40, 31)


def responses(one):
    if one.name == "binomial":
        return [(0.0, 1.0), (1.0, 1.0), (0.3, 10.0)]
    if one.name in ("poisson", "negative.binomial"):
        return [(0.0, 1.0), (1.0, 2.5), (17.0, 1.0)]
    return [(0.2, 1.0), (1.0, 2.5), (17.0, 1.0)]


def model(one, name, y, weights, eta):
    return WorkingModel(one, link_for(one, name), np.full_like(eta, y), np.full_like(eta, weights))


def slope(function, at, step):
    """Central differences of sixth order."""
    first, second, third = (function(at + k * step) - function(at - k * step) for k in (1, 2, 3))
    return (45.0 * first - 9.0 * second + third) / (60.0 * step)


def step_of(name, eta):
    return 2e-3 * np.abs(eta) if (np.sign(eta) == np.sign(eta[0])).all() else np.full_like(eta, 2e-3)


@every_pair
def test_derivatives_of_the_log_density(one, name):
    eta = grid(one, name)
    h = step_of(name, eta)
    for y, weights in responses(one):
        work = model(one, name, y, weights, eta)
        at = work.at(eta)
        chain = (
            (work.log_density, at.score),
            (lambda e, w=work: w.at(e).score, -at.observed),
            (lambda e, w=work: w.at(e).fisher, at.d_fisher),
            (lambda e, w=work: w.at(e).observed, at.d_observed),
        )
        assert at.valid
        for function, derivative in chain:
            # rounding of the function over the step, for a difference of terms that are larger than itself
            size = np.abs(function(eta)) + at.fisher * (1 + np.abs(eta)) + weights * (1 + y) * 1e-3
            error = np.abs(slope(function, eta, h) - derivative)
            np.testing.assert_array_less(error, 1e-8 * np.abs(derivative) + 3e-14 * size / h)


@every_pair
def test_the_expected_score_is_zero_and_the_expected_information_is_fisher(one, name):
    eta = {"identity": 0.6, "log": -0.6}.get(name, 0.6)
    mu = link_for(one, name).mu(np.array([eta]))[0]
    theta = 1.7
    if one.name == "binomial":
        y, mass = np.arange(8) / 7, stats.binom.pmf(np.arange(8), 7, mu)
    elif one.name in ("poisson", "negative.binomial"):
        y = np.arange(400.0)
        mass = stats.poisson.pmf(y, mu) if one.name == "poisson" else stats.nbinom.pmf(y, theta, theta / (theta + mu))
    else:  # linear in y, so that any distribution with this mean will do
        y, mass = np.array([mu * 0.5, mu * 1.5]), np.array([0.5, 0.5])
    weights = np.full_like(y, 7.0 if one.name == "binomial" else 1.0)
    work = WorkingModel(one, link_for(one, name), y, weights)
    at = work.at(np.full_like(y, eta))
    assert mass @ at.score == pytest.approx(0, abs=1e-10)
    assert mass @ at.observed == pytest.approx(at.fisher[0], rel=1e-9)
    if not one.has_dispersion:
        assert mass @ at.score**2 == pytest.approx(at.fisher[0], rel=1e-9)


@every_pair
def test_general_and_special_forms_agree(one, name):
    """The chain rule for a family of which only variance and log density are known."""
    parts = ("variance", "d_variance", "d2_variance", "loglik", "unit_deviance", "valid_mu")
    body = {part: staticmethod(getattr(one, part)) for part in parts} | {"name": "plain", "mu_domain": one.mu_domain}
    plain = type("Plain", (Family,), body)()
    eta = grid(one, name)
    eta = eta[np.abs(eta) < 3]
    for y, weights in responses(one):
        special = model(one, name, y, weights, eta)
        general = WorkingModel(plain, special.link, special.y, special.weights)
        first, second = special.at(eta), general.at(eta)
        for part in ARRAYS:
            a, b = getattr(first, part), getattr(second, part)
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9 * (1 + np.abs(first.fisher).max()))
        np.testing.assert_allclose(general.log_density(eta), special.log_density(eta), rtol=1e-9, atol=1e-9)


@every_pair
def test_canonical_links(one, name):
    eta = grid(one, name)
    at = model(one, name, *responses(one)[1], eta).at(eta)
    assert (at.observed is at.fisher) == (name == one.canonical_link)
    assert (at.d_observed is at.d_fisher) == (name == one.canonical_link)


@every_pair
def test_many_rows(one, name):
    eta = np.resize(grid(one, name), 20_001)
    y, weights = (np.resize(part, eta.size) for part in zip(*responses(one), strict=True))
    work = WorkingModel(one, link_for(one, name), y, weights)
    at = work.at(eta)
    assert at.valid
    for some in (slice(0, 3000), slice(15_000, None)):
        part = WorkingModel(one, work.link, y[some], weights[some]).at(eta[some])
        for array in ("mu", *ARRAYS):
            np.testing.assert_array_equal(getattr(at, array)[some], getattr(part, array))
    assert (at.observed is at.fisher) == (name == one.canonical_link)
    eta[12_000] = np.nan
    assert not work.at(eta).valid


@every_pair
def test_everything_is_finite_far_out(one, name):
    eta = np.array([-700.0, -300.0, -80.0, -38.0, -1e-3, 1e-3, 38.0, 80.0, 300.0, 700.0])
    eta = eta[link_for(one, name).valid_eta(eta)]
    if one.name == "binomial" and name == "log":
        eta = eta[eta < 0]
    if name in ("identity", "inverse") and one.name != "gaussian":
        eta = eta[eta > 0]
    for y, weights in responses(one):
        at = model(one, name, y, weights, eta).at(eta)
        assert at.valid
        for part in ("mu", *ARRAYS):
            assert np.isfinite(getattr(at, part)).all(), part
        assert (at.fisher >= 0).all()


@pytest.mark.parametrize("name", ["logit", "probit", "cloglog", "cauchit"])
def test_binomial_tails_keep_their_digits(name):
    """Where mu rounds to 0 or 1 the pieces still follow from log(mu) and log(1 - mu) (see test_links)."""
    one, eta = link(name), np.array([-700.0, -40.0, -9.0, 9.0, 40.0, 700.0])
    A, B = one.log_mu_derivatives(eta), one.log_complement_derivatives(eta)
    hit, miss = (model(Binomial(), name, y, 3.0, eta) for y in (1.0, 0.0))
    for work, parts, value in ((hit, A, one.log_mu(eta)), (miss, B, one.log_complement(eta))):
        at = work.at(eta)
        np.testing.assert_allclose(at.score, 3 * parts.d1, rtol=1e-13)
        np.testing.assert_allclose(at.fisher, -3 * A.d1 * B.d1, rtol=1e-13)
        np.testing.assert_allclose(work.log_density(eta), np.maximum(3 * value, -np.inf), rtol=1e-13, atol=1e-300)
        if name != "logit":
            np.testing.assert_allclose(at.observed, -3 * parts.d2, rtol=1e-13)
            np.testing.assert_allclose(at.d_observed, -3 * parts.d3, rtol=1e-13)


def test_log_links_keep_their_digits():
    eta = np.array([-700.0, -300.0, -40.0, 40.0, 300.0])
    mu = np.exp(eta)
    at = model(Poisson(), "log", 0.0, 2.0, eta).at(eta)
    for part, sign in (("score", -2), ("fisher", 2), ("d_fisher", 2)):
        np.testing.assert_allclose(getattr(at, part), sign * mu, rtol=1e-12)
    at = model(NegativeBinomial(0.5), "log", 0.0, 1.0, eta).at(eta)
    p, q = mu / (mu + 0.5), 0.5 / (mu + 0.5)
    np.testing.assert_allclose(at.score, -0.5 * p, rtol=1e-12)
    np.testing.assert_allclose(at.fisher, 0.5 * p, rtol=1e-12)
    np.testing.assert_allclose(at.observed, 0.5 * p * q, rtol=1e-9, atol=1e-14)
    at = model(Gamma(), "log", 2.0, 1.0, eta).at(eta)
    np.testing.assert_allclose(at.score, 2 / mu - 1, rtol=1e-12)
    np.testing.assert_allclose(at.observed, 2 / mu, rtol=1e-12, atol=1e-15)
    assert (at.fisher == 1).all()


@every_pair
def test_log_density_is_the_one_of_the_family(one, name):
    eta = grid(one, name)
    eta = eta[np.abs(eta) < 6]
    for y, weights in responses(one):
        work = model(one, name, y, weights, eta)
        mu = work.link.mu(eta)
        for dispersion in (1.0, 0.3) if one.has_dispersion else (1.0,):
            expected = one.loglik(work.y, mu, work.weights, dispersion)
            np.testing.assert_allclose(work.log_density(eta, dispersion), expected, rtol=1e-8, atol=1e-10)
            assert work.loglik(mu, dispersion) == pytest.approx(expected.sum(), rel=1e-9)
        assert work.deviance(mu) == pytest.approx(weights * one.unit_deviance(work.y, mu).sum(), rel=1e-12)


def test_impossible_predictors():
    eta = np.array([0.5, -0.5, 1.0])
    for one, name in ((Poisson(), "identity"), (Gamma(), "inverse"), (InverseGaussian(), "1/mu^2")):
        work = model(one, name, 1.0, 1.0, eta)
        at = work.at(eta)
        assert not at.valid
        assert np.isnan(at.score).tolist() == [False, True, False]
        assert np.isneginf(work.log_density(eta)).tolist() == [False, True, False]
        assert work.minus_two_loglik(eta) == np.inf
        assert work.minus_two_loglik(np.array([0.5, np.nan, 1.0])) == np.inf
        assert work.minus_two_loglik(np.abs(eta)) == pytest.approx(-2 * work.log_density(np.abs(eta)).sum(), rel=1e-14)
    work = model(Binomial(), "log", 1.0, 1.0, eta)
    assert np.isnan(work.at(eta).fisher).tolist() == [True, False, True]
    assert np.isneginf(work.log_density(eta)).tolist() == [True, False, True]
    assert not model(Poisson(), "log", 1.0, 1.0, eta).at(np.array([0.5, np.nan, 1.0])).valid
    assert model(Gaussian(), "inverse", 1.0, 1.0, eta).at(eta).valid


def test_trials_beside_weights():
    eta, trials = np.array([0.1, -0.4]), np.array([5.0, 8.0])
    y = np.array([0.4, 0.25])
    plain = WorkingModel(Binomial(), link("probit"), y, trials)
    doubled = WorkingModel(Binomial(), link("probit"), y, 2 * trials, trials)
    np.testing.assert_allclose(doubled.log_density(eta), 2 * plain.log_density(eta), rtol=1e-13)
    mu = plain.link.mu(eta)
    assert doubled.loglik(mu) == pytest.approx(2 * plain.loglik(mu), rel=1e-13)


def test_starting_predictors():
    work = WorkingModel(Poisson(), link("log"), np.array([0.0, 3.0]), np.ones(2))
    np.testing.assert_allclose(work.start_eta, np.log([0.1, 3.1]))
    work = WorkingModel(Gaussian(), link("log"), np.array([-1.0, 3.0, 4.0]), np.ones(3))
    np.testing.assert_allclose(work.start_eta, np.log([2.0, 3.0, 4.0]))
    work = WorkingModel(Gaussian(), link("log"), np.array([-1.0, -3.0]), np.ones(2))
    with pytest.raises(ValueError, match="'log' link has no linear predictor for a response whose mean is -2"):
        _ = work.start_eta


@pytest.mark.parametrize("name", NegativeBinomial.links)
def test_derivatives_by_theta(name):
    eta, h = np.array([0.3, 1.1, 2.0]), 1e-5
    y, weights = np.array([0.0, 4.0, 11.0]), np.array([1.0, 2.0, 0.5])
    up, down = (WorkingModel(NegativeBinomial(1.3 + s), link(name), y, weights) for s in (h, -h))
    got = WorkingModel(NegativeBinomial(1.3), link(name), y, weights).theta_derivatives(eta)
    expected = (up.log_density(eta) - down.log_density(eta)) / (2 * h)
    np.testing.assert_allclose(got.loglik, expected, rtol=1e-7, atol=1e-8)
    for part in ("score", "fisher", "observed"):
        expected = (getattr(up.at(eta), part) - getattr(down.at(eta), part)) / (2 * h)
        np.testing.assert_allclose(getattr(got, part), expected, rtol=1e-7, atol=1e-8)
    with pytest.raises(TypeError, match="only a negative binomial family has a theta"):
        WorkingModel(Poisson(), link(name), y, weights).theta_derivatives(eta)


def test_a_user_family_that_has_no_density_at_its_own_response():
    class Open(Poisson):
        name = "open"

        def loglik(self, y, mu, weights, dispersion=1.0):
            return np.where(mu > 0, super().loglik(y, mu, weights), -np.inf)

    class Other(Family):
        name = "other"
        variance, d_variance, d2_variance = (getattr(Open(), f) for f in ("variance", "d_variance", "d2_variance"))
        loglik, unit_deviance = Open().loglik, Open().unit_deviance

    eta, y = np.array([0.2, 0.4]), np.array([0.0, 2.0])
    work = WorkingModel(Other(), link("log"), y, np.ones(2))
    np.testing.assert_allclose(work.log_density(eta), stats.poisson.logpmf(y, np.exp(eta)), rtol=1e-13)


def test_a_user_link_for_probabilities():
    class Plain(Link):
        name = "plain"
        mu_domain = (0.0, 1.0)
        eta, mu, d1, d2, d3 = (getattr(link("logit"), part) for part in ("eta", "mu", "d1", "d2", "d3"))

    eta, y, weights = np.linspace(-4, 4, 9), np.linspace(0, 1, 9), np.full(9, 8.0)
    plain, special = (WorkingModel(Binomial(), one, y, weights) for one in (Plain(), link("logit")))
    for part in ("mu", *ARRAYS):
        a, b = getattr(plain.at(eta), part), getattr(special.at(eta), part)
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(plain.log_density(eta), special.log_density(eta), rtol=1e-11)
