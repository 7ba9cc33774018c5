"""A design in the basis and the shape in which it is optimized."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.cholmod import AnyObjective, SparseObjective, worth_it
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.objective import Objective
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.structure import Structure, analyze, with_cholmod
from interlace.core.terms import Term, gather_blocks
from interlace.estimate import refusals
from interlace.estimate.control import Control
from interlace.typing import FloatArray
from interlace.typing import Structure as CovarianceStructure

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = ["Problem", "objective", "prepare"]


@dataclass(frozen=True)
class Problem:
    """A design in the inner basis, ready to be optimized.

    Attributes
    ----------
    design : Design
    reml : bool
    control : Control
    terms : tuple of Term
        In the order of the design, covariates in the basis of the formula.
    bases : tuple of TermBasis
        To the inner basis of each term.
    basis : FixedBasis
    response : Response
    structure : Structure
    rows : Rows
        Weighted rows in the inner basis.
    cp : CrossProducts
    """

    design: Design
    reml: bool
    control: Control
    terms: tuple[Term, ...]
    bases: tuple[TermBasis, ...]
    basis: FixedBasis
    response: Response
    structure: Structure
    rows: Rows
    cp: CrossProducts

    @property
    def shapes(self) -> tuple[tuple[int, CovarianceStructure], ...]:
        """Columns and covariance structure of each term."""
        return tuple((t.k, t.structure) for t in self.terms)


def prepare(design: Design, *, reml: bool, control: Control | None = None) -> Problem:
    """Check the design, change to the inner basis and form the cross-products."""
    control = control or Control()
    refusals.identifiable(design)
    root = None if design.weights is None else np.sqrt(design.weights)
    X = design.X if root is None else design.X * root[:, None]
    y = design.y if design.offset is None else design.y - design.offset
    basis = FixedBasis.of(X, tol=control.rank_tol)
    inner_X = basis.forward(X)
    response = Response.of(inner_X, y if root is None else y * root)
    refusals.residual_spread(design, basis, response)
    terms = tuple(Term(t.group, t.codes, t.Z, len(t.levels), t.structure) for t in design.terms)
    log_weights = 0.0 if design.weights is None else float(np.log(design.weights).sum())
    typical = math.exp(log_weights / design.y.size)
    bases = tuple(TermBasis.of(t, typical_weight=typical) for t in terms)
    inner = [replace(t, Z=_weighted(t.Z @ b.M, root)) for t, b in zip(terms, bases, strict=True)]
    blocks, codes, Z = gather_blocks(inner)
    n_theta = sum(block.slots.size for block in blocks)
    structure, order = analyze(blocks, codes, basis.kept.size, n_theta)
    if worth_it(structure, [codes[i] for i in order]):
        structure, order = with_cholmod(structure, order)
    refusals.affordable(structure, terms)
    Xy = np.column_stack([inner_X, response.values])
    rows = Rows([codes[i] for i in order], [Z[i] for i in order], Xy, log_weights)
    cp = CrossProducts.from_rows(structure, rows)
    refusals.absorbed(design, bases, cp)
    return Problem(design, reml, control, terms, bases, basis, response, structure, rows, cp)


def _weighted(Z: FloatArray, root: FloatArray | None) -> FloatArray:
    return Z if root is None else Z * root[:, None]


def objective(problem: Problem) -> AnyObjective:
    """Profiled deviance in the inner basis."""
    if problem.structure.storage.cholmod:
        return SparseObjective(problem.cp, reml=problem.reml)
    return Objective(problem.cp, reml=problem.reml)
