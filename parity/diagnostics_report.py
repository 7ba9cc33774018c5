"""The part of the report about influence, residuals and leverage."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from interlace.rbridge import versions
from parity.bridge import Bridge, manifest
from parity.case import Case
from parity.diagnostics import compare_model
from parity.diagnostics_deletions import compare_case_delete, compare_rotation
from parity.diagnostics_exemptions import EXEMPT
from parity.diagnostics_gaps import diagnostics_limits
from parity.diagnostics_hlmdiag import installed, live_record
from parity.diagnostics_judge import Tally, judge_deletions, judge_markdown
from parity.diagnostics_lme4 import (
    compare_influence,
    compare_recorded_influence,
    compare_refits,
    live_influence,
    live_refits,
)
from parity.diagnostics_reference import DELETIONS, GENERATED, LME4, MODELS, ROTATION, case_of, fitted, recorded
from parity.inference_report import Finding, worst_of
from parity.strategies import seeded_case

__all__ = [
    "diagnostics_agree", "diagnostics_json", "diagnostics_markdown", "diagnostics_of", "recorded_findings", "sets_of",
]  # fmt: skip

#: Generated models that a running R refits without some rows; crossed and nested ones, weights, ML are among them.
_REFITTED = range(8)
#: Levels with more units than this are not judged.
_MANY = 2000
#: HLMdiag forms matrices with as many rows and columns as the data have rows.
_FEW_ROWS = 400


def diagnostics_of(bridge: Bridge, names: Collection[str] = ()) -> tuple[list[Finding], list[Tally]]:
    """Compare everything, and judge the refits.

    Parameters
    ----------
    bridge : Bridge
        Whether to run R as well.
    names : collection of str
        Recorded models; all, and a running R's, when empty.

    Returns
    -------
    findings : list of Finding
    tallies : list of Tally
    """
    findings = recorded_findings(names)
    if bridge.live and not names:
        findings += _live_findings()
    models = [name for name in (*MODELS, *GENERATED) if not names or name in names]
    tallies = [one for name in models for one in judge_deletions(name, _MANY)]
    return findings, tallies


def recorded_findings(names: Collection[str] = ()) -> list[Finding]:
    """Differences from what was recorded, of some models or all."""
    versions_then = manifest()["hlmdiag"]["versions"]
    hlmdiag = f"recorded HLMdiag {versions_then['HLMdiag']}"
    compared = [(name, compare_model, hlmdiag) for name in (*MODELS, *GENERATED)]
    compared += [(name, compare_case_delete, hlmdiag) for name in DELETIONS]
    compared += [(ROTATION, lambda _: compare_rotation(), hlmdiag)]
    compared += [(name, compare_recorded_influence, f"recorded lme4 {versions_then['lme4']}") for name in LME4]
    return [
        Finding(name, gap, source)
        for name, compare, source in compared
        if not names or name in names
        for gap in compare(name)
    ]


def sets_of(case: Case, seed: int) -> dict[str, list[int]]:
    """Two rows one by one, a group, and a set of rows; positions in the frame of a generated model."""
    rng, frame = np.random.default_rng(seed), case.frame()
    whole = frame.notna().all(axis=1).to_numpy()
    one, other, *some = (int(row) for row in rng.choice(np.flatnonzero(whole), 6, replace=False))
    of_group = np.flatnonzero((frame["g"] == frame["g"].iloc[one]).to_numpy() & whole)
    return {"row": [one], "other row": [other], "group": of_group.tolist(), "rows": some}


def _live_findings() -> list[Finding]:
    lme4 = f"live lme4 {versions()['lme4']}"
    case = case_of("generated/gen_30")
    gaps = compare_influence(fitted(case.name), live_influence(case, ("1", "g")))
    findings = [Finding(case.name, gap, lme4) for gap in gaps]
    for seed in _REFITTED:
        case = seeded_case(seed)
        frame, sets = case.frame(), sets_of(case, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of singular fits
            result = case.fit(frame)
        gaps, _ = compare_refits(result, frame, sets, live_refits(case, sets))
        findings += [Finding(f"generated {case.name}", gap, lme4) for gap in gaps]
    for name in hlmdiag_models() if installed() else ():
        gaps = compare_model(name, live_record(case_of(name), tuple(recorded(name)["influence"])))
        findings += [Finding(name, gap, "live HLMdiag") for gap in gaps]
    return findings


def hlmdiag_models() -> tuple[str, ...]:
    """Recorded models that a running HLMdiag is quick to answer about."""
    return tuple(name for name in (*MODELS, *GENERATED) if recorded(name)["model"]["n"] < _FEW_ROWS)


def diagnostics_agree(findings: Sequence[Finding], tallies: Sequence[Tally]) -> bool:
    """Whether everything is within its limit and no refit is at a worse optimum."""
    return all(one.gap.agrees for one in findings) and not any(one.stuck for one in tallies)


def diagnostics_markdown(findings: Sequence[Finding], tallies: Sequence[Tally]) -> list[str]:
    """Lines of the report: worst difference of each measure and level, what is beyond its limit, refits, exemptions.

    Parameters
    ----------
    findings : sequence of Finding
    tallies : sequence of Tally

    Returns
    -------
    list of str
    """
    if not findings:
        return []
    models = {one.model for one in findings}
    failed = [one for one in findings if not one.gap.agrees]
    lines = ["", "## Influence, residuals, leverage: worst margin of each measure at each level", ""]
    lines += [f"{len(models)} models and files; {', '.join(sorted({one.source for one in findings}))}.", ""]
    lines += _rows(worst_of(findings))
    if failed:
        lines += ["", "### Beyond the limit", "", *_rows(failed)]
    lines += judge_markdown(tallies)
    lines += ["", "## What HLMdiag has no numbers for, or wrong ones", ""]
    lines += ["The faults are those of `docs/influence-differences.md`.", "", "| model | part | fault | reason |"]
    lines.append("|---|---|---:|---|")
    return lines + [f"| {one.model} | `{one.part}` | {one.fault} | {one.reason} |" for one in EXEMPT]


def diagnostics_json(findings: Sequence[Finding], tallies: Sequence[Tally]) -> dict[str, Any]:
    """Everything in the report as numbers."""
    return {
        "agrees": diagnostics_agree(findings, tallies),
        "rows": [
            {"model": one.model, "quantity": one.gap.quantity, "difference": one.gap.value, "limit": one.gap.limit}
            | {"margin": None if math.isinf(one.gap.margin) else one.gap.margin, "agrees": one.gap.agrees}
            | {"unit": _unit(one), "where": one.gap.where, "reference": one.source}
            for one in findings
        ],
        "refits": [asdict(one) for one in tallies],
        "exempt": [asdict(one) for one in EXEMPT],
    }


def _unit(finding: Finding) -> str:
    return str(diagnostics_limits()[finding.gap.quantity.partition(":")[0]]["unit"])


def _rows(findings: Sequence[Finding]) -> list[str]:
    lines = ["| measure, level | largest difference | limit | margin | model | where | reference |"]
    lines.append("|---|---:|---:|---:|---|---|---|")
    for one in findings:
        gap, margin = one.gap, "exact" if math.isinf(one.gap.margin) else f"{one.gap.margin:.3g}"
        where = gap.where if gap.value else ""
        lines.append(
            f"| {gap.quantity} | {gap.value:.2e} | {gap.limit:.0e} | {margin} | {one.model} | {where} | {one.source} |"
        )
    return lines
