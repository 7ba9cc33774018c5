"""Newton's method for many members at once; see :mod:`interlace.core.newton` for the method.

Every round evaluates all members that are still under way, each at its own trial point: some are at a new step, some
are on their way back along one that was too long. Members leave when they have converged or given up.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from interlace.core.batch_factor import BatchElimination
from interlace.core.batch_objective import BatchObjective
from interlace.core.boundary import valley_ends
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Runs", "newton_stack", "newton_steps"]

#: As in :mod:`interlace.core.newton`.
_ACCEPTED, _REVIEW, _SMALL, _LOCAL, _HALVINGS = 1e-7, 8, 0.05, 1.0, 30
#: Length of a last step, relative to 1 plus that of theta, that is taken without looking at the deviance.
_SHORT = 1e-3
#: Steps after which a member is left to the ordinary optimizer.
_MANY = 60


@dataclass(frozen=True)
class Runs:
    """Where the members of a stack came to.

    Attributes
    ----------
    x : ndarray, shape (B, n_theta)
    value : ndarray, shape (B,)
    converged : ndarray of bool, shape (B,)
    evaluations : ndarray of int64, shape (B,)
    """

    x: FloatArray
    value: FloatArray
    converged: BoolArray
    evaluations: IntArray


@dataclass
class _Members:
    """Members under way; every array has them along its first axis."""

    number: IntArray
    x: FloatArray
    value: FloatArray
    moved: FloatArray
    gradient: FloatArray
    correction: FloatArray
    step: FloatArray
    decrement: FloatArray
    slope: FloatArray
    noise: FloatArray
    radius: FloatArray
    fraction: FloatArray
    last: BoolArray
    steps: IntArray
    tries: IntArray

    @classmethod
    def at(cls, x: FloatArray, value: FloatArray, correction: FloatArray | None) -> _Members:
        """Members at their starting points."""
        B, r = x.shape
        zeros, counts = np.zeros(B), np.zeros(B, dtype=np.int64)
        return cls(
            number=np.arange(B),
            x=x.copy(),
            value=value,
            moved=np.zeros((B, r)),
            gradient=np.zeros((B, r)),
            correction=np.zeros((B, r, r)) if correction is None else np.tile(correction, (B, 1, 1)),
            step=np.zeros((B, r)),
            decrement=zeros.copy(),
            slope=zeros.copy(),
            noise=zeros.copy(),
            radius=2.0 * np.maximum(1.0, np.linalg.norm(x, axis=1)),
            fraction=np.ones(B),
            last=np.zeros(B, dtype=np.bool_),
            steps=counts.copy(),
            tries=counts.copy(),
        )

    def take(self, index: IntArray) -> _Members:
        """Some of them."""
        return replace(self, **{f.name: getattr(self, f.name)[index] for f in fields(self)})

    def put(self, index: IntArray, part: _Members) -> None:
        """Write some of them back."""
        for f in fields(self):
            getattr(self, f.name)[index] = getattr(part, f.name)


def newton_steps(gradient: FloatArray, hessian: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Descent steps and their decrements, with negative curvature replaced by its absolute value.

    Parameters
    ----------
    gradient : ndarray, shape (B, r)
    hessian : ndarray, shape (B, r, r)

    Returns
    -------
    step : ndarray, shape (B, r)
    decrement : ndarray, shape (B,)
    """
    values, vectors = np.linalg.eigh(hessian)
    size = np.abs(values)
    curvature = np.maximum(size, 1e-9 * size.max(axis=1, keepdims=True) + 1e-300)
    along = (gradient[:, None] @ vectors)[:, 0]
    step = -(vectors @ (along / curvature)[..., None])[..., 0]
    return step, (along * along / curvature).sum(axis=1)


def newton_stack(
    objective: BatchObjective, x: FloatArray, *, tol: float = 1e-12, correction: FloatArray | None = None
) -> Runs:
    """Minimize the deviance of every member.

    Parameters
    ----------
    objective : BatchObjective
    x : ndarray, shape (B, n_theta)
        Starting points; no factor may be exactly 0 there.
    tol : float
        The last step is taken when the decrement falls below it.
    correction : ndarray, shape (r, r), optional
        What the approximate Hessian lacks at the starting points.
    """
    iteration = _Iteration(objective, x, tol, correction)
    while iteration.members.number.size:
        iteration.round()
    return iteration.out


class _Iteration:
    """State of :func:`newton_stack`: the members under way, and what became of the others."""

    def __init__(
        self, objective: BatchObjective, x: FloatArray, tol: float, correction: FloatArray | None = None
    ) -> None:
        B = x.shape[0]
        self.objective = objective
        self.tol = tol
        self.out = Runs(x.copy(), np.full(B, np.inf), np.zeros(B, dtype=np.bool_), np.ones(B, dtype=np.int64))
        e = objective.at(x)
        self.members = _Members.at(x, objective.value(e), correction)
        defined = np.isfinite(self.members.value)
        leaving = ~defined
        self._turn(e, np.flatnonzero(defined), leaving)
        self._drop(leaving)

    def round(self) -> None:
        """One evaluation of every member, and new steps for those that it brought further."""
        members = self.members
        self.out.evaluations[members.number] += 1
        trial = members.x + members.fraction[:, None] * members.step
        e = self.objective.at(trial)
        value = self.objective.value(e)
        enough = value <= members.value + 1e-4 * members.fraction * members.slope + members.noise
        _shorten(members, value, ~enough)
        leaving = members.tries > _HALVINGS
        self._record(np.flatnonzero(leaving & (members.decrement <= _ACCEPTED)))
        taken = np.flatnonzero(enough)
        members.put(taken, _advanced(members.take(taken), trial[taken], value[taken]))
        at_end = enough & members.last
        self._record(np.flatnonzero(at_end))
        leaving |= at_end | (members.steps >= _MANY)
        self._turn(e, np.flatnonzero(enough & ~leaving), leaving)
        self._drop(leaving)

    def _record(self, index: IntArray) -> None:
        """Note members that have converged."""
        self.out.converged[self.members.number[index]] = True

    def _drop(self, leaving: BoolArray) -> None:
        if leaving.any():
            number = self.members.number[leaving]
            self.out.x[number] = self.members.x[leaving]
            self.out.value[number] = self.members.value[leaving]
            stay = np.flatnonzero(~leaving)
            self.members, self.objective = self.members.take(stay), self.objective.take(stay)

    def _turn(self, e: BatchElimination, index: IntArray, leaving: BoolArray) -> None:
        """Next step of the members ``index`` from where they are; marks those that go no further."""
        if index.size == 0:
            return
        part, objective, e = self.members.take(index), self.objective.take(index), e.take(index)
        review = np.flatnonzero((part.steps > 0) & (part.steps % _REVIEW == 0))
        if review.size and _out_of_valleys(objective, part, review):
            e = objective.at(part.x)
        slopes = objective.slopes(e)
        hessian = objective.information(e, slopes)
        usable = np.isfinite(hessian).all(axis=(1, 2)) & np.isfinite(slopes.gradient).all(axis=1)
        usable &= ~objective.vanished(e)
        hessian = np.where(usable[:, None, None], hessian, np.eye(hessian.shape[1]))
        gradient = np.where(usable[:, None], slopes.gradient, 0.0)
        local = (part.steps > 0) & (part.decrement < _LOCAL) & (part.fraction == 1.0)
        learned = _secant(part.correction, hessian, part.moved, gradient - part.gradient, local)
        part.correction = np.where((part.steps > 0)[:, None, None], learned, part.correction)
        part.gradient = gradient
        part.step, part.decrement = newton_steps(gradient, hessian + part.correction)
        lost = objective.lost(e)
        part.last = part.decrement <= np.maximum(self.tol, 1e-3 * lost)
        length = np.linalg.norm(part.step, axis=1)
        part.step *= np.minimum(1.0, part.radius / np.maximum(length, 1e-300))[:, None]
        part.slope = np.einsum("br,br->b", part.step, gradient)
        part.noise = objective.noise(part.value) + 10.0 * lost
        part.fraction, part.tries = np.ones(index.size), np.zeros(index.size, dtype=np.int64)
        self.members.put(index, part)
        # A last step that is short promises less than the deviance can show: it is taken without looking.
        there = usable & (part.decrement <= self.tol * self.tol)
        blind = usable & part.last & ~there & (length <= _SHORT * np.maximum(1.0, np.linalg.norm(part.x, axis=1)))
        self.members.x[index[blind]] += part.step[blind]
        there |= blind
        self._record(index[there])
        leaving[index[there | ~usable]] = True


def _advanced(members: _Members, x: FloatArray, value: FloatArray) -> _Members:
    """Members after a step that was good enough."""
    radius = np.where(
        members.fraction == 1.0, 2.0 * members.radius, np.maximum(members.radius * members.fraction, 1e-3)
    )
    return replace(members, x=x, value=value, moved=x - members.x, radius=radius, steps=members.steps + 1)


def _shorten(members: _Members, value: FloatArray, failed: BoolArray) -> None:
    """Minimum of the parabola through value, slope and the new value, within sensible bounds, as the next fraction."""
    fraction = members.fraction
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        drop = value - members.value - fraction * members.slope
        shrink = -0.5 * fraction * members.slope / drop
    shrink = np.clip(np.where(np.isfinite(value) & (drop > 0.0), shrink, 0.1), 0.1, 0.5)
    members.fraction = np.where(failed, fraction * shrink, fraction)
    members.tries = members.tries + failed


def _secant(
    correction: FloatArray, hessian: FloatArray, moved: FloatArray, change: FloatArray, local: BoolArray
) -> FloatArray:
    """Symmetric rank-one update of the members that are ``local``; the others start again from nothing."""
    missing = change - ((hessian + correction) @ moved[..., None])[..., 0]
    along = np.einsum("br,br->b", missing, moved)
    size = np.linalg.norm(missing, axis=1) * np.linalg.norm(moved, axis=1)
    safe = local & (np.abs(along) > 1e-8 * size)
    scale = np.where(safe, 1.0 / np.where(safe, along, 1.0), 0.0)
    update = correction + scale[:, None, None] * missing[:, :, None] * missing[:, None, :]
    return np.where(local[:, None, None], update, 0.0)


def _out_of_valleys(objective: BatchObjective, members: _Members, review: IntArray) -> bool:
    """Move the members ``review`` to the lowest end of the valleys near them, if it is not higher."""
    owner, ends = [], []
    for b in review:
        found = valley_ends(objective.structure, members.x[b], small=_SMALL)
        owner += [b] * len(found)
        ends += found
    if not ends:
        return False
    there = objective.take(np.array(owner))
    points = np.array(ends)
    values = there.value(there.at(points))
    noise = objective.noise(members.value)
    moved = False
    for b, x, value in zip(owner, points, values, strict=True):
        if value <= members.value[b] + noise[b]:
            members.moved[b] += x - members.x[b]
            members.x[b], members.value[b] = x, value
            moved = True
    return moved
