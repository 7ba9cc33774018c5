"""What is wrong with the fit of a generalized linear mixed model, as :class:`Check` records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from interlace.core.dispersion import FreeTheta
from interlace.core.families import Binomial, NegativeBinomial, Poisson
from interlace.core.separation import separating_direction
from interlace.estimate import checks
from interlace.estimate.derived import term_covariances
from interlace.estimate.glmm_problem import LOGARITHMIC
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import Check

__all__ = ["diagnose"]

#: Linear predictor from which separation is looked for: probabilities within 5e-5 of 0 or 1.
_EXTREME = 10.0
#: Standard deviation of random effects on the scale of the linear predictor that no data can support.
_DIVERGING = 15.0
#: Range of the fixed part of the linear predictor: a factor of 1e13 between means, or between odds.
_SPREAD = 30.0
#: Share of overdispersion in the largest variance that cannot be told from none.
_NO_EXCESS = 1e-3


def diagnose(state: GlmmState) -> Iterator[Check]:
    """Checks of a finished fit, worst first."""
    yield from checks.convergence(state)
    separated = list(_separation(state))
    yield from separated
    if not separated:
        yield from _diverging(state)
    yield from checks.of_every_model(state)
    yield from _overdispersion(state)
    yield from _response(state)


def _separation(state: GlmmState) -> Iterator[Check]:
    """Whether the fixed effects predict some rows perfectly, so that the likelihood rises forever."""
    model, problem = state.model, state.problem
    design = problem.design
    if isinstance(model.family, Binomial) and model.link.name != "log":
        kind: Literal["binomial", "poisson"] = "binomial"
    elif isinstance(model.family, Poisson) and model.link.name == "log":
        kind = "poisson"
    else:
        return
    largest = float(np.abs(state.fixed - problem.offset).max(initial=0.0))
    if largest < _EXTREME:
        return
    direction = separating_direction(design.X[:, state.kept], model.y, kind=kind)
    if direction is None:
        return
    names = [design.x_names[j] for j, d in zip(state.kept, direction, strict=True) if d]
    listed = ", ".join(map(repr, names))
    yield Check(
        "separation",
        "error",
        ", ".join(names),
        largest,
        _EXTREME,
        f"the fixed effects {listed} separate the response {design.response!r}: they predict some rows perfectly, the "
        "likelihood rises without end along them, and their estimates and standard errors mean nothing",
        "look at the cross-table of the response with these predictors; merge rare categories, or drop the predictor",
    )


def _diverging(state: GlmmState) -> Iterator[Check]:
    """Whether variances run away, as they do where every level has only one kind of response."""
    if state.model.link.name not in LOGARITHMIC:
        return
    design = state.problem.design
    for term, basis, psi in zip(design.terms, state.problem.bases, term_covariances(state), strict=True):
        standard = basis.inverse @ psi @ basis.inverse.T
        sd = float(np.sqrt(np.diagonal(standard).max(initial=0.0)))
        if sd > _DIVERGING:
            yield Check(
                "diverging",
                "error",
                term.key,
                sd,
                _DIVERGING,
                f"the standard deviation of ({' + '.join(term.names)} | {term.group}) runs away ({sd:.3g} on the scale "
                "of the linear predictor): the response hardly varies within the levels",
                f"a coarser grouping factor than {term.group!r}, or no random effect of it",
            )
    spread = float(np.ptp(state.fixed - state.problem.offset)) if state.fixed.size else 0.0
    if spread > _SPREAD:
        yield Check(
            "diverging",
            "error",
            None,
            spread,
            _SPREAD,
            f"the fixed effects spread the linear predictor over {spread:.3g} units of the {state.model.link.name!r} "
            "scale: coefficients run away, and their estimates and standard errors mean nothing",
            "look at the response and the predictors of the rows with extreme fitted values",
        )


def _overdispersion(state: GlmmState) -> Iterator[Check]:
    """Whether the theta of a negative binomial has run off to infinity, which is the Poisson distribution."""
    family = state.model.family
    if not (isinstance(state.model, FreeTheta) and isinstance(family, NegativeBinomial)):
        return
    excess = float(np.max(state.fitted, initial=0.0)) / family.theta
    if excess < _NO_EXCESS:
        yield Check(
            "no-overdispersion",
            "warning",
            None,
            family.theta,
            None,
            f"theta runs off to infinity ({family.theta:.3g}): given the random effects, the counts of "
            f"{state.problem.design.response!r} vary no more than Poisson counts do",
            'the Poisson model: glmer(..., family="poisson")',
        )


def _response(state: GlmmState) -> Iterator[Check]:
    """What is suspicious about the response."""
    model = state.model
    trials = model.weights if model.trials is None else model.trials
    text = model.family.response_warning(model.y, trials)
    if text:
        yield Check(
            "response",
            "warning",
            state.problem.design.response,
            None,
            None,
            f"response {state.problem.design.response!r}: {text}",
            "check the response and the weights; binomial weights are numbers of trials",
        )
