"""What must hold between two fits of interlace, whatever R says."""

# ruff: noqa: E501 - pairs of formulas side by side

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import interlace
from interlace import datasets
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.estimate.lmm import at_theta as state_at_theta
from interlace.estimate.lmm import objective, optimize, prepare
from interlace.estimate.problem import Problem
from interlace.frames.build import build_design
from parity.case import Case
from parity.strategies import Plan, build, plans

FIRST_ORDER = 1e-5  # theta, sd, modes: see tolerances.toml
CRITERION = 1e-8


def fit(formula: str, frame: pd.DataFrame, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit(formula, frame, **arguments)


def fit_case(case: Case, frame: pd.DataFrame, **arguments: Any) -> Any:
    return fit(case.formula, frame, **(case.fit_arguments() | arguments))


def criterion(result: Any) -> float:
    return -2.0 * result.llf


def close(left: float, right: float, size: float = 1.0) -> bool:
    return abs(left - right) <= CRITERION * max(1.0, abs(right), size)


def assert_same_fit(one: Any, other: Any) -> None:
    """Same likelihood and coefficients, in units of their standard errors."""
    assert close(criterion(one), criterion(other)), (criterion(one), criterion(other))
    apart = (one.fe_params - other.fe_params[one.fe_params.index]).abs() / one.fe_bse
    assert apart.max() < FIRST_ORDER, apart
    assert abs(one.sigma / other.sigma - 1) < FIRST_ORDER


@given(plan=plans(), order=st.randoms(use_true_random=False))
def test_order_of_rows_does_not_matter(plan: Plan, order: Any) -> None:
    case = build(plan)
    frame = case.frame()
    shuffled = frame.iloc[order.sample(range(len(frame)), len(frame))]
    one, other = fit_case(case, frame), fit_case(case, shuffled)
    assert_same_fit(one, other)
    pd.testing.assert_series_equal(
        one.fittedvalues, other.fittedvalues.sort_index(), atol=FIRST_ORDER * one.sigma, rtol=0, check_names=False
    )


@given(plan=plans(), shift=st.integers(1, 97))
def test_names_of_levels_do_not_matter(plan: Plan, shift: int) -> None:
    case = build(plan)
    frame = case.frame()
    labels = sorted(frame["g"].unique())
    renamed = {label: f"L{(i + shift) % len(labels):03d}" for i, label in enumerate(labels)}
    other_frame = frame.assign(g=frame["g"].map(renamed))
    one, other = fit_case(case, frame), fit_case(case, other_frame)
    assert_same_fit(one, other)
    key = next(key for key in one.random_effects if key.split(".")[0] == "g")
    modes, others = pd.DataFrame(one.random_effects[key]), pd.DataFrame(other.random_effects[key])
    matched = others.loc[[renamed[level] for level in modes.index]].to_numpy()
    spread = np.sqrt(np.diag(np.atleast_2d(one.variance_components[key])))
    unit = np.maximum(spread, 1e-3 * one.sigma / max(1.0, float(frame["x"].abs().max())))
    assert np.abs((modes.to_numpy() - matched) / unit).max() < 10 * FIRST_ORDER


@given(plan=plans(), factor=st.sampled_from([1e-6, 0.5, 3.0, 1e6]), shift=st.sampled_from([0.0, 1.0, -50.0]))
def test_unit_and_zero_of_the_response(plan: Plan, factor: float, shift: float) -> None:
    """y -> c (y + s): sigma and coefficients scale, theta stays, the criterion moves by 2 N log c."""
    case = build(plan)
    frame = case.frame()
    spread = float(frame["y"].std())
    one = fit_case(case, frame)
    other = fit_case(case, frame.assign(y=factor * (frame["y"] + shift * spread)))
    n = one.nobs - (len(one.fe_params) if case.method == "REML" else 0)
    expected = criterion(one) + 2 * n * np.log(factor)
    assert close(criterion(other), expected, size=abs(criterion(one)))
    moved = factor * one.fe_params
    moved["Intercept"] += factor * shift * spread
    assert ((other.fe_params - moved).abs() / other.fe_bse).max() < FIRST_ORDER
    assert abs(other.sigma / (factor * one.sigma) - 1) < FIRST_ORDER


@given(plan=plans(), factor=st.sampled_from([1e-5, 0.1, 20.0, 1e4]))
def test_unit_of_a_covariate(plan: Plan, factor: float) -> None:
    """x -> c x: coefficients of x divide by c; the ML deviance stays, the REML criterion moves by -2 log c a column."""
    case = build(plan)
    frame = case.frame()
    one, other = fit_case(case, frame), fit_case(case, frame.assign(x=frame["x"] * factor))
    with_x = np.array([("x" in name.split(":")) for name in one.fe_params.index])
    expected = criterion(one) + (2 * with_x.sum() * np.log(factor) if case.method == "REML" else 0.0)
    assert close(criterion(other), expected, size=abs(criterion(one)))
    scaled = one.fe_params / np.where(with_x, factor, 1.0)
    assert ((other.fe_params - scaled).abs() / other.fe_bse).max() < FIRST_ORDER


@given(plan=plans(), shift=st.sampled_from([1.0, -3.0]))
def test_zero_of_a_covariate(plan: Plan, shift: float) -> None:
    """x -> x + s leaves the fit as it is where intercepts and slopes are free to correlate."""
    assume(not plan.double_bar and not (plan.second_slope and plan.layout == "nested"))
    case = build(plan)
    frame = case.frame()
    spread = float(frame["x"].std())
    one, other = fit_case(case, frame), fit_case(case, frame.assign(x=frame["x"] + shift * spread))
    assert close(criterion(other), criterion(one)), (criterion(other), criterion(one))
    assert (
        abs(other.fe_params["x"] - one.fe_params["x"]) < FIRST_ORDER * one.fe_bse["x"] or plan.factor == "interaction"
    )
    assert abs(other.sigma / one.sigma - 1) < FIRST_ORDER


@given(plan=plans(), constant=st.sampled_from([0.01, 4.0, 1e5]))
def test_unit_of_the_weights(plan: Plan, constant: float) -> None:
    """w -> c w: sigma^2 multiplies by c, theta absorbs 1/c, and the likelihood of y stays as it is."""
    case = build(plan)
    frame = case.frame()
    weights = np.linspace(0.5, 2.0, len(frame))
    one, other = fit_case(case, frame, weights=weights), fit_case(case, frame, weights=constant * weights)
    assert_same_fit_up_to_sigma(one, other, np.sqrt(constant))


def assert_same_fit_up_to_sigma(one: Any, other: Any, ratio: float) -> None:
    assert close(criterion(one), criterion(other)), (criterion(one), criterion(other))
    assert ((one.fe_params - other.fe_params).abs() / one.fe_bse).max() < FIRST_ORDER
    assert abs(other.sigma / one.sigma / ratio - 1) < FIRST_ORDER


@given(plan=plans(), copies=st.integers(2, 4))
def test_weights_against_repeated_rows(plan: Plan, copies: int) -> None:
    """A row of weight k has the same coefficients as k equal rows once sigma is known.

    The likelihoods differ: k rows also estimate sigma from k residuals. So sigma is taken out: the fits share
    theta, here from the weighted fit, and the coefficients given theta are weighted least squares in both.
    """
    case = build(plan)
    frame = case.frame().dropna().assign(w=float(copies)).reset_index(drop=True)
    weighted = fit(case.formula, frame, weights="w", method=case.method)
    repeated = frame.loc[np.repeat(frame.index, copies)].reset_index(drop=True)
    many = at_theta(case.formula, repeated, weighted.theta, case.method)
    apart = (many.beta - weighted.fe_params.to_numpy()) / weighted.fe_bse.to_numpy()
    assert np.abs(apart).max() < FIRST_ORDER


def at_theta(formula: str, frame: pd.DataFrame, theta: Any, method: str) -> Any:
    return state_at_theta(build_design(formula, frame), theta, reml=method == "REML")


def parts(rows: Rows, pieces: int) -> list[Rows]:
    """The rows dealt out to so many pieces."""
    chosen = [np.arange(i, rows.n, pieces) for i in range(pieces)]
    return [
        Rows([c[at] for c in rows.codes], [Z[at] for Z in rows.Z], rows.Xy[at], rows.log_weights * at.size / rows.n)
        for at in chosen
    ]


def best(problem: Problem, cp: CrossProducts) -> tuple[float, Any]:
    """Criterion and coefficients, in inner units, of the model fitted from these cross-products."""
    summary, e = optimize(replace(problem, cp=cp))
    return summary.value, e.beta


def prepared(plan: Plan) -> Problem:
    case = build(plan)
    weights = case.fit_arguments().get("weights")
    return prepare(build_design(case.formula, case.frame(), weights=weights), reml=case.method == "REML")


@given(plan=plans(), pieces=st.integers(2, 6))
def test_rows_in_chunks(plan: Plan, pieces: int) -> None:
    problem = prepared(plan)
    chunked = CrossProducts.from_chunks(problem.structure, parts(problem.rows, pieces))
    assert chunked.n == problem.cp.n
    (whole, beta), (value, other) = best(problem, problem.cp), best(problem, chunked)
    assert close(value, whole, size=problem.cp.n)
    np.testing.assert_allclose(other, beta, atol=FIRST_ORDER)


@given(plan=plans())
def test_rows_added_and_taken_away(plan: Plan) -> None:
    """A + B - B = A: the fit to the first rows is what is left of all rows without the others."""
    problem = prepared(plan)
    first, others = parts(problem.rows, 2)
    assume(np.linalg.cond(first.Xy[:, :-1]) < 1e4)  # half of the rows may not identify all coefficients
    alone = CrossProducts.from_rows(problem.structure, first)
    left = problem.cp - CrossProducts.from_rows(problem.structure, others)
    assert left.n == alone.n
    theta = np.full(problem.structure.n_theta, 0.5)
    at_alone, at_left = (objective(replace(problem, cp=cp)).at(theta) for cp in (alone, left))
    assert at_left.pwrss == pytest.approx(at_alone.pwrss, rel=1e-9)
    np.testing.assert_allclose(at_left.beta, at_alone.beta, atol=FIRST_ORDER)


EQUIVALENT = {
    "double bar": ("sleepstudy", "Reaction ~ Days + (Days || Subject)", "Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)"),
    "nesting": ("Pastes", "strength ~ 1 + (1 | batch/cask)", "strength ~ 1 + (1 | batch) + (1 | batch:cask)"),
    "named levels": ("Pastes", "strength ~ 1 + (1 | batch/cask)", "strength ~ 1 + (1 | batch) + (1 | sample)"),
    "implicit intercept": ("sleepstudy", "Reaction ~ Days + (Days | Subject)", "Reaction ~ 1 + Days + (1 + Days | Subject)"),
    "order of terms": ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", "diameter ~ 1 + (1 | sample) + (1 | plate)"),
    "order of a product": ("cake", "angle ~ recipe * temp + (1 | recipe:replicate)", "angle ~ temp * recipe + (1 | replicate:recipe)"),
    "power": ("Pixel", "pixel ~ day + I(day^2) + (1 | Dog)", "pixel ~ day + I(day ** 2) + (1 | Dog)"),
    "basis": ("sleepstudy", "Reaction ~ poly(Days, 2) + (1 | Subject)", "Reaction ~ Days + I(Days ** 2) + (1 | Subject)"),
    "factor coding of slopes": ("Machines", "score ~ Machine + (0 + Machine | Worker)", "score ~ Machine + (Machine | Worker)"),
    "contrasts": ("cake", "angle ~ C(recipe, contr.sum) + (1 | recipe:replicate)", "angle ~ recipe + (1 | recipe:replicate)"),
}  # fmt: skip


@pytest.mark.parametrize("what", EQUIVALENT)
def test_two_spellings_of_one_model(what: str) -> None:
    name, left, right = EQUIVALENT[what]
    frame = datasets.load(name)
    one, other = fit(left, frame, method="ML"), fit(right, frame, method="ML")
    assert close(criterion(one), criterion(other))
    np.testing.assert_allclose(one.fittedvalues, other.fittedvalues, atol=FIRST_ORDER * one.sigma, rtol=0)
    assert abs(one.sigma / other.sigma - 1) < FIRST_ORDER


@pytest.mark.parametrize("spelling", [{"groups": "Subject"}, {"random": ["(1 | Subject)"]}])
def test_terms_as_arguments(spelling: dict[str, Any]) -> None:
    frame = datasets.load("sleepstudy")
    assert_same_fit(fit("Reaction ~ Days", frame, **spelling), fit("Reaction ~ Days + (1 | Subject)", frame))


def test_list_of_groups() -> None:
    frame = datasets.load("Penicillin")
    one = fit("diameter ~ 1", frame, groups=["plate", "sample"])
    assert_same_fit(one, fit("diameter ~ 1 + (1 | plate) + (1 | sample)", frame))


def test_offset_three_ways() -> None:
    frame = datasets.load("sleepstudy").assign(known=lambda d: 3.0 * d["Days"])
    one = fit("Reaction ~ Days + (1 | Subject)", frame, offset="known")
    assert_same_fit(one, fit("Reaction ~ Days + offset(known) + (1 | Subject)", frame))
    assert_same_fit(one, fit("Reaction ~ Days + (1 | Subject)", frame, offset=frame["known"].to_numpy()))
    moved = fit("I(Reaction - known) ~ Days + (1 | Subject)", frame)
    assert close(criterion(one), criterion(moved))


def test_missing_rows_are_as_if_never_there() -> None:
    frame = datasets.load("sleepstudy")
    holes = frame.assign(Reaction=frame["Reaction"].mask(frame.index % 7 == 0))
    one = fit("Reaction ~ Days + (Days | Subject)", holes)
    assert_same_fit(one, fit("Reaction ~ Days + (Days | Subject)", holes.dropna()))
    assert one.nobs == holes["Reaction"].notna().sum()


def test_rows_of_weight_zero_are_as_if_never_there() -> None:
    frame = datasets.load("sleepstudy").assign(w=lambda d: (d["Days"] != 3).astype(float))
    one = fit("Reaction ~ Days + (Days | Subject)", frame, weights="w")
    assert_same_fit(one, fit("Reaction ~ Days + (Days | Subject)", frame[frame["w"] > 0]))
