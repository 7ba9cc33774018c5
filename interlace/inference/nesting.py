"""Factors of the fixed effects that are nested in others, and the cells that they leave of a grid.

A factor is nested in another one if each of its levels occurs with one level of that only (plots of their own in every
block), or if the formula says so: in ``a + a:b``, b has no effects of its own but within levels of a.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np

from interlace.typing import FloatArray, IntArray

__all__ = ["cell_weights", "nested_factors"]


def nested_factors(
    codes: Sequence[IntArray | None], sizes: Sequence[int], terms: Sequence[Set[int]]
) -> dict[int, tuple[int, ...]]:
    """Find the factors that each factor is nested in.

    Parameters
    ----------
    codes : sequence of ndarray of int64, shape (n,), or None
        Level of each row, -1 for one that the grid does not have; None for a numeric variable.
    sizes : sequence of int
        Numbers of values. A variable of one value takes no part.
    terms : sequence of set of int
        Variables of each term of the fixed effects.

    Returns
    -------
    dict from position to positions
        Of two factors that determine each other, the first one is nested in the second.

    Examples
    --------
    >>> import numpy as np
    >>> plot, block = np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1])
    >>> nested_factors([plot, block], (4, 2), [{0}, {1}])
    {0: (1,)}
    """
    factors = [i for i, size in enumerate(sizes) if size > 1 and codes[i] is not None]
    outer: dict[int, list[int]] = {i: [] for i in factors}
    for i in factors:
        for j in factors:
            if i != j and i not in outer[j] and _determines(codes[i], codes[j]):
                outer[i].append(j)
    known = {frozenset(term) for term in terms}
    for term in known:
        inside = [i for i in factors if i in term and term - {i} in known]
        around = [i for i in factors if i in term and term - {i} not in known]
        for i in inside:
            outer[i] += [j for j in around if j not in outer[i] and i not in outer[j]]
    return {i: tuple(sorted(found)) for i, found in outer.items() if found}


def _determines(one: IntArray | None, other: IntArray | None) -> bool:
    """Whether each level of a factor occurs with one level of another factor."""
    assert one is not None
    assert other is not None
    there = (one >= 0) & (other >= 0)
    found = np.unique(np.stack([one[there], other[there]]), axis=1)
    return bool(np.unique(found[0]).size == found.shape[1])


def cell_weights(
    nests: Mapping[int, Sequence[int]], codes: Sequence[IntArray | None], sizes: Sequence[int]
) -> FloatArray:
    """Weights of the points of a grid by which levels count alike: nested ones within the levels around them.

    Parameters
    ----------
    nests : mapping from position to positions
        As `nested_factors` finds them.
    codes, sizes
        As there.

    Returns
    -------
    ndarray, shape of the sizes
        Zero where levels of nested factors do not occur with those around them.

    Examples
    --------
    >>> import numpy as np
    >>> plot, block = np.array([0, 1, 2]), np.array([0, 0, 1])
    >>> cell_weights({0: (1,)}, [plot, block], (3, 2)).T
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])
    """
    out = np.ones(tuple(sizes))
    for inner, around in nests.items():
        axes = sorted({inner, *around})
        rows = np.stack([found for found in (codes[i] for i in axes) if found is not None])
        cells = np.zeros([size if i in axes else 1 for i, size in enumerate(sizes)])
        place: list[IntArray | int] = [0] * len(sizes)
        for i, found in zip(axes, rows[:, (rows >= 0).all(axis=0)], strict=True):
            place[i] = found
        cells[tuple(place)] = 1.0
        out = out * (cells / np.maximum(cells.sum(axis=inner, keepdims=True), 1.0))
    return out
