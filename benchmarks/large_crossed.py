"""Crossed designs that nothing can factorize: 2 million rows, 200,000 x 20,000 levels; and a small one, checked.

    python -m benchmarks.large_crossed [--repeats 3] [--small-only]

prints two Markdown tables. The small design (200,000 rows, 20,000 x 2,000 levels) is fitted exactly and by iteration,
and the differences are shown beside the Monte Carlo errors that the fit reports. Every fit runs in a process of its
own, whose peak memory is measured; generating the data is not part of the time but is of the memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

FORMULA = "y ~ x + (1 | student) + (1 | teacher)"
SMALL, LARGE = (200_000, 20_000, 2_000), (2_000_000, 200_000, 20_000)


def rows(n: int, students: int, teachers: int) -> Any:
    """Data frame of n ratings, students and teachers drawn at random; variances 0.25, 0.16 and 1."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(20)
    s, t = rng.integers(0, students, n), rng.integers(0, teachers, n)
    x = rng.normal(size=n)
    y = 1.0 + 0.5 * x + 0.5 * rng.normal(size=students)[s] + 0.4 * rng.normal(size=teachers)[t] + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "student": s, "teacher": t})


def measure(size: tuple[int, int, int], solver: str) -> dict[str, Any]:
    """Fit once, in this process."""
    import interlace

    data = rows(*size)
    before = peak()
    start = time.perf_counter()
    result = interlace.fit(FORMULA, data, control=interlace.Control(solver=solver))
    seconds = time.perf_counter() - start
    record = result.convergence
    errors = record.monte_carlo
    return {
        "seconds": seconds,
        "peak": peak(),
        "before": before,
        "solver": record.solver,
        "reason": record.reason,
        "costs": {name: str(cost) for name, cost in record.costs.items()},
        "evaluations": record.evaluations,
        "converged": record.converged,
        "theta": result.theta.tolist(),
        "beta": result.fe_params.tolist(),
        "se": result.fe_bse.tolist(),
        "criterion": float(result.reml_criterion),
        "criterion_error": None if errors is None else errors.criterion,
        "theta_error": None if errors is None else errors.theta.tolist(),
        "probes": None if errors is None else errors.probes,
    }


def peak() -> float:
    """Peak memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def run(size: tuple[int, int, int], solver: str, repeats: int) -> dict[str, Any]:
    """Median time and largest peak of fits in processes of their own; everything else is the same each time."""
    command = [sys.executable, __file__, "--child", json.dumps([size, solver])]
    found = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(repeats)]
    times, peaks = [one["seconds"] for one in found], [one["peak"] for one in found]
    return found[0] | {"seconds": statistics.median(times), "peak": max(peaks)}


def table(heading: list[str], lines: list[list[str]]) -> str:
    """Markdown."""
    return "\n".join("| " + " | ".join(line) + " |" for line in [heading, ["---"] * len(heading), *lines])


def line_of(size: tuple[int, int, int], found: dict[str, Any]) -> list[str]:
    n, a, b = size
    error = "exact" if found["criterion_error"] is None else f"{found['criterion_error']:.2g}"
    parts = [f"{n:,} rows, {a:,} x {b:,}", found["solver"], f"{found['seconds']:.1f}", f"{found['peak']:.0f}"]
    return [
        *parts,
        f"{found['before']:.0f}",
        str(found["evaluations"]),
        error,
        " ".join(f"{t:.5f}" for t in found["theta"]),
    ]


def agreement(exact: dict[str, Any], found: dict[str, Any]) -> str:
    """Differences from the exact fit, absolute and in Monte Carlo errors."""
    lines = []
    error = found["criterion_error"]
    off = found["criterion"] - exact["criterion"]
    lines.append(
        ["REML criterion", f"{exact['criterion']:.4f}", f"{off:.2g}", f"{error:.2g}", f"{abs(off) / error:.1f}"]
    )
    for i, (a, b, e) in enumerate(zip(exact["theta"], found["theta"], found["theta_error"], strict=True)):
        lines.append([f"theta {i + 1}", f"{a:.7f}", f"{b - a:.2g}", f"{e:.2g}", f"{abs(b - a) / e:.1f}"])
    for i, (a, b, e) in enumerate(zip(exact["beta"], found["beta"], exact["se"], strict=True)):
        lines.append([f"beta {i + 1}", f"{a:.7f}", f"{b - a:.2g}", f"standard error {e:.2g}", ""])
    return table(["quantity", "exact", "difference", "Monte Carlo error", "difference / error"], lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--small-only", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        size, solver = json.loads(options.child)
        print(json.dumps(measure(tuple(size), solver)))
        return
    exact = run(SMALL, "dense", options.repeats)
    found = run(SMALL, "iterative", options.repeats)
    chosen = run(SMALL, "auto", options.repeats)
    lines = [line_of(SMALL, one) for one in (exact, found, chosen)]
    lines[-1][1] += " (default)"
    if not options.small_only:
        large = run(LARGE, "auto", options.repeats)
        lines.append(line_of(LARGE, large))
        lines[-1][1] += " (default)"
    heading = [
        "design",
        "solver",
        "seconds",
        "peak MB",
        "of which data",
        "evaluations",
        "MC error of criterion",
        "theta",
    ]
    print(table(heading, lines), "\n\n", agreement(exact, found), sep="")
    for name, one in (("20,000 x 2,000", chosen), *(() if options.small_only else (("200,000 x 20,000", large),))):
        costs = "; ".join(f"{solver} {cost}" for solver, cost in one["costs"].items())
        print(f"\n{name}: {one['solver']} by default: {one['reason']} ({costs}).")


if __name__ == "__main__":
    main()
