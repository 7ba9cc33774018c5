"""One record of everything that happened during an optimization."""

from __future__ import annotations

from dataclasses import dataclass, field

from interlace.core.probes import MonteCarlo
from interlace.typing import FloatArray

__all__ = ["OptSummary"]


@dataclass(frozen=True)
class OptSummary:
    """What an optimizer did and where it stopped.

    Attributes
    ----------
    optimizer : str
        Name of the algorithm that produced ``x``.
    x : ndarray, shape (r,)
        Parameters at the optimum, in the inner basis: covariates orthonormal on average, so that nothing here depends
        on their units. First theta, the relative covariance parameters in lme4's order; in a generalized model beta
        follows, and then the logarithm of the dispersion or of a negative binomial's theta where it is estimated.
    value : float
        Objective (ML deviance or REML criterion) at ``x``.
    converged : bool
        True when the stopping rule was met and the boundary test passed.
    iterations, evaluations : int
        Outer iterations, and evaluations of the objective.
    gradient : ndarray, shape (r,)
        Gradient of the objective at ``x``.
    hessian : ndarray, shape (r, r)
        Approximate second derivatives at ``x`` (average information plus curvature of V).
    restarts : int
        Times the boundary test sent the optimizer back.
    message : str
        Why it stopped, in words.
    trace : tuple of (ndarray, float)
        Accepted points and their objective values.
    monte_carlo : MonteCarlo or None
        Errors due to random probes, where the log-determinant was estimated.
    """

    optimizer: str
    x: FloatArray
    value: float
    converged: bool
    iterations: int
    evaluations: int
    gradient: FloatArray
    hessian: FloatArray
    restarts: int = 0
    message: str = ""
    trace: tuple[tuple[FloatArray, float], ...] = field(default=(), repr=False)
    monte_carlo: MonteCarlo | None = field(default=None, repr=False)

    @property
    def gradient_norm(self) -> float:
        """Largest absolute entry of the gradient."""
        return float(abs(self.gradient).max()) if self.gradient.size else 0.0
