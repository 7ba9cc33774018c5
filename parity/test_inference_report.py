"""The oracle about derivatives, and the report's part about tests and intervals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import interlace
from parity.bridge import Bridge
from parity.inference import inference_limits
from parity.inference_plans import PLANS, InferencePlan
from parity.inference_reference import recorded_inference
from parity.inference_report import compare_plans, inference_json, inference_markdown, judge, worst_of
from parity.oracle import STEP, curvature, generalized_errors, satterthwaite_df

#: More than a hundred random effects, or singular.
NOT_ASKED = ("exam", "classroom", "dyestuff2")
SMALL = [plan for plan in PLANS if plan.case.family is None and plan.name not in NOT_ASKED]
#: A derivative of sixth order in extended precision; without it (machines other than x86) rounding takes five digits.
SURE = 1e-10 if np.finfo(np.longdouble).nmant > 60 else 1e-5


def plan_called(name: str) -> InferencePlan:
    return next(plan for plan in PLANS if plan.name == name)


@pytest.mark.parametrize("plan", SMALL, ids=[plan.name for plan in SMALL])
def test_exact_derivatives_are_the_oracles(plan: InferencePlan) -> None:
    verdict = judge(plan.case, recorded_inference(plan))
    assert verdict is not None
    assert verdict.ours < SURE
    assert verdict.theirs < inference_limits()["satterthwaite_df"]


def test_covariance_of_a_generalized_model_is_the_oracles() -> None:
    verdict = judge(plan_called("cbpp").case, {})
    assert verdict is not None
    assert max(verdict.ours, verdict.theirs) < 1e-7


@pytest.mark.parametrize("name", NOT_ASKED)
def test_oracle_is_not_asked_about_large_and_singular_fits(name: str) -> None:
    plan = plan_called(name)
    assert judge(plan.case, recorded_inference(plan)) is None


def test_oracle_does_not_depend_on_its_step_or_on_units() -> None:
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data)
    expected = satterthwaite_df(result)
    np.testing.assert_allclose(satterthwaite_df(result, step=2 * STEP), expected, rtol=10 * SURE)
    other = interlace.fit("Reaction ~ x + (x | Subject)", data.assign(x=1e3 * data["Days"]))
    np.testing.assert_allclose(satterthwaite_df(other), expected, rtol=1e-7)


def test_oracle_at_another_theta_has_other_degrees_of_freedom() -> None:
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    away = satterthwaite_df(result, 1.1 * result.theta)
    assert (np.abs(away / satterthwaite_df(result) - 1.0) > 1e-3).all()


def test_differences_are_of_sixth_order() -> None:
    def errors(step: float) -> np.ndarray:
        x = np.array([0.3, 0.7], dtype=np.longdouble)
        first, second = curvature(lambda x: np.exp(x[:1] + 2.0 * x[1:]), x, [step, step])
        value = np.exp(x[0] + 2.0 * x[1])
        exact = value * np.array([[1.0, 2.0], [2.0, 4.0]])
        return np.abs(np.array([*(first[:, 0] - exact[0]), *(second[:, :, 0] - exact).ravel()], dtype=float))

    ratios = errors(0.2) / errors(0.1)
    assert (ratios > 50).all()
    assert (ratios < 80).all()


def test_oracle_says_what_it_does_not_know() -> None:
    ticks = interlace.datasets.load("grouseticks")
    probit = interlace.glmer("TICKS > 0 ~ YEAR + (1 | LOCATION)", ticks, "binomial", link="probit")
    with pytest.raises(NotImplementedError, match="binomial with the link probit"):
        generalized_errors(probit)


@pytest.fixture(scope="module")
def compared() -> Any:
    return compare_plans([plan_called(name) for name in ("sleep_slopes", "cbpp", "machines")], Bridge("recorded"))


def test_report_has_the_worst_of_each_quantity(compared: Any) -> None:
    findings, verdicts = compared
    quantities = {one.gap.quantity for one in findings}
    assert len(quantities) == len(inference_limits())
    text = "\n".join(inference_markdown(findings, verdicts))
    for worst in worst_of(findings):
        same = [one for one in findings if one.gap.quantity == worst.gap.quantity]
        assert worst.gap.value / max(worst.gap.limit, 1e-300) == max(
            one.gap.value / max(one.gap.limit, 1e-300) for one in same
        )
        assert text.count(f"\n| {worst.gap.quantity} |") == 1
    assert "Beyond the limit" not in text
    assert "| recorded |" in text
    assert "| live |" not in text


def test_report_names_the_oracle_and_the_nearer_side(compared: Any) -> None:
    _, verdicts = compared
    text = "\n".join(inference_markdown(*compared))
    assert "parity/oracle.py" in text
    assert "Models small and regular enough for the oracle: 3." in text
    assert verdicts == sorted(verdicts, key=lambda one: -one.apart)
    assert {one.nearer for one in verdicts if one.quantity == "Satterthwaite df"} == {"interlace"}


def test_report_shows_what_is_beyond_its_limit(compared: Any) -> None:
    findings, verdicts = compared
    gap = replace(findings[0].gap, value=2 * findings[0].gap.limit)
    wrong = [replace(findings[0], gap=gap), *findings[1:]]
    text = "\n".join(inference_markdown(wrong, verdicts))
    assert "### Beyond the limit\n\n| quantity |" in text
    assert text.split("### Beyond the limit")[1].count(f"| {gap.quantity} |") == 1
    assert not inference_json(wrong, verdicts)["agrees"]


def test_report_can_be_written_as_json(compared: Any) -> None:
    findings, verdicts = compared
    content = json.loads(json.dumps(inference_json(findings, verdicts)))
    assert content["agrees"]
    assert len(content["rows"]) == len(findings)
    assert {row["quantity"] for row in content["oracle"]} == {"Satterthwaite df", "standard error"}
