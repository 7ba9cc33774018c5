"""Generalized models and data drawn at random, as `strategies` draws linear ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import norm

from parity.case import Case
from parity.strategies import Chooser, drawn, grouped_rows, rolled, rounded

__all__ = ["GlmmPlan", "build_glmm", "glmm_plans", "seeded_glmm_case"]

Response = Literal["zero-one", "text", "cbind", "proportion", "count", "negative.binomial"]


@dataclass(frozen=True)
class GlmmPlan:
    """Everything that decides a generated model and its data."""

    layout: Literal["one", "nested", "crossed"]
    groups: int
    inner: int
    size: int
    balance: Literal["balanced", "unbalanced", "skewed"]
    slopes: Literal["", "x"]
    double_bar: bool
    response: Response
    link: str | None
    nAGQ: int  # noqa: N815 - lme4's name
    factor: bool
    weights: bool
    offset: bool
    missing: bool
    sd_intercept: float
    sd_slope: float
    sd_second: float
    x_scale: float
    seed: int


def _plan(choose: Chooser) -> GlmmPlan:
    layout = choose.one_of(["one", "nested", "crossed"])
    slopes = choose.one_of(["", "", "x"])
    response = choose.one_of(["zero-one", "cbind", "proportion", "count", "count", "text", "negative.binomial"])
    counts = response in ("count", "negative.binomial")
    points = [1, 1, 0, 5] if layout == "one" and not slopes and response != "negative.binomial" else [1, 1, 0]
    return GlmmPlan(
        layout=layout,
        groups=choose.whole(8, 18),
        inner=choose.whole(3, 6),
        size=choose.whole(6, 12),
        balance=choose.one_of(["balanced", "unbalanced"]),
        slopes=slopes,
        double_bar=choose.one_of([False, False, True]),
        response=response,
        link=choose.one_of([None, None, "sqrt"] if counts else [None, None, "probit", "cloglog"]),
        nAGQ=choose.one_of(points),
        factor=choose.one_of([False, True]),
        weights=choose.one_of([False, False, True]) and response != "negative.binomial",  # wrong in lme4 1.1
        offset=choose.one_of([False, False, True]),
        missing=choose.one_of([False, False, True]),
        sd_intercept=choose.one_of([0.7, 1.0, 0.5, 1.5, 0.2, 0.0]),
        sd_slope=choose.one_of([0.7, 1.0, 0.4, 0.1]),
        sd_second=choose.one_of([0.7, 0.5, 1.0, 0.2]),
        x_scale=choose.one_of([1.0, 1.0, 0.01, 100.0]),
        seed=choose.whole(0, 2**31 - 1),
    )


@st.composite
def glmm_plans(draw: st.DrawFn) -> GlmmPlan:
    """Hypothesis strategy of plans; shrinks towards few groups, 0 and 1, Laplace, the default link."""
    return _plan(drawn(draw))


def seeded_glmm_case(seed: int) -> Case:
    """Case number ``seed`` of the recorded ones."""
    return build_glmm(_plan(rolled(seed)), name=f"{seed:03d}")


def build_glmm(plan: GlmmPlan, name: str = "generated") -> Case:
    """Make formula and data of a plan; responses are whole numbers, covariates have six significant digits."""
    rng = np.random.default_rng(plan.seed)
    frame = grouped_rows(plan, rng)
    n = len(frame)
    frame["x"] = rounded(rng.standard_normal(n))
    frame["f"] = rng.choice(["low", "mid", "top"], n)
    known = rounded(rng.uniform(-0.5, 0.5, n)) if plan.offset else np.zeros(n)
    _respond(plan, frame, _predictor(plan, frame, rng) + known, rng)
    frame["x"] = rounded(frame["x"] * plan.x_scale)
    if plan.offset:
        frame["known"] = known
    if plan.weights:
        frame["w"] = rng.integers(1, 4, n).astype(float)
    if plan.missing:
        frame.loc[rng.choice(n, 2, replace=False), "x"] = np.nan
    return Case(
        name=name,
        formula=_formula(plan),
        data=frame,
        method="ML",
        about=", ".join(f"{key}={value}" for key, value in asdict(plan).items()),
        weights="m" if plan.response == "proportion" else "w" if plan.weights else None,
        groups=("g",) if plan.layout != "crossed" else ("g", "h"),
        family={"count": "poisson", "negative.binomial": "negative.binomial"}.get(plan.response, "binomial"),
        link=plan.link,
        nAGQ=plan.nAGQ,
        nb_theta=2.5 if plan.response == "negative.binomial" else None,
    )


def _predictor(plan: GlmmPlan, frame: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    codes, labels = pd.factorize(frame["g"])
    q = len(labels)
    eta = 0.4 * frame["x"] + (frame["f"] == "top") * 0.4 + plan.sd_intercept * rng.standard_normal(q)[codes]
    eta += plan.sd_slope * rng.standard_normal(q)[codes] * frame["x"] * (plan.slopes == "x")
    if plan.layout != "one":
        inner = frame["g"] + frame["h"] if plan.layout == "nested" else frame["h"]
        cells, names = pd.factorize(inner)
        eta += plan.sd_second * rng.standard_normal(len(names))[cells]
    return eta.to_numpy()


def _respond(plan: GlmmPlan, frame: pd.DataFrame, eta: np.ndarray, rng: np.random.Generator) -> None:
    """Add the columns of the response; a root is kept away from zero, where its sign would be arbitrary."""
    mean = (3.0 + 0.5 * np.tanh(eta)) ** 2 if plan.link == "sqrt" else np.exp(0.7 + np.minimum(eta, 3.0))
    share = norm.cdf(eta) if plan.link == "probit" else expit(eta)
    match plan.response:
        case "count":
            frame["y"] = rng.poisson(mean)
        case "negative.binomial":
            frame["y"] = rng.poisson(mean * rng.gamma(2.5, 1 / 2.5, len(frame)))
        case "zero-one" | "text":
            success = rng.random(len(frame)) < share
            frame["y"] = np.where(success, "yes", "no") if plan.response == "text" else success.astype(int)
        case _:
            frame["m"] = rng.integers(2, 12, len(frame)).astype(float)
            frame["s"] = rng.binomial(frame["m"].astype(int), share).astype(float)


def _formula(plan: GlmmPlan) -> str:
    left = {"cbind": "cbind(s, m - s)", "proportion": "s / m"}.get(plan.response, "y")
    fixed = "x + f" if plan.factor else "x"
    inside = f"1 + {plan.slopes}" if plan.slopes else "1"
    terms = [f"({inside} {'||' if plan.double_bar and plan.slopes else '|'} g)"]
    if plan.layout != "one":
        terms.append(f"(1 | {'g:h' if plan.layout == 'nested' else 'h'})")
    offset = " + offset(known)" if plan.offset else ""
    return f"{left} ~ {fixed}{offset} + {' + '.join(terms)}"
