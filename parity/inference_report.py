"""The part of the report about tests and intervals, and which side is right where derivatives decide."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from parity.bridge import Bridge, recorded
from parity.case import Case
from parity.inference import Gap, compare_inference, inference_units
from parity.inference_plans import InferencePlan
from parity.inference_reference import references
from parity.oracle import generalized_errors, satterthwaite_df

__all__ = ["Finding", "Verdict", "compare_plans", "inference_json", "inference_markdown", "judge", "worst_of"]

#: Random effects up to which the oracle is asked: its dense factor takes their third power.
_MOST_EFFECTS = 100
#: Relative difference from which on the two sides count as different.
_DIFFER = 1e-9


@dataclass(frozen=True)
class Finding:
    """The largest difference of one quantity in one model, and whether R was running."""

    model: str
    gap: Gap
    source: str


@dataclass(frozen=True)
class Verdict:
    """Distances from the oracle, relative, where the two sides are furthest apart.

    Attributes
    ----------
    model, quantity, coefficient : str
    apart : float
        Distance of the two sides.
    ours, theirs : float
        Distance of each from the oracle at its own estimate.
    """

    model: str
    quantity: str
    coefficient: str
    apart: float
    ours: float
    theirs: float

    @property
    def nearer(self) -> str:
        """Which side is nearer to the oracle."""
        return "interlace" if self.ours < self.theirs else "R"


def compare_plans(plans: Sequence[InferencePlan], bridge: Bridge) -> tuple[list[Finding], list[Verdict]]:
    """Compare everything that R says about each model.

    Parameters
    ----------
    plans : sequence of InferencePlan
    bridge : Bridge
        Whether to run R, and whether for slow parts too.

    Returns
    -------
    findings : list of Finding
    verdicts : list of Verdict
        Of the models for which there are any, the greatest differences first.
    """
    findings, verdicts = [], []
    for plan in plans:
        records = references(plan, live_r=bridge.live, slow=bridge.slow_live)
        for source, theirs in records:
            findings += [Finding(plan.name, gap, source) for gap in compare_inference(plan.case, theirs)]
        verdict = judge(plan.case, records[0][1])
        verdicts += [verdict] if verdict is not None else []
    return findings, sorted(verdicts, key=lambda one: -one.apart)


def worst_of(findings: Sequence[Finding]) -> list[Finding]:
    """Smallest margin of each quantity; of two without a difference, the first."""
    quantities = dict.fromkeys(one.gap.quantity for one in findings)
    return [min((f for f in findings if f.gap.quantity == name), key=lambda f: f.gap.margin) for name in quantities]


def judge(case: Case, theirs: dict[str, Any]) -> Verdict | None:
    """Ask the oracle about one model.

    Parameters
    ----------
    case : Case
    theirs : dict
        A record of ``r_reference/inference.R``.

    Returns
    -------
    Verdict or None
        None for singular fits, whose second derivatives have no inverse, and for models with many random effects.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular fits are what some cases are about
        result = case.fit(case.frame())
    terms = result.state.problem.design.terms
    if result.is_singular or sum(len(term.levels) * term.Z.shape[1] for term in terms) > _MOST_EFFECTS:
        return None
    names = list(result.fe_params.index)
    if case.family is None:
        quantity, ours, other = "Satterthwaite df", result.fe_df, theirs["satterthwaite"]["coefficients"]["df"]
        truths = satterthwaite_df(result), satterthwaite_df(result, theirs["theta"])
    else:
        quantity, ours, other = "standard error", result.fe_bse, np.sqrt(np.diag(recorded(case).numbers.vcov))
        truths = (generalized_errors(result),) * 2
    ours, other = np.asarray(ours, dtype=float), np.asarray(other, dtype=float)
    apart = np.abs(ours / other - 1.0)
    j = int(np.argmax(apart))
    distances = [abs(float(side[j] / truth[j]) - 1.0) for side, truth in zip((ours, other), truths, strict=True)]
    return Verdict(case.name, quantity, names[j], float(apart[j]), *distances)


def inference_markdown(findings: Sequence[Finding], verdicts: Sequence[Verdict]) -> list[str]:
    """Lines of the report: the worst difference of each quantity, what is beyond its limit, and the oracle's verdicts.

    Parameters
    ----------
    findings : sequence of Finding
    verdicts : sequence of Verdict

    Returns
    -------
    list of str
    """
    models = len({one.model for one in findings})
    failed = [one for one in findings if not one.gap.agrees]
    lines = ["", "## Tests and intervals: worst margin of each quantity", ""]
    lines += [f"{models} models; lmerTest, pbkrtest, emmeans, car, performance, and roots of lme4's deviance.", ""]
    lines += _rows(worst_of(findings))
    if failed:
        lines += ["", "### Beyond the limit", "", *_rows(failed)]
    return lines + _verdicts(verdicts)


def inference_json(findings: Sequence[Finding], verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything in the report as numbers."""
    units = inference_units()
    return {
        "agrees": all(one.gap.agrees for one in findings),
        "rows": [
            {"model": one.model, "quantity": one.gap.quantity, "difference": one.gap.value, "limit": one.gap.limit}
            | {"margin": None if math.isinf(one.gap.margin) else one.gap.margin, "agrees": one.gap.agrees}
            | {"unit": units[one.gap.quantity], "where": one.gap.where, "reference": one.source}
            for one in findings
        ],
        "oracle": pd.DataFrame(verdicts).to_dict("records"),
    }


def _rows(findings: Sequence[Finding]) -> list[str]:
    units = inference_units()
    lines = ["| quantity | largest difference | limit | unit | margin | model | where | R |"]
    lines.append("|---|---:|---:|---|---:|---|---|---|")
    for one in findings:
        gap, margin = one.gap, "exact" if math.isinf(one.gap.margin) else f"{one.gap.margin:.3g}"
        where = gap.where.replace("|", "\\|")
        lines.append(
            f"| {gap.quantity} | {gap.value:.2e} | {gap.limit:.0e} | {units[gap.quantity]} | {margin} | {one.model} "
            f"| {where} | {one.source} |"
        )
    return lines


def _verdicts(verdicts: Sequence[Verdict]) -> list[str]:
    if not verdicts:
        return []
    different = [one for one in verdicts if one.apart > _DIFFER]
    ours = sum(one.nearer == "interlace" for one in different)
    bits = np.finfo(np.longdouble).nmant + 1
    lines = ["", "## Exact and numerical derivatives: which side is right", ""]
    lines += [
        "Satterthwaite's degrees of freedom, and standard errors in generalized models, rest on second derivatives of "
        "the deviance. Interlace has them in closed form (in generalized models as differences of exact first ones); R "
        "differentiates numerically: lmerTest by Richardson extrapolation, and lme4's generalized deviance is "
        "differentiated here with seven points. The oracle (`parity/oracle.py`) is a difference of sixth order of a "
        f"dense deviance with {bits} bits of precision, at the estimate of each side (of interlace in generalized "
        "models). Distances are relative, of the coefficient in which the sides are furthest apart.",
        "",
        f"Models small and regular enough for the oracle: {len(verdicts)}. Sides equal to nine digits: "
        f"{len(verdicts) - len(different)}. Interlace nearer to the oracle: {ours}. R nearer: {len(different) - ours}.",
    ]
    lines += ["", "| model | quantity | coefficient | interlace - R | interlace - oracle | R - oracle | nearer |"]
    lines.append("|---|---|---|---:|---:|---:|---|")
    return lines + [
        f"| {one.model} | {one.quantity} | {one.coefficient} | {one.apart:.1e} | {one.ours:.1e} | {one.theirs:.1e} "
        f"| {one.nearer} |"
        for one in different
    ]
