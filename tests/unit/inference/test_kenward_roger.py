"""Kenward and Roger's method against n x n matrices in the usual parameters, and against pbkrtest 0.5.2."""

from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import ModelError
from interlace.estimate.derived import term_covariances
from interlace.estimate.state import FitState
from interlace.inference import kenward_roger as module
from interlace.inference.contrasts import CoefficientTests
from interlace.inference.kenward_roger import kenward_roger
from tests.problems import KINDS, Array, frame_of, random_problem

# Standard errors and degrees of freedom of each coefficient: coef(summary(m, ddf = "Kenward-Roger")) of lmerTest 3.1-3,
# which takes them from pbkrtest; fits by bobyqa with rhoend 1e-9.
PBKRTEST = {
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)"): ([6.82455578, 1.54578893], [17, 17]),
    ("sleepstudy", "Reaction ~ Days + (Days || Subject)"): ([6.88538151, 1.559566], [18.1874762, 18.1874762]),
    ("Machines", "score ~ Machine + (Machine | Worker)"): ([1.68071074, 2.42084998, 1.54009951], [5, 5, 5]),
    ("Machines", "score ~ Machine + (1 | Worker/Machine)"): (
        [2.48583029, 2.17697553, 2.17697553],
        [8.52169845, 10, 10],
    ),
    ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"): ([0.808573427], [5.48709223]),
    ("Pastes", "strength ~ 1 + (1 | batch/cask)"): ([0.676870097], [9]),
    ("Orthodont", "distance ~ age * Sex + (age | Subject)"): (
        [1.01853191, 0.0859995104, 1.59573283, 0.134735339],
        [25] * 4,
    ),
    ("ergoStool", "effort ~ Type + (1 | Subject)"): (
        [0.576012259, 0.518683837, 0.518683837, 0.518683837],
        [15.5298083, 24, 24, 24],
    ),
    ("Exam", "normexam ~ standLRT * schgend + sex + (standLRT | school)"): (
        [0.0551667915, 0.0280431067, 0.113180533, 0.0888473044, 0.0338958952, 0.0591906254, 0.0461970215],
        [75.3727091, 60.4435107, 66.0806418, 64.9230414, 4025.56213, 61.0563905, 56.6624342],
    ),
    ("Oats", "`yield` ~ Variety * nitro + (1 | Block/Variety)"): (
        [8.57075683, 8.68466358, 8.68466358, 11.8585412, 16.7705097, 16.7705097],
        [12.8487216, 21.5747588, 21.5747588, 51, 51, 51],
    ),
    ("RatPupWeight", "weight ~ Treatment * sex + Lsize + (1 | Litter)"): (
        [0.273822361, 0.158317019, 0.19173306, 0.0731871457, 0.0187938227, 0.105786658, 0.132026751],
        [32.1295278, 27.506955, 30.1088453, 294.824759, 31.0751857, 298.185217, 303.463811],
    ),
    ("Pixel", "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)"): (
        [10.1959982, 0.887369088, 0.0343053793],
        [9.59924892, 25.5193689, 75.2525303],
    ),
    ("Dyestuff2", "Yield ~ 1 + (1 | Batch)"): ([0.678388031], [5]),
}


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize(("data", "formula"), PBKRTEST, ids=[f"{d}: {f}" for d, f in PBKRTEST])
def test_standard_errors_and_degrees_of_freedom_are_pbkrtests(data: str, formula: str) -> None:
    se, df = PBKRTEST[data, formula]
    result = interlace.fit(formula, interlace.datasets.load(data), df_method="kenward-roger")
    np.testing.assert_allclose(result.fe_bse, se, rtol=1e-6)
    np.testing.assert_allclose(result.fe_df, df, rtol=1e-6)


class Dense:
    """V = sum of gamma_r G_r with the entries of each Psi and the residual variance as parameters, all n x n."""

    def __init__(self, state: FitState) -> None:
        design = state.problem.design
        n, weights = len(design.y), design.weights
        X = design.X[:, state.kept]
        residual = np.eye(n) if weights is None else np.diag(1.0 / weights)
        G, V = [residual], state.sigma**2 * residual
        for term, psi in zip(design.terms, term_covariances(state), strict=True):
            same, k = term.codes[:, None] == term.codes, term.Z.shape[1]
            V = V + same * (term.Z @ psi @ term.Z.T)
            for a in range(k):
                for b in range(a, k if term.structure == "unstructured" else a + 1):
                    E = np.zeros((k, k))
                    E[a, b] = E[b, a] = 1.0
                    G.append(same * (term.Z @ E @ term.Z.T))
        inverse = np.linalg.inv(V)
        to_x = inverse @ X
        self.phi = np.linalg.inv(X.T @ to_x)
        P_full = inverse - to_x @ self.phi @ to_x.T
        self.P = np.array([to_x.T @ g @ to_x for g in G])
        Q = np.array([[to_x.T @ g @ inverse @ h @ to_x for h in G] for g in G])
        information = np.array([[np.sum((P_full @ g) * (P_full @ h).T) for h in G] for g in G])
        size = np.sqrt(np.diagonal(information))
        self.W = 2.0 * np.linalg.pinv(information / np.outer(size, size), rcond=1e-10) / np.outer(size, size)
        r = range(len(G))
        between = sum(self.W[i, j] * (Q[i, j] - self.P[i] @ self.phi @ self.P[j]) for i in r for j in r)
        self.adjusted = self.phi + 2.0 * self.phi @ between @ self.phi

    def test(self, L: Array, beta: Array) -> tuple[float, float]:
        """Scaled F and its degrees of freedom, by the formulas of Kenward and Roger (1997) as they stand there."""
        q, phi = len(L), self.phi
        theta = L.T @ np.linalg.solve(L @ phi @ L.T, L)
        T = [theta @ phi @ p @ phi for p in self.P]
        r = range(len(T))
        A1 = sum(self.W[i, j] * np.trace(T[i]) * np.trace(T[j]) for i in r for j in r)
        A2 = sum(self.W[i, j] * np.trace(T[i] @ T[j]) for i in r for j in r)
        B = (A1 + 6 * A2) / (2 * q)
        g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
        c1, c2, c3 = (c / (3 * q + 2 * (1 - g)) for c in (g, q - g, q + 2 - g))
        mean = 1 / (1 - A2 / q)
        variance = 2 / q * (1 + c1 * B) / ((1 - c2 * B) ** 2 * (1 - c3 * B))
        rho = variance / (2 * mean**2)
        m = 4 + (q + 2) / (q * rho - 1)
        F = beta @ L.T @ np.linalg.solve(L @ self.adjusted @ L.T, L @ beta) / q
        return m / (mean * (m - 2)) * F, m


def assert_as_dense(state: FitState, rng: np.random.Generator) -> None:
    dense, found = Dense(state), kenward_roger(state)
    scale = np.sqrt(np.diagonal(dense.phi))
    units = np.outer(scale, scale)
    np.testing.assert_allclose(found.adjusted / units, dense.adjusted / units, rtol=1e-7, atol=1e-7)
    tests = CoefficientTests("kenward-roger", state.beta, found.adjusted, np.nan, found.sensitivity)
    p = state.beta.size
    for q in range(1, p + 1):
        L = rng.normal(size=(q, p)) / scale
        statistic, df = dense.test(L, state.beta)
        joint = tests.joint(L)
        np.testing.assert_allclose([joint.statistic, joint.den_df], [statistic, df], rtol=1e-5)
        if q == 1:
            assert tests.df(L)[0] == pytest.approx(df, rel=1e-5)
            assert tests.single(L).statistic[0] ** 2 == pytest.approx(statistic, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_formulas_with_matrices_of_all_rows(kind: str) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        formula, data = frame_of(random_problem(rng, kind))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", interlace.ConvergenceWarning)
            result = interlace.fit(formula, data)
        assert_as_dense(result.state, rng)


def test_weights_are_part_of_the_covariance() -> None:
    """pbkrtest takes the residual covariance as the identity, whatever the weights are."""
    data = interlace.datasets.load("sleepstudy")
    weights = np.tile([0.5, 1.0, 2.0], 60)
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data, weights=weights)
    assert_as_dense(result.state, np.random.default_rng(0))


def test_fits_by_ml_are_refused_with_the_remedy() -> None:
    result = interlace.fit(
        "effort ~ Type + (1 | Subject)",
        interlace.datasets.load("ergoStool"),
        method="ML",
        df_method="kenward-roger",
    )
    for member in ("fe_df", "fe_bse", "fe_cov", "fe_conf_int"):
        with pytest.raises(ModelError, match=r'defined for fits by REML.*use result\.update\(method="REML"\)'):
            getattr(result, member)
    assert result.update(method="REML").fe_df["Type[T.T2]"] == pytest.approx(24.0)


def test_too_much_memory_is_refused_with_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MEMORY_LIMIT", 1e-7)
    result = interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", interlace.datasets.load("Penicillin"))
    with pytest.raises(ModelError, match=r"need about .* GB of memory \(limit 1e-07 GB\).*'plate' \(24 levels\)"):
        kenward_roger(result.state)


def test_many_levels_take_little_memory() -> None:
    """20,000 rows of 200 x 50 crossed levels: the arrays stay below 20 MB, where one n x n matrix would take 3.2 GB."""
    rng = np.random.default_rng(2)
    a, b, x = rng.integers(0, 200, 20_000), rng.integers(0, 50, 20_000), rng.normal(size=20_000)
    y = x + rng.normal(size=200)[a] + rng.normal(size=50)[b] + rng.normal(size=20_000)
    result = interlace.fit("y ~ x + (1 | a) + (1 | b)", pd.DataFrame({"y": y, "x": x, "a": a, "b": b}))
    tracemalloc.start()
    found = kenward_roger(result.state)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    assert found.sensitivity.df(np.eye(2))[1] == pytest.approx(20_000 - 250, rel=0.001)
