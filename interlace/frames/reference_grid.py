"""The grid of predictor values at which estimated marginal means are taken."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_list_like

from interlace.errors import DataError, FormulaError, ModelError
from interlace.frames.adapt import Table
from interlace.frames.design import Design
from interlace.frames.evaluate import Expression, inspect
from interlace.frames.levels import match_levels
from interlace.frames.names import suggest
from interlace.frames.newdata import new_rows
from interlace.frames.rows import Rows
from interlace.frames.stateful import FormulaicEncoder
from interlace.typing import FloatArray, IntArray

__all__ = ["GridVariable", "ReferenceGrid", "factor_columns", "fixed_columns", "reference_grid"]

#: Points of the largest grid that is made.
_MAX_POINTS = 1_000_000
#: A numeric column with no more distinct values than this is treated as a factor, as emmeans does (cov.keep).
_FEW_VALUES = 2


@dataclass(frozen=True, eq=False)
class GridVariable:
    """One column that the fixed effects read.

    Attributes
    ----------
    name : str
    values : pandas.Index
        Values that the grid takes.
    codes : ndarray of int64, shape (n,), or None
        Value of each fitted row, -1 for others; None for a numeric column, whose values in the grid are no groups of
        rows.
    """

    name: str
    values: pd.Index[Any]
    codes: IntArray | None


@dataclass(frozen=True, eq=False)
class ReferenceGrid:
    """All combinations of the values of the predictors, the last variable changing fastest.

    Attributes
    ----------
    variables : tuple of GridVariable
    X : ndarray, shape (g, P)
        The fixed-effects design at each of the g points, linearly dependent columns included.
    """

    variables: tuple[GridVariable, ...]
    X: FloatArray

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(variable.name for variable in self.variables)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of values."""
        return tuple(len(variable.values) for variable in self.variables)


def reference_grid(design: Design, at: Mapping[str, Any] | None = None) -> ReferenceGrid:
    """Combine factors at all levels with numeric columns at their mean, and evaluate the design there.

    Parameters
    ----------
    design : Design
    at : mapping from column to a value or values, optional
        What to take instead.

    Returns
    -------
    ReferenceGrid

    Raises
    ------
    DataError
        ``at`` names a column that the fixed effects do not use, or values that it cannot have.
    FormulaError
        A term depends on neighboring rows.
    ModelError
        There are too many combinations.

    Notes
    -----
    As in R's emmeans, a numeric column of two distinct values is taken at both. Columns go through the formula after
    that: ``x`` and ``I(x**2)`` are evaluated at the mean of x and its square.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> reference_grid(result.state.problem.design, {"Days": [0, 5]}).X
    array([[1., 0.],
           [1., 5.]])
    """
    given = _checked(design, {} if at is None else at)
    rows = Rows(Table(design.frame_of_grid), None)
    factors = factor_columns(design)
    variables = tuple(_variable(name, rows, name in factors, given.get(name)) for name in fixed_columns(design))
    sizes = [len(variable.values) for variable in variables]
    points = prod(sizes)
    if points > _MAX_POINTS:
        largest = variables[int(np.argmax(sizes))]
        raise ModelError(
            f"the reference grid has {points} points, {len(largest.values)} values of {largest.name!r} among them; fix "
            f"some predictors with at=, for example at={{{largest.name!r}: {largest.values[0]!r}}}"
        )
    codes = np.indices(sizes).reshape(len(sizes), points)
    frame = {v.name: pd.Series(v.values.take(code)) for v, code in zip(variables, codes, strict=True)}
    spec = replace(design.spec, offset_column=None, formula=replace(design.spec.formula, offsets=()))
    found = new_rows(spec, pd.DataFrame(frame, index=range(points)), random=False)
    if not found.valid.all():
        raise DataError(
            "the formula has no value at some points of the reference grid (a logarithm of a negative number?); choose "
            f"other values of {', '.join(map(repr, frame))} with at="
        )
    return ReferenceGrid(variables, found.X)


def fixed_columns(design: Design) -> tuple[str, ...]:
    """Columns that the fixed effects read, in order.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("angle ~ recipe * log(temp) + (1 | replicate)", interlace.datasets.load("cake"))
    >>> fixed_columns(result.state.problem.design)
    ('recipe', 'temp')
    """
    codes = (code for term in design.spec.formula.terms for code in term)
    return tuple(dict.fromkeys(name for code in codes for name in inspect(code).columns))


def _checked(design: Design, at: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(at, Mapping):
        raise TypeError(f"at must be a dict from column names to values, not {type(at).__name__}")
    columns = list(fixed_columns(design))
    for name in at:
        if name not in columns:
            raise DataError(
                f"at names {name!r}{suggest(str(name), columns)}, which the fixed effects do not use; they use "
                + (", ".join(map(repr, columns)) or "no column")
            )
    for code in design.spec.encoders:
        if any(isinstance(node, ast.Name) and node.id == "lag" for node in ast.walk(inspect(code).tree)):
            raise FormulaError(
                f"marginal means need a formula whose value at a row depends on that row only, unlike "
                f"{inspect(code).label}; make that a column of the data"
            )
    return dict(at)


def factor_columns(design: Design) -> frozenset[str]:
    """Columns that the fixed effects read as factors: text, categories, truth values, and numbers inside ``C()``.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ C(Days) + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> sorted(factor_columns(result.state.problem.design))
    ['Days']
    """
    rows = Rows(Table(design.frame_of_levels), None)
    found: set[str] = set()
    for code, encoder in design.spec.encoders.items():
        expression = inspect(code)
        if encoder.categorical and _is_bare_factor(expression):
            found.update(expression.columns)
        if isinstance(encoder, FormulaicEncoder):
            found.update(set(encoder.levels) & set(expression.columns))
        found.update(name for name in expression.columns if rows.column(name).kind != "number")
    return frozenset(found)


def _is_bare_factor(expression: Expression) -> bool:
    return expression.kind in ("column", "levels") and expression.inner is None


def _variable(name: str, rows: Rows, factor: bool, given: Any) -> GridVariable:
    if factor:
        codes, levels = rows.factor(name)
        if given is not None:
            chosen = _chosen_levels(name, levels, given)
            codes, levels = _recoded(codes, chosen, len(levels)), levels.take(chosen)
        if isinstance(levels.dtype, np.dtype) and levels.dtype.kind == "f":
            levels = _plain(levels.to_numpy(dtype=np.float64))
        return GridVariable(name, levels, codes)
    numbers = rows.numbers(name)
    if given is not None:
        return GridVariable(name, _numbers(name, given), None)
    distinct, codes = np.unique(numbers, return_inverse=True)
    if distinct.size <= _FEW_VALUES:
        return GridVariable(name, _plain(distinct), codes.astype(np.int64))
    return GridVariable(name, pd.Index([float(numbers.mean())]), None)


def _recoded(codes: IntArray, chosen: IntArray, n_levels: int) -> IntArray:
    place = np.full(n_levels, -1, dtype=np.int64)
    place[chosen] = np.arange(chosen.size)
    return place[codes]


def _chosen_levels(name: str, levels: pd.Index[Any], given: Any) -> IntArray:
    values = pd.Index(_listed(name, given))
    codes = match_levels(np.arange(len(values), dtype=np.int64), values, levels)
    unknown = [values[int(i)] for i in np.flatnonzero(codes < 0)]
    if unknown:
        raise DataError(
            f"at asks for the level{'s' * (len(unknown) > 1)} {', '.join(map(repr, unknown))} of {name!r}, which the "
            f"fit has not seen (it knows {', '.join(repr(str(level)) for level in levels[:10])})"
        )
    _refuse_twice(name, values)
    return codes


def _numbers(name: str, given: Any) -> pd.Index[Any]:
    listed = _listed(name, given)
    try:
        values = np.asarray(listed, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"at[{name!r}] must hold numbers, as the column does, not {given!r}") from error
    if not np.isfinite(values).all():
        raise DataError(f"at[{name!r}] must hold finite numbers, not {given!r}")
    _refuse_twice(name, pd.Index(values))
    return _plain(values)


def _listed(name: str, given: Any) -> list[Any]:
    values = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
    if not values:
        raise DataError(f"at[{name!r}] is empty; give one value or more")
    if any(map(is_list_like, values)):
        raise DataError(f"at[{name!r}] must be one value or a plain list of values, not {given!r}")
    return values


def _refuse_twice(name: str, values: pd.Index[Any]) -> None:
    if values.has_duplicates:
        raise DataError(f"at[{name!r}] gives a value twice")


def _plain(values: FloatArray) -> pd.Index[Any]:
    """Whole numbers as such, so that they are shown without a point."""
    whole = bool((values == np.rint(values)).all()) and bool((np.abs(values) < 1e15).all())
    return pd.Index(values.astype(np.int64) if whole else values)
