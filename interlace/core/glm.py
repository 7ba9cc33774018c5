"""Coefficients of a generalized linear model without random effects: where the mixed model starts."""

from __future__ import annotations

import numpy as np

from interlace.core.working import Working, WorkingModel
from interlace.errors import ModelError
from interlace.typing import FloatArray

__all__ = ["glm_coefficients"]

#: Decrement of the deviance that is near enough for a start.
_NEAR = 1e-2


def glm_coefficients(model: WorkingModel, X: FloatArray, offset: FloatArray, *, max_iterations: int = 12) -> FloatArray:
    """Fisher scoring from R's starting means (McCullagh and Nelder, section 2.5).

    A few steps; where the likelihood has no maximum, as under separation, they stop at moderate coefficients.

    Parameters
    ----------
    model : WorkingModel
    X : ndarray, shape (n, p)
        Of full rank.
    offset : ndarray, shape (n,)

    Returns
    -------
    ndarray, shape (p,)

    Raises
    ------
    ModelError
        No coefficients were found at which every row has a distribution.
    """
    start = model.start_eta
    coefficients = _scoring(model.at(start), X, start - offset)
    value = model.minus_two_loglik(X @ coefficients + offset)
    if not np.isfinite(value):
        # The same for every row, as far as X allows.
        coefficients = _projected(X, np.full_like(start, np.median(start)) - offset)
        value = model.minus_two_loglik(X @ coefficients + offset)
    if not np.isfinite(value):
        raise ModelError(
            f"found no coefficients at which the {model.link.name!r} link gives every row a possible mean; choose a "
            f"link that takes every linear predictor ({model.family.name}: see interlace.families), or give an offset"
        )
    for _ in range(max_iterations):
        eta = X @ coefficients + offset
        working = model.at(eta)
        step = _scoring(working, X, eta - offset) - coefficients
        decrement = float(working.score @ (X @ step))
        fraction, moved = 1.0, np.inf
        while fraction > 1e-6:
            moved = model.minus_two_loglik(eta + fraction * (X @ step))
            if moved <= value:
                break
            fraction *= 0.5
        else:
            break
        coefficients, value = coefficients + fraction * step, moved
        if decrement < _NEAR * model.family.dispersion_estimate(model.y, working.mu, model.weights):
            break
    return coefficients


def _scoring(working: Working, X: FloatArray, known: FloatArray) -> FloatArray:
    """Weighted least squares on the working response; the ridge is rounding unless weights have vanished."""
    weighted = working.fisher[:, None] * X
    gram = X.T @ weighted
    size = float(np.trace(gram)) / max(X.shape[1], 1)
    right = weighted.T @ known + X.T @ working.score
    return np.asarray(np.linalg.solve(gram + 1e-12 * size * np.eye(X.shape[1]), right))


def _projected(X: FloatArray, v: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.lstsq(X, v, rcond=None)[0])
