"""Smooth lines through points: arrays in, arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.typing import FloatArray, IntArray

__all__ = ["local_quantiles", "lowess"]

#: Points above which local means take the place of the points, and how many.
_MOST, _MEANS = 5000, 2000
#: Points at which a line is fitted; straight in between.
_KNOTS = 100


def lowess(x: FloatArray, y: FloatArray, *, span: float = 2 / 3, rounds: int = 3) -> tuple[FloatArray, FloatArray]:
    """Robust local linear regression.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
        Finite.
    span : float
        Share of the points that each local line is fitted to.
    rounds : int
        How often the points are weighted anew by their distance from the line, against outliers.

    Returns
    -------
    x, y : ndarray, shape (k,)
        Ascending, at most 100 distinct values of x; empty with fewer than three points.

    Notes
    -----
    Of more than 5000 points, in order of x, the means of 2000 groups of equal size are smoothed, each at its median x.

    References
    ----------
    Cleveland, W. S. (1979). Robust locally weighted regression and smoothing scatterplots. Journal of the American
    Statistical Association 74, 829-836.

    Examples
    --------
    >>> at, line = lowess(np.arange(9.0), 2.0 * np.arange(9.0))
    >>> bool(np.allclose(line, 2.0 * at))
    True
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    if x.size > _MOST:
        cuts = np.linspace(0, x.size, _MEANS + 1).astype(np.int64)
        y = np.add.reduceat(y, cuts[:-1]) / np.diff(cuts)
        x = x[(cuts[:-1] + cuts[1:]) // 2]  # a value that occurs, where there are few
    n = x.size
    if n < 3:
        return np.empty(0), np.empty(0)
    knots = _knots(np.unique(x))
    near = max(2, min(n, int(span * n + 1e-7)))
    robust = np.ones(n)
    for done in range(rounds + 1):
        line = np.array([_local_line(x, y, robust, at, near) for at in knots])
        if done == rounds:
            break
        distance = np.abs(y - np.interp(x, knots, line))
        cut = 6.0 * float(np.median(distance))
        if cut <= 1e-7 * float(np.mean(np.abs(y))):  # the line goes through the points
            break
        robust = np.where(distance < 0.999 * cut, (1.0 - np.minimum(distance / cut, 1.0) ** 2) ** 2, 0.0)
        robust[distance <= 0.001 * cut] = 1.0
    return knots, line


def _knots(distinct: FloatArray) -> FloatArray:
    """Some of the distinct values, evenly spread over their range."""
    if distinct.size <= _KNOTS:
        return distinct
    even = np.linspace(distinct[0], distinct[-1], _KNOTS)
    return np.asarray(distinct[np.unique(np.searchsorted(distinct, even))])


def _local_line(x: FloatArray, y: FloatArray, robust: FloatArray, at: float, near: int) -> float:
    """Height at one point of the line through its nearest neighbors, by tricube weights."""
    start = _window(x, at, near)
    reach = max(at - x[start], x[start + near - 1] - at)
    low, high = np.searchsorted(x, at - reach, "left"), np.searchsorted(x, at + reach, "right")
    u, v = x[low:high], y[low:high]
    distance = np.abs(u - at)
    inside = distance <= 0.999 * reach
    weight = np.where(inside, (1.0 - (distance / reach) ** 3) ** 3 if reach > 0.0 else 1.0, 0.0)
    weight[distance <= 0.001 * reach] = 1.0
    weight = weight * robust[low:high]
    total = float(weight.sum())
    if total <= 0.0:  # all neighbors are outliers
        weight, total = np.ones_like(u), float(u.size)
    weight = weight / total
    center = float(weight @ u)
    spread = float(weight @ (u - center) ** 2)
    height = float(weight @ v)
    if spread > (0.001 * (x[-1] - x[0])) ** 2:
        height += (at - center) * float(weight @ ((u - center) * v)) / spread
    return height


def _window(x: FloatArray, at: float, near: int) -> int:
    """First of the ``near`` sorted values that are nearest to a point."""
    low, high = 0, x.size - near
    while low < high:
        middle = (low + high) // 2
        if at - x[middle] > x[middle + near] - at:
            low = middle + 1
        else:
            high = middle
    return low


def local_quantiles(
    x: FloatArray, y: FloatArray, probabilities: Sequence[float], *, span: float = 0.5
) -> tuple[FloatArray, FloatArray]:
    """Quantiles of y among the nearest neighbors in x, weighted by their distance.

    Parameters
    ----------
    x, y : ndarray, shape (n,)
    probabilities : sequence of float, length p
    span : float
        Share of the points that are neighbors.

    Returns
    -------
    x : ndarray, shape (k,)
        At most 100 distinct values, ascending.
    quantiles : ndarray, shape (p, k)

    Notes
    -----
    The value at which the distribution function of the weighted sample passes the probability, each point counting half
    for itself and straight in between, by tricube weights. That is a local constant for the quantile, which bends
    towards the middle at the ends.

    Examples
    --------
    >>> at, found = local_quantiles(np.arange(101.0), np.tile([0.0, 1.0, 2.0], 34)[:101], [0.5])
    >>> bool(np.allclose(found, 1.0, atol=0.05))
    True
    """
    order = np.argsort(x, kind="stable")
    x, y = x[order], y[order]
    knots = _knots(np.unique(x))
    near = max(2, min(x.size, int(span * x.size)))
    out = np.empty((len(probabilities), knots.size))
    for k, at in enumerate(knots):
        start = _window(x, at, near)
        some: IntArray = np.argsort(y[start : start + near], kind="stable") + start
        distance = np.abs(x[some] - at)
        reach = float(distance.max()) * 1.001
        weight = (1.0 - (distance / reach) ** 3) ** 3 if reach > 0.0 else np.ones(near)
        below = np.cumsum(weight) - 0.5 * weight
        out[:, k] = np.interp(probabilities, below / weight.sum(), y[some])
    return knots, out
