"""Block elimination of the penalized normal equations at one theta.

For each chain block the levels are independent: D_j = I + L'A_j L, W_j = L D_j^-1 L' (finite when L is singular),
and eliminating them takes ``C_j' W_j C_j`` off everything that remains. The rest is one symmetric matrix
F = T'ST + E with T = blockdiag(I (x) L, I_p, 1) and E = diag(1, 0_p, 0); its Cholesky factor gives beta, the
spherical modes of the rest and the penalized residual sum of squares in one go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from interlace.core.crossproducts import CrossProducts
from interlace.core.schur import LeadingMap, scale_blocks
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["Elimination", "eliminate", "scale_rest"]


@dataclass
class Elimination:
    """State after the elimination at one theta.

    Attributes
    ----------
    cp : CrossProducts
    L : list of ndarray, shapes (k_i, k_i)
        Relative covariance factors of all blocks.
    A, P, C : list / dict of ndarray
        Chain blocks of :class:`CrossProducts` after the blocks before them were eliminated.
    W : list of ndarray, shapes (q_i, k_i, k_i)
        Weights L D^-1 L' of each chain block.
    S : ndarray, shape (m, m)
        Schur complement of the chain.
    ST : ndarray, shape (m, m)
        S T.
    R : ndarray, shape (m, m)
        Upper Cholesky factor of F (its lower triangle is not referenced).
    log_chain : float
        Sum of log det D over the chain.
    ok : bool
        False when F is not positive definite.
    """

    cp: CrossProducts
    L: list[FloatArray]
    A: list[FloatArray]
    P: dict[tuple[int, int], FloatArray]
    C: list[FloatArray]
    W: list[FloatArray]
    S: FloatArray
    ST: FloatArray
    R: FloatArray
    log_chain: float
    ok: bool
    lead: LeadingMap | None = None

    @property
    def structure(self) -> Structure:
        """Symbolic part."""
        return self.cp.structure

    @property
    def rest_L(self) -> list[FloatArray]:
        """Factors of the rest blocks."""
        return self.L[self.structure.n_chain :]

    def rest_logdet(self, count: int) -> float:
        """Log determinant of the leading ``count`` rows and columns of F."""
        return 2.0 * float(np.log(np.diagonal(self.R)[:count]).sum())

    @property
    def pwrss(self) -> float:
        """Penalized weighted residual sum of squares."""
        return float(self.R[-1, -1]) ** 2

    def inverse(self, count: int) -> FloatArray:
        """Inverse of the leading ``count`` rows and columns of F, symmetric (count, count)."""
        upper, _ = lapack.dpotri(self.R[:count, :count], lower=0)
        # dpotri leaves the (zero) lower triangle of R alone.
        full: FloatArray = upper + upper.T
        full.flat[:: count + 1] *= 0.5
        return full

    def padded_inverse(self, count: int) -> FloatArray:
        """:meth:`inverse` with zeros for the other rows and columns, shape (m, m)."""
        G = np.zeros((self.structure.m, self.structure.m))
        if count:
            G[:count, :count] = self.inverse(count)
        return G

    def congruence(self, G: FloatArray) -> FloatArray:
        """T G T' for symmetric G, shape (m, m)."""
        if not self.rest_L:
            return G
        half = scale_rest(self.structure, self.rest_L, G, transpose=False)
        return scale_rest(self.structure, self.rest_L, half.T, transpose=False)

    @cached_property
    def solution(self) -> FloatArray:
        """(u_rest, beta), shape (m - 1,): spherical modes of the rest and fixed effects."""
        n = self.structure.m - 1
        if n == 0:
            return np.empty(0)
        x, _ = lapack.dtrtrs(self.R[:n, :n], self.R[:n, -1:])
        solution: FloatArray = x[:, 0]
        return solution

    @cached_property
    def contrast(self) -> FloatArray:
        """(-u_rest, -beta, 1), shape (m,): [Z_rest T | X | y] times it is the residual of all but the chain."""
        contrast = np.ones(self.structure.m)
        contrast[:-1] = -self.solution
        return contrast

    @property
    def beta(self) -> FloatArray:
        """Fixed effects, shape (p,)."""
        return self.solution[self.structure.m_z :]

    @property
    def beta_root(self) -> FloatArray:
        """Inverse of the triangular factor of X'V^-1X; its outer product is cov(beta) / sigma^2."""
        if self.structure.p == 0:
            return np.empty((0, 0))
        where = slice(self.structure.m_z, self.structure.m - 1)
        root: FloatArray = lapack.dtrtri(self.R[where, where])[0]
        return root

    def apply_C(self, i: int, v: FloatArray) -> FloatArray:
        """C_ij v for every level of chain block i; v of shape (m, r), result (q_i, k_i, r)."""
        if self.lead is not None:
            return self.lead.times(v)
        block = self.structure.blocks[i]
        return (self.C[i].reshape(block.size, -1) @ v).reshape(block.q, block.k, -1)

    def apply_Ct(self, i: int, w: FloatArray) -> FloatArray:
        """Sum over levels of C_ij' w_j; w of shape (q_i, k_i, r), result (m, r)."""
        if self.lead is not None:
            return self.lead.transposed(w)
        block = self.structure.blocks[i]
        return self.C[i].reshape(block.size, -1).T @ w.reshape(block.size, -1)


def eliminate(
    cp: CrossProducts, L: Sequence[FloatArray], lead: LeadingMap | None = None, *, indefinite: bool = False
) -> Elimination:
    """Eliminate all random effects of the chain and factorize the rest.

    Parameters
    ----------
    cp : CrossProducts
    L : sequence of ndarray, shapes (k_i, k_i)
        Relative covariance factor of each block of the structure.
    lead : LeadingMap, optional
        Needed with sparse storage.
    indefinite : bool
        Whether weights may be negative, so that an A_j with a negative eigenvalue is meant and not rounding.
    """
    structure = cp.structure
    A, P, C, W, S = list(cp.A), dict(cp.P), list(cp.C), [], cp.S
    log_chain = 0.0
    for i in range(structure.n_chain):
        W_i, logdet = _weights(A[i], L[i], indefinite)
        W.append(W_i)
        log_chain += logdet
        if lead is not None:
            S = lead.complement(W_i, S)
            continue
        WC = scale_blocks(W_i, C[i])
        size = structure.blocks[i].size
        S = S - C[i].reshape(size, -1).T @ WC.reshape(size, -1)
        _update_ancestors(structure, i, W_i, WC, A, P, C)
    ST = scale_rest(structure, L[structure.n_chain :], S).T
    F = scale_rest(structure, L[structure.n_chain :], ST)
    m_z = structure.m_z
    F[np.arange(m_z), np.arange(m_z)] += 1.0
    R, info = lapack.dpotrf(F, lower=0, clean=1)
    ok = info == 0 and bool(np.isfinite(R[-1, -1])) and R[-1, -1] > 0.0
    return Elimination(cp, list(L), A, P, C, W, S, ST, R, log_chain, ok, lead)


def _weights(A: FloatArray, L: FloatArray, indefinite: bool) -> tuple[FloatArray, float]:
    """W = L (I + L'AL)^-1 L' for every level, shape (q, k, k), and the sum of log det(I + L'AL)."""
    if L.shape[0] == 1:
        psi = L[0, 0] * L[0, 0]
        D = 1.0 + psi * A
        return psi / D, _log_product(D)
    if L.shape[0] == 2:
        return _weights_of_two(A, L, indefinite)
    D = L.T @ A @ L
    diagonal = np.arange(L.shape[0])
    D[:, diagonal, diagonal] += 1.0
    inverse, logdet = _positive_inverse(D)
    return L @ inverse @ L.T, logdet


def _weights_of_two(A: FloatArray, L: FloatArray, indefinite: bool) -> tuple[FloatArray, float]:
    """:func:`_weights` for two columns, in sums of nonnegative terms: nothing cancels however large L is.

    With Psi = LL': W = (Psi + |Psi| adj A) / (1 + tr(Psi A) + |Psi| |A|).
    """
    psi = L @ L.T
    size = (L[0, 0] * L[1, 1]) ** 2
    a, b, c = A[:, 0, 0], A[:, 0, 1], A[:, 1, 1]
    determinant = a * c - b * b
    if not indefinite:
        determinant = np.maximum(determinant, 0.0)
    D = 1.0 + (psi[0, 0] * a + 2.0 * psi[0, 1] * b + psi[1, 1] * c) + size * determinant
    W = np.empty_like(A)
    W[:, 0, 0] = (psi[0, 0] + size * c) / D
    W[:, 1, 1] = (psi[1, 1] + size * a) / D
    W[:, 0, 1] = W[:, 1, 0] = (psi[0, 1] - size * b) / D
    return W, _log_product(D)


def _log_product(D: FloatArray) -> float:
    """Sum of the logarithms; infinity where rounding has made one of the numbers negative."""
    return float(np.log(D).sum()) if D.min() > 0.0 else math.inf


def _positive_inverse(D: FloatArray) -> tuple[FloatArray, float]:
    """Inverses of symmetric positive definite D_j >= I, shape (q, k, k), and the sum of their log determinants.

    Not a number and infinity where rounding has made a D_j indefinite: there is no deviance at such a point.
    """
    try:
        half, inverse = np.linalg.cholesky(D), np.linalg.inv(D).astype(np.float64, copy=False)
    except np.linalg.LinAlgError:
        return np.full_like(D, np.nan), math.inf
    return inverse, 2.0 * float(np.log(np.diagonal(half, axis1=1, axis2=2)).sum())


def _update_ancestors(
    structure: Structure,
    i: int,
    W: FloatArray,
    WC: FloatArray,
    A: list[FloatArray],
    P: dict[tuple[int, int], FloatArray],
    C: list[FloatArray],
) -> None:
    """Take the eliminated block i off the blocks of the chain that contain it."""
    s = structure.n_chain
    for j in range(i + 1, s):
        Pt = P[i, j].transpose(0, 2, 1)
        C[j] = C[j] - collect(structure, i, j, np.matmul(Pt, WC))
        for h in range(j, s):
            shift = collect(structure, i, j, np.matmul(Pt, scale_blocks(W, P[i, h])))
            if h == j:
                A[j] = A[j] - shift
            else:
                P[j, h] = P[j, h] - shift


def collect(structure: Structure, i: int, j: int, values: FloatArray) -> FloatArray:
    """Sum slabs of the levels of chain block i within each level of chain block j; (q_i, a, b) -> (q_j, a, b)."""
    q, slab = structure.blocks[j].q, values.shape[1:]
    if values.size == values.shape[0]:  # scalars: without the overhead of a sparse product
        sums = np.bincount(structure.parents[i, j], weights=values.reshape(-1), minlength=q)
        return sums.reshape(q, *slab).astype(np.float64, copy=False)
    out = structure.collectors[i, j] @ values.reshape(values.shape[0], -1)
    summed: FloatArray = out.reshape(q, *slab)
    return summed


def scale_rest(
    structure: Structure, rest_L: Sequence[FloatArray], M: FloatArray, *, transpose: bool = True
) -> FloatArray:
    """T'M (or T M) with T = blockdiag(I (x) L_r, I_p, 1); M of shape (m, r), returned as a new array."""
    out = np.array(M, order="C")
    for block, where, L in zip(structure.rest, structure.rest_slices, rest_L, strict=True):
        if block.k == 1:
            out[where] *= L[0, 0]
        else:
            part = out[where].reshape(block.q, block.k, -1)
            out[where] = np.matmul(L.T if transpose else L, part).reshape(block.size, -1)
    return out
