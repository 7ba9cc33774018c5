"""From the parts of all sites to the fit of all rows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.core.scaling import FixedBasis, Response, independent_columns
from interlace.core.streams import StreamedRows
from interlace.core.sums import LevelSums, cross_products, root_of_gram
from interlace.core.terms import Term
from interlace.errors import DataError, hints_at
from interlace.estimate import refusals
from interlace.estimate.checks import warn
from interlace.estimate.control import Control
from interlace.estimate.lmm import fit_problem
from interlace.estimate.problem import Layout, lay_out
from interlace.federated.design import FederatedDesign, FederatedProblem, no_rows, refusal
from interlace.federated.parts import Part
from interlace.federated.plans import Plan
from interlace.results.call import OTHER_SPELLINGS, FitCall
from interlace.results.lmm import LMMResult
from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.typing import DfMethod, Method, Optimizer

__all__ = ["fit"]


@hints_at(OTHER_SPELLINGS)
def fit(
    plan: Plan,
    parts: Part | str | os.PathLike[str] | Sequence[Part | str | os.PathLike[str]],
    *,
    method: Method = "REML",
    optimizer: Optimizer = "auto",
    theta0: ArrayLike | None = None,
    df_method: DfMethod = "satterthwaite",
    control: Control | None = None,
) -> LMMResult:
    """Fit a linear mixed model from the sums of several sites; the result is that of all their rows.

    Parameters
    ----------
    plan : Plan
        The one that the parts were made with.
    parts : Part, path, or sequence of them
        One for each site, or sums of such; paths are files that ``Part.save`` wrote.
    method, optimizer, theta0, df_method, control
        As for ``interlace.fit``.

    Returns
    -------
    LMMResult
        Everything that rows are not needed for. :func:`interlace.federated.at_site` gives fitted values and residuals
        where the rows are.

    Raises
    ------
    DataError
        A part belongs to another plan, two are of one site, or a file is damaged.
    ModelError
        The sums cannot identify the model, as for rows.

    Warns
    -----
    ConvergenceWarning, RankDeficiencyWarning, scipy.linalg.LinAlgWarning
        As ``interlace.fit``.

    Notes
    -----
    A linear mixed model depends on the data through cross-products only (Bates, Maechler, Bolker and Walker, 2015,
    J. Stat. Softw. 67(1), section 3), which are sums over rows and hence over sites. Nothing is approximated, and
    nothing is asked of the sites again.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> plan = interlace.federated.plan("Reaction ~ Days + (Days | Subject)")
    >>> young, old = df[df.Subject.astype(int) < 335], df[df.Subject.astype(int) >= 335]
    >>> parts = [interlace.federated.summarize(plan, rows, site) for rows, site in ((young, "A"), (old, "B"))]
    >>> result = interlace.federated.fit(plan, parts)
    >>> result
    <LMMResult: Reaction ~ Days + (Days | Subject), REML, 180 rows>
    >>> round(result.reml_criterion, 4)
    1743.6283
    """
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be an interlace.federated.Plan, not {type(plan).__name__}")
    total = _pooled(plan, parts)
    call = FitCall(
        plan.formula,
        total,
        method=method,
        weights=plan.weights,
        offset=plan.offset,
        optimizer=optimizer,
        theta0=theta0,
        covariance=dict(plan.covariance) or None,
        contrasts=dict(plan.contrasts) or None,
        df_method=df_method,
        control=control,
    )
    problem = _problem(total, reml=method == "REML", control=control or Control())
    state = fit_problem(problem, optimizer=optimizer, theta0=call.start_values())
    warn(state.checks, stacklevel=3)  # the caller of the decorated function
    return LMMResult(state, call)


def _pooled(plan: Plan, parts: Any) -> Part:
    """Sum of all parts."""
    # A data frame or a dict would be gone through by its names, which are no paths.
    several = isinstance(parts, Iterable) and not isinstance(parts, str | os.PathLike | pd.DataFrame | Mapping)
    listed = list(parts) if several else [parts]
    if not listed:
        raise DataError("parts is empty: give the part of one site at least")
    found = []
    for part in listed:
        if not isinstance(part, Part | str | os.PathLike):
            raise TypeError(
                f"parts must be parts or paths of their files, or a list of them, not {type(part).__name__}; "
                "summarize() makes a part of rows"
            )
        found.append(part if isinstance(part, Part) else Part.load(part))
    for part in found:
        differences = plan.differences(part.plan)
        if differences:
            raise DataError(f"the part of {', '.join(map(repr, part.sites))} was made with another plan: {differences}")
    return reduce(add, found)


def _problem(part: Part, *, reml: bool, control: Control) -> FederatedProblem:
    """Choose bases as for rows, and carry the sums to them."""
    design, sums = _design(part)
    refusals.enough_rows(design.terms, sums.n)
    basis, response, to_inner = _fixed(part, sums, control)
    refusals.spread_left(design.response, sums.n, basis.kept.size, response.scale, _length(part, sums))
    layout, order, T = _random(part, design, sums, basis.kept.size, control)
    inner = sums.carried(T, to_inner)
    cp = cross_products(layout.structure, inner, order)
    refusals.absorbed(design, layout.bases, cp)
    rows = StreamedRows(no_rows, sums.n, sums.log_weights, refusal)
    terms, bases, structure = layout.terms, layout.bases, layout.structure
    return FederatedProblem(design, control, terms, bases, basis, structure, reml, response, rows, cp, layout.plan)


def _design(part: Part) -> tuple[FederatedDesign, LevelSums]:
    """Names, and the sums with levels in their order."""
    plan, sums = part.plan, part.sums
    columns: dict[str, list[Any]] = {}
    for f, group in enumerate(plan.groups):
        for j, column in enumerate(group.columns):
            columns[column] = [part.labels[f][level][j] for level in sums.meetings[:, f]]
    grouping = pd.DataFrame(columns)
    encoding = plan.evaluated(grouping)
    by_group = {term.group: term for term in encoding.terms}
    places, labels = [], []
    for f, group in enumerate(plan.groups):
        place = np.empty(sums.sizes[f], dtype=np.int64)
        place[sums.meetings[:, f]] = by_group[group.name].codes
        places.append(place)
        named = dict(zip(place.tolist(), part.labels[f], strict=True))
        labels.append(tuple(named[level] for level in range(place.size)))
    return FederatedDesign(encoding, part, tuple(labels), grouping), sums.placed(places, sums.sizes)


def _fixed(part: Part, sums: LevelSums, control: Control) -> tuple[FixedBasis, Response, FloatArray]:
    """Basis of X, least-squares response, and the matrix that carries [X | y] of the sums to the inner basis.

    Everything is read off the triangular factor of centered and scaled columns; only what goes into the basis of the
    formula is multiplied by the constants.
    """
    raw, p = part.v.raw, sums.root.shape[0] - 1
    kept = independent_columns((sums.root @ raw)[:, :p], tol=control.rank_tol)
    chosen = np.append(kept, p)
    R = np.asarray(np.linalg.qr(sums.root[:, chosen], mode="r"))
    k = kept.size
    root, of_y, left = R[:k, :k], R[:k, k], abs(float(R[k, k]))
    basis = FixedBasis(kept, root @ raw[np.ix_(kept, kept)])
    unit, spread = part.v.scale[p], left / math.sqrt(max(sums.n - k, 1))
    coefficients = root @ raw[kept, p] + unit * of_y
    to_inner = np.zeros((p + 1, k + 1))
    to_inner[kept, :k] = np.linalg.inv(root)
    to_inner[kept, k] = -to_inner[kept, :k] @ of_y
    to_inner[p, k] = 1.0
    to_inner[:, k] /= spread if spread > 0.0 else 1.0
    return basis, Response(np.empty(0), coefficients, unit * spread), to_inner


def _length(part: Part, sums: LevelSums) -> float:
    """Length of the weighted response."""
    return float(np.linalg.norm((sums.root @ part.v.raw)[:, -1]))


def _random(
    part: Part, design: FederatedDesign, sums: LevelSums, p: int, control: Control
) -> tuple[Layout, list[int], list[FloatArray]]:
    """Bases and order of elimination; the factor of each block, and what carries its columns to the inner basis."""
    plan, typical = part.plan, math.exp(sums.log_weights / sums.n)
    of_group = {group.name: f for f, group in enumerate(plan.groups)}
    raw = [constants.raw for constants in part.u]
    roots = [root_of_gram(own.sum(axis=0) / typical) for own in sums.own]
    where = _columns(plan)
    height = max(root.shape[0] for root in roots)
    terms = []
    for i, term in zip(design.order, design.terms, strict=True):
        f = of_group[term.group]
        Z = np.zeros((height, len(term.names)))
        Z[: roots[f].shape[0]] = (roots[f] @ raw[f])[:, where[i]] * math.sqrt(height / sums.n)
        terms.append(Term(term.group, _seen(sums, f), Z, len(term.levels), term.structure))
    layout = lay_out(tuple(terms), p, typical_weight=typical, control=control)
    order, T = [0] * len(raw), list(raw)
    for b, block in enumerate(layout.structure.blocks):
        numbers = [number for number, _ in block.members]
        order[b] = of_group[terms[numbers[0]].group]
        T[order[b]] = np.concatenate(
            [raw[order[b]][:, where[design.order[i]]] @ layout.bases[i].M for i in numbers], axis=1
        )
    return layout, order, T


def _columns(plan: Plan) -> list[slice]:
    """Columns of each random-effects term of the formula among those of its grouping factor."""
    stops: dict[str, int] = {}
    out = []
    for term in plan.encoding.spec.random:
        group = term.group.group.name
        start = stops.get(group, 0)
        stops[group] = start + len(term.names)
        out.append(slice(start, stops[group]))
    return out


def _seen(sums: LevelSums, f: int) -> IntArray:
    """Level of a factor in each combination of levels that occurs, from which the structure is analyzed."""
    return np.ascontiguousarray(sums.meetings[:, f])
