"""The table of all comparisons: model, quantity, largest difference, limit, margin."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from parity.bridge import Bridge, generated_cases, recorded
from parity.case import Case
from parity.catalogue import CASES
from parity.compare import Comparison, compare_case
from parity.diagnostics_report import diagnostics_agree, diagnostics_json, diagnostics_markdown, diagnostics_of
from parity.inference_plans import PLANS
from parity.inference_report import compare_plans, inference_json, inference_markdown

__all__ = ["OUT", "markdown", "report", "run", "table_of"]

OUT = Path(__file__).parent / "out"
#: Relative difference of two criteria that is rounding.
_ROUNDING = 1e-11
_SHOWN = 20


def run(cases: Sequence[Case], bridge: Bridge) -> list[Comparison]:
    """Compare the cases one after another."""
    return [compare_case(case, bridge(case)) for case in cases]


def table_of(comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """One row for each model and quantity."""
    rows = [
        {"model": one.case.name, "quantity": row.quantity, "difference": row.difference, "limit": row.limit}
        | {"margin": row.margin, "agrees": row.agrees or not one.table.judged, "judged": one.table.judged}
        | {"where": row.where, "reference": one.table.reference}
        for one in comparisons
        for row in one.table.rows
    ]
    return pd.DataFrame(rows)


def worst(table: pd.DataFrame) -> pd.DataFrame:
    """Smallest margin of each quantity, and the model it was found in."""
    judged = table[table["judged"]]
    return judged.loc[judged.groupby("quantity", sort=False)["margin"].idxmin()].reset_index(drop=True)


def markdown(comparisons: Sequence[Comparison], source: str, more: Sequence[str] = ()) -> str:
    """Write the report as Markdown: worst margins first, then every model and quantity.

    Parameters
    ----------
    comparisons : sequence of Comparison
    source : str
        Which R.
    more : sequence of str
        Lines about tests, intervals and diagnostics.

    Returns
    -------
    str
    """
    table = table_of(comparisons)
    failed = table[~table["agrees"]]
    lines = ["# Agreement with lme4", "", f"{len(comparisons)} models; {source}.", ""]
    lines.append(
        "Every quantity of the fits is within its limit." if failed.empty else f"**{len(failed)} beyond their limits.**"
    )
    lines += ["", "## Worst margin of each quantity", "", *_rows(worst(table))]
    lines += ["", "## Criterion: interlace's minus lme4's", "", *_criteria(comparisons)]
    better = [one for one in comparisons if not one.table.judged]
    if better:
        lines += ["", "## Models where lme4 stopped at a worse optimum", ""]
        lines += [f"- {one.case.name}: interlace's criterion is lower by {one.table.gain:.3g}" for one in better]
    if not failed.empty:
        lines += ["", "## Beyond the limit", "", *_rows(failed)]
    lines += [*more, "", "## All models", ""]
    lines += [
        f"- `{one.case.name}` ({_kind(one.case)}): `{one.case.formula}`. {one.case.about}." for one in comparisons
    ]
    lines += ["", "## All quantities", "", *_rows(table)]
    return "\n".join(lines) + "\n"


def _criteria(comparisons: Sequence[Comparison]) -> list[str]:
    """How many criteria are lower, equal up to rounding and higher, and those furthest apart."""
    apart = {one.case.name: -one.table.gain for one in comparisons}
    size = {one.case.name: max(1.0, abs(one.table.criterion)) for one in comparisons}
    lower = [name for name, value in apart.items() if value < -_ROUNDING * size[name]]
    higher = [name for name, value in apart.items() if value > _ROUNDING * size[name]]
    equal = len(apart) - len(lower) - len(higher)
    lines = [f"Lower in {len(lower)} models, equal to 11 digits in {equal}, higher in {len(higher)}.", ""]
    lines += ["| model | difference | lme4's criterion |", "|---|---:|---:|"]
    for name in sorted([*lower, *higher], key=lambda name: -abs(apart[name]) / size[name])[:_SHOWN]:
        lines.append(f"| {name} | {apart[name]:.2e} | {size[name]:.6g} |")
    return lines if lower or higher else lines[:1]


def _rows(table: pd.DataFrame) -> list[str]:
    lines = ["| model | quantity | largest difference | limit | margin |", "|---|---|---:|---:|---:|"]
    for row in table.to_dict("records"):
        margin = "exact" if math.isinf(row["margin"]) else f"{row['margin']:.3g}"
        lines.append(
            f"| {row['model']} | {row['quantity']} | {row['difference']:.2e} | {row['limit']:.0e} | {margin} |"
        )
    return lines


def _kind(case: Case) -> str:
    """``REML``, ``ML``, or ``binomial, probit, nAGQ = 9``."""
    if case.family is None:
        return case.method
    return ", ".join([case.family, *([case.link] if case.link else []), f"nAGQ = {case.nAGQ}"])


def report(bridge: Bridge, names: Sequence[str] = ()) -> tuple[str, bool]:
    """Compare everything and write ``parity/out/report.md`` and ``report.json``.

    Parameters
    ----------
    bridge : Bridge
    names : sequence of str
        Models to compare; all, and the recorded random models, when empty.

    Returns
    -------
    text : str
        What to print: the worst margins and everything beyond its limit.
    agrees : bool
    """
    comparisons = run([case for case in CASES if not names or case.name in names], bridge)
    random = [
        compare_case(replace(case, name=f"{folder}/{case.name}"), recorded(case, folder))
        for folder in ([] if names else ["generated", "generated_glmm"])
        for case in generated_cases(folder)
    ]
    everything = [*comparisons, *random]
    findings, verdicts = compare_plans([plan for plan in PLANS if not names or plan.name in names], bridge)
    diagnosed = diagnostics_of(bridge, names)
    OUT.mkdir(exist_ok=True)
    more = [*inference_markdown(findings, verdicts), *diagnostics_markdown(*diagnosed)]
    text = markdown(everything, bridge.describe(), more)
    content = _as_json(everything, bridge.describe()) | {"inference": inference_json(findings, verdicts)}
    content |= {"diagnostics": diagnostics_json(*diagnosed)}
    (OUT / "report.md").write_text(text)
    (OUT / "report.json").write_text(json.dumps(content, indent=1))
    agrees = all(one.table.agrees for one in everything) and all(one.gap.agrees for one in findings)
    return text.split("\n## All models")[0], agrees and diagnostics_agree(*diagnosed)


def _as_json(comparisons: Sequence[Comparison], source: str) -> dict[str, Any]:
    table = table_of(comparisons)
    table["margin"] = table["margin"].map(lambda value: None if math.isinf(value) else value)
    return {
        "source": source,
        "models": len(comparisons),
        "agrees": all(one.table.agrees for one in comparisons),
        "rows": json.loads(table.to_json(orient="records", double_precision=15)),
        "seconds": {one.case.name: one.seconds for one in comparisons},
        "criterion": {
            one.case.name: {"interlace": one.table.criterion - one.table.gain, "lme4": one.table.criterion}
            for one in comparisons
        },
    }
