"""Proof that an optimum on the boundary is one, and the way off it when it is not.

Where a factor L is singular the gradient in theta says nothing about the directions it does not span. There the
deviance is a function of Psi = L L' with first derivatives G_Psi; a minimum needs v'G_Psi v >= 0 for every direction v.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlace.core.covariance import cholesky_factor, lower_factor
from interlace.core.structure import Structure
from interlace.core.target import D, P, Target
from interlace.core.terms import Block
from interlace.typing import FloatArray, IntArray

__all__ = ["Escape", "find_escape", "valley_ends"]

#: Decrease of the deviance that is worth a restart.
_WORTHWHILE = 1e-8


@dataclass(frozen=True)
class Escape:
    """A direction in which the deviance falls.

    Attributes
    ----------
    x : ndarray, shape (r,)
        Point a Newton step along the direction, in Psi.
    gain : float
        Decrease that the step predicts.
    """

    x: FloatArray
    gain: float


def find_escape(
    target: Target[P, D],
    point: P,
    d: D,
    x: FloatArray,
    *,
    fraction: float = 1.0,
) -> Escape | None:
    """Best direction off the boundary, or None when ``x`` passes the boundary test.

    Parameters
    ----------
    target : Target
    point, d : Point, Slopes
        At ``x``.
    x : ndarray, shape (r,)
    fraction : float
        Part of the Newton step in Psi to take.
    """
    best: Escape | None = None
    weight = target.psi_weight(point)
    psi = target.psi_gradients(point, d)
    for block, G, a, L in zip(target.structure.blocks, psi, d.a, point.L, strict=True):
        information = G + weight * a.T @ a
        for rows, cols, slots in _parts(block):
            candidate = _descend(G, information, block.q, L, rows, cols, fraction)
            if candidate is None or (best is not None and candidate[1] <= best.gain):
                continue
            moved = x.copy()
            moved[slots] = candidate[0][rows, cols]
            best = Escape(moved, candidate[1])
    return best


def valley_ends(structure: Structure, x: FloatArray, *, small: float) -> list[FloatArray]:
    """Ends of the valleys that pass near ``x``.

    When the diagonal entry of row r of a factor is zero, the columns from r on can be rotated and Psi stays the same:
    near such a point the deviance has long curved valleys, in which an iteration creeps. They end where column r is
    zero, and where the last column is.

    Parameters
    ----------
    structure : Structure
    x : ndarray, shape (r,)
        Theta first.
    small : float
        Diagonal entries below it count as nearly zero.

    Returns
    -------
    list of ndarray, shapes (r,)
        Empty when no diagonal entry is small.
    """
    ends = []
    for block in structure.blocks:
        for rows, cols, slots in _parts(block):
            if (rows == cols).all():
                continue
            L = block.factor(x)
            first, last = int(rows.min()), int(rows.max()) + 1
            for r in range(first, last - 1):
                if abs(L[r, r]) < small:
                    for end in _rotations(L, r, last):
                        moved = x.copy()
                        moved[slots] = end[rows, cols]
                        ends.append(moved)
    return ends


def _rotations(L: FloatArray, r: int, last: int) -> list[FloatArray]:
    """Factors with column r, or the last column, rotated to zero in the rows below r."""
    below = lower_factor(L[r + 1 : last, r:last])
    without_r = L.copy()
    without_r[r:last, r] = 0.0
    without_r[r + 1 : last, r + 1 : last] = below
    out = [without_r]
    for sign in (1.0, -1.0):
        without_last = L.copy()
        without_last[r + 1 : last, r : last - 1] = below
        without_last[r + 1 : last, r] *= sign
        without_last[r + 1 : last, last - 1] = 0.0
        out.append(without_last)
    return out


def _parts(block: Block) -> list[tuple[IntArray, IntArray, IntArray]]:
    """Rows, columns and theta slots of each term of a block."""
    out = []
    for _, where in block.members:
        inside = (block.rows >= where.start) & (block.rows < where.stop)
        out.append((block.rows[inside], block.cols[inside], block.slots[inside]))
    return out


def _descend(
    G: FloatArray, information: FloatArray, q: int, L: FloatArray, rows: IntArray, cols: IntArray, fraction: float
) -> tuple[FloatArray, float] | None:
    """Factor after the best step within one term, and the decrease predicted for it."""
    used = np.unique(rows)
    diagonal = bool((rows == cols).all())
    if diagonal:
        directions, slopes = np.eye(G.shape[0])[:, used], np.diagonal(G)[used]
    else:
        slopes, inner = np.linalg.eigh(G[np.ix_(used, used)])
        directions = np.zeros((G.shape[0], used.size))
        directions[used] = inner
    at = int(np.argmin(slopes))
    direction = directions[:, at]
    # Second derivative along psi = size * direction direction', if the levels were independent.
    curvature = float(direction @ information @ direction) ** 2 / q
    if slopes[at] >= 0.0 or curvature <= 0.0:
        return None
    size, gain = -slopes[at] / curvature, slopes[at] ** 2 / (2.0 * curvature)
    if gain < _WORTHWHILE:
        return None
    moved = L @ L.T + fraction * size * np.outer(direction, direction)
    inner_moved = moved[np.ix_(used, used)]
    factor = np.zeros_like(G)
    factor[np.ix_(used, used)] = (
        np.diag(np.sqrt(np.diagonal(inner_moved))) if diagonal else cholesky_factor(inner_moved)
    )
    return factor, float(gain)
