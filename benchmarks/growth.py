"""How time and memory of `fit` and `glmer` grow with the rows.

    python benchmarks/growth.py              from a thousand rows to a million
    python benchmarks/growth.py --quick      up to a hundred thousand

Prints a Markdown table. Each fit has a fresh process with one BLAS thread. "data" is the peak memory of that process
before the fit, with the libraries and the data loaded; "peak" is the one after the first fit. The time is the median of
whole calls, from the pandas frame to the result, after a small fit that loads code.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ITEMS = 100
THREADS = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

#: Rows, and levels of the factor g.
SIZES = [(1_000, 100), (10_000, 100), (100_000, 1_000), (1_000_000, 10_000)]
#: Function, formula, and levels of a factor h that crosses g.
MODELS = [
    ("fit", "y ~ x + (1 | g)", 0),
    ("glmer", "s ~ x + (1 | g)", 0),
    ("fit", "y ~ x + (1 | g) + (1 | h)", ITEMS),
    ("glmer", "s ~ x + (1 | g) + (1 | h)", ITEMS),
]


def peak_megabytes() -> float:
    """Largest memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def make(path: str, rows: int, groups: int, items: int) -> None:
    """Write the generated rows: in a process of its own, so that making them does not count as memory of the fit."""
    from benchmarks.cases import generated

    generated(rows, groups, items).to_pickle(path)


def measure(path: str, function: str, formula: str) -> dict[str, Any]:
    """Fit in this process: seconds, memory before and at the peak, and whether the fit converged."""
    import pandas as pd

    import interlace
    from benchmarks.timing import median_seconds

    call, more = (interlace.fit, {}) if function == "fit" else (interlace.glmer, {"family": "binomial"})
    warnings.simplefilter("ignore")
    call(formula, pd.read_pickle(path).head(1_000), **more)
    data = pd.read_pickle(path)
    before = peak_megabytes()
    converged = call(formula, data, **more).converged
    peak = peak_megabytes()
    seconds, _ = median_seconds(lambda: call(formula, data, **more))
    return {"seconds": seconds, "before": before, "peak": peak, "converged": converged}


def child(*arguments: object) -> str:
    """Run this module in a fresh process; what it printed.

    The process that starts it stays small on purpose: Linux hands the peak memory of a parent on to its children.
    """
    command = [sys.executable, "-m", "benchmarks.growth", *map(str, arguments)]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | THREADS, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def line(function: str, formula: str, rows: int, levels: str, found: dict[str, Any]) -> str:
    """One row of the table."""
    escaped = formula.replace("|", r"\|")
    time = f"{found['seconds']:.3g} s" + ("" if found["converged"] else " (not converged)")
    per_row = f"{1e6 * found['seconds'] / rows:.2g} us"
    memory = f"{found['before']:.0f} MB | {found['peak']:.0f} MB"
    return f"| `{function}` {escaped} | {rows} | {levels} | {time} | {per_row} | {memory} |"


def table(sizes: list[tuple[int, int]]) -> None:
    """Measure and print row by row."""
    print("| model | rows | levels | time | time per row | data | peak |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.pickle"
        for function, formula, items in MODELS:
            for rows, groups in sizes:
                child("--make", path, rows, groups, items)
                found = json.loads(child("--measure", path, function, formula))
                print(line(function, formula, rows, f"{groups} x {items}" if items else f"{groups}", found), flush=True)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out the million rows")
    parser.add_argument("--make", nargs=4, metavar=("FILE", "ROWS", "GROUPS", "ITEMS"), help="write generated rows")
    parser.add_argument("--measure", nargs=3, metavar=("FILE", "FUNCTION", "FORMULA"), help="one fit, as JSON")
    options = parser.parse_args()
    if options.make:
        path, *numbers = options.make
        make(path, *map(int, numbers))
    elif options.measure:
        print(json.dumps(measure(*options.measure)))
    else:
        table(SIZES[:-1] if options.quick else SIZES)


if __name__ == "__main__":
    main()
