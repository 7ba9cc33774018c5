"""Profiled deviances of many members at once, with exact derivatives.

The formulas are those of :mod:`interlace.core.objective`, with a leading axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interlace.core.batch_factor import BatchElimination, collect_stack, eliminate_stack, scale_rest_stack
from interlace.core.batch_small import gram, times, times_vector
from interlace.core.batch_stack import Stack
from interlace.core.objective import NOISE
from interlace.core.structure import Structure
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["BatchObjective", "BatchSlopes"]


@dataclass(frozen=True)
class BatchSlopes:
    """First derivatives.

    Attributes
    ----------
    gradient : ndarray, shape (B, n_theta)
    psi : list of ndarray, shapes (B, k_i, k_i)
        G_Psi of each block.
    a : list of ndarray, shapes (B, q_i, k_i)
        Z'Py by level.
    """

    gradient: FloatArray
    psi: list[FloatArray]
    a: list[FloatArray]


class BatchObjective:
    """Profiled deviances of the members of a stack.

    Parameters
    ----------
    stack : Stack
    reml : bool

    Attributes
    ----------
    N : ndarray, shape (B,)
        Rows, less p for REML.
    """

    def __init__(self, stack: Stack, *, reml: bool) -> None:
        self.stack = stack
        self.reml = reml
        self.structure = stack.structure
        self.N = (stack.n - (self.structure.p if reml else 0)).astype(np.float64)
        self._count = stack.S.shape[1] if reml else self.structure.m_z

    def take(self, index: IntArray) -> BatchObjective:
        """Some members, any of them several times."""
        return BatchObjective(self.stack.take(index), reml=self.reml)

    def at(self, theta: FloatArray) -> BatchElimination:
        """Elimination at ``theta``, shape (B, n_theta)."""
        return eliminate_stack(self.stack, theta)

    def value(self, e: BatchElimination) -> FloatArray:
        """Deviances or REML criteria, shape (B,); infinity where they are not defined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            fit = self.N * (1.0 + np.log(2.0 * np.pi * e.pwrss / self.N))
            total = e.log_chain + 2.0 * e.logs[:, : self._count].sum(axis=1) + fit - self.stack.log_weights
        return np.where(np.isfinite(total) & (e.pwrss > 0.0), total, np.inf)

    def noise(self, value: FloatArray) -> FloatArray:
        """Rounding noise of each deviance."""
        return np.asarray(NOISE * (10.0 * self.N + np.abs(value)))

    def lost(self, e: BatchElimination) -> FloatArray:
        """Rounding noise where what is left of a response is small beside it."""
        return np.asarray(self.N * np.finfo(float).eps * self.stack.yy / e.pwrss)

    def vanished(self, e: BatchElimination) -> BoolArray:
        """Whether the residual variance is nothing but rounding."""
        return np.asarray(e.pwrss <= 1e-13 * self.stack.yy)

    def inverse(self, e: BatchElimination, count: int) -> FloatArray:
        """Inverse of the leading ``count`` rows and columns of F, padded with zeros, shape (B, d, d)."""
        d = e.half.shape[1]
        if count == d:
            return e.half.transpose(0, 2, 1) @ e.half
        G = np.zeros(e.half.shape)
        lead = e.half[:, :count, :count]
        G[:, :count, :count] = lead.transpose(0, 2, 1) @ lead
        return G

    def slopes(self, e: BatchElimination) -> BatchSlopes:
        """Gradients with respect to theta and Psi."""
        structure, s = self.structure, self.structure.n_chain
        weight = self.N / e.pwrss
        rest_L = e.L[s:]
        G = self.inverse(e, self._count)
        half = scale_rest_stack(structure, rest_L, G, transpose=False)
        TGT = scale_rest_stack(structure, rest_L, half.transpose(0, 2, 1), transpose=False)
        Tv = -scale_rest_stack(structure, rest_L, e.solution[..., None], transpose=False)
        psi, a = [], []
        for i, (K, c) in enumerate(self._chain_products(e, TGT, Tv)):
            H = _shrink(e.A[i], e.W[i])
            a.append(times(H, c)[..., 0])
            psi.append(_psi_gradient(e.A[i], H, K) - _squares(a[i], weight))
        if structure.rest:
            residual = e.s - np.einsum("bij,bj->bi", e.ST, e.solution)
            Y = e.half[:, : self._count, : self._count] @ e.ST[:, : structure.m_z, : self._count].transpose(0, 2, 1)
            for block, where in zip(structure.rest, structure.rest_slices, strict=True):
                a.append(residual[:, where].reshape(-1, block.q, block.k))
                psi.append(_rest_trace(e.S, Y, where, block.q, block.k) - _squares(a[-1], weight))
        gradient = np.zeros((e.pwrss.size, structure.n_theta))
        for block, G_psi, L in zip(structure.blocks, psi, e.L, strict=True):
            gradient[:, block.slots] = 2.0 * (G_psi @ L)[:, block.rows, block.cols]
        return BatchSlopes(gradient, psi, a)

    def _chain_products(
        self, e: BatchElimination, TGT: FloatArray, Tv: FloatArray
    ) -> list[tuple[FloatArray, FloatArray]]:
        """C_j N C_j' and C_j v of every level of each chain block; see `objective.chain_products`."""
        structure, s = self.structure, self.structure.n_chain
        B, out = e.pwrss.size, []
        for i in range(s):
            block = structure.blocks[i]
            if s == 1 and self.stack.pairs is not None:
                K = (TGT.reshape(B, -1) @ self.stack.pairs.T).reshape(B, block.q, block.k, block.k)
                out.append((K, times_vector(e.C[i], Tv) + e.c[i][..., None]))
                continue
            row, response = e.C[i], e.c[i][..., None]
            onto = {j: e.P[i, j] for j in range(i + 1, s)}
            K = np.zeros((B, block.q, block.k, block.k))
            for j in range(i + 1, s):
                parent = structure.parents[i, j]
                XW = onto[j] @ e.W[j][:, parent]
                K += XW @ onto[j].transpose(0, 1, 3, 2)
                row = row - XW @ e.C[j][:, parent]
                response = response - XW @ e.c[j][:, parent][..., None]
                for h in range(j + 1, s):
                    onto[h] = onto[h] - XW @ e.P[j, h][:, parent]
            flat = row.reshape(row.shape[0], block.size, -1)
            K += (flat @ TGT).reshape(B, block.q, block.k, -1) @ row.transpose(0, 1, 3, 2)
            out.append((K, (flat @ Tv).reshape(B, block.q, block.k, 1) + response))
        return out

    def information(self, e: BatchElimination, d: BatchSlopes) -> FloatArray:
        """Average information plus the term in the second derivatives of V, shape (B, n_theta, n_theta)."""
        structure = self.structure
        sigma2 = e.pwrss / self.N
        h = _directions(structure, e.L, d.a)
        H = self._projected(e, h) / sigma2[:, None, None]
        g = np.empty((e.pwrss.size, structure.n_theta))
        for block, L, a, psi in zip(structure.blocks, e.L, d.a, d.psi, strict=True):
            g[:, block.slots] = 2.0 * (a.transpose(0, 2, 1) @ (a @ L))[:, block.rows, block.cols]
            same = block.cols[:, None] == block.cols
            H[:, block.slots[:, None], block.slots] += 2.0 * same * psi[:, block.rows[:, None], block.rows]
        H -= g[:, :, None] * g[:, None, :] / (sigma2 * sigma2 * self.N)[:, None, None]
        return 0.5 * (H + H.transpose(0, 2, 1))

    def _projected(self, e: BatchElimination, h: Sequence[FloatArray]) -> FloatArray:
        """Quadratic forms h'Z'PZ h, shape (B, n_theta, n_theta)."""
        structure, s = self.structure, self.structure.n_chain
        rho, rest, tail = self._times_cross(h)
        full = tail.transpose(0, 2, 1) @ rest
        for i in range(s):
            full = full + gram(h[i], rho[i])
        for i, block in enumerate(structure.chain):
            Wr = times(e.W[i], rho[i])
            full = full - gram(rho[i], Wr)
            for j in range(i + 1, s):
                rho[j] = rho[j] - collect_stack(structure, i, j, e.P[i, j].transpose(0, 1, 3, 2) @ Wr)
            flat = e.C[i].reshape(e.C[i].shape[0], block.size, -1)
            rest = rest - flat.transpose(0, 2, 1) @ Wr.reshape(Wr.shape[0], block.size, -1)
        Y = e.half @ scale_rest_stack(structure, e.L[s:], rest)
        return np.asarray(full - Y.transpose(0, 2, 1) @ Y)

    def _times_cross(self, h: Sequence[FloatArray]) -> tuple[list[FloatArray], FloatArray, FloatArray]:
        """Cross-products of Z h with the chain (B, q_i, k_i, r) and the rest (B, d, r), and the rest part of h."""
        stack, structure, s = self.stack, self.structure, self.structure.n_chain
        B, r = h[0].shape[0], h[0].shape[3]
        tail = np.zeros((B, stack.S.shape[1], r))
        for where, values in zip(structure.rest_slices, h[s:], strict=True):
            tail[:, where] = values.reshape(B, -1, r)
        rest: FloatArray = stack.S @ tail if structure.rest else np.zeros(tail.shape)
        rho = []
        for i, block in enumerate(structure.chain):
            own = times(stack.A[i], h[i])
            flat = stack.C[i].reshape(stack.C[i].shape[0], block.size, -1)
            if structure.rest:
                own = own + (flat @ tail).reshape(own.shape)
            rest = rest + flat.transpose(0, 2, 1) @ h[i].reshape(B, block.size, r)
            rho.append(own)
        for (i, j), P in stack.P.items():
            rho[i] = rho[i] + P @ h[j][:, structure.parents[i, j]]
            rho[j] = rho[j] + collect_stack(structure, i, j, P.transpose(0, 1, 3, 2) @ h[i])
        return rho, rest, tail


def _squares(a: FloatArray, weight: FloatArray) -> FloatArray:
    """Weight times a'a, shape (B, k, k)."""
    return np.asarray(weight[:, None, None] * (a.transpose(0, 2, 1) @ a))


def _shrink(A: FloatArray, W: FloatArray) -> FloatArray:
    """(I + A_j Psi)^-1 = I - A_j W_j."""
    H = -times(A, W)
    diagonal = np.arange(W.shape[-1])
    H[..., diagonal, diagonal] += 1.0
    return H


def _psi_gradient(A: FloatArray, H: FloatArray, K: FloatArray) -> FloatArray:
    """Sum over levels of H (A - K H'), symmetric (B, k, k)."""
    total = times(H, A - times(K, H.transpose(0, 1, 3, 2))).sum(axis=1)
    return np.asarray(0.5 * (total + total.transpose(0, 2, 1)))


def _rest_trace(S: FloatArray, Y: FloatArray, where: slice, q: int, k: int) -> FloatArray:
    """Sum over levels of S_ll - Y_l'Y_l of one rest block, shape (B, k, k)."""
    level = np.arange(q)
    own = S[:, where, where].reshape(-1, q, k, q, k)[:, level, :, level, :].sum(axis=0)
    columns = Y[:, :, where].reshape(Y.shape[0], -1, k)
    return np.asarray(own - columns.transpose(0, 2, 1) @ columns)


def _directions(structure: Structure, L: Sequence[FloatArray], a: Sequence[FloatArray]) -> list[FloatArray]:
    """h_s = (L_s L' + L L_s') a of each theta s, by block; shapes (B, q_i, k_i, n_theta)."""
    out = []
    for block, L_i, a_i in zip(structure.blocks, L, a, strict=True):
        h = np.zeros((*a_i.shape, structure.n_theta))
        h[..., block.slots] = a_i[..., block.rows][:, :, None] * L_i[..., block.cols][:, None]
        h[:, :, block.rows, block.slots] += (a_i @ L_i)[..., block.cols]
        out.append(h)
    return out
