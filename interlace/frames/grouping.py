"""Grouping factors: integer codes, labels, and the same codes for new data."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from interlace.errors import DataError
from interlace.frames.levels import level_text
from interlace.frames.rows import Rows
from interlace.frames.tree import Group
from interlace.typing import IntArray

__all__ = ["GroupSpec", "code_group", "fit_group", "restrict_group"]


@dataclass(frozen=True, eq=False)
class GroupSpec:
    """A grouping factor as it was in the fit.

    Attributes
    ----------
    group : Group
        Name and columns.
    levels : pandas.Index
        Labels of the q observed levels.
    parts : tuple of pandas.Index
        Observed levels of each column.
    stages : tuple of ndarray of int64
        For several columns: the observed combinations, column by column, as sorted keys
        (code of the combination so far times the number of levels of the next column, plus its code).
    """

    group: Group
    levels: pd.Index[Any]
    parts: tuple[pd.Index[Any], ...]
    stages: tuple[IntArray, ...]


def fit_group(group: Group, rows: Rows) -> tuple[IntArray, GroupSpec]:
    """Codes (n,) of the observed levels of ``group``, and what is needed to code new data."""
    codes, levels = rows.factor(group.columns[0])
    _refuse_mixed(group.columns[0], levels)
    if len(group.columns) == 1:
        return codes, GroupSpec(group, levels, (levels,), ())
    parts, stages = [levels], []
    # Combinations are numbered from integer codes, never from joined labels: "x:y" & "z" is not "x" & "y:z".
    trail: list[IntArray] = [np.arange(len(levels), dtype=np.int64)]
    for name in group.columns[1:]:
        more, levels = rows.factor(name)
        _refuse_mixed(name, levels)
        codes, keys = _observed(codes * len(levels) + more, len(trail[0]) * len(levels))
        trail = [*(t[keys // len(levels)] for t in trail), keys % len(levels)]
        parts.append(levels)
        stages.append(keys)
    return codes, GroupSpec(group, _labels(parts, trail), tuple(parts), tuple(stages))


def restrict_group(spec: GroupSpec, kept: IntArray) -> GroupSpec:
    """Keep only the levels ``kept``, ascending positions among the fitted ones."""
    if not spec.stages:
        levels = spec.levels[kept]
        return replace(spec, levels=levels, parts=(levels,))
    return replace(spec, levels=spec.levels[kept], stages=(*spec.stages[:-1], spec.stages[-1][kept]))


def code_group(spec: GroupSpec, rows: Rows) -> IntArray:
    """Codes (m,) of new rows within the fitted levels; -1 for a level, or combination, that was not in the fit."""
    codes = rows.codes_within(spec.group.columns[0], spec.parts[0])
    for name, levels, keys in zip(spec.group.columns[1:], spec.parts[1:], spec.stages, strict=True):
        more = rows.codes_within(name, levels)
        wanted = codes * len(levels) + more
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = (codes >= 0) & (more >= 0) & (keys[place] == wanted)
        codes = np.where(known, place, -1).astype(np.int64)
    return codes


def _observed(keys: IntArray, size: int) -> tuple[IntArray, IntArray]:
    """Ranks of keys among the distinct ones, and the distinct ones, sorted."""
    if size <= 8 * len(keys) + 1024:  # a table of all possible keys beats sorting
        seen = np.flatnonzero(np.bincount(keys, minlength=size)).astype(np.int64)
        rank = np.zeros(size, dtype=np.int64)
        rank[seen] = np.arange(len(seen))
        return rank[keys], seen
    distinct, ranks = np.unique(keys, return_inverse=True)
    return ranks.astype(np.int64, copy=False), distinct


def _labels(parts: list[pd.Index[Any]], trail: list[IntArray]) -> pd.Index[Any]:
    texts = [[level_text(level) for level in levels] for levels in parts]
    labels = [":".join(p) for p in _combined(texts, trail)]
    if len(set(labels)) < len(labels):  # "x:y" with "z" and "x" with "y:z": quote the parts that hold a colon
        quoted = [[f'"{t}"' if ":" in t else t for t in text] for text in texts]
        labels = [":".join(p) for p in _combined(quoted, trail)]
    return pd.Index(labels)


def _combined(texts: list[list[str]], trail: list[IntArray]) -> list[tuple[str, ...]]:
    return list(zip(*([text[i] for i in codes] for text, codes in zip(texts, trail, strict=True)), strict=True))


def _refuse_mixed(name: str, levels: pd.Index[Any]) -> None:
    if (
        levels.dtype == object
        and len({type(level).__name__ for level in levels}) > 1
        and levels.inferred_type.startswith("mixed")
    ):
        raise DataError(
            f"grouping column {name!r} holds values of mixed types; make it one type, for example with astype(str)"
        )
