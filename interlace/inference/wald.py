"""Wald tests and intervals: an estimate, its standard error and degrees of freedom, nothing else."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # scipy.stats takes half a second to import

from interlace.typing import FloatArray

__all__ = ["critical_value", "interval", "p_values", "standard_errors", "statistics"]

#: Degrees of freedom: one number for all estimates or one for each; infinity means the normal distribution.
DegreesOfFreedom: TypeAlias = ArrayLike


def standard_errors(cov: FloatArray) -> FloatArray:
    """Square roots of the diagonal of a covariance matrix.

    Parameters
    ----------
    cov : ndarray, shape (p, p)

    Returns
    -------
    ndarray, shape (p,)

    Examples
    --------
    >>> import numpy as np
    >>> standard_errors(np.diag([4.0, 9.0]))
    array([2., 3.])
    """
    return np.asarray(np.sqrt(np.diagonal(cov)))


def statistics(estimate: FloatArray, se: FloatArray, null: ArrayLike = 0.0) -> FloatArray:
    """Statistics of t or z tests, (estimate - null) / se.

    Parameters
    ----------
    estimate, se : ndarray, shape (p,)
    null : float or ndarray, shape (p,)
        Values under the null hypothesis.

    Returns
    -------
    ndarray, shape (p,)
        A standard error of zero (a perfect fit) gives an infinite statistic, or NaN where the estimate is at ``null``.

    Examples
    --------
    >>> import numpy as np
    >>> statistics(np.array([3.0]), np.array([1.5]))
    array([2.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((estimate - np.asarray(null, dtype=float)) / se)


def p_values(statistic: FloatArray, df: DegreesOfFreedom = np.inf) -> FloatArray:
    """Two-sided tail probabilities of t statistics, or of z statistics where ``df`` is infinite.

    Parameters
    ----------
    statistic : ndarray, shape (p,)
    df : float or ndarray, shape (p,)

    Returns
    -------
    ndarray, shape (p,)

    Notes
    -----
    R: ``2 * pt(abs(t), df, lower.tail = FALSE)``.

    Examples
    --------
    >>> import numpy as np
    >>> p_values(np.array([1.96]), np.inf).round(3)
    array([0.05])
    """
    tail, df = -np.abs(statistic), np.asarray(df, dtype=float)
    return np.asarray(2.0 * np.where(np.isinf(df), ndtr(tail), stdtr(df, tail)))


def critical_value(level: float, df: DegreesOfFreedom = np.inf) -> FloatArray:
    """Quantile that a two-sided interval of confidence ``level`` reaches to, in standard errors.

    Parameters
    ----------
    level : float
        Between 0 and 1.
    df : float or ndarray, shape (p,)

    Returns
    -------
    ndarray, shape () or (p,)

    Examples
    --------
    >>> float(critical_value(0.95).round(3))
    1.96
    """
    if not isinstance(level, int | float | np.number):
        raise TypeError(f"level must be a number between 0 and 1, not {level!r}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level!r}; use 0.95 for 95 % intervals")
    upper, df = (1.0 + level) / 2.0, np.asarray(df, dtype=float)
    return np.asarray(np.where(np.isinf(df), ndtri(upper), stdtrit(df, upper)))


def interval(estimate: FloatArray, se: FloatArray, df: DegreesOfFreedom = np.inf, level: float = 0.95) -> FloatArray:
    """Two-sided confidence intervals, estimate -/+ quantile * se.

    Parameters
    ----------
    estimate, se : ndarray, shape (p,)
    df : float or ndarray, shape (p,)
    level : float
        Between 0 and 1.

    Returns
    -------
    ndarray, shape (p, 2)
        Lower and upper ends.

    Examples
    --------
    >>> import numpy as np
    >>> interval(np.array([10.0]), np.array([1.0])).round(2)
    array([[ 8.04, 11.96]])
    """
    reach = critical_value(level, df) * se
    return np.column_stack([estimate - reach, estimate + reach])
