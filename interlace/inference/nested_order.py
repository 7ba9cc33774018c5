"""Traces and quadratic forms of second order where the grouping factors are nested: one small matrix for each top unit.

V is then block diagonal, by the levels of the factor that contains all others. With A = Z'Z of one unit,
M = Z'V^-1 Z = A - A W A, W = Lambda (Lambda'A Lambda + I)^-1 Lambda', and B = Z'V^-1 X = Z'X - A W Z'X, everything is a
sum over units; what P adds to V^-1 are products of p x p matrices,

    Z'P Z = M - B Phi B',   Phi = (X'V^-1 X)^-1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from interlace.core.structure import Structure
from interlace.core.terms import consecutive
from interlace.estimate.problem import LinearProblem
from interlace.inference.second_order import Direction, pair_trace
from interlace.typing import FloatArray, IntArray

__all__ = ["NestedOrder", "unit_sizes"]


@dataclass(frozen=True)
class _Unit:
    """One top unit with q random effects.

    Attributes
    ----------
    where : tuple of slice
        Random effects of each block.
    M : ndarray, shape (q, q)
    B : ndarray, shape (q, p)
    """

    where: tuple[slice, ...]
    M: FloatArray
    B: FloatArray


@dataclass(frozen=True)
class NestedOrder:
    """Counterpart of :class:`interlace.inference.second_order.SecondOrder` for a chain of nested factors.

    Attributes
    ----------
    structure : Structure
        Without rest.
    units : list of _Unit
    order : ndarray of int64, shape (q,)
        Random effects, numbered by block, level and column, in the order of the units.
    phi : ndarray, shape (p, p)
    reml : bool
        Whether P or V^-1 is meant.
    """

    structure: Structure
    units: list[_Unit]
    order: IntArray
    phi: FloatArray
    reml: bool

    @classmethod
    def of(cls, problem: LinearProblem, L: Sequence[FloatArray], phi: FloatArray, *, reml: bool) -> NestedOrder:
        """Matrices of all units.

        Parameters
        ----------
        problem : LinearProblem
            With a chain of nested factors only.
        L : sequence of ndarray, shapes (k_i, k_i)
            Factor of each block.
        phi : ndarray, shape (p, p)
            (X'V^-1 X)^-1.
        reml : bool
        """
        structure = problem.structure
        order, sizes = _by_unit(structure)
        gram, with_x = sparse.csr_array((order.size, order.size)), np.zeros((order.size, structure.p))
        for rows in problem.rows.chunks():
            Z = _columns(structure, rows.codes, rows.Z)[:, order]
            gram, with_x = (gram + Z.T @ Z).tocsr(), with_x + np.asarray(Z.T @ rows.Xy[:, :-1])
        units = []
        for stop, counts in zip(np.cumsum(sizes.sum(axis=1)).tolist(), sizes, strict=True):
            here = slice(stop - int(counts.sum()), stop)
            where = tuple(consecutive(counts.tolist()))
            units.append(_unit(structure, L, gram[here, here].toarray(), with_x[here], where))
        return cls(structure, units, order, phi, reml)

    def traces(self, directions: Sequence[Direction]) -> tuple[FloatArray, FloatArray]:
        """tr(P G_r) and tr(P G_r P G_s); shapes (R,) and (R, R)."""
        first, second = np.zeros(len(directions)), np.zeros((len(directions), len(directions)))
        for unit in self.units:
            for r, (i, E) in enumerate(directions):
                k, own = E.shape[0], unit.M[unit.where[i], unit.where[i]]
                levels = own.reshape(own.shape[0] // k, k, -1, k)
                first[r] += float(np.einsum("ab,lalb->", E, levels))
                for s in range(r, len(directions)):
                    j, F = directions[s]
                    second[r, s] += pair_trace(unit.M[unit.where[i], unit.where[j]], E, F)
        second = np.triu(second) + np.triu(second, 1).T
        if self.reml:
            changes, forms = self._on_fixed_changes(directions), self._forms(directions)
            first -= np.einsum("ij,rij->r", self.phi, changes)
            half = self.phi @ changes
            second += np.einsum("rij,sji->rs", half, half) - 2.0 * np.einsum("ij,rsij->rs", self.phi, forms)
        return first, second

    def on_fixed(self) -> list[FloatArray]:
        """Z'V^-1 X by block, shapes (q_i, k_i, p)."""
        stacked = np.empty((self.order.size, self.phi.shape[0]))
        stacked[self.order] = np.concatenate([unit.B for unit in self.units])
        blocks = self.structure.blocks
        slices = consecutive([block.size for block in blocks])
        return [stacked[w].reshape(block.q, block.k, -1) for block, w in zip(blocks, slices, strict=True)]

    def projected(self, directions: Sequence[Direction], columns: Sequence[FloatArray]) -> FloatArray:
        """Quadratic forms h_r'Z'P Z h_s with h_r = (I x E_r) b; see ``SecondOrder.projected``.

        P is meant whatever ``reml`` says.
        """
        c = columns[0].shape[2]
        stacked = np.concatenate([b.reshape(-1, c) for b in columns])[self.order]
        out = np.zeros((len(directions), len(directions), c, c))
        to_x = np.zeros((len(directions), self.phi.shape[0], c))
        start = 0
        for unit in self.units:
            here = stacked[start : start + unit.M.shape[0]]
            start += unit.M.shape[0]
            h = self._moved(unit, directions, here)
            for r, (i, _) in enumerate(directions):
                to_x[r] += unit.B[unit.where[i]].T @ h[r]
                for s, (j, _) in enumerate(directions):
                    out[r, s] += h[r].T @ unit.M[unit.where[i], unit.where[j]] @ h[s]
        return np.asarray(out - np.einsum("rja,jk,skb->rsab", to_x, self.phi, to_x))

    def _moved(self, unit: _Unit, directions: Sequence[Direction], values: FloatArray) -> list[FloatArray]:
        """(I x E_r) b within a unit, for the block of each direction."""
        out = []
        for i, E in directions:
            part = values[unit.where[i]]
            out.append(np.matmul(E, part.reshape(-1, E.shape[0], part.shape[1])).reshape(part.shape))
        return out

    def _on_fixed_changes(self, directions: Sequence[Direction]) -> FloatArray:
        """X'V^-1 G_r V^-1 X, shape (R, p, p)."""
        on_fixed = self.on_fixed()
        moved = [(on_fixed[i], np.matmul(E, on_fixed[i])) for i, E in directions]
        return np.array([np.einsum("lip,lir->pr", B, EB, optimize=True) for B, EB in moved])

    def _forms(self, directions: Sequence[Direction]) -> FloatArray:
        """X'V^-1 G_r V^-1 G_s V^-1 X, shape (R, R, p, p)."""
        changes = self._on_fixed_changes(directions)
        between = np.einsum("rij,jk,skl->rsil", changes, self.phi, changes)
        return np.asarray(self.projected(directions, self.on_fixed()) + between)


def _unit(
    structure: Structure, L: Sequence[FloatArray], A: FloatArray, with_x: FloatArray, where: tuple[slice, ...]
) -> _Unit:
    """M and B of one unit from its Z'Z, shape (q, q), and Z'X, shape (q, p)."""
    q = A.shape[0]
    right, scaled = np.concatenate([A, with_x], axis=1), np.empty((q, q + with_x.shape[1]))
    for block, factor, w in zip(structure.blocks, L, where, strict=True):
        scaled[w] = np.matmul(factor.T, right[w].reshape(-1, block.k, right.shape[1])).reshape(-1, right.shape[1])
    H = np.empty((q, q))
    for block, factor, w in zip(structure.blocks, L, where, strict=True):
        H[:, w] = np.matmul(scaled[:, w].reshape(q, -1, block.k), factor).reshape(q, -1)
    H[np.arange(q), np.arange(q)] += 1.0
    left = np.asarray(right - scaled[:, :q].T @ np.linalg.solve(H, scaled))
    return _Unit(where, 0.5 * (left[:, :q] + left[:, :q].T), left[:, q:])


def unit_sizes(structure: Structure) -> IntArray:
    """Number of random effects of each top unit, shape (units,)."""
    return np.asarray(_by_unit(structure)[1].sum(axis=1))


def _by_unit(structure: Structure) -> tuple[IntArray, IntArray]:
    """Random effects sorted by top unit, then block; and their number by unit and block, shape (units, blocks)."""
    blocks, top = structure.blocks, len(structure.blocks) - 1
    unit_of = [structure.parents[i, top] for i in range(top)] + [np.arange(blocks[top].q)]
    unit = np.concatenate([np.repeat(u, block.k) for u, block in zip(unit_of, blocks, strict=True)])
    counts = [np.bincount(u, minlength=blocks[top].q) * block.k for u, block in zip(unit_of, blocks, strict=True)]
    return np.argsort(unit, kind="stable").astype(np.int64), np.stack(counts, axis=1).astype(np.int64)


def _columns(structure: Structure, codes: Sequence[IntArray], Z: Sequence[FloatArray]) -> sparse.csc_array:
    """All columns of Z side by side, shape (n, q)."""
    parts = list(_each_column(structure, codes, Z))
    n, q = codes[0].size, sum(block.size for block in structure.blocks)
    rows = np.tile(np.arange(n), len(parts))
    places, values = (np.concatenate(part) for part in zip(*parts, strict=True))
    return sparse.csc_array(sparse.csr_array((values, (rows, places)), shape=(n, q)))


def _each_column(
    structure: Structure, codes: Sequence[IntArray], Z: Sequence[FloatArray]
) -> Iterator[tuple[IntArray, FloatArray]]:
    start = 0
    for block, code, values in zip(structure.blocks, codes, Z, strict=True):
        for a in range(block.k):
            yield start + code * block.k + a, values[:, a]
        start += block.size
