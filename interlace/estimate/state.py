"""The numbers of one fitted model, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from interlace.core.optsummary import OptSummary
from interlace.estimate.problem import LinearProblem, Means, Problem, objective
from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from interlace.core.cholmod import AnyElimination

__all__ = ["Check", "FitState", "State"]


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


class State(Protocol):
    """What the fits of linear and of generalized models have in common; read only.

    Random effects have the covariance ``unit**2 L L'``, with L the factors that theta fills.
    """

    @property
    def theta(self) -> FloatArray:
        """Covariance parameters, shape (n_theta,)."""

    @property
    def beta(self) -> FloatArray:
        """Fixed effects, shape (p,)."""

    @property
    def beta_cov(self) -> FloatArray:
        """Covariance of ``beta``, shape (p, p)."""

    @property
    def sigma(self) -> float:
        """Residual standard deviation, or root of the dispersion."""

    @property
    def unit(self) -> float:
        """Standard deviation that theta is relative to."""

    @property
    def has_scale(self) -> bool:
        """Whether a residual variance or dispersion was estimated."""

    @property
    def n_extra(self) -> int:
        """Parameters that count beside theta and beta."""

    @property
    def modes(self) -> tuple[FloatArray, ...]:
        """Conditional modes of each term, shapes (q_i, k_i)."""

    @property
    def criterion(self) -> float:
        """-2 log(likelihood), or the REML criterion."""

    @property
    def reml(self) -> bool:
        """Whether the fit is by REML."""

    @property
    def kept(self) -> IntArray:
        """Columns of X in the fit, shape (p,)."""

    @property
    def fixed(self) -> FloatArray:
        """X beta + offset, shape (n,)."""

    @property
    def fitted(self) -> FloatArray:
        """Means given the modes, shape (n,)."""

    @property
    def opt(self) -> OptSummary:
        """What the optimizer did."""

    @property
    def checks(self) -> tuple[Check, ...]:
        """What was found about the fit."""

    @property
    def problem(self) -> Problem:
        """What was optimized."""

    def elimination(self) -> AnyElimination:
        """Elimination of (Z, X) at the estimates."""


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
    means : Means
    opt : OptSummary
    checks : tuple of Check
    problem : LinearProblem
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
    means: Means
    opt: OptSummary
    checks: tuple[Check, ...]
    problem: LinearProblem

    @property
    def fixed(self) -> FloatArray:
        """X beta + offset, shape (n,)."""
        return self.means.fixed

    @property
    def fitted(self) -> FloatArray:
        """X beta + offset + Z b, shape (n,)."""
        return self.means.fitted

    @property
    def unit(self) -> float:
        """Theta is relative to the residual standard deviation."""
        return self.sigma

    @property
    def has_scale(self) -> bool:
        """A linear model has a residual variance."""
        return True

    @property
    def n_extra(self) -> int:
        """One: the residual variance."""
        return 1

    def elimination(self) -> AnyElimination:
        """Elimination at the estimates (inner basis), for quantities computed on demand."""
        found: AnyElimination = objective(self.problem).at(self.opt.x)
        return found
