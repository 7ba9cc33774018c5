"""Random effects of statsmodels' ``MixedLM`` as terms: those of its groups, and its variance components.

A variance component is a matrix for each group, whose columns have independent effects of one variance. Where no row
has more than one entry, the columns are the levels of a grouping factor, and the entries the covariate of a scalar
term.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from interlace.errors import ModelError
from interlace.frames.design import RandomTerm
from interlace.frames.levels import compact, level_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Part", "parts_of"]

#: ``C(plate)[T.a]`` or ``plate[a]``: what a column of an indicator matrix is called, and the level in it.
_LEVEL = re.compile(r"(?:\([^()]*\)|[^\[\]():])*\[(?:T\.)?([^\[\]]*)\]")

#: Level of the rows in which a variance component has no entry.
_NO_LEVEL = "(none)"


class Part(NamedTuple):
    """One random-effects term, its key yet to be given, and the covariance of its effects relative to sigma^2."""

    term: RandomTerm
    psi: FloatArray


class _Grouping(NamedTuple):
    """A grouping factor: its name, level of each row (n,), and labels."""

    name: str
    codes: IntArray
    levels: pd.Index[Any]


def parts_of(fit: Any, group: str) -> list[Part]:
    """Terms of a fit, most levels first.

    Parameters
    ----------
    fit : statsmodels' MixedLMResults
    group : str
        Name of the groups.

    Returns
    -------
    list of Part

    Raises
    ------
    ModelError
        The covariance is not one that terms can have.
    """
    model = fit.model
    codes = np.empty(model.nobs, dtype=np.int64)
    for j, label in enumerate(model.group_labels):
        codes[model.row_indices[label]] = j
    groups = _Grouping(group, codes, pd.Index(model.group_labels, name=group))
    known = [groups]
    out = [Part(_term(groups, names, model.exog_re[:, block]), psi) for block, names, psi in _blocks(fit)]
    for number, name in enumerate(model.exog_vc.names):
        factor, z = _component(model, number, groups)
        # One factor under one name: its terms then share their levels.
        factor = next((f for f in known if np.array_equal(f.codes, factor.codes)), factor)
        taken = {f.name for f in known if f is not factor}
        if factor.name in taken:
            factor = factor._replace(name=f"{factor.name} ({name})")
        known.append(factor)
        names = ("Intercept",) if np.all(z == 1.0) else (str(name),)
        out.append(Part(_term(factor, names, z[:, None]), np.array([[_relative(fit, number)]])))
    return sorted(out, key=lambda part: -len(part.term.levels))


def _term(factor: _Grouping, names: Sequence[str], z: FloatArray) -> RandomTerm:
    z = np.ascontiguousarray(z, dtype=np.float64)
    return RandomTerm("", factor.name, tuple(names), factor.levels, factor.codes, z, "unstructured")


def _blocks(fit: Any) -> Iterator[tuple[IntArray, list[str], FloatArray]]:
    """Columns of ``exog_re`` whose effects are correlated with each other, their names and covariance."""
    model, k = fit.model, fit.k_re
    if not k:
        return
    psi = np.asarray(fit.cov_re_unscaled, dtype=np.float64)
    values = np.linalg.eigvalsh(psi)
    if values[0] < -1e-8 * max(abs(values[-1]), 1e-300):
        raise ModelError(
            f"the covariance matrix of the random effects is not positive semidefinite (smallest eigenvalue "
            f"{values[0] * fit.scale:.3g}); fit the model again with use_sqrt=True"
        )
    free = np.ones((k, k), dtype=np.bool_) if fit.freepat is None else np.asarray(fit.freepat.cov_re) != 0
    names = ["Intercept" if np.all(model.exog_re[:, j] == 1.0) else str(model.data.exog_re_names[j]) for j in range(k)]
    count, member = connected_components(free, directed=False)
    for number in range(count):
        block = np.flatnonzero(member == number).astype(np.int64)
        _refuse_other_patterns(free, psi, block, [names[j] for j in block])
        yield block, [names[j] for j in block], psi[np.ix_(block, block)]


def _refuse_other_patterns(free: BoolArray, psi: FloatArray, block: IntArray, names: list[str]) -> None:
    """Refuse what ``free=`` fixed, but for covariances of zero between sets of random effects."""
    others = np.setdiff1d(np.arange(len(psi)), block)
    size = np.sqrt(np.diagonal(psi))
    fixed = not (free | free.T)[np.ix_(block, block)].all() or not np.diagonal(free)[block].all()
    if fixed or (np.abs(psi[np.ix_(block, others)]) > 1e-6 * np.outer(size[block], size[others])).any():
        raise ModelError(
            f"free= fixed parts of the covariance matrix of the random effects ({', '.join(names)}) that no terms of a "
            "formula can fix: refits would estimate them. Only covariances of zero, between sets of effects whose "
            "own covariances are all estimated, can be carried over"
        )


def _relative(fit: Any, number: int) -> float:
    """Variance of a component relative to sigma^2."""
    name = fit.model.exog_vc.names[number]
    if fit.freepat is not None and not np.asarray(fit.freepat.vcomp)[number]:
        raise ModelError(f"free= fixed the variance component {name!r}: refits would estimate it; fit it freely")
    value = float(np.asarray(fit.vcomp)[number] / fit.scale)
    if value < 0.0:
        raise ModelError(f"the variance component {name!r} is negative; fit the model again with use_sqrt=True")
    return value


def _component(model: Any, number: int, groups: _Grouping) -> tuple[_Grouping, FloatArray]:
    """Grouping factor of a variance component, and its covariate, shape (n,)."""
    name, mats = str(model.exog_vc.names[number]), model.exog_vc.mats[number]
    codes = np.full(model.nobs, -1, dtype=np.int64)
    z = np.zeros(model.nobs)
    start = 0
    for label, given in zip(model.group_labels, mats, strict=True):
        rows = np.asarray(model.row_indices[label])
        if given.shape[0] != rows.size:
            raise ModelError(
                f"variance component {name!r} has {given.shape[0]} rows for group {level_text(label)}, the data have "
                f"{rows.size}"
            )
        at = sparse.coo_array(given)
        at.eliminate_zeros()
        if np.bincount(at.row, minlength=1).max() > 1:
            raise ModelError(
                f"variance component {name!r} has several columns that are not zero in one row, with independent "
                "effects of one variance: that is no term on a grouping factor. Write it as '0 + C(factor)' or "
                "'0 + covariate'"
            )
        codes[rows[at.row]] = start + at.col
        z[rows[at.row]] = at.data
        start += given.shape[1]
    if all(given.shape[1] <= 1 for given in mats):
        return groups, z
    return _levels(model.exog_vc.colnames[number], name, groups, codes), z


def _levels(columns: Sequence[Sequence[str]], name: str, groups: _Grouping, codes: IntArray) -> _Grouping:
    """Factor whose levels are the columns of a variance component, those without an entry left out."""
    within = [[_level(str(column)) for column in some] for some in columns]
    within = [
        texts if len(set(texts)) == len(texts) else [str(column) for column in some]
        for texts, some in zip(within, columns, strict=True)
    ]
    used = set(codes.tolist())
    flat = [text for texts in within for text in texts]
    observed = [text for j, text in enumerate(flat) if j in used]
    if len(set(observed)) < len(observed):  # labels that mean something else in each group
        name = f"{groups.name}:{name}"
        flat = [f"{level_text(g)}:{text}" for g, texts in zip(groups.levels, within, strict=True) for text in texts]
    if -1 in used:
        codes = np.where(codes < 0, len(flat), codes)
        flat = [*flat, _NO_LEVEL]
    codes, kept = compact(codes, len(flat))
    labels = pd.Index(flat, name=name)
    return _Grouping(name, codes, labels if kept is None else labels[kept])


def _level(column: str) -> str:
    """``a`` for ``C(plate)[a]``, ``a:b`` for ``C(plate)[a]:C(sample)[b]``; other names as they are."""
    return _LEVEL.sub(r"\1", column)
