"""The Schur complement without each of many sets of rows, at one theta, from the levels that the rows belong to.

Levels of the leading block are eliminated one by one, so that rows which are taken away change the parts of their own
levels only, whatever the number of the others: the cost of all sets grows with their rows and not with rows times
levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interlace.core.batch_factor import scale_rest_stack, weights_stack
from interlace.core.batch_small import inverse_factors
from interlace.core.batch_stack import rest_by_member
from interlace.core.crossproducts import Rows, as_slabs, group_products
from interlace.core.factor import Elimination
from interlace.core.structure import Structure
from interlace.typing import FloatArray, IntArray

__all__ = ["solutions_without", "splits_by_level"]

#: Order of the Schur complement up to which one for every set is formed.
_LARGEST = 100


def splits_by_level(structure: Structure) -> bool:
    """Whether :func:`solutions_without` is worth it: one leading block, and few other columns."""
    return structure.n_chain == 1 and not structure.storage.sparse and structure.m <= _LARGEST


def solutions_without(
    e: Elimination, rows: Rows, subsets: Sequence[IntArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Fixed effects, their covariance, and X'X without each of u sets of rows.

    Parameters
    ----------
    e : Elimination
        Of all rows.
    rows : Rows
        From which its cross-products were made, with any response that belongs to the same cross-products.
    subsets : sequence of ndarray of int64
        Rows that are taken away, none of them empty.

    Returns
    -------
    beta : ndarray, shape (u, p)
    cov : ndarray, shape (u, p, p)
        Covariance over sigma^2; NaN, as beta, where F is not positive definite.
    gram : ndarray, shape (u, p, p)
        X'X of the rows left.
    """
    structure, count = e.structure, len(subsets)
    block, m_z = structure.blocks[0], structure.m_z
    member = np.repeat(np.arange(count), [len(subset) for subset in subsets])
    taken = np.concatenate(subsets)
    part = Rows([c[taken] for c in rows.codes], [z[taken] for z in rows.Z], rows.Xy[taken])
    touched, pair = np.unique(member * block.q + part.codes[0], return_inverse=True)
    owner, level = np.divmod(touched, block.q)
    rest = rest_by_member(structure, part, member, count)
    S = (
        e.S
        - rest
        + np.add.reduceat(
            _changes(e, Rows([pair, *part.codes[1:]], part.Z, part.Xy), level), np.searchsorted(owner, np.arange(count))
        )
    )
    rest_L = [L[None] for L in e.rest_L]
    ST = scale_rest_stack(structure, rest_L, S[:, :-1, :-1]).transpose(0, 2, 1)
    F = scale_rest_stack(structure, rest_L, ST)
    F[:, np.arange(m_z), np.arange(m_z)] += 1.0
    half, _ = inverse_factors(F)
    s = half @ scale_rest_stack(structure, rest_L, S[:, :-1, -1:])
    root = half[:, m_z:, m_z:]
    beta = (half.transpose(0, 2, 1) @ s)[:, m_z:, 0]
    return beta, root.transpose(0, 2, 1) @ root, e.cp.S[m_z:-1, m_z:-1] - rest[:, m_z:-1, m_z:-1]


def _changes(e: Elimination, part: Rows, level: IntArray) -> FloatArray:
    """C'WC of some levels before minus that after the rows are taken away, shape (t, m, m).

    The codes of the leading block in ``part`` number the t pairs of a set and a level that it touches.
    """
    lead, *rest = e.structure.blocks
    pair, t, Z = part.codes[0], level.size, part.Z[0]
    lost = [group_products(pair, t, Z, part.Xy)]
    for r, block in reversed(list(enumerate(rest, start=1))):
        sums = group_products(pair * block.q + part.codes[r], t * block.q, Z, part.Z[r])
        lost.insert(0, as_slabs(sums, lead.k, block))
    C = e.cp.C[0][level]
    left = C - np.concatenate(lost, axis=2)
    W, _ = weights_stack((e.cp.A[0][level] - group_products(pair, t, Z, Z))[None], e.L[0][None])
    before = C.transpose(0, 2, 1) @ (e.W[0][level] @ C)
    return np.asarray(before - left.transpose(0, 2, 1) @ (W[0] @ left))
