"""Changes of basis: which columns are kept, and that every map is undone exactly."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.core.covariance import cholesky_factor, count_theta, entries, lower_factor
from interlace.core.scaling import FixedBasis, Response, TermBasis, convert_theta, independent_columns
from interlace.core.terms import Term, split_theta
from tests.problems import term

T = np.arange(1.0, 31.0)
ONE, A, B, D = np.ones(30), np.sin(T), np.cos(2 * T), T % 7 - 3


def columns(*parts):
    return np.column_stack([np.asarray(p, dtype=float) for p in parts])


#: Kept columns are those of R 4.2: sort(qr(X, tol = 1e-7)$pivot[1:rank]) - 1.
R_KEEPS = {
    "a sum after its parts": (columns(ONE, A, B, A + B, D), [0, 1, 2, 4]),
    "a multiple of the constant": (columns(ONE, 2 * ONE, A, D), [0, 2, 3]),
    "a zero column": (columns(ONE, 0 * ONE, A), [0, 2]),
    "all dummies and the constant": (columns(ONE, T % 3 == 0, T % 3 == 1, T % 3 == 2, A), [0, 1, 2, 4]),
    "the constant after all dummies": (columns(T % 3 == 0, T % 3 == 1, T % 3 == 2, ONE, A), [0, 1, 2, 4]),
    "dependent up to 1e-9": (columns(ONE, A, B, A + B + 1e-9 * D, D), [0, 1, 2, 4]),
    "1e-5 apart, which makes a later column dependent": (columns(ONE, A, B, A + B + 1e-5 * D, D), [0, 1, 2, 3]),
    "just below the tolerance": (columns(ONE, A, A + 0.9e-7 * B), [0, 1]),
    "shift of 1e6": (columns(ONE, A + 1e6), [0, 1]),
    "shift of 1e8": (columns(ONE, A + 1e8), [0]),
    "scales of 1e12": (columns(ONE, 1e12 * A, 1e-12 * B, 1e-12 * (A + B)), [0, 1, 2]),
    "everything twice": (columns(A, A, B, B, D), [0, 2, 4]),
    "more columns than rows": (columns(ONE, A, B, D, A * B)[:3], [0, 1, 2]),
}


@pytest.mark.parametrize(("X", "kept"), R_KEEPS.values(), ids=R_KEEPS.keys())
def test_the_columns_that_r_keeps(X, kept):
    np.testing.assert_array_equal(independent_columns(X), kept)
    np.testing.assert_array_equal(FixedBasis.of(X).kept, kept)


@pytest.mark.parametrize(("X", "kept"), R_KEEPS.values(), ids=R_KEEPS.keys())
def test_fixed_basis_is_orthonormal_and_undone(X, kept):
    basis = FixedBasis.of(X)
    inner = basis.forward(X)
    np.testing.assert_allclose(inner.T @ inner, np.eye(len(kept)), atol=1e-8)
    np.testing.assert_allclose(inner @ basis.R, X[:, kept], rtol=1e-9, atol=1e-9 * np.abs(X).max())
    beta = np.linspace(-1, 2, len(kept))
    np.testing.assert_allclose(inner @ (basis.R @ beta), X[:, kept] @ beta, rtol=1e-9, atol=1e-9 * np.abs(X).max())
    np.testing.assert_allclose(basis.backward(basis.R @ beta), beta, rtol=1e-7, atol=1e-7)
    determinant = np.linalg.slogdet(basis.R)[1]
    assert basis.log_det == pytest.approx(determinant, rel=1e-12)


def test_backward_of_a_matrix_is_column_by_column():
    basis = FixedBasis.of(columns(ONE, A, B))
    M = np.arange(9.0).reshape(3, 3)
    by_column = np.column_stack([basis.backward(M[:, j].copy()) for j in range(3)])
    np.testing.assert_allclose(basis.backward(M), by_column, rtol=1e-13)


def test_no_fixed_effects():
    basis = FixedBasis.of(np.zeros((30, 0)))
    assert basis.forward(np.zeros((30, 0))).shape == (30, 0)
    assert basis.backward(np.zeros(0)).shape == (0,)
    assert basis.log_det == 0.0


def test_tolerance_can_be_changed():
    X = columns(ONE, A, A + 1e-5 * B)
    assert FixedBasis.of(X).kept.size == 3
    assert FixedBasis.of(X, tol=1e-4).kept.tolist() == [0, 1]


@pytest.mark.parametrize("shift", [0.0, 1e6, 1e9])
def test_response_is_split_into_fit_and_standardized_residual(shift):
    X = FixedBasis.of(columns(ONE, A)).forward(columns(ONE, A))
    y = 3 * A + 1e3 * B + shift
    response = Response.of(X, y)
    np.testing.assert_allclose(X @ response.coefficients + response.scale * response.values, y, rtol=1e-12)
    np.testing.assert_allclose(X.T @ response.values, 0.0, atol=1e-12)
    assert response.values @ response.values == pytest.approx(28)


def test_response_without_residual():
    X = np.zeros((3, 0))
    assert Response.of(X, np.zeros(3)).scale == 0.0


Z_KINDS = {
    "plain": (columns(ONE, A), "unstructured"),
    "shifted": (columns(ONE, A + 1e6), "unstructured"),
    "scaled": (columns(ONE, 1e12 * A, 1e-12 * B), "unstructured"),
    "diagonal": (columns(ONE, A + 5, 1e6 * B), "diagonal"),
    "scalar": (columns(1e4 * D), "unstructured"),
}


@pytest.mark.parametrize(("Z", "structure"), Z_KINDS.values(), ids=Z_KINDS.keys())
def test_term_basis_is_orthonormal_on_average_or_only_scaled(Z, structure):
    inner = Z @ TermBasis.of(term("g", np.arange(30) % 5, Z, structure)).M
    gram = inner.T @ inner / 30
    if structure == "unstructured":
        np.testing.assert_allclose(gram, np.eye(Z.shape[1]), atol=1e-8)
    else:
        np.testing.assert_allclose(np.diagonal(gram), 1.0, rtol=1e-12)
        assert np.abs(gram - np.eye(Z.shape[1])).max() > 0.1


@pytest.mark.parametrize(("Z", "structure"), Z_KINDS.values(), ids=Z_KINDS.keys())
def test_factors_go_there_and_back(Z, structure):
    t = term("g", np.arange(30) % 5, Z, structure)
    basis = TermBasis.of(t)
    theta = np.linspace(0.5, 2.0, count_theta(t.k, structure))
    (inner,) = split_theta([(t.k, structure)], theta)
    L = basis.to_user(inner)
    effects, expected = Z @ L, Z @ basis.M @ inner
    np.testing.assert_allclose(effects @ effects.T, expected @ expected.T, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(basis.to_inner(L), inner, rtol=1e-8)


def test_collinear_columns_are_scaled_only():
    basis = TermBasis.of(term("g", np.arange(30) % 5, columns(ONE, A, 2 * A)))
    np.testing.assert_allclose(basis.M, np.diag(np.diagonal(basis.M)))


def test_a_zero_column_is_left_alone():
    basis = TermBasis.of(term("g", np.arange(30) % 5, columns(ONE, 0 * ONE)))
    np.testing.assert_array_equal(basis.M, np.eye(2))


def test_units_of_the_weights_do_not_matter():
    t = term("g", np.arange(30) % 5, columns(ONE, A))
    one, heavy = TermBasis.of(t), TermBasis.of(t, typical_weight=1e12)
    np.testing.assert_allclose(heavy.M, one.M / 1e6, rtol=1e-12)
    np.testing.assert_allclose(heavy.M @ heavy.inverse, np.eye(2), atol=1e-12)


def terms_and_bases() -> tuple[list[Term], list[TermBasis], list[tuple[int, str]]]:
    terms = [
        term("g", np.arange(30) % 5, columns(ONE, A + 3, 10 * B)),
        term("h", np.arange(30) % 3, columns(D)),
        term("g", np.arange(30) % 5, columns(ONE, A), "diagonal"),
    ]
    return terms, [TermBasis.of(t) for t in terms], [(t.k, t.structure) for t in terms]


def test_theta_of_a_model_goes_there_and_back():
    terms, bases, _ = terms_and_bases()
    theta = np.array([1.0, -0.5, 0.3, 0.8, 0.2, 0.4, 2.0, 0.7, 0.0])
    inner = convert_theta(terms, bases, theta, to_user=False)
    assert np.abs(inner - theta).max() > 0.1
    np.testing.assert_allclose(convert_theta(terms, bases, inner, to_user=True), theta, atol=1e-12)


@pytest.mark.parametrize("zero", [[3, 4], [5], [0, 1, 2], list(range(6))])
def test_singular_factors_keep_their_covariance(zero):
    """The triangular factor of a singular matrix is not unique; the covariance that it stands for is kept."""
    terms, bases, shapes = terms_and_bases()
    theta = np.array([1.0, -0.5, 0.3, 0.8, 0.2, 0.4, 2.0, 0.7, 0.0])
    theta[zero] = 0.0
    inner = convert_theta(terms, bases, theta, to_user=False)
    assert np.isfinite(inner).all()
    for t, basis, L, Li in zip(terms, bases, split_theta(shapes, theta), split_theta(shapes, inner), strict=True):
        np.testing.assert_allclose(t.Z @ basis.M @ Li @ Li.T @ (t.Z @ basis.M).T, t.Z @ L @ L.T @ t.Z.T, atol=1e-10)
    back = split_theta(shapes, convert_theta(terms, bases, inner, to_user=True))
    for L, again in zip(split_theta(shapes, theta), back, strict=True):
        np.testing.assert_allclose(again @ again.T, L @ L.T, atol=1e-12)


def test_theta_goes_column_by_column():
    rows, cols = entries(3, "unstructured")
    assert list(zip(rows.tolist(), cols.tolist(), strict=True)) == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)]
    rows, cols = entries(3, "diagonal")
    assert rows.tolist() == cols.tolist() == [0, 1, 2]
    assert [count_theta(k, "unstructured") for k in (1, 2, 3)] == [1, 3, 6]
    assert count_theta(3, "diagonal") == 3


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (2, 2), (3, 3), (3, 1), (3, 5), (4, 2)])
def test_lower_factor_of_any_root(shape):
    root = np.random.default_rng(shape).normal(size=shape)
    L = lower_factor(root)
    assert L.shape == (shape[0], shape[0])
    np.testing.assert_array_equal(L, np.tril(L))
    assert (np.diagonal(L) >= 0).all()
    np.testing.assert_allclose(L @ L.T, root @ root.T, atol=1e-13)
    np.testing.assert_allclose(
        cholesky_factor(root @ root.T) @ cholesky_factor(root @ root.T).T, root @ root.T, atol=1e-12
    )


def test_cholesky_factor_counts_eigenvalues_just_below_zero_as_zero():
    psi = np.array([[1.0, 1.0 + 1e-12], [1.0 + 1e-12, 1.0]])
    L = cholesky_factor(psi)
    np.testing.assert_allclose(L @ L.T, psi, atol=1e-11)
    np.testing.assert_array_equal(cholesky_factor(np.zeros((2, 2))), np.zeros((2, 2)))
