"""Levels of factors: sorted, compacted, matched and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from interlace.typing import IntArray

__all__ = ["compact", "level_text", "match_levels", "sorted_levels"]


def sorted_levels(codes: IntArray, found: Any) -> tuple[IntArray, pd.Index[Any]]:
    """Sort the levels and renumber the codes; objects that cannot be compared stay as they came."""
    values = found if isinstance(found, np.ndarray) else found.to_numpy()
    if values.dtype == object:
        keys = values.tolist()
        try:
            order = np.asarray(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)
        except TypeError:
            return codes, pd.Index(found)
    else:
        order = np.argsort(values).astype(np.int64)
    rank = np.empty(len(order) + 1, dtype=np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = -1  # codes of -1 (missing) pick this one
    return rank[codes], pd.Index(found[order])


def compact(codes: IntArray, n_levels: int) -> tuple[IntArray, IntArray | None]:
    """Renumber ``codes`` so that every level occurs; also the levels kept, None when that is all of them."""
    counts = np.bincount(codes, minlength=n_levels)
    if counts.all():
        return codes, None
    kept = np.flatnonzero(counts).astype(np.int64)
    rank = np.empty(n_levels, dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    return rank[codes], kept


def level_text(level: Any) -> str:
    """Label of a level: numbers without a needless ``.0``, as R writes them."""
    if isinstance(level, float | np.floating) and float(level).is_integer() and abs(float(level)) < 1e15:
        return str(int(level))
    return str(level)


def match_levels(codes: IntArray, found: pd.Index[Any], levels: pd.Index[Any]) -> IntArray:
    """Codes within ``levels`` of values coded in ``found``; -1 for a level not among ``levels``.

    Levels are compared as they are; where the kinds differ (1 against 1.0 or "1"), by their labels.
    """
    place = _indexer(levels, found)
    absent = np.flatnonzero(place < 0)
    if len(absent) and _kind(levels) != _kind(found):
        by_text = {text: i for i, level in enumerate(levels) for text in (str(level), level_text(level))}
        for i in absent:
            place[i] = by_text.get(level_text(found[int(i)]), -1)
    return np.append(place, -1)[codes]


def _indexer(levels: pd.Index[Any], found: pd.Index[Any]) -> IntArray:
    if levels.dtype == found.dtype and isinstance(levels.dtype, np.dtype) and levels.dtype.kind in "iuf":
        return np.asarray(levels.get_indexer(found), dtype=np.int64)  # whose table pandas keeps for the next time
    places = {level: i for i, level in enumerate(levels.tolist())}
    strict_bool = (_kind(levels) == "boolean") != (_kind(found) == "boolean")  # True == 1 in Python, but not here
    return np.asarray([-1 if strict_bool else places.get(level, -1) for level in found.tolist()], dtype=np.int64)


def _kind(levels: pd.Index[Any]) -> str:
    return str(pd.api.types.infer_dtype(levels, skipna=True))
