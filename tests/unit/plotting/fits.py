"""Models to draw, fitted once."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pandas as pd

import interlace

load = interlace.datasets.load


@cache
def sleep():
    return interlace.fit("Reaction ~ Days + (Days | Subject)", load("sleepstudy"))


@cache
def cbpp():
    return interlace.glmer("incidence / size ~ period + (1 | herd)", load("cbpp"), "binomial", weights="size")


@cache
def penicillin():
    return interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin"))


@cache
def singular():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit("Yield ~ 1 + (1 | Batch)", load("Dyestuff2"))


@cache
def large(n=100_000):
    """Very many rows: a predictor and 50 groups."""
    rng = np.random.default_rng(4)
    g = rng.integers(0, 50, n)
    x = rng.normal(size=n)
    y = 1.0 + x + rng.normal(size=50)[g] + rng.normal(size=n)
    return interlace.fit("y ~ x + (1 | g)", pd.DataFrame({"y": y, "x": x, "g": g}))


def axes(count=1):
    """Axes of a figure that pyplot does not know."""
    from matplotlib.figure import Figure

    found = Figure().subplots(1, count, squeeze=False)[0]
    return found[0] if count == 1 else list(found)


def dots(ax):
    """Places of the points of the first scatter, shape (n, 2)."""
    from matplotlib.collections import PathCollection

    return np.asarray(next(c for c in ax.collections if isinstance(c, PathCollection)).get_offsets())


def names(ax):
    """Texts beside points."""
    return [text.get_text() for text in ax.texts]
