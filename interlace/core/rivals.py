"""Where to start a minimization again when the likelihood may have several optima.

Degenerate fits and covariances with prescribed zeros are where that happens, and problems of a few dozen rows: there a
regular optimum may be higher than one near which the random effects of a group vary along fewer directions. Among
random problems with random slopes that was so for 12 of 244 regular fits to fewer than 20 rows, for 8 of 1027 to 20 to
45 rows, and for none of 476 to more (``benchmarks/optimum_study.py`` counts what is missed).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interlace.core.covariance import cholesky_factor
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["few_rows", "other_points", "smaller_points"]

#: Rows up to which regular fits get a second opinion: three times the evaluations of the first, a few milliseconds.
_ROWS = 50
#: Number of parameters up to which runs are cheap enough to start from far away as well.
_FEW = 12
#: Standard deviations relative to sigma of small random effects.
_SMALL = 0.1
#: Factors of all variances, and of that along the least variable direction besides; and what is added to them.
_STAY, _LEAST, _ADDED = 0.25, 0.01, 1e-4


def few_rows(structure: Structure, n: int) -> bool:
    """Whether ``n`` rows are so few that a regular fit may not be the lowest optimum.

    Parameters
    ----------
    structure : Structure
    n : int
        With no more rows than random effects of a block the likelihood has no optimum to be found.
    """
    if n > _ROWS:
        return False
    sizes = [block.size for block in structure.blocks]
    return max(sizes, default=n) < n and any(block.k > 1 for block in structure.blocks)


def other_points(structure: Structure, thetas: Sequence[FloatArray], *, far: bool = True) -> list[FloatArray]:
    """Identity factors, where lme4 starts; large and small variances exchanged, as rival optima often do; far out.

    Parameters
    ----------
    structure : Structure
    thetas : sequence of ndarray, shapes (n_theta,)
        Whose variances to exchange.
    far : bool
        Whether there may be starts far away, if there are few parameters.

    Returns
    -------
    list of ndarray, shapes (n_theta,)
    """
    identity = _identity(structure)
    exchanged = [identity * np.clip(1.0 / np.maximum(np.abs(theta), 1e-3), 0.05, 20.0) for theta in thetas]
    distant = [3.0 * identity, 10.0 * identity] if far and structure.n_theta <= _FEW else []
    return [identity, *exchanged, *distant]


def smaller_points(structure: Structure, theta: FloatArray) -> list[FloatArray]:
    """Small independent random effects, and those of a regular fit almost without their least variable direction.

    Parameters
    ----------
    structure : Structure
    theta : ndarray, shape (n_theta,)
        Of the fit.

    Returns
    -------
    list of ndarray, shapes (n_theta,)
    """
    narrow = theta.copy()
    for block in structure.blocks:
        L = block.factor(theta)
        for _, where in block.members:
            own = L[where, where]
            values, vectors = np.linalg.eigh(own @ own.T)  # of a diagonal term: unit vectors, so it stays diagonal
            values *= _STAY
            if values.size > 1:
                values[0] *= _LEAST
            L[where, where] = cholesky_factor((vectors * (values + _ADDED)) @ vectors.T)
        narrow[block.slots] = L[block.rows, block.cols]
    return [_SMALL * _identity(structure), narrow]


def _identity(structure: Structure) -> FloatArray:
    """Theta of identity factors."""
    identity = np.zeros(structure.n_theta)
    for block in structure.blocks:
        identity[block.slots[block.rows == block.cols]] = 1.0
    return identity
