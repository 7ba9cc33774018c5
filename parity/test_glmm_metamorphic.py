"""What must hold between two fits of generalized models, whatever R says."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln

import interlace
from interlace import datasets
from parity.case import Case
from parity.glmm_strategies import GlmmPlan, build_glmm, glmm_plans

FIRST_ORDER = 1e-5  # of standard errors, theta and means: see tolerances.toml
CRITERION = 1e-8
FEWER = settings(max_examples=max(1, settings.default.max_examples // 2))
CBIND = "cbind(incidence, size - incidence) ~ period"


def fit(case: Case, frame: pd.DataFrame, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return case.fit(frame, **arguments)


def close(left: float, right: float) -> bool:
    return abs(left - right) <= CRITERION * max(1.0, abs(right))


def assert_same_fit(one: Any, other: Any) -> None:
    """Same likelihood, and coefficients in units of their standard errors."""
    assert close(-2 * one.llf, -2 * other.llf), (one.llf, other.llf)
    apart = (one.fe_params - other.fe_params[one.fe_params.index]).abs() / one.fe_bse
    assert apart.max() < FIRST_ORDER, apart


def assert_same_means(one: pd.Series, other: pd.Series) -> None:
    pd.testing.assert_series_equal(one, other, atol=FIRST_ORDER, rtol=FIRST_ORDER, check_names=False)


@FEWER
@given(plan=glmm_plans(), order=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(plan: GlmmPlan, order: Any) -> None:
    case = build_glmm(plan)
    frame = case.frame()
    one, other = fit(case, frame), fit(case, frame.iloc[order.sample(range(len(frame)), len(frame))])
    assert_same_fit(one, other)
    assert_same_means(one.fittedvalues, other.fittedvalues.sort_index())


@FEWER
@given(plan=glmm_plans(), shift=st.integers(1, 97))
def test_names_of_levels_do_not_matter(plan: GlmmPlan, shift: int) -> None:
    case = build_glmm(plan)
    frame = case.frame()
    labels = sorted(frame["g"].unique())
    renamed = {label: f"L{(i + shift) % len(labels):03d}" for i, label in enumerate(labels)}
    one, other = fit(case, frame), fit(case, frame.assign(g=frame["g"].map(renamed)))
    assert_same_fit(one, other)
    assert_same_means(one.fittedvalues, other.fittedvalues)


@FEWER
@given(plan=glmm_plans(), factor=st.sampled_from([1e-4, 0.1, 20.0, 1e4]))
def test_unit_of_a_covariate(plan: GlmmPlan, factor: float) -> None:
    """x -> c x: the coefficient of x divides by c, and nothing else changes."""
    case = build_glmm(plan)
    frame = case.frame()
    one, other = fit(case, frame), fit(case, frame.assign(x=frame["x"] * factor))
    assert close(-2 * one.llf, -2 * other.llf), (one.llf, other.llf)
    scaled = other.fe_params * np.where(other.fe_params.index == "x", factor, 1.0)
    assert ((one.fe_params - scaled).abs() / one.fe_bse).max() < FIRST_ORDER
    assert_same_means(one.fittedvalues, other.fittedvalues)


@FEWER
@given(plan=glmm_plans(), constant=st.sampled_from([-2.0, 0.25, 1.0]))
def test_constant_offset_moves_the_intercept(plan: GlmmPlan, constant: float) -> None:
    case = build_glmm(plan)
    frame = case.frame()
    one, other = fit(case, frame), fit(case, frame, offset=np.full(len(frame), constant))
    assert close(-2 * one.llf, -2 * other.llf), (one.llf, other.llf)
    moved = other.fe_params + constant * (other.fe_params.index == "Intercept")
    assert ((one.fe_params - moved).abs() / one.fe_bse).max() < FIRST_ORDER
    assert_same_means(one.fittedvalues, other.fittedvalues)


@FEWER
@given(plan=glmm_plans())
def test_reference_of_a_factor_does_not_matter(plan: GlmmPlan) -> None:
    case = build_glmm(plan)
    frame = case.frame()
    turned = frame.assign(f=pd.Categorical(frame["f"], categories=["top", "mid", "low"]))
    one, other = fit(case, frame), fit(case, turned)
    assert close(-2 * one.llf, -2 * other.llf), (one.llf, other.llf)
    assert_same_means(one.fittedvalues, other.fittedvalues)


def cbpp(formula: str, frame: pd.DataFrame | None = None, **arguments: Any) -> Any:
    frame = datasets.load("cbpp") if frame is None else frame
    return interlace.glmer(f"{formula} + (1 | herd)", frame, "binomial", **arguments)


@pytest.mark.parametrize("link", ["logit", "probit", "cauchit"])
def test_successes_and_failures_swapped(link: str) -> None:
    """A symmetric link only changes the signs of coefficients and modes."""
    one = cbpp(CBIND, link=link)
    other = cbpp("cbind(size - incidence, incidence) ~ period", link=link)
    assert close(one.llf, other.llf)
    np.testing.assert_allclose(one.fe_params, -other.fe_params, rtol=FIRST_ORDER)
    np.testing.assert_allclose(one.random_effects["herd"], -other.random_effects["herd"], atol=FIRST_ORDER)


@pytest.mark.parametrize(("nAGQ", "link"), [(0, "logit"), (1, "logit"), (1, "cloglog"), (9, "logit"), (9, "probit")])
def test_animals_one_by_one_or_counted(nAGQ: int, link: str) -> None:
    """The likelihoods differ by the binomial coefficients, whatever the approximation."""
    frame = datasets.load("cbpp")
    counted = cbpp(CBIND, link=link, nAGQ=nAGQ)
    again = frame.loc[np.repeat(frame.index, frame["size"].astype(int))]
    ill = again.groupby(level=0).cumcount() < again["incidence"]
    single = cbpp("ill ~ period", again.assign(ill=ill).reset_index(drop=True), link=link, nAGQ=nAGQ)
    k, m = frame["incidence"], frame["size"]
    coefficients = float((gammaln(m + 1) - gammaln(k + 1) - gammaln(m - k + 1)).sum())
    assert close(counted.llf - coefficients, single.llf)
    np.testing.assert_allclose(counted.fe_params, single.fe_params, rtol=FIRST_ORDER)
    np.testing.assert_allclose(counted.fe_bse, single.fe_bse, rtol=FIRST_ORDER)
    np.testing.assert_allclose(counted.theta, single.theta, rtol=FIRST_ORDER)
    assert single.nobs == m.sum()


def test_counts_or_proportions() -> None:
    assert_same_fit(cbpp(CBIND), cbpp("incidence / size ~ period", weights="size"))


def test_zero_or_one_in_four_spellings() -> None:
    frame = datasets.load("Contraception").assign(
        yes=lambda d: d["use"] == "Y", number=lambda d: d["yes"].astype(int), word=lambda d: d["use"].astype(str)
    )
    first, *others = (
        interlace.glmer(f"{name} ~ age + (1 | district)", frame, "binomial")
        for name in ("use", "yes", "number", "word")
    )
    for other in others:
        assert_same_fit(first, other)


def test_rows_of_poisson_weight_two_are_two_rows() -> None:
    """Weights multiply the log density, so that a row of weight k is k equal rows."""
    frame = datasets.load("grouseticks").assign(w=lambda d: 1.0 + d.index % 3)
    formula = "TICKS ~ YEAR + (1 | BROOD)"
    repeated = frame.loc[np.repeat(frame.index, frame["w"].astype(int))].reset_index(drop=True)
    assert_same_fit(
        interlace.glmer(formula, frame, "poisson", weights="w"), interlace.glmer(formula, repeated, "poisson")
    )


def test_negative_binomial_without_overdispersion_is_poisson() -> None:
    frame = datasets.load("grouseticks")
    formula = "TICKS ~ YEAR + (1 | BROOD)"
    poisson = interlace.glmer(formula, frame, "poisson")
    limit = interlace.glmer(formula, frame, interlace.families.NegativeBinomial(1e9))
    np.testing.assert_allclose(limit.fe_params, poisson.fe_params, rtol=1e-4)
    assert limit.llf == pytest.approx(poisson.llf, rel=1e-5)


def test_estimated_theta_is_the_best_of_known_ones() -> None:
    frame = datasets.load("grouseticks")
    formula = "TICKS ~ YEAR + (1 | BROOD)"
    best = interlace.glmer_nb(formula, frame)
    for factor in (0.99, 1.01):
        near = interlace.glmer(formula, frame, interlace.families.NegativeBinomial(factor * best.family.theta))
        assert near.llf < best.llf
    same = interlace.glmer(formula, frame, interlace.families.NegativeBinomial(best.family.theta))
    assert_same_fit(best, same)


def test_more_nodes_come_closer_to_the_integral() -> None:
    """Criteria of 15 and 25 nodes agree to five digits where Laplace is off in the second."""
    laplace, some, many = (-2 * cbpp(CBIND, nAGQ=nodes).llf for nodes in (1, 15, 25))
    assert abs(some - many) < 1e-5
    assert abs(laplace - many) > 1e-2
