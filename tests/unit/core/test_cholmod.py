"""The CHOLMOD path against the dense one, through each interface of scikit-sparse.

Where scikit-sparse is not installed, a stand-in with the interface of its version 0.5 (or 0.4) and dense numerics runs
the same code; where it is, the real one runs as well.
"""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.core import cholmod, posterior, sparse_cholesky
from interlace.core.boundary import find_escape
from interlace.core.cholmod import SparseObjective, work
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.start import starting_points
from interlace.core.structure import LeadingStorage
from tests.problems import Problem, random_problem

KINDS = ("crossed", "crossed-slopes", "mixed")


class Dense:
    """Dense numerics behind both stand-ins."""

    def __init__(self, A: Any) -> None:
        self._matrix = A.toarray()

    def solve(self, b: Any) -> Any:
        return np.linalg.solve(self._matrix, b)

    def logdet(self) -> float:
        return float(np.linalg.slogdet(self._matrix)[1])


class CholeskyFactor(Dense):
    """Interface of scikit-sparse 0.5."""

    def factorize(self, A: Any) -> None:
        self._matrix = A.toarray()

    @property
    def colcount(self) -> Any:
        return (np.abs(np.tril(np.linalg.cholesky(self._matrix))) > 1e-14).sum(axis=0)


class Factor(Dense):
    """Interface of scikit-sparse 0.4."""

    def cholesky_inplace(self, A: Any) -> None:
        self._matrix = A.toarray()

    def __call__(self, b: Any) -> Any:
        return self.solve(b)

    def L(self) -> Any:  # noqa: N802
        from scipy import sparse

        return sparse.csc_array(np.tril(np.linalg.cholesky(self._matrix)))


@pytest.fixture(params=["0.4", "0.5", *(["installed"] if sparse_cholesky.available() else [])])
def interface(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "installed":
        module = types.ModuleType("sksparse.cholmod")
        if request.param == "0.5":
            module.CholeskyFactor = CholeskyFactor  # type: ignore[attr-defined]
        else:
            module.analyze = Factor  # type: ignore[attr-defined]
        package = types.ModuleType("sksparse")
        package.cholmod = module  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "sksparse", package)
        monkeypatch.setitem(sys.modules, "sksparse.cholmod", module)
        monkeypatch.setattr(cholmod, "available", lambda: True)
    return str(request.param)


def both(problem: Problem, *, reml: bool) -> tuple[Objective, SparseObjective]:
    structure, rows = problem.layout(sparse=True)
    whole = replace(structure, storage=LeadingStorage(sparse=True, cholmod=True))
    return (
        Objective(CrossProducts.from_rows(structure, rows), reml=reml),
        SparseObjective(CrossProducts.from_rows(whole, rows), reml=reml),
    )


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("at", ["inside", "boundary"])
def test_everything_is_as_on_the_dense_path(interface: str, kind: str, reml: bool, at: str) -> None:
    rng = np.random.default_rng(11)
    problem = random_problem(rng, kind)
    dense, sparse = both(problem, reml=reml)
    theta = rng.normal(size=problem.n_theta) if at == "inside" else np.zeros(problem.n_theta)
    e, f = dense.at(theta), sparse.at(theta)
    assert sparse.value(f) == pytest.approx(dense.value(e), abs=1e-9)
    assert sparse(theta) == sparse.value(f)
    d, g = dense.derivatives(e), sparse.derivatives(f)
    size = max(1.0, float(np.abs(d.gradient).max()))
    np.testing.assert_allclose(g.gradient, d.gradient, atol=1e-6 * size)
    for mine, theirs in zip(sparse.psi_gradients(f, g), dense.psi_gradients(e, d), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5 * max(1.0, float(np.abs(theirs).max())))
    np.testing.assert_allclose(sparse.information(f, g), dense.information(e, d), atol=1e-5 * size, rtol=1e-5)
    np.testing.assert_allclose(f.beta, e.beta, atol=1e-10)
    for mine, theirs in zip(posterior.modes(f), posterior.modes(e), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)
    for mine, theirs in zip(posterior.conditional_covariances(f), posterior.conditional_covariances(e), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)
    _, rows = problem.layout(sparse=True)
    codes = [np.where(np.arange(c.size) % 5 == 0, -1, c) for c in rows.codes]
    mine, theirs = (posterior.quadratic_forms(x, problem.X, rows.Z, codes) for x in (f, e))
    np.testing.assert_allclose(mine, theirs, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_optimum_is_the_same(interface: str, kind: str) -> None:
    dense, sparse = both(random_problem(np.random.default_rng(5), kind), reml=True)
    values = []
    for target in (dense, sparse):
        start, *rivals = starting_points(target.cp, reml=True)
        summary, e = minimize(target, start, optimizer="auto", settings=Settings(), rivals=rivals)
        assert summary.converged
        assert find_escape(target, e, target.derivatives(e), summary.x) is None
        values.append(summary.value)
    assert values[0] == pytest.approx(values[1], abs=1e-7)


def test_cross_products_with_sparse_storage_are_additive(interface: str) -> None:
    problem = random_problem(np.random.default_rng(2), "mixed")
    structure, rows = problem.layout(sparse=True)
    whole = replace(structure, storage=LeadingStorage(sparse=True, cholmod=True))
    cp = CrossProducts.from_rows(whole, rows)
    back = cp + cp - cp
    theta = np.full(problem.n_theta, 0.7)
    assert SparseObjective(back, reml=True)(theta) == pytest.approx(SparseObjective(cp, reml=True)(theta), abs=1e-9)
    other = replace(rows, Xy=np.column_stack([rows.Xy[:, :-1], rows.Xy[::-1, -1]]))
    changed, fresh = cp.with_response(other), CrossProducts.from_rows(whole, other)
    assert SparseObjective(changed, reml=True)(theta) == pytest.approx(
        SparseObjective(fresh, reml=True)(theta), abs=1e-9
    )


def pupils(movers: str) -> pd.DataFrame:
    """Pupils in schools who move: a few next door, or most of them anywhere."""
    rng = np.random.default_rng(1)
    pupil = np.repeat(np.arange(320), 4)
    step = rng.integers(-1, 2, pupil.size) if movers == "next door" else rng.integers(0, 40, pupil.size)
    school = (pupil // 8 + np.where(rng.random(pupil.size) < (0.15 if movers == "next door" else 0.7), step, 0)) % 40
    x = rng.normal(size=pupil.size)
    y = x + rng.normal(size=320)[pupil] + 0.6 * rng.normal(size=40)[school] + rng.normal(size=pupil.size)
    return pd.DataFrame({"y": y, "x": x, "pupil": pupil, "school": school})


def test_fits_choose_cholmod_where_the_factor_stays_sparse(interface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pupils("next door")
    dense = interlace.fit("y ~ x + (1 | pupil) + (1 | school)", frame)
    assert not dense.state.problem.structure.storage.cholmod
    monkeypatch.setattr(cholmod, "CONSIDERED_FROM", 20)
    sparse = interlace.fit("y ~ x + (1 | pupil) + (1 | school)", frame)
    assert sparse.state.problem.structure.storage.cholmod
    assert sparse.llf == pytest.approx(dense.llf, abs=1e-7)
    np.testing.assert_allclose(sparse.theta, dense.theta, rtol=1e-5)
    np.testing.assert_allclose(sparse.fe_bse, dense.fe_bse, rtol=1e-6)
    pd.testing.assert_series_equal(sparse.random_effects["school"], dense.random_effects["school"], atol=1e-6)
    pd.testing.assert_series_equal(sparse.random_effects_se["school"], dense.random_effects_se["school"], atol=1e-6)
    assert sparse.refit(frame["y"].to_numpy()).llf == pytest.approx(dense.llf, abs=1e-7)


def test_a_factor_that_fills_up_stays_dense(interface: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholmod, "CONSIDERED_FROM", 20)
    result = interlace.fit("y ~ x + (1 | pupil) + (1 | school)", pupils("anywhere"))
    assert not result.state.problem.structure.storage.cholmod


def test_without_scikit_sparse_nothing_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cholmod, "CONSIDERED_FROM", 1)
    monkeypatch.setattr(cholmod, "available", lambda: False)
    structure, rows = random_problem(np.random.default_rng(0), "crossed").layout()
    assert work(structure, rows.codes) is None
