"""Tables of confidence intervals: the FAQ's, lme4's, and what can be asked for."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from interlace.errors import ConvergenceWarning, ModelError
from interlace.inference.profile import Limits
from interlace.results import confint as module
from interlace.results.confint import confint
from interlace.results.profiles import profile
from tests.glmm_fits import ticks_nb


def table(result, *args, **kwargs):
    return confint(result.state, result.call, *args, **kwargs)


def test_table_of_the_faq():
    """One row a theta, named by its group, and a residual row of ones."""
    df = interlace.datasets.load("Penicillin").rename(columns={"plate": "student_id", "sample": "school_id"})
    result = interlace.fit("diameter ~ 1", df, groups=["student_id", "school_id"])
    found = table(result)
    assert list(found.columns) == ["estimate", "2.5 %", "97.5 %"]
    assert list(found.index) == ["student_id", "school_id", "residual"]
    assert_allclose(found["estimate"][:2], result.theta)
    assert (found.loc["residual"] == 1.0).all()
    assert (found["2.5 %"][:2] < found["estimate"][:2]).all()
    assert (found["97.5 %"][:2] > found["estimate"][:2]).all()


def test_conversion_to_standard_deviations_as_the_faq_has_it(crossed):
    found = table(crossed)
    sd = found["estimate"] * crossed.scale**0.5
    assert_allclose(sd, table(crossed, scale="sd")["estimate"][:3])


def test_names_of_vector_terms(slopes, split):
    assert list(table(slopes).index) == ["Subject.Intercept", "Subject.Days.Intercept", "Subject.Days", "residual"]
    assert list(table(split).index) == ["Subject", "Subject.1", "residual"]
    rows = ["sd_(Intercept)|Subject", "cor_Days.(Intercept)|Subject", "sd_Days|Subject", "sigma", "Intercept", "Days"]
    assert list(table(slopes, scale="sd").index) == rows
    rows = ["sd_(Intercept)|Subject", "sd_Days|Subject", "sigma", "Intercept", "Days"]
    assert list(table(split, scale="sd").index) == rows


#: confint(m, oldNames = FALSE) of lme4 1.1-31, with the error of its splines.
SPLIT = [
    (15.25864667770, 37.7864709004),
    (3.96407385584, 8.7691591620),
    (22.88055464833, 28.7875975946),
    (237.57214801076, 265.2380617589),
    (7.33406682885, 13.6005051066),
]


def test_table_of_lme4(split):
    found = table(split, scale="sd")
    assert_allclose(found[["2.5 %", "97.5 %"]], SPLIT, rtol=1e-5)
    assert_allclose(found["estimate"], [25.051, 5.988, 25.565, 251.405, 10.467], atol=1e-3)


def test_variances_are_squares_of_standard_deviations(slopes):
    sd, var = table(slopes, scale="sd"), table(slopes, scale="var")
    rows = ["var_(Intercept)|Subject", "cov_Days.(Intercept)|Subject", "var_Days|Subject", "sigma^2"]
    assert list(var.index) == [*rows, "Intercept", "Days"]
    squares = sd.to_numpy()[[0, 2, 3]] ** 2
    assert_allclose(var.to_numpy()[[0, 2, 3]], squares, rtol=1e-12)
    assert_allclose(var.to_numpy()[4:], sd.to_numpy()[4:], rtol=1e-12)
    # profile(m, prof.scale = "varcov") of lme4 1.1-31
    assert_allclose(var.iloc[1], [9.604, -105.354, 107.034], atol=2e-3)
    # The sign of a covariance and of the correlation is the same, also at the ends of their intervals.
    assert (np.sign(var.iloc[1]) == np.sign(sd.iloc[1])).all()


def test_level_names_the_columns(crossed):
    wide, narrow = table(crossed, 0.99), table(crossed, 0.8)
    assert list(wide.columns) == ["estimate", "0.5 %", "99.5 %"]
    assert list(narrow.columns) == ["estimate", "10 %", "90 %"]
    assert (wide.iloc[:2, 1] < narrow.iloc[:2, 1]).all()
    assert (wide.iloc[:2, 2] > narrow.iloc[:2, 2]).all()


def test_singular_fit_starts_at_zero(singular):
    found = table(singular, scale="sd")
    assert found.loc["sd_(Intercept)|Batch", "2.5 %"] == 0.0
    assert_allclose(found.loc["sd_(Intercept)|Batch", "97.5 %"], 2.0840479, rtol=1e-6)
    assert table(singular).loc["Batch", "2.5 %"] == 0.0


def test_wald_as_lme4(slopes):
    """NaN for variances; lme4 uses the normal distribution."""
    normal = slopes.update(df_method="normal")
    found = table(normal, method="wald", scale="sd")
    assert found.iloc[:4, 1:].isna().all(axis=None)
    assert_allclose(found.iloc[4:, 1:], [(238.02914111736, 264.7810685796), (7.43759392987, 13.4969779893)], rtol=1e-6)
    assert_allclose(found["estimate"], table(normal, scale="sd", parm=range(6))["estimate"])


@pytest.mark.parametrize("df_method", ["satterthwaite", "kenward-roger", "residual"])
def test_wald_follows_the_tests_of_the_result(slopes, sleep, df_method):
    result = slopes.update(data=sleep.drop(index=range(0, 180, 7)), df_method=df_method)
    found = table(result, method="wald")
    assert list(found.index)[-3:] == ["residual", "Intercept", "Days"]
    assert_allclose(found.iloc[-2:, 1:], result.fe_conf_int, rtol=1e-9)
    assert (found.loc["residual"] == 1.0).all()
    assert found.iloc[:3, 1:].isna().all(axis=None)


def test_choosing_parameters(slopes):
    full = table(slopes, scale="sd")
    for parm, rows in (
        ("beta_", [4, 5]),
        ("theta_", [0, 1, 2, 3]),
        ("sigma", [3]),
        (5, [5]),
        (["Days", "sigma"], [5, 3]),
        ([0, "beta_", 0], [0, 4, 5]),
        (np.array([1, 2]), [1, 2]),
        ([], []),
    ):
        chosen = table(slopes, scale="sd", parm=parm)
        pd.testing.assert_frame_equal(chosen, full.iloc[rows], rtol=1e-9, check_index_type=bool(rows))
    theta = table(slopes, parm="theta_")
    pd.testing.assert_frame_equal(theta, table(slopes))
    pd.testing.assert_frame_equal(table(slopes, parm="beta_"), full.iloc[4:], rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"parm": "x"}, "parm: no parameter 'x'; there are 'Subject.Intercept'"),
        ({"parm": 6}, "parm: position 6 is out of range; there are 6 parameters, 0 to 5"),
        ({"parm": -1}, "parm: position -1 is out of range"),
        ({"parm": True}, "parm: no parameter True"),
        ({"parm": 1.5}, "parm: no parameter 1.5"),
        ({"n_jobs": 0}, "n_jobs must be a whole number of processes"),
        ({"method": "boot", "nsim": 1}, "nsim must be at least 2 for intervals"),
        ({"method": "quantile"}, "method must be one of profile, wald, boot; not 'quantile'"),
        ({"scale": "log"}, "scale must be one of theta, sd, var; not 'log'"),
        ({"level": 95}, "level must lie between 0 and 1"),
    ],
)
def test_arguments_that_cannot_be_meant(slopes, arguments, message):
    with pytest.raises(ValueError, match=message):
        table(slopes, **arguments)


def _cbpp(**arguments):
    df = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size", **arguments)


def test_generalized_models():
    result = _cbpp()
    theta, sd = table(result), table(result, scale="sd")
    assert list(theta.index) == ["herd"]
    assert list(sd.index) == ["sd_(Intercept)|herd", "Intercept", "period[T.2]", "period[T.3]", "period[T.4]"]
    assert_allclose(theta.iloc[0], sd.iloc[0], rtol=1e-9)
    # confint of lme4 1.1-31, with the error of its splines
    assert_allclose(sd.iloc[0, 1:], [0.346073203325, 1.099974648238], atol=1e-4)
    wald = table(result, method="wald", scale="sd")
    assert_allclose(wald.iloc[1:, 1:], result.fe_conf_int)


def test_dispersion_has_a_row():
    df = interlace.datasets.load("sleepstudy")
    result = interlace.glmer("Reaction ~ Days + (1 | Subject)", df, "gamma", link="log")
    found = table(result, scale="sd", parm="theta_")
    assert list(found.index) == ["sd_(Intercept)|Subject", "sigma"]
    assert_allclose(found.loc["sigma", "estimate"], result.sigma)
    assert list(table(result).index) == ["Subject"]


def test_convention_of_lme4_for_dispersions_has_no_profile():
    df = interlace.datasets.load("sleepstudy")
    control = interlace.Control(dispersion="lme4")
    result = interlace.glmer("Reaction ~ Days + (1 | Subject)", df, "gamma", link="log", control=control)
    with pytest.raises(ModelError, match="nothing to profile"):
        table(result)
    assert table(result, method="wald").loc["Days"].notna().all()


def test_bootstrap(crossed):
    found = table(crossed, method="boot", nsim=200, seed=1, scale="sd")
    exact = table(crossed, scale="sd")
    assert list(found.index) == list(exact.index)
    assert_allclose(found["estimate"], exact["estimate"])
    width = exact["97.5 %"] - exact["2.5 %"]
    assert ((found["2.5 %"] - exact["2.5 %"]).abs() < 0.5 * width).all()
    pd.testing.assert_frame_equal(found, table(crossed, method="boot", nsim=200, seed=1, scale="sd", n_jobs=2))
    one = table(crossed, method="boot", nsim=200, seed=1, parm="sample")
    assert list(one.index) == ["sample"]
    theta = table(crossed, method="boot", nsim=200, seed=1)
    assert (theta.loc["residual"] == 1.0).all()


def test_warnings_name_the_problem(crossed, monkeypatch):
    state = crossed.state
    limits = Limits(np.zeros((2, 2)), np.zeros((2, 2)), -0.5, np.array([False, True]))
    monkeypatch.setattr(module, "profile_limits", lambda *args, **kwargs: limits)
    with pytest.warns(ConvergenceWarning) as seen:
        confint(state, crossed.call)
    texts = [str(w.message) for w in seen]
    assert any("0.5 below that of the fit" in text for text in texts)
    assert any("interval of 'sample'" in text for text in texts)
    assert all(w.filename == __file__ for w in seen)


def test_no_warning_for_a_good_fit(slopes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table(slopes, scale="sd")


def test_failed_replicates_are_reported(crossed, monkeypatch):
    from interlace.inference import bootstrap_intervals as boot

    found = boot.bootstrap_intervals(crossed.state, nsim=20, seed=1)
    broken = replace(found, replicates=replace(found.replicates, messages=("no luck",) + ("",) * 19))
    monkeypatch.setattr(boot, "bootstrap_intervals", lambda *args, **kwargs: broken)
    with pytest.warns(ConvergenceWarning, match="1 of 20 bootstrap replicates could not be fitted.*no luck"):
        table(crossed, method="boot", scale="sd")


def test_profiles(slopes):
    found = profile(slopes.state, slopes.call)
    frame = found.to_frame()
    names = list(table(slopes, scale="sd").index)
    assert list(frame.columns) == ["parameter", "value", "zeta", *names]
    assert list(dict.fromkeys(frame["parameter"])) == names
    for name, part in frame.groupby("parameter"):
        assert_allclose(part[name], part["value"], rtol=1e-6)
        middle = part.loc[part["zeta"] == 0.0]
        assert len(middle) == 1
    pd.testing.assert_frame_equal(found.confint(0.9), table(slopes, 0.9, scale="sd"))
    assert "sigma" in repr(found)
    with pytest.raises(ValueError, match="scale must be one of theta, sd, var; not 'log'"):
        profile(slopes.state, slopes.call, scale="log")


def test_profiles_of_variances_and_theta(slopes):
    sd = profile(slopes.state, slopes.call, parm="sigma").to_frame()
    var = profile(slopes.state, slopes.call, parm="sigma^2", scale="var").to_frame()
    assert_allclose(var["value"], sd["value"] ** 2)
    assert_allclose(var["var_Days|Subject"], sd["sd_Days|Subject"] ** 2)
    theta = profile(slopes.state, slopes.call, scale="theta")
    assert [row.name for row in theta.rows] == ["Subject.Intercept", "Subject.Days.Intercept", "Subject.Days"]
    assert list(theta.confint().index) == [row.name for row in theta.rows]


def test_theta_of_a_negative_binomial_is_profiled_through_fits_with_known_theta() -> None:
    result = ticks_nb()
    table = result.confint(parm="theta_nb")
    assert list(table.index) == ["theta_nb"]
    assert table["estimate"].iloc[0] == result.family.theta  # type: ignore[attr-defined]
    rises = [-2.0 * (ticks_nb(theta).llf - result.llf) for theta in table.iloc[0, 1:]]
    assert_allclose(rises, stats.chi2.isf(0.05, 1), rtol=1e-6)
    for scale in ("sd", "var"):
        assert_allclose(result.confint(scale=scale, parm="theta_nb"), table)  # type: ignore[arg-type]
    assert list(result.confint().index) == ["BROOD", "LOCATION", "theta_nb"]


def test_theta_of_a_negative_binomial_has_wald_and_bootstrap_intervals() -> None:
    result = ticks_nb()
    theta, step = result.family.theta, 0.05  # type: ignore[attr-defined]
    around = [-2.0 * ticks_nb(theta * np.exp(s)).llf for s in (-2 * step, -step, 0.0, step, 2 * step)]
    second = float(np.dot([-1, 16, -30, 16, -1], around)) / (12 * step**2)
    reach = np.exp(stats.norm.isf(0.025) * np.sqrt(2.0 / second))
    found = result.confint(method="wald", parm="theta_nb").iloc[0, 1:]
    assert_allclose(found, [theta / reach, theta * reach], rtol=1e-4)
    drawn = result.confint(method="boot", parm="theta_nb", nsim=9, seed=1).iloc[0]
    assert 0.5 * theta < drawn["2.5 %"] < drawn["97.5 %"] < 3.0 * theta


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_counts_that_could_be_poissons_have_no_largest_theta() -> None:
    rng, g = np.random.default_rng(0), np.repeat(np.arange(20), 10)
    data = pd.DataFrame({"y": rng.poisson(np.exp(1 + 0.5 * rng.normal(size=20)[g])), "g": g})
    result = interlace.glmer_nb("y ~ 1 + (1 | g)", data)
    lower, upper = result.confint(parm="theta_nb").iloc[0, 1:]
    assert upper == np.inf
    known = interlace.glmer("y ~ 1 + (1 | g)", data, interlace.families.NegativeBinomial(lower))
    assert -2.0 * (known.llf - result.llf) == pytest.approx(stats.chi2.isf(0.05, 1), rel=1e-5)
    assert result.confint(method="wald", parm="theta_nb").iloc[0, 1:].isna().all()


def test_theta_of_a_negative_binomial_that_was_given_has_no_row() -> None:
    assert list(ticks_nb(3.0).confint(method="wald").index)[:2] == ["BROOD", "LOCATION"]
    assert "theta_nb" not in ticks_nb(3.0).confint(method="wald").index


def test_names_are_those_of_all_optimizers() -> None:
    """A scalar term is named by its group in both tables."""
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    found = interlace.allFit(result, ["auto"])
    assert list(found["theta"].columns) == list(result.confint().index)[:-1] == ["Subject"]
    slopes = result.update("Reaction ~ Days + (Days | Subject)")
    names = list(interlace.allFit(slopes, ["auto"])["theta"].columns)
    assert names == ["Subject.Intercept", "Subject.Days.Intercept", "Subject.Days"]
    assert names == list(slopes.confint().index)[:-1]
