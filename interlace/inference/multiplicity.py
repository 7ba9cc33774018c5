"""P-values and intervals of several comparisons made together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from scipy.optimize import brentq
from scipy.special import chdtrc, fdtrc, gammaln, ndtr

from interlace.inference import wald
from interlace.typing import FloatArray

__all__ = ["Adjustment", "adjusted_p_values", "joint_critical_values", "studentized_range_tail"]

Adjustment: TypeAlias = Literal["tukey", "mvt", "holm", "bonferroni", "sidak", "fdr", "none"]

#: Nodes of the integrals of the studentized range; doubling them changes nothing above 1e-10.
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)
#: Directions over which the multivariate t distribution is averaged.
_DRAWS = 50_000
#: Of the polynomial that stands for the quantiles of many degrees of freedom.
_DEGREE = 30
#: Comparisons that are looked at together, to spare memory.
_BLOCK = 100
#: Standard normal density beyond this is below 1e-18.
_FAR = 9.0


def adjusted_p_values(
    statistic: FloatArray, df: FloatArray, method: Adjustment, *, means: int, correlation: FloatArray
) -> FloatArray:
    """Two-sided p-values of one family of t (or z) tests.

    Parameters
    ----------
    statistic, df : ndarray, shape (c,)
        NaN for a comparison that cannot be estimated, which does not count.
    method : {"tukey", "mvt", "holm", "bonferroni", "sidak", "fdr", "none"}
        ``"tukey"`` is for all pairwise comparisons of ``means`` means. ``"mvt"`` uses the multivariate t distribution
        of the comparisons, averaged over fixed random directions: good to about 0.5 % of the p-value for up to ten
        comparisons, 1.5 % for thirty. ``"fdr"`` is Benjamini and Hochberg's.
    means : int
    correlation : ndarray, shape (c, c)
        Of the estimates.

    Returns
    -------
    ndarray, shape (c,)

    Examples
    --------
    >>> import numpy as np
    >>> adjusted_p_values(np.array([2.0, 3.0]), np.array([10.0, 10.0]), "holm", means=2, correlation=np.eye(2)).round(4)
    array([0.0734, 0.0267])
    """
    out = np.full(statistic.shape, np.nan)
    there = np.flatnonzero(~np.isnan(df) & ~np.isnan(statistic))
    t, nu = np.abs(statistic[there]), df[there]
    p = wald.p_values(t, nu)
    n = there.size
    if n and method == "tukey":
        p = np.array([studentized_range_tail(np.sqrt(2.0) * a, means, b) for a, b in zip(t, nu, strict=True)])
    elif n > 1 and method == "mvt":
        directions = _directions(correlation[np.ix_(there, there)])
        # Between a single test's and Bonferroni's, whatever the error of the integral.
        p = np.array([np.clip(directions.tail(a, b), p0, n * p0) for p0, a, b in zip(p, t, nu, strict=True)])
    elif n > 1:
        p = _adjusted(p, method)
    out[there] = np.clip(p, 0.0, 1.0)
    return out


def _adjusted(p: FloatArray, method: str) -> FloatArray:
    n = p.size
    if method == "bonferroni":
        return n * p
    if method == "sidak":
        with np.errstate(divide="ignore"):
            return np.asarray(-np.expm1(n * np.log1p(-p)))
    order = np.argsort(p)
    out = np.empty(n)
    if method == "holm":
        out[order] = np.maximum.accumulate((n - np.arange(n)) * p[order])
    elif method == "fdr":
        out[order] = np.minimum.accumulate((n / np.arange(1, n + 1) * p[order])[::-1])[::-1]
    else:
        out[:] = p
    return out


def joint_critical_values(
    df: FloatArray, level: float, method: Adjustment, *, means: int, correlation: FloatArray
) -> FloatArray:
    """Half-widths, in standard errors, of intervals that hold together with confidence ``level``.

    Parameters
    ----------
    df : ndarray, shape (c,)
        NaN for a comparison that cannot be estimated.
    level : float
    method : str
        As for ``adjusted_p_values``; ``"holm"`` and ``"fdr"`` have no intervals, and Bonferroni's are given.
    means : int
    correlation : ndarray, shape (c, c)

    Returns
    -------
    ndarray, shape (c,)

    Examples
    --------
    >>> import numpy as np
    >>> df = np.full(3, 10.0)
    >>> joint_critical_values(df, 0.95, "tukey", means=3, correlation=np.eye(3)).round(4)
    array([2.7413, 2.7413, 2.7413])
    """
    wald.critical_value(level)  # checks level
    there = np.flatnonzero(~np.isnan(df))
    n, single = there.size, 1.0 - level
    out = np.full(df.shape, np.nan)
    if (method == "tukey" and means > 2 and n) or (method == "mvt" and n > 1):
        directions = _directions(correlation[np.ix_(there, there)]) if method == "mvt" else None
        out[there] = _joint_quantiles(df[there], level, means, directions)
        return out
    if method == "sidak" and n:
        single = -float(np.expm1(np.log(level) / n))
    elif method in ("bonferroni", "holm", "fdr") and n:
        single /= n
    out[there] = wald.critical_value(1.0 - single, df[there])
    return out


def _joint_quantiles(df: FloatArray, level: float, means: int, directions: _Directions | None) -> FloatArray:
    """Quantiles for many degrees of freedom, shape (c,).

    Their logarithm is a smooth function of 1 / df. Above two degrees of freedom its polynomial of degree ``_DEGREE``
    is good to 1e-8 of the quantile for up to 60 means.
    """
    distinct, place = np.unique(df.round(10), return_inverse=True)
    smooth = distinct >= 2.0
    if smooth.sum() <= 2 * _DEGREE:
        smooth[:] = False
    found = np.array(
        [
            np.nan if skip else _joint_quantile(nu, level, means, directions)
            for nu, skip in zip(distinct.tolist(), smooth, strict=True)
        ]
    )
    if smooth.any():
        inverse = 1.0 / distinct[smooth]
        curve = np.polynomial.Chebyshev.interpolate(
            lambda u: np.log([_joint_quantile(1.0 / one, level, means, directions) for one in u]),
            _DEGREE,
            domain=[inverse.min(), inverse.max()],
        )
        found[smooth] = np.exp(curve(inverse))
    return np.asarray(found[place])


def _joint_quantile(df: float, level: float, means: int, directions: _Directions | None) -> float:
    """Quantile of Tukey's distribution of t statistics, or of the largest along ``directions``."""

    def gap(t: float) -> float:
        tail = studentized_range_tail(np.sqrt(2.0) * t, means, df) if directions is None else directions.tail(t, df)
        return tail - (1.0 - level)

    low = 0.9 * float(wald.critical_value(level, df))
    high = 2.0 * low
    while gap(high) > 0.0:
        high *= 2.0
    return float(brentq(gap, low, high, xtol=1e-11, rtol=1e-12))


@lru_cache(maxsize=4096)
def studentized_range_tail(q: float, means: int, df: float) -> float:
    """Probability that the studentized range of ``means`` independent normal variables exceeds ``q``.

    Parameters
    ----------
    q : float
    means : int
    df : float
        Degrees of freedom of the variance; infinity for a known one.

    Returns
    -------
    float

    Notes
    -----
    Tukey's distribution (Lund and Lund, 1983, Appl. Stat. 32, 204-210): the range of k variables is below w with
    probability k int phi(z) [Phi(z) - Phi(z - w)]^(k-1) dz, averaged over w = q s with s^2 chi-square over df. Both
    integrals by Gauss and Legendre's rule; R's ``ptukey(q, means, df, lower.tail = FALSE)``.

    Examples
    --------
    >>> round(studentized_range_tail(3.876777, 3, 10), 6)
    0.05
    """
    if q <= 0.0:
        return 1.0
    z = _FAR * _NODES
    density = _FAR * _WEIGHTS * np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi)
    s, mass = _chi_nodes(df)
    below = means * ((ndtr(z) - ndtr(z - q * s[:, None])) ** (means - 1) @ density)
    return max(float(mass @ (1.0 - below)), 0.0)


def _chi_nodes(df: float) -> tuple[FloatArray, FloatArray]:
    """Values of s and their probabilities, where df s^2 is chi-square."""
    if np.isinf(df):
        return np.ones(1), np.ones(1)
    # On the scale of log(s) the density has one peak of width 1 / sqrt(2 df) at 0, and falls at least as fast as a
    # normal one on the right and as exp(df x) on the left.
    reach = _FAR / np.sqrt(2.0 * df)
    edges = [-(reach + 40.0 / df), -min(reach, 3.0), min(reach, 0.5 * np.log(90.0 / df + 5.0))]
    x = np.concatenate([0.5 * (b - a) * _NODES + 0.5 * (a + b) for a, b in pairwise(edges)])
    width = np.concatenate([0.5 * (b - a) * _WEIGHTS for a, b in pairwise(edges)])
    half = 0.5 * df
    mass = width * np.exp(np.log(2.0) + half * np.log(half) - gammaln(half) + df * x - half * np.exp(2.0 * x))
    return np.exp(x), mass / mass.sum()


@dataclass(frozen=True, eq=False)
class _Directions:
    """Directions of a standard normal vector of ``rank`` dimensions.

    Attributes
    ----------
    largest : ndarray, shape (N,)
        Largest, in size, of the correlated variables at distance 1.
    rank : int
    """

    largest: FloatArray
    rank: int

    def tail(self, t: float, df: float) -> float:
        """Probability that the largest of correlated t variables exceeds ``t`` in size.

        The variables are a distance times a direction, which are independent; the square of the distance over ``rank``
        has an F distribution (chi-square where ``df`` is infinite). So the tail is an average over directions only
        (compare Somerville, 1998, J. Comput. Graph. Stat. 7, 529-544).
        """
        square = (t / self.largest) ** 2
        found = chdtrc(self.rank, square) if np.isinf(df) else fdtrc(self.rank, df, square / self.rank)
        return float(np.mean(found))


def _directions(correlation: FloatArray) -> _Directions:
    """Draw directions; contrasts that determine one another take no dimension of their own."""
    values, vectors = np.linalg.eigh(correlation)
    there = values > 1e-10 * values[-1]
    root = vectors[:, there] * np.sqrt(values[there])
    z = _points(root.shape[1])
    largest = np.zeros(len(z))
    for start in range(0, len(root), _BLOCK):
        largest = np.maximum(largest, np.abs(z @ root[start : start + _BLOCK].T).max(axis=1))
    return _Directions(largest / np.linalg.norm(z, axis=1), root.shape[1])


@lru_cache(maxsize=8)
def _points(d: int) -> FloatArray:
    """Draw standard normal vectors of dimension d, always the same ones: equal questions get equal answers."""
    return np.random.default_rng(d).standard_normal((_DRAWS, d))
