"""What a fit tells the fits to nearly the same data: how the deviance curves at the optimum, and where others are.

Newton's method with the approximate Hessian alone converges linearly near an optimum; with what the approximation lacks
there, found once from differences of the gradient, refits converge quadratically from the start. Degenerate fits may
have rival optima. These are looked for once, from many starting points, and followed in every refit.
"""

from __future__ import annotations

import numpy as np

from interlace.core.batch import KnownFit, inside, local_optima
from interlace.core.batch_stack import stackable
from interlace.core.covariance import any_singular
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Objective
from interlace.core.optimize import Settings
from interlace.core.rivals import other_points
from interlace.core.start import starting_points
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["known_fit"]

#: Step of differences of the gradient, in standard units.
_STEP = 1e-4
#: Difference of relative covariances, relative to 1 plus their size, up to which optima are the same.
_SAME = 1e-3


def known_fit(cp: CrossProducts, theta: FloatArray, *, reml: bool, settings: Settings) -> KnownFit:
    """Study the optimum ``theta`` of a deviance.

    Parameters
    ----------
    cp : CrossProducts
    theta : ndarray, shape (n_theta,)
        Inner basis.
    reml : bool
    settings : Settings

    Returns
    -------
    KnownFit
    """
    structure = cp.structure
    if structure.storage.whole or not theta.size:  # differences of a gradient that is made of differences say little
        return KnownFit(inside(structure, theta))
    correction = _correction(Objective(cp, reml=reml), theta)
    singular = any_singular(structure.factors(theta))
    if not singular and not any(block.restricted for block in structure.blocks):
        return KnownFit(theta, correction)
    if not stackable(structure):
        return KnownFit(inside(structure, theta))
    return KnownFit(theta, correction, _rivals(cp, theta, reml=reml, settings=settings), explored=cp.n)


def _correction(objective: Objective, theta: FloatArray) -> FloatArray:
    """Hessian less its approximation, shape (n_theta, n_theta)."""
    e = objective.at(theta)
    approximate = objective.information(e, objective.derivatives(e))
    H = np.empty(approximate.shape)
    for i in range(theta.size):
        step = np.zeros(theta.size)
        step[i] = _STEP * max(1.0, abs(theta[i]))
        ahead, behind = (objective.derivatives(objective.at(theta + sign * step)).gradient for sign in (1.0, -1.0))
        H[i] = (ahead - behind) / (2.0 * step[i])
    return 0.5 * (H + H.T) - approximate


def _rivals(cp: CrossProducts, theta: FloatArray, *, reml: bool, settings: Settings) -> tuple[FloatArray, ...]:
    """Local optima other than ``theta``."""
    moments = starting_points(cp, reml=reml)
    starts = [*moments, *other_points(cp.structure, moments)]
    x, value = local_optima(cp, starts, reml=reml, settings=settings)
    found = [theta]
    for point in x[np.isfinite(value)]:
        if not any(_same(cp.structure, point, other) for other in found):
            found.append(point)
    return tuple(found[1:])


def _same(structure: Structure, x: FloatArray, other: FloatArray) -> bool:
    for L, K in zip(structure.factors(x), structure.factors(other), strict=True):
        psi, omega = L @ L.T, K @ K.T
        if np.abs(psi - omega).max() > _SAME * (1.0 + np.abs(psi).max()):
            return False
    return True
