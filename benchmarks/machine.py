"""The machine that measures: what a reader of its numbers has to know, and how fast it is right now."""

from __future__ import annotations

import os
import platform
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy import linalg

__all__ = ["THREADS", "calibrate", "describe", "sentence", "versions"]

#: One thread each, also for what runs beside BLAS.
THREADS = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"), "1"
)

_RNG = np.random.default_rng(8)
_FACTOR = _RNG.normal(size=(150, 150))
_MIDDLE = _FACTOR @ _FACTOR.T + 150.0 * np.eye(150)
_SMALL = _MIDDLE[:4, :4].copy()
_LONG = _RNG.normal(size=200_000)


def processor() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def describe() -> dict[str, str]:
    """Processor, system and date; nothing that names the machine or its owner."""
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load": load,
    }


def sentence(about: dict[str, str]) -> str:
    """The description in words."""
    return (
        f"{about['date']}, {about['processor']}, {about['cores']} cores, {about['system']}, Python {about['python']}; "
        f"load of the machine when it began: {about['load']}."
    )


def versions(names: tuple[str, ...] = ("interlace-lme", "numpy", "scipy", "pandas")) -> dict[str, str]:
    """Versions of the installed ones among some distributions."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def fixed_work() -> float:
    """Some milliseconds of what a fit does: LAPACK on small and middle matrices, Python, long vectors."""
    total = 0.0
    for _ in range(6):
        total += float(linalg.cho_solve(linalg.cho_factor(_MIDDLE), _FACTOR)[0, 0])
    for _ in range(120):
        total += float(np.linalg.cholesky(_SMALL)[0, 0])
    for i in range(30_000):
        total += i % 7
    for _ in range(4):
        total += float((_LONG * _LONG).sum())
    return total


def calibrate(repeats: int = 5) -> float:
    """Seconds of a fixed piece of work, by which times of different machines or days can be compared."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        fixed_work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[repeats // 2]
