"""Models that cannot be estimated, refused before any work is done on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from interlace.core import cholmod
from interlace.core.absorbed import left_of_blocks
from interlace.core.crossproducts import CrossProducts
from interlace.core.iterative import IterativeElimination
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.solvers import MEMORY, Plan
from interlace.core.structure import Structure
from interlace.core.terms import Term
from interlace.errors import ModelError

if TYPE_CHECKING:
    from interlace.core.cholmod import AnyElimination
    from interlace.frames.design import Design, RandomTerm
    from interlace.typing import FloatArray, Solver

__all__ = [
    "absorbed",
    "affordable",
    "enough_rows",
    "identifiable",
    "installed",
    "many_solutions",
    "residual_spread",
    "spread_left",
    "varying_response",
    "within_range",
]

#: Share of a random-effects column that the fixed effects must leave for its variance to be estimated.
_ABSORBED = 1e-10

#: Seconds that solutions by iteration may take.
_PATIENCE = 600.0

#: Largest absolute value that can be squared and summed, with room for weights.
_LARGEST = 1e70
#: Sum of squares with which, for any number of rows that fit in memory, a column is not too small either.
_SMALLEST_SQUARE = 1e-120


def identifiable(design: Design, *, residual: bool = True) -> None:
    """Refuse models whose variance components the data cannot tell apart.

    Parameters
    ----------
    design : Design
    residual : bool
        Whether a residual variance or dispersion is estimated; without one, an effect of every row is allowed.

    Raises
    ------
    ModelError
        For numbers whose squares overflow, a constant response, a grouping factor with one level or with as many
        levels as rows, or a term with at least as many random effects as rows.
    """
    n = design.y.size
    _within_range(design)
    if n and design.offset is None:
        varying_response(design.response, float(design.y.min()), float(design.y.max()), n)
    enough_rows(design.terms, n, residual=residual)


def varying_response(name: str, low: float, high: float, n: int) -> None:
    """Refuse a response that is the same in all n rows."""
    if low == high:
        raise ModelError(f"the response {name!r} is constant ({low:g} in all {n} rows): there is nothing to explain")


def enough_rows(terms: Sequence[RandomTerm], n: int, *, residual: bool = True) -> None:
    """Refuse terms with one level, or with random effects as many as rows; see :func:`identifiable`."""
    for term in terms:
        q, k = len(term.levels), len(term.names)
        if q < 2:
            raise ModelError(
                f"grouping factor {term.group!r} has only one level in the rows used ({term.levels.tolist()[0]!r}); "
                "a random effect needs at least two: drop the term or check the data"
            )
        if residual and q >= n:
            raise ModelError(
                f"grouping factor {term.group!r} has as many levels ({q}) as there are rows ({n}); its random effects "
                "cannot be told from the residuals: use a coarser grouping factor or drop the term"
            )
        if residual and q * k >= n:
            raise ModelError(
                f"term ({' + '.join(term.names)} | {term.group}) has {q * k} random effects ({q} levels x {k}) for {n} "
                "rows; its variances cannot be told from the residual variance: take columns out of the term"
            )


def _within_range(design: Design) -> None:
    """Refuse numbers whose squares and products overflow or vanish."""
    parts = [((design.response,), design.y[:, None]), (design.x_names, design.X)]
    parts += [(term.names, term.Z) for term in design.terms]
    parts += [
        ((name,), v[:, None]) for name, v in (("weights", design.weights), ("offset", design.offset)) if v is not None
    ]
    for names, values in parts:
        squares = np.einsum("nk,nk->k", values, values).tolist()
        if not all(_SMALLEST_SQUARE < square < _LARGEST**2 for square in squares):
            within_range(names, np.abs(values).max(axis=0, initial=0.0))


def within_range(names: Sequence[str], sizes: FloatArray) -> None:
    """Refuse columns of which the largest absolute value, ``sizes``, cannot be squared."""
    for name, size in zip(names, sizes.tolist(), strict=True):
        if size > _LARGEST or 0.0 < size < 1.0 / _LARGEST:
            raise ModelError(
                f"the values of {name!r} are of the order of {size:.0e}, too {'large' if size > 1.0 else 'small'} "
                "to be squared in double precision: change its units"
            )


def absorbed(design: Design, bases: Sequence[TermBasis], cp: CrossProducts) -> None:
    """Refuse random-effects columns that are zero, or that the fixed effects contain level by level."""
    for block, (total, left) in zip(cp.structure.blocks, left_of_blocks(cp), strict=True):
        for number, where in block.members:
            term, back = design.terms[number], bases[number].inverse
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
    root = 1.0 if design.weights is None else np.sqrt(design.weights)
    size = float(np.linalg.norm(root * (design.y if design.offset is None else design.y - design.offset)))
    spread_left(design.response, design.y.size, basis.kept.size, response.scale, size)


def spread_left(name: str, n: int, p: int, scale: float, size: float) -> None:
    """Refuse what :func:`residual_spread` refuses.

    Parameters
    ----------
    name : str
        Of the response.
    n, p : int
        Rows and coefficients.
    scale : float
        Standard deviation of the least-squares residuals.
    size : float
        Length of the response.
    """
    if p >= n:
        raise ModelError(f"{p} fixed-effects coefficients for {n} rows: nothing is left to estimate a variance from")
    if scale * np.sqrt(n) <= 1e-12 * size:
        raise ModelError(
            f"the fixed effects reproduce the response {name!r} exactly (perfect fit): no variance is left "
            "for random effects or residuals; check whether the response was computed from the predictors"
        )


def installed(solver: Solver) -> None:
    """Refuse CHOLMOD where scikit-sparse is not installed."""
    if solver == "cholmod" and not cholmod.is_available():
        raise ModelError(
            'solver="cholmod" needs scikit-sparse: pip install "interlace-lme[cholmod]", or leave solver out'
        )


def many_solutions(e: AnyElimination, count: int, what: str) -> None:
    """Refuse what needs so many solutions by iteration that it would take more than ten minutes.

    Parameters
    ----------
    e : Elimination
    count : int
        Systems to be solved.
    what : str
        That needs them, in the plural.
    """
    if isinstance(e, IterativeElimination):
        seconds = count * e.seconds_of_solution
        if seconds > _PATIENCE:
            raise ModelError(
                f"{what} need {count} solutions of a system that is solved by iteration, about {seconds / 3600:.1g} "
                "hours: ask for fewer of them (predict(newdata=..., se=True) for the rows of interest), or fit with "
                'control=Control(solver="cholmod") or "dense" where convergence.costs allows it'
            )


def affordable(structure: Structure, terms: Sequence[Term], plan: Plan) -> None:
    """Refuse a system that no ordinary machine could hold, before any memory is taken.

    Raises
    ------
    ModelError
        With the size, and the remedy.
    """
    cost = plan.costs.get(plan.solver)
    if cost is None or cost.gigabytes <= MEMORY:
        return
    sizes = ", ".join(f"{t.group!r} ({t.n_levels} levels)" for t in terms)
    need = {
        "dense": f"need a dense matrix of order {structure.m} ({cost.gigabytes:.0f} GB)",
        "cholmod": f"need a sparse factor that fills up to {cost.gigabytes:.0f} GB",
        "iterative": f"need {cost.gigabytes:.0f} GB even for a solution by iteration",
    }[plan.solver]
    remedies = [f'solver="{name}" ({other})' for name, other in plan.costs.items() if other.gigabytes <= MEMORY]
    if "iterative" in plan.costs and not cholmod.is_available():  # a linear model
        remedies.append(
            'where most combinations of levels are unobserved, pip install "interlace-lme[cholmod]" makes it sparse'
        )
    remedies.append("a coarser grouping factor")
    raise ModelError(
        f"the crossed grouping factors {sizes} {need}, and {MEMORY:g} GB is the limit; " + ", or ".join(remedies)
    )
