"""Laplace approximation of the deviance of a generalized linear mixed model, with its exact gradient.

    d(theta, beta) = -2 log p(y | eta) + u'u + log|H|,   H = Lambda'Z'WZ Lambda + I,

at the conditional modes u. With s the score, h_i = z_i'N z_i the i-th diagonal of Z N Z', N = Lambda H^-1 Lambda', and
c = W'(eta) h, implicit differentiation of the modes gives

    t = H_o^-1 Lambda'Z'c,   c~ = c - W_o (Z Lambda t),
    dd/dbeta = X'(c~ - 2 s),
    dd/dL_i = sum over levels [Z_l'(c~ - 2 s) u_l' + (Z_l's) t_l'] + derivative of log|H| at fixed weights,

where the subscript o marks the observed information, by which the modes move; W in log|H| is the expected one (the
convention of lme4), and both agree for canonical links.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlace.core.joint import joint_covariance
from interlace.core.objective import directions, forward, logdet_gradients, logdet_psi_gradients
from interlace.core.pirls import Modes, Pirls, spherical_modes
from interlace.typing import FloatArray

__all__ = ["Laplace", "LaplaceGradient"]


@dataclass(frozen=True)
class LaplaceGradient:
    """Gradient of the Laplace deviance.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
    beta : ndarray, shape (p,)
    """

    theta: FloatArray
    beta: FloatArray


class Laplace:
    """Laplace deviance as a function of theta and beta.

    Parameters
    ----------
    pirls : Pirls
    X : ndarray, shape (n, p)
    offset : ndarray, shape (n,)
    """

    def __init__(self, pirls: Pirls, X: FloatArray, offset: FloatArray) -> None:
        self.pirls, self.X, self.offset = pirls, X, offset
        self.structure = pirls.structure

    def modes(self, theta: FloatArray, beta: FloatArray) -> Modes:
        """Conditional modes at (theta, beta)."""
        return self.pirls.modes(self.structure.factors(theta), self.X @ beta + self.offset)

    def value(self, modes: Modes) -> float:
        """Deviance at the modes."""
        return modes.conditional + modes.penalty + modes.log_det

    def gradient(self, modes: Modes) -> LaplaceGradient:
        """Exact gradient at the modes."""
        working, structure = modes.working, self.structure
        e = modes.elimination
        h = joint_covariance(e).quadratic_forms(np.empty((self.X.shape[0], 0)), self.pirls.Z, self.pirls.codes)
        c = working.d_fisher * h
        t = spherical_modes(self.pirls.solve(modes.L, working.observed, c))
        moved = c - working.observed * self.pirls.random_part([x @ L.T for x, L in zip(t, modes.L, strict=True)])
        along = moved - 2.0 * working.score
        theta = np.zeros(structure.n_theta)
        pieces = zip(
            structure.blocks,
            self.pirls.transposed(along),
            self.pirls.transposed(working.score),
            modes.u,
            t,
            logdet_gradients(e),
            strict=True,
        )
        for block, from_along, from_score, u, t_i, log_part in pieces:
            D = from_along.T @ u + from_score.T @ t_i + log_part
            theta[block.slots] = D[block.rows, block.cols]
        return LaplaceGradient(theta, self.X.T @ along)

    def information(self, modes: Modes) -> FloatArray:
        """Approximate Hessian in (theta, beta), shape (n_theta + p, n_theta + p).

        That of the linear mixed model for the working response at the modes, with sigma = 1: average information for
        theta, the exact block for beta, and the curvature of Psi in theta.
        """
        e, structure = modes.elimination, self.structure
        n_theta, weights = structure.n_theta, modes.working.fisher
        a = self.pirls.transposed(modes.working.score)
        h = directions(structure, modes.L, a)
        columns = [self.pirls.random_part([x[:, :, s] for x in h]) for s in range(n_theta)]
        Y = np.column_stack([*columns, self.X])
        weighted = weights[:, None] * Y
        rho, rest = self._cross_products(weighted)
        H = Y.T @ weighted - forward(e, rho, rest)
        H[n_theta:] *= 2.0
        H[:n_theta, n_theta:] *= 2.0
        for block, a_i, psi in zip(structure.blocks, a, logdet_psi_gradients(e), strict=True):
            G = psi - a_i.T @ a_i
            same = block.cols[:, None] == block.cols
            H[block.slots[:, None], block.slots] += 2.0 * same * G[block.rows[:, None], block.rows]
        return 0.5 * (H + H.T)

    def _cross_products(self, V: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        """Z'V for the chain, shapes (q_i, k_i, r), and for the rest, shape (m, r)."""
        structure, s = self.structure, self.structure.n_chain
        by_column = [self.pirls.transposed(v) for v in V.T]
        rho = [np.stack([c[i] for c in by_column], axis=2) for i in range(s)]
        rest = np.zeros((structure.m, V.shape[1]))
        for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
            rest[where] = np.stack([c[r].reshape(-1) for c in by_column], axis=1)
        return rho, rest
