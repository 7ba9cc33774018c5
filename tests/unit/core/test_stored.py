"""Cross-products as files."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interlace.core import stored
from interlace.core.crossproducts import CrossProducts, same_structure
from interlace.core.probes import Probes
from interlace.core.structure import LeadingStorage
from interlace.errors import DataError
from tests.products import STORAGES, blocks_of, dense, every_storage, one_system


@every_storage
def test_what_is_read_is_what_was_written(kind, storage, tmp_path):
    cp = replace(CrossProducts.from_rows(*storage(kind)), log_weights=0.25)
    stored.save(cp, tmp_path / "sums.npz")
    again = stored.load(tmp_path / "sums.npz")
    assert same_structure(cp.structure, again.structure)
    assert (again.n, again.log_weights) == (cp.n, 0.25)
    left, right = blocks_of(cp), blocks_of(again)
    assert left.keys() == right.keys()
    for name, values in left.items():
        np.testing.assert_array_equal(right[name], values)


def test_random_probes_are_kept(tmp_path):
    structure, rows = one_system("crossed")
    for reference in (None, (0.5, 1.5)):
        storage = LeadingStorage(sparse=True, probes=Probes(seed=7, count=3, reference=reference))
        cp = CrossProducts.from_rows(replace(structure, storage=storage), rows)
        stored.save(cp, tmp_path / "sums.npz")
        again = stored.load(tmp_path / "sums.npz")
        assert again.structure.storage == storage
        assert (again + CrossProducts.from_rows(structure, rows)).n == 2 * rows.n


@every_storage
def test_files_can_be_added_to_what_is_there(kind, storage, tmp_path):
    cp = CrossProducts.from_rows(*storage(kind))
    stored.save(cp, tmp_path / "sums.npz")
    both = cp + stored.load(tmp_path / "sums.npz")
    for name, values in blocks_of(cp).items():
        np.testing.assert_allclose(blocks_of(both)[name], 2.0 * values, rtol=1e-15)
    assert (both - cp).n == cp.n


def test_structures_that_differ_are_told_apart():
    found = [storage(kind)[0] for kind, storage in STORAGES]
    for i, a in enumerate(found):
        for j, b in enumerate(found):
            assert same_structure(a, b) == (i == j)


def changed(path: Path, arrays=None, **meta) -> None:
    """Write a file again with something changed."""
    with zipfile.ZipFile(path) as archive:
        described, order = json.loads(archive.read("meta.json")), json.loads(archive.read("arrays.json"))
        with np.load(io.BytesIO(archive.read("arrays.npz"))) as packed:
            values = {name: packed[f"a{i}"] for i, name in enumerate(order)}
    values |= arrays or {}
    buffer = io.BytesIO()
    np.savez(buffer, **{f"a{i}": v for i, v in enumerate(values.values())})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("meta.json", json.dumps(described | meta))
        archive.writestr("arrays.json", json.dumps(list(values)))
        archive.writestr("arrays.npz", buffer.getvalue())


@pytest.mark.parametrize(
    ("meta", "arrays", "message"),
    [
        ({"format": "other"}, {}, "is not a file of cross-products"),
        ({"version": 9}, {}, "format version 9"),
        ({"p": 5}, {}, "S is float64 of shape"),
        ({"n": -1}, {}, "number of rows"),
        ({"n": "many"}, {}, "damaged"),
        ({"blocks": []}, {}, "damaged"),
        ({"storage": {"speed": 1}}, {}, "damaged"),
        ({"n_chain": 7}, {}, "damaged"),
        ({}, {"S": np.full((3, 3), np.nan)}, "S is float64 of shape|not finite"),
        ({}, {"A|0": np.zeros((2, 1, 1))}, r"A\[0\] is float64 of shape \(2, 1, 1\)"),
        ({}, {"C|0": np.array(["a"])}, "damaged"),
    ],
)
def test_damaged_files_are_refused(tmp_path, meta, arrays, message):
    path = tmp_path / "sums.npz"
    stored.save(CrossProducts.from_rows(*dense("crossed")), path)
    changed(path, arrays, **meta)
    with pytest.raises(DataError, match=message):
        stored.load(path)


def test_products_that_are_not_symmetric_are_refused(tmp_path):
    cp = CrossProducts.from_rows(*dense("one"))
    S = cp.S.copy()
    S[0, -1] += 1.0
    stored.save(replace(cp, S=S), tmp_path / "sums.npz")
    with pytest.raises(DataError, match="not symmetric"):
        stored.load(tmp_path / "sums.npz")


def test_sparse_parts_are_checked(tmp_path):
    stored.save(CrossProducts.from_rows(*one_system("crossed")), tmp_path / "sums.npz")
    changed(tmp_path / "sums.npz", {"Cz|indices": np.full(3, 10_000)})
    with pytest.raises(DataError, match="damaged"):
        stored.load(tmp_path / "sums.npz")


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text").write_text("not a file of numbers")
    with pytest.raises(DataError, match="is not a file of cross-products"):
        stored.load(tmp_path / "text")
    with pytest.raises(FileNotFoundError):
        stored.load(tmp_path / "nothing")
