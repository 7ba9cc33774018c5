"""Block elimination of many members at once, each at its own theta.

The formulas are those of :mod:`interlace.core.factor` with a leading axis. The response is kept apart: with F the
matrix of the rest and f = T's, the triangular factor K of F gives l = K^-1 f, r2 = yy - l'l and the solution K'^-1 l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from interlace.core.batch_small import inverse_factors, log_product, sum_products, times
from interlace.core.batch_stack import Stack, of_members
from interlace.core.structure import Structure
from interlace.core.terms import Block
from interlace.typing import FloatArray, IntArray

__all__ = ["BatchElimination", "collect_stack", "eliminate_stack", "factor_stack", "scale_rest_stack", "weights_stack"]


@dataclass(frozen=True)
class BatchElimination:
    """State after the elimination of B members; arrays that all share have a leading axis of 1.

    Attributes
    ----------
    L : list of ndarray, shapes (B, k_i, k_i)
    A, P, C, c : list / dict of ndarray
        Chain blocks after the blocks before them were eliminated.
    W : list of ndarray, shapes (B, q_i, k_i, k_i)
        L D^-1 L' by level.
    S, ST : ndarray, shape (B, d, d)
        Schur complement of the chain, and that times T.
    s : ndarray, shape (B, d)
        Its column of the response.
    half : ndarray, shape (B, d, d)
        Inverse of the lower-triangular Cholesky factor of F.
    logs : ndarray, shape (B, d)
        Logarithms of the diagonal of that factor.
    solution : ndarray, shape (B, d)
        (u_rest, beta).
    pwrss, log_chain : ndarray, shape (B,)
    """

    L: list[FloatArray]
    A: list[FloatArray]
    P: dict[tuple[int, int], FloatArray]
    C: list[FloatArray]
    c: list[FloatArray]
    W: list[FloatArray]
    S: FloatArray
    ST: FloatArray
    s: FloatArray
    half: FloatArray
    logs: FloatArray
    solution: FloatArray
    pwrss: FloatArray
    log_chain: FloatArray

    def take(self, index: IntArray) -> BatchElimination:
        """Some of the members."""
        if index.size == self.pwrss.size:
            return self
        taken: dict[str, object] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, list):
                taken[f.name] = [of_members(v, index) for v in value]
            elif isinstance(value, dict):
                taken[f.name] = {key: of_members(v, index) for key, v in value.items()}
            else:
                taken[f.name] = of_members(value, index)
        return replace(self, **taken)  # type: ignore[arg-type]


def eliminate_stack(stack: Stack, theta: FloatArray) -> BatchElimination:
    """Eliminate all random effects of the chain and factorize the rest.

    Parameters
    ----------
    stack : Stack
    theta : ndarray, shape (B, n_theta)

    Returns
    -------
    BatchElimination
        Not a number where a matrix is not positive definite.
    """
    structure, pairs = stack.structure, stack.pairs
    L = [factor_stack(block, theta) for block in structure.blocks]
    A, P, C, c = list(stack.A), dict(stack.P), list(stack.C), list(stack.c)
    S, s, yy = stack.S, stack.s, stack.yy
    W: list[FloatArray] = []
    log_chain = np.zeros(stack.size)
    for i, block in enumerate(structure.chain):
        W_i, logdet = weights_stack(A[i], L[i])
        W.append(W_i)
        log_chain = log_chain + logdet
        Wc = times(W_i, c[i][..., None])
        flat = C[i].reshape(C[i].shape[0], block.size, -1)
        s = s - sum_products(flat, Wc)
        yy = yy - np.einsum("bqk,bqk->b", c[i], Wc[..., 0])
        mapped = i == 0 and pairs is not None
        if i == 0 and pairs is not None:
            S = S - (W_i.reshape(stack.size, -1) @ pairs).reshape(stack.size, *S.shape[1:])
        if structure.n_chain > 1 or not mapped:
            WC = times(W_i, C[i])
            if not mapped:
                S = S - flat.transpose(0, 2, 1) @ WC.reshape(stack.size, block.size, -1)
            _update_ancestors(structure, i, W_i, WC, Wc, A, P, C, c)
    rest_L = L[structure.n_chain :]
    ST = scale_rest_stack(structure, rest_L, S).transpose(0, 2, 1)
    F = scale_rest_stack(structure, rest_L, ST)
    m_z = structure.m_z
    F[:, np.arange(m_z), np.arange(m_z)] += 1.0
    half, logs = inverse_factors(F)
    ell = half @ scale_rest_stack(structure, rest_L, s[..., None])
    pwrss = yy - np.einsum("bdi,bdi->b", ell, ell)
    solution = (half.transpose(0, 2, 1) @ ell)[..., 0]
    return BatchElimination(L, A, P, C, c, W, S, ST, s, half, logs, solution, pwrss, log_chain)


def factor_stack(block: Block, theta: FloatArray) -> FloatArray:
    """Factors L of one block, shape (B, k, k), at parameters of shape (B, n_theta)."""
    L = np.zeros((theta.shape[0], block.k, block.k))
    L[:, block.rows, block.cols] = theta[:, block.slots]
    return L


def scale_rest_stack(
    structure: Structure, rest_L: Sequence[FloatArray], M: FloatArray, *, transpose: bool = True
) -> FloatArray:
    """T'M (or T M) for every member, as a new array; M of shape (B, d, r)."""
    if not rest_L:
        return M.copy()
    B = max(M.shape[0], rest_L[0].shape[0])
    out = np.array(np.broadcast_to(M, (B, *M.shape[1:])), order="C")
    for block, where, L in zip(structure.rest, structure.rest_slices, rest_L, strict=True):
        if block.k == 1:
            out[:, where] *= L
        else:
            part = out[:, where].reshape(B, block.q, block.k, -1)
            turned = L.transpose(0, 2, 1) if transpose else L
            out[:, where] = (turned[:, None] @ part).reshape(B, block.size, -1)
    return out


def collect_stack(structure: Structure, i: int, j: int, values: FloatArray) -> FloatArray:
    """Sum slabs of the levels of chain block i within each level of block j; (B, q_i, a, b) to (B, q_j, a, b)."""
    parent = structure.parents[i, j]
    order = np.argsort(parent, kind="stable")
    starts = np.searchsorted(parent[order], np.arange(structure.blocks[j].q))
    return np.asarray(np.add.reduceat(values[:, order], starts, axis=1))


def weights_stack(A: FloatArray, L: FloatArray) -> tuple[FloatArray, FloatArray]:
    """W = L (I + L'AL)^-1 L', shape (B, q, k, k), and the sums of log det over levels; see `factor.eliminate`."""
    k = L.shape[1]
    if k == 1:
        psi = (L * L)[:, None]
        D = 1.0 + psi * A
        return psi / D, log_product(D[:, :, 0, 0])
    if k == 2:
        return _weights_of_two(A, L)
    L_j = L[:, None]
    D = L_j.transpose(0, 1, 3, 2) @ A @ L_j
    diagonal = np.arange(k)
    D[..., diagonal, diagonal] += 1.0
    flat = D.reshape(-1, k, k)
    half, logs = inverse_factors(flat)
    root = L_j @ half.transpose(0, 2, 1).reshape(D.shape)
    return root @ root.transpose(0, 1, 3, 2), 2.0 * logs.reshape(D.shape[0], -1).sum(axis=1)


def _weights_of_two(A: FloatArray, L: FloatArray) -> tuple[FloatArray, FloatArray]:
    """In sums of nonnegative terms: nothing cancels however large L is; see `factor.eliminate`."""
    psi = L @ L.transpose(0, 2, 1)
    size = (L[:, 0, 0] * L[:, 1, 1])[:, None] ** 2
    a, b, c = A[..., 0, 0], A[..., 0, 1], A[..., 1, 1]
    determinant = np.maximum(a * c - b * b, 0.0)
    first, mixed, second = psi[:, 0, 0, None], psi[:, 0, 1, None], psi[:, 1, 1, None]
    # tr(L'AL), with the middle term inside the squares of the columns of L.
    l0, l1, l2 = L[:, 0, 0, None], L[:, 1, 0, None], L[:, 1, 1, None]
    trace = (a * l0 + b * l1) * l0 + (b * l0 + c * l1) * l1 + c * l2 * l2
    D = 1.0 + trace + size * determinant
    W = np.empty((*D.shape, 2, 2))
    W[..., 0, 0] = (first + size * c) / D
    W[..., 1, 1] = (second + size * a) / D
    W[..., 0, 1] = W[..., 1, 0] = (mixed - size * b) / D
    return W, log_product(D)


def _update_ancestors(
    structure: Structure,
    i: int,
    W: FloatArray,
    WC: FloatArray,
    Wc: FloatArray,
    A: list[FloatArray],
    P: dict[tuple[int, int], FloatArray],
    C: list[FloatArray],
    c: list[FloatArray],
) -> None:
    """Take the eliminated block i off the blocks of the chain that contain it."""
    s = structure.n_chain
    for j in range(i + 1, s):
        Pt = P[i, j].transpose(0, 1, 3, 2)
        C[j] = C[j] - collect_stack(structure, i, j, Pt @ WC)
        c[j] = c[j] - collect_stack(structure, i, j, Pt @ Wc)[..., 0]
        for h in range(j, s):
            shift = collect_stack(structure, i, j, Pt @ times(W, P[i, h]))
            if h == j:
                A[j] = A[j] - shift
            else:
                P[j, h] = P[j, h] - shift
