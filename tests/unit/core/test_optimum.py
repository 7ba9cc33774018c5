"""Starting values, optimizers and the boundary test."""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from scipy import optimize as scipy_optimize
from threadpoolctl import threadpool_info

from interlace.core import blas, optimize
from interlace.core.boundary import find_escape
from interlace.core.crossproducts import CrossProducts
from interlace.core.newton import minimize_newton, newton_step
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.rivals import few_rows, smaller_points
from interlace.core.scaling import FixedBasis, Response
from interlace.core.start import starting_points
from tests.problems import (
    KINDS,
    Array,
    Problem,
    dense_value,
    factors_of,
    marginal,
    random_problem,
    random_theta,
    term,
    tiny_problem,
)

AUTO = {"optimizer": "auto", "settings": Settings()}


def inner(problem: Problem) -> Problem:
    """The problem with orthonormal X and the standardized residual of y, as the estimation prepares it."""
    X = FixedBasis.of(problem.X).forward(problem.X)
    return Problem(problem.kind, problem.terms, X, Response.of(X, problem.y).values)


def sample(kind: str, seed: int) -> Problem:
    return inner(random_problem(np.random.default_rng([zlib.crc32(kind.encode()), seed, 3]), kind))


def objective_of(problem: Problem, *, reml: bool = True, sparse: bool = False) -> Objective:
    return Objective(problem.cross_products(sparse=sparse), reml=reml)


def one_way(q: int = 15, size: int = 6, *, slope: bool = False) -> Problem:
    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(q), size)
    x = np.tile(np.linspace(-1, 1, size), q)
    Z = np.column_stack([np.ones(q * size), x]) if slope else np.ones((q * size, 1))
    y = (Z * rng.normal(size=(q, Z.shape[1]))[codes]).sum(axis=1) + rng.normal(size=q * size)
    return inner(Problem("", (term("g", codes, Z),), Z, y))


def balanced_crossed() -> Problem:
    rng = np.random.default_rng(4)
    a, b = np.repeat(np.arange(12), 20), np.tile(np.repeat(np.arange(5), 4), 12)
    y = rng.normal(size=12)[a] + 0.5 * rng.normal(size=5)[b] + rng.normal(size=240)
    return inner(Problem("", (term("a", a, np.ones((240, 1))), term("b", b, np.ones((240, 1)))), np.ones((240, 1)), y))


@pytest.mark.parametrize(
    "problem", [one_way(), one_way(slope=True), balanced_crossed()], ids=["one", "slope", "crossed"]
)
def test_start_is_the_reml_estimate_of_balanced_data(problem):
    objective = objective_of(problem)
    start = starting_points(objective.cp, reml=True)[0]
    summary, _ = minimize(objective, np.ones(problem.n_theta), **AUTO)
    np.testing.assert_allclose(start, summary.x, rtol=1e-6)
    d = objective.derivatives(objective.at(start))
    np.testing.assert_allclose(d.gradient, 0.0, atol=1e-8)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_start_is_never_singular_and_never_worse_than_no_random_effects_by_much(kind, sparse):
    if sparse and kind in ("one", "slopes", "split"):
        sparse = False
    for seed in range(8):
        objective = objective_of(sample(kind, seed), sparse=sparse)
        theta = starting_points(objective.cp, reml=True)[0]
        for L in objective.structure.factors(theta):
            assert np.linalg.svd(L, compute_uv=False)[-1] >= 0.05
        assert np.isfinite(objective(theta))


@pytest.mark.parametrize("kind", ["nested", "crossed", "crossed-slopes", "mixed"])
def test_start_does_not_depend_on_the_storage(kind):
    problem = sample(kind, 1)
    dense, sparse = (starting_points(problem.cross_products(sparse=s), reml=True)[0] for s in (False, True))
    np.testing.assert_allclose(np.sort(dense), np.sort(sparse), rtol=1e-9)


def test_start_with_a_constant_response_within_groups():
    """A residual variance of zero within groups leaves the quick start out; what comes instead is finite."""
    codes = np.repeat(np.arange(5), 4)
    y = codes.astype(float) - 2
    problem = inner(Problem("", (term("g", codes, np.ones((20, 1))),), np.ones((20, 1)), y))
    assert np.isfinite(starting_points(problem.cross_products(), reml=True)[0]).all()


@pytest.mark.parametrize("optimizer", ["auto", "lbfgsb", "bobyqa"])
@pytest.mark.parametrize("kind", ["one", "slopes", "nested", "crossed"])
def test_optimizers_agree(kind, optimizer):
    for seed in range(2):
        problem = sample(kind, seed)
        best = min(minimize(objective_of(problem), start, **AUTO)[0].value for start in starts(problem, 4))
        objective = objective_of(problem)
        start = starting_points(objective.cp, reml=True)[0]
        summary, e = minimize(objective, start, optimizer=optimizer, settings=Settings())
        assert summary.converged
        assert summary.value == pytest.approx(best, abs=1e-6)
        assert summary.optimizer == ("newton" if optimizer == "auto" else optimizer)
        assert objective.value(e) == pytest.approx(summary.value, abs=1e-9)
        assert summary.evaluations == objective.evaluations


def starts(problem: Problem, count: int) -> list[Array]:
    rng = np.random.default_rng(17)
    return [random_theta(rng, problem, size) for size in np.geomspace(0.1, 3.0, count)]


@pytest.mark.parametrize("optimizer", ["auto", "lbfgsb", "bobyqa"])
@pytest.mark.parametrize("size", [0.0, 1e-9, 1e-4])
def test_near_zero_starts_are_left(optimizer, size):
    """The gradient vanishes at L = 0 whatever the data; only G_Psi shows the way out."""
    problem = one_way(slope=True)
    best = minimize(objective_of(problem), np.array([1.0, 0.0, 1.0]), **AUTO)[0]
    assert np.abs(best.x).min() > 0.05
    start = size * np.array([1.0, 0.0, 1.0])
    objective = objective_of(problem)
    if size == 0.0:
        assert not objective.derivatives(objective.at(start)).gradient.any()
    summary, _ = minimize(objective, start, optimizer=optimizer, settings=Settings())
    assert summary.value == pytest.approx(best.value, abs=1e-6)
    assert summary.converged


def test_without_restarts_a_start_at_zero_is_reported():
    summary, _ = minimize(objective_of(one_way()), np.zeros(1), optimizer="auto", settings=Settings(max_restarts=0))
    assert not summary.converged
    assert "boundary test" in summary.message


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
def test_no_boundary_is_missed(reml):
    """64 problems, many with variances near zero: every optimum has G_Psi >= 0, and other starts all but never beat it.

    A proven local minimum can still be beaten by another one, which no local test can see; that must stay rare.
    """
    beaten = []
    for kind in KINDS:
        for seed in range(8):
            problem = sample(kind, 100 + seed)
            objective = objective_of(problem, reml=reml)
            summary, e = minimize(objective, starting_points(objective.cp, reml=reml)[0], **AUTO)
            assert summary.converged, (kind, seed)
            d = objective.derivatives(e)
            assert find_escape(objective, e, d, summary.x) is None, (kind, seed)
            for block, G in zip(objective.structure.blocks, objective.psi_gradients(e, d), strict=True):
                for number, where in block.members:
                    G_term = G[where, where]
                    diagonal = problem.terms[number].structure == "diagonal"
                    slopes = np.diagonal(G_term) if diagonal else np.linalg.eigvalsh(G_term)
                    assert slopes.min() > -1e-4 * max(1.0, np.abs(G).max()), (kind, seed)
            others = [minimize_newton(objective, start)[0].value for start in starts(problem, 3)]
            if summary.value > min(others) + 1e-5:
                beaten.append((kind, seed, summary.value - min(others)))
    assert len(beaten) <= 1, beaten


def test_find_escape_sees_the_way_off_and_none_at_an_optimum():
    objective = objective_of(one_way(slope=True))
    theta = np.array([1.0, 0.0, 0.0])
    e = objective.at(theta)
    escape = find_escape(objective, e, objective.derivatives(e), theta, fraction=0.25)
    assert escape is not None
    assert escape.gain > 1.0
    assert objective(escape.x) < objective.value(e)
    summary, e = minimize(objective, escape.x, **AUTO)
    assert find_escape(objective, e, objective.derivatives(e), summary.x) is None


def test_find_escape_respects_the_zeros_of_a_diagonal_term():
    rng = np.random.default_rng(2)
    codes = np.repeat(np.arange(20), 5)
    Z = np.column_stack([np.ones(100), rng.normal(size=100)])
    y = (Z * rng.normal(size=(20, 2))[codes]).sum(axis=1) + rng.normal(size=100)
    objective = objective_of(inner(Problem("", (term("g", codes, Z, "diagonal"),), Z, y)))
    theta = np.zeros(2)
    e = objective.at(theta)
    escape = find_escape(objective, e, objective.derivatives(e), theta)
    assert np.count_nonzero(escape.x) == 1
    summary, _ = minimize(objective, theta, **AUTO)
    assert (summary.x > 0.3).all()


def test_singular_fits_get_a_second_opinion(monkeypatch):
    """A first run that stops at a poor singular point is replaced by the run from identity factors."""
    problem = one_way(slope=True)
    objective = objective_of(problem)
    best = minimize(objective_of(problem), np.ones(3), **AUTO)[0].value
    real = optimize._run_to_proof
    calls = []

    def first_run_is_poor(target, theta, run, settings):
        calls.append(theta)
        summary, e = real(target, theta, run, settings)
        if len(calls) == 1:
            poor = np.array([1.0, 0.5, 0.0])
            e = target.at(poor)
            summary = type(summary)(**{**summary.__dict__, "x": poor, "value": target.value(e)})
        return summary, e

    monkeypatch.setattr(optimize, "_run_to_proof", first_run_is_poor)
    summary, _ = minimize(objective, np.array([0.7, 0.0, 0.7]), **AUTO)
    np.testing.assert_array_equal(calls[1], [1.0, 0.0, 1.0])
    assert summary.value == pytest.approx(best, abs=1e-8)


def test_optimum_has_nonnegative_diagonals_and_true_zeros():
    for kind in KINDS:
        for seed in range(4):
            problem = sample(kind, seed)
            objective = objective_of(problem)
            for start in starts(problem, 2):
                summary, e = minimize(objective, -start, **AUTO)
                for L, at_e in zip(objective.structure.factors(summary.x), e.L, strict=True):
                    assert (np.diagonal(L) >= 0.0).all()
                    lengths = np.linalg.norm(L, axis=0)
                    assert ((lengths == 0.0) | (lengths > 1e-10)).all()
                    np.testing.assert_allclose(L @ L.T, at_e @ at_e.T, atol=1e-12)


def test_derivatives_are_those_at_the_optimum_with_its_signs():
    """From a start with a negative diagonal the optimizer ends at another sign of a column than it reports."""
    objective = objective_of(one_way(slope=True))
    here, _ = minimize(objective, np.array([1.0, 0.0, 1.0]), **AUTO)
    mirrored, _ = minimize(objective, np.array([1.0, 0.0, -1.0]), **AUTO)
    np.testing.assert_allclose(mirrored.x, here.x, rtol=0, atol=1e-7)
    np.testing.assert_allclose(mirrored.hessian, here.hessian, rtol=1e-3, atol=1e-3 * np.abs(here.hessian).max())
    assert np.abs(here.hessian[2, :2]).min() > 1e-2 * np.abs(here.hessian).max()


def test_newton_takes_few_evaluations():
    counts = []
    for kind in KINDS:
        for seed in range(4):
            objective = objective_of(sample(kind, seed))
            summary, *_ = minimize_newton(objective, starting_points(objective.cp, reml=True)[0])
            counts.append(summary.evaluations)
            assert summary.trace[-1][1] == summary.value
            values = np.array([value for _, value in summary.trace])
            assert (np.diff(values) < 1e-9).all()
    assert np.median(counts) <= 12


def test_newton_stops_at_its_limit_and_says_so():
    objective = objective_of(one_way(slope=True))
    summary, *_ = minimize_newton(objective, np.array([10.0, 3.0, 8.0]), max_iterations=1)
    assert not summary.converged
    assert summary.message == "iteration limit reached"
    assert summary.iterations == 1


def test_newton_stops_where_the_residual_variance_vanishes():
    codes = np.repeat(np.arange(10), 4)
    y = np.random.default_rng(0).normal(size=10)[codes]
    problem = inner(Problem("", (term("g", codes, np.ones((40, 1))),), np.ones((40, 1)), y))
    summary, e, _ = minimize_newton(objective_of(problem), np.ones(1))
    assert not summary.converged
    assert "vanishes" in summary.message
    assert e.pwrss < 1e-12 * 40


def test_newton_works_with_little_residual_variance():
    """Intraclass correlation of 1 - 1e-8: the deviance is rounded, the gradient is not; no hunting in the noise."""
    rng = np.random.default_rng(3)
    codes = np.repeat(np.arange(12), 10)
    y = rng.normal(size=12)[codes] + 1e-4 * rng.normal(size=120)
    problem = inner(Problem("", (term("g", codes, np.ones((120, 1))),), np.ones((120, 1)), y))
    objective = objective_of(problem)
    summary, *_ = minimize_newton(objective, np.array([100.0]))
    means = np.bincount(codes, problem.y) / 10
    within = ((problem.y - means[codes]) ** 2).sum() / 108
    between = 10 * means.var(ddof=1)
    assert summary.converged
    assert summary.evaluations < 30
    assert abs(summary.x[0]) == pytest.approx(np.sqrt((between / within - 1) / 10), rel=1e-5)


def test_newton_step_descends_on_an_indefinite_hessian():
    hessian = np.diag([2.0, -4.0, 0.0])
    gradient = np.array([1.0, 1.0, 0.0])
    step, decrement = newton_step(gradient, hessian)
    np.testing.assert_allclose(step, [-0.5, -0.25, 0.0], atol=1e-12)
    assert decrement == pytest.approx(0.75)


def test_first_order_optimizers_are_not_believed_far_from_an_optimum():
    """Where the deviance is flat in rounding, L-BFGS-B and BOBYQA report success at once."""
    problem = sample("crossed", 0)
    for name in ("lbfgsb", "bobyqa"):
        summary, _ = minimize(objective_of(problem), np.array([5e5, 5e5]), optimizer=name, settings=Settings())
        best = minimize(objective_of(problem), np.ones(2), **AUTO)[0].value
        assert not summary.converged or summary.value == pytest.approx(best, abs=1e-5)


def test_bobyqa_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "pybobyqa", None)
    with pytest.raises(ImportError, match=r'pip install "interlace-lme\[bobyqa\]"'):
        minimize(objective_of(one_way()), np.ones(1), optimizer="bobyqa", settings=Settings())


def test_deleting_rows_gives_the_fit_without_them():
    """One structure for all: a level that loses every row keeps its place and gets the mode 0."""
    problem = sample("crossed", 2)
    structure, rows = problem.layout()
    out = problem.terms[0].codes == 3
    taken = type(rows)([c[out] for c in rows.codes], [z[out] for z in rows.Z], rows.Xy[out])
    left = type(rows)([c[~out] for c in rows.codes], [z[~out] for z in rows.Z], rows.Xy[~out])
    whole = CrossProducts.from_rows(structure, rows)
    a, b = whole - CrossProducts.from_rows(structure, taken), CrossProducts.from_rows(structure, left)
    values = [minimize(Objective(cp, reml=True), np.ones(2), **AUTO)[0] for cp in (a, b)]
    assert values[0].value == pytest.approx(values[1].value, abs=1e-8)
    np.testing.assert_allclose(values[0].x, values[1].x, atol=1e-5)


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_blas_is_limited_for_small_matrices_and_restored():
    controller = blas._controller()
    with controller.limit(limits=2, user_api="blas"):
        before = blas_threads()
        with blas.limited(10):
            assert blas_threads() == {1}
        assert blas_threads() == before
        with blas.limited(5000):
            assert blas_threads() == before


def test_blas_is_restored_after_an_error():
    before = blas_threads()
    with pytest.raises(RuntimeError), blas.limited(10):
        raise RuntimeError
    assert blas_threads() == before
    assert blas._controller() is blas._controller()


@pytest.mark.parametrize(
    ("kind", "seed", "reml"),
    [("tiny", 134, True), ("tiny", 1709, False), ("tiny-wide", 903, False)],
)
def test_few_rows_get_a_second_opinion(kind, seed, reml):
    """The moments lead to a regular optimum that is not the lowest; a general optimizer on dense matrices as judge."""
    problem = inner(tiny_problem(np.random.default_rng(seed), kind))
    start = starting_points(problem.cross_products(), reml=reml)[0]
    alone, _ = minimize(objective_of(problem, reml=reml), start, **AUTO)
    better, e = minimize(objective_of(problem, reml=reml), start, **AUTO, rows=problem.y.size)
    judge = min(
        scipy_optimize.minimize(
            lambda theta: dense_value(problem, marginal(problem, factors_of(problem, theta)), reml=reml),
            theta,
            method="L-BFGS-B",
        ).fun
        for theta in starts(problem, 12)
    )
    assert alone.value > judge + 1e-3
    assert better.value == pytest.approx(judge, abs=1e-5)
    assert objective_of(problem, reml=reml).value(e) == pytest.approx(better.value, abs=1e-9)


def test_which_problems_have_few_rows():
    structure = sample("slopes", 0).cross_products().structure
    effects = structure.blocks[0].size
    assert few_rows(structure, 50) == (effects < 50)
    assert not few_rows(structure, 51)
    assert not few_rows(structure, effects)
    assert not few_rows(sample("crossed", 0).cross_products().structure, 40)


def test_more_rows_get_no_second_opinion():
    """Regular fits of ordinary size take no time for it."""
    objective, again = (objective_of(one_way(slope=True)) for _ in range(2))
    start = starting_points(objective.cp, reml=True)[0]
    assert minimize(objective, start, **AUTO, rows=90)[0].evaluations == minimize(again, start, **AUTO)[0].evaluations


@pytest.mark.parametrize("kind", ["slopes", "split", "nested3"])
def test_smaller_points_have_one_direction_less(kind):
    problem = sample(kind, 2)
    structure = problem.cross_products().structure
    theta = random_theta(np.random.default_rng(2), problem)
    small, narrow = smaller_points(structure, theta)
    for block in structure.blocks:
        np.testing.assert_allclose(block.factor(small), 0.1 * np.eye(block.k))
        for _, where in block.members:
            before, after = (np.linalg.svd(block.factor(x)[where, where])[1] ** 2 for x in (theta, narrow))
            factors = np.full(before.size, 0.25)
            if before.size > 1:
                factors[-1] = 0.0025
            np.testing.assert_allclose(after, factors * before + 1e-4, rtol=1e-8)
