"""Estimates of beta, sigma and b, and their covariances, against the dense marginal formulas."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from interlace.core import posterior
from interlace.core.factor import Elimination
from interlace.core.objective import Objective
from tests.problems import (
    KINDS,
    Array,
    Problem,
    dense_fit,
    factors_of,
    joint_covariance,
    random_problem,
    random_theta,
)

CASES = [(k, s) for k in KINDS for s in (False, True) if not (s and k in ("one", "slopes", "split"))]
every_case = pytest.mark.parametrize(("kind", "sparse"), CASES)


def situations(kind: str, sparse: bool, *, reml: bool = True) -> list[tuple[Problem, Array, Elimination, Objective]]:
    """Two problems, each at a regular theta and with the last column of every factor zero."""
    out = []
    for i in range(2):
        problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), i, 7]), kind)
        theta = random_theta(np.random.default_rng(i), problem)
        objective = Objective(problem.cross_products(sparse=sparse), reml=reml)
        singular = theta.copy()
        for block in objective.structure.blocks:
            singular[block.slots[block.cols == block.k - 1]] = 0.0
        out += [(problem, t, objective.at(t), objective) for t in (theta, singular)]
    return out


def by_term(objective: Objective, by_block: list[Array], axes: int) -> list[Array]:
    """Block arrays (q, k, ...) cut into those of the terms, in the order of the problem."""
    found = {}
    for block, values in zip(objective.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            found[number] = values[(slice(None), *[where] * axes)]
    return [found[i] for i in range(len(found))]


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@every_case
def test_beta_sigma_and_modes(kind, sparse, reml):
    for problem, theta, e, objective in situations(kind, sparse, reml=reml):
        dense = dense_fit(problem, factors_of(problem, theta), reml=reml)
        np.testing.assert_allclose(e.beta, dense.beta, rtol=1e-9, atol=1e-10)
        assert np.sqrt(e.pwrss / objective.N) == pytest.approx(dense.sigma, rel=1e-10)
        for ours, theirs in zip(by_term(objective, posterior.modes(e), 1), dense.modes, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9)


@every_case
def test_conditional_covariances(kind, sparse):
    for problem, theta, e, objective in situations(kind, sparse):
        dense = dense_fit(problem, factors_of(problem, theta), reml=True)
        ours = by_term(objective, posterior.conditional_covariances(e), 2)
        for a, b in zip(ours, dense.condvar, strict=True):
            np.testing.assert_allclose(dense.sigma**2 * a, b, rtol=1e-8, atol=1e-10)


def combinations(problem: Problem, rng: np.random.Generator, *, consistent: bool, rows: int = 25):
    """New rows: covariates, levels of the terms (some absent), and the matrix [Z | X] of them."""
    fitted = rng.integers(0, problem.y.size, rows)
    Z = [rng.normal(size=(rows, t.k)) for t in problem.terms]
    codes = {}
    for t in problem.terms:
        level = t.codes[fitted] if consistent else rng.integers(0, t.n_levels, rows)
        codes.setdefault(t.group, np.where(rng.random(rows) < 0.2, -1, level))
    X = rng.normal(size=(rows, problem.X.shape[1]))
    parts = []
    for t, z in zip(problem.terms, Z, strict=True):
        wide = np.zeros((rows, t.n_levels, t.k))
        seen = np.flatnonzero(codes[t.group] >= 0)
        wide[seen, codes[t.group][seen]] = z[seen]
        parts.append(wide.reshape(rows, -1))
    return Z, [codes[t.group] for t in problem.terms], X, np.concatenate([*parts, X], axis=1)


@pytest.mark.parametrize("consistent", [True, False])
@every_case
def test_quadratic_forms(kind, sparse, consistent):
    """Also for rows whose levels nest otherwise than in the fit, and for rows without some of the terms."""
    for problem, theta, e, objective in situations(kind, sparse):
        Z, codes, X, whole = combinations(problem, np.random.default_rng(4), consistent=consistent)
        blocks = objective.structure.blocks
        block_Z = [np.concatenate([Z[i] for i, _ in block.members], axis=1) for block in blocks]
        block_codes = [codes[block.members[0][0]] for block in blocks]
        ours = posterior.quadratic_forms(e, X, block_Z, block_codes)
        expected = np.einsum("ni,ij,nj->n", whole, joint_covariance(problem, factors_of(problem, theta)), whole)
        np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("kind", "sparse"), [case for case in CASES if case[0] != "split"])
def test_quadratic_forms_by_level_and_from_the_whole_system(kind, sparse, monkeypatch):
    problem, _, e, objective = situations(kind, sparse)[0]
    Z, codes, X, _ = combinations(problem, np.random.default_rng(4), consistent=True, rows=150)
    order = [block.members[0][0] for block in objective.structure.blocks]
    arguments = (e, X, [Z[i] for i in order], [codes[i] for i in order])
    by_level = posterior.quadratic_forms(*arguments)
    monkeypatch.setattr(posterior, "_AFFORDABLE", 0)
    np.testing.assert_allclose(posterior.quadratic_forms(*arguments), by_level, rtol=1e-9)


def test_no_rows_no_variances():
    problem, _, e, objective = situations("crossed", False)[0]
    empty = [np.zeros((0, b.k)) for b in objective.structure.blocks]
    codes = [np.zeros(0, dtype=np.int64) for _ in empty]
    assert posterior.quadratic_forms(e, np.zeros((0, problem.X.shape[1])), empty, codes).shape == (0,)
