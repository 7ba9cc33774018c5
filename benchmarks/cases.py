"""The pieces of work that are timed beside other libraries: the rows of the project's table of targets."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
import pandas as pd

from interlace import datasets

__all__ = ["CASES", "NEGATIVE_BINOMIAL", "REPLICATES", "Case", "Kind", "case_of", "generated", "new_response"]

#: A whole fit; a refit with a new response; many refits; or what a new process waits for.
Kind: TypeAlias = Literal["fit", "refit", "bootstrap", "deletion", "import", "first_fit"]

#: Family of the cases whose theta of the negative binomial is estimated (`glmer_nb`).
NEGATIVE_BINOMIAL = "negative.binomial"
#: Replicates of the bootstrap that is timed.
REPLICATES = 1000


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
    kind : {"fit", "refit", "bootstrap", "deletion", "import", "first_fit"}
        What is done with the model.
    agreement : float or None
        The answer of a library is a number that must agree with lme4's within this relative difference; None when it
        is a criterion, of which the smallest is best.
    target : float or None
        Seconds that interlace aims at.
    family : str or None
        ``"binomial"``, ``"poisson"`` or `NEGATIVE_BINOMIAL`; None for a linear model.
    weights : str or None
        Column with the numbers of trials.
    nAGQ : int
        Quadrature nodes; 1 is the Laplace approximation.
    libraries : tuple of str
        The only libraries that are timed; empty for all.
    large : bool
        Left out of quick runs.
    """

    key: str
    title: str
    formula: str
    method: str
    data: Callable[[], pd.DataFrame]
    kind: Kind = "fit"
    agreement: float | None = None
    target: float | None = None
    family: str | None = None
    weights: str | None = None
    nAGQ: int = 1  # noqa: N815 - as glmer spells it
    libraries: tuple[str, ...] = ()
    large: bool = False

    @property
    def response(self) -> str:
        """Left-hand side of the formula: a column, or arithmetic on columns."""
        return self.formula.split("~", maxsplit=1)[0].strip()

    @property
    def fixed(self) -> str:
        """Fixed-effects part of a formula whose random effects are intercepts."""
        return re.sub(r"\+ \(1 \| \w+\)", "", self.formula.split("~", maxsplit=1)[1]).strip()

    @property
    def groups(self) -> list[str]:
        """Grouping factors of the random intercepts."""
        return re.findall(r"\(1 \| (\w+)\)", self.formula)


def generated(n: int, groups: int, items: int = 0, slopes: int = 0, columns: int = 1) -> pd.DataFrame:
    """Rows in groups of unequal size, crossed with items if any.

    The normal response ``y`` has coefficients of 0.5, effects of the groups with standard deviations of 0.8 (intercept)
    and 0.3 (each of the first covariates, as many as ``slopes``), of the items with 0.5, and noise of 1. The binary
    response ``s`` has the same coefficients and effects. Covariates are ``x``, ``x2``, ``x3`` and so on.
    """
    rng = np.random.default_rng(21)
    g = rng.choice(groups, size=n, p=rng.dirichlet(np.full(groups, 5.0)))
    names = [covariate(j) for j in range(columns)]
    X = {name: rng.normal(size=n) for name in names}
    eta = -0.5 + 0.5 * sum(X.values()) + rng.normal(scale=0.8, size=groups)[g]
    for name in names[:slopes]:
        eta += rng.normal(scale=0.3, size=groups)[g] * X[name]
    factors = {"g": pd.Categorical.from_codes(g, [str(level) for level in range(groups)])}
    if items:
        h = rng.integers(items, size=n)
        eta += rng.normal(scale=0.5, size=items)[h]
        factors["h"] = pd.Categorical.from_codes(h, [str(level) for level in range(items)])
    s = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(np.int64)
    return pd.DataFrame({"y": eta + rng.normal(size=n), "s": s, **X, **factors})


def covariate(j: int) -> str:
    """Name of a covariate of the generated data."""
    return "x" if j == 0 else f"x{j + 1}"


@cache
def million_rows() -> pd.DataFrame:
    """A million rows in ten thousand groups, with a random slope."""
    return generated(1_000_000, 10_000, slopes=1)[["y", "x", "g"]]


@cache
def million_binary() -> pd.DataFrame:
    """A million binary rows in ten thousand groups."""
    return generated(1_000_000, 10_000)[["s", "x", "g"]]


def packaged(name: str) -> Callable[[], pd.DataFrame]:
    """Loader of a packaged data set."""
    return cache(lambda: datasets.load(name))


def new_response(case: Case) -> np.ndarray:
    """The response with noise of a tenth of its standard deviation."""
    y = case.data()[case.response].to_numpy(float)
    return y + 0.1 * y.std() * np.random.default_rng(1).normal(size=y.size)


SLEEP = "Reaction ~ Days + (Days | Subject)"
CBPP = "incidence / size ~ period + (1 | herd)"

CASES = [
    Case("sleepstudy", "sleepstudy slopes, whole fit", SLEEP, "REML", packaged("sleepstudy"), target=1.5e-3),
    Case("refit", "sleepstudy, new response", SLEEP, "REML", packaged("sleepstudy"), kind="refit", target=0.6e-3),
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
    Case("million", "1e6 rows, 1e4 groups, slopes", "y ~ x + (x | g)", "REML", million_rows, target=2.0, large=True),
    Case(
        "cbpp",
        "cbpp binomial, Laplace",
        CBPP,
        "ML",
        packaged("cbpp"),
        target=6e-3,
        family="binomial",
        weights="size",
    ),
    Case(
        "cbpp_9",
        "cbpp binomial, 9 nodes",
        CBPP,
        "ML",
        packaged("cbpp"),
        family="binomial",
        weights="size",
        nAGQ=9,
    ),
    Case(
        "cbpp_25",
        "cbpp binomial, 25 nodes",
        CBPP,
        "ML",
        packaged("cbpp"),
        family="binomial",
        weights="size",
        nAGQ=25,
    ),
    Case(
        "verbagg",
        "VerbAgg binary, two crossed factors, Laplace",
        "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)",
        "ML",
        packaged("VerbAgg"),
        target=60e-3,
        family="binomial",
    ),
    Case(
        "ticks",
        "grouseticks Poisson, three nested factors, Laplace",
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)",
        "ML",
        packaged("grouseticks"),
        target=50e-3,
        family="poisson",
    ),
    Case(
        "ticks_nb",
        "grouseticks negative binomial, theta estimated, Laplace",
        "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)",
        "ML",
        packaged("grouseticks"),
        family=NEGATIVE_BINOMIAL,
    ),
    Case(
        "million_binary",
        "1e6 binary rows, 1e4 groups, Laplace",
        "s ~ x + (1 | g)",
        "ML",
        million_binary,
        family="binomial",
        libraries=("interlace", "lme4", "gpboost"),
        large=True,
    ),
    Case(
        "bootstrap",
        f"sleepstudy, {REPLICATES} parametric bootstrap replicates",
        SLEEP,
        "REML",
        packaged("sleepstudy"),
        kind="bootstrap",
        agreement=0.2,  # of standard errors from random draws
        target=0.6,
    ),
    Case(
        "deletion",
        "sleepstudy, 198 exact deletions with measures",
        SLEEP,
        "REML",
        packaged("sleepstudy"),
        kind="deletion",
        agreement=1e-3,
        target=0.15,
    ),
    Case("import", "import in a new process", SLEEP, "REML", packaged("sleepstudy"), kind="import", target=0.5),
    Case("first_fit", "import, first fit in a new process", SLEEP, "REML", packaged("sleepstudy"), kind="first_fit"),
]


def case_of(key: str) -> Case:
    """The case of that name."""
    return next(case for case in CASES if case.key == key)
