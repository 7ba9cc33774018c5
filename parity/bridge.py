"""Where lme4's side of a comparison comes from: R itself, or what R said when the references were recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import pandas as pd

from interlace.rbridge import FitNumbers, available, versions
from parity.case import Case
from parity.record import EXPECTED, MANIFEST, fingerprint, scripts_hash

__all__ = ["Bridge", "Reference", "StaleReferenceError", "generated_cases", "manifest", "recorded"]

Mode = Literal["live", "recorded", "auto"]


class StaleReferenceError(AssertionError):
    """A recorded reference belongs to other data or another model than the ones at hand."""


@dataclass(frozen=True)
class Reference:
    """lme4's numbers for one case, and where they come from."""

    numbers: FitNumbers
    source: str

    @property
    def seconds(self) -> float | None:
        """How long a plain call of lmer or glmer took when the reference was recorded."""
        value = self.numbers.notes.get("seconds")
        return None if value is None else float(value[0])


class Bridge:
    """Answers with lme4's numbers for a case.

    Parameters
    ----------
    mode : {"live", "recorded", "auto"}
        ``auto`` is live where R is there.
    slow_live : bool
        Run slow cases in R as well; else they are compared with their recorded references.
    """

    def __init__(self, mode: Mode = "auto", *, slow_live: bool = False) -> None:
        if mode == "live" and not available():
            raise SystemExit("--r=live needs R, rpy2 and lme4; see CONTRIBUTING.md")
        self.live = mode == "live" or (mode == "auto" and available())
        self.slow_live = slow_live

    def __call__(self, case: Case, *, full: bool = True) -> Reference:
        """Return the reference of one case; ``full`` brings all rows and levels back from a live R."""
        if not self.live or (case.cost == "slow" and not self.slow_live):
            return recorded(case)
        frame = case.frame()
        numbers = case.fit_in_r(frame, **({} if full else {"keep_rows": 200, "keep_levels": 40}))
        return Reference(numbers, f"live {_versions_text(versions())}")

    def describe(self) -> str:
        """Say in one line which R was used."""
        old = "no recorded references"
        if MANIFEST.exists():
            old = f"references recorded on {manifest()['date']} with {_versions_text(manifest()['versions'])}"
        if not self.live:
            return f"R was not run: {old}"
        return f"live {_versions_text(versions())}" + ("" if self.slow_live else f"; slow models against {old}")


@lru_cache(maxsize=1)
def manifest() -> dict[str, Any]:
    """Versions, date and hashes of the recorded references."""
    if not MANIFEST.exists():
        raise StaleReferenceError("no references are recorded: run `python -m parity record`")
    content: dict[str, Any] = json.loads(MANIFEST.read_text())
    return content


def recorded(case: Case, folder: str = "") -> Reference:
    """Read the recorded reference of a case, after checking that it is about the same data and model."""
    path = EXPECTED / folder / f"{case.name}.json"
    if not path.exists():
        raise StaleReferenceError(f"{case.name} has no recorded reference: run `python -m parity record {case.name}`")
    entry = json.loads(path.read_text())
    if entry["sha256"] != fingerprint(case):
        raise StaleReferenceError(f"{case.name} changed since its reference: run `python -m parity record {case.name}`")
    hashes = manifest()["references"][f"{folder}/{case.name}" if folder else case.name]
    if hashes["scripts"] != scripts_hash(case):
        raise StaleReferenceError(
            f"the R scripts changed since {case.name} was recorded: run `python -m parity record`"
        )
    versions_then = {name: value[0] for name, value in entry["record"]["versions"].items()}
    return Reference(FitNumbers.from_record(entry["record"]), f"recorded {_versions_text(versions_then)}")


def generated_cases(folder: str = "generated") -> list[Case]:
    """Recorded cases with generated data; the data come from the record, not from a random generator."""
    cases = []
    for path in sorted((EXPECTED / folder).glob("*.json")):
        entry = json.loads(path.read_text())
        cases.append(
            Case(
                name=entry["name"],
                formula=entry["formula"],
                data=pd.DataFrame(entry["data"]),
                method=entry["method"],
                about=entry["about"],
                weights=entry["weights"],
                groups=tuple(entry["groups"]),
                **{name: entry[name] for name in ("family", "link", "nAGQ", "nb_theta") if name in entry},
            )
        )
    return cases


def _versions_text(found: dict[str, str]) -> str:
    return f"R {found['R']} / lme4 {found['lme4']}"
