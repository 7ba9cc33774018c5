"""Rotated random effects, beside dense matrices."""

from __future__ import annotations

import re
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.diagnostics import rotation
from interlace.diagnostics.rotation import rotate_ranef, varimax_rotation
from interlace.errors import ModelError
from tests.unit.diagnostics.dense import dense


def _dense(result, columns: np.ndarray, s: int | None) -> np.ndarray:
    """Loy and Hofmann's steps on the scale sigma = 1, weights within."""
    matrices = dense(result.state)
    scale = result.scale
    root = np.sqrt(matrices.weights)
    V, D = root[:, None] * matrices.V * root / scale, matrices.D / scale
    X, Z = root[:, None] * matrices.X, root[:, None] * matrices.Z
    left = np.linalg.solve(V, X)
    P = np.linalg.inv(V) - left @ np.linalg.solve(X.T @ left, left.T)
    L = np.eye(Z.shape[1])[:, columns]
    M = P @ Z @ D @ L
    A, B = M.T @ M, L.T @ D @ Z.T @ M
    c, T = np.linalg.eigh(B)
    T, c = T[:, c > 1e-9 * c.max()], c[c > 1e-9 * c.max()]
    half = T / np.sqrt(c)
    _, U = np.linalg.eigh(half.T @ A @ half)
    s = len(c) if s is None else s
    return (half @ U[:, :s])[:, ::-1].T @ matrices.u[columns]


@pytest.mark.parametrize(
    ("name", "level", "which", "columns"),
    [
        ("weighted", None, "Intercept", np.arange(0, 36, 2)),
        ("weighted", "Subject", "Days", np.arange(1, 36, 2)),
        ("apart", "Subject", "Days", np.arange(18, 36)),
        ("no intercept", None, "(Intercept)", np.arange(18)),
        ("crossed", "plate", "Intercept", np.arange(24)),
    ],
)
def test_dense_steps(models, name, level, which, columns):
    result = models[name]
    for s in (None,) if name == "crossed" else (None, 5):
        found = rotate_ranef(result, level, which=which, s=s)
        expected = _dense(result, columns, s)
        assert found.index.tolist() == list(range(1, len(expected) + 1))
        if name == "crossed":  # shares of errors are tied
            assert_allclose((found**2).sum(), (expected**2).sum(), rtol=1e-8)
        else:
            assert_allclose(np.abs(found), np.abs(expected), rtol=1e-5, atol=1e-7 * np.abs(expected).max())


def test_the_rank_is_that_of_the_groups_less_what_the_fixed_effects_take(models):
    assert len(rotate_ranef(models["weighted"])) == 17
    assert len(rotate_ranef(models["no intercept"])) == 18


def test_varimax_turns_towards_few_groups():
    rng = np.random.default_rng(5)
    K = rng.normal(size=(12, 4))
    R = varimax_rotation(K, tol=1e-12)
    assert_allclose(R.T @ R, np.eye(4), atol=1e-12)

    def criterion(loadings: np.ndarray) -> float:
        return float((loadings**2).var(axis=0).sum())

    others = [np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(200)]
    assert criterion(K @ R) > max(criterion(K @ other) for other in others)
    small = [np.linalg.qr(np.eye(4) + 1e-3 * rng.normal(size=(4, 4)))[0] for _ in range(20)]
    assert criterion(K @ R) >= max(criterion(K @ R @ other) for other in small)
    assert_allclose(varimax_rotation(K[:, :1]), [[1.0]])


def test_varimax_keeps_the_sum_of_squares(models):
    plain, turned = (rotate_ranef(models["weighted"], which="Days", s=6, varimax=flag) for flag in (False, True))
    assert_allclose((plain**2).sum(), (turned**2).sum())
    assert not np.allclose(np.abs(plain), np.abs(turned))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("crossed", {}, "level must be one of 'plate', 'sample'"),
        ("slopes", {"level": "Days"}, "level='Days' is not a grouping factor"),
        ("slopes", {"which": "x"}, "which='x' is not a random effect of 'Subject'; it has 'Intercept', 'Days'"),
        ("slopes", {"s": 18}, "s must be a whole number from 1 to 17"),
        ("slopes", {"s": 2.5}, "not 2.5"),
        ("slopes", {"s": True}, "not True"),
    ],
)
def test_what_there_is_not(models, name, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        rotate_ranef(models[name], **options)


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")
def test_refusals(models, monkeypatch):
    data = interlace.datasets.load("sleepstudy")
    centered = data["Reaction"] - data.groupby("Subject", observed=True)["Reaction"].transform("mean")
    flat = interlace.fit("Reaction ~ Days + (1 | Subject)", data.assign(Reaction=centered))
    with pytest.raises(ModelError, match="estimated to be zero in all groups"):
        rotate_ranef(flat)
    monkeypatch.setattr(rotation, "_LARGEST", 30)
    with pytest.raises(ModelError, match="up to 30 random effects"):
        rotate_ranef(models["slopes"])


def test_no_matrix_of_all_rows_and_all_groups():
    rng = np.random.default_rng(4)
    g = np.arange(40_000) % 100
    result = interlace.fit("y ~ 1 + (1 | g)", {"y": rng.normal(size=100)[g] + rng.normal(size=g.size), "g": g})
    tracemalloc.start()
    rotate_ranef(result)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 * g.size * 100 / 2  # bytes
