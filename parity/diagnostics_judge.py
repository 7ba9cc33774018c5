"""How exact refits without rows or groups went: evaluations, and whether any stopped at a worse optimum."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interlace.core.batch_refits import refit_without_rows
from interlace.core.covariance import entries
from interlace.diagnostics.deletion import exact_deletions
from interlace.diagnostics.units import Units, units_of
from parity.diagnostics import level_of
from parity.diagnostics_reference import fitted, recorded

__all__ = ["ENOUGH", "Tally", "judge_deletions", "judge_markdown"]

#: Evaluations that a refit should need at most.
ENOUGH = 6
#: Relative difference of two criteria from which on one optimum is the worse one.
_WORSE = 1e-9
#: Relative standard deviations to start from instead of the estimates from all rows.
_STARTS = (1.0, 0.2)


@dataclass(frozen=True)
class Tally:
    """Refits of one model without each unit of one level.

    Attributes
    ----------
    model, level : str
    refits : int
    failed : int
        Without estimates.
    slow : int
        With more than `ENOUGH` evaluations.
    most : int
        Largest number of evaluations.
    stuck : int
        Refits for which a search from another start, or R, found a lower criterion.
    worst : float
        By how much at most, relative.
    beats_r : int
        Refits whose criterion is lower than that of R's default optimizer was recorded to be, by more than 1e-6.
    """

    model: str
    level: str
    refits: int
    failed: int
    slow: int
    most: int
    stuck: int
    worst: float
    beats_r: int


def judge_deletions(name: str, at_most: int) -> list[Tally]:
    """Refit a recorded model without each unit, from the estimates of the whole and from other starts.

    Parameters
    ----------
    name : str
    at_most : int
        Levels with more units are left out.

    Returns
    -------
    list of Tally
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of singular fits
        state = fitted(name).state
        levels = {level: units_of(state, level_of(level)) for level in recorded(name)["influence"]}
        return [_tally(name, state, level, units) for level, units in levels.items() if len(units) <= at_most]


def _tally(name: str, state: Any, level: str, units: Units) -> Tally:
    found = exact_deletions(state, units.rows)
    lowest = np.min([_criteria(state, units.rows, start) for start in _STARTS], axis=0)
    theirs = recorded(name)["influence"][level]["approx_FALSE"]
    known = isinstance(theirs, dict) and "criterion_delete" in theirs and state.reml
    if known:
        lowest = np.fmin(lowest, theirs["criterion_delete"])
    behind = (found.criterion - lowest) / np.maximum(1.0, np.abs(lowest))
    excess = theirs.get("default_optimizer_criterion_excess", {}) if known else {}
    return Tally(
        model=name,
        level=level,
        refits=len(units),
        failed=int((~found.converged).sum()),
        slow=int((found.evaluations > ENOUGH).sum()),
        most=int(found.evaluations.max()),
        stuck=int((behind > _WORSE).sum()),
        worst=float(max(0.0, np.nanmax(behind))),
        beats_r=len(excess.get("groups_where_more_than_1e_6", [])),
    )


def _criteria(state: Any, subsets: Sequence[Any], size: float) -> Any:
    """Criteria of refits that start at uncorrelated random effects of one size; infinite where they fail."""
    start = np.concatenate([size * np.equal(*entries(k, structure)) for k, structure in state.problem.shapes])
    refits = refit_without_rows(state.problem, subsets, start.astype(float))
    return np.where(refits.converged, refits.criterion, np.inf)


def judge_markdown(tallies: Sequence[Tally]) -> list[str]:
    """Lines of the report."""
    refits, slow, stuck = (sum(getattr(one, name) for one in tallies) for name in ("refits", "slow", "stuck"))
    share = 100.0 * slow / max(refits, 1)
    lines = ["", "## Exact refits without rows or groups: how the searches went", ""]
    lines += [
        f"{refits} refits of {len({one.model for one in tallies})} recorded models. More than {ENOUGH} evaluations of "
        f"the criterion: {slow} ({share:.1f} %). Stopped at a worse optimum than a search from other starts or R's "
        f"best: {stuck}. R's default optimizer stopped above the optimum in {sum(one.beats_r for one in tallies)} of "
        "the recorded refits by group.",
        "",
    ]
    shown = [one for one in tallies if one.slow or one.stuck or one.failed]
    if not shown:
        return lines[:-1]
    lines += ["| model | level | refits | failed | slow | most evaluations | stuck | furthest above, relative |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|---:|")
    return lines + [
        f"| {one.model} | {one.level} | {one.refits} | {one.failed} | {one.slow} | {one.most} | {one.stuck} "
        f"| {one.worst:.1e} |"
        for one in shown
    ]
