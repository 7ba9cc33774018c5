"""Three passes over the rows: levels, bases, cross-products. What is kept grows with the levels, not with the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
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
from interlace.frames.design import Design, DesignSpec
from interlace.frames.evaluate import inspect
from interlace.streaming.batches import Batch, Reader, Recipe
from interlace.streaming.design import StreamedDesign, StreamedProblem, refusal
from interlace.streaming.learn import WholeColumns, encoders_of, learning
from interlace.streaming.moments import Moments, TermShape
from interlace.streaming.parts import Part
from interlace.streaming.sources import source_of
from interlace.streaming.survey import Survey

__all__ = ["prepare_stream"]


@dataclass(frozen=True)
class _Basis:
    """The inner basis, and the structure whose blocks the columns are put into."""

    fixed: FixedBasis
    terms: tuple[TermBasis, ...]
    structure: Structure
    response: Response

    def rows(self, batch: Batch) -> Rows:
        """Weighted rows, blocks in the order of the structure."""
        X, y, log_weights = batch.X, batch.y, 0.0
        if batch.offset is not None:
            y = y - batch.offset
        Z = [values @ basis.M for values, basis in zip(batch.Z, self.terms, strict=True)]
        if batch.weights is not None:
            root = np.sqrt(batch.weights)
            X, y, Z = X * root[:, None], y * root, [values * root[:, None] for values in Z]
            log_weights = float(np.log(batch.weights).sum())
        X = self.fixed.forward(X)
        y = (y - X @ self.response.coefficients) / self.response.scale
        codes, columns = [], []
        for block in self.structure.blocks:
            codes.append(batch.codes[block.members[0][0]])
            columns.append(np.concatenate([Z[number] for number, _ in block.members], axis=1))
        return Rows(codes, columns, np.column_stack([X, y]), log_weights)


@dataclass(frozen=True)
class _InnerRows:
    """Rows of a design in the inner basis, read when called."""

    design: StreamedDesign
    basis: _Basis

    def __call__(self) -> Iterator[Rows]:
        return map(self.basis.rows, self.design.batches())


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
    source = source_of(data)
    recipe = Recipe.of(
        source.names,
        formula,
        groups,
        random,
        weights=weights,
        offset=offset,
        contrasts=contrasts,
        na_action=na_action,
        extra=control.extra_transforms,
    )
    reader = _learned(Reader(source, recipe, control.n_jobs))
    survey = reader.total(partial(Survey.of, reader.recipe), partial(_with_survey, reader.recipe))
    if survey is None or survey.total == 0:
        raise DataError("data has no rows; there is nothing to fit")
    if survey.used == 0:
        raise _no_row()
    found = build_design(
        formula,
        source.settled(survey.witnesses.frame()),
        groups,
        random,
        weights=weights,
        offset=offset,
        contrasts=contrasts,
        covariance=covariance,
        extra_transforms=control.extra_transforms,
        learned=reader.recipe.learned,
    )
    shapes = tuple(map(TermShape.of, found.terms))
    moments = reader.total(partial(_moments, reader.recipe, found.spec, shapes), _with_moments)
    if moments is None or moments.n == 0:
        raise _changed(survey.used, 0)
    return _summed(reader, survey, found, moments, reml=reml, control=control)


def _learned(reader: Reader) -> Reader:
    """Let expressions learn from whole columns what they need to be functions of one row."""
    recipe = reader.recipe
    codes = learning((*recipe.formula.response.codes, *recipe.formula.codes))
    if not codes:
        return reader
    read = {name for code in codes for name in inspect(code).columns}
    columns = tuple(name for name in recipe.columns if name in read)
    whole = reader.total(partial(_columns, recipe, columns), _with_columns)
    if whole is None or not whole.count:
        raise _no_row()
    frame = reader.source.settled(whole.frame())
    return replace(reader, recipe=replace(recipe, learned=encoders_of(codes, frame, recipe.extra)))


def _columns(recipe: Recipe, names: tuple[str, ...], part: Part) -> WholeColumns:
    """Values in use of some columns of a part."""
    out = WholeColumns(names)
    for rows, _, _ in recipe.complete(part):
        if rows is not None:
            out.add(rows)
    return out


def _with_columns(a: WholeColumns, b: WholeColumns) -> WholeColumns:
    a.merge(b)
    return a


def _with_survey(recipe: Recipe, a: Survey, b: Survey) -> Survey:
    a.merge(b, recipe)
    return a


def _moments(recipe: Recipe, spec: DesignSpec, terms: tuple[TermShape, ...], part: Part) -> Moments:
    """Second pass over a part."""
    out = Moments(terms, len(spec.x_names))
    for batch in recipe.batches(part, spec):
        out.add(batch)
    return out


def _with_moments(a: Moments, b: Moments) -> Moments:
    a.merge(b)
    return a


def _products(recipe: Recipe, spec: DesignSpec, basis: _Basis, part: Part) -> CrossProducts | None:
    """Third pass over a part; None where no row of it is in use."""
    rows = map(basis.rows, recipe.batches(part, spec))
    first = next(rows, None)
    return None if first is None else CrossProducts.from_chunks(basis.structure, chain([first], rows))


def _with_products(a: CrossProducts | None, b: CrossProducts | None) -> CrossProducts | None:
    return (a or b) if a is None or b is None else a + b


def _no_row() -> DataError:
    return DataError(
        "no row is left: every row has a missing value in some column of the model, a weight of zero, or an "
        "expression that is undefined"
    )


def _changed(before: int, after: int) -> DataError:
    return DataError(f"data changed while they were read: {before} rows at first, {after} then; fit again")


def _summed(
    reader: Reader, survey: Survey, found: Design, moments: Moments, *, reml: bool, control: Control
) -> StreamedProblem:
    """Third pass: cross-products in the bases that the second one has led to."""
    moments.check(found)
    fixed = moments.fixed_basis(control.rank_tol)
    response = moments.response(fixed)
    p = fixed.kept.size
    refusals.spread_left(found.response, moments.n, p, response.scale, moments.size)
    layout = lay_out(moments.compressed(), p, typical_weight=moments.typical_weight, control=control)
    basis = _Basis(fixed, layout.bases, layout.structure, response)
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
    cp = reader.total(partial(_products, reader.recipe, found.spec, basis), _with_products)
    if cp is None or cp.n != moments.n:
        raise _changed(moments.n, 0 if cp is None else cp.n)
    cp = replace(cp, structure=layout.structure)
    refusals.absorbed(design, layout.bases, cp)
    rows = StreamedRows(_InnerRows(design, basis), moments.n, moments.log_weights, refusal)
    return StreamedProblem(
        design, control, layout.terms, layout.bases, fixed, layout.structure, reml, response, rows, cp, layout.plan
    )
