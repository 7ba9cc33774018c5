"""Models and data drawn at random: one description of the structure, two sources of choices.

Hypothesis draws a `Plan` and shrinks it; ``numpy.random.default_rng(seed)`` draws the plans that are recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from parity.case import Case

__all__ = ["Chooser", "Layout", "Plan", "build", "drawn", "grouped_rows", "plans", "rolled", "rounded", "seeded_case"]


class Layout(Protocol):
    """What decides groups and their sizes."""

    @property
    def layout(self) -> Literal["one", "nested", "crossed"]: ...
    @property
    def groups(self) -> int: ...
    @property
    def inner(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def balance(self) -> Literal["balanced", "unbalanced", "skewed"]: ...
    @property
    def slopes(self) -> str: ...


@dataclass(frozen=True)
class Plan:
    """Everything that decides a generated model and its data."""

    layout: Literal["one", "nested", "crossed"]
    groups: int
    inner: int
    size: int
    balance: Literal["balanced", "unbalanced", "skewed"]
    slopes: Literal["", "x", "x + z", "f"]
    double_bar: bool
    second_slope: bool
    factor: Literal["no", "main", "interaction"]
    weights: bool
    missing: bool
    sd_intercept: float
    sd_slope: float
    sd_second: float
    x_scale: float
    x_shift: float
    y_scale: float
    y_shift: float
    method: Literal["REML", "ML"]
    seed: int


class Chooser(Protocol):
    """A source of choices."""

    def one_of(self, options: Sequence[Any]) -> Any: ...
    def whole(self, low: int, high: int) -> int: ...


def _plan(choose: Chooser) -> Plan:
    return Plan(
        layout=choose.one_of(["one", "nested", "crossed"]),
        groups=choose.whole(6, 18),
        inner=choose.whole(3, 7),
        size=choose.whole(4, 9),
        balance=choose.one_of(["balanced", "unbalanced", "skewed"]),
        slopes=choose.one_of(["", "x", "x", "x + z", "f"]),
        double_bar=choose.one_of([False, False, True]),
        second_slope=choose.one_of([False, False, True]),
        factor=choose.one_of(["no", "main", "interaction"]),
        weights=choose.one_of([False, False, True]),
        missing=choose.one_of([False, False, True]),
        sd_intercept=choose.one_of([1.0, 0.7, 0.7, 1.5, 4.0, 0.3, 0.02, 0.0]),
        sd_slope=choose.one_of([0.8, 0.8, 1.0, 1.5, 1.5, 3.0, 0.3, 0.0]),
        sd_second=choose.one_of([1.0, 1.0, 1.5, 2.0, 5.0, 0.3, 0.02, 0.0]),
        x_scale=choose.one_of([1.0, 1.0, 1e-3, 1e3]),
        x_shift=choose.one_of([0.0, 0.0, 3.0, -20.0]),
        y_scale=choose.one_of([1.0, 1.0, 1e-4, 1e5]),
        y_shift=choose.one_of([0.0, 50.0]),
        method=choose.one_of(["REML", "ML"]),
        seed=choose.whole(0, 2**31 - 1),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Hypothesis strategy of plans; shrinks towards few groups, balance, intercepts and unit scales."""

    return _plan(drawn(draw))


def drawn(draw: st.DrawFn) -> Chooser:
    """Choices that Hypothesis makes and shrinks."""

    class _Drawn:
        def one_of(self, options: Sequence[Any]) -> Any:
            return draw(st.sampled_from(options))

        def whole(self, low: int, high: int) -> int:
            return draw(st.integers(low, high))

    return _Drawn()


def rolled(seed: int) -> Chooser:
    """Choices of a random generator, for cases that are recorded."""
    rng = np.random.default_rng(seed)

    class _Rolled:
        def one_of(self, options: Sequence[Any]) -> Any:
            return options[int(rng.integers(len(options)))]

        def whole(self, low: int, high: int) -> int:
            return int(rng.integers(low, high + 1))

    return _Rolled()


def seeded_case(seed: int) -> Case:
    """Case number ``seed`` of the recorded ones."""
    return build(_plan(rolled(seed)), name=f"{seed:03d}")


def build(plan: Plan, name: str = "generated") -> Case:
    """Make formula and data of a plan.

    Numbers are rounded to six significant digits, so that a CSV of a failure reproduces it exactly.
    """
    rng = np.random.default_rng(plan.seed)
    frame = grouped_rows(plan, rng)
    n = len(frame)
    frame["x"] = rounded(rng.standard_normal(n))
    frame["z"] = rounded(rng.standard_normal(n))
    frame["f"] = rng.choice(["low", "mid", "top"], n)
    frame["y"] = _response(plan, frame, rng)
    frame["x"] = rounded((frame["x"] + plan.x_shift) * plan.x_scale)
    frame["y"] = rounded((frame["y"] + plan.y_shift) * plan.y_scale)
    if plan.weights:
        frame["w"] = rounded(rng.uniform(0.3, 3.0, n))
    if plan.missing:
        frame.loc[rng.choice(n, 2, replace=False), "y"] = np.nan
        frame.loc[rng.choice(n, 1), "x"] = np.nan
    return Case(
        name=name,
        formula=_formula(plan),
        data=frame,
        method=plan.method,
        about=", ".join(f"{key}={value}" for key, value in asdict(plan).items()),
        weights="w" if plan.weights else None,
        groups=("g",) if plan.layout != "crossed" else ("g", "h"),
    )


def grouped_rows(plan: Layout, rng: np.random.Generator) -> pd.DataFrame:
    """Rows with their groups; every group has rows, and there are more rows than random effects."""
    slopes = {"": 1, "x": 2, "x + z": 3, "f": 3}[plan.slopes]
    per_group = max(plan.size, slopes + 3) * (plan.inner if plan.layout == "nested" else 1)
    share = {
        "balanced": np.ones(plan.groups),
        "unbalanced": rng.uniform(0.5, 1.5, plan.groups),
        "skewed": rng.exponential(1.0, plan.groups) + 0.2,
    }[plan.balance]
    counts = np.maximum(3, np.round(per_group * share / share.mean())).astype(int)
    short = plan.groups * slopes + 3 * plan.inner + 10 - counts.sum()
    counts[0] += max(0, short)
    g = np.repeat(np.arange(plan.groups), counts)
    frame = pd.DataFrame({"g": [f"g{level:02d}" for level in g]})
    if plan.layout == "nested":
        frame["h"] = [f"h{level}" for level in np.concatenate([np.arange(count) % plan.inner for count in counts])]
    elif plan.layout == "crossed":
        levels = np.arange(len(g)) % plan.inner if plan.balance == "balanced" else rng.integers(0, plan.inner, len(g))
        frame["h"] = [f"h{level}" for level in levels]
    return frame


def _response(plan: Plan, frame: pd.DataFrame, rng: np.random.Generator) -> pd.Series:
    codes, labels = pd.factorize(frame["g"])
    q = len(labels)
    y = 1.0 + 0.5 * frame["x"] - 0.3 * frame["z"] + (frame["f"] == "top") * 0.4
    y += plan.sd_intercept * rng.standard_normal(q)[codes] + plan.sd_slope * rng.standard_normal(q)[codes] * frame["x"]
    y += 0.5 * plan.sd_slope * rng.standard_normal(q)[codes] * frame["z"]
    if plan.slopes == "f":
        y += plan.sd_slope * rng.standard_normal((q, 3))[codes, pd.factorize(frame["f"], sort=True)[0]]
    if plan.layout != "one":
        inner = frame["g"] + frame["h"] if plan.layout == "nested" else frame["h"]
        cells, names = pd.factorize(inner)
        y += plan.sd_second * rng.standard_normal(len(names))[cells]
        if plan.second_slope:
            y += 0.5 * plan.sd_second * rng.standard_normal(len(names))[cells] * frame["x"]
    return y + rng.standard_normal(len(frame))


def _formula(plan: Plan) -> str:
    fixed = {"no": "x + z", "main": "x + z + f", "interaction": "x * f + z"}[plan.factor]
    inside = f"1 + {plan.slopes}" if plan.slopes else "1"
    bar = "||" if plan.double_bar and plan.slopes not in ("", "f") else "|"
    terms = [f"({inside} {bar} g)"]
    if plan.layout != "one":
        group = "g:h" if plan.layout == "nested" else "h"
        terms.append(f"(1 + x | {group})" if plan.second_slope and plan.layout == "crossed" else f"(1 | {group})")
    return f"y ~ {fixed} + {' + '.join(terms)}"


def rounded(values: Any) -> np.ndarray:
    return np.array([float(f"{value:.6g}") for value in np.asarray(values, dtype=float)])
