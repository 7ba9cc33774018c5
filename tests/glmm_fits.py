"""Fits of generalized models that several tests look at, made once."""

from __future__ import annotations

from functools import lru_cache

import interlace
from interlace.results.glmm import GLMMResult

TICKS = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)"


@lru_cache
def cbpp(nodes: int = 1) -> GLMMResult:
    data = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size", nAGQ=nodes)


@lru_cache
def ticks(formula: str = TICKS) -> GLMMResult:
    return interlace.glmer(formula, interlace.datasets.load("grouseticks"), "poisson")


@lru_cache
def ticks_nb(theta: float | None = None) -> GLMMResult:
    data = interlace.datasets.load("grouseticks")
    if theta is None:
        return interlace.glmer_nb(TICKS, data)
    return interlace.glmer(TICKS, data, interlace.families.NegativeBinomial(theta))


@lru_cache
def verbal() -> GLMMResult:
    formula = "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)"
    return interlace.glmer(formula, interlace.datasets.load("VerbAgg"), "binomial")


@lru_cache
def reaction(*, link: str = "log", nodes: int = 1, dispersion: str = "ml") -> GLMMResult:
    data, control = interlace.datasets.load("sleepstudy"), interlace.Control(dispersion=dispersion)
    return interlace.glmer("Reaction ~ Days + (1 | Subject)", data, "gamma", link=link, nAGQ=nodes, control=control)
