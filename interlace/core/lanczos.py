"""Quadratic forms z'f(B)z of a large symmetric matrix, and what they change when B changes.

The Lanczos process started with z gives an orthonormal Q and a small tridiagonal T with B Q = Q T but for the last
column; z'f(B)z = |z|^2 [f(T)]_11 to twice the order of the process (Golub and Meurant, 2010, *Matrices, Moments and
Quadrature*, ch. 7; Ubaru, Chen and Saad, 2017, SIAM J. Matrix Anal. Appl. 38, 1075-1099). For the derivative, with
eigenvalues l_i and eigenvectors s_i of T,

    d z'f(B)z = sum_ij c_i c_j f[l_i, l_j] (Q s_i)' dB (Q s_j),   c_i = |z| s_1i,

f[., .] the divided difference (Daleckii and Krein), here made into a few vectors x_r with signs:
sum_r g_r x_r' dB x_r.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from interlace.typing import FloatArray

__all__ = ["LogKrylov", "log_krylov"]

#: Size of the last component of f(T) e_1, relative to the first, at which the process stops.
_TOLERANCE = 1e-10
_MOST_STEPS = 200
#: Directions whose weight is smaller than this, relative to the largest, are left out of the derivative.
_NEGLIGIBLE = 1e-11
#: An invariant subspace is exhausted: what is left of a vector, relative to the size of B.
_EXHAUSTED = 1e-13


@dataclass(frozen=True)
class LogKrylov:
    """Lanczos processes of several vectors z_1, ..., z_s after k steps.

    Attributes
    ----------
    Q : ndarray, shape (k, m, s)
        Orthonormal for each vector.
    values, vectors : ndarray, shapes (s, k) and (s, k, k)
        Eigenvalues and eigenvectors of the tridiagonal matrices.
    squares : ndarray, shape (s,)
        z'z.
    """

    Q: FloatArray
    values: FloatArray
    vectors: FloatArray
    squares: FloatArray

    def forms(self) -> FloatArray:
        """z'f(B)z with f(l) = log l - (l - 1), shape (s,)."""
        return np.asarray(self.squares * (self.vectors[:, 0] ** 2 * _f(self.values)).sum(axis=1))

    def products(self) -> FloatArray:
        """f(B) z, shape (m, s)."""
        coordinates = np.einsum("ski,si,si->sk", self.vectors, _f(self.values), self.vectors[:, 0])
        return np.asarray(np.einsum("kms,sk->ms", self.Q, np.sqrt(self.squares)[:, None] * coordinates))

    def derivative(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Vectors x_r and weights g_r: the weighted sum of z'f(B)z changes by the sum of g_r x_r' dB x_r.

        Parameters
        ----------
        weights : ndarray, shape (s,)
            Vectors with weight 0 are left out.

        Returns
        -------
        x : ndarray, shape (m, R)
        g : ndarray, shape (R,)
        """
        used = np.flatnonzero(weights)
        vectors, values = self.vectors[used], self.values[used]
        c = np.sqrt(self.squares[used])[:, None] * vectors[:, 0]
        found, inner = np.linalg.eigh(c[:, :, None] * c[:, None, :] * _divided(values))
        owner, which = np.nonzero(np.abs(found) > _NEGLIGIBLE * np.abs(found).max(axis=1, keepdims=True))
        coordinates = np.einsum("sij,sjr->sir", vectors, inner)[owner, :, which]
        x = np.empty((self.Q.shape[1], owner.size))
        for place, number in enumerate(used):
            mine = owner == place
            x[:, mine] = np.tensordot(self.Q[:, :, number], coordinates[mine], axes=(0, 1))
        return x, found[owner, which] * weights[used[owner]]


def log_krylov(apply: Callable[[FloatArray], FloatArray], Z: FloatArray) -> LogKrylov:
    """Run the Lanczos process, with full reorthogonalization, until log B times every vector is known.

    Parameters
    ----------
    apply : callable
        x -> B x, shapes (m, s), for a symmetric positive definite B.
    Z : ndarray, shape (m, s)

    Returns
    -------
    LogKrylov

    Examples
    --------
    >>> import numpy as np
    >>> B = np.diag([1.0, 2.0, 4.0])
    >>> forms = log_krylov(lambda x: B @ x, np.ones((3, 1))).forms()
    >>> np.allclose(forms + np.trace(B) - 3.0, np.log(8.0))
    True
    """
    squares = (Z * Z).sum(axis=0)
    Q = [Z / np.sqrt(squares)]
    diagonal: list[FloatArray] = []
    off: list[FloatArray] = []
    while True:
        w = apply(Q[-1])
        diagonal.append((w * Q[-1]).sum(axis=0))
        # Twice is enough (Parlett, 1998, *The Symmetric Eigenvalue Problem*, sec. 6.9).
        for _ in range(2):
            for q in Q:
                w = w - q * (q * w).sum(axis=0)
        left = np.sqrt((w * w).sum(axis=0))
        values, vectors = np.linalg.eigh(_tridiagonal(diagonal, off))
        of_first = np.einsum("ski,si,si->sk", vectors, np.log(np.maximum(values, 1e-300)), vectors[:, 0])
        size = np.abs(of_first).max(axis=1) + 1e-300
        done = (np.abs(of_first[:, -1]) <= _TOLERANCE * size) & (len(Q) > 2)
        if (done | (left <= _EXHAUSTED * np.abs(values).max(axis=1))).all() or len(Q) == min(_MOST_STEPS, Z.shape[0]):
            return LogKrylov(np.array(Q), values, vectors, squares)
        live = left > _EXHAUSTED * np.abs(values).max(axis=1)
        off.append(np.where(live, left, 0.0))
        Q.append(np.where(live, w / np.where(live, left, 1.0), 0.0))


def _tridiagonal(diagonal: list[FloatArray], off: list[FloatArray]) -> FloatArray:
    """Stack of tridiagonal matrices, shape (s, k, k); a vector that is exhausted goes on with ones."""
    k = len(diagonal)
    T = np.zeros((diagonal[0].size, k, k))
    at = np.arange(k)
    T[:, at, at] = np.array(diagonal).T
    if off:
        T[:, at[1:], at[:-1]] = T[:, at[:-1], at[1:]] = np.array(off).T
    T[:, at, at] += T[:, at, at] == 0.0
    return T


def _f(x: FloatArray) -> FloatArray:
    """Function log x - (x - 1)."""
    return np.asarray(np.log(x) - (x - 1.0))


def _divided(x: FloatArray) -> FloatArray:
    """Divided differences of f, shapes (s, k) to (s, k, k); log1p keeps those of near values exact."""
    low, high = np.minimum(x[:, :, None], x[:, None, :]), np.maximum(x[:, :, None], x[:, None, :])
    ratio = (high - low) / low
    small = ratio < 1e-8
    log = np.where(small, 1.0 - 0.5 * ratio, np.log1p(ratio) / np.where(small, 1.0, ratio))
    return np.asarray(log / low - 1.0)
