"""Traces and quadratic forms of second order against n x n matrices, by both ways of computing them."""

from __future__ import annotations

import zlib
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Objective
from interlace.core.structure import LeadingStorage, Structure
from interlace.inference import variance_blocks
from interlace.inference.nested_order import NestedOrder, unit_sizes
from interlace.inference.second_order import Direction, SecondOrder, psi_directions, theta_directions
from interlace.inference.variance_blocks import gigabytes_needed
from tests.problems import KINDS, Array, Problem, factors_of, marginal, random_problem, random_theta

both = pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
NESTED = ("one", "slopes", "split", "nested", "nested3")


def problem_of(kind: str, i: int) -> tuple[Problem, Array]:
    """A problem, and a theta of it: regular, regular with a column of zeros in each factor, all zero."""
    problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), i]), kind)
    theta = random_theta(np.random.default_rng(i), problem)
    if i:
        theta = 0.0 * theta if i == 2 else np.where(np.arange(theta.size) == theta.size - 1, 0.0, theta)
    return problem, theta


def changes_of_v(problem: Problem, structure: Structure, directions: list[Direction]) -> list[Array]:
    out = []
    for i, E in directions:
        members = structure.blocks[i].members
        Z = np.concatenate([problem.terms[number].Z for number, _ in members], axis=1)
        codes = problem.terms[members[0][0]].codes
        out.append((Z @ E @ Z.T) * (codes[:, None] == codes))
    return out


class Dense:
    """The same quantities from n x n matrices."""

    def __init__(self, problem: Problem, theta: Array, G: list[Array], *, reml: bool) -> None:
        X, V = problem.X, marginal(problem, factors_of(problem, theta))
        inverse = np.linalg.inv(V)
        P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
        Q = P if reml else inverse
        self.first = np.array([np.trace(Q @ g) for g in G])
        self.second = np.array([[np.sum((Q @ g) * (Q @ h).T) for h in G] for g in G])
        to_x = inverse @ X
        self.forms = np.array([[to_x.T @ g @ P @ h @ to_x for h in G] for g in G])


def assert_same(found: SecondOrder | NestedOrder, directions: list[Direction], dense: Dense) -> None:
    first, second = found.traces(directions)
    forms = found.projected(directions, found.on_fixed())
    for mine, theirs in ((first, dense.first), (second, dense.second), (forms, dense.forms)):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10 * max(1.0, np.abs(theirs).max()))


@both
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_leading_block(kind: str, sparse: bool, reml: bool) -> None:
    for i in range(3):
        problem, theta = problem_of(kind, i)
        structure, rows = problem.layout()
        storage = LeadingStorage(sparse=sparse and len(structure.blocks) > 1)
        flat = Structure(structure.blocks, 1, {}, structure.p, structure.n_theta, storage)
        e = Objective(CrossProducts.from_rows(flat, rows), reml=reml).at(theta)
        for directions in (psi_directions(flat), theta_directions(flat, e.L)):
            dense = Dense(problem, theta, changes_of_v(problem, flat, directions), reml=reml)
            assert_same(SecondOrder.of(e, reml=reml), directions, dense)


@both
@pytest.mark.parametrize("kind", NESTED)
def test_units_of_nested_factors(kind: str, reml: bool) -> None:
    for i in range(3):
        problem, theta = problem_of(kind, i)
        structure, rows = problem.layout()
        e = Objective(CrossProducts.from_rows(structure, rows), reml=reml).at(theta)
        phi = e.beta_root @ e.beta_root.T
        parts = SimpleNamespace(structure=structure, rows=rows)
        found = NestedOrder.of(parts, e.L, phi, reml=reml)  # type: ignore[arg-type]
        directions = psi_directions(structure)
        assert_same(found, directions, Dense(problem, theta, changes_of_v(problem, structure, directions), reml=reml))
        assert sum(unit.M.shape[0] for unit in found.units) == unit_sizes(structure).sum()


def test_derivatives_of_psi_by_theta() -> None:
    problem, theta = problem_of("split", 0)
    structure, _ = problem.layout()
    directions, step = theta_directions(structure, structure.factors(theta)), 1e-6
    for s, (i, E) in enumerate(directions):
        up, down = (structure.factors(theta + sign * step * (np.arange(theta.size) == s))[i] for sign in (1.0, -1.0))
        np.testing.assert_allclose(E, (up @ up.T - down @ down.T) / (2 * step), atol=1e-8)


def pupils() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    pupil = np.repeat(np.arange(960), 2)
    room, school = pupil // 3, pupil // 24
    x = rng.normal(size=pupil.size)
    y = x + rng.normal(size=960)[pupil] + rng.normal(size=320)[room] + rng.normal(size=40)[school]
    return pd.DataFrame({"y": y + rng.normal(size=y.size), "x": x, "pupil": pupil, "room": room, "school": school})


def test_both_ways_give_the_same_degrees_of_freedom(monkeypatch: pytest.MonkeyPatch) -> None:
    data, formula = pupils(), "y ~ x + (1 | pupil) + (1 | room) + (1 | school)"
    for method in ("satterthwaite", "kenward-roger"):
        result = interlace.fit(formula, data, df_method=method)
        assert variance_blocks._by_units(result.state.problem.structure)
        by_units, se = result.fe_df, result.fe_bse
        with monkeypatch.context() as patch:
            patch.setattr(variance_blocks, "_SMALL", 10_000)
            again = type(result)(result.state, result.call)
            assert not variance_blocks._by_units(result.state.problem.structure)
            pd.testing.assert_series_equal(again.fe_df, by_units, rtol=1e-9)
            pd.testing.assert_series_equal(again.fe_bse, se, rtol=1e-10)


def test_memory_grows_with_levels_and_directions() -> None:
    structure = interlace.fit("y ~ x + (1 | pupil) + (1 | school)", pupils()).state.problem.structure
    assert gigabytes_needed(structure, 3) > gigabytes_needed(structure, 1) > 0.0
    one = interlace.fit("y ~ x + (1 | school)", pupils()).state.problem.structure
    assert gigabytes_needed(structure, 1) > gigabytes_needed(one, 1)
    nested = interlace.fit("y ~ x + (1 | pupil) + (1 | room) + (1 | school)", pupils()).state.problem.structure
    # 40 units of 24 + 8 + 1 random effects, squared; far from the square of all rooms and schools.
    assert 8e-9 * 40 * 33**2 < gigabytes_needed(nested, 3) < 8e-9 * 360**2


def test_sparse_products_of_a_chain_with_crossed_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    data = pupils().assign(rater=lambda d: np.arange(len(d)) % 7)
    result = interlace.fit("y ~ x + (1 | pupil) + (1 | school) + (1 | rater)", data)
    assert result.state.problem.structure.n_chain == 2
    dense = result.fe_df
    monkeypatch.setattr(variance_blocks, "_DENSE", 0)
    pd.testing.assert_series_equal(type(result)(result.state, result.call).fe_df, dense, rtol=1e-9)
