"""Where the points of a Q-Q plot lie if the distribution is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betainc, betaincinv, expit

if TYPE_CHECKING:
    from interlace.typing import FloatArray, IntArray

__all__ = ["local_level", "uniform_envelope", "uniform_medians"]

#: Order statistics at which a simultaneous band is calibrated, and simulated samples.
_PLACES, _DRAWS = 300, 4000


def uniform_envelope(
    i: IntArray, n: int, confidence: float, *, simultaneous: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Band for some of the order statistics of n independent uniform variables.

    Parameters
    ----------
    i : ndarray of int, shape (m,)
        Which ones, 1 to n.
    n : int
    confidence : float
        Probability that a point, or that all n of them, lie within.
    simultaneous : bool
        Whether the probability is that of all points; each then has the same, larger one.

    Returns
    -------
    lower, upper : ndarray, shape (m,)
        Quantiles of the beta distributions (i, n + 1 - i).

    References
    ----------
    Aldor-Noiman, S., Brown, L. D., Buja, A., Rolke, W. and Stine, R. A. (2013). The power to see: a new graphical test
    of normality. The American Statistician 67, 249-260.

    Examples
    --------
    >>> lower, upper = uniform_envelope(np.array([1, 2, 3]), 3, 0.95)
    >>> lower.round(3), upper.round(3)
    (array([0.008, 0.094, 0.292]), array([0.708, 0.906, 0.992]))
    """
    outside = local_level(n, confidence) if simultaneous else 1.0 - confidence
    return _quantiles(i, n, 0.5 * outside), _quantiles(i, n, 1.0 - 0.5 * outside)


def uniform_medians(i: IntArray, n: int) -> FloatArray:
    """Medians of order statistics i = 1 to n of n independent uniform variables.

    Examples
    --------
    >>> uniform_medians(np.array([1, 2, 3]), 3).round(3)
    array([0.206, 0.5  , 0.794])
    """
    return _quantiles(i, n, 0.5)


def _quantiles(i: IntArray, n: int, probability: float) -> FloatArray:
    return np.asarray(betaincinv(i, n + 1.0 - i, probability))


def local_level(n: int, confidence: float) -> float:
    """Probability with which each point leaves a band that all n points stay in with a given probability.

    By simulation with a fixed seed: the smallest two-sided p-value among the order statistics has its quantile there.
    Of more than 300 order statistics, those that are evenly spread on the logit scale are used, which costs about 1 %
    of coverage.
    """
    places = np.arange(1, n + 1)
    if n > _PLACES:
        edge = np.log(n)
        places = np.unique(np.clip(np.rint((n + 1) * expit(np.linspace(-edge, edge, _PLACES))), 1, n)).astype(np.int64)
    steps = np.diff(np.concatenate([[0], places, [n + 1]]))
    sums = np.cumsum(np.random.default_rng(1).standard_gamma(steps, (_DRAWS, steps.size)), axis=1)
    below = betainc(places, n + 1.0 - places, sums[:, :-1] / sums[:, -1:])
    smallest = 2.0 * np.minimum(below, 1.0 - below).min(axis=1)
    return float(np.quantile(smallest, 1.0 - confidence))
