"""Projections of linear models, beside dense matrices; through CHOLMOD too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.core import cholmod
from interlace.diagnostics.projection import Projection
from interlace.estimate.control import Control
from interlace.estimate.lmm import at_theta
from tests.unit.core.test_cholmod import interface  # noqa: F401  (a fixture)
from tests.unit.diagnostics.dense import dense

NAMES = ("slopes", "weighted", "apart", "crossed", "nested", "no intercept")
SOME = np.array([0, 3, 5, 40])


def check(state):
    """On the weighted scale and relative to sigma, everything is W^-1/2 P W^-1/2 and the like."""
    matrices, projection = dense(state), Projection(state)
    root = np.sqrt(matrices.weights)
    P = state.sigma**2 * matrices.P / np.outer(root, root)
    B = matrices.C @ matrices.X.T @ np.linalg.inv(matrices.V) / root
    X = root[:, None] * matrices.X
    assert_allclose(projection.leverage, 1.0 - np.diagonal(P), rtol=0, atol=1e-10)
    assert_allclose(projection.fixed_leverage, np.einsum("np,pn->n", X, B), rtol=0, atol=1e-10)
    assert_allclose(projection.pull, B.T, rtol=0, atol=1e-10 * np.abs(B).max())
    assert_allclose(projection.hat_block(SOME), np.eye(SOME.size) - P[np.ix_(SOME, SOME)], rtol=0, atol=1e-10)
    assert_allclose(projection.residual, root * matrices.e, rtol=0, atol=1e-9 * np.abs(matrices.e).max())
    assert_allclose(projection.coefficient_cov, matrices.C, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_as_dense_matrices(models, name):
    check(models[name].state)


def test_as_dense_matrices_with_cholmod(models, interface):  # noqa: F811
    fitted = models["crossed"].state
    state = at_theta(fitted.problem.design, fitted.theta, reml=True, control=Control(solver="cholmod"))
    assert state.problem.structure.storage.cholmod
    assert isinstance(state.elimination(), cholmod.SparseElimination)
    check(state)


def test_pull_makes_the_coefficients(models):
    state = models["weighted"].state
    design = state.problem.design
    response = np.sqrt(design.weights) * (design.y - design.offset)
    assert_allclose(Projection(state).pull.T @ response, state.beta, rtol=1e-10)


def test_a_row_with_a_coefficient_of_its_own_is_determined(models):
    state = models["slopes"].state
    design = state.problem.design
    own = (np.arange(design.y.size) == 7) * 1.0
    more = replace(design, X=np.column_stack([design.X, own]), x_names=(*design.x_names, "own"))
    projection = Projection(at_theta(more, state.theta, reml=True))
    assert projection.leverage[7] == pytest.approx(1.0, abs=1e-12)
    assert projection.residual[7] == pytest.approx(0.0, abs=1e-9)
