"""The methods paragraph of a report: what was done, in sentences, with citations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from interlace.core.families import NegativeBinomial
from interlace.reporting.numbers import SEED
from interlace.reporting.references import cited
from interlace.results.fixed import residual_df
from interlace.results.glmm import GLMMResult

if TYPE_CHECKING:
    from interlace.frames.design import RandomTerm
    from interlace.results.intervals import Intervals

__all__ = ["Prose", "methods"]

_FAMILIES = {
    "binomial": "binomial",
    "poisson": "Poisson",
    "Gamma": "Gamma",
    "inverse.gaussian": "inverse Gaussian",
    "gaussian": "Gaussian",
    "negative.binomial": "negative binomial",
}


class Prose:
    """Sentences, and the works that they cite."""

    def __init__(self) -> None:
        self.sentences: list[str] = []
        self.keys: list[str] = ["interlace"]

    def say(self, sentence: str) -> None:
        """Add a sentence."""
        self.sentences.append(sentence)

    def cite(self, *keys: str) -> str:
        """Citation in parentheses; the works are remembered."""
        self.keys += [key for key in keys if key not in self.keys]
        return cited(*keys)

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)


def methods(result: Intervals, environment: dict[str, Any], *, bootstrap: int = 0) -> Prose:
    """Write the methods paragraph of a fit.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    environment : dict
        See `interlace.reporting.environment.environment`.
    bootstrap : int
        Replicates.

    Returns
    -------
    Prose

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> said = methods(result, {"python": "3.13.0", "packages": {"interlace-lme": "1.0"}})
    >>> said.sentences[1]
    'The model has an intercept as its only fixed effect, and a random intercept for Batch (6 levels).'
    """
    prose = Prose()
    if isinstance(result, GLMMResult):
        _generalized(result, prose)
    else:
        _linear(result, prose)
    prose.sentences.insert(1, _effects(result))
    _rows(result, prose)
    _tests(result, prose)
    if bootstrap:
        prose.say(
            f"Intervals of all parameters were also taken from the percentiles of {bootstrap} replicates of a "
            f"parametric bootstrap {prose.cite('davison1997')} with the seed {SEED}."
        )
    prose.say(
        "Influential rows and levels were looked for by Cook's distances from one-step deletions "
        f"{prose.cite('cook1977')}."
    )
    if isinstance(result, GLMMResult):
        prose.say(f"The distribution of the response was checked by quantile residuals {prose.cite('dunn1996')}.")
    packages = environment["packages"]
    others = [f"{name} {version}" for name, version in packages.items() if name != "interlace-lme"]
    behind = f", with {_listing(others)}" if others else ""
    prose.say(
        f"Computations were done with interlace {packages['interlace-lme']} in Python {environment['python']}{behind}."
    )
    return prose


def _linear(result: Intervals, prose: Prose) -> None:
    design = result.state.problem.design
    how = f"restricted maximum likelihood {prose.cite('patterson1971')}" if result.state.reml else "maximum likelihood"
    prose.say(
        f"A linear mixed-effects model {prose.cite('laird1982')} for {design.response} was fitted to {result.nobs} "
        f"observations by {how}."
    )
    prose.say(
        "The criterion was profiled and minimized over the relative covariance parameters of the random effects "
        f"{prose.cite('bates2015')}."
    )


def _generalized(result: GLMMResult, prose: Prose) -> None:
    design, family = result.state.problem.design, result.family
    named = _FAMILIES.get(family.name, family.name)
    prose.say(
        f"A generalized linear mixed-effects model {prose.cite('breslow1993')} for {design.response} with a {named} "
        f"response and the {result.link.name} link was fitted to {result.nobs} observations by maximum likelihood."
    )
    if result.call.nAGQ > 1:
        how = f"adaptive Gauss-Hermite quadrature with {result.call.nAGQ} nodes {prose.cite('pinheiro1995')}"
    else:
        how = f"Laplace's method {prose.cite('tierney1986', 'bates2015')}"
    prose.say(f"The likelihood was approximated by {how}.")
    if result.call.nAGQ == 0:
        prose.say("The fixed effects were found together with the modes of the random effects (nAGQ = 0).")
    if isinstance(family, NegativeBinomial):
        which = "estimated" if result.call.free_theta else "given"
        prose.say(f"The parameter theta of the negative binomial, {family.theta:.4g}, was {which}.")


def _effects(result: Intervals) -> str:
    """Fixed and random effects in words."""
    design = result.state.problem.design
    fixed = [name for name in design.x_terms if name != "Intercept"]
    has_intercept = "Intercept" in design.x_terms
    if fixed:
        first = f"The fixed effects are {_listing(['an intercept', *fixed] if has_intercept else fixed)}"
    else:
        first = "The model has an intercept as its only fixed effect" if has_intercept else "There are no fixed effects"
    return f"{first}, and {_listing([_random(term) for term in design.terms])}."


def _random(term: RandomTerm) -> str:
    slopes = [name for name in term.names if name != "Intercept"]
    parts = ["a random intercept"] if "Intercept" in term.names else []
    if slopes:
        parts.append(f"random slope{'s' * (len(slopes) > 1)} of {_listing(slopes)}")
    how = ""
    if len(term.names) > 1:
        how = ", uncorrelated" if term.structure == "diagonal" else ", correlated"
    return f"{_listing(parts)} for {term.group} ({len(term.levels)} levels{how})"


def _listing(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _rows(result: Intervals, prose: Prose) -> None:
    """Rows that were left out, weights, and an offset."""
    design, call = result.state.problem.design, result.call
    left_out = len(design.all_index) - result.nobs
    if left_out:
        prose.say(f"{left_out} of {len(design.all_index)} rows were left out: incomplete, or of weight zero.")
    if call.weights is not None:
        named = f" ({call.weights})" if isinstance(call.weights, str) else ""
        trials = result.call.family_name == "binomial"
        prose.say(f"Rows have {'numbers of trials' if trials else 'prior weights'}{named}.")
    if design.offset is not None:
        prose.say("An offset was part of the linear predictor.")


def _tests(result: Intervals, prose: Prose) -> None:
    if not len(result.state.beta):
        return
    method = result.call.df_method
    if method == "normal":
        prose.say(
            "Coefficients were tested by Wald's z tests; 95 % confidence intervals are from the normal distribution."
        )
        return
    how = {
        "satterthwaite": "Satterthwaite's degrees of freedom ",
        "kenward-roger": "Kenward and Roger's degrees of freedom and covariance ",
        "residual": f"the residual degrees of freedom n - p = {residual_df(result.state)}",
    }[method]
    if method == "satterthwaite":
        how += prose.cite("satterthwaite1946", "kuznetsova2017")
    elif method == "kenward-roger":
        how += prose.cite("kenward1997")
    prose.say(
        f"Coefficients were tested by t tests with {how}; 95 % confidence intervals are from the same distributions."
    )
