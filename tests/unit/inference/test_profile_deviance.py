"""Deviances for profiles and rotated bases against dense formulas and finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.core.covariance import entries
from interlace.core.objective import Objective
from interlace.core.scaling import convert_theta
from interlace.core.terms import split_theta
from interlace.estimate.problem import objective
from interlace.inference.profile_basis import effects_first, effects_in_order
from interlace.inference.profile_deviance import Unprofiled, with_known_coefficient, without_a_column
from interlace.inference.profile_restricted import Restricted
from interlace.inference.profile_restrictions import Product
from tests.problems import KINDS, dense_fit, factors_of, frame_of, marginal, random_problem, random_theta


@pytest.fixture(params=KINDS, name="case")
def _case(request):
    rng = np.random.default_rng(KINDS.index(request.param))
    problem = random_problem(rng, request.param)
    theta = random_theta(rng, problem)
    n = problem.y.size
    deviance = Unprofiled(Objective(problem.cross_products(), reml=False), n)
    best = dense_fit(problem, factors_of(problem, theta), reml=False).sigma
    return problem, deviance, np.append(theta, np.log(1.3 * best))


def test_value_is_that_of_the_normal_density(case):
    problem, deviance, x = case
    V = np.exp(2 * x[-1]) * marginal(problem, factors_of(problem, x[:-1]))
    inverse = np.linalg.inv(V)
    beta = np.linalg.solve(problem.X.T @ inverse @ problem.X, problem.X.T @ inverse @ problem.y)
    residual = problem.y - problem.X @ beta
    expected = np.linalg.slogdet(2 * np.pi * V)[1] + residual @ inverse @ residual
    assert_allclose(deviance(x), expected, rtol=1e-11)


def _differences(function, x, h=1e-6):
    return np.array([(function(x + d) - function(x - d)) / (2 * h) for d in h * np.eye(x.size)])


def test_gradient(case):
    _, deviance, x = case
    found = deviance.derivatives(deviance.at(x)).gradient
    assert_allclose(found, _differences(deviance, x), rtol=1e-6, atol=1e-6 * np.abs(found).max())


def test_rows_of_log_sigma_in_the_information_are_exact(case):
    _, deviance, x = case
    point = deviance.at(x)
    H = deviance.information(point, deviance.derivatives(point))
    exact = _differences(lambda x: deviance.derivatives(deviance.at(x)).gradient, x)
    assert_allclose(H[-1], exact[-1], rtol=1e-6, atol=1e-6 * np.abs(exact).max())
    assert_allclose(H, H.T)


def test_information_is_the_profiled_one_once_sigma_is_eliminated(case):
    problem, deviance, x = case
    plain = Objective(problem.cross_products(), reml=False)
    e = plain.at(x[:-1])
    x[-1] = 0.5 * np.log(e.pwrss / problem.y.size)
    point = deviance.at(x)
    H = deviance.information(point, deviance.derivatives(point))
    profiled = H[:-1, :-1] - np.outer(H[-1, :-1], H[-1, :-1]) / H[-1, -1]
    expected = plain.information(e, plain.derivatives(e))
    assert_allclose(profiled, expected, atol=1e-9 * np.abs(expected).max())


def test_information_of_theta(case):
    """Average information given sigma, and the curvature of Psi in theta, from n x n matrices."""
    problem, deviance, x = case
    factors, weight = factors_of(problem, x[:-1]), np.exp(-2 * x[-1])
    inverse = np.linalg.inv(marginal(problem, factors))
    VX = inverse @ problem.X
    P = inverse - VX @ np.linalg.solve(problem.X.T @ VX, VX.T)
    columns, places, psis = [], [], []
    for number, (t, L) in enumerate(zip(problem.terms, factors, strict=True)):
        Z = np.zeros((problem.y.size, t.n_levels, t.k))
        Z[np.arange(problem.y.size), t.codes] = t.Z
        a = np.einsum("nlk,n->lk", Z, P @ problem.y)
        psis.append(np.einsum("nla,nm,mlb->ab", Z, inverse, Z) - weight * a.T @ a)
        for r, c in zip(*entries(t.k, t.structure), strict=True):
            step = np.zeros_like(L)
            step[r, c] = 1.0
            columns.append(np.einsum("nlk,lk->n", Z, a @ (step @ L.T + L @ step.T)))
            places.append((number, r, c))
    D = np.column_stack(columns)
    expected = weight * D.T @ P @ D
    for i, (term, r, c) in enumerate(places):
        for j, (other, row, col) in enumerate(places):
            if term == other and c == col:
                expected[i, j] += 2.0 * psis[term][r, row]
    point = deviance.at(x)
    H = deviance.information(point, deviance.derivatives(point))
    assert_allclose(H[:-1, :-1], expected, atol=1e-8 * np.abs(expected).max())


def test_derivative_by_psi(case):
    """2 G_Psi L is the derivative by L, which theta fills in part."""
    _, deviance, x = case
    point = deviance.at(x)
    d = deviance.derivatives(point)
    for block, G in zip(deviance.structure.blocks, deviance.psi_gradients(point, d), strict=True):
        by_L = 2.0 * G @ block.factor(x)
        assert_allclose(by_L[block.rows, block.cols], d.gradient[block.slots], atol=1e-8 * np.abs(d.gradient).max())
    assert_allclose(deviance.psi_weight(point), np.exp(-2 * x[-1]))


def test_restricted_gradient(case):
    _, deviance, x = case
    restriction = Product(0, 1.0)
    s, z = restriction.split(x)
    fixed = Restricted(deviance, restriction, s)
    d = fixed.derivatives(fixed.at(z))
    assert_allclose(d.gradient, _differences(fixed, z), rtol=1e-6, atol=1e-6 * np.abs(d.gradient).max())
    ends = [Restricted(deviance, restriction, s + h)(z) for h in (1e-6, -1e-6)]
    assert_allclose(d.by_s, (ends[0] - ends[1]) / 2e-6, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "sparse"), [("one", False), ("nested", False), ("crossed-slopes", False), ("crossed-slopes", True)]
)
def test_known_coefficient(kind, sparse):
    problem = random_problem(np.random.default_rng(5), kind)
    cp = problem.cross_products(sparse=sparse)
    p = problem.X.shape[1]
    Q, _ = np.linalg.qr(np.random.default_rng(6).normal(size=(p, p)))
    found = with_known_coefficient(cp, without_a_column(cp.structure), Q[:, 1:], Q[:, 0], 0.7)
    plain = replace(problem, X=problem.X @ Q[:, 1:], y=problem.y - 0.7 * problem.X @ Q[:, 0])
    expected = plain.cross_products(sparse=sparse)
    assert found.structure.p == p - 1
    assert_allclose(found.S, expected.S, atol=1e-10)
    for one, other in zip(found.C, expected.C, strict=True):
        assert_allclose(one, other, atol=1e-10)


def test_rotated_basis(slopes_problem):
    """The same model, and a factor that is triangular in the wanted order of effects."""
    problem, user = slopes_problem
    value = objective(problem)(convert_theta(problem.terms, problem.bases, user, to_user=False))
    for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)):
        turned, triangle = effects_first(problem, 0, order[:2])
        theta = convert_theta(turned.terms, turned.bases, user, to_user=False)
        assert_allclose(objective(turned)(theta), value, rtol=1e-12)
        L = np.tril(theta[np.maximum(triangle.slots, 0)])
        expected = split_theta(problem.shapes, user)[0][list(order)]
        factor = triangle.M @ L
        assert_allclose(factor @ factor.T, expected @ expected.T, rtol=1e-9, atol=1e-12)
        assert (np.diagonal(triangle.M) > 0).all()
        assert_allclose(np.triu(triangle.M, 1), 0.0, atol=1e-14 * np.abs(triangle.M).max())
    turned, triangle = effects_in_order(problem, 0)
    theta = convert_theta(turned.terms, turned.bases, user, to_user=False)
    assert_allclose(
        triangle.M @ np.tril(theta[np.maximum(triangle.slots, 0)]), split_theta(problem.shapes, user)[0], atol=1e-12
    )


@pytest.fixture
def slopes_problem():
    rng = np.random.default_rng(8)
    df = pd.DataFrame({"y": rng.normal(size=120), "x": 50.0 + rng.normal(size=120), "z": 0.01 * rng.normal(size=120)})
    df["g"] = np.arange(120) % 12
    problem = interlace.fit("y ~ x + (x + z | g)", df, method="ML", theta0=[1.0, 0, 0, 1, 0, 1]).state.problem
    return problem, np.array([0.7, 0.02, -3.0, 0.4, 5.0, 11.0])


def test_diagonal_terms_are_not_rotated():
    problem = random_problem(np.random.default_rng(0), "nested3")
    formula, df = frame_of(problem)
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        state = interlace.fit(formula, df, method="ML").state
    number = next(i for i, (k, structure) in enumerate(state.problem.shapes) if structure == "diagonal" and k == 2)
    same, triangle = effects_first(state.problem, number, (1,))
    assert same is state.problem
    assert triangle.slots[0, 1] == triangle.slots[1, 0] == -1
