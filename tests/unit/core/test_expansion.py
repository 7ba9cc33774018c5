"""Downdates and expansions, beside dense formulas and the ordinary optimizer on what is left."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.core import batch_refits, expansion, nearby
from interlace.core.batch import local_optima, minimize_many
from interlace.core.batch_refits import refit_without_rows
from interlace.core.batch_stack import Stack
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.downdates import downdates, hat_blocks, pull, residuals
from interlace.core.expansion import expanded, lattice_size
from interlace.core.nearby import known_fit
from interlace.core.objective import Objective
from interlace.core.optimize import Settings
from interlace.estimate.refits import portions, refit_without
from tests.problems import Problem, random_problem, tiny_problem


def without(rows: Rows, some: np.ndarray) -> Rows:
    keep = np.delete(np.arange(rows.n), some)
    return Rows([c[keep] for c in rows.codes], [z[keep] for z in rows.Z], rows.Xy[keep])


@pytest.mark.parametrize(
    ("kind", "sparse"),
    [
        ("slopes", False),
        ("nested3", False),
        ("crossed-slopes", False),
        ("crossed-slopes", True),
        ("mixed", False),
        ("mixed", True),
    ],
)
def test_downdates_are_eliminations_of_the_rows_left(kind: str, sparse: bool) -> None:
    rng = np.random.default_rng(3)
    problem: Problem = random_problem(rng, kind)
    structure, rows = problem.layout(sparse=sparse)
    theta = rng.normal(size=problem.n_theta)
    objectives = {r: Objective(CrossProducts.from_rows(structure, rows), reml=r) for r in (True, False)}
    e = objectives[True].at(theta)
    for subsets in ([np.array([i]) for i in range(0, rows.n, 9)], [np.array([0, 4, 9]), np.array([5]), np.arange(12)]):
        found = downdates(e, rows, residuals(e, rows), subsets)
        for i, some in enumerate(subsets):
            left = {r: Objective(CrossProducts.from_rows(structure, without(rows, some)), reml=r) for r in objectives}
            f = left[True].at(theta)
            assert_allclose(e.beta - found.change[i], f.beta, rtol=1e-7, atol=1e-9)
            assert_allclose(e.beta_root @ e.beta_root.T + found.spread[i], f.beta_root @ f.beta_root.T, rtol=1e-7)
            assert e.pwrss - found.lost[i] == pytest.approx(f.pwrss, rel=1e-8)
            for reml, log in ((True, found.log_p), (False, found.log_v)):
                whole, part = objectives[reml], left[reml]
                fits = [o.N * (1.0 + np.log(2.0 * np.pi * x.pwrss / o.N)) for o, x in ((whole, e), (part, f))]
                expected = (part.value(f) - fits[1]) - (whole.value(e) - fits[0])
                assert log[i] == pytest.approx(expected, abs=1e-8)


def test_pull_and_residuals_are_dense_products() -> None:
    rng = np.random.default_rng(4)
    problem = random_problem(rng, "crossed-slopes")
    structure, rows = problem.layout()
    theta = rng.normal(size=problem.n_theta)
    e = Objective(CrossProducts.from_rows(structure, rows), reml=True).at(theta)
    V = np.eye(rows.n)
    for block, z, codes in zip(structure.blocks, rows.Z, rows.codes, strict=True):
        L = block.factor(theta)
        V += (z @ L @ L.T @ z.T) * (codes[:, None] == codes)
    X, y, inverse = rows.Xy[:, :-1], rows.Xy[:, -1], np.linalg.inv(V)
    B = np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    P = inverse - inverse @ X @ B
    assert_allclose(pull(e, rows), B.T, atol=1e-11)
    assert_allclose(residuals(e, rows), P @ y, atol=1e-10 * np.abs(y).max())
    some = np.array([3, 8, 50])
    assert_allclose(hat_blocks(e, rows, [some])[0], np.eye(3) - P[np.ix_(some, some)], atol=1e-11)


def test_rows_without_which_nothing_is_identified_have_no_downdate() -> None:
    problem = random_problem(np.random.default_rng(6), "one")
    own = (np.arange(problem.y.size) == 2) * 1.0
    structure, rows = replace(problem, X=np.column_stack([problem.X, own])).layout()
    e = Objective(CrossProducts.from_rows(structure, rows), reml=True).at(np.ones(1))
    for subsets in ([np.array([1]), np.array([2])], [np.array([1, 3]), np.array([2, 3])]):
        found = downdates(e, rows, residuals(e, rows), subsets)
        assert np.isfinite(found.change[0]).all()
        assert np.isnan(found.change[1]).all()
        assert np.isnan(found.spread[1]).all()
        assert np.isnan(found.log_p[1])


@pytest.fixture(scope="module")
def state():
    """Six hundred rows, slopes that vary, weights."""
    rng = np.random.default_rng(12)
    g, x = rng.integers(0, 40, 600), rng.normal(size=600)
    b = rng.normal(size=(40, 2)) * [1.0, 0.6]
    frame = {"y": 1.0 + x + b[g, 0] + b[g, 1] * x + rng.normal(size=600), "x": x, "g": g, "w": rng.uniform(0.5, 2, 600)}
    return {r: interlace.fit("y ~ x + (x | g)", frame, weights="w", method=r).state for r in ("REML", "ML")}


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_expansions_give_the_refits(state, method: str) -> None:
    state = state[method]
    problem = state.problem
    subsets = [np.array([i]) for i in range(600)]
    found = expanded(Objective(problem.cp, reml=problem.reml), problem.rows, state.opt.x, subsets)
    assert found.trusted.mean() > 0.8
    fits = refit_without(state, subsets)  # too few for an expansion
    assert (fits.evaluations > 0).all()
    good = found.trusted
    scale = problem.response.scale
    assert_allclose(scale * found.sigma[good], fits.sigma[good], rtol=1e-9)
    logs = np.log(problem.design.weights)
    constants = 2.0 * (problem.cp.n - 1 - (2 if problem.reml else 0)) * np.log(scale)
    constants += 2.0 * problem.basis.log_det if problem.reml else 0.0
    assert_allclose(found.value[good] + constants + logs[good], fits.criterion[good], atol=1e-7)
    change = fits.beta - state.beta
    mine = problem.basis.backward((problem.response.coefficients + scale * found.beta).T).T - state.beta
    assert_allclose(mine[good], change[good], atol=1e-6 * np.abs(change).max())


def test_refits_by_expansion_and_by_optimizer_are_one_set(state, monkeypatch) -> None:
    """What the expansion does not settle is fitted as usual, and everything is where it belongs."""
    state = state["REML"]
    subsets = [np.array([i]) for i in range(600)]
    expected = refit_without(state, subsets)
    monkeypatch.setattr(batch_refits, "_STACKED", 1)
    found = refit_without(state, subsets)
    settled = found.evaluations == 0
    assert 0.8 < settled.mean() < 1.0
    assert found.converged.all()
    assert_allclose(found.criterion, expected.criterion, atol=1e-7)
    for mine, theirs, whole in (
        (found.theta, expected.theta, state.theta),
        (found.beta, expected.beta, state.beta),
        (found.beta_cov, expected.beta_cov, state.beta_cov),
        (found.sigma, expected.sigma, state.sigma),
    ):
        assert_allclose(mine, theirs, rtol=0, atol=3e-6 * np.abs(theirs - whole).max())
    assert [len(part) for part in portions(state, subsets)] == [600]


def test_where_nothing_is_trusted_everything_is_left(state, monkeypatch) -> None:
    state = state["REML"]
    subsets = [np.array([i]) for i in range(600)]
    expected = refit_without(state, subsets)
    monkeypatch.setattr(batch_refits, "_STACKED", 1)
    monkeypatch.setattr(expansion, "_AGREED", -1.0)
    np.testing.assert_array_equal(refit_without(state, subsets).beta, expected.beta)


@pytest.mark.filterwarnings("error::RuntimeWarning", "ignore:singular fit")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (1 | g) + (1 | h)"])
def test_one_row_without_which_the_fit_is_perfect(formula: str, seed: int) -> None:
    """It has no estimates, whatever rounding leaves, and does not spoil those of the other rows."""
    rng = np.random.default_rng(seed)
    g, h, x = np.arange(1200) % 40, rng.integers(0, 12, 1200), rng.normal(size=1200)
    y = 3.0 + x
    y[7] += 5.0
    state = interlace.fit(formula, {"y": y, "x": x, "g": g, "h": h}).state
    found = refit_without_rows(state.problem, [np.array([i]) for i in range(1200)], state.opt.x)
    assert np.flatnonzero(~found.converged).tolist() == [7]
    assert found.messages[7] == "the residual variance vanishes"
    assert np.isnan(found.sigma[7])
    assert found.sigma[~np.isnan(found.sigma)].min() > 0.1


def test_one_set_without_a_slope_does_not_narrow_the_lattice(state, monkeypatch) -> None:
    state = state["REML"]
    objective = Objective(state.problem.cp, reml=True)
    subsets = [np.array([i]) for i in range(600)]
    expected = expanded(objective, state.problem.rows, state.opt.x, subsets)
    true, odd = expansion.downdates, count()

    def one_undefined(*args):
        found = true(*args)
        return replace(found, log_p=np.where((np.arange(600) == 5) & bool(next(odd) % 2), -np.inf, found.log_p))

    monkeypatch.setattr(expansion, "downdates", one_undefined)
    found = expanded(objective, state.problem.rows, state.opt.x, subsets)
    assert not found.trusted[5]
    assert (found.trusted[6:] == expected.trusted[6:]).all()
    assert expected.trusted.mean() > 0.8


def test_crossed_factors_with_sparse_storage(monkeypatch) -> None:
    """Sets of rows of a structure that is not stacked: expansion, and one by one."""
    monkeypatch.setattr(batch_refits, "stackable", lambda structure: False)
    rng = np.random.default_rng(2)
    g, h = rng.integers(0, 25, 500), rng.integers(0, 20, 500)
    y = rng.normal(size=25)[g] + rng.normal(size=20)[h] + rng.normal(size=500)
    state = interlace.fit("y ~ 1 + (1 | g) + (1 | h)", {"y": y, "g": g, "h": h}).state
    subsets = [np.flatnonzero(g == j) for j in range(25)]
    found = refit_without(state, subsets)
    assert 0 < (found.evaluations == 0).sum() < 25
    monkeypatch.setattr(batch_refits, "lattice_size", lambda n_theta: None)
    alone = refit_without(state, subsets)
    assert (alone.evaluations > 0).all()
    assert_allclose(found.criterion, alone.criterion, atol=1e-7)
    assert_allclose(found.beta, alone.beta, atol=3e-6 * np.abs(alone.beta - state.beta).max())
    assert [len(part) for part in portions(state, subsets)] == [12, 13]


def test_size_of_lattices() -> None:
    assert [lattice_size(r) for r in (0, 1, 2, 3, 4, 6)] == [None, 5, 15, 35, 35, None]


def test_polynomials_are_reproduced() -> None:
    lattice = expansion._Lattice(np.zeros(2), np.ones(2), 4)
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=15)
    values = lattice.monomials(lattice.points) @ coefficients
    assert_allclose(lattice.coefficients(values), coefficients, atol=1e-12)
    t = rng.uniform(-1.0, 1.0, (7, 2))
    h = 1e-6
    numeric = np.stack([(lattice.monomials(t + h * d) - lattice.monomials(t - h * d)) / (2 * h) for d in np.eye(2)], 1)
    assert_allclose(lattice.slopes(t), numeric, atol=1e-8)
    assert (lattice.lower().points == lattice.points[:10]).all()


class TestKnownFits:
    """What one fit tells those to nearly the same data."""

    def test_correction_completes_the_hessian(self, state) -> None:
        state = state["REML"]
        problem, theta = state.problem, state.opt.x
        objective = Objective(problem.cp, reml=True)
        known = known_fit(problem.cp, theta, reml=True, settings=Settings())
        e = objective.at(theta)
        hessian = objective.information(e, objective.derivatives(e)) + known.correction
        h, r = 1e-3, theta.size
        for i in range(r):
            for j in range(r):
                a, b = h * np.eye(r)[i], h * np.eye(r)[j]
                corners = [objective(theta + s * a + t * b) * s * t for s in (1, -1) for t in (1, -1)]
                assert hessian[i, j] == pytest.approx(sum(corners) / (4 * h * h), rel=1e-3, abs=1e-3)
        assert not known.rivals
        assert not known.explored

    def test_rivals_of_a_degenerate_fit_are_found_and_followed(self) -> None:
        """A problem of 20 rows or so with two optima, both singular; without rows either may be the lower one."""
        structure, rows = tiny_problem(np.random.default_rng(134), "tiny").layout()
        cp = CrossProducts.from_rows(structure, rows)
        objective = Objective(cp, reml=True)
        starts = [np.array(start) for start in ([1.0, 0.0, 1.0], [0.1, 0.0, 0.1], [0.65, -0.12, 0.01], [0.3, 0.3, 0.3])]
        x, value = local_optima(cp, starts, reml=True, settings=Settings())
        best = x[np.argmin(value)]
        known = known_fit(cp, best, reml=True, settings=Settings())
        assert known.explored
        [rival] = known.rivals
        assert np.abs(objective.derivatives(objective.at(rival)).gradient).max() < 1e-4
        assert objective(rival) > objective(best) + 0.1
        subsets = [np.array([i]) for i in range(rows.n)]
        stack = Stack.of_deletions(cp, rows, subsets)
        found = minimize_many(stack, known, reml=True)
        for b in range(stack.size):
            _, values = local_optima(stack.member(b), [*starts, rival, best], reml=True, settings=Settings())
            assert found.value[b] <= values.min() + 1e-7

    @pytest.mark.parametrize("stacked", [True, False])
    def test_singular_fits_that_are_not_explored_start_inside(self, stacked: bool, monkeypatch) -> None:
        monkeypatch.setattr(nearby, "stackable", lambda structure: stacked)
        problem = random_problem(np.random.default_rng(2), "slopes")
        cp = problem.cross_products()
        known = known_fit(cp, np.array([1.0, 0.5, 0.2, 0.7, 0.1, 0.0]), reml=True, settings=Settings())
        assert known.explored == (cp.n if stacked else 0)
        assert (known.theta[5] == 0.0) == stacked
