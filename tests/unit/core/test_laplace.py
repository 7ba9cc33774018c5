"""Modes and Laplace deviance of generalized linear mixed models against dense formulas and finite differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

import interlace
from interlace.core.covariance import entries
from interlace.core.families import Binomial, Family, Poisson
from interlace.core.laplace import Laplace
from interlace.core.links import link
from interlace.core.newton import newton_step
from interlace.core.pirls import Modes, Pirls
from interlace.core.working import WorkingModel
from tests.problems import KINDS, Problem, factors_of, random_problem, term

Array = NDArray[np.float64]
RESPONSES = [(Binomial(), "logit"), (Binomial(), "cloglog"), (Binomial(), "probit"), (Poisson(), "log")]
IDS = [f"{family.name}-{name}" for family, name in RESPONSES]


@dataclass(frozen=True)
class Situation:
    problem: Problem
    response: WorkingModel
    laplace: Laplace
    theta: Array
    beta: Array

    def modes(self, theta: Array | None = None, beta: Array | None = None) -> Modes:
        return self.laplace.modes(self.theta if theta is None else theta, self.beta if beta is None else beta)

    def deviance(self, theta: Array, beta: Array) -> float:
        return self.laplace.value(self.modes(theta, beta))


def situation(kind: str, family: Family, name: str, *, sparse: bool = False, seed: int = 3) -> Situation:
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, kind, n=84)
    structure, rows = problem.layout(sparse=sparse)
    n = problem.y.size
    if family.name == "poisson":
        y, weights = rng.poisson(1.5, n).astype(float), np.ones(n)
    else:
        weights = rng.integers(1, 6, n).astype(float)
        y = rng.binomial(weights.astype(int), 0.45) / weights
    response = WorkingModel(family, link(name), y, weights)
    offset = 0.1 * rng.normal(size=n)
    laplace = Laplace(Pirls(structure, rows.codes, rows.Z, response), problem.X, offset)
    theta = 0.7 * rng.normal(size=problem.n_theta)
    return Situation(problem, response, laplace, theta, 0.3 * rng.normal(size=problem.X.shape[1]))


def dense(s: Situation, theta: Array) -> tuple[float, Array]:
    """Laplace deviance and linear predictor from n x q matrices and plain Newton steps."""
    columns = []
    for t, L in zip(s.problem.terms, factors_of(s.problem, theta), strict=True):
        block = np.zeros((t.codes.size, t.n_levels, t.k))
        block[np.arange(t.codes.size), t.codes] = t.Z @ L
        columns.append(block.reshape(t.codes.size, -1))
    ZL = np.concatenate(columns, axis=1)
    fixed = s.problem.X @ s.beta + s.laplace.offset
    u = np.zeros(ZL.shape[1])

    def penalized(v: Array) -> float:
        return s.response.minus_two_loglik(fixed + ZL @ v) + float(v @ v)

    for _ in range(200):
        working = s.response.at(fixed + ZL @ u)
        H = ZL.T @ (working.fisher[:, None] * ZL) + np.eye(u.size)
        step = np.linalg.solve(H, ZL.T @ working.score - u)
        while penalized(u + step) > penalized(u) + 1e-9:
            step = 0.5 * step
        u = u + step
    eta = fixed + ZL @ u
    H = ZL.T @ (s.response.at(eta).fisher[:, None] * ZL) + np.eye(u.size)
    return s.response.minus_two_loglik(eta) + float(u @ u) + float(np.linalg.slogdet(H)[1]), eta


every_response = pytest.mark.parametrize(("family", "name"), RESPONSES, ids=IDS)


@every_response
@pytest.mark.parametrize("kind", KINDS)
def test_deviance_and_linear_predictor_are_the_dense_ones(kind: str, family: Family, name: str) -> None:
    s = situation(kind, family, name)
    modes = s.modes()
    assert modes.converged
    deviance, eta = dense(s, s.theta)
    assert s.laplace.value(modes) == pytest.approx(deviance, rel=1e-10)
    np.testing.assert_allclose(modes.eta, eta, atol=1e-7)


def slopes(f, x: Array) -> Array:
    """Sixth-order central differences."""
    h, steps, weights = 2e-3, (-3, -2, -1, 1, 2, 3), (-1, 9, -45, 45, -9, 1)
    out = [sum(w * f(x + k * h * e) for k, w in zip(steps, weights, strict=True)) / (60 * h) for e in np.eye(x.size)]
    return np.array(out)


@every_response
@pytest.mark.parametrize(
    ("kind", "sparse"),
    [*((kind, False) for kind in KINDS), ("crossed", True), ("crossed-slopes", True), ("mixed", True)],
)
def test_gradient_is_exact(kind: str, sparse: bool, family: Family, name: str) -> None:
    s = situation(kind, family, name, sparse=sparse)
    gradient = s.laplace.gradient(s.modes())
    size = max(1.0, float(np.abs(gradient.theta).max()), float(np.abs(gradient.beta).max()))
    by_theta = slopes(lambda theta: s.deviance(theta, s.beta), s.theta)
    by_beta = slopes(lambda beta: s.deviance(s.theta, beta), s.beta)
    np.testing.assert_allclose(gradient.theta, by_theta, atol=1e-6 * size)
    np.testing.assert_allclose(gradient.beta, by_beta, atol=1e-6 * size)


def test_a_variance_of_zero_is_no_obstacle() -> None:
    s = situation("crossed-slopes", Binomial(), "logit")
    theta = np.zeros_like(s.theta)
    modes = s.modes(theta)
    assert modes.penalty == 0.0
    assert modes.log_det == 0.0
    assert s.laplace.value(modes) == pytest.approx(s.response.minus_two_loglik(s.problem.X @ s.beta + s.laplace.offset))
    np.testing.assert_allclose(s.laplace.gradient(modes).theta, 0.0, atol=1e-12)


def test_modes_do_not_depend_on_where_the_search_began() -> None:
    s = situation("mixed", Poisson(), "log")
    first = s.modes()
    s.modes(20.0 * s.theta, s.beta + 2.0)
    again = s.modes()
    np.testing.assert_allclose(again.eta, first.eta, atol=1e-8)
    assert s.laplace.value(again) == pytest.approx(s.laplace.value(first), abs=1e-9)


def test_a_start_far_from_the_modes_is_reached_by_halved_steps() -> None:
    """Counts of hundreds where the first linear predictor says e^-8: a full Newton step would overflow."""
    s = situation("one", Poisson(), "log")
    counts = np.random.default_rng(0).poisson(400.0, s.problem.y.size).astype(float)
    response = WorkingModel(Poisson(), link("log"), counts, np.ones(counts.size))
    pirls = s.laplace.pirls
    far = Laplace(Pirls(pirls.structure, pirls.codes, pirls.Z, response), s.problem.X, s.laplace.offset)
    modes = far.modes(np.array([5.0]), np.array([-8.0, *np.zeros(s.beta.size - 1)]))
    assert modes.converged
    np.testing.assert_allclose(np.exp(modes.eta).mean(), 400.0, rtol=0.2)


@pytest.mark.parametrize("kind", KINDS)
def test_information_is_that_of_the_working_model(kind: str) -> None:
    """Average information h'Z'V^-1 Z h, 2 X'V^-1 X, 2 X'V^-1 Z h and the curvature of Psi, with V = 1/W + Z Psi Z'."""
    s = situation(kind, Poisson(), "log")
    modes = s.modes()
    n, n_theta = s.problem.y.size, s.theta.size
    factors = factors_of(s.problem, s.theta)
    Z, psi = [], []
    for t, L in zip(s.problem.terms, factors, strict=True):
        block = np.zeros((n, t.n_levels, t.k))
        block[np.arange(n), t.codes] = t.Z
        Z.append(block.reshape(n, -1))
        psi.append(np.kron(np.eye(t.n_levels), L @ L.T))
    V = np.diag(1.0 / modes.working.fisher) + sum(z @ p @ z.T for z, p in zip(Z, psi, strict=True))
    inverse = np.linalg.inv(V)
    Zh, curvature, slot = [], np.zeros((n_theta, n_theta)), 0
    for t, L, z in zip(s.problem.terms, factors, Z, strict=True):
        a = (z.T @ modes.working.score).reshape(t.n_levels, t.k)
        ZVZ = (z.T @ inverse @ z).reshape(t.n_levels, t.k, t.n_levels, t.k)
        G = np.einsum("lalb->ab", ZVZ) - a.T @ a
        rows, cols = entries(t.k, t.structure)
        for i, (row, col) in enumerate(zip(rows, cols, strict=True)):
            unit = np.zeros_like(L)
            unit[row, col] = 1.0
            Zh.append(z @ (a @ (unit @ L.T + L @ unit.T).T).reshape(-1))
            for j, (other_row, other_col) in enumerate(zip(rows, cols, strict=True)):
                curvature[slot + i, slot + j] = 2.0 * G[row, other_row] * (col == other_col)
        slot += rows.size
    H, X = np.column_stack(Zh), s.problem.X
    expected = np.block(
        [[H.T @ inverse @ H + curvature, 2.0 * H.T @ inverse @ X], [2.0 * X.T @ inverse @ H, 2.0 * X.T @ inverse @ X]]
    )
    np.testing.assert_allclose(s.laplace.information(modes), expected, atol=1e-7 * np.abs(expected).max())


def test_newton_steps_with_it_find_the_optimum_of_cbpp() -> None:
    """-2 log likelihood 184.05256 (lme4 1.1-31, tolPwrss = 1e-13)."""
    frame = interlace.datasets.load("cbpp")
    X = np.column_stack([np.ones(len(frame)), *(frame["period"] == str(i) for i in (2, 3, 4))]).astype(float)
    herd = frame["herd"].cat.codes.to_numpy().astype(np.int64)
    herds = Problem("cbpp", (term("herd", herd, np.ones((len(frame), 1))),), X, frame["incidence"].to_numpy(float))
    structure, rows = herds.layout()
    size = frame["size"].to_numpy(float)
    response = WorkingModel(Binomial(), link("logit"), herds.y / size, size)
    laplace = Laplace(Pirls(structure, rows.codes, rows.Z, response), X, np.zeros(len(frame)))
    theta, beta = np.array([0.5]), np.array([-1.4, -1.0, -1.0, -1.5])
    for _ in range(20):
        modes = laplace.modes(theta, beta)
        gradient = laplace.gradient(modes)
        step, decrement = newton_step(np.append(gradient.theta, gradient.beta), laplace.information(modes))
        theta, beta = theta + step[:1], beta + step[1:]
    assert decrement < 1e-12
    assert laplace.value(modes) == pytest.approx(184.052563749, abs=1e-7)
    np.testing.assert_allclose(theta, 0.64226, atol=1e-4)
    np.testing.assert_allclose(beta, [-1.39853, -0.99233, -1.12867, -1.58031], atol=1e-4)
