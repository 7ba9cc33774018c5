"""Few rows that stand for all where levels are concerned: each level of each factor occurs in one of them.

A design built from these rows has the levels, in the order, and hence the columns and names of one built from all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from interlace.core.streams import first_places
from interlace.frames.evaluate import evaluate, inspect
from interlace.frames.rows import Rows
from interlace.typing import BoolArray, IntArray

__all__ = ["Kept", "Witnesses"]


class Witnesses:
    """Rows kept of a stream.

    Parameters
    ----------
    codes : sequence of str
        Expressions that have learned nothing yet; each level of each factor among them is kept.
    combinations : iterable of tuple of str
        Columns of which each combination of levels is kept, as grouping factors.
    columns : sequence of str
        What is kept of each row.
    """

    def __init__(self, codes: Sequence[str], combinations: Iterable[tuple[str, ...]], columns: Sequence[str]) -> None:
        self._codes = codes
        self.combinations = set(combinations)
        self._known: dict[Any, set[Any]] = {}
        self._columns = {name: Kept() for name in columns}

    def add(self, rows: Rows, defined: BoolArray) -> None:
        """Keep the rows among ``rows`` that show a level for the first time.

        Parameters
        ----------
        rows : Rows
            Complete ones.
        defined : ndarray of bool, shape (rows.n,)
            Where no expression is undefined: other rows are not used, and count for predictors only, as in a frame.
        """
        found = [self._new(key, codes, labels) for key, codes, labels in _factors(self._codes, rows)]
        found += [self._new_combinations(columns, rows, defined) for columns in self.combinations]
        places = rows.positions[np.unique(np.concatenate(found))]
        for name, kept in self._columns.items():
            kept.add(rows.column(name).series, places)

    def merge(self, other: Witnesses, rows: Rows, defined: BoolArray) -> None:
        """Keep rows that ``other`` has kept of later rows, where they show a level that is new here too.

        Parameters
        ----------
        other : Witnesses
        rows : Rows
            Those of ``other.frame()``.
        defined : ndarray of bool, shape (rows.n,)
        """
        if rows.n:
            self.add(rows, defined)
        for name, kept in self._columns.items():
            kept.merge_dtypes(other._columns[name])

    @property
    def count(self) -> int:
        """Number of rows kept."""
        return next((kept.count for kept in self._columns.values()), 0)

    def frame(self) -> pd.DataFrame:
        """All rows kept, shape (r, number of columns)."""
        return pd.DataFrame({name: kept.series() for name, kept in self._columns.items()})

    def _new(self, key: Any, codes: IntArray, labels: Sequence[Any]) -> IntArray:
        """Places at which labels that are not known yet occur first."""
        known = self._known.setdefault(key, set())
        first = first_places(codes, len(labels))
        new = [i for i, label in enumerate(labels) if label not in known and first[i] < codes.size]
        known.update(labels[i] for i in new)
        return first[new]

    def _new_combinations(self, columns: tuple[str, ...], rows: Rows, defined: BoolArray) -> IntArray:
        """The same for the combinations of levels of several columns."""
        if not columns:  # one combination, of nothing
            return self._new(("group", columns), np.where(defined, 0, -1), [()])
        factors = [rows.factor(name) for name in columns]
        combined, labels = factors[0][0], factors[0][1].tolist()
        if len(factors) > 1:
            for codes, levels in factors[1:]:
                combined = np.unique(combined * len(levels) + codes, return_inverse=True)[1]
            first = first_places(combined, int(combined.max()) + 1)
            labels = list(zip(*(levels.take(codes[first]).tolist() for codes, levels in factors), strict=True))
        return self._new(("group", columns), np.where(defined, combined, -1), labels)


def _factors(codes: Iterable[str], rows: Rows) -> Iterable[tuple[Any, IntArray, Sequence[Any]]]:
    """Every factor that expressions read: a name for it, the level of each row, and all levels."""
    for code in codes:
        expression = inspect(code)
        if expression.kind == "rows":
            values = evaluate(expression, rows.raw, rows.n)
            if values.dtype == np.bool_:
                yield code, values.astype(np.int64), [False, True]
        elif expression.kind != "column" or rows.is_factor(expression.columns[0]):
            for name in rows.factor_names(expression):
                levels, labels = rows.factor(name)
                yield name, levels, labels.tolist()


class Kept:
    """Values of one column, with the dtype that it would have with all rows in one frame."""

    def __init__(self) -> None:
        self._parts: list[pd.Series[Any]] = []
        self._dtypes: set[Any] = set()

    def add(self, series: pd.Series[Any], places: IntArray) -> None:
        """Keep some values; the dtype counts even where none is kept."""
        part = series.iloc[places]
        if isinstance(series.dtype, pd.CategoricalDtype):
            joined = pd.api.types.union_categoricals([*self._parts, part], ignore_order=True)
            self._parts = [pd.Series(joined)]
        elif len(part):
            self._parts.append(part)
        self._dtypes.add(series.dtype)

    def merge(self, other: Kept) -> None:
        """Keep all that another one has kept of later rows."""
        if other.count:
            found = other.series()
            self.add(found, np.arange(len(found), dtype=np.int64))
        self.merge_dtypes(other)

    def merge_dtypes(self, other: Kept) -> None:
        """Let the dtypes of another one count."""
        self._dtypes |= other._dtypes

    @property
    def count(self) -> int:
        """Number of values kept."""
        return sum(map(len, self._parts))

    def series(self) -> pd.Series[Any]:
        """All values kept."""
        if not self._parts:
            return pd.Series([], dtype=next(iter(self._dtypes), np.dtype(object)))
        whole = pd.concat(self._parts, ignore_index=True)
        if not all(getattr(dtype, "kind", "") in ("i", "u", "f") for dtype in self._dtypes):
            return whole
        return whole.astype(pd.concat([pd.Series([], dtype=dtype) for dtype in self._dtypes]).dtype)
