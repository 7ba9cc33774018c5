"""Comparison of two fits: what counts, in which unit, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import interlace
from interlace import datasets
from interlace.rbridge import FitNumbers, compare, numbers_of
from interlace.rbridge.agreement import limits


@pytest.fixture(scope="module")
def fit() -> FitNumbers:
    frame = datasets.load("sleepstudy")
    return numbers_of(interlace.fit("Reaction ~ Days + (Days | Subject)", frame), {"all": frame})


def table(ours: FitNumbers, theirs: FitNumbers) -> Any:
    return compare(ours, theirs, reference="itself")


def test_a_fit_agrees_with_itself(fit: FitNumbers) -> None:
    result = table(fit, fit)
    assert result.agrees
    assert set(result.frame["quantity"]) == set(limits())
    assert np.isinf(result.frame["margin"]).all()
    assert "agrees with itself" in str(result)


def test_coefficients_are_measured_in_standard_errors(fit: FitNumbers) -> None:
    moved = replace(fit, beta=fit.beta + np.array([0.0, 1e-3 * fit.se[1]]))
    rows = {row.quantity: row for row in table(moved, fit).failures}
    assert rows.keys() == {"coefficients"}
    assert rows["coefficients"].difference == pytest.approx(1e-3)
    assert rows["coefficients"].where == "Days"


def test_everything_is_matched_by_name(fit: FitNumbers) -> None:
    term = fit.terms["Subject"]
    reordered = replace(
        term, levels=term.levels[::-1], modes=term.modes[::-1].copy(), conditional=term.conditional[::-1].copy()
    )
    other = replace(
        fit,
        names=fit.names[::-1],
        beta=fit.beta[::-1],
        vcov=fit.vcov[::-1, ::-1],
        terms={"Subject": reordered},
        rows=fit.rows[::-1],
        fitted=fit.fitted[::-1],
        residuals=fit.residuals[::-1],
    )
    assert table(fit, other).agrees


def test_a_worse_criterion_of_ours_fails(fit: FitNumbers) -> None:
    result = table(replace(fit, criterion=fit.criterion + 1.0), fit)
    assert not result.agrees
    assert result.judged
    assert result.gain == pytest.approx(-1.0)


def test_a_worse_criterion_of_lme4_is_said_and_nothing_else_judged(fit: FitNumbers) -> None:
    theirs = replace(fit, criterion=fit.criterion + 1.0, sigma=2 * fit.sigma)
    result = table(fit, theirs)
    assert result.agrees
    assert not result.judged
    assert "lme4 stopped at a worse optimum" in str(result)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"n_rows": 179}, "n_rows: ours 180, lme4 179"),
        ({"names": ("(Intercept)", "days")}, "coefficients on one side only"),
        ({"terms": {}}, "terms on one side only"),
        ({"rows": np.arange(180) + 1}, "rows on one side only"),
    ],
)
def test_different_models_are_told_apart(fit: FitNumbers, change: dict[str, Any], where: str) -> None:
    result = table(fit, replace(fit, **change))
    assert not result.agrees
    assert where in str(result)


def test_not_a_number_is_no_agreement(fit: FitNumbers) -> None:
    result = table(replace(fit, fitted=np.where(fit.rows == 3, np.nan, fit.fitted)), fit)
    assert not result.agrees
    assert any(row.where == "row 3" for row in result.failures)


def test_on_the_boundary_the_covariance_is_compared_and_theta_is_not(fit: FitNumbers) -> None:
    term = fit.terms["Subject"]
    flat = replace(term, theta=np.array([0.0, 0.3, 0.0]))
    quantities = set(table(fit, replace(fit, terms={"Subject": flat})).frame["quantity"])
    assert "covariance" in quantities
    assert not quantities & {"theta", "standard_deviations", "correlations"}


def test_terms_that_share_variance_in_no_unique_way_are_not_compared(fit: FitNumbers) -> None:
    theirs = replace(fit, notes={"eigenvalues": np.array([30.0, 1e-5])})
    quantities = set(table(fit, theirs).frame["quantity"])
    assert not quantities & {"theta", "covariance", "modes", "conditional_variances"}
    assert {"deviance", "coefficients", "fitted"} <= quantities


@pytest.fixture(scope="module")
def counts() -> FitNumbers:
    frame = datasets.load("grouseticks")
    result = interlace.glmer_nb("TICKS ~ YEAR + (1 | BROOD)", frame)
    return numbers_of(result, {"some": frame.head()})


def test_a_generalized_fit_has_more_to_agree_in(counts: FitNumbers) -> None:
    result = table(counts, counts)
    assert result.agrees
    assert set(result.frame["quantity"]) == set(limits(generalized=True)) > set(limits())
    assert np.isinf(result.frame["margin"]).all()


def test_means_of_generalized_fits_are_not_measured_in_sigma(counts: FitNumbers) -> None:
    moved = counts.fitted * (1 + 1e-3 * (counts.fitted > 1)) + 1e-3 * (counts.fitted <= 1)
    result = table(replace(counts, fitted=moved), replace(counts, sigma=1e6))
    found = {row.quantity: row.difference for row in result.rows}
    assert found["fitted"] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("change", "quantity", "difference"),
    [
        ({"family": "poisson"}, "counts", 1),
        ({"link": "sqrt"}, "counts", 1),
        ({"nAGQ": 9}, "counts", 1),
        ({"nb_theta": None}, "nb_theta", np.nan),
        ({"deviance": 0.0}, "residual_deviance", None),
        ({"eta": 0.0}, "linear_predictor", None),
    ],
)
def test_differences_of_generalized_fits(
    counts: FitNumbers, change: dict[str, Any], quantity: str, difference: float | None
) -> None:
    assert counts.generalized is not None
    if "eta" in change:
        change = {"eta": counts.generalized.eta + 1e-3}
    other = replace(counts, generalized=replace(counts.generalized, **change))
    rows = {row.quantity: row for row in table(other, counts).failures}
    assert rows.keys() == {quantity}
    if difference is not None:
        assert rows[quantity].difference == pytest.approx(difference, nan_ok=True)


def test_working_residuals_near_zero_or_one_are_known_to_fewer_digits(counts: FitNumbers) -> None:
    assert counts.generalized is not None
    near = replace(counts, residuals=np.full_like(counts.residuals, 1e-12))
    working = counts.generalized.residuals["working"]
    scaled = dict(counts.generalized.residuals) | {"working": working * (1 + 1e-4)}
    moved = replace(near, generalized=replace(counts.generalized, residuals=scaled))
    assert table(moved, near).agrees
    far = replace(moved, residuals=counts.residuals)
    assert [row.quantity for row in table(far, counts).failures] == ["residuals_working"]


def test_every_limit_has_a_unit_and_a_reason() -> None:
    for entry in limits(generalized=True).values():
        assert entry["limit"] >= 0
        assert entry["unit"]
        assert entry["reason"]
