"""Expressions that learn from all rows together: the columns that they read are kept, and nothing else.

``center(x)``, ``poly(x, 2)`` and ``bs(x, df=4)`` need the whole column once, for its mean, its norms or its knots;
after that they are functions of one row.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pandas as pd

from interlace.errors import FormulaError
from interlace.frames.adapt import Table
from interlace.frames.encode import Encoder, fit_encoder
from interlace.frames.evaluate import inspect
from interlace.frames.learned import is_coded_factor
from interlace.frames.rows import Rows
from interlace.frames.stateful import Extra
from interlace.streaming.witnesses import Kept

__all__ = ["WholeColumns", "encoders_of", "learning", "refuse_neighbors"]


class WholeColumns:
    """Every value in use of some columns.

    Parameters
    ----------
    names : iterable of str
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._columns = {name: Kept() for name in names}

    def add(self, rows: Rows) -> None:
        """Add rows."""
        for name, kept in self._columns.items():
            kept.add(rows.column(name).series, rows.positions)

    def merge(self, other: WholeColumns) -> None:
        """Add later rows."""
        for name, kept in self._columns.items():
            kept.merge(other._columns[name])

    @property
    def count(self) -> int:
        """Number of rows."""
        return next(iter(self._columns.values())).count

    def frame(self) -> pd.DataFrame:
        """All values, shape (n, number of columns)."""
        return pd.DataFrame({name: kept.series() for name, kept in self._columns.items()})


def learning(codes: Iterable[str]) -> tuple[str, ...]:
    """Expressions among ``codes`` that learn from all rows together.

    Examples
    --------
    >>> learning(["x", "log(x)", "C(f)", "poly(x, 2)"])
    ('poly(x, 2)',)
    """
    found = (inspect(code) for code in codes)
    return tuple(dict.fromkeys(e.code for e in found if e.kind == "stateful" and not is_coded_factor(e)))


def encoders_of(codes: Iterable[str], frame: pd.DataFrame, extra: Extra) -> dict[str, Encoder]:
    """Let expressions learn from whole columns."""
    return {code: fit_encoder(code, Rows(Table(frame), None), {}, extra) for code in codes}


def refuse_neighbors(code: str, extra: Extra) -> None:
    """Refuse an expression whose value at a row depends on other rows even when all that can be learned is known.

    Parameters
    ----------
    code : str
    extra : mapping from name to function
        The caller's functions, of which nothing is known, unless they keep what they learn as formulaic's do.

    Raises
    ------
    FormulaError
    """
    expression = inspect(code)
    called = (node.func for node in ast.walk(expression.tree) if isinstance(node, ast.Call))
    for name in (function.id for function in called if isinstance(function, ast.Name)):
        if name == "lag":
            reason = "looks at the rows before"
        elif name in extra and not hasattr(extra[name], "__is_stateful_transform__"):
            reason = f"calls {name}(), a function of your own that may look at all rows at once"
        else:
            continue
        raise FormulaError(
            f"{expression.label} {reason}, and data read in batches are not together; make it a column of the data "
            "first, or fit a data frame"
        )
