"""Evaluate a fitted design on new data."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from interlace.errors import DataError
from interlace.frames.adapt import Table
from interlace.frames.design import Design, DesignSpec, NewRows, RandomSpec
from interlace.frames.encode import assemble
from interlace.frames.evaluate import inspect
from interlace.frames.grouping import code_group
from interlace.frames.names import suggest
from interlace.frames.response import offset_term
from interlace.frames.rows import Rows, missing_rows
from interlace.typing import FloatArray, FrameLike, IntArray

__all__ = ["new_rows"]


def new_rows(design: Design | DesignSpec, newdata: FrameLike, *, random: bool | Collection[str] = True) -> NewRows:
    """Evaluate a fitted design on new data; the response is not needed.

    Parameters
    ----------
    design : Design or DesignSpec
    newdata : data frame or mapping
    random : bool or collection of str
        Random-effects terms to evaluate: all, none, or those with the given keys. Columns of the others need not be in
        ``newdata``; their codes are -1 and their Z zero.

    Returns
    -------
    NewRows
        In the order of ``newdata``.
    """
    spec = design.spec if isinstance(design, Design) else design
    keys = {term.key for term in spec.random}
    wanted = (keys if random else set()) if isinstance(random, bool) else keys & set(random)
    table = Table(newdata, "newdata")
    terms = [term for term in spec.random if term.key in wanted]
    names = _needed(spec, terms)
    absent = [name for name in names if name not in table]
    if absent:
        listed = ", ".join(f"{name!r}{suggest(name, table.names)}" for name in absent)
        raise DataError(f"newdata lacks columns that the model uses: {listed}")
    mask, _ = missing_rows(table, names)
    valid = np.ones(table.n, dtype=np.bool_) if mask is None else ~mask
    rows = Rows(table, None if mask is None else np.flatnonzero(valid).astype(np.int64))

    X, _, _ = assemble(spec.blocks, spec.encoders, rows)
    offset = np.zeros(rows.n)
    for code in spec.formula.offsets:
        offset += offset_term(code, rows)
    if spec.offset_column is not None:
        offset += rows.numbers(spec.offset_column, "offset")
    Z: list[FloatArray] = []
    codes: list[IntArray] = []
    for term in spec.random:
        if term.key in wanted:
            Z.append(assemble(term.blocks, term.encoders, rows)[0])
            codes.append(code_group(term.group, rows))
        else:
            Z.append(np.zeros((rows.n, len(term.names))))
            codes.append(np.full(rows.n, -1, dtype=np.int64))
    return _spread(X, Z, codes, offset, valid, rows, table)


def _needed(spec: DesignSpec, terms: list[RandomSpec]) -> list[str]:
    names: dict[str, None] = {}
    for code in (*spec.encoders, *spec.formula.offsets, *(code for term in terms for code in term.encoders)):
        names.update(dict.fromkeys(inspect(code).columns))
    for term in terms:
        names.update(dict.fromkeys(term.group.group.columns))
    if spec.offset_column is not None:
        names[spec.offset_column] = None
    return list(names)


def _spread(
    X: FloatArray,
    Z: list[FloatArray],
    codes: list[IntArray],
    offset: FloatArray,
    valid: np.ndarray[tuple[int, ...], np.dtype[np.bool_]],
    rows: Rows,
    table: Table,
) -> NewRows:
    """Put rows that could be evaluated back among those that could not, which get zeros and codes of -1."""
    # An expression may be undefined (NaN) where no column is missing: log(-1).
    undefined = np.isnan(offset)
    for matrix in (X, *Z):
        undefined |= np.isnan(matrix).any(axis=1)
    if rows.chosen is None and not undefined.any():
        return NewRows(X, tuple(Z), tuple(codes), offset, valid, table.index)
    good = ~undefined
    at = rows.positions[good]
    valid = np.zeros(table.n, dtype=np.bool_)
    valid[at] = True

    def full(values: FloatArray) -> FloatArray:
        out = np.zeros((table.n, *values.shape[1:]))
        out[at] = values[good]
        return out

    def full_codes(values: IntArray) -> IntArray:
        out = np.full(table.n, -1, dtype=np.int64)
        out[at] = values[good]
        return out

    return NewRows(full(X), tuple(map(full, Z)), tuple(map(full_codes, codes)), full(offset), valid, table.index)
