"""The models that are timed: the linear-model rows of the project's target table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from interlace import datasets

__all__ = ["CASES", "Case", "million_rows", "new_response"]


@dataclass(frozen=True)
class Case:
    """One piece of work.

    Attributes
    ----------
    key, title : str
        Short name, and what stands in the table.
    formula : str
        Model, in lme4's notation.
    method : {"REML", "ML"}
    data : callable
        Returns the pandas frame.
    refit : bool
        Time a refit with a new response instead of a whole fit.
    target : float or None
        Seconds that interlace aims at.
    """

    key: str
    title: str
    formula: str
    method: str
    data: Callable[[], pd.DataFrame]
    refit: bool = False
    target: float | None = None

    @property
    def response(self) -> str:
        """Name of the response column."""
        return self.formula.split("~", maxsplit=1)[0].strip()


@cache
def million_rows() -> pd.DataFrame:
    """A million rows in ten thousand groups of unequal size, with a random slope."""
    rng = np.random.default_rng(20)
    n, groups = 1_000_000, 10_000
    g = rng.choice(groups, size=n, p=rng.dirichlet(np.full(groups, 5.0)))
    x = rng.normal(size=n)
    b = rng.normal(size=(groups, 2)) @ np.array([[0.8, 0.2], [0.0, 0.5]])
    y = 1.0 + 0.5 * x + b[g, 0] + b[g, 1] * x + rng.normal(size=n)
    return pd.DataFrame({"y": y, "x": x, "g": pd.Categorical(g.astype(str))})


def packaged(name: str) -> Callable[[], pd.DataFrame]:
    """Loader of a packaged data set."""
    return cache(lambda: datasets.load(name))


def new_response(case: Case) -> np.ndarray:
    """The response with noise of a tenth of its standard deviation."""
    y = case.data()[case.response].to_numpy(float)
    return y + 0.1 * y.std() * np.random.default_rng(1).normal(size=y.size)


SLEEP = "Reaction ~ Days + (Days | Subject)"

CASES = [
    Case("sleepstudy", "sleepstudy slopes, whole fit", SLEEP, "REML", packaged("sleepstudy"), target=1.5e-3),
    Case("refit", "sleepstudy, new response", SLEEP, "REML", packaged("sleepstudy"), refit=True, target=0.6e-3),
    Case(
        "penicillin",
        "Penicillin crossed, whole fit",
        "diameter ~ 1 + (1 | plate) + (1 | sample)",
        "REML",
        packaged("Penicillin"),
        target=1.5e-3,
    ),
    Case(
        "kb_like",
        "maximal crossed, 20 thetas",
        "y ~ a + b + c + (a + b + c | s) + (a + b + c | i)",
        "ML",
        packaged("kb_like"),
        target=0.25,
    ),
    Case(
        "kb_like_72",
        "maximal crossed, 72 thetas",
        "y ~ a * b * c + (a * b * c | s) + (a * b * c | i)",
        "ML",
        packaged("kb_like"),
        target=1.5,
    ),
    Case(
        "insteval",
        "InstEval, three crossed factors",
        "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
        "ML",
        packaged("InstEval"),
        target=1.2,
    ),
    Case("million", "1e6 rows, 1e4 groups, slopes", "y ~ x + (x | g)", "REML", million_rows, target=2.0),
]
