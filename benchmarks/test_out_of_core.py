"""Time of a fit from a file that is read in batches (`make bench`); `benchmarks/out_of_core.py` has the large one."""

from __future__ import annotations

from pathlib import Path

import pytest

import interlace
from benchmarks.cases import generated

FORMULA = "y ~ x + (x | g)"


def test_million_rows_of_parquet(benchmark, tmp_path: Path) -> None:
    data, path = generated(1_000_000, 10_000, slopes=1).astype({"g": int}), tmp_path / "rows.parquet"
    data.to_parquet(path, row_group_size=100_000)
    result = benchmark.pedantic(lambda: interlace.fit(FORMULA, path), rounds=3, warmup_rounds=1)
    assert result.converged
    assert result.llf == pytest.approx(interlace.fit(FORMULA, data).llf, rel=1e-9)
