"""The marginal covariance of the rows, V = I + Z Psi Z' relative to sigma^2 and on the weighted scale, part by part.

Rows that share no level of a grouping factor, directly or through others, are uncorrelated: V is block diagonal by
connected component of rows, and so is its Cholesky factor in the order of the rows. A component with more rows than
random effects is factored without forming its block. Let S = L_S L_S' be the covariance of the next rows I given those
before them, and b and P mean and covariance of the random effects given those. Then

    S = I + Z_I P Z_I',   w_I = L_S^-1 (r_I - Z_I b),   G = L_S^-1 Z_I P,   b <- b + G'w_I,   P <- P - G'G,

starting from b = 0 and P = Psi (the identity with Z L for Z),
gives w = L^-1 r: the innovations of a Kalman filter whose states do not move.

References
----------
Houseman, E. A., Ryan, L. M. and Coull, B. A. (2004). Cholesky residuals for assessing normal errors in a linear model
with correlated outcomes. Journal of the American Statistical Association 99, 383-394. Harvey, A. C. (1989).
Forecasting, Structural Time Series Models and the Kalman Filter. Cambridge University Press, section 3.2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from interlace.core import blas
from interlace.diagnostics.projection import Projection
from interlace.errors import ModelError
from interlace.estimate.derived import term_factors
from interlace.estimate.state import State
from interlace.typing import FloatArray, IntArray

__all__ = ["MarginalCovariance"]

#: Components of at most this many rows are factored in stacks, as they are.
_SMALL = 200
#: Entries of a stack of blocks (32 MB).
_STACK = 4_000_000
#: Rows that the filter takes at a time.
_STEP = 256
#: Largest dense matrix of one component (0.8 GB, of which there are two at a time).
_LARGEST = 10_000


@dataclass(frozen=True)
class MarginalCovariance:
    """V of a fitted model; n rows, in a generalized model with the working weights at its modes.

    Parameters
    ----------
    state : State

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> V = MarginalCovariance(interlace.fit("Reaction ~ Days + (1 | Subject)", df).state)
    >>> V.diagonal[:2].round(4), len(V.components)
    (array([2.4349, 2.4349]), 18)
    """

    state: State

    @cached_property
    def loadings(self) -> tuple[FloatArray, ...]:
        """Z L of each term, shapes (n, k_i), without the terms that have no variance; ZL (ZL)' is Z Psi Z'."""
        return tuple(z @ L for z, L, _ in self._present)

    @cached_property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of each row in the terms of ``loadings``, shapes (n,)."""
        return tuple(codes for _, _, codes in self._present)

    @cached_property
    def _present(self) -> tuple[tuple[FloatArray, FloatArray, IntArray], ...]:
        root = Projection(self.state).root_weights[:, None]
        parts = zip(self.state.problem.design.terms, term_factors(self.state), strict=True)
        return tuple((root * term.Z, L, term.codes) for term, L in parts if L.any())

    @cached_property
    def from_random_effects(self) -> FloatArray:
        """Diagonal of Z Psi Z', shape (n,)."""
        total = np.zeros(self.state.fitted.size)
        for loading in self.loadings:
            total += np.einsum("nk,nk->n", loading, loading)
        return total

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal of V, shape (n,)."""
        return 1.0 + self.from_random_effects

    @cached_property
    def components(self) -> tuple[IntArray, ...]:
        """Rows, ascending, of each block of V."""
        n = self.state.fitted.size
        starts = np.cumsum([n, *(int(codes.max()) + 1 for codes in self.codes)])
        left = np.tile(np.arange(n), len(self.codes))
        right = np.concatenate([np.empty(0, np.int64), *(s + c for s, c in zip(starts, self.codes, strict=False))])
        edges = sparse.coo_array((np.ones(left.size, np.int8), (left, right)), shape=(int(starts[-1]),) * 2)
        _, labels = connected_components(edges, directed=False)
        order = np.argsort(labels[:n], kind="stable")
        return tuple(np.split(order, np.flatnonzero(np.diff(labels[:n][order])) + 1))

    def decorrelated(self, values: FloatArray) -> FloatArray:
        """L^-1 r for V = L L' with L the lower Cholesky factor in the order of the rows.

        Parameters
        ----------
        values : ndarray, shape (n,)
            r, on the weighted scale.

        Returns
        -------
        ndarray, shape (n,)

        Raises
        ------
        ModelError
            Where more than 10,000 rows and as many random effects are all connected.
        """
        out = np.empty_like(values)
        by_size: dict[int, list[IntArray]] = {}
        for rows in self.components:
            by_size.setdefault(rows.size, []).append(rows)
        for size, alike in by_size.items():
            if size > _SMALL:
                for rows in alike:
                    out[rows] = self._filtered(rows, values[rows])
                continue
            several = max(_STACK // size**2, 1)
            for start in range(0, len(alike), several):
                stack = np.stack(alike[start : start + several])
                with blas.limited(size):
                    out[stack] = self._solved(stack, values[stack])
        return out

    def _solved(self, rows: IntArray, values: FloatArray) -> FloatArray:
        """L^-1 r of several components of one size, shape (components, size)."""
        V = np.broadcast_to(np.eye(rows.shape[1]), (*rows.shape, rows.shape[1])).copy()
        for loading, codes in zip(self.loadings, self.codes, strict=True):
            part, level = loading[rows], codes[rows]
            V += np.matmul(part, part.transpose(0, 2, 1)) * (level[:, :, None] == level[:, None, :])
        return np.asarray(np.linalg.solve(np.linalg.cholesky(V), values[..., None])[..., 0])

    def _filtered(self, rows: IntArray, values: FloatArray) -> FloatArray:
        """L^-1 r of one component by the filter of the module, or as a dense block if that is smaller."""
        Z = self._columns(rows)
        by_column = sparse.csc_array(Z)
        enters = by_column.indices[by_column.indptr[:-1]].astype(np.int64) // _STEP
        leaves = by_column.indices[by_column.indptr[1:] - 1].astype(np.int64) // _STEP
        steps = -(-rows.size // _STEP)
        present = np.cumsum(np.bincount(enters, minlength=steps) - np.bincount(leaves + 1, minlength=steps + 1)[:steps])
        widest = int(present.max())
        if min(rows.size, widest) > _LARGEST:
            raise ModelError(
                f"Cholesky residuals need the joint covariance of {widest} random effects, through which {rows.size} "
                f"rows are all connected; more than {_LARGEST} do not fit in memory. Use type='pearson' or "
                "'studentized', or standardize=False"
            )
        with blas.limited(min(rows.size, widest)):
            return _dense(Z, values) if rows.size <= widest else _filtered(Z, values, enters, leaves)

    def _columns(self, rows: IntArray) -> sparse.csr_array:
        """Z L of the levels that some rows have, shape (rows, their random effects)."""
        blocks = []
        for loading, codes in zip(self.loadings, self.codes, strict=True):
            levels, inner = np.unique(codes[rows], return_inverse=True)
            k = loading.shape[1]
            columns = (inner[:, None] * k + np.arange(k)).ravel()
            at = np.arange(0, columns.size + 1, k)
            blocks.append(sparse.csr_array((loading[rows].ravel(), columns, at), shape=(rows.size, levels.size * k)))
        return sparse.csr_array(sparse.hstack(blocks, format="csr"))


def _dense(Z: sparse.csr_array, values: FloatArray) -> FloatArray:
    """L^-1 r for L L' = I + Z Z'."""
    block = (Z @ Z.T).toarray() + np.eye(values.size)
    L = scipy.linalg.cholesky(block, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(scipy.linalg.solve_triangular(L, values, lower=True, check_finite=False))


def _filtered(Z: sparse.csr_array, values: FloatArray, enters: IntArray, leaves: IntArray) -> FloatArray:
    """L^-1 r for L L' = I + Z Z', a few rows at a time.

    Random effects are kept only from the step in which they first matter to that in which they last do.
    """
    out = np.empty_like(values)
    held, b, P = np.empty(0, dtype=np.int64), np.empty(0), np.empty((0, 0))
    for step, start in enumerate(range(0, values.size, _STEP)):
        part = slice(start, start + _STEP)
        stays = np.flatnonzero(leaves[held] >= step)
        new = np.flatnonzero(enters == step)
        held, b = np.concatenate([held[stays], new]), np.concatenate([b[stays], np.zeros(new.size)])
        P = scipy.linalg.block_diag(P[np.ix_(stays, stays)], np.eye(new.size))
        z = sparse.csr_array(Z[part][:, held])
        zP = np.asarray(z @ P)
        L = np.linalg.cholesky(np.asarray(z @ zP.T) + np.eye(zP.shape[0]))
        gain = scipy.linalg.solve_triangular(L, zP, lower=True, check_finite=False)
        out[part] = scipy.linalg.solve_triangular(L, values[part] - z @ b, lower=True, check_finite=False)
        b += gain.T @ out[part]
        P -= gain.T @ gain
    return out
