"""Fits that the tests of results share, made once."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.results.lmm import LMMResult


@lru_cache
def sleepstudy() -> pd.DataFrame:
    return interlace.datasets.load("sleepstudy")


@lru_cache
def _fit(formula: str, method: str = "REML", data: str = "sleepstudy") -> LMMResult:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit(formula, interlace.datasets.load(data), method=method)


@pytest.fixture
def sleep() -> pd.DataFrame:
    return sleepstudy().copy()


@pytest.fixture
def slopes() -> LMMResult:
    return _fit("Reaction ~ Days + (Days | Subject)")


@pytest.fixture
def slopes_ml() -> LMMResult:
    return _fit("Reaction ~ Days + (Days | Subject)", "ML")


@pytest.fixture
def split() -> LMMResult:
    return _fit("Reaction ~ Days + (Days || Subject)")


@pytest.fixture
def crossed() -> LMMResult:
    return _fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data="Penicillin")


@pytest.fixture
def singular() -> LMMResult:
    return _fit("Yield ~ 1 + (1 | Batch)", data="Dyestuff2")


@pytest.fixture
def weighted(sleep: pd.DataFrame) -> LMMResult:
    sleep["w"] = np.tile([0.5, 1.0, 2.0], 60)
    sleep["o"] = np.tile([10.0, -5.0], 90)
    return interlace.fit("Reaction ~ Days + (1 | Subject)", sleep, weights="w", offset="o")
