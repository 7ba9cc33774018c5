"""What the members of a batch are asked before and after they are fitted: obstacles, and proof of the boundary."""

from __future__ import annotations

import numpy as np

from interlace.core.batch_factor import factor_stack
from interlace.core.boundary import find_escape
from interlace.core.objective import Objective
from interlace.core.structure import Structure
from interlace.typing import FloatArray, IntArray

__all__ = ["gains", "lower_point", "obstacles", "smallest_singular_values", "tidied"]

#: Smallest eigenvalue of X'X, relative to the largest, with which the coefficients of a member can be told apart.
_ESTIMABLE = 1e-10


def gains(G: FloatArray, information: FloatArray, q: int) -> FloatArray:
    """Decrease that the best step off the boundary promises; see `core.boundary`. Shapes (B, k, k) to (B,).

    Along the steepest direction, and along each coordinate, which are all that a diagonal term has.
    """
    values, vectors = np.linalg.eigh(G)
    direction = vectors[:, :, 0]
    steepest = np.einsum("ba,bac,bc->b", direction, information, direction)
    slopes = np.column_stack([values[:, 0], np.diagonal(G, axis1=1, axis2=2)])
    curvatures = np.column_stack([steepest, np.diagonal(information, axis1=1, axis2=2)]) ** 2 / q
    falls = (slopes < 0.0) & (curvatures > 0.0)
    return np.asarray(np.where(falls, slopes**2 / (2.0 * np.where(falls, curvatures, 1.0)), 0.0).max(axis=1))


def obstacles(structure: Structure, gram: FloatArray, n: IntArray, yy: FloatArray) -> list[str]:
    """Why members cannot be fitted at all; empty for those that can. ``gram`` is X'X, shape (B or 1, p, p)."""
    full = np.ones(n.size, dtype=np.bool_)
    if structure.p:
        values = np.linalg.eigvalsh(gram)
        full &= values[:, 0] > _ESTIMABLE * np.maximum(values[:, -1], 1.0)
    out = [""] * n.size
    for b in range(n.size):
        if not np.isfinite(yy[b]):
            out[b] = "the response is not finite"
        elif n[b] <= structure.p:
            out[b] = f"{n[b]} rows are too few for {structure.p} fixed effects and a residual variance"
        elif not full[b]:
            out[b] = "the rows do not identify the fixed effects"
        elif yy[b] <= 0.0:
            out[b] = "the fixed effects reproduce the response: the residual variance is zero"
    return out


def lower_point(objective: Objective, x: FloatArray) -> FloatArray | None:
    """Point with a lower deviance off the boundary, or None when there is none to be seen."""
    e = objective.at(x)
    value, d = objective.value(e), objective.derivatives(e)
    fraction = 1.0
    for _ in range(12):
        escape = find_escape(objective, e, d, x, fraction=fraction)
        if escape is None:
            return None
        if objective(escape.x) < value - 1e-9:
            return escape.x
        fraction /= 4.0
    return None


def tidied(structure: Structure, x: FloatArray) -> FloatArray:
    """Flip columns with a negative diagonal entry, and make columns exactly zero that are so up to rounding."""
    out = x.copy()
    for block in structure.blocks:
        L = factor_stack(block, x)
        negative = np.diagonal(L, axis1=1, axis2=2)[:, block.cols] < 0.0
        nothing = np.linalg.norm(L, axis=1)[:, block.cols] < 1e-9
        out[:, block.slots] = np.where(nothing, 0.0, np.where(negative, -1.0, 1.0) * out[:, block.slots])
    return out


def smallest_singular_values(structure: Structure, x: FloatArray) -> FloatArray:
    """Smallest singular value of the factors of each member at theta of shape (B, n_theta), shape (B,)."""
    smallest = np.full(x.shape[0], np.inf)
    for block in structure.blocks:
        L = factor_stack(block, x)
        values = np.abs(L[:, 0, 0]) if block.k == 1 else np.linalg.svd(L, compute_uv=False)[:, -1]
        smallest = np.minimum(smallest, values)
    return smallest
