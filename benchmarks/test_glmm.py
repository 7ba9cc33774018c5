"""Timings of generalized mixed models (`make bench`); each also checks that the optimum was reached."""

from __future__ import annotations

from typing import Any

import pytest

import interlace
from benchmarks.cases import CASES, NEGATIVE_BINOMIAL, Case

GENERALIZED = [case for case in CASES if case.family is not None]
#: Best known -2 log-likelihood, with all its constants, where the data are packaged.
BEST = {
    "cbpp": 184.0525637,
    "cbpp_9": 183.9667436,
    "cbpp_25": 183.9667381,
    "verbagg": 8151.3997197,
    "ticks": 1780.5426602,
    "ticks_nb": 1777.6810357,
}


@pytest.mark.parametrize("case", GENERALIZED, ids=lambda case: case.key)
def test_whole_fit(benchmark, case: Case) -> None:
    data = case.data()

    def work() -> Any:
        if case.family == NEGATIVE_BINOMIAL:
            return interlace.glmer_nb(case.formula, data)
        return interlace.glmer(case.formula, data, case.family, weights=case.weights, nAGQ=case.nAGQ)

    quick = len(data) < 100_000
    result = benchmark.pedantic(work, rounds=20 if quick else 3, warmup_rounds=1)
    assert result.converged
    if case.key in BEST:
        assert -2 * result.llf == pytest.approx(BEST[case.key], abs=1e-5)
    else:  # generated: what the data were made with, within five standard errors
        assert result.theta == pytest.approx([0.8], abs=0.03)
        assert result.fe_params["x"] == pytest.approx(0.5, abs=0.011)
