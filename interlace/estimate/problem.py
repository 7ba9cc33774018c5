"""A design in the basis and the shape in which it is optimized."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from interlace.core.cholmod import AnyObjective
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.probes import Probes
from interlace.core.profiled import profiled_deviance
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.solvers import DENSE, Plan, choose
from interlace.core.structure import Structure, analyze
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
class RowMeans:
    """Means of rows in memory, computed when first asked for.

    Attributes
    ----------
    problem : LinearProblem
    beta : ndarray, shape (p,)
    modes : sequence of ndarray, shapes (q_i, k_i)
    """

    problem: LinearProblem
    beta: FloatArray
    modes: Sequence[FloatArray]

    @cached_property
    def fixed(self) -> FloatArray:
        """X beta + offset, shape (n,)."""
        design, kept = self.problem.design, self.problem.basis.kept
        fixed = (design.X if kept.size == design.X.shape[1] else design.X[:, kept]) @ self.beta
        return fixed if design.offset is None else fixed + design.offset

    @cached_property
    def fitted(self) -> FloatArray:
        """X beta + offset + Z b, shape (n,)."""
        fitted = self.fixed
        for term, b in zip(self.problem.terms, self.modes, strict=True):
            fitted = fitted + np.einsum("nk,nk->n", term.Z, b[term.codes])
        return fitted


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
    plan : Plan
        How the system of the random effects is solved.
    """

    reml: bool
    response: Response
    rows: Rows
    cp: CrossProducts
    plan: Plan = DENSE

    def means(self, beta: FloatArray, modes: Sequence[FloatArray]) -> Means:
        """Means at given coefficients, shape (p,), and modes, shapes (q_i, k_i) by term."""
        return RowMeans(self, beta, modes)


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
    plan : Plan
        The solver, and why.
    """

    terms: tuple[Term, ...]
    bases: tuple[TermBasis, ...]
    structure: Structure
    codes: list[IntArray]
    Z: list[FloatArray]
    plan: Plan


def core_terms(design: Design) -> tuple[Term, ...]:
    """Random-effects terms of a design, as the core knows them."""
    return tuple(Term(t.group, t.codes, t.Z, len(t.levels), t.structure) for t in design.terms)


def lay_out(
    terms: tuple[Term, ...],
    p: int,
    *,
    root: FloatArray | None = None,
    typical_weight: float = 1.0,
    control: Control | None = None,
    linear: bool = True,
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
    control : Control, optional
        Which solver is asked for, and how its random numbers are made.
    linear : bool
        Whether the model is linear; otherwise the solver must be dense.

    Raises
    ------
    ModelError
        The solver is not installed, or needs more memory than any ordinary machine has.
    """
    bases = tuple(TermBasis.of(t, typical_weight=typical_weight) for t in terms)
    inner = [replace(t, Z=_weighted(t.Z @ b.M, root)) for t, b in zip(terms, bases, strict=True)]
    blocks, codes, Z = gather_blocks(inner)
    n_theta = sum(block.slots.size for block in blocks)
    structure, order = analyze(blocks, codes, p, n_theta)
    control = control or Control()
    refusals.installed(control.solver)
    probes = Probes(control.seed, control.probes or Probes.count, control.probes is not None)
    structure, order, plan = choose(
        structure,
        order,
        [codes[i] for i in order],
        solver=control.solver if linear else "dense",
        probes=probes if linear else None,
    )
    refusals.affordable(structure, terms, plan)
    return Layout(terms, bases, structure, [codes[i] for i in order], [Z[i] for i in order], plan)


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
        core_terms(design),
        basis.kept.size,
        root=root,
        typical_weight=math.exp(log_weights / design.y.size),
        control=control,
    )
    rows = Rows(found.codes, found.Z, np.concatenate([inner_X, response.values[:, None]], axis=1), log_weights)
    cp = CrossProducts.from_rows(found.structure, rows)
    refusals.absorbed(design, found.bases, cp)
    terms, bases, structure = found.terms, found.bases, found.structure
    return LinearProblem(design, control, terms, bases, basis, structure, reml, response, rows, cp, found.plan)


def _weighted(Z: FloatArray, root: FloatArray | None) -> FloatArray:
    return Z if root is None else Z * root[:, None]


def objective(problem: LinearProblem) -> AnyObjective:
    """Profiled deviance in the inner basis."""
    return profiled_deviance(problem.cp, reml=problem.reml)


def by_term(problem: Problem, by_block: Sequence[FloatArray]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Columns of block arrays (q, k) and the change of basis M, for each term of the design in turn."""
    found = {}
    for block, values in zip(problem.structure.blocks, by_block, strict=True):
        for number, where in block.members:
            found[number] = values[:, where]
    for number, basis in enumerate(problem.bases):
        yield found[number], basis.M
