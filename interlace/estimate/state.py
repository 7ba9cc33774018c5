"""The numbers of one fitted linear mixed model, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from interlace.core.optsummary import OptSummary
from interlace.estimate.problem import Problem
from interlace.typing import FloatArray, IntArray

__all__ = ["Check", "FitState"]


@dataclass(frozen=True)
class Check:
    """One thing found about a fit, with what to do about it.

    Attributes
    ----------
    code : str
        Stable identifier (``not-converged``, ``singular``, ``rank-deficient``, ...).
    severity : {"info", "warning", "error"}
    term : str or None
        Random-effects term, column or argument that it concerns.
    value, limit : float or None
        What was measured, and the limit that it was held against.
    message, advice : str
        What happened, and what to try, in plain words.
    """

    code: str
    severity: Literal["info", "warning", "error"]
    term: str | None
    value: float | None
    limit: float | None
    message: str
    advice: str


@dataclass(frozen=True)
class FitState:
    """Estimates of a linear mixed model; t terms, p kept fixed-effects columns, n rows.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
        Relative covariance parameters in lme4's order.
    beta : ndarray, shape (p,)
    beta_cov : ndarray, shape (p, p)
        Covariance of ``beta`` given theta and sigma.
    sigma : float
        Residual standard deviation.
    modes : tuple of ndarray, shapes (q_i, k_i)
        Conditional modes b of each term.
    criterion : float
        ML deviance or REML criterion, -2 log(likelihood) with lme4's constants.
    reml : bool
    kept : ndarray of int64, shape (p,)
        Columns of ``Design.X`` in the fit; the others were linearly dependent.
    fixed, fitted : ndarray, shape (n,)
        X beta + offset, and that plus Z b.
    opt : OptSummary
    checks : tuple of Check
    problem : Problem
        Cross-products and structure, for everything computed on demand.
    """

    theta: FloatArray
    beta: FloatArray
    beta_cov: FloatArray
    sigma: float
    modes: tuple[FloatArray, ...]
    criterion: float
    reml: bool
    kept: IntArray
    fixed: FloatArray
    fitted: FloatArray
    opt: OptSummary
    checks: tuple[Check, ...]
    problem: Problem
