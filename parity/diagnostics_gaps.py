"""Differences between numbers of interlace's diagnostics and R's, and the largest of each kind."""

from __future__ import annotations

import fnmatch
import math
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from interlace.rbridge.names import r_label
from parity.inference import Gap

__all__ = [
    "Apart", "Exempt", "NotExemptedError", "apart", "apart_by_column", "diagnostics_limits", "largest", "same_columns",
    "same_labels",
]  # fmt: skip


@dataclass(frozen=True)
class Apart:
    """The largest difference in one column.

    Attributes
    ----------
    family : str
        Key in ``[diagnostics]`` of tolerances.toml.
    measure : str
        Which of the family.
    level : str
        ``rows``, ``groups`` or ``sets``: what a number is about.
    value : float
        NaN where one side has a number and the other has none.
    where : str
    """

    family: str
    measure: str
    level: str
    value: float
    where: str

    @property
    def quantity(self) -> str:
        """Name in the report."""
        return f"{self.family}: {self.measure}, {self.level}"


@dataclass(frozen=True)
class Exempt:
    """Parts of HLMdiag's records that are not compared.

    Attributes
    ----------
    model, part : str
        Patterns of file names: ``*`` stands for anything.
    fault : int
        Number in docs/influence-differences.md.
    reason : str
    """

    model: str
    part: str
    fault: int
    reason: str

    def covers(self, model: str, part: str) -> bool:
        """Whether this is about a part of a model's record."""
        return fnmatch.fnmatchcase(model, self.model) and fnmatch.fnmatchcase(part, self.part)


class NotExemptedError(AssertionError):
    """HLMdiag has no numbers where none of the known reasons explains that."""


@lru_cache(maxsize=1)
def diagnostics_limits() -> Mapping[str, Mapping[str, Any]]:
    """Limit, unit and reason of each family."""
    text = (files("interlace.rbridge") / "tolerances.toml").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Any]] = tomllib.loads(text)["diagnostics"]
    return table


def largest(differences: Iterable[Apart]) -> list[Gap]:
    """Keep the largest difference of each quantity."""
    worst: dict[str, Apart] = {}
    for one in differences:
        known = worst.get(one.quantity)
        if known is None or not one.value <= known.value:
            worst[one.quantity] = one
    limits = diagnostics_limits()
    return [Gap(name, one.value, float(limits[one.family]["limit"]), one.where) for name, one in worst.items()]


def apart(
    family: str,
    measure: str,
    level: str,
    ours: ArrayLike,
    theirs: Sequence[float | None] | ArrayLike,
    labels: Sequence[object],
    unit: float | None = None,
) -> Apart:
    """Compare a column: differences in units of its largest number in R.

    Parameters
    ----------
    family, measure, level : str
    ours, theirs : array_like, shape (u,) or (u, c)
        None and NaN are missing, and must be so on both sides.
    labels : sequence, length u
    unit : float, optional
        Instead of the largest number.

    Returns
    -------
    Apart
    """
    mine = np.asarray(ours, dtype=float).reshape(len(labels), -1)
    other = np.array(theirs, dtype=float).reshape(len(labels), -1)
    if mine.shape != other.shape:
        raise AssertionError(f"{measure}: {mine.shape} numbers here, {other.shape} in R")
    known = np.isfinite(other)
    if not np.array_equal(known, np.isfinite(mine)):
        first = int(np.flatnonzero((known != np.isfinite(mine)).any(axis=1))[0])
        return Apart(family, measure, level, math.nan, f"{labels[first]}, missing on one side only")
    if not known.any():
        return Apart(family, measure, level, 0.0, "no numbers")
    size = np.abs(other[known]).max() if unit is None else unit
    difference = np.where(known, np.abs(np.where(known, mine - other, 0.0)), 0.0) / (size or 1.0)
    worst = int(np.argmax(difference.max(axis=1)))
    return Apart(family, measure, level, float(difference.max()), str(labels[worst]))


def apart_by_column(
    family: str, level: str, ours: Any, theirs: Mapping[str, ArrayLike], labels: Sequence[object]
) -> list[Apart]:
    """Compare the columns of a data frame that a record has, by name."""
    missing = [name for name in theirs if name not in ours]
    if missing:
        raise AssertionError(f"no columns {missing} here; there are {list(ours)}")
    return [apart(family, name, level, ours[name], values, labels) for name, values in theirs.items()]


def same_labels(ours: Iterable[object], theirs: Iterable[object]) -> None:
    """Refuse tables whose rows are about different things, or in another order."""
    mine, other = [r_label(label) for label in ours], [r_label(label) for label in theirs]
    if mine != other:
        first = next((pair for pair in zip(mine, other, strict=False) if pair[0] != pair[1]), "lengths")
        raise AssertionError(f"{len(mine)} rows here, {len(other)} in R; first difference: {first}")


def same_columns(ours: Sequence[str], theirs: Sequence[str], data: Collection[str], level: str) -> Apart:
    """Count R's columns that are not here, or in another order; interlace may have more.

    Columns of the data may stand in another order. Those that R computed are not counted: R's model frame has
    ``I(age2^2)`` where interlace's has ``age2``.
    """
    other = [name for name in theirs if name not in data and "(" not in name]
    mine = [name for name in ours if name in other]
    lost = [name for name in theirs if name in data and name not in ours]
    wrong = len(lost) + sum(a != b for a, b in zip(mine, other, strict=False)) + abs(len(mine) - len(other))
    return Apart("columns", "names and order", level, float(wrong), f"{mine} here, {other} in R; lost {lost}")
