"""The models that ``interlace demo`` fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interlace.results.glmm import GLMMResult
    from interlace.results.lmm import LMMResult

__all__ = ["fitted_models"]


def fitted_models() -> Iterator[tuple[str, LMMResult | GLMMResult]]:
    """Calls, as one would write them, and what they return."""
    from interlace import datasets
    from interlace.api import fit, glmer

    yield (
        'interlace.fit("Reaction ~ Days + (Days | Subject)", sleepstudy)',
        fit("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy")),
    )
    yield (
        'interlace.glmer("incidence / size ~ period + (1 | herd)", cbpp, "binomial", weights="size")',
        glmer("incidence / size ~ period + (1 | herd)", datasets.load("cbpp"), "binomial", weights="size"),
    )
