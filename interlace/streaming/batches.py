"""A model as it reads its rows: batches of a source as arrays, without the rows that a fit leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from interlace.errors import DataError, FormulaError
from interlace.frames.adapt import Table
from interlace.frames.build import check_na_action, offset_values, read_formula, undefined_rows, with_table
from interlace.frames.design import DesignSpec
from interlace.frames.encode import assemble
from interlace.frames.evaluate import evaluate, inspect
from interlace.frames.grouping import code_group
from interlace.frames.learned import is_coded_factor
from interlace.frames.parse import Formula
from interlace.frames.response import check_family, response_values
from interlace.frames.rows import Rows, missing_rows
from interlace.frames.select import PerRow, per_row, select_rows
from interlace.streaming.sources import Source
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Batch", "Reader"]

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
class Reader:
    """What a model reads of a source.

    Attributes
    ----------
    source : Source
    formula : Formula
        ``.`` replaced.
    columns : tuple of str
        Every column that the model uses, in the order of the source.
    weights, offset : str or None
        Columns.
    na_action : {"drop", "raise"}
    extra : mapping from name to function
    """

    source: Source
    formula: Formula
    columns: tuple[str, ...]
    weights: str | None
    offset: str | None
    na_action: str
    extra: Mapping[str, Callable[..., Any]] = field(repr=False)

    @classmethod
    def of(
        cls,
        source: Source,
        formula: str,
        groups: Any,
        random: Any,
        *,
        weights: Any,
        offset: Any,
        contrasts: Mapping[str, str] | None,
        na_action: str,
        extra: Mapping[str, Callable[..., Any]],
    ) -> Reader:
        """Check a model against the columns of a source; the arguments are those of ``build_design``.

        Raises
        ------
        FormulaError
            An expression learns from all rows at once, or looks at other rows.
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
        names = Table(dict.fromkeys(source.names, ()))
        parsed, used = with_table(parsed, names, per_row("weights", weights, names), per_row("offset", offset, names))
        for code in (*parsed.response.codes, *parsed.codes):
            _refuse_learned(code)
        columns = tuple(name for name in source.names if name in used)
        return cls(source, parsed, columns, weights, offset, na_action, extra)

    def complete(self) -> Iterator[tuple[Rows | None, int, Table]]:
        """Complete rows of positive weight of each batch (None for none), how many had no weight, and the batch."""
        for frame in self.source.batches(self.columns, _ROWS):
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
        return select_rows(table, self.columns, weight, shift, self.na_action)

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
        return out

    def batches(self, spec: DesignSpec) -> Iterator[Batch]:
        """Rows in use, evaluated as ``spec`` says; batches without any are left out."""
        return (batch for batch, _ in self._read(spec))

    def pieces(self, spec: DesignSpec) -> Iterator[tuple[pd.DataFrame, Batch]]:
        """The same, with the columns that the values come from."""
        for batch, table in self._read(spec):
            places = batch.positions - batch.start
            yield pd.DataFrame({name: table.column(name).series.array.take(places) for name in self.columns}), batch

    def _read(self, spec: DesignSpec) -> Iterator[tuple[Batch, Table]]:
        size = max(1024, min(_ROWS, _NUMBERS // max(len(spec.x_names), 1)))
        start = 0
        for frame in self.source.batches(self.columns, size):
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


def _refuse_learned(code: str) -> None:
    expression = inspect(code)
    if expression.kind == "stateful" and not is_coded_factor(expression):
        raise FormulaError(
            f"{expression.label} needs all rows at once, which data read in batches do not have; make it a column of "
            "the data first, or fit a data frame"
        )
