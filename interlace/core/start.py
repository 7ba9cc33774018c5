"""Starting values of theta from moments of the cross-products; on balanced data they are the REML estimates.

In the inner basis X is orthonormal and y is a least-squares residual, so ``Z'y`` is ``Z'P_0 y`` with P_0 = I - X X'.
Two kinds of moments are used. *Within groups*: covariance of the least-squares coefficients of each group, less their
sampling variance, one block at a time. *Haseman-Elston*: the sums of squares of ``Z'P_0 y`` set equal to their
expectations, all blocks together, each column a variance component of its own (covariances start at zero).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from scipy.linalg import lapack

from interlace.core.covariance import cholesky_factor
from interlace.core.crossproducts import CrossProducts
from interlace.core.small import inverse, smallest_eigenvalue
from interlace.core.terms import Block
from interlace.typing import FloatArray

__all__ = ["starting_points"]

#: Smallest starting variance relative to the residual one; never 0, where the gradient vanishes.
_FLOOR = 0.01
_CEILING = 1e4


def starting_points(cp: CrossProducts, *, reml: bool) -> list[FloatArray]:
    """Moment estimates of theta, one or two.

    Parameters
    ----------
    cp : CrossProducts
        In the inner basis.
    reml : bool

    Returns
    -------
    list of ndarray, shapes (n_theta,)
        With one block, the moments within groups if enough groups allow them. With several, Haseman-Elston; and
        within groups as well if any block has more than one column, since then either may lead to a poor optimum.
    """
    blocks = cp.structure.blocks
    alone = len(blocks) == 1
    within = [_within_groups(cp, i, reml=reml) if alone or _vector(cp) else None for i in range(len(blocks))]
    if alone and within[0] is not None and within[0].reliable:
        return [_theta(cp, [_allowed(blocks[0], within[0].psi)])]
    diagonal = [np.diag(np.sqrt(variances)) for variances in _haseman_elston(cp)]
    points = [_theta(cp, diagonal)]
    if any(moments is not None for moments in within):
        factors = [
            L if moments is None else _allowed(block, moments.psi)
            for block, moments, L in zip(blocks, within, diagonal, strict=True)
        ]
        points.append(_theta(cp, factors))
    return points


def _vector(cp: CrossProducts) -> bool:
    """Whether any block has more than one column."""
    return any(block.k > 1 for block in cp.structure.blocks)


def _theta(cp: CrossProducts, factors: list[FloatArray]) -> FloatArray:
    theta = np.zeros(cp.structure.n_theta)
    for block, L in zip(cp.structure.blocks, factors, strict=True):
        theta[block.slots] = L[block.rows, block.cols]
    return theta


def _allowed(block: Block, psi: FloatArray) -> FloatArray:
    """Factor of psi with the zeros that the block's terms prescribe, bounded away from singularity."""
    free: FloatArray | float = 1.0
    if block.restricted:
        allowed = np.zeros_like(psi)
        allowed[block.rows, block.cols] = allowed[block.cols, block.rows] = 1.0
        free = allowed
    masked: FloatArray = psi * free
    if smallest_eigenvalue(masked[None])[0] >= _FLOOR and masked.trace() <= _CEILING:
        factor: FloatArray = lapack.dpotrf(masked, lower=1, clean=1)[0]
        return factor
    values, vectors = np.linalg.eigh(masked)
    bounded = (vectors * np.clip(values, _FLOOR, _CEILING)) @ vectors.T
    return cholesky_factor(bounded * free)


@dataclass(frozen=True)
class _Moments:
    """Relative covariance of the coefficients of one block, and whether most groups contributed to it."""

    psi: FloatArray
    reliable: bool


def _within_groups(cp: CrossProducts, i: int, *, reml: bool) -> _Moments | None:
    """Moments of one block from least squares within its groups; None if fewer than two groups allow it."""
    block, A = cp.structure.blocks[i], cp.own(i)
    c = cp.with_xy(i)[:, :, -1]
    if block.k == 1:
        usable = A[:, 0, 0] > 0.0
    else:
        typical = A.diagonal(axis1=1, axis2=2).sum() / block.size
        usable = smallest_eigenvalue(A) > 1e-3 * typical
    groups = int(usable.sum())
    freedom = cp.n - block.size
    if groups < 2 or freedom <= 0:
        return None
    if groups < block.q:
        A, c = A[usable], c[usable]
    uncertainty = inverse(A)
    b = (uncertainty @ c[:, :, None])[:, :, 0]
    response = float(cp.S[-1, -1])
    residual = response - float((b * c).sum())
    if residual <= 1e-6 * response:
        return None
    between: FloatArray = b.T @ b / (groups - 1 if reml else groups)
    psi: FloatArray = between * (freedom / residual) - uncertainty.sum(axis=0) / groups
    return _Moments(psi, reliable=groups > cp.structure.p + 1 and groups >= 0.5 * block.q)


def _haseman_elston(cp: CrossProducts) -> list[FloatArray]:
    """Variance of each column of each block relative to the residual variance, within bounds; shapes (k_i,)."""
    structure = cp.structure
    p = structure.p
    blocks = range(len(structure.blocks))
    to_x = [cp.with_xy(i) for i in blocks]
    stops = [0, *accumulate(b.k for b in structure.blocks)]
    count = stops[-1]
    system, right = np.empty((count + 1, count + 1)), np.empty(count + 1)
    system[count, count], right[count] = cp.n - p, cp.S[-1, -1]
    gram = [np.einsum("lax,lay->axy", c[:, :, :p], c[:, :, :p]) for c in to_x]
    for i in blocks:
        at = slice(stops[i], stops[i + 1])
        own = cp.own(i).diagonal(axis1=1, axis2=2).sum(axis=0)
        system[at, count] = system[count, at] = own - gram[i].trace(axis1=1, axis2=2)
        right[at] = (to_x[i][:, :, -1] ** 2).sum(axis=0)
        for j in range(i, len(structure.blocks)):
            both = gram[i].reshape(len(gram[i]), p * p) @ gram[j].reshape(len(gram[j]), p * p).T
            values = _squared_norms(cp, i, j, to_x) + both
            system[at, stops[j] : stops[j + 1]] = values
            system[stops[j] : stops[j + 1], at] = values.T
    scale = 1.0 / np.sqrt(system.diagonal())
    _, scaled, *_ = lapack.dgelss(system * scale[:, None] * scale, right * scale, cond=1e-10)
    solution = scale * scaled
    residual = max(float(solution[-1]), 0.05 * float(cp.S[-1, -1]) / (cp.n - p))
    relative = np.minimum(np.maximum(solution[:-1] / residual, _FLOOR), _CEILING)
    return [relative[stops[i] : stops[i + 1]] for i in blocks]


def _squared_norms(cp: CrossProducts, i: int, j: int, to_x: list[FloatArray]) -> FloatArray:
    """Sums of V (V - 2 X_i X_j') over all pairs of levels, V = Z_i'Z_j and X_i = Z_i'X; shape (k_i, k_j)."""
    structure = cp.structure
    s, p = structure.n_chain, structure.p
    a, b = structure.blocks[i], structure.blocks[j]
    X_i, X_j = to_x[i][:, :, :p], to_x[j][:, :, :p]
    if i == j or j < s:
        V = cp.own(i) if i == j else cp.P[i, j]
        other = X_j if i == j else X_j[structure.parents[i, j]]
        total: FloatArray = (V * (V - 2.0 * np.matmul(X_i, other.transpose(0, 2, 1)))).sum(axis=0)
        return total
    flat_i, flat_j = X_i.reshape(a.size, p), X_j.reshape(b.size, p)
    where = structure.rest_slices[j - s]
    crossed = cp.Cz if i < s else cp.Szz
    if crossed is not None:
        part = (crossed if i < s else crossed[structure.rest_slices[i - s]])[:, where].tocoo()
        row, col = part.coords
        values = part.data * (part.data - 2.0 * np.einsum("nx,nx->n", flat_i[row], flat_j[col]))
        cell = (row % a.k) * b.k + col % b.k
        sums: FloatArray = np.bincount(cell, weights=values, minlength=a.k * b.k).reshape(a.k, b.k).astype(np.float64)
        return sums
    V = cp.C[i].reshape(a.size, -1)[:, where] if i < s else cp.S[structure.rest_slices[i - s], where]
    summed: FloatArray = (V * (V - 2.0 * (flat_i @ flat_j.T))).reshape(a.q, a.k, b.q, b.k).sum(axis=(0, 2))
    return summed
