"""Deletion from generalized models against lme4."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, event, given, settings

from interlace.rbridge import RError
from parity.case import Case
from parity.compare import reproduction
from parity.diagnostics_glmm import compare_glmm_influence, compare_glmm_refits, live_glmm_influence
from parity.glmm_strategies import GlmmPlan, build_glmm, glmm_plans
from parity.inference import failures

CBPP = Case("cbpp", "incidence / size ~ period + (1 | herd)", "cbpp", weights="size", family="binomial")
TICKS = Case("ticks", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", "grouseticks", family="poisson")
#: Without this location lme4 takes the standard error of cHEIGHT for a third of what it is.
ASTRAY = "50"


def levels(case: Case, group: str, chosen: Sequence[int]) -> dict[str, list[int]]:
    """Rows of some levels, numbered as they appear."""
    codes, labels = pd.factorize(case.frame()[group])
    return {f"{group} {labels[j]}": np.flatnonzero(codes == j).tolist() for j in chosen}


@pytest.mark.needs_r
@pytest.mark.parametrize(
    ("case", "sets"),
    [
        (CBPP, levels(CBPP, "herd", range(0, 15, 2)) | {"one row": [40], "two rows": [0, 17]}),
        (TICKS, levels(TICKS, "LOCATION", [3]) | levels(TICKS, "BROOD", [7]) | {"one row": [100]}),
    ],
    ids=["cbpp", "ticks"],
)
def test_deletion_agrees_with_tight_refits(case: Case, sets: dict[str, list[int]]) -> None:
    gaps, beaten = compare_glmm_refits(case, sets)
    assert not beaten
    assert not failures(gaps), failures(gaps)


@pytest.mark.needs_r
def test_influence_agrees() -> None:
    gaps = compare_glmm_influence(CBPP, "herd", live_glmm_influence(CBPP, "herd"))
    assert not failures(gaps), failures(gaps)


@pytest.mark.needs_r
def test_where_influence_is_wrong_a_tight_refit_is_ours() -> None:
    theirs = live_glmm_influence(TICKS, "LOCATION")
    gaps = compare_glmm_influence(TICKS, "LOCATION", theirs, without=ASTRAY)
    assert not failures(gaps), failures(gaps)
    place = pd.factorize(TICKS.frame()["LOCATION"])[1].tolist().index(ASTRAY)
    gaps, _ = compare_glmm_refits(TICKS, levels(TICKS, "LOCATION", [place]))
    assert not failures(gaps), failures(gaps)


@pytest.mark.needs_r
@settings(max_examples=max(2, settings.default.max_examples // 20))  # lme4 takes some seconds for each
@given(plan=glmm_plans().filter(lambda plan: plan.response != "negative.binomial" and not plan.missing))
def test_deletion_from_a_random_model_agrees(plan: GlmmPlan) -> None:
    case = build_glmm(plan)
    try:
        gaps, beaten = compare_glmm_refits(case, levels(case, "g", [1]) | {"three rows": [2, 9, 30]})
    except RError as error:
        event(f"lme4 gave up: {str(error)[:60]}")
        assume(False)
    event("lme4 stopped at a worse optimum" if beaten else "same optima")
    assert not failures(gaps), f"{failures(gaps)}\n{plan}\n{reproduction(case)}"
