"""What a site does: sum its rows up, and later look at them with the pooled result."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.core.streams import with_rows
from interlace.core.sums import Constants, LevelSums
from interlace.errors import DataError
from interlace.federated.cells import few_values, refuse_small_cells
from interlace.federated.design import FederatedDesign
from interlace.federated.evaluation import Evaluated, evaluate_rows
from interlace.federated.labels import Labels, Publisher, ranks
from interlace.federated.parts import Extras, Part
from interlace.federated.plans import Plan
from interlace.frames.evaluate import inspect
from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray

if TYPE_CHECKING:
    from interlace.results.lmm import LMMResult

__all__ = ["at_site", "summarize"]


def summarize(plan: Plan, data: FrameLike, site: str, *, min_cell: int = 5, secret: str | None = None) -> Part:
    """Sum the rows of a site up, so that they need not leave it.

    Parameters
    ----------
    plan : Plan
        The same at all sites.
    data : data frame or mapping
        The site's rows. Those with a missing value in a column in use are left out.
    site : str
        Name of the site, different from those of others.
    min_cell : int
        Rows over which a sum with a response, a covariate or a weight in it must be at least; 1 allows everything.
    secret : str, optional
        Key by which labels of grouping factors are replaced by digests. Sites that share levels need the same one;
        whoever pools the parts must not know it.

    Returns
    -------
    Part
        See ``Part.disclosed`` for what is in it.

    Raises
    ------
    FormulaError, DataError
        A column is missing or is not what the plan takes it for, a level is not in the plan, or a cell is too small.

    Examples
    --------
    >>> import interlace
    >>> plan = interlace.federated.plan("Reaction ~ Days + (Days | Subject)")
    >>> interlace.federated.summarize(plan, interlace.datasets.load("sleepstudy"), site="A")
    <Part of 'A': 180 rows, 18 levels of 'Subject'>
    >>> interlace.federated.summarize(plan, interlace.datasets.load("sleepstudy").head(13), site="B")
    Traceback (most recent call last):
    interlace.errors.DataError: site 'B': one level of 'Subject' has too few rows, Subject '309' only 3 ...
    """
    _check_plan(plan)
    _check_min_cell(min_cell)
    publisher = Publisher(plan, site, secret)
    found = evaluate_rows(plan, data, site)
    refuse_small_cells(plan, found, site, int(min_cell))
    return _part(plan, found, publisher, int(min_cell))


def _check_min_cell(min_cell: object) -> None:
    if isinstance(min_cell, bool) or not isinstance(min_cell, int | np.integer) or min_cell < 1:
        raise ValueError(f"min_cell must be a whole number, 1 or more, not {min_cell!r}")


def _check_plan(plan: object) -> None:
    if not isinstance(plan, Plan):
        raise TypeError(f"plan must be an interlace.federated.Plan, not {type(plan).__name__}; plan(formula) makes one")


def _part(plan: Plan, found: Evaluated, publisher: Publisher, min_cell: int) -> Part:
    named = [_published(publisher, found, f) for f in range(len(plan.groups))]
    codes, labels = [codes for codes, _ in named], tuple(labels for _, labels in named)
    y = found.y if found.offset is None else found.y - found.offset
    V = np.column_stack([found.X, y])
    U, u = [], []
    spec = plan.encoding.spec
    for group in plan.groups:
        numbers = [i for i, term in enumerate(spec.random) if term.group.group.name == group.name]
        names = [name for i in numbers for name in spec.random[i].names]
        columns, constants = _standardized(np.concatenate([found.Z[i] for i in numbers], axis=1), names)
        U.append(columns)
        u.append(constants)
    V, v = _standardized(V, [*spec.x_names, ""])
    log_weights, root_of_x = 0.0, None
    if found.weights is not None:
        root_of_x = with_rows(np.zeros((V.shape[1] - 1, V.shape[1] - 1)), V[:, :-1])
        log_weights, root = float(np.log(found.weights).sum()), np.sqrt(found.weights)[:, None]
        U, V = [columns * root for columns in U], V * root
    sums = LevelSums.of_rows(codes, [len(names) for names in labels], U, V, log_weights)
    return Part(plan, (publisher.site,), min_cell, sums, v, tuple(u), labels, _extras(plan, found, root_of_x))


def _published(publisher: Publisher, found: Evaluated, f: int) -> tuple[IntArray, Labels]:
    """Codes and published labels of a grouping factor, in the order of the labels."""
    spec, codes, rows = found.groups[f], found.codes[f], found.rows
    first = np.unique(codes, return_index=True)[1]
    columns = []
    for column in spec.group.columns:
        of_column, levels = rows.factor(column)
        columns.append([publisher.label(column, level) for level in levels.take(of_column[first]).tolist()])
    labels = list(zip(*columns, strict=True))
    order = ranks(labels)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return place[codes], tuple(labels[i] for i in order)


def _standardized(columns: FloatArray, names: Sequence[str]) -> tuple[FloatArray, Constants]:
    """Columns in units of their spread, around their means where there is an intercept to move them by."""
    constant = names.index("Intercept") if "Intercept" in names else None
    center = np.zeros(columns.shape[1])
    if constant is not None:
        center = np.where(np.array(names) == "Intercept", 0.0, columns.mean(axis=0))
    scale = np.sqrt(((columns - center) ** 2).mean(axis=0))
    # A column of one value leaves rounding, which is not a unit.
    flat = scale <= 1e-14 * np.abs(columns).max(axis=0, initial=0.0)
    scale = np.where(flat | (np.array(names) == "Intercept"), 1.0, scale)
    return (columns - center) / scale, Constants(center, scale, constant)


def _extras(plan: Plan, found: Evaluated, root_of_x: FloatArray | None) -> Extras:
    codes = [code for term in plan.parsed.terms for code in term]
    fixed = dict.fromkeys(name for code in codes for name in inspect(code).columns)
    numbers = {name: found.rows.numbers(name) for name in fixed if name not in plan.levels}
    values = {name: few_values(column) for name, column in numbers.items()}
    seen: dict[tuple[str, str], BoolArray] = {}
    levels = {name: pd.Index(list(plan.levels[name])) for name in fixed if name in plan.levels}
    factors = {name: found.rows.known_codes(name, index) for name, index in levels.items()}
    for a, b in combinations_with_replacement(factors, 2):
        seen[a, b] = np.zeros((len(plan.levels[a]), len(plan.levels[b])), dtype=np.bool_)
        seen[a, b][factors[a], factors[b]] = True
    return Extras(
        root_of_x,
        0.0 if found.offset is None else float(found.offset.sum()),
        found.n_zero,
        {name: float(column.sum()) for name, column in numbers.items()},
        {name: tuple(few.tolist()) for name, few in values.items() if few is not None},
        seen,
    )


def at_site(result: LMMResult, plan: Plan, data: FrameLike, site: str, *, secret: str | None = None) -> pd.DataFrame:
    """Fitted values and residuals of a site's own rows under the pooled result.

    Parameters
    ----------
    result : LMMResult
        Of :func:`interlace.federated.fit`.
    plan : Plan
    data : data frame or mapping
        The site's rows.
    site, secret
        As in :func:`summarize`, so that its levels are found again.

    Returns
    -------
    DataFrame, shape (n, 2)
        ``fitted`` and ``resid`` of the rows in use, indexed as ``data``.

    Raises
    ------
    DataError
        The result does not know a level of these rows: another site or secret.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> plan = interlace.federated.plan("Reaction ~ Days + (Days | Subject)")
    >>> part = interlace.federated.summarize(plan, df, site="A", secret="not to be known to others")
    >>> result = interlace.federated.fit(plan, [part])
    >>> interlace.federated.at_site(result, plan, df, "A", secret="not to be known to others").head(2).round(2)
       fitted  resid
    0  253.66  -4.10
    1  273.33 -14.63
    """
    _check_plan(plan)
    publisher = Publisher(plan, site, secret)
    found = evaluate_rows(plan, data, site)
    state = result.state
    design = state.problem.design
    if not isinstance(design, FederatedDesign):
        raise TypeError("result must come from interlace.federated.fit")
    fitted = found.X[:, state.kept] @ state.beta + (0.0 if found.offset is None else found.offset)
    for i, modes in zip(design.order, state.modes, strict=True):
        group = plan.parsed.random[i].group
        f = plan.groups.index(group)
        codes, labels = _published(publisher, found, f)
        known = {label: level for level, label in enumerate(design.labels[f])}
        unknown = [label for label in labels if label not in known]
        if unknown:
            raise DataError(
                f"site {site!r}: the result does not know {len(unknown)} of {len(labels)} levels of {group.name!r} in "
                "these rows; give the site and the secret of summarize(), and the rows that it summed up"
            )
        place = np.array([known[label] for label in labels], dtype=np.int64)
        fitted = fitted + np.einsum("nk,nk->n", found.Z[i], modes[place[codes]])
    return pd.DataFrame({"fitted": fitted, "resid": found.y - fitted}, index=found.index)
