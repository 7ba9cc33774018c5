"""All random effects in one sparse system: the deviance where there is no dense Schur complement.

H = Lambda'Z'WZ Lambda + I is solved with, by factorization (:mod:`interlace.core.cholmod`) or by iteration
(:mod:`interlace.core.iterative`). Solutions give beta, modes, their variances and every part of the derivatives except
those of log|H|.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from interlace.core.covariance import cholesky_factor
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Derivatives, ProfiledDeviance, directions
from interlace.core.structure import Structure
from interlace.core.terms import consecutive
from interlace.typing import FloatArray, IntArray

__all__ = ["SparseElimination", "SystemObjective", "block_diagonal"]


@dataclass
class SparseElimination:
    """Solution at one theta; the counterpart of :class:`interlace.core.factor.Elimination`.

    Attributes
    ----------
    L : list of ndarray, shapes (k_i, k_i)
    Lam : scipy.sparse.csc_array, shape (q, q)
        All factors in one block-diagonal matrix, q random effects in all.
    solve : callable
        b -> H^-1 b at this theta, shapes (q, r).
    half : ndarray, shape (q, p + 1)
        H^-1 Lambda'Z'[X | y].
    R : ndarray, shape (p + 1, p + 1)
        Upper Cholesky factor of [X | y]'V^-1[X | y].
    ok : bool
    """

    objective: SystemObjective
    L: list[FloatArray]
    Lam: sparse.csc_array
    solve: Callable[[FloatArray], FloatArray]
    half: FloatArray
    R: FloatArray
    ok: bool

    @property
    def structure(self) -> Structure:
        """Symbolic part."""
        return self.objective.structure

    @property
    def pwrss(self) -> float:
        """Penalized weighted residual sum of squares."""
        return float(self.R[-1, -1]) ** 2

    @property
    def beta(self) -> FloatArray:
        """Fixed effects, shape (p,)."""
        p = self.structure.p
        if p == 0:
            return np.empty(0)
        x, _ = lapack.dtrtrs(self.R[:p, :p], self.R[:p, -1:])
        beta: FloatArray = x[:, 0]
        return beta

    @property
    def beta_root(self) -> FloatArray:
        """Inverse of the triangular factor of X'V^-1X; its outer product is cov(beta) / sigma^2."""
        p = self.structure.p
        return np.linalg.inv(self.R[:p, :p]).astype(np.float64, copy=False)

    def modes_vector(self) -> FloatArray:
        """B of all blocks, shape (q,)."""
        u = self.half[:, -1] - self.half[:, :-1] @ self.beta
        b: FloatArray = self.Lam @ u
        return b

    def modes(self) -> list[FloatArray]:
        """Conditional modes b of every block, shapes (q_i, k_i)."""
        return self.objective.split(self.modes_vector())

    def conditional_covariances(self) -> list[FloatArray]:
        """Diagonal blocks of Lambda H^-1 Lambda', one column of levels at a time; shapes (q_i, k_i, k_i)."""
        out = []
        for block, where in zip(self.structure.blocks, self.objective.slices, strict=True):
            values = np.empty((block.q, block.k, block.k))
            step = max(1, 2_000_000 // self.Lam.shape[0])
            for start in range(0, block.q, step):
                levels = np.arange(start, min(start + step, block.q))
                columns = where.start + levels[:, None] * block.k + np.arange(block.k)
                right = self.Lam.T.tocsc()[:, columns.reshape(-1)].toarray()
                found = (self.Lam @ self.solve(right)).reshape(-1, levels.size, block.k)
                for a in range(block.k):
                    values[levels, a] = found[columns[:, a], np.arange(levels.size)]
            out.append(values)
        return out

    def modes_of_columns(self) -> list[FloatArray]:
        """As :func:`interlace.core.posterior.modes_of_columns`."""
        B = np.asarray(self.Lam @ self.half[:, :-1])
        blocks = zip(self.structure.blocks, self.objective.slices, strict=True)
        return [B[where].reshape(block.q, block.k, -1) for block, where in blocks]

    def quadratic_forms(self, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
        """Variance of x'beta + z'(b_hat - b) per row, as :func:`interlace.core.posterior.quadratic_forms`."""
        out = np.empty(X.shape[0])
        step = max(1, 2_000_000 // self.Lam.shape[0])
        for start in range(0, X.shape[0], step):
            rows = slice(start, start + step)
            scaled, Y = self._roots(X[rows], [z[rows] for z in Z], [c[rows] for c in codes])
            out[rows] = (scaled * self.solve(scaled)).sum(axis=0) + (Y * Y).sum(axis=0)
        return out

    def bilinear_forms(self, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]) -> FloatArray:
        """As :func:`interlace.core.posterior.bilinear_forms`."""
        scaled, Y = self._roots(X, Z, codes)
        forms: FloatArray = scaled.T @ self.solve(scaled) + Y.T @ Y
        return forms

    def _roots(
        self, X: FloatArray, Z: Sequence[FloatArray], codes: Sequence[IntArray]
    ) -> tuple[FloatArray, FloatArray]:
        """Lambda'z of each row, shape (q, rows), and what X leaves of it, shape (p, rows)."""
        p = self.structure.p
        z = np.zeros((self.Lam.shape[0], X.shape[0]))
        for block, where, Z_i, c in zip(self.structure.blocks, self.objective.slices, Z, codes, strict=True):
            seen = np.flatnonzero(c >= 0)
            for a in range(block.k):
                z[where.start + c[seen] * block.k + a, seen] = Z_i[seen, a]
        scaled = np.asarray(self.Lam.T @ z)
        left = X.T - self.half[:, :p].T @ scaled
        Y, _ = lapack.dtrtrs(self.R[:p, :p], left, trans=1) if p else (left, 0)
        return scaled, np.asarray(Y)


class SystemObjective(ProfiledDeviance, ABC):
    """Profiled deviance on cross-products without a Schur complement, as :class:`interlace.core.objective.Objective`.

    Parameters
    ----------
    cp : CrossProducts
    reml : bool
    """

    def __init__(self, cp: CrossProducts, *, reml: bool) -> None:
        self.cp, self.reml, self.structure = cp, reml, cp.structure
        p, m_z = cp.structure.p, cp.structure.m_z
        self.N = cp.n - (p if reml else 0)
        self.evaluations = 0
        self.slices = consecutive([b.size for b in cp.structure.blocks])
        self.Zxy = np.concatenate([cp.C[0].reshape(cp.structure.blocks[0].size, p + 1), cp.S[:m_z]])
        self.xy = cp.S[m_z:]

    @abstractmethod
    def times(self, b: FloatArray) -> FloatArray:
        """Z'WZ b, shapes (q, r)."""

    @abstractmethod
    def with_factors(self, L: list[FloatArray]) -> SparseElimination:
        """Solution at given factors."""

    @abstractmethod
    def log_h(self, e: SparseElimination) -> float:
        """Log determinant of H."""

    def at(self, theta: FloatArray) -> SparseElimination:
        """Solution at ``theta``."""
        self.evaluations += 1
        return self.with_factors(self.structure.factors(theta))

    def split(self, values: FloatArray) -> list[FloatArray]:
        """Cut a vector over all random effects into blocks, shapes (q_i, k_i)."""
        return [values[w].reshape(b.q, b.k) for b, w in zip(self.structure.blocks, self.slices, strict=True)]

    def block_lambda(self, L: Sequence[FloatArray]) -> sparse.csc_array:
        """All factors in one block-diagonal matrix, shape (q, q)."""
        slabs = [np.broadcast_to(L_i, (b.q, b.k, b.k)) for b, L_i in zip(self.structure.blocks, L, strict=True)]
        return sparse.csc_array(sparse.block_diag([block_diagonal(s) for s in slabs], format="csc"))

    def value(self, e: SparseElimination) -> float:
        """Deviance or REML criterion; infinity where it is not defined."""
        if not e.ok:
            return math.inf
        return self.logdets(e) + self.N * (1.0 + math.log(2.0 * math.pi * e.pwrss / self.N)) - self.cp.log_weights

    def logdets(self, e: SparseElimination) -> float:
        """Log determinant of H, and of X'V^-1X for REML."""
        of_x = 2.0 * float(np.log(np.diagonal(e.R)[:-1]).sum()) if self.reml else 0.0
        return self.log_h(e) + of_x

    def __call__(self, theta: FloatArray) -> float:
        """Value at ``theta``."""
        return self.value(self.at(theta))

    def derivatives(self, e: SparseElimination) -> Derivatives:
        """Gradient with respect to theta; traces by finite differences, everything else exact."""
        b = e.modes_vector()
        a = self.split(self.Zxy[:, -1] - self.Zxy[:, :-1] @ e.beta - self.times(b))
        weight = self.N / e.pwrss
        gradient = np.zeros(self.structure.n_theta)
        psi, dL = [], []
        for i, block in enumerate(self.structure.blocks):
            G = self.trace(e, i) - weight * a[i].T @ a[i]
            psi.append(G)
            dL.append(2.0 * G @ e.L[i])
            gradient[block.slots] = dL[i][block.rows, block.cols]
        return Derivatives(gradient, dL, a, psi)

    def psi_gradients(self, e: SparseElimination, d: Derivatives) -> list[FloatArray]:
        """G_Psi of every block, shapes (k_i, k_i)."""
        return d.psi

    def trace(self, e: SparseElimination, i: int) -> FloatArray:
        """Derivative of the log-determinants with respect to Psi_i, shape (k_i, k_i)."""
        block, psi = self.structure.blocks[i], e.L[i] @ e.L[i].T
        base = self.logdets(e)
        T = np.zeros((block.k, block.k))
        for a in range(block.k):
            T[a, a] = self._slope(e, i, psi, np.eye(block.k)[a], base)
        for a in range(block.k):
            for c in range(a):
                both = self._slope(e, i, psi, np.eye(block.k)[a] + np.eye(block.k)[c], base)
                T[a, c] = T[c, a] = 0.5 * (both - T[a, a] - T[c, c])
        return T

    def _slope(self, e: SparseElimination, i: int, psi: FloatArray, v: FloatArray, base: float) -> float:
        """Derivative along psi + h v v' at h = 0 from four points on the side where the matrix stays positive."""
        block = self.structure.blocks[i]
        # The log-determinants change over the conditional variance along v, or over what a level's rows tell.
        size = np.linalg.svd(psi, compute_uv=False)
        conditional = 1.0 / float(v @ np.linalg.solve(psi, v)) if size[-1] > 1e-8 * size[0] else 0.0
        h = 3e-3 * max(conditional, 0.1 * block.q / self.cp.n)
        values = [base]
        for step in (h, 2.0 * h, 3.0 * h):
            L = list(e.L)
            L[i] = cholesky_factor(psi + step * np.outer(v, v))
            values.append(self.logdets(self.with_factors(L)))
            self.evaluations += 1
        return (-11.0 * values[0] + 18.0 * values[1] - 9.0 * values[2] + 2.0 * values[3]) / (6.0 * h)

    def information(self, e: SparseElimination, d: Derivatives) -> FloatArray:
        """Average information plus curvature, as :meth:`interlace.core.objective.Objective.information`."""
        structure, p = self.structure, self.structure.p
        sigma2 = e.pwrss / self.N
        h = np.concatenate([x.reshape(-1, x.shape[2]) for x in directions(structure, e.L, d.a)])
        rho = self.times(h)
        scaled = e.Lam.T @ rho
        Q = h.T @ rho - scaled.T @ e.solve(scaled)
        if p:
            left = self.Zxy[:, :p].T @ h - e.half[:, :p].T @ scaled
            Y, _ = lapack.dtrtrs(e.R[:p, :p], left, trans=1)
            Q = Q - Y.T @ Y
        g = np.empty(structure.n_theta)
        H: FloatArray = Q / sigma2
        for block, L, a, psi in zip(structure.blocks, e.L, d.a, self.psi_gradients(e, d), strict=True):
            g[block.slots] = 2.0 * (a.T @ (a @ L))[block.rows, block.cols]
            same = block.cols[:, None] == block.cols
            H[block.slots[:, None], block.slots] += 2.0 * same * psi[block.rows[:, None], block.rows]
        H -= g[:, None] * g / (sigma2 * sigma2 * self.N)
        return 0.5 * (H + H.T)


def block_diagonal(slabs: FloatArray) -> sparse.csc_array:
    """Sparse block-diagonal matrix from slabs of shape (q, k, k)."""
    q, k = slabs.shape[0], slabs.shape[1]
    row = np.arange(q)[:, None, None] * k + np.arange(k)[None, :, None]
    col = np.arange(q)[:, None, None] * k + np.arange(k)[None, None, :]
    cells = (np.broadcast_to(row, slabs.shape).reshape(-1), np.broadcast_to(col, slabs.shape).reshape(-1))
    return sparse.csc_array((slabs.reshape(-1), cells), shape=(q * k, q * k))
