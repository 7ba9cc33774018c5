"""Tasks in several processes, with results in the order of the tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Any, TypeVar

import numpy as np

__all__ = ["in_order", "whole_number_of_jobs"]

T = TypeVar("T", bound=Sized)
R = TypeVar("R")


def whole_number_of_jobs(n_jobs: Any) -> int | None:
    """Check ``n_jobs``.

    Raises
    ------
    ValueError
        It is neither None nor a whole number other than zero.

    Examples
    --------
    >>> whole_number_of_jobs(0)
    Traceback (most recent call last):
    ValueError: n_jobs must be a whole number of processes, or -1 for all cores; not 0
    """
    if n_jobs is None:
        return None
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, int | np.integer) or n_jobs == 0:
        raise ValueError(f"n_jobs must be a whole number of processes, or -1 for all cores; not {n_jobs!r}")
    return int(n_jobs)


def in_order(
    work: Callable[[T], R], tasks: Sequence[T], *, n_jobs: int | None = 1, progress: str = "", unit: str = "fit"
) -> Iterator[R]:
    """Results of tasks, in order.

    Parameters
    ----------
    work : callable
        Carries out a task; can be sent to other processes.
    tasks : sequence
        Each with a length: the number of units that the progress bar counts.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; None is what ``joblib.parallel_config`` says.
    progress : str
        What the progress bar on standard error is called; none if empty.
    unit : str
        What it counts.

    Examples
    --------
    >>> list(in_order(sum, [[1, 2], [3, 4, 5]]))
    [3, 12]
    """
    results = _results(work, tasks, n_jobs)
    if not progress:
        yield from results
        return
    from tqdm import tqdm

    with tqdm(total=sum(map(len, tasks)), desc=progress, unit=unit) as bar:
        for task, result in zip(tasks, results, strict=True):
            bar.update(len(task))
            yield result


def _results(work: Callable[[T], R], tasks: Sequence[T], n_jobs: int | None) -> Iterator[R]:
    if n_jobs == 1 or len(tasks) < 2:  # joblib is slow to import, and processes would only cost time
        yield from map(work, tasks)
        return
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator")(delayed(work)(task) for task in tasks)
