"""Fits by iteration through the public interface: beside exact fits, with what they report, and what is refused."""

from __future__ import annotations

import pathlib
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace import Control
from interlace.core import cholmod, solvers
from interlace.errors import ModelError
from interlace.estimate import refusals
from interlace.estimate.lmm import prepare
from interlace.frames.build import build_design

ITERATIVE = Control(solver="iterative", probes=8)
FORMULA = "y ~ x + z + (1 | g) + (1 | h)"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    n = 2000
    data = pd.DataFrame({"g": rng.integers(0, 250, n), "h": rng.integers(0, 50, n), "k": rng.integers(0, 20, n)})
    data["x"], data["z"] = rng.normal(size=n), rng.choice(["a", "b"], n)
    data["w"], data["o"] = rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    slopes = data["x"] * (0.4 * rng.normal(size=250)[data["g"]] + 0.3 * rng.normal(size=50)[data["h"]])
    effects = 0.6 * rng.normal(size=250)[data["g"]] + 0.5 * rng.normal(size=50)[data["h"]]
    data["y"] = 1.0 + 0.5 * data["x"] + effects + 0.4 * rng.normal(size=20)[data["k"]] + rng.normal(size=n)
    data["ys"] = data["y"] + slopes
    return data


@pytest.fixture(scope="module")
def pair(frame: pd.DataFrame) -> tuple[interlace.LMMResult, interlace.LMMResult]:
    return interlace.fit(FORMULA, frame, control=ITERATIVE), interlace.fit(FORMULA, frame)


CASES = {
    "reml": (FORMULA, {}),
    "ml": (FORMULA, {"method": "ML"}),
    "weights and offset": (FORMULA, {"weights": "w", "offset": "o"}),
    "three factors": ("y ~ x + (1 | g) + (1 | h) + (1 | k)", {}),
    "slopes": ("ys ~ x + (x | g) + (x | h)", {}),
    "independent slopes": ("ys ~ x + (x || g) + (1 | h) + (0 + x | h)", {"method": "ML"}),
    "no fixed effects": ("y ~ 0 + (1 | g) + (1 | h)", {}),
}


@pytest.mark.parametrize("case", CASES)
def test_as_the_exact_fit(frame: pd.DataFrame, case: str) -> None:
    formula, arguments = CASES[case]
    exact = interlace.fit(formula, frame, **arguments)
    found = interlace.fit(formula, frame, control=ITERATIVE, **arguments)
    errors = found.convergence.monte_carlo
    assert found.converged
    assert errors is not None
    assert 0.0 < errors.criterion < 0.1
    assert abs(found.state.criterion - exact.state.criterion) < 4.0 * errors.criterion
    assert np.all(np.abs(found.theta - exact.theta) < 5.0 * errors.theta + 1e-6)
    assert_allclose(found.theta, exact.theta, atol=3e-4)
    assert_allclose(found.fe_params, exact.fe_params, atol=1e-3 * max(exact.fe_bse, default=1.0))
    assert_allclose(found.fe_bse, exact.fe_bse, rtol=1e-3)


def test_fits_at_the_exact_theta_are_exact_but_for_the_criterion(frame: pd.DataFrame) -> None:
    exact = interlace.fit(FORMULA, frame)
    design = exact.state.problem.design
    found = interlace.estimate.lmm.at_theta(design, exact.theta, reml=True, control=ITERATIVE)
    assert_allclose(found.beta, exact.state.beta, rtol=1e-10)
    assert_allclose(found.beta_cov, exact.state.beta_cov, rtol=1e-9)
    assert found.sigma == pytest.approx(exact.sigma, rel=1e-11)
    for mine, theirs in zip(found.modes, exact.state.modes, strict=True):
        assert_allclose(mine, theirs, atol=1e-10)


def test_more_probes_come_nearer(frame: pd.DataFrame) -> None:
    exact = interlace.fit("y ~ x + (1 | g) + (1 | h) + (1 | k)", frame).state.criterion
    control = Control(solver="iterative", probes=60)
    many = interlace.fit("y ~ x + (1 | g) + (1 | h) + (1 | k)", frame, control=control)
    assert abs(many.state.criterion - exact) < 0.01


def test_a_variance_of_zero(frame: pd.DataFrame) -> None:
    data = frame.assign(y=frame["x"] + np.random.default_rng(1).normal(size=len(frame)))
    data["y"] += 0.7 * np.random.default_rng(2).normal(size=250)[data["g"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", interlace.ConvergenceWarning)
        exact, found = (interlace.fit(FORMULA, data, control=c) for c in (None, ITERATIVE))
    assert exact.is_singular == found.is_singular
    assert_allclose(found.theta, exact.theta, atol=1e-4)


def test_equal_seeds_give_equal_numbers(frame: pd.DataFrame, pair) -> None:
    again = interlace.fit(FORMULA, frame, control=ITERATIVE)
    assert again.llf == pair[0].llf
    assert np.array_equal(again.theta, pair[0].theta)
    other = interlace.fit(FORMULA, frame, control=Control(solver="iterative", probes=8, seed=1))
    assert other.llf != pair[0].llf


def test_what_is_reported(pair) -> None:
    found, exact = pair
    record = found.convergence
    assert (record.solver, record.reason) == ("iterative", "asked for")
    assert set(record.costs) == {"dense", "iterative"}
    assert record.monte_carlo is not None
    assert (record.monte_carlo.probes, record.monte_carlo.seed) == (8, 0)
    assert f"Monte Carlo error {record.monte_carlo.criterion:.2g}" in str(found.summary())
    assert exact.convergence.monte_carlo is None
    assert exact.convergence.solver == "dense"
    assert "Monte Carlo" not in str(exact.summary())


def test_likelihood_ratios_have_common_probes_and_their_error(frame: pd.DataFrame, pair) -> None:
    found, exact = pair
    mine, theirs = (interlace.anova(r, r.update("~ . - z")) for r in pair)
    assert "MC error" not in theirs
    assert mine["MC error"].iloc[1] < 0.1 * found.convergence.monte_carlo.criterion
    assert mine["Chisq"].iloc[1] == pytest.approx(theirs["Chisq"].iloc[1], abs=5.0 * mine["MC error"].iloc[1] + 1e-5)
    without = interlace.ranova(found)
    assert without["LRT"].iloc[1] == pytest.approx(interlace.ranova(exact)["LRT"].iloc[1], abs=0.05)
    assert (without["MC error"].iloc[1:] > 0.0).all()
    assert (interlace.drop1_lrt(found)["MC error"].iloc[1:] < 1e-3).all()
    other = interlace.fit("y ~ x + (1 | g) + (1 | h)", frame, control=Control(solver="iterative", probes=8, seed=9))
    with pytest.raises(ModelError, match=r"different seeds \(9 and 0\)"):
        interlace.anova(found, other)


def test_members_agree_with_the_exact_fit(frame: pd.DataFrame, pair) -> None:
    members = {
        "df": lambda r: r.fe_df,
        "modes": lambda r: r.random_effects["h"],
        "their errors": lambda r: r.random_effects_se["g"],
        "predictions": lambda r: r.predict(frame.head(9), interval="prediction"),
        "leverages": lambda r: interlace.leverage(r).iloc[:, 0],
        "profile": lambda r: r.confint(),
        "Kenward-Roger": lambda r: interlace.anova_table(r, ddf="kenward-roger").iloc[:, 2:4],
        "deletion": lambda r: interlace.influence.hlm_influence(r, level="h", approx=True)["cooksd"],
        "draws": lambda r: r.simulate(2, seed=1),
        "refit": lambda r: r.refit(frame["y"].to_numpy() + frame["x"].to_numpy()).theta,
        "bootstrap": lambda r: r.bootstrap(3, seed=1).to_frame(),
    }
    for name, member in members.items():
        mine, theirs = (np.asarray(member(r), dtype=float) for r in pair)
        assert_allclose(mine, theirs, rtol=2e-4, atol=2e-4, err_msg=name)


def test_saved_and_read_again(pair, tmp_path: pathlib.Path) -> None:
    found = pair[0]
    found.save(tmp_path / "fit.zip")
    read = interlace.load(tmp_path / "fit.zip")
    assert read.llf == found.llf
    assert read.convergence.monte_carlo.criterion == found.convergence.monte_carlo.criterion
    assert_allclose(read.convergence.monte_carlo.theta, found.convergence.monte_carlo.theta, rtol=1e-6)
    assert interlace.anova(read, found.update("~ . - z"))["MC error"].iloc[1] < 1e-3


def test_the_choice_is_by_cost(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    design = build_design(FORMULA, frame)
    monkeypatch.setattr(cholmod, "available", lambda: False)
    monkeypatch.setattr(cholmod, "CONSIDERED_FROM", 10)
    assert prepare(design, reml=True).plan.solver == "dense"
    monkeypatch.setattr(solvers, "PATIENCE", 0.0)
    monkeypatch.setattr(solvers, "_DENSE", 1.0)
    plan = prepare(design, reml=True).plan
    assert plan.solver == "iterative"
    assert "no exact way is estimated to take 0 s" in plan.reason
    assert plan.costs["dense"].seconds > plan.costs["iterative"].seconds
    assert prepare(build_design("y ~ x + (1 | g)", frame), reml=True).plan.solver == "dense"


def test_what_does_not_fit_is_refused_with_numbers(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solvers, "MEMORY", 1e-5)
    monkeypatch.setattr(refusals, "MEMORY", 1e-5)
    with pytest.raises(ModelError, match=r"'g' \(250 levels\), 'h' \(50 levels\) need a dense matrix of order 54 \("):
        interlace.fit(FORMULA, frame, control=Control(solver="dense"))
    with pytest.raises(ModelError, match="even for a solution by iteration"):
        interlace.fit(FORMULA, frame, control=ITERATIVE)


def test_too_many_solutions_are_refused(pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_PATIENCE", 1e-6)
    found = interlace.fit(FORMULA, pair[0].model.data.frame, control=ITERATIVE)
    for ask, what in (
        (lambda: found.random_effects_se, "covariances of the conditional modes need 300 solutions"),
        (lambda: found.predict(se=True), "standard errors of predictions need"),
        (lambda: interlace.leverage(found), "solutions of a system that is solved by iteration"),
    ):
        with pytest.raises(ModelError, match=what):
            ask()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"solver": "fast"}, "solver must be 'auto' or 'dense' or 'cholmod' or 'iterative', got 'fast'"),
        ({"seed": -1}, "seed must be a whole number of at least 0, got -1"),
        ({"probes": 1}, "probes must be a whole number of at least 2, got 1"),
    ],
)
def test_options_are_checked(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Control(**arguments)


def test_cholmod_that_is_not_installed(frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholmod, "available", lambda: False)
    with pytest.raises(ModelError, match='solver="cholmod" needs scikit-sparse'):
        interlace.fit(FORMULA, frame, control=Control(solver="cholmod"))
