"""Checks of a fitted model: statistics against scipy and dense formulas, what is flagged, and how often wrongly."""

from __future__ import annotations

import html
import warnings
from functools import cache
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy import stats

import interlace
from interlace.diagnostics import check_model
from interlace.diagnostics.checks_of_model import ModelChecks
from interlace.diagnostics.collinearity import variance_inflation
from interlace.diagnostics.quantile import quantile_residuals
from interlace.diagnostics.residual_checks import brown_forsythe
from interlace.estimate.refits import refit
from interlace.influence import cooks_distance

SLEEP = interlace.datasets.load("sleepstudy")


def sample(seed, *, groups=15, size=8):
    """A response with random intercepts and normal errors, and predictors that have nothing to do with it."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x, f = rng.normal(10.0, 1.0, g.size), rng.choice(["low", "mid", "top"], g.size)
    error = rng.normal(size=g.size)
    return pd.DataFrame({"x": x, "f": f, "g": g, "error": error, "y": 0.3 * x + rng.normal(size=groups)[g] + error})


@cache
def table_of(fit):
    return check_model(fit).to_frame()


def found(fit, check, term=None):
    """The one record of a check."""
    table = table_of(fit)
    rows = table[(table["check"] == check) & (table["term"].isna() if term is None else table["term"] == term)]
    assert len(rows) == 1
    return rows.iloc[0]


def dense_covariance(state):
    """V / sigma^2, from its definition."""
    V = np.eye(len(state.fitted))
    for term in state.problem.design.terms:
        assert term.Z.shape[1] == 1
        columns = np.eye(len(term.levels))[term.codes] * term.Z
        V += state.theta[0] ** 2 * columns @ columns.T
    return V


def test_inflation_is_that_of_regressing_each_predictor_on_the_others():
    df = sample(1).assign(z=lambda d: 0.9 * d["x"] + 0.3 * np.random.default_rng(2).normal(size=len(d)))
    state = interlace.fit("y ~ x + z + f + (1 | g)", df).state
    root = np.linalg.inv(np.linalg.cholesky(dense_covariance(state)))
    design = state.problem.design
    X = root @ design.X
    for inflation in variance_inflation(state):
        assign = np.asarray(design.assign)
        own = assign == design.x_terms.index(inflation.term)
        rest = ~own & (assign > 0)

        def left(columns, given):
            residuals = columns - given @ np.linalg.lstsq(given, columns, rcond=None)[0]
            return np.linalg.det(residuals.T @ residuals)

        one = X[:, assign == 0]
        expected = left(X[:, own], one) / left(X[:, own], np.hstack([one, X[:, rest]]))
        assert inflation.gvif == pytest.approx(expected, rel=1e-8)
        assert inflation.df == own.sum()
        assert inflation.per_coefficient == pytest.approx(expected ** (1 / own.sum()))


def test_no_inflation_with_one_predictor():
    assert variance_inflation(interlace.fit("Reaction ~ Days + (1 | Subject)", SLEEP).state) == ()
    assert "collinearity" not in set(table_of(interlace.fit("Reaction ~ Days + (1 | Subject)", SLEEP))["check"])


def test_brown_forsythe_is_scipys_test():
    rng = np.random.default_rng(3)
    codes = np.sort(rng.integers(0, 6, 70))
    values = rng.normal(size=70) * (1 + codes)
    order = rng.permutation(70)
    expected = stats.levene(*[values[codes == j] for j in range(6)], center="median")
    np.testing.assert_allclose(brown_forsythe(values[order], codes[order]), expected, rtol=1e-10)
    assert brown_forsythe(np.array([1.0, 3.0, 0.0, 6.0]), np.array([0, 0, 1, 1])) == (np.inf, 0.0)


def test_values_are_what_they_say():
    fit = interlace.fit("Reaction ~ Days + (1 | Subject)", SLEEP)
    state = fit.state
    X, V = state.problem.design.X, dense_covariance(state)
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.inv(X.T @ inverse @ X) @ X.T @ inverse
    studentized = P @ SLEEP["Reaction"].to_numpy() / (state.sigma * np.sqrt(np.diagonal(P)))
    assert found(fit, "outliers")["value"] == pytest.approx(np.abs(studentized).max())
    assert found(fit, "outliers")["limit"] == pytest.approx(stats.norm.isf(0.005 / 180))
    assert found(fit, "residual-normality")["value"] == pytest.approx(stats.shapiro(studentized).pvalue, rel=1e-5)
    rho = stats.spearmanr(np.abs(studentized), state.fitted)
    assert found(fit, "homogeneity")["value"] == pytest.approx(rho.pvalue, rel=1e-6)
    by_group = [studentized[SLEEP["Subject"] == s] for s in SLEEP["Subject"].unique()]
    expected = stats.levene(*by_group, center="median").pvalue
    assert found(fit, "homogeneity-groups", "Subject")["value"] == pytest.approx(expected, rel=1e-6)
    # In a balanced design all modes have one variance, and the test does not depend on it.
    modes = fit.random_effects["Subject"]
    assert found(fit, "random-effects-normality", "Subject")["value"] == pytest.approx(stats.shapiro(modes).pvalue)
    assert found(fit, "singularity")["value"] == pytest.approx(state.theta[0])
    distances = cooks_distance(fit, "Subject", approx=True)
    assert found(fit, "influence", "Subject")["value"] == pytest.approx(distances.max())
    low, high = np.quantile(distances, [0.25, 0.75])
    assert found(fit, "influence", "Subject")["limit"] == pytest.approx(high + 3 * (high - low))


def test_modes_are_standardized_where_levels_differ_in_size():
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(60), np.tile([1, 1, 20], 20))
    y = rng.normal(size=60)[g] + rng.normal(size=g.size)
    fit = interlace.fit("y ~ 1 + (1 | g)", {"y": y, "g": g})
    counts = np.bincount(g)
    shrunk = fit.state.theta[0] ** 2 * counts / (1 + fit.state.theta[0] ** 2 * counts)
    z = fit.random_effects["g"].to_numpy() / np.sqrt(shrunk)
    assert found(fit, "random-effects-normality", "g")["value"] == pytest.approx(stats.shapiro(z).pvalue, rel=1e-6)


def test_true_models_pass():
    names = ["residual-normality", "homogeneity", "homogeneity-groups", "outliers", "random-effects-normality"]
    flagged = dict.fromkeys(names, 0)
    fit = interlace.fit("y ~ x + f + (1 | g)", sample(0))
    for response in fit.simulate(150, seed=1).to_numpy().T:
        checks = check_model(type(fit)(refit(fit.state, response), fit.call))
        for check in checks:
            if check.code in flagged:
                flagged[check.code] += check.severity == "warning"
    for name, count in flagged.items():
        assert stats.binomtest(count, 150, 0.01, alternative="greater").pvalue > 0.001, (name, count)


def test_heavy_tails_are_seen():
    df = sample(6, groups=40)
    df["y"] += np.random.default_rng(106).standard_t(1.5, len(df))
    df.loc[17, "y"] += 100.0
    fit = interlace.fit("y ~ x + (1 | g)", df)
    assert found(fit, "residual-normality")["result"] == "warning"
    assert found(fit, "outliers")["result"] == "warning"
    assert found(fit, "outliers")["message"].endswith(": 17")


def test_departures_that_are_small_are_notes():
    rng = np.random.default_rng(7)
    df = sample(7, groups=100, size=60)
    fit = interlace.fit("z ~ x + (1 | g)", df.assign(z=df["y"] + rng.gamma(8.0, 0.25, len(df))))
    row = found(fit, "residual-normality")
    assert row["result"] == "note"
    assert row["value"] < 0.01
    assert "test of 5000 values" in row["message"]
    fit = interlace.fit("z ~ x + (1 | g)", df.assign(z=df["y"] + df["error"] * 0.06 * (df["y"] - df["error"])))
    assert found(fit, "homogeneity")["result"] == "note"


def test_spread_that_follows_the_mean_or_the_group_is_seen():
    df = sample(8, groups=30)
    df["grows"] = np.exp(df["y"])
    fit = interlace.fit("grows ~ x + (1 | g)", df)
    row = found(fit, "homogeneity")
    assert row["result"] == "warning"
    assert "grows with the fitted values" in row["message"]
    falls = interlace.fit("falls ~ x + (1 | g)", df.assign(falls=-df["grows"]))
    assert "falls with the fitted values" in found(falls, "homogeneity")["message"]
    df["noisy"] = df["y"] + df["error"] * (df["g"] % 3) * 2
    fit = interlace.fit("noisy ~ x + (1 | g)", df)
    assert found(fit, "homogeneity-groups", "g")["result"] == "warning"


def test_influential_level_is_named():
    df = sample(9, groups=12)
    df.loc[df["g"] == 4, "x"] += 30.0
    df.loc[df["g"] == 4, "y"] -= 50.0
    fit = interlace.fit("y ~ x + (1 | g)", df)
    row = found(fit, "influence", "g")
    assert row["result"] == "warning"
    assert ": 4. Without the first, the fixed effects leave" in row["message"]
    small = found(interlace.fit("Reaction ~ Days + (Days | Subject)", SLEEP), "influence")
    assert small["result"] == "note"
    assert "stay in their 50 % confidence region" in small["message"]


def test_collinear_predictors_are_named():
    rng = np.random.default_rng(110)
    df = sample(10).assign(u=lambda d: d["x"] + 0.15 * rng.normal(size=len(d)))
    df["v"] = df["f"].map({"low": 0.0, "mid": 1.0, "top": 2.0}) + 0.35 * rng.normal(size=len(df))
    fit = interlace.fit("y ~ x + u + f + v + (1 | g)", df)
    assert found(fit, "collinearity", "u")["result"] == "warning"
    assert found(fit, "collinearity", "u")["value"] > 10.0
    moderate = found(fit, "collinearity", "v")
    assert moderate["result"] == "note"
    assert 5.0 < moderate["value"] < 10.0
    fine = table_of(interlace.fit("y ~ x + f + (1 | g)", df)).set_index("check").loc["collinearity"]
    assert fine["result"] == "ok"
    assert fine["value"] < 2.0


def test_what_fitting_found_comes_first():
    df = sample(11).assign(twice=lambda d: 2 * d["x"], y=lambda d: d["error"])
    with pytest.warns(UserWarning, match="rank deficient"):
        fit = interlace.fit("y ~ x + twice + (1 | g)", df)
    assert found(fit, "rank-deficient", "twice")["result"] == "warning"
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        singular = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff2"))
    table = table_of(singular)
    assert table.loc[0, ["check", "result", "term"]].tolist() == ["singular", "warning", "Batch"]
    assert "singularity" not in set(table["check"])
    order = ["error", "warning", "note", "ok"]
    assert all(order.index(a) <= order.index(b) for a, b in pairwise(table["result"]))


def test_distance_from_the_optimum():
    fit = interlace.fit("Reaction ~ Days + (1 | Subject)", SLEEP)
    assert found(fit, "convergence")["value"] < 1e-6
    model = smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = check_model(model.fit(method="lbfgs", maxiter=0)).to_frame()
    assert stopped.loc[0, ["check", "result"]].tolist() == ["not-converged", "error"]
    assert "convergence" not in set(stopped["check"])
    # One that says it converged, and has not: one standard error away the deviance is higher by about one.
    result = model.fit(method="bfgs", gtol=0.3)
    assert result.converged
    away = result.llf - fit.llf
    row = check_model(result).to_frame().set_index("check").loc["convergence"]
    assert row["result"] == "warning"
    assert row["value"] == pytest.approx(np.sqrt(-2 * away), rel=0.1)


@cache
def poisson(kind):
    rng = np.random.default_rng(12)
    df = sample(12, groups=30)
    eta = 0.5 + 0.3 * (df["x"] - 10.0) + rng.normal(0.0, 0.6, 30)[df["g"]]
    if kind == "over":
        eta += rng.normal(0.0, 0.8, len(df))
    df["y"] = rng.poisson(np.exp(eta)) * (rng.random(len(df)) >= (0.4 if kind == "zeros" else 0.0))
    df["few"] = np.minimum(df["y"], 1)
    formula = "few ~ x + (1 | g)" if kind == "binary" else "y ~ x + (1 | g)"
    return interlace.glmer(formula, df, "binomial" if kind == "binary" else "poisson")


def test_generalized_models():
    fit = poisson("true")
    assert (table_of(fit)["result"].isin(["ok", "note"])).all()
    residuals = quantile_residuals(fit, seed=1)
    assert found(fit, "dispersion")["value"] == residuals.test_dispersion().p_value
    assert found(fit, "zero-inflation")["value"] == residuals.test_zero_inflation().p_value
    assert found(fit, "uniformity")["value"] == residuals.test_uniformity().p_value
    assert found(fit, "outliers")["value"] == residuals.test_outliers("greater").p_value
    over = found(poisson("over"), "dispersion")
    assert over["result"] == "warning"
    assert "overdispersion" in over["message"]
    assert "glmer_nb" in over["advice"]
    assert "more zeros" in found(poisson("zeros"), "zero-inflation")["message"]
    assert not {"dispersion", "zero-inflation", "homogeneity"} & set(table_of(poisson("binary"))["check"])


def test_dispersion_that_was_estimated_is_not_checked():
    df = sample(13).assign(y=lambda d: np.random.default_rng(1).gamma(3.0, np.exp(0.3 * (d["g"] % 4))))
    fit = interlace.glmer("y ~ x + (1 | g)", df, interlace.families.Gamma(), link="log")
    assert not {"dispersion", "zero-inflation"} & set(table_of(fit)["check"])
    assert found(fit, "uniformity")["result"] == "ok"


def test_crossed_factors_weights_and_offsets():
    df = interlace.datasets.load("Penicillin")
    fit = interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", df)
    checks = table_of(fit)
    assert checks[checks["check"] == "influence"]["term"].tolist()[1:] == ["plate", "sample"]
    assert checks[checks["check"] == "homogeneity-groups"]["term"].tolist() == ["plate", "sample"]
    # Six samples are too few to say anything of the distribution of their effects.
    assert checks[checks["check"] == "random-effects-normality"]["term"].tolist() == ["plate"]
    rng = np.random.default_rng(14)
    df = sample(14).assign(w=lambda d: rng.choice([0.1, 2.0], len(d)), shift=lambda d: rng.normal(size=len(d)))
    df["z"] = df["y"] + df["error"] * (1 / np.sqrt(df["w"]) - 1) + df["shift"]
    weighted = interlace.fit("z ~ x + offset(shift) + (1 | g)", df, weights="w")
    assert (table_of(weighted)["result"].isin(["ok", "note"])).all()
    plain = interlace.fit("z ~ x + offset(shift) + (1 | g)", df)
    assert found(plain, "residual-normality")["result"] == "warning"


def test_statsmodels_fit_is_checked_like_ours():
    result = smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject", re_formula="~ Days").fit()
    ours = check_model(interlace.fit("Reaction ~ Days + (Days | Subject)", SLEEP)).to_frame()
    theirs = check_model(result).to_frame()
    assert theirs["check"].tolist() == ours["check"].tolist()
    rest = ours["check"] != "convergence"
    np.testing.assert_allclose(theirs["value"][rest], ours["value"][rest], rtol=0.02)


def test_list_text_and_html():
    df = sample(15).rename(columns={"x": "a <b>"})
    checks = check_model(interlace.fit("y ~ `a <b>` + f + (1 | g)", df))
    assert isinstance(checks, ModelChecks)
    assert len(checks) == len(list(checks)) == len(checks.to_frame())
    assert checks[0] is next(iter(checks))
    assert checks[:2] == tuple(checks)[:2]
    text = str(checks)
    assert repr(checks) == text
    assert all(len(line) <= 100 for line in text.splitlines())
    assert all(check.code in text for check in checks)
    page = checks._repr_html_()
    assert "a <b>" not in page
    assert html.escape("a <b>") in page


def test_anything_else_is_refused():
    with pytest.raises(TypeError, match="expected a result"):
        check_model("y ~ x")
    with pytest.raises(ValueError, match="nsim must be at least 20"):
        check_model(poisson("true"), nsim=3)
