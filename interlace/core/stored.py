"""Cross-products as files, so that sums can travel where rows may not.

The container is that of :mod:`interlace.core.archive`. ``meta.json`` has ``n``, ``log_weights`` and the structure
(blocks, chain, storage); the arrays are the blocks of :class:`~interlace.core.crossproducts.CrossProducts` under their
names (``A|0``, ``P|0|1``, ``C|0``, ``S``; sparse ones as ``Cz|data``, ``Cz|indices``, ``Cz|indptr``).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import sparse

from interlace.core import archive
from interlace.core.archive import Arrays
from interlace.core.crossproducts import CrossProducts
from interlace.core.probes import Probes
from interlace.core.structure import LeadingStorage, Structure
from interlace.core.terms import Block
from interlace.errors import InterlaceError

__all__ = ["KIND", "load", "save"]

KIND = archive.Kind("interlace-cross-products", 1, "a file of cross-products saved by interlace", "save them again")
_SPARSE = ("data", "indices", "indptr")


def save(cp: CrossProducts, path: str | os.PathLike[str]) -> None:
    """Write cross-products to a file.

    Parameters
    ----------
    cp : CrossProducts
        Of any storage.
    path : str or path-like

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import interlace
    >>> cp = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy")).state.problem.cp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(cp, pathlib.Path(folder, "sums.npz"))
    ...     (load(pathlib.Path(folder, "sums.npz")) + cp).n
    360
    """
    structure = cp.structure
    arrays: Arrays = {"S": cp.S}
    for i, block in enumerate(structure.blocks):
        arrays |= {f"block|{i}|{name}": getattr(block, name) for name in ("rows", "cols", "slots")}
    arrays |= {f"parent|{i}|{j}": parent for (i, j), parent in structure.parents.items()}
    arrays |= {f"A|{i}": part for i, part in enumerate(cp.A)} | {f"C|{i}": part for i, part in enumerate(cp.C)}
    arrays |= {f"P|{i}|{j}": part for (i, j), part in cp.P.items()}
    for name, matrix in (("Cz", cp.Cz), ("Szz", cp.Szz)):
        if matrix is not None:
            arrays |= {f"{name}|{part}": getattr(matrix, part) for part in _SPARSE}
    blocks = [{"q": b.q, "k": b.k, "members": [[i, s.start, s.stop] for i, s in b.members]} for b in structure.blocks]
    meta = {
        "n": cp.n,
        "log_weights": cp.log_weights,
        "blocks": blocks,
        "n_chain": structure.n_chain,
        "parents": sorted(map(list, structure.parents)),
        "p": structure.p,
        "n_theta": structure.n_theta,
        "storage": asdict(structure.storage),
    }
    archive.write(path, KIND, meta, arrays)


def load(path: str | os.PathLike[str]) -> CrossProducts:
    """Read cross-products that :func:`save` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    CrossProducts

    Raises
    ------
    DataError
        The file is of another kind or version, is damaged, or its parts do not fit together.
    """
    meta, arrays = archive.read(path, KIND)
    try:
        structure = _structure(meta, arrays)
        cp = _products(structure, meta, arrays)
        wrong = next(_wrong(cp), None)
    except InterlaceError:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise KIND.damaged(path, error) from error
    if wrong is not None:
        raise KIND.damaged(path, wrong)
    return cp


def _structure(meta: Mapping[str, Any], arrays: Arrays) -> Structure:
    blocks = []
    for i, found in enumerate(meta["blocks"]):
        rows, cols, slots = (arrays[f"block|{i}|{name}"].astype(np.int64) for name in ("rows", "cols", "slots"))
        members = tuple((int(number), slice(int(start), int(stop))) for number, start, stop in found["members"])
        blocks.append(Block(int(found["q"]), int(found["k"]), rows, cols, slots, members))
    parents = {(int(i), int(j)): arrays[f"parent|{i}|{j}"].astype(np.int64) for i, j in meta["parents"]}
    storage = dict(meta["storage"])
    probes = storage.pop("probes", None)
    if probes is not None:
        reference = probes.pop("reference", None)
        storage["probes"] = Probes(**probes, reference=None if reference is None else tuple(map(float, reference)))
    kept = LeadingStorage(**storage)
    return Structure(tuple(blocks), int(meta["n_chain"]), parents, int(meta["p"]), int(meta["n_theta"]), kept)


def _products(structure: Structure, meta: Mapping[str, Any], arrays: Arrays) -> CrossProducts:
    lead, m_z = structure.blocks[0].size, structure.m_z
    found = {}
    for name, shape in (("Cz", (lead, m_z)), ("Szz", (m_z, m_z))):
        parts = tuple(arrays[f"{name}|{part}"] for part in _SPARSE if f"{name}|{part}" in arrays)
        found[name] = sparse.csr_array(parts, shape=shape) if parts else None
    return CrossProducts(
        structure,
        int(meta["n"]),
        float(meta["log_weights"]),
        tuple(arrays[f"A|{i}"] for i in range(structure.n_chain)),
        {(i, j): arrays[f"P|{i}|{j}"] for i, j in structure.parents},
        tuple(arrays[f"C|{i}"] for i in range(structure.n_chain)),
        found["Cz"],
        arrays["S"],
        found["Szz"],
    )


def _wrong(cp: CrossProducts) -> Iterator[str]:
    """What does not fit together, in words."""
    structure, blocks, sparse_storage = cp.structure, cp.structure.blocks, cp.structure.storage.sparse
    width = structure.p + 1 if sparse_storage else structure.m
    shapes: dict[str, tuple[int, ...]] = {"S": (structure.m, structure.p + 1 if cp.Szz is not None else structure.m)}
    arrays = {"S": cp.S}
    for i, block in enumerate(structure.chain):
        arrays |= {f"A[{i}]": cp.A[i], f"C[{i}]": cp.C[i]}
        shapes |= {f"A[{i}]": (block.q, block.k, block.k), f"C[{i}]": (block.q, block.k, width)}
    for (i, j), part in cp.P.items():
        arrays[f"P[{i}, {j}]"], shapes[f"P[{i}, {j}]"] = part, (blocks[i].q, blocks[i].k, blocks[j].k)
        parent = structure.parents[i, j]
        if parent.shape != (blocks[i].q,) or parent.min(initial=0) < 0 or parent.max(initial=0) >= blocks[j].q:
            yield f"the levels that contain those of block {i} are not levels of block {j}"
    for name, values in arrays.items():
        if values.dtype != np.float64 or values.shape != shapes[name]:
            yield f"{name} is {values.dtype} of shape {values.shape}, not float64 of shape {shapes[name]}"
        elif not np.isfinite(values).all():
            yield f"{name} has values that are not finite"
    for name, matrix, wanted in (("Cz", cp.Cz, sparse_storage), ("Szz", cp.Szz, structure.storage.whole)):
        if wanted != (matrix is not None):
            yield f"{name} does not go with the storage"
        if matrix is not None:
            matrix.check_format()
            if not np.isfinite(matrix.data).all():
                yield f"{name} has values that are not finite"
    if cp.n < 0 or not np.isfinite(cp.log_weights):
        yield "the number of rows or the sum of the log weights is impossible"
    xx = cp.S[-structure.p - 1 :, -structure.p - 1 :]
    if not np.allclose(xx, xx.T, rtol=1e-9, atol=1e-9 * float(np.abs(xx).max(initial=0.0))):
        yield "the products of X and y are not symmetric"
