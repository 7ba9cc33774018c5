"""Fits from the sums of sites, against fits of all rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace import federated
from interlace.errors import RankDeficiencyWarning
from interlace.results.lmm import LMMResult

#: The optimizer goes on until the digits are used up; else two ways to the same optimum stop about 1e-9 apart.
EXACT = interlace.Control(tol=1e-15)
both_methods = pytest.mark.parametrize("method", ["REML", "ML"])


def crossed(n: int = 900, seed: int = 1) -> pd.DataFrame:
    """Three crossed factors, one nested in another, slopes, weights, an offset, and columns far from zero."""
    rng = np.random.default_rng(seed)
    g, h, k = rng.integers(0, 30, n), rng.integers(0, 12, n), rng.integers(0, 5, n)
    d = pd.DataFrame({"g": g, "h": h, "k": k, "x": rng.normal(size=n), "t": rng.choice(list("abc"), n)})
    d["year"] = 1990.0 + 3.0 * d["x"]
    d["big"], d["w"], d["o"] = g // 6, rng.uniform(0.2, 5.0, n), rng.normal(size=n)
    d["y"] = 1e3 + d["x"] + rng.normal(size=(30, 2))[g, 0] + 0.7 * rng.normal(size=30)[g] * d["x"]
    d["y"] += 2.0 * rng.normal(size=5)[g // 6] + rng.normal(size=5)[g // 6] * d["x"]
    d["y"] += rng.normal(size=12)[h] + rng.normal(size=5)[k] + d["o"] + rng.normal(size=n) / np.sqrt(d["w"])
    return d


def pooled(formula: str, data: pd.DataFrame, site: Any, *, method: str = "REML", **plan: Any) -> LMMResult:
    """Fit from one part for each site, at which nothing is refused."""
    found = federated.plan(formula, **plan)
    parts = [federated.summarize(found, data[site == s], f"site {s}", min_cell=1) for s in np.unique(site)]
    return federated.fit(found, parts, method=method, control=EXACT)


def fit_all(formula: str, data: pd.DataFrame, **given: Any) -> LMMResult:
    """Fit all rows at once."""
    return interlace.fit(formula, data, control=EXACT, **given)


def assert_same_fit(ours: LMMResult, theirs: LMMResult, *, within: float = 1e-10) -> None:
    """Everything that a fit estimates."""
    a, b = ours.state, theirs.state
    assert a.criterion == pytest.approx(b.criterion, rel=1e-10)
    np.testing.assert_allclose(a.theta, b.theta, rtol=within, atol=within)
    se = np.sqrt(np.diagonal(b.beta_cov))
    np.testing.assert_allclose(a.beta / se, b.beta / se, rtol=within, atol=within)
    np.testing.assert_allclose(a.beta_cov / np.outer(se, se), b.beta_cov / np.outer(se, se), rtol=within, atol=within)
    assert a.sigma == pytest.approx(b.sigma, rel=within)
    assert list(ours.fe_params.index) == list(theirs.fe_params.index)
    assert ours.random_effects.keys() == theirs.random_effects.keys()
    assert (ours.ngroups, ours.nobs) == (theirs.ngroups, theirs.nobs)
    for name, modes in theirs.random_effects.items():
        size = float(np.abs(modes.to_numpy()).max())
        found = ours.random_effects[name].loc[modes.index]
        np.testing.assert_allclose(found.to_numpy() / size, modes.to_numpy() / size, rtol=within, atol=within)


@both_methods
@pytest.mark.parametrize("bar", ["(Days | Subject)", "(1 | Subject)", "(0 + Days | Subject)"])
def test_sleepstudy_split_by_subjects(method, bar):
    df = interlace.datasets.load("sleepstudy")
    formula = f"Reaction ~ Days + {bar}"
    ours = pooled(formula, df, df["Subject"].astype(int) // 20, method=method)
    assert_same_fit(ours, fit_all(formula, df, method=method))


ABC = {"t": ["a", "b", "c"]}
CASES: dict[str, dict[str, Any]] = {
    "crossed": {"formula": "y ~ x + (1 | g) + (1 | h)"},
    "weights and offset": {"formula": "y ~ x + (1 | g) + (1 | h)", "weights": "w", "offset": "o"},
    "offset in the formula": {"formula": "y ~ x + offset(2 * o) + (1 | g)"},
    "slopes": {"formula": "y ~ x + (x | g) + (1 | h)"},
    "weighted slopes": {"levels": ABC, "formula": "y ~ x * t + (x | g) + (1 | h)", "weights": "w"},
    "far from zero": {"formula": "y ~ year + I(year**2) + (year | g) + (1 | h)"},
    "three factors": {"formula": "y ~ x + (x | g) + (1 | h) + (1 | k)"},
    "nested": {"formula": "y ~ x + (1 | big/g)"},
    "nested and crossed": {"formula": "y ~ x + (x | big/g) + (1 | h)"},
    "uncorrelated": {"formula": "y ~ x + (x || g) + (1 | h)"},
    "diagonal": {"formula": "y ~ x + (x | g) + (1 | h)", "covariance": {"g": "diagonal"}},
    "no intercept": {"levels": ABC, "formula": "y ~ 0 + t + x + (0 + x | g)", "weights": "w"},
    "factor slopes": {"levels": ABC, "formula": "y ~ x + (0 + t | h)"},
    "sum contrasts": {"levels": ABC, "formula": "y ~ x * t + (1 | g)", "contrasts": {"t": "sum"}},
    "C with contrasts": {"levels": ABC, "formula": "y ~ C(t, contr.helmert) + x + (1 | g)"},
    "log response": {"formula": "log(y) ~ x + (1 | g)"},
}


@both_methods
@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore")
def test_crossed_models_split_by_rows(case, method):
    df = crossed()
    given = {"levels": None, **CASES[case]}
    site = np.random.default_rng(2).integers(0, 3, len(df))
    ours = pooled(data=df, site=site, method=method, **given)
    del given["levels"]
    assert_same_fit(ours, fit_all(data=df, method=method, **given))


def test_levels_that_one_site_lacks_and_columns_that_depend_on_others():
    df = crossed()
    df["twice"] = 2.0 * df["x"]
    site = np.where(df["t"] == "a", 0, 1 + (df["g"] % 2))
    formula = "y ~ t + x + twice + (1 | g)"
    with pytest.warns(RankDeficiencyWarning, match="'twice'"):
        ours = pooled(formula, df, site, levels={"t": ["a", "b", "c"]})
    with pytest.warns(RankDeficiencyWarning, match="'twice'"):
        assert_same_fit(ours, fit_all(formula, df))


def test_missing_values_and_rows_of_weight_zero_are_left_out_at_each_site():
    df = crossed()
    df.loc[::7, "x"] = np.nan
    df.loc[3::11, "w"] = 0.0
    df.loc[5::50, "h"] = np.nan
    formula = "y ~ x + (1 | g) + (1 | h)"
    ours = pooled(formula, df, df["k"], weights="w")
    theirs = fit_all(formula, df, weights="w")
    assert_same_fit(ours, theirs)
    zero = [[c.value for c in result.checks if c.code == "zero-weight"] for result in (ours, theirs)]
    assert zero[0] == zero[1] != []


def test_undefined_expressions_are_left_out_at_each_site():
    df = crossed()
    df["x"] += 1.0
    with np.errstate(invalid="ignore"):
        assert_same_fit(pooled("y ~ log(x) + (1 | g)", df, df["k"]), fit_all("y ~ log(x) + (1 | g)", df))


def test_labels_of_local_columns_are_kept_apart():
    df = crossed()
    site = df["k"].to_numpy() % 3
    df["own"] = [f"site {s}/{g}" for s, g in zip(site, df["g"], strict=True)]
    ours = pooled("y ~ x + (x | g) + (1 | h)", df, site, local="g")
    theirs = fit_all("y ~ x + (x | own) + (1 | h)", df)
    assert ours.state.criterion == pytest.approx(theirs.state.criterion, rel=1e-10)
    modes = ours.random_effects["g"].loc[theirs.random_effects["own"].index]
    np.testing.assert_allclose(modes, theirs.random_effects["own"], rtol=1e-8, atol=1e-9)


def test_secret_labels_are_digests_and_mean_the_same_everywhere():
    df, secret = crossed(), "a secret that all sites share"
    plan = federated.plan("y ~ x + (1 | big/g) + (1 | h)")
    parts = [federated.summarize(plan, df[df["k"] == k], str(k), min_cell=1, secret=secret) for k in range(5)]
    ours, theirs = federated.fit(plan, parts, control=EXACT), fit_all("y ~ x + (1 | big/g) + (1 | h)", df)
    assert ours.ngroups == theirs.ngroups
    assert ours.state.criterion == pytest.approx(theirs.state.criterion, rel=1e-10)
    assert all(len(label) == 16 for label in ours.random_effects["h"].index)
    pieces = [federated.at_site(ours, plan, df[df["k"] == k], str(k), secret=secret) for k in range(5)]
    fitted = pd.concat(pieces)["fitted"].sort_index()
    np.testing.assert_allclose(fitted, theirs.fittedvalues, rtol=1e-9)


def test_fitted_values_and_residuals_at_a_site():
    df = crossed()
    given = {"weights": "w", "offset": "o"}
    plan = federated.plan("y ~ x + (x || g) + (1 | h)", local="h", **given)
    df["own"] = [f"{k}/{h}" for k, h in zip(df["k"], df["h"], strict=True)]
    df.loc[::9, "x"] = np.nan
    parts = [federated.summarize(plan, df[df["k"] == k], str(k), min_cell=1) for k in range(5)]
    ours, theirs = federated.fit(plan, parts, control=EXACT), fit_all("y ~ x + (x || g) + (1 | own)", df, **given)
    pieces = pd.concat([federated.at_site(ours, plan, df[df["k"] == k], str(k)) for k in range(5)]).sort_index()
    np.testing.assert_allclose(pieces["fitted"], theirs.fittedvalues, rtol=1e-8)
    np.testing.assert_allclose(pieces["resid"], theirs.resid, rtol=1e-5, atol=1e-6)
    assert pieces.index.equals(theirs.fittedvalues.index)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g) + (1 | h)", "y ~ x + (x | big/g)"])
def test_parts_can_be_added_and_taken_away(formula):
    df = crossed()
    plan = federated.plan(formula, weights="w")
    a, b, c = (federated.summarize(plan, df[df["k"] % 3 == k], str(k), min_cell=1) for k in range(3))
    total = a + b + c
    assert total.sites == ("0", "1", "2")
    assert_same_fit(federated.fit(plan, total, control=EXACT), fit_all(formula, df, weights="w"))
    left = fit_all(formula, df[df["k"] % 3 != 1], weights="w")
    assert_same_fit(federated.fit(plan, total - b, control=EXACT), left, within=1e-8)
    assert_same_fit(federated.fit(plan, [total - b, b], control=EXACT), fit_all(formula, df, weights="w"), within=1e-8)


def test_a_level_leaves_with_its_last_row():
    df = crossed()
    plan = federated.plan("y ~ x + (1 | g) + (1 | h)")
    site = df["g"].to_numpy() // 10
    parts = [federated.summarize(plan, df[site == s], str(s), min_cell=1) for s in range(3)]
    left = parts[0] + parts[1] + parts[2] - parts[1]
    assert left.sums.sizes == (20, 12)
    assert_same_fit(
        federated.fit(plan, left, control=EXACT), fit_all("y ~ x + (1 | g) + (1 | h)", df[site != 1]), within=1e-8
    )


def test_marginal_means_without_a_factor():
    formula, df = "Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")
    plan = federated.plan(formula)
    ours = federated.fit(plan, [federated.summarize(plan, df, "A")])
    assert str(interlace.emmeans(ours, "Days")) == str(interlace.emmeans(fit_all(formula, df), "Days"))


def test_what_a_result_offers_without_rows():
    df = crossed()
    df["two"] = (df["h"] > 5) * 1.0
    df["u"] = np.where(df["t"] == "a", "p", np.where(df["k"] > 2, "q", "r"))
    formula, levels = "y ~ x + t + two + u + (x | g) + (1 | h)", {"t": list("abc"), "u": list("pqr")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = pooled(formula, df, df["k"], levels=levels), fit_all(formula, df)

    def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
        pd.testing.assert_frame_equal(a, b, rtol=1e-6, atol=1e-9)

    for name in ("t", "two", "u", ["t", "u"]):
        assert str(interlace.emmeans(ours, name)) == str(interlace.emmeans(theirs, name))
    for kind in (2, 3):
        same(*(interlace.anova_table(result, type=kind) for result in (ours, theirs)))
    same(ours.tidy(), theirs.tidy())
    same(ours.glance(), theirs.glance())
    for method in ("wald", "profile"):
        same(ours.confint(method=method), theirs.confint(method=method))
    same(ours.predict(df.head(9), se=True), theirs.predict(df.head(9), se=True))
    assert "Scaled residuals" not in str(ours.summary())
    assert str(ours.summary()).split("Random effects")[1] == str(theirs.summary()).split("Random effects")[1]


@pytest.mark.parametrize(
    "use",
    [
        lambda r: r.resid,
        lambda r: r.fittedvalues,
        lambda r: r.predict(),
        lambda r: r.simulate(1, 1),
        lambda r: r.bootstrap(2, 1),
        lambda r: r.refit(np.zeros(900)),
        lambda r: r.update(method="ML"),
        lambda r: r.model.exog,
        lambda r: r.augment(),
        lambda r: r.save("result"),
        interlace.influence.cooks_distance,
        interlace.r2_nakagawa,
    ],
)
def test_what_needs_rows_is_refused(use):
    df = crossed()
    result = pooled("y ~ x + (1 | g)", df, df["k"], weights="w", offset="o")
    with pytest.raises(interlace.ModelError, match="made from the sums of several sites"):
        use(result)
