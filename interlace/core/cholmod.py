"""The profiled deviance through CHOLMOD, for crossed designs too large for a dense Schur complement.

All random effects form one sparse system H = Lambda'Z'WZ Lambda + I. CHOLMOD (Chen, Davis, Hager and Rajamanickam,
2008, ACM Trans. Math. Softw. 35(3), 22) orders and factorizes it; the pattern is analyzed once. The factor gives
solutions and log-determinants but no cheap traces of the inverse, so the derivative of the log-determinants is taken by
finite differences in Psi, which stay defined on the boundary; every other part of the derivatives is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import lapack

from interlace.core.covariance import cholesky_factor
from interlace.core.crossproducts import CrossProducts
from interlace.core.factor import Elimination
from interlace.core.objective import Derivatives, ProfiledDeviance, directions
from interlace.core.sparse_cholesky import available, new_factor
from interlace.core.structure import Structure
from interlace.core.target import Target
from interlace.core.terms import consecutive
from interlace.typing import FloatArray, IntArray

__all__ = ["AnyElimination", "AnyObjective", "SparseElimination", "SparseObjective", "worth_it"]


#: Order of the dense Schur complement from which a sparse one is considered.
CONSIDERED_FROM = 2000
#: Time of a floating-point operation in a sparse factorization, in units of a dense one.
_SLOWER = 3.0


def worth_it(structure: Structure, codes: Sequence[IntArray]) -> bool:
    """Whether CHOLMOD would need less arithmetic than a dense Schur complement.

    The pattern that is left after the leading block is factorized once, with made-up numbers, to count the fill.

    Parameters
    ----------
    structure : Structure
        With dense or sparse storage.
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.
    """
    if structure.m_z < CONSIDERED_FROM or not available():
        return False
    graph = _rest_graph(structure, codes)
    fill = new_factor(graph).fill(graph)
    k = max(b.k for b in structure.rest)
    directions_of_psi = sum(b.k * (b.k + 1) // 2 for b in structure.blocks)
    sparse_flops = _SLOWER * float((fill.astype(np.float64) ** 2).sum()) * k**3 * (3 * directions_of_psi + 1)
    return sparse_flops < 2.0 * float(structure.m) ** 3


def _rest_graph(structure: Structure, codes: Sequence[IntArray]) -> sparse.csc_array:
    """Levels of the rest that meet in a level of the leading block, as a diagonally dominant matrix."""
    s = structure.n_chain
    starts = np.cumsum([0] + [b.q for b in structure.rest])
    rows = np.concatenate([codes[0]] * len(structure.rest))
    cols = np.concatenate([codes[s + r] + starts[r] for r in range(len(structure.rest))])
    shape = (structure.blocks[0].q, int(starts[-1]))
    meets = sparse.csr_array((np.ones(rows.size), (rows, cols)), shape=shape)
    meets.data[:] = 1.0
    graph = (meets.T @ meets).tocsc()
    graph.data[:] = -1.0
    return (graph + sparse.diags_array(2.0 + np.diff(graph.indptr), format="csc")).tocsc()


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
    log_h : float
        Log determinant of H.
    half : ndarray, shape (q, p + 1)
        H^-1 Lambda'Z'[X | y].
    R : ndarray, shape (p + 1, p + 1)
        Upper Cholesky factor of [X | y]'V^-1[X | y].
    ok : bool
    """

    objective: SparseObjective
    L: list[FloatArray]
    Lam: sparse.csc_array
    solve: Callable[[FloatArray], FloatArray]
    log_h: float
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


class SparseObjective(ProfiledDeviance):
    """Profiled deviance on cross-products with CHOLMOD storage; works as :class:`interlace.core.objective.Objective`.

    Parameters
    ----------
    cp : CrossProducts
    reml : bool
    """

    def __init__(self, cp: CrossProducts, *, reml: bool) -> None:
        assert cp.Cz is not None
        assert cp.Szz is not None
        self.cp, self.reml, self.structure = cp, reml, cp.structure
        p, m_z = cp.structure.p, cp.structure.m_z
        self.N = cp.n - (p if reml else 0)
        self.evaluations = 0
        lead = cp.structure.blocks[0]
        self.slices = consecutive([b.size for b in cp.structure.blocks])
        self._A = sparse.block_array([[_block_diagonal(cp.A[0]), cp.Cz], [cp.Cz.T, cp.Szz]], format="csc")
        self._Zxy = np.concatenate([cp.C[0].reshape(lead.size, p + 1), cp.S[:m_z]])
        self._xy = cp.S[m_z:]
        self._identity = sparse.eye_array(self._A.shape[0], format="csc")
        self._factor = new_factor(self._system(self._lambda([np.eye(b.k) for b in cp.structure.blocks])))
        self._factored: SparseElimination | None = None

    def split(self, values: FloatArray) -> list[FloatArray]:
        """Cut a vector over all random effects into blocks, shapes (q_i, k_i)."""
        return [values[w].reshape(b.q, b.k) for b, w in zip(self.structure.blocks, self.slices, strict=True)]

    def _lambda(self, L: Sequence[FloatArray]) -> sparse.csc_array:
        slabs = [np.broadcast_to(L_i, (b.q, b.k, b.k)) for b, L_i in zip(self.structure.blocks, L, strict=True)]
        return sparse.csc_array(sparse.block_diag([_block_diagonal(s) for s in slabs], format="csc"))

    def _system(self, Lam: sparse.csc_array) -> sparse.csc_array:
        """H, with the same pattern at every theta: entries that happen to be zero are kept."""
        return sparse.csc_array(Lam.T @ self._A @ Lam + self._identity)

    def at(self, theta: FloatArray) -> SparseElimination:
        """Solution at ``theta``."""
        self.evaluations += 1
        return self._with(self.structure.factors(theta))

    def _with(self, L: list[FloatArray]) -> SparseElimination:
        Lam = self._lambda(L)
        self._factor.factorize(self._system(Lam))
        right = Lam.T @ self._Zxy
        half = self._factor.solve(right)
        R, info = lapack.dpotrf(self._xy - right.T @ half, lower=0, clean=1)
        ok = info == 0 and R[-1, -1] > 0.0
        e = SparseElimination(self, L, Lam, np.asarray, self._factor.logdet(), half, R, ok)
        self._factored = e
        e.solve = lambda b: self._solve(e, b)
        return e

    def _solve(self, e: SparseElimination, b: FloatArray) -> FloatArray:
        """H^-1 b at the theta of ``e``; factorize again if another theta came between."""
        if self._factored is not e:
            self._factor.factorize(self._system(e.Lam))
            self._factored = e
        return self._factor.solve(b)

    def value(self, e: SparseElimination) -> float:
        """Deviance or REML criterion; infinity where it is not defined."""
        if not e.ok:
            return math.inf
        return self._logdets(e) + self.N * (1.0 + math.log(2.0 * math.pi * e.pwrss / self.N)) - self.cp.log_weights

    def _logdets(self, e: SparseElimination) -> float:
        of_x = 2.0 * float(np.log(np.diagonal(e.R)[:-1]).sum()) if self.reml else 0.0
        return e.log_h + of_x

    def __call__(self, theta: FloatArray) -> float:
        """Value at ``theta``."""
        return self.value(self.at(theta))

    def derivatives(self, e: SparseElimination) -> Derivatives:
        """Gradient with respect to theta; traces by finite differences, everything else exact."""
        b = e.modes_vector()
        a = self.split(self._Zxy[:, -1] - self._Zxy[:, :-1] @ e.beta - self._A @ b)
        weight = self.N / e.pwrss
        gradient = np.zeros(self.structure.n_theta)
        psi, dL = [], []
        for i, block in enumerate(self.structure.blocks):
            G = self._trace(e, i) - weight * a[i].T @ a[i]
            psi.append(G)
            dL.append(2.0 * G @ e.L[i])
            gradient[block.slots] = dL[i][block.rows, block.cols]
        return Derivatives(gradient, dL, a, psi)

    def psi_gradients(self, e: SparseElimination, d: Derivatives) -> list[FloatArray]:
        """G_Psi of every block, shapes (k_i, k_i)."""
        return d.psi

    def _trace(self, e: SparseElimination, i: int) -> FloatArray:
        """Derivative of the log-determinants with respect to Psi_i, shape (k_i, k_i)."""
        block, psi = self.structure.blocks[i], e.L[i] @ e.L[i].T
        base = self._logdets(e)
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
            values.append(self._logdets(self._with(L)))
            self.evaluations += 1
        return (-11.0 * values[0] + 18.0 * values[1] - 9.0 * values[2] + 2.0 * values[3]) / (6.0 * h)

    def information(self, e: SparseElimination, d: Derivatives) -> FloatArray:
        """Average information plus curvature, as :meth:`interlace.core.objective.Objective.information`."""
        structure, p = self.structure, self.structure.p
        sigma2 = e.pwrss / self.N
        h = np.concatenate([x.reshape(-1, x.shape[2]) for x in directions(structure, e.L, d.a)])
        rho = self._A @ h
        scaled = e.Lam.T @ rho
        Q = h.T @ rho - scaled.T @ e.solve(scaled)
        if p:
            left = self._Zxy[:, :p].T @ h - e.half[:, :p].T @ scaled
            Y, _ = lapack.dtrtrs(e.R[:p, :p], left, trans=1)
            Q = Q - Y.T @ Y
        g = np.empty(structure.n_theta)
        H: FloatArray = Q / sigma2
        for block, L, a, psi in zip(structure.blocks, e.L, d.a, d.psi, strict=True):
            g[block.slots] = 2.0 * (a.T @ (a @ L))[block.rows, block.cols]
            same = block.cols[:, None] == block.cols
            H[block.slots[:, None], block.slots] += 2.0 * same * psi[block.rows[:, None], block.rows]
        H -= g[:, None] * g / (sigma2 * sigma2 * self.N)
        return 0.5 * (H + H.T)


AnyElimination: TypeAlias = Elimination | SparseElimination


AnyObjective: TypeAlias = Target[Any, Derivatives]


def _block_diagonal(slabs: FloatArray) -> sparse.csc_array:
    """Sparse block-diagonal matrix from slabs of shape (q, k, k)."""
    q, k = slabs.shape[0], slabs.shape[1]
    row = np.arange(q)[:, None, None] * k + np.arange(k)[None, :, None]
    col = np.arange(q)[:, None, None] * k + np.arange(k)[None, None, :]
    cells = (np.broadcast_to(row, slabs.shape).reshape(-1), np.broadcast_to(col, slabs.shape).reshape(-1))
    return sparse.csc_array((slabs.reshape(-1), cells), shape=(q * k, q * k))
