"""Kenward and Roger's adjusted covariance of the fixed effects and degrees of freedom, for REML fits.

In parameters that V is linear in, V = sum_r gamma_r G_r, with Phi = (X'V^-1 X)^-1, P_r = X'V^-1 G_r V^-1 X,
Q_rs = X'V^-1 G_r V^-1 G_s V^-1 X and W twice the inverse of tr(P G_r P G_s), the expected information of REML,

    Phi_A = Phi + 2 Phi [sum_rs W_rs (Q_rs - P_r Phi P_s)] Phi

(Kenward and Roger, 1997, Biometrics 53, 983-997; Halekoh and Hojsgaard, 2014, J. Stat. Softw. 59(9)). The parameters
are the free entries of each Psi and the scale of V as a whole. Any other parameters with the same span, such as
the entries and the residual variance, give the same result; with these, the part of the scale is known beforehand,
tr(P V P G_s) = tr(P G_s) and tr(P V P V) = n - p, its P_0 is Phi^-1, and its terms of the sum vanish.
Q_rs - P_r Phi P_s = h_r'Z'P Z h_s with h_r = (I x E_r) Z'V^-1 X, so that no matrix with n rows is formed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interlace.core import blas
from interlace.errors import ModelError
from interlace.estimate.state import FitState
from interlace.inference.contrasts import Sensitivity
from interlace.inference.second_order import psi_directions
from interlace.inference.variance_blocks import gigabytes_needed, variance_blocks
from interlace.typing import FloatArray

__all__ = ["KenwardRoger", "kenward_roger"]

#: Memory beyond which the computation is refused, in GB.
MEMORY_LIMIT = 4.0
#: Eigenvalues of the information, relative to the largest, below which the data say nothing of a direction.
_SINGULAR = 1e-10


@dataclass(frozen=True)
class KenwardRoger:
    """Result of the method.

    Attributes
    ----------
    adjusted : ndarray, shape (p, p)
        Adjusted covariance of beta.
    sensitivity : Sensitivity
        Covariance before the adjustment, its derivatives by the linear parameters, and W.
    """

    adjusted: FloatArray
    sensitivity: Sensitivity


def kenward_roger(state: FitState) -> KenwardRoger:
    """Adjusted covariance, and what degrees of freedom are computed from.

    Parameters
    ----------
    state : FitState
        Of a fit by REML.

    Returns
    -------
    KenwardRoger
        In the basis of the formula.

    Notes
    -----
    Variances that are estimated as zero are parameters like the others, as in pbkrtest: a singular fit can have far
    fewer degrees of freedom than by Satterthwaite's method, which counts them as known. Unlike in pbkrtest, prior
    weights are part of the covariance.

    Raises
    ------
    ModelError
        The fit is not by REML, or the matrices would take too much memory.
    """
    structure = state.problem.structure
    if not state.reml:
        raise ModelError(
            "Kenward-Roger tests are defined for fits by REML, and this one is by ML: use "
            'result.update(method="REML"), or "satterthwaite" in place of "kenward-roger"'
        )
    directions = psi_directions(structure)
    needed = gigabytes_needed(structure, len(directions))
    if needed > MEMORY_LIMIT:
        sizes = ", ".join(f"{t.group!r} ({t.n_levels} levels)" for t in state.problem.terms)
        raise ModelError(
            f"Kenward-Roger tests of this model need about {needed:.1f} GB of memory (limit {MEMORY_LIMIT:g} GB) for "
            f'the grouping factors {sizes}: use "satterthwaite" in place of "kenward-roger", which with so many '
            "levels hardly differs"
        )
    with blas.limited(structure.m):
        blocks = variance_blocks(state.problem, state.opt.x)
        phi = blocks.phi
        first, second = blocks.order.traces(directions)
        W = _twice_inverse(np.block([[np.array([[float(blocks.target.N)]]), first[None]], [first[:, None], second]]))
        forms = blocks.order.projected(directions, blocks.order.on_fixed())
        between = np.einsum("rs,rsij->ij", W[1:, 1:], forms)
        slopes = [phi, *blocks.changes_of_phi(directions)]
    return KenwardRoger(
        _backward(state, phi + 2.0 * phi @ (0.5 * (between + between.T)) @ phi),
        Sensitivity(state.beta_cov, np.array([_backward(state, D) for D in slopes]), W),
    )


def _backward(state: FitState, inner: FloatArray) -> FloatArray:
    """Covariance in the basis of the formula."""
    basis = state.problem.basis
    return np.asarray(state.sigma**2 * basis.backward(basis.backward(inner).T))


def _twice_inverse(information: FloatArray) -> FloatArray:
    """Twice the (generalized) inverse, parameters in comparable units."""
    size = np.sqrt(np.diagonal(information))
    size = np.where(size > 0.0, size, 1.0)
    inverse = np.linalg.pinv(information / np.outer(size, size), rcond=_SINGULAR, hermitian=True)
    return np.asarray(2.0 * inverse / np.outer(size, size))
