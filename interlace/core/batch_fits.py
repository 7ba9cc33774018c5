"""Estimates of many fits of one structure, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from interlace.core.structure import Structure
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["BatchFits", "joined"]


@dataclass(frozen=True)
class BatchFits:
    """Estimates of B members in the inner basis; NaN where there are none.

    Attributes
    ----------
    theta : ndarray, shape (B, n_theta)
    value : ndarray, shape (B,)
        ML deviance or REML criterion.
    beta : ndarray, shape (B, p)
    beta_cov : ndarray, shape (B, p, p)
        Covariance of ``beta`` given theta and sigma.
    sigma : ndarray, shape (B,)
    converged : ndarray of bool, shape (B,)
    evaluations : ndarray of int64, shape (B,)
        Of the run that led to the estimate, not of those from other starting points that only confirm it.
    fell_back : ndarray of bool, shape (B,)
        Members that were fitted alone.
    messages : tuple of str, length B
        Why a member did not converge; empty where it did.
    """

    theta: FloatArray
    value: FloatArray
    beta: FloatArray
    beta_cov: FloatArray
    sigma: FloatArray
    converged: BoolArray
    evaluations: IntArray
    fell_back: BoolArray
    messages: tuple[str, ...]

    @classmethod
    def nothing(cls, structure: Structure, B: int, messages: Sequence[str] | None = None) -> BatchFits:
        """No estimates, for the reasons given."""
        p, blank = structure.p, np.full(B, np.nan)
        return cls(
            np.full((B, structure.n_theta), np.nan),
            blank,
            np.full((B, p), np.nan),
            np.full((B, p, p), np.nan),
            blank.copy(),
            np.zeros(B, dtype=np.bool_),
            np.zeros(B, dtype=np.int64),
            np.ones(B, dtype=np.bool_),
            ("",) * B if messages is None else tuple(messages),
        )

    def replaced(self, index: IntArray, others: BatchFits) -> BatchFits:
        """With other fits as the members ``index``."""
        arrays = {f.name: getattr(self, f.name).copy() for f in fields(self)[:-1]}
        for name, values in arrays.items():
            values[index] = getattr(others, name)
        messages = list(self.messages)
        for i, message in zip(index.tolist(), others.messages, strict=True):
            messages[i] = message
        return BatchFits(**arrays, messages=tuple(messages))


def joined(parts: Sequence[BatchFits]) -> BatchFits:
    """Fits of several stacks, one after the other."""
    if len(parts) == 1:
        return parts[0]
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(BatchFits)[:-1]}
    return BatchFits(**joined, messages=tuple(message for part in parts for message in part.messages))
