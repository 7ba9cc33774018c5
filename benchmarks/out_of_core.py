"""Time and memory of a fit from Parquet that is never held in memory, and how far it is from the fit of the frame.

    python -m benchmarks.out_of_core                             10 million rows of 5 columns, 100 000 groups
    python -m benchmarks.out_of_core --rows 1000000 --groups 10000
    python -m benchmarks.out_of_core --source dataset            as a pyarrow.dataset.Dataset
    python -m benchmarks.out_of_core --jobs 2 --no-memory        two processes; no fit of the whole frame

The file is written to a temporary folder, a million rows at a time and from a fixed seed. Each fit has a fresh process
with one BLAS thread; the seconds are those of the call, the memory is the largest that the process ever held, imports
among it (with several processes: of the one that waits). The fit of the frame has a process of its own, which reads
the whole file first.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import THREADS, describe, sentence

__all__ = ["fit", "write"]

ROOT = Path(__file__).resolve().parents[1]
FORMULA = "y ~ x + z + f + (x | g)"
SOURCES = ("parquet", "dataset", "polars", "duckdb", "dask", "frame")
BATCH = 1_000_000


def write(path: Path, rows: int, groups: int, seed: int = 1) -> None:
    """Write y, x, z, a factor f of four levels and the group g, batch by batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    b = rng.normal(size=(groups, 2)) * [0.7, 0.3]
    letters = np.array(list("abcd"))
    schema = pa.schema(
        [("y", pa.float64()), ("x", pa.float64()), ("z", pa.float64()), ("f", pa.string()), ("g", pa.int64())]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BATCH):
            n = min(BATCH, rows - start)
            g, f, x, z = rng.integers(0, groups, n), rng.integers(0, 4, n), rng.normal(size=n), rng.normal(size=n)
            y = 1.0 + x + 0.5 * z + 0.2 * f + b[g, 0] + b[g, 1] * x + rng.normal(size=n)
            writer.write_table(pa.table({"y": y, "x": x, "z": z, "f": letters[f], "g": g}, schema=schema))


def fit(path: Path, source: str, jobs: int) -> dict[str, float]:
    """Fit the model once, in this process: seconds, peak memory in MB, rows, criterion."""
    import interlace

    data = _data(path, source)
    start = time.perf_counter()
    result = interlace.fit(FORMULA, data, control=interlace.Control(n_jobs=jobs))
    seconds = time.perf_counter() - start
    return {
        "seconds": seconds,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0,  # Linux counts in kB
        "rows": result.nobs,
        "criterion": result.reml_criterion,
    }


def _data(path: Path, source: str) -> Any:
    match source:
        case "dataset":
            import pyarrow.dataset

            return pyarrow.dataset.dataset(path)
        case "polars":
            import polars

            return polars.scan_parquet(path)
        case "duckdb":
            import duckdb

            return duckdb.read_parquet(str(path))
        case "dask":
            import dask.dataframe

            return dask.dataframe.read_parquet(path, split_row_groups=True)
        case "frame":
            import pandas as pd

            return pd.read_parquet(path)
    return path


def _fresh(path: Path, source: str, jobs: int) -> dict[str, float]:
    """Fit in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.out_of_core",
        "--one",
        str(path),
        "--source",
        source,
        "--jobs",
        str(jobs),
    ]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | THREADS)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(name: str, fits: Sequence[dict[str, float]]) -> str:
    seconds, peak = median(one["seconds"] for one in fits), max(one["peak"] for one in fits)
    return f"| {name} | {seconds:.1f} | {peak:,.0f} | {fits[0]['rows']:,.0f} | {fits[0]['criterion']:.6f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the file, fit, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--source", choices=SOURCES, default="parquet")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--no-memory", action="store_true", help="leave out the fit of the whole frame")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one is not None:
        print(json.dumps(fit(given.one, given.source, given.jobs)))
        return
    print(sentence(describe()), end="\n\n")
    with tempfile.TemporaryDirectory(prefix="interlace-") as folder:
        path = Path(folder, "rows.parquet")
        write(path, given.rows, given.groups)
        print(
            f"`{FORMULA}`, {given.rows:,} rows, {given.groups:,} groups, {path.stat().st_size / 1e6:,.0f} MB on disk\n"
        )
        print("| data | seconds | peak MB | rows | criterion |\n|---|---:|---:|---:|---:|")
        fits = [_fresh(path, given.source, given.jobs) for _ in range(given.repeats)]
        print(_row(given.source, fits), flush=True)
        if given.no_memory:
            return
        whole = _fresh(path, "frame", 1)
        print(_row("frame in memory", [whole]))
        away = max(abs(one["criterion"] - whole["criterion"]) for one in fits)
        print(f"\nDifference of the criterion: {away:.1e} ({away / abs(whole['criterion']):.1e} of it).")


if __name__ == "__main__":
    main()
