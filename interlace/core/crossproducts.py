"""Cross-products of a mixed model: the only form in which the estimation sees data.

With V = [Z_1 | ... | Z_t | X | y] and rows already multiplied by the square roots of their weights, a
:class:`CrossProducts` holds the blocks of V'V in the shapes in which they are eliminated. It is additive: rows can be
added (chunks, machines) and taken away (deletion, folds), and a new response changes one column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

import numpy as np
from scipy import sparse

from interlace.core.small import diagonal_blocks
from interlace.core.structure import Structure
from interlace.core.terms import Block
from interlace.typing import FloatArray, IntArray

__all__ = ["CrossProducts", "Rows", "as_slabs", "group_products", "pair_matrix", "same_structure"]


@dataclass(frozen=True)
class Rows:
    """Rows of the model, multiplied by the square roots of their weights.

    Attributes
    ----------
    codes : sequence of ndarray of int64, shapes (n,)
        Per block, in the order of the structure.
    Z : sequence of ndarray, shapes (n, k_i)
    Xy : ndarray, shape (n, p + 1)
        Fixed-effects columns, then the response.
    log_weights : float
        Sum of the logarithms of the weights; 0 without weights.
    pairs : dict of (int, int) to (ndarray of int64, ndarray of int64)
        Pairs of levels of two blocks that occur, and which of them each row has: found when first needed, and worth
        keeping where the same rows come again with other weights.
    """

    codes: Sequence[IntArray]
    Z: Sequence[FloatArray]
    Xy: FloatArray
    log_weights: float = 0.0
    pairs: dict[tuple[int, int], tuple[IntArray, IntArray]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of rows."""
        return int(self.Xy.shape[0])

    def chunks(self) -> Iterator[Rows]:
        """All rows in pieces, from which cross-products are formed: here one."""
        yield self

    def changed(self, change: Callable[[Rows], Rows]) -> Rows:
        """Rows to which ``change`` was applied; it does not mix rows, and may be given them in pieces."""
        return change(self)


@dataclass(frozen=True)
class CrossProducts:
    """Blocks of V'V for one :class:`~interlace.core.structure.Structure`.

    Attributes
    ----------
    structure : Structure
    n : int
        Rows that went in.
    log_weights : float
        Sum of log weights of those rows.
    A : tuple of ndarray, shapes (q_i, k_i, k_i)
        Chain blocks: Z_i'Z_i by level.
    P : dict of (int, int) to ndarray, shape (q_i, k_i, k_j)
        Chain blocks i < j: Z_i'Z_j, one slab per level of i (it meets one level of j).
    C : tuple of ndarray, shapes (q_i, k_i, m) or (q_i, k_i, p + 1)
        Chain blocks with [Z_rest | X | y]; with sparse storage only with [X | y].
    Cz : scipy.sparse.csr_array, shape (q_1 k_1, m_z), or None
        With sparse storage: Z_1'Z_rest.
    S : ndarray, shape (m, m)
        [Z_rest | X | y]' [Z_rest | X | y]; only the columns of [X | y], shape (m, p + 1), where all random effects form
        one sparse system.
    Szz : scipy.sparse.csr_array, shape (m_z, m_z), or None
        Where the random effects form one sparse system: Z_rest'Z_rest.
    """

    structure: Structure
    n: int
    log_weights: float
    A: tuple[FloatArray, ...]
    P: dict[tuple[int, int], FloatArray]
    C: tuple[FloatArray, ...]
    Cz: sparse.csr_array | None
    S: FloatArray
    Szz: sparse.csr_array | None = None

    @classmethod
    def from_rows(cls, structure: Structure, rows: Rows) -> CrossProducts:
        """Cross-products of ``rows``."""
        s = structure.n_chain
        A, C, P = [], [], {}
        for i, block in enumerate(structure.chain):
            right = [rows.Z[i]] + [rows.Z[j] for j in range(i + 1, s)] + [rows.Xy]
            sums = group_products(rows.codes[i], block.q, rows.Z[i], np.concatenate(right, axis=1))
            stops = list(accumulate(m.shape[1] for m in right))
            A.append(np.ascontiguousarray(sums[:, :, : stops[0]]))
            for j in range(i + 1, s):
                P[i, j] = np.ascontiguousarray(sums[:, :, stops[j - i - 1] : stops[j - i]])
            with_xy = sums[:, :, stops[-2] :]
            if structure.rest and not structure.storage.sparse:
                dense = [_dense_products(structure, rows, i, r) for r in range(s, len(structure.blocks))]
                with_xy = np.concatenate([*dense, with_xy], axis=2)
            C.append(np.ascontiguousarray(with_xy))
        Cz = _sparse_products(structure, rows) if structure.storage.sparse else None
        if structure.storage.whole:
            Szz, S = _sparse_rest(structure, rows), _rest_with_xy(structure, rows)
        else:
            Szz, S = None, _rest_products(structure, rows)
        return cls(structure, rows.n, rows.log_weights, tuple(A), P, tuple(C), Cz, S, Szz)

    @classmethod
    def of_chain(
        cls, structure: Structure, codes: Sequence[IntArray], Z: Sequence[FloatArray], weights: FloatArray
    ) -> CrossProducts:
        """Z'WZ of a design without rest and X, from rows that are not weighted; the response is zero."""
        A, C, P = [], [], {}
        for i, block in enumerate(structure.blocks):
            right = Z[i] if i + 1 == len(Z) else np.concatenate(Z[i:], axis=1)
            sums = group_products(codes[i], block.q, weights[:, None] * Z[i], right)
            stop = block.k
            A.append(np.ascontiguousarray(sums[:, :, :stop]))
            for j in range(i + 1, len(Z)):
                start, stop = stop, stop + structure.blocks[j].k
                P[i, j] = np.ascontiguousarray(sums[:, :, start:stop])
            C.append(np.zeros((block.q, block.k, 1)))
        return cls(structure, weights.size, 0.0, tuple(A), P, tuple(C), None, np.zeros((1, 1)), None)

    @classmethod
    def from_chunks(cls, structure: Structure, chunks: Iterable[Rows]) -> CrossProducts:
        """Cross-products of rows that arrive in pieces; memory grows with levels, not with rows."""
        total: CrossProducts | None = None
        for chunk in chunks:
            part = cls.from_rows(structure, chunk)
            total = part if total is None else total + part
        if total is None:
            raise ValueError("no chunks: at least one is needed to form cross-products")
        return total

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Cross-products of the rows of both."""
        return self._combine(other, 1.0)

    def __sub__(self, other: CrossProducts) -> CrossProducts:
        """Cross-products after taking the rows of ``other`` away."""
        return self._combine(other, -1.0)

    def _combine(self, other: CrossProducts, sign: float) -> CrossProducts:
        if not same_structure(self.structure, other.structure):
            raise ValueError("cross-products of different structures cannot be combined")
        n = self.n + int(sign) * other.n
        if n < 0:
            raise ValueError(f"cross-products of {other.n} rows cannot be taken out of those of {self.n}")
        return CrossProducts(
            self.structure,
            n,
            self.log_weights + sign * other.log_weights,
            tuple(a + sign * b for a, b in zip(self.A, other.A, strict=True)),
            {key: self.P[key] + sign * other.P[key] for key in self.P},
            tuple(a + sign * b for a, b in zip(self.C, other.C, strict=True)),
            _add_sparse(self.Cz, other.Cz, sign),
            self.S + sign * other.S,
            _add_sparse(self.Szz, other.Szz, sign),
        )

    def own(self, i: int) -> FloatArray:
        """Z_i'Z_i of any block by level, shape (q_i, k_i, k_i)."""
        structure = self.structure
        if i < structure.n_chain:
            return self.A[i]
        block, where = structure.blocks[i], structure.rest_slices[i - structure.n_chain]
        if self.Szz is not None:
            cells = np.arange(block.q)[:, None] * block.k + np.arange(block.k) + where.start
            rows, cols = np.repeat(cells, block.k, axis=1).reshape(-1), np.tile(cells, (1, block.k)).reshape(-1)
            return np.asarray(self.Szz[rows, cols]).reshape(block.q, block.k, block.k)
        return diagonal_blocks(self.S[where, where], block.q, block.k)

    def with_xy(self, i: int) -> FloatArray:
        """Z_i'[X | y] of any block by level, shape (q_i, k_i, p + 1)."""
        structure = self.structure
        columns = slice(-(structure.p + 1), None)
        if i < structure.n_chain:
            return self.C[i][:, :, columns]
        block, where = structure.blocks[i], structure.rest_slices[i - structure.n_chain]
        return self.S[where, columns].reshape(block.q, block.k, -1)

    def with_response(self, rows: Rows) -> CrossProducts:
        """Same design with the response of ``rows`` (their last column) in place of the old one."""
        structure = self.structure
        y = rows.Xy[:, -1:]
        C = []
        for i, block in enumerate(structure.chain):
            changed = self.C[i].copy()
            changed[:, :, -1] = group_products(rows.codes[i], block.q, rows.Z[i], y)[:, :, 0]
            C.append(changed)
        column = np.concatenate(
            [_rest_with_xy(structure, replace(rows, Xy=y))[: structure.m_z, 0], rows.Xy.T @ y[:, 0]]
        )
        S = self.S.copy()
        S[:, -1] = column
        S[-1, :] = column if S.shape[1] == structure.m else column[structure.m_z :]
        return replace(self, C=tuple(C), S=S)


def same_structure(a: Structure, b: Structure) -> bool:
    """Whether cross-products laid out by two structures have the same blocks of the same columns and levels.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> structure = result.state.problem.structure
    >>> same_structure(structure, replace(structure)), same_structure(structure, replace(structure, p=3))
    (True, False)
    """
    if a is b:
        return True
    parts = [(s.n_chain, s.p, s.n_theta, len(s.blocks), s.parents.keys()) for s in (a, b)]
    kept = [(s.storage.sparse, s.storage.whole) for s in (a, b)]  # whatever they are solved with
    return (
        parts[0] == parts[1]
        and kept[0] == kept[1]
        and all(map(_same_block, a.blocks, b.blocks))
        and all(np.array_equal(parent, b.parents[key]) for key, parent in a.parents.items())
    )


def _same_block(a: Block, b: Block) -> bool:
    arrays = ((a.rows, b.rows), (a.cols, b.cols), (a.slots, b.slots))
    return (a.q, a.k, a.members) == (b.q, b.k, b.members) and all(np.array_equal(*pair) for pair in arrays)


#: Above this many products, group sums go column by column so that no large temporary is formed.
_ONE_SHOT = 400_000


def group_products(index: IntArray, size: int, U: FloatArray, V: FloatArray) -> FloatArray:
    """Sums over the rows of each group of the products of two sets of columns.

    Parameters
    ----------
    index : ndarray of int64, shape (n,)
        Group of each row, 0 to size - 1.
    size : int
    U, V : ndarray, shapes (n, u) and (n, v)

    Returns
    -------
    ndarray, shape (size, u, v)
    """
    n, u, v = U.shape[0], U.shape[1], V.shape[1]
    if u == v == 1:
        sums = np.bincount(index, weights=U[:, 0] * V[:, 0], minlength=size)
        return sums.reshape(size, 1, 1).astype(np.float64, copy=False)
    if n * u * v <= _ONE_SHOT:
        cells = index[:, None] * (u * v) + np.arange(u * v)
        products = U[:, :, None] * V[:, None, :]
        flat = np.bincount(cells.reshape(-1), weights=products.reshape(-1), minlength=size * u * v)
        return flat.reshape(size, u, v).astype(np.float64, copy=False)
    out = np.empty((size, u, v))
    columns = [np.ascontiguousarray(V[:, b]) for b in range(v)]
    for a in range(u):
        left = np.ascontiguousarray(U[:, a])
        for b in range(v):
            out[:, a, b] = np.bincount(index, weights=left * columns[b], minlength=size)
    return out


def _dense_products(structure: Structure, rows: Rows, i: int, r: int) -> FloatArray:
    """Z_i'Z_r with every pair of levels, shape (q_i, k_i, q_r k_r)."""
    a, b = structure.blocks[i], structure.blocks[r]
    sums = group_products(rows.codes[i] * b.q + rows.codes[r], a.q * b.q, rows.Z[i], rows.Z[r])
    return as_slabs(sums, a.k, b)


def as_slabs(sums: FloatArray, k: int, other: Block) -> FloatArray:
    """Products of k columns with those of another block, pair by pair of levels, as one slab for each level.

    Parameters
    ----------
    sums : ndarray, shape (q * other.q, k, other.k)
    k : int
    other : Block

    Returns
    -------
    ndarray, shape (q, k, other.size)
    """
    return sums.reshape(-1, other.q, k, other.k).transpose(0, 2, 1, 3).reshape(-1, k, other.size)


def _add_sparse(a: sparse.csr_array | None, b: sparse.csr_array | None, sign: float) -> sparse.csr_array | None:
    return None if a is None or b is None else (a + sign * b).tocsr()


def _sparse_pair(structure: Structure, rows: Rows, i: int, j: int) -> sparse.csr_array:
    """Z_i'Z_j over the pairs of levels that occur, shape (q_i k_i, q_j k_j)."""
    a, b = structure.blocks[i], structure.blocks[j]
    if (i, j) not in rows.pairs:
        rows.pairs[i, j] = np.unique(rows.codes[i] * b.q + rows.codes[j], return_inverse=True)
    keys, inverse = rows.pairs[i, j]
    return pair_matrix(a, b, keys // b.q, keys % b.q, group_products(inverse, keys.size, rows.Z[i], rows.Z[j]))


def pair_matrix(a: Block, b: Block, of_a: IntArray, of_b: IntArray, sums: FloatArray) -> sparse.csr_array:
    """Z_a'Z_b, shape (q_a k_a, q_b k_b), from its blocks for pairs of levels.

    Parameters
    ----------
    a, b : Block
    of_a, of_b : ndarray of int64, shapes (pairs,)
    sums : ndarray, shape (pairs, k_a, k_b)
    """
    row = of_a[:, None, None] * a.k + np.arange(a.k)[None, :, None]
    col = of_b[:, None, None] * b.k + np.arange(b.k)[None, None, :]
    cells = (np.broadcast_to(row, sums.shape).reshape(-1), np.broadcast_to(col, sums.shape).reshape(-1))
    return sparse.csr_array((sums.reshape(-1), cells), shape=(a.size, b.size))


def _sparse_products(structure: Structure, rows: Rows) -> sparse.csr_array:
    """Z_1'Z_rest, shape (q_1 k_1, m_z)."""
    pairs = [_sparse_pair(structure, rows, 0, r) for r in range(1, len(structure.blocks))]
    return sparse.csr_array(sparse.hstack(pairs, format="csr"))


def _sparse_rest(structure: Structure, rows: Rows) -> sparse.csr_array:
    """Z_rest'Z_rest, shape (m_z, m_z)."""
    numbers = range(1, len(structure.blocks))
    grid = [[_sparse_pair(structure, rows, i, j) for j in numbers] for i in numbers]
    return sparse.csr_array(sparse.block_array(grid, format="csr"))


def _rest_with_xy(structure: Structure, rows: Rows) -> FloatArray:
    """[Z_rest | X | y]'[X | y], shape (m, p + 1) (or as many columns as ``rows.Xy`` has)."""
    out = np.empty((structure.m_z + rows.Xy.shape[1], rows.Xy.shape[1]))
    for where, r in zip(structure.rest_slices, range(structure.n_chain, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        out[where] = group_products(rows.codes[r], block.q, rows.Z[r], rows.Xy).reshape(block.size, -1)
    out[structure.m_z :] = rows.Xy.T @ rows.Xy
    return out


def _rest_products(structure: Structure, rows: Rows) -> FloatArray:
    """[Z_rest | X | y]'[Z_rest | X | y], shape (m, m)."""
    s, m_z = structure.n_chain, structure.m_z
    S = np.zeros((structure.m, structure.m))
    S[:, m_z:] = _rest_with_xy(structure, rows)
    S[m_z:, :m_z] = S[:m_z, m_z:].T
    numbers = range(s, len(structure.blocks))
    for at, r in zip(structure.rest_slices, numbers, strict=True):
        a = structure.blocks[r]
        own = group_products(rows.codes[r], a.q, rows.Z[r], rows.Z[r])
        diagonal = np.zeros((a.q, a.k, a.q, a.k))
        diagonal[np.arange(a.q), :, np.arange(a.q), :] = own
        S[at, at] = diagonal.reshape(a.size, a.size)
        for other, c in zip(structure.rest_slices, numbers, strict=True):
            if c > r:
                cross = _dense_products(structure, rows, r, c).reshape(a.size, -1)
                S[at, other] = cross
                S[other, at] = cross.T
    return S
