"""A design in the basis and the shape in which it is optimized."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from interlace.core.cholmod import AnyObjective, SparseObjective, worth_it
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.objective import Objective
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.structure import Structure, analyze, with_cholmod
from interlace.core.terms import Term, gather_blocks
from interlace.estimate import refusals
from interlace.estimate.control import Control
from interlace.typing import FloatArray, IntArray
from interlace.typing import Structure as CovarianceStructure

if TYPE_CHECKING:
    from interlace.frames.design import Design

__all__ = [
    "KnownMeans",
    "Layout",
    "LinearProblem",
    "Means",
    "Problem",
    "by_term",
    "core_terms",
    "lay_out",
    "objective",
    "prepare",
]


@dataclass(frozen=True)
class Problem:
    """A design in the inner basis, ready to be optimized.

    Attributes
    ----------
    design : Design
    control : Control
    terms : tuple of Term
        In the order of the design, covariates in the basis of the formula.
    bases : tuple of TermBasis
        To the inner basis of each term.
    basis : FixedBasis
    structure : Structure
    """

    design: Design
    control: Control
    terms: tuple[Term, ...]
    bases: tuple[TermBasis, ...]
    basis: FixedBasis
    structure: Structure

    @property
    def shapes(self) -> tuple[tuple[int, CovarianceStructure], ...]:
        """Columns and covariance structure of each term."""
        return tuple((t.k, t.structure) for t in self.terms)


class Means(Protocol):
    """Means of the rows of a linear model; read only, and possibly computed when asked for."""

    @property
    def fixed(self) -> FloatArray:
        """X beta + offset, shape (n,)."""

    @property
    def fitted(self) -> FloatArray:
        """X beta + offset + Z b, shape (n,)."""


class KnownMeans(NamedTuple):
    """Means that are there already."""

    fixed: FloatArray
    fitted: FloatArray


@dataclass(frozen=True)
class LinearProblem(Problem):
    """A linear model, from the cross-products of its weighted rows.

    Attributes
    ----------
    reml : bool
    response : Response
    rows : Rows
        Weighted rows in the inner basis.
    cp : CrossProducts
    """

    reml: bool
    response: Response
    rows: Rows
    cp: CrossProducts

    def means(self, beta: FloatArray, modes: Sequence[FloatArray]) -> Means:
        """Means at given coefficients, shape (p,), and modes, shapes (q_i, k_i) by term."""
        design, kept = self.design, self.basis.kept
        fixed = (design.X if kept.size == design.X.shape[1] else design.X[:, kept]) @ beta
        if design.offset is not None:
            fixed = fixed + design.offset
        fitted = fixed
        for term, b in zip(self.terms, modes, strict=True):
            fitted = fitted + np.einsum("nk,nk->n", term.Z, b[term.codes])
        return KnownMeans(fixed, fitted)


@dataclass(frozen=True)
class Layout:
    """Random-effects terms in the inner basis and in elimination order.

    Attributes
    ----------
    terms : tuple of Term
        In the order of the design, covariates in the basis of the formula.
    bases : tuple of TermBasis
    structure : Structure
    codes : list of ndarray of int64, shapes (n,)
        Per block of the structure.
    Z : list of ndarray, shapes (n, k_i)
        Weighted, in the inner basis.
    """

    terms: tuple[Term, ...]
    bases: tuple[TermBasis, ...]
    structure: Structure
    codes: list[IntArray]
    Z: list[FloatArray]


def core_terms(design: Design) -> tuple[Term, ...]:
    """Random-effects terms of a design, as the core knows them."""
    return tuple(Term(t.group, t.codes, t.Z, len(t.levels), t.structure) for t in design.terms)


def lay_out(
    terms: tuple[Term, ...],
    p: int,
    *,
    root: FloatArray | None = None,
    typical_weight: float = 1.0,
    cholmod: bool = True,
) -> Layout:
    """Choose bases and elimination order.

    Parameters
    ----------
    terms : tuple of Term
    p : int
        Fixed-effects columns in the fit.
    root : ndarray, shape (n,), optional
        Square roots of the weights, by which Z is multiplied.
    typical_weight : float
        Size of the weights, which theta is then free of.
    cholmod : bool
        Whether a sparse factorization may be used.
    """
    bases = tuple(TermBasis.of(t, typical_weight=typical_weight) for t in terms)
    inner = [replace(t, Z=_weighted(t.Z @ b.M, root)) for t, b in zip(terms, bases, strict=True)]
    blocks, codes, Z = gather_blocks(inner)
    n_theta = sum(block.slots.size for block in blocks)
    structure, order = analyze(blocks, codes, p, n_theta)
    if cholmod and worth_it(structure, [codes[i] for i in order]):
        structure, order = with_cholmod(structure, order)
    refusals.affordable(structure, terms)
    return Layout(terms, bases, structure, [codes[i] for i in order], [Z[i] for i in order])


def prepare(design: Design, *, reml: bool, control: Control | None = None) -> LinearProblem:
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
    log_weights = 0.0 if design.weights is None else float(np.log(design.weights).sum())
    found = lay_out(
        core_terms(design), basis.kept.size, root=root, typical_weight=math.exp(log_weights / design.y.size)
    )
    rows = Rows(found.codes, found.Z, np.column_stack([inner_X, response.values]), log_weights)
    cp = CrossProducts.from_rows(found.structure, rows)
    refusals.absorbed(design, found.bases, cp)
    return LinearProblem(design, control, found.terms, found.bases, basis, found.structure, reml, response, rows, cp)


def _weighted(Z: FloatArray, root: FloatArray | None) -> FloatArray:
    return Z if root is None else Z * root[:, None]


def objective(problem: LinearProblem) -> AnyObjective:
    """Profiled deviance in the inner basis."""
    if problem.structure.storage.cholmod:
        return SparseObjective(problem.cp, reml=problem.reml)
    return Objective(problem.cp, reml=problem.reml)


def by_term(problem: Problem, by_block: Sequence[FloatArray]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Columns of block arrays (q, k) and the change of basis M, for each term of the design in turn."""
    found = {}
    for block, values in zip(problem.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            found[number] = values[:, where]
    for number, basis in enumerate(problem.bases):
        yield found[number], basis.M
