"""Laplace approximation of the deviance of a generalized linear mixed model, with its exact gradient.

    d(theta, beta) = -2 log p(y | eta) + u'u + log|H|,   H = Lambda'Z'WZ Lambda + I,

at the conditional modes u. With s the score, h_i = z_i'N z_i the i-th diagonal of Z N Z', N = Lambda H^-1 Lambda', and
c = W'(eta) h, implicit differentiation of the modes gives

    t = H_o^-1 Lambda'Z'c,   c~ = c - W_o (Z Lambda t),   a = Z's and a~ = Z'c~ by level,
    dd/dbeta = X'(c~ - 2 s),
    dd/dPsi_i = sum over levels [(a~ a' + a a~') / 2 - a a'] + derivative of log|H| at fixed weights,

and dd/dL = 2 (dd/dPsi) L, because u = L'a. The subscript o marks the observed information, by which the modes move; W
in log|H| is the expected one (the convention of lme4) unless the model says otherwise, and both agree for canonical
links. One further parameter, the
logarithm of a dispersion, adds -2 dl + h'dW + (Z Lambda t)'ds, with dl, dW and ds the derivatives of log density,
information and score at fixed eta.

Columns of X that belong to the search for the modes (``Pirls.X``) are part of Z here, without a penalty: then the
deviance is the one that lme4 minimizes with ``nAGQ = 0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from interlace.core.joint import joint_covariance
from interlace.core.logdet import logdet_psi_gradients, random_inverse
from interlace.core.objective import NOISE, directions, forward
from interlace.core.pirls import Modes, Pirls
from interlace.core.structure import Structure
from interlace.typing import FloatArray

__all__ = ["Laplace", "LaplaceDerivatives", "Moved"]

#: Step for second derivatives.
_STEP = 1e-5
#: Distance in every parameter over which second derivatives by the further parameter serve an approximate Hessian.
_NEARBY = 0.1


@dataclass(frozen=True)
class LaplaceDerivatives:
    """First derivatives of the deviance at one point.

    Attributes
    ----------
    gradient : ndarray, shape (n_theta + p + n_extra,)
        By theta, beta, and the further parameter.
    psi : list of ndarray, shapes (k_i, k_i)
        By Psi of each block.
    logdet_psi : list of ndarray, shapes (k_i, k_i)
        That of log|H| at fixed weights.
    a : list of ndarray, shapes (q_i, k_i)
        Z's by level.
    """

    gradient: FloatArray
    psi: list[FloatArray]
    logdet_psi: list[FloatArray]
    a: list[FloatArray]


class Moved(NamedTuple):
    """How a function of eta and u at the modes moves with them.

    Attributes
    ----------
    t : list of ndarray, shapes (q_i, k_i)
    part : ndarray, shape (n,)
        Z Lambda t.
    along : ndarray, shape (n,)
        c - W_o (Z Lambda t).
    """

    t: list[FloatArray]
    part: FloatArray
    along: FloatArray


class Laplace:
    """Laplace deviance as a function of x = (theta, beta, further parameter).

    Parameters
    ----------
    pirls : Pirls
    X : ndarray, shape (n, p)
    offset : ndarray, shape (n,)

    Attributes
    ----------
    evaluations : int
        Searches for the modes so far.
    """

    def __init__(self, pirls: Pirls, X: FloatArray, offset: FloatArray) -> None:
        self.pirls, self.X, self.offset = pirls, X, offset
        self.structure: Structure = pirls.structure
        self.evaluations = 0
        self._extra: tuple[FloatArray, FloatArray] | None = None

    def split(self, x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Theta, beta, and the further parameter."""
        n_theta, p = self.structure.n_theta, self.X.shape[1]
        return x[:n_theta], x[n_theta : n_theta + p], x[n_theta + p :]

    def at(self, x: FloatArray) -> Modes:
        """Conditional modes at ``x``, shape (n_theta + p + n_extra,)."""
        self.evaluations += 1
        theta, beta, extra = self.split(x)
        fixed = self.X @ beta + self.offset if beta.size else self.offset
        modes = self.pirls.modes(self.structure.factors(theta), fixed, self.pirls.model.with_extra(extra))
        return replace(modes, x=x)

    def value(self, modes: Modes) -> float:
        """Deviance at the modes; infinity where it is not defined, as where there are no modes."""
        if not (modes.converged and modes.working.valid and modes.elimination.ok):
            return np.inf
        value = modes.conditional + modes.penalty + modes.log_det + modes.model.surplus(modes.eta)
        return np.inf if np.isnan(value) else value

    def __call__(self, x: FloatArray) -> float:
        """Deviance at ``x``."""
        return self.value(self.at(x))

    def through_modes(self, modes: Modes, c: FloatArray, u_bar: Sequence[FloatArray] | None = None) -> Moved:
        """Effect of the parameters through the modes.

        Parameters
        ----------
        modes : Modes
        c : ndarray, shape (n,)
            Derivative by eta.
        u_bar : sequence of ndarray, shapes (q_i, k_i), optional
            Derivative by u with eta fixed.

        Returns
        -------
        Moved
            With t = H_o^-1 (Lambda'Z'c + u_bar).
        """
        right = [x @ L for x, L in zip(self.pirls.transposed(c), modes.L, strict=True)]
        if u_bar is not None:
            right = [x + more for x, more in zip(right, u_bar, strict=True)]
        t, of_x = self.pirls.observed(modes).solve(right, self.pirls.X.T @ c)
        part = self.pirls.random_part([x @ L.T for x, L in zip(t, modes.L, strict=True)])
        if self.structure.p:
            part = part + self.pirls.X @ of_x
        return Moved(t, part, c - modes.working.observed * part)

    def spread(self, modes: Modes, inverse: FloatArray) -> FloatArray:
        """Variances z_i'N z_i of the random part of eta given beta, shape (n,).

        Parameters
        ----------
        modes : Modes
        inverse : ndarray, shape (m, m)
            That of :func:`interlace.core.logdet.random_inverse`.
        """
        e = modes.elimination
        if e.lead is not None:
            return self.pirls.products.variances(e, inverse)
        nothing = np.empty((self.offset.size, 0))
        return joint_covariance(e, given_beta=inverse).quadratic_forms(nothing, self.pirls.Z, self.pirls.codes)

    def derivatives(self, modes: Modes) -> LaplaceDerivatives:
        """Exact first derivatives at the modes."""
        working, model = modes.working, modes.model
        inverse = random_inverse(modes.elimination)
        h = self.spread(modes, inverse)
        surplus = model.surplus_slope(modes.eta, working)
        c = working.d_fisher * h
        if surplus:
            c = c + surplus * working.score
        _, part, along = self.through_modes(modes, c)
        a = self.pirls.transposed(working.score)
        logdet_psi = logdet_psi_gradients(modes.elimination, inverse)
        psi = []
        for log_part, a_i, moved in zip(logdet_psi, a, self.pirls.transposed(along), strict=True):
            cross = moved.T @ a_i
            psi.append(log_part + 0.5 * (cross + cross.T) - a_i.T @ a_i)
        parts = [self.theta_gradient(modes, psi), self.X.T @ (along - 2.0 * working.score)]
        free = model.extra(modes.eta)
        if free is not None:
            total = -2.0 * free.loglik.sum() + free.fisher @ h + part @ free.score
            parts.append(np.array([total]))
        return LaplaceDerivatives(np.concatenate(parts), psi, logdet_psi, a)

    def theta_gradient(self, modes: Modes, psi: Sequence[FloatArray]) -> FloatArray:
        """Derivative by theta, shape (n_theta,), from that by Psi."""
        theta = np.zeros(self.structure.n_theta)
        for block, L, G in zip(self.structure.blocks, modes.L, psi, strict=True):
            theta[block.slots] = 2.0 * (G @ L)[block.rows, block.cols]
        return theta

    def psi_gradients(self, modes: Modes, d: LaplaceDerivatives) -> list[FloatArray]:
        """Derivative by Psi of each block."""
        return d.psi

    def psi_weight(self, modes: Modes) -> float:
        """Factor of a'a in the second derivative by Psi."""
        return 1.0

    def noise(self, value: float) -> float:
        """Rounding noise of the deviance."""
        return NOISE * (10.0 * self.offset.size + abs(value))

    def lost(self, modes: Modes) -> float:
        """Next to nothing, as the response is not squared: with many rows, a decrease that rounding would hide."""
        return 0.1 * self.noise(modes.conditional)

    def vanished(self, modes: Modes) -> bool:
        """Never; a dispersion that vanishes is seen in its logarithm."""
        return False

    def information(self, modes: Modes, d: LaplaceDerivatives) -> FloatArray:
        """Approximate Hessian in (theta, beta, further parameter), shape (r, r).

        That of the linear mixed model for the working response at the modes, with sigma = 1: average information for
        theta, the exact block for beta, and the curvature of Psi in theta. A further parameter has the exact second
        derivatives, by a difference of gradients at this point or one near by; so has everything in lme4's convention
        for dispersions, which is far from any linear model, always at this point.
        """
        if modes.model.surplus_slope(modes.eta, modes.working):
            differences = [self._column(modes, d.gradient, i) for i in range(modes.x.size)]
            return 0.5 * (np.array(differences) + np.array(differences).T)
        e, structure = modes.elimination, self.structure
        n_theta, weights = structure.n_theta, modes.working.fisher
        h = directions(structure, modes.L, d.a)
        columns = [self.pirls.random_part([x[:, :, s] for x in h]) for s in range(n_theta)]
        Y = np.column_stack([*columns, self.X])
        weighted = weights[:, None] * Y
        rho, rest = self._cross_products(weighted)
        H = Y.T @ weighted - forward(e, rho, rest)
        H[n_theta:] *= 2.0
        H[:n_theta, n_theta:] *= 2.0
        for block, a_i, psi in zip(structure.blocks, d.a, d.logdet_psi, strict=True):
            G = psi - a_i.T @ a_i
            same = block.cols[:, None] == block.cols
            H[block.slots[:, None], block.slots] += 2.0 * same * G[block.rows[:, None], block.rows]
        return self.with_extra_curvature(modes, d.gradient, 0.5 * (H + H.T))

    def with_extra_curvature(self, modes: Modes, gradient: FloatArray, H: FloatArray) -> FloatArray:
        """Add the row and column of the further parameter to a Hessian in (theta, beta)."""
        if not modes.model.n_extra:
            return H
        if self._extra is None or np.abs(modes.x - self._extra[0]).max() > _NEARBY:
            self._extra = modes.x, self._column(modes, gradient, -1)
        column = self._extra[1]
        return np.block([[H, column[:-1, None]], [column[None, :-1], column[None, -1:]]])

    def _column(self, modes: Modes, gradient: FloatArray, i: int) -> FloatArray:
        """Second derivatives by the i-th parameter, shape (r,)."""
        shifted = modes.x.copy()
        shifted[i] += _STEP
        return (self.derivatives(self.at(shifted)).gradient - gradient) / _STEP

    def _cross_products(self, V: FloatArray) -> tuple[list[FloatArray], FloatArray]:
        """Z'V for the chain, shapes (q_i, k_i, r), and (Z, X)'V for the rest, shape (m, r)."""
        structure, s = self.structure, self.structure.n_chain
        by_column = [self.pirls.transposed(v) for v in V.T]
        rho = [np.stack([c[i] for c in by_column], axis=2) for i in range(s)]
        rest = np.zeros((structure.m, V.shape[1]))
        for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
            rest[where] = np.stack([c[r].reshape(-1) for c in by_column], axis=1)
        rest[structure.m_z : -1] = self.pirls.X.T @ V
        return rho, rest
