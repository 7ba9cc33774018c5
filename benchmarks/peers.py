"""Time interlace beside other libraries: whole calls, same machine, same run, one BLAS thread.

    python benchmarks/peers.py                         all cases, all libraries that are installed
    python benchmarks/peers.py --cases sleepstudy refit --libraries interlace lme4
    python benchmarks/peers.py --list                  the optional packages, as pip requirements

Prints a Markdown table of median times. A time is followed by the excess of the library's deviance (or REML criterion)
over the best one where that exceeds 0.001: such a fit stopped short of the optimum. Deviances of generalized models
have all their constants, also where a library leaves some out. "-" stands where a library does not fit such a model,
"not timed" where a case leaves the library out. Each library does each piece of work in a process of its own, which is
stopped after a time limit. `make bench` runs this in a separate environment.
"""

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import pandas as pd

from benchmarks import generalized_jobs, linear_jobs
from benchmarks.cases import CASES, Case, new_response
from benchmarks.timing import BUDGET, median_seconds

HERE = Path(__file__).resolve().parent
LIMIT = 120
MISSED = 1e-3
LIBRARIES = ["interlace", "lme4", "lme-python", "mixedlm", "statsmodels", "gpboost"]


@dataclass(frozen=True)
class Timing:
    """Median seconds of a call and the criterion it reached (None where the library counts differently)."""

    seconds: float
    criterion: float | None


def time_here(library: str, case: Case) -> Timing | None:
    """Time a Python library in this process; None when it cannot express the model."""
    warnings.simplefilter("ignore")
    prepare = (generalized_jobs.JOBS if case.family else linear_jobs.JOBS).get(library)
    job = prepare and prepare(case)
    if job is None:
        return None
    work, criterion = job
    seconds, result = median_seconds(work)
    return Timing(seconds, criterion(result) if criterion else None)


def time_python(library: str, case: Case) -> Timing | str:
    """Time a Python library in a process of its own; a short text when there is no time to give."""
    if find_spec(library.replace("-", "_")) is None:
        return "not installed"
    return outcome(library, case, [sys.executable, str(HERE / "peers.py"), "--one", library, case.key])


def time_any(library: str, case: Case) -> Timing | str:
    """Time any library, unless the case leaves it out."""
    if case.libraries and library not in case.libraries:
        return "not timed"
    return time_lme4(case) if library == "lme4" else time_python(library, case)


def outcome(library: str, case: Case, command: list[str]) -> Timing | str:
    """Run a command that prints a timing as the last line of its output."""
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT)
    except subprocess.TimeoutExpired:
        return f"> {LIMIT} s"
    if run.returncode:  # a peer may fail in any way; the table says so and goes on
        print(f"{library}, {case.key}: {run.stderr.strip()[-500:]}", file=sys.stderr)
        return "fails"
    found = json.loads(run.stdout.strip().splitlines()[-1])
    return "-" if found is None else Timing(**found)


def time_lme4(case: Case) -> Timing | str:
    """Time lme4 inside R; reading the data and starting R do not count."""
    if shutil.which("Rscript") is None:
        return "not installed"
    data = case.data()
    levels = {name: list(kind.categories) for name, kind in data.dtypes.items() if kind == "category"}
    classes = {name: "character" if name in levels else "numeric" for name in data.columns}
    job = {"formula": case.formula, "reml": case.method == "REML", "refit": case.refit, "budget": BUDGET}
    job |= {"levels": levels, "classes": classes, "y": list(new_response(case)) if case.refit else None}
    job |= {"family": case.family, "weights": case.weights, "nAGQ": case.nAGQ}
    with tempfile.TemporaryDirectory() as folder:
        csv, plan = Path(folder) / "data.csv", Path(folder) / "job.json"
        data.to_csv(csv, index=False)
        plan.write_text(json.dumps(job), "utf-8")
        return outcome("lme4", case, ["Rscript", "--vanilla", str(HERE / "lme4_time.R"), str(csv), str(plan)])


def human(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def cell(timing: Timing | str, best: float | None) -> str:
    """One cell of the table."""
    if isinstance(timing, str):
        return timing
    excess = 0.0 if timing.criterion is None or best is None else timing.criterion - best
    return human(timing.seconds) + (f" (+{excess:.3g})" if excess > MISSED else "")


def requirements() -> list[str]:
    """Peers as pip requirements; lme-python reads polars frames, made from pandas through pyarrow."""
    config = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))
    return [*config["dependency-groups"]["peers"], "polars", "pyarrow"]


def table(libraries: list[str], cases: list[Case]) -> tuple[list[str], dict[str, Any]]:
    """Time everything; the Markdown lines and the plain numbers."""
    lines = ["| work | " + " | ".join(libraries) + " | target |", "|---" * (len(libraries) + 2) + "|"]
    numbers: dict[str, Any] = {}
    for case in cases:
        row = {name: time_any(name, case) for name in libraries}
        values = [one.criterion for one in row.values() if isinstance(one, Timing) and one.criterion is not None]
        best = min(values, default=None)
        target = f"<= {human(case.target)}" if case.target else ""
        cells = [f"{case.title}, {case.method}", *(cell(row[name], best) for name in libraries), target]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], file=sys.stderr)
        numbers[case.key] = {name: vars(one) if isinstance(one, Timing) else one for name, one in row.items()}
    return lines, numbers


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the optional packages and stop")
    parser.add_argument("--cases", nargs="+", choices=[case.key for case in CASES])
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "CASE"), help="time one piece of work, print JSON")
    options = parser.parse_args()
    if options.list:
        print("\n".join(requirements()))
        return
    if options.one:
        library, key = options.one
        timing = time_here(library, next(case for case in CASES if case.key == key))
        print(json.dumps(timing and vars(timing)))
        return
    cases = [case for case in CASES if options.cases is None or case.key in options.cases]
    lines, numbers = table(options.libraries, cases)
    print("\n".join(lines))
    if options.json:
        options.json.write_text(json.dumps({"pandas": pd.__version__, "cases": numbers}, indent=1), "utf-8")


if __name__ == "__main__":
    main()
