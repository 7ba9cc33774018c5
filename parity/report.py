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

__all__ = ["OUT", "markdown", "report", "run", "table_of"]

OUT = Path(__file__).parent / "out"


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


def markdown(comparisons: Sequence[Comparison], source: str) -> str:
    """Write the report as Markdown: worst margins first, then every model and quantity."""
    table = table_of(comparisons)
    failed = table[~table["agrees"]]
    lines = ["# Agreement with lme4", "", f"{len(comparisons)} models; {source}.", ""]
    lines.append("Every quantity is within its limit." if failed.empty else f"**{len(failed)} beyond their limits.**")
    lines += ["", "## Worst margin of each quantity", "", *_rows(worst(table))]
    better = [one for one in comparisons if not one.table.judged]
    if better:
        lines += ["", "## Models where lme4 stopped at a worse optimum", ""]
        lines += [f"- {one.case.name}: interlace's criterion is lower by {one.table.gain:.3g}" for one in better]
    if not failed.empty:
        lines += ["", "## Beyond the limit", "", *_rows(failed)]
    lines += ["", "## All models", ""]
    lines += [
        f"- `{one.case.name}` ({one.case.method}): `{one.case.formula}`. {one.case.about}." for one in comparisons
    ]
    lines += ["", "## All quantities", "", *_rows(table)]
    return "\n".join(lines) + "\n"


def _rows(table: pd.DataFrame) -> list[str]:
    lines = ["| model | quantity | largest difference | limit | margin |", "|---|---|---:|---:|---:|"]
    for row in table.to_dict("records"):
        margin = "exact" if math.isinf(row["margin"]) else f"{row['margin']:.3g}"
        lines.append(
            f"| {row['model']} | {row['quantity']} | {row['difference']:.2e} | {row['limit']:.0e} | {margin} |"
        )
    return lines


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
        compare_case(replace(case, name=f"generated/{case.name}"), recorded(case, "generated"))
        for case in ([] if names else generated_cases())
    ]
    everything = [*comparisons, *random]
    OUT.mkdir(exist_ok=True)
    text = markdown(everything, bridge.describe())
    (OUT / "report.md").write_text(text)
    (OUT / "report.json").write_text(json.dumps(_as_json(everything, bridge.describe()), indent=1))
    return text.split("\n## All models")[0], all(one.table.agrees for one in everything)


def _as_json(comparisons: Sequence[Comparison], source: str) -> dict[str, Any]:
    table = table_of(comparisons)
    table["margin"] = table["margin"].map(lambda value: None if math.isinf(value) else value)
    return {
        "source": source,
        "models": len(comparisons),
        "agrees": all(one.table.agrees for one in comparisons),
        "rows": json.loads(table.to_json(orient="records", double_precision=15)),
        "seconds": {one.case.name: one.seconds for one in comparisons},
    }
