"""Cross-products of many fits of one structure, stacked along a leading axis.

What all members share (the design, when only responses differ) is kept once, with a leading axis of length 1, and
broadcast. The response has its own arrays: it differs between members in either case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from interlace.core.crossproducts import CrossProducts, Rows, group_products
from interlace.core.structure import Structure
from interlace.typing import FloatArray, IntArray

__all__ = ["Stack", "largest", "of_members", "rest_by_member", "stackable"]

#: Largest number of entries of the map from the weights of the leading block to the Schur complement.
_MAP_LIMIT = 1_000_000
#: Arithmetic of one elimination (multiplications) beyond which calls of numpy cost little beside it: nothing is gained
#: by stacking then, and where many starting points are tried the ordinary optimizer needs fewer of them.
_WORK_LIMIT = 1_000_000


def stackable(structure: Structure) -> bool:
    """Whether cross-products of this structure can be stacked and gain from it: dense storage, of moderate size."""
    if structure.storage.sparse:
        return False
    return sum(block.size for block in structure.chain) * structure.m**2 + structure.m**3 <= _WORK_LIMIT


def largest(structure: Structure, *, shared: bool) -> int:
    """Numbers in the largest array of one member while it is fitted; ``shared`` if only its response is its own."""
    m, r = structure.m, structure.n_theta
    wide = max(block.size * max(block.k, r, 1 if shared and structure.n_chain == 1 else m) for block in structure.chain)
    return max(wide, m * max(m, r))


@dataclass(frozen=True)
class Stack:
    """Cross-products of B members; d = m_z + p columns of [Z_rest | X].

    Attributes
    ----------
    structure : Structure
    n : ndarray of int64, shape (B,)
        Rows of each member.
    log_weights : ndarray, shape (B,)
    A : tuple of ndarray, shapes (B or 1, q_i, k_i, k_i)
        Chain blocks, as in :class:`~interlace.core.crossproducts.CrossProducts`.
    P : dict of (int, int) to ndarray, shape (B or 1, q_i, k_i, k_j)
    C : tuple of ndarray, shapes (B or 1, q_i, k_i, d)
    c : tuple of ndarray, shapes (B, q_i, k_i)
        Z_i'y.
    S : ndarray, shape (B or 1, d, d)
    s : ndarray, shape (B, d)
        [Z_rest | X]'y.
    yy : ndarray, shape (B,)
    pairs : ndarray, shape (q_1 k_1 k_1, d d), or None
        Of a shared design that is not too large: products of the columns of C of the leading block, so that its part
        of all Schur complements is one matrix product.
    """

    structure: Structure
    n: IntArray
    log_weights: FloatArray
    A: tuple[FloatArray, ...]
    P: dict[tuple[int, int], FloatArray]
    C: tuple[FloatArray, ...]
    c: tuple[FloatArray, ...]
    S: FloatArray
    s: FloatArray
    yy: FloatArray
    pairs: FloatArray | None = None

    @property
    def size(self) -> int:
        """Number of members B."""
        return self.n.size

    @property
    def shared(self) -> bool:
        """Whether only the responses differ."""
        return bool(self.S.shape[0] == 1)

    @classmethod
    def of_responses(cls, cp: CrossProducts, rows: Rows, Y: FloatArray) -> Stack:
        """One design, many responses.

        Parameters
        ----------
        cp : CrossProducts
            Of the design; its response is not used.
        rows : Rows
            From which ``cp`` was made.
        Y : ndarray, shape (n, B)
            Responses, multiplied by the square roots of the weights.
        """
        structure, s = cp.structure, cp.structure.n_chain
        sums = [_sums(rows.codes[i], block.q, rows.Z[i], Y) for i, block in enumerate(structure.blocks)]
        right = [z.reshape(z.shape[0], -1) for z in sums[s:]] + [Y.T @ rows.Xy[:, :-1]]
        members = Y.shape[1]
        return cls(
            structure,
            np.full(members, cp.n, dtype=np.int64),
            np.full(members, cp.log_weights),
            tuple(a[None] for a in cp.A),
            {key: block[None] for key, block in cp.P.items()},
            tuple(np.ascontiguousarray(block[None, :, :, :-1]) for block in cp.C),
            tuple(sums[:s]),
            np.ascontiguousarray(cp.S[None, :-1, :-1]),
            np.concatenate(right, axis=1),
            np.einsum("nb,nb->b", Y, Y),
            _pairs(cp.C[0][:, :, :-1]),
        )

    @classmethod
    def of_parts(cls, parts: Sequence[CrossProducts]) -> Stack:
        """Members with cross-products of their own, of one structure."""
        first = parts[0]
        if any(part.structure is not first.structure for part in parts):
            raise ValueError("cross-products of different structures cannot be stacked")
        chain = range(first.structure.n_chain)
        return _split(
            first.structure,
            np.array([part.n for part in parts], dtype=np.int64),
            np.array([part.log_weights for part in parts]),
            [np.stack([part.A[i] for part in parts]) for i in chain],
            {key: np.stack([part.P[key] for part in parts]) for key in first.P},
            [np.stack([part.C[i] for part in parts]) for i in chain],
            np.stack([part.S for part in parts]),
        )

    @classmethod
    def of_deletions(
        cls, cp: CrossProducts, rows: Rows, subsets: Sequence[IntArray], log_weights: FloatArray | None = None
    ) -> Stack:
        """All rows but some, for many choices of them.

        Parameters
        ----------
        cp : CrossProducts
            Of all rows.
        rows : Rows
            From which ``cp`` was made.
        subsets : sequence of ndarray of int64
            Rows that each member lacks.
        log_weights : ndarray, shape (n,), optional
            Logarithm of the weight of each row; 0 by default.
        """
        structure, s = cp.structure, cp.structure.n_chain
        taken = np.concatenate(subsets) if subsets else np.empty(0, dtype=np.int64)
        sizes = np.array([len(subset) for subset in subsets], dtype=np.int64)
        member = np.repeat(np.arange(len(subsets)), sizes)
        part = Rows([c[taken] for c in rows.codes], [z[taken] for z in rows.Z], rows.Xy[taken])
        A, P, C = [], {}, []
        for i, block in enumerate(structure.chain):
            right = [part.Z[j] for j in range(i, s)] + [part.Xy]
            lost = _by_member(member, len(subsets), part.codes[i], block.q, part.Z[i], np.concatenate(right, axis=1))
            stops = np.cumsum([columns.shape[1] for columns in right])
            A.append(cp.A[i] - lost[..., : stops[0]])
            for j in range(i + 1, s):
                P[i, j] = cp.P[i, j] - lost[..., stops[j - i - 1] : stops[j - i]]
            dense = [_crossed(structure, part, member, len(subsets), i, r) for r in range(s, len(structure.blocks))]
            C.append(cp.C[i] - np.concatenate([*dense, lost[..., stops[-2] :]], axis=3))
        log_lost = np.zeros(len(subsets))
        if log_weights is not None:
            np.add.at(log_lost, member, log_weights[taken])
        S = cp.S - rest_by_member(structure, part, member, len(subsets))
        return _split(structure, cp.n - sizes, cp.log_weights - log_lost, A, P, C, S)

    def take(self, index: IntArray) -> Stack:
        """Some members, any of them several times."""
        return replace(
            self,
            n=self.n[index],
            log_weights=self.log_weights[index],
            A=tuple(of_members(a, index) for a in self.A),
            P={key: of_members(block, index) for key, block in self.P.items()},
            C=tuple(of_members(block, index) for block in self.C),
            c=tuple(block[index] for block in self.c),
            S=of_members(self.S, index),
            s=self.s[index],
            yy=self.yy[index],
        )

    def member(self, b: int) -> CrossProducts:
        """Cross-products of one member."""
        one = np.array([b], dtype=np.int64)
        d = self.S.shape[1]
        S = np.empty((d + 1, d + 1))
        S[:-1, :-1] = of_members(self.S, one)[0]
        S[-1, :-1] = S[:-1, -1] = self.s[b]
        S[-1, -1] = self.yy[b]
        return CrossProducts(
            self.structure,
            int(self.n[b]),
            float(self.log_weights[b]),
            tuple(of_members(a, one)[0] for a in self.A),
            {key: of_members(block, one)[0] for key, block in self.P.items()},
            tuple(
                np.concatenate([of_members(C, one)[0], c[b][:, :, None]], axis=2)
                for C, c in zip(self.C, self.c, strict=True)
            ),
            None,
            S,
        )


def of_members(values: FloatArray, index: IntArray) -> FloatArray:
    """Entries of some members; an array that all share stays as it is."""
    return values if values.shape[0] == 1 else values[index]


def _split(
    structure: Structure,
    n: IntArray,
    log_weights: FloatArray,
    A: Sequence[FloatArray],
    P: dict[tuple[int, int], FloatArray],
    C: Sequence[FloatArray],
    S: FloatArray,
) -> Stack:
    """Stack of arrays in which the response is still the last column."""
    return Stack(
        structure,
        n,
        log_weights,
        tuple(A),
        P,
        tuple(np.ascontiguousarray(block[..., :-1]) for block in C),
        tuple(np.ascontiguousarray(block[..., -1]) for block in C),
        np.ascontiguousarray(S[:, :-1, :-1]),
        np.ascontiguousarray(S[:, :-1, -1]),
        np.ascontiguousarray(S[:, -1, -1]),
    )


def _pairs(C: FloatArray) -> FloatArray | None:
    q, k, d = C.shape
    if q * k * k * d * d > _MAP_LIMIT:
        return None
    products = C[:, :, None, :, None] * C[:, None, :, None, :]
    return products.reshape(q * k * k, d * d)


def _sums(codes: IntArray, q: int, Z: FloatArray, Y: FloatArray) -> FloatArray:
    """Z'Y by level for every column of Y, shape (B, q, k)."""
    n, k = Z.shape
    rows = codes[:, None] * k + np.arange(k)
    cells = (rows.reshape(-1), np.repeat(np.arange(n), k))
    ZT = sparse.csr_array((Z.reshape(-1), cells), shape=(q * k, n))
    return np.ascontiguousarray((ZT @ Y).T).reshape(Y.shape[1], q, k)


def _by_member(member: IntArray, count: int, codes: IntArray, q: int, U: FloatArray, V: FloatArray) -> FloatArray:
    """Sums of products of the rows of each member and level, shape (B, q, u, v)."""
    sums = group_products(member * q + codes, count * q, U, V)
    return sums.reshape(count, q, U.shape[1], V.shape[1])


def _crossed(structure: Structure, rows: Rows, member: IntArray, count: int, i: int, r: int) -> FloatArray:
    """Z_i'Z_r of the rows of each member with every pair of levels, shape (B, q_i, k_i, q_r k_r)."""
    a, b = structure.blocks[i], structure.blocks[r]
    sums = _by_member(member, count, rows.codes[i] * b.q + rows.codes[r], a.q * b.q, rows.Z[i], rows.Z[r])
    return sums.reshape(count, a.q, b.q, a.k, b.k).transpose(0, 1, 3, 2, 4).reshape(count, a.q, a.k, b.size)


def rest_by_member(structure: Structure, rows: Rows, member: IntArray, count: int) -> FloatArray:
    """[Z_rest | X | y]'[Z_rest | X | y] of the rows of each member, shape (B, m, m)."""
    s, m_z = structure.n_chain, structure.m_z
    S = np.zeros((count, structure.m, structure.m))
    S[:, m_z:, m_z:] = _by_member(member, count, np.zeros(rows.n, dtype=np.int64), 1, rows.Xy, rows.Xy)[:, 0]
    numbers = range(s, len(structure.blocks))
    for at, r in zip(structure.rest_slices, numbers, strict=True):
        block = structure.blocks[r]
        right = _by_member(member, count, rows.codes[r], block.q, rows.Z[r], rows.Xy)
        S[:, at, m_z:] = right.reshape(count, block.size, -1)
        S[:, m_z:, at] = S[:, at, m_z:].transpose(0, 2, 1)
        for other, j in zip(structure.rest_slices, numbers, strict=True):
            if j == r:
                own = _by_member(member, count, rows.codes[r], block.q, rows.Z[r], rows.Z[r])
                diagonal = np.zeros((count, block.q, block.k, block.q, block.k))
                diagonal[:, np.arange(block.q), :, np.arange(block.q), :] = own.transpose(1, 0, 2, 3)
                S[:, at, other] = diagonal.reshape(count, block.size, block.size)
            elif j > r:
                cross = _crossed(structure, rows, member, count, r, j).reshape(count, block.size, -1)
                S[:, at, other] = cross
                S[:, other, at] = cross.transpose(0, 2, 1)
    return S
