"""Tables of a bootstrap."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import ConvergenceWarning
from interlace.results.bootstrap import bootstrap
from interlace.results.lmm import LMMResult


@pytest.fixture(scope="module")
def sleep() -> LMMResult:
    return interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def dyestuff() -> LMMResult:
    return interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))


def sigma(result: LMMResult) -> float:
    return result.sigma


def test_names_and_estimates_are_those_of_confint(sleep):
    found = bootstrap(sleep, 20, seed=1)
    assert found.names == (
        "sd_(Intercept)|Subject",
        "cor_Days.(Intercept)|Subject",
        "sd_Days|Subject",
        "sigma",
        "Intercept",
        "Days",
    )
    np.testing.assert_allclose(found.estimate["Days"], sleep.fe_params["Days"])
    np.testing.assert_allclose(found.estimate["sigma"], sleep.sigma)
    assert found.replicates.columns.tolist() == list(found.names)
    assert found.replicates.index.tolist() == list(range(1, 21))
    assert found.replicates.index.name == "replicate"


def test_variances_are_squares_and_theta_is_relative(sleep):
    sd, var, theta = (bootstrap(sleep, 20, seed=1, scale=scale) for scale in ("sd", "var", "theta"))
    assert var.names[:4] == ("var_(Intercept)|Subject", "cov_Days.(Intercept)|Subject", "var_Days|Subject", "sigma^2")
    for column in (0, 2, 3):
        np.testing.assert_allclose(var.replicates.iloc[:, column], sd.replicates.iloc[:, column] ** 2, rtol=1e-10)
    np.testing.assert_allclose(
        var.replicates.iloc[:, 1], sd.replicates.iloc[:, 0] * sd.replicates.iloc[:, 1] * sd.replicates.iloc[:, 2]
    )
    np.testing.assert_allclose(var.estimate["sigma^2"], sleep.sigma**2)
    np.testing.assert_array_equal(var.replicates["Days"], sd.replicates["Days"])
    assert theta.names == ("Subject.Intercept", "Subject.Days.Intercept", "Subject.Days", "Intercept", "Days")
    np.testing.assert_allclose(theta.estimate.iloc[:3], sleep.theta)


def test_bca_intervals_of_variances_leave_out_groups_on_the_same_scale(dyestuff):
    found = bootstrap(dyestuff, 300, seed=1, scale="var")
    without = found.source.jackknife()
    standard_deviations = bootstrap(dyestuff, 2, seed=1).source.jackknife()
    np.testing.assert_allclose(without.values[:, :2], standard_deviations.values[:, :2] ** 2)
    assert (found.ci(kind="bca").iloc[:, 1] < found.ci(kind="bca").iloc[:, 2]).all()


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (lambda refit: refit.sigma, ("statistic",)),
        (lambda refit: np.array([refit.sigma, refit.llf]), ("statistic_1", "statistic_2")),
        (lambda refit: refit.fe_params, ("Intercept", "Days")),
        (lambda refit: {"ratio": refit.fe_params["Days"] / refit.sigma, 2: refit.sigma}, ("ratio", "2")),
    ],
)
def test_statistics_are_numbers_arrays_series_or_mappings(sleep, statistic, names):
    found = bootstrap(sleep, 10, 1, statistic)
    assert found.names == names
    standard = bootstrap(sleep, 10, 1).replicates
    if "Days" in names:
        np.testing.assert_allclose(found.replicates["Days"], standard["Days"], rtol=1e-6)
    else:
        by_hand = standard["Days"] / standard["sigma"] if "ratio" in names else standard["sigma"]
        np.testing.assert_allclose(found.replicates.iloc[:, 0], by_hand, rtol=1e-6)


def test_a_statistic_sees_a_whole_result_of_the_new_response(sleep):
    seen = []

    def keep(refit: LMMResult) -> float:
        seen.append(refit)
        return refit.llf

    found = bootstrap(sleep, 2, 1, keep)
    assert all(isinstance(refit, LMMResult) for refit in seen)
    new = seen[-1]
    assert new.llf == found.replicates.iloc[-1, 0]
    np.testing.assert_allclose(sleep.refit(new.fittedvalues + new.resid).llf, new.llf)


def test_a_statistic_that_is_no_vector(sleep):
    with pytest.raises(ValueError, match=r"number or a vector of numbers, not shape \(2, 2\)"):
        bootstrap(sleep, 5, 1, lambda refit: np.eye(2))


@pytest.mark.parametrize(("value", "said"), [("high", "'high'"), (None, "None"), ({"sd": "high"}, "{'sd': 'high'}")])
def test_a_statistic_that_is_no_number(sleep, value, said):
    with pytest.raises(TypeError, match=f"statistic must return a number or a vector of numbers, not {said}"):
        bootstrap(sleep, 5, 1, lambda refit: value)


@pytest.mark.parametrize("n_jobs", [0, 1.5, "all"])
def test_processes_are_a_whole_number(sleep, n_jobs):
    with pytest.raises(ValueError, match="n_jobs must be a whole number of processes"):
        bootstrap(sleep, 5, 1, n_jobs=n_jobs)


def test_tables(sleep):
    found = bootstrap(sleep, 200, seed=1)
    table = found.to_frame()
    np.testing.assert_allclose(table["bias"], found.replicates.mean() - found.estimate)
    np.testing.assert_allclose(table["std_error"], found.replicates.std(ddof=1))
    np.testing.assert_array_equal(table["bias"], found.bias)
    np.testing.assert_array_equal(table["std_error"], found.se)
    assert (table["n"] == 200).all()
    ends = found.ci()
    assert ends.columns.tolist() == ["estimate", "2.5 %", "97.5 %"]
    np.testing.assert_array_equal(ends["2.5 %"], table["conf_low"])
    assert found.ci(0.9, kind="basic").columns.tolist() == ["estimate", "5 %", "95 %"]
    widths = [np.diff(found.ci(kind=kind).iloc[:, 1:]) for kind in ("percentile", "basic", "bca", "normal")]
    assert all((width > 0.0).all() for width in widths)
    np.testing.assert_allclose(widths[0], widths[1])
    assert "std_error" in found._repr_html_()
    assert repr(found) == "<BootstrapResult: parametric, 200 replicates of 6 statistics, 0 failed>"
    assert repr(bootstrap(sleep, 3, 1, sigma)) == "<BootstrapResult: parametric, 3 replicates of 1 statistic, 0 failed>"


def test_frames_are_copies(dyestuff):
    found = bootstrap(dyestuff, 5, seed=1)
    replicates, estimate = found.replicates, found.estimate
    replicates.iloc[0, 0] = -1.0
    estimate.iloc[0] = -1.0
    assert (found.replicates >= 0.0).all(axis=None)
    assert found.estimate.iloc[0] > 0.0


def test_failures_are_warned_of_once_and_listed(dyestuff):
    calls = iter(range(1000))

    def picky(refit: LMMResult) -> float:
        if next(calls) == 5:  # the estimate takes two calls, so this is the fourth replicate
            raise RuntimeError("no luck")
        return refit.sigma

    with pytest.warns(
        ConvergenceWarning, match="1 of 10 replicates failed and are left out, the first one: Runtime"
    ) as w:
        found = bootstrap(dyestuff, 10, 1, picky)
    assert len(w) == 1
    assert w[0].filename == __file__
    pd.testing.assert_series_equal(
        found.failures,
        pd.Series(["RuntimeError: no luck"], index=pd.Index([4], name="replicate"), name="message", dtype=object),
    )
    assert found.replicates.loc[4].isna().all()
    assert found.to_frame().loc["statistic", "n"] == 9
    assert not len(bootstrap(dyestuff, 5, 1).failures)


def test_groups_that_cannot_be_left_out_are_warned_of_once(dyestuff):
    def fussy(refit: LMMResult) -> float:
        if refit.nobs < 30 and "A" not in set(refit.model.data.frame["Batch"].astype(str)):
            raise RuntimeError("where is A?")
        return refit.sigma

    found = bootstrap(dyestuff, 30, 1, fussy)
    with pytest.warns(ConvergenceWarning, match="lacks 1 of 6 groups.*where is A") as w:
        found.ci(kind="bca")
    assert w[0].filename == __file__
    assert found.ci(kind="bca").notna().all(axis=None)


def test_bca_intervals_of_a_users_statistic_are_those_of_the_same_parameter(sleep):
    standard, own = bootstrap(sleep, 100, seed=3), bootstrap(sleep, 100, 3, sigma)
    np.testing.assert_allclose(own.ci(kind="bca").loc["statistic"], standard.ci(kind="bca").loc["sigma"], rtol=1e-6)


def test_results_can_be_pickled(sleep):
    found = bootstrap(sleep, 50, 1, sigma)
    again = pickle.loads(pickle.dumps(found))
    pd.testing.assert_frame_equal(again.ci(kind="bca"), found.ci(kind="bca"))


def test_arguments_out_of_range(sleep):
    with pytest.raises(ValueError, match="scale must be one of 'sd', 'var', 'theta'"):
        bootstrap(sleep, 5, scale="log")
    found = bootstrap(sleep, 5, seed=1)
    with pytest.raises(ValueError, match="kind must be one of 'percentile'"):
        found.ci(kind="exact")
    with pytest.raises(ValueError, match="level must lie between"):
        found.ci(95)


def test_generalized_models(sleep):
    df = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size")
    found = bootstrap(result, 10, seed=1)
    assert found.names == ("sd_(Intercept)|herd", *result.fe_params.index)
    own = bootstrap(result, 10, 1, lambda refit: refit.fe_params)
    np.testing.assert_allclose(own.replicates, found.replicates.iloc[:, 1:])


def test_a_statistic_must_be_a_function():
    result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    with pytest.raises(TypeError, match="statistic must be a function of a result"):
        result.bootstrap(10, statistic=3)
