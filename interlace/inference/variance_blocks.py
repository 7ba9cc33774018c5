"""Choose how quantities of second order are computed for a design, and what memory they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from interlace.core.crossproducts import CrossProducts
from interlace.core.factor import Elimination
from interlace.core.objective import Objective
from interlace.core.structure import LeadingStorage, Structure
from interlace.estimate.problem import LinearProblem
from interlace.inference.nested_order import NestedOrder, unit_sizes
from interlace.inference.second_order import Direction, SecondOrder
from interlace.typing import FloatArray

__all__ = ["VarianceBlocks", "gigabytes_needed", "variance_blocks"]

#: Entries of the products of the leading block with the rest, up to which they are kept as a dense array.
_DENSE = 20_000_000
#: Order of the dense matrices up to which units of nested factors are not looked at one by one.
_SMALL = 300


class _SecondOrder(Protocol):
    def traces(self, directions: list[Direction]) -> tuple[FloatArray, FloatArray]:
        """tr(P G_r) and tr(P G_r P G_s); V^-1 in place of P for ML."""

    def on_fixed(self) -> list[FloatArray]:
        """Z'V^-1 X by block."""

    def projected(self, directions: list[Direction], columns: list[FloatArray]) -> FloatArray:
        """Quadratic forms in Z'P Z."""


@dataclass(frozen=True)
class VarianceBlocks:
    """The model at one theta, with what second derivatives are computed from.

    Attributes
    ----------
    target : Objective
        With the structure that the other parts refer to.
    e : Elimination
    order : SecondOrder or NestedOrder
    phi : ndarray, shape (p, p)
        (X'V^-1 X)^-1.
    """

    target: Objective
    e: Elimination
    order: _SecondOrder
    phi: FloatArray

    def changes_of_phi(self, directions: list[Direction]) -> FloatArray:
        """Derivatives Phi X'V^-1 G_r V^-1 X Phi of Phi, shape (R, p, p)."""
        on_fixed, p = self.order.on_fixed(), self.phi.shape[0]
        out = np.empty((len(directions), p, p))
        for r, (i, E) in enumerate(directions):
            B = on_fixed[i]
            out[r] = self.phi @ np.tensordot(B, np.matmul(E, B), axes=([0, 1], [0, 1])) @ self.phi
        return out


def variance_blocks(problem: LinearProblem, x: FloatArray) -> VarianceBlocks:
    """Evaluate a problem at theta = ``x`` (inner basis), in P for REML and in V^-1 for ML."""
    order: _SecondOrder
    if _by_units(problem.structure):
        target = Objective(problem.cp, reml=problem.reml)
        e = target.at(x)
        phi = np.asarray(e.beta_root @ e.beta_root.T)
        order = NestedOrder.of(problem, e.L, phi, reml=problem.reml)
    else:
        target = _flat_objective(problem)
        e = target.at(x)
        phi = np.asarray(e.beta_root @ e.beta_root.T)
        order = SecondOrder.of(e, reml=problem.reml)
    return VarianceBlocks(target, e, order, phi)


def gigabytes_needed(structure: Structure, count: int) -> float:
    """Memory that :func:`variance_blocks` and what is computed from it take, in GB.

    Parameters
    ----------
    structure : Structure
    count : int
        Number of directions.
    """
    q, p = sum(block.size for block in structure.blocks), structure.p
    if _by_units(structure):
        squares = unit_sizes(structure).astype(np.float64) ** 2
        return float(8e-9 * (squares.sum() + 5.0 * squares.max() + 3.0 * count * q * p))
    lead, m = structure.blocks[0], _flat_size(structure)
    return 8e-9 * ((2 * count + 8) * m * m + 3 * min(lead.size * m, _DENSE) + 3 * count * q * p)


def _by_units(structure: Structure) -> bool:
    """Whether units of nested factors, one by one, are less work than the levels of all but the first together."""
    m = _flat_size(structure)
    if m <= _SMALL or structure.n_chain < len(structure.blocks):
        return False
    return bool((unit_sizes(structure).astype(np.float64) ** 3).sum() < 10.0 * float(m) ** 3)


def _flat_size(structure: Structure) -> int:
    """Order m of the final matrix with a single leading block: the other random effects, X and the response."""
    return sum(block.size for block in structure.blocks[1:]) + structure.p + 1


def _flat_objective(problem: LinearProblem) -> Objective:
    """Objective on cross-products with a single leading block and no CHOLMOD."""
    structure = problem.structure
    if structure.n_chain == 1 and not structure.storage.whole:
        return Objective(problem.cp, reml=problem.reml)
    large = structure.blocks[0].size * _flat_size(structure) > _DENSE
    flat = Structure(structure.blocks, 1, {}, structure.p, structure.n_theta, LeadingStorage(sparse=large))
    return Objective(CrossProducts.from_chunks(flat, problem.rows.chunks()), reml=problem.reml)
