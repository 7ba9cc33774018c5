"""Many fits of one structure at once: new responses, or rows taken away.

Newton's method runs on all members together (:mod:`interlace.core.batch_newton`), then the boundary test, and further
starting points where likelihoods may have several optima: the same stages as in :mod:`interlace.core.optimize`. A
member that this does not settle is fitted alone by :func:`interlace.core.optimize.minimize`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from interlace.core.batch_fits import BatchFits, joined
from interlace.core.batch_newton import Runs, newton_stack
from interlace.core.batch_objective import BatchObjective
from interlace.core.batch_proof import gains, lower_point, obstacles, smallest_singular_values, tidied
from interlace.core.batch_stack import Stack, largest
from interlace.core.covariance import REGULAR, SINGULAR, lower_factor
from interlace.core.crossproducts import CrossProducts
from interlace.core.newton import VANISHED
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.profiled import profiled_deviance
from interlace.core.rivals import few_rows, other_points, smaller_points
from interlace.core.start import starting_points
from interlace.core.structure import Structure
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["KnownFit", "at_once", "inside", "local_optima", "minimize_each", "minimize_many"]

#: Numbers in the largest array of the members that are fitted together (8 MB): what caches and memory take well.
_TOGETHER = 1_000_000
#: Decrease that is worth a restart.
_WORTHWHILE = 1e-8
#: Share of the rows of an explored fit with which another one is taken to have the same optima.
_NEARLY = 0.98
#: Variance, relative to the residual one, that is added to a singular factor to start from.
_FLOOR = 0.01


@dataclass(frozen=True)
class KnownFit:
    """Fit to similar data, from which others start.

    Attributes
    ----------
    theta : ndarray, shape (n_theta,)
        Starting point in the inner basis. May be singular, if ``explored``.
    correction : ndarray, shape (n_theta, n_theta), or None
        What the approximate Hessian lacks there.
    rivals : tuple of ndarray, shapes (n_theta,)
        Other local optima, from which to start as well.
    explored : int
        Rows of the fit, if the rivals are all that were found from many starting points: singular fits to nearly as
        many rows need no more. Otherwise 0.
    """

    theta: FloatArray
    correction: FloatArray | None = None
    rivals: tuple[FloatArray, ...] = ()
    explored: int = 0


def minimize_many(
    stack: Stack, start: FloatArray | KnownFit, *, reml: bool, settings: Settings | None = None
) -> BatchFits:
    """Fit every member of a stack.

    Parameters
    ----------
    stack : Stack
    start : ndarray, shape (n_theta,), or KnownFit
        Starting point in the inner basis: the estimate of a similar fit.
    reml : bool
    settings : Settings, optional
        Of the ordinary optimizer.

    Returns
    -------
    BatchFits
    """
    settings = settings or Settings()
    known = start if isinstance(start, KnownFit) else KnownFit(inside(stack.structure, start))
    step = at_once(stack.structure, shared=stack.shared)
    parts = []
    for first in range(0, stack.size, step):
        some = stack.take(np.arange(first, min(first + step, stack.size)))
        parts.append(_Chunk(some, known, reml=reml, settings=settings).fits())
    return joined(parts)


def minimize_each(
    parts: Iterable[CrossProducts], start: FloatArray | KnownFit, *, reml: bool, settings: Settings | None = None
) -> BatchFits:
    """Fit cross-products that cannot be stacked, one after the other.

    Parameters
    ----------
    parts : iterable of CrossProducts
    start, reml, settings
        As for `minimize_many`; from an array, moments of each member are tried as a starting point as well.

    Returns
    -------
    BatchFits
    """
    return joined([_fit_alone(cp, start, reml=reml, settings=settings or Settings()) for cp in parts])


def local_optima(
    cp: CrossProducts, starts: Sequence[FloatArray], *, reml: bool, settings: Settings
) -> tuple[FloatArray, FloatArray]:
    """Where Newton's method and the boundary test lead from several starting points, of a structure that is stackable.

    Returns
    -------
    x : ndarray, shape (S, n_theta)
    value : ndarray, shape (S,)
        Infinity where it leads nowhere.
    """
    chunk = _Chunk(Stack.of_parts([cp]), KnownFit(starts[0]), reml=reml, settings=settings)
    runs = chunk.proved(np.zeros(len(starts), dtype=np.int64), np.array(starts))
    return tidied(cp.structure, runs.x), np.where(runs.converged, runs.value, np.inf)


def at_once(structure: Structure, *, shared: bool) -> int:
    """How many members are fitted together."""
    return max(1, _TOGETHER // largest(structure, shared=shared))


def inside(structure: Structure, theta: FloatArray) -> FloatArray:
    """Theta with singular factors moved off the boundary, where the gradient says nothing.

    Parameters
    ----------
    structure : Structure
    theta : ndarray, shape (n_theta,)

    Returns
    -------
    ndarray, shape (n_theta,)
    """
    out = theta.copy()
    for block in structure.blocks:
        L = block.factor(theta)
        for _, where in block.members:
            own = L[where, where]
            if np.linalg.svd(own, compute_uv=False)[-1] < np.sqrt(_FLOOR):
                # The root of Psi + c I; diagonal where L is.
                L[where, where] = lower_factor(np.concatenate([own, np.sqrt(_FLOOR) * np.eye(own.shape[0])], axis=1))
        out[block.slots] = L[block.rows, block.cols]
    return out


class _Chunk:
    """Members that are fitted together."""

    def __init__(self, stack: Stack, known: KnownFit, *, reml: bool, settings: Settings) -> None:
        self.stack = stack
        self.structure = stack.structure
        self.objective = BatchObjective(stack, reml=reml)
        self.reml = reml
        self.known = known
        self.settings = settings
        B = stack.size
        self.x = np.full((B, known.theta.size), np.nan)
        self.value = np.full(B, np.nan)
        self.converged = np.zeros(B, dtype=np.bool_)
        self.evaluations = np.zeros(B, dtype=np.int64)
        self.fell_back = np.zeros(B, dtype=np.bool_)
        self.messages = [""] * B

    def fits(self) -> BatchFits:
        """Estimates of all members."""
        possible = np.flatnonzero(self._estimable())
        self.fell_back[possible] = True
        if possible.size:
            self._together(possible)
        for b in np.flatnonzero(self.fell_back):
            self._alone(int(b))
        return self._finished()

    def _estimable(self) -> BoolArray:
        """Members that can be estimated; the others get a message."""
        m_z = self.structure.m_z
        self.messages = obstacles(self.structure, self.stack.S[:, m_z:, m_z:], self.stack.n, self.stack.yy)
        return np.array([not message for message in self.messages], dtype=np.bool_)

    def _together(self, index: IntArray) -> None:
        """Batched Newton with proof; what it does not settle keeps its mark."""
        known, everyone = self.known, np.arange(index.size)
        runs = self.proved(index, np.tile(known.theta, (index.size, 1)), known.correction)
        for rival in known.rivals:
            _keep_lower(runs, everyone, self.proved(index, np.tile(rival, (index.size, 1))))
        doubtful = np.flatnonzero(runs.converged & self._doubtful(index, runs.x))
        starts = [self._other_starts(int(index[i]), runs.x[i]) for i in doubtful]
        owner = np.repeat(doubtful, [len(some) for some in starts])
        if owner.size:
            points = np.array([start for some in starts for start in some])
            _keep_lower(runs, owner, self.proved(index[owner], points))
        self.x[index], self.value[index], self.converged[index] = runs.x, runs.value, runs.converged
        self.evaluations[index] = runs.evaluations
        self.fell_back[index[runs.converged]] = False

    def _doubtful(self, index: IntArray, x: FloatArray) -> BoolArray:
        """Members at ``x`` whose likelihood may have a lower optimum."""
        if self.structure.n_theta < 2:
            return np.zeros(index.size, dtype=np.bool_)
        few = np.array([few_rows(self.structure, int(n)) for n in self.stack.n[index]], dtype=np.bool_)
        nearly_the_same = self.stack.n[index] >= _NEARLY * self.known.explored if self.known.explored else False
        return np.asarray(few | (self._degenerate(x) & ~np.asarray(nearly_the_same)))

    def _degenerate(self, x: FloatArray) -> BoolArray:
        """Singular fits and restricted covariances, of which likelihoods have several optima."""
        if any(block.restricted for block in self.structure.blocks):
            return np.ones(x.shape[0], dtype=np.bool_)
        return smallest_singular_values(self.structure, x) < SINGULAR

    def _other_starts(self, b: int, x: FloatArray) -> list[FloatArray]:
        """Moments, and what may lead from a fit at ``x`` to another optimum."""
        moments = starting_points(self.stack.member(b), reml=self.reml)
        if self._degenerate(x[None])[0]:
            return [*moments, *other_points(self.structure, moments)]
        return [*moments, *smaller_points(self.structure, x)]

    def proved(self, index: IntArray, x: FloatArray, correction: FloatArray | None = None) -> Runs:
        """Newton's method, and again from every point that the boundary test finds to be lower."""
        objective = self.objective.take(index)
        runs = newton_stack(objective, x, tol=self.settings.tol, correction=correction)
        at = np.arange(index.size)
        for _ in range(self.settings.max_restarts):
            at = at[runs.converged[at]]
            at = at[smallest_singular_values(self.structure, runs.x[at]) <= REGULAR]
            if not at.size:
                break
            at, moved = self._escapes(index[at], at, runs)
            if not at.size:
                break
            again = newton_stack(objective.take(at), moved, tol=self.settings.tol)
            runs.x[at], runs.value[at], runs.converged[at] = again.x, again.value, again.converged
            runs.evaluations[at] += again.evaluations
        else:
            runs.converged[at] = False
        return runs

    def _escapes(self, index: IntArray, at: IntArray, runs: Runs) -> tuple[IntArray, FloatArray]:
        """Members of ``at`` that fail the boundary test, and the lower points that it finds for them."""
        objective = self.objective.take(index)
        e = objective.at(runs.x[at])
        slopes = objective.slopes(e)
        weight = objective.N / e.pwrss
        suspect = np.zeros(at.size, dtype=np.bool_)
        for block, G, a in zip(self.structure.blocks, slopes.psi, slopes.a, strict=True):
            information = G + weight[:, None, None] * (a.transpose(0, 2, 1) @ a)
            for _, where in block.members:
                suspect |= gains(G[:, where, where], information[:, where, where], block.q) >= _WORTHWHILE
        failing, moved = [], []
        for i in np.flatnonzero(suspect):
            lower = lower_point(Objective(self.stack.member(int(index[i])), reml=self.reml), runs.x[at[i]])
            if lower is not None:
                failing.append(at[i])
                moved.append(lower)
        return np.array(failing, dtype=np.int64), np.array(moved).reshape(len(moved), runs.x.shape[1])

    def _alone(self, b: int) -> None:
        """Fit one member by the ordinary optimizer."""
        one = _fit_alone(self.stack.member(b), self.known.theta, reml=self.reml, settings=self.settings)
        self.x[b], self.value[b], self.converged[b] = one.theta[0], one.value[0], one.converged[0]
        self.evaluations[b] += one.evaluations[0]
        self.messages[b] = one.messages[0]

    def _finished(self) -> BatchFits:
        """Signs chosen so that diagonals are not negative; beta and sigma at the optimum."""
        known = np.flatnonzero(np.isfinite(self.value))
        p, m_z = self.structure.p, self.structure.m_z
        beta, beta_cov = np.full((self.value.size, p), np.nan), np.full((self.value.size, p, p), np.nan)
        sigma = np.full(self.value.size, np.nan)
        if known.size:
            self.x[known] = tidied(self.structure, self.x[known])
            objective = self.objective.take(known)
            e = objective.at(self.x[known])
            self.value[known] = objective.value(e)
            variance = e.pwrss / objective.N
            sigma[known] = np.sqrt(np.maximum(variance, 0.0))  # rounding may leave less than nothing of a perfect fit
            beta[known] = e.solution[:, m_z:]
            root = e.half[:, m_z:, m_z:]
            beta_cov[known] = variance[:, None, None] * (root.transpose(0, 2, 1) @ root)
        return BatchFits(
            self.x,
            self.value,
            beta,
            beta_cov,
            sigma,
            self.converged,
            self.evaluations,
            self.fell_back,
            tuple(self.messages),
        )


def _keep_lower(runs: Runs, owner: IntArray, others: Runs) -> None:
    """Replace members of ``runs`` by other runs of the same members that came lower."""
    for i, b in enumerate(owner):
        # What rounding makes lower is no other optimum; a run that failed is no estimate.
        if others.value[i] < runs.value[b] - (_WORTHWHILE if runs.converged[b] else 0.0):
            runs.x[b], runs.value[b], runs.converged[b] = others.x[i], others.value[i], others.converged[i]
            runs.evaluations[b] = others.evaluations[i]


def _fit_alone(cp: CrossProducts, start: FloatArray | KnownFit, *, reml: bool, settings: Settings) -> BatchFits:
    """One member, by the ordinary optimizer; from ``start`` or moments, whichever is better."""
    structure = cp.structure
    N = cp.n - (structure.p if reml else 0)
    columns = slice(-structure.p - 1, -1)
    gram = cp.S[structure.m_z : structure.m - 1, columns]
    [message] = obstacles(structure, gram[None], np.array([cp.n]), cp.S[-1:, -1])
    if message:
        return BatchFits.nothing(structure, 1, [message])
    objective = profiled_deviance(cp, reml=reml)
    if isinstance(start, KnownFit):
        first, rivals, correction = start.theta, list(start.rivals), start.correction
    else:
        first, rivals, correction = inside(structure, start), starting_points(cp, reml=reml), None
    settings = replace(settings, correction=correction)
    try:
        summary, e = minimize(objective, first, optimizer="auto", settings=settings, rivals=rivals, rows=cp.n)
    except ZeroDivisionError:  # by residuals that are exactly zero at a starting point
        return BatchFits.nothing(structure, 1, [VANISHED])
    sigma = np.sqrt(e.pwrss / N)
    root = sigma * e.beta_root
    return BatchFits(
        summary.x[None],
        np.array([summary.value]),
        e.beta.reshape(1, structure.p),
        (root @ root.T)[None],
        np.array([sigma]),
        np.array([summary.converged]),
        np.array([summary.evaluations]),
        np.array([True]),
        ("" if summary.converged else summary.message,),
    )
