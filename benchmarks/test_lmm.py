"""Timings of linear mixed models (`make bench`); each also checks that the optimum was reached."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from benchmarks.cases import CASES, Case, case_of, new_response

WHOLE = [case for case in CASES if case.family is None and case.kind == "fit"]
#: Best known -2 log-likelihood (restricted for REML), where the data are real or packaged.
BEST = {
    "sleepstudy": 1743.628,
    "penicillin": 330.861,
    "kb_like": 28751.304,
    "kb_like_72": 28717.099,
    "insteval": 237721.769,
}


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")  # the maximal model is
@pytest.mark.parametrize("case", WHOLE, ids=lambda case: case.key)
def test_whole_fit(benchmark, case: Case) -> None:
    data = case.data()
    quick = case.target is not None and case.target < 0.1
    result = benchmark.pedantic(
        lambda: interlace.fit(case.formula, data, method=case.method),
        rounds=200 if quick else 3,
        warmup_rounds=3 if quick else 1,
    )
    assert result.converged
    if case.key in BEST:
        assert -2 * result.llf <= BEST[case.key] + 1e-3
    else:  # generated: what the data were made with, within five standard errors
        assert result.fe_params["x"] == pytest.approx(0.5, abs=5.0 * result.fe_bse["x"])
        assert np.diag(result.variance_components["g"]) == pytest.approx([0.64, 0.09], rel=0.08)


def test_refit(benchmark) -> None:
    case = case_of("refit")
    fitted = interlace.fit(case.formula, case.data(), method=case.method)
    y = new_response(case)
    result = benchmark.pedantic(fitted.refit, (y,), rounds=300, warmup_rounds=10)
    whole = interlace.fit(case.formula, case.data().assign(**{case.response: y}), method=case.method)
    assert result.llf == pytest.approx(whole.llf, abs=1e-8)
