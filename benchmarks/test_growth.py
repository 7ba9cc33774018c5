"""Timings of growing models (`make bench`; `make bench LARGE=1` for all sizes); each also checks estimates.

The data are generated, so the truth is known: estimates must lie within five of their standard errors.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.growth import POINTS, Point, fit, made

_MILLION = 1_000_000
PARAMETERS = [
    pytest.param(point, id=f"{axis.key}-{size}", marks=[pytest.mark.large] if point.rows > _MILLION else [])
    for axis, size, point in POINTS
]


@pytest.mark.parametrize("point", PARAMETERS)
def test_growth(benchmark, point: Point) -> None:
    data = made(point)
    rounds = 20 if point.rows <= 10_000 else 5 if point.rows <= 100_000 else 3
    result = benchmark.pedantic(lambda: fit(point, data), rounds=rounds, warmup_rounds=1)
    assert result.converged
    assert np.isfinite(result.llf)
    z = (result.fe_params.drop("Intercept") - 0.5) / result.fe_bse.drop("Intercept")
    assert z.abs().max() < 5.0
    assert_variances(result.variance_components, point)


def assert_variances(found: dict[str, float | pd.DataFrame], point: Point) -> None:
    """Variances near those of the data: within five times the sampling error of a variance of so many levels."""
    noise = 5.0 if point.binary else 1.0  # a binary row says less
    truths = {"g": ([0.64] + [0.09] * point.slopes, point.groups), "h": ([0.25], point.items)}
    for factor, value in found.items():
        truth, levels = truths[factor]
        error = np.sqrt(2.0 / levels) * (np.array(truth) + noise * levels / point.rows)
        assert (np.abs(np.diag(np.atleast_2d(value)) - truth) < 5.0 * error).all()
