"""In which order the random effects are eliminated, decided once from the grouping factors.

The block with the most levels goes first, all its levels at once. If another factor contains it (each level within
one level of the other), that one stays block diagonal after the elimination and goes next: the *chain*. What is left,
factors crossed with the chain, forms the *rest* together with X and y and is factorized as one dense matrix, or by
CHOLMOD when it is too large for that, or only ever multiplied with vectors when it is too large for that too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from interlace.core.probes import Probes
from interlace.core.terms import Block, consecutive
from interlace.typing import FloatArray, IntArray

__all__ = ["LeadingStorage", "Structure", "analyze", "as_one_system", "parents_of"]

#: Largest number of entries of a dense cross-product block (1.6 GB of doubles).
DENSE_LIMIT = 200_000_000


@dataclass(frozen=True)
class LeadingStorage:
    """How the cross-products are kept.

    Attributes
    ----------
    sparse : bool
        Those of the leading block with the rest: sparse, or dense arrays.
    cholmod : bool
        All random effects in one sparse system, which CHOLMOD factorizes.
    probes : Probes or None
        All random effects in one sparse system, which is solved by iteration; the random vectors of its traces.
    """

    sparse: bool
    cholmod: bool = False
    probes: Probes | None = None

    @property
    def whole(self) -> bool:
        """Whether all random effects are in one sparse system; there is no dense Schur complement then."""
        return self.cholmod or self.probes is not None


@dataclass(frozen=True)
class Structure:
    """Symbolic part of the elimination, shared by all fits on one design.

    Attributes
    ----------
    blocks : tuple of Block
        In elimination order: ``n_chain`` chain blocks, then the rest.
    n_chain : int
    parents : dict of (int, int) to ndarray of int64, shape (q_i,)
        For chain blocks i < j: the level of j that contains each level of i.
    p : int
        Columns of X.
    n_theta : int
    storage : LeadingStorage
    """

    blocks: tuple[Block, ...]
    n_chain: int
    parents: dict[tuple[int, int], IntArray]
    p: int
    n_theta: int
    storage: LeadingStorage

    @property
    def chain(self) -> tuple[Block, ...]:
        """Blocks that are eliminated level by level."""
        return self.blocks[: self.n_chain]

    @property
    def rest(self) -> tuple[Block, ...]:
        """Blocks of the final matrix."""
        return self.blocks[self.n_chain :]

    @cached_property
    def rest_slices(self) -> tuple[slice, ...]:
        """Columns of each rest block in the final matrix."""
        return tuple(consecutive([b.size for b in self.rest]))

    @cached_property
    def m_z(self) -> int:
        """Random effects in the final matrix."""
        return sum(b.size for b in self.rest)

    @property
    def m(self) -> int:
        """Order of the final matrix: rest random effects, X, y."""
        return self.m_z + self.p + 1

    @cached_property
    def collectors(self) -> dict[tuple[int, int], sparse.csr_array]:
        """0/1 matrices, shape (q_j, q_i), that sum over the levels of i within each level of j."""
        out = {}
        for (i, j), parent in self.parents.items():
            ones = np.ones(parent.size)
            shape = (self.blocks[j].q, self.blocks[i].q)
            out[i, j] = sparse.csr_array((ones, (parent, np.arange(parent.size))), shape=shape)
        return out

    def factors(self, theta: FloatArray) -> list[FloatArray]:
        """Factor L of each block at ``theta``."""
        return [block.factor(theta) for block in self.blocks]


def as_one_system(
    structure: Structure, order: Sequence[int], probes: Probes | None = None
) -> tuple[Structure, list[int]]:
    """Same blocks with one leading block and storage for one sparse system.

    Parameters
    ----------
    structure : Structure
    order : sequence of int
        Positions of its blocks in the input of :func:`analyze`.
    probes : Probes, optional
        For the solution by iteration; without them, by CHOLMOD.

    Returns
    -------
    structure : Structure
    order : list of int
    """
    places = sorted(range(len(order)), key=lambda i: order[i])
    blocks = tuple(structure.blocks[i] for i in places)
    storage = LeadingStorage(sparse=True, cholmod=probes is None, probes=probes)
    return Structure(blocks, 1, {}, structure.p, structure.n_theta, storage), [order[i] for i in places]


def parents_of(child: IntArray, q_child: int, parent: IntArray) -> IntArray | None:
    """Level of ``parent`` that contains each level of ``child``; None when some level lies in two of them.

    Parameters
    ----------
    child, parent : ndarray of int64, shape (n,)
    q_child : int

    Returns
    -------
    ndarray of int64, shape (q_child,), or None
    """
    inside = np.zeros(q_child, dtype=np.int64)
    inside[child] = parent
    return inside if np.array_equal(inside[child], parent) else None


def analyze(blocks: Sequence[Block], codes: Sequence[IntArray], p: int, n_theta: int) -> tuple[Structure, list[int]]:
    """Choose the elimination order.

    Parameters
    ----------
    blocks : sequence of Block
        By decreasing number of levels.
    codes : sequence of ndarray of int64, shapes (n,)
    p, n_theta : int

    Returns
    -------
    structure : Structure
    order : list of int
        Positions of its blocks in the input.
    """
    chain, parents = [0], {}
    left = list(range(1, len(blocks)))
    while True:
        for candidate in left:
            last = chain[-1]
            parent = parents_of(codes[last], blocks[last].q, codes[candidate])
            if parent is not None:
                break
        else:
            break
        j = len(chain)
        parents[j - 1, j] = parent
        for i in range(j - 1):
            parents[i, j] = parent[parents[i, j - 1]]
        chain.append(candidate)
        left.remove(candidate)
    storage = _choose_storage(blocks, codes, chain, left, p)
    if storage.sparse and len(chain) > 1:
        left = sorted(chain[1:] + left)
        chain, parents = chain[:1], {}
    order = chain + left
    return Structure(tuple(blocks[i] for i in order), len(chain), parents, p, n_theta, storage), order


def _choose_storage(
    blocks: Sequence[Block],
    codes: Sequence[IntArray],
    chain: Sequence[int],
    left: Sequence[int],
    p: int,
) -> LeadingStorage:
    """Sparse when the level-by-level product is both mostly empty and dear to form densely."""
    if not left:
        return LeadingStorage(sparse=False)
    lead = blocks[chain[0]]
    m = sum(blocks[i].size for i in left) + p + 1
    dense_entries = lead.size * m
    if dense_entries <= 200_000:
        return LeadingStorage(sparse=False)
    pairs = sum(_pair_count(codes[chain[0]], lead, codes[i], blocks[i]) for i in left)
    dense_flops = float(dense_entries) * m
    # One multiply-add of the sparse product costs about as much as 30 of the dense one.
    sparse_flops = 30.0 * pairs * pairs / max(lead.q, 1) * lead.k**2
    too_big = sum(blocks[i].size for i in chain) * m > DENSE_LIMIT
    return LeadingStorage(sparse=too_big or sparse_flops < dense_flops)


def _pair_count(a: IntArray, block_a: Block, b: IntArray, block_b: Block) -> int:
    """Random effects of block b that meet a level of block a, summed over the levels of a."""
    pairs, possible = a * block_b.q + b, block_a.q * block_b.q
    if possible > 40 * pairs.size:
        return int(np.unique(pairs).size) * block_b.k
    occurs = np.zeros(possible, dtype=bool)  # a fiftieth of the time of a search for distinct numbers
    occurs[pairs] = True
    return int(np.count_nonzero(occurs)) * block_b.k
