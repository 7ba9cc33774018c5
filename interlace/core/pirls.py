"""Penalized iteratively reweighted least squares: the conditional modes of a generalized linear mixed model.

At fixed L and beta the modes u maximize log p(y | eta) - u'u / 2 with eta = X beta + Z Lambda u + offset. A step solves
(Lambda'Z'WZ Lambda + I) delta = Lambda'Z's - u, with the information W and the score s. The matrix is that of the last
search, which was near by, as long as its steps converge fast; else it is formed and eliminated anew, which costs more
than several steps. Steps that raise the penalized deviance are halved. Where columns X are given here, their
coefficients are found together with u: lme4's ``nAGQ = 0``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from interlace.core.factor import Elimination, eliminate
from interlace.core.penalized import PenalizedSystem
from interlace.core.structure import Structure
from interlace.core.weighted import ProductMap, WeightedProducts
from interlace.core.working import Working, WorkingModel
from interlace.typing import FloatArray, IntArray

__all__ = ["Modes", "Pirls"]


#: Penalized deviance from which the last modes are no use as a start.
_HOPELESS = 1e100
#: Decrement that may be left where rounding hides any further progress.
_ACCEPTED = 1e-8
#: Decrement, relative to the deviance, that no difference of two deviances shows.
_HIDDEN = 1e-12
#: Decrement below which a step that lessens the decrement needs no proof that it lessens the deviance.
_QUIET = 1e-3
#: Diagonal of a factor, and factor of u, within which modes are taken over as b, which hardly depends on the factor.
_SINGULAR, _GROWTH = 1e-3, 4.0
#: Steps with a matrix from elsewhere that cost as much as one with its own.
_PATIENCE = 3.0


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
        Steps.
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
        Stop when a step's decrement r'delta is below it: its root is the error of log|H|, which is of first order.
    """

    def __init__(
        self,
        structure: Structure,
        codes: Sequence[IntArray],
        Z: Sequence[FloatArray],
        model: WorkingModel,
        X: FloatArray | None = None,
        *,
        tol: float = 1e-22,
        max_iterations: int = 100,
    ) -> None:
        self.X = np.empty((codes[0].size, 0)) if X is None else X
        self.structure = replace(structure, p=self.X.shape[1])
        self.codes, self.Z, self.model = codes, Z, model
        self._tol, self._max_iterations = tol, max_iterations
        self._start = [np.zeros((b.q, b.k)) for b in structure.blocks]
        self._gamma = np.zeros(self.X.shape[1])
        self._at: list[FloatArray] | None = None
        self._near: PenalizedSystem | None = None
        self._near_at: FloatArray | None = None

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

    @cached_property
    def products(self) -> WeightedProducts:
        """Cross-products of the rows at any weights."""
        return WeightedProducts(self.structure, self.codes, self.Z, self.X)

    def eliminate(self, L: Sequence[FloatArray], weights: FloatArray) -> Elimination:
        """Elimination of Lambda'Z'WZ Lambda + I, and X; the response is zero.

        Parameters
        ----------
        L : sequence of ndarray, shapes (k_i, k_i)
        weights : ndarray, shape (n,)
            Of any sign, as long as the matrix stays positive definite.
        """
        cp = self.products.at(weights)
        indefinite = bool(weights.min(initial=0.0) < 0.0)
        return eliminate(cp, L, ProductMap(cp) if self.structure.storage.sparse else None, indefinite=indefinite)

    def observed(self, modes: Modes) -> PenalizedSystem:
        """The matrix with the observed information at the modes, by which they move."""
        if self._near is None or self._near_at is not modes.eta:
            canonical = modes.working.observed is modes.working.fisher
            e = modes.elimination if canonical else self.eliminate(modes.L, modes.working.observed)
            self._near, self._near_at = PenalizedSystem(e), modes.eta
        return self._near

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
        system, turn = self._near, _turns(self._at, L)
        now, last, steps, converged = self._begin(L, turn, fixed, model), np.inf, 0, False
        if system is not None and self._at is not None and any(map(operator.is_not, system.e.L, self._at)):
            turn = _turns(system.e.L, L)
        while True:
            working = model.at(fixed + now.known)
            gradient = [s @ L_i - x for s, L_i, x in zip(self.transposed(working.score), L, now.u, strict=True)]
            gradient.append(self.X.T @ working.score)
            step = None if system is None else _step(system, gradient, turn)
            own = step is None or self._slow(step.decrement, last)
            if step is None or own:
                system, step = self._newton(L, working, gradient)
                turn = None
            steps += 1
            converged = 0.0 <= step.decrement <= self._tol
            if converged or not np.isfinite(step.decrement) or steps == self._max_iterations:
                break
            hidden = step.decrement <= _HIDDEN * (abs(now.value) + fixed.size)
            if step.decrement < last and (hidden or step.decrement <= _QUIET):
                now = self._moved(L, now, step, 1.0)
            elif hidden:
                # Differences of deviances are rounding by now: steps count as long as they make the gradient smaller.
                converged = step.decrement <= _ACCEPTED
                break
            else:
                now = self._valued(fixed, model, now)
                moved = self._along(L, fixed, model, now, step, tries=25 if own else 1)
                if moved is None and own:
                    converged = step.decrement <= _ACCEPTED
                    break
                if moved is None:
                    system, last = None, np.inf
                    continue
                now = moved
            last = step.decrement
        modes = self._found(L, fixed, model, now, working, system.e if own and system is not None else None)
        if converged:
            self._start, self._gamma, self._at = now.u, now.gamma, L
            if modes.working.observed is modes.working.fisher and modes.elimination.ok:
                self._near, self._near_at = PenalizedSystem(modes.elimination), modes.eta
            else:
                self._near, self._near_at = system, None
        return replace(modes, iterations=steps, converged=converged)

    def _slow(self, decrement: float, last: float) -> bool:
        """Whether steps with a matrix from elsewhere lead nowhere, or there too slowly."""
        if not 0.0 <= decrement < last:
            return True
        if decrement <= self._tol or last == np.inf:
            return False
        return bool(np.log(self._tol / decrement) < _PATIENCE * np.log(decrement / last))

    def _newton(
        self, L: Sequence[FloatArray], working: Working, gradient: Sequence[FloatArray]
    ) -> tuple[PenalizedSystem, _Step]:
        """The matrix at these linear predictors with its step: Newton's where that leads downhill, else Fisher's."""
        system = PenalizedSystem(self.eliminate(L, working.observed))
        step = _step(system, gradient)
        if working.observed is not working.fisher and not (system.e.ok and step.decrement >= 0.0):
            system = PenalizedSystem(self.eliminate(L, working.fisher))
            step = _step(system, gradient)
        return system, step

    def _found(
        self,
        L: list[FloatArray],
        fixed: FloatArray,
        model: WorkingModel,
        now: _State,
        working: Working,
        e: Elimination | None,
    ) -> Modes:
        """Modes with the elimination at them; ``e`` is one by the observed information, if there is one."""
        now = self._valued(fixed, model, now)
        working = model.weighing(working)
        if e is None or working.observed is not working.fisher or not e.ok:
            e = self.eliminate(L, working.fisher)
        return Modes(L, now.u, fixed + now.known, working, e, now.conditional, 0, False, model, now.gamma)

    def _begin(
        self, L: Sequence[FloatArray], turn: Sequence[FloatArray] | None, fixed: FloatArray, model: WorkingModel
    ) -> _State:
        """Where the last search ended; if that is hopeless here, zero, or the best fit to the response itself."""
        last = self._start if turn is None else [u @ T.T for u, T in zip(self._start, turn, strict=True)]
        for u in (last, [np.zeros_like(x) for x in last]):
            start = self._valued(fixed, model, self._state(L, u, self._gamma))
            if start.value < _HOPELESS:
                return start
        eta = model.start_eta
        weights = model.at(eta).fisher
        v = weights * (eta - fixed)
        right = [x @ L_i for x, L_i in zip(self.transposed(v), L, strict=True)]
        u, gamma = PenalizedSystem(self.eliminate(L, weights)).solve(right, self.X.T @ v)
        return self._valued(fixed, model, self._state(L, u, gamma))

    def _state(self, L: Sequence[FloatArray], u: list[FloatArray], gamma: FloatArray, value: float = np.nan) -> _State:
        """A point whose deviance is not known yet, but was ``value`` near by."""
        known = self.random_part([x @ L_i.T for x, L_i in zip(u, L, strict=True)])
        if gamma.size:
            known = known + self.X @ gamma
        return _State(u, gamma, known, np.nan, value)

    def _valued(self, fixed: FloatArray, model: WorkingModel, state: _State) -> _State:
        """The same point with its deviance."""
        if not np.isnan(state.conditional):
            return state
        conditional = model.minus_two_loglik(fixed + state.known)
        return state._replace(conditional=conditional, value=conditional + sum(float(np.vdot(x, x)) for x in state.u))

    def _moved(self, L: Sequence[FloatArray], now: _State, step: _Step, fraction: float) -> _State:
        u = [x + fraction * d for x, d in zip(now.u, step.u, strict=True)]
        return self._state(L, u, now.gamma + fraction * step.gamma, now.value)

    def _along(
        self, L: Sequence[FloatArray], fixed: FloatArray, model: WorkingModel, now: _State, step: _Step, *, tries: int
    ) -> _State | None:
        """The first point of a halved step that is not higher; None if there is none."""
        fraction = 1.0
        for _ in range(tries):
            trial = self._valued(fixed, model, self._moved(L, now, step, fraction))
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


class _Step(NamedTuple):
    """A step in u and gamma, and its decrement."""

    u: list[FloatArray]
    gamma: FloatArray
    decrement: float


def _step(system: PenalizedSystem, gradient: Sequence[FloatArray], turn: Sequence[FloatArray] | None = None) -> _Step:
    """Step by a matrix, and its decrement; with ``turn``, by the matrix of the same modes b in other units of u."""
    right = gradient[:-1] if turn is None else [g @ T for g, T in zip(gradient[:-1], turn, strict=True)]
    u, gamma = system.solve(right, gradient[-1])
    if turn is not None:
        u = [x @ T.T for x, T in zip(u, turn, strict=True)]
    return _Step(u, gamma, sum(float(np.vdot(g, d)) for g, d in zip(gradient, [*u, gamma], strict=True)))


def _turns(old: Sequence[FloatArray] | None, new: Sequence[FloatArray]) -> list[FloatArray] | None:
    """Matrices L_new^-1 L_old of each block, by which u keeps b as it is; None where they change u beyond measure."""
    if old is None or any(np.abs(np.diagonal(L)).min() < _SINGULAR for L in new):
        return None
    turns = [np.asarray(np.linalg.solve(L, K) if L.shape[0] > 1 else K / L) for K, L in zip(old, new, strict=True)]
    # A direction that the old factor does not know would never be stepped in.
    within = (np.abs(T).max() < _GROWTH and np.abs(np.diagonal(T)).min() > 1.0 / _GROWTH for T in turns)
    return turns if all(within) else None
