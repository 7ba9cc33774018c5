"""Adaptive Gauss-Hermite quadrature of the deviance of a model with one grouping factor, with its exact gradient.

The levels are independent, so the likelihood is a product of integrals over the k random effects of one level. With g_j
the logarithm of the integrand of level j in the spherical effects, its mode u_j, the expected information
H_j = L'A_j L + I there, the Cholesky factor C_j of H_j, and a rule with the nodes x_k and the weights w_k for the
standard normal density (Pinheiro and Bates, 1995, J. Comput. Graph. Stat. 4, 12-35),

    d(theta, beta) = log|H| - 2 sum_j log sum_k w_k exp(g_j(u_j + S_j x_k) + x_k'x_k / 2),   S_j = C_j'^-1.

One node is the Laplace approximation. All constants of the density are kept, so values with any number of nodes can be
compared; lme4 1.1 leaves out the saturated log density when there is more than one node.

Derivatives are means over the nodes with the posterior weights pi_k. With a_k = Z's(eta_k) of a level and
v_k = L'a_k - u_k, the slope of g_j at node k,

    at fixed modes and S:  dd/dbeta = -2 X' sum_k pi_k s(eta_k),   dd/dL = -2 sum_j sum_k pi_k a_k u_k',
    by S:                  G = -2 sum_k pi_k v_k x_k',
    by the mode:           -2 sum_k pi_k v_k, which moves as in :mod:`interlace.core.laplace`.

From dC = C Phi(S'dH S), with Phi the strictly lower triangle and half the diagonal, follows dS = -S Phi(S'dH S)', so
that S and log|H| together contribute <Hbar, dH> with Hbar = S (I - sym Phi(G'S)) S'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from interlace.core.laplace import Laplace, LaplaceDerivatives
from interlace.core.logdet import logdet_psi_gradients, random_inverse
from interlace.core.pirls import Modes
from interlace.core.working import WorkingModel
from interlace.typing import FloatArray, IntArray

__all__ = ["MAX_COLUMNS", "MAX_NODES", "Quadrature"]

#: Most nodes in each dimension; beyond, the rule itself loses digits.
MAX_NODES = 100
#: Most columns of the random-effects term.
MAX_COLUMNS = 3

_VALUES = 8192  # rows times nodes at a time: temporaries that fit into the cache
_LOWEST = -1e300  # a logarithm below that of any density; not infinite, so that differences of two exist
_SPANNED = 1e-4  # relative size of what counts as spanned by L


@dataclass(frozen=True)
class _Batch:
    """K nodes, evaluated together, at q levels and n rows.

    Attributes
    ----------
    x : ndarray, shape (K, k)
    u : ndarray, shape (k, K, q)
        Spherical effects.
    eta : ndarray, shape (K n,)
        Linear predictors, node by node.
    log_terms : ndarray, shape (K, q)
        Logarithms of the terms of the sum over nodes.
    """

    x: FloatArray
    u: FloatArray
    eta: FloatArray
    log_terms: FloatArray


@dataclass
class _Sums:
    """Sums over nodes, weighted by terms exp(log_terms - anchor).

    Attributes
    ----------
    anchor : ndarray, shape (q,)
        Largest of the logarithms so far.
    mass : ndarray, shape (q,)
        Of the weights.
    v : ndarray, shape (k, q)
    vx, au, aa : ndarray, shapes (k, k, q)
        Products of v and x, a and u, a and a.
    rows : ndarray, shape (3, n)
        Score, observed information, and derivative of the log density by the further parameter.
    """

    anchor: FloatArray
    mass: FloatArray
    v: FloatArray
    vx: FloatArray
    au: FloatArray
    aa: FloatArray
    rows: FloatArray

    @classmethod
    def zero(cls, k: int, q: int, n: int) -> _Sums:
        """No node yet."""
        square = (k, k, q)
        return cls(
            np.full(q, _LOWEST),
            np.zeros(q),
            np.zeros((k, q)),
            np.zeros(square),
            np.zeros(square),
            np.zeros(square),
            np.zeros((3, n)),
        )

    def scale(self, factor: FloatArray, codes: IntArray) -> None:
        """Multiply all sums by a factor of each level, shape (q,)."""
        for array in (self.mass, self.v, self.vx, self.au, self.aa):
            np.multiply(array, factor, out=array)
        self.rows *= factor[codes]

    def raise_anchor(self, log_terms: FloatArray, codes: IntArray) -> None:
        """Make the anchor at least as large as the largest of new terms, shape (K, q)."""
        anchor = np.maximum(self.anchor, log_terms.max(axis=0))
        if (anchor > self.anchor).any():
            self.scale(np.exp(self.anchor - anchor), codes)
            self.anchor = anchor


class Quadrature(Laplace):
    """Deviance by adaptive quadrature as a function of x = (theta, beta, further parameter).

    Parameters
    ----------
    laplace : Laplace
        Of a model with one grouping factor and at most three columns.
    nodes : int
        In each dimension; 1 to 100.

    Raises
    ------
    ValueError
        For any other model or number of nodes.

    Notes
    -----
    `information` is that of the Laplace approximation, which serves an optimizer as well.
    """

    def __init__(self, laplace: Laplace, nodes: int) -> None:
        super().__init__(laplace.pirls, laplace.X, laplace.offset)
        if len(self.structure.blocks) != 1 or self.structure.p:
            raise ValueError("quadrature needs one grouping factor, and coefficients outside the search for the modes")
        block = self.structure.blocks[0]
        if block.k > MAX_COLUMNS:
            raise ValueError(f"quadrature is limited to {MAX_COLUMNS} columns on the factor, not {block.k}")
        if not 1 <= nodes <= MAX_NODES:
            raise ValueError(f"the number of nodes must be from 1 to {MAX_NODES}, not {nodes}")
        self.nodes = nodes
        self._q, self._k = block.q, block.k
        self._codes, self._Z = self.pirls.codes[0], np.ascontiguousarray(self.pirls.Z[0].T)
        self._x, self._log_w = _rule(nodes, block.k, max(1, _VALUES // max(self._codes.size, 1)))
        # Levels of K copies of the rows, so that one bincount sums all nodes of a batch.
        copies = np.arange(self._x.shape[1])[:, None]
        self._levels = (self._codes + block.q * copies).reshape(-1)

    def value(self, modes: Modes) -> float:
        """Deviance, with the nodes placed around the modes; infinity where it is not defined."""
        if not (modes.converged and modes.working.valid and modes.elimination.ok):
            return np.inf
        integrals = np.full(self._q, -np.inf)
        for batch in self._batches(modes, self._copied(modes.model), _root_of_inverse(modes)):
            integrals = np.logaddexp(integrals, np.logaddexp.reduce(batch.log_terms, axis=0))
        return modes.log_det - 2.0 * float(integrals.sum()) + modes.model.surplus(modes.eta)

    def derivatives(self, modes: Modes) -> LaplaceDerivatives:
        """Exact first derivatives of the value: the nodes move with the modes."""
        if self.nodes == 1:
            return super().derivatives(modes)
        working, L, u = modes.working, modes.L[0], modes.u[0]
        S = _root_of_inverse(modes)
        mean = self._posterior(modes, S)
        score, observed, by_extra = mean.rows
        H_bar = _by_information(S, -2.0 * mean.vx)
        h = self._quadratic_forms(np.einsum("ac,cdq,bd->abq", L, H_bar, L))
        surplus = modes.model.surplus_slope(modes.eta, working) * working.score
        (t,), part, along = self.through_modes(modes, working.d_fisher * h + surplus, [-2.0 * mean.v.T])
        (a,), (moved,) = self.pirls.transposed(working.score), self.pirls.transposed(along)
        by_L = moved.T @ u + a.T @ t - 2.0 * mean.au.sum(axis=2)
        by_L += 2.0 * np.einsum("qab,bc,cdq->ad", modes.elimination.A[0], L, H_bar, optimize=True)
        block = self.structure.blocks[0]
        theta = np.zeros(self.structure.n_theta)
        theta[block.slots] = by_L[block.rows, block.cols]
        parts = [theta, self.X.T @ (along - 2.0 * score)]
        free = modes.model.extra(modes.eta)
        if free is not None:
            parts.append(np.array([-2.0 * by_extra.sum() + free.fisher @ h + part @ free.score]))
        exact = (self._Z * observed) @ self._Z.T - mean.aa.sum(axis=2)
        exact += self.pirls.transposed(self.through_modes(modes, surplus).along)[0].T @ a
        logdet = logdet_psi_gradients(modes.elimination, random_inverse(modes.elimination))
        psi = _psi_gradient(L, by_L, 0.5 * (exact + exact.T))
        return LaplaceDerivatives(np.concatenate(parts), [psi], logdet, [a])

    def _quadratic_forms(self, N: FloatArray) -> FloatArray:
        """z_i'N_j z_i of every row, N of shape (k, k, q)."""
        total = np.zeros(self._codes.size)
        for i, j in np.ndindex(self._k, self._k):
            total += self._Z[i] * self._Z[j] * N[i, j][self._codes]
        return total

    def _copied(self, model: WorkingModel) -> WorkingModel:
        """The response, once for every node of a batch."""
        times = self._x.shape[1]
        if times == 1:
            return model
        trials = None if model.trials is None else np.tile(model.trials, times)
        return replace(model, y=np.tile(model.y, times), weights=np.tile(model.weights, times), trials=trials)

    def _batches(self, modes: Modes, model: WorkingModel, S: FloatArray) -> Iterator[_Batch]:
        """All nodes around the modes, spread by S of shape (k, k, q)."""
        L, center = modes.L[0], modes.u[0].T[:, None, :]
        for x, log_w in zip(self._x, self._log_w, strict=True):
            step = np.einsum("abq,kb->akq", S, x)
            eta = np.tile(modes.eta, (x.shape[0], 1))
            for z, b in zip(self._Z, np.einsum("ab,bkq->akq", L, step), strict=True):
                eta += z * b[:, self._codes]
            flat = eta.reshape(-1)
            u = center + step
            log_prior = log_w + 0.5 * (x * x).sum(axis=1)
            log_terms = self._by_level(model.log_density(flat)) - 0.5 * (u * u).sum(axis=0) + log_prior[:, None]
            # a term that is not a number is one of an impossible linear predictor
            yield _Batch(x, u, flat, np.where(np.isnan(log_terms), -np.inf, log_terms))

    def _by_level(self, values: FloatArray) -> FloatArray:
        """Sums over the rows of each level, shapes (K n,) to (K, q)."""
        size = self._x.shape[1] * self._q
        return np.asarray(np.bincount(self._levels, weights=values, minlength=size).reshape(-1, self._q), np.float64)

    def _posterior(self, modes: Modes, S: FloatArray) -> _Sums:
        """Posterior means over the nodes."""
        k, q, n = self._k, self._q, self._codes.size
        sums, model = _Sums.zero(k, q, n), self._copied(modes.model)
        for batch in self._batches(modes, model, S):
            sums.raise_anchor(batch.log_terms, self._codes)
            self._add(sums, batch, model, modes.L[0])
        with np.errstate(divide="ignore", invalid="ignore"):  # where no node is possible the deviance is infinite
            sums.scale(1.0 / sums.mass, self._codes)
        return sums

    def _add(self, sums: _Sums, batch: _Batch, model: WorkingModel, L: FloatArray) -> None:
        n = self._codes.size
        p = np.exp(batch.log_terms - sums.anchor)
        at_rows = p[:, self._codes]
        # Where the weight is zero the linear predictor may be impossible and the derivatives no numbers.
        possible = at_rows > 0.0
        working, extra = model.at(batch.eta), model.extra(batch.eta)
        score = np.where(possible, working.score.reshape(-1, n), 0.0)
        by_row = [score, np.where(possible, working.observed.reshape(-1, n), 0.0)]
        if extra is not None:
            by_row.append(np.where(possible, extra.loglik.reshape(-1, n), 0.0))
        for i, values in enumerate(by_row):
            sums.rows[i] += np.einsum("kn,kn->n", at_rows, values)
        a = np.stack([self._by_level((score * z).reshape(-1)) for z in self._Z])
        v = np.einsum("ba,bkq->akq", L, a) - batch.u
        pa, pv = p * a, p * v
        sums.mass += p.sum(axis=0)
        sums.v += pv.sum(axis=1)
        sums.vx += np.einsum("akq,kb->abq", pv, batch.x)
        sums.au += np.einsum("akq,bkq->abq", pa, batch.u)
        sums.aa += np.einsum("akq,bkq->abq", pa, a)


def _rule(nodes: int, k: int, at_once: int) -> tuple[FloatArray, FloatArray]:
    """Nodes of the product rule for the standard normal density, and log weights; in batches of equal size.

    Returns
    -------
    x : ndarray, shape (batches, K, k)
    log_w : ndarray, shape (batches, K)
        Of nodes that fill the last batch minus infinity.
    """
    x, log_w = _product_rule(nodes, k)
    batches = -(-log_w.size // at_once)
    size = -(-log_w.size // batches)
    missing = batches * size - log_w.size
    x = np.concatenate([x, np.zeros((missing, k))])
    log_w = np.concatenate([log_w, np.full(missing, -np.inf)])
    return x.reshape(batches, size, k), log_w.reshape(batches, size)


@lru_cache(maxsize=16)
def _product_rule(nodes: int, k: int) -> tuple[FloatArray, FloatArray]:
    """Nodes, shape (nodes^k, k), and log weights, those nearest to the mode first: the largest terms, as a rule."""
    x, w = np.polynomial.hermite_e.hermegauss(nodes)
    grids = np.meshgrid(*[x] * k, indexing="ij")
    logs = np.meshgrid(*[np.log(w / w.sum())] * k, indexing="ij")
    points, log_w = np.stack([g.ravel() for g in grids], axis=1), np.sum([g.ravel() for g in logs], axis=0)
    order = np.argsort((points * points).sum(axis=1), kind="stable")
    return points[order], log_w[order]


def _root_of_inverse(modes: Modes) -> FloatArray:
    """Upper triangular S with S S' = (L'A_j L + I)^-1 of every level, shape (k, k, q)."""
    L = modes.L[0]
    H = L.T @ modes.elimination.A[0] @ L + np.eye(L.shape[0])
    if L.shape[0] == 1:
        return np.asarray(1.0 / np.sqrt(H.T))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(H)).T)


def _by_information(S: FloatArray, G: FloatArray) -> FloatArray:
    """Derivative by H of log|H| and of a function of S whose derivative by S is G; symmetric, shapes (k, k, q)."""
    k = S.shape[0]
    mask = np.tril(np.ones((k, k)), -1) + 0.5 * np.eye(k)
    lower = mask[:, :, None] * np.einsum("baq,bcq->acq", G, S)
    inner = np.eye(k)[:, :, None] - 0.5 * (lower + lower.transpose(1, 0, 2))
    return np.asarray(np.einsum("abq,bcq,dcq->adq", S, inner, S))


def _psi_gradient(L: FloatArray, dL: FloatArray, exact: FloatArray) -> FloatArray:
    """Derivative G by Psi = L L': symmetric, with the lower triangle of 2 G L equal to that of dd/dL.

    Where L is singular these equations leave G undetermined in the directions that L does not span. There it is that of
    the integral itself, the posterior mean of Z'WZ - aa' with the observed information W: since the normal density
    N(b; 0, Psi) has dN/dPsi = (d2N/db db') / 2, two integrations by parts move the derivatives to the density of y. In
    those directions the posterior is the prior, for which two nodes are exact to this order; what differs is the error
    of the rule in the directions that L does span.

    Parameters
    ----------
    L : ndarray, shape (k, k)
    dL : ndarray, shape (k, k)
        All entries.
    exact : ndarray, shape (k, k)
        Derivative of the integral, which the rule approximates.
    """
    k = L.shape[0]
    entries = np.tril_indices(k)
    equations = []
    for i, j in zip(*entries, strict=True):
        unit = np.zeros((k, k))
        unit[i, j] = unit[j, i] = 1.0
        equations.append(2.0 * (unit @ L)[entries])
    rest = (dL - 2.0 * exact @ L)[entries]
    solution = np.linalg.lstsq(np.array(equations).T, rest, rcond=_SPANNED)[0]
    correction = np.zeros((k, k))
    correction[entries] = solution
    return np.asarray(exact + correction + np.tril(correction, -1).T)
