"""Likelihood-ratio tests of terms: random-effects terms made smaller one by one, and fixed-effects terms left out.

Where an effect is taken away whose variance may be zero, the null hypothesis is at the boundary of the parameters, and
the statistic is not chi-square distributed. Taking one effect away from k correlated ones has a half-and-half mixture
of chi-square distributions with k - 1 and k degrees of freedom (Self and Liang, 1987, JASA 82, 605-610; Stram and Lee,
1994, Biometrics 50, 1171-1177). For several effects at once the weights of the mixture depend on the information
matrix, but those of the even and of the odd degrees of freedom add up to one half each (Shapiro, 1988, Int. Stat. Rev.
56, 49-62), so the mixture of the two largest bounds the p-value from above.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.probes import difference_error as error_of_difference
from interlace.estimate.state import State
from interlace.frames.names import display
from interlace.frames.terms import scope
from interlace.inference.compare import difference_error
from interlace.inference.contrasts import chi_square_p_value
from interlace.inference.submodels import (
    deletable,
    fit_again,
    with_fixed_terms,
    with_random_effects,
    without_random,
)

if TYPE_CHECKING:
    from interlace.frames.design import Design, RandomSpec, RandomTerm
    from interlace.frames.parse import RandomPart
    from interlace.frames.terms import Term
    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Deletions", "boundary_p_value", "fixed_deletions", "random_deletions"]


@dataclass(frozen=True)
class Deletions:
    """Fits without one term each, beside the fit that they are compared with.

    Attributes
    ----------
    labels : tuple of str, length r
        What was taken away.
    base : float
        Criterion of the whole model, -2 log(likelihood) or the REML criterion.
    n_params : int
        Number of its parameters.
    criterion : ndarray, shape (r,)
        Of the smaller models.
    df : ndarray of int64, shape (r,)
        Parameters that were taken away.
    converged : ndarray of bool, shape (r,)
    monte_carlo : ndarray, shape (r,)
        Standard error of each difference due to random probes; zero for exact criteria.
    """

    labels: tuple[str, ...]
    base: float
    n_params: int
    criterion: FloatArray
    df: IntArray
    converged: BoolArray
    monte_carlo: FloatArray

    @property
    def statistic(self) -> FloatArray:
        """Differences of the criteria, shape (r,); one below zero by rounding counts as zero."""
        return np.maximum(self.criterion - self.base, 0.0)

    def p_values(self, *, boundary: bool = False) -> FloatArray:
        """Upper tail probabilities: of the chi-square distribution, or of `boundary_p_value`; NaN without parameters.

        Parameters
        ----------
        boundary : bool
        """
        p = boundary_p_value(self.statistic, self.df) if boundary else chi_square_p_value(self.statistic, self.df)
        return np.where(self.df > 0, p, np.nan)


def boundary_p_value(statistic: FloatArray, df: IntArray) -> FloatArray:
    """Upper tail of the half-and-half mixture of chi-square distributions with df - 1 and df degrees of freedom.

    Parameters
    ----------
    statistic : ndarray, shape (r,)
    df : ndarray of int64, shape (r,)

    Examples
    --------
    >>> import numpy as np
    >>> boundary_p_value(np.array([2.706, 0.0]), np.array([1, 1])).round(3)
    array([0.05, 1.  ])
    """
    statistic = np.asarray(statistic, dtype=np.float64)
    below = np.where(np.asarray(df) > 1, chi_square_p_value(statistic, np.maximum(df - 1, 1)), statistic <= 0.0)
    return np.asarray(0.5 * (below + chi_square_p_value(statistic, df)))


def random_deletions(state: State, *, reduce_terms: bool = True) -> Deletions:
    """Make each random-effects term smaller: without one of its effects, or without the whole term if it has but one.

    Parameters
    ----------
    state : FitState or GlmmState
        Compared by its own criterion, REML for a fit by REML.
    reduce_terms : bool
        False takes every term away as a whole.

    Returns
    -------
    Deletions
        In the order of the formula. A slope that is part of an interaction with another one stays.

    Notes
    -----
    ``(0 + f | g)`` of a factor f becomes ``(1 | g)``, which it contains, unless another term on g does so too. Slopes
    of a numeric covariate do not contain it, and ``(0 + x | g)`` goes as a whole.
    """
    design, labels, found = state.problem.design, [], []
    for number, part in _parts(design):
        text = _bar(part, design.terms[number])
        removed = deletable(part.terms) if reduce_terms else []
        if not removed:
            labels.append(text)
            found.append(_fit(state, with_random_effects(design, number, ())))
        for gone in removed:
            rest = [term for term in part.terms if term != gone]
            if not rest and _only_one_with_intercepts(design, number):
                rest = [()]
            labels.append(f"{_effects([gone])} in {text}")
            found.append(_fit(state, with_random_effects(design, number, rest)))
    return _deletions(state, labels, found)


def _only_one_with_intercepts(design: Design, number: int) -> bool:
    """Whether a term contains random intercepts, and no other one on its grouping factor does."""
    same = [i for i, term in enumerate(design.terms) if term.group == design.terms[number].group]
    return [i for i in same if _contains_intercepts(design, i)] == [number]


def _contains_intercepts(design: Design, number: int) -> bool:
    """Whether random intercepts are a special case: there is a constant, or an effect of each level of a factor."""
    spec, structure = design.spec.random[number], design.terms[number].structure
    codes = [[code for code, _ in block] for term in spec.blocks for block in term]
    return [] in codes or (
        structure == "unstructured" and any(all(spec.encoders[code].categorical for code in block) for block in codes)
    )


def fixed_deletions(state: State) -> Deletions:
    """Leave out each fixed-effects term that is part of no other one; the intercept stays.

    Parameters
    ----------
    state : FitState or GlmmState
        Fitted by ML.

    Returns
    -------
    Deletions
    """
    design = state.problem.design
    terms = design.spec.formula.terms
    gone = deletable(terms)
    found = [_fit(state, with_fixed_terms(design, [term for term in terms if term != one])) for one in gone]
    return _deletions(state, [_effects([one]) for one in gone], found)


def _fit(state: State, design: Design) -> tuple[float, int, bool, float]:
    """Criterion, number of parameters, whether the optimizer converged, Monte Carlo error; of another design."""
    if not design.terms:
        error = error_of_difference(state.opt.monte_carlo, None)
        return without_random(state), len(state.beta) + state.n_extra, True, error
    fit = fit_again(state, design)
    n_params = len(fit.beta) + len(fit.theta) + fit.n_extra
    return fit.criterion, n_params, fit.opt.converged, difference_error(state, fit)


def _deletions(state: State, labels: Sequence[str], found: Sequence[tuple[float, int, bool, float]]) -> Deletions:
    n_params = len(state.beta) + len(state.theta) + state.n_extra
    return Deletions(
        labels=tuple(labels),
        base=state.criterion,
        n_params=n_params,
        criterion=np.array([one[0] for one in found], dtype=np.float64),
        df=n_params - np.array([one[1] for one in found], dtype=np.int64),
        converged=np.array([one[2] for one in found], dtype=np.bool_),
        monte_carlo=np.array([one[3] for one in found], dtype=np.float64),
    )


def _parts(design: Design) -> Iterator[tuple[int, RandomPart]]:
    """Random-effects terms as the formula has them, each with its number among ``design.terms``."""
    for part in design.spec.formula.random:
        for number, spec in enumerate(design.spec.random):
            if spec.group.group == part.group and spec.blocks == _blocks(part, spec):
                yield number, part


def _blocks(part: RandomPart, spec: RandomSpec) -> object:
    """Columns that the effects of a part would have with the coding of a term; None if it is about others."""
    if any(code not in spec.encoders for term in part.terms for code in term):
        return None
    return scope(part.terms, lambda code: spec.encoders[code].categorical)


def _effects(terms: Sequence[Term]) -> str:
    """As a formula writes effects: ``Days``, ``0 + Days + z``, ``1``."""
    return " + ".join(":".join(map(display, term)) for term in terms if term) or "1"


def _bar(part: RandomPart, term: RandomTerm) -> str:
    """As a formula writes the term, with the structure that ``covariance=`` gave it."""
    start = "" if () in part.terms else "0 + "
    bar = f"({start}{_effects(part.terms)} | {part.group.name})"
    return f"diag{bar}" if term.structure == "diagonal" and len(term.names) > 1 else bar
