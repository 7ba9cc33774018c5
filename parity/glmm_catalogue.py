"""The generalized models that parity is shown on: published data, and one set made here."""

# ruff: noqa: E501 - one model a line reads best as a table

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pandas as pd

from parity.case import Case

__all__ = ["GLMM_CASES", "toenail"]


def _bernoulli(frame: pd.DataFrame) -> pd.DataFrame:
    """One row of 0 or 1 for each animal of cbpp."""
    rows = frame.loc[np.repeat(frame.index, frame["size"].astype(int)), ["herd", "period", "incidence"]]
    rank = rows.groupby(level=0).cumcount()
    return rows.assign(ill=(rank < rows["incidence"]).astype(float)).reset_index(drop=True)


def _cbpp(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(proportion=frame["incidence"] / frame["size"], row=[f"r{i:02d}" for i in range(len(frame))])


def _cbpp_holes(frame: pd.DataFrame) -> pd.DataFrame:
    frame["label"] = frame["herd"].astype(str)
    frame.loc[[3, 20], "incidence"] = np.nan
    frame.loc[[31], "size"] = np.nan
    frame.loc[[44], "label"] = None
    return frame.set_index(np.arange(len(frame))[::-1] * 3)


def _ticks(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(height=frame["cHEIGHT"] / 50, effort=1.0 + frame.index % 4, w=1.0 + frame.index % 3)


def _contraception(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(uses=frame["use"] == "Y", age=frame["age"] / 10)


def _counties(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(log_expected=np.log(frame["expected"]))


def _plants(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(level=frame["nutrient"].map({1: "low", 8: "high"}))


def _fruiting(frame: pd.DataFrame) -> pd.DataFrame:
    return _plants(frame[frame["total.fruits"] > 0]).reset_index(drop=True)


def _some_persons(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["id"].isin([str(i) for i in range(1, 61)])].reset_index(drop=True)


def _whole_numbers(seed: int) -> Iterator[int]:
    """Numbers from 0 to 65535: the upper half of a linear congruential generator modulo 2^32 (Knuth, vol. 2, 3.3.4)."""
    state = seed
    while True:
        state = (1664525 * state + 1013904223) % 2**32
        yield state >> 16


def toenail(frame: pd.DataFrame) -> pd.DataFrame:
    """Generate 160 patients like those of the toenail trial: up to seven visits, strong dependence within patients.

    An outcome is 1 where a linear predictor plus bell-shaped noise, the sum of twelve whole numbers, is positive. All
    arithmetic is of whole numbers, so the data are the same everywhere.

    Parameters
    ----------
    frame : DataFrame
        Not used; cases make their frame from a packaged one.

    Returns
    -------
    DataFrame
        Columns ``patient``, ``treated``, ``month``, ``outcome``.
    """
    numbers = _whole_numbers(20260)
    rows = []
    for patient in range(160):
        own = 9 * (_bell(numbers) // 4)  # 2.25 standard deviations of the noise
        treated = patient % 2
        for month in (0, 1, 2, 3, 6, 9, 12):
            drift = -12000 * month - 6000 * treated * month - 40000
            positive = drift + own + _bell(numbers) > 0
            if month == 0 or next(numbers) % 8:
                rows.append((f"p{patient:03d}", treated, float(month), int(positive)))
    return pd.DataFrame(rows, columns=["patient", "treated", "month", "outcome"])


def _bell(numbers: Iterator[int]) -> int:
    """Sum of twelve, centered: standard deviation 65536, nearly normal."""
    return sum(islice(numbers, 12)) - 6 * 65535


_CBIND = "cbind(incidence, size - incidence) ~ period"

_CBPP = [
    Case("cbpp", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "successes and failures", groups=("herd",), family="binomial"),
    Case("cbpp_proportions", "incidence / size ~ period + (1 | herd)", "cbpp", "ML", "proportions and numbers of trials", weights="size", groups=("herd",), family="binomial"),
    Case("cbpp_bernoulli", "ill ~ period + (1 | herd)", "cbpp", "ML", "the same animals one by one", _bernoulli, groups=("herd",), family="binomial"),
    Case("cbpp_probit", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "probit link", groups=("herd",), family="binomial", link="probit"),
    Case("cbpp_cloglog", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "complementary log-log link", groups=("herd",), family="binomial", link="cloglog"),
    Case("cbpp_cauchit", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "Cauchy link", groups=("herd",), family="binomial", link="cauchit"),
    Case("cbpp_nagq0", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "coefficients in the inner iteration", groups=("herd",), family="binomial", nAGQ=0),
    Case("cbpp_nagq9", f"{_CBIND} + (1 | herd)", "cbpp", "ML", "nine quadrature points", groups=("herd",), family="binomial", nAGQ=9),
    Case("cbpp_nagq25_probit", "proportion ~ period + (1 | herd)", "cbpp", "ML", "25 points, probit, proportions", _cbpp, "size", groups=("herd",), family="binomial", link="probit", nAGQ=25),
    Case("cbpp_rows", f"{_CBIND} + (1 | herd) + (1 | row)", "cbpp", "ML", "one effect for each row: overdispersion", _cbpp, groups=("herd", "row"), family="binomial"),
    Case("cbpp_holes", f"{_CBIND} + (1 | label)", "cbpp", "ML", "missing values in either count and the group, odd index", _cbpp_holes, groups=("label",), family="binomial"),
]  # fmt: skip

_BINARY = [
    Case("toenail", "outcome ~ treated * month + (1 | patient)", "cbpp", "ML", "strong dependence in short series: Laplace is far from the likelihood", toenail, groups=("patient",), family="binomial"),
    Case("toenail_nagq25", "outcome ~ treated * month + (1 | patient)", "cbpp", "ML", "the same with 25 points", toenail, groups=("patient",), cost="slow", family="binomial", nAGQ=25),
    Case("toenail_nagq2_cloglog", "outcome ~ treated * month + (1 | patient)", "cbpp", "ML", "two points, a link that is not canonical", toenail, groups=("patient",), cost="slow", family="binomial", link="cloglog", nAGQ=2),
    Case("toenail_slopes", "outcome ~ treated * month + (month | patient)", "cbpp", "ML", "correlated slopes on 0 and 1", toenail, groups=("patient",), cost="slow", family="binomial"),
    Case("verbal_aggression_60", "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "VerbAgg", "ML", "60 persons crossed with 24 items, factor as response", _some_persons, groups=("id", "item"), cost="slow", family="binomial"),
    Case("verbal_aggression", "r2 ~ Anger + Gender + btype + situ + (1 | id) + (1 | item)", "VerbAgg", "ML", "316 persons crossed with 24 items", groups=("id", "item"), cost="slow", family="binomial"),
    Case("verbal_aggression_nagq0", "r2 ~ (Anger + Gender + btype + situ)^2 + (1 | id) + (1 | item)", "VerbAgg", "ML", "crossed, coefficients in the inner iteration", groups=("id", "item"), cost="slow", family="binomial", nAGQ=0),
    Case("contraception_logit", "use ~ age + I(age^2) + urban + livch + (1 | district)", "Contraception", "ML", "women in districts, factor as response", _contraception, groups=("district",), cost="slow", family="binomial"),
    Case("contraception_slopes", "uses ~ age + I(age^2) + urban + (urban | district)", "Contraception", "ML", "factor slopes, response true or false", _contraception, groups=("district",), cost="slow", family="binomial"),
    Case("contraception_sum", "uses ~ age * urban + livch + (1 | district)", "Contraception", "ML", "sum contrasts, probit", _contraception, contrasts={"livch": "sum"}, groups=("district",), cost="slow", family="binomial", link="probit"),
    Case("contraception_nested", "use ~ age + I(age^2) + urban + (1 | district/urban)", "Contraception", "ML", "towns and country within districts", _contraception, cost="slow", family="binomial"),
    Case("immunization", "immun ~ kid2p + rural + pcInd81 + (1 | comm/mom)", "guImmun", "ML", "children of mothers in communities: one or two rows a mother", cost="slow", family="binomial"),
]  # fmt: skip

_COUNTS = [
    Case("ticks_poisson", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", "grouseticks", "ML", "three nested terms, one for each row", groups=("BROOD", "INDEX", "LOCATION"), family="poisson"),
    Case("ticks_slopes", "TICKS ~ YEAR + height + (height | YEAR:LOCATION) + (1 | BROOD)", "grouseticks", "ML", "slopes above intercepts", _ticks, cost="slow", family="poisson"),
    Case("ticks_double_bar", "TICKS ~ YEAR + cHEIGHT + (cHEIGHT || LOCATION)", "grouseticks", "ML", "double bar, a covariate in meters", groups=("LOCATION",), family="poisson"),
    Case("ticks_offset", "TICKS ~ YEAR + height + offset(log(effort)) + (1 | BROOD)", "grouseticks", "ML", "offset in the formula", _ticks, groups=("BROOD",), family="poisson"),
    Case("ticks_weights", "TICKS ~ YEAR + height + (1 | LOCATION)", "grouseticks", "ML", "prior weights", _ticks, "w", groups=("LOCATION",), family="poisson"),
    Case("fruits_sqrt", "total.fruits ~ level + amd + (1 | gen)", "Arabidopsis", "ML", "square root link", _fruiting, groups=("gen",), family="poisson", link="sqrt"),
    Case("ticks_nagq9", "TICKS ~ YEAR + height + (1 | BROOD)", "grouseticks", "ML", "nine points, counts", _ticks, groups=("BROOD",), family="poisson", nAGQ=9),
    Case("ticks_nb_fixed", "TICKS ~ YEAR + height + (1 | BROOD) + (1 | LOCATION)", "grouseticks", "ML", "negative binomial with a known parameter", _ticks, groups=("BROOD", "LOCATION"), cost="slow", family="negative.binomial", nb_theta=2.0),
    Case("ticks_nb", "TICKS ~ YEAR + height + (1 | BROOD) + (1 | LOCATION)", "grouseticks", "ML", "negative binomial, parameter estimated", _ticks, groups=("BROOD", "LOCATION"), cost="slow", family="negative.binomial"),
    Case("fruits", "total.fruits ~ level * amd + rack + (1 | popu) + (1 | gen)", "Arabidopsis", "ML", "large counts, nested by labels, integer group", _plants, groups=("popu",), family="poisson"),
    Case("fruits_slopes", "total.fruits ~ level + amd + rack + status + (level | gen)", "Arabidopsis", "ML", "factor slopes", _plants, groups=("gen",), family="poisson"),
    Case("fruits_nb", "total.fruits ~ level * amd + rack + (1 | popu) + (1 | gen)", "Arabidopsis", "ML", "negative binomial, parameter estimated, strong overdispersion", _plants, groups=("popu",), cost="slow", family="negative.binomial"),
    Case("melanoma", "deaths ~ uvb + offset(log(expected)) + (1 | nation/region)", "Mmmec", "ML", "offset in the formula, nested", family="poisson"),
    Case("melanoma_slopes", "deaths ~ uvb + I(uvb^2) + (uvb | nation) + (1 | region)", "Mmmec", "ML", "offset as an argument, slopes", _counties, offset="log_expected", groups=("nation", "region"), cost="slow", family="poisson"),
    Case("melanoma_sqrt", "deaths ~ uvb + (1 | nation) + (1 | region)", "Mmmec", "ML", "square root link with a rival optimum where some roots are negative", groups=("nation", "region"), family="poisson", link="sqrt"),
]  # fmt: skip

# Families with a dispersion, fitted by lme4's convention, which maximizes no likelihood.
_AMOUNTS = [
    Case("fruits_gamma", "total.fruits ~ level + amd + (1 | gen)", "Arabidopsis", "ML", "Gamma, log link", _fruiting, groups=("gen",), family="Gamma", link="log"),
    Case("fruits_gamma_inverse", "total.fruits ~ level + (1 | gen)", "Arabidopsis", "ML", "Gamma, its canonical link", _fruiting, groups=("gen",), family="Gamma"),
    Case("fruits_inverse_gaussian", "total.fruits ~ level + (1 | popu)", "Arabidopsis", "ML", "inverse Gaussian, log link", _fruiting, groups=("popu",), family="inverse.gaussian", link="log"),
    Case("fruits_gaussian", "total.fruits / 50 ~ level + amd + (1 | gen)", "Arabidopsis", "ML", "Gaussian with a log link", _fruiting, groups=("gen",), family="gaussian", link="log"),
]  # fmt: skip

GLMM_CASES: tuple[Case, ...] = (*_CBPP, *_BINARY, *_COUNTS, *_AMOUNTS)
