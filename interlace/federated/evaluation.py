"""The rows of one site as a plan evaluates them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from interlace.errors import DataError, InterlaceError
from interlace.estimate import refusals
from interlace.federated.plans import Plan
from interlace.frames.adapt import Table
from interlace.frames.build import offset_values, undefined_rows, with_table
from interlace.frames.encode import assemble
from interlace.frames.grouping import GroupSpec, fit_group
from interlace.frames.levels import level_text, match_levels
from interlace.frames.response import response_values
from interlace.frames.rows import Rows
from interlace.frames.select import per_row, select_rows
from interlace.typing import FloatArray, FrameLike, IntArray

__all__ = ["Evaluated", "evaluate_rows"]


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A model's arrays on the n rows of a site that it uses.

    Attributes
    ----------
    rows : Rows
    y, X : ndarray, shapes (n,) and (n, p)
    Z : tuple of ndarray, shapes (n, k)
        Of each random-effects term, in the order of the formula.
    codes : tuple of ndarray of int64, shapes (n,)
        Level of each grouping factor.
    groups : tuple of GroupSpec
    weights, offset : ndarray, shape (n,), or None
    n_zero : int
        Rows left out because their weight is zero.
    index : Index
        Labels of the rows in the site's frame.
    """

    rows: Rows
    y: FloatArray
    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    groups: tuple[GroupSpec, ...]
    weights: FloatArray | None
    offset: FloatArray | None
    n_zero: int
    index: pd.Index


def evaluate_rows(plan: Plan, data: FrameLike, site: str) -> Evaluated:
    """Evaluate a plan on the rows of a site.

    Parameters
    ----------
    plan : Plan
    data : data frame or mapping
        Rows with a missing value in a column in use, or an expression that is undefined, are left out.
    site : str
        For messages.

    Raises
    ------
    FormulaError, DataError, ModelError
        The message names the site, and the column.
    """
    try:
        return _evaluated(plan, Table(data))
    except InterlaceError as error:
        raise type(error)(f"site {site!r}: {error}") from error


def _evaluated(plan: Plan, table: Table) -> Evaluated:
    weight, shift = per_row("weights", plan.weights, table), per_row("offset", plan.offset, table)
    parsed, every = with_table(plan.parsed, table, weight, shift)
    rows, n_zero = select_rows(table, every, weight, shift, "drop")
    spec = plan.encoding.spec
    while True:
        _check_kinds(plan, rows)
        y = response_values(parsed, rows, None, {})[0].y
        X = assemble(spec.blocks, spec.encoders, rows)[0]
        Z = tuple(assemble(term.blocks, term.encoders, rows)[0] for term in spec.random)
        offset = offset_values(parsed, rows, shift)
        bad = undefined_rows([y, X, *Z, *([] if offset is None else [offset])], rows.n, "drop")
        if bad is None:
            break
        if bad.all():
            raise DataError("no row is left: an expression in the formula is undefined (NaN) in every row")
        rows = Rows(table, rows.positions[~bad])  # whose levels may be fewer
    weights = None if weight is None else np.array(rows.take(weight.values))
    sizes = [((parsed.response.name,), y[:, None]), (spec.x_names, X)]
    sizes += [(term.names, columns) for term, columns in zip(spec.random, Z, strict=True)]
    sizes += [((name,), v[:, None]) for name, v in (("weights", weights), ("offset", offset)) if v is not None]
    for names, values in sizes:
        refusals.within_range(names, np.abs(values).max(axis=0))
    grouped = [fit_group(group, rows) for group in plan.groups]
    return Evaluated(
        rows,
        y,
        X,
        Z,
        tuple(codes for codes, _ in grouped),
        tuple(group for _, group in grouped),
        weights,
        offset,
        n_zero,
        table.index[rows.positions],
    )


def _check_kinds(plan: Plan, rows: Rows) -> None:
    """Refuse columns that the plan takes for something else."""
    for name, levels in plan.levels.items():
        _, found = rows.factor(name)
        place = match_levels(np.arange(len(found), dtype=np.int64), found, pd.Index(list(levels)))
        unknown = [level_text(found[int(i)]) for i in np.flatnonzero(place < 0)]
        if unknown:
            shown = ", ".join(map(repr, unknown[:5])) + ", ..." * (len(unknown) > 5)
            raise DataError(
                f"column {name!r} has the level{'s' * (len(unknown) > 1)} {shown}, which the plan does not have (it "
                f"has {', '.join(map(repr, levels))}): recode or leave out those rows, or make a new plan for all sites"
            )
    for name in plan.numbers:
        if rows.column(name).kind != "number":
            raise DataError(
                f"column {name!r} holds {rows.column(name).describe()}, and the plan takes it for a number: make it "
                f"one, or a plan with levels={{{name!r}: [...]}}"
            )
