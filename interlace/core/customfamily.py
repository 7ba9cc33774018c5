"""Numerical check that the functions of a user's own family or link agree with one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from interlace.core.familybase import Family
from interlace.core.linkbase import Link
from interlace.errors import ModelError
from interlace.typing import FloatArray

__all__ = ["validate_family"]

_TOLERANCE = 1e-5
_STEP = 1e-3  # error of the six-point differences below: its sixth power, or rounding over it


def validate_family(family: Family, link: Link, y_examples: FloatArray) -> None:
    """Raise unless the functions of a family and a link are what they say, at and around some responses.

    Parameters
    ----------
    family : Family
    link : Link
    y_examples : ndarray, shape (m,)
        Responses that can occur, best some of every kind.

    Raises
    ------
    ValueError
        Naming the method at fault, where it is wrong, and what finite differences give.
    """
    y = np.asarray(y_examples, dtype=np.float64)
    with np.errstate(all="ignore"):
        mu = _shaped(f"{family.name}.start_mu", family.start_mu(y, np.ones_like(y)), y)
        mu = mu[link.valid_mu(mu) & family.valid_mu(mu)]
        if not mu.size:
            raise ModelError(
                f"no example has a mean that both the family {family.name!r} and the {link.name!r} link can take"
            )
        _check_link(link, mu)
        means = np.repeat(np.unique(mu), y.size)
        _check_family(family, means, np.tile(y, np.unique(mu).size))


def _check_link(link: Link, mu: FloatArray) -> None:
    name = f"link {link.name!r}"
    eta = _shaped(f"{name}: eta", link.eta(mu), mu)
    _agree(f"{name}: mu", link.mu(eta), mu, eta, "eta", "the inverse of eta() gives")
    for order, (function, derivative) in enumerate(
        ((link.mu, link.d1), (link.d1, link.d2), (link.d2, link.d3)), start=1
    ):
        _agree_with_slope(f"{name}: d{order}", derivative, function, eta, "eta")


def _check_family(family: Family, mu: FloatArray, y: FloatArray) -> None:
    name = f"family {family.name!r}"
    V = _shaped(f"{name}: variance", family.variance(mu), mu)
    wrong = np.flatnonzero(~(V > 0.0))
    if wrong.size:
        raise ModelError(f"{name}: variance() must be positive, but is {V[wrong[0]]:g} at mu = {mu[wrong[0]]:g}")
    _agree_with_slope(f"{name}: d_variance", family.d_variance, family.variance, mu, "mu")
    _agree_with_slope(f"{name}: d2_variance", family.d2_variance, family.d_variance, mu, "mu")
    residual = (y - mu) / V
    dispersion = 0.7 if family.has_dispersion else 1.0
    weights = np.full_like(mu, 2.0)
    _shaped(f"{name}: loglik", family.loglik(y, mu, weights, dispersion), mu)
    _shaped(f"{name}: unit_deviance", family.unit_deviance(y, mu), mu)
    size = np.maximum(np.abs(y), np.abs(mu)) / V  # what an error of the residual is measured against
    _agree(
        f"{name}: loglik",
        _slope(lambda m: family.loglik(y, m, weights, dispersion), mu),
        2.0 * residual / dispersion,
        mu,
        "mu",
        "its slope should be weights (y - mu) / (dispersion variance(mu)),",
        2.0 * size / dispersion,
    )
    _agree(
        f"{name}: unit_deviance",
        _slope(lambda m: family.unit_deviance(y, m), mu),
        -2.0 * residual,
        mu,
        "mu",
        "its slope should be -2 (y - mu) / variance(mu),",
        2.0 * size,
    )
    if family.has_dispersion:
        slope = (family.loglik(y, mu, weights, 0.7001) - family.loglik(y, mu, weights, 0.6999)) / 2e-4
        got = _shaped(f"{name}: d_dispersion", family.d_dispersion(y, mu, weights, 0.7), mu)
        _agree(f"{name}: d_dispersion", got, slope, mu, "mu", "finite differences give")


def _agree_with_slope(
    name: str,
    derivative: Callable[[FloatArray], FloatArray],
    function: Callable[[FloatArray], FloatArray],
    at: FloatArray,
    symbol: str,
) -> None:
    got = _shaped(name, derivative(at), at)
    scale = np.abs(function(at)) / np.maximum(np.abs(at), 1.0)
    _agree(name, got, _slope(function, at), at, symbol, "finite differences give", scale)


def _slope(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    """Central differences of sixth order, with steps small against the argument."""
    h = _STEP * np.where(at == 0.0, 1.0, np.abs(at))
    total = np.zeros_like(at)
    for steps, weight in ((1, 45.0), (2, -9.0), (3, 1.0)):
        total += weight * (function(at + steps * h) - function(at - steps * h))
    return np.asarray(total / (60.0 * h))


def _shaped(name: str, value: FloatArray, like: FloatArray) -> FloatArray:
    if np.shape(value) != like.shape:
        raise ModelError(f"{name}() must return an array of shape {like.shape}, not {np.shape(value)}")
    return np.asarray(value, dtype=np.float64)


def _agree(
    name: str,
    got: FloatArray,
    expected: FloatArray,
    at: FloatArray,
    symbol: str,
    what: str,
    scale: FloatArray | float = 0.0,
) -> None:
    """Raise if two arrays differ by more than the tolerance, relative to the larger of them and the scale."""
    allowed = _TOLERANCE * np.maximum(np.maximum(np.abs(got), np.abs(expected)), scale)
    wrong = np.flatnonzero(~(np.abs(got - expected) <= allowed))
    if wrong.size:
        i = wrong[0]
        raise ModelError(f"{name}() is wrong at {symbol} = {at[i]:g}: {what} {expected[i]:g}, it gives {got[i]:g}")
