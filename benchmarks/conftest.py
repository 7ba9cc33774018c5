"""What all benchmarks share: the large ones are asked for, and each notes how fast the machine was at that time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.machine import calibrate


def pytest_configure(config: pytest.Config) -> None:
    """Leave out the large ones unless the command line has a choice of its own."""
    if not config.option.markexpr:
        config.option.markexpr = "not large"


@pytest.fixture(autouse=True)
def calibration(request: pytest.FixtureRequest) -> Iterator[None]:
    """Time a fixed piece of work before and after each benchmark, so that runs can be compared."""
    if "benchmark" not in request.fixturenames:
        yield
        return
    benchmark = request.getfixturevalue("benchmark")
    before = calibrate()
    yield
    benchmark.extra_info["calibration"] = (before + calibrate()) / 2.0
