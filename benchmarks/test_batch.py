"""Timings of many refits at once (`make bench`); each also checks some of them against single fits."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from interlace import datasets
from interlace.estimate.refits import refit_responses, refit_without
from interlace.inference.bootstrap import bootstrap
from interlace.prediction.simulate import draws

MODELS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Pastes": "strength ~ 1 + (1 | batch / cask)",
    "Dyestuff2": "Yield ~ 1 + (1 | Batch)",
}


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")  # Dyestuff2 is
@pytest.mark.parametrize("name", MODELS)
def test_thousand_responses(benchmark, name: str) -> None:
    result = interlace.fit(MODELS[name], datasets.load(name))
    Y = draws(result.state, 1000, np.random.default_rng(1))
    found = benchmark.pedantic(lambda: refit_responses(result.state, Y), rounds=5, warmup_rounds=1)
    assert found.converged.all()
    for b in range(0, 1000, 250):
        assert found.criterion[b] <= -2.0 * result.refit(Y[b]).llf + 1e-7


def test_thousand_bootstrap_replicates(benchmark) -> None:
    """Drawing the responses included; the project's target is 0.6 s."""
    state = interlace.fit(MODELS["sleepstudy"], datasets.load("sleepstudy")).state
    found = benchmark.pedantic(lambda: bootstrap(state, 1000, seed=1), rounds=5, warmup_rounds=1)
    assert not found.failures.size


@pytest.mark.parametrize("name", ["sleepstudy", "Penicillin", "Pastes"])
def test_every_deletion(benchmark, name: str) -> None:
    """Every row, and every level of the largest factor."""
    data = datasets.load(name)
    result = interlace.fit(MODELS[name], data)
    codes = result.state.problem.rows.codes[0]
    subsets = [np.array([i]) for i in range(codes.size)]
    subsets += [np.flatnonzero(codes == level) for level in range(codes.max() + 1)]
    found = benchmark.pedantic(lambda: refit_without(result.state, subsets), rounds=5, warmup_rounds=1)
    assert found.converged.all()
    for b in (0, codes.size):
        single = interlace.fit(MODELS[name], data.drop(index=data.index[subsets[b]]))
        assert found.criterion[b] <= -2.0 * single.llf + 1e-7


def test_bootstrap_of_a_generalized_model(benchmark) -> None:
    data = datasets.load("cbpp")
    state = interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size").state
    found = benchmark.pedantic(lambda: bootstrap(state, 100, seed=1), rounds=3, warmup_rounds=1)
    assert not found.failures.size
