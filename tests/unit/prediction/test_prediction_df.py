"""Degrees of freedom of predictions against emmeans 1.8.4-1, the analysis of variance, and dense finite differences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from interlace.core.covariance import entries
from interlace.errors import ModelError
from interlace.prediction import uncertainty as module
from interlace.results.emmeans import emmeans
from interlace.results.lmm import LMMResult
from tests.problems import Array

pytestmark = pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")

RATS = "weight ~ Treatment * sex + Lsize + (1 | Litter)"
# SE, lower.CL and upper.CL of emmeans(m, ~ Treatment * sex, at = list(Lsize = 10), lmer.df = ...).
EMMEANS = {
    "satterthwaite": [
        [0.1263024750, 0.1286555698, 0.1410591037, 0.1299094283, 0.1249283376, 0.1403147696],
        [6.781473006, 6.311081562, 5.846844647, 6.363613789, 5.989956844, 5.543603528],
        [7.297565046, 6.833877438, 6.420079836, 6.892048673, 6.499358013, 6.113991631],
    ],
    "kenward-roger": [
        [0.1263880769, 0.1289196002, 0.1412076438, 0.1299809523, 0.1251021811, 0.1404099096],
        [6.781041850, 6.310324059, 5.846300191, 6.363237950, 5.989363706, 5.543166439],
        [7.297996202, 6.834634941, 6.420624292, 6.892424512, 6.499951151, 6.114428720],
    ],
}


def grid() -> pd.DataFrame:
    return pd.DataFrame(
        {"Treatment": ["Control", "Low", "High"] * 2, "sex": ["Male"] * 3 + ["Female"] * 3, "Lsize": 10}
    )


@pytest.mark.parametrize("method", ["satterthwaite", "kenward-roger", "residual", "normal"])
def test_a_prediction_of_the_fixed_part_is_an_estimated_marginal_mean(method: Any) -> None:
    result = interlace.fit(RATS, interlace.datasets.load("RatPupWeight"), df_method=method)
    found = result.predict(grid(), include_re=False, se=True, interval="confidence")
    means = emmeans(result, ["Treatment", "sex"], at={"Lsize": 10}).to_frame()
    order = means.set_index(["Treatment", "sex"]).loc[list(zip(grid()["Treatment"], grid()["sex"], strict=True))]
    ends = ["asymp.LCL", "asymp.UCL"] if method == "normal" else ["lower.CL", "upper.CL"]
    assert_allclose(found, order[["emmean", "SE", *ends]], rtol=1e-10)
    if method in EMMEANS:
        assert_allclose(found[["se", "lower", "upper"]], np.transpose(EMMEANS[method]), rtol=1e-8)


def reach(result: LMMResult, new: Any, **how: Any) -> pd.Series:
    """Half widths of intervals, in standard errors of what they are about."""
    table = result.predict(new, se=True, interval="confidence", **how)
    wide = result.predict(new, interval="prediction", **how)
    return pd.concat(
        [
            (table["upper"] - table["fit"]) / table["se"],
            (wide["upper"] - wide["fit"]) / np.sqrt(table["se"] ** 2 + result.scale),
        ],
        axis=1,
        keys=["confidence", "prediction"],
    )


def quantile(df: Any) -> Any:
    return stats.t.isf(0.025, df)


def test_balanced_groups_have_the_degrees_of_freedom_of_their_mean_squares() -> None:
    """6 batches of 5: 5 degrees of freedom between and 24 within, combined by Satterthwaite's formula of 1946."""
    data = interlace.datasets.load("Dyestuff")
    result = interlace.fit("Yield ~ 1 + (1 | Batch)", data)
    by_batch = data.groupby("Batch", observed=True)["Yield"]
    between, within = 5 * by_batch.mean().var(), by_batch.var().mean()

    def df(a: float, b: float) -> float:
        return float((a * between + b * within) ** 2 / ((a * between) ** 2 / 5 + (b * within) ** 2 / 24))

    new_batch = reach(result, {"Batch": ["new"]}).iloc[0]
    assert_allclose(new_batch["confidence"], quantile(df((1 + 1 / 6) / 5, -1 / 5)), rtol=1e-7)
    assert_allclose(new_batch["prediction"], quantile(df((1 + 1 / 6) / 5, 1 - 1 / 5)), rtol=1e-7)
    average = reach(result, {"Batch": ["A"]}, include_re=False).iloc[0]
    assert_allclose(average["confidence"], quantile(5), rtol=1e-9)
    assert_allclose(average["prediction"], quantile(df(1 / 30, 1.0)), rtol=1e-9)


@dataclass(frozen=True)
class Dense:
    """Criterion, and the variance of x'beta_hat + z'(b_hat - b), from n x n matrices; one term.

    Parameters are theta and log sigma.
    """

    result: LMMResult

    def parts(self, at: Array) -> tuple[Array, Array, Array]:
        design, Z = self.result.state.problem.design, self.result.model.Z.toarray()
        k = design.terms[0].Z.shape[1]
        L = np.zeros((k, k))
        L[entries(k, "unstructured")] = at[:-1]
        G = np.kron(np.eye(Z.shape[1] // k), L @ L.T)
        inverse = np.linalg.inv(np.diag(1.0 / design.weights) + Z @ G @ Z.T)
        return G, Z @ G, inverse

    def criterion(self, at: Array) -> float:
        design, (_, _, inverse), s2 = self.result.state.problem.design, self.parts(at), np.exp(2 * at[-1])
        X, y = design.X, design.y
        fixed = X.T @ inverse @ X
        r = y - X @ np.linalg.solve(fixed, X.T @ inverse @ y)
        value = len(y) * np.log(s2) - np.linalg.slogdet(inverse)[1] + r @ inverse @ r / s2
        return float(value + (np.linalg.slogdet(fixed)[1] - len(fixed) * np.log(s2)) * (self.result.method == "REML"))

    def variance(self, at: Array, x: Array, z: Array, residual: float) -> float:
        G, ZG, inverse = self.parts(at)
        X, shared = self.result.state.problem.design.X, ZG @ z
        d = x - X.T @ inverse @ shared
        spread = z @ G @ z - shared @ inverse @ shared + d @ np.linalg.solve(X.T @ inverse @ X, d)
        return float(np.exp(2 * at[-1]) * (spread + residual))


def second_derivatives(f: Callable[[Array], float], at: Array, step: float) -> Array:
    """Central differences of fourth order, from those of second order at two steps."""

    def plain(h: float) -> Array:
        steps, signs = h * np.eye(at.size), ((1, 1), (1, -1), (-1, 1), (-1, -1))
        return np.array(
            [[sum(a * b * f(at + a * u + b * v) for a, b in signs) / (4 * h * h) for v in steps] for u in steps]
        )

    return (4.0 * plain(step) - plain(2.0 * step)) / 3.0


@pytest.mark.parametrize("method", ["REML", "ML"])
def test_known_groups_by_differences_of_dense_matrices(method: Any) -> None:
    data = interlace.datasets.load("sleepstudy")[20:150].assign(w=np.tile([0.5, 1.0, 2.0, 1.0, 1.5], 26))
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data, method=method, weights="w")
    new = pd.DataFrame({"Days": [0.0, 5.0, 12.0], "Subject": ["330", "350", "330"]})
    levels, found, dense = list(result.random_effects["Subject"].index), reach(result, new), Dense(result)
    at, h = np.append(result.theta, np.log(result.sigma)), 1e-5
    C = 2.0 * np.linalg.inv(second_derivatives(dense.criterion, at, 2e-3))
    for row in range(3):
        x, z = np.array([1.0, new["Days"][row]]), np.zeros(2 * len(levels))
        where = 2 * levels.index(new["Subject"][row])
        z[where : where + 2] = x
        for kind, residual in (("confidence", 0.0), ("prediction", 1.0)):
            ends = [[dense.variance(at + s * u, x, z, residual) for s in (h, -h)] for u in np.eye(at.size)]
            g = np.array([(upper - lower) / (2 * h) for upper, lower in ends])
            df = 2 * dense.variance(at, x, z, residual) ** 2 / (g @ C @ g)
            assert df < 160
            assert_allclose(found[kind][row], quantile(df), rtol=1e-7)


def test_many_rows_by_their_distinct_values(monkeypatch: pytest.MonkeyPatch) -> None:
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data)
    many = pd.concat([data, data.assign(Subject="new"), data, data.assign(Days=np.nan)], ignore_index=True)
    plain = result.predict(many, se=True, interval="prediction")
    assert plain[540:].isna().all(axis=None)
    monkeypatch.setattr(module, "_MANY_ROWS", 10)
    sizes = set()
    inner = module.linear_predictor_variance

    def counted(state: Any, X: Any, *rest: Any) -> Any:
        sizes.add(len(X))
        return inner(state, X, *rest)

    monkeypatch.setattr(module, "linear_predictor_variance", counted)
    pd.testing.assert_frame_equal(result.predict(many, se=True, interval="prediction"), plain, rtol=1e-12)
    assert sizes == {190}  # 180 rows of the data, and 10 days of a new subject


def test_singular_fits_and_no_variance() -> None:
    """A variance of zero counts as known: what is left is least squares."""
    result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff2"))
    assert result.is_singular
    assert_allclose(reach(result, {"Batch": ["A", "new"]}), quantile(29), rtol=1e-7)
    through_zero = interlace.fit("Reaction ~ 0 + Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    row = through_zero.predict({"Days": [0.0]}, include_re=False, interval="confidence").iloc[0]
    assert row.tolist() == [0.0, 0.0, 0.0]


def test_without_fixed_effects() -> None:
    data = interlace.datasets.load("sleepstudy").assign(y=lambda d: d["Reaction"] - 300)
    result = interlace.fit("y ~ 0 + (1 | Subject)", data)
    assert np.isfinite(reach(result, {"Subject": ["308", "new"]})).all(axis=None)


def test_kenward_roger_needs_reml_only_where_it_is_used() -> None:
    result = interlace.fit(RATS, interlace.datasets.load("RatPupWeight"), method="ML", df_method="kenward-roger")
    assert result.predict(grid(), include_re=False).notna().all()
    with pytest.raises(ModelError, match="REML"):
        result.predict(grid(), include_re=False, interval="confidence")


def test_random_effects_by_kenward_roger_have_satterthwaites() -> None:
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    new = {"Days": [0.0, 5.0], "Subject": ["308", "new"]}
    adjusted = result.update(df_method="kenward-roger")
    assert_allclose(reach(adjusted, new), reach(result, new), rtol=1e-9)
    assert_allclose(reach(result.update(df_method="residual"), new), quantile(178), rtol=1e-12)
