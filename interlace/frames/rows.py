"""The rows of a table that a model uses, and every way the model reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.adapt import Column, Table, all_finite
from interlace.frames.evaluate import Expression, evaluate, whole_numbers
from interlace.frames.levels import compact, match_levels
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Rows", "missing_rows", "refuse_infinite"]

_NOT_NUMERIC = {
    "factor": "make it numeric with pandas.to_numeric, or use it as a factor",
    "other": "turn it into a number first (days since a start, a year, ...)",
    "mixed": "make its values one type",
    "complex": "use its real or absolute part",
}


def missing_rows(table: Table, names: Iterable[str]) -> tuple[BoolArray | None, dict[str, int]]:
    """Rows in which any of the columns is missing (None for no row), and how many each column lacks."""
    mask: BoolArray | None = None
    counts: dict[str, int] = {}
    for name in names:
        missing = table.column(name).missing
        if missing is not None:
            counts[name] = int(missing.sum())
            mask = missing if mask is None else mask | missing
    return mask, counts


def refuse_infinite(values: FloatArray, what: str) -> None:
    """Infinite values make every estimate meaningless: name where they are."""
    if not all_finite(values):
        bad = np.isinf(values)
        count = int(bad.sum())
        if count:
            raise DataError(f"{what} has {count} infinite value{'s' * (count > 1)}; drop those rows or repair them")


class Rows:
    """Rows ``chosen`` (positions; None for all) of ``table``."""

    def __init__(self, table: Table, chosen: IntArray | None) -> None:
        self.table = table
        self.chosen = chosen
        self.n = table.n if chosen is None else len(chosen)
        #: Matrices that formulaic made of these very rows while it learned from them.
        self.learned: dict[tuple[str, bool], FloatArray] = {}
        #: Encoders of expressions that have learned from all rows, where these are only some of them.
        self.known: Mapping[str, Any] = {}
        self._numbers: dict[str, FloatArray] = {}
        self._factors: dict[str, tuple[IntArray, pd.Index[Any]]] = {}

    @cached_property
    def positions(self) -> IntArray:
        """Positions of the rows in the caller's frame."""
        return np.arange(self.n, dtype=np.int64) if self.chosen is None else self.chosen

    def take(self, values: Any) -> Any:
        """Pick the chosen rows of an array over all rows."""
        return values if self.chosen is None else values[self.chosen]

    def column(self, name: str) -> Column:
        """Return the whole column, for its kind and dtype."""
        return self.table.column(name)

    def is_factor(self, name: str) -> bool:
        """Whether a bare column enters a formula as a factor."""
        column = self.table.column(name)
        if column.kind in ("number", "bool", "factor"):
            return column.kind != "number"
        raise DataError(
            f"column {name!r} cannot be used as a predictor: it holds {column.describe()}; {_NOT_NUMERIC[column.kind]}"
        )

    def numbers(self, name: str, role: str = "column") -> FloatArray:
        """Values as float64; finite."""
        found = self._numbers.get(name)
        if found is None:
            column = self.table.column(name)
            if column.kind not in ("number", "bool"):
                raise DataError(
                    f"{role} {name!r} must be numeric, but it holds {column.describe()}; {_NOT_NUMERIC[column.kind]}"
                )
            found = self.take(column.numbers)
            refuse_infinite(found, f"{role} {name!r}")
            self._numbers[name] = found
        return found

    def raw(self, name: str) -> Any:
        """Values for arithmetic and comparison: float64, bool, or text as objects."""
        column = self.table.column(name)
        if column.kind == "bool":
            return self.numbers(name) == 1.0
        if column.kind == "factor":
            codes, levels = self.factor(name)
            return levels.to_numpy(dtype=object)[codes]
        return self.numbers(name)

    def factor(self, name: str) -> tuple[IntArray, pd.Index[Any]]:
        """Codes and observed levels of any column."""
        found = self._factors.get(name)
        if found is None:
            column = self.table.column(name)
            if column.kind == "complex":
                raise DataError(f"column {name!r} holds {column.describe()} and cannot be a factor")
            codes, levels = column.coded
            codes, kept = compact(self.take(codes), len(levels))
            found = self._factors[name] = (codes, levels if kept is None else levels[kept])
        return found

    def factor_names(self, expression: Expression) -> tuple[str, ...]:
        """Names under which ``factor`` knows what an expression reads: columns, or what ``C(x > 4)`` computes."""
        if expression.inner is None:
            return expression.columns
        name = f"C({expression.inner.label})"
        if name in self.table:
            raise DataError(f"the formula computes {name}, and there is a column called so too: rename the column")
        if name not in self._factors:
            self._factors[name] = self._computed_factor(name, expression.inner)
        return (name,)

    def _computed_factor(self, name: str, inner: Expression) -> tuple[IntArray, pd.Index[Any]]:
        """Codes and levels of an expression; NaN has the code -1."""
        values = evaluate(inner, self.raw, self.n)
        refuse_infinite(values, f"{inner.label} in the formula")
        kinds = {getattr(self.column(column).dtype, "kind", "") for column in inner.columns}
        if values.dtype != np.bool_ and whole_numbers(inner) and kinds <= set("iub"):
            values = values.astype(np.int64)  # formulaic names columns after the levels: 2, not 2.0
        codes, levels = Column(name, pd.Series(values)).coded
        there = codes >= 0
        observed, kept = compact(codes[there], len(levels))
        codes = np.full(self.n, -1, dtype=np.int64)
        codes[there] = observed
        return codes, levels if kept is None else levels[kept]

    def codes_within(self, name: str, levels: pd.Index[Any]) -> IntArray:
        """Codes of a column within given levels, -1 for others."""
        codes, found = self.factor(name)
        return match_levels(codes, found, levels)

    def known_codes(self, name: str, levels: pd.Index[Any]) -> IntArray:
        """Code a predictor within given levels; a level that the fit has not seen is an error."""
        codes, found = self.factor(name)
        if found is levels:  # the very rows that the levels come from
            return codes
        within = match_levels(codes, found, levels)
        unknown = (within < 0) & (codes >= 0)
        if unknown.any():
            unseen = sorted({str(found[c]) for c in codes[unknown]})
            shown = ", ".join(repr(u) for u in unseen[:5]) + (", ..." if len(unseen) > 5 else "")
            have = ", ".join(repr(str(level)) for level in levels[:10]) + (", ..." if len(levels) > 10 else "")
            raise DataError(
                f"factor {name!r} has level{'s' * (len(unseen) > 1)} {shown} that the fit has not seen "
                f"(it knows {have}); drop those rows, or refit with data that have them"
            )
        return within

    def series(self, name: str) -> pd.Series[Any]:
        """Return the column as formulaic should see it: plain dtypes, observed categories only."""
        column = self.table.column(name)
        if column.kind == "factor":
            codes, levels = self.factor(name)
            return pd.Series(pd.Categorical.from_codes(codes, categories=levels))
        if column.kind == "bool":
            return pd.Series(self.numbers(name) == 1.0)
        values = self.numbers(name)
        if getattr(column.dtype, "kind", "") in "iu":
            return pd.Series(values.astype(np.int64))
        return pd.Series(values)
