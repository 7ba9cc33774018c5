"""Seconds of a call."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

__all__ = ["BUDGET", "median_seconds"]

#: Seconds in which a call is repeated.
BUDGET = 3.0


def median_seconds(work: Callable[[], Any], budget: float = BUDGET) -> tuple[float, Any]:
    """Time a call again and again within the budget; the first call only warms up unless it is slow."""
    seconds: list[float] = []
    result = None
    while not seconds or (sum(seconds) < budget and len(seconds) < 300):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    if len(seconds) > 1 and seconds[0] < 2.0:
        seconds.pop(0)
    return sorted(seconds)[len(seconds) // 2], result
