"""One record of everything that happened during an optimization."""

from __future__ import annotations

from dataclasses import dataclass, field

from interlace.typing import FloatArray

__all__ = ["OptSummary"]


@dataclass(frozen=True)
class OptSummary:
    """What an optimizer did and where it stopped.

    Attributes
    ----------
    optimizer : str
        Name of the algorithm that produced ``theta``.
    theta : ndarray, shape (n_theta,)
        Relative covariance parameters at the optimum, in lme4's order, in the inner basis: covariates orthonormal on
        average, so that nothing here depends on their units.
    value : float
        Objective (ML deviance or REML criterion) at ``theta``.
    converged : bool
        True when the stopping rule was met and the boundary test passed.
    iterations, evaluations : int
        Outer iterations, and evaluations of the objective.
    gradient : ndarray, shape (n_theta,)
        Gradient of the objective at ``theta``.
    hessian : ndarray, shape (n_theta, n_theta)
        Approximate second derivatives at ``theta`` (average information plus curvature of V).
    restarts : int
        Times the boundary test sent the optimizer back.
    message : str
        Why it stopped, in words.
    trace : tuple of (ndarray, float)
        Accepted points and their objective values.
    """

    optimizer: str
    theta: FloatArray
    value: float
    converged: bool
    iterations: int
    evaluations: int
    gradient: FloatArray
    hessian: FloatArray
    restarts: int = 0
    message: str = ""
    trace: tuple[tuple[FloatArray, float], ...] = field(default=(), repr=False)

    @property
    def gradient_norm(self) -> float:
        """Largest absolute entry of the gradient."""
        return float(abs(self.gradient).max()) if self.gradient.size else 0.0
