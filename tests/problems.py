"""Random mixed-model problems as plain arrays, and slow dense formulas that share nothing with the library.

The oracle works with the n x n marginal covariance; it is meant for a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from interlace.core.covariance import count_theta, entries
from interlace.core.crossproducts import CrossProducts, Rows
from interlace.core.structure import LeadingStorage, Structure, analyze
from interlace.core.terms import Term, gather_blocks, split_theta

Array = NDArray[np.float64]
KINDS = ("one", "slopes", "split", "nested", "nested3", "crossed", "crossed-slopes", "mixed")
#: Shapes of tiny problems: one slope, two, and one beside intercepts of a crossed factor.
TINY = ("tiny", "tiny-wide", "tiny-crossed")


@dataclass(frozen=True)
class Problem:
    """Terms, fixed-effects columns and response of one problem."""

    kind: str
    terms: tuple[Term, ...]
    X: Array
    y: Array

    @property
    def n_theta(self) -> int:
        return sum(count_theta(t.k, t.structure) for t in self.terms)

    def cross_products(self, *, sparse: bool = False) -> CrossProducts:
        """Cross-products of all rows, with dense or sparse storage."""
        structure, rows = self.layout(sparse=sparse)
        return CrossProducts.from_rows(structure, rows)

    def layout(self, *, sparse: bool = False) -> tuple[Structure, Rows]:
        blocks, codes, Z = gather_blocks(self.terms)
        structure, order = analyze(blocks, codes, self.X.shape[1], self.n_theta)
        if sparse:
            order = list(range(len(blocks)))
            structure = Structure(tuple(blocks), 1, {}, self.X.shape[1], self.n_theta, LeadingStorage(sparse=True))
        rows = Rows([codes[i] for i in order], [Z[i] for i in order], np.column_stack([self.X, self.y]))
        return structure, rows


def term(group: str, labels: NDArray[np.int64], Z: Array, structure: str = "unstructured") -> Term:
    levels, codes = np.unique(labels, return_inverse=True)
    return Term(group, codes.astype(np.int64), np.ascontiguousarray(Z), levels.size, structure)  # type: ignore[arg-type]


def random_problem(rng: np.random.Generator, kind: str, n: int = 72) -> Problem:
    """A problem of one of :data:`KINDS`, unbalanced about half of the time, with variances that are often near zero."""
    x = rng.normal(size=n)
    one = np.ones((n, 1))
    slope = np.column_stack([np.ones(n), x])
    wide = np.column_stack([np.ones(n), x, rng.normal(size=n)])
    q = int(rng.integers(6, 13))
    g = rng.integers(0, q, n) if rng.random() < 0.5 else np.arange(n) % q
    h = rng.integers(0, 5, n)
    terms = {
        "one": lambda: [term("g", g, one)],
        "slopes": lambda: [term("g", g, wide[:, : int(rng.integers(2, 4))])],
        "split": lambda: [term("g", g, slope), term("g", g, wide[:, 2:], "diagonal")],
        "nested": lambda: [term("g", g, slope), term("f", g // 3, one)],
        "nested3": lambda: [term("g", g, slope), term("f", g // 2, slope, "diagonal"), term("e", g // 4, one)],
        "crossed": lambda: [term("g", g, one), term("h", h, one)],
        "crossed-slopes": lambda: [term("g", g, slope), term("h", h, slope)],
        "mixed": lambda: [
            term("g", g, slope),
            term("f", g // 3, one),
            term("h", h, slope),
            term("k", (h + g) % 3, one),
        ],
    }[kind]()
    X = slope if rng.random() < 0.7 else np.column_stack([slope, rng.normal(size=n)])
    y = X @ rng.normal(size=X.shape[1]) + rng.normal(size=n)
    for t in terms:
        size = float(rng.choice([0.0, 0.1, 0.5, 1.0, 3.0]))
        b = size * rng.normal(size=(t.n_levels, t.k)) @ rng.normal(size=(t.k, t.k))
        y = y + (t.Z * b[t.codes]).sum(axis=1)
    return Problem(kind, tuple(terms), X, y)


def tiny_problem(rng: np.random.Generator, kind: str) -> Problem:
    """A problem of one of :data:`TINY`: 10 to 45 rows in 3 to 8 groups, with slopes, variances often zero."""
    k = 3 if kind == "tiny-wide" else 2
    q = int(rng.integers(3, 9))
    least = max(10, k * q + 1)
    n = int(rng.integers(least, max(least + 1, 46)))
    g = np.arange(n) % q if rng.random() < 0.5 else np.concatenate([np.arange(q), rng.integers(0, q, n - q)])
    Z = np.column_stack([np.ones(n), rng.normal(size=n) + float(rng.choice([0.0, 1.0])), rng.normal(size=n)])[:, :k]
    X = Z[:, :2]
    sd = rng.choice([0.0, 0.3, 1.0, 2.0], k)
    y = X @ rng.normal(size=2) + (Z * (sd * rng.normal(size=(q, k)))[g]).sum(axis=1) + rng.normal(size=n)
    terms = [term("g", g, Z)]
    if kind == "tiny-crossed":
        h = rng.integers(0, 3, n)
        y += float(rng.choice([0.0, 1.0])) * rng.normal(size=3)[h]
        terms.append(term("h", h, np.ones((n, 1))))
    return Problem(kind, tuple(terms), X, y)


@dataclass(frozen=True)
class Dense:
    """What the marginal covariance V = I + sum Z Psi Z' gives; variances relative to sigma^2."""

    deviance: float
    beta: Array
    beta_cov: Array
    sigma: float
    modes: tuple[Array, ...]
    condvar: tuple[Array, ...]


def dense_fit(problem: Problem, factors: Sequence[Array], *, reml: bool) -> Dense:
    """Deviance, beta, modes and conditional variances at given factors L, from n x n matrices."""
    n, p = problem.X.shape
    Zs = [_indicator(t) for t in problem.terms]
    V = np.eye(n)
    psis = []
    for Z, t, L in zip(Zs, problem.terms, factors, strict=True):
        psi = np.kron(np.eye(t.n_levels), L @ L.T)
        psis.append(psi)
        V += Z @ psi @ Z.T
    inverse = np.linalg.inv(V)
    information = problem.X.T @ inverse @ problem.X
    beta = np.linalg.solve(information, problem.X.T @ inverse @ problem.y)
    residual = problem.y - problem.X @ beta
    N = n - p if reml else n
    r2 = float(residual @ inverse @ residual)
    deviance = np.linalg.slogdet(V)[1] + N * (1.0 + np.log(2.0 * np.pi * r2 / N))
    if reml:
        deviance += np.linalg.slogdet(information)[1]
    sigma2 = r2 / N
    Z_all = np.concatenate(Zs, axis=1)
    psi_all = np.zeros((Z_all.shape[1], Z_all.shape[1]))
    start = 0
    for psi in psis:
        psi_all[start : start + len(psi), start : start + len(psi)] = psi
        start += len(psi)
    b = psi_all @ Z_all.T @ inverse @ residual
    cov = sigma2 * (psi_all - psi_all @ Z_all.T @ inverse @ Z_all @ psi_all)
    modes, condvar, start = [], [], 0
    for t in problem.terms:
        stop = start + t.n_levels * t.k
        modes.append(b[start:stop].reshape(t.n_levels, t.k))
        level = np.arange(t.n_levels)
        condvar.append(cov[start:stop, start:stop].reshape(t.n_levels, t.k, t.n_levels, t.k)[level, :, level, :])
        start = stop
    return Dense(
        float(deviance), beta, sigma2 * np.linalg.inv(information), float(np.sqrt(sigma2)), tuple(modes), tuple(condvar)
    )


def joint_covariance(problem: Problem, factors: Sequence[Array]) -> Array:
    """Covariance of (b_hat - b, beta_hat) relative to sigma^2, from the dense mixed-model equations' marginal form."""
    Z = np.concatenate([_indicator(t) for t in problem.terms], axis=1)
    psi = np.zeros((Z.shape[1], Z.shape[1]))
    start = 0
    for t, L in zip(problem.terms, factors, strict=True):
        block = np.kron(np.eye(t.n_levels), L @ L.T)
        psi[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    V = np.eye(len(problem.y)) + Z @ psi @ Z.T
    inverse = np.linalg.inv(V)
    cov_beta = np.linalg.inv(problem.X.T @ inverse @ problem.X)
    B = cov_beta @ problem.X.T @ inverse
    K = psi @ Z.T @ inverse
    # b_hat = K (y - X beta_hat); errors are linear in (b, e) with covariances psi and I.
    on_b, on_e = K @ (Z - problem.X @ B @ Z) - np.eye(Z.shape[1]), K @ (np.eye(len(V)) - problem.X @ B)
    error_b = np.concatenate([on_b, B @ Z])
    error_e = np.concatenate([on_e, B])
    return error_b @ psi @ error_b.T + error_e @ error_e.T


def _indicator(t: Term) -> Array:
    Z = np.zeros((t.codes.size, t.n_levels * t.k))
    for a in range(t.k):
        Z[np.arange(t.codes.size), t.codes * t.k + a] = t.Z[:, a]
    return Z


def random_theta(rng: np.random.Generator, problem: Problem, size: float = 1.0) -> Array:
    """Parameters of regular factors: positive diagonals, any signs elsewhere."""
    parts = []
    for t in problem.terms:
        rows, cols = entries(t.k, t.structure)
        values = size * rng.normal(size=rows.size)
        parts.append(np.where(rows == cols, 0.3 * size + np.abs(values), values))
    return np.concatenate(parts)


def factors_of(problem: Problem, theta: Array) -> list[Array]:
    """Factor L of each term at theta."""
    return split_theta([(t.k, t.structure) for t in problem.terms], theta)


def marginal(problem: Problem, factors: Sequence[Array]) -> Array:
    """V = I + sum of Z Psi Z', shape (n, n)."""
    V = np.eye(problem.y.size)
    for t, L in zip(problem.terms, factors, strict=True):
        V += (t.Z @ L @ L.T @ t.Z.T) * (t.codes[:, None] == t.codes)
    return V


def dense_value(problem: Problem, V: Array, *, reml: bool) -> float:
    """Profiled deviance or REML criterion at any covariance V (relative to sigma^2)."""
    n, p = problem.X.shape
    N = n - p if reml else n
    inverse = np.linalg.inv(V)
    information = problem.X.T @ inverse @ problem.X
    residual = problem.y - problem.X @ np.linalg.solve(information, problem.X.T @ inverse @ problem.y)
    value = np.linalg.slogdet(V)[1] + N * (1.0 + np.log(2.0 * np.pi * float(residual @ inverse @ residual) / N))
    return float(value + np.linalg.slogdet(information)[1]) if reml else float(value)


def frame_of(problem: Problem) -> tuple[str, pd.DataFrame]:
    """Formula and data frame of a problem; the columns of its terms must be 1 and covariates."""
    data: dict[str, Array | NDArray[np.int64]] = {"y": problem.y}
    fixed = ["1"]
    for j in range(1, problem.X.shape[1]):
        data[f"x{j}"] = problem.X[:, j]
        fixed.append(f"x{j}")
    bars = []
    for i, t in enumerate(problem.terms):
        data[t.group] = t.codes
        names = []
        for a in range(t.k):
            if (t.Z[:, a] == 1.0).all():
                names.append("1")
            else:
                data[f"z{i}{a}"] = t.Z[:, a]
                names.append(f"z{i}{a}")
        names = names if names[0] == "1" else ["0", *names]
        bar = f"({' + '.join(names)} | {t.group})"
        bars.append(f"diag{bar}" if t.structure == "diagonal" and t.k > 1 else bar)
    return f"y ~ {' + '.join(fixed)} + {' + '.join(bars)}", pd.DataFrame(data)
