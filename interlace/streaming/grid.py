"""What a reference grid of the predictors has to know of the rows: levels that occur together, and means."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from interlace.frames.adapt import Table
from interlace.frames.evaluate import inspect
from interlace.frames.learned import is_coded_factor
from interlace.frames.parse import Formula
from interlace.frames.rows import Rows
from interlace.streaming.witnesses import Witnesses
from interlace.typing import BoolArray

__all__ = ["GridRows"]

#: Combinations of levels beyond which there is no grid.
_MOST = 100_000
#: Distinct values up to which a numeric column counts as a factor in a reference grid.
_FEW = 2


class GridRows:
    """Sums over a stream from which :meth:`frame` makes rows that lead to the same reference grid.

    Parameters
    ----------
    formula : Formula
    """

    def __init__(self, formula: Formula) -> None:
        expressions = [inspect(code) for term in formula.terms for code in term]
        self._names = tuple(dict.fromkeys(name for e in expressions for name in e.columns))
        coded = [e for e in expressions if e.inner is None and (e.kind == "levels" or is_coded_factor(e))]
        self._coded = {name for e in coded for name in e.columns}
        self._values: dict[str, set[float]] = {}
        self._sums: dict[str, float] = {}
        self._n = 0
        self._kept = Witnesses((), (), self._names)
        self._too_many = False

    def add(self, rows: Rows, used: BoolArray) -> None:
        """Add rows, of which those ``used``, shape (n,), are in the model."""
        if self._too_many or not used.any():
            return
        self._n += int(used.sum())
        factors = [name for name in self._names if name in self._coded or rows.column(name).kind != "number"]
        for name in self._names:
            if name not in factors:
                self._add_numbers(name, rows, used)
        self._keep(self._kept.add, rows, used, factors)

    def merge(self, other: GridRows) -> None:
        """Add later rows that another one has seen."""
        self._too_many = self._too_many or other._too_many
        if self._too_many or not other._n:
            return
        self._n += other._n
        for name, values in other._values.items():
            self._sums[name] = self._sums.get(name, 0.0) + other._sums[name]
            self._values.setdefault(name, set()).update(values)
        rows = Rows(Table(other._kept.frame()), None)
        factors = [name for name in self._names if name not in self._values]
        self._keep(partial(self._kept.merge, other._kept), rows, np.ones(rows.n, dtype=np.bool_), factors)

    def _keep(self, add: Callable[[Rows, BoolArray], None], rows: Rows, used: BoolArray, factors: list[str]) -> None:
        """Keep rows with new combinations of levels, numbers of few values among them."""
        few = [name for name in self._names if name in factors or len(self._values[name]) <= _FEW]
        self._kept.combinations = {tuple(few)}
        add(rows, used)
        self._too_many = self._kept.count > _MOST

    def _add_numbers(self, name: str, rows: Rows, used: BoolArray) -> None:
        numbers = rows.numbers(name)[used]
        self._sums[name] = self._sums.get(name, 0.0) + float(numbers.sum())
        known = self._values.setdefault(name, set())
        if len(known) <= _FEW:
            known.update(np.unique(numbers)[: _FEW + 1].tolist())

    def frame(self) -> pd.DataFrame | None:
        """Rows with the levels that occur together and with the means of the numeric columns; None for too many."""
        if self._too_many or not self._names:
            return None if self._too_many else pd.DataFrame(index=range(1))
        found = self._kept.frame()
        found = pd.concat([found] * -(-(_FEW + 1) // len(found)), ignore_index=True)
        for name, values in self._values.items():
            if len(values) > _FEW:
                mean = self._sums[name] / self._n
                numbers = np.full(len(found), mean)
                numbers[:2] += np.array([-0.5, 0.5]) * (abs(mean) or 1.0)  # three distinct values: not a factor
                found[name] = numbers
        return found
