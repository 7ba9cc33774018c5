"""Models and data drawn at random, against lme4."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import event, given

from parity.bridge import Bridge, generated_cases, recorded
from parity.case import Case
from parity.compare import compare_case, reproduction
from parity.strategies import Plan, build, plans

OUT = Path(__file__).parent / "out" / "failures"
RECORDED = generated_cases()


@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_random_model_agrees(case: Case) -> None:
    table = compare_case(case, recorded(case, "generated")).table
    assert table.agrees, f"{table}\n{case.about}\n{reproduction(case)}"


@pytest.mark.needs_r
@given(plan=plans())
def test_random_model_agrees(plan: Plan, bridge: Bridge) -> None:
    case = build(plan)
    reference = bridge(case)
    table = compare_case(case, reference).table
    event("lme4 stopped at a worse optimum" if not table.judged else "same optimum")
    event("regular" if reference.numbers.regular else "on the boundary")
    if not table.agrees:
        OUT.mkdir(parents=True, exist_ok=True)
        code = reproduction(case)
        (OUT / "last.py").write_text(code + "\n")
        lower = "interlace" if table.gain > 0 else "lme4"
        pytest.fail(f"{table}\n{lower} has the lower criterion, by {abs(table.gain):.3g}\n{plan}\n{code}")
