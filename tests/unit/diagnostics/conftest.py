"""Models of every shape that the diagnostics meet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.estimate.lmm import at_theta
from interlace.results.lmm import LMMResult


def _shuffled() -> pd.DataFrame:
    sleep = interlace.datasets.load("sleepstudy").sample(frac=0.6, random_state=3)
    rng = np.random.default_rng(11)
    return sleep.assign(w=rng.uniform(0.3, 3.0, len(sleep)), o=rng.normal(0.0, 20.0, len(sleep)))


@pytest.fixture(scope="session")
def unbalanced():
    """Sixty percent of sleepstudy in random order, with weights and an offset."""
    return _shuffled()


@pytest.fixture(scope="session")
def models(unbalanced):
    """Linear models by a name that says what is special."""
    sleep, pastes = interlace.datasets.load("sleepstudy"), interlace.datasets.load("Pastes")
    plates = interlace.datasets.load("Penicillin").iloc[::2]
    return {
        "slopes": interlace.fit("Reaction ~ Days + (Days | Subject)", sleep),
        "weighted": interlace.fit("Reaction ~ Days + (Days | Subject)", unbalanced, weights="w", offset="o"),
        "apart": interlace.fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", unbalanced),
        "crossed": interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", plates),
        "nested": interlace.fit("strength ~ 1 + (1 | batch / cask)", pastes, method="ML"),
        "no intercept": interlace.fit("Reaction ~ 0 + Days + (1 | Subject)", unbalanced, weights="w"),
    }


@pytest.fixture(scope="session")
def at_rs_optimum():
    """Sleepstudy with (Days | Subject) at the optimum that R's numbers were recorded at."""
    fit = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    theta = np.array([0.9667329518628849, 0.015169054270900822, 0.23090959476031034])
    return LMMResult(at_theta(fit.state.problem.design, theta, reml=True), fit.call)
