"""Satterthwaite's degrees of freedom against lmerTest 3.1-3, finite differences, and exact cases."""

from __future__ import annotations

import sys
import types
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import interlace
from interlace.core import cholmod
from interlace.inference import satterthwaite as module
from interlace.inference.satterthwaite import by_differences, exactly
from interlace.results.lmm import LMMResult
from tests.problems import KINDS, Array, frame_of, random_problem

# Degrees of freedom of each coefficient for the REML and the ML fit: coef(summary(m))[, "df"] at an optimum found by
# bobyqa with rhoend 1e-9. Its numerical derivatives have a relative error of about 3e-7.
LMERTEST = {
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)"): ([17.0, 17.0], [18.0, 18.0]),
    ("sleepstudy", "Reaction ~ Days + (Days || Subject)"): ([18.1562022, 18.156202], [19.3489139, 19.3489153]),
    ("Machines", "score ~ Machine + (Machine | Worker)"): ([5.0, 5.0, 5.0], [6.0, 6.0, 6.0]),
    ("Machines", "score ~ Machine + (1 | Worker/Machine)"): ([8.52169756, 10.0, 10.0], [10.2260377, 12.0, 12.0]),
    ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"): ([5.48709145], [6.68906502]),
    ("Pastes", "strength ~ 1 + (1 | batch/cask)"): ([9.0], [10.0]),
    ("Orthodont", "distance ~ age * Sex + (age | Subject)"): ([25.0] * 4, [27.0] * 4),
    ("ergoStool", "effort ~ Type + (1 | Subject)"): ([15.5298085, 24, 24, 24], [17.4710345, 27, 27, 27]),
    ("Exam", "normexam ~ standLRT * schgend + sex + (standLRT | school)"): (
        [72.1226549, 56.5651488, 63.23875, 62.1240695, 4023.91078, 57.1576672, 53.0291741],
        [76.3037348, 59.0409019, 66.4831902, 65.2322793, 4029.33028, 59.8181536, 55.2671067],
    ),
    ("Oats", "`yield` ~ Variety * nitro + (1 | Block/Variety)"): (
        [12.8487209, 21.5747577, 21.5747577, 51, 51, 51],
        [16.0801975, 27.6580131, 27.6580131, 54, 54, 54],
    ),
    ("RatPupWeight", "weight ~ Treatment * sex + Lsize + (1 | Litter)"): (
        [32.8735256, 28.1545655, 30.8111485, 295.301432, 31.7975134, 298.586914, 303.744165],
        [39.9107259, 33.8077214, 37.3711544, 299.070561, 38.3502342, 302.813942, 308.823161],
    ),
    ("Pixel", "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)"): (
        [9.69240593, 28.2787386, 75.2348935],
        [10.8258761, 33.1173677, 76.6912013],
    ),
    ("Dyestuff2", "Yield ~ 1 + (1 | Batch)"): ([29.0], [30.0]),
}


METHODS = ("satterthwaite", "kenward-roger")


@lru_cache
def fitted(data: str, formula: str, method: str = "REML") -> LMMResult:
    return interlace.fit(formula, interlace.datasets.load(data), method=method)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize(("data", "formula"), LMERTEST, ids=[f"{d}: {f}" for d, f in LMERTEST])
def test_degrees_of_freedom_are_lmertests(data: str, formula: str) -> None:
    for method, expected in zip(("REML", "ML"), LMERTEST[data, formula], strict=True):
        np.testing.assert_allclose(fitted(data, formula, method).fe_df, expected, rtol=2e-6)


def test_weights_count() -> None:
    """lmerTest: weights = rep(c(.5, 1, 2), 60)."""
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data, weights=np.tile([0.5, 1.0, 2.0], 60))
    np.testing.assert_allclose(result.fe_df, [16.9379149, 16.7661150], rtol=2e-6)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize("reml", ["REML", "ML"])
@pytest.mark.parametrize("kind", KINDS)
def test_closed_form_agrees_with_differences_of_the_gradient(kind: str, reml: str) -> None:
    for seed in range(3):
        formula, data = frame_of(random_problem(np.random.default_rng(seed), kind))
        state = interlace.fit(formula, data, method=reml).state
        closed, numeric = exactly(state), by_differences(state)
        size = np.sqrt(np.diagonal(closed.hessian).clip(0.1))  # a parameter with less is not told apart from any other
        units = np.outer(size, size)
        np.testing.assert_allclose(numeric.hessian / units, closed.hessian / units, atol=3e-7)
        np.testing.assert_allclose(numeric.slopes, closed.slopes, atol=1e-7 * np.abs(closed.slopes).max())


def unprofiled(result: LMMResult) -> Any:
    """REML criterion and cov(beta) as functions of (theta, sigma) from n x n matrices, for one factor."""
    design = result.state.problem.design
    term, X, y = design.terms[0], design.X, design.y
    same = term.codes[:, None] == term.codes

    def evaluate(parameters: Array) -> tuple[float, Array]:
        L = np.array([[parameters[0], 0.0], [parameters[1], parameters[2]]])
        V = parameters[3] ** 2 * (np.eye(len(y)) + same * (term.Z @ L @ L.T @ term.Z.T))
        inverse = np.linalg.inv(V)
        cov = np.linalg.inv(X.T @ inverse @ X)
        residual = y - X @ (cov @ X.T @ inverse @ y)
        value = np.linalg.slogdet(V)[1] - np.linalg.slogdet(cov)[1] + residual @ inverse @ residual
        return float(value), cov

    return evaluate


def test_the_whole_definition_from_dense_matrices() -> None:
    """2 v^2 / (g' (2 H^-1) g), H and g in (theta, sigma) of the formula's basis, everything by finite differences."""
    rng = np.random.default_rng(3)
    codes, x, z = np.repeat(np.arange(9), [3, 4, 5, 6, 7, 8, 9, 10, 8]), rng.normal(size=60), rng.normal(size=9)
    y = 1 + x + rng.normal(size=9)[codes] + 0.8 * rng.normal(size=9)[codes] * x + rng.normal(size=60)
    data = pd.DataFrame({"y": y, "x": x, "z": z[codes], "g": codes})
    result = interlace.fit("y ~ x + z + (1 + x | g)", data)
    assert not result.is_singular
    at, evaluate, r = np.append(result.theta, result.sigma), unprofiled(result), 4
    steps = 2e-3 * np.eye(r)
    H = np.empty((r, r))
    for i in range(r):
        for j in range(r):
            H[i, j] = sum(a * b * evaluate(at + a * steps[i] + b * steps[j])[0] for a in (-1, 1) for b in (-1, 1)) / (
                4 * 2e-3**2
            )
    slopes = [(evaluate(at + s)[1] - evaluate(at - s)[1]) / 4e-3 for s in steps]
    v = np.diagonal(evaluate(at)[1])
    g = np.array([np.diagonal(slope) for slope in slopes])
    expected = 2 * v**2 / np.einsum("rp,rs,sp->p", g, 2 * np.linalg.inv(H), g)
    np.testing.assert_allclose(result.fe_df, expected, rtol=2e-4)


def test_balanced_designs_have_the_degrees_of_freedom_of_the_analysis_of_variance() -> None:
    """Split plots: varieties in blocks have (3 - 1)(6 - 1) degrees of freedom of error, rows below them the rest."""
    oats = interlace.datasets.load("Oats")
    means = interlace.fit("`yield` ~ C(Variety, contr.sum) + (1 | Block/Variety)", oats).fe_df
    np.testing.assert_allclose(means.iloc[1:], 10.0, rtol=1e-7)
    slope = interlace.fit("`yield` ~ nitro + (1 | Block/Variety)", oats).fe_df["nitro"]
    assert slope == pytest.approx(72 - 18 - 1, rel=1e-9)


def test_units_and_coding_do_not_matter() -> None:
    data = interlace.datasets.load("sleepstudy")
    data["seconds"], data["late"] = 86400.0 * data["Days"], data["Days"] - 9.0
    base = interlace.fit("Reaction ~ Days + (Days || Subject)", data).fe_df["Days"]
    scaled = interlace.fit("Reaction ~ seconds + (seconds || Subject)", data).fe_df["seconds"]
    assert scaled == pytest.approx(base, rel=1e-6)
    full = interlace.fit("Reaction ~ Days + (Days | Subject)", data).fe_df["Days"]
    shifted = interlace.fit("Reaction ~ late + (late | Subject)", data).fe_df["late"]
    assert shifted == pytest.approx(full, rel=1e-6)


@pytest.mark.parametrize("units", [1.0, 1e6])
def test_large_units_do_not_make_sigma_known(units: float) -> None:
    """A balanced design has 161. lmerTest has that too, and 1e22 in units of 1e-6, where it drops sigma as flat."""
    data = interlace.datasets.load("sleepstudy").assign(y=lambda d: units * d["Reaction"])
    found = interlace.fit("y ~ Days + (1 | Subject)", data).fe_df
    np.testing.assert_allclose(found, [22.8101991169316, 161.0], rtol=1e-10)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize(("y_units", "x_units"), [(1.0, 1.0), (1e6, 1e3), (1e-4, 1e3)])
def test_a_singular_fit_in_any_units(y_units: float, x_units: float) -> None:
    """Against differences of dense matrices in 60 digits; lmerTest has 6.836255, 4.792993 and 6.841864, 4.844323."""
    rng = np.random.default_rng(1)
    codes, x = np.repeat(np.arange(8), [3, 4, 5, 6, 4, 5, 6, 3]), rng.normal(size=36).round(2)
    effects = rng.normal(size=8)[codes]
    y = (2 + x + effects * (1 - 0.6 * x) + rng.normal(size=36)).round(2)
    result = interlace.fit("y ~ x + (1 + x | g)", pd.DataFrame({"y": y_units * y, "x": x_units * x, "g": codes}))
    assert result.is_singular
    np.testing.assert_allclose(result.fe_df, [6.836254843547121, 4.792992910155161], rtol=1e-9)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_singular_fits_count_vanished_directions_as_known() -> None:
    """All variances zero leaves least squares with n - p; one zero variance leaves the model without its term."""
    alone = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff2"))
    assert alone.is_singular
    assert alone.fe_df["Intercept"] == pytest.approx(29.0, rel=1e-12)
    data = interlace.datasets.load("sleepstudy")
    data["pair"] = np.arange(180) // 2 % 5
    both = interlace.fit("Reaction ~ Days + (1 | Subject) + (1 | pair)", data)
    assert both.boundary_flags["pair"]
    without = interlace.fit("Reaction ~ Days + (1 | Subject)", data)
    np.testing.assert_allclose(both.fe_df, without.fe_df, rtol=1e-6)


class Stored:
    """Interface of scikit-sparse 0.4 with dense numerics."""

    def __init__(self, A: Any) -> None:
        self.cholesky_inplace(A)

    def cholesky_inplace(self, A: Any) -> None:
        self._matrix = A.toarray()

    def logdet(self) -> float:
        return float(np.linalg.slogdet(self._matrix)[1])

    def __call__(self, b: Any) -> Any:
        return np.linalg.solve(self._matrix, b)

    def L(self) -> Any:  # noqa: N802
        return sparse.csc_array(np.tril(np.linalg.cholesky(self._matrix)))


def test_cholmod_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    pupil = np.repeat(np.arange(160), 4)
    move = np.where(rng.random(pupil.size) < 0.15, rng.integers(-1, 2, pupil.size), 0)
    school = (pupil // 8 + move) % 20
    x = rng.normal(size=pupil.size)
    y = x + rng.normal(size=160)[pupil] + 0.6 * rng.normal(size=20)[school] + rng.normal(size=pupil.size)
    data = pd.DataFrame({"y": y, "x": x, "pupil": pupil, "school": school})
    dense = {m: interlace.fit("y ~ x + (1 | pupil) + (1 | school)", data, df_method=m).fe_df for m in METHODS}
    package, stand_in = types.ModuleType("sksparse"), types.ModuleType("sksparse.cholmod")
    stand_in.analyze = Stored  # type: ignore[attr-defined]
    package.cholmod = stand_in  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sksparse", package)
    monkeypatch.setitem(sys.modules, "sksparse.cholmod", stand_in)
    monkeypatch.setattr(cholmod, "available", lambda: True)
    monkeypatch.setattr(cholmod, "CONSIDERED_FROM", 10)
    for method, expected in dense.items():
        result = interlace.fit("y ~ x + (1 | pupil) + (1 | school)", data, df_method=method)
        assert result.state.problem.structure.storage.cholmod
        pd.testing.assert_series_equal(result.fe_df, expected, rtol=1e-5)


def test_differences_take_over_where_the_closed_form_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    result = fitted("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)")
    expected = result.fe_df
    monkeypatch.setattr(module, "_AFFORDABLE", 0.0)
    called = []
    monkeypatch.setattr(module, "by_differences", lambda state: called.append(1) or by_differences(state))
    pd.testing.assert_series_equal(LMMResult(result.state, result.call).fe_df, expected, rtol=1e-8)
    assert called
