"""Deletion from generalized models: refits beside fits of reduced frames, one step beside refits."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.diagnostics import deletion, one_step
from interlace.diagnostics.components import component_values
from interlace.diagnostics.deletion import exact_deletions
from interlace.diagnostics.one_step import one_step_deletions
from interlace.diagnostics.units import units_of
from interlace.estimate.glmm_problem import target
from interlace.influence import (
    case_delete,
    cooks_distance,
    covratio,
    dfbetas,
    hlm_influence,
    lme4_influence,
    lmer_influence_measures,
    n_influential,
    rvc,
    tau_gap,
)
from tests import glmm_fits

ILL = "incidence / size ~ period + (1 | herd)"


def prepared():
    frame = interlace.datasets.load("cbpp")
    return frame.assign(log_size=np.log(frame["size"]), w=np.linspace(0.5, 2.0, len(frame)))


#: Function, formula, options, data.
SPECS = {
    "binomial": ("glmer", ILL, {"family": "binomial", "weights": "size"}, prepared),
    "nAGQ=9": ("glmer", ILL, {"family": "binomial", "weights": "size", "nAGQ": 9}, prepared),
    "nAGQ=0": ("glmer", ILL, {"family": "binomial", "weights": "size", "nAGQ": 0}, prepared),
    "cbind": ("glmer", "cbind(incidence, size - incidence) ~ period + (1 | herd)", {"family": "binomial"}, prepared),
    "weights, offset": (
        "glmer",
        "incidence ~ period + (1 | herd)",
        {"family": "poisson", "weights": "w", "offset": "log_size"},
        prepared,
    ),
    "slopes": (
        "glmer",
        "TICKS ~ YEAR + (1 | BROOD) + (cHEIGHT || LOCATION)",
        {"family": "poisson"},
        lambda: interlace.datasets.load("grouseticks").assign(cHEIGHT=lambda d: d["cHEIGHT"] / 50.0),
    ),
    "gamma": (
        "glmer",
        "Reaction ~ Days + (1 | Subject)",
        {"family": "gamma", "link": "log"},
        lambda: interlace.datasets.load("sleepstudy"),
    ),
    "negative binomial": (
        "glmer_nb",
        "TICKS ~ YEAR + cHEIGHT + (1 | LOCATION)",
        {},
        lambda: interlace.datasets.load("grouseticks"),
    ),
}


def fit(name, frame):
    function, formula, options, _ = SPECS[name]
    return getattr(interlace, function)(formula, frame, **options)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize("name", SPECS)
def test_refits_are_those_of_reduced_frames(name):
    frame = SPECS[name][3]()
    state = fit(name, frame).state
    n = state.fitted.size
    group = state.problem.design.terms[0].group
    subsets = [np.array([3]), np.array([n // 2, n - 1]), *units_of(state, group).rows[1:8:6]]
    found = exact_deletions(state, subsets)
    assert found.converged.all()
    for i, rows in enumerate(subsets):
        other = fit(name, frame.drop(index=frame.index[rows])).state
        assert found.criterion[i] == pytest.approx(other.criterion, abs=1e-7)
        se = np.sqrt(np.diagonal(other.beta_cov))
        assert_allclose((found.beta[i] - other.beta) / se, 0.0, atol=1e-5)
        assert_allclose(found.beta_cov[i] / np.outer(se, se), other.beta_cov / np.outer(se, se), atol=2e-5)
        assert found.sigma[i] == pytest.approx(other.sigma, rel=1e-5)
        values = component_values(state, other.theta[None], np.array([other.sigma]), np.array([other.unit]))
        assert_allclose(found.components[i], values[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("optimizer", ["lbfgsb", "bobyqa"])
def test_other_optimizers_find_the_same(optimizer):
    if optimizer == "bobyqa":
        pytest.importorskip("pybobyqa")
    state = glmm_fits.cbpp().state
    rows = units_of(state, "herd").rows[:2]
    found, expected = exact_deletions(state, rows, optimizer=optimizer), exact_deletions(state, rows)
    assert_allclose(found.criterion, expected.criterion, atol=1e-6)
    assert_allclose(found.beta, expected.beta, rtol=1e-3)


@pytest.mark.parametrize("make", [glmm_fits.cbpp, glmm_fits.ticks, glmm_fits.ticks_nb, glmm_fits.reaction])
def test_missing_curvature_completes_the_hessian(make):
    """Second differences of the deviance itself along some directions."""
    state = make().state
    deviance = target(state.problem)
    x = state.opt.x
    modes = deviance.at(x)
    hessian = deviance.information(modes, deviance.derivatives(modes)) + state.missing_curvature
    rng = np.random.default_rng(4)
    for _ in range(4):
        along = np.linalg.solve(np.linalg.cholesky(hessian).T, rng.normal(size=x.size))
        along /= np.linalg.norm(np.linalg.cholesky(hessian).T @ along)
        step = 0.03
        values = [deviance(x + k * step * along) for k in (-2, -1, 0, 1, 2)]
        second = (-values[0] + 16 * values[1] - 30 * values[2] + 16 * values[3] - values[4]) / (12 * step**2)
        assert second == pytest.approx(1.0, abs=2e-4)


# -- one step --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("large", [400, 3])
@pytest.mark.parametrize("make", [glmm_fits.cbpp, glmm_fits.ticks, glmm_fits.reaction])
def test_one_step_is_a_newton_step(make, large, stacked, monkeypatch):
    """In (u, beta), of the penalized log density without the rows, theta and dispersion as they are."""
    state = make().state
    monkeypatch.setattr(one_step, "_LARGE", large)
    if not stacked:
        monkeypatch.setattr(one_step, "stackable", lambda structure: False)
    subsets = [*units_of(state).rows[::50], *units_of(state, state.problem.design.terms[-1].group).rows[::6]]
    found = one_step_deletions(state, subsets)
    assert found.converged.all()
    design, working = state.problem.design, state.model.at(state.eta)
    columns = []
    blocks = np.split(state.theta, state.theta.size)
    for term, (theta,) in zip(design.terms, blocks, strict=True):
        columns.append(theta * state.unit * np.eye(len(term.levels))[term.codes])
    ZL, X = np.concatenate(columns, axis=1), design.X[:, state.kept]
    joint, q = np.concatenate([ZL, X], axis=1), ZL.shape[1]
    penalty = np.diag(np.r_[np.ones(q), np.zeros(X.shape[1])])
    for i, rows in enumerate(subsets):
        left = np.delete(np.arange(X.shape[0]), rows)
        inverse = np.linalg.inv(joint[left].T @ (working.fisher[left, None] * joint[left]) + penalty)
        step = (inverse @ joint[rows].T @ working.score[rows])[q:]
        assert_allclose(state.beta - found.beta[i], step, rtol=0, atol=1e-8 * np.abs(step).max())
        assert_allclose(found.beta_cov[i], inverse[q:, q:], rtol=1e-7, atol=1e-12)


#: Correlation of Cook's distances with those of refits, and error of the largest of them: what was measured is better.
ACCURACY = [
    (glmm_fits.cbpp, 1, 0.98, 0.02),
    (glmm_fits.cbpp, "herd", 0.99, 0.10),
    (glmm_fits.ticks, "LOCATION", 0.98, 0.15),
    (glmm_fits.ticks, "BROOD", 0.98, 0.15),
    (glmm_fits.reaction, "Subject", 0.999, 0.02),
]


@pytest.mark.parametrize(("make", "level", "correlation", "error"), ACCURACY)
def test_one_step_is_near_the_refits(make, level, correlation, error):
    exact, approx = (cooks_distance(make(), level, approx=how) for how in (False, True))
    assert np.corrcoef(exact, approx)[0, 1] > correlation
    assert approx[exact.idxmax()] == pytest.approx(exact.max(), rel=error)
    assert exact.idxmax() in approx.nlargest(3).index


def test_measures_take_the_covariance_that_goes_with_them():
    """Of refits the one that counts theta's uncertainty, of one step the one given theta."""
    result = glmm_fits.cbpp()
    exact, approx = (case_delete(result, "herd"), result.state)
    assert_allclose(exact.measures.beta_cov, result.fe_cov, rtol=1e-12)
    elimination = approx.elimination()
    root = approx.problem.basis.backward(elimination.beta_root)
    given_theta = root @ root.T
    one = hlm_influence(result, "herd", approx=True)
    found = one_step_deletions(approx, units_of(approx, "herd").rows)
    expected = np.linalg.det(found.beta_cov) / np.linalg.det(given_theta)
    assert_allclose(one["covratio"], expected, rtol=1e-9)
    change = result.state.beta - found.beta
    expected = np.einsum("up,pq,uq->u", change, np.linalg.inv(given_theta), change) / 4
    assert_allclose(one["cooksd"], expected, rtol=1e-9)


# -- public functions ------------------------------------------------------------------------------------------------
def test_every_measure_of_a_generalized_model():
    result = glmm_fits.cbpp()
    without = case_delete(result, "herd")
    table = lmer_influence_measures(without, "herd")
    assert table["converged"].all()
    assert np.isfinite(table.to_numpy(dtype=float)).all()
    assert list(table)[:5] == ["cooksd", "mdffits", "covtrace", "covratio", "rvc.D11"]
    V, beta = result.fe_cov.to_numpy(), result.fe_params.to_numpy()
    refit = interlace.glmer(ILL, prepared().query("herd != '8'"), "binomial", weights="size")
    change = beta - refit.fe_params.to_numpy()
    row = table.loc["8"]
    assert row["cooksd"] == pytest.approx(change @ np.linalg.solve(V, change) / 4, rel=1e-4)
    assert row["covratio"] == pytest.approx(np.linalg.det(refit.fe_cov) / np.linalg.det(V), rel=1e-4)
    assert row["rvc.D11"] == pytest.approx(refit.theta[0] ** 2 / result.theta[0] ** 2 - 1.0, rel=1e-4)
    assert_allclose(dfbetas(without).loc["8"], change / refit.fe_bse, rtol=1e-3)
    assert_allclose(lme4_influence(without).dfbetas.loc["8"], -change / refit.fe_bse, rtol=1e-3)
    assert covratio(without)["8"] == row["covratio"]
    assert rvc(without).loc["8", "D11"] == row["rvc.D11"]
    flagged = cooks_distance(without) > 0.3
    assert n_influential(without, cutoff=0.3) == flagged.sum() == 2
    rest = prepared()[~prepared()["herd"].astype(str).isin(flagged.index[flagged])]
    other = interlace.glmer(ILL, rest, "binomial", weights="size")
    assert tau_gap(without, cutoff=0.3).item() == pytest.approx(other.theta[0] / result.theta[0] - 1.0, rel=1e-4)


def test_reduced_models():
    without = case_delete(glmm_fits.cbpp(), "herd")
    frame = prepared()
    other = interlace.glmer(ILL, frame[frame["herd"].astype(str) != "1"], "binomial", weights="size")
    assert_allclose(without.fitted("1"), other.fittedvalues, rtol=1e-5)
    modes = without.random_effects("1")["herd"]
    assert "1" not in modes.index
    assert_allclose(modes, other.random_effects["herd"].loc[modes.index], rtol=1e-4, atol=1e-6)


def test_leverage_adds_up_to_the_effective_degrees_of_freedom():
    """Trace of the smoother of the working response, from the two inverses that define it."""
    result = glmm_fits.cbpp()
    state, table = result.state, interlace.leverage(result)
    w = state.model.at(state.eta).fisher[:, None]
    Z = state.theta[0] * np.eye(15)[state.problem.design.terms[0].codes]
    joint = np.concatenate([Z, state.problem.design.X], axis=1)
    cross = joint.T @ (w * joint)
    penalty = np.diag(np.r_[np.ones(15), np.zeros(4)])
    assert table["overall"].sum() == pytest.approx(np.trace(np.linalg.solve(cross + penalty, cross)), rel=1e-8)
    assert table["fixef"].sum() == pytest.approx(4.0)


# -- what cannot be left out -------------------------------------------------------------------------------------------
def one_is_different(y, x=None):
    """Ten groups of eight rows."""
    frame = pd.DataFrame({"g": np.repeat(list("abcdefghij"), 8), "y": y, "o": np.linspace(-1.0, 1.0, 80)})
    return frame.assign(x=np.random.default_rng(5).normal(size=80) if x is None else x)


def quiet(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)
        return interlace.glmer(*arguments, **options)


def separable():
    """Every row with x = 1 is a success, but row 6."""
    x = np.tile([0, 0, 0, 0, 0, 0, 1, 1], 10)
    chance = np.repeat([0.1, 0.9], 40)
    y = np.where(x == 1, 1, np.random.default_rng(3).random(80) < chance).astype(int)
    y[6] = 0
    return quiet("y ~ x + (1 | g)", one_is_different(y, x), "binomial"), 1, 6


def zeros(family, offset):
    """Only group a has responses that are not zero."""
    y = np.zeros(80, dtype=int)
    y[:8] = [1, 1, 0, 1, 0, 1, 0, 1]
    formula = f"y ~ x {'+ offset(o) ' if offset else ''}+ (1 | g)"
    return quiet(formula, one_is_different(y), family), "g", "a"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (separable, "the fixed effects 'x' separate the response 'y'"),
        (lambda: zeros("binomial", offset=False), r"it is constant \(0 in all rows left\)"),
        (lambda: zeros("poisson", offset=False), r"it is constant \(0 in all rows left\)"),
        (lambda: zeros("binomial", offset=True), "separate the response 'y'"),
        (lambda: zeros("poisson", offset=True), "separate the response 'y'"),
    ],
    ids=["separation", "binomial", "poisson", "binomial, offset", "poisson, offset"],
)
def test_likelihoods_without_a_maximum(make, message):
    result, level, unit = make()
    with pytest.warns(interlace.ConvergenceWarning, match=rf"1 of \d+ units \({unit}\): .*{message}.*Its measures"):
        left_out = case_delete(result, level)
    assert left_out.failed.index.tolist() == [unit]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # and nothing of numpy's own
        table = lmer_influence_measures(left_out)
    numbers = table.drop(columns=["converged", *(name for name in table if name.startswith("leverage"))])
    assert numbers.loc[unit].isna().all()
    assert numbers.drop(index=unit).notna().all(axis=None)
    assert not table.loc[unit, "converged"]


def test_coefficients_without_a_covariance(monkeypatch):
    state = glmm_fits.cbpp().state
    lost = replace(state)
    lost.__dict__["beta_cov"] = np.full((4, 4), np.nan)
    monkeypatch.setattr(deletion, "refit_rows", lambda state, keep, optimizer: lost)
    found = exact_deletions(state, [np.array([0])])
    assert found.messages == ("the fixed effects have no covariance",)
    assert np.isnan(found.beta).all()
    assert not found.converged.any()


def test_all_responses_zero_with_an_offset_is_no_fit():
    with (
        pytest.warns(interlace.ConvergenceWarning, match="separate the response 'y'"),
        pytest.warns(UserWarning, match="every response is 0"),
    ):
        result = interlace.glmer("y ~ x + offset(o) + (1 | g)", one_is_different(0), "poisson")
    assert not result.converged


@pytest.mark.parametrize("approx", [False, True])
def test_periods_and_herds_that_are_gone(approx):
    result, frame = glmm_fits.cbpp(), prepared()
    second = frame.index[frame["period"].astype(str) == "2"].tolist()
    with pytest.warns(interlace.ConvergenceWarning, match=r"1 of 2 units \(period 2\): the rows do not identify"):
        table = hlm_influence(result, 1, delete={"period 2": second, "two rows": [0, 1]}, approx=approx)
    assert table[["cooksd", "mdffits", "covtrace", "covratio"]].isna().all(axis=1).tolist() == [True, False]
    if not approx:
        herds = frame["herd"].astype(str).unique().tolist()
        with pytest.warns(interlace.ConvergenceWarning, match="one level of the grouping factor 'herd' is left"):
            assert cooks_distance(result, "herd", delete=herds[1:]).isna().all()


def test_a_fit_without_a_maximum_has_no_measures():
    y = (np.random.default_rng(3).random(80) < 0.5).astype(int)
    x = np.tile([0, 0, 0, 0, 0, 0, 1, 1], 10)
    result = quiet("y ~ x + (1 | g)", one_is_different(np.where(x == 1, 1, y), x), "binomial")
    with pytest.warns(interlace.ConvergenceWarning, match="10 of 10 units"):
        assert hlm_influence(result, "g")["cooksd"].isna().all()
