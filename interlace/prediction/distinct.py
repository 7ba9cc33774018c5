"""Rows that are the same, so that what is expensive is computed once for all of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from interlace.typing import IntArray

__all__ = ["distinct_rows"]


def distinct_rows(columns: Iterable[NDArray[Any]], n: int, *, at_most: float = 0.5) -> tuple[IntArray, IntArray] | None:
    """Find the distinct rows of a table given by its columns.

    Parameters
    ----------
    columns : iterable of ndarray, shapes (n,)
        Without missing values.
    n : int
    at_most : float
        Share of distinct rows above which it is not worth the while.

    Returns
    -------
    first : ndarray of int64, shape (d,)
        Positions of the d distinct rows.
    which : ndarray of int64, shape (n,)
        The distinct row, 0 to d - 1, that each row is equal to.
    None
        When more than ``at_most`` of the rows are distinct.

    Examples
    --------
    >>> import numpy as np
    >>> distinct_rows([np.array([1.0, 2.0, 1.0, 2.0]), np.array([0, 0, 0, 0])], 4)
    (array([0, 1]), array([0, 1, 0, 1]))
    """
    which, d = np.zeros(n, dtype=np.int64), min(n, 1)
    for column in columns:
        codes, values = pd.factorize(column)
        if len(values) > 1:
            which, found = pd.factorize(which * len(values) + codes)
            d = len(found)
        if d > at_most * n:
            return None
    first = np.empty(d, dtype=np.int64)
    first[which[::-1]] = np.arange(n)[::-1]
    return first, np.asarray(which, dtype=np.int64)
