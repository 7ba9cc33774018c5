"""A model as it reads its rows: batches of a source as arrays, without the rows that a fit leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.adapt import Table
from interlace.frames.build import check_na_action, offset_values, read_formula, undefined_rows, with_table
from interlace.frames.design import DesignSpec
from interlace.frames.encode import Encoder, assemble
from interlace.frames.evaluate import evaluate, inspect
from interlace.frames.grouping import code_group
from interlace.frames.parse import Formula
from interlace.frames.response import check_family, response_values
from interlace.frames.rows import Rows, missing_rows
from interlace.frames.select import PerRow, per_row, select_rows
from interlace.streaming.learn import refuse_neighbors
from interlace.streaming.parts import Part, Readable
from interlace.streaming.sources import Source
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Batch", "Reader", "Recipe"]

T = TypeVar("T")

#: Rows of a batch, and numbers in its widest matrix.
_ROWS, _NUMBERS = 262_144, 16_000_000


@dataclass(frozen=True)
class Batch:
    """Some of the rows in use, as a :class:`~interlace.frames.design.Design` holds them.

    Attributes
    ----------
    y : ndarray, shape (n,)
    X : ndarray, shape (n, p)
    Z : tuple of ndarray, shapes (n, k_i)
    codes : tuple of ndarray of int64, shapes (n,)
    weights, offset : ndarray, shape (n,), or None
    positions : ndarray of int64, shape (n,)
        In the whole source.
    start : int
        Position of the first row that was read with these.
    """

    y: FloatArray
    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    weights: FloatArray | None
    offset: FloatArray | None
    positions: IntArray
    start: int

    def kept(self, keep: BoolArray) -> Batch:
        """Only some of these rows."""
        return Batch(
            self.y[keep],
            self.X[keep],
            tuple(Z[keep] for Z in self.Z),
            tuple(codes[keep] for codes in self.codes),
            None if self.weights is None else self.weights[keep],
            None if self.offset is None else self.offset[keep],
            self.positions[keep],
            self.start,
        )


@dataclass(frozen=True)
class Recipe:
    """What a model reads of rows and makes of them; knows no source, and travels to where the rows are.

    Attributes
    ----------
    formula : Formula
        ``.`` replaced.
    columns : tuple of str
        Every column that the model uses, in the order of the source.
    weights, offset : str or None
        Columns.
    na_action : {"drop", "raise"}
    extra : mapping from name to function
    learned : mapping from expression to Encoder
        What was learned from all rows: knots, means, centers.
    """

    formula: Formula
    columns: tuple[str, ...]
    weights: str | None
    offset: str | None
    na_action: str
    extra: Mapping[str, Callable[..., Any]] = field(repr=False)
    learned: Mapping[str, Encoder] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        found: Sequence[str],
        formula: str,
        groups: Any,
        random: Any,
        *,
        weights: Any,
        offset: Any,
        contrasts: Mapping[str, str] | None,
        na_action: str,
        extra: Mapping[str, Callable[..., Any]],
    ) -> Recipe:
        """Check a model against the columns of a source; the other arguments are those of ``build_design``.

        Raises
        ------
        FormulaError
            An expression looks at other rows, as ``lag(x)`` and possibly a function of the caller's do.
        DataError
            Weights or offset are an array, or a column is missing.
        """
        parsed = read_formula(formula, groups, random, contrasts, extra)
        check_family(parsed, None)
        check_na_action(na_action)
        for name, given in (("weights", weights), ("offset", offset)):
            if given is not None and not isinstance(given, str):
                raise DataError(
                    f"{name} must be the name of a column where data are read in batches, not {type(given).__name__}: "
                    "make it a column of the data"
                )
        names = Table(dict.fromkeys(found, ()))
        parsed, used = with_table(parsed, names, per_row("weights", weights, names), per_row("offset", offset, names))
        for code in (*parsed.response.codes, *parsed.codes):
            refuse_neighbors(code, extra)
        columns = tuple(name for name in found if name in used)
        return cls(parsed, columns, weights, offset, na_action, extra)

    def complete(self, source: Readable) -> Iterator[tuple[Rows | None, int, Table]]:
        """Complete rows of positive weight of each batch (None for none), how many had no weight, and the batch."""
        for frame in source.frames(self.columns, _ROWS):
            table = Table(frame)
            yield *self._complete(table), table

    def _complete(self, table: Table) -> tuple[Rows | None, int]:
        weight, shift = self._given(table)
        if self.na_action == "drop":
            mask, _ = missing_rows(table, self.columns)
            whole = np.ones(table.n, dtype=np.bool_) if mask is None else ~mask
            if weight is None and not whole.any():
                return None, 0
            if weight is not None and not (weight.values[whole] != 0.0).any():
                return None, int(whole.sum())
        rows, n_zero = select_rows(table, self.columns, weight, shift, self.na_action)
        return self.rows(rows), n_zero

    def rows(self, rows: Rows) -> Rows:
        """Let rows know what was learned from all of them."""
        rows.known = self.learned
        return rows

    def _given(self, table: Table) -> tuple[PerRow | None, PerRow | None]:
        return per_row("weights", self.weights, table), per_row("offset", self.offset, table)

    def defined(self, rows: Rows) -> BoolArray:
        """Where no expression of the formula is undefined, shape (n,); ``log(-1)`` is."""
        out = np.ones(rows.n, dtype=np.bool_)
        if self.formula.plain:
            return out
        out &= ~np.isnan(response_values(self.formula, rows, None, self.extra)[0].y)
        for code in self.formula.codes:
            expression = inspect(code)
            if expression.kind == "rows":
                out &= ~np.isnan(evaluate(expression, rows.raw, rows.n))
            elif expression.inner is not None:
                out &= rows.factor(rows.factor_names(expression)[0])[0] >= 0
            elif code in self.learned:
                for _, values in self.learned[code].pieces(rows, reduced=True):
                    out &= ~np.isnan(values)
        return out

    def batches(self, source: Readable, spec: DesignSpec) -> Iterator[Batch]:
        """Rows in use, evaluated as ``spec`` says; batches without any are left out."""
        return (batch for batch, _ in self._read(source, spec))

    def pieces(self, source: Readable, spec: DesignSpec) -> Iterator[tuple[pd.DataFrame, Batch]]:
        """The same, with the columns that the values come from."""
        for batch, table in self._read(source, spec):
            places = batch.positions - batch.start
            yield pd.DataFrame({name: table.column(name).series.array.take(places) for name in self.columns}), batch

    def _read(self, source: Readable, spec: DesignSpec) -> Iterator[tuple[Batch, Table]]:
        size = max(1024, min(_ROWS, _NUMBERS // max(len(spec.x_names), 1)))
        start = 0
        for frame in source.frames(self.columns, size):
            table = Table(frame)
            rows, _ = self._complete(table)
            if rows is not None:
                batch = self._evaluated(spec, rows, start)
                if batch.y.size:
                    yield batch, table
            start += table.n

    def _evaluated(self, spec: DesignSpec, rows: Rows, start: int) -> Batch:
        weight, shift = self._given(rows.table)
        batch = Batch(
            y=response_values(self.formula, rows, None, self.extra)[0].y,
            X=assemble(spec.blocks, spec.encoders, rows)[0],
            Z=tuple(assemble(term.blocks, term.encoders, rows)[0] for term in spec.random),
            codes=_coded(spec, rows),
            weights=None if weight is None else rows.take(weight.values),
            offset=offset_values(self.formula, rows, shift),
            positions=rows.positions + start,
            start=start,
        )
        arrays = [batch.y, batch.X, *batch.Z, *([] if batch.offset is None else [batch.offset])]
        bad = None if self.formula.plain else undefined_rows(arrays, rows.n, self.na_action)
        if bad is not None:
            batch = batch.kept(~bad)
        if any((codes < 0).any() for codes in batch.codes):
            raise DataError("data changed while they were read: a grouping factor has new levels; fit again")
        return batch


def _coded(spec: DesignSpec, rows: Rows) -> tuple[IntArray, ...]:
    """Level of each row, once for each grouping factor; terms on the same factor share it."""
    found: dict[str, IntArray] = {}
    for term in spec.random:
        name = term.group.group.name
        if name not in found:
            found[name] = code_group(term.group, rows)
    return tuple(found[term.group.group.name] for term in spec.random)


@dataclass(frozen=True)
class Reader:
    """A recipe and the source of its rows.

    Attributes
    ----------
    source : Source
    recipe : Recipe
    n_jobs : int or None
    """

    source: Source
    recipe: Recipe
    n_jobs: int | None = 1

    def batches(self, spec: DesignSpec) -> Iterator[Batch]:
        """All rows in use, in this process."""
        return self.recipe.batches(self.source, spec)

    def pieces(self, spec: DesignSpec) -> Iterator[tuple[pd.DataFrame, Batch]]:
        """The same, with the columns that the values come from."""
        return self.recipe.pieces(self.source, spec)

    def total(
        self, work: Callable[[Part], T], merge: Callable[[T, T], T], columns: Sequence[str] | None = None
    ) -> T | None:
        """Sum up what ``work`` finds in each part, where the part is read."""
        return self.source.total(work, merge, self.recipe.columns if columns is None else columns, self.n_jobs)
