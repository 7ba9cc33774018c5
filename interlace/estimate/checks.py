"""What is wrong with a model or a fit: errors before, :class:`Check` records after, one warning to sum them up."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgWarning
from scipy.sparse.linalg import lsmr

from interlace.core.absorbed import left_of_blocks
from interlace.core.cholmod import AnyElimination
from interlace.core.newton import newton_step
from interlace.core.scaling import FixedBasis, Response, convert_theta
from interlace.core.structure import Structure
from interlace.core.terms import Term
from interlace.errors import ConvergenceWarning, ModelError, RankDeficiencyWarning
from interlace.estimate.state import Check, FitState
from interlace.typing import FloatArray

if TYPE_CHECKING:
    from interlace.estimate.lmm import Problem
    from interlace.frames.design import Design

__all__ = [
    "absorbed",
    "affordable",
    "diagnose",
    "identifiable",
    "residual_left",
    "residual_spread",
    "start_values",
    "warn",
]

#: Condition number of the standardized fixed-effects matrix from which the client is warned.
CONDITION_LIMIT = 1e6

#: Residual variance, relative to that of least squares on the fixed effects, below which rounding hides it.
_PERFECT = 1e-13
#: The same, where a perfect fit is looked for in the rows themselves, and where the estimates lose digits.
_SUSPECT = 1e-7
_NEAR_PERFECT = 1e-9

#: Largest starting value, in standard units.
_FARTHEST = 1e6

#: Share of a random-effects column that the fixed effects must leave for its variance to be estimated.
_ABSORBED = 1e-10

#: Largest absolute value that can be squared and summed, with room for weights.
_LARGEST = 1e70


def identifiable(design: Design) -> None:
    """Refuse models whose variance components the data cannot tell apart.

    Raises
    ------
    ModelError
        For numbers whose squares overflow, a constant response, a grouping factor with one level or with as many
        levels as rows, or a term with at least as many random effects as rows.
    """
    n = design.y.size
    _within_range(design)
    if n and design.offset is None and float(np.ptp(design.y)) == 0.0:
        raise ModelError(
            f"the response {design.response!r} is constant ({design.y[0]:g} in all {n} rows): "
            "there is nothing to explain"
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


def _within_range(design: Design) -> None:
    """Refuse numbers whose squares and products overflow or vanish."""
    parts = [(design.response, design.y), *zip(design.x_names, design.X.T, strict=True)]
    parts += [(name, z) for term in design.terms for name, z in zip(term.names, term.Z.T, strict=True)]
    parts += [(name, v) for name, v in (("weights", design.weights), ("offset", design.offset)) if v is not None]
    for name, values in parts:
        size = max(float(values.max()), -float(values.min())) if values.size else 0.0
        if size > _LARGEST or 0.0 < size < 1.0 / _LARGEST:
            raise ModelError(
                f"the values of {name!r} are of the order of {size:.0e}, too {'large' if size > 1.0 else 'small'} to "
                "be squared in double precision: change its units"
            )


def absorbed(problem: Problem) -> None:
    """Refuse random-effects columns that are zero, or that the fixed effects contain level by level."""
    for block, (total, left) in zip(problem.structure.blocks, left_of_blocks(problem.cp), strict=True):
        for number, where in block.members:
            term, back = problem.design.terms[number], problem.bases[number].inverse
            text = f"({' + '.join(term.names)} | {term.group})"
            before, after = (np.diagonal(back.T @ part[where, where] @ back) for part in (total, left))
            for name, size, rest in zip(term.names, before, after, strict=True):
                if size == 0.0:
                    raise ModelError(
                        f"column {name!r} of the random-effects term {text} is zero in every row used: "
                        "take it out of the term"
                    )
                if rest < _ABSORBED * size:
                    raise ModelError(
                        f"the fixed effects already determine {name!r} of the random-effects term {text} in every "
                        f"level of {term.group!r}, so its variance cannot be estimated: take it out of the random "
                        f"effects, or {term.group!r} out of the fixed effects"
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


#: Memory of the dense Schur complement and its companions that is refused, in GB.
_MEMORY_LIMIT = 16.0


def affordable(structure: Structure, terms: Sequence[Term]) -> None:
    """Refuse a dense Schur complement that no ordinary machine could hold, before any memory is taken.

    Raises
    ------
    ModelError
        With the size, and the remedy.
    """
    if structure.storage.cholmod:
        return
    gigabytes = 5 * 8e-9 * structure.m**2
    if gigabytes > _MEMORY_LIMIT:
        sizes = ", ".join(f"{t.group!r} ({t.n_levels} levels)" for t in terms)
        raise ModelError(
            f"the crossed grouping factors {sizes} need a dense matrix of order {structure.m} ({gigabytes:.0f} GB); "
            'where most combinations of levels are unobserved, pip install "interlace-lme[cholmod]" makes it sparse'
        )


def residual_left(problem: Problem, e: AnyElimination) -> None:
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


def _interpolates(problem: Problem) -> bool:
    """Whether least squares on all columns of X and Z leaves nothing of the response but rounding."""
    rows, blocks = problem.rows, problem.structure.blocks
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
    yield from _convergence(state)
    yield from _near_perfect(state)
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
        f'rescale predictors, try optimizer="{other}" or a larger Control(max_iterations=...), '
        "or simplify the random effects",
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
            "fixed-effects model matrix is ill-conditioned "
            f"(condition number {condition:.1e} with columns of unit length)",
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
    fit = [c for c in checks if c.code in ("not-converged", "near-perfect", "singular")]
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
