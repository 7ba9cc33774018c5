"""How the marginal covariance answers to changes of its parameters: traces and quadratic forms of second order.

With V = I + sum_i Z_i (I x Psi_i) Z_i' (relative to sigma^2), P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1 and directions
G_r = Z_i (I x E_r) Z_i', Satterthwaite's and Kenward and Roger's methods need

    tr(P G_r), tr(P G_r P G_s), X'V^-1 G_r V^-1 X, and h'Z'P Z h of given h.

All of it comes from the blocks of one elimination with a single leading term 1: H_l = (I + A_l Psi_1)^-1,
N_l = H_l A_l, K_l = H_l C_l with C the products with the m other columns [Z_rest | X], S their Schur complement, and G
the inverse of what remains, padded with zeros for X where V^-1 is wanted instead of P (ML). With J = I - G S,

    Z_l'P Z_l' = N_l 1{l = l'} - K_l G K_l'',   Z_l'P Z_rest = K_l J,   Z_rest'P Z_rest = S J.

No matrix has the rows of the data as an edge; the largest ones are m x m.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from scipy import sparse

from interlace.core.factor import Elimination
from interlace.core.objective import chain_products
from interlace.core.small import diagonal_blocks
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["Direction", "SecondOrder", "pair_trace", "psi_directions", "theta_directions"]

#: Number of a block, and a symmetric change of its Psi, shape (k_i, k_i).
Direction: TypeAlias = tuple[int, FloatArray]


def theta_directions(structure: Structure, L: Sequence[FloatArray]) -> list[Direction]:
    """Derivatives of Psi = L L' by theta, in the order of theta.

    Parameters
    ----------
    structure : Structure
    L : sequence of ndarray, shapes (k_i, k_i)
        Factor of each block.

    Returns
    -------
    list of Direction, length n_theta
    """
    out: dict[int, Direction] = {}
    for i, (block, L_i) in enumerate(zip(structure.blocks, L, strict=True)):
        for row, col, slot in zip(block.rows.tolist(), block.cols.tolist(), block.slots.tolist(), strict=True):
            E = np.zeros((block.k, block.k))
            E[row] += L_i[:, col]
            E[:, row] += L_i[:, col]
            out[slot] = (i, E)
    return [out[slot] for slot in range(structure.n_theta)]


def psi_directions(structure: Structure) -> list[Direction]:
    """Variances and covariances that the structures of the terms leave free, as unit changes of Psi."""
    out: list[Direction] = []
    for i, block in enumerate(structure.blocks):
        for row, col in zip(block.rows.tolist(), block.cols.tolist(), strict=True):
            E = np.zeros((block.k, block.k))
            E[row, col] = E[col, row] = 1.0
            out.append((i, E))
    return out


@dataclass(frozen=True)
class SecondOrder:
    """Blocks of one elimination from which everything of second order is computed.

    Attributes
    ----------
    e : Elimination
        With a single leading block.
    own : ndarray, shape (q_1, k_1, k_1)
        N of each level of the leading block.
    diagonal : ndarray, shape (q_1, k_1, k_1)
        Z_l'P Z_l of each level of the leading block.
    K : ndarray or scipy.sparse.csr_array, shape (q_1 k_1, m)
    S, G, J : ndarray, shape (m, m)
        The response, last of the m columns, has zeros in G.
    across : ndarray, shape (m, m)
        S J.
    reml : bool
        Whether P or V^-1 is meant.
    """

    e: Elimination
    own: FloatArray
    diagonal: FloatArray
    K: FloatArray | sparse.csr_array
    S: FloatArray
    G: FloatArray
    J: FloatArray
    across: FloatArray
    reml: bool

    @classmethod
    def of(cls, e: Elimination, *, reml: bool) -> SecondOrder:
        """Blocks of P (REML) or of V^-1 (ML) in its place."""
        structure, cp = e.structure, e.cp
        block, m = structure.blocks[0], structure.m
        H = np.eye(block.k) - np.matmul(e.A[0], e.W[0])
        own = np.matmul(H, e.A[0])
        G = e.congruence(e.padded_inverse(m - 1 if reml else structure.m_z))
        CGC, _ = chain_products(e, G, np.zeros((m, 1)))[0]
        diagonal = own - np.matmul(np.matmul(H, CGC), H.transpose(0, 2, 1))
        K: FloatArray | sparse.csr_array
        if cp.Cz is None:
            K = np.matmul(H, cp.C[0]).reshape(block.size, m)
        else:
            right = sparse.hstack([cp.Cz, sparse.csr_array(cp.C[0].reshape(block.size, -1))], format="csr")
            K = sparse.csr_array(_by_level(H) @ right)
        J = np.eye(m) - G @ e.S
        return cls(e, own, diagonal, K, e.S, G, J, e.S @ J, reml)

    @property
    def _structure(self) -> Structure:
        return self.e.structure

    def _where(self, block: int) -> slice:
        """Columns of a block of the rest."""
        return self._structure.rest_slices[block - 1]

    def traces(self, directions: Sequence[Direction]) -> tuple[FloatArray, FloatArray]:
        """tr(P G_r) and tr(P G_r P G_s); shapes (R,) and (R, R)."""
        lead = [r for r, (i, _) in enumerate(directions) if i == 0]
        first = np.array([self._first(i, E) for i, E in directions])
        second = np.zeros((len(directions), len(directions)))
        products = {r: self._between_levels(directions[r][1]) for r in lead}
        pulled = {r: self.G @ products[r] for r in lead}
        shifted = {r: products[r] @ self.J for r in lead} if len(lead) < len(directions) else {}
        for r, (i, E) in enumerate(directions):
            for s in range(r, len(directions)):
                j, F = directions[s]
                if i == j == 0:
                    value = self._of_lead(E, F) + float(np.vdot(pulled[r], pulled[s].T))
                elif i == 0 or j == 0:
                    one, other = (r, (j, F)) if i == 0 else (s, (i, E))
                    value = self._lead_with_rest(shifted[one], *other)
                else:
                    value = self._of_rest(i, E, j, F)
                second[r, s] = second[s, r] = value
        return first, second

    def _first(self, block: int, E: FloatArray) -> float:
        if block == 0:
            return float(np.vdot(self.diagonal.sum(axis=0), E))
        where, shape = self._where(block), self._structure.blocks[block]
        return float(np.vdot(diagonal_blocks(self.across[where, where], shape.q, shape.k).sum(axis=0), E))

    def _between_levels(self, E: FloatArray) -> FloatArray:
        """Sum over levels of K_l'E K_l, shape (m, m)."""
        q = self._structure.blocks[0].q
        if isinstance(self.K, np.ndarray):
            half = np.matmul(E, self.K.reshape(q, E.shape[0], -1)).reshape(self.K.shape)
            return np.asarray(self.K.T @ half)
        return np.asarray((self.K.T @ (_by_level(np.broadcast_to(E, (q, *E.shape))) @ self.K)).toarray())

    def _of_lead(self, E: FloatArray, F: FloatArray) -> float:
        """tr(E N F N) - 2 tr(E N F K G K'), summed over levels; K G K' is what the diagonal lacks of N."""
        EN, FN = np.matmul(E, self.own), np.matmul(F, self.own)
        left = np.matmul(F, self.own - self.diagonal)
        return float(np.vdot(EN, FN.transpose(0, 2, 1)) - 2.0 * np.vdot(EN, left.transpose(0, 2, 1)))

    def _lead_with_rest(self, shifted: FloatArray, block: int, F: FloatArray) -> float:
        where = self._where(block)
        J = self.J[:, where]
        turned = (J.reshape(-1, F.shape[0]) @ F).reshape(J.shape)
        return float(np.vdot(shifted[:, where], turned))

    def _of_rest(self, i: int, E: FloatArray, j: int, F: FloatArray) -> float:
        return pair_trace(self.across[self._where(i), self._where(j)], E, F)

    def on_fixed(self) -> list[FloatArray]:
        """Z'V^-1 X by block, shapes (q_i, k_i, p)."""
        structure, m_z = self._structure, self._structure.m_z
        G = self.e.congruence(self.e.padded_inverse(m_z))
        J = -(G @ self.S[:, m_z:-1])
        J[m_z:-1] += np.eye(structure.p)
        lead = structure.blocks[0]
        below = self.S @ J
        rest = zip(structure.blocks[1:], structure.rest_slices, strict=True)
        return [np.asarray(self.K @ J).reshape(lead.q, lead.k, -1)] + [
            below[where].reshape(block.q, block.k, -1) for block, where in rest
        ]

    def projected(self, directions: Sequence[Direction], columns: Sequence[FloatArray]) -> FloatArray:
        """Quadratic forms h_r'Z'P Z h_s with h_r = (I x E_r) b, b the columns of the block of r.

        P is meant whatever ``reml`` says.

        Parameters
        ----------
        directions : sequence of Direction, length R
        columns : sequence of ndarray, shapes (q_i, k_i, c)
            Per block.

        Returns
        -------
        ndarray, shape (R, R, c, c)
        """
        R, c, m = len(directions), columns[0].shape[2], self._structure.m
        own: dict[int, FloatArray] = {}
        pulled, padded = np.zeros((R, m, c)), np.zeros((R, m, c))
        for r, (i, E) in enumerate(directions):
            h = np.matmul(E, columns[i])
            if i == 0:
                own[r] = h
                pulled[r] = self.K.T @ h.reshape(-1, c)
            else:
                padded[r, self._where(i)] = h.reshape(-1, c)
        left = self.G @ pulled
        mixed, across = self.J @ padded, self.across @ padded
        out = np.empty((R, R, c, c))
        for r in range(R):
            for s in range(r, R):
                form = pulled[r].T @ (mixed[s] - left[s]) + mixed[r].T @ pulled[s] + padded[r].T @ across[s]
                if r in own and s in own:
                    form = form + own[r].reshape(-1, c).T @ np.matmul(self.own, own[s]).reshape(-1, c)
                out[r, s], out[s, r] = form, form.T
        return out if self.reml else out - self._taken_by_fixed(directions, columns)

    def _taken_by_fixed(self, directions: Sequence[Direction], columns: Sequence[FloatArray]) -> FloatArray:
        """What V^-1 has more than P in :meth:`projected`."""
        on_fixed, root = self.on_fixed(), self.e.beta_root
        p, c = root.shape[0], columns[0].shape[2]
        to_x = np.zeros((len(directions), p, c))
        for r, (i, E) in enumerate(directions):
            to_x[r] = root.T @ (on_fixed[i].reshape(-1, p).T @ np.matmul(E, columns[i]).reshape(-1, c))
        return np.asarray(np.einsum("rja,sjb->rsab", to_x, to_x))


def pair_trace(part: FloatArray, E: FloatArray, F: FloatArray) -> float:
    """Sum over levels l, m of tr(E M_lm F M_lm') for the blocks M_lm of a matrix.

    Parameters
    ----------
    part : ndarray, shape (q_i k_i, q_j k_j)
    E, F : ndarray, shapes (k_i, k_i) and (k_j, k_j)
    """
    rows, columns = part.shape
    turned = (np.ascontiguousarray(part).reshape(-1, F.shape[0]) @ F).reshape(rows, columns)
    turned = np.matmul(E, turned.reshape(-1, E.shape[0], columns)).reshape(rows, columns)
    return float(np.vdot(part, turned))


def _by_level(blocks: FloatArray) -> sparse.bsr_array:
    """Block-diagonal matrix from slabs of shape (q, k, k)."""
    q, k = blocks.shape[0], blocks.shape[1]
    return sparse.bsr_array((np.ascontiguousarray(blocks), np.arange(q), np.arange(q + 1)), shape=(q * k, q * k))
