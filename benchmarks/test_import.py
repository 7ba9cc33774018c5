"""Time of the import in a new process, start of Python included (`make bench`); and what is not loaded by it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from benchmarks.fresh_jobs import SCRIPTS, command

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ("matplotlib", "rpy2", "sksparse", "jinja2", "typer", "duckdb", "dask", "sklearn", "statsmodels")


def test_import(benchmark) -> None:
    code = SCRIPTS["interlace"][0] + f"; import sys; print([name for name in {OPTIONAL} if name in sys.modules])"

    def work() -> str:
        return subprocess.run(
            command("interlace", code), cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert benchmark.pedantic(work, rounds=7, warmup_rounds=1) == "[]"
