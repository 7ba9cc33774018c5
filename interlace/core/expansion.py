"""Many refits from one polynomial: the deviance without a few rows, around the optimum of the whole.

At one theta the fits without each of many small sets of rows have closed forms (:mod:`interlace.core.downdates`). They
are evaluated at the points of a small lattice around the optimum of all rows, once for all sets, and interpolated
between these: the gradient of the whole deviance, and what each set takes off the deviance, are polynomials in theta
there, and where their sum vanishes is the refit. The polynomial of one degree less, on the points that it needs of
the same lattice, shows how far to trust that; what cannot be trusted is left to be fitted as usual.

The lattice is the generalized principal lattice of total degree m: for every multi-index a with |a| <= m the point
(x_a1, ..., x_ar) of a sequence x_0 = 0, x_1 = 1, x_2 = -1, ..., on which interpolation is unique (Chung and Yao, 1977,
SIAM J. Numer. Anal. 14, 735-743, for nested sequences).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from interlace.core.batch_proof import smallest_singular_values
from interlace.core.covariance import REGULAR
from interlace.core.crossproducts import Rows
from interlace.core.downdates import Downdates, downdates, residuals
from interlace.core.objective import Objective
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Expanded", "expanded", "lattice_size"]

#: Points along each axis, and the degree with up to so many parameters; no lattice with more.
_POINTS = (0.0, 1.0, -1.0, 0.5, -0.5)
_DEGREES = {1: 4, 2: 4, 3: 4, 4: 3, 5: 3}
#: Half-widths of the lattice in standard errors of theta: at least, at most, and in expected steps of most sets.
_NARROW, _WIDE, _MOST, _MARGIN = 1e-3, 0.25, 0.98, 1.2
#: Step of the differences that tell the expected steps, in standard errors of theta.
_STEP = 1e-2
#: Largest distance from the center, and difference between two degrees, in half-widths, that are trusted.
_REACH, _AGREED = 1.5, 3e-6
#: Steps of the iteration on the polynomials, and their size at its end.
_ITERATIONS, _SETTLED = 40, 1e-11


@dataclass(frozen=True)
class Expanded:
    """Refits without each of u sets of rows in the inner basis, N_(I) rows (less p for REML) each.

    Attributes
    ----------
    trusted : ndarray of bool, shape (u,)
        The others have no meaning.
    theta : ndarray, shape (u, n_theta)
    value : ndarray, shape (u,)
        Deviance, with weights of 1.
    beta : ndarray, shape (u, p)
    beta_cov : ndarray, shape (u, p, p)
    sigma : ndarray, shape (u,)
    """

    trusted: BoolArray
    theta: FloatArray
    value: FloatArray
    beta: FloatArray
    beta_cov: FloatArray
    sigma: FloatArray


def lattice_size(n_theta: int) -> int | None:
    """Number of points of the lattice; None where there is none."""
    degree = _DEGREES.get(n_theta)
    return None if degree is None else len(_exponents(n_theta, degree))


def _exponents(r: int, degree: int) -> IntArray:
    """Multi-indices of total degree up to ``degree``, lower degrees first, shape (K, r)."""
    found = [a for a in product(range(degree + 1), repeat=r) if sum(a) <= degree]
    return np.array(sorted(found, key=sum), dtype=np.int64).reshape(len(found), r)


@dataclass(frozen=True)
class _Lattice:
    """Points around a center, and polynomials through values there; t = (theta - center) / widths."""

    center: FloatArray
    widths: FloatArray
    degree: int

    @cached_property
    def exponents(self) -> IntArray:
        """Of the monomials, and of the points."""
        return _exponents(self.center.size, self.degree)

    @cached_property
    def points(self) -> FloatArray:
        """In units of the widths, shape (K, r)."""
        return np.take(np.array(_POINTS), self.exponents)

    def lower(self) -> _Lattice:
        """Of one degree less; its points are the first ones of this one."""
        return _Lattice(self.center, self.widths, self.degree - 1)

    def coefficients(self, values: FloatArray) -> FloatArray:
        """Of the polynomials through values at the points, shape (K, ...)."""
        count = self.exponents.shape[0]
        found = np.linalg.solve(self.monomials(self.points), values[:count].reshape(count, -1))
        return np.asarray(found, dtype=np.float64).reshape(values[:count].shape)

    def monomials(self, t: FloatArray) -> FloatArray:
        """At points of shape (u, r): shape (u, K)."""
        powers = self._powers(t)
        out = powers[:, 0, self.exponents[:, 0]]
        for j in range(1, t.shape[1]):
            out = out * powers[:, j, self.exponents[:, j]]
        return np.asarray(out)

    def slopes(self, t: FloatArray) -> FloatArray:
        """First derivatives of the monomials, shape (u, r, K)."""
        powers = self._powers(t)
        derivatives = np.zeros(powers.shape)
        derivatives[:, :, 1:] = np.arange(1, powers.shape[2]) * powers[:, :, :-1]
        out = np.empty((t.shape[0], t.shape[1], self.exponents.shape[0]))
        for i in range(t.shape[1]):
            factors = [derivatives if j == i else powers for j in range(t.shape[1])]
            out[:, i] = factors[0][:, 0, self.exponents[:, 0]]
            for j in range(1, t.shape[1]):
                out[:, i] *= factors[j][:, j, self.exponents[:, j]]
        return out

    def _powers(self, t: FloatArray) -> FloatArray:
        """Powers 0, ..., degree of every coordinate, shape (u, r, degree + 1)."""
        return np.asarray(t[:, :, None] ** np.arange(self.degree + 1))


class _Whole:
    """Fits of all rows at some points, and what the sets of rows change there."""

    def __init__(self, objective: Objective, rows: Rows, subsets: Sequence[IntArray]) -> None:
        self.objective, self.rows, self.subsets = objective, rows, subsets
        self.N = objective.N - np.array([len(some) for some in subsets])
        self.values: list[float] = []
        self.gradients: list[FloatArray] = []
        self.r2: list[float] = []
        self.beta: list[FloatArray] = []
        self.spread: list[FloatArray] = []
        self.downdates: list[Downdates] = []

    def visit(self, theta: FloatArray) -> FloatArray:
        """Note everything at ``theta``; what each set takes off the deviance, shape (u,)."""
        objective = self.objective
        e = objective.at(theta)
        self.values.append(objective.value(e))
        self.gradients.append(objective.derivatives(e).gradient)
        self.r2.append(e.pwrss)
        self.beta.append(e.beta)
        self.spread.append(e.beta_root @ e.beta_root.T)
        self.downdates.append(downdates(e, self.rows, residuals(e, self.rows), self.subsets))
        return self.change(-1)

    def change(self, k: int) -> FloatArray:
        """Deviance without each set, less that of all rows, shape (u,), but for weights and constants in theta."""
        down, r2, N = self.downdates[k], self.r2[k], self.objective.N
        logdet = down.log_p if self.objective.reml else down.log_v
        with np.errstate(invalid="ignore", divide="ignore"):  # of what leaves no residuals
            return np.asarray(logdet + self.N * np.log1p(-down.lost / r2) + (self.N - N) * np.log(r2))


def expanded(objective: Objective, rows: Rows, theta: FloatArray, subsets: Sequence[IntArray]) -> Expanded:
    """Fits without each of some small sets of rows.

    Parameters
    ----------
    objective : Objective
        Of all rows; with as many parameters as `lattice_size` allows.
    rows : Rows
    theta : ndarray, shape (n_theta,)
        Its optimum, at which no factor is singular.
    subsets : sequence of ndarray of int64
    """
    lattice = _Lattice(theta, _widths(objective, rows, theta, subsets), _DEGREES[theta.size])
    whole = _Whole(objective, rows, subsets)
    changes = np.array([whole.visit(theta + lattice.widths * point) for point in lattice.points])
    gradients = np.array(whole.gradients) * lattice.widths
    t = _roots(lattice, gradients, changes)
    with np.errstate(invalid="ignore"):
        agreed = np.abs(t - _roots(lattice.lower(), gradients, changes)).max(axis=1) <= _AGREED
        trusted = agreed & (np.abs(t).max(axis=1) <= _REACH)
    t = np.where(trusted[:, None], t, 0.0)
    trusted &= smallest_singular_values(objective.structure, theta + lattice.widths * t) > REGULAR
    return _interpolated(lattice, whole, changes, t, trusted)


def _widths(objective: Objective, rows: Rows, theta: FloatArray, subsets: Sequence[IntArray]) -> FloatArray:
    """Half-widths of the lattice, from one Newton step for every set."""
    r = theta.size
    whole = _Whole(objective, rows, subsets)
    e = objective.at(theta)
    approximate = objective.information(e, objective.derivatives(e))
    unit = 1.0 / np.sqrt(np.maximum(np.abs(np.diagonal(approximate)), 1e-300))
    slopes, H = np.empty((len(subsets), r)), np.empty((r, r))
    for j in range(r):
        step = np.zeros(r)
        step[j] = _STEP * unit[j]
        ahead, behind = whole.visit(theta + step), whole.visit(theta - step)
        with np.errstate(invalid="ignore"):
            slopes[:, j] = (ahead - behind) / (2.0 * step[j])
        H[j] = (whole.gradients[-2] - whole.gradients[-1]) / (2.0 * step[j])
    known = slopes[np.isfinite(slopes).all(axis=1)]  # one set without a slope would spoil the others
    steps = np.abs(np.linalg.lstsq(0.5 * (H + H.T), known.T, rcond=None)[0].T)
    usual = np.quantile(steps, _MOST, axis=0) if known.size else np.zeros(r)
    return np.asarray(np.clip(_MARGIN * usual, _NARROW * unit, _WIDE * unit))


def _roots(lattice: _Lattice, gradients: FloatArray, changes: FloatArray) -> FloatArray:
    """Where gradient and change of slope add up to zero, shape (u, r), by a chord iteration from the center."""
    of_whole, of_sets = lattice.coefficients(gradients), lattice.coefficients(changes)
    t = np.zeros((changes.shape[1], lattice.center.size))
    curvature = lattice.slopes(t[:1])[0] @ of_whole
    back = np.linalg.pinv(0.5 * (curvature + curvature.T))
    under_way = np.flatnonzero(np.isfinite(of_sets).all(axis=0))
    t[~np.isfinite(of_sets).all(axis=0)] = np.nan
    for _ in range(_ITERATIONS):
        here = t[under_way]
        slope = lattice.monomials(here) @ of_whole
        slope += (lattice.slopes(here) @ of_sets[:, under_way].T[:, :, None])[:, :, 0]
        step = slope @ back
        t[under_way] = here - step
        size = np.abs(t[under_way]).max(axis=1)
        under_way = under_way[(np.abs(step).max(axis=1) > _SETTLED) & (size < 2.0 * _REACH)]
        if not under_way.size:
            break
    t[under_way] = np.nan
    return t


def _interpolated(lattice: _Lattice, whole: _Whole, changes: FloatArray, t: FloatArray, trusted: BoolArray) -> Expanded:
    """Estimates at the roots."""
    at = lattice.monomials(t)

    def common(values: Sequence[FloatArray] | Sequence[float]) -> FloatArray:
        coefficients = lattice.coefficients(np.array(values))
        return np.asarray(np.tensordot(at, coefficients, axes=1))

    def own(name: str) -> FloatArray:
        values = np.array([getattr(some, name) for some in whole.downdates])
        return np.asarray(np.einsum("uk,ku...->u...", at, lattice.coefficients(values)))

    N = whole.objective.N
    variance = (common(whole.r2) - own("lost")) / whole.N
    constants = whole.N * (1.0 + np.log(2.0 * np.pi / whole.N)) - N * (1.0 + np.log(2.0 * np.pi / N))
    first = whole.values[0]
    value = first + common([v - first for v in whole.values])
    value += np.einsum("uk,ku->u", at, lattice.coefficients(changes)) + constants
    with np.errstate(invalid="ignore"):
        sigma = np.sqrt(variance)
    spread = common(whole.spread) + own("spread")
    return Expanded(
        trusted=trusted,
        theta=lattice.center + lattice.widths * t,
        value=value,
        beta=common(whole.beta) - own("change"),
        beta_cov=variance[:, None, None] * spread,
        sigma=sigma,
    )
