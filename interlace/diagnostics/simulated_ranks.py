"""Where a response lies among responses drawn from the model, row by row, and statistics of it.

The observed response and K simulated ones are K + 1 rows of one matrix. If the model is true they are exchangeable,
whatever the dependence between the entries of a row, so that the rank of a statistic of the observed response among the
same statistic of the others is an exact p-value (Besag and Clifford, 1989, Biometrika 76, 633-642).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import sparse

from interlace.core.families import Binomial, Gamma, InverseGaussian, NegativeBinomial, Poisson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from interlace.core.working import WorkingModel
    from interlace.typing import FloatArray, IntArray

__all__ = [
    "Ranks",
    "distance_from_uniform",
    "randomized_ranks",
    "spread_within",
    "stabilized",
    "tail_probabilities",
    "trials_of",
]

#: Numbers that the arrays of one batch may hold.
_BATCH = 1_000_000


class Ranks(NamedTuple):
    """Ranks of K + 1 responses of n rows, ties broken at random.

    Attributes
    ----------
    first : ndarray, shape (n,)
        Rank of the first response in each row, spread at random over its interval of width 1 / (K + 1): uniform on
        (0, 1) under the model (Dunn and Smyth, 1996, J. Comput. Graph. Stat. 5, 236-244).
    counts : ndarray of int64, shape (K + 1, K + 1)
        In how many rows each response has each rank, 0 to K.
    """

    first: FloatArray
    counts: IntArray


def randomized_ranks(Y: FloatArray, rng: np.random.Generator) -> Ranks:
    """Ranks of responses in each row of the data.

    Parameters
    ----------
    Y : ndarray, shape (K + 1, n)
    rng : numpy.random.Generator

    Returns
    -------
    Ranks

    Examples
    --------
    >>> Y = np.array([[5.0, 1.0], [4.0, 2.0], [6.0, 3.0]])
    >>> ranks = randomized_ranks(Y, np.random.default_rng(1))
    >>> (ranks.first * 3).astype(int), ranks.counts[0]
    (array([1, 0]), array([1, 1, 0]))
    """
    size, n = Y.shape
    first, counts = np.empty(n), np.zeros(size * size, dtype=np.int64)
    start_of = np.arange(size)[:, None] * size
    step = max(1, _BATCH // size)
    for start in range(0, n, step):
        some = Y[:, start : start + step]
        order = np.argsort(some, axis=0)
        in_order = np.take_along_axis(some, order, axis=0)
        if (in_order[1:] == in_order[:-1]).any():
            order = np.lexsort((rng.random(some.shape), some), axis=0)
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(size)[:, None], axis=0)
        first[start : start + step] = ranks[0]
        counts += np.bincount((start_of + ranks).ravel(), minlength=counts.size)
    return Ranks((first + rng.random(n)) / size, counts.reshape(size, size))


def distance_from_uniform(counts: IntArray) -> FloatArray:
    """Kolmogorov and Smirnov's distance of each response's ranks from uniform ones, shape (K + 1,).

    Parameters
    ----------
    counts : ndarray of int64, shape (K + 1, K + 1)
    """
    size, n = counts.shape[1], counts[0].sum()
    steps = np.cumsum(counts, axis=1) * size - np.arange(1, size + 1) * n
    return np.asarray(np.abs(steps).max(axis=1) / (size * n))


def spread_within(Y: FloatArray, terms: Iterable[tuple[IntArray, FloatArray, int]]) -> FloatArray:
    """Mean square of the standardized responses, what random effects may explain taken out; shape (K + 1,).

    In each row responses are measured from the mean of all K + 1, in units of their standard deviation. Then each level
    of each term is fitted by least squares, one term after the other, and what is left is squared.

    Parameters
    ----------
    Y : ndarray, shape (K + 1, n)
    terms : iterable of (codes (n,), Z (n, k), number of levels q)
        Those with more than n / 2 effects are passed over: they would leave next to nothing.
    """
    n = Y.shape[1]
    center, scale = Y.mean(axis=0), Y.std(axis=0)
    scale[scale == 0.0] = 1.0
    fits = [_least_squares(codes, Z, q) for codes, Z, q in terms if 2 * q * Z.shape[1] <= n]
    out = np.empty(len(Y))
    step = max(1, _BATCH // n)
    for start in range(0, len(Y), step):
        left = (Y[start : start + step] - center) / scale
        for columns, solve in fits:
            left = left - (left @ columns) @ solve @ columns.T
        out[start : start + step] = np.mean(left * left, axis=1)
    return out


def _least_squares(codes: IntArray, Z: FloatArray, q: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Columns of a term level by level, shape (n, q k), and the inverse of their cross-products."""
    n, k = Z.shape
    places = codes[:, None] * k + np.arange(k)
    columns = sparse.csr_array((Z.ravel(), places.ravel(), np.arange(0, n * k + 1, k)), shape=(n, q * k))
    cross = np.zeros((q, k, k))
    np.add.at(cross, codes, Z[:, :, None] * Z[:, None, :])
    inverse = np.linalg.pinv(cross, hermitian=True)
    inside = np.arange(q * k).reshape(q, k)
    rows = np.broadcast_to(inside[:, :, None], inverse.shape)
    return columns, sparse.csr_array((inverse.ravel(), (rows.ravel(), rows.swapaxes(1, 2).ravel())))


def tail_probabilities(statistics: FloatArray) -> tuple[float, float]:
    """Share of all K + 1 statistics that are at least, and at most, as large as the first.

    Examples
    --------
    >>> tail_probabilities(np.array([3.0, 1.0, 2.0, 4.0]))
    (0.5, 0.75)
    """
    return float(np.mean(statistics >= statistics[0])), float(np.mean(statistics <= statistics[0]))


def trials_of(model: WorkingModel) -> FloatArray:
    """Numbers of trials of a binomial response, shape (n,)."""
    return model.weights if model.trials is None else model.trials


def stabilized(Y: FloatArray, model: WorkingModel) -> FloatArray:
    """Responses on a scale on which their variance hardly depends on the mean (Anscombe, 1948, Biometrika 35, 246-254).

    Parameters
    ----------
    Y : ndarray, shape (K + 1, n)
        Numbers of successes for the binomial.
    model : WorkingModel
    """
    match model.family:
        case Binomial():
            return np.asarray(np.arcsin(np.sqrt((Y + 0.375) / (trials_of(model) + 0.75))))
        case Poisson() | NegativeBinomial():
            return np.asarray(np.sqrt(Y + 0.375))
        case Gamma() | InverseGaussian():
            return np.asarray(np.log(np.maximum(Y, np.finfo(np.float64).tiny)))
        case _:
            return Y
