"""Quantile residuals: ranks and statistics against naive ones, levels under true models, power under false ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.linalg import block_diag

import interlace
from interlace.diagnostics.quantile import quantile_residuals
from interlace.diagnostics.simulated_ranks import (
    distance_from_uniform,
    randomized_ranks,
    spread_within,
    stabilized,
    tail_probabilities,
)
from interlace.prediction.response import response_model
from interlace.prediction.simulate import draws

SLEEP = interlace.datasets.load("sleepstudy")


def counts_of(seed, *, excess=0.0, zeros=0.0, groups=30, size=8):
    """Poisson counts with random intercepts, overdispersed or zero-inflated on demand."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=g.size)
    eta = 1.0 + 0.3 * x + rng.normal(0.0, 0.7, groups)[g] + rng.normal(0.0, excess, g.size)
    y = rng.poisson(np.exp(eta)) * (rng.random(g.size) >= zeros)
    return pd.DataFrame({"y": y, "x": x, "g": g})


@cache
def poisson_fit(seed, **wrong):
    return interlace.glmer("y ~ x + (1 | g)", counts_of(seed, **dict(wrong)), "poisson")


@cache
def fits():
    """One fit each of a linear model, counts, proportions, and binary responses."""
    cbpp = interlace.datasets.load("cbpp")
    rng = np.random.default_rng(1)
    binary = counts_of(2).assign(y=lambda d: (rng.random(len(d)) < 0.2 + 0.6 * rng.random(30)[d["g"]]).astype(float))
    return {
        "linear": interlace.fit("Reaction ~ Days + (Days | Subject)", SLEEP),
        "poisson": poisson_fit(1),
        "binomial": interlace.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial"),
        "binary": interlace.glmer("y ~ x + (1 | g)", binary, "binomial"),
    }


def with_response(state, y):
    """The same estimates, as if they were the truth, with another response."""
    if hasattr(state, "model"):
        return replace(state, model=replace(state.model, y=y))
    return replace(state, problem=replace(state.problem, design=replace(state.problem.design, y=y)))


def test_ranks_are_counts_of_smaller_values_with_ties_at_random():
    rng = np.random.default_rng(1)
    for Y in (rng.normal(size=(21, 30)), rng.poisson(0.7, size=(21, 30)).astype(float)):
        ranks = randomized_ranks(Y, rng)
        for i in range(30):
            below, equal = np.sum(Y[:, i] < Y[0, i]), np.sum(Y[:, i] == Y[0, i])
            assert below / 21 <= ranks.first[i] < (below + equal) / 21
        np.testing.assert_array_equal(ranks.counts.sum(axis=1), 30)
        np.testing.assert_array_equal(ranks.counts.sum(axis=0), 30)  # each rank once in each row
        where = np.floor(ranks.first * 21).astype(int)
        np.testing.assert_array_equal(ranks.counts[0], np.bincount(where, minlength=21))


def test_ties_are_broken_evenly():
    rng = np.random.default_rng(2)
    ranks = randomized_ranks(rng.integers(0, 2, size=(5, 20_000)).astype(float), rng)
    assert stats.kstest(ranks.first, "uniform").pvalue > 0.001
    for counts in ranks.counts:
        assert stats.chisquare(counts).pvalue > 0.001


def test_many_rows_are_ranked_in_batches(monkeypatch):
    Y = np.random.default_rng(3).normal(size=(9, 50))
    whole = randomized_ranks(Y, np.random.default_rng(4))
    monkeypatch.setattr("interlace.diagnostics.simulated_ranks._BATCH", 60)
    parts = randomized_ranks(Y, np.random.default_rng(4))
    np.testing.assert_array_equal(whole.counts, parts.counts)
    terms = [(np.repeat(np.arange(5), 10), np.ones((50, 1)), 5)]
    in_parts = spread_within(Y, terms)
    monkeypatch.undo()
    np.testing.assert_allclose(spread_within(Y, terms), in_parts, rtol=1e-12)


def test_distance_is_that_of_the_ranks():
    counts = np.array([[3, 1, 0], [0, 0, 4], [2, 1, 1]])
    for row, distance in zip(counts, distance_from_uniform(counts), strict=True):
        share = [abs(row[: j + 1].sum() / 4 - (j + 1) / 3) for j in range(3)]
        assert distance == pytest.approx(max(share))


def test_spread_within_is_what_least_squares_leaves():
    rng = np.random.default_rng(5)
    codes = np.sort(rng.integers(0, 6, size=60))
    other = rng.integers(0, 3, size=60)
    Z = np.column_stack([np.ones(60), rng.normal(size=60)])
    Y = rng.normal(size=(8, 60))
    Y[:, 7] = 2.0  # a row in which nothing varies
    R = (Y - Y.mean(axis=0)) / np.where(Y.std(axis=0) > 0.0, Y.std(axis=0), 1.0)
    slopes = block_diag(*[Z[codes == j] for j in range(6)])
    columns = [slopes, np.eye(3)[other]]
    for D in columns:
        R = R - R @ D @ np.linalg.pinv(D)
    fine = (np.arange(60) // 2, np.ones((60, 1)), 31)  # more effects than half the rows: left alone
    found = spread_within(Y, [(codes, Z, 6), (other, np.ones((60, 1)), 3), fine])
    np.testing.assert_allclose(found, np.mean(R**2, axis=1), rtol=1e-10)


def test_stabilized_variances_do_not_depend_on_the_mean():
    rng = np.random.default_rng(6)
    families, trials = interlace.families, np.full(20_000, 200.0)
    for family, draw in (
        (families.Poisson(), lambda mu: rng.poisson(mu, 20_000)),
        (families.Binomial(), lambda mu: rng.binomial(200, mu / 100, 20_000)),
        (families.Gamma(), lambda mu: rng.gamma(4.0, mu / 4, 20_000)),
    ):
        model = SimpleNamespace(family=family, weights=trials, trials=None)
        small, large = (stabilized(draw(mu)[None].astype(float), model).var() for mu in (5.0, 50.0))
        assert small / large == pytest.approx(1.0, abs=0.06), family.name
    Y = rng.normal(size=(2, 5))
    assert stabilized(Y, SimpleNamespace(family=families.Gaussian(), weights=np.ones(5), trials=None)) is Y


def test_tail_probabilities_count_ties_in_both_tails():
    assert tail_probabilities(np.array([2.0, 2.0, 1.0, 5.0])) == (0.75, 0.75)


@pytest.mark.parametrize("kind", ["linear", "poisson", "binomial", "binary"])
def test_residuals_are_uniform_and_p_values_too_if_the_model_is_true(kind):
    """The estimates are taken for the truth: then all is exact, dependence within groups included."""
    state = fits()[kind].state
    values, p_values = [], {}
    for seed in range(150):
        y = draws(state, 1, np.random.default_rng([7, seed]))[0]
        found = quantile_residuals(SimpleNamespace(state=with_response(state, y)), nsim=39, seed=seed)
        values.append(found.values.iloc[seed % len(y)])
        tests = [found.test_uniformity(), found.test_dispersion(), found.test_dispersion("greater")]
        tests += [found.test_outliers("greater")]
        tests += [] if kind == "linear" else [found.test_zero_inflation("less")]
        for number, test in enumerate(tests):
            p_values.setdefault(number, []).append(test.p_value)
    assert stats.kstest(values, "uniform").pvalue > 0.001
    for some in p_values.values():
        # Ties make p-values larger, never smaller: at each of a few levels they reject as often as they may.
        for level in (0.05, 0.1, 0.25, 0.5):
            rejected = sum(p <= level + 1e-12 for p in some)
            assert stats.binomtest(rejected, 150, level, alternative="greater").pvalue > 0.001
    for number in (0, 2) if kind == "linear" else (2,):  # no ties
        steps = np.floor(np.asarray(p_values[number]) * 40 - 0.5) / 40 + 1 / 80
        assert stats.kstest(steps, "uniform").pvalue > 0.001


def test_estimation_does_not_make_true_models_suspect():
    rejected = 0
    for seed in range(40):
        found = quantile_residuals(poisson_fit(100 + seed), nsim=99, seed=1)
        p_values = [
            found.test_uniformity(),
            found.test_dispersion(),
            found.test_zero_inflation(),
            found.test_outliers(),
        ]
        rejected += sum(test.p_value <= 0.05 for test in p_values)
    assert stats.binomtest(rejected, 160, 0.05, alternative="greater").pvalue > 0.001


def test_power_against_overdispersion_and_zero_inflation():
    dispersion, zeros = [], []
    for seed in range(12):
        found = quantile_residuals(poisson_fit(seed, excess=0.5), nsim=99, seed=1).test_dispersion()
        dispersion.append(found.p_value)
        assert found.statistic > 1.1
        found = quantile_residuals(poisson_fit(seed, zeros=0.25), nsim=99, seed=1).test_zero_inflation("greater")
        zeros.append(found.p_value)
        assert found.statistic > 1.2
    assert np.mean(np.asarray(dispersion) <= 0.05) > 0.9
    assert np.mean(np.asarray(zeros) <= 0.05) > 0.9


def test_power_against_heavy_tails_and_underdispersion():
    rng = np.random.default_rng(8)
    df = counts_of(9, groups=40)
    df["heavy"] = 0.5 * df["x"] + rng.normal(size=40)[df["g"]] + rng.standard_t(2, size=len(df))
    found = quantile_residuals(interlace.fit("heavy ~ x + (1 | g)", df), seed=1)
    assert found.test_outliers("greater").p_value < 0.01
    assert found.test_uniformity().p_value < 0.05
    df["even"] = np.rint(np.exp(1.5 + 0.3 * df["x"])) + rng.integers(0, 2, len(df))
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        fit = interlace.glmer("even ~ x + (1 | g)", df, "poisson")
    test = quantile_residuals(fit, seed=1).test_dispersion("less")
    assert test.p_value < 0.01
    assert test.statistic < 0.7


def test_conditional_simulations_keep_the_random_effects():
    fit = fits()["linear"]
    found = quantile_residuals(fit, nsim=400, seed=1, conditional=True)
    table = found.to_frame()
    np.testing.assert_allclose(table["simulated_mean"], fit.fittedvalues, atol=5 * fit.sigma / 20)
    np.testing.assert_allclose(table["simulated_sd"], fit.sigma, rtol=0.2)
    exact = stats.norm.cdf(fit.resid / fit.sigma)
    assert np.abs(found.values - exact).max() < 0.1
    np.testing.assert_allclose(found.normal, stats.norm.ppf(found.values), rtol=1e-10)


def test_frame_has_the_rows_of_the_fit():
    df = SLEEP.set_axis(np.arange(180)[::-1])
    df.iloc[3, 0] = np.nan
    found = quantile_residuals(interlace.fit("Reaction ~ Days + (1 | Subject)", df), nsim=25, seed=1)
    table = found.to_frame()
    assert table.index.equals(df.dropna().index)
    np.testing.assert_array_equal(table["response"], df["Reaction"].dropna())
    assert found.simulations.shape == (25, 179)
    outside = (table["response"] < found.simulations.min(axis=0)) | (table["response"] > found.simulations.max(axis=0))
    np.testing.assert_array_equal(table["outlier"], outside)
    assert found.test_outliers().statistic == pytest.approx(outside.mean())


def test_seed_gives_the_same_residuals_and_a_generator_goes_on():
    fit = fits()["poisson"]
    one, two = (quantile_residuals(fit, nsim=20, seed=5).values for _ in range(2))
    pd.testing.assert_series_equal(one, two)
    rng = np.random.default_rng(5)
    assert not quantile_residuals(fit, nsim=20, seed=rng).values.equals(
        quantile_residuals(fit, nsim=20, seed=rng).values
    )


def test_proportions_count_as_numbers_of_successes():
    fit = fits()["binomial"]
    found = quantile_residuals(fit, nsim=50, seed=1)
    np.testing.assert_array_equal(found.response, interlace.datasets.load("cbpp")["incidence"])
    np.testing.assert_array_equal(found.simulations, np.rint(found.simulations))
    zeros = found.test_zero_inflation()
    assert zeros.statistic == pytest.approx(
        np.sum(found.response == 0) / np.mean(np.sum(found.simulations == 0, axis=1))
    )


def test_p_value_is_the_rank_of_the_statistic():
    found = quantile_residuals(fits()["poisson"], nsim=59, seed=3)
    zeros = np.sum(np.vstack([found.response, found.simulations]) == 0, axis=1)
    greater, less = np.mean(zeros >= zeros[0]), np.mean(zeros <= zeros[0])
    assert found.test_zero_inflation("greater").p_value == pytest.approx(greater)
    assert found.test_zero_inflation("less").p_value == pytest.approx(less)
    assert found.test_zero_inflation().p_value == pytest.approx(min(1.0, 2 * min(greater, less)))
    assert response_model(fits()["poisson"].state).y is found.response
    (term,) = fits()["poisson"].state.problem.design.terms
    Y = np.sqrt(np.vstack([found.response, found.simulations]) + 0.375)
    spread = spread_within(Y, [(term.codes, term.Z, 30)])
    assert found.test_dispersion("greater").p_value == pytest.approx(np.mean(spread >= spread[0]))
    assert found.test_dispersion().statistic == pytest.approx(spread[0] / spread[1:].mean())


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"nsim": 10}, ValueError, "nsim must be at least 20, but is 10"),
        ({"nsim": 0}, ValueError, "nsim must be at least 1"),
        ({"nsim": 2.5}, TypeError, "nsim must be a whole number"),
        ({"seed": -1}, ValueError, "seed must not be negative"),
    ],
)
def test_bad_arguments(options, error, match):
    with pytest.raises(error, match=match):
        quantile_residuals(fits()["linear"], **options)


def test_questions_without_an_answer():
    found = quantile_residuals(fits()["linear"], nsim=20, seed=1)
    with pytest.raises(ValueError, match="there is no zero inflation to test"):
        found.test_zero_inflation()
    with pytest.raises(ValueError, match="alternative must be one of two-sided, greater, less; not 'both'"):
        found.test_outliers("both")
    with pytest.raises(TypeError, match="expected a result"):
        quantile_residuals("fit")
    assert "p-value" in str(found.test_uniformity())


def test_model_that_cannot_simulate_says_so():
    rng = np.random.default_rng(1)
    df = counts_of(1).assign(y=lambda d: rng.gamma(5.0, 1.0 + d["g"] % 3))
    fit = interlace.glmer("y ~ 1 + (1 | g)", df, interlace.families.Gamma(), link="inverse")
    state = replace(fit.state, theta=np.array([50.0]))
    with pytest.raises(ValueError, match="cannot simulate"):
        quantile_residuals(SimpleNamespace(state=state))
