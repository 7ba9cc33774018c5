"""Refits without rows, beside a naive loop of `interlace.fit` on reduced frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.core import batch_refits
from interlace.diagnostics.components import component_names, component_values, variance_columns
from interlace.diagnostics.deletion import Deletions, exact_deletions
from interlace.diagnostics.units import units_of
from interlace.estimate import refits
from interlace.estimate.state import FitState

FORMULAS = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", {}),
    "weighted": ("Reaction ~ Days + (Days | Subject)", {"weights": "w", "offset": "o"}),
    "apart": ("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", {}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", {}),
    "nested": ("strength ~ 1 + (1 | batch / cask)", {"method": "ML"}),
    "no intercept": ("Reaction ~ 0 + Days + (1 | Subject)", {"weights": "w"}),
}


def naive(result, name, rows):
    """The model fitted to the frame without some rows."""
    formula, options = FORMULAS[name]
    frame = result.model.data.frame
    given = {"w": result.model.weights, "o": result.model.offset}
    more = {column: values for column, values in given.items() if values is not None and column not in frame}
    return interlace.fit(formula, frame.assign(**more).drop(frame.index[rows]), **options)


def some_units(state):
    """Every level of every factor, and every ninth row."""
    groups = dict.fromkeys(term.group for term in state.problem.design.terms)
    return [*units_of(state).rows[::9], *(rows for group in groups for rows in units_of(state, group).rows[::3])]


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize("name", FORMULAS)
def test_refits_are_those_of_reduced_frames(models, name):
    result = models[name]
    state = result.state
    subsets = some_units(state)
    found = exact_deletions(state, subsets)
    assert found.converged.all()
    for i, rows in enumerate(subsets):
        other = naive(result, name, rows).state
        assert found.criterion[i] == pytest.approx(other.criterion, abs=1e-7)
        # The distance of two optimizers is measured in standard errors.
        se = np.sqrt(np.diagonal(other.beta_cov))
        assert_allclose((found.beta[i] - other.beta) / se, 0.0, atol=2e-6)
        assert_allclose(found.beta_cov[i], other.beta_cov, rtol=2e-5, atol=2e-5 * np.abs(other.beta_cov).max())
        assert found.sigma[i] == pytest.approx(other.sigma, rel=2e-5)
        assert_allclose(found.theta[i], other.theta, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("optimizer", ["lbfgsb", "bobyqa"])
def test_other_optimizers_find_the_same(models, optimizer):
    if optimizer == "bobyqa":
        pytest.importorskip("pybobyqa")
    state = models["weighted"].state
    subsets = units_of(state, "Subject").rows[:3]
    found, expected = exact_deletions(state, subsets, optimizer=optimizer), exact_deletions(state, subsets)
    assert found.converged.all()
    assert (found.evaluations > expected.evaluations).all()
    assert_allclose(found.criterion, expected.criterion, atol=1e-6)
    assert_allclose(found.beta, expected.beta, rtol=1e-4)
    assert_allclose(found.components, expected.components, rtol=1e-3, atol=1e-2)


def test_the_optimizer_is_that_of_the_fit_unless_told_otherwise():
    fit = interlace.fit(
        "Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"), optimizer="lbfgsb"
    ).state
    rows = units_of(fit, "Subject").rows[:1]
    assert exact_deletions(fit, rows).evaluations == exact_deletions(fit, rows, optimizer="lbfgsb").evaluations
    assert exact_deletions(fit, rows, optimizer="auto").evaluations != exact_deletions(fit, rows).evaluations


def test_few_refits_need_many_evaluations_and_none_stops_short(models):
    """Several starting points of the ordinary optimizer find no lower criterion."""
    for name, most in (("slopes", 6), ("weighted", 7), ("apart", 6), ("crossed", 6)):
        state = models[name].state
        found = exact_deletions(state, units_of(state).rows)
        assert found.evaluations.max() <= most
        assert np.median(found.evaluations) <= 4
        for i in range(0, state.fitted.size, 11):
            keep = np.arange(state.fitted.size) != i
            design = state.problem.design.some_rows(keep)
            starts = [None, np.ones(state.theta.size), 0.2 * np.ones(state.theta.size)]
            best = min(interlace.estimate.lmm.fit_design(design, reml=state.reml, theta0=s).criterion for s in starts)
            assert found.criterion[i] <= best + 1e-7


def test_numbers_do_not_depend_on_the_number_of_processes(models, monkeypatch):
    monkeypatch.setattr(refits, "portion", lambda structure, subsets: 5)
    state = models["weighted"].state
    rows = units_of(state).rows[:12]
    for options in ({}, {"optimizer": "lbfgsb"}):
        one, two = (exact_deletions(state, rows, n_jobs=jobs, **options) for jobs in (1, 2))
        for field in ("beta", "beta_cov", "theta", "sigma", "components", "criterion", "evaluations"):
            np.testing.assert_array_equal(getattr(one, field), getattr(two, field))


def test_progress_goes_to_standard_error(models, capsys):
    state = models["crossed"].state
    exact_deletions(state, units_of(state, "plate").rows, show_progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "deletion" in err
    assert "24/24" in err


@pytest.fixture(scope="module")
def fragile():
    """Without some rows a level of f, the variation of x in the slopes, or nearly everything is gone."""
    rng = np.random.default_rng(8)
    g = np.repeat(list("abcd"), 5)
    frame = pd.DataFrame({"g": g, "f": np.where(np.arange(20) == 3, "rare", "usual"), "y": rng.normal(size=20)})
    frame["x"] = np.where(frame["g"] == "a", np.arange(20.0), 0.0)
    return interlace.fit("y ~ f + (1 | g) + (0 + x | g)", frame).state


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([3], "the rows do not identify the fixed effects"),
        (list(range(5)), "column 'x' of the random effects of 'g' is zero in all rows left"),
        (list(range(5, 20)), "one level of the grouping factor 'g' is left"),
        (list(range(20)), "no level of the grouping factor 'g' is left"),
        ([1, 2, 3, 4, 6, 7, 8, 9, 11, 12, 13, 14, 16, 17, 18, 19], "4 rows are left for 4 random effects of 'g'"),
    ],
)
@pytest.mark.parametrize("optimizer", ["auto", "lbfgsb"])
def test_what_cannot_be_left_out(fragile, rows, message, optimizer):
    found = exact_deletions(fragile, [np.array(rows), np.array([7])], optimizer=optimizer)
    assert found.messages == (message, "")
    assert found.converged.tolist() == [False, True]
    for values in (found.beta, found.beta_cov, found.theta, found.sigma, found.components, found.criterion):
        assert np.isnan(values[0]).all()
        assert np.isfinite(values[1]).all()


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:singular fit")
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize(("seed", "effect"), [(1, 1.0), (2, 1e-4), (17, 0.0)])
def test_a_perfect_fit_without_the_only_row_that_has_a_residual(seed, effect, stacked, monkeypatch):
    """Seed 17: residuals are exactly zero where the refit starts."""
    monkeypatch.setattr(batch_refits, "stackable", lambda structure: stacked)
    rng = np.random.default_rng(seed)
    g, x = np.repeat(np.arange(10), 6), rng.normal(size=60)
    y = 3.0 + x + effect * rng.normal(size=10)[g]
    y[7] += 5.0
    state = interlace.fit("y ~ x + (1 | g)", {"y": y, "x": x, "g": g}).state
    found = exact_deletions(state, [np.array([7]), np.array([8])])
    assert found.converged.tolist() == [False, True]
    assert found.messages[0]
    assert np.isnan(found.sigma[0])


@pytest.mark.filterwarnings("ignore:singular fit")
@pytest.mark.parametrize("outlier", [1e7, 1e10])
@pytest.mark.parametrize("n", [120, 1500])
def test_an_outlier_beside_which_the_others_are_rounding(n, outlier):
    rng = np.random.default_rng(3)
    g, x = np.arange(n) % 12, rng.normal(size=n)
    y = 3.0 + x + rng.normal(size=12)[g] + rng.normal(size=n)
    y[7] = outlier
    frame = pd.DataFrame({"y": y, "x": x, "g": g})
    state = interlace.fit("y ~ x + (1 | g)", frame).state
    other = interlace.fit("y ~ x + (1 | g)", frame.drop(index=7)).state
    found = exact_deletions(state, units_of(state).rows)
    assert found.converged.all()
    assert found.sigma[7] == pytest.approx(other.sigma, rel=1e-9)
    assert_allclose(found.beta[7], other.beta, rtol=1e-9)
    assert_allclose(found.theta[7], other.theta, rtol=1e-7)
    assert np.delete(found.sigma, 7).min() > 0.9 * state.sigma


def test_nothing_can_be_left_out(fragile):
    found = exact_deletions(fragile, [np.arange(20)])
    assert not found.converged.any()
    assert isinstance(found, Deletions)


def test_refits_that_do_not_converge_have_no_estimates(models, monkeypatch):
    from dataclasses import replace

    from interlace.diagnostics import deletion

    def stopped(state, subsets):
        fits = true(state, subsets)
        return replace(fits, converged=np.arange(len(subsets)) != 1, messages=("", "limit reached", ""))

    true = deletion.refit_without
    monkeypatch.setattr(deletion, "refit_without", stopped)
    state = models["slopes"].state
    found = exact_deletions(state, units_of(state, "Subject").rows[:3])
    assert found.messages == ("", "limit reached", "")
    assert np.isnan(found.beta[1]).all()
    assert np.isfinite(found.beta[[0, 2]]).all()
    monkeypatch.setattr(
        deletion,
        "refit_rows",
        lambda state, keep, optimizer: replace(state, opt=replace(state.opt, converged=False, message="")),
    )
    alone = exact_deletions(state, units_of(state, "Subject").rows[:1], optimizer="lbfgsb")
    assert alone.messages == ("the optimizer did not converge",)
    assert np.isnan(alone.sigma).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "newton"}, "optimizer must be one of 'auto', 'lbfgsb', 'bobyqa'; not 'newton'"),
        ({"n_jobs": 0}, "n_jobs must be a whole number"),
        ({"n_jobs": 1.5}, "n_jobs must be a whole number"),
    ],
)
def test_arguments_out_of_range(models, options, message):
    state = models["slopes"].state
    with pytest.raises(ValueError, match=message):
        exact_deletions(state, units_of(state).rows[:1], **options)


def test_names_and_values_of_variance_components(models):
    expected = {
        "slopes": (["sigma2", "D11", "D21", "D22"], [1, 3]),
        "apart": (["sigma2", "D11", "D22"], [1, 2]),
        "crossed": (["sigma2", "D11", "D22"], [1, 2]),
        "no intercept": (["sigma2", "D11"], [1]),
    }
    for name, (names, variances) in expected.items():
        state = models[name].state
        assert component_names(state) == names
        assert variance_columns(state).tolist() == variances
        values = component_values(state, state.theta[None], np.array([state.sigma]), np.array([state.sigma]))[0]
        assert values[0] == pytest.approx(state.sigma**2)
        parts = [np.array(v, ndmin=2) for v in models[name].variance_components.values()]
        triangles = [part.T[np.triu_indices(part.shape[0])] for part in parts]
        assert_allclose(values[1:], np.concatenate(triangles), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_names_of_many_components():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(200, 11)), columns=[f"x{i}" for i in range(11)])
    frame = frame.assign(y=rng.normal(size=200), g=rng.integers(0, 8, 200))
    formula = "y ~ 1 + (1 | g)" + "".join(f" + (0 + x{i} | g)" for i in range(9))
    fit = interlace.fit(formula, frame)
    assert component_names(fit.state)[-2:] == ["D9,9", "D10,10"]


def test_generalized_models_are_refitted_one_by_one():
    fit = interlace.glmer(
        "incidence / size ~ period", interlace.datasets.load("cbpp"), "binomial", groups="herd", weights="size"
    )
    rows = units_of(fit.state, "herd").rows[2]
    found = exact_deletions(fit.state, [rows])
    frame = interlace.datasets.load("cbpp").drop(index=rows)
    other = interlace.glmer("incidence / size ~ period", frame, "binomial", groups="herd", weights="size").state
    assert not isinstance(fit.state, FitState)
    assert component_names(fit.state) == ["D11"]
    assert found.criterion[0] == pytest.approx(other.criterion, abs=1e-6)
    assert_allclose(found.beta[0], other.beta, rtol=1e-4)
    assert_allclose(found.beta_cov[0], other.beta_cov, rtol=1e-3, atol=1e-5)
    assert_allclose(found.components[0], other.theta**2, rtol=1e-3)
