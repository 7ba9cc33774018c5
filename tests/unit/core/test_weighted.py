"""Cross-products at changing weights, the Schur complement they lead to, and solutions, against dense matrices."""

from __future__ import annotations

import numpy as np
import pytest

from interlace.core import logdet, weighted
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.factor import eliminate
from interlace.core.joint import joint_covariance
from interlace.core.logdet import logdet_psi_gradients, random_inverse
from interlace.core.objective import Objective
from interlace.core.penalized import PenalizedSystem
from interlace.core.schur import SparseMap
from interlace.core.structure import Structure
from interlace.core.weighted import ProductMap, WeightedProducts, leading_map
from tests.problems import KINDS, Array, random_problem

CASES = [(k, s) for k in KINDS for s in (False, True) if not (s and k in ("one", "slopes", "split"))]
every_case = pytest.mark.parametrize(("kind", "sparse"), CASES)
every_sparse_case = pytest.mark.parametrize("kind", [k for k, s in CASES if s])


def situation(kind: str, sparse: bool, seed: int = 4) -> tuple[Structure, Rows, Array, np.random.Generator]:
    rng = np.random.default_rng(seed)
    structure, rows = random_problem(rng, kind).layout(sparse=sparse)
    return structure, rows, rng.uniform(0.2, 3.0, rows.n), rng


def factors(structure: Structure, rng: np.random.Generator) -> list[Array]:
    return structure.factors(rng.normal(size=structure.n_theta))


def scaled_columns(structure: Structure, rows: Rows, L: list[Array]) -> Array:
    """Z Lambda with one column for every level and covariate."""
    parts = []
    for block, codes, Z, L_i in zip(structure.blocks, rows.codes, rows.Z, L, strict=True):
        out = np.zeros((rows.n, block.q, block.k))
        out[np.arange(rows.n), codes] = Z @ L_i
        parts.append(out.reshape(rows.n, -1))
    return np.concatenate(parts, axis=1)


def elimination(structure: Structure, rows: Rows, weights: Array, L: list[Array]):
    cp = WeightedProducts(structure, rows.codes, rows.Z, rows.Xy[:, :-1]).at(weights)
    return eliminate(cp, L, ProductMap(cp) if structure.storage.sparse else None)


@every_case
@pytest.mark.parametrize("one_pass", [True, False])
def test_products_are_those_of_weighted_rows(kind, sparse, one_pass, monkeypatch):
    if not one_pass:
        monkeypatch.setattr(weighted, "_ONE_PASS", 0)
    structure, rows, weights, _ = situation(kind, sparse)
    root = np.sqrt(weights)[:, None]
    Xy = root * rows.Xy
    Xy[:, -1] = 0.0
    expected = CrossProducts.from_rows(structure, Rows(rows.codes, [root * Z for Z in rows.Z], Xy))
    products = WeightedProducts(structure, rows.codes, rows.Z, rows.Xy[:, :-1])
    for factor in (1.0, -2.0):
        cp = products.at(factor * weights)
        close = {"rtol": 1e-12, "atol": 1e-12}
        for name in ("A", "C"):
            for ours, theirs in zip(getattr(cp, name), getattr(expected, name), strict=True):
                np.testing.assert_allclose(ours, factor * theirs, **close)
        assert cp.P.keys() == expected.P.keys()
        for key, P in cp.P.items():
            np.testing.assert_allclose(P, factor * expected.P[key], **close)
        np.testing.assert_allclose(cp.S[:-1, :-1], factor * expected.S[:-1, :-1], **close)
        np.testing.assert_array_equal(cp.S[-1], np.eye(structure.m)[-1])
        np.testing.assert_array_equal(cp.S[:, -1], np.eye(structure.m)[-1])
        if sparse:
            np.testing.assert_allclose(cp.Cz.toarray(), factor * expected.Cz.toarray(), **close)


@every_sparse_case
@pytest.mark.parametrize("dense_speed", [0.0, 1e9])
def test_map_by_multiplication_is_the_map_by_pairs(kind, dense_speed, monkeypatch):
    monkeypatch.setattr(weighted, "_DENSE_SPEED", dense_speed)
    monkeypatch.setattr(weighted, "_PIECE", 40)
    structure, rows, weights, rng = situation(kind, True)
    cp = WeightedProducts(structure, rows.codes, rows.Z, rows.Xy[:, :-1]).at(weights)
    by_pairs, by_product = SparseMap(cp), ProductMap(cp)
    lead = structure.blocks[0]
    root = rng.normal(size=(lead.q, lead.k, lead.k))
    W = root @ root.transpose(0, 2, 1)
    np.testing.assert_allclose(by_product.complement(W, cp.S), by_pairs.complement(W, cp.S), rtol=1e-11, atol=1e-10)
    G = rng.normal(size=(structure.m, structure.m))
    G = G + G.T
    for gathered in (0.0, 1e9):
        monkeypatch.setattr(weighted, "_GATHERED", gathered)
        np.testing.assert_allclose(ProductMap(cp).adjoint(G), by_pairs.adjoint(G), rtol=1e-11, atol=1e-10)


@every_case
def test_solution_is_that_of_the_dense_system(kind, sparse):
    structure, rows, weights, rng = situation(kind, sparse)
    for L in (factors(structure, rng), [np.zeros((b.k, b.k)) for b in structure.blocks]):
        ZL, X = scaled_columns(structure, rows, L), rows.Xy[:, :-1]
        q = ZL.shape[1]
        V = np.column_stack([ZL, X])
        H = V.T @ (weights[:, None] * V) + np.diag(np.repeat([1.0, 0.0], [q, X.shape[1]]))
        right = rng.normal(size=H.shape[0])
        stops = np.cumsum([b.size for b in structure.blocks])[:-1]
        blocks = [r.reshape(b.q, b.k) for r, b in zip(np.split(right[:q], stops), structure.blocks, strict=True)]
        u, beta = PenalizedSystem(elimination(structure, rows, weights, L)).solve(blocks, right[q:])
        found = np.concatenate([*(x.reshape(-1) for x in u), beta])
        np.testing.assert_allclose(found, np.linalg.solve(H, right), rtol=1e-8, atol=1e-9)


@every_sparse_case
def test_variances_of_rows_are_the_dense_ones(kind):
    structure, rows, weights, rng = situation(kind, True)
    L = factors(structure, rng)
    ZL = scaled_columns(structure, rows, L)
    dense = np.einsum("na,na->n", ZL, np.linalg.solve(ZL.T @ (weights[:, None] * ZL) + np.eye(ZL.shape[1]), ZL.T).T)
    e = elimination(structure, rows, weights, L)
    inverse = random_inverse(e)
    products = WeightedProducts(structure, rows.codes, rows.Z, rows.Xy[:, :-1])
    np.testing.assert_allclose(products.variances(e, inverse), dense, rtol=1e-9, atol=1e-11)
    from_blocks = joint_covariance(e, given_beta=inverse).quadratic_forms(np.empty((rows.n, 0)), rows.Z, rows.codes)
    np.testing.assert_allclose(from_blocks, dense, rtol=1e-9, atol=1e-11)


def test_levels_without_rows_keep_their_places():
    structure, rows, weights, rng = situation("crossed", True)
    keep = rows.codes[0] != rows.codes[0][0]
    codes, Z = [c[keep] for c in rows.codes], [z[keep] for z in rows.Z]
    products = WeightedProducts(structure, codes, Z, rows.Xy[keep, :-1])
    cp = products.at(weights[keep])
    G = rng.normal(size=(structure.m, structure.m))
    empty = int(rows.codes[0][0])
    assert ProductMap(cp).adjoint(G + G.T).shape[0] == structure.blocks[0].q
    assert not ProductMap(cp).adjoint(G + G.T)[empty].any()
    assert not cp.Cz.toarray().reshape(structure.blocks[0].q, -1)[empty].any()


@every_case
def test_derivatives_by_division_are_those_without(kind, sparse, monkeypatch):
    structure, rows, weights, rng = situation(kind, sparse)
    L = [np.tril(rng.normal(size=(b.k, b.k)), -1) + np.diag(rng.uniform(0.3, 2.0, b.k)) for b in structure.blocks]
    e = elimination(structure, rows, weights, L)
    by_division = logdet_psi_gradients(e, random_inverse(e))
    monkeypatch.setattr(logdet, "_DIVISIBLE", np.inf)
    for ours, theirs in zip(by_division, logdet_psi_gradients(e, random_inverse(e)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", ["crossed", "mixed"])
def test_a_deviance_without_a_list_of_pairs_is_the_same(kind, monkeypatch):
    structure, rows, _, rng = situation(kind, True)
    cp, theta = CrossProducts.from_rows(structure, rows), rng.normal(size=structure.n_theta)
    listed = Objective(cp, reml=True)
    monkeypatch.setattr(weighted, "_MOST_PAIRS", 0)
    target = Objective(cp, reml=True)
    assert isinstance(leading_map(cp), ProductMap) is (kind == "crossed")  # the other has two columns
    e, point = target.at(theta), listed.at(theta)
    assert target.value(e) == pytest.approx(listed.value(point), rel=1e-12)
    d, known = target.derivatives(e), listed.derivatives(point)
    np.testing.assert_allclose(d.gradient, known.gradient, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(target.information(e, d), listed.information(point, known), rtol=1e-8, atol=1e-8)
