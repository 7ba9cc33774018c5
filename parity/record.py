"""Write recorded references: R runs the jobs, the answers go to r_reference/ with hashes of what they depend on."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from interlace.rbridge import r_formula
from interlace.rbridge.columns import NA_INTEGER, column_of
from interlace.rbridge.run import r_contrasts
from parity.case import Case

__all__ = [
    "EXPECTED", "MANIFEST", "REFERENCE", "file_hash", "fingerprint", "job", "record", "run_jobs", "scripts_hash",
    "update_manifest",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "r_reference"
EXPECTED = REFERENCE / "expected"
MANIFEST = REFERENCE / "manifest.json"
_BRIDGE = ROOT / "interlace" / "rbridge"
SCRIPTS = (_BRIDGE / "lmer.R", REFERENCE / "lmer_reference.R")
GENERALIZED_SCRIPTS = (*SCRIPTS, _BRIDGE / "glmer.R", REFERENCE / "glmer_reference.R")
KEEP_ROWS, KEEP_LEVELS = 200, 40


def record(cases: Sequence[Case], *, folder: str = "") -> None:
    """Fit the cases with Rscript and write ``expected/<folder>/<name>.json`` and the manifest.

    Parameters
    ----------
    cases : sequence of Case
    folder : str
        Folder below ``expected``. Cases whose data are no packaged set keep their data in the record.
    """
    with tempfile.TemporaryDirectory() as workspace:
        place = Path(workspace)
        for generalized in (False, True):
            jobs = [job(case, place) for case in cases if (case.family is not None) == generalized]
            if jobs:
                run_jobs(_scripts(generalized)[-1], jobs, place)
        target = EXPECTED / folder
        target.mkdir(parents=True, exist_ok=True)
        answers = {case.name: json.loads((place / f"{case.name}.json").read_text()) for case in cases}
        for case in cases:
            entry = _entry(case) | {"record": answers[case.name]}
            (target / f"{case.name}.json").write_text(json.dumps(entry, separators=(",", ":")) + "\n")
    paths = {f"{folder}/{case.name}" if folder else case.name: case for case in cases}
    hashes = {path: {"model": fingerprint(case), "scripts": scripts_hash(case)} for path, case in paths.items()}
    update_manifest(hashes, next(iter(answers.values()))["versions"])


def run_jobs(script: Path, jobs: Sequence[dict[str, Any]], place: Path) -> None:
    """Have Rscript carry out jobs; it writes ``<name>.json`` for each into the folder ``place``."""
    program = shutil.which("Rscript")
    if program is None:
        raise SystemExit("recording references needs R: Rscript is not on the path")
    environment = os.environ | {"LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    (place / "jobs.json").write_text(json.dumps(list(jobs)))
    subprocess.run([program, "--vanilla", str(script), str(place)], check=True, env=environment)


def fingerprint(case: Case) -> str:
    """Hash of everything that decides R's answer: data with kinds and levels, formula, options."""
    frame = case.frame()
    kinds = {str(name): [column_of(frame[name]).kind, column_of(frame[name]).levels] for name in frame.columns}
    parts = [frame.to_csv(index=False), json.dumps(kinds), case.formula, case.method, str(case.weights)]
    parts += [str(case.offset), json.dumps(dict(case.contrasts), sort_keys=True), str(case.groups)]
    parts += [json.dumps(case.options_in_r, sort_keys=True)] if case.family is not None else []
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def scripts_hash(case: Case) -> str:
    """Hash of the R code that fits the case."""
    return hashlib.sha256(b"".join(path.read_bytes() for path in _scripts(case.family is not None))).hexdigest()


def _scripts(generalized: bool) -> tuple[Path, ...]:
    """R code that is run, the script that runs it last."""
    return GENERALIZED_SCRIPTS if generalized else SCRIPTS


def job(case: Case, place: Path) -> dict[str, Any]:
    """Describe a case to R; its data go to files in the folder ``place``."""
    frame = case.frame()
    newdata = case.newdata(frame)
    return {
        "name": case.name,
        "formula": r_formula(case.formula),
        "data": _write_frame(frame, place, f"{case.name}.csv"),
        "weights": case.weights,
        "offset": case.offset,
        "contrasts": r_contrasts(case.contrasts),
        "newdata": {label: _write_frame(rows, place, f"{case.name}-{label}.csv") for label, rows in newdata.items()},
        "keep_rows": KEEP_ROWS,
        "keep_levels": KEEP_LEVELS,
    } | case.options_in_r


def _write_frame(frame: pd.DataFrame, place: Path, file: str) -> dict[str, Any]:
    """Write numbers only; factors as codes that count from 1, missing values as NA."""
    columns = {str(name): column_of(frame[name]) for name in frame.columns}
    numbers = {}
    for name, column in columns.items():
        values = column.values.astype(np.float64)
        numbers[name] = values if column.kind == "numeric" else np.where(column.values == NA_INTEGER, np.nan, values)
    pd.DataFrame(numbers).to_csv(place / file, index=False, na_rep="NA")
    described = [{"name": name, "kind": c.kind, "levels": list(c.levels)} for name, c in columns.items()]
    return {"file": file, "columns": described}


def _entry(case: Case) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": case.name, "formula": case.formula, "method": case.method}
    entry |= case.options_in_r if case.family is not None else {}
    entry["sha256"] = fingerprint(case)
    if not isinstance(case.data, str):
        entry |= {"weights": case.weights, "groups": list(case.groups), "about": case.about}
        entry["data"] = {
            str(name): [None if pd.isna(value) else value for value in column.tolist()]
            for name, column in case.data.items()
        }
    return entry


def update_manifest(hashes: Mapping[str, dict[str, str]], versions: Mapping[str, Sequence[str]]) -> None:
    """Note what new references depend on, by path, and which versions of R's packages they come from."""
    manifest = json.loads(MANIFEST.read_text()) if MANIFEST.exists() else {"references": {}}
    manifest["date"] = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    manifest["versions"] = manifest.get("versions", {}) | {name: value[0] for name, value in versions.items()}
    manifest["digits"] = 17
    manifest["seeds"] = "NNN of a generated folder was drawn with numpy.random.default_rng(NNN); its data are there"
    for path, entry in hashes.items():
        manifest["references"][path] = entry | {"file": file_hash(path)}
    manifest["references"] = dict(sorted(manifest["references"].items()))
    MANIFEST.write_text(json.dumps(manifest, indent=1) + "\n")


def file_hash(path: str) -> str:
    """Hash of a recorded reference, ``generated/007`` or ``sleep_slopes``."""
    return hashlib.sha256((EXPECTED / f"{path}.json").read_bytes()).hexdigest()
