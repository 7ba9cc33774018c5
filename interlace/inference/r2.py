"""Explained variance: the parts of the variance of the linear predictor, and of the responses around it.

Nakagawa and Schielzeth (2013, Methods Ecol. Evol. 4, 133-142) define marginal and conditional R2; Johnson (2014, ibid.
5, 944-946) takes the mean variance over the rows for random slopes; Nakagawa, Johnson and Schielzeth (2017, J. R. Soc.
Interface 14, 20170213) give the variance that the distribution of a generalized model adds on the scale of the linear
predictor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from scipy.special import polygamma

from interlace.core.families import Binomial
from interlace.errors import ModelError
from interlace.estimate.derived import term_covariances
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import State
from interlace.inference.submodels import fit_again

if TYPE_CHECKING:
    from interlace.core.working import WorkingModel

__all__ = ["Approximation", "Mean", "Variances", "null_state", "variances"]

Approximation: TypeAlias = Literal["theoretical", "lognormal", "delta", "trigamma"]
#: Which mean of the null model stands for the response: with random effects of zero, or averaged over them.
Mean: TypeAlias = Literal["typical", "average"]

#: Variances of the distribution behind each link of a binary response.
_LATENT = {"logit": np.pi**2 / 3.0, "probit": 1.0, "cloglog": np.pi**2 / 6.0}


@dataclass(frozen=True)
class Variances:
    """Variance on the scale of the linear predictor, by source.

    Attributes
    ----------
    fixed : float
        Of X beta over the rows.
    by_group : dict of str to float
        Mean over the rows of z'Psi z, by grouping factor.
    own : tuple of str
        Grouping factors with a level for every row, whose random effects are overdispersion.
    distribution : float
        Of the response given the linear predictor.
    null : FitState or GlmmState or None
        Fit with an intercept as its only fixed effect, if it was needed.
    """

    fixed: float
    by_group: dict[str, float]
    own: tuple[str, ...]
    distribution: float
    null: State | None = field(default=None, compare=False, repr=False)

    @property
    def random(self) -> float:
        """Of the random effects that rows share."""
        return sum(value for group, value in self.by_group.items() if group not in self.own)

    @property
    def residual(self) -> float:
        """Of the distribution and of overdispersion."""
        return self.distribution + sum(self.by_group[group] for group in self.own)

    @property
    def total(self) -> float:
        """Of everything."""
        return self.fixed + self.random + self.residual

    @property
    def marginal(self) -> float:
        """Share of the fixed effects: R2."""
        return self.fixed / self.total

    @property
    def conditional(self) -> float:
        """Share of fixed and random effects: R2."""
        return (self.fixed + self.random) / self.total

    @property
    def adjusted(self) -> float:
        """Share of the random effects in what the fixed effects leave: the intraclass correlation."""
        return self.random / (self.random + self.residual)

    @property
    def unadjusted(self) -> float:
        """Share of the random effects in everything."""
        return self.random / self.total

    @property
    def shares(self) -> dict[str, float]:
        """Share of each grouping factor in what the fixed effects leave."""
        return {group: value / (self.random + self.residual) for group, value in self.by_group.items()}


def variances(
    state: State, approximation: Approximation | None = None, mean: Mean = "typical", *, null: State | None = None
) -> Variances:
    """Decompose the variance of a fit.

    Parameters
    ----------
    state : FitState or GlmmState
    approximation : {"theoretical", "lognormal", "delta", "trigamma"}, optional
        How to find the variance of the distribution of a generalized model: that of the distribution behind the logit,
        probit or cloglog link (default for binomial responses with these), that of a lognormal or the trigamma function
        (log link; lognormal is the default for counts), or the delta method (default for everything else).
    mean : {"typical", "average"}
        At which mean of the response it is taken, of the model with an intercept as its only fixed effect.
    null : FitState or GlmmState, optional
        That model (`null_state`), if it is there already.

    Returns
    -------
    Variances

    Raises
    ------
    ValueError
        There is no such approximation, or not for this family and link.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state
    >>> found = variances(state)
    >>> round(found.marginal, 3), round(found.conditional, 3)
    (0.279, 0.799)
    """
    _check_choices(approximation, mean)
    design = state.problem.design
    own = dict.fromkeys(term.group for term in design.terms if len(term.levels) == design.n)
    predictor = state.fixed if design.offset is None else state.fixed - design.offset
    predictor = predictor - predictor[0]  # so that equal values have a variance of exactly zero
    distribution, null = _distribution(state, approximation, mean, null)
    return Variances(float(np.var(predictor, ddof=1)), _mean_variances(state), tuple(own), distribution, null)


def null_state(state: State) -> State:
    """Fit the same random effects with an intercept as the only fixed effect.

    Parameters
    ----------
    state : FitState or GlmmState

    Returns
    -------
    FitState or GlmmState
        ``state`` itself if it is such a fit.
    """
    design = state.problem.design
    X = design.X[:, state.kept]
    if X.shape[1] == 1 and np.ptp(X) == 0.0 and X[0, 0] != 0.0:
        return state
    one = replace(design, X=np.ones((len(X), 1)), x_names=("Intercept",), x_terms=("Intercept",), assign=(0,))
    return fit_again(state, one)


def _check_choices(approximation: str | None, mean: str) -> None:
    if approximation is not None and approximation not in get_args(Approximation):
        raise ValueError(
            f"approximation must be one of {', '.join(map(repr, get_args(Approximation)))}, not {approximation!r}"
        )
    if mean not in get_args(Mean):
        raise ValueError(f"mean must be 'typical' or 'average', not {mean!r}")


def _distribution(
    state: State, approximation: Approximation | None, mean: Mean, null: State | None
) -> tuple[float, State | None]:
    """Variance of the response given the linear predictor, on the scale of the latter, and the null model if used."""
    if not isinstance(state, GlmmState):
        if approximation is not None:
            raise ValueError(f"approximation={approximation!r} is for generalized models; leave it out")
        return state.sigma**2, null
    model = state.model
    link = model.link.name
    chosen = approximation or _default(model)
    if chosen == "theoretical":
        if not isinstance(model.family, Binomial) or link not in _LATENT:
            raise ModelError(
                f"approximation='theoretical' is known for binomial responses with a {', '.join(_LATENT)} link, not "
                f"for the family {model.family.name!r} with the link {link!r}; use 'delta'"
            )
        return float(_LATENT[link]), null
    for name, needs_log in ((f"approximation={chosen!r}", chosen != "delta"), (f"mean={mean!r}", mean != "typical")):
        if needs_log and link != "log":
            raise ModelError(f"{name} needs a log link, and this model has {link!r}; leave it out")
    null = null_state(state) if null is None else null
    eta = np.array([_typical(null, mean)])
    mu = model.link.mu(eta)
    spread = float(state.sigma**2 * model.family.variance(mu)[0])
    if chosen == "delta":
        return spread / float(model.link.d1(eta)[0]) ** 2, null
    relative = spread / float(mu[0]) ** 2
    return float(np.log1p(relative) if chosen == "lognormal" else polygamma(1, 1.0 / relative)), null


def _default(model: WorkingModel) -> Approximation:
    if isinstance(model.family, Binomial) and model.link.name in _LATENT:
        return "theoretical"
    if model.link.name == "log" and model.family.name in ("poisson", "negative.binomial"):
        return "lognormal"
    return "delta"


def _typical(null: State, mean: Mean) -> float:
    """Linear predictor that stands for the response."""
    eta = float(np.mean(null.fixed))
    if mean == "average":
        eta += 0.5 * sum(_mean_variances(null).values())
    return eta


def _mean_variances(state: State) -> dict[str, float]:
    """Mean over the rows of z'Psi z, by grouping factor."""
    out: dict[str, float] = {}
    for term, psi in zip(state.problem.terms, term_covariances(state), strict=True):
        value = float(np.einsum("nk,kj,nj->", term.Z, psi, term.Z)) / len(term.Z)
        out[term.group] = out.get(term.group, 0.0) + value
    return out
