"""Measures of influence as their definitions are written."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.diagnostics.case_deletion import deletion_of
from interlace.diagnostics.components import component_values
from interlace.diagnostics.deletion import Deletions
from interlace.diagnostics.measures import Measures

NAMES = ("slopes", "weighted", "apart", "crossed", "nested", "no intercept")


@pytest.mark.parametrize("approx", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_definitions(models, name, approx):
    state = models[name].state
    group = state.problem.design.terms[-1].group
    deletion = deletion_of(models[name], group, approx=approx)
    found, b, C, p = deletion.measures, state.beta, state.beta_cov, state.beta.size
    sigma = np.array([state.sigma])
    v = component_values(state, state.theta[None], sigma, sigma)[0]
    for i, (beta, cov, components) in enumerate(
        zip(deletion.found.beta, deletion.found.beta_cov, deletion.found.components, strict=True)
    ):
        d = b - beta
        assert found.cooksd[i] == pytest.approx(d @ np.linalg.inv(C) @ d / p, rel=1e-8)
        assert found.mdffits[i] == pytest.approx(d @ np.linalg.inv(cov) @ d / p, rel=1e-8)
        assert found.covtrace[i] == pytest.approx(abs(np.trace(np.linalg.inv(C) @ cov) - p), rel=1e-6, abs=1e-9)
        assert found.covratio[i] == pytest.approx(np.linalg.det(cov) / np.linalg.det(C), rel=1e-8)
        assert_allclose(found.dfbetas[i], d / np.sqrt(np.diagonal(cov)), rtol=1e-12)
        assert_allclose(found.rvc[i], components / v - 1.0, rtol=1e-12)


def deletions(beta, cov, components):
    u = len(beta)
    ones = np.ones(u)
    return Deletions(
        np.array(beta),
        np.array(cov),
        ones[:, None],
        ones,
        np.array(components),
        ones,
        ones > 0,
        ones.astype(int),
        ("",) * u,
    )


def test_units_of_the_covariates_do_not_matter():
    rng = np.random.default_rng(3)
    A, B = rng.normal(size=(2, 4, 4))
    C, cov, b, beta = A @ A.T, B @ B.T, rng.normal(size=4), rng.normal(size=4)
    scale = np.array([1e-9, 1.0, 1e7, 1e3])
    small = Measures(b, C, np.ones(1), deletions([beta], [cov], [[1.0]]))
    large = Measures(
        scale * b,
        np.outer(scale, scale) * C,
        np.ones(1),
        deletions([scale * beta], [np.outer(scale, scale) * cov], [[1.0]]),
    )
    for name in ("cooksd", "mdffits", "covtrace", "covratio", "dfbetas"):
        assert_allclose(getattr(large, name), getattr(small, name), rtol=1e-9)


def test_units_without_estimates_have_no_measures():
    nothing = np.full((1, 1), np.nan)
    found = Measures(
        np.ones(1),
        np.eye(1),
        np.array([2.0, 0.0, 0.0]),
        deletions([[2.0], nothing[0]], [[[4.0]], nothing], [[1, 0, 3], [np.nan] * 3]),
    )
    assert_allclose(found.cooksd, [1.0, np.nan])
    assert_allclose(found.mdffits, [0.25, np.nan])
    assert_allclose(found.covtrace, [3.0, np.nan])
    assert_allclose(found.covratio, [4.0, np.nan])
    assert_allclose(found.dfbeta, [[-1.0], [np.nan]])
    assert_allclose(found.rvc, [[-0.5, np.nan, np.inf], [np.nan] * 3])


def test_without_coefficients_only_variances_change():
    found = Measures(
        np.empty(0), np.empty((0, 0)), np.ones(1), deletions(np.empty((2, 0)), np.empty((2, 0, 0)), [[2.0], [1.0]])
    )
    for name in ("cooksd", "mdffits", "covtrace", "covratio"):
        assert np.isnan(getattr(found, name)).all()
    assert_allclose(found.rvc[:, 0], [1.0, 0.0])
