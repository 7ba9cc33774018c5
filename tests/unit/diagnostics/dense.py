"""Dense n x n matrices of a fitted linear model, formed as the formulas say: judges of what avoids them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag

from interlace.estimate.derived import term_covariances
from interlace.estimate.state import FitState
from interlace.results.rows import random_effects_matrix


@dataclass(frozen=True)
class Dense:
    """Matrices on the absolute scale.

    Attributes
    ----------
    X, Z, D : ndarray
        Design matrices, and the covariance of all random effects.
    weights : ndarray, shape (n,)
    V, C, P : ndarray
        Z D Z' + sigma^2 W^-1; (X'V^-1 X)^-1; V^-1 - V^-1 X C X'V^-1.
    r, u, e : ndarray
        y - X beta - offset; D Z'V^-1 r; r - Z u.
    """

    X: np.ndarray
    Z: np.ndarray
    D: np.ndarray
    weights: np.ndarray
    V: np.ndarray
    C: np.ndarray
    P: np.ndarray
    r: np.ndarray
    u: np.ndarray
    e: np.ndarray


def dense(state: FitState) -> Dense:
    """Form them, beta included, from nothing but the design, theta and sigma."""
    design = state.problem.design
    X, Z = design.X[:, state.kept], random_effects_matrix(state).toarray()
    terms = zip(design.terms, term_covariances(state), strict=True)
    D = block_diag(*(np.kron(np.eye(len(term.levels)), psi) for term, psi in terms))
    weights = np.ones(len(X)) if design.weights is None else design.weights
    y = design.y - (0.0 if design.offset is None else design.offset)
    V = Z @ D @ Z.T + state.sigma**2 * np.diag(1.0 / weights)
    inverse = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ inverse @ X)
    r = y - X @ (C @ X.T @ inverse @ y)
    u = D @ Z.T @ inverse @ r
    return Dense(X, Z, D, weights, V, C, inverse - inverse @ X @ C @ X.T @ inverse, r, u, r - Z @ u)
