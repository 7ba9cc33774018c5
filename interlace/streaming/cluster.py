"""Data frames of dask: sums are formed where the partitions are, and brought home by a tree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from interlace.frames.levels import sorted_levels
from interlace.streaming.parts import Part, told

__all__ = ["Partition", "PartitionedFrame"]

T = TypeVar("T")


@dataclass(frozen=True)
class Partition(Part):
    """A partition that is there, as a frame of pandas."""

    frame: pd.DataFrame = field(repr=False)

    def read(self, columns: Sequence[str], size: int) -> Iterator[pd.DataFrame]:
        """Slices of the partition."""
        for start in range(0, len(self.frame), size):
            yield self.frame.iloc[start : start + size]


@dataclass(frozen=True)
class PartitionedFrame:
    """A ``dask.dataframe.DataFrame``, of which no more than a partition is ever brought here.

    What is computed depends on the partitions only, not on the workers, how many they are and which of them fail: the
    tree is that of the partitions' order.
    """

    frame: Any = field(repr=False)

    @property
    def names(self) -> list[str]:
        """Names of all columns."""
        return [str(name) for name in self.frame.columns]

    def computed(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Some columns of each partition, one at a time."""
        for partition in self._partitions(columns):
            with told():
                frame = partition.compute()
            yield frame

    def total(self, work: Callable[[Part], T], merge: Callable[[T, T], T], columns: Sequence[str]) -> T:
        """Sum up what ``work`` finds in each partition; see ``Source.total``."""
        from dask.delayed import delayed

        # As a node of the graph it travels to each worker once, not with each task.
        job = delayed(_Job(work, merge), pure=False, traverse=False)
        found = [delayed(_found, pure=False)(job, partition) for partition in self._partitions(columns)]
        while len(found) > 1:
            pairs = zip_longest(found[::2], found[1::2])
            found = [a if b is None else delayed(_merged, pure=False)(job, a, b) for a, b in pairs]
        total: T = found[0].compute()
        return total

    def settled(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Sort categories of which no partition knows all, so that their order does not depend on the partitions."""
        unknown = [
            name
            for name in frame.columns
            if isinstance(frame[name].dtype, pd.CategoricalDtype) and not self.frame[self._label(name)].cat.known
        ]
        return frame.assign(**{name: frame[name].cat.set_categories(_sorted(frame[name])) for name in unknown})

    def _partitions(self, columns: Sequence[str]) -> list[Any]:
        """Delayed partitions with some columns."""
        delayed: list[Any] = self.frame[[self._label(name) for name in columns]].to_delayed()
        return delayed

    def _label(self, name: str) -> Any:
        """Find the frame's own label of a column."""
        return next(label for label in self.frame.columns if str(label) == name)


@dataclass(frozen=True)
class _Job:
    """What is done with the partitions."""

    work: Callable[[Part], Any]
    merge: Callable[[Any, Any], Any]


def _found(job: _Job, frame: pd.DataFrame) -> Any:
    return job.work(Partition(frame))


def _merged(job: _Job, a: Any, b: Any) -> Any:
    # Another task, or the same one again after a failure, may need the first as it was.
    return job.merge(copy.deepcopy(a), b)


def _sorted(values: pd.Series[Any]) -> pd.Index[Any]:
    return sorted_levels(np.empty(0, dtype=np.int64), values.cat.categories)[1]
