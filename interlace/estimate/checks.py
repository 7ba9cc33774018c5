"""What is wrong with a model or a fit: errors before it, :class:`Check` records after it, one warning to sum them up."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgWarning

from interlace.core.factor import Elimination
from interlace.core.newton import newton_step
from interlace.core.scaling import FixedBasis, Response
from interlace.errors import ConvergenceWarning, ModelError, RankDeficiencyWarning
from interlace.estimate.state import Check, FitState
from interlace.typing import FloatArray

if TYPE_CHECKING:
    from interlace.estimate.lmm import Problem
    from interlace.frames.design import Design

__all__ = ["diagnose", "identifiable", "residual_left", "residual_spread", "start_values", "warn"]

#: Condition number of the standardized fixed-effects matrix from which the client is warned.
CONDITION_LIMIT = 1e6

#: Residual variance relative to the least-squares one below which a fit counts as perfect.
_PERFECT = 1e-16


def identifiable(design: Design) -> None:
    """Refuse models whose variance components the data cannot tell apart.

    Raises
    ------
    ModelError
        For a constant response, a grouping factor with one level or with as many levels as rows, or a term with
        at least as many random effects as rows.
    """
    n = design.y.size
    if n and float(np.ptp(design.y)) == 0.0:
        raise ModelError(
            f"the response {design.response!r} is constant ({design.y[0]:g} in all {n} rows): there is nothing to explain"
        )
    for term in design.terms:
        q, k = len(term.levels), term.Z.shape[1]
        if q < 2:
            raise ModelError(
                f"grouping factor {term.group!r} has only one level in the rows used ({term.levels[0]!r}); "
                "a random effect needs at least two: drop the term or check the data"
            )
        if q >= n:
            raise ModelError(
                f"grouping factor {term.group!r} has as many levels ({q}) as there are rows ({n}); its random effects "
                "cannot be told from the residuals: use a coarser grouping factor or drop the term"
            )
        if q * k >= n:
            raise ModelError(
                f"term ({' + '.join(term.names)} | {term.group}) has {q * k} random effects ({q} levels x {k}) for {n} "
                "rows; its variances cannot be told from the residual variance: take columns out of the term"
            )


def residual_spread(design: Design, basis: FixedBasis, response: Response) -> None:
    """Refuse a response that the fixed effects reproduce exactly, and more coefficients than rows."""
    n, p = design.y.size, basis.kept.size
    if p >= n:
        raise ModelError(f"{p} fixed-effects coefficients for {n} rows: nothing is left to estimate a variance from")
    root = 1.0 if design.weights is None else np.sqrt(design.weights)
    size = float(np.linalg.norm(root * (design.y if design.offset is None else design.y - design.offset)))
    if response.scale * np.sqrt(n) <= 1e-12 * size:
        raise ModelError(
            f"the fixed effects reproduce the response {design.response!r} exactly (perfect fit): no variance is left "
            "for random effects or residuals; check whether the response was computed from the predictors"
        )


def residual_left(problem: Problem, e: Elimination) -> None:
    """Refuse a fit whose residual variance is zero: its likelihood has no maximum."""
    if not e.ok or e.pwrss / problem.cp.n < _PERFECT:
        groups = " and ".join(repr(t.group) for t in problem.terms)
        raise ModelError(
            f"the random effects of {groups} reproduce the response {problem.design.response!r} exactly (perfect fit): "
            "the residual variance is zero and the likelihood has no maximum; check for repeated rows or a response "
            "that does not vary within groups"
        )


def start_values(problem: Problem, theta0: FloatArray) -> FloatArray:
    """Starting values of the right length and finite, as an array."""
    theta = np.asarray(theta0, dtype=np.float64)
    expected = problem.structure.n_theta
    if theta.shape != (expected,):
        raise ValueError(f"theta0 must hold {expected} values for this model, got an array of shape {theta.shape}")
    if not np.isfinite(theta).all():
        raise ValueError("theta0 must be finite")
    return theta


def diagnose(state: FitState) -> Iterator[Check]:
    """Checks of a finished fit, worst first."""
    yield from _convergence(state)
    yield from _singularity(state)
    yield from _fixed_effects(state)
    if state.problem.design.n_zero_weight:
        yield Check(
            "zero-weight",
            "info",
            "weights",
            float(state.problem.design.n_zero_weight),
            None,
            f"{state.problem.design.n_zero_weight} rows with weight 0 were left out of the fit",
            "nothing to do; they do not count in nobs",
        )


def _convergence(state: FitState) -> Iterator[Check]:
    if state.opt.converged:
        return
    _, decrement = newton_step(state.opt.gradient, state.opt.hessian)
    other = "bobyqa" if state.opt.optimizer != "bobyqa" else "auto"
    yield Check(
        "not-converged",
        "error",
        None,
        decrement,
        state.problem.control.tol,
        f"optimizer did not converge: {state.opt.message} after {state.opt.evaluations} evaluations; the deviance may "
        f"still fall by about {decrement / 2:.2g}",
        f'rescale predictors, try optimizer="{other}" or a larger Control(max_iterations=...), or simplify the random effects',
    )


def _singularity(state: FitState) -> Iterator[Check]:
    from interlace.estimate.lmm import singular_values

    limit = state.problem.control.singular_tol
    for term, values in zip(state.problem.design.terms, singular_values(state), strict=True):
        flat = int((values < limit).sum())
        if not flat:
            continue
        text = f"({' + '.join(term.names)} | {term.group})"
        if flat == values.size:
            message = f"the variance of {text} is estimated as zero"
            advice = "the data show no variation between these groups; the term can be dropped"
        elif term.structure == "diagonal":
            message = f"{flat} of the {values.size} variances of {text} are estimated as zero"
            advice = "drop the covariates whose variance is zero"
        else:
            message = (
                f"the covariance matrix of {text} has rank {values.size - flat} instead of {values.size}: "
                "a variance is zero or a correlation is +-1"
            )
            advice = "use uncorrelated effects (||), or drop the covariate with the smallest variance"
        yield Check("singular", "warning", term.key, float(values[0]), limit, message, advice)


def _fixed_effects(state: FitState) -> Iterator[Check]:
    design, basis = state.problem.design, state.problem.basis
    dropped = [name for j, name in enumerate(design.x_names) if j not in set(basis.kept.tolist())]
    if dropped:
        yield Check(
            "rank-deficient",
            "warning",
            ", ".join(dropped),
            float(len(dropped)),
            0.0,
            f"fixed-effects model matrix is rank deficient: dropped {', '.join(map(repr, dropped))}, "
            "which earlier columns determine",
            "leave these columns out of the formula, or drop one category of dummy variables that sum to one",
        )
    condition = _condition(basis.R)
    if condition > CONDITION_LIMIT:
        yield Check(
            "ill-conditioned",
            "warning",
            None,
            condition,
            CONDITION_LIMIT,
            f"fixed-effects model matrix is ill-conditioned (condition number {condition:.1e} with columns of unit length)",
            "center and scale continuous predictors, or leave out nearly collinear ones",
        )


def _condition(R: FloatArray) -> float:
    """Condition number with columns scaled to unit length, which no change of units can affect."""
    if R.shape[0] < 2:
        return 1.0
    return float(np.linalg.cond(R / np.sqrt((R * R).sum(axis=0))))


_CATEGORIES: dict[str, type[Warning]] = {"rank-deficient": RankDeficiencyWarning, "ill-conditioned": LinAlgWarning}


def warn(checks: Sequence[Check], *, stacklevel: int) -> None:
    """At most one warning of each kind for a fit, in plain words.

    Parameters
    ----------
    checks : sequence of Check
    stacklevel : int
        As in :func:`warnings.warn`, counted from the caller.
    """
    fit = [c for c in checks if c.code in ("not-converged", "singular")]
    if fit:
        heading = "" if fit[0].code == "not-converged" else "singular fit: "
        text = (
            heading
            + "; ".join(c.message for c in fit)
            + ". What to try: "
            + "; ".join(dict.fromkeys(c.advice for c in fit))
        )
        warnings.warn(text, ConvergenceWarning, stacklevel=stacklevel + 1)
    for check in checks:
        category = _CATEGORIES.get(check.code)
        if category is not None:
            warnings.warn(f"{check.message}. What to try: {check.advice}", category, stacklevel=stacklevel + 1)
