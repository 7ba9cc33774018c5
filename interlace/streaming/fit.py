"""Three passes over the rows: levels, bases, cross-products. What is kept grows with the levels, not with the rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.streams import StreamedRows
from interlace.core.structure import Structure
from interlace.errors import DataError
from interlace.estimate import refusals
from interlace.estimate.control import Control
from interlace.estimate.problem import lay_out
from interlace.frames.build import build_design
from interlace.frames.design import Design
from interlace.streaming.batches import Batch, Reader
from interlace.streaming.design import StreamedDesign, StreamedProblem, refusal
from interlace.streaming.grid import GridRows
from interlace.streaming.moments import Moments
from interlace.streaming.sources import source_of
from interlace.streaming.witnesses import Witnesses

__all__ = ["prepare_stream"]


@dataclass(frozen=True)
class _Survey:
    """What the first pass found: a design of few rows with all levels, and counts of the others."""

    design: Design
    grid: GridRows
    total: int
    n_zero_weight: int


@dataclass(frozen=True)
class _InnerRows:
    """Rows of a design in the inner basis, read when called."""

    design: StreamedDesign
    basis: FixedBasis
    bases: tuple[TermBasis, ...]
    structure: Structure
    response: Response

    def __call__(self) -> Iterator[Rows]:
        return map(self._of, self.design.batches())

    def _of(self, batch: Batch) -> Rows:
        """Weighted rows, blocks in the order of the structure."""
        X, y, log_weights = batch.X, batch.y, 0.0
        if batch.offset is not None:
            y = y - batch.offset
        Z = [values @ basis.M for values, basis in zip(batch.Z, self.bases, strict=True)]
        if batch.weights is not None:
            root = np.sqrt(batch.weights)
            X, y, Z = X * root[:, None], y * root, [values * root[:, None] for values in Z]
            log_weights = float(np.log(batch.weights).sum())
        X = self.basis.forward(X)
        y = (y - X @ self.response.coefficients) / self.response.scale
        codes, columns = [], []
        for block in self.structure.blocks:
            codes.append(batch.codes[block.members[0][0]])
            columns.append(np.concatenate([Z[number] for number, _ in block.members], axis=1))
        return Rows(codes, columns, np.column_stack([X, y]), log_weights)


def prepare_stream(
    formula: str,
    data: Any,
    groups: Any = None,
    random: Any = None,
    *,
    reml: bool,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, str] | None = None,
    covariance: Mapping[str, str] | None = None,
    na_action: str = "drop",
    control: Control | None = None,
) -> StreamedProblem:
    """Sum a linear model up from rows that are read in batches.

    Parameters
    ----------
    formula, groups, random, weights, offset, contrasts, covariance, na_action
        As for ``build_design``; weights and offset are columns.
    data : object
        What ``sources.source_of`` accepts.
    reml : bool
    control : Control, optional

    Returns
    -------
    StreamedProblem

    Raises
    ------
    FormulaError, DataError, ModelError
        As for a model of a data frame; also for expressions that need all rows at once.
    """
    control = control or Control()
    reader = Reader.of(
        source_of(data),
        formula,
        groups,
        random,
        weights=weights,
        offset=offset,
        contrasts=contrasts,
        na_action=na_action,
        extra=control.extra_transforms,
    )

    def build(frame: Any) -> Design:
        return build_design(
            formula,
            frame,
            groups,
            random,
            weights=weights,
            offset=offset,
            contrasts=contrasts,
            covariance=covariance,
            extra_transforms=control.extra_transforms,
        )

    survey = _survey(reader, build)
    moments = Moments(survey.design.terms, len(survey.design.x_names))
    for batch in reader.batches(survey.design.spec):
        moments.add(batch)
    return _summed(reader, survey, moments, reml=reml, control=control)


def _survey(reader: Reader, build: Callable[[Any], Design]) -> _Survey:
    """First pass: find all levels."""
    groups = (part.group.columns for part in reader.formula.random)
    witnesses, grid = Witnesses(reader.formula.codes, groups, reader.columns), GridRows(reader.formula)
    total, n_zero, used = 0, 0, 0
    for rows, zero, table in reader.complete():
        total, n_zero = total + table.n, n_zero + zero
        if rows is not None:
            defined = reader.defined(rows)
            witnesses.add(rows, defined)
            grid.add(rows, defined)
            used += int(defined.sum())
    if total == 0:
        raise DataError("data has no rows; there is nothing to fit")
    if used == 0:
        raise DataError(
            "no row is left: every row has a missing value in some column of the model, a weight of zero, or an "
            "expression that is undefined"
        )
    return _Survey(build(witnesses.frame()), grid, total, n_zero)


def _summed(reader: Reader, survey: _Survey, moments: Moments, *, reml: bool, control: Control) -> StreamedProblem:
    """Third pass: cross-products in the bases that the second one has led to."""
    found = survey.design
    moments.check(found.response, found.x_names, with_offset=found.offset is not None)
    basis = moments.fixed_basis(control.rank_tol)
    response = moments.response(basis)
    p = basis.kept.size
    refusals.spread_left(found.response, moments.n, p, response.scale, moments.size)
    layout = lay_out(moments.compressed(), p, typical_weight=moments.typical_weight)
    design = StreamedDesign(
        found,
        reader,
        n=moments.n,
        total=survey.total,
        n_zero_weight=survey.n_zero_weight,
        root_of_x=moments.root_of_x,
        mean_offset=moments.offset_sum / moments.n,
        grid=survey.grid.frame(),
    )
    read = _InnerRows(design, basis, layout.bases, layout.structure, response)
    rows = StreamedRows(read, moments.n, moments.log_weights, refusal)
    cp = CrossProducts.from_chunks(layout.structure, rows.chunks())
    if cp.n != moments.n:
        raise DataError(f"data changed while they were read: {moments.n} rows at first, {cp.n} then; fit again")
    refusals.absorbed(design, layout.bases, cp)
    return StreamedProblem(
        design, control, layout.terms, layout.bases, basis, layout.structure, reml, response, rows, cp
    )
