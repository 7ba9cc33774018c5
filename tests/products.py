"""Cross-products of random problems in every storage, and how they are compared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.structure import LeadingStorage, Structure
from tests.problems import KINDS, Array, random_problem

Laid = tuple[Structure, Rows]
CROSSED = ("crossed", "crossed-slopes", "mixed")


def dense(kind: str, seed: int = 1) -> Laid:
    """As it is chosen for small problems."""
    return random_problem(np.random.default_rng(seed), kind).layout()


def leading_sparse(kind: str, seed: int = 1) -> Laid:
    """Products of the leading block as a sparse matrix."""
    return random_problem(np.random.default_rng(seed), kind).layout(sparse=True)


def one_system(kind: str, seed: int = 1) -> Laid:
    """All random effects in one sparse system."""
    structure, rows = leading_sparse(kind, seed)
    storage = LeadingStorage(sparse=True, cholmod=True)
    return Structure(structure.blocks, 1, {}, structure.p, structure.n_theta, storage), rows


STORAGES: list[tuple[str, Callable[..., Laid]]] = [
    *((kind, dense) for kind in KINDS),
    *((kind, storage) for kind in CROSSED for storage in (leading_sparse, one_system)),
]
every_storage = pytest.mark.parametrize(
    ("kind", "storage"), STORAGES, ids=lambda x: x if isinstance(x, str) else x.__name__
)


def blocks_of(cp: CrossProducts) -> dict[str, Array]:
    """Every array of some cross-products by name, sparse ones as dense."""
    out = {
        "S": cp.S,
        **{f"A{i}": part for i, part in enumerate(cp.A)},
        **{f"C{i}": part for i, part in enumerate(cp.C)},
    }
    out |= {f"P{key}": part for key, part in cp.P.items()}
    return out | {name: m.toarray() for name, m in (("Cz", cp.Cz), ("Szz", cp.Szz)) if m is not None}


def assert_same(a: CrossProducts, b: CrossProducts, **tolerance: float) -> None:
    """Equal blocks, up to a tolerance relative to the largest number of each."""
    assert a.n == b.n
    assert a.log_weights == pytest.approx(b.log_weights, abs=1e-9)
    left, right = blocks_of(a), blocks_of(b)
    assert left.keys() == right.keys()
    for name, values in left.items():
        size = float(np.abs(right[name]).max(initial=1.0))
        np.testing.assert_allclose(
            values / size, right[name] / size, err_msg=name, **{"rtol": 1e-10, "atol": 1e-10, **tolerance}
        )
