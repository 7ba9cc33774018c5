"""Generalized models and data drawn at random, against lme4."""

from __future__ import annotations

import pytest
from hypothesis import assume, event, given, settings

from interlace.rbridge import RError
from parity.bridge import Bridge, generated_cases, recorded
from parity.case import Case
from parity.compare import compare_case, reproduction
from parity.glmm_strategies import GlmmPlan, build_glmm, glmm_plans

FOLDER = "generated_glmm"
RECORDED = generated_cases(FOLDER)
#: A rival optimum is nearer than this fraction of the criterion. What is further apart would pass for one, and hide
#: that the two sides do not compute the same thing.
OTHER_LIKELIHOOD = 0.01


@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_random_glmm_agrees(case: Case) -> None:
    table = compare_case(case, recorded(case, FOLDER)).table
    assert table.judged, f"lme4's reference is no optimum of the same likelihood, {table.gain:.3g} above ours"
    assert table.agrees, f"{table}\n{case.about}\n{reproduction(case)}"


@pytest.mark.needs_r
@settings(max_examples=max(1, settings.default.max_examples // 3))  # lme4 takes about a second for each
@given(plan=glmm_plans())
def test_random_glmm_agrees(plan: GlmmPlan, bridge: Bridge) -> None:
    case = build_glmm(plan)
    try:
        reference = bridge(case)
    except RError as error:
        event(f"lme4 gave up: {str(error)[:60]}")
        assume(False)
    table = compare_case(case, reference).table
    event("lme4 stopped at a worse optimum" if not table.judged else "same optimum")
    assert table.gain < OTHER_LIKELIHOOD * abs(table.criterion), f"two likelihoods, not two optima:\n{table}\n{plan}"
    event("regular" if reference.numbers.regular else "on the boundary")
    lower = "interlace" if table.gain > 0 else "lme4"
    assert table.agrees, (
        f"{table}\n{lower} has the lower criterion, by {abs(table.gain):.3g}\n{plan}\n{reproduction(case)}"
    )
