"""Fits of statsmodels' MixedLM, taken over as they are: numbers against statsmodels' own."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.base._penalties import L2
from statsmodels.regression.mixed_linear_model import MixedLMParams, VCSpec

import interlace
from interlace import diagnostics
from interlace.diagnostics.model import linear_state_of
from interlace.estimate.derived import conditional_covariances, term_covariances
from interlace.estimate.refits import refit_without
from interlace.interop.statsmodels import as_state
from interlace.results.rows import model_frame

SLEEP = interlace.datasets.load("sleepstudy")


def quiet(model, **options):
    """Fit; statsmodels' warnings about its optimizers and boundaries are not what is tested."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(**options)


def hostile(seed, *, singular=False):
    """Unbalanced groups out of order, a factor, a covariate far from zero, labels that are numbers."""
    rng = np.random.default_rng(seed)
    g = rng.permutation(np.repeat(np.arange(40, 52), rng.integers(2, 9, size=12)))
    n = g.size
    x, f = rng.normal(5.0, 1.0, n), rng.choice(["low", "mid", "top"], n)
    b = rng.normal(size=(52, 2)) * [1.0, 0.5]
    if singular:
        b[:, 1] = 0.5 * b[:, 0]
    y = 1.0 + 0.3 * x + (f == "mid") + b[g, 0] + b[g, 1] * (x - 5.0) + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "f": f, "g": g}, index=rng.permutation(n) + 1000)


def assert_same_fit(result, state):
    """Everything that both have."""
    np.testing.assert_allclose(state.beta, result.fe_params, rtol=1e-8)
    assert state.sigma**2 == pytest.approx(result.scale, rel=1e-8)
    assert -0.5 * state.criterion == pytest.approx(result.llf, abs=1e-6)
    np.testing.assert_allclose(state.fitted, result.fittedvalues, rtol=1e-7)
    # Theirs is the inverse of the Hessian in all parameters; ours given theta, from V itself.
    model = result.model
    V = np.eye(model.nobs) * result.scale
    for i, label in enumerate(model.group_labels):
        rows, Z = np.ix_(model.row_indices[label], model.row_indices[label]), model._aex_r[i]
        k = model.k_re
        psi = np.zeros((Z.shape[1], Z.shape[1]))
        psi[:k, :k] = result.cov_re
        psi[range(k, len(psi)), range(k, len(psi))] = model._expand_vcomp(result.vcomp, i)
        V[rows] += Z @ psi @ Z.T
    np.testing.assert_allclose(state.beta_cov, np.linalg.inv(model.exog.T @ np.linalg.solve(V, model.exog)), rtol=1e-7)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("re_formula", [None, "1", "~ x", "0 + x"])
@pytest.mark.parametrize("seed", [1, 2])
def test_formula_interface(seed, re_formula, reml):
    df = hostile(seed)
    result = quiet(smf.mixedlm("y ~ x + C(f)", df, groups="g", re_formula=re_formula), reml=reml)
    state = as_state(result)
    assert_same_fit(result, state)
    assert state.reml is reml
    design = state.problem.design
    assert design.x_names == tuple(result.model.exog_names)
    assert design.x_terms == ("Intercept", "C(f)", "x")
    assert design.index.equals(df.index)
    (term,) = design.terms
    assert (term.group, term.levels.tolist()) == ("g", sorted(df["g"].unique()))
    assert term.names == {"~ x": ("Intercept", "x"), "0 + x": ("x",)}.get(re_formula, ("Intercept",))
    pd.testing.assert_frame_equal(model_frame(state)[["y", "x", "f", "g"]], df)
    np.testing.assert_allclose(term_covariances(state)[0], np.asarray(result.cov_re), rtol=1e-6, atol=1e-10)
    theirs = np.array([result.random_effects[label].to_numpy() for label in term.levels])
    np.testing.assert_allclose(state.modes[0], theirs, rtol=1e-6, atol=1e-8)
    covariances = np.array([result.random_effects_cov[label].to_numpy() for label in term.levels])
    np.testing.assert_allclose(conditional_covariances(state)[0], covariances, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("pandas", [True, False])
def test_array_interface(pandas):
    df = hostile(3)
    exog, exog_re = sm.add_constant(df[["x"]]), df[["x"]].assign(one=1.0)
    if pandas:
        result = quiet(sm.MixedLM(df["y"], exog, groups=df["g"], exog_re=exog_re))
        group, names, response = "g", ("x", "Intercept"), "y"
    else:
        labels = df["g"].map(lambda g: f"group {g}").to_numpy()
        result = quiet(sm.MixedLM(df["y"].to_numpy(), exog.to_numpy(), groups=labels, exog_re=exog_re.to_numpy()))
        group, names, response = "Group", ("x_re1", "Intercept"), "y"
    state = as_state(result)
    assert_same_fit(result, state)
    design = state.problem.design
    assert (design.response, design.x_names) == (response, tuple(result.model.exog_names))
    assert (design.terms[0].group, design.terms[0].names) == (group, names)
    assert design.index.equals(df.index if pandas else pd.RangeIndex(len(df)))
    frame = model_frame(state)
    np.testing.assert_array_equal(frame[group], result.model.groups)
    np.testing.assert_array_equal(frame["x" if pandas else "x1"], df["x"])


def test_intercept_by_default_and_groups_given_as_values():
    df = hostile(4)
    result = quiet(smf.mixedlm("np.exp(y / 10) ~ x", df, groups=df["g"]))
    state = as_state(result)
    assert_same_fit(result, state)
    assert state.problem.design.terms[0].group == "g"
    assert list(model_frame(state).columns) == ["np.exp(y / 10)", "y", "x", "g"]
    renamed = as_state(quiet(smf.mixedlm("y ~ x", df, groups=df["g"] * 2)))
    assert renamed.problem.design.terms[0].group == "Group"


def test_rows_with_missing_values_are_left_out():
    df = hostile(5)
    df.iloc[[0, 7], 0] = np.nan
    df.iloc[9, 1] = np.nan
    result = quiet(smf.mixedlm("y ~ x", df, groups="g", missing="drop"))
    state = as_state(result)
    assert_same_fit(result, state)
    assert state.problem.design.terms[0].group == "g"
    assert state.problem.design.index.equals(df.dropna().index)
    ours = interlace.fit("y ~ x + (1 | g)", df).state
    np.testing.assert_allclose(state.beta, ours.beta, rtol=1e-4)


def test_crossed_variance_components():
    df = interlace.datasets.load("Penicillin").assign(all=1)
    components = {"plate": "0 + C(plate)", "of_sample": "0 + C(sample)"}
    for sparse in (False, True):
        model = smf.mixedlm("diameter ~ 1", df, groups="all", vc_formula=components, use_sparse=sparse)
        result = quiet(model)
        state = as_state(result)
        ours = interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", df).state
        assert [term.key for term in state.problem.design.terms] == ["plate", "of_sample"]
        assert state.problem.design.terms[0].levels.tolist() == ours.problem.design.terms[0].levels.tolist()
        np.testing.assert_allclose([c.item() for c in term_covariances(state)], result.vcomp[[1, 0]], rtol=1e-8)
        assert -0.5 * state.criterion == pytest.approx(result.llf, abs=1e-8)
        np.testing.assert_allclose(state.modes[0], ours.modes[0], atol=1e-3)
        assert list(model_frame(state).columns) == ["diameter", "plate", "sample"]
        again = refit_without(state, [np.arange(6)])
        np.testing.assert_allclose(again.beta, refit_without(ours, [np.arange(6)]).beta, rtol=1e-9)


@pytest.mark.parametrize("unique", [True, False])
def test_nested_variance_components(unique):
    df = interlace.datasets.load("Pastes")
    df = df.assign(jar=df["batch"].astype(str) + df["cask"].astype(str) if unique else df["cask"])
    result = quiet(smf.mixedlm("strength ~ 1", df, groups="batch", re_formula="1", vc_formula={"jar": "0 + C(jar)"}))
    state = as_state(result)
    assert_same_fit(result, state)
    design = state.problem.design
    assert [term.key for term in design.terms] == ["jar" if unique else "batch:jar", "batch"]
    assert design.terms[0].levels[:2].tolist() == (["Aa", "Ab"] if unique else ["A:a", "A:b"])
    for term, modes in zip(design.terms, state.modes, strict=True):
        for label, b in zip(term.levels, modes[:, 0], strict=True):
            effects = result.random_effects[label[0]]
            name = "batch" if term.key == "batch" else f"jar[C(jar)[{label if unique else label[2:]}]]"
            assert b == pytest.approx(effects[name], abs=1e-8)


def test_slope_as_variance_component_shares_the_groups():
    result = quiet(
        smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject", re_formula="1", vc_formula={"Days": "0 + Days"})
    )
    state = as_state(result)
    assert_same_fit(result, state)
    assert state.problem.design.formula == "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"
    assert [term.key for term in state.problem.design.terms] == ["Subject", "Subject.1"]
    ours = interlace.fit("Reaction ~ Days + (Days || Subject)", SLEEP).state
    np.testing.assert_allclose(state.theta, ours.theta, rtol=1e-4)


def test_interaction_columns_and_rows_without_a_level():
    rng = np.random.default_rng(6)
    df = hostile(6).assign(a=lambda d: rng.choice(["p", "q", "r"], len(d)), b=lambda d: rng.choice(["s", "t"], len(d)))
    df["on"] = (rng.random(len(df)) < 0.8).astype(float)
    df["y"] += df["on"] * df["a"].map({"p": 0.0, "q": 3.0, "r": -3.0})
    df["all"] = 1
    components = {"cell": "0 + C(a):C(b)", "dose": "0 + C(a):on"}
    result = quiet(smf.mixedlm("y ~ x", df, groups="all", vc_formula=components))
    state = as_state(result)
    assert_same_fit(result, state)
    levels = {term.group: term.levels.tolist() for term in state.problem.design.terms}
    assert levels["cell"] == ["p:s", "q:s", "r:s", "p:t", "q:t", "r:t"]
    assert levels["dose"] == ["p:on", "q:on", "r:on", "(none)"]


def test_effects_kept_independent_by_free():
    df = SLEEP.assign(square=SLEEP["Days"] ** 2 / 10)
    pattern = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]])
    free = MixedLMParams.from_components(np.ones(2), pattern)
    result = quiet(smf.mixedlm("Reaction ~ Days", df, groups="Subject", re_formula="~ Days + square"), free=free)
    state = as_state(result)
    assert_same_fit(result, state)
    assert state.problem.design.formula.endswith("(Days | Subject) + (0 + square | Subject)")
    diagonal = MixedLMParams.from_components(np.ones(2), np.eye(2))
    result = quiet(smf.mixedlm("Reaction ~ Days", df, groups="Subject", re_formula="~ Days"), free=diagonal)
    ours = interlace.fit("Reaction ~ Days + (Days || Subject)", df).state
    np.testing.assert_allclose(as_state(result).theta, ours.theta, rtol=1e-4)


def test_singular_fit_is_taken_over_and_said_to_be_singular():
    result = quiet(smf.mixedlm("Yield ~ 1", interlace.datasets.load("Dyestuff2"), groups="Batch"))
    state = as_state(result)
    assert_same_fit(result, state)
    assert [check.code for check in state.checks] == ["singular"]
    found = 0
    for seed in range(6):
        result = quiet(smf.mixedlm("y ~ x", hostile(seed, singular=True), groups="g", re_formula="~ x"))
        state = as_state(result)
        assert -0.5 * state.criterion == pytest.approx(result.llf, abs=1e-4)
        found += "singular" in [check.code for check in state.checks]
    assert found


def test_no_convergence_is_passed_on():
    result = quiet(smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject"), maxiter=0, method="lbfgs")
    assert not result.converged
    state = as_state(result)
    assert not state.opt.converged
    assert state.checks[0].code == "not-converged"
    assert_same_fit(result, state)


def test_diagnostics_take_it_for_a_fit_of_ours():
    df = hostile(21)
    theirs = quiet(smf.mixedlm("y ~ x", df, groups="g", re_formula="~ x"))
    ours = interlace.fit("y ~ x + (x | g)", df)
    assert theirs.llf == pytest.approx(ours.llf, abs=1e-6)
    for function, *arguments in (
        (diagnostics.hlm_influence,),
        (diagnostics.hlm_influence, "g"),
        (diagnostics.hlm_resid,),
        (diagnostics.hlm_resid, "g"),
        (diagnostics.leverage, "g"),
    ):
        pd.testing.assert_frame_equal(function(theirs, *arguments), function(ours, *arguments), rtol=0.02, atol=1e-3)


def test_anything_else_is_refused():
    model = smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject")
    with pytest.raises(TypeError, match=r"not MixedLM; call its fit\(\) first"):
        as_state(model)
    with pytest.raises(TypeError, match="expected a fitted MixedLM of statsmodels, not RegressionResultsWrapper"):
        linear_state_of(smf.ols("Reaction ~ Days", SLEEP).fit(), "leverage()")
    penalized = sm.MixedLM(model.endog, model.exog, groups=model.groups).fit_regularized(alpha=1.0)
    with pytest.raises(ValueError, match="fit_regularized"):
        as_state(penalized)
    with pytest.raises(ValueError, match="has a penalty"):
        as_state(quiet(model, fe_pen=L2()))


def refused(match, *args, fit=None, **model):
    with pytest.raises(ValueError, match=match):
        as_state(quiet(smf.mixedlm(*args, **model), **(fit or {})))


def test_covariances_that_no_terms_have_are_refused():
    df = SLEEP.assign(square=SLEEP["Days"] ** 2 / 10, all=1)
    given = {"data": df, "groups": "Subject"}
    refused(
        "several columns that are not zero in one row", "Reaction ~ 1", vc_formula={"s": "0 + Days + square"}, **given
    )
    chain = MixedLMParams.from_components(np.ones(1), np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]]))
    refused("no terms of a formula", "Reaction ~ 1", re_formula="~ Days + square", fit={"free": chain}, **given)
    known = MixedLMParams.from_components(np.ones(1), np.zeros((1, 1)))
    refused("no terms of a formula", "Reaction ~ 1", fit={"free": known}, **given)
    known = MixedLMParams.from_components(np.ones(1), np.ones((1, 1)), vcomp=np.zeros(1))
    refused(
        "free= fixed the variance component 's'", "Reaction ~ 1", re_formula="1", vc_formula={"s": "0 + Days"},
        fit={"free": known}, **given,
    )  # fmt: skip
    refused("only one level", "Reaction ~ Days", df, groups="all")


def test_components_of_the_wrong_size_are_refused():
    groups = np.repeat([0, 1, 2], 4)
    rng = np.random.default_rng(1)
    spec = VCSpec(["v"], [[["a"], ["a"], ["a"]]], [[np.ones((4, 1)) for _ in range(3)]])
    result = quiet(sm.MixedLM(rng.normal(size=12), np.ones((12, 1)), groups=groups, exog_vc=spec))
    assert as_state(result).problem.design.terms[0].levels.tolist() == [0, 1, 2]
    spec.mats[0][1] = np.ones((3, 1))
    with pytest.raises(ValueError, match="variance component 'v' has 3 rows for group 1, the data have 4"):
        as_state(result)


def test_estimates_that_do_not_belong_together_are_refused():
    result = quiet(smf.mixedlm("Reaction ~ Days", SLEEP, groups="Subject"))
    result._results.scale *= 1.1
    with pytest.raises(ValueError, match=r"not those that belong to its covariance parameters.*linearly dependent"):
        as_state(result)
    result._results.scale = np.nan
    with pytest.raises(ValueError, match="not finite"):
        as_state(result)
