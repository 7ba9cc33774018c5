"""Parts as files, and the checks that a file has to pass.

The container is that of :mod:`interlace.core.archive`. ``meta.json`` has the plan, the sites, ``min_cell``, the
published labels and what :class:`~interlace.federated.parts.Extras` holds beside arrays; the arrays are ``root``,
``meetings``, ``counts|i``, ``own|i``, ``with_v|i``, ``pairs|i|j``, the constants ``v|center``, ``v|scale``,
``u|i|...``, ``root_of_x`` and ``together|i``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any

import numpy as np

from interlace.core import archive
from interlace.core.archive import Arrays
from interlace.core.sums import Constants, LevelSums
from interlace.errors import InterlaceError
from interlace.federated.parts import Extras, Part
from interlace.federated.plans import Plan, plain_label
from interlace.results.persist import library_version

__all__ = ["read", "write"]

KIND = archive.Kind("interlace-part", 1, "a part saved by interlace.federated", "ask the site to summarize again")
#: Relative difference between two ways to the same number that rounding explains.
_ROUNDING = 1e-6


def write(part: Part, path: str | os.PathLike[str]) -> None:
    """Write a part; ``Part.save`` is the public way."""
    sums, extras = part.sums, part.extras
    arrays: Arrays = {"root": sums.root, "meetings": sums.meetings, "v|center": part.v.center, "v|scale": part.v.scale}
    for i, constants in enumerate(part.u):
        arrays |= {f"u|{i}|center": constants.center, f"u|{i}|scale": constants.scale}
        arrays |= {f"counts|{i}": sums.counts[i], f"own|{i}": sums.own[i], f"with_v|{i}": sums.with_v[i]}
    arrays |= {f"pairs|{i}|{j}": pairs for (i, j), pairs in sums.pairs.items()}
    arrays |= {f"together|{i}": seen for i, seen in enumerate(extras.together.values())}
    if extras.root_of_x is not None:
        arrays["root_of_x"] = extras.root_of_x
    meta = {
        "interlace": library_version(),
        "plan": part.plan.described,
        "sites": list(part.sites),
        "min_cell": part.min_cell,
        "n": sums.n,
        "log_weights": sums.log_weights,
        "labels": [[list(label) for label in labels] for labels in part.labels],
        "offset_sum": extras.offset_sum,
        "n_zero_weight": extras.n_zero_weight,
        "number_sums": dict(extras.number_sums),
        "number_values": {name: list(values) for name, values in extras.number_values.items()},
        "together": [list(key) for key in extras.together],
    }
    archive.write(path, KIND, meta, arrays)


def read(path: str | os.PathLike[str]) -> Part:
    """Read a part and check it; ``Part.load`` is the public way."""
    meta, arrays = archive.read(path, KIND)
    try:
        part = _part(meta, arrays)
        wrong = next(_wrong(part), None)
    except InterlaceError as error:
        raise KIND.damaged(path, str(error)) from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise KIND.damaged(path, error) from error
    if wrong is not None:
        raise KIND.damaged(path, wrong)
    return part


def _part(meta: Mapping[str, Any], arrays: Arrays) -> Part:
    plan = Plan.of(meta["plan"], "its plan")
    numbers = range(len(plan.groups))
    places = _constants(plan)
    keys = [(str(a), str(b)) for a, b in meta["together"]]
    sums = LevelSums(
        int(meta["n"]),
        float(meta["log_weights"]),
        arrays["root"],
        tuple(arrays[f"counts|{i}"] for i in numbers),
        tuple(arrays[f"own|{i}"] for i in numbers),
        tuple(arrays[f"with_v|{i}"] for i in numbers),
        arrays["meetings"],
        {(i, j): arrays[f"pairs|{i}|{j}"] for i, j in combinations(numbers, 2)},
    )
    extras = Extras(
        arrays.get("root_of_x"),
        float(meta["offset_sum"]),
        int(meta["n_zero_weight"]),
        {str(name): float(total) for name, total in meta["number_sums"].items()},
        {str(name): tuple(map(float, values)) for name, values in meta["number_values"].items()},
        {key: arrays[f"together|{i}"] for i, key in enumerate(keys)},
    )
    return Part(
        plan,
        tuple(map(str, meta["sites"])),
        int(meta["min_cell"]),
        sums,
        Constants(arrays["v|center"], arrays["v|scale"], places[-1]),
        tuple(Constants(arrays[f"u|{i}|center"], arrays[f"u|{i}|scale"], places[i]) for i in numbers),
        tuple(tuple(tuple(plain_label(x, "a level") for x in label) for label in labels) for labels in meta["labels"]),
        extras,
    )


def _names(plan: Plan) -> list[list[str]]:
    """Names of the columns of each grouping factor, then those of X and an empty one for the response."""
    spec = plan.encoding.spec
    by_group: dict[str, list[str]] = {group.name: [] for group in plan.groups}
    for term in spec.random:
        by_group[term.group.group.name] += term.names
    return [*by_group.values(), [*spec.x_names, ""]]


def _constants(plan: Plan) -> list[int | None]:
    return [names.index("Intercept") if "Intercept" in names else None for names in _names(plan)]


def _wrong(part: Part) -> Iterator[str]:
    """What cannot be, in words."""
    yield from _wrong_shapes(part)
    sums, plan = part.sums, part.plan
    if not part.sites or len(set(part.sites)) < len(part.sites) or part.min_cell < 1 or sums.n < 1:
        yield "its sites, min_cell or number of rows are impossible"
    for f, (group, labels) in enumerate(zip(plan.groups, part.labels, strict=True)):
        if len(set(labels)) < len(labels) or any(len(label) != len(group.columns) for label in labels):
            yield f"the labels of {group.name!r} are not different names"
        if sums.counts[f].min(initial=1) < 1 or int(sums.counts[f].sum()) != sums.n:
            yield f"the rows of the levels of {group.name!r} do not add up to the {sums.n} rows"
        if sums.meetings[:, f].min(initial=0) < 0 or set(sums.meetings[:, f].tolist()) != {*range(len(labels))}:
            yield f"the levels of {group.name!r} that occur together are not its levels"
    if not np.array_equal(np.unique(sums.meetings, axis=0), sums.meetings):
        yield "the combinations of levels are not sorted"
    yield from _wrong_sums(part)


def _wrong_shapes(part: Part) -> Iterator[str]:
    sums, names = part.sums, _names(part.plan)
    m = len(names[-1])
    found: list[tuple[str, np.ndarray, tuple[int, ...], type]] = [
        ("root", sums.root, (m, m), np.float64),
        ("meetings", sums.meetings, (len(sums.meetings), len(names) - 1), np.int64),
        ("v", np.stack([part.v.center, part.v.scale]), (2, m), np.float64),
    ]
    for f, columns in enumerate(names[:-1]):
        q, k = len(part.labels[f]), len(columns)
        found += [
            (f"counts[{f}]", sums.counts[f], (q,), np.int64),
            (f"own[{f}]", sums.own[f], (q, k, k), np.float64),
            (f"with_v[{f}]", sums.with_v[f], (q, k, m), np.float64),
            (f"u[{f}]", np.stack([part.u[f].center, part.u[f].scale]), (2, k), np.float64),
        ]
    yield from _wrong_arrays(found)
    found = []
    for (i, j), pairs in sums.pairs.items():
        width = (len(names[i]), len(names[j]))
        found.append((f"pairs[{i}, {j}]", pairs, (sums.keys(i, j).size, *width), np.float64))
    for (a, b), seen in part.extras.together.items():
        widths = (len(part.plan.levels[a]), len(part.plan.levels[b]))
        found.append((f"together[{a!r}, {b!r}]", seen, widths, np.bool_))
    weighted = part.plan.weights is not None
    if weighted != (part.extras.root_of_x is not None):
        yield "the factor of X without weights does not go with the plan"
    if part.extras.root_of_x is not None:
        found.append(("root_of_x", part.extras.root_of_x, (m - 1, m - 1), np.float64))
    yield from _wrong_arrays(found)


def _wrong_arrays(found: list[tuple[str, np.ndarray, tuple[int, ...], type]]) -> Iterator[str]:
    for name, values, shape, dtype in found:
        if values.dtype != dtype or values.shape != shape:
            yield f"{name} is {values.dtype} of shape {values.shape}, not {dtype.__name__} of shape {shape}"
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            yield f"{name} has values that are not finite"


def _wrong_sums(part: Part) -> Iterator[str]:
    """Sums that contradict each other."""
    sums = part.sums
    scalars = [sums.log_weights, part.extras.offset_sum, *part.extras.number_sums.values()]
    if not np.isfinite(scalars).all() or any((c.scale <= 0.0).any() for c in (part.v, *part.u)):
        yield "a constant or a sum over all rows is impossible"
    if np.tril(sums.root, -1).any() or (np.diagonal(sums.root) < 0.0).any():
        yield "root is not a triangular factor"
    constant = part.v.constant
    total = None if constant is None else sums.root[:, constant] @ sums.root
    for f, group in enumerate(part.plan.groups):
        own = sums.own[f]
        size = np.abs(own).max(initial=0.0)
        if np.abs(own - own.transpose(0, 2, 1)).max(initial=0.0) > _ROUNDING * size:
            yield f"the products of the columns of {group.name!r} are not symmetric"
        if np.linalg.eigvalsh(own).min(initial=0.0) < -_ROUNDING * size:
            yield f"a sum of squares of {group.name!r} is negative"
        one = part.u[f].constant
        if one is None:
            continue
        if part.plan.weights is None and not np.allclose(own[:, one, one], sums.counts[f], rtol=_ROUNDING):
            yield f"the rows of the levels of {group.name!r} are not those of its sums"
        if total is not None and not _same(sums.with_v[f][:, one].sum(axis=0), total, sums.root):
            yield f"the sums over the levels of {group.name!r} do not add up to those over all rows"
    for (i, j), pairs in sums.pairs.items():
        whole = np.zeros((sums.sizes[i], *pairs.shape[1:]))
        np.add.at(whole, sums.keys(i, j) // sums.sizes[j], pairs)
        one = part.u[j].constant
        mine = part.u[i].constant
        if one is not None and mine is not None and not np.allclose(whole[:, mine, one], sums.own[i][:, mine, mine]):
            yield "the sums over pairs of levels do not add up to those over levels"


def _same(a: np.ndarray, b: np.ndarray, root: np.ndarray) -> bool:
    """Whether two sums of products with a column of ones agree to rounding."""
    sizes = np.linalg.norm(root, axis=0)
    return bool((np.abs(a - b) <= _ROUNDING * sizes * max(1.0, float(sizes.max(initial=0.0)))).all())
