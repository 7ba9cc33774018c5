"""Many fits of one structure at once: new responses, or rows taken away.

Newton's method runs on all members together (:mod:`interlace.core.batch_newton`), then the boundary test, and further
starting points where likelihoods may have several optima: the same stages as in :mod:`interlace.core.optimize`. A
member that this does not settle is fitted alone by :func:`interlace.core.optimize.minimize`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from interlace.core.batch_factor import factor_stack
from interlace.core.batch_newton import Runs, newton_stack
from interlace.core.batch_objective import BatchObjective
from interlace.core.batch_stack import Stack, largest
from interlace.core.boundary import find_escape
from interlace.core.cholmod import AnyObjective, SparseObjective
from interlace.core.covariance import lower_factor
from interlace.core.crossproducts import CrossProducts
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.start import starting_points
from interlace.core.structure import Structure
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["BatchFits", "at_once", "inside", "joined", "minimize_each", "minimize_many"]

#: Numbers in the largest array of the members that are fitted together (8 MB): what caches and memory take well.
_TOGETHER = 1_000_000
#: As in `interlace.core.optimize`: singular values below which a factor is singular, and above which it is no boundary.
_SINGULAR, _REGULAR = 1e-4, 1e-2
#: Decrease that is worth a restart, and number of parameters up to which starts far away are affordable.
_WORTHWHILE, _FEW = 1e-8, 12
#: Variance, relative to the residual one, that is added to a singular factor to start from.
_FLOOR = 0.01
#: Smallest eigenvalue of X'X, relative to the largest, with which the coefficients of a member can be told apart.
_ESTIMABLE = 1e-10


@dataclass(frozen=True)
class BatchFits:
    """Estimates of B members in the inner basis; NaN where there are none.

    Attributes
    ----------
    theta : ndarray, shape (B, n_theta)
    value : ndarray, shape (B,)
        ML deviance or REML criterion.
    beta : ndarray, shape (B, p)
    beta_cov : ndarray, shape (B, p, p)
        Covariance of ``beta`` given theta and sigma.
    sigma : ndarray, shape (B,)
    converged : ndarray of bool, shape (B,)
    evaluations : ndarray of int64, shape (B,)
    fell_back : ndarray of bool, shape (B,)
        Members that were fitted alone.
    messages : tuple of str, length B
        Why a member did not converge; empty where it did.
    """

    theta: FloatArray
    value: FloatArray
    beta: FloatArray
    beta_cov: FloatArray
    sigma: FloatArray
    converged: BoolArray
    evaluations: IntArray
    fell_back: BoolArray
    messages: tuple[str, ...]


def minimize_many(stack: Stack, start: FloatArray, *, reml: bool, settings: Settings | None = None) -> BatchFits:
    """Fit every member of a stack.

    Parameters
    ----------
    stack : Stack
    start : ndarray, shape (n_theta,)
        Starting point in the inner basis: the estimate of a similar fit.
    reml : bool
    settings : Settings, optional
        Of the ordinary optimizer.

    Returns
    -------
    BatchFits
    """
    settings = settings or Settings()
    step = at_once(stack.structure, shared=stack.shared)
    parts = []
    for first in range(0, stack.size, step):
        some = stack.take(np.arange(first, min(first + step, stack.size)))
        parts.append(_Chunk(some, inside(stack.structure, start), reml=reml, settings=settings).fits())
    return joined(parts)


def minimize_each(
    parts: Iterable[CrossProducts], start: FloatArray, *, reml: bool, settings: Settings | None = None
) -> BatchFits:
    """Fit cross-products that cannot be stacked, one after the other.

    Parameters
    ----------
    parts : iterable of CrossProducts
    start, reml, settings
        As for `minimize_many`; moments of each member are tried as a starting point as well.

    Returns
    -------
    BatchFits
    """
    return joined([_fit_alone(cp, start, reml=reml, settings=settings or Settings()) for cp in parts])


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

    def __init__(self, stack: Stack, start: FloatArray, *, reml: bool, settings: Settings) -> None:
        self.stack = stack
        self.structure = stack.structure
        self.objective = BatchObjective(stack, reml=reml)
        self.reml = reml
        self.start = start
        self.settings = settings
        B = stack.size
        self.x = np.full((B, start.size), np.nan)
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
        self.messages = _obstacles(self.structure, self.stack.S[:, m_z:, m_z:], self.stack.n, self.stack.yy)
        return np.array([not message for message in self.messages], dtype=np.bool_)

    def _together(self, index: IntArray) -> None:
        """Batched Newton with proof; what it does not settle keeps its mark."""
        runs = self._proved(index, np.tile(self.start, (index.size, 1)))
        settled, x, value = runs.converged, runs.x, runs.value
        if self.structure.n_theta > 1:
            doubtful = np.flatnonzero(settled & self._needs_opinions(x))
            starts = [self._other_starts(int(b)) for b in index[doubtful]]
            owner = np.repeat(doubtful, [len(some) for some in starts])
            if owner.size:
                others = self._proved(index[owner], np.array([start for some in starts for start in some]))
                for i, b in enumerate(owner):
                    if others.value[i] < value[b]:
                        x[b], value[b] = others.x[i], others.value[i]
                        settled[b] = others.converged[i]
        self.x[index], self.value[index], self.converged[index] = x, value, settled
        self.fell_back[index[settled]] = False

    def _needs_opinions(self, x: FloatArray) -> BoolArray:
        """Degenerate fits and restricted covariances are where likelihoods have several optima."""
        if any(block.restricted for block in self.structure.blocks):
            return np.ones(x.shape[0], dtype=np.bool_)
        return self._smallest(x) < _SINGULAR

    def _other_starts(self, b: int) -> list[FloatArray]:
        """Moments, identity factors, large and small variances exchanged, and far out; see `core.optimize`."""
        structure = self.structure
        moments = starting_points(self.stack.member(b), reml=self.reml)
        identity = np.zeros(structure.n_theta)
        for block in structure.blocks:
            identity[block.slots[block.rows == block.cols]] = 1.0
        exchanged = [identity * np.clip(1.0 / np.maximum(np.abs(theta), 1e-3), 0.05, 20.0) for theta in moments]
        far = [3.0 * identity, 10.0 * identity] if structure.n_theta <= _FEW else []
        return [*moments, identity, *exchanged, *far]

    def _smallest(self, x: FloatArray) -> FloatArray:
        """Smallest singular value of the factors of each member."""
        smallest = np.full(x.shape[0], np.inf)
        for block in self.structure.blocks:
            L = factor_stack(block, x)
            values = np.abs(L[:, 0, 0]) if block.k == 1 else np.linalg.svd(L, compute_uv=False)[:, -1]
            smallest = np.minimum(smallest, values)
        return smallest

    def _proved(self, index: IntArray, x: FloatArray) -> Runs:
        """Newton's method, and again from every point that the boundary test finds to be lower."""
        objective = self.objective.take(index)
        runs = newton_stack(objective, x, tol=self.settings.tol)
        at = np.arange(index.size)
        for _ in range(self.settings.max_restarts):
            at = at[runs.converged[at]]
            at = at[self._smallest(runs.x[at]) <= _REGULAR]
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
        np.add.at(self.evaluations, index, runs.evaluations)
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
                suspect |= _gains(G[:, where, where], information[:, where, where], block.q) >= _WORTHWHILE
        failing, moved = [], []
        for i in np.flatnonzero(suspect):
            lower = _lower_point(Objective(self.stack.member(int(index[i])), reml=self.reml), runs.x[at[i]])
            if lower is not None:
                failing.append(at[i])
                moved.append(lower)
        return np.array(failing, dtype=np.int64), np.array(moved).reshape(len(moved), runs.x.shape[1])

    def _alone(self, b: int) -> None:
        """Fit one member by the ordinary optimizer."""
        one = _fit_alone(self.stack.member(b), self.start, reml=self.reml, settings=self.settings)
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
            self.x[known] = _tidied(self.structure, self.x[known])
            objective = self.objective.take(known)
            e = objective.at(self.x[known])
            variance = e.pwrss / objective.N
            sigma[known] = np.sqrt(variance)
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


def _gains(G: FloatArray, information: FloatArray, q: int) -> FloatArray:
    """Decrease that the best step off the boundary promises; see `core.boundary`. Shapes (B, k, k) to (B,).

    Along the steepest direction, and along each coordinate, which are all that a diagonal term has.
    """
    values, vectors = np.linalg.eigh(G)
    direction = vectors[:, :, 0]
    steepest = np.einsum("ba,bac,bc->b", direction, information, direction)
    slopes = np.column_stack([values[:, 0], np.diagonal(G, axis1=1, axis2=2)])
    curvatures = np.column_stack([steepest, np.diagonal(information, axis1=1, axis2=2)]) ** 2 / q
    falls = (slopes < 0.0) & (curvatures > 0.0)
    return np.asarray(np.where(falls, slopes**2 / (2.0 * np.where(falls, curvatures, 1.0)), 0.0).max(axis=1))


def _obstacles(structure: Structure, gram: FloatArray, n: IntArray, yy: FloatArray) -> list[str]:
    """Why members cannot be fitted at all; empty for those that can. ``gram`` is X'X, shape (B or 1, p, p)."""
    full = np.ones(n.size, dtype=np.bool_)
    if structure.p:
        values = np.linalg.eigvalsh(gram)
        full &= values[:, 0] > _ESTIMABLE * np.maximum(values[:, -1], 1.0)
    out = [""] * n.size
    for b in range(n.size):
        if not np.isfinite(yy[b]):
            out[b] = "the response is not finite"
        elif n[b] <= structure.p:
            out[b] = f"{n[b]} rows are too few for {structure.p} fixed effects and a residual variance"
        elif not full[b]:
            out[b] = "the rows do not identify the fixed effects"
        elif yy[b] <= 0.0:
            out[b] = "the fixed effects reproduce the response: the residual variance is zero"
    return out


def _fit_alone(cp: CrossProducts, start: FloatArray, *, reml: bool, settings: Settings) -> BatchFits:
    """One member, by the ordinary optimizer; from ``start`` or moments, whichever is better."""
    structure = cp.structure
    N = cp.n - (structure.p if reml else 0)
    p, blank = structure.p, np.full((1, structure.p, structure.p), np.nan)
    columns = slice(-structure.p - 1, -1)
    gram = cp.S[structure.m_z : structure.m - 1, columns]
    [message] = _obstacles(structure, gram[None], np.array([cp.n]), cp.S[-1:, -1])
    if message:
        nothing = np.array([np.nan])
        no = np.array([False])
        theta = np.full((1, structure.n_theta), np.nan)
        return BatchFits(theta, nothing, blank[:, 0], blank, nothing, no, np.array([0]), ~no, (message,))
    sparse = structure.storage.cholmod
    objective: AnyObjective = SparseObjective(cp, reml=reml) if sparse else Objective(cp, reml=reml)
    rivals = starting_points(cp, reml=reml)
    summary, e = minimize(objective, inside(structure, start), optimizer="auto", settings=settings, rivals=rivals)
    sigma = np.sqrt(e.pwrss / N)
    root = sigma * e.beta_root
    return BatchFits(
        summary.x[None],
        np.array([summary.value]),
        e.beta.reshape(1, p),
        (root @ root.T)[None],
        np.array([sigma]),
        np.array([summary.converged]),
        np.array([summary.evaluations]),
        np.array([True]),
        ("" if summary.converged else summary.message,),
    )


def _lower_point(objective: Objective, x: FloatArray) -> FloatArray | None:
    """Point with a lower deviance off the boundary, or None when there is none to be seen."""
    e = objective.at(x)
    value, d = objective.value(e), objective.derivatives(e)
    fraction = 1.0
    for _ in range(12):
        escape = find_escape(objective, e, d, x, fraction=fraction)
        if escape is None:
            return None
        if objective(escape.x) < value - 1e-9:
            return escape.x
        fraction /= 4.0
    return None


def _tidied(structure: Structure, x: FloatArray) -> FloatArray:
    """Flip columns with a negative diagonal entry, and make columns exactly zero that are so up to rounding."""
    out = x.copy()
    for block in structure.blocks:
        L = factor_stack(block, x)
        negative = np.diagonal(L, axis1=1, axis2=2)[:, block.cols] < 0.0
        nothing = np.linalg.norm(L, axis=1)[:, block.cols] < 1e-9
        out[:, block.slots] = np.where(nothing, 0.0, np.where(negative, -1.0, 1.0) * out[:, block.slots])
    return out


def joined(parts: Sequence[BatchFits]) -> BatchFits:
    """Fits of several stacks, one after the other."""
    if len(parts) == 1:
        return parts[0]
    joined = {f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(BatchFits)[:-1]}
    return BatchFits(**joined, messages=tuple(message for part in parts for message in part.messages))
