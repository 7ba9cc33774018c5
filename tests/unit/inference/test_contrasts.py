"""Tests of linear functions, apart from where their degrees of freedom come from."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import interlace
from interlace.errors import ModelError
from interlace.estimate.state import FitState
from interlace.inference.contrasts import CoefficientTests, Sensitivity, matched_df, rank_of_hypothesis
from interlace.inference.degrees_of_freedom import coefficient_tests
from interlace.typing import DfMethod

BETA, COV = np.array([2.0, -1.0, 0.5]), np.array([[2.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 0.5]])


@pytest.fixture(scope="module")
def state() -> FitState:
    data = interlace.datasets.load("sleepstudy")
    return interlace.fit("Reaction ~ Days + I(Days**2) + (Days || Subject)", data).state


def test_residual_and_normal_tests_are_the_textbook_ones() -> None:
    L, null = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]), np.array([1.0, -2.0])
    gap = L @ BETA - null
    statistic = float(gap @ np.linalg.solve(L @ COV @ L.T, gap)) / 2
    found = CoefficientTests("residual", BETA, COV, 17.0).joint(L, null)
    assert (found.statistic, found.num_df, found.den_df) == (pytest.approx(statistic), 2, 17.0)
    assert found.p_value == pytest.approx(stats.f.sf(statistic, 2, 17))
    normal = CoefficientTests("normal", BETA, COV, np.inf).joint(L, null)
    assert normal.p_value == pytest.approx(stats.chi2.sf(2 * statistic, 2))
    single = CoefficientTests("residual", BETA, COV, 17.0).single(L, null)
    np.testing.assert_allclose(single.estimate, L @ BETA)
    np.testing.assert_allclose(single.se, np.sqrt(np.diagonal(L @ COV @ L.T)))
    np.testing.assert_allclose(single.p_value, 2 * stats.t.sf(np.abs(gap / single.se), 17))


@pytest.mark.parametrize("method", ["satterthwaite", "kenward-roger", "residual", "normal"])
def test_one_row_is_the_square_of_its_t_test(state: FitState, method: DfMethod) -> None:
    tests, L = coefficient_tests(state, method), np.array([[1.0, 2.0, 0.0]])
    single, joint = tests.single(L, 240.0), tests.joint(L, 240.0)
    assert joint.statistic == pytest.approx(single.statistic[0] ** 2)
    assert joint.den_df == pytest.approx(single.df[0])
    assert joint.p_value == pytest.approx(single.p_value[0])


@pytest.mark.parametrize("method", ["satterthwaite", "kenward-roger"])
def test_superfluous_rows_change_nothing(state: FitState, method: DfMethod) -> None:
    tests = coefficient_tests(state, method)
    twice = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1e3]])
    found, plain = tests.joint(twice), tests.joint(twice[:2])
    assert found.num_df == plain.num_df == 2
    assert found.statistic == pytest.approx(plain.statistic)
    if method == "kenward-roger":  # Fai and Cornelius's degrees of freedom depend on the choice of rows
        assert found.p_value == pytest.approx(plain.p_value)
    with pytest.raises(ValueError, match="contradict one another in rhs"):
        tests.joint(twice, [0.0, 0.0, 1.0])


def test_rank_does_not_depend_on_units() -> None:
    scale = np.diag([1e6, 1.0, 1e-6])
    assert rank_of_hypothesis(scale @ COV @ scale) == 3
    assert rank_of_hypothesis(np.zeros((2, 2))) == 0


def test_nothing_to_test_is_not_a_number(state: FitState) -> None:
    for method in ("satterthwaite", "kenward-roger", "normal"):
        found = coefficient_tests(state, method).joint(np.empty((0, 3)))
        assert found.num_df == 0
        assert np.isnan([found.statistic, found.den_df, found.p_value]).all()


def test_matched_degrees_of_freedom() -> None:
    """E of the mean of q squares of t variables, each df / (df - 2), is that of the F distribution."""
    df = np.array([5.0, 9.0, 30.0])
    found = matched_df(df)
    assert found / (found - 2) == pytest.approx(np.mean(df / (df - 2)))
    assert matched_df(np.array([7.0, 7.0 + 1e-10])) == pytest.approx(7.0)
    assert matched_df(np.array([1.5, 20.0])) == 2.0
    assert matched_df(np.array([1.5])) == 1.5


def test_kenward_roger_says_where_it_defines_no_distribution() -> None:
    # Four coefficients, each with a variance of its own that half a degree of freedom tells of.
    slopes = np.array([np.diag(unit) for unit in np.eye(4)])
    vague = Sensitivity(np.eye(4), slopes, 4.0 * np.eye(4))
    tests = CoefficientTests("kenward-roger", np.ones(4), np.eye(4), np.nan, vague)
    with pytest.raises(ModelError, match='Kenward-Roger approximation gives no F.*use ddf="satterthwaite"'):
        tests.joint(np.eye(4))


def test_kenward_roger_of_a_known_variance_is_chi_square() -> None:
    known = CoefficientTests(
        "kenward-roger", BETA, COV, np.nan, Sensitivity(COV, np.array([COV]), np.array([[2.0 / 1e9]]))
    )
    L = np.eye(3)[:2]
    assert known.joint(L).p_value == pytest.approx(CoefficientTests("normal", BETA, COV, np.inf).joint(L).p_value)


def test_kenward_roger_of_one_scale_is_hotellings_f() -> None:
    """A covariance known up to a scale with nu degrees of freedom: the F test with q and nu, factor 1."""
    nu, L = 14.0, np.eye(3)[:2]
    found = CoefficientTests(
        "kenward-roger", BETA, COV, np.nan, Sensitivity(COV, np.array([COV]), np.array([[2.0 / nu]]))
    ).joint(L)
    exact = CoefficientTests("residual", BETA, COV, nu).joint(L)
    assert (found.statistic, found.den_df) == (pytest.approx(exact.statistic), pytest.approx(nu))


def test_unknown_methods_and_generalized_models_are_refused() -> None:
    state = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool")).state
    with pytest.raises(ValueError, match="ddf must be one of satterthwaite, kenward-roger, residual, normal; not 'KR'"):
        coefficient_tests(state, "KR")  # type: ignore[arg-type]
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")
    with pytest.raises(ModelError, match="tests of generalized models use the normal and chi-square distributions"):
        coefficient_tests(result.state, "satterthwaite")
