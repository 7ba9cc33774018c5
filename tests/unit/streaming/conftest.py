"""One data set as a frame and as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


def make_frame(n: int = 900) -> pd.DataFrame:
    """Numbers, text, categories, nested and crossed groups, and gaps; some levels come late, one only in gaps."""
    rng = np.random.default_rng(7)
    g, item = rng.integers(0, 40, n), rng.integers(0, 12, n)
    x, z = rng.normal(size=n), rng.normal(size=n)
    out = pd.DataFrame({"x": x, "z": z, "g": g, "school": np.array(["n", "s", "e", "w"])[g % 4]})
    out["item"] = np.array([f"item {i}" for i in range(12)])[item]
    out["color"] = rng.choice(["red", "green", "blue"], n)
    out["size"] = pd.Categorical(rng.choice(["small", "tall"], n), categories=["tiny", "tall", "small"], ordered=True)
    out["count"] = rng.integers(0, 6, n)
    out["yes"] = rng.random(n) < 0.4
    out["w"] = rng.uniform(0.5, 3.0, n)
    out["zeros"] = np.where(rng.random(n) < 0.2, 0.0, out["w"])
    out["shift"] = rng.normal(size=n)
    out["gaps"] = np.where(rng.random(n) < 0.3, np.nan, z)
    out["holes"] = out["item"].where(rng.random(n) < 0.8)
    b, c = rng.normal(size=(40, 2)), rng.normal(size=12)
    out["y"] = 100.0 + 2.0 * x + b[g, 0] + 0.5 * b[g, 1] * x + c[item] + rng.normal(size=n)
    out.loc[n - 3 :, "color"] = "amber"
    out.loc[n - 1, ["color", "gaps", "zeros"]] = ["never", np.nan, 0.0]
    return out


@pytest.fixture(scope="session")
def frame() -> pd.DataFrame:
    return make_frame()


@pytest.fixture(scope="session")
def parquet(tmp_path_factory: pytest.TempPathFactory, frame: pd.DataFrame) -> Path:
    path = tmp_path_factory.mktemp("stream") / "rows.parquet"
    pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=130)
    return path
