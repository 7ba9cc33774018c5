"""What taking some rows away does to the solution at one theta, in closed form, for many sets of rows.

With V = I + Z Psi Z' on the weighted scale, P = V^-1 - V^-1 X C X'V^-1, C = (X'V^-1 X)^-1, B = C X'V^-1 and the
residuals e = P y, the fit without the rows I at the same theta has

    beta_(I) = beta - B_I P_II^-1 e_I,      C_(I) = C + B_I P_II^-1 B_I',      r2_(I) = r2 - e_I' P_II^-1 e_I,
    log|V_(I)| = log|V| + log|(V^-1)_II|,   log|X'V^-1 X|_(I) = log|X'V^-1 X| + log|P_II| - log|(V^-1)_II|.

I - P_II is made of the rows' own parts of the joint covariance of modes and coefficients. A row with covariates z at
level j of the leading block and u on the rest and X has, after that block is eliminated, r = u - z W_j C_j left, and

    (I - P)_st = z_s W_j z_t' [same level j] + r_s T F^-1 T' r_t'.

References
----------
Christensen, R., Pearson, L. M. and Johnson, W. (1992). Case-deletion diagnostics for mixed models. Technometrics 34,
38-45. Haslett, J. (1999). A simple derivation of deletion diagnostic results for the general linear model with
correlated errors. Journal of the Royal Statistical Society B 61, 603-609.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from interlace.core import posterior
from interlace.core.cholmod import AnyElimination
from interlace.core.crossproducts import Rows
from interlace.core.factor import Elimination
from interlace.typing import FloatArray, IntArray

__all__ = ["Downdates", "downdates", "hat_blocks", "pull", "residuals"]

#: Smallest eigenvalue of P_II with which the fixed effects can be told apart without the rows I.
_ESTIMABLE = 1e-10


@dataclass(frozen=True)
class Downdates:
    """Without each of u sets of rows, at one theta, in the basis of the elimination; NaN where beta is not identified.

    Attributes
    ----------
    log_p, log_v : ndarray, shape (u,)
        log|P_II| and log|(V^-1)_II|.
    lost : ndarray, shape (u,)
        r2 - r2_(I).
    change : ndarray, shape (u, p)
        beta - beta_(I).
    spread : ndarray, shape (u, p, p)
        C_(I) - C.
    """

    log_p: FloatArray
    log_v: FloatArray
    lost: FloatArray
    change: FloatArray
    spread: FloatArray


def residuals(e: AnyElimination, rows: Rows) -> FloatArray:
    """Residuals P y of the rows, shape (n,)."""
    left = rows.Xy[:, -1] - rows.Xy[:, :-1] @ e.beta
    for z, codes, b in zip(rows.Z, rows.codes, posterior.modes(e), strict=True):
        left -= np.einsum("nk,nk->n", z, b[codes])
    return left


def pull(e: AnyElimination, rows: Rows) -> FloatArray:
    """Columns of B as rows, shape (n, p): beta = pull' y."""
    left = rows.Xy[:, :-1].copy()
    for z, codes, columns in zip(rows.Z, rows.codes, posterior.modes_of_columns(e), strict=True):
        for a in range(z.shape[1]):
            left -= z[:, a, None] * columns[codes, a]
    return np.asarray(left @ (e.beta_root @ e.beta_root.T))


def downdates(e: AnyElimination, rows: Rows, residual: FloatArray, subsets: Sequence[IntArray]) -> Downdates:
    """Take sets of rows away.

    Parameters
    ----------
    e : Elimination
    rows : Rows
        From which its cross-products were made.
    residual : ndarray, shape (n,)
        See `residuals`.
    subsets : sequence of ndarray of int64
        Sets of rows, 0 to n - 1. P_II is formed: they should be small, but for single rows it costs nothing.

    Returns
    -------
    Downdates
    """
    B, R = pull(e, rows), np.asarray(np.linalg.inv(e.beta_root), dtype=np.float64)  # C^-1 = R'R
    if all(len(some) == 1 for some in subsets):
        return _of_rows(e, rows, residual, np.concatenate(subsets), B, R)
    p, u = B.shape[1], len(subsets)
    out = Downdates(np.empty(u), np.empty(u), np.empty(u), np.empty((u, p)), np.empty((u, p, p)))
    for i, (some, H) in enumerate(zip(subsets, hat_blocks(e, rows, subsets), strict=True)):
        P = np.eye(some.size) - H
        values, vectors = np.linalg.eigh(P)
        values = values if values[0] > _ESTIMABLE else np.full(values.shape, np.nan)
        right = B[some].T @ vectors
        along = vectors.T @ residual[some]
        scaled = right / values
        out.log_p[i] = np.log(values).sum()
        RB = B[some] @ R.T
        out.log_v[i] = np.linalg.slogdet(P + RB @ RB.T)[1]
        out.lost[i] = along @ (along / values)
        out.change[i] = scaled @ along
        out.spread[i] = scaled @ right.T
    return out


def _of_rows(
    e: AnyElimination, rows: Rows, residual: FloatArray, index: IntArray, B: FloatArray, R: FloatArray
) -> Downdates:
    """Single rows, all at once."""
    parts = [z[index] for z in rows.Z], [codes[index] for codes in rows.codes]
    P = 1.0 - posterior.quadratic_forms(e, rows.Xy[index, :-1], *parts)
    P = np.where(P > _ESTIMABLE, P, np.nan)
    B, own = B[index], residual[index]
    scaled = B / P[:, None]
    RB = B @ R.T
    return Downdates(
        log_p=np.log(P),
        log_v=np.log(P + (RB * RB).sum(axis=1)),
        lost=own * own / P,
        change=scaled * own[:, None],
        spread=scaled[:, :, None] * B[:, None, :],
    )


def hat_blocks(e: AnyElimination, rows: Rows, subsets: Sequence[IntArray]) -> list[FloatArray]:
    """I - P_II of each set of rows, shapes (r, r)."""
    if isinstance(e, Elimination) and e.structure.n_chain == 1:
        block = _after_leading_block(e, rows)
    else:

        def block(some: IntArray) -> FloatArray:
            Z, codes = [z[some] for z in rows.Z], [codes[some] for codes in rows.codes]
            return posterior.bilinear_forms(e, rows.Xy[some, :-1], Z, codes)

    return [block(some) for some in subsets]


def _after_leading_block(e: Elimination, rows: Rows) -> Callable[[IntArray], FloatArray]:
    """I - P_II of one set, from the columns of the rest that its rows and their levels touch."""
    structure = e.structure
    n, m_z, k = structure.m - 1, structure.m_z, structure.blocks[0].k
    G = e.congruence(e.padded_inverse(n))[:n, :n]
    Cz = e.cp.Cz
    C_dense = e.cp.C[0][:, :, :-1]

    def block(some: IntArray) -> FloatArray:
        z, own = rows.Z[0][some], rows.codes[0][some]
        levels, place = np.unique(own, return_inverse=True)
        if Cz is None:
            used = np.arange(m_z)
            C = C_dense[levels]
        else:
            entries = Cz[(levels[:, None] * k + np.arange(k)).reshape(-1)]
            used = np.unique(entries.indices)
            C = np.concatenate([entries[:, used].toarray().reshape(levels.size, k, -1), C_dense[levels]], axis=2)
        zW = np.einsum("na,nab->nb", z, e.W[0][own])
        left = -np.einsum("na,nam->nm", zW, C[place])
        left[:, used.size :] += rows.Xy[some, :-1]
        number = np.arange(some.size)
        for where, r in zip(structure.rest_slices, range(1, len(structure.blocks)), strict=True):
            width = structure.blocks[r].k
            for a in range(width):
                column = where.start + rows.codes[r][some] * width + a
                left[number, np.searchsorted(used, column)] += rows.Z[r][some, a]
        columns = np.concatenate([used, np.arange(m_z, n)])
        forms: FloatArray = left @ G[np.ix_(columns, columns)] @ left.T + (zW @ z.T) * (own[:, None] == own)
        return forms

    return block
