"""Regressions of all groups at once, beside numpy's least squares group by group."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.diagnostics.least_squares import fit_by_group


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(8)
    q, n, p = 23, 180, 4
    codes = np.concatenate([np.arange(q), rng.integers(0, q, n - q)])
    X = np.column_stack([np.ones(n), rng.normal(1000.0, 0.5, n), rng.normal(size=n), np.zeros(n)])
    X[:, 3] = X[:, 2] * 3.0 - X[:, 1] + (codes % 2) * rng.normal(size=n)  # others determine it in even groups
    return rng.permutation(X), rng.normal(size=n), rng.permutation(codes), q, p


def test_each_group_as_numpy_has_it(data):
    X, y, codes, q, _ = data
    found = fit_by_group(X, y, codes, q)
    for group in range(q):
        rows = codes == group
        U, values, _ = np.linalg.svd(X[rows], full_matrices=False)
        U = U[:, values > 1e-9 * values[0]]
        assert found.kept[group].sum() == U.shape[1]
        residual = y[rows] - U @ (U.T @ y[rows])
        hat = np.einsum("ij,ij->i", U, U)
        assert_allclose(found.residual[rows], residual, atol=1e-9)
        assert_allclose(found.leverage[rows], hat, atol=1e-9)
        free = rows.sum() - U.shape[1]
        if free:
            sigma = np.sqrt(residual @ residual / free)
            assert_allclose(found.sigma[group], sigma, rtol=1e-8)
            assert_allclose(found.semi_standardized[rows], residual / np.sqrt(1 - hat), atol=1e-8)
            assert_allclose(found.standardized[rows], residual / np.sqrt(1 - hat) / sigma, atol=1e-8)


def test_columns_are_dropped_in_order_as_lm_drops_them():
    """R 4.2.2: lm(y ~ a + b + c) with c = 2 a - b, then with a constant in the group."""
    a = np.array([1.0, 2, 4, 7, 11, 5, 5, 5])
    b = np.array([0.0, 1, 1, 5, 2, 1, 3, 4])
    X = np.column_stack([np.ones(8), a, b, 2 * a - b])
    codes = np.array([0, 0, 0, 0, 0, 1, 1, 1])
    y = np.array([1.0, 2, 3, 4, 6, 1, 2, 4])
    found = fit_by_group(X, y, codes, 2)
    assert found.kept.tolist() == [[True, True, True, False], [True, False, True, False]]
    for group, columns in ((0, [0, 1, 2]), (1, [0, 2])):
        rows = codes == group
        expected, *_ = np.linalg.lstsq(X[rows][:, columns], y[rows])
        assert_allclose(found.coefficients[group, columns], expected, rtol=1e-10)
    assert np.isnan(found.coefficients[~found.kept]).all()


def test_nothing_is_left_of_a_perfect_fit():
    codes = np.repeat([0, 1, 2], [2, 4, 1])
    x = np.array([0.0, 1, 0, 1, 2, 3, 5])
    y = np.array([3.0, 7, 1000.1, 1000.2, 1000.3, 1000.4, 2])
    found = fit_by_group(np.column_stack([np.ones(7), x]), y, codes, 3)
    assert np.isnan(found.standardized).all()
    assert np.isnan(found.semi_standardized[[0, 1, 6]]).all()
    assert_allclose(found.residual, 0.0, atol=1e-12)
    assert_allclose(found.coefficients[1], [1000.1, 0.1], rtol=1e-9)


def test_without_columns_the_response_is_the_residual(data):
    _, y, codes, q, _ = data
    found = fit_by_group(np.empty((y.size, 0)), y, codes, q)
    assert_allclose(found.residual, y)
    assert (found.leverage == 0.0).all()
    assert found.coefficients.shape == (q, 0)
