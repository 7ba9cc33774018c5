"""The deviance and its derivatives against dense formulas and finite differences, also at singular factors."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from interlace.core.objective import Objective
from interlace.core.terms import Term
from tests.problems import KINDS, Array, Problem, dense_value, factors_of, marginal, random_problem, random_theta, term

ONE_BLOCK = ("one", "slopes", "split")
CASES = [(kind, sparse) for kind in KINDS for sparse in (False, True) if not (sparse and kind in ONE_BLOCK)]
every_case = pytest.mark.parametrize(("kind", "sparse"), CASES)
both = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])


def problems(kind: str, count: int = 3) -> list[Problem]:
    return [random_problem(np.random.default_rng([zlib.crc32(kind.encode()), i]), kind) for i in range(count)]


def units(problem: Problem) -> Array:
    return np.eye(problem.n_theta)


def covariance_at(problem: Problem, theta: Array) -> Array:
    return marginal(problem, factors_of(problem, theta))


def block_columns(problem: Problem, members: tuple[tuple[int, slice], ...]) -> tuple[Term, Array]:
    """One of the terms of a block, and the columns of all of them."""
    return problem.terms[members[0][0]], np.concatenate([problem.terms[i].Z for i, _ in members], axis=1)


def singular_thetas(problem: Problem, rng: np.random.Generator) -> list[Array]:
    """Everything zero, and factors that lost their last column."""
    theta = random_theta(rng, problem)
    reduced = []
    for t, L in zip(problem.terms, factors_of(problem, theta), strict=True):
        L[:, -1] = 0.0
        rows, cols = (np.arange(t.k),) * 2 if t.structure == "diagonal" else np.triu_indices(t.k)[::-1]
        reduced.append(L[rows, cols])
    return [np.zeros(problem.n_theta), np.concatenate(reduced)]


@both
@every_case
def test_value_is_the_dense_one(kind, sparse, reml):
    for i, problem in enumerate(problems(kind)):
        objective = Objective(problem.cross_products(sparse=sparse), reml=reml)
        rng = np.random.default_rng(i)
        for theta in (random_theta(rng, problem), *singular_thetas(problem, rng)):
            expected = dense_value(problem, covariance_at(problem, theta), reml=reml)
            assert objective(theta) == pytest.approx(expected, rel=1e-10, abs=1e-8)


@both
@every_case
def test_gradient_in_theta(kind, sparse, reml):
    step = 1e-5
    for i, problem in enumerate(problems(kind)):
        objective = Objective(problem.cross_products(sparse=sparse), reml=reml)
        theta = random_theta(np.random.default_rng(i), problem)
        gradient = objective.derivatives(objective.at(theta)).gradient
        numeric = [(objective(theta + step * u) - objective(theta - step * u)) / (2 * step) for u in units(problem)]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=2e-5)


@both
@every_case
def test_gradient_in_psi(kind, sparse, reml):
    """Symmetric directions E of each block: V moves by Z (I x E) Z', also where L is singular or zero."""
    step = 1e-5
    for i, problem in enumerate(problems(kind, 2)):
        objective = Objective(problem.cross_products(sparse=sparse), reml=reml)
        rng = np.random.default_rng(i)
        for theta in (random_theta(rng, problem), *singular_thetas(problem, rng)):
            e = objective.at(theta)
            gradients = objective.psi_gradients(e, objective.derivatives(e))
            V = covariance_at(problem, theta)
            for block, G in zip(objective.structure.blocks, gradients, strict=True):
                term, Z = block_columns(problem, block.members)
                E = rng.normal(size=G.shape)
                E = E + E.T
                move = (Z @ E @ Z.T) * (term.codes[:, None] == term.codes)
                up, down = (dense_value(problem, V + s * step * move, reml=reml) for s in (1, -1))
                assert (G * E).sum() == pytest.approx((up - down) / (2 * step), rel=2e-6, abs=2e-4)


@every_case
def test_gradient_in_theta_follows_from_the_one_in_psi(kind, sparse):
    """dd/dL = 2 G_Psi L, also for singular L."""
    problem = problems(kind, 1)[0]
    objective = Objective(problem.cross_products(sparse=sparse), reml=True)
    for theta in singular_thetas(problem, np.random.default_rng(5)):
        e = objective.at(theta)
        d = objective.derivatives(e)
        for block, G, L in zip(objective.structure.blocks, objective.psi_gradients(e, d), e.L, strict=True):
            expected = (2.0 * G @ L)[block.rows, block.cols]
            np.testing.assert_allclose(d.gradient[block.slots], expected, rtol=1e-8, atol=1e-8)


def dense_parts(problem: Problem, theta: Array, *, reml: bool) -> tuple[Array, Array]:
    """Average information plus curvature of V, and the observed Hessian, from n x n matrices.

    V is quadratic in theta, so its divided differences are exact derivatives.
    """
    n, p = problem.X.shape
    N, r = n - p if reml else n, problem.n_theta
    V, u = covariance_at(problem, theta), units(problem)
    V_s = [0.5 * (covariance_at(problem, theta + a) - covariance_at(problem, theta - a)) for a in u]
    inverse = np.linalg.inv(V)
    to_x = inverse @ problem.X
    P = inverse - to_x @ np.linalg.solve(problem.X.T @ to_x, to_x.T)
    Q = P if reml else inverse
    Py = P @ problem.y
    sigma2 = float(problem.y @ Py) / N
    G = Q - np.outer(Py, Py) / sigma2
    average, observed = np.empty((r, r)), np.empty((r, r))
    for s in range(r):
        for t in range(r):
            shifted = (
                covariance_at(problem, theta + u[s] + u[t])
                - covariance_at(problem, theta + u[s])
                - covariance_at(problem, theta + u[t])
                + V
            )
            quadratic = float(Py @ V_s[s] @ P @ V_s[t] @ Py) / sigma2
            slopes = float(Py @ V_s[s] @ Py) * float(Py @ V_s[t] @ Py) / (sigma2**2 * N)
            curvature = float((G * shifted).sum())
            average[s, t] = quadratic - slopes + curvature
            observed[s, t] = 2.0 * quadratic - np.trace(Q @ V_s[s] @ Q @ V_s[t]) - slopes + curvature
    return average, observed


@both
@every_case
def test_information_is_average_information_plus_curvature(kind, sparse, reml):
    for i, problem in enumerate(problems(kind, 2)):
        objective = Objective(problem.cross_products(sparse=sparse), reml=reml)
        rng = np.random.default_rng(i)
        for theta in (random_theta(rng, problem), *singular_thetas(problem, rng)):
            e = objective.at(theta)
            information = objective.information(e, objective.derivatives(e))
            expected, _ = dense_parts(problem, theta, reml=reml)
            np.testing.assert_allclose(information, expected, rtol=1e-7, atol=1e-7 * np.abs(expected).max())


@both
@pytest.mark.parametrize("kind", KINDS)
def test_information_differs_from_the_hessian_by_its_trace_term_only(kind, reml):
    """Ties the dense formulas of the test above to finite differences of the library's gradient."""
    problem, step = problems(kind, 1)[0], 1e-5
    objective = Objective(problem.cross_products(), reml=reml)
    theta = random_theta(np.random.default_rng(3), problem)
    up, down = (
        np.array([objective.derivatives(objective.at(theta + s * step * u)).gradient for u in units(problem)])
        for s in (1, -1)
    )
    _, observed = dense_parts(problem, theta, reml=reml)
    np.testing.assert_allclose((up - down) / (2 * step), observed, rtol=1e-5, atol=1e-5 * np.abs(observed).max())


def test_information_where_psi_comes_from_the_gradient_equals_the_exact_one():
    """The short cut through 2 G_Psi L of regular rest factors changes nothing."""
    problem = problems("crossed-slopes", 1)[0]
    objective = Objective(problem.cross_products(), reml=True)
    e = objective.at(random_theta(np.random.default_rng(0), problem))
    fresh, with_psi = objective.derivatives(e), objective.derivatives(e)
    objective.psi_gradients(e, with_psi)
    np.testing.assert_allclose(
        objective.information(e, fresh), objective.information(e, with_psi), rtol=1e-8, atol=1e-8
    )


def test_the_deviance_is_even_in_the_columns_of_a_factor():
    problem = problems("slopes", 1)[0]
    objective = Objective(problem.cross_products(), reml=True)
    theta = random_theta(np.random.default_rng(0), problem)
    block = objective.structure.blocks[0]
    flipped = np.where(block.cols == 0, -theta, theta)
    assert objective(flipped) == pytest.approx(objective(theta), rel=1e-13)


def test_weights_enter_through_their_logarithms():
    problem = problems("one", 1)[0]
    cp = problem.cross_products()
    heavier = type(cp)(**{**cp.__dict__, "log_weights": 3.5})
    theta = np.array([0.7])
    assert Objective(cp, reml=True)(theta) - Objective(heavier, reml=True)(theta) == pytest.approx(3.5)


def test_value_is_infinite_where_rounding_makes_a_block_indefinite():
    """Three columns and one row a level: A is singular, and a huge L makes I + L'AL indefinite in rounding."""
    rng = np.random.default_rng(1)
    n = 60
    Z = rng.normal(size=(n, 3))
    problem = Problem("slopes", (term("g", np.arange(n), Z),), np.ones((n, 1)), rng.normal(size=n))
    objective = Objective(problem.cross_products(), reml=True)
    huge = np.array([1e12, 3e11, -2e11, 1e12, 4e11, 1e12])
    values = [objective(huge * f) for f in np.linspace(1, 2, 40)]
    assert np.inf in values
    assert not np.isnan(values).any()
    assert np.isfinite(objective(huge * 1e-12))


def test_evaluations_are_counted():
    objective = Objective(problems("one", 1)[0].cross_products(), reml=True)
    objective(np.array([1.0]))
    objective.at(np.array([0.5]))
    assert objective.evaluations == 2
