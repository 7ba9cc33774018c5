"""Bootstrap: reproducible replicates, reported failures, intervals as R's boot package computes them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import distributed
import joblib
import numpy as np
import pytest

import interlace
from interlace.errors import ModelError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.refits import refit_responses, refit_rows, refit_without
from interlace.estimate.state import FitState, State
from interlace.inference.bootstrap import Replicates, all_parameters, bootstrap
from interlace.inference.bootstrap_intervals import Jackknife, bootstrap_intervals, intervals, jackknife
from interlace.inference.bootstrap_statistics import evaluated
from interlace.inference.profile_parameters import of_fit
from interlace.prediction.simulate import draws


@pytest.fixture(scope="module")
def sleep() -> FitState:
    return interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state


@pytest.fixture(scope="module")
def dyestuff() -> FitState:
    return interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state


@pytest.fixture(scope="module")
def cbpp() -> GlmmState:
    df = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size").state


def beta(state: State) -> np.ndarray:
    return state.beta


def test_means_and_standard_deviations_are_those_of_bootmer(sleep):
    """lme4 1.1-31: ``bootMer(m, f, nsim = 1000, seed = 1)``; Monte Carlo errors of two runs of 1000."""
    mean = np.array([24.1362, 0.1246, 5.7852, 25.6090, 251.2481, 10.5103])
    sd = np.array([6.0269, 0.3529, 1.2725, 1.4458, 6.7919, 1.5415])
    found = bootstrap(sleep, 1000, seed=1)
    assert not found.failures.size
    np.testing.assert_array_less(np.abs(found.values.mean(axis=0) - mean), 4.0 * sd * np.sqrt(2.0 / 1000))
    np.testing.assert_allclose(found.se, sd, rtol=4.0 * np.sqrt(2.0 / 2000))
    np.testing.assert_allclose(found.bias, found.values.mean(axis=0) - found.estimate)


def test_semiparametric_bootstrap_is_that_of_bootmer(sleep):
    """lme4: ``bootMer(m, f, nsim = 300, seed = 1, use.u = TRUE, type = "semiparametric")``."""
    mean = np.array([21.2102, 0.3371, 5.4300, 23.2713, 250.8227, 10.5252])
    sd = np.array([3.8080, 0.2775, 0.7196, 2.7686, 3.1090, 0.5757])
    found = bootstrap(sleep, 300, seed=2, kind="semiparametric")
    np.testing.assert_array_less(np.abs(found.values.mean(axis=0) - mean), 4.0 * sd * np.sqrt(2.0 / 300))
    np.testing.assert_allclose(found.se, sd, rtol=4.0 * np.sqrt(2.0 / 600))


def test_semiparametric_bootstrap_resamples_weighted_residuals():
    """With weights it is residuals times their square roots that are exchangeable."""
    df = interlace.datasets.load("sleepstudy")
    df["w"] = np.where(df["Days"] < 5, 1.0, 1e8)
    state = interlace.fit("Reaction ~ Days + (1 | Subject)", df, weights="w").state
    found = bootstrap(state, 20, seed=1, kind="semiparametric", statistic=lambda s: s.problem.design.y - state.fitted)
    size = np.abs(found.values).mean(axis=0)
    assert size[df["Days"] >= 5].max() < 0.1 * size[df["Days"] < 5].min()


def test_conditional_bootstrap_keeps_the_random_effects(sleep):
    kept, new = (
        bootstrap(sleep, 60, seed=3, kind=kind, statistic=lambda s: s.problem.design.y).values
        for kind in ("conditional", "parametric")
    )
    spread_kept, spread_new = kept.std(axis=0).mean(), new.std(axis=0).mean()
    assert spread_kept == pytest.approx(sleep.sigma, rel=0.1)
    assert spread_new > 1.5 * spread_kept


@pytest.mark.parametrize("kind", ["parametric", "conditional", "semiparametric"])
def test_an_integer_seed_gives_the_same_replicates_however_they_are_computed(sleep, kind):
    plain = bootstrap(sleep, 120, seed=7, kind=kind)
    assert not np.array_equal(plain.values, bootstrap(sleep, 120, seed=8, kind=kind).values)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        np.testing.assert_array_equal(bootstrap(sleep, 120, seed=7, kind=kind).values, plain.values)
    np.testing.assert_array_equal(bootstrap(sleep, 120, seed=7, kind=kind, show_progress=True).values, plain.values)
    one_by_one = bootstrap(sleep, 120, seed=7, kind=kind, statistic=partial(of_fit, parameters=all_parameters(sleep)))
    np.testing.assert_allclose(one_by_one.values, plain.values, rtol=1e-5, atol=1e-5)
    fewer = bootstrap(sleep, 70, seed=7, kind=kind)
    np.testing.assert_allclose(fewer.values, plain.values[:70], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("statistic", [None, beta])
def test_processes_give_the_numbers_of_one_process(dyestuff, statistic):
    one, two = (bootstrap(dyestuff, 300, seed=1, statistic=statistic, n_jobs=n_jobs) for n_jobs in (1, 2))
    np.testing.assert_array_equal(one.values, two.values)


@pytest.mark.parametrize("statistic", [None, beta])
def test_dask_gives_the_numbers_of_one_process(dyestuff, statistic):
    plain = bootstrap(dyestuff, 600, seed=1, statistic=statistic, n_jobs=1)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as client:
        with joblib.parallel_config(backend="dask"):
            found = bootstrap(dyestuff, 600, seed=1, statistic=statistic)
        assert client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.transition_log)) > 0
    np.testing.assert_array_equal(found.values, plain.values)


def test_a_generator_is_advanced(dyestuff):
    rng = np.random.default_rng(1)
    first, second = (bootstrap(dyestuff, 5, rng).values for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, bootstrap(dyestuff, 5, np.random.default_rng(1)).values)


def test_progress_counts_replicates(dyestuff, capsys):
    bootstrap(dyestuff, 120, seed=1, show_progress=True)
    assert "120/120" in capsys.readouterr().err
    bootstrap(dyestuff, 120, seed=1)
    assert not capsys.readouterr().err


def test_generalized_models_are_refitted_to_simulated_responses(cbpp):
    found = bootstrap(cbpp, 60, seed=1)
    assert found.values.shape == (60, 5)
    assert not found.failures.size
    np.testing.assert_allclose(found.estimate, [*cbpp.theta, *cbpp.beta])
    assert (np.abs(found.se[1:] / np.sqrt(np.diagonal(cbpp.beta_cov)) - 1.0) < 0.4).all()


def test_failures_are_counted_and_explained(dyestuff):
    calls = iter(range(1000))

    def picky(state: State) -> object:
        call = next(calls)
        if call == 3:
            raise RuntimeError("no luck")
        return [1.0, 2.0] if call == 5 else [state.sigma]

    found = bootstrap(dyestuff, 10, seed=1, statistic=picky)  # type: ignore[arg-type]
    assert found.failures.tolist() == [2, 4]
    assert found.messages[2] == "RuntimeError: no luck"
    assert found.messages[4] == "the statistic has 2 values instead of 1"
    assert np.isnan(found.values[[2, 4]]).all()
    assert np.isfinite(np.delete(found.values, [2, 4])).all()
    assert np.isfinite(found.se).all()


def test_refits_that_do_not_converge_count_as_failures(dyestuff):
    stuck = replace(dyestuff, opt=replace(dyestuff.opt, converged=False, message="stuck in a valley"))
    values, messages = evaluated([lambda: dyestuff, lambda: stuck], beta, 1)
    assert messages == ["", "did not converge: stuck in a valley"]
    assert np.isnan(values[:, 0]).tolist() == [False, True]


def test_a_bootstrap_without_any_success_is_an_error(dyestuff):
    calls = iter(range(1000))

    def once(state: State) -> np.ndarray:
        if next(calls):
            raise RuntimeError("only once")
        return state.beta

    with pytest.raises(ModelError, match="none of the 4 replicates could be fitted; the first one: RuntimeError: only"):
        bootstrap(dyestuff, 4, seed=1, statistic=once)


def test_batched_refits_that_fail_are_explained(dyestuff, monkeypatch):
    """Whole groups of equal responses leave no residual variance."""
    flat = np.repeat([1.0, 5.0, 2.0, 8.0, 3.0, 4.0], 5)
    y = dyestuff.problem.design.y
    monkeypatch.setattr(
        "interlace.inference.bootstrap.draws", lambda state, count, rng, conditional: np.array([y, flat, y])[:count]
    )
    found = bootstrap(dyestuff, 3, seed=1)
    assert found.failures.tolist() == [1]
    assert "residual variance" in found.messages[1]
    assert np.isnan(found.values[1]).all()
    np.testing.assert_allclose(found.values[[0, 2]], found.estimate[None].repeat(2, axis=0), rtol=1e-6)


def test_arguments_out_of_range(dyestuff, cbpp):
    with pytest.raises(ValueError, match="kind must be one of 'parametric'"):
        bootstrap(dyestuff, 5, kind="wild")  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="needs a linear model"):
        bootstrap(cbpp, 5, kind="semiparametric")
    with pytest.raises(ValueError, match="nsim must be at least 1"):
        bootstrap(dyestuff, 0)
    with pytest.raises(TypeError, match="nsim must be a whole number, not 2.5"):
        bootstrap(dyestuff, 2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="nsim must be a whole number, not True"):
        bootstrap(dyestuff, True)
    with pytest.raises(TypeError, match="seed must be"):
        bootstrap(dyestuff, 5, "today")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="statistic must return a number"):
        bootstrap(dyestuff, 5, statistic=lambda state: np.eye(2))
    with pytest.raises(ValueError, match="kind must be one of 'percentile'"):
        bootstrap_intervals(dyestuff, kind="exact")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        bootstrap_intervals(dyestuff, level=95.0)
    with pytest.raises(ValueError, match="needs the acceleration"):
        intervals(bootstrap(dyestuff, 5, seed=1), kind="bca")


#: Sixty-odd skewed numbers with ties, an estimate, and jackknife values, for comparison with R.
DRAWS = [
    6.253, 16.917, 1.823, 31.268, 36.376, 10.726, 5.315, 2.253, 8.861, 0.822, 2.036, 4.735, 27.903, 0.088, 5.618,
    47.362, 7.289, 0.267, 3.924, 6.587, 2.703, 5.931, 11.809, 25.390, 17.918, 21.712, 7.659, 8.444, 3.174, 3.200,
    15.173, 14.404, 0.449, 8.044, 1.615, 13.022, 5.021, 1.411, 3.200, 9.750, 2.476, 20.281, 3.417, 11.253, 19.030,
    2.935, 4.187, 13.689, 16.007, 10.226, 12.397, 9.295, 23.383, 6.931, 1.015, 0.634, 4.457, 1.211, 3.668,
]  # fmt: skip
LEFT_OUT = [1.2, 3.4, 0.5, 7.8, 2.2, 9.9, 4.1, 3.3]


def skewed() -> Replicates:
    return Replicates(np.array(DRAWS)[:, None], np.array([8.5]), ("",) * len(DRAWS))


@pytest.mark.parametrize(
    ("kind", "level", "expected"),
    [
        ("percentile", 0.90, (0.449, 31.268)),
        ("percentile", 0.95, (0.190289744261, 41.0840383774)),
        ("basic", 0.90, (-14.268, 16.551)),
        ("basic", 0.95, (-24.0840383774, 16.8097102557)),
        ("normal", 0.90, (-8.61892562545, 23.1970951170)),
        ("normal", 0.95, (-11.66647876602, 26.2446482575)),
        ("bca", 0.90, (1.032634303835, 41.2088077249)),
        ("bca", 0.95, (0.454094003697, 47.362)),
    ],
)
def test_intervals_are_those_of_boot_ci(kind, level, expected):
    """boot 1.3-28: ``boot.ci(b, conf, type, L = mean(x) - x)``."""
    acceleration = Jackknife(np.array(LEFT_OUT)[:, None], ("",) * 8).acceleration
    assert acceleration[0] == pytest.approx(-0.0471624085468796, rel=1e-12)
    np.testing.assert_allclose(intervals(skewed(), level, kind, acceleration)[0], expected, rtol=1e-9)


def test_intervals_leave_out_what_failed_or_is_no_number():
    found = skewed()
    values = np.full((80, 2), np.nan)
    values[5:64, 0] = found.values[:, 0]
    values[3, 1] = 1.0
    padded = Replicates(values, np.array([8.5, 1.0]), ("",) * 80)
    np.testing.assert_array_equal(intervals(padded)[0], intervals(found)[0])
    assert np.isnan(intervals(padded)[1]).all()
    assert np.isnan(intervals(padded, kind="normal")[1]).all()
    without_estimate = replace(padded, estimate=np.array([np.nan, np.nan]))
    for kind in ("percentile", "basic", "normal"):
        assert np.isnan(intervals(without_estimate, kind=kind)).all()


def test_bca_on_a_boundary_is_finite_and_starts_there():
    """Where the estimate is 0 no replicate is below it: those equal to it count half."""
    values = np.concatenate([np.zeros(600), np.linspace(0.01, 1.0, 399)])[:, None]
    ends = intervals(Replicates(values, np.zeros(1), ("",) * 999), kind="bca", acceleration=np.zeros(1))
    assert ends[0, 0] == 0.0
    # 0.3 of the replicates count as below: quantile Phi(2 Phi^-1(0.3003) + 1.96) = 0.8194, the 819th of 999.
    assert ends[0, 1] == pytest.approx(values[818, 0], abs=0.005)
    above = intervals(Replicates(values + 1.0, np.zeros(1), ("",) * 999), kind="bca", acceleration=np.zeros(1))
    np.testing.assert_array_equal(above, [[1.0, 1.0]])


def test_a_statistic_that_no_group_changes_has_no_acceleration():
    assert Jackknife(np.ones((5, 1)), ("",) * 5).acceleration.tolist() == [0.0]


def test_acceleration_comes_from_the_groups_that_could_be_left_out():
    values = np.array([*LEFT_OUT[:4], np.nan, *LEFT_OUT[4:]])[:, None]
    messages = ("",) * 4 + ("failed",) + ("",) * 4
    assert Jackknife(values, messages).acceleration[0] == pytest.approx(-0.0471624085468796, rel=1e-12)


def test_jackknife_is_lme4_without_each_batch(dyestuff):
    """R: ``lmer(Yield ~ 1 + (1 | Batch), subset(Dyestuff, Batch != b))``, to the accuracy of its optimizer."""
    expected = [
        [47.29377272, 46.33033406, 1532.0],
        [47.68437913, 52.15361922, 1527.4],
        [43.44651977, 51.50728088, 1520.2],
        [46.44674384, 44.69339994, 1533.4],
        [27.43537867, 49.41153710, 1513.0],
        [35.72394162, 52.43090692, 1539.0],
    ]
    np.testing.assert_allclose(jackknife(dyestuff).values, expected, rtol=1e-6)
    np.testing.assert_allclose(jackknife(dyestuff, statistic=beta).values, np.array(expected)[:, 2:], rtol=1e-9)


def test_jackknife_leaves_out_the_outermost_of_nested_factors_and_the_largest_of_crossed_ones():
    pastes = interlace.fit("strength ~ 1 + (1 | batch / cask)", interlace.datasets.load("Pastes")).state
    assert len(jackknife(pastes).values) == 10
    penicillin = interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", interlace.datasets.load("Penicillin"))
    assert len(jackknife(penicillin.state).values) == 24


def test_jackknife_of_a_generalized_model_refits_the_rows_that_are_left(cbpp):
    df = interlace.datasets.load("cbpp")
    found = jackknife(cbpp)
    assert found.values.shape == (15, 5)
    less = interlace.glmer(
        "incidence / size ~ period + (1 | herd)", df[df["herd"].astype(str) != "4"], "binomial", weights="size"
    )
    position = [str(level) for level in cbpp.problem.design.terms[0].levels].index("4")
    np.testing.assert_allclose(found.values[position, 1:], less.fe_params, rtol=1e-6)


def test_jackknife_that_cannot_be_done_says_so(dyestuff):
    def fussy(state: State) -> np.ndarray:
        if len(state.fitted) < 30:
            raise RuntimeError("too few rows")
        return state.beta

    with pytest.raises(ModelError, match=r"RuntimeError: too few rows; use kind=\"percentile\""):
        jackknife(dyestuff, statistic=fussy)


def test_bootstrap_intervals_of_chosen_parameters(dyestuff):
    everything = all_parameters(dyestuff)
    for kind in ("percentile", "basic", "bca", "normal"):
        whole = bootstrap_intervals(dyestuff, nsim=300, seed=4, kind=kind)
        some = bootstrap_intervals(dyestuff, [everything[2], everything[0]], nsim=300, seed=4, kind=kind)
        np.testing.assert_allclose(some.ends, whole.ends[[2, 0]], rtol=1e-9)
        expected = intervals(bootstrap(dyestuff, 300, 4), 0.95, kind, jackknife(dyestuff).acceleration)
        np.testing.assert_allclose(whole.ends, expected)
        assert (whole.ends[:, 0] < whole.replicates.estimate).all()
        assert (whole.ends[:, 1] > whole.replicates.estimate).all()


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_refits_with_weights_and_offset_are_those_of_fits(method):
    df = interlace.datasets.load("sleepstudy")
    rng = np.random.default_rng(3)
    df["w"], df["o"] = rng.uniform(0.5, 2.0, 180), rng.normal(size=180)
    options = {"method": method, "weights": "w", "offset": "o"}
    state = interlace.fit("Reaction ~ Days + (Days | Subject)", df, **options).state
    Y = draws(state, 3, rng)
    many = refit_responses(state, Y)
    for b, y in enumerate(Y):
        one = interlace.fit("Reaction ~ Days + (Days | Subject)", df.assign(Reaction=y), **options).state
        assert many.criterion[b] == pytest.approx(one.criterion, abs=1e-7)
        np.testing.assert_allclose(many.theta[b], one.theta, atol=1e-6)
        np.testing.assert_allclose(many.beta[b], one.beta, rtol=1e-7)
        np.testing.assert_allclose(many.beta_cov[b], one.beta_cov, rtol=1e-5)
    subsets = [np.array([3, 50]), np.flatnonzero(state.problem.terms[0].codes == 4)]
    less = refit_without(state, subsets)
    for b, subset in enumerate(subsets):
        one = interlace.fit("Reaction ~ Days + (Days | Subject)", df.drop(index=df.index[subset]), **options).state
        assert less.criterion[b] == pytest.approx(one.criterion, abs=1e-7)
        np.testing.assert_allclose(less.theta[b], one.theta, atol=1e-6)
        np.testing.assert_allclose(less.beta[b], one.beta, rtol=1e-7)
        keep = np.ones(180, dtype=bool)
        keep[subset] = False
        np.testing.assert_allclose(refit_rows(state, keep).theta, one.theta, atol=1e-6)
