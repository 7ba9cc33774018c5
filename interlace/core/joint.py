"""Joint covariance of the conditional modes and the fixed effects, on the pairs of levels that rows can bring together.

The inverse of the penalized system over (Z, X) is dense, but a row meets one level of each block. Top-down through the
chain, what is needed of it is kept by level. With b_i = -W_i (sum_j P_ij b_j + C_i r) + noise of covariance W_i, where
j runs over the chain blocks above i and r holds the rest and beta,

    N_iR = -W_i (sum_j P_ij N_jR + C_i N_RR),   N_ih = -W_i (sum_j P_ij N_jh + C_i N_Rh),
    N_ii = W_i - (sum_j N_ij P_ij' + N_iR C_i') W_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from interlace.core.factor import Elimination
from interlace.core.schur import scale_blocks
from interlace.typing import FloatArray, IntArray

__all__ = ["JointCovariance", "joint_covariance"]


@dataclass(frozen=True)
class JointCovariance:
    """Blocks of the joint covariance relative to sigma^2.

    Attributes
    ----------
    e : Elimination
    own : list of ndarray, shapes (q_i, k_i, k_i)
        Chain blocks, by level.
    above : dict of (int, int) to ndarray, shape (q_i, k_i, k_h)
        Chain blocks i < h: a level with the level that contains it.
    to_rest : list of ndarray, shapes (q_i, k_i, m - 1)
        Chain blocks with the rest and beta.
    rest : ndarray, shape (m - 1, m - 1)
        The rest and beta.
    """

    e: Elimination
    own: list[FloatArray]
    above: dict[tuple[int, int], FloatArray]
    to_rest: list[FloatArray]
    rest: FloatArray

    def quadratic_forms(self, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
        """Variance of x'beta + z'(b_hat - b) per row; levels of a row lie within each other as in the fit.

        Parameters
        ----------
        X : ndarray, shape (n, p)
        Z : sequence of ndarray, shapes (n, k_i)
            Per block of the structure.
        codes : sequence of ndarray of int64, shapes (n,)
            Level of each row; -1 where the block does not enter.
        """
        s = self.e.structure.n_chain
        levels = [np.maximum(c, 0) for c in codes]
        z = [np.where((c >= 0)[:, None], Z_i, 0.0) for Z_i, c in zip(Z, codes, strict=True)]
        columns, values = self._rest_entries(X, z, levels)
        total = np.zeros(X.shape[0])
        for a, (column_a, value_a) in enumerate(zip(columns, values, strict=True)):
            for b in range(a, len(columns)):
                factor = 1.0 if a == b else 2.0
                total += factor * value_a * values[b] * self.rest[column_a, columns[b]]
        for i in range(s):
            total += np.einsum("na,nab,nb->n", z[i], self.own[i][levels[i]], z[i])
            for h in range(i + 1, s):
                total += 2.0 * np.einsum("na,nab,nb->n", z[i], self.above[i, h][levels[i]], z[h])
            for column, value in zip(columns, values, strict=True):
                total += 2.0 * value * np.einsum("na,na->n", z[i], self.to_rest[i][levels[i], :, column])
        return total

    def _rest_entries(
        self, X: FloatArray, z: Sequence[FloatArray], levels: Sequence[IntArray]
    ) -> tuple[list[IntArray], list[FloatArray]]:
        """Columns of the rest, and the values there, that make up each row."""
        structure, s = self.e.structure, self.e.structure.n_chain
        columns, values = [], []
        for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
            block = structure.blocks[r]
            for a in range(block.k):
                columns.append(where.start + levels[r] * block.k + a)
                values.append(z[r][:, a])
        for j in range(X.shape[1]):
            columns.append(np.full(X.shape[0], structure.m_z + j, dtype=np.int64))
            values.append(X[:, j])
        return columns, values


def joint_covariance(e: Elimination, *, given_beta: FloatArray | None = None) -> JointCovariance:
    """Blocks of the joint covariance from an elimination.

    Parameters
    ----------
    e : Elimination
    given_beta : ndarray, shape (m, m), optional
        Covariance of the rest when beta is known, with zeros for all else; the uncertainty of beta is left out then.

    Returns
    -------
    JointCovariance
    """
    structure, s = e.structure, e.structure.n_chain
    n = structure.m - 1
    whole = e.congruence(e.padded_inverse(n)) if given_beta is None else given_beta
    rest = whole[:n, :n]
    padded = np.zeros((structure.m, n))
    padded[:n] = rest
    own: list[FloatArray] = [np.empty(0)] * s
    to_rest: list[FloatArray] = [np.empty(0)] * s
    above: dict[tuple[int, int], FloatArray] = {}
    for i in reversed(range(s)):
        ancestors = [(j, structure.parents[i, j]) for j in range(i + 1, s)]
        pull = e.apply_C(i, padded)
        for j, parent in ancestors:
            pull = pull + np.matmul(e.P[i, j], to_rest[j][parent])
        to_rest[i] = -scale_blocks(e.W[i], pull)
        for h, parent_h in ancestors:
            pull = _times_rest(e, i, to_rest[h][parent_h])
            for j, parent in ancestors:
                pull = pull + np.matmul(e.P[i, j], _between(own, above, j, h, parent, parent_h))
            above[i, h] = -scale_blocks(e.W[i], pull)
        reduced = _times_rest(e, i, to_rest[i])
        for j, _ in ancestors:
            reduced = reduced + np.matmul(e.P[i, j], above[i, j].transpose(0, 2, 1))
        own[i] = e.W[i] - np.matmul(e.W[i], reduced)
    return JointCovariance(e, own, above, to_rest, rest)


def _times_rest(e: Elimination, i: int, N: FloatArray) -> FloatArray:
    """C_j N_j' for every level of chain block i; N of shape (q_i, k, m - 1), result (q_i, k_i, k)."""
    if e.lead is not None:
        return e.lead.times_each(N)
    product: FloatArray = np.matmul(e.C[i][:, :, :-1], N.transpose(0, 2, 1))
    return product


def _between(
    own: list[FloatArray],
    above: dict[tuple[int, int], FloatArray],
    j: int,
    h: int,
    in_j: IntArray,
    in_h: IntArray,
) -> FloatArray:
    """Covariance of the levels of chain blocks j and h that contain each level below, shape (q, k_j, k_h)."""
    if j == h:
        return own[j][in_j]
    if j < h:
        return above[j, h][in_j]
    return above[h, j][in_h].transpose(0, 2, 1)
