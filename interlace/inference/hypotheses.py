"""Which linear functions L beta of the fixed effects a test of a term is about: types I, II and III, and deletion.

- Type I: each term after those before it. Rows of the triangular factor of X, in the order of the formula.
- Type II: each term after all terms that do not contain it: the same with the columns rearranged.
- Type III: in the coding with a column for every level of every factor, functions that involve only the term and those
  that contain it, orthogonal to the functions that involve only the latter (Goodnight, 1978, *Tests of hypotheses in
  fixed effects linear models*, SAS Technical Report R-101).
- Deletion: terms that are part of no other one, by the columns of X that they take away.

A term contains another if it has the same numeric variables and more factors, among them those of the other one. For
one that is contained in none, types II and III ask whether its coefficients are zero. Weights do not enter.
Satterthwaite's degrees of freedom of several rows together depend slightly on which rows stand for the same hypothesis;
these are chosen as in lmerTest: a unit triangle for types I and II, otherwise the reduced echelon form; for type III
by the coefficients of treatment contrasts, whatever those of the fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from interlace.core.scaling import independent_columns
from interlace.core.streams import with_rows
from interlace.frames.design import Design
from interlace.frames.encode import Encoder
from interlace.frames.newdata import new_rows
from interlace.frames.stateful import FormulaicEncoder
from interlace.frames.terms import Scoped, Term
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Hypothesis", "SumsOfSquares", "coefficients_of", "deletions", "term_hypotheses"]

SumsOfSquares: TypeAlias = Literal[1, 2, 3]
#: Singular values, relative to the largest, that count as zero.
_RANK_TOL = 1e-9


@dataclass(frozen=True)
class Hypothesis:
    """That a set of linear functions of the fixed effects is zero.

    Attributes
    ----------
    term : str
    L : ndarray, shape (q, p)
        By the coefficients in the fit; no rows where the data say nothing of the term.
    """

    term: str
    L: FloatArray


def coefficients_of(design: Design, kept: IntArray) -> dict[int, IntArray]:
    """Columns among those in the fit of each term but the intercept, by the number of the term.

    Parameters
    ----------
    design : Design
    kept : ndarray of int64, shape (p,)
        Columns of X in the fit.
    """
    assign = np.asarray(design.assign, dtype=np.int64)[kept]
    return {i: np.flatnonzero(assign == i) for i, term in enumerate(design.spec.formula.terms) if term}


def term_hypotheses(design: Design, kept: IntArray, kind: SumsOfSquares) -> list[Hypothesis]:
    """Hypothesis of each term but the intercept, in the order of the formula.

    Parameters
    ----------
    design : Design
    kept : ndarray of int64, shape (p,)
        Columns of X in the fit.
    kind : {1, 2, 3}
        Type of the sums of squares.

    Returns
    -------
    list of Hypothesis
    """
    found, columns = coefficients_of(design, kept), design.root_of_x[:, kept]
    above = {number: _containing(design, number) for number in found}
    if kind == 1:
        rows = {number: _unit_triangle(columns, own) for number, own in found.items()}
    else:
        rows = {number: np.eye(kept.size)[own] for number, own in found.items() if not above[number]}
        contained = [number for number in found if above[number]]
        if kind == 3 and contained:
            estimable = _Estimable.of(design, kept)
            rows |= {number: estimable.type_three(number, above[number], found[number]) for number in contained}
        elif contained:
            R = _triangle(columns)
            assign = np.asarray(design.assign)[kept]
            rows |= {n: _after_others(R, found[n], np.isin(assign, list(above[n]))) for n in contained}
        if kind == 3 and any(isinstance(e, FormulaicEncoder) and e.categorical for e in design.spec.encoders.values()):
            treatment = _Treatment.of(design, kept)
            rows = {number: treatment.echelon(number, L) for number, L in rows.items()}
    return [Hypothesis(design.x_terms[number], rows[number]) for number in found]


def deletions(design: Design, kept: IntArray) -> list[Hypothesis]:
    """Hypothesis, for each term that is part of no other one, that X beta does not need its columns.

    Parameters
    ----------
    design : Design
    kept : ndarray of int64, shape (p,)
        Columns of X in the fit. A column that was left out can stand in for those of a deleted term.

    Returns
    -------
    list of Hypothesis
    """
    terms, assign = design.spec.formula.terms, np.asarray(design.assign)
    size = np.linalg.norm(design.root_of_x, axis=0)
    R = _triangle(design.root_of_x / np.where(size > 0.0, size, 1.0))
    out = []
    for number, own in coefficients_of(design, kept).items():
        if any(set(terms[number]) < set(other) for other in terms):
            continue
        L = np.eye(kept.size)[own]
        if kept.size < assign.size:
            others = R[:, assign != number]
            beyond = R[:, kept] - others @ np.linalg.lstsq(others, R[:, kept], rcond=_RANK_TOL)[0]
            L = _echelon(_row_space(beyond) * size[kept], own)
        out.append(Hypothesis(design.x_terms[number], L))
    return out


def _containing(design: Design, number: int) -> set[int]:
    """Terms with the same numeric variables and more factors, among them those of this one."""
    terms, encoders = design.spec.formula.terms, design.spec.encoders

    def parts(term: Term) -> tuple[set[str], set[str]]:
        factors = {code for code in term if encoders[code].categorical}
        return factors, set(term) - factors

    factors, numeric = parts(terms[number])
    out = set()
    for i, other in enumerate(terms):
        more, same = parts(other)
        if other and same == numeric and factors < more:
            out.add(i)
    return out


def _triangle(X: FloatArray) -> FloatArray:
    """Upper-triangular factor of the QR decomposition."""
    return np.asarray(np.linalg.qr(X, mode="r"))


def _unit_triangle(X: FloatArray, own: IntArray) -> FloatArray:
    """Rows of the triangular factor of X for some columns, with ones on the diagonal, shape (q, p)."""
    rows = _triangle(X)[own]
    return np.asarray(rows / rows[np.arange(own.size), own][:, None])


def _after_others(X: FloatArray, own: IntArray, above: BoolArray) -> FloatArray:
    """:func:`_unit_triangle` with the columns of the containing terms last; no entries for the other terms."""
    before = ~above
    before[own] = False
    order = np.concatenate([np.flatnonzero(before), own, np.flatnonzero(above)])
    start = int(before.sum())
    L = np.zeros((own.size, X.shape[1]))
    L[:, order] = _unit_triangle(X[:, order], np.arange(start, start + own.size))
    return L


@dataclass(frozen=True)
class _Estimable:
    """Functions of the coefficients with a column for every level of every factor that the data determine.

    Attributes
    ----------
    functions : ndarray, shape (rank, columns)
        Basis of them, numeric variables in units of their own size: the same one for all columns of the terms that
        have the same numeric variables, so that orthogonality among these is as in the units of the data.
    assign : ndarray of int64, shape (columns,)
        Term of each column.
    back : ndarray, shape (columns, p)
        A function l becomes l @ back by the coefficients in the fit.
    """

    functions: FloatArray
    assign: IntArray
    back: FloatArray

    @classmethod
    def of(cls, design: Design, kept: IntArray) -> _Estimable:
        """From the columns in the fit."""
        blocks = tuple((tuple((code, False) for code in term),) for term in design.spec.formula.terms)
        full, X = _beside(design, blocks, kept)
        assign = _widths(design, blocks)
        unit = _units(design, assign, np.linalg.norm(full, axis=0))
        # A triangular factor has the same row space as all rows.
        R = _triangle(np.column_stack([full / unit, X]))
        rows, columns = R[:, : unit.size], R[:, unit.size :]
        size = np.linalg.norm(rows, axis=0)
        size[size == 0.0] = 1.0
        back = np.linalg.lstsq(rows / size, columns, rcond=_RANK_TOL)[0] / size[:, None]
        return cls(_row_space(rows / size) * size, assign, back)

    def type_three(self, number: int, above: set[int], own: IntArray) -> FloatArray:
        """Rows of the hypothesis of a term that those ``above`` contain; ``own`` are its coefficients in the fit."""
        containing = np.isin(self.assign, list(above))
        involved = _without(self.functions, ~((self.assign == number) | containing))
        inside = _without(self.functions, ~containing)
        left = _row_space(involved - involved @ inside.T @ inside)
        return _echelon(left @ self.back, own)


@dataclass(frozen=True, eq=False)
class _Treatment:
    """Coefficients with treatment contrasts for all factors, as many as there are in the fit.

    Attributes
    ----------
    assign : ndarray of int64, shape (p,)
        Term of each.
    from_fit : ndarray, shape (p, p)
        They are from_fit @ beta.
    """

    assign: IntArray
    from_fit: FloatArray

    @classmethod
    def of(cls, design: Design, kept: IntArray) -> _Treatment:
        """From the columns in the fit."""
        encoders, scoped = design.spec.encoders, design.spec.blocks
        blocks = tuple(tuple(tuple((code, False) for code, _ in block) for block in term) for term in scoped)
        beyond = np.concatenate([_beyond_first(block, encoders) for term in scoped for block in term])
        full, X = _beside(design, blocks, kept)
        columns = full[:, beyond]
        size, own = np.linalg.norm(columns, axis=0), np.linalg.norm(X, axis=0)
        R = _triangle(np.column_stack([columns / np.where(size > 0.0, size, 1.0), X / own]))
        free = independent_columns(R[:, : size.size])
        back = np.linalg.lstsq(R[:, free], R[:, size.size :], rcond=_RANK_TOL)[0]
        return cls(_widths(design, blocks)[beyond][free], back / size[free, None] * own)

    def echelon(self, number: int, L: FloatArray) -> FloatArray:
        """Rows of the same hypothesis, in reduced echelon form by these coefficients; those of the term come first."""
        rows = np.asarray(np.linalg.lstsq(self.from_fit.T, L.T, rcond=None)[0].T, dtype=np.float64)
        return np.asarray(_echelon(rows, np.flatnonzero(self.assign == number)) @ self.from_fit)


def _beyond_first(block: Scoped, encoders: Mapping[str, Encoder]) -> BoolArray:
    """Columns of a block with indicators of all levels that are for no first level of a reduced factor."""
    out = np.ones(1, dtype=np.bool_)
    for code, reduced in block:
        own = np.arange(encoders[code].width(False)) >= (reduced and encoders[code].categorical)
        out = np.outer(own, out).ravel()
    return out


def _units(design: Design, assign: IntArray, size: FloatArray) -> FloatArray:
    """Largest column among the terms with the same numeric variables, for each column, shape (columns,)."""
    encoders = design.spec.encoders
    numeric = [frozenset(c for c in term if not encoders[c].categorical) for term in design.spec.formula.terms]
    largest: dict[frozenset[str], float] = {}
    for number, value in zip(assign.tolist(), size.tolist(), strict=True):
        largest[numeric[number]] = max(largest.get(numeric[number], 0.0), value)
    return np.array([largest[numeric[number]] or 1.0 for number in assign.tolist()])


def _without(functions: FloatArray, zero: BoolArray) -> FloatArray:
    """Orthonormal basis of the combinations of rows whose entries at ``zero`` vanish."""
    basis = _row_space(functions)
    left, values, _ = np.linalg.svd(basis[:, zero], full_matrices=True)
    return np.asarray(left[:, int((values > _RANK_TOL).sum()) :].T @ basis)


def _row_space(M: FloatArray) -> FloatArray:
    """Orthonormal basis of the rows, shape (rank, columns)."""
    _, values, right = np.linalg.svd(M, full_matrices=False)
    return np.asarray(right[values > _RANK_TOL * max(1.0, values.max(initial=0.0))])


def _echelon(L: FloatArray, first: IntArray) -> FloatArray:
    """Reduced echelon form with leading entries in the columns ``first`` where possible; entries near 0 become 0."""
    rest = np.setdiff1d(np.arange(L.shape[1]), first)
    order, done = np.concatenate([first, rest]), 0
    L = L.copy()
    for column in order.tolist():
        if done == L.shape[0]:
            break
        pivot = done + int(np.abs(L[done:, column]).argmax())
        if abs(L[pivot, column]) > _RANK_TOL * np.abs(L).max():
            L[[done, pivot]] = L[[pivot, done]]
            L[done] /= L[done, column]
            others = np.arange(L.shape[0]) != done
            L[others] -= L[others, column][:, None] * L[done]
            done += 1
    L[np.abs(L) < 1e-10] = 0.0
    return L


def _beside(design: Design, blocks: tuple[tuple[Scoped, ...], ...], kept: IntArray) -> tuple[FloatArray, FloatArray]:
    """Other columns for the same terms, and those in the fit: rows that have the cross-products of all rows in use."""
    R = np.empty((0, 0))
    for frame, used, X in design.pieces():
        columns = new_rows(replace(design.spec, blocks=blocks), frame, random=False).X[used]
        both = np.column_stack([columns, X[:, kept]])
        R = with_rows(R if R.size else np.empty((0, both.shape[1])), both)
    return R[:, : R.shape[1] - kept.size], R[:, R.shape[1] - kept.size :]


def _widths(design: Design, blocks: tuple[tuple[Scoped, ...], ...]) -> IntArray:
    """Term of each column of :func:`_evaluated`."""
    encoders = design.spec.encoders
    widths = [
        sum(int(np.prod([encoders[code].width(reduced) for code, reduced in block])) for block in term)
        for term in blocks
    ]
    return np.repeat(np.arange(len(widths), dtype=np.int64), widths)
