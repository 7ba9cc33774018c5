"""Log density of rows that a fit has not seen, given those that it has and its estimates.

For rows t left out of a fit to the rows r, the parameters at the estimates of that fit,

    log p(y_t | y_r) = log p(y_t, y_r) - log p(y_r),

with the random effects integrated out of both. Random effects of levels among r keep what y_r says of them, those of
other levels have their distribution in the population, and the rows of a level depend on each other as the model says.
In a linear model both terms are Gaussian and exact, from the same elimination as a fit (Bates et al., 2015, eq. 34). In
a generalized one they are integrals: by adaptive quadrature where one grouping factor makes them products of small
ones, else by Laplace's approximation, whose errors cancel in part from such a difference (Tierney and Kadane, 1986,
J. Am. Stat. Assoc. 81, 82-86).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from interlace.core.dispersion import FreeTheta
from interlace.core.familybase import Family
from interlace.core.quadrature import MAX_COLUMNS
from interlace.core.scaling import convert_theta
from interlace.errors import ModelError
from interlace.estimate.control import Control
from interlace.estimate.glmm_problem import GlmmProblem, prepare_glmm, target
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.problem import LinearProblem, objective, prepare
from interlace.estimate.state import FitState
from interlace.frames.design import Design, NewRows
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["generalized_density", "joined_density", "linear_likelihood", "refuse_convention"]

#: Nodes of the quadrature for 1, 2 and 3 random effects a level: more change the sixth digit at most.
_NODES = {1: 25, 2: 11, 3: 7}


def linear_likelihood(problem: LinearProblem, theta: FloatArray, beta: FloatArray, sigma: float) -> float:
    """Log-likelihood of a linear model at any parameters.

    Parameters
    ----------
    problem : LinearProblem
    theta : ndarray, shape (n_theta,)
        Basis of the formula.
    beta : ndarray, shape (p,)
        Kept coefficients, basis of the formula.
    sigma : float

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"), method="ML")
    >>> state = result.state
    >>> abs(linear_likelihood(state.problem, state.theta, state.beta, state.sigma) - result.llf) < 1e-9
    True
    """
    target, response = objective(replace(problem, reml=False)), problem.response
    e = target.at(convert_theta(problem.terms, problem.bases, theta, to_user=False))
    n = problem.cp.n
    # log|V| - sum log w is the profiled deviance without its part by the residual variance.
    log_det = target.value(e) - n * (1.0 + math.log(2.0 * math.pi * e.pwrss / n))
    away = (problem.basis.R @ beta - response.coefficients) / response.scale - e.beta
    squares = e.pwrss + (float(np.sum(np.linalg.solve(e.beta_root, away) ** 2)) if away.size else 0.0)
    variance = (sigma / response.scale) ** 2
    deviance = n * math.log(2.0 * math.pi * variance) + log_det + squares / variance
    return float(-0.5 * deviance - n * math.log(response.scale))


def generalized_density(problem: GlmmProblem, fitted: GlmmState, test: BoolArray, train: BoolArray) -> float:
    """Log density of some rows of a generalized model given others, at the estimates of a fit to these.

    Parameters
    ----------
    problem : GlmmProblem
        With all n rows.
    fitted : GlmmState
        The fit; levels have the same codes as in ``problem``.
    test, train : ndarray of bool, shape (n,)
        Rows whose density is meant, and rows of the fit.

    Returns
    -------
    float

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cbpp")
    >>> state = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size").state
    >>> first = state.problem.design.terms[0].codes == 0
    >>> round(generalized_density(state.problem, state, first, ~first), 3)
    -9.701
    """
    x = _parameters(problem, fitted)
    nodes = problem.nodes
    block = problem.structure.blocks[0]
    rows = test | train
    if len(problem.structure.blocks) == 1:
        # The likelihood is a product over levels: those without test rows cancel.
        with_test = np.zeros(block.q, dtype=np.bool_)
        with_test[problem.codes[0][test]] = True
        rows &= with_test[problem.codes[0]]
        if block.k <= MAX_COLUMNS:
            nodes = max(nodes, _NODES[block.k])
    fine = replace(problem, nodes=max(nodes, 1))
    given = rows & train
    with_both = target(fine.some_rows(rows))(x)
    return -0.5 * (with_both - (target(fine.some_rows(given))(x) if given.any() else 0.0))


def _parameters(problem: GlmmProblem, fitted: GlmmState) -> FloatArray:
    """Theta, beta and the further parameter of a fit in the inner basis of another problem."""
    skip = fitted.theta.size + (fitted.beta.size if fitted.problem.nodes else 0)
    theta = convert_theta(problem.terms, problem.bases, fitted.theta, to_user=False)
    return np.concatenate([theta, problem.basis.R @ fitted.beta, fitted.opt.x[skip:]])


def refuse_convention(family: Family, control: Control | None) -> None:
    """Refuse fits whose estimates belong to no likelihood.

    Raises
    ------
    ModelError

    Examples
    --------
    >>> from interlace.core.families import Gamma
    >>> refuse_convention(Gamma(), Control(dispersion="lme4"))
    Traceback (most recent call last):
    interlace.errors.ModelError: a predictive density needs a likelihood, which Control(dispersion="lme4") does not ...
    """
    if family.has_dispersion and control is not None and control.dispersion == "lme4":
        raise ModelError(
            'a predictive density needs a likelihood, which Control(dispersion="lme4") does not have: use '
            'Control(dispersion="ml")'
        )


def joined_density(
    state: FitState | GlmmState, rows: NewRows, outcome: Design, test: IntArray, levels: Sequence[IntArray]
) -> float:
    """Log density of new rows given those of a fit, at its estimates.

    Parameters
    ----------
    state : FitState or GlmmState
    rows : NewRows
        The m new rows, evaluated with what the fit has learned.
    outcome : Design
        In which the rows ``test``, shape (m,), have the response, weights and offset of the new rows.
    test : ndarray of int64, shape (m,)
    levels : sequence of ndarray of int64, shapes (m,)
        For each random-effects term of the fit a number for the level of every new row, which tells unseen levels
        apart.

    Returns
    -------
    float

    Examples
    --------
    >>> import interlace
    >>> from interlace.frames.newdata import new_rows
    >>> df = interlace.datasets.load("Dyestuff")
    >>> whole = interlace.fit("Yield ~ 1 + (1 | Batch)", df).state.problem.design
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", df[5:]).state
    >>> rows = new_rows(state.problem.design, df[:5])
    >>> round(joined_density(state, rows, whole, np.arange(5), [np.zeros(5, dtype=np.int64)]), 3)
    -28.527
    """
    design, problem = state.problem.design, state.problem
    n, m = design.y.size, test.size
    terms = []
    for term, z, codes, level in zip(design.terms, rows.Z, rows.codes, levels, strict=True):
        unseen = codes < 0
        kinds, which = np.unique(level[unseen], return_inverse=True)
        new = codes.copy()
        new[unseen] = len(term.levels) + which
        names = pd.RangeIndex(len(term.levels) + kinds.size)
        joint = np.concatenate([term.codes, new])
        terms.append(replace(term, levels=names, codes=joint, Z=np.concatenate([term.Z, z])))
    joint_design = replace(
        design,
        y=np.concatenate([design.y, outcome.y[test]]),
        X=np.concatenate([design.X, rows.X])[:, state.kept],
        x_names=tuple(design.x_names[j] for j in state.kept),
        terms=tuple(terms),
        weights=_stacked(design.weights, outcome.weights, test),
        trials=_stacked(design.trials, outcome.trials, test),
        rows=np.arange(n + m),
        offset=_stacked(design.offset, outcome.offset, test),
    )
    if isinstance(state, FitState):
        parameters = state.theta, state.beta, state.sigma
        whole = prepare(joint_design, reml=False, control=problem.control)
        return linear_likelihood(whole, *parameters) - linear_likelihood(state.problem, *parameters)
    family, link = state.problem.model.family, state.problem.model.link
    whole_problem = prepare_glmm(
        joint_design,
        family,
        link,
        nodes=state.problem.nodes,
        free_theta=isinstance(state.problem.model, FreeTheta),
        control=problem.control,
    )
    new_rows = np.arange(n + m) >= n
    return generalized_density(whole_problem, state, new_rows, ~new_rows)


def _stacked(fitted: FloatArray | None, outcome: FloatArray | None, test: IntArray) -> FloatArray | None:
    return None if fitted is None or outcome is None else np.concatenate([fitted, outcome[test]])
