"""Separation: data on which the likelihood of a binomial or Poisson model has no maximum.

Some direction delta of the fixed-effects coefficients may never lower the log density of any row, and raise that of
some for ever. Estimates then run off to infinity (Albert and Anderson, 1984, Biometrika 71, 1-10), with random effects
as without them: what holds at every value of the random effects holds on average. Whether there is such a direction is
a question to a linear program (Konis, 2007, Linear programming algorithms for detecting separated data in binary
logistic regression models, University of Oxford), so the answer is proven; iterations that seem to diverge prove
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["separating_direction"]

_SOLVER = 1e-10  # feasibility that HiGHS is asked for, the smallest it knows
_ZERO = 1e-8  # what counts as zero of numbers whose scale is 1
_RANK = 1e-9  # singular values below this, relative to the largest, are zero
_FAR = 10.0  # a column this many times as far from zero as it is wide is centered
_FIRST, _MORE = 2000, 500  # distinct rows of the first linear program, and added to each further one


def separating_direction(
    X: FloatArray,
    y: FloatArray,
    weights: FloatArray | None = None,
    *,
    kind: Literal["binomial", "poisson"] = "binomial",
) -> FloatArray | None:
    """Find a direction of the coefficients along which the likelihood rises for ever.

    For the binomial, with any link that rises from 0 to 1, a direction delta with ``x'delta >= 0`` in rows whose
    response is 1, ``<= 0`` where it is 0 and ``= 0`` in between, not 0 everywhere. For Poisson counts with a log link
    ``x'delta = 0`` where the count is positive and ``<= 0``, somewhere below, where it is 0.

    Parameters
    ----------
    X : ndarray, shape (n, p)
        Model matrix of the fixed effects.
    y : ndarray, shape (n,)
        Proportions of successes, or counts.
    weights : ndarray, shape (n,), optional
        Rows with weight 0 do not count.
    kind : {"binomial", "poisson"}

    Returns
    -------
    ndarray, shape (p,), or None
        The direction, exact zeros where a coefficient does not take part, or None if the likelihood has its maximum at
        finite coefficients. The largest of ``abs(delta) * scale`` is 1, where the scale of a column is its largest
        absolute value. Columns that lie far from zero beside an intercept (years) have half their range for a scale,
        and the intercept, which has to make up for their distance, does not count then. Of several directions it is
        one that parts the rows most on average, and so moves as many coefficients as possible.

    Notes
    -----
    Equal rows become one first. The program starts with the constraints of 2000 distinct rows at most and adds, in
    turns, the 500 that its solution violates most, until there are none: the answer is that of all rows, however many.
    A direction counts from 1e-9 of what it could move the rows by if all were on their right side; columns that depend
    on one another nearly to that degree are beyond it. None is also the answer where the solver fails.

    Examples
    --------
    Nobody below 3 has a success, everybody above has one, and 3 has both:

    >>> import numpy as np
    >>> from interlace.core.separation import separating_direction
    >>> X = np.column_stack([np.ones(6), [1, 2, 3, 3, 4, 5]])
    >>> separating_direction(X, np.array([0.0, 0, 0, 1, 1, 1]))
    array([-0.6,  0.2])
    >>> separating_direction(X, np.array([0.0, 1, 0, 1, 0, 1])) is None
    True
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if weights is not None:
        X, y = X[weights > 0.0], y[weights > 0.0]
    columns = _Columns.of(X)
    rows, group = _distinct(columns.scaled(X))
    # Raising x'delta lowers the density of every row but the full successes; lowering it, of all but the zeros.
    not_up = y < 1.0 if kind == "binomial" else np.ones(y.shape, dtype=np.bool_)
    falling, rising = _flagged(not_up, group, len(rows)), _flagged(y > 0.0, group, len(rows))
    equal = _row_space(rows[falling & rising])
    free = falling ^ rising
    if len(equal) == X.shape[1] or not free.any():
        return None
    delta = _solve(np.where(rising[free, None], rows[free], -rows[free]), equal, np.asarray(rows.any(axis=0)))
    return None if delta is None else columns.outer(delta)


@dataclass(frozen=True)
class _Columns:
    """Scales of the columns, and what is taken from those that an intercept can give it back to."""

    scale: FloatArray
    shift: FloatArray
    intercept: int | None
    constant: float

    @classmethod
    def of(cls, X: FloatArray) -> _Columns:
        low, high = X.min(axis=0, initial=np.inf), X.max(axis=0, initial=-np.inf)
        scale, shift = np.maximum(np.abs(low), np.abs(high)), np.zeros(X.shape[1])
        constants = np.flatnonzero((low == high) & (low != 0.0))
        if not len(constants):
            return cls(np.where(scale > 0.0, scale, 1.0), shift, None, 1.0)
        middle, half = (low + high) / 2.0, (high - low) / 2.0
        far = (np.abs(middle) > _FAR * half) & (half > 0.0)
        shift[far], scale[far] = middle[far], half[far]
        scale = np.where(scale > 0.0, scale, 1.0)
        return cls(scale, shift, int(constants[0]), float(low[constants[0]]))

    def scaled(self, X: FloatArray) -> FloatArray:
        return (X - self.shift) / self.scale

    def outer(self, delta: FloatArray) -> FloatArray:
        """Coefficients of the columns as they were."""
        out = delta / self.scale
        if self.intercept is not None:
            given_back = self.shift * out / self.constant
            out[self.intercept] -= given_back.sum()
        return out


def _distinct(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """Distinct rows, and which of them each row is.

    They are told apart by one weighted sum, which sorts faster than rows do. Unequal rows of equal sums stand for
    themselves, and may then occur more than once.
    """
    key = np.zeros(len(rows))
    mixing = np.random.default_rng(0).uniform(0.5, 1.5, size=(rows.shape[1],))
    for j in range(rows.shape[1]):  # not a matrix product, which may round equal rows differently
        key += mixing[j] * rows[:, j]
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    apart = np.flatnonzero((rows != rows[first[group]]).any(axis=1))
    group[apart] = np.arange(len(first), len(first) + len(apart))
    return rows[np.concatenate([first, apart])], group.astype(np.int64)


def _flagged(flags: BoolArray, group: IntArray, n_groups: int) -> BoolArray:
    """Whether a flag is up anywhere in a group, shape (n_groups,)."""
    found = np.zeros(n_groups, dtype=np.bool_)
    found[group[flags]] = True
    return found


def _row_space(rows: FloatArray) -> FloatArray:
    """Orthonormal rows that span the given ones, shape (rank, p)."""
    if not rows.size:
        return np.zeros((0, rows.shape[1]))
    _, sizes, basis = np.linalg.svd(np.linalg.qr(rows, mode="r"))
    return np.asarray(basis[: len(sizes)][sizes > _RANK * sizes[0]])


def _solve(gains: FloatArray, equal: FloatArray, takes_part: BoolArray) -> FloatArray | None:
    """Direction in the unit box with the largest sum of ``gains @ delta`` >= 0 and ``equal @ delta`` = 0, if not 0.

    Parameters
    ----------
    gains : ndarray, shape (m, p)
    equal : ndarray, shape (r, p)
    takes_part : ndarray of bool, shape (p,)
        The other entries of the direction are zero.
    """
    from scipy.optimize import linprog  # a tenth of a second, which only suspicious fits have to pay

    total = gains.sum(axis=0)
    size = float(np.abs(gains).sum(axis=0).max())
    if size == 0.0:
        return None
    used = np.zeros(len(gains), dtype=np.bool_)
    used[np.linspace(0, len(gains) - 1, min(_FIRST, len(gains))).astype(np.int64)] = True
    while True:
        solution = linprog(
            -total / size,
            A_ub=-gains[used],
            b_ub=np.zeros(int(used.sum())),
            A_eq=equal,
            b_eq=np.zeros(len(equal)),
            bounds=[(-float(moves), float(moves)) for moves in takes_part],
            method="highs",
            options={"primal_feasibility_tolerance": _SOLVER, "dual_feasibility_tolerance": _SOLVER},
        )
        if not solution.success:
            return None
        delta = np.asarray(solution.x, dtype=np.float64)
        # Fewer constraints allow more: where some of them leave nothing to gain, so do all.
        if total @ delta <= 10.0 * _SOLVER * size:
            return None
        gain = gains @ delta
        broken = np.flatnonzero((gain < -_ZERO) & ~used)
        if not len(broken):
            delta /= np.abs(delta).max()
            return np.where(np.abs(delta) > _ZERO, delta, 0.0)
        used[broken[np.argsort(gain[broken])[:_MORE]]] = True
