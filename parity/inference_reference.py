"""R's inference about a model: from a running R, or as it was recorded."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from interlace.rbridge import r_formula
from interlace.rbridge.run import r_contrasts
from interlace.rbridge.session import call, require
from parity.bridge import StaleReferenceError, manifest
from parity.case import Case
from parity.inference_plans import InferencePlan
from parity.record import (
    EXPECTED,
    REFERENCE,
    fingerprint,
    job,
    run_jobs,
    scripts_hash,
    update_manifest,
)  # fmt: skip

__all__ = ["FOLDER", "live", "record_inference", "recorded_inference", "references"]

FOLDER = "inference"
SCRIPT = REFERENCE / "inference.R"


def record_inference(plans: Sequence[InferencePlan]) -> None:
    """Run R and write ``expected/inference/<name>.json`` and the manifest.

    Parameters
    ----------
    plans : sequence of InferencePlan
    """
    target = EXPECTED / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as workspace:
        place = Path(workspace)
        run_jobs(SCRIPT, [_job(plan, place) for plan in plans], place)
        answers = {plan.name: json.loads((place / f"{plan.name}.json").read_text()) for plan in plans}
    for plan in plans:
        entry = {"name": plan.name, "sha256": _fingerprint(plan), "record": answers[plan.name]}
        (target / f"{plan.name}.json").write_text(json.dumps(entry, separators=(",", ":")) + "\n")
    hashes = {
        f"{FOLDER}/{plan.name}": {"model": _fingerprint(plan), "scripts": _scripts_hash(plan.case)} for plan in plans
    }
    update_manifest(hashes, next(iter(answers.values()))["versions"])


def recorded_inference(plan: InferencePlan) -> dict[str, Any]:
    """Read what R said, after checking that it was about the same data, model and parts, by the same R code.

    Parameters
    ----------
    plan : InferencePlan

    Returns
    -------
    dict
        The record that ``interlace_inference`` describes; numbers as arrays.
    """
    again = f"run `python -m parity record-inference {plan.name}`"
    path = EXPECTED / FOLDER / f"{plan.name}.json"
    if not path.exists():
        raise StaleReferenceError(f"inference about {plan.name} is not recorded: {again}")
    entry = json.loads(path.read_text())
    if entry["sha256"] != _fingerprint(plan):
        raise StaleReferenceError(f"{plan.name} changed since inference about it was recorded: {again}")
    if manifest()["references"][f"{FOLDER}/{plan.name}"]["scripts"] != _scripts_hash(plan.case):
        raise StaleReferenceError(f"the R scripts changed since inference about {plan.name} was recorded: {again}")
    found: dict[str, Any] = _arrays(entry["record"])
    return found


def references(plan: InferencePlan, *, live_r: bool, slow: bool) -> list[tuple[str, dict[str, Any]]]:
    """Collect what R says about a plan, as far as possible now.

    Parameters
    ----------
    plan : InferencePlan
    live_r : bool
        Whether to run R.
    slow : bool
        Whether to run it for everything; else only for what is quick.

    Returns
    -------
    list of (str, dict)
        ``"live"`` or ``"recorded"``, and a record of the parts that it is true of.
    """
    parts = (plan.wanted if slow else plan.quick) if live_r else ()
    whole = recorded_inference(plan)
    if not parts:
        return [("recorded", whole)]
    now = live(plan.case, parts, plan.factor, plan.delta)
    if missing := [part for part in parts if part not in now]:
        raise AssertionError(f"{plan.name}: R found no {', '.join(missing)}: {now['failures']}")
    rest = {name: value for name, value in whole.items() if name not in parts}
    return [("live", now), ("recorded", rest)]


def live(case: Case, parts: Sequence[str], factor: str | None = None, delta: float = 0.1) -> dict[str, Any]:
    """Ask the running R.

    Parameters
    ----------
    case : Case
    parts : sequence of str
    factor, delta
        As of `InferencePlan`.

    Returns
    -------
    dict
    """
    _load()
    function = "interlace_inference" if case.family is None else "interlace_generalized_inference"
    own = {"reml": case.method == "REML", "factor": factor} if case.family is None else {"family": case.family}
    return call(
        function,
        r_formula(case.formula),
        case.frame(),
        contrasts=r_contrasts(case.contrasts),
        newdata={},
        parts=",".join(parts),
        weights=case.weights,
        offset=case.offset,
        delta=delta,
        **own,
    )


@lru_cache(maxsize=1)
def _load() -> None:
    session = require()
    session.base["sys.source"](str(SCRIPT), envir=session.environment)


def _job(plan: InferencePlan, place: Path) -> dict[str, Any]:
    return job(plan.case, place) | {"parts": ",".join(plan.wanted), "factor": plan.factor, "delta": plan.delta}


def _fingerprint(plan: InferencePlan) -> str:
    parts = [fingerprint(plan.case), *plan.wanted, str(plan.factor), str(plan.delta)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _scripts_hash(case: Case) -> str:
    return hashlib.sha256(scripts_hash(case).encode() + SCRIPT.read_bytes()).hexdigest()


def _arrays(value: Any) -> Any:
    """Lists of numbers as arrays, R's missing values as NaN; one-element vectors of text stay lists."""
    if isinstance(value, Mapping):
        return {name: _arrays(item) for name, item in value.items()}
    if isinstance(value, list) and all(item is None or isinstance(item, int | float) for item in value):
        return np.array([np.nan if item is None else item for item in value], dtype=float)
    return value
