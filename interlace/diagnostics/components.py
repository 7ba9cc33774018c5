"""Variances and covariances of a fit as one vector, and of many refits as one matrix."""

from __future__ import annotations

import numpy as np

from interlace.core.covariance import entries
from interlace.core.terms import theta_slices
from interlace.estimate.state import State
from interlace.typing import FloatArray, IntArray

__all__ = ["component_names", "component_values", "variance_columns"]


def component_names(state: State) -> list[str]:
    """Names of the variance components, as HLMdiag gives them.

    ``sigma2`` is the residual variance (or dispersion; absent where there is none). ``D11``, ``D21``, ``D22``, ... are
    the entries of the covariance matrix of all random effects of one level of each term, terms side by side in the
    order of theta: the lower triangle of each term's block, column by column, and only the diagonal of a term without
    covariances. From ten random effects on a comma keeps row and column apart.

    Parameters
    ----------
    state : State

    Returns
    -------
    list of str, length c

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> component_names(interlace.fit("Reaction ~ Days + (Days | Subject)", df).state)
    ['sigma2', 'D11', 'D21', 'D22']
    >>> component_names(interlace.fit("Reaction ~ Days + (Days || Subject)", df).state)
    ['sigma2', 'D11', 'D22']
    """
    shapes = state.problem.shapes
    comma = "," if sum(k for k, _ in shapes) > 9 else ""
    names = ["sigma2"] if state.has_scale else []
    first = 1
    for k, structure in shapes:
        rows, cols = entries(k, structure)
        names += [f"D{first + r}{comma}{first + c}" for r, c in zip(rows.tolist(), cols.tolist(), strict=True)]
        first += k
    return names


def component_values(state: State, theta: FloatArray, sigma: FloatArray, unit: FloatArray) -> FloatArray:
    """Variance components of fits of one model.

    Parameters
    ----------
    state : State
        Says what the model is.
    theta : ndarray, shape (B, n_theta)
        In the order of ``state.theta``.
    sigma : ndarray, shape (B,)
        Residual standard deviation, or root of the dispersion.
    unit : ndarray, shape (B,)
        Standard deviation that theta is relative to: ``sigma`` in a linear model.

    Returns
    -------
    ndarray, shape (B, c)
        In the order of `component_names`; a residual variance, then variances and covariances in its units.

    Examples
    --------
    >>> import interlace, numpy as np
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> sigma = np.array([state.sigma])
    >>> component_values(state, state.theta[None], sigma, sigma).round(1)
    array([[2451.2, 1764.1]])
    """
    parts = [sigma[:, None] ** 2] if state.has_scale else []
    shapes = state.problem.shapes
    for (k, structure), where in zip(shapes, theta_slices(shapes), strict=True):
        rows, cols = entries(k, structure)
        L = np.zeros((theta.shape[0], k, k))
        L[:, rows, cols] = theta[:, where]
        psi = unit[:, None, None] ** 2 * (L @ L.transpose(0, 2, 1))
        parts.append(psi[:, rows, cols])
    return np.concatenate(parts, axis=1)


def variance_columns(state: State) -> IntArray:
    """Places, within the components, of the variances of the random effects.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> variance_columns(interlace.fit("Reaction ~ Days + (Days | Subject)", df).state)
    array([1, 3])
    """
    on_diagonal = [rows == cols for rows, cols in (entries(k, structure) for k, structure in state.problem.shapes)]
    return int(state.has_scale) + np.flatnonzero(np.concatenate(on_diagonal))
