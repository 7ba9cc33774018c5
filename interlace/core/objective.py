"""Profiled ML deviance and REML criterion of a linear mixed model, with exact derivatives.

    ML:   d = log|D| + log|F_22| + N (1 + log(2 pi r2 / N)) - sum log w,   N = n
    REML: d = log|D| + log|F_2X| + N (1 + log(2 pi r2 / N)) - sum log w,   N = n - p

D collects the chain blocks, F the rest (see :mod:`interlace.core.factor`) and r2 is the penalized residual sum of
squares (Bates et al., 2015, eqs. 34 and 39). The gradient comes from the symmetric matrices

    G_Psi = sum over levels of [Z'PZ]_ll - (N / r2) a_l a_l',   a = Z'Py,

one k x k matrix per block (Z'V^-1 Z in place of Z'PZ for ML): dd/dL = 2 G_Psi L. At L = 0 the gradient vanishes
whatever the data, so an optimum on the boundary is proved by G_Psi being positive semidefinite, not by the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.linalg import lapack

from interlace.core.crossproducts import CrossProducts
from interlace.core.factor import Elimination, collect, eliminate, scale_rest
from interlace.core.schur import scale_blocks
from interlace.core.small import diagonal_blocks
from interlace.core.structure import Structure
from interlace.core.weighted import leading_map
from interlace.typing import FloatArray

__all__ = [
    "NOISE",
    "Derivatives",
    "Objective",
    "ProfiledDeviance",
    "chain_products",
    "directions",
    "forward",
    "psi_from_factor",
    "psi_gradient",
    "rest_traces",
    "shrink",
]


@dataclass
class Derivatives:
    """First derivatives at one theta.

    Attributes
    ----------
    gradient : ndarray, shape (n_theta,)
    dL : list of ndarray, shapes (k_i, k_i)
        2 G_Psi L of each block, all entries.
    a : list of ndarray, shapes (q_i, k_i)
        Z'Py by level.
    psi : list of ndarray, shapes (k_i, k_i)
        G_Psi of the chain blocks; those of the rest cost a triangular solve and are added on demand.
    """

    gradient: FloatArray
    dL: list[FloatArray]
    a: list[FloatArray]
    psi: list[FloatArray]


#: Rounding noise of a deviance, relative to the size of the terms that it is the sum of.
NOISE = 2e-14
#: Penalized residual sum of squares, relative to that of the response, that is nothing but rounding.
_VANISHED = 1e-13


class _Solved(Protocol):
    """What an elimination says of the residuals."""

    @property
    def pwrss(self) -> float:
        """Penalized weighted residual sum of squares."""


class ProfiledDeviance:
    """What is known of a deviance from which beta and sigma are profiled, however it is computed.

    Attributes
    ----------
    cp : CrossProducts
    N : int
        n, or n - p for REML.
    """

    cp: CrossProducts
    N: int

    def psi_weight(self, e: _Solved) -> float:
        """Factor of a'a in the second derivative by Psi, 1 / sigma^2."""
        return self.N / e.pwrss

    def noise(self, value: float) -> float:
        """Rounding noise of the deviance."""
        return NOISE * (10.0 * self.N + abs(value))

    def lost(self, e: _Solved) -> float:
        """Rounding noise where the residual sum of squares is what little is left of that of the response."""
        return float(self.N * np.finfo(float).eps * self.cp.S[-1, -1] / e.pwrss) if e.pwrss > 0.0 else 0.0

    def vanished(self, e: _Solved) -> bool:
        """Whether the residual variance is nothing but rounding."""
        return bool(e.pwrss <= _VANISHED * self.cp.S[-1, -1])


class Objective(ProfiledDeviance):
    """Profiled deviance as a function of theta, on fixed cross-products.

    Parameters
    ----------
    cp : CrossProducts
    reml : bool

    Attributes
    ----------
    N : int
        n, or n - p for REML.
    evaluations : int
        Eliminations so far.
    """

    def __init__(self, cp: CrossProducts, *, reml: bool) -> None:
        self.cp = cp
        self.reml = reml
        self.structure = cp.structure
        self.N = cp.n - (cp.structure.p if reml else 0)
        self.evaluations = 0
        #: Rows and columns of F whose determinant counts: the random effects, and X for REML.
        self._count = cp.structure.m - 1 if reml else cp.structure.m_z
        self._lead = leading_map(cp)

    def at(self, theta: FloatArray) -> Elimination:
        """Elimination at ``theta``."""
        self.evaluations += 1
        return eliminate(self.cp, self.structure.factors(theta), self._lead)

    def value(self, e: Elimination) -> float:
        """Deviance or REML criterion of an elimination; infinity where it is not defined."""
        if not e.ok:
            return math.inf
        fit = self.N * (1.0 + math.log(2.0 * math.pi * e.pwrss / self.N))
        return e.log_chain + e.rest_logdet(self._count) + fit - self.cp.log_weights

    def __call__(self, theta: FloatArray) -> float:
        """Value at ``theta``."""
        return self.value(self.at(theta))

    def derivatives(self, e: Elimination) -> Derivatives:
        """Gradient with respect to theta, and what the Hessian needs."""
        structure, s = self.structure, self.structure.n_chain
        weight = self.N / e.pwrss
        v = e.contrast
        Tv = scale_rest(structure, e.rest_L, v[:, None], transpose=False)
        G = e.padded_inverse(self._count)
        dL: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
        a: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
        TGT = e.congruence(G)
        psi = []
        for i, (K, c) in enumerate(chain_products(e, TGT, Tv)):
            H = shrink(e, i)
            a[i] = scale_blocks(H, c)[:, :, 0]
            psi.append(psi_gradient(e, i, H, K, a[i], weight))
            dL[i] = 2.0 * psi[i] @ e.L[i]
        residual = e.ST @ v
        for block, where, r in zip(structure.rest, structure.rest_slices, range(s, len(structure.blocks)), strict=True):
            a[r] = residual[where].reshape(block.q, block.k)
            dL[r] = 2.0 * (
                _block_trace(e.ST[where], G[where], block.k) + weight * a[r].T @ v[where].reshape(a[r].shape)
            )
        gradient = np.zeros(structure.n_theta)
        for block, D in zip(structure.blocks, dL, strict=True):
            gradient[block.slots] = D[block.rows, block.cols]
        return Derivatives(gradient, dL, a, psi)

    def psi_gradients(self, e: Elimination, d: Derivatives) -> list[FloatArray]:
        """G_Psi of every block, symmetric (k_i, k_i); exact at singular L too."""
        if len(d.psi) < len(self.structure.blocks):
            weight = self.N / e.pwrss
            of_rest = zip(rest_traces(e, self._count), d.a[self.structure.n_chain :], strict=True)
            d.psi.extend(trace - weight * a.T @ a for trace, a in of_rest)
        return d.psi

    def information(self, e: Elimination, d: Derivatives) -> FloatArray:
        """Approximate Hessian in theta, shape (n_theta, n_theta).

        Average information (Gilmour, Thompson and Cullis, 1995, Biometrics 51, 1440-1450) for the part that is
        quadratic in dV/dtheta, plus the exact term in the second derivatives of V.
        """
        structure = self.structure
        sigma2 = e.pwrss / self.N
        h = directions(structure, e.L, d.a)
        H = self._projected(e, h) / sigma2
        g = np.empty(structure.n_theta)
        for i, (block, L, a) in enumerate(zip(structure.blocks, e.L, d.a, strict=True)):
            g[block.slots] = 2.0 * (a.T @ (a @ L))[block.rows, block.cols]
            same = block.cols[:, None] == block.cols
            psi = self._psi_of(e, d, i)
            H[block.slots[:, None], block.slots] += 2.0 * same * psi[block.rows[:, None], block.rows]
        H -= g[:, None] * g / (sigma2 * sigma2 * self.N)
        return 0.5 * (H + H.T)

    def _psi_of(self, e: Elimination, d: Derivatives, i: int) -> FloatArray:
        """G_Psi of one block; from 2 G_Psi L where that is cheaper and L can be inverted safely."""
        if i < len(d.psi):
            return d.psi[i]
        found = psi_from_factor(e.L[i], d.dL[i])
        return self.psi_gradients(e, d)[i] if found is None else found

    def _projected(self, e: Elimination, h: Sequence[FloatArray]) -> FloatArray:
        """Quadratic forms h'Z'PZ h in the columns of h, shape (n_theta, n_theta)."""
        structure, s = self.structure, self.structure.n_chain
        rho, rest = _times_cross(e, h)
        full = sum(
            (h[i].reshape(-1, h[i].shape[2]).T @ rho[i].reshape(-1, rho[i].shape[2]) for i in range(s)),
            start=np.zeros((structure.n_theta, structure.n_theta)),
        )
        if structure.rest:
            stacked = np.concatenate([h[r].reshape(-1, h[r].shape[2]) for r in range(s, len(structure.blocks))])
            full = full + stacked.T @ rest[: structure.m_z]
        return full - forward(e, rho, rest)


def psi_from_factor(L: FloatArray, dL: FloatArray) -> FloatArray | None:
    """G_Psi from dL = 2 G_Psi L, all (k, k); None where L cannot be inverted safely."""
    diagonal = np.abs(np.diagonal(L))
    if diagonal.min() <= 1e-3 * max(1.0, diagonal.max()):
        return None
    twice, _ = lapack.dtrtrs(L, dL.T, lower=1, trans=1)
    return np.asarray(0.25 * (twice + twice.T))


def rest_traces(e: Elimination, count: int) -> list[FloatArray]:
    """Sums over levels of S_ll - S_l T F^-1 T'S_l for the rest blocks, F its leading ``count`` rows; (k_i, k_i)."""
    if not e.structure.rest:
        return []
    Y, _ = lapack.dtrtrs(e.R[:count, :count], e.ST.T[:count, : e.structure.m_z], trans=1)
    out = []
    for block, where in zip(e.structure.rest, e.structure.rest_slices, strict=True):
        Y_r = Y[:, where].reshape(count * block.q, block.k)
        out.append(diagonal_blocks(e.S[where, where], block.q, block.k).sum(axis=0) - Y_r.T @ Y_r)
    return out


def shrink(e: Elimination, i: int) -> FloatArray:
    """(I + A_j Psi)^-1 = I - A_j W_j for every level, shape (q, k, k)."""
    A, L = e.A[i], e.L[i]
    if L.shape[0] == 1:
        ratio: FloatArray = 1.0 / (1.0 + L[0, 0] * L[0, 0] * A)
        return ratio
    H: FloatArray = -np.matmul(A, e.W[i])
    diagonal = np.arange(L.shape[0])
    H[:, diagonal, diagonal] += 1.0
    return H


def psi_gradient(e: Elimination, i: int, H: FloatArray, K: FloatArray, a: FloatArray, weight: float) -> FloatArray:
    """G_Psi of chain block i from H = (I + A Psi)^-1, the products K of :func:`chain_products`, and a."""
    if H.shape[1] == 1:
        total = (H * (e.A[i] - K * H)).sum(axis=0) - weight * (a.T @ a)
    else:
        total = np.matmul(H, e.A[i] - np.matmul(K, H.transpose(0, 2, 1))).sum(axis=0) - weight * (a.T @ a)
    symmetric: FloatArray = 0.5 * (total + total.T)
    return symmetric


def chain_products(e: Elimination, TGT: FloatArray, Tv: FloatArray) -> list[tuple[FloatArray, FloatArray]]:
    """For every chain block: K_j = C_j N C_j' and c_j = C_j v, with all that contains the level eliminated.

    N is the inverse of what remains after the block: the chain blocks above it and the rest, whose own inverse is
    ``TGT``. Going up the chain, the row of a level onto each containing level is replaced by what is left of it.

    Returns
    -------
    list of (ndarray (q_i, k_i, k_i), ndarray (q_i, k_i, 1))
    """
    structure, s = e.structure, e.structure.n_chain
    out = []
    for i in range(s):
        if e.lead is not None:
            out.append((e.lead.adjoint(TGT), e.lead.times(Tv)))
            continue
        block = structure.blocks[i]
        row = e.C[i]
        onto = {j: e.P[i, j] for j in range(i + 1, s)}
        K = np.zeros((block.q, block.k, block.k))
        for j in range(i + 1, s):
            parent = structure.parents[i, j]
            XW = np.matmul(onto[j], e.W[j][parent])
            K += np.matmul(XW, onto[j].transpose(0, 2, 1))
            row = row - np.matmul(XW, e.C[j][parent])
            for h in range(j + 1, s):
                onto[h] = onto[h] - np.matmul(XW, e.P[j, h][parent])
        flat = row.reshape(block.size, -1)
        K += np.matmul((flat @ TGT).reshape(row.shape), row.transpose(0, 2, 1))
        out.append((K, (flat @ Tv).reshape(block.q, block.k, 1)))
    return out


def _block_trace(M: FloatArray, G: FloatArray, k: int) -> FloatArray:
    """Sum over levels l of M_l G_l' for the k-row slabs of two (q k, m) matrices; shape (k, k)."""
    m = M.shape[1]
    if k == 1:
        return np.array([[float(np.vdot(M, G))]])
    left = M.reshape(-1, k, m).transpose(1, 0, 2).reshape(k, -1)
    right = G.reshape(-1, k, m).transpose(1, 0, 2).reshape(k, -1)
    product: FloatArray = left @ right.T
    return product


def directions(structure: Structure, L: Sequence[FloatArray], a: Sequence[FloatArray]) -> list[FloatArray]:
    """h_s = (L_s L' + L L_s') a of each theta s, by block; shapes (q_i, k_i, n_theta)."""
    out = []
    for block, L_i, a_i in zip(structure.blocks, L, a, strict=True):
        h = np.zeros((block.q, block.k, structure.n_theta))
        if block.k == 1:  # half of the time of a small fit's Hessian goes into fancy indices
            h[:, :, block.slots[0]] = a_i * (2.0 * L_i[0, 0])
        else:
            h[:, :, block.slots] = a_i[:, None, block.rows] * L_i[:, block.cols]
            h[:, block.rows, block.slots] += (a_i @ L_i)[:, block.cols]
        out.append(h)
    return out


def _times_cross(e: Elimination, h: Sequence[FloatArray]) -> tuple[list[FloatArray], FloatArray]:
    """Cross-products of Z h with everything: chain slabs (q_i, k_i, r), and the rest (m, r)."""
    structure, s, cp = e.structure, e.structure.n_chain, e.cp
    m, r = structure.m, h[0].shape[2]
    tail = np.zeros((m, r))
    for where, number in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        tail[where] = h[number].reshape(-1, r)
    rho, rest = [], cp.S[:, : structure.m_z] @ tail[: structure.m_z]
    for i, block in enumerate(structure.chain):
        own = scale_blocks(cp.A[i], h[i])
        if e.lead is not None:
            own = own + e.lead.times(tail)
            rest = rest + e.lead.transposed(h[i])
        else:
            C = cp.C[i].reshape(block.size, -1)
            if structure.rest:
                own = own + (C[:, : structure.m_z] @ tail[: structure.m_z]).reshape(own.shape)
            rest = rest + C.T @ h[i].reshape(block.size, r)
        rho.append(own)
    for (i, j), P in cp.P.items():
        rho[i] = rho[i] + np.matmul(P, h[j][structure.parents[i, j]])
        rho[j] = rho[j] + collect(structure, i, j, np.matmul(P.transpose(0, 2, 1), h[i]))
    return rho, rest


def forward(e: Elimination, rho: Sequence[FloatArray], rest: FloatArray) -> FloatArray:
    """Quadratic form rho' M rho in the inverse M of the penalized system over (Z, X), by forward elimination.

    Parameters
    ----------
    e : Elimination
    rho : sequence of ndarray, shapes (q_i, k_i, r)
        Chain part of r right-hand sides.
    rest : ndarray, shape (m, r)
        Rest part; the last row (of the response) is not used.

    Returns
    -------
    ndarray, shape (r, r)
    """
    structure, s = e.structure, e.structure.n_chain
    rho, r = list(rho), rest.shape[1]
    quadratic = np.zeros((r, r))
    for i in range(s):
        Wr = scale_blocks(e.W[i], rho[i])
        quadratic += rho[i].reshape(-1, r).T @ Wr.reshape(-1, r)
        for j in range(i + 1, s):
            rho[j] = rho[j] - collect(structure, i, j, np.matmul(e.P[i, j].transpose(0, 2, 1), Wr))
        rest = rest - e.apply_Ct(i, Wr)
    n = structure.m - 1
    if n:
        scaled = scale_rest(structure, e.rest_L, rest)[:n]
        Y, _ = lapack.dtrtrs(e.R[:n, :n], scaled, trans=1)
        quadratic += Y.T @ Y
    return quadratic
