"""Timings of deletion diagnostics (`make bench`); each also checks some refits against single fits.

The exact refits without each student of InstEval take one to two minutes; they run with `make bench LARGE=1`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from benchmarks.test_cross_validation import many_groups
from interlace.diagnostics import CaseDeletion
from interlace.influence import case_delete, cooks_distance, lmer_influence_measures

SLOPES = "y ~ x + z + (x | g)"
INSTEVAL = "y ~ service + (1 | s) + (1 | d) + (1 | dept)"


def assert_best(deletion: CaseDeletion, formula: str, df: pd.DataFrame, places: list[int]) -> None:
    """No refit failed, and single fits come no lower."""
    assert deletion.failed.empty
    for place in places:
        left = df.drop(index=df.index[deletion.units.rows[place]])
        assert deletion.criterion.iloc[place] <= -2.0 * interlace.fit(formula, left).llf + 1e-6


def test_everything_about_sleepstudy(benchmark) -> None:
    """Exact refits without each of 180 rows and 18 subjects, every measure; the project's target is 0.15 s."""
    formula, df = "Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")
    result = interlace.fit(formula, df)
    tables = benchmark.pedantic(
        lambda: [lmer_influence_measures(result, level) for level in (1, "Subject")], rounds=10, warmup_rounds=2
    )
    for table in tables:
        assert np.isfinite(table).all(axis=None)
    other = interlace.fit(formula, df[df["Subject"] != "309"])
    change = result.fe_params - other.fe_params
    expected = change @ np.linalg.solve(result.fe_cov, change) / 2.0
    assert tables[1].loc["309", "cooksd"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("level", [1, "g"])
@pytest.mark.parametrize("approx", [False, True], ids=["exact", "one step"])
def test_twenty_thousand_rows_of_five_hundred_groups(benchmark, level: int | str, approx: bool) -> None:
    df = many_groups()
    result = interlace.fit(SLOPES, df)
    if approx:
        found = benchmark.pedantic(lambda: cooks_distance(result, level, approx=True), rounds=3, warmup_rounds=1)
        assert np.isfinite(found).all()
        return
    deletion = benchmark.pedantic(lambda: case_delete(result, level), rounds=3, warmup_rounds=1)
    assert_best(deletion, SLOPES, df, [0, len(deletion.units) - 1])


@pytest.fixture(scope="module")
def insteval() -> Any:
    return interlace.fit(INSTEVAL, interlace.datasets.load("InstEval"))


@pytest.mark.parametrize("level", ["s", "d", "dept"])
def test_one_step_without_each_level_of_insteval(benchmark, insteval: Any, level: str) -> None:
    found = benchmark.pedantic(lambda: cooks_distance(insteval, level, approx=True), rounds=1, warmup_rounds=0)
    assert np.isfinite(found).all()


def test_departments_of_insteval(benchmark, insteval: Any) -> None:
    deletion = benchmark.pedantic(lambda: case_delete(insteval, "dept"), rounds=1, warmup_rounds=0)
    assert_best(deletion, INSTEVAL, interlace.datasets.load("InstEval"), [0])


@pytest.mark.large
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_students_of_insteval(benchmark, insteval: Any, n_jobs: int) -> None:
    deletion = benchmark.pedantic(lambda: case_delete(insteval, "s", n_jobs=n_jobs), rounds=1, warmup_rounds=0)
    assert len(deletion.units) == 2972
    assert_best(deletion, INSTEVAL, interlace.datasets.load("InstEval"), [0])
