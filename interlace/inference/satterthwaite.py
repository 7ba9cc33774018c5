"""Satterthwaite's degrees of freedom from derivatives of the deviance in the variance parameters.

The parameters are theta and tau = log sigma. With the deviance (ML) or REML criterion before sigma is profiled out,
at its minimum over sigma, a = Z'Py and E_s the derivative of Psi by theta_s (Q = P for REML, V^-1 for ML),

    d2/dtheta_s dtheta_t = -tr(Q V_s Q V_t) + 2 y'P V_s P V_t P y / sigma^2 + <G_Psi, dE_s/dtheta_t>
    d2/dtheta_s dtau     = 2 a'E_s a / sigma^2
    d2/dtau^2            = 4 N

and the derivatives of cov(beta) = sigma^2 Phi are sigma^2 Phi X'V^-1 V_s V^-1 X Phi and 2 sigma^2 Phi. Twice the
inverse of the second derivatives is the covariance of the parameters (Kuznetsova, Brockhoff and Christensen, 2017,
J. Stat. Softw. 82(13), section 2.3). Their parameter is sigma; the logarithm gives the same degrees of freedom.

Singular fits: where a column of a factor is zero, so are all first derivatives by it, and the parameters of that column
count as known, as in lmerTest. Directions in which the criterion does not curve upwards are left out, as there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlace.core import blas
from interlace.core.cholmod import AnyElimination
from interlace.estimate.problem import objective
from interlace.estimate.state import FitState
from interlace.inference.contrasts import Sensitivity
from interlace.inference.second_order import theta_directions
from interlace.inference.variance_blocks import gigabytes_needed, variance_blocks
from interlace.typing import FloatArray

__all__ = ["by_differences", "exactly", "satterthwaite"]

#: Memory up to which the closed form is used, in GB.
_AFFORDABLE = 1.0
#: Eigenvalues of the second derivatives, relative to the largest, below which a direction is left out.
_FLAT = 1e-10
#: Step of differences, in units of the standard error of a parameter; limited where the criterion is flat.
_STEP = 0.01


@dataclass(frozen=True)
class _Curvature:
    """Second derivatives in (theta, tau), and first ones of cov(beta); inner basis, sigma = 1.

    Attributes
    ----------
    hessian : ndarray, shape (n_theta + 1, n_theta + 1)
    phi : ndarray, shape (p, p)
        (X'V^-1 X)^-1.
    slopes : ndarray, shape (n_theta, p, p)
        Derivatives of ``phi`` by theta.
    """

    hessian: FloatArray
    phi: FloatArray
    slopes: FloatArray


def satterthwaite(state: FitState) -> Sensitivity:
    """How cov(beta) depends on (theta, log sigma), and the covariance of these from the curvature of the criterion.

    Parameters
    ----------
    state : FitState

    Returns
    -------
    Sensitivity
        In the basis of the formula.

    Notes
    -----
    The closed form is used unless its matrices would take more than 1 GB, or the fit itself needed CHOLMOD. Second
    derivatives are then central differences of fourth order of the exact first ones, with a relative error of about
    1e-8 in the degrees of freedom (1e-6 with CHOLMOD, where the first derivatives themselves hold differences).
    """
    structure = state.problem.structure
    affordable = not structure.storage.whole and gigabytes_needed(structure, structure.n_theta) < _AFFORDABLE
    with blas.limited(structure.m):
        found = exactly(state) if affordable else by_differences(state)
    return _sensitivity(state, found)


def exactly(state: FitState) -> _Curvature:
    """Closed form."""
    blocks = variance_blocks(state.problem, state.opt.x)
    target, e = blocks.target, blocks.e
    d = target.derivatives(e)
    directions = theta_directions(target.structure, e.L)
    weight = target.psi_weight(e)
    _, traces = blocks.order.traces(directions)
    quadratic = blocks.order.projected(directions, [a[:, :, None] for a in d.a])[:, :, 0, 0]
    H = -traces + 2.0 * weight * quadratic
    for block, G in zip(target.structure.blocks, target.psi_gradients(e, d), strict=True):
        same = block.cols[:, None] == block.cols
        H[block.slots[:, None], block.slots] += 2.0 * same * G[block.rows[:, None], block.rows]
    first = weight * np.array([float(np.vdot(d.a[i] @ E, d.a[i])) for i, E in directions])
    return _Curvature(_with_tau(H, first, target.N), blocks.phi, blocks.changes_of_phi(directions))


def by_differences(state: FitState) -> _Curvature:
    """Central differences of fourth order of the exact gradient and of cov(beta)."""
    target = objective(state.problem)
    x, N = state.opt.x, state.problem.cp.n - (state.problem.structure.p if state.problem.reml else 0)
    center = target.at(x)
    d = target.derivatives(center)
    width = np.sqrt(2.0 / np.maximum(np.abs(np.diagonal(target.information(center, d))), 1e-300))
    H, slopes = np.empty((x.size, x.size)), []
    for s in range(x.size):
        h = _STEP * min(0.2, float(width[s]))
        gradient, phi = np.zeros(x.size), np.zeros_like(_phi(center))
        for steps, weight in ((-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)):
            moved = x.copy()
            moved[s] += steps * h
            e = target.at(moved)
            gradient += weight * target.derivatives(e).gradient
            phi += weight * _phi(e)
        H[s] = gradient / (12.0 * h)
        slopes.append(phi / (12.0 * h))
    weight = target.psi_weight(center)
    first = np.zeros(x.size)
    for s, (i, E) in enumerate(theta_directions(target.structure, center.L)):
        first[s] = weight * float(np.vdot(d.a[i] @ E, d.a[i]))
    # The profiled criterion has lost what sigma takes up: first first' / N.
    H = 0.5 * (H + H.T) + np.outer(first, first) / N
    return _Curvature(_with_tau(H, first, N), _phi(center), np.array(slopes).reshape(-1, *_phi(center).shape))


def _phi(e: AnyElimination) -> FloatArray:
    return np.asarray(e.beta_root @ e.beta_root.T)


def _with_tau(H: FloatArray, first: FloatArray, N: int) -> FloatArray:
    """Add the row and column of log sigma; ``first`` is y'P V_s P y / sigma^2."""
    return np.block([[H, 2.0 * first[:, None]], [2.0 * first[None, :], np.array([[4.0 * N]])]])


def _sensitivity(state: FitState, found: _Curvature) -> Sensitivity:
    """Back to the basis of the formula and to sigma."""
    backward, sigma2 = state.problem.basis.backward, state.sigma**2
    inner = np.concatenate([found.slopes, 2.0 * found.phi[None]])
    slopes = np.array([sigma2 * backward(backward(D).T) for D in inner])
    return Sensitivity(state.beta_cov, slopes, _twice_inverse(found.hessian))


def _twice_inverse(H: FloatArray) -> FloatArray:
    """Twice the inverse on the directions in which the criterion curves upwards, parameters in comparable units."""
    size = np.sqrt(np.abs(np.diagonal(H)))
    size = np.where(size > 0.0, size, 1.0)
    values, vectors = np.linalg.eigh(H / np.outer(size, size))
    up = values > _FLAT * values[-1]
    half = vectors[:, up] / np.sqrt(values[up]) / size[:, None]
    return np.asarray(2.0 * half @ half.T)
