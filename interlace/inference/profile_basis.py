"""A problem in a basis in which chosen effects of one term come first.

The inner basis of an unstructured term may be rotated: ``Z Q`` and ``Q'b`` give the same model. Let the formula's
columns, in the order that is wanted, be Z A. With ``A = Q M^-1``, M lower triangular with a positive diagonal, the
factor of the formula in that order is ``M L``: its first row, hence the first standard deviation, is a multiple of
L_00, and the correlation of the first two effects involves three entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from interlace.core.covariance import entries
from interlace.core.rebased import rebased
from interlace.core.scaling import TermBasis
from interlace.core.terms import theta_slices
from interlace.estimate.glmm_problem import GlmmProblem
from interlace.estimate.problem import LinearProblem, Problem
from interlace.typing import FloatArray, IntArray

__all__ = ["Triangle", "effects_first", "effects_in_order"]

P = TypeVar("P", bound=Problem)


@dataclass(frozen=True)
class Triangle:
    """Where the factor of one term is among the parameters, and its way to the basis of the formula.

    Attributes
    ----------
    M : ndarray, shape (k, k)
        Lower triangular; the factor of the formula, effects in the chosen order, is M L.
    slots : ndarray of int64, shape (k, k)
        Place of every entry of L in theta; -1 where it is zero.
    """

    M: FloatArray
    slots: IntArray


def effects_in_order(problem: P, number: int) -> tuple[P, Triangle]:
    """Rotate the basis of a term so that the factor of the formula is M L, effects in the order of the formula.

    Parameters
    ----------
    problem : LinearProblem or GlmmProblem
    number : int
        The term.

    Returns
    -------
    LinearProblem or GlmmProblem
        The same model.
    Triangle
    """
    return effects_first(problem, number, ())


def effects_first(problem: P, number: int, first: Sequence[int]) -> tuple[P, Triangle]:
    """Rotate the basis of a term so that the factor of the formula is M L, with some effects before the others.

    Parameters
    ----------
    problem : LinearProblem or GlmmProblem
    number : int
        The term.
    first : sequence of int
        Effects that come first. A term without correlations keeps its order.

    Returns
    -------
    LinearProblem or GlmmProblem
        The same model.
    Triangle
    """
    k, structure = problem.shapes[number]
    rows, cols = entries(k, structure)
    slots = np.full((k, k), -1, dtype=np.int64)
    start = theta_slices(problem.shapes)[number].start
    slots[rows, cols] = start + np.arange(rows.size)
    basis = problem.bases[number]
    if structure == "diagonal" or k == 1:
        return problem, Triangle(basis.M, slots)
    order = [*first, *(j for j in range(k) if j not in first)]
    # Reversing the columns turns Q times an upper triangle into Q times a lower one.
    Q, R = np.linalg.qr(basis.inverse[:, order[::-1]])
    Q, lower = Q[:, ::-1], R[::-1, ::-1]
    signs = np.where(np.diagonal(lower) < 0.0, -1.0, 1.0)
    Q, lower = Q * signs, lower * signs[:, None]
    turned = TermBasis(basis.M @ Q, Q.T @ basis.inverse)
    bases = tuple(turned if i == number else b for i, b in enumerate(problem.bases))
    return _rotated(replace(problem, bases=bases), number, Q), Triangle(np.linalg.inv(lower), slots)


def _rotated(problem: P, number: int, Q: FloatArray) -> P:
    """Multiply the inner columns of a term by Q."""
    if isinstance(problem, LinearProblem):
        rows = problem.rows.changed(lambda part: replace(part, Z=_columns(problem, part.Z, number, Q)))
        cp = problem.cp
        for i, block in enumerate(problem.structure.blocks):
            for member, where in block.members:
                if member == number:
                    whole = np.eye(block.k)
                    whole[where, where] = Q
                    cp = rebased(cp, i, whole)
        return replace(problem, rows=rows, cp=cp)
    assert isinstance(problem, GlmmProblem)
    return replace(problem, Z=_columns(problem, problem.Z, number, Q))


def _columns(problem: Problem, Z: Sequence[FloatArray], number: int, Q: FloatArray) -> list[FloatArray]:
    out = list(Z)
    for i, block in enumerate(problem.structure.blocks):
        for member, where in block.members:
            if member == number:
                out[i] = Z[i].copy()
                out[i][:, where] = Z[i][:, where] @ Q
    return out
