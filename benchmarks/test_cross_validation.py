"""Timings of cross-validation (`make bench`); each also checks some folds against fits of the rows that are left."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace


def many_groups() -> pd.DataFrame:
    """500 groups of 20,000 rows together."""
    rng = np.random.default_rng(1)
    group = rng.integers(0, 500, 20_000)
    df = pd.DataFrame({"g": group, "x": rng.normal(size=group.size), "z": rng.normal(size=group.size)})
    effects = rng.normal(size=(500, 2)) * [1.0, 0.3]
    noise = rng.normal(size=group.size)
    return df.assign(y=1.0 + 0.5 * df.x - 0.2 * df.z + effects[group, 0] + effects[group, 1] * df.x + noise)


def one_score(formula: str, df: pd.DataFrame, by: str, level: object, **options: object) -> float:
    """Root mean squared error of one group, by fit and predict."""
    test = df[by] == level
    model = interlace.fit(formula, df[~test], **options)
    return float(np.sqrt(np.mean((df.loc[test, "y"] - model.predict(df[test])) ** 2)))


@pytest.mark.parametrize("scoring", ["rmse", "log_score"])
@pytest.mark.parametrize("formula", ["y ~ x + z + (1 | g)", "y ~ x + z + (x | g)"])
def test_five_hundred_groups(benchmark, formula: str, scoring: str) -> None:
    df = many_groups()
    cv = benchmark.pedantic(lambda: interlace.cross_val(formula, df, scoring=scoring), rounds=3, warmup_rounds=1)
    assert len(cv.scores) == 500
    if scoring == "rmse":
        for fold in (0, 250):
            assert cv.scores[fold] == pytest.approx(one_score(formula, df, "g", fold), rel=1e-8)


def test_departments_of_insteval(benchmark) -> None:
    formula, df = "y ~ service + (1 | s) + (1 | d) + (1 | dept)", interlace.datasets.load("InstEval")
    cv = benchmark.pedantic(
        lambda: interlace.cross_val(formula, df, groups="dept", method="ML"), rounds=1, warmup_rounds=0
    )
    assert len(cv.scores) == 14
    [first] = cv.fold_results[0].groups
    assert cv.scores[0] == pytest.approx(one_score(formula, df, "dept", first, method="ML"), rel=1e-8)


def test_herds_of_cbpp(benchmark) -> None:
    df = interlace.datasets.load("cbpp")
    cv = benchmark.pedantic(
        lambda: interlace.cross_val(
            "incidence / size ~ period + (1 | herd)", df, family="binomial", weights="size", scoring="log_score"
        ),
        rounds=3,
        warmup_rounds=1,
    )
    assert np.isfinite(cv.scores).all()
