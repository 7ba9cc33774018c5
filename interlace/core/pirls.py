"""Penalized iteratively reweighted least squares: the conditional modes of a generalized linear mixed model.

At fixed L and beta the modes u maximize log p(y | eta) - u'u / 2 with eta = X beta + Z Lambda u + offset. One step
solves (Lambda'Z'WZ Lambda + I) u = Lambda'Z'(W Z Lambda u_old + s), with the information W and the score s, through the
block elimination of the linear models. A step that raises the penalized deviance is halved. Where columns X are given
here, their coefficients are found together with u: lme4's ``nAGQ = 0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.factor import Elimination, eliminate
from interlace.core.schur import SparseMap
from interlace.core.structure import Structure
from interlace.core.working import Working, WorkingModel
from interlace.typing import FloatArray, IntArray

__all__ = ["Modes", "Pirls", "solve_levels", "spherical_modes"]


#: Factor by which the unused corner of the system exceeds what could make its last pivot negative.
_AMPLE = 1e30


#: Penalized deviance from which the last modes are no use as a start.
_HOPELESS = 1e100
#: Decrement that may be left where rounding hides any further progress.
_ACCEPTED = 1e-8
#: Decrement, relative to the deviance, that no difference of two deviances shows.
_HIDDEN = 1e-12


@dataclass(frozen=True)
class Modes:
    """Conditional modes at one (L, beta).

    Attributes
    ----------
    L : list of ndarray, shapes (k_i, k_i)
    u : list of ndarray, shapes (q_i, k_i)
        Spherical modes of each block; b = u L'.
    eta : ndarray, shape (n,)
    working : Working
        At ``eta``.
    elimination : Elimination
        Of Lambda'Z'WZ Lambda + I, and X, at ``eta``; W the information that the model's ``curvature`` names.
    conditional : float
        -2 log p(y | eta).
    iterations : int
    converged : bool
    model : WorkingModel
        The response, at the further parameters of its family.
    gamma : ndarray, shape (p,)
        Coefficients of the columns X that belong to the search.
    x : ndarray
        Parameters of the whole model, if they were given.
    """

    L: list[FloatArray]
    u: list[FloatArray]
    eta: FloatArray
    working: Working
    elimination: Elimination
    conditional: float
    iterations: int
    converged: bool
    model: WorkingModel
    gamma: FloatArray
    x: FloatArray = field(default_factory=lambda: np.empty(0))

    @property
    def penalty(self) -> float:
        """U'u."""
        return sum(float(np.vdot(u, u)) for u in self.u)

    @property
    def log_det(self) -> float:
        """Log determinant of Lambda'Z'WZ Lambda + I."""
        return self.elimination.log_chain + self.elimination.rest_logdet(self.elimination.structure.m_z)


class Pirls:
    """Finds the modes at any (L, beta), warm-started from the last ones.

    Parameters
    ----------
    structure : Structure
        Elimination order.
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.
    Z : sequence of ndarray, shapes (n, k_i)
    model : WorkingModel
    X : ndarray, shape (n, p), optional
        Fixed-effects columns whose coefficients are found together with the modes.
    tol : float
        Stop when a step's decrement r'delta is below it.
    """

    def __init__(
        self,
        structure: Structure,
        codes: Sequence[IntArray],
        Z: Sequence[FloatArray],
        model: WorkingModel,
        X: FloatArray | None = None,
        *,
        tol: float = 1e-18,
        max_iterations: int = 100,
    ) -> None:
        self.X = np.empty((codes[0].size, 0)) if X is None else X
        self.structure = replace(structure, p=self.X.shape[1])
        self.codes, self.Z, self.model = codes, Z, model
        self._tol, self._max_iterations = tol, max_iterations
        self._start = [np.zeros((b.q, b.k)) for b in structure.blocks]
        self._gamma = np.zeros(self.X.shape[1])
        self._pairs: dict[tuple[int, int], tuple[IntArray, IntArray]] = {}

    def begin_at(self, gamma: FloatArray) -> None:
        """Begin the next search at these coefficients, shape (p,), and at modes of zero."""
        self._start = [np.zeros_like(u) for u in self._start]
        self._gamma = gamma

    def random_part(self, b: Sequence[FloatArray]) -> FloatArray:
        """Z b, shape (n,)."""
        total = np.zeros(self.codes[0].size)
        for codes, Z, values in zip(self.codes, self.Z, b, strict=True):
            total += values[codes, 0] * Z[:, 0] if Z.shape[1] == 1 else (Z * values[codes]).sum(axis=1)
        return total

    def transposed(self, v: FloatArray) -> list[FloatArray]:
        """Z'v by block, shapes (q_i, k_i)."""
        out = []
        for block, codes, Z in zip(self.structure.blocks, self.codes, self.Z, strict=True):
            sums = np.empty((block.q, block.k))
            for a in range(block.k):
                sums[:, a] = np.bincount(codes, weights=Z[:, a] * v, minlength=block.q)
            out.append(sums)
        return out

    def solve(
        self, L: Sequence[FloatArray], weights: FloatArray, v: FloatArray, *, like: CrossProducts | None = None
    ) -> Elimination:
        """Elimination of Lambda'Z'WZ Lambda + I, and X, with the right-hand side (Lambda'Z'v, X'v).

        Parameters
        ----------
        L : sequence of ndarray, shapes (k_i, k_i)
        weights : ndarray, shape (n,)
            Of any sign, as long as the matrix stays positive definite.
        v : ndarray, shape (n,)
        like : CrossProducts, optional
            Of the same weights, if there are any yet.
        """
        indefinite = bool(weights.min(initial=0.0) < 0.0)
        if like is not None:
            cp = replace(like, C=tuple(C.copy() for C in like.C), S=like.S.copy())
        elif indefinite and (self.structure.rest or self.structure.p):
            parts = [self._cross_products(np.maximum(sign * weights, 0.0)) for sign in (1.0, -1.0)]
            cp = parts[0] - parts[1]
        else:
            cp = self._cross_products(weights)
        structure, s, right = self.structure, self.structure.n_chain, self.transposed(v)
        for i in range(s):
            cp.C[i][:, :, -1] = right[i]
        for where, x in zip(structure.rest_slices, right[s:], strict=True):
            cp.S[where, -1] = cp.S[-1, where] = x.reshape(-1)
        if structure.p:
            cp.S[structure.m_z : -1, -1] = cp.S[-1, structure.m_z : -1] = self.X.T @ v
        # Takes no part in the solution, but the last pivot must be positive: the matrix of the random effects is at
        # least I, that of X may be nearly singular.
        scaled = [x @ L_i for x, L_i in zip(right, L, strict=True)]
        bound = sum(float(np.vdot(x, x)) for x in scaled)
        cp.S[-1, -1] = 1.0 + 4.0 * bound + (float(v @ v) * _AMPLE if structure.p or indefinite else 0.0)
        return eliminate(cp, L, SparseMap(cp) if structure.storage.sparse else None, indefinite=indefinite)

    def _cross_products(self, weights: FloatArray) -> CrossProducts:
        structure = self.structure
        if not (structure.rest or structure.p):
            return CrossProducts.of_chain(structure, self.codes, self.Z, weights)
        root = np.sqrt(weights)[:, None]
        Xy = np.zeros((weights.size, self.X.shape[1] + 1))
        Xy[:, :-1] = root * self.X
        rows = Rows(self.codes, [root * Z for Z in self.Z], Xy, pairs=self._pairs)
        return CrossProducts.from_rows(structure, rows)

    def modes(self, L: list[FloatArray], fixed: FloatArray, model: WorkingModel | None = None) -> Modes:
        """Conditional modes at ``L``, with ``fixed`` = X beta + offset, shape (n,).

        Parameters
        ----------
        L : list of ndarray, shapes (k_i, k_i)
        fixed : ndarray, shape (n,)
        model : WorkingModel, optional
            The response, if its family has other parameters by now.

        Returns
        -------
        Modes
        """
        with np.errstate(all="ignore"):  # extreme parameters are tried, and found to have no finite deviance
            return self._search(L, fixed, self.model if model is None else model)

    def _search(self, L: list[FloatArray], fixed: FloatArray, model: WorkingModel) -> Modes:
        now = self._begin(L, fixed, model)
        converged, steps, last = False, 0, np.inf
        while True:
            working = model.at(fixed + now.known)
            e, step, decrement = self._step(L, now, working)
            steps += 1
            converged = decrement <= self._tol
            if converged or not np.isfinite(decrement) or steps == self._max_iterations:
                break
            if decrement <= _HIDDEN * (abs(now.value) + fixed.size):
                # Differences of deviances are rounding by now: steps count as long as they make the gradient smaller.
                if decrement >= last:
                    converged = decrement <= _ACCEPTED
                    break
                last = decrement
                now = self._moved(L, fixed, model, now, step, 1.0)
                continue
            moved = self._along(L, fixed, model, now, step)
            if moved is None:
                converged = decrement <= _ACCEPTED
                break
            now = moved
        working = model.weighing(working)
        if working.observed is not working.fisher or not e.ok:
            e = self.solve(L, working.fisher, working.score)
        if converged:
            self._start, self._gamma = now.u, now.gamma
        eta = fixed + now.known
        return Modes(L, now.u, eta, working, e, now.conditional, steps, converged, model, now.gamma)

    def _step(
        self, L: Sequence[FloatArray], now: _State, working: Working
    ) -> tuple[Elimination, list[FloatArray], float]:
        """Step in u and gamma, and its decrement: Newton's where that leads downhill, else Fisher scoring's."""
        gradient = [s @ L_i - x for s, L_i, x in zip(self.transposed(working.score), L, now.u, strict=True)]
        gradient.append(self.X.T @ working.score)
        for weights in (working.observed, working.fisher):
            e = self.solve(L, weights, weights * now.known + working.score)
            step = [*(new - old for new, old in zip(spherical_modes(e), now.u, strict=True)), e.beta - now.gamma]
            decrement = sum(float(np.vdot(g, d)) for g, d in zip(gradient, step, strict=True))
            if e.ok and decrement >= 0.0:
                break
        return e, step, decrement

    def _begin(self, L: Sequence[FloatArray], fixed: FloatArray, model: WorkingModel) -> _State:
        """Where the last search ended; if that is hopeless here, zero, or the best fit to the response itself."""
        start = self._state(L, fixed, model, self._start, self._gamma)
        if start.value < _HOPELESS:
            return start
        start = self._state(L, fixed, model, [np.zeros_like(x) for x in self._start], self._gamma)
        if start.value < _HOPELESS:
            return start
        eta = model.start_eta
        e = self.solve(L, weights := model.at(eta).fisher, weights * (eta - fixed))
        return self._state(L, fixed, model, spherical_modes(e), e.beta if self._gamma.size else self._gamma)

    def _state(
        self, L: Sequence[FloatArray], fixed: FloatArray, model: WorkingModel, u: list[FloatArray], gamma: FloatArray
    ) -> _State:
        known = self.random_part(_scaled(u, L))
        if gamma.size:
            known = known + self.X @ gamma
        conditional = model.minus_two_loglik(fixed + known)
        return _State(u, gamma, known, conditional, conditional + sum(float(np.vdot(x, x)) for x in u))

    def _moved(
        self,
        L: Sequence[FloatArray],
        fixed: FloatArray,
        model: WorkingModel,
        now: _State,
        step: list[FloatArray],
        fraction: float,
    ) -> _State:
        u = [x + fraction * d for x, d in zip(now.u, step[:-1], strict=True)]
        return self._state(L, fixed, model, u, now.gamma + fraction * step[-1])

    def _along(
        self, L: Sequence[FloatArray], fixed: FloatArray, model: WorkingModel, now: _State, step: list[FloatArray]
    ) -> _State | None:
        """The first point of a halved step that is not higher; None if rounding hides any."""
        fraction = 1.0
        for _ in range(25):
            trial = self._moved(L, fixed, model, now, step, fraction)
            if trial.value <= now.value + 1e-13 * (abs(now.value) + fixed.size):
                return trial
            fraction *= 0.5
        return None


class _State(NamedTuple):
    """One point of the search: modes, coefficients, their part of eta, deviance without and with u'u."""

    u: list[FloatArray]
    gamma: FloatArray
    known: FloatArray
    conditional: float
    value: float


def _scaled(u: Sequence[FloatArray], L: Sequence[FloatArray]) -> list[FloatArray]:
    """Modes b = u L' of each block."""
    return [x @ L_i.T for x, L_i in zip(u, L, strict=True)]


def spherical_modes(e: Elimination) -> list[FloatArray]:
    """Solution u of (Lambda'Z'WZ Lambda + I) u = Lambda'Z'Wz by block, shapes (q_i, k_i); defined at singular L too."""
    structure, s = e.structure, e.structure.n_chain
    m_z = structure.m_z
    solution = e.solution[:m_z]
    u: list[FloatArray] = [np.empty(0)] * len(structure.blocks)
    v = np.zeros((structure.m, 1))
    v[-1] = 1.0
    v[m_z:-1, 0] = -e.solution[m_z:]
    for where, r in zip(structure.rest_slices, range(s, len(structure.blocks)), strict=True):
        block = structure.blocks[r]
        u[r] = solution[where].reshape(block.q, block.k)
        v[where, 0] = -(u[r] @ e.L[r].T).reshape(-1)
    for i in reversed(range(s)):
        right = e.apply_C(i, v)
        for j in range(i + 1, s):
            right = right - np.matmul(e.P[i, j], (u[j] @ e.L[j].T)[structure.parents[i, j]][:, :, None])
        u[i] = _within_levels(e.A[i], e.L[i], right[:, :, 0])
    return u


def _within_levels(A: FloatArray, L: FloatArray, right: FloatArray) -> FloatArray:
    """(I + L'A_j L)^-1 L' right_j for every level, shape (q, k)."""
    if L.shape[0] == 1:
        scalar: FloatArray = L[0, 0] * right / (1.0 + L[0, 0] ** 2 * A[:, :, 0])
        return scalar
    return solve_levels(L.T @ A @ L + np.eye(L.shape[0]), right @ L)


def solve_levels(D: FloatArray, right: FloatArray) -> FloatArray:
    """D_j^-1 right_j for every level, shape (q, k); not a number where parameters are so extreme that there is none."""
    try:
        return np.asarray(np.linalg.solve(D, right[:, :, None])[:, :, 0])
    except np.linalg.LinAlgError:
        return np.full_like(right, np.nan)
