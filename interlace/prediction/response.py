"""The conditional distribution of the response, in one form for linear and generalized models."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interlace.core.families import Gaussian
from interlace.core.links import Identity
from interlace.core.working import WorkingModel
from interlace.estimate.glmm_state import GlmmState

if TYPE_CHECKING:
    from interlace.core.familybase import Family
    from interlace.core.linkbase import Link
    from interlace.estimate.state import State
    from interlace.typing import BoolArray, FloatArray

__all__ = ["distribution", "has_mean", "linear_predictor", "response_model"]


def response_model(state: State) -> WorkingModel:
    """Response with its family, link and prior weights; a linear model is Gaussian with the identity link.

    Parameters
    ----------
    state : State

    Returns
    -------
    WorkingModel

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> response_model(result.state).family.name
    'gaussian'
    """
    if isinstance(state, GlmmState):
        return state.model
    design = state.problem.design
    weights = np.ones(design.y.size) if design.weights is None else design.weights
    return WorkingModel(Gaussian(), Identity(), design.y, weights)


def distribution(state: State) -> WorkingModel:
    """Family and link of the response; a linear model has no rows in it, which some fits do not keep.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> distribution(result.state).link.name
    'identity'
    """
    if isinstance(state, GlmmState):
        return state.model
    return WorkingModel(Gaussian(), Identity(), np.empty(0), np.empty(0))


def linear_predictor(state: State) -> FloatArray:
    """Linear predictor of every row given the conditional modes, shape (n,), offset included.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
    >>> linear_predictor(result.state)[:2].round(2)
    array([-0.81, -1.8 ])
    """
    return state.eta if isinstance(state, GlmmState) else state.fitted


def has_mean(family: Family, link: Link, eta: FloatArray, mu: FloatArray) -> BoolArray:
    """Where a linear predictor stands for a distribution.

    A mean that rounds to an end of its range (a probability of 1) counts as one.

    Parameters
    ----------
    family : Family
    link : Link
    eta, mu : ndarray, any shape
        Linear predictors, and the means that the link gives for them.

    Examples
    --------
    >>> import numpy as np
    >>> from interlace.core.families import Gamma
    >>> from interlace.core.familynames import link_for
    >>> eta = np.array([0.5, -0.5])
    >>> has_mean(Gamma(), link_for(Gamma(), "inverse"), eta, 1 / eta)
    array([ True, False])
    """
    return np.asarray(link.valid_eta(eta) & (family.valid_mu(mu) | (np.isfinite(mu) & np.isin(mu, family.mu_domain))))
