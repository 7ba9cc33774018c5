"""Maps that hold one parameter fixed: their values, and their derivatives against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from interlace.inference.profile_restrictions import Angle, Covariance, Plane, Product

M = np.array([[2.0, 0.0], [-0.7, 1.5]])


def _plane() -> Plane:
    return Plane(np.array([0.3, 0.0, -1.2, 2.0]), 2)


def _cone() -> Plane:
    return Plane(np.array([0.4, 1.3, 0.0, 0.5]), 1, square=0)


def _late_cone() -> Plane:
    return Plane(np.array([0.4, 1.3, 0.0, 0.5]), 1, square=3)


def _angle() -> Angle:
    return Angle((0, 1, 3), M)


def _covariance() -> Covariance:
    return Covariance((0, 2), M, 3.0, log_sigma=True)


def _covariance_of_glmm() -> Covariance:
    return Covariance((2, 0), M, 1.0, log_sigma=False)


MAPS = {
    "plane": (_plane(), np.array([0.6, -0.4, 0.9, 0.2])),
    "cone": (_cone(), np.array([0.6, -0.4, 0.9, 0.2])),
    "late cone": (_late_cone(), np.array([0.6, -0.4, 0.9, 0.2])),
    "product": (Product(1, 1.7), np.array([0.6, 0.4, 0.9, -0.3])),
    "angle": (_angle(), np.array([0.6, -0.4, 0.9, 0.2])),
    "covariance": (_covariance(), np.array([0.6, -0.4, 0.9, 0.2])),
    "covariance of a glmm": (_covariance_of_glmm(), np.array([0.6, -0.4, 0.9, 0.2])),
}


@pytest.fixture(params=MAPS, name="case")
def _case(request):
    return MAPS[request.param]


def test_split_and_join_are_inverse(case):
    restriction, x = case
    s, z = restriction.split(x)
    assert z.size == x.size - 1
    assert_allclose(restriction.join(s, z), x, rtol=1e-14)


def test_derivatives(case):
    restriction, x = case
    s, z = restriction.split(x)
    h = 1e-6
    J, by_s = restriction.jacobian(s, z)
    steps = h * np.eye(z.size)
    numeric = np.column_stack([(restriction.join(s, z + d) - restriction.join(s, z - d)) / (2 * h) for d in steps])
    assert_allclose(J, numeric, atol=2e-8)
    assert_allclose(by_s, (restriction.join(s + h, z) - restriction.join(s - h, z)) / (2 * h), atol=2e-8)


def test_second_derivatives(case):
    restriction, x = case
    s, z = restriction.split(x)
    gradient, h = np.array([0.7, -1.1, 0.4, 1.9]), 1e-6

    def slopes(z):
        return restriction.jacobian(s, z)[0].T @ gradient

    numeric = np.array([(slopes(z + d) - slopes(z - d)) / (2 * h) for d in h * np.eye(z.size)])
    assert_allclose(restriction.curvature(s, z, gradient), numeric, atol=2e-8)


def test_plane_holds_its_linear_function():
    rng = np.random.default_rng(1)
    for restriction in (_plane(), _cone(), _late_cone()):
        assert_allclose(restriction.normal @ restriction.join(0.8, rng.normal(size=3)), 0.8)


@pytest.mark.parametrize("restriction", [_cone(), _late_cone()])
def test_squares_are_not_negative(restriction):
    for z in np.random.default_rng(2).normal(size=(20, 3)):
        assert restriction.join(-2.0, z)[restriction.square] >= 0.0


def test_product_holds_a_standard_deviation():
    x = Product(1, 1.7).join(5.0, np.array([0.6, 0.9, -0.3]))
    assert_allclose(1.7 * x[1] * math.exp(x[-1]), 5.0)


@pytest.mark.parametrize("rho", [-1.0, -0.5, 0.0, 0.9, 1.0])
def test_angle_holds_a_correlation(rho):
    for z in np.random.default_rng(3).normal(size=(20, 3)):
        x = _angle().join(math.asin(rho), z)
        L = M @ np.array([[x[0], 0.0], [x[1], x[3]]])
        psi = L @ L.T
        assert_allclose(psi[1, 0], rho * math.sqrt(psi[0, 0] * psi[1, 1]), atol=1e-14)


def test_covariance_is_held():
    for z in np.random.default_rng(4).normal(size=(20, 3)):
        x = _covariance().join(-2.5, z)
        L = 3.0 * math.exp(x[-1]) * M @ np.array([[x[0], 0.0], [x[2], 0.4]])
        assert_allclose((L @ L.T)[1, 0], -2.5, rtol=1e-10)
