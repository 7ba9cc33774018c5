"""Smaller models on the same rows: a term of the fixed or of the random effects taken away, and the fit repeated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.optimize

from interlace.core import blas
from interlace.core.dispersion import FreeTheta
from interlace.estimate.glmm import fit_glmm, starting_point
from interlace.estimate.glmm_problem import target
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.lmm import fit_design, state_at
from interlace.estimate.state import FitState, State
from interlace.frames.adapt import Table
from interlace.frames.design import Design, RandomTerm
from interlace.frames.encode import assemble
from interlace.frames.rows import Rows
from interlace.frames.terms import scope

if TYPE_CHECKING:
    from interlace.estimate.glmm_problem import GlmmProblem
    from interlace.frames.encode import Encoder
    from interlace.frames.terms import Scoped, Term
    from interlace.typing import FloatArray

__all__ = ["deletable", "fit_again", "with_fixed_terms", "with_random_effects", "without_random"]


def deletable(terms: Sequence[Term]) -> list[Term]:
    """Terms, the constant aside, that are part of no other one.

    Examples
    --------
    >>> deletable([(), ("a",), ("b",), ("a", "b"), ("c",)])
    [('a', 'b'), ('c',)]
    """
    return [term for term in terms if term and not any(set(term) < set(other) for other in terms)]


def with_fixed_terms(design: Design, terms: Sequence[Term]) -> Design:
    """The same model with some of its fixed-effects terms only.

    Parameters
    ----------
    design : Design
    terms : sequence of Term
        Among ``design.spec.formula.terms``, in their order. Factors are coded as a formula with these terms would have
        them: ``0 + f + g`` without f has a column for every level of g.

    Returns
    -------
    Design
        Its texts are those of the whole model.
    """
    blocks = scope(terms, lambda code: design.spec.encoders[code].categorical)
    X, names, assign = _columns(design, blocks, lambda code: design.spec.encoders[code])
    spec = replace(design.spec, x_names=names, blocks=blocks)
    return replace(design, X=X, x_names=names, assign=assign, spec=spec)


def with_random_effects(design: Design, number: int, terms: Sequence[Term]) -> Design:
    """The same model with fewer effects in one of its random-effects terms.

    Parameters
    ----------
    design : Design
    number : int
        Which of ``design.terms``.
    terms : sequence of Term
        Effects that are left, ``()`` for the intercept; none takes the whole term away.

    Returns
    -------
    Design
    """
    old, spec = design.terms[number], design.spec.random[number]
    left: tuple[RandomTerm, ...] = ()
    if terms:
        blocks = scope(terms, lambda code: spec.encoders[code].categorical)
        Z, names, _ = _columns(design, blocks, lambda code: spec.encoders[code])
        left = (replace(old, Z=Z, names=names),)
    return replace(design, terms=design.terms[:number] + left + design.terms[number + 1 :])


def _columns(
    design: Design, blocks: tuple[tuple[Scoped, ...], ...], encoder: Callable[[str], Encoder]
) -> tuple[FloatArray, tuple[str, ...], tuple[int, ...]]:
    """Model matrix of scoped terms on the rows in use, names of its columns and the term of each."""
    codes = {code for term in blocks for block in term for code, _ in block}
    # Expressions such as lag(x) need the rows that they then leave out.
    rows = Rows(Table(design.complete_frame), None)
    matrix, names, assign = assemble(blocks, {code: encoder(code) for code in codes}, rows)
    return np.ascontiguousarray(matrix[np.isin(design.complete, design.rows)]), names, assign


def fit_again(state: State, design: Design, *, reml: bool | None = None) -> State:
    """Fit another design as a fit was made: family, link, nodes, criterion and tolerances, by the default optimizer.

    Parameters
    ----------
    state : FitState or GlmmState
    design : Design
        With at least one random-effects term.
    reml : bool, optional
        Criterion of a linear model; that of ``state`` by default.

    Returns
    -------
    FitState or GlmmState
    """
    control = state.problem.control
    if isinstance(state, GlmmState):
        model = state.problem.model
        return fit_glmm(
            design,
            model.family,
            model.link,
            nodes=state.problem.nodes,
            free_theta=isinstance(model, FreeTheta),
            control=control,
        )
    return fit_design(design, reml=state.reml if reml is None else reml, control=control)


def without_random(state: State) -> float:
    """Criterion of the model without random effects: -2 log(likelihood), or the REML criterion for a fit by REML.

    Examples
    --------
    >>> import interlace
    >>> sleep = interlace.datasets.load("sleepstudy")
    >>> round(without_random(interlace.fit("Reaction ~ Days", sleep, groups="Subject", method="ML").state), 3)
    1900.293
    """
    if isinstance(state, GlmmState):
        return _without_random_glmm(state.problem)
    assert isinstance(state, FitState)
    return state_at(state.problem, np.zeros_like(state.theta)).criterion


def _without_random_glmm(problem: GlmmProblem) -> float:
    """Minimum of the deviance over everything but theta, which is zero."""
    deviance, n_theta = target(problem), problem.structure.n_theta
    start = starting_point(problem)
    start[:n_theta] = 0.0

    def value(free: FloatArray) -> tuple[float, FloatArray]:
        point = deviance.at(np.concatenate([start[:n_theta], free]))
        return deviance.value(point), deviance.derivatives(point).gradient[n_theta:]

    with blas.limited(problem.structure.m):
        if start.size == n_theta:
            return float(deviance(start))
        found = scipy.optimize.minimize(value, start[n_theta:], jac=True, method="BFGS", options={"gtol": 1e-6})
    return float(found.fun)
