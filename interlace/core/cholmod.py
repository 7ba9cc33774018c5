"""The profiled deviance through CHOLMOD, for crossed designs too large for a dense Schur complement.

All random effects form one sparse system H = Lambda'Z'WZ Lambda + I. CHOLMOD (Chen, Davis, Hager and Rajamanickam,
2008, ACM Trans. Math. Softw. 35(3), 22) orders and factorizes it; the pattern is analyzed once. The factor gives
solutions and log-determinants but no cheap traces of the inverse, so the derivative of the log-determinants is taken by
finite differences in Psi, which stay defined on the boundary; every other part of the derivatives is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from scipy import sparse
from scipy.linalg import lapack
from scipy.sparse.csgraph import reverse_cuthill_mckee

from interlace.core.crossproducts import CrossProducts
from interlace.core.factor import Elimination
from interlace.core.objective import Derivatives
from interlace.core.sparse_cholesky import available, new_factor
from interlace.core.sparse_system import SparseElimination, SystemObjective, block_diagonal
from interlace.core.structure import Structure
from interlace.core.target import Target
from interlace.typing import FloatArray, IntArray

__all__ = ["AnyElimination", "AnyObjective", "SparseElimination", "SparseObjective", "is_available", "work"]


#: Order of the dense Schur complement from which a sparse one is considered.
CONSIDERED_FROM = 2000
#: Time of a floating-point operation in a sparse factorization, in units of a dense one.
_SLOWER = 3.0
#: Pairs of levels that may be listed, and multiplications within the envelope of a matrix up to which its fill is
#: counted by factorizing it.
_PAIRS, _COUNTED = 3e7, 2e11


def is_available() -> bool:
    """Whether there is a CHOLMOD to be considered."""
    return available()


def work(structure: Structure, codes: Sequence[IntArray]) -> tuple[float, float] | None:
    """Arithmetic of one evaluation with its derivatives, in dense multiplications, and entries of the factor.

    The pattern that is left after the leading block is factorized once, with made-up numbers, to count the fill. Where
    that would take long, its envelope after Cuthill and McKee's ordering is counted instead, which is more.

    Parameters
    ----------
    structure : Structure
        With dense or sparse storage.
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.

    Returns
    -------
    (float, float), or None
        None where CHOLMOD is not considered: it is not installed, or a dense matrix is no trouble.
    """
    if structure.m_z < CONSIDERED_FROM or not available():
        return None
    fill = _fill(structure, codes)
    k = max(b.k for b in structure.rest)
    directions_of_psi = sum(b.k * (b.k + 1) // 2 for b in structure.blocks)
    flops = _SLOWER * float((fill**2).sum()) * k**3 * (3 * directions_of_psi + 1)
    return flops, float(fill.sum()) * k**2


def _fill(structure: Structure, codes: Sequence[IntArray]) -> FloatArray:
    """Entries of each column of the factor, or an upper bound, one for each level of the rest."""
    levels = sum(b.q for b in structure.rest)
    rows = np.bincount(codes[0], minlength=structure.blocks[0].q).astype(np.float64)
    if float((rows**2).sum()) * len(structure.rest) ** 2 > _PAIRS:
        return np.arange(levels, 0, -1, dtype=np.float64)
    graph = _rest_graph(structure, codes)
    order = reverse_cuthill_mckee(sparse.csr_matrix(graph), symmetric_mode=True)
    place = np.empty(levels, dtype=np.int64)
    place[order] = np.arange(levels)
    first = np.minimum.reduceat(place[graph.indices], graph.indptr[:-1])
    envelope: FloatArray = (place - first + 1).astype(np.float64)
    if float((envelope**2).sum()) > _COUNTED:
        return envelope
    return new_factor(graph).fill(graph).astype(np.float64)


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
class FactorizedElimination(SparseElimination):
    """With the log determinant of H, which the factorization gives besides."""

    log_determinant: float


class SparseObjective(SystemObjective):
    """Profiled deviance through a sparse Cholesky factorization of H.

    Parameters
    ----------
    cp : CrossProducts
        With the storage of a whole system.
    reml : bool
    """

    def __init__(self, cp: CrossProducts, *, reml: bool) -> None:
        super().__init__(cp, reml=reml)
        assert cp.Cz is not None
        assert cp.Szz is not None
        self._A = sparse.block_array([[block_diagonal(cp.A[0]), cp.Cz], [cp.Cz.T, cp.Szz]], format="csc")
        self._identity = sparse.eye_array(self._A.shape[0], format="csc")
        self._factor = new_factor(self._system(self.block_lambda([np.eye(b.k) for b in cp.structure.blocks])))
        self._factored: SparseElimination | None = None

    def times(self, b: FloatArray) -> FloatArray:
        """Z'WZ b, shapes (q, r)."""
        return np.asarray(self._A @ b)

    def log_h(self, e: SparseElimination) -> float:
        """Log determinant of H."""
        assert isinstance(e, FactorizedElimination)
        return e.log_determinant

    def _system(self, Lam: sparse.csc_array) -> sparse.csc_array:
        """H, with the same pattern at every theta: entries that happen to be zero are kept."""
        return sparse.csc_array(Lam.T @ self._A @ Lam + self._identity)

    def with_factors(self, L: list[FloatArray]) -> SparseElimination:
        """Solution at given factors."""
        Lam = self.block_lambda(L)
        self._factor.factorize(self._system(Lam))
        right = Lam.T @ self.Zxy
        half = self._factor.solve(right)
        R, info = lapack.dpotrf(self.xy - right.T @ half, lower=0, clean=1)
        ok = info == 0 and R[-1, -1] > 0.0
        e = FactorizedElimination(self, L, Lam, np.asarray, half, R, ok, self._factor.logdet())
        self._factored = e
        e.solve = lambda b: self._solve(e, b)
        return e

    def _solve(self, e: SparseElimination, b: FloatArray) -> FloatArray:
        """H^-1 b at the theta of ``e``; factorize again if another theta came between."""
        if self._factored is not e:
            self._factor.factorize(self._system(e.Lam))
            self._factored = e
        return self._factor.solve(b)


AnyElimination: TypeAlias = Elimination | SparseElimination


AnyObjective: TypeAlias = Target[Any, Derivatives]
