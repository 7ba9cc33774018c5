"""The projection of a generalized model at its modes, beside dense matrices and a Newton step written out."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from interlace.diagnostics.projection import Projection
from interlace.estimate.derived import term_factors
from interlace.estimate.glmm_state import GlmmState
from interlace.results.rows import random_effects_matrix


def _models() -> list[GlmmState]:
    cbpp, cake = interlace.datasets.load("cbpp"), interlace.datasets.load("cake")
    ticks = interlace.datasets.load("grouseticks").iloc[:150]
    return [
        interlace.glmer("incidence / size ~ period", cbpp, "binomial", groups="herd", weights="size").state,
        interlace.glmer("TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)", ticks, "poisson").state,
        interlace.glmer("angle ~ temp + (1 | replicate)", cake, "gamma", link="log").state,
    ]


MODELS = _models()


def _columns(state: GlmmState) -> tuple[np.ndarray, np.ndarray]:
    """Z Lambda and X, shapes (n, q) and (n, p), without weights."""
    blocks = [
        np.kron(np.eye(len(t.levels)), L) for t, L in zip(state.problem.design.terms, term_factors(state), strict=True)
    ]
    Z, at = random_effects_matrix(state).toarray(), 0
    parts = []
    for block in blocks:
        parts.append(Z[:, at : at + block.shape[0]] @ block)
        at += block.shape[0]
    return np.concatenate(parts, axis=1), state.problem.design.X[:, state.kept]


@pytest.mark.parametrize("state", MODELS, ids=["binomial", "poisson", "gamma"])
def test_as_dense_matrices(state: GlmmState) -> None:
    ZL, X = _columns(state)
    projection = Projection(state)
    root = projection.root_weights[:, None]
    ZL, X = root * ZL, root * X
    inverse = np.linalg.inv(np.eye(X.shape[0]) + ZL @ ZL.T)
    C = np.linalg.inv(X.T @ inverse @ X)
    H = np.eye(X.shape[0]) - inverse + inverse @ X @ C @ X.T @ inverse
    some = np.array([0, 4, 5, 40])
    np.testing.assert_allclose(projection.leverage, np.diagonal(H), rtol=0, atol=1e-10)
    np.testing.assert_allclose(projection.hat_block(some), H[np.ix_(some, some)], rtol=0, atol=1e-10)
    np.testing.assert_allclose(projection.pull, inverse @ X @ C, rtol=0, atol=1e-9 * np.abs(X @ C).max())
    np.testing.assert_allclose(projection.coefficient_cov, C, rtol=1e-8)


@pytest.mark.parametrize("state", MODELS, ids=["binomial", "poisson", "gamma"])
def test_deletion_is_one_newton_step(state: GlmmState) -> None:
    """Of the penalized log density in (u, beta) at fixed theta, with the expected information."""
    ZL, X = _columns(state)
    working = state.model.at(state.eta)
    lost = state.problem.design.terms[0].codes == 2
    design = np.concatenate([ZL, X], axis=1)
    penalty = np.diag(np.r_[np.ones(ZL.shape[1]), np.zeros(X.shape[1])])
    kept = design[~lost]
    information = kept.T @ (working.fisher[~lost, None] * kept) + penalty
    step = np.linalg.solve(information, design[lost].T @ working.score[lost])[ZL.shape[1] :]
    projection, index = Projection(state), np.flatnonzero(lost)
    inner = np.eye(index.size) - projection.hat_block(index)
    found = projection.pull[index].T @ np.linalg.solve(inner, projection.residual[index])
    np.testing.assert_allclose(found, step, rtol=0, atol=1e-9 * np.abs(step).max())
