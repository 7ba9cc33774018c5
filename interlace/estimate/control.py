"""Options of a fit that few users need, in one record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from interlace.estimate.parallel import whole_number_of_jobs
from interlace.typing import Solver

__all__ = ["Control"]


@dataclass(frozen=True)
class Control:
    """Options for ``fit(..., control=Control(...))`` and ``glmer(..., control=Control(...))``.

    Attributes
    ----------
    extra_transforms : mapping of str to callable
        Functions that formulas may call besides the built-in ones.
    tol : float
        Stop when a Newton step promises to lower the deviance by less than half of this.
    max_iterations : int
        Limit for one run of the optimizer.
    max_restarts : int
        How often the boundary test may send the optimizer on.
    singular_tol : float
        A term is singular when the least variable direction of its random effects has a standard deviation below
        this fraction of the residual one, in a generalized model below this number (covariates in standard units).
    rank_tol : float
        A fixed-effects column is dropped when earlier ones leave less than this fraction of its length.
    dispersion : {"ml", "lme4"}
        Gamma, inverse Gaussian and Gaussian responses of ``glmer``: ``"ml"`` estimates the dispersion together with
        everything else by maximum likelihood, as glmmTMB does; ``"lme4"`` finds modes and variances with a dispersion
        of 1 and takes deviance / n for it afterwards, which maximizes no likelihood; variances of random effects are
        then theta squared times the dispersion, as lme4 1.1 has them (lme4 2.0 does not multiply).
    information : {"expected", "observed"}
        Weights in the log-determinant of the Laplace approximation, which differ where the link is not canonical:
        those of lme4, or those of glmmTMB and of the approximation's definition.
    solver : {"auto", "dense", "cholmod", "iterative"}
        How the system of crossed random effects of a linear model is solved. ``"auto"`` is exact, dense or by CHOLMOD,
        where that is estimated to take a minute and 16 GB at most, and iterative beyond, with a Monte Carlo error of
        the criterion that the fit reports; ``convergence.costs`` has the estimates.
    seed : int
        Of the random probes of ``"iterative"``; fits are compared with equal seeds only.
    probes : int, optional
        Number of probes; by default 16, or as many as make the Monte Carlo error of the criterion 0.05, 256 at most.
    n_jobs : int, optional
        Processes that read data larger than memory, where these are files (-1 for all cores, None for what
        ``joblib.parallel_config`` says); results do not depend on it.

    Examples
    --------
    >>> from interlace import Control
    >>> Control(max_iterations=50).max_iterations
    50
    """

    extra_transforms: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    tol: float = 1e-12
    max_iterations: int = 100
    max_restarts: int = 10
    singular_tol: float = 1e-4
    rank_tol: float = 1e-7
    dispersion: Literal["ml", "lme4"] = "ml"
    information: Literal["expected", "observed"] = "expected"
    solver: Solver = "auto"
    seed: int = 0
    probes: int | None = None
    n_jobs: int | None = 1

    def __post_init__(self) -> None:
        """Refuse values that could not be meant."""
        for name in ("tol", "singular_tol", "rank_tol"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and value > 0.0):
                raise ValueError(f"Control: {name} must be positive, got {value!r}")
        for name, least in (("max_iterations", 1), ("max_restarts", 0), ("seed", 0), ("probes", 2)):
            value = getattr(self, name)
            if name == "probes" and value is None:
                continue
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"Control: {name} must be a whole number of at least {least}, got {value!r}")
        for name, choices in (
            ("dispersion", ("ml", "lme4")),
            ("information", ("expected", "observed")),
            ("solver", get_args(Solver)),
        ):
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"Control: {name} must be {' or '.join(map(repr, choices))}, got {value!r}")
        whole_number_of_jobs(self.n_jobs)
