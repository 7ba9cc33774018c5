"""Variance inflation factors of the fixed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from interlace.estimate.state import State

__all__ = ["Inflation", "variance_inflation"]


class Inflation(NamedTuple):
    """Generalized variance inflation factor of one term with ``df`` coefficients."""

    term: str
    gvif: float
    df: int

    @property
    def per_coefficient(self) -> float:
        """GVIF^(1/df), on the scale of the factor of a single coefficient."""
        return float(self.gvif ** (1.0 / self.df))


def variance_inflation(state: State) -> tuple[Inflation, ...]:
    """How much the other terms inflate the squared confidence region of each fixed-effects term.

    GVIF = det R_11 det R_22 / det R, with R the correlation matrix of all coefficients but those of constant columns,
    1 the coefficients of the term and 2 the others.

    Parameters
    ----------
    state : State

    Returns
    -------
    tuple of Inflation
        Empty where there are fewer than two terms.

    References
    ----------
    Fox, J. and Monette, G. (1992). Generalized collinearity diagnostics. Journal of the American Statistical
    Association 87, 178-183.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy").assign(Late=lambda d: d["Days"] > 4)
    >>> state = interlace.fit("Reaction ~ Days + Late + (1 | Subject)", df).state
    >>> [(found.term, round(found.gvif, 3)) for found in variance_inflation(state)]
    [('Days', 4.125), ('Late', 4.125)]
    """
    design = state.problem.design
    varying = np.ptp(design.X[:, state.kept], axis=0) > 0.0
    term = np.asarray(design.assign, dtype=np.int64)[state.kept][varying]
    covariance = state.beta_cov[np.ix_(varying, varying)]
    numbers = np.unique(term)
    if numbers.size < 2 or not np.isfinite(covariance).all():
        return ()
    sd = np.sqrt(np.diagonal(covariance))
    R = covariance / np.outer(sd, sd)
    out = []
    for number in numbers:
        own = term == number
        parts = [R[np.ix_(some, some)] for some in (own, ~own)]
        logs = [float(np.linalg.slogdet(part)[1]) for part in (*parts, R)]
        out.append(Inflation(design.x_terms[number], float(np.exp(logs[0] + logs[1] - logs[2])), int(own.sum())))
    return tuple(out)
