"""Many fits at once against the same fits one by one."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np
import pytest

from interlace.core import batch, batch_newton, batch_proof, batch_small, batch_stack
from interlace.core.batch import KnownFit, inside, minimize_each, minimize_many
from interlace.core.batch_fits import BatchFits
from interlace.core.batch_newton import newton_stack, newton_steps
from interlace.core.batch_objective import BatchObjective
from interlace.core.batch_refits import refit_all, refit_without_rows
from interlace.core.batch_stack import Stack, stackable
from interlace.core.boundary import Escape
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.newton import newton_step
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.start import starting_points
from interlace.core.structure import Structure
from interlace.estimate.problem import LinearProblem
from tests.problems import (
    KINDS,
    Array,
    Problem,
    dense_fit,
    factors_of,
    random_problem,
    random_theta,
    term,
    tiny_problem,
)


def sample(kind: str, seed: int) -> Problem:
    """A problem with orthonormal X and a standardized residual for y, as the estimation prepares it."""
    problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), seed, 41]), kind)
    X = FixedBasis.of(problem.X).forward(problem.X)
    return Problem(kind, problem.terms, X, Response.of(X, problem.y).values)


def laid_out(problem: Problem) -> tuple[Structure, Rows, CrossProducts]:
    structure, rows = problem.layout()
    return structure, rows, CrossProducts.from_rows(structure, rows)


def responses(problem: Problem, rng: np.random.Generator, count: int) -> Array:
    """Standardized responses with random effects of very different sizes, often none."""
    out = []
    for _ in range(count):
        y = rng.normal(size=problem.y.size)
        for t in problem.terms:
            size = float(rng.choice([0.0, 0.1, 0.5, 1.0, 2.0]))
            b = size * rng.normal(size=(t.n_levels, t.k)) @ rng.normal(size=(t.k, t.k))
            y = y + (t.Z * b[t.codes]).sum(axis=1)
        out.append(Response.of(problem.X, y).values)
    return np.array(out).T


def some_subsets(rows: Rows) -> list[np.ndarray]:
    return [np.array([3]), np.flatnonzero(rows.codes[0] == 2), np.array([5, 9, 70]), np.empty(0, dtype=np.int64)]


def without(structure: Structure, rows: Rows, subset: np.ndarray) -> CrossProducts:
    """Cross-products formed from the rows that are left, with nothing taken away."""
    keep = np.setdiff1d(np.arange(rows.n), subset)
    left = Rows([c[keep] for c in rows.codes], [z[keep] for z in rows.Z], rows.Xy[keep])
    return CrossProducts.from_rows(structure, left)


def stacks(problem: Problem, rng: np.random.Generator) -> dict[str, tuple[Stack, list[CrossProducts]]]:
    """Every way to make a stack, with its members made one by one."""
    structure, rows, cp = laid_out(problem)
    Y = responses(problem, rng, 4)
    each = [cp.with_response(replace(rows, Xy=np.column_stack([problem.X, y]))) for y in Y.T]
    subsets = some_subsets(rows)
    shared = Stack.of_responses(cp, rows, Y)
    return {
        "responses": (shared, each),
        "unmapped": (replace(shared, pairs=None), each),
        "parts": (Stack.of_parts(each), each),
        "deletions": (Stack.of_deletions(cp, rows, subsets), [without(structure, rows, s) for s in subsets]),
    }


def one_by_one(stack: Stack, start: Array, *, reml: bool) -> BatchFits:
    return minimize_each((stack.member(b) for b in range(stack.size)), start, reml=reml)


def assert_close(found: Array, expected: Array, tol: float = 1e-10) -> None:
    scale = max(1.0, float(np.abs(expected).max(initial=0.0)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=tol * scale)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_value_gradient_and_information_are_those_of_single_members(kind, reml):
    problem = sample(kind, 0)
    rng = np.random.default_rng(5)
    for stack, members in stacks(problem, rng).values():
        theta = np.array([random_theta(rng, problem) for _ in members])
        theta[0, 0] = 0.0
        many = BatchObjective(stack, reml=reml)
        e = many.at(theta)
        value, slopes = many.value(e), many.slopes(e)
        information = many.information(e, slopes)
        for b, cp in enumerate(members):
            one = Objective(cp, reml=reml)
            e1 = one.at(theta[b])
            d1 = one.derivatives(e1)
            assert value[b] == pytest.approx(one.value(e1), abs=1e-9)
            assert_close(slopes.gradient[b], d1.gradient)
            assert_close(information[b], one.information(e1, d1))
            assert_close(e.solution[b], e1.solution)
            for found, expected in zip(slopes.psi, one.psi_gradients(e1, d1), strict=True):
                assert_close(found[b], expected)
            for found, expected in zip(slopes.a, d1.a, strict=True):
                assert_close(found[b], expected)


@pytest.mark.parametrize("kind", ["slopes", "nested3", "mixed"])
def test_gradient_by_central_differences(kind):
    problem = sample(kind, 1)
    rng = np.random.default_rng(2)
    stack, members = stacks(problem, rng)["deletions"]
    theta = np.array([random_theta(rng, problem) for _ in members])
    objective = BatchObjective(stack, reml=True)
    gradient = objective.slopes(objective.at(theta)).gradient
    for s in range(problem.n_theta):
        step = np.zeros(problem.n_theta)
        step[s] = 1e-5
        ahead, behind = (objective.value(objective.at(theta + sign * step)) for sign in (1, -1))
        np.testing.assert_allclose((ahead - behind) / 2e-5, gradient[:, s], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_members_of_a_stack_are_the_cross_products_that_went_in(kind):
    for stack, members in stacks(sample(kind, 2), np.random.default_rng(7)).values():
        for b, expected in enumerate(members):
            found = stack.member(b)
            assert found.n == expected.n
            assert_close(found.S, expected.S)
            for i in range(stack.structure.n_chain):
                assert_close(found.A[i], expected.A[i])
                assert_close(found.C[i], expected.C[i])
            for key, block in expected.P.items():
                assert_close(found.P[key], block)


def test_a_deleted_group_leaves_exact_zeros():
    structure, rows, cp = laid_out(sample("slopes", 3))
    stack = Stack.of_deletions(cp, rows, [np.flatnonzero(rows.codes[0] == g) for g in range(structure.blocks[0].q)])
    level = np.arange(stack.size)
    assert not stack.A[0][level, level].any()
    assert stack.A[0][level, level - 1].any()


def test_deletions_take_the_weights_along():
    _, rows, cp = laid_out(sample("one", 3))
    logs = np.random.default_rng(1).normal(size=rows.n)
    subsets = [np.array([0, 4]), np.array([7])]
    stack = Stack.of_deletions(replace(cp, log_weights=float(logs.sum())), rows, subsets, logs)
    np.testing.assert_allclose(stack.log_weights, [np.delete(logs, s).sum() for s in subsets])
    assert stack.n.tolist() == [rows.n - 2, rows.n - 1]


def test_stacks_hold_one_structure():
    a, b = (laid_out(sample("one", seed))[2] for seed in (0, 1))
    with pytest.raises(ValueError, match="different structures"):
        Stack.of_parts([a, b])


@pytest.mark.parametrize("kind", KINDS)
def test_optima_are_those_of_single_fits(kind):
    """Near-singular members included: never a worse optimum, and the same theta where it is the same one."""
    shared = 0
    for seed in range(4):
        problem = sample(kind, 10 + seed)
        _, rows, cp = laid_out(problem)
        rng = np.random.default_rng(seed)
        reml = seed % 2 == 0
        start = minimize(
            Objective(cp, reml=reml), starting_points(cp, reml=reml)[0], optimizer="auto", settings=Settings()
        )[0].x
        if seed < 2:
            stack = Stack.of_responses(cp, rows, responses(problem, rng, 8))
        else:
            one_of_each = [np.array([i]) for i in range(4)] + [np.flatnonzero(rows.codes[0] == g) for g in range(4)]
            stack = Stack.of_deletions(cp, rows, one_of_each)
        found = minimize_many(stack, start, reml=reml)
        alone = one_by_one(stack, start, reml=reml)
        assert found.converged.all()
        assert not any(found.messages)
        assert alone.fell_back.all()
        assert (found.value <= alone.value + 1e-8).all()
        same = found.value >= alone.value - 1e-8
        shared += int(same.sum())
        scale = np.maximum(1.0, np.abs(alone.theta).max(axis=1, keepdims=True))
        np.testing.assert_allclose((found.theta / scale)[same], (alone.theta / scale)[same], atol=2e-6)
        np.testing.assert_allclose(found.beta[same], alone.beta[same], atol=1e-6)
        np.testing.assert_allclose(found.sigma[same], alone.sigma[same], rtol=1e-6)
        np.testing.assert_allclose(found.beta_cov[same], alone.beta_cov[same], atol=1e-6)
    assert shared >= 28


def test_likelihoods_with_several_optima_are_started_from_several_points():
    """Without a group, Newton's method comes from the full fit to an optimum that is not the lowest."""
    problem = random_problem(np.random.default_rng([zlib.crc32(b"nested3"), 15, 77]), "nested3")
    X = FixedBasis.of(problem.X).forward(problem.X)
    problem = Problem("nested3", problem.terms, X, Response.of(X, problem.y).values)
    structure, rows, cp = laid_out(problem)
    first, *rivals = starting_points(cp, reml=True)
    start = minimize(Objective(cp, reml=True), first, optimizer="auto", settings=Settings(), rivals=rivals)[0].x
    stack = Stack.of_deletions(cp, rows, [np.flatnonzero(rows.codes[0] == 0)])
    local = newton_stack(BatchObjective(stack, reml=True), inside(structure, start)[None])
    found, alone = minimize_many(stack, start, reml=True), one_by_one(stack, start, reml=True)
    assert local.converged.all()
    assert local.value[0] > found.value[0] + 1.0
    assert found.value[0] == pytest.approx(alone.value[0], abs=1e-8)


def test_few_rows_get_a_second_opinion():
    """Fifteen rows with a regular optimum that is not the lowest: as a response, and as what deletions leave."""
    problem = tiny_problem(np.random.default_rng(1709), "tiny")
    X = FixedBasis.of(problem.X).forward(problem.X)
    problem = Problem("tiny", problem.terms, X, Response.of(X, problem.y).values)
    _, rows, cp = laid_out(problem)
    start = minimize(
        Objective(cp, reml=False), starting_points(cp, reml=False)[0], optimizer="auto", settings=Settings()
    )
    stack = Stack.of_responses(cp, rows, np.column_stack([problem.y, 2.0 * problem.y]))
    local = newton_stack(BatchObjective(stack, reml=False), np.tile(start[0].x, (2, 1)))
    found, alone = minimize_many(stack, start[0].x, reml=False), one_by_one(stack, start[0].x, reml=False)
    assert local.converged.all()
    assert (local.value > found.value + 1.0).all()
    np.testing.assert_allclose(found.value, alone.value, atol=1e-8)
    np.testing.assert_allclose(found.theta, alone.theta, atol=1e-6)
    subsets = [np.array([i]) for i in range(problem.y.size)]
    stack = Stack.of_deletions(cp, rows, subsets)
    found, alone = minimize_many(stack, start[0].x, reml=False), one_by_one(stack, start[0].x, reml=False)
    np.testing.assert_allclose(found.value, alone.value, atol=1e-8)


@pytest.mark.parametrize(("kind", "seed"), [("slopes", 2), ("crossed-slopes", 11)])
def test_long_valleys_of_nearly_singular_factors_are_left(kind, seed):
    """Creeping along them takes more than 70 evaluations, or comes to no end."""
    problem = sample(kind, seed)
    structure, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, responses(problem, np.random.default_rng(1), 20))
    start = inside(structure, starting_points(cp, reml=True)[0])
    runs = newton_stack(BatchObjective(stack, reml=True), np.tile(start, (20, 1)))
    assert runs.converged.all()
    assert runs.evaluations.max() < 40


def balanced(q: int = 12, size: int = 6) -> Problem:
    rng = np.random.default_rng(8)
    codes = np.repeat(np.arange(q), size)
    X = FixedBasis.of(np.ones((q * size, 1))).forward(np.ones((q * size, 1)))
    y = rng.normal(size=q)[codes] + rng.normal(size=q * size)
    return Problem("", (term("g", codes, np.ones((q * size, 1))),), X, Response.of(X, y).values)


def test_balanced_one_way_layout_has_its_closed_form():
    """REML of a balanced one-way layout: variances from the mean squares, 0 where the one between groups is smaller."""
    problem = balanced()
    _, rows, cp = laid_out(problem)
    Y = responses(problem, np.random.default_rng(3), 200)
    found = minimize_many(Stack.of_responses(cp, rows, Y), np.array([1.0]), reml=True)
    means = Y.reshape(12, 6, -1).mean(axis=1)
    within = ((Y.reshape(12, 6, -1) - means[:, None]) ** 2).sum(axis=(0, 1)) / 60
    between = 6.0 * (means**2).sum(axis=0) / 11
    ratio = np.sqrt(np.maximum(between / within - 1.0, 0.0) / 6.0)
    np.testing.assert_allclose(found.theta[:, 0], ratio, atol=1e-7)
    assert 20 < np.count_nonzero(ratio == 0.0) < 180
    assert (found.theta[ratio == 0.0] == 0.0).all()
    assert not found.fell_back.any()


@pytest.mark.parametrize("size", [1e-9, 1e-4, 30.0])
@pytest.mark.parametrize("kind", ["one", "slopes", "crossed"])
def test_poor_starting_points_are_left(kind, size):
    problem = sample(kind, 5)
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, responses(problem, np.random.default_rng(1), 10))
    far = np.full(problem.n_theta, size)
    found, alone = minimize_many(stack, far, reml=True), one_by_one(stack, far, reml=True)
    np.testing.assert_array_less(found.value, alone.value + 1e-8)


def test_singular_factors_are_moved_off_the_boundary_and_others_are_not():
    structure, _, _ = laid_out(sample("slopes", 4))
    k = structure.blocks[0].k
    moved = structure.blocks[0].factor(inside(structure, np.zeros(structure.n_theta)))
    np.testing.assert_allclose(moved, 0.1 * np.eye(k))
    regular = np.zeros(structure.n_theta)
    regular[structure.blocks[0].slots[structure.blocks[0].rows == structure.blocks[0].cols]] = 0.5
    np.testing.assert_array_equal(inside(structure, regular), regular)


def test_diagonal_terms_stay_diagonal_when_they_are_moved_off_the_boundary():
    structure, _, _ = laid_out(sample("nested3", 4))
    for block in structure.blocks:
        L = block.factor(inside(structure, np.zeros(structure.n_theta)))
        np.testing.assert_allclose(L @ L.T, 0.01 * np.eye(block.k), atol=1e-12)


def test_a_start_without_proof_is_left_by_the_boundary_test():
    """Newton alone stays at factors of zero, where the gradient vanishes; the boundary test finds the way out."""
    problem = balanced()
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, np.column_stack([problem.y, 2.0 * problem.y]))
    objective = BatchObjective(stack, reml=True)
    stuck = newton_stack(objective, np.full((2, 1), 1e-14))
    assert stuck.converged.all()
    assert np.abs(stuck.x).max() < 1e-6
    chunk = batch._Chunk(stack, KnownFit(np.array([1.0])), reml=True, settings=Settings())
    freed = chunk.proved(np.arange(2), np.full((2, 1), 1e-14))
    assert freed.converged.all()
    np.testing.assert_allclose(np.abs(freed.x), minimize_many(stack, np.array([1.0]), reml=True).theta, rtol=1e-7)


def test_boundary_test_that_keeps_failing_leaves_members_to_the_ordinary_optimizer():
    problem = balanced()
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, problem.y[:, None])
    chunk = batch._Chunk(stack, KnownFit(np.array([1.0])), reml=True, settings=Settings(max_restarts=0))
    assert not chunk.proved(np.arange(1), np.full((1, 1), 1e-14)).converged.any()


@pytest.mark.parametrize("kind", ["slopes", "mixed"])
def test_results_do_not_depend_on_how_many_are_fitted_together(kind, monkeypatch):
    problem = sample(kind, 6)
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, responses(problem, np.random.default_rng(2), 7))
    start = starting_points(cp, reml=True)[0]
    whole = minimize_many(stack, start, reml=True)
    monkeypatch.setattr(batch, "_TOGETHER", 1)
    parts = minimize_many(stack, start, reml=True)
    np.testing.assert_allclose(parts.value, whole.value, atol=1e-10)
    np.testing.assert_allclose(parts.theta, whole.theta, atol=1e-6)
    assert len(parts.messages) == 7


@pytest.mark.parametrize("limit", ["_MANY", "_HALVINGS"])
def test_members_that_take_too_long_are_fitted_alone(limit, monkeypatch):
    problem = sample("slopes", 7)
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, responses(problem, np.random.default_rng(2), 20))
    start = 50.0 * starting_points(cp, reml=True)[0]
    whole = minimize_many(stack, start, reml=True)
    assert not whole.fell_back.any()
    monkeypatch.setattr(batch_newton, limit, 2 if limit == "_MANY" else -1)
    left = minimize_many(stack, start, reml=True)
    assert left.fell_back.all()
    assert left.converged.all()
    np.testing.assert_allclose(left.value, whole.value, atol=1e-8)


def test_hopeless_members_say_why_and_leave_the_others_alone():
    """No rows, a column that only the deleted rows have, and responses without residuals or with missing values."""
    rng = np.random.default_rng(4)
    codes = np.repeat(np.arange(6), 5)
    lonely = (codes == 2).astype(float)
    raw = np.column_stack([np.ones(30), lonely])
    X = FixedBasis.of(raw).forward(raw)
    y = Response.of(X, rng.normal(size=6)[codes] + rng.normal(size=30)).values
    problem = Problem("", (term("g", codes, np.ones((30, 1))),), X, y)
    _, rows, cp = laid_out(problem)
    deleted = minimize_many(
        Stack.of_deletions(cp, rows, [np.flatnonzero(codes == 2), np.arange(28), np.array([0])]),
        np.array([1.0]),
        reml=True,
    )
    assert deleted.messages == (
        "the rows do not identify the fixed effects",
        "2 rows are too few for 2 fixed effects and a residual variance",
        "",
    )
    assert deleted.converged.tolist() == [False, False, True]
    for values in (deleted.theta, deleted.value, deleted.beta, deleted.beta_cov, deleted.sigma):
        assert np.isnan(values[:2]).all()
        assert np.isfinite(values[2]).all()
    Y = np.column_stack([np.zeros(30), np.where(np.arange(30) == 3, np.nan, y), y])
    replaced = minimize_many(Stack.of_responses(cp, rows, Y), np.array([1.0]), reml=True)
    assert [bool(message) for message in replaced.messages] == [True, True, False]
    assert "residual variance is zero" in replaced.messages[0]
    assert "not finite" in replaced.messages[1]


def test_a_response_without_variation_within_groups_has_no_optimum():
    codes = np.repeat(np.arange(6), 5)
    X = FixedBasis.of(np.ones((30, 1))).forward(np.ones((30, 1)))
    rng = np.random.default_rng(0)
    noise = rng.normal(size=6)[codes] + rng.normal(size=30)
    Y = np.column_stack([Response.of(X, y).values for y in (rng.normal(size=6)[codes], noise)])
    problem = Problem("", (term("g", codes, np.ones((30, 1))),), X, Y[:, 1])
    _, rows, cp = laid_out(problem)
    found = minimize_many(Stack.of_responses(cp, rows, Y), np.array([1.0]), reml=True)
    assert found.converged.tolist() == [False, True]
    assert found.messages == ("the residual variance vanishes", "")


def test_newton_steps_are_those_of_one_member():
    rng = np.random.default_rng(0)
    H = rng.normal(size=(20, 3, 3))
    H = H + H.transpose(0, 2, 1)
    g = rng.normal(size=(20, 3))
    steps, decrements = newton_steps(g, H)
    for b in range(20):
        step, decrement = newton_step(g[b], H[b])
        np.testing.assert_allclose(steps[b], step, rtol=1e-9)
        assert decrements[b] == pytest.approx(decrement, rel=1e-9)


@pytest.mark.parametrize("d", [1, 3, 60])
def test_inverse_factors_leave_out_what_is_not_definite(d):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(5, d, d + 2))
    F = roots @ roots.transpose(0, 2, 1)
    F[3] *= -1.0
    half, logs = batch_small.inverse_factors(F)
    assert np.isnan(half[3]).any()
    assert np.isnan(logs[3]).any()
    for b in (0, 1, 2, 4):
        np.testing.assert_allclose(half[b].T @ half[b] @ F[b], np.eye(d), atol=1e-6)
        assert 2.0 * logs[b].sum() == pytest.approx(np.linalg.slogdet(F[b])[1])


def test_rounding_that_makes_a_determinant_negative_gives_no_deviance():
    D = np.array([[2.0, 3.0], [2.0, -1e-20]])
    np.testing.assert_array_equal(batch_small.log_product(D), [np.log(6.0), np.inf])


def test_a_model_without_fixed_effects():
    codes = np.repeat(np.arange(8), 4)
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(8, 5))[codes] + rng.normal(size=(32, 5))
    problem = Problem("", (term("g", codes, np.ones((32, 1))),), np.empty((32, 0)), Y[:, 0])
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, Y)
    found, alone = minimize_many(stack, np.ones(1), reml=False), one_by_one(stack, np.ones(1), reml=False)
    np.testing.assert_allclose(found.value, alone.value, atol=1e-9)
    assert found.beta.shape == (5, 0)
    assert found.beta_cov.shape == (5, 0, 0)


def test_the_map_of_a_shared_design_is_left_out_where_it_would_be_large(monkeypatch):
    _, rows, cp = laid_out(sample("crossed", 1))
    Y = responses(sample("crossed", 1), np.random.default_rng(0), 3)
    assert Stack.of_responses(cp, rows, Y).pairs is not None
    monkeypatch.setattr(batch_stack, "_MAP_LIMIT", 10)
    assert Stack.of_responses(cp, rows, Y).pairs is None


def test_a_way_off_the_boundary_that_leads_nowhere_is_not_taken(monkeypatch):
    """Rounding may make a direction look like one in which the deviance falls."""
    problem = balanced()
    _, rows, cp = laid_out(problem)
    stack = Stack.of_responses(cp, rows, problem.y[:, None])
    tried = []

    def uphill(*_: object, fraction: float) -> Escape:
        tried.append(fraction)
        return Escape(np.array([0.0]), 1.0)

    monkeypatch.setattr(batch_proof, "find_escape", uphill)
    chunk = batch._Chunk(stack, KnownFit(np.array([1.0])), reml=True, settings=Settings())
    assert chunk.proved(np.arange(1), np.full((1, 1), 1e-14)).converged.all()
    assert tried == [0.25**i for i in range(12)]


def test_large_and_sparse_structures_are_not_stacked(monkeypatch):
    structure, _, _ = laid_out(sample("crossed", 0))
    sparse, _ = sample("crossed", 0).layout(sparse=True)
    assert stackable(structure)
    assert not stackable(sparse)
    monkeypatch.setattr(batch_stack, "_WORK_LIMIT", 10)
    assert not stackable(structure)


@pytest.mark.parametrize("reml", [True, False])
def test_members_that_cannot_be_stacked_are_fitted_one_by_one(reml):
    problem = sample("crossed-slopes", 3)
    _, rows, cp = laid_out(problem)
    Y = responses(problem, np.random.default_rng(6), 4)
    stack = Stack.of_responses(cp, rows, Y)
    sparse, same_rows = problem.layout(sparse=True)
    sparse_cp = CrossProducts.from_rows(sparse, same_rows)
    parts = [sparse_cp.with_response(replace(same_rows, Xy=np.column_stack([problem.X, y]))) for y in Y.T]
    start = starting_points(cp, reml=reml)[0]
    found, expected = minimize_each(parts, start, reml=reml), minimize_many(stack, start, reml=reml)
    np.testing.assert_allclose(found.value, expected.value, atol=1e-8)
    np.testing.assert_allclose(found.theta, expected.theta, atol=1e-5)
    np.testing.assert_allclose(found.beta_cov, expected.beta_cov, atol=1e-7)
    hopeless = minimize_each(
        [cp.with_response(replace(rows, Xy=np.column_stack([problem.X, 0.0 * Y[:, 0]])))], start, reml=reml
    )
    assert hopeless.messages[0].startswith("the fixed effects reproduce")
    assert np.isnan(hopeless.value).all()


def prepared(problem: Problem, raw_X: Array, y: Array, *, reml: bool, sparse: bool = False) -> LinearProblem:
    """What `interlace.estimate.problem.prepare` makes of arrays."""
    basis = FixedBasis.of(raw_X)
    X = basis.forward(raw_X)
    response = Response.of(X, y)
    bases = tuple(TermBasis.of(t) for t in problem.terms)
    inner = Problem(
        "",
        tuple(replace(t, Z=t.Z @ b.M) for t, b in zip(problem.terms, bases, strict=True)),
        X,
        response.values,
    )
    structure, rows = inner.layout(sparse=sparse)
    cp = CrossProducts.from_rows(structure, rows)
    return LinearProblem(None, None, problem.terms, bases, basis, structure, reml, response, rows, cp)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["slopes", "nested3", "crossed-slopes"])
def test_refits_are_in_the_basis_of_the_formula_whatever_is_stacked(kind):
    """Dense and sparse storage take different roads; both give the deviance of the marginal covariance."""
    problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), 9]), kind)
    problem = replace(problem, X=problem.X * 50.0, y=3.0 + 20.0 * problem.y)
    rng = np.random.default_rng(2)
    Y = problem.y[:, None] + 10.0 * rng.normal(size=(problem.y.size, 3))
    sparse = len(problem.terms) > 1 and kind.startswith("crossed")
    for reml in (True, False):
        ready = prepared(problem, problem.X, problem.y, reml=reml, sparse=sparse)
        start = starting_points(ready.cp, reml=reml)[0]
        found = refit_all(ready, Y, start)
        assert found.fell_back.all() == sparse
        for b in range(3):
            one = replace(problem, y=Y[:, b])
            oracle = dense_fit(one, factors_of(one, found.theta[b]), reml=reml)
            assert found.criterion[b] == pytest.approx(oracle.deviance, abs=1e-7)
            np.testing.assert_allclose(found.beta[b], oracle.beta, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(found.beta_cov[b], oracle.beta_cov, rtol=1e-6, atol=1e-10)
            assert found.sigma[b] == pytest.approx(oracle.sigma, rel=1e-8)
        subsets = [np.array([4]), np.flatnonzero(problem.terms[0].codes == 1)]
        less = refit_without_rows(ready, subsets, start)
        for b, subset in enumerate(subsets):
            keep = np.setdiff1d(np.arange(problem.y.size), subset)
            terms = tuple(replace(t, codes=t.codes[keep], Z=t.Z[keep]) for t in problem.terms)
            one = Problem("", terms, problem.X[keep], problem.y[keep])
            oracle = dense_fit(one, factors_of(one, less.theta[b]), reml=reml)
            assert less.criterion[b] == pytest.approx(oracle.deviance, abs=1e-7)
            np.testing.assert_allclose(less.beta[b], oracle.beta, rtol=1e-6, atol=1e-8)
            np.testing.assert_allclose(less.beta_cov[b], oracle.beta_cov, rtol=1e-6, atol=1e-10)


def test_a_response_that_the_fixed_effects_reproduce_is_reported():
    problem = random_problem(np.random.default_rng(0), "one")
    ready = prepared(problem, problem.X, problem.y, reml=True)
    Y = np.column_stack([problem.X @ np.full(problem.X.shape[1], 1e6), problem.y])
    found = refit_all(ready, Y, np.array([1.0]))
    assert found.converged.tolist() == [False, True]
    assert found.messages[0].startswith("the fixed effects reproduce")
    assert np.isnan(found.beta[0]).all()
    assert np.isnan(found.theta[0]).all()
