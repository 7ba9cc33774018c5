"""The models that parity is shown on, all over real or published data."""

# ruff: noqa: E501 - one model a line reads best as a table

from __future__ import annotations

import numpy as np
import pandas as pd

from parity.case import Case
from parity.glmm_catalogue import GLMM_CASES

__all__ = ["CASES", "case"]


def _sleep_weights(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(w=1.0 + frame["Days"] % 3, late=frame["Days"] > 4, known=3.0 * frame["Days"])


def _sleep_holes(frame: pd.DataFrame) -> pd.DataFrame:
    frame["label"] = frame["Subject"].astype(str)
    frame.loc[[0, 17, 40], "Reaction"] = np.nan
    frame.loc[[5, 90], "Days"] = np.nan
    frame.loc[[33], "label"] = None
    return frame.set_index(np.arange(len(frame))[::-1] * 7)


def _sleep_hours(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(hours=24.0 * frame["Days"] + 1e5, Reaction=frame["Reaction"] / 1e6)


def _sleep_dependent(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(twice=2.0 * frame["Days"], square=frame["Days"] ** 2, sum=frame["Days"] + frame["Days"] ** 2)


def _radon(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns={"log.radon": "log_radon", "county.name": "county_name"})


def _autism(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(age=frame["age2"] + 2.0)


def _evaluations(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["dept"].isin(["5", "10", "12"])].reset_index(drop=True)


def _contraception(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(uses=(frame["use"] == "Y").astype(float))


def _counties(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["deaths"] > 0].assign(log_expected=lambda d: np.log(d["expected"]))


def _gcse(frame: pd.DataFrame) -> pd.DataFrame:
    long = frame.melt(id_vars=["school", "student", "gender"], value_vars=["written", "course"], var_name="part")
    return long.rename(columns={"value": "score"}).assign(
        pupil=lambda d: d["school"].astype(str) + "." + d["student"].astype(str)
    )


_SLEEP = [
    Case("sleep_slopes", "Reaction ~ Days + (Days | Subject)", "sleepstudy", about="one vector term", groups=("Subject",)),
    Case("sleep_slopes_ml", "Reaction ~ Days + (Days | Subject)", "sleepstudy", "ML", "maximum likelihood", groups=("Subject",)),
    Case("sleep_intercepts", "Reaction ~ Days + (1 | Subject)", "sleepstudy", about="one scalar term", groups=("Subject",)),
    Case("sleep_uncorrelated", "Reaction ~ Days + (Days || Subject)", "sleepstudy", about="double bar", groups=("Subject",)),
    Case("sleep_split", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", "sleepstudy", "ML", "two terms on one factor"),
    Case("sleep_slope_only", "Reaction ~ Days + (0 + Days | Subject)", "sleepstudy", about="no random intercept"),
    Case("sleep_poly", "Reaction ~ poly(Days, 2) + (poly(Days, 2) | Subject)", "sleepstudy", about="orthogonal polynomials as slopes"),
    Case("sleep_power", "Reaction ~ Days + I(Days^2) + (1 | Subject)", "sleepstudy", "ML", "a power written as in R", groups=("Subject",)),
    Case("sleep_log", "log(Reaction) ~ Days + (Days | Subject)", "sleepstudy", about="transformed response", groups=("Subject",)),
    Case("sleep_no_intercept", "Reaction ~ 0 + Days + (Days | Subject)", "sleepstudy", about="no fixed intercept"),
    Case("sleep_weights", "Reaction ~ Days + (Days | Subject)", "sleepstudy", about="prior weights", prepare=_sleep_weights, weights="w"),
    Case("sleep_weights_ml", "Reaction ~ Days + late + (1 | Subject)", "sleepstudy", "ML", "weights and a logical predictor", _sleep_weights, "w", groups=("Subject",)),
    Case("sleep_offset", "Reaction ~ Days + (Days | Subject)", "sleepstudy", about="offset as an argument", prepare=_sleep_weights, offset="known"),
    Case("sleep_offset_term", "Reaction ~ late + offset(known) + (1 | Subject)", "sleepstudy", about="offset in the formula", prepare=_sleep_weights, groups=("Subject",)),
    Case("sleep_holes", "Reaction ~ Days + (Days | label)", "sleepstudy", about="missing values in every kind of column, text as group, odd index", prepare=_sleep_holes, groups=("label",)),
    Case("sleep_units", "Reaction ~ hours + (1 | Subject)", "sleepstudy", about="a covariate far from zero, a tiny response", prepare=_sleep_hours, groups=("Subject",)),
    Case("sleep_dependent", "Reaction ~ Days + twice + square + sum + (1 | Subject)", "sleepstudy", about="rank-deficient X: later columns go", prepare=_sleep_dependent),
]  # fmt: skip

_CLASSICS = [
    Case("dyestuff", "Yield ~ 1 + (1 | Batch)", "Dyestuff", about="one-way, balanced", groups=("Batch",)),
    Case("dyestuff_ml", "Yield ~ 1 + (1 | Batch)", "Dyestuff", "ML", "one-way, balanced"),
    Case("dyestuff2", "Yield ~ 1 + (1 | Batch)", "Dyestuff2", about="variance estimated as zero", groups=("Batch",)),
    Case("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", about="crossed", groups=("plate", "sample")),
    Case("penicillin_ml", "diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", "ML", "crossed"),
    Case("pastes", "strength ~ 1 + (1 | batch/cask)", "Pastes", about="nested shorthand", groups=("batch",)),
    Case("pastes_sample", "strength ~ 1 + (1 | sample) + (1 | batch)", "Pastes", "ML", "nested, named levels"),
    Case("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)", "cake", about="interaction of factors, ordered one with treatment contrasts, group a:b"),
    Case("cake_sum", "angle ~ recipe * temp + (1 | replicate) + (1 | recipe:replicate)", "cake", "ML", "sum contrasts by keyword", contrasts={"recipe": "sum"}),
    Case("cake_poly", "angle ~ C(temperature, contr.poly) + recipe + (1 | recipe:replicate)", "cake", about="polynomial contrasts in the formula"),
    Case("machines", "score ~ Machine + (1 | Worker/Machine)", "Machines", about="nested in a factor that is also fixed"),
    Case("machines_slopes", "score ~ Machine + (0 + Machine | Worker)", "Machines", about="factor as slopes, six levels"),
    Case("machines_double_bar", "score ~ Machine + (Machine || Worker)", "Machines", "ML", "double bar with a factor: keeps its correlations, as lme4"),
    Case("oats", "`yield` ~ nitro + Variety + (1 | Block/Variety)", "Oats", about="split plot; a column named like a Python keyword, in backticks", groups=("Block",)),
    Case("oxide", "Thickness ~ Source + (1 | Lot/Wafer)", "Oxide", about="three levels", groups=("Lot",)),
    Case("orthodont", "distance ~ age * Sex + (age | Subject)", "Orthodont", about="growth curves", groups=("Subject",)),
    Case("ergo_stool", "effort ~ C(Type, contr.helmert) + (1 | Subject)", "ergoStool", about="Helmert contrasts"),
    Case("pixel", "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)", "Pixel", about="slopes above, intercepts below"),
    Case("oxboys", "height ~ age + I(age^2) + (age + I(age^2) | Subject)", "Oxboys", about="three correlated effects", groups=("Subject",)),
    Case("body_weight", "weight ~ Time * Diet + (Time | Rat)", "BodyWeight", "ML", "growth curves with a factor"),
    Case("rat_pups", "weight ~ sex + Lsize + Treatment + (1 | Litter)", "RatPupWeight", about="unbalanced litters", groups=("Litter",)),
    Case("alfalfa", "Yield ~ Variety * Date + (1 | Block/Variety)", "Alfalfa", about="many coefficients, few rows"),
    Case("assay", "logDens ~ sample * dilut + (1 | Block/sample)", "Assay", about="30 coefficients on 60 rows, two blocks"),
    Case("milk", "protein ~ Diet + Time + (Time | Cow)", "Milk", "ML", "long unbalanced series", groups=("Cow",)),
    Case("early", "cog ~ age * trt + (age | id)", "Early", about="nearly singular slopes", groups=("id",)),
]  # fmt: skip

_SCHOOLS = [
    Case("exam", "normexam ~ standLRT + sex + schgend + (standLRT | school)", "Exam", about="pupils in schools", groups=("school",)),
    Case("exam_ml", "normexam ~ standLRT * intake + (1 | school)", "Exam", "ML", "interaction with a factor"),
    Case("scottish_secondary", "attain ~ sex + verbal + (1 | primary) + (1 | second)", "ScotsSec", about="partially crossed", groups=("primary", "second")),
    Case("high_school", "mAch ~ ses * sector + meanses + (ses | school)", "Hsb82", about="7185 pupils, cross-level interaction", groups=("school",)),
    Case("growth_in_math", "math ~ year * lowinc + (year | schoolid/childid)", "egsingle", about="three levels with slopes at two", groups=("schoolid",)),
    Case("contraception", "uses ~ age + urban + livch + (urban | district)", "Contraception", about="binary response as numbers, factor slope, near the boundary", prepare=_contraception),
    Case("gcse", "score ~ part * gender + (0 + part | school) + (1 | pupil)", "Gcsemv", about="missing responses, bivariate by factor slopes", prepare=_gcse),
    Case("classroom", "mathgain ~ mathkind + sex + minority + ses + housepov + (1 | schoolid/classid)", "classroom", about="three levels, integer groups", groups=("schoolid",)),
    Case("radon", "log_radon ~ basement + uranium + (basement | county_name)", "radon", about="labels with spaces, many small groups", prepare=_radon, groups=("county_name",)),
    Case("radon_integer", "log.radon ~ basement * uranium + (1 | county)", "radon", "ML", "a dot in a column name, integer group", groups=("county",)),
    Case("autism", "vsae ~ age * sicdegp + (age | childid)", "autism", about="strong intercept-slope correlation, missing responses", prepare=_autism, groups=("childid",)),
    Case("autism_singular", "vsae ~ poly(age, 2) * sicdegp + (age + I(age**2) | childid)", "autism", "ML", "quadratic slopes", _autism),
    Case("ahd", "sbvalue ~ week * treatment + (week | subject)", "ahd", about="missing responses", groups=("subject",)),
    Case("wages", "lnw ~ exper + exper:black + hgc + (exper | id)", "wages", about="888 short series", groups=("id",)),
    Case("mortality", "log(deaths) ~ uvb + offset(log_expected) + (1 | nation/region)", "Mmmec", "ML", "offset in the formula, nested, weights", _counties, "expected"),
    Case("arabidopsis", "log(total.fruits + 1) ~ rack + nutrient * amd + (1 | popu) + (1 | gen)", "Arabidopsis", about="a dot inside a call, integer group"),
    Case("ticks", "log(TICKS + 1) ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)", "grouseticks", "ML", "nested by labels", groups=("BROOD", "LOCATION")),
    Case("cattle", "incidence / size ~ period + (1 | herd)", "cbpp", about="division on the left, weights", weights="size", groups=("herd",)),
    Case("items", "y ~ a + b + c + (1 + a | s) + (1 + b | i)", "kb_like", "ML", "crossed random slopes", groups=("s", "i")),
    Case("items_double_bar", "y ~ a * b + (a + b || s) + (a + b || i)", "kb_like", about="six variances, crossed"),
    Case("items_maximal", "y ~ a + b + c + (a + b + c | s) + (a + b + c | i)", "kb_like", "ML", "maximal, 20 parameters, singular", cost="slow"),
    Case("evaluations_subset", "y ~ service + (1 | s) + (1 | d)", "InstEval", about="crossed, 2000 students", prepare=_evaluations, cost="slow"),
    Case("evaluations", "y ~ service + (1 | s) + (1 | d) + (1 | dept)", "InstEval", "ML", "73421 rows, crossed and nested", cost="slow"),
]  # fmt: skip

CASES: tuple[Case, ...] = (*_SLEEP, *_CLASSICS, *_SCHOOLS, *GLMM_CASES)


def case(name: str) -> Case:
    """Find a case by its name."""
    return next(item for item in CASES if item.name == name)
