"""What is wrong with the fit of a generalized linear mixed model, as :class:`Check` records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from interlace.core.dispersion import FreeTheta
from interlace.core.families import Binomial, NegativeBinomial, Poisson
from interlace.core.separation import separating_direction
from interlace.estimate import checks
from interlace.estimate.derived import term_covariances
from interlace.estimate.glmm_problem import LOGARITHMIC
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import Check
from interlace.typing import IntArray

if TYPE_CHECKING:
    from interlace.core.working import WorkingModel
    from interlace.frames.design import Design

__all__ = ["SEPARATION_ADVICE", "diagnose", "separated", "separation_message"]

#: Separation is looked for where a probability is so near to 0 or 1, or a mean so small beside the others.
_EXTREME = 1e-4
SEPARATION_ADVICE = (
    "look at the cross-table of the response with these predictors; merge rare categories, or drop the predictor"
)
#: Standard deviation of random effects on the scale of the linear predictor that no data can support.
_DIVERGING = 15.0
#: Range of the fixed part of the linear predictor: a factor of 1e13 between means, or between odds.
_SPREAD = 30.0
#: Share of overdispersion in the largest variance that cannot be told from none.
_NO_EXCESS = 1e-3


def diagnose(state: GlmmState) -> Iterator[Check]:
    """Checks of a finished fit, worst first."""
    yield from checks.convergence(state)
    found = list(_separation(state))
    yield from found
    if not found:
        yield from _diverging(state)
    yield from checks.of_every_model(state)
    yield from _edge(state)
    yield from _overdispersion(state)
    yield from _response(state)


def separated(design: Design, kept: IntArray, model: WorkingModel) -> list[str]:
    """Names of the coefficients along which the likelihood rises forever; none if there are no such."""
    if isinstance(model.family, Binomial) and model.link.name != "log":
        kind: Literal["binomial", "poisson"] = "binomial"
    elif isinstance(model.family, Binomial | Poisson | NegativeBinomial) and model.link.name == "log":
        kind = "poisson"  # means can vanish, but not exceed all bounds
    else:
        return []
    direction = separating_direction(design.X[:, kept], model.y, kind=kind)
    return [] if direction is None else [design.x_names[j] for j, d in zip(kept, direction, strict=True) if d]


def separation_message(names: list[str], response: str) -> str:
    """What separation means, in words."""
    return (
        f"the fixed effects {', '.join(map(repr, names))} separate the response {response!r}: they predict some rows "
        "perfectly, the likelihood rises without end along them, and their estimates and standard errors mean nothing"
    )


def _separation(state: GlmmState) -> Iterator[Check]:
    """Whether the fixed effects predict some rows perfectly, so that the likelihood rises forever."""
    model, design = state.model, state.problem.design
    mu = model.link.mu(state.fixed)
    nearest = float(np.min(np.minimum(mu, 1.0 - mu) if isinstance(model.family, Binomial) else mu / mu.mean()))
    if not model.y.any():  # all means vanish, none of them beside the others
        nearest = 0.0
    if not nearest < _EXTREME:
        return
    names = separated(design, state.kept, model)
    if names:
        yield Check(
            "separation",
            "error",
            ", ".join(names),
            nearest,
            _EXTREME,
            separation_message(names, design.response),
            SEPARATION_ADVICE,
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


def _edge(state: GlmmState) -> Iterator[Check]:
    """Whether means lie where the link would make them impossible next."""
    model, mu = state.model, state.fitted
    if not model.confined or model.link.even:
        return
    room = 1.0 - mu if isinstance(model.family, Binomial) else mu / mu.mean()
    if (nearest := float(room.min())) < _EXTREME:
        count = int((room < _EXTREME).sum())
        yield Check(
            "edge",
            "warning",
            None,
            nearest,
            _EXTREME,
            f"{count} fitted means lie at the edge of what the {model.link.name!r} link allows: the maximum is one of "
            "the edge, and standard errors do not hold there",
            "a link that takes every linear predictor",
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
