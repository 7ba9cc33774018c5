"""Tests, degrees of freedom and intervals of the models in inference_plans.py against R's packages."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings

from interlace import Control
from parity.bridge import StaleReferenceError
from parity.case import Case
from parity.compare import reproduction
from parity.inference import compare_inference, failures, inference_limits
from parity.inference_plans import EXACT, PLANS, InferencePlan
from parity.inference_reference import live, recorded_inference, references
from parity.strategies import Plan, build, plans

LIVE = [plan for plan in PLANS if plan.quick]
#: R starts from an optimum found to rounding; what the stopping rule of the fits leaves, 1e-8 of theta, is judged
#: elsewhere.
_AT_OPTIMUM = 1e-14
#: What one example costs in R, in units of a plain fit's: tests, roots of the deviance, R's own profile.
_COST_OF_TESTS, _COST_OF_ROOTS, _COST_OF_PROFILE = 4, 8, 13
#: Step of R's profile here: its spline is good to 1e-6 of an interval's width, at half the cost of the usual one.
_DELTA = 0.2
#: In widths of an interval: R's own profile has failed if its ends are further than this from roots of R's deviance.
_GONE_ASTRAY = 1e-2
#: What it has rows for, in their order.
_ROOTS_OF_PROFILE = ("exact_variances", "exact_coefficients")


def few(cost: int) -> int:
    """Examples where each costs R as much as ``cost`` plain fits."""
    return max(3, settings.default.max_examples // cost)


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
    source, theirs = references(plan, live_r=True, slow=False)[0]
    assert source == "live"
    gaps = compare_inference(plan.case, theirs)
    assert not failures(gaps), failures(gaps)


def in_plain_units(plan: Plan) -> Plan:
    """A plan on which lmerTest's numerical derivatives are good, and pbkrtest's n x n matrices small."""
    smaller = {"groups": min(plan.groups, 10), "inner": min(plan.inner, 4), "size": min(plan.size, 6)}
    return replace(plan, **smaller, x_scale=1.0, x_shift=0.0, y_scale=1.0)


def small(plan: Plan) -> Plan:
    """A plan on which R's own searches reach the minima they need: few parameters, in plain units."""
    return in_plain_units(replace(plan, slopes=plan.slopes and "x", second_slope=False))


def intercepts(plan: Plan) -> Plan:
    """A plan on which R's own profile succeeds mostly: random intercepts with variances away from zero."""
    large = {"sd_intercept": max(1.5, plan.sd_intercept), "sd_second": max(1.5, plan.sd_second)}
    return replace(small(plan), slopes="", factor="no", inner=6, **large)


@pytest.mark.needs_r
@settings(max_examples=few(_COST_OF_TESTS))
@given(plan=plans().map(in_plain_units))
def test_degrees_of_freedom_and_tests_of_a_random_model_agree(plan: Plan) -> None:
    case = build(plan)
    # pbkrtest refits by REML what was fitted by ML, and has no weights.
    parts = ["satterthwaite"] + ["kenward_roger"] * (plan.method == "REML" and not plan.weights)
    theirs = live(case, parts)
    assert set(parts) <= set(theirs), theirs["failures"]
    assert all(set(theirs[part]["anova"]) == {"I", "II", "III"} for part in parts)
    problems = disagreements(case, theirs)
    assert not problems, f"{problems}\n{plan}\n{reproduction(case)}"


@pytest.mark.needs_r
@settings(max_examples=few(_COST_OF_ROOTS))
@given(plan=plans().map(small))
def test_intervals_of_a_random_model_are_roots_of_rs_deviance(plan: Plan) -> None:
    case = build(plan)
    problems = disagreements(case, live(case, EXACT[:2]))
    assert not problems, f"{problems}\n{plan}\n{reproduction(case)}"


@pytest.mark.needs_r
@settings(max_examples=few(_COST_OF_PROFILE))
@given(plan=plans().map(intercepts))
def test_intervals_of_a_random_model_agree_with_rs_profile(plan: Plan) -> None:
    case = build(plan)
    theirs = live(case, ["profile", *_ROOTS_OF_PROFILE], delta=_DELTA)
    if "profile" in theirs:
        theirs["profile"] = without_failures(theirs)
    else:
        event("R could not profile")
    problems = disagreements(case, theirs)
    assert not problems, f"{problems}\n{plan}\n{reproduction(case)}"


def without_failures(theirs: dict[str, Any]) -> dict[str, Any]:
    """R's profile with NaN for the rows that R's own deviance contradicts: its spline can go astray without a word."""
    parts = [theirs[part] for part in _ROOTS_OF_PROFILE]
    roots = {end: np.concatenate([part[end] for part in parts]) for end in ("lower", "upper")}
    profile = theirs["profile"]
    assert [name for part in parts for name in part["names"]] == list(profile["names"])
    width = roots["upper"] - roots["lower"]
    with np.errstate(invalid="ignore"):  # infinite on both sides
        good = np.all([np.abs(profile[end] - roots[end]) < _GONE_ASTRAY * width for end in roots], axis=0)
    event(f"R's profile succeeded for {'all' if good.all() else 'some' if good.any() else 'no'} parameters")
    return profile | {end: np.where(good, profile[end], np.nan) for end in roots}


def disagreements(case: Case, theirs: dict[str, Any]) -> str:
    """Quantities beyond their limits, where R found the optimum and its numbers exist."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits
        ours = case.fit(case.frame())
    if theirs["criterion"][0] > ours.deviance + 1e-7 * abs(ours.deviance):
        event("lme4 stopped at a worse optimum")
        return ""
    # Where a variance may be zero the deviance has plateaus and several minima, before which R's searches stop.
    lower = [theirs[part]["lower"] for part in ("exact_theta", "exact_variances") if part in theirs]
    reaches_zero = any((ends == 0.0).any() for ends in lower) or ours.is_singular
    gaps = compare_inference(case, theirs, narrower=reaches_zero, control=Control(tol=_AT_OPTIMUM))
    event("on the boundary" if ours.is_singular else "an interval reaches it" if reaches_zero else "regular")
    # On the boundary theta is not unique, and lmerTest's numerical derivatives reach across it; near it R's profile of
    # a standard deviation has a kink.
    left_out = ["spline"] * reaches_zero + ["satterthwaite", "kenward"] * ours.is_singular
    return failures([gap for gap in gaps if not gap.quantity.startswith(tuple(left_out))])


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
