"""Influence, residuals and leverage against HLMdiag and lme4, recorded and live."""

from __future__ import annotations

import shutil
import subprocess
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import event, given, settings

from parity.bridge import StaleReferenceError, manifest
from parity.compare import reproduction
from parity.diagnostics import compare_model, used_exemptions
from parity.diagnostics_deletions import compare_case_delete, compare_rotation
from parity.diagnostics_exemptions import EXEMPT
from parity.diagnostics_gaps import NotExemptedError, diagnostics_limits
from parity.diagnostics_hlmdiag import installed, library, live_record
from parity.diagnostics_judge import judge_deletions, judge_markdown
from parity.diagnostics_lme4 import (
    compare_influence,
    compare_recorded_influence,
    compare_refits,
    live_influence,
    live_refits,
)
from parity.diagnostics_reference import (
    DELETIONS,
    GENERATED,
    LME4,
    MODELS,
    ROTATION,
    at_recorded_theta,
    case_of,
    file_hashes,
    fitted,
    recorded,
)
from parity.diagnostics_report import hlmdiag_models, recorded_findings, sets_of
from parity.inference import failures
from parity.strategies import Plan, build, plans

EVERYTHING = (*MODELS, *GENERATED)
#: One example costs some ten tight searches in R.
FEW = max(3, settings.default.max_examples // 10)


# ---- recorded ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERYTHING)
def test_everything_agrees_with_what_hlmdiag_said(name: str) -> None:
    gaps = compare_model(name)
    assert len(gaps) > 20
    assert not failures(gaps), failures(gaps)


@pytest.mark.parametrize("name", EVERYTHING)
def test_at_the_same_theta_rounding_is_left(name: str) -> None:
    """What is beyond this in closed forms is the distance of two optima."""
    whole = recorded(name)
    influence = {level: {"approx_TRUE": parts["approx_TRUE"]} for level, parts in whole["influence"].items()}
    gaps = compare_model(name, whole | {"influence": influence}, at_recorded_theta(name))
    assert max(gap.value for gap in gaps) < 1e-9, "\n".join(map(str, gaps))


@pytest.mark.parametrize("name", DELETIONS)
def test_reduced_models_agree_with_case_delete(name: str) -> None:
    gaps = compare_case_delete(name)
    assert not failures(gaps), failures(gaps)


def test_rotated_random_effects_agree() -> None:
    gaps = compare_rotation()
    assert not failures(gaps), failures(gaps)


@pytest.mark.parametrize("name", LME4)
def test_influence_agrees_with_what_lme4_said(name: str) -> None:
    gaps = compare_recorded_influence(name)
    assert not failures(gaps), failures(gaps)


def test_no_exemption_is_without_use() -> None:
    used = {entry for name in MODELS for entry in used_exemptions(name)}
    assert used == set(EXEMPT)


def test_an_error_of_hlmdiag_that_is_not_known_is_noticed() -> None:
    record = {"pull_resid": {"ls": {"error": "something new"}}, "model": recorded("sleepstudy_ri")["model"]}
    with pytest.raises(NotExemptedError, match=r"pull_resid\.ls: HLMdiag says 'something new'"):
        compare_model("sleepstudy_ri", record)


def test_wrong_numbers_labels_and_columns_are_noticed() -> None:
    whole = recorded("sleepstudy_shuffled")
    closed = whole["influence"]["Subject"]["approx_TRUE"]
    wrong = closed | {"values": closed["values"] | {"mdffits": [1.001 * x for x in closed["values"]["mdffits"]]}}
    record = {"model": whole["model"], "influence": {"Subject": {"approx_TRUE": wrong}}}
    assert failures(compare_model("sleepstudy_shuffled", record)).startswith("approx: mdffits, groups: 0.000999")
    wrong = closed | {"group": sorted(closed["group"])}
    with pytest.raises(AssertionError, match="first difference"):
        compare_model("sleepstudy_shuffled", record | {"influence": {"Subject": {"approx_TRUE": wrong}}})
    wrong = closed | {"columns_in_package_table": ["Subject", "mdffits", "cooksd"]}
    found = failures(compare_model("sleepstudy_shuffled", record | {"influence": {"Subject": {"approx_TRUE": wrong}}}))
    assert found.startswith("columns: names and order, groups: 2")


def test_a_number_that_one_side_lacks_is_noticed() -> None:
    whole = recorded("sleepstudy_ri")
    vector = [None, *whole["resid_marginal"]["raw"][1:]]
    found = failures(compare_model("sleepstudy_ri", {"model": whole["model"], "resid_marginal": {"raw": vector}}))
    assert "missing on one side only" in found


def test_every_family_has_a_limit_that_is_used() -> None:
    names = ("sleepstudy_rs", *DELETIONS, *LME4, ROTATION)
    used = {finding.gap.quantity.partition(":")[0] for finding in recorded_findings(names)}
    assert used | {"live", "glmm_refits", "glmm_influence"} == set(diagnostics_limits())


def test_files_are_the_ones_in_the_manifest() -> None:
    told = manifest()["hlmdiag"]["files"]
    assert file_hashes() == told
    assert len([name for name in told if name.endswith(".json.gz")]) == len(EVERYTHING) + 5


def test_a_changed_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(manifest()["hlmdiag"]["files"], "data/penicillin.csv", "0")
    with pytest.raises(StaleReferenceError, match="data/penicillin.csv is not the file"):
        case_of("penicillin_crossed")


# ---- how the searches went -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in EVERYTHING if not name.startswith(("autism", "wages"))])
def test_no_refit_stops_at_a_worse_optimum(name: str) -> None:
    for tally in judge_deletions(name, 320):
        assert (tally.stuck, tally.failed) == (0, 0), tally


def test_the_judge_counts() -> None:
    (tally,) = judge_deletions("radon_rs", 100)
    assert (tally.refits, tally.beats_r) == (85, 4), "the four counties of fault 2"
    assert "85 refits of 1 recorded models" in "\n".join(judge_markdown([tally]))
    bad = replace(tally, stuck=2, slow=9)
    text = "\n".join(judge_markdown([bad]))
    assert "9 (10.6 %)" in text
    assert "R's best: 2." in text


# ---- a running R ---------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Models to ask HLMdiag about; where R lacks it, dense formulas under its name and with its order of labels."""
    if installed():
        yield hlmdiag_models()
        return
    command = [shutil.which("R") or "R", "CMD", "INSTALL", "--no-docs", "--no-test-load", f"--library={tmp_path}"]
    subprocess.run([*command, str(Path(__file__).with_name("stand_in"))], check=True, capture_output=True)
    with library(tmp_path):
        yield "sleepstudy_rs_ml", "sleepstudy_ri", "sleepstudy_shuffled", "generated/gen_19"


@pytest.mark.needs_r
def test_hlmdiag_agrees_live(asked: tuple[str, ...]) -> None:
    for name in asked:
        gaps = compare_model(name, live_record(case_of(name), tuple(recorded(name)["influence"])))
        assert len(gaps) > 20
        assert not failures(gaps), f"{name}\n{failures(gaps)}"


@pytest.mark.needs_r
@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("generated/gen_30", "g,1"),
        ("sleepstudy_uncorrelated", "Subject"),
        ("sleepstudy_rs_ml", "Subject"),
    ],
)
def test_influence_agrees_with_lme4(name: str, levels: str) -> None:
    gaps = compare_influence(fitted(name), live_influence(case_of(name), levels.split(",")))
    assert not failures(gaps), failures(gaps)


def small(plan: Plan) -> Plan:
    """A plan with few groups and parameters, so that R's searches end soon."""
    return replace(plan, groups=min(plan.groups, 8), slopes=plan.slopes and "x", inner=min(plan.inner, 4))


@pytest.mark.needs_r
@settings(max_examples=FEW)
@given(plan=plans().map(small))
def test_influence_of_a_random_model_agrees(plan: Plan) -> None:
    # lme4 takes rows without a response for units of their own, and loses columns of X with a group.
    case = build(replace(plan, missing=False, factor="no"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits
        result = case.fit(case.frame())
    theirs = live_influence(case, ["g"])
    if theirs["criterion"][0] > result.deviance + 1e-7 * abs(result.deviance):
        event("lme4 stopped at a worse optimum")
        return
    gaps = compare_influence(result, theirs)
    assert not failures(gaps), f"{failures(gaps)}\n{plan}\n{reproduction(case)}"


@pytest.mark.needs_r
@settings(max_examples=FEW)
@given(plan=plans().map(small))
def test_deletion_from_a_random_model_agrees_with_a_refit(plan: Plan) -> None:
    case = build(plan)
    frame, sets = case.frame(), sets_of(case, plan.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = case.fit(frame)
    gaps, beaten = compare_refits(result, frame, sets, live_refits(case, sets))
    event("lme4 stopped at a worse optimum" if beaten else "same optima")
    event(f"{plan.layout}, {plan.method}{', weights' if plan.weights else ''}")
    assert not failures(gaps), f"{failures(gaps)}\n{plan}\n{reproduction(case)}"
