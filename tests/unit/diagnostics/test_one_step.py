"""Closed forms of deletion with theta held fixed, beside generalized least squares on the rows left."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.diagnostics import one_step
from interlace.diagnostics.one_step import one_step_deletions
from interlace.diagnostics.units import units_of
from interlace.estimate.control import Control
from interlace.estimate.lmm import at_theta
from tests.unit.core.test_cholmod import interface  # noqa: F401  (a fixture)
from tests.unit.diagnostics.dense import dense

NAMES = ("slopes", "weighted", "apart", "crossed", "nested", "no intercept")


def least_squares(state, rows):
    """Coefficients, and their covariance, from the rows left and the covariance matrix of the whole fit."""
    matrices, design = dense(state), state.problem.design
    keep = np.delete(np.arange(design.y.size), rows)
    X, inverse = matrices.X[keep], np.linalg.inv(matrices.V[np.ix_(keep, keep)])
    y = (design.y - (0.0 if design.offset is None else design.offset))[keep]
    C = np.linalg.inv(X.T @ inverse @ X)
    return C @ X.T @ inverse @ y, C


def check(state, subsets):
    found = one_step_deletions(state, subsets)
    assert found.converged.all()
    assert not any(found.messages)
    for i, rows in enumerate(subsets):
        beta, C = least_squares(state, rows)
        size = np.abs(state.beta - beta).max()
        assert_allclose(found.beta[i] - state.beta, beta - state.beta, rtol=0, atol=1e-8 * size + 1e-10)
        assert_allclose(found.beta_cov[i], C, rtol=1e-8)
    assert (found.theta == state.theta).all()
    assert (found.sigma == state.sigma).all()
    assert np.isnan(found.criterion).all()


def only(way, monkeypatch):
    """Leave one way of computing the deletions of sets."""
    if way != "levels":
        monkeypatch.setattr(one_step, "splits_by_level", lambda structure: False)
    if way != "stack":
        monkeypatch.setattr(one_step, "stackable", lambda structure: False)


@pytest.mark.parametrize("large", [400, 3])
@pytest.mark.parametrize("way", ["levels", "stack", "closed form"])
@pytest.mark.parametrize("name", NAMES)
def test_least_squares_on_the_rows_left(models, name, way, large, monkeypatch):
    state = models[name].state
    monkeypatch.setattr(one_step, "_LARGE", large)
    monkeypatch.setattr(one_step, "_WORK", 100 * large)
    only(way, monkeypatch)
    check(state, units_of(state).rows[::7])
    for term in state.problem.design.terms:
        check(state, units_of(state, term.group).rows[::3])
    check(state, [np.array([0, 5, 11]), np.array([2])])


@pytest.mark.parametrize("large", [400, 3])
def test_with_cholmod(models, interface, large, monkeypatch):  # noqa: F811
    monkeypatch.setattr(one_step, "_LARGE", large)
    fitted = models["crossed"].state
    state = at_theta(fitted.problem.design, fitted.theta, reml=True, control=Control(solver="cholmod"))
    assert state.problem.structure.storage.cholmod
    check(state, units_of(state).rows[:5])
    check(state, units_of(state, "sample").rows)


@pytest.mark.parametrize("way", ["levels", "stack", "closed form"])
@pytest.mark.parametrize("large", [400, 1])
def test_rows_that_alone_identify_a_coefficient(way, large, monkeypatch):
    monkeypatch.setattr(one_step, "_LARGE", large)
    only(way, monkeypatch)
    frame = interlace.datasets.load("sleepstudy")
    frame["f"] = np.where(frame["Subject"] == "310", "rare", "usual")
    state = interlace.fit("Reaction ~ f + (1 | Subject)", frame).state
    found = one_step_deletions(state, units_of(state, "Subject").rows[1:4])
    assert found.converged.tolist() == [True, False, True]
    assert found.messages[1] == "the rows do not identify the fixed effects"
    assert np.isnan(found.beta[1]).all()
    assert np.isnan(found.beta_cov[1]).all()
    frame["f"] = np.where(np.arange(180) == 7, "rare", "usual")
    state = interlace.fit("Reaction ~ f + (1 | Subject)", frame).state
    found = one_step_deletions(state, units_of(state).rows)
    assert np.flatnonzero(~found.converged).tolist() == [7]


def test_a_generalized_model_takes_one_newton_step():
    """From P_II and from cross-products alike; that it is the step is tested in test_glmm_projection."""
    fit = interlace.glmer(
        "incidence / size ~ period", interlace.datasets.load("cbpp"), "binomial", groups="herd", weights="size"
    )
    units = units_of(fit.state, "herd")
    stacked = one_step_deletions(fit.state, units.rows)
    projection = one_step.Projection(fit.state)
    for i, rows in enumerate(units.rows):
        P = np.eye(rows.size) - projection.hat_block(rows)
        change = projection.pull[rows].T @ np.linalg.solve(P, projection.residual[rows])
        assert_allclose(fit.state.beta - stacked.beta[i], change, rtol=1e-9, atol=1e-12)
        spread = projection.pull[rows].T @ np.linalg.solve(P, projection.pull[rows])
        assert_allclose(stacked.beta_cov[i], projection.coefficient_cov + spread, rtol=1e-9)
