"""Distributions behind simultaneous tests, against scipy's and against each other."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from interlace.inference.emmeans import average_rows, contrast_set
from interlace.inference.multiplicity import adjusted_p_values, joint_critical_values, studentized_range_tail


@pytest.mark.parametrize("means", [2, 3, 15, 40])
@pytest.mark.parametrize("df", [2.3, 5.0, 17.3, 210.0, np.inf])
def test_the_studentized_range_is_scipys(means: int, df: float) -> None:
    for q in (0.5, 3.0, 6.0):
        expected = stats.studentized_range.sf(q, means, df)
        assert studentized_range_tail(q, means, df) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("df", [0.7, 1.0, 12.0, 1e6, np.inf])
def test_the_range_of_two_is_a_t_test(df: float) -> None:
    for q in (0.1, 2.0, 5.0):
        assert studentized_range_tail(q, 2, df) == pytest.approx(
            2 * stats.t.sf(q / np.sqrt(2), df), rel=1e-9, abs=1e-13
        )


def test_a_range_is_positive() -> None:
    assert studentized_range_tail(0.0, 3, 10.0) == 1.0


def test_all_pairs_by_the_joint_t_distribution_are_tukeys() -> None:
    C = contrast_set("pairwise", list("abcd")).weights / np.sqrt(2.0)  # singular: 6 contrasts of rank 3
    t, df = np.array([1.0, 2.0, 2.5, 3.0, 4.0, 0.2]), np.full(6, 12.0)
    expected = adjusted_p_values(t, df, "tukey", means=4, correlation=C @ C.T)
    found = adjusted_p_values(t, df, "mvt", means=4, correlation=C @ C.T)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=5e-5)


@pytest.mark.parametrize(("k", "df"), [(2, 5.0), (5, 210.0), (10, 17.3), (30, 40.0), (5, np.inf)])
def test_comparisons_with_a_control_are_dunnetts(k: int, df: float) -> None:
    # With correlations of one half, T_i = (Z_i - Z_0) / (sqrt(2) s): a double integral.
    z, w = np.polynomial.hermite_e.hermegauss(100)
    w = w / w.sum()
    s = np.ones(1) if np.isinf(df) else np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)
    for t in (1.5, 2.5, 3.3):
        a = np.sqrt(2.0) * t * s[:, None]
        inside = (((stats.norm.cdf(z + a) - stats.norm.cdf(z - a)) ** k) @ w).mean()
        shape = np.full((k, k), 0.5) + 0.5 * np.eye(k)
        found = adjusted_p_values(np.full(k, t), np.full(k, df), "mvt", means=k + 1, correlation=shape)
        np.testing.assert_allclose(found, 1.0 - inside, rtol=5e-3 if k <= 10 else 1.5e-2, atol=1e-5)


@pytest.mark.parametrize("method", ["tukey", "mvt", "bonferroni", "sidak", "none"])
def test_quantiles_undo_tails(method: str) -> None:
    C = contrast_set("pairwise", list("abc")).weights / np.sqrt(2.0)
    df = np.array([7.5, 7.5, 30.0])
    reach = joint_critical_values(df, 0.9, method, means=3, correlation=C @ C.T)  # type: ignore[arg-type]
    tails = adjusted_p_values(reach, df, method, means=3, correlation=C @ C.T)  # type: ignore[arg-type]
    np.testing.assert_allclose(tails, 0.1, rtol=1e-6)


@pytest.mark.parametrize(("method", "rtol"), [("tukey", 1e-8), ("mvt", 1e-6)])
def test_quantiles_of_many_degrees_of_freedom_are_those_of_each(method: str, rtol: float) -> None:
    """Sixteen means have 120 pairs; some with fewer than two degrees of freedom, one with infinitely many."""
    C = contrast_set("pairwise", [str(i) for i in range(16)]).weights / np.sqrt(2.0)
    df = np.append(np.geomspace(1.5, 1e5, 119), np.inf)
    found = joint_critical_values(df, 0.95, method, means=16, correlation=C @ C.T)  # type: ignore[arg-type]
    for i in (0, 7, 30, 60, 118, 119):
        alone = joint_critical_values(np.full(120, df[i]), 0.95, method, means=16, correlation=C @ C.T)  # type: ignore[arg-type]
        assert found[i] == pytest.approx(alone[i], rel=rtol)


def test_step_adjustments_against_scipy_and_by_hand() -> None:
    t, df = np.array([2.9, 0.3, 2.1, 3.6]), np.full(4, 20.0)
    p = 2 * stats.t.sf(t, df)
    arguments = {"means": 3, "correlation": np.eye(4)}
    np.testing.assert_allclose(adjusted_p_values(t, df, "fdr", **arguments), stats.false_discovery_control(p))
    holm = [3 * p[0], p[1], 2 * p[2], 4 * p[3]]  # already in order
    np.testing.assert_allclose(adjusted_p_values(t, df, "holm", **arguments), holm)
    np.testing.assert_allclose(
        adjusted_p_values(np.array([0.1, 0.1]), df[:2], "bonferroni", means=2, correlation=np.eye(2)), 1
    )


def test_what_cannot_be_estimated_does_not_count() -> None:
    t, df = np.array([2.0, np.nan, 1.0]), np.array([9.0, np.nan, 9.0])
    found = adjusted_p_values(t, df, "bonferroni", means=3, correlation=np.eye(3))
    np.testing.assert_allclose(found, [4 * stats.t.sf(2, 9), np.nan, 4 * stats.t.sf(1, 9)])
    reach = joint_critical_values(df, 0.95, "mvt", means=3, correlation=np.eye(3))
    assert np.isnan(reach[1])
    np.testing.assert_allclose(reach[0], reach[2])
    assert np.isnan(joint_critical_values(np.full(2, np.nan), 0.95, "tukey", means=2, correlation=np.eye(2))).all()


@pytest.mark.parametrize("method", ["tukey", "mvt", "bonferroni", "sidak", "none"])
def test_p_values_and_intervals_agree_where_one_comparison_is_left(method: str) -> None:
    """One of the three pairs of three means can be estimated: its interval ends at 0 where its p-value is 0.05."""
    df = np.array([np.nan, 12.0, np.nan])
    reach = joint_critical_values(df, 0.95, method, means=3, correlation=np.eye(3))  # type: ignore[arg-type]
    tails = adjusted_p_values(reach, df, method, means=3, correlation=np.eye(3))  # type: ignore[arg-type]
    assert tails[1] == pytest.approx(0.05, rel=1e-8)


def test_averages_over_the_other_variables() -> None:
    rng = np.random.default_rng(0)
    sizes = (2, 3, 4)
    X = rng.normal(size=(24, 5))
    grid = X.reshape(*sizes, 5)
    codes, found = average_rows(X, sizes, [2, 0])
    for (c, a), row in zip(codes, found, strict=True):
        np.testing.assert_allclose(row, grid[a, :, c].mean(axis=0))
    assert codes[:5].tolist() == [[0, 0], [1, 0], [2, 0], [3, 0], [0, 1]]
    weights = np.arange(1.0, 9.0).reshape(2, 4)
    _, found = average_rows(X, sizes, [1], np.broadcast_to(weights[:, None, :], sizes))
    for b, row in enumerate(found):
        np.testing.assert_allclose(row, np.einsum("acp,ac->p", grid[:, b], weights) / weights.sum())


@pytest.mark.parametrize("k", [2, 3, 6, 9])
def test_polynomial_contrasts_are_orthogonal_and_of_their_degree(k: int) -> None:
    weights = contrast_set("poly", [str(i) for i in range(k)]).weights
    assert len(weights) == min(k - 1, 6)
    gram = weights @ weights.T
    np.testing.assert_array_equal(gram - np.diag(np.diag(gram)), 0.0)
    x = np.arange(k)
    for degree, row in enumerate(weights, 1):
        assert all(row @ x**power == 0 for power in range(degree))
        assert row @ x**degree > 0
        assert np.gcd.reduce(row.astype(int)) == 1
