"""Solution by iteration: each part against dense linear algebra, and the whole against the exact deviance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.core import conjugate
from interlace.core.crossproducts import CrossProducts
from interlace.core.iterative import IterativeObjective
from interlace.core.iterative_fit import minimize_iteratively
from interlace.core.lanczos import log_krylov
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.posterior import conditional_covariances, modes
from interlace.core.probes import MonteCarlo, Probes, difference_error, signs
from interlace.core.profiled import profiled_deviance
from interlace.core.start import starting_points
from interlace.core.structure import LeadingStorage
from interlace.core.terms import Block, Term
from tests.problems import Problem, random_problem

KINDS = ("crossed", "crossed-slopes", "mixed")
#: More probes than random effects: then there is a unit vector for each of them, and nothing is left to chance.
EXACT = Probes(count=200)


def cross_products(problem: Problem, probes: Probes | None) -> CrossProducts:
    structure, rows = problem.layout(sparse=True)
    storage = LeadingStorage(sparse=True, probes=probes)
    return CrossProducts.from_rows(replace(structure, storage=storage), rows)


def larger(seed: int, kind: str) -> Problem:
    """More levels than :func:`random_problem` has, so that few probes do not span them."""
    rng = np.random.default_rng(seed)
    small = random_problem(rng, kind, n=900)
    terms = []
    for i, term in enumerate(small.terms):
        q = (150, 40, 25, 12)[i]
        codes = np.concatenate([np.arange(q), rng.integers(0, q, 900 - q)])
        terms.append(replace(term, codes=rng.permutation(codes), n_levels=q))
    y = small.y + sum((rng.normal(size=(t.n_levels, t.k)) * t.Z.std()).sum(axis=1)[t.codes] for t in terms)
    return replace(small, terms=tuple(terms), y=np.asarray(y))


def spd(rng: np.random.Generator, m: int, spread: float) -> np.ndarray:
    half = rng.normal(size=(m, m)) * spread / np.sqrt(m)
    return np.eye(m) + half @ half.T


def test_conjugate_gradients_solve_every_right_hand_side() -> None:
    rng = np.random.default_rng(0)
    F = spd(rng, 60, 4.0)
    B = rng.normal(size=(60, 5))
    B[:, 2] = 0.0
    X, solved = conjugate.solve(lambda x: F @ x, lambda r: r / np.diagonal(F)[:, None], B)
    assert solved
    assert_allclose(X, np.linalg.solve(F, B), atol=1e-10)


def test_conjugate_gradients_say_when_they_fail() -> None:
    F = np.diag([1.0, -1.0])
    with np.errstate(all="ignore"):
        _, solved = conjugate.solve(lambda x: F @ x, lambda r: r, np.ones((2, 1)))
    assert not solved


@pytest.mark.parametrize("spread", [0.1, 1.0, 10.0])
def test_lanczos_forms_are_those_of_the_dense_logarithm(spread: float) -> None:
    rng = np.random.default_rng(1)
    B, Z = spd(rng, 80, spread), rng.normal(size=(80, 3))
    values, vectors = np.linalg.eigh(B)
    f = (vectors * (np.log(values) - (values - 1.0))) @ vectors.T
    found = log_krylov(lambda x: B @ x, Z)
    assert_allclose(found.forms(), np.einsum("is,ij,js->s", Z, f, Z), rtol=1e-9)
    assert_allclose(found.products(), f @ Z, atol=1e-7 * np.abs(f @ Z).max())


def test_lanczos_derivative_is_a_difference_of_forms() -> None:
    rng = np.random.default_rng(2)
    B, Z = spd(rng, 50, 2.0), rng.normal(size=(50, 4))
    change = spd(rng, 50, 1.0) - np.eye(50)
    weights = np.array([1.0, 0.5, 0.0, 2.0])
    x, g = log_krylov(lambda v: B @ v, Z).derivative(weights)
    h = 1e-5
    above, below = (log_krylov(lambda v, s=s: (B + s * h * change) @ v, Z).forms() for s in (1.0, -1.0))
    expected = float(weights @ (above - below)) / (2.0 * h)
    assert float(g @ np.einsum("ir,ij,jr->r", x, change, x)) == pytest.approx(expected, rel=1e-7)


def test_lanczos_stops_in_an_invariant_subspace() -> None:
    B = np.diag([2.0, 2.0, 2.0, 5.0])
    Z = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    expected = [np.log(2.0) - 1.0, 3.0 * (np.log(2.0) - 1.0) + np.log(5.0) - 4.0]
    assert_allclose(log_krylov(lambda x: B @ x, Z).forms(), expected, rtol=1e-12)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("kind", KINDS)
def test_as_the_dense_path_when_nothing_is_left_to_chance(kind: str, reml: bool) -> None:
    problem = random_problem(np.random.default_rng(11), kind)
    dense = Objective(cross_products(problem, None), reml=reml)
    target = IterativeObjective(cross_products(problem, EXACT), reml=reml)
    theta = np.random.default_rng(5).normal(0.8, 0.3, problem.n_theta)
    e, f = dense.at(theta), target.at(theta)
    d, g = dense.derivatives(e), target.derivatives(f)
    assert target.value(f) == pytest.approx(dense.value(e), abs=1e-8)
    assert_allclose(g.gradient, d.gradient, atol=1e-6)
    assert_allclose(f.beta, e.beta, atol=1e-10)
    assert_allclose(f.beta_root @ f.beta_root.T, e.beta_root @ e.beta_root.T, rtol=1e-9, atol=1e-12)
    assert_allclose(target.information(f, g), dense.information(e, d), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(target.psi_gradients(f, g), dense.psi_gradients(e, d), strict=True):
        assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(modes(f), modes(e), strict=True):
        assert_allclose(mine, theirs, atol=1e-9)
    for mine, theirs in zip(conditional_covariances(f), conditional_covariances(e), strict=True):
        assert_allclose(mine, theirs, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_singular_factors_pass_or_fail_the_boundary_test_as_on_the_dense_path(kind: str) -> None:
    problem = random_problem(np.random.default_rng(3), kind)
    dense = Objective(cross_products(problem, None), reml=True)
    target = IterativeObjective(cross_products(problem, EXACT), reml=True)
    theta = np.zeros(problem.n_theta)
    theta[0] = 0.7
    e, f = dense.at(theta), target.at(theta)
    for mine, theirs in zip(
        target.psi_gradients(f, target.derivatives(f)), dense.psi_gradients(e, dense.derivatives(e)), strict=True
    ):
        assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("probes", [Probes(count=6), Probes(count=6, searched=5)], ids=["probes", "searched"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_the_estimated_criterion(kind: str, probes: Probes) -> None:
    """Not another estimate: differences of the very same function."""
    problem = larger(4, kind)
    target = IterativeObjective(cross_products(problem, probes), reml=True)
    theta = np.random.default_rng(6).normal(0.8, 0.2, problem.n_theta)
    gradient = target.derivatives(target.at(theta)).gradient
    h = 1e-5
    differences = [(target(theta + step) - target(theta - step)) / (2.0 * h) for step in h * np.eye(theta.size)]
    assert_allclose(gradient, differences, atol=2e-5 * np.abs(gradient).max())


def test_the_reported_error_is_the_error() -> None:
    """Of criteria with many seeds: spread as reported, and centered at the exact one."""
    problem = larger(8, "crossed-slopes")
    dense = Objective(cross_products(problem, None), reml=False)
    theta = np.full(problem.n_theta, 0.8)
    exact, off, reported = dense(theta), [], []
    for seed in range(60):
        target = IterativeObjective(cross_products(problem, Probes(seed=seed, count=8)), reml=False)
        e = target.at(theta)
        off.append(target.value(e) - exact)
        reported.append(target.criterion_error(e))
    spread = float(np.std(off))
    assert 0.0 < spread < 0.5
    assert abs(np.mean(off)) < 4.0 * spread / np.sqrt(60)
    assert np.sqrt(np.mean(np.square(reported))) == pytest.approx(spread, rel=0.5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_that_of_the_exact_deviance_within_its_errors(kind: str) -> None:
    problem = larger(9, kind)
    dense, cp = Objective(cross_products(problem, None), reml=True), cross_products(problem, Probes(count=12))
    start = starting_points(cp, reml=True)[0]
    exact, _ = minimize(dense, start, optimizer="auto", settings=Settings())
    found, e = minimize_iteratively(cp, start, reml=True, optimizer="auto", settings=Settings())
    errors = found.monte_carlo
    assert found.converged
    assert errors is not None
    assert abs(found.value - exact.value) < 4.0 * errors.criterion + 1e-6
    assert errors.criterion < 0.2
    assert_allclose(found.x, exact.x, atol=0.02)
    assert np.all(np.abs(found.x - exact.x) < 5.0 * np.sqrt(np.diagonal(errors.theta_cov)) + 2e-5)
    assert e.structure.storage.probes == errors.probes
    assert profiled_deviance(e.objective.cp, reml=True)(found.x) == pytest.approx(found.value, abs=1e-7)


def test_signs_belong_to_the_levels() -> None:
    none = np.empty(0, dtype=np.int64)
    a, b, c = (Block(q, k, none, none, none, ()) for q, k in ((30, 1), (20, 2), (20, 1)))
    probes = Probes(seed=3, count=5)
    together = signs([a, b, c], probes)
    assert np.array_equal(together[30:70], signs([b], probes))
    assert not np.array_equal(together[30:70].reshape(20, 2, 5)[:, 0], together[70:])
    assert not np.array_equal(signs([a], probes), signs([a], replace(probes, seed=4)))
    assert not np.array_equal(signs([a], probes), signs([a], probes, purpose=1))
    assert abs(together.mean()) < 0.2


def test_errors_of_a_difference() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=40)
    a = MonteCarlo(Probes(count=40), shared, np.eye(1))
    b = MonteCarlo(Probes(count=40), shared + 0.01 * rng.normal(size=40), np.eye(1))
    apart = np.std(a.values - b.values, ddof=1) / np.sqrt(40)
    assert difference_error(a, b) == pytest.approx(apart, rel=1e-6)
    assert difference_error(a, None) == a.criterion
    assert difference_error(None, None) == 0.0
    with pytest.raises(ValueError, match="different seeds"):
        difference_error(a, replace(b, probes=Probes(seed=1)))


def test_regions_that_hardly_mix_are_found() -> None:
    """As many nearly singular directions as regions: probes alone would need to be many, searching finds them."""
    rng = np.random.default_rng(2)
    n, regions = 6000, 12
    pupil = rng.integers(0, 600, n)
    school = np.where(rng.random(n) < 0.01, rng.integers(0, regions, n), pupil % regions) * 20 + rng.integers(0, 20, n)
    pupil, school = np.append(pupil, np.arange(600)), np.append(school, np.arange(600) % 240)
    one, x = np.ones((n + 600, 1)), rng.normal(size=n + 600)
    terms = (Term("pupil", pupil, one, 600, "unstructured"), Term("school", school, one, 240, "unstructured"))
    y = rng.normal(size=n + 600) + 0.6 * rng.normal(size=600)[pupil] + 0.5 * rng.normal(size=240)[school]
    problem = Problem("crossed", terms, np.column_stack([one, x]), y)
    cp = cross_products(problem, Probes())
    theta = np.array([0.6, 0.5])
    few = IterativeObjective(cp, reml=True)
    assert few.criterion_error(few.at(theta)) > 0.2
    found, _ = minimize_iteratively(cp, theta, reml=True, optimizer="auto", settings=Settings())
    exact = Objective(cross_products(problem, None), reml=True)(found.x)
    assert found.monte_carlo is not None
    assert found.monte_carlo.probes.searched == 64
    assert found.monte_carlo.criterion < 0.01
    assert abs(found.value - exact) < 4.0 * found.monte_carlo.criterion
