"""What is wrong with a fit: errors while it runs, :class:`Check` records after it, one warning to sum them up."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgWarning
from scipy.sparse.linalg import lsmr

from interlace.core import covariance
from interlace.core.cholmod import AnyElimination
from interlace.core.newton import newton_step
from interlace.core.scaling import convert_theta
from interlace.core.streams import StreamedRows
from interlace.errors import ConvergenceWarning, ModelError, RankDeficiencyWarning
from interlace.estimate.derived import dependencies, singular_values
from interlace.estimate.problem import LinearProblem, Problem
from interlace.estimate.state import Check, FitState, State
from interlace.typing import FloatArray

__all__ = ["convergence", "diagnose", "of_every_model", "residual_left", "start_values", "warn"]

#: Condition number of the standardized fixed-effects matrix from which the user is warned.
CONDITION_LIMIT = 1e6

#: Residual variance, relative to that of least squares on the fixed effects, below which rounding hides it.
_PERFECT = 1e-13
#: The same, where a perfect fit is looked for in the rows themselves, and where the estimates lose digits.
_SUSPECT = 1e-7
_NEAR_PERFECT = 1e-9

#: Largest starting value, in standard units.
_FARTHEST = 1e6


def residual_left(problem: LinearProblem, e: AnyElimination) -> None:
    """Refuse a fit whose residual variance is zero: its likelihood has no maximum."""
    # The inner response has variance 1.
    share = e.pwrss / problem.cp.n if e.ok else 0.0
    if share < _PERFECT or (share < _SUSPECT and _interpolates(problem)):
        groups = " and ".join(repr(t.group) for t in problem.terms)
        raise ModelError(
            f"the random effects of {groups} reproduce the response {problem.design.response!r} up to rounding "
            "(perfect fit): the residual variance is zero and the likelihood has no maximum; check for repeated rows, "
            "or a response that does not vary within groups"
        )


def _interpolates(problem: LinearProblem) -> bool:
    """Whether least squares on all columns of X and Z leaves nothing of the response but rounding."""
    rows, blocks = problem.rows, problem.structure.blocks
    if isinstance(rows, StreamedRows):  # they are not there together
        return False
    n, y = rows.n, rows.Xy[:, -1]
    parts = [sparse.csr_array(rows.Xy[:, :-1])]
    for block, codes, Z in zip(blocks, rows.codes, rows.Z, strict=True):
        columns = codes[:, None] * block.k + np.arange(block.k)
        parts.append(
            sparse.csr_array((Z.reshape(-1), columns.reshape(-1), np.arange(n + 1) * block.k), (n, block.size))
        )
    V = sparse.hstack(parts, format="csr")
    solution = lsmr(V, y, atol=1e-15, btol=1e-15, conlim=0.0, maxiter=1000)[0]
    return float(np.linalg.norm(y - V @ solution)) < 1e-10 * float(np.linalg.norm(y))


def start_values(problem: Problem, theta0: FloatArray) -> FloatArray:
    """Starting values in the inner basis, from values of the right length and size in the basis of the formula."""
    theta = np.asarray(theta0, dtype=np.float64)
    expected = problem.structure.n_theta
    if theta.shape != (expected,):
        raise ValueError(f"theta0 must hold {expected} values for this model, got an array of shape {theta.shape}")
    if not np.isfinite(theta).all():
        raise ValueError("theta0 must be finite")
    with np.errstate(over="ignore"):
        inner = convert_theta(problem.terms, problem.bases, theta, to_user=False)
    if np.abs(inner).max(initial=0.0) > _FARTHEST:
        raise ValueError(
            f"theta0 is too large: a standard deviation of random effects {np.abs(inner).max():.0e} times the residual "
            f"one (limit {_FARTHEST:.0e}) leaves no digits to start from"
        )
    return inner


def diagnose(state: FitState) -> Iterator[Check]:
    """Checks of a finished fit, worst first."""
    yield from convergence(state)
    yield from _near_perfect(state)
    yield from of_every_model(state)


def of_every_model(state: State) -> Iterator[Check]:
    """Checks that linear and generalized models share, beside convergence."""
    yield from _singularity(state)
    yield from _fixed_effects(state)
    if state.problem.design.n_zero_weight:
        yield Check(
            "zero-weight",
            "info",
            "weights",
            float(state.problem.design.n_zero_weight),
            None,
            f"{state.problem.design.n_zero_weight} rows with weight 0, or with no trials, were left out of the fit",
            "nothing to do; they do not count in nobs",
        )


def convergence(state: State) -> Iterator[Check]:
    """Whether the optimizer converged."""
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
        f'a larger Control(max_iterations=...), optimizer="{other}", or simpler random effects',
    )


def _near_perfect(state: FitState) -> Iterator[Check]:
    share = (state.sigma / state.problem.response.scale) ** 2
    if share < _NEAR_PERFECT:
        yield Check(
            "near-perfect",
            "warning",
            None,
            share,
            _NEAR_PERFECT,
            f"the random effects leave only {share:.1e} of the response's variance as residual variance, so small that "
            f"variance parameters are accurate to about {max(math.log10(share / 1e-15), 0.0):.0f} digits",
            "check for repeated rows or a response that hardly varies within groups",
        )


def _singularity(state: State) -> Iterator[Check]:
    limit = state.problem.control.singular_tol
    spectra = singular_values(state)
    if all(values[0] >= limit for values in spectra):
        return
    for term, values, fixed in zip(state.problem.design.terms, spectra, dependencies(state), strict=True):
        flat = int((values < limit).sum())
        if not flat:
            continue
        text = f"({' + '.join(term.names)} | {term.group})"
        if flat == values.size:
            message = f"the variance of {text} is estimated as zero"
            advice = "the data show no variation between these groups; the term can be dropped"
        elif term.structure == "diagonal":
            names = ", ".join(repr(term.names[j]) for j in fixed)
            message = f"the variances of {names} in {text} are estimated as zero"
            advice = "drop the covariates whose variance is zero"
        else:
            equations = ", ".join(_equation(term.names, j, row) for j, row in fixed.items())
            rank = f"rank {values.size - flat} instead of {values.size}"
            message = f"the covariance matrix of {text} has {rank}: at every level {equations}"
            advice = f"use uncorrelated effects, diag(... | {term.group}), or fewer columns in the term"
        yield Check("singular", "warning", term.key, float(values[0]), limit, message, advice)


def _equation(names: Sequence[str], j: int, coefficients: FloatArray) -> str:
    """``x = 0.5 Intercept - 2 z`` for an effect that the others determine."""
    parts = [f"{c:.3g} {name}" for name, c in zip(names, coefficients, strict=True) if c]
    return f"{names[j]} = " + (" + ".join(parts).replace("+ -", "- ") or "0")


def _fixed_effects(state: State) -> Iterator[Check]:
    design, basis = state.problem.design, state.problem.basis
    kept = set(basis.kept.tolist())
    dropped = [name for j, name in enumerate(design.x_names) if j not in kept]
    if dropped:
        yield Check(
            "rank-deficient",
            "warning",
            ", ".join(dropped),
            float(len(dropped)),
            0.0,
            f"fixed-effects model matrix is rank deficient: dropped {', '.join(map(repr, dropped))}, "
            "which earlier columns determine",
            _advice_on_dropped(dropped),
        )
    condition = _condition(basis.R)
    if condition > CONDITION_LIMIT:
        yield Check(
            "ill-conditioned",
            "warning",
            None,
            condition,
            CONDITION_LIMIT,
            "fixed-effects model matrix is ill-conditioned "
            f"(condition number {condition:.1e} with columns of unit length)",
            "center and scale continuous predictors, or leave out nearly collinear ones",
        )


def _advice_on_dropped(names: Sequence[str]) -> str:
    spline = next((kind for kind in ("cr", "cs", "cc") if any(f"{kind}(" in name for name in names)), None)
    if spline is not None:
        return (
            f"beside an intercept write {spline}(..., constraints='center'), which leaves out what the intercept spans"
        )
    return "leave these columns out of the formula, or drop one category of dummy variables that sum to one"


def _condition(R: FloatArray) -> float:
    """Condition number with columns scaled to unit length, which no change of units can affect."""
    if R.shape[0] < 2:
        return 1.0
    values = covariance.singular_values(R / np.sqrt((R * R).sum(axis=0)))
    return float(values[-1] / values[0]) if values[0] > 0.0 else math.inf


_OF_THE_FIT = ("not-converged", "separation", "diverging", "no-overdispersion", "edge", "near-perfect", "singular")
_CATEGORIES: dict[str, type[Warning]] = {
    "response": UserWarning,
    "rank-deficient": RankDeficiencyWarning,
    "ill-conditioned": LinAlgWarning,
}


def warn(checks: Sequence[Check], *, stacklevel: int) -> None:
    """At most one warning of each kind for a fit, in plain words.

    Parameters
    ----------
    checks : sequence of Check
    stacklevel : int
        As in :func:`warnings.warn`, counted from the caller.
    """
    fit = [c for c in checks if c.code in _OF_THE_FIT]
    if fit:
        heading = "singular fit: " if fit[0].code == "singular" else ""
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
