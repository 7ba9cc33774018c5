"""Solutions of (Lambda'Z'WZ Lambda + I) u = r, and X, by an elimination that is there already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import lapack

from interlace.core.factor import Elimination, collect, scale_rest
from interlace.typing import FloatArray

__all__ = ["PenalizedSystem"]


@dataclass(frozen=True)
class PenalizedSystem:
    """The matrix Lambda'Z'WZ Lambda + I, bordered by X where X has columns.

    Parameters
    ----------
    e : Elimination
        Of cross-products whose response is zero.
    """

    e: Elimination

    def solve(self, right: Sequence[FloatArray], right_x: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        """Solution (u, beta) for a right-hand side; defined at singular Lambda too.

        Parameters
        ----------
        right : sequence of ndarray, shapes (q_i, k_i)
            Of each block, in the units of u.
        right_x : ndarray, shape (p,)

        Returns
        -------
        u : list of ndarray, shapes (q_i, k_i)
        beta : ndarray, shape (p,)
        """
        e, structure = self.e, self.e.structure
        s, m_z, remains = structure.n_chain, structure.m_z, structure.m > 1
        own = list(right[:s])
        outside = np.zeros((structure.m, 1))
        for i in range(s):
            b = self._within(i, own[i]) @ e.L[i].T
            for j in range(i + 1, s):
                onto = np.matmul(e.P[i, j].transpose(0, 2, 1), b[:, :, None])
                own[j] = own[j] - collect(structure, i, j, onto)[:, :, 0] @ e.L[j]
            if remains:
                outside -= e.apply_Ct(i, b[:, :, None])
        u: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
        beta = np.empty(0)
        modes: dict[int, FloatArray] = {}
        if remains:
            scaled = scale_rest(structure, e.rest_L, outside)
            for where, r in zip(structure.rest_slices, right[s:], strict=True):
                scaled[where, 0] += r.reshape(-1)
            scaled[m_z:-1, 0] += right_x
            scaled[-1] = 0.0
            solution, _ = lapack.dpotrs(e.R, scaled, lower=0)
            beta = solution[m_z:-1, 0]
            for block, where, number in zip(structure.rest, structure.rest_slices, range(s, len(u)), strict=True):
                u[number] = solution[where].reshape(block.q, block.k)
            outside = scale_rest(structure, e.rest_L, solution, transpose=False)
        for i in reversed(range(s)):
            known = e.apply_C(i, outside) if remains else np.zeros((*own[i].shape, 1))
            for j in range(i + 1, s):
                known = known + np.matmul(e.P[i, j], modes[j][structure.parents[i, j]][:, :, None])
            u[i] = self._within(i, own[i] - known[:, :, 0] @ e.L[i])
            modes[i] = u[i] @ e.L[i].T
        return u, beta

    @cached_property
    def _inverses(self) -> list[FloatArray]:
        """(I + L'A_j L)^-1 of each chain block, shapes (q_i, k_i, k_i).

        Not a number where parameters are so extreme that there is none.
        """
        out = []
        for A, L in zip(self.e.A, self.e.L, strict=False):
            if L.shape[0] == 1:
                out.append(1.0 / (1.0 + L[0, 0] ** 2 * A))
                continue
            try:
                out.append(np.linalg.inv(L.T @ A @ L + np.eye(L.shape[0])).astype(np.float64, copy=False))
            except np.linalg.LinAlgError:
                out.append(np.full_like(A, np.nan))
        return out

    def _within(self, i: int, y: FloatArray) -> FloatArray:
        """(I + L'A_j L)^-1 y_j for every level of chain block i, shape (q, k)."""
        inverse = self._inverses[i]
        if y.shape[1] == 1:
            scalar: FloatArray = inverse[:, :, 0] * y
            return scalar
        product: FloatArray = np.matmul(inverse, y[:, :, None])[:, :, 0]
        return product
