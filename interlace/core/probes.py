"""Random signs with which traces are estimated: seeded, and attached to the levels of the grouping factors.

Models with the same crossed factors get the same signs, whatever else they contain, so that the Monte Carlo errors of
their criteria nearly cancel in a difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interlace.core.terms import Block
from interlace.typing import FloatArray

__all__ = ["MonteCarlo", "Probes", "difference_error", "signs", "standard_error"]


@dataclass(frozen=True)
class Probes:
    """How traces are estimated.

    Attributes
    ----------
    seed : int
    count : int
        Number of vectors.
    fixed : bool
        Whether there may be no more of them, however large the Monte Carlo error.
    searched : int
        Number of further vectors with which directions are sought in which the matrix is nearly singular.
    reference : tuple of float, shape (n_theta,), or None
        Theta at which they are sought; None until a first fit has found a good one.
    """

    seed: int = 0
    count: int = 16
    fixed: bool = False
    searched: int = 0
    reference: tuple[float, ...] | None = None


@dataclass(frozen=True)
class MonteCarlo:
    """Monte Carlo error of a fit whose log-determinant was estimated.

    Attributes
    ----------
    probes : Probes
    values : ndarray, shape (number of probes,)
        What each probe contributes to the criterion; their mean is part of it.
    theta_cov : ndarray, shape (n_theta, n_theta)
        Covariance of theta due to the probes, in the inner basis.
    """

    probes: Probes
    values: FloatArray
    theta_cov: FloatArray

    @property
    def criterion(self) -> float:
        """Standard error of the criterion due to the probes; 0 where there were as many as random effects."""
        return standard_error(self.values)


def standard_error(values: FloatArray) -> float:
    """Of the mean of ``values``; 0 where there are none, because nothing was left to chance."""
    if not values.size:
        return 0.0
    return float(np.std(values, ddof=1)) / math.sqrt(values.size) if values.size > 1 else math.inf


def difference_error(a: MonteCarlo | None, b: MonteCarlo | None) -> float:
    """Standard error due to the probes of the difference of two criteria; those that both have nearly cancel.

    Parameters
    ----------
    a, b : MonteCarlo or None
        None for a criterion that is exact.

    Raises
    ------
    ValueError
        The seeds differ, so that no probes are common.
    """
    if a is None or b is None:
        return math.sqrt(sum(one.criterion**2 for one in (a, b) if one is not None))
    if a.probes.seed != b.probes.seed:
        raise ValueError("the random probes have different seeds")
    common = min(a.values.size, b.values.size)
    variance = a.criterion**2 + b.criterion**2
    if common > 1:
        together = float(np.cov(a.values[:common], b.values[:common])[0, 1])
        variance -= 2.0 * together * common / (a.values.size * b.values.size)
    return math.sqrt(max(variance, 0.0))


def signs(blocks: Sequence[Block], probes: Probes, *, purpose: int = 0) -> FloatArray:
    """Vectors of independent random signs.

    Parameters
    ----------
    blocks : sequence of Block
    probes : Probes
    purpose : int
        Vectors for different purposes are independent.

    Returns
    -------
    ndarray, shape (sum of q_i k_i, number of probes)
        Entries 1 and -1. The signs of a block depend on the seed, on its number of levels, on how many blocks before it
        have as many levels, and on nothing else; more probes continue the same sequence.

    Examples
    --------
    >>> import numpy as np
    >>> none = np.empty(0, dtype=np.int64)
    >>> block = Block(4, 1, none, none, none, ())
    >>> few, more = signs([block], Probes(count=2)), signs([block], Probes(count=3))
    >>> np.array_equal(few, more[:, :2]), np.unique(more).tolist()
    (True, [-1.0, 1.0])
    """
    parts, seen = [], dict[int, int]()
    for block in blocks:
        number = seen[block.q] = seen.get(block.q, -1) + 1
        part = np.empty((block.q, block.k, probes.count))
        for column in range(block.k):
            generator = np.random.default_rng([probes.seed, purpose, block.q, number, column])
            part[:, column] = 2.0 * generator.integers(0, 2, (probes.count, block.q)).T - 1.0
        parts.append(part.reshape(block.size, -1))
    return np.concatenate(parts)
