"""Modes and Laplace deviance of generalized linear mixed models against dense formulas and finite differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

import interlace
from interlace.core.covariance import entries
from interlace.core.dispersion import FreeDispersion, FreeTheta, ProfiledDispersion
from interlace.core.families import Binomial, Family, NegativeBinomial, Poisson
from interlace.core.laplace import Laplace
from interlace.core.links import link
from interlace.core.newton import minimize_newton
from interlace.core.pirls import Modes, Pirls
from interlace.core.working import WorkingModel
from tests.problems import KINDS, Problem, factors_of, random_problem, term
from tests.responses import PAIRS

Array = NDArray[np.float64]
RESPONSES = [(Binomial(), "logit"), (Binomial(), "cloglog"), (Binomial(), "probit"), (Poisson(), "log")]
IDS = [f"{family.name}-{name}" for family, name in RESPONSES]
#: Where the linear predictors lie of links that do not take every number.
CENTER = {"identity": 3.0, "inverse": 1.5, "1/mu^2": 1.5, "sqrt": 1.5}
COUNTS = ("poisson", "Negative Binomial")


@dataclass(frozen=True)
class Situation:
    problem: Problem
    response: WorkingModel
    laplace: Laplace
    theta: Array
    beta: Array

    @property
    def x(self) -> Array:
        return np.concatenate([self.theta, self.beta, self.response.extra_start])

    def modes(self) -> Modes:
        return self.laplace.at(self.x)


def situation(
    kind: str,
    family: Family,
    name: str,
    *,
    sparse: bool = False,
    seed: int = 3,
    response: type[WorkingModel] = WorkingModel,
    joint: bool = False,
    size: float = 0.7,
) -> Situation:
    """A random model of a kind; ``joint`` finds beta together with the modes."""
    rng = np.random.default_rng(seed)
    problem = random_problem(rng, kind, n=84)
    structure, rows = problem.layout(sparse=sparse)
    n, p = problem.X.shape
    offset = 0.1 * rng.normal(size=n)
    weights = np.ones(n)
    if isinstance(family, Binomial):
        weights = rng.integers(1, 6, n).astype(float)
        y = rng.binomial(weights.astype(int), 0.45) / weights
        offset += -1.5 if name == "log" else 0.0
    elif family.name.startswith(COUNTS):
        y = rng.poisson(1.5, n).astype(float)
    else:
        y = 0.2 + rng.gamma(2.0, 0.5, n)
    offset += CENTER.get(name, 0.0)
    confined = name in CENTER or (isinstance(family, Binomial) and name == "log")
    small = 0.1 if confined else 1.0
    model = response(family, link(name), y, weights)
    X = problem.X if not joint else np.empty((n, 0))
    laplace = Laplace(Pirls(structure, rows.codes, rows.Z, model, problem.X if joint else None), X, offset)
    theta = size * small * rng.normal(size=problem.n_theta)
    beta = 0.3 * small * rng.normal(size=p) / (1.0 + np.abs(problem.X).max(axis=0) if confined else 1.0)
    return Situation(problem, model, laplace, theta, beta[: X.shape[1]])


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


LAYOUTS = [*((kind, False) for kind in KINDS), ("crossed", True), ("crossed-slopes", True), ("mixed", True)]


def assert_gradient_is_exact(s: Situation) -> None:
    gradient = s.laplace.derivatives(s.modes()).gradient
    assert np.isfinite(gradient).all()
    size = max(1.0, float(np.abs(gradient).max()))
    np.testing.assert_allclose(gradient, slopes(s.laplace, s.x), atol=2e-6 * size)


@every_response
@pytest.mark.parametrize(("kind", "sparse"), LAYOUTS)
def test_gradient_is_exact(kind: str, sparse: bool, family: Family, name: str) -> None:
    assert_gradient_is_exact(situation(kind, family, name, sparse=sparse))


@pytest.mark.parametrize(("family", "name"), PAIRS, ids=[f"{f.name}-{name}" for f, name in PAIRS])
@pytest.mark.parametrize("seed", range(8))
def test_gradient_is_exact_for_every_family_and_link(seed: int, family: Family, name: str) -> None:
    """With the dispersion, or theta of the negative binomial, among the parameters where the family has one."""
    response = WorkingModel
    if family.has_dispersion:
        response = FreeDispersion
    elif isinstance(family, NegativeBinomial):
        response = FreeTheta
    assert_gradient_is_exact(situation(KINDS[seed % len(KINDS)], family, name, seed=seed, response=response))


@pytest.mark.parametrize(
    ("family", "name"),
    [pair for pair in PAIRS if pair[0].has_dispersion],
    ids=lambda value: getattr(value, "name", value),
)
def test_gradient_is_exact_in_the_convention_of_lme4(family: Family, name: str) -> None:
    assert_gradient_is_exact(situation("crossed", family, name, response=ProfiledDispersion))


@every_response
@pytest.mark.parametrize(("kind", "sparse"), LAYOUTS)
def test_gradient_is_exact_with_beta_among_the_modes(kind: str, sparse: bool, family: Family, name: str) -> None:
    s = situation(kind, family, name, sparse=sparse, joint=True)
    assert_gradient_is_exact(s)
    modes = s.modes()
    np.testing.assert_allclose(s.problem.X.T @ modes.working.score, 0.0, atol=1e-6)


@every_response
def test_beta_among_the_modes_has_the_deviance_of_beta_given(family: Family, name: str) -> None:
    s, given = situation("mixed", family, name, joint=True), situation("mixed", family, name)
    modes = s.modes()
    again = given.laplace.at(np.concatenate([s.theta, modes.gamma]))
    assert s.laplace.value(modes) == pytest.approx(given.laplace.value(again), rel=1e-12)


@every_response
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("kind", ["slopes", "nested", "crossed-slopes"])
def test_slopes_in_psi_are_exact_where_a_variance_is_zero(kind: str, joint: bool, family: Family, name: str) -> None:
    s = situation(kind, family, name, joint=joint)
    x = s.x
    for i, block in enumerate(s.laplace.structure.blocks):
        x[block.slots] = 0.0
        modes = s.laplace.at(x)
        G = s.laplace.derivatives(modes).psi[i]
        base, step = s.laplace.value(modes), 1e-4
        for v in (np.eye(block.k)[0], np.ones(block.k)):
            values = []
            for multiple in (1.0, 2.0, 3.0):
                moved = x.copy()
                L = np.zeros((block.k, block.k))
                L[:, 0] = np.sqrt(multiple * step) * v
                moved[block.slots] = L[block.rows, block.cols]
                values.append(s.laplace(moved))
            slope = (-11.0 * base + 18.0 * values[0] - 9.0 * values[1] + 2.0 * values[2]) / (6.0 * step)
            assert v @ G @ v == pytest.approx(slope, rel=1e-4, abs=1e-3)
        x[block.slots] = s.x[block.slots]


def test_a_variance_of_zero_is_no_obstacle() -> None:
    s = situation("crossed-slopes", Binomial(), "logit", size=0.0)
    modes = s.modes()
    assert modes.penalty == 0.0
    assert modes.log_det == 0.0
    assert s.laplace.value(modes) == pytest.approx(s.response.minus_two_loglik(s.problem.X @ s.beta + s.laplace.offset))
    np.testing.assert_allclose(s.laplace.derivatives(modes).gradient[: s.theta.size], 0.0, atol=1e-12)


def test_modes_do_not_depend_on_where_the_search_began() -> None:
    s = situation("mixed", Poisson(), "log")
    first = s.modes()
    s.laplace.at(np.concatenate([20.0 * s.theta, s.beta + 2.0]))
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
    modes = far.at(np.array([5.0, -8.0, *np.zeros(s.beta.size - 1)]))
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
    found = s.laplace.information(modes, s.laplace.derivatives(modes))
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


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
    summary, _, d = minimize_newton(laplace, np.array([0.5, -1.4, -1.0, -1.0, -1.5]))
    assert summary.converged
    assert summary.value == pytest.approx(184.052563749, abs=1e-7)
    assert np.abs(d.gradient).max() < 1e-5
    np.testing.assert_allclose(summary.x[0], 0.64226, atol=1e-4)
    np.testing.assert_allclose(summary.x[1:], [-1.39853, -0.99233, -1.12867, -1.58031], atol=1e-4)
