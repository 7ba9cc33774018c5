"""Simulated responses: their moments against theory, seeds, and what is refused.

Moments of N draws are held against their standard errors; with the fixed seeds the tests always see the same draws.
"""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import interlace
from interlace.core.families import Poisson
from interlace.errors import ModelError
from interlace.families import NegativeBinomial
from interlace.prediction import simulate as module
from interlace.prediction.simulate import draws, generator

#: Largest of some ten thousand standard normal deviates, with a margin.
FAR = 5.5


@pytest.fixture(scope="module")
def sleep():
    return interlace.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def slopes(sleep):
    return interlace.fit("Reaction ~ Days + (Days | Subject)", sleep)


@pytest.fixture(scope="module")
def cbpp():
    data = interlace.datasets.load("cbpp")
    return interlace.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", data, "binomial")


@pytest.fixture(scope="module")
def counts():
    rng = np.random.default_rng(3)
    x, g = np.tile(np.linspace(0.0, 1.0, 10), 12), np.repeat(np.arange(12), 10)
    eta = 1.0 + x + 0.4 * rng.normal(size=12)[g]
    return pd.DataFrame({"y": rng.poisson(np.exp(eta)), "z": rng.gamma(5.0, np.exp(eta) / 5.0), "x": x, "g": g})


def sample_of(result, nsim: int = 4000, **options) -> np.ndarray:
    return result.simulate(nsim, seed=7, **options).to_numpy().T


def assert_moments(sample: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> None:
    """Mean and variance of every row, within Monte Carlo error."""
    n = len(sample)
    assert np.abs((sample.mean(axis=0) - mean) / np.sqrt(variance / n)).max() < FAR
    squares = (sample - mean) ** 2
    assert np.abs((squares.mean(axis=0) - variance) / (squares.std(axis=0) / np.sqrt(n))).max() < FAR


def marginal_covariance(result) -> np.ndarray:
    """Z Psi Z' + sigma^2 W^-1, from the parts that the result shows."""
    n = result.nobs
    weights = np.ones(n) if result.model.weights is None else result.model.weights
    V = np.diag(result.scale / weights)
    for term, psi in zip(result.state.problem.design.terms, result.variance_components.values(), strict=True):
        same = term.codes[:, None] == term.codes
        V += same * (term.Z @ np.atleast_2d(np.asarray(psi)) @ term.Z.T)
    return V


@pytest.mark.parametrize(
    ("formula", "name", "weighted"),
    [
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", True),
        ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", "sleepstudy", False),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", False),
        ("Yield ~ 1 + (1 | Batch)", "Dyestuff2", True),  # a variance of zero
    ],
)
def test_linear_models_have_the_marginal_covariance(formula, name, weighted):
    data = interlace.datasets.load(name)
    data["w"] = np.resize([0.5, 1.0, 2.0], len(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)
        result = interlace.fit(formula, data, weights="w" if weighted else None)
    sample, V = sample_of(result, 10_000), marginal_covariance(result)
    variance = np.diag(V)
    error = np.sqrt((np.outer(variance, variance) + V**2) / len(sample))
    assert np.abs((np.cov(sample.T) - V) / error).max() < FAR
    mean = result.predict(include_re=False).to_numpy()
    assert np.abs((sample.mean(axis=0) - mean) / np.sqrt(variance / len(sample))).max() < FAR


def test_a_degenerate_covariance(sleep):
    """Random effects of rank one, whose covariance has no Cholesky factor of full rank."""
    degenerate = sleep.assign(Reaction=250.0 + sleep["Days"] * (10.0 + sleep["Subject"].astype("category").cat.codes))
    degenerate["Reaction"] += np.random.default_rng(0).normal(size=180)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)
        result = interlace.fit("Reaction ~ Days + (Days | Subject)", degenerate)
    assert result.is_singular
    assert_moments(sample_of(result), result.predict(include_re=False).to_numpy(), np.diag(marginal_covariance(result)))


def test_effects_kept_at_their_modes(sleep):
    result = interlace.fit(
        "Reaction ~ Days + (Days | Subject)", sleep.assign(w=np.resize([0.5, 2.0], 180)), weights="w"
    )
    sample = sample_of(result, conditional=True)
    assert_moments(sample, result.fittedvalues.to_numpy(), result.scale / result.model.weights)
    correlation = np.corrcoef(sample.T)[np.triu_indices(180, 1)]
    assert np.abs(correlation).max() < FAR / np.sqrt(len(sample))


@pytest.mark.parametrize(
    ("family", "link", "response"),
    [
        ("poisson", "log", "y"),
        ("poisson", "sqrt", "y"),
        (NegativeBinomial(2.5), "log", "y"),
        ("Gamma", "log", "z"),
        ("Gamma", "inverse", "z"),
        ("inverse.gaussian", "log", "z"),
        ("gaussian", "log", "z"),
    ],
)
def test_families_have_their_mean_and_variance(counts, family, link, response):
    weights = np.resize([1.0, 2.0], len(counts))
    whole = response == "y"  # weights of counts have no meaning for a single one
    result = interlace.glmer(f"{response} ~ x + (1 | g)", counts, family, link=link, weights=None if whole else weights)
    mu = result.fittedvalues.to_numpy()
    variance = result.scale * result.family.variance(mu) / (1.0 if whole else weights)
    sample = sample_of(result, conditional=True)
    assert_moments(sample, mu, variance)
    if whole:
        assert_array_equal(sample, np.round(sample))


def test_binomial_responses_are_proportions_of_the_trials(cbpp):
    sample, mu, m = sample_of(cbpp, conditional=True), cbpp.fittedvalues.to_numpy(), cbpp.model.weights
    assert_moments(sample, mu, mu * (1 - mu) / m)
    assert_allclose(sample * m, np.round(sample * m), atol=1e-12)


def test_weights_beside_cbind_are_no_trials(cbpp):
    data = interlace.datasets.load("cbpp")
    double = interlace.glmer(cbpp.formula, data, "binomial", weights=np.full(56, 2.0))
    sample, mu, m = sample_of(double, conditional=True), double.fittedvalues.to_numpy(), cbpp.model.weights
    assert_moments(sample, mu, mu * (1 - mu) / m)


def test_new_random_effects_of_a_log_link(counts):
    """Moments of a Poisson mixture over log-normal factors, shared within a group (Johnson, Kotz and Kemp, 8.3.2)."""
    result = interlace.glmer("y ~ x + (1 | g)", counts, "poisson")
    variance = result.variance_components["g"]
    assert variance > 0.05
    mean = np.exp(result.predict(type="link", include_re=False).to_numpy() + variance / 2)
    sample = sample_of(result)
    assert_moments(sample, mean, mean + mean**2 * np.expm1(variance))
    products = (sample[:, 0] - mean[0]) * (sample[:, [1, 10]] - mean[[1, 10]]).T
    error = products.std(axis=1) / np.sqrt(len(sample))
    expected = [mean[0] * mean[1] * np.expm1(variance), 0.0]  # row 1 is of the same group, row 10 of another
    assert np.abs((products.mean(axis=1) - expected) / error).max() < 4
    assert products[0].mean() > 10 * error[0]


def test_shape_and_labels(sleep):
    sleep = sleep.set_index(pd.Index([f"r{i}" for i in range(180)], name="id"))
    sleep.loc["r3", "Days"] = np.nan
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", sleep)
    table = result.simulate(2, seed=1)
    assert table.index.equals(result.fittedvalues.index)
    assert table.index.name == "id"
    assert list(table.columns) == ["sim_1", "sim_2"]
    assert set(map(str, table.dtypes)) == {"float64"}
    assert list(result.simulate(seed=1).columns) == ["sim_1"]


@pytest.mark.parametrize("name", ["slopes", "cbpp"])
@pytest.mark.parametrize("conditional", [False, True])
def test_the_seed_decides_everything(name, conditional, request, monkeypatch):
    result = request.getfixturevalue(name)
    many = result.simulate(10, seed=4, conditional=conditional)
    assert_array_equal(result.simulate(3, seed=4, conditional=conditional), many.iloc[:, :3])
    assert_array_equal(result.simulate(10, seed=np.int64(4), conditional=conditional), many)
    assert_array_equal(result.simulate(10, seed=np.random.default_rng(4), conditional=conditional), many)
    assert not np.array_equal(result.simulate(10, seed=5, conditional=conditional), many)
    assert not np.array_equal(many["sim_1"], many["sim_2"])
    monkeypatch.setattr(module, "_BATCH", 1000)  # a few simulations at a time
    assert_array_equal(result.simulate(10, seed=4, conditional=conditional), many)


def test_a_generator_goes_on_and_no_seed_is_another_one_every_time(slopes):
    rng = np.random.default_rng(4)
    first, second = slopes.simulate(seed=rng), slopes.simulate(seed=rng)
    assert not np.array_equal(first, second)
    assert not np.array_equal(slopes.simulate(), slopes.simulate())
    assert_array_equal(draws(slopes.state, 1, generator(4)).T, first)


def test_refit_takes_what_simulate_gives(slopes, cbpp):
    for result in (slopes, cbpp):
        y = result.simulate(1, seed=1)["sim_1"]
        again = result.refit(y)
        assert_allclose(again.model.endog, y)
        assert again.converged
        assert (np.abs(again.fe_params - result.fe_params) < 5 * result.fe_bse).all()
        assert (again.fe_params != result.fe_params).all()


def test_estimates_of_simulated_responses_spread_about_the_truth(cbpp):
    """Fifty refits: bias within Monte Carlo error, spread near the standard errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)  # some variances are estimated as zero
        fits = np.array([cbpp.refit(y).fe_params for _, y in cbpp.simulate(50, seed=2).items()])
    bias = (fits.mean(axis=0) - cbpp.fe_params) / (fits.std(axis=0) / np.sqrt(50))
    assert np.abs(bias).max() < 4
    ratio = fits.std(axis=0) / cbpp.fe_bse
    assert ratio.min() > 0.6
    assert ratio.max() < 1.6


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"nsim": 0}, ValueError, "nsim must be at least 1, but is 0"),
        ({"nsim": -2}, ValueError, "nsim must be at least 1, but is -2"),
        ({"nsim": 1.5}, TypeError, r"nsim must be a whole number, not 1\.5"),
        ({"nsim": "3"}, TypeError, "nsim must be a whole number, not '3'"),
        ({"nsim": True}, TypeError, "nsim must be a whole number, not True"),
        ({"seed": -1}, ValueError, "seed must not be negative, but is -1"),
        ({"seed": 0.5}, TypeError, r"seed must be a whole number, a numpy\.random\.Generator or None, not 0\.5"),
        ({"seed": "a"}, TypeError, "seed must be a whole number, .* not 'a'"),
        ({"seed": True}, TypeError, "seed must be a whole number, .* not True"),
    ],
)
def test_arguments_that_are_refused(slopes, arguments, error, message):
    with pytest.raises(error, match=message):
        slopes.simulate(**arguments)


class Silent(Poisson):
    """Counts that cannot be drawn."""

    def simulate(self, mu, weights, dispersion, rng):
        return super(Poisson, self).simulate(mu, weights, dispersion, rng)


class Wrong(Poisson):
    """Counts whose drawing goes wrong."""

    def simulate(self, mu, weights, dispersion, rng):
        return rng.poisson(-mu)


def test_families_that_cannot_simulate_say_so(counts):
    silent = interlace.glmer("y ~ x + (1 | g)", counts, Silent())
    with pytest.raises(ModelError, match=r"the family 'poisson' cannot simulate: it does not define simulate\(\)"):
        silent.simulate()
    wrong = interlace.glmer("y ~ x + (1 | g)", counts, Wrong())
    with pytest.raises(ModelError, match=r"family 'poisson' gives no responses for means between .*: lam < 0"):
        wrong.simulate(conditional=True)


def test_fractional_trials_are_named():
    data = interlace.datasets.load("cbpp")
    data["size"] += 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        result = interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")
    with pytest.raises(ModelError, match=r"the number of trials \(weights\) is not whole at 56 of 56 rows"):
        result.simulate()


def test_linear_predictors_without_a_mean(counts):
    """Effects drawn anew can make a mean negative with the identity link; those of the fit do not."""
    spread = counts.assign(y=counts["y"] * np.repeat([0, 0, 1, 2, 3, 5] * 2, 10) + 1)
    result = interlace.glmer("y ~ 1 + (1 | g)", spread, "poisson", link="identity")
    with pytest.raises(ModelError, match=r"the 'identity' link, linear predictors such as -.* 'poisson'.*conditional"):
        result.simulate(200, seed=1)
    assert (result.simulate(200, seed=1, conditional=True) >= 0).all(axis=None)
