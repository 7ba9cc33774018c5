"""The profiled deviance by iteration, for crossed designs of which nothing can be factorized.

The leading block is eliminated level by level; what is left, F (:mod:`interlace.core.reduced`), is only ever multiplied
with vectors. Conjugate gradients give beta, modes and the penalized residual sum of squares to rounding. The
log-determinant is split into what is known exactly and a remainder that random probes z estimate. With P = GG' the
diagonal blocks of F, B = G^-1 F G^-T, f(l) = log l - (l - 1), orthonormal V and Pi = I - VV',

    log|F| = log|P| + tr V'f(B)V + E[z'Pi f(B) Pi z],

as tr(B - I) = 0: that is the control variate of Hutchinson's estimator (1990, Commun. Stat. Simul. Comput. 19,
433-450). The first two terms are exact. f begins with the square of B - I, whose eigenvalues are small where levels
mix, so the variance of the last term is small as well. V spans the constants of each column, along which F is nearly
singular, and where many directions are, those that f(B) times random vectors finds (Meyer, Musco, Musco and Woodruff,
2021, SOSA, 142-155).

For given probes and V this is a smooth function of theta, and the derivatives here are those of that very function
(:mod:`interlace.core.lanczos`), not further estimates: a minimum is a minimum, line searches and the boundary test mean
what they mean elsewhere, and only the function differs from the deviance, by the Monte Carlo error reported.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import lapack

from interlace.core import conjugate
from interlace.core.crossproducts import CrossProducts
from interlace.core.lanczos import LogKrylov, log_krylov
from interlace.core.objective import Derivatives, psi_from_factor
from interlace.core.probes import MonteCarlo, Probes, signs, standard_error
from interlace.core.reduced import Pairs, ReducedSystem, Roots, scale_levels
from interlace.core.sparse_system import SparseElimination, SystemObjective
from interlace.core.start import starting_points
from interlace.typing import FloatArray

__all__ = ["IterativeElimination", "IterativeObjective"]

#: Vectors that are multiplied at a time, in numbers of doubles of the leading block's share (400 MB).
_AT_A_TIME = 50_000_000
#: Steps of a typical solution, and multiplications of sparse matrices with vectors in a second.
_STEPS, _PRODUCTS = 20, 5e8
#: Probes from which the Monte Carlo error of theta is found.
_SLOPES = 32


@dataclass
class IterativeElimination(SparseElimination):
    """With what is left after the leading block."""

    system: ReducedSystem
    scales: Roots

    @property
    def seconds_of_solution(self) -> float:
        """Estimated time of one solution beside others, on one core."""
        return 4.0 * self.system.entries * _STEPS / _PRODUCTS

    @cached_property
    def krylov(self) -> LogKrylov:
        """Lanczos processes of the vectors that the log-determinant comes from."""
        assert isinstance(self.objective, IterativeObjective)
        return log_krylov(lambda y: _scaled(self.system, self.scales, y), self.objective.vectors)


class IterativeObjective(SystemObjective):
    """Profiled deviance of which the log-determinant is estimated; works as the exact ones do.

    Parameters
    ----------
    cp : CrossProducts
        Whose storage has probes.
    reml : bool
    """

    def __init__(self, cp: CrossProducts, *, reml: bool) -> None:
        super().__init__(cp, reml=reml)
        probes = cp.structure.storage.probes
        assert probes is not None
        assert cp.Cz is not None
        assert cp.Szz is not None
        self._Cz, self._Szz = cp.Cz, cp.Szz
        self.pairs = [Pairs.of(cp, r) for r in range(1, len(cp.structure.blocks))]
        #: Vectors whose forms are added up, then those over which a mean is taken.
        self.vectors, self._fixed = self._starts(probes)

    def _starts(self, probes: Probes) -> tuple[FloatArray, int]:
        """V, then probes without their part in it; all unit vectors, where they are as few."""
        constants = self._constants()
        if self.structure.m_z <= constants.shape[1] + probes.count + probes.searched:
            return np.eye(self.structure.m_z), self.structure.m_z
        known = probes.reference
        theta = starting_points(self.cp, reml=self.reml)[0] if known is None else np.array(known)
        system = ReducedSystem(self.cp, self.pairs, self.structure.factors(theta))
        scales = Roots(system.blocks())
        V, _ = np.linalg.qr(scales.inverse_times_transposed(constants))
        if probes.searched:
            Z = signs(self.structure.rest, replace(probes, count=probes.searched), purpose=1)
            found = log_krylov(lambda y: _scaled(system, scales, y), Z - V @ (V.T @ Z)).products()
            V, _ = np.linalg.qr(np.concatenate([V, found], axis=1))
        Z = signs(self.structure.rest, probes)
        return np.concatenate([V, Z - V @ (V.T @ Z)], axis=1), V.shape[1]

    def _constants(self) -> FloatArray:
        """One vector for each column of each rest block, the same at all levels; shape (m_z, sum of k_i)."""
        parts = [np.tile(np.eye(b.k), (b.q, 1)) for b in self.structure.rest]
        out = np.zeros((self.structure.m_z, sum(b.k for b in self.structure.rest)))
        column = 0
        for part, where in zip(parts, self.structure.rest_slices, strict=True):
            out[where, column : column + part.shape[1]] = part
            column += part.shape[1]
        return out

    def times(self, b: FloatArray) -> FloatArray:
        """Z'WZ b, shapes (q,) or (q, r)."""
        columns = b.reshape(b.shape[0], -1)
        lead = self.structure.blocks[0].size
        first, rest = columns[:lead], columns[lead:]
        above = scale_levels(self.cp.A[0], first) + self._Cz @ rest
        below = self._Cz.T @ first + self._Szz @ rest
        return np.concatenate([above, below]).reshape(b.shape)

    def with_factors(self, L: list[FloatArray]) -> IterativeElimination:
        """Solution at given factors."""
        Lam = self.block_lambda(L)
        system = ReducedSystem(self.cp, self.pairs, L)
        scales = Roots(system.blocks())
        right = np.asarray(Lam.T @ self.Zxy)
        half, solved = _solve(system, scales, right)
        R, info = lapack.dpotrf(self.xy - right.T @ half, lower=0, clean=1)
        ok = solved and info == 0 and R[-1, -1] > 0.0
        return IterativeElimination(
            self, L, Lam, lambda b: _solve(system, scales, b)[0], half, R, ok, system=system, scales=scales
        )

    def log_h(self, e: SparseElimination) -> float:
        """Estimated log determinant of H."""
        assert isinstance(e, IterativeElimination)
        return e.system.log_lead + e.scales.logdet + float(_sum_and_mean(e.krylov.forms(), self._fixed))

    def derivatives(self, e: SparseElimination) -> Derivatives:
        """Gradient with respect to theta."""
        assert isinstance(e, IterativeElimination)
        b = e.modes_vector()
        a = self.split(self.Zxy[:, -1] - self.Zxy[:, :-1] @ e.beta - self.times(b))
        known = self._known(e, a)
        count = self.vectors.shape[1] - self._fixed
        weights = np.ones(self.vectors.shape[1])
        weights[self._fixed :] /= max(count, 1)
        slopes, S = self._slopes_of_forms(e, weights)
        H = self._shrink(e)
        own = np.matmul(H, self.cp.A[0]).sum(axis=0)
        of_scales = self._slopes_of_scales(e, H, [P - M for P, M in zip(e.scales.inner(), S, strict=True)])
        lead = known[0] + 0.5 * (own + own.T) + slopes[0] + of_scales[0]
        dL = [2.0 * lead @ e.L[0]]
        for i in range(1, len(self.structure.blocks)):
            dL.append(2.0 * known[i] @ e.L[i] + slopes[i] + of_scales[i])
        gradient = np.zeros(self.structure.n_theta)
        for block, D in zip(self.structure.blocks, dL, strict=True):
            gradient[block.slots] = D[block.rows, block.cols]
        return Derivatives(gradient, dL, a, [lead])

    def _known(self, e: IterativeElimination, a: Sequence[FloatArray]) -> list[FloatArray]:
        """Derivatives by Psi of everything but log|H|, shapes (k_i, k_i)."""
        weight, p = self.N / e.pwrss, self.structure.p
        out = [-weight * a_i.T @ a_i for a_i in a]
        if self.reml and p:
            root = (self.Zxy[:, :p] - self.times(np.asarray(e.Lam @ e.half[:, :p]))) @ e.beta_root
            for i, (block, where) in enumerate(zip(self.structure.blocks, self.slices, strict=True)):
                slab = root[where].reshape(block.q, block.k, p)
                out[i] = out[i] - np.einsum("lax,lbx->ab", slab, slab)
        return out

    def _shrink(self, e: IterativeElimination) -> FloatArray:
        """(I + A Psi)^-1 of every leading level, shape (q_1, k_1, k_1)."""
        return np.asarray(np.eye(e.L[0].shape[0]) - self.cp.A[0] @ e.system.W)

    def _slopes_of_scales(
        self, e: IterativeElimination, H: FloatArray, inner: Sequence[FloatArray]
    ) -> list[FloatArray]:
        """Derivatives of the sum of tr(N_l P_l), N given: by Psi for the leading block, by L for the others."""
        congruent = [L @ N @ L.T for N, L in zip(inner, e.L[1:], strict=True)]
        K = sum(
            (pairs.onto_lead(N, H.shape[0]) for pairs, N in zip(self.pairs, congruent, strict=True)),
            start=np.zeros_like(H),
        )
        lead = -np.matmul(H, np.matmul(K, H.transpose(0, 2, 1))).sum(axis=0)
        out = [0.5 * (lead + lead.T)]
        out += [2.0 * (S @ L @ N).sum(axis=0) for S, L, N in zip(e.system.S, e.L[1:], inner, strict=True)]
        return out

    def _slopes_of_forms(
        self, e: IterativeElimination, weights: FloatArray
    ) -> tuple[list[FloatArray], list[FloatArray]]:
        """Derivatives of the weighted sum of z'f(B)z: by F, and by P.

        With Phi = G^-1 dG the lower triangle of G^-1 dP G^-T, its diagonal halved, dB = G^-1 dF G^-T - Phi B - B Phi'.

        Returns
        -------
        list of ndarray, shapes (k_i, k_i)
            By Psi for the leading block, by L for the others, with P fixed.
        list of ndarray, shapes (q_i, k_i, k_i)
            Minus the derivative by P_l, for each rest block.
        """
        y_all, found = e.krylov.derivative(weights)
        system, H = e.system, self._shrink(e)
        slopes = [np.zeros((b.k, b.k)) for b in self.structure.blocks]
        by_level = [np.zeros((b.q, b.k, b.k)) for b in self.structure.rest]
        for columns in self._portions(found.size):
            y, g = y_all[:, columns], found[columns]
            x = e.scales.times(y, transpose=True)
            t = system.factors(x)
            Ct = system.onto_lead(t)
            r = system.complement(t, Ct)
            s = scale_levels(H, Ct)
            slopes[0] -= _outer(s * g, s, self.structure.blocks[0].k).sum(axis=0)
            w = e.scales.times(x + system.factors(r, transpose=True), transpose=False)
            for i, (block, where) in enumerate(zip(self.structure.rest, self.structure.rest_slices, strict=True)):
                slopes[i + 1] += 2.0 * _outer(r[where] * g, x[where], block.k).sum(axis=0)
                by_level[i] += _outer(y[where] * g, w[where], block.k)
        return slopes, [_of_cholesky(G, M) for G, M in zip(e.scales.inverses, by_level, strict=True)]

    def _portions(self, count: int) -> Iterator[slice]:
        step = max(8, _AT_A_TIME // (3 * self.structure.blocks[0].size))
        for start in range(0, count, step):
            yield slice(start, start + step)

    def psi_gradients(self, e: SparseElimination, d: Derivatives) -> list[FloatArray]:
        """G_Psi of every block, shapes (k_i, k_i); where a factor is singular, by differences in Psi."""
        for i in range(len(d.psi), len(self.structure.blocks)):
            G = psi_from_factor(e.L[i], d.dL[i])
            d.psi.append(self.trace(e, i) - (self.N / e.pwrss) * d.a[i].T @ d.a[i] if G is None else G)
        return d.psi

    def criterion_error(self, e: IterativeElimination) -> float:
        """Monte Carlo error of the criterion."""
        return standard_error(e.krylov.forms()[self._fixed :])

    def monte_carlo(self, e: IterativeElimination, hessian: FloatArray) -> MonteCarlo:
        """Errors due to the probes.

        Parameters
        ----------
        e : IterativeElimination
        hessian : ndarray, shape (n_theta, n_theta)
        """
        probes = self.structure.storage.probes
        assert probes is not None
        values = e.krylov.forms()[self._fixed :]
        slopes = np.array([self._slope_of_probe(e, i) for i in range(min(values.size, _SLOPES))])
        inverse = np.linalg.pinv(hessian, rcond=1e-12, hermitian=True)
        errors = inverse @ (slopes - slopes.mean(axis=0)).T if slopes.size else np.zeros((hessian.shape[0], 1))
        return MonteCarlo(probes, values, errors @ errors.T / max(len(slopes) - 1, 1) / max(values.size, 1))

    def _slope_of_probe(self, e: IterativeElimination, number: int) -> FloatArray:
        """Derivative by theta of z'f(B)z for one probe, shape (n_theta,)."""
        weights = np.zeros(self.vectors.shape[1])
        weights[self._fixed + number] = 1.0
        slopes, S = self._slopes_of_forms(e, weights)
        of_scales = self._slopes_of_scales(e, self._shrink(e), [-M for M in S])
        out = np.zeros(self.structure.n_theta)
        for i, block in enumerate(self.structure.blocks):
            D = slopes[i] + of_scales[i]
            of_factor = D if i else 2.0 * D @ e.L[0]
            out[block.slots] = of_factor[block.rows, block.cols]
        return out


def _scaled(system: ReducedSystem, scales: Roots, y: FloatArray) -> FloatArray:
    """B y, shapes (m_z, r)."""
    return scales.times(system.apply(scales.times(y, transpose=True)), transpose=False)


def _sum_and_mean(values: FloatArray, fixed: int) -> Any:
    """Sum of the first ``fixed`` entries, and mean of the others if there are any; over the first axis."""
    total = values[:fixed].sum(axis=0)
    return total + values[fixed:].mean(axis=0) if values.shape[0] > fixed else total


def _outer(u: FloatArray, v: FloatArray, k: int) -> FloatArray:
    """Sums over the columns of two (q k, r) matrices of u_l v_l' for each level; shape (q, k, k)."""
    left, right = u.reshape(-1, k, u.shape[1]), v.reshape(-1, k, v.shape[1])
    return np.asarray(np.einsum("lar,lbr->lab", left, right))


def _of_cholesky(inverse: FloatArray, M: FloatArray) -> FloatArray:
    """Derivative of <M, 2 Phi> by P, with Phi the lower triangle of G^-1 dP G^-T; shapes (q, k, k)."""
    k = M.shape[1]
    lower = M * (np.tri(k) - 0.5 * np.eye(k))
    return np.asarray(np.matmul(inverse.transpose(0, 2, 1), np.matmul(lower + lower.transpose(0, 2, 1), inverse)))


def _solve(system: ReducedSystem, scales: Roots, b: FloatArray) -> tuple[FloatArray, bool]:
    """H^-1 b, shapes (q,) or (q, r), and whether the iteration has converged."""
    columns = b.reshape(b.shape[0], -1)
    lead = system.structure.blocks[0].size
    first, L = columns[:lead], system.L[0]
    Lt = np.broadcast_to(L.T, system.W.shape)
    down = scale_levels(Lt.transpose(0, 2, 1), scale_levels(system.D_inverse, first))
    right = columns[lead:] - system.factors(system.from_lead(down), transpose=True)
    rest, solved = conjugate.solve(system.apply, scales.precondition, right)
    up = scale_levels(Lt, system.onto_lead(system.factors(rest)))
    return np.concatenate([scale_levels(system.D_inverse, first - up), rest]).reshape(b.shape), solved
