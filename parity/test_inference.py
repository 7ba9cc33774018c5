"""Tests, degrees of freedom and intervals of the models in inference_plans.py against R's packages."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings

from parity.bridge import Bridge, StaleReferenceError
from parity.case import Case
from parity.compare import reproduction
from parity.inference import compare_inference, failures, inference_limits
from parity.inference_plans import EXACT, PLANS, InferencePlan
from parity.inference_reference import live, recorded_inference
from parity.strategies import Plan, build, plans

#: What R finds in tenths of a second.
QUICK = ("satterthwaite", "kenward_roger", "wald", "means_satterthwaite", "means_kenward_roger")
LIVE = [plan for plan in PLANS if plan.case.family is None and plan.case.frame().shape[0] < 500]
#: One R example costs what eight of a plain fit do.
FEW = max(3, settings.default.max_examples // 8)


def _identified(chosen: list[InferencePlan] | tuple[InferencePlan, ...]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("plan", chosen, ids=[plan.name for plan in chosen])


@_identified(PLANS)
def test_inference_agrees_with_what_r_said(plan: InferencePlan) -> None:
    theirs = recorded_inference(plan)
    missing = [part for part in plan.wanted if part not in theirs]
    assert missing == [], theirs["failures"]
    gaps = compare_inference(plan.case, theirs)
    assert not failures(gaps), failures(gaps)


@pytest.mark.needs_r
@_identified(LIVE)
def test_inference_agrees_with_r(plan: InferencePlan) -> None:
    parts = [part for part in plan.wanted if part in QUICK]
    theirs = live(plan.case, parts, plan.factor)
    assert set(parts) <= set(theirs), theirs["failures"]
    gaps = compare_inference(plan.case, theirs)
    assert not failures(gaps), failures(gaps)


def small(plan: Plan) -> Plan:
    """A plan on which R's own searches reach the minima they need: few parameters, in plain units."""
    plain = {"x_scale": 1.0, "x_shift": 0.0, "y_scale": 1.0}
    return replace(plan, slopes=plan.slopes and "x", second_slope=False, groups=min(plan.groups, 10), **plain)


@pytest.mark.needs_r
@settings(max_examples=FEW)
@given(plan=plans().map(small))
def test_inference_about_a_random_model_agrees(plan: Plan, bridge: Bridge) -> None:
    case = build(plan)
    # pbkrtest refits by REML what was fitted by ML, and has no weights.
    degrees = ["satterthwaite"] + ["kenward_roger"] * (plan.method == "REML" and not plan.weights)
    theirs = live(case, [*degrees, "exact_theta", "exact_coefficients"])
    problems = disagreements(case, theirs)
    assert not problems, f"{problems}\n{plan}\n{reproduction(case)}"


def disagreements(case: Case, theirs: dict[str, Any]) -> str:
    """Quantities beyond their limits, where R found the optimum and its numbers exist."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits
        ours = case.fit(case.frame())
    if theirs["criterion"][0] > ours.deviance + 1e-7 * abs(ours.deviance):
        event("lme4 stopped at a worse optimum")
        return ""
    # Where a variance may be zero the deviance has plateaus and several minima, before which R's searches stop.
    reaches_zero = bool((theirs["exact_theta"]["lower"] == 0.0).any()) or ours.is_singular
    gaps = compare_inference(case, theirs, narrower=reaches_zero)
    event("on the boundary" if ours.is_singular else "an interval reaches it" if reaches_zero else "regular")
    # On the boundary theta is not unique, and lmerTest's numerical derivatives reach across it.
    return failures([gap for gap in gaps if gap.quantity.startswith("exact") or not ours.is_singular])


def test_records_cover_every_kind_of_comparison() -> None:
    assert len(PLANS) >= 12
    assert len({plan.name for plan in PLANS}) == len(PLANS)
    compared = {gap.quantity for plan in PLANS for gap in compare_inference(plan.case, recorded_inference(plan))}
    assert compared == set(inference_limits())


def test_a_wrong_number_is_noticed() -> None:
    plan = next(plan for plan in PLANS if plan.name == "sleep_slopes")
    theirs = recorded_inference(plan)
    theirs["kenward_roger"]["coefficients"]["df"] = theirs["kenward_roger"]["coefficients"]["df"] * (1 + 1e-6)
    theirs["exact_theta"]["upper"] = theirs["exact_theta"]["upper"] + np.array([0.0, 1e-6, 0.0])
    theirs["wald"]["lower"] = theirs["wald"]["lower"] * np.nan
    beyond = failures(compare_inference(plan.case, theirs))
    assert beyond.count("\n") == 1
    assert "kenward_roger_df" in beyond
    assert "exact_theta" in beyond


def test_other_data_or_parts_make_a_record_stale() -> None:
    plan = next(plan for plan in PLANS if plan.name == "sleep_slopes")
    with pytest.raises(StaleReferenceError, match="record-inference sleep_slopes"):
        recorded_inference(replace(plan, parts=EXACT))
