"""Derivatives of log|Lambda'Z'WZ Lambda + I| with respect to the covariances, at fixed weights."""

from __future__ import annotations

import numpy as np

from interlace.core.factor import Elimination
from interlace.core.objective import chain_products, psi_gradient, rest_traces, shrink
from interlace.core.small import diagonal_blocks
from interlace.typing import FloatArray

__all__ = ["logdet_psi_gradients", "random_inverse"]

#: Diagonal of a factor, relative to 1 and to its largest entry, down to which dividing by it twice is safe.
_DIVISIBLE = 0.03


def random_inverse(e: Elimination) -> FloatArray:
    """Inverse of what the chain leaves of Z'WZ + Psi^-1, with zeros for X and y, shape (m, m); fine at singular Psi."""
    return e.congruence(e.padded_inverse(e.structure.m_z))


def logdet_psi_gradients(e: Elimination, inverse: FloatArray) -> list[FloatArray]:
    """Derivative of log|D| + log|F_22| with respect to Psi of every block, symmetric (k_i, k_i).

    Parameters
    ----------
    e : Elimination
    inverse : ndarray, shape (m, m)
        That of :func:`random_inverse`.
    """
    products = chain_products(e, inverse, np.zeros((e.structure.m, 1)))
    nothing = [np.zeros((block.q, block.k)) for block in e.structure.chain]
    of_chain = [psi_gradient(e, i, shrink(e, i), K, nothing[i], 0.0) for i, (K, _) in enumerate(products)]
    of_rest = _by_inverse(e, inverse)
    return of_chain + (rest_traces(e, e.structure.m_z) if of_rest is None else of_rest)


def _by_inverse(e: Elimination, inverse: FloatArray) -> list[FloatArray] | None:
    """Those of the rest without a triangular solution as large as the factor; None with a nearly singular Lambda.

    F = T'ST + I, so that T'(S - S T F^-1 T'S) T = I - F^-1.
    """
    out = []
    for block, where, L in zip(e.structure.rest, e.structure.rest_slices, e.rest_L, strict=True):
        diagonal = np.abs(np.diagonal(L))
        if diagonal.min() < _DIVISIBLE * max(1.0, diagonal.max()):
            return None
        back = np.linalg.inv(L)
        unit = back @ diagonal_blocks(inverse[where, where], block.q, block.k).sum(axis=0) @ back.T
        out.append(back.T @ (block.q * np.eye(block.k) - unit) @ back)
    return out
