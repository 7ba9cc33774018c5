"""Judge between exact and numerical derivatives: differences of sixth order, in extended precision.

R's packages differentiate the deviance numerically; interlace has closed forms. Where the two differ, this module says
which is nearer to the truth. It shares no formula with either side: the deviance comes from one dense Cholesky factor
of the cross-products, in 64 bits of precision instead of 53 where the machine has them (x86).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["STEP", "curvature", "generalized_errors", "satterthwaite_df"]

Extended = NDArray[np.longdouble]
#: Weights of sixth-order central differences at 1, 2 and 3 steps: of the first derivative, and of the second.
_FIRST = np.array([45.0, -9.0, 1.0], dtype=np.longdouble) / np.longdouble(60.0)
_SECOND = np.array([270.0, -27.0, 2.0], dtype=np.longdouble) / np.longdouble(180.0)
#: Step in units of the parameter; what differences leave out is of the order of its sixth power.
STEP = 3e-3
#: Newton decrement, squared, at which modes are found, and the most steps towards them.
_AT_MODE, _MOST_STEPS = 1e-30, 60


def satterthwaite_df(result: Any, theta: ArrayLike | None = None, step: float = STEP) -> NDArray[np.float64]:
    """Satterthwaite's degrees of freedom of each coefficient, by their definition.

    Parameters
    ----------
    result : LMMResult
        Whose data and model to use; not singular.
    theta : array_like, shape (k,), optional
        Where to differentiate; at the estimate by default. Sigma is the best one for this theta.
    step : float
        Of the differences, in units of the standard deviation of the random effect.

    Returns
    -------
    ndarray, shape (p,)
        ``2 v^2 / (g'Ag)``: v the variance of a coefficient, g its gradient in (theta, sigma), A twice the inverse of
        the second derivatives of the deviance or REML criterion by these.

    Examples
    --------
    With balanced groups they are those of the analysis of variance.

    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> satterthwaite_df(result).round(9)
    array([5.])
    """
    model = _Linear.of(result)
    center = np.asarray(result.theta if theta is None else theta, dtype=np.longdouble)
    p, N = model.p, model.N
    value = model(center)
    sigma2 = value[1] / N
    # Of (log-determinant, r2, Phi): all that the criterion and cov(beta) are made of.
    first, second = curvature(model, center, step * _units(model.terms, center))
    k = center.size
    sigma = np.sqrt(sigma2)
    H = np.empty((k + 1, k + 1), dtype=np.longdouble)
    H[:k, :k] = second[:, :, 0] + second[:, :, 1] / sigma2
    H[:k, k] = H[k, :k] = -2.0 * first[:, 1] / sigma**3
    H[k, k] = 6.0 * value[1] / sigma2**2 - 2.0 * N / sigma2
    variance = sigma2 * value[2:].reshape(p, p).diagonal()
    slopes = np.vstack([sigma2 * first[:, 2:].reshape(k, p, p).diagonal(axis1=1, axis2=2), 2.0 * variance / sigma])
    size = np.sqrt(np.abs(H.diagonal()))
    scaled = np.asarray(slopes / size[:, None], dtype=float)
    A = 2.0 * np.linalg.inv(np.asarray(H / np.outer(size, size), dtype=float))
    return np.asarray(2.0 * variance**2 / np.einsum("sj,st,tj->j", scaled, A, scaled), dtype=float)


def curvature(
    function: Callable[[Extended], Extended], center: Extended, steps: ArrayLike
) -> tuple[Extended, Extended]:
    """First and second derivatives of a vector of m functions.

    Parameters
    ----------
    function : callable
        From shape (k,) to shape (m,).
    center : ndarray of longdouble, shape (k,)
    steps : array_like, shape (k,)

    Returns
    -------
    first : ndarray, shape (k, m)
    second : ndarray, shape (k, k, m)
        Mixed ones from those along the two diagonals of each pair.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([1.0, 2.0], dtype=np.longdouble)
    >>> first, second = curvature(lambda x: np.array([x[0] ** 3 * x[1]]), x, [0.01, 0.01])
    >>> first[:, 0].astype(float).round(9), second[:, :, 0].astype(float).round(9).tolist()
    (array([6., 1.]), [[12.0, 3.0], [3.0, 0.0]])
    """
    h = np.asarray(steps, dtype=np.longdouble)
    k, middle = center.size, function(center)

    def along(direction: Extended) -> tuple[Extended, Extended]:
        slope, bend = np.zeros_like(middle), np.zeros_like(middle)
        for count in (1, 2, 3):
            plus, minus = function(center + count * direction), function(center - count * direction)
            slope += _FIRST[count - 1] * (plus - minus)
            bend += _SECOND[count - 1] * (plus + minus - 2.0 * middle)
        return slope, bend

    first = np.empty((k, middle.size), dtype=np.longdouble)
    second = np.empty((k, k, middle.size), dtype=np.longdouble)
    for s, axis in enumerate(np.diag(h)):
        slope, bend = along(axis)
        first[s], second[s, s] = slope / h[s], bend / h[s] ** 2
        for t, other in enumerate(np.diag(h)[:s]):
            mixed = (along(axis + other)[1] - along(axis - other)[1]) / (4.0 * h[s] * h[t])
            second[s, t] = second[t, s] = mixed
    return first, second


def _units(terms: Any, theta: Extended) -> Extended:
    """Relative standard deviation of the random effect in whose row of the factor each theta stands, shape (k,)."""
    units = []
    for L in _factors(terms, theta):
        norms = np.sqrt((L * L).sum(axis=1))
        units += [norms[row] for column in range(len(L)) for row in range(column, len(L))]
    return np.array(units, dtype=np.longdouble)


def generalized_errors(result: Any, step: float = STEP) -> NDArray[np.float64]:
    """Standard errors of the coefficients of a generalized model from the curvature in (theta, beta).

    Parameters
    ----------
    result : GLMMResult
        Binomial with a logit link or Poisson with a log link, by Laplace's approximation; not singular.
    step : float
        As for `satterthwaite_df`; of coefficients in standard errors.

    Returns
    -------
    ndarray, shape (p,)
        Roots of the diagonal of twice the inverse of the second derivatives of the deviance, its part of beta.

    Examples
    --------
    >>> import interlace
    >>> cbpp = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period + (1 | herd)", cbpp, "binomial", weights="size")
    >>> bool(abs(generalized_errors(result) / result.fe_bse - 1).max() < 1e-7)
    True
    """
    deviance = _Laplace.of(result)
    center = np.concatenate([result.theta, result.state.beta]).astype(np.longdouble)
    k = result.theta.size
    units = np.concatenate([_units(deviance.terms, center[:k]), result.fe_bse.to_numpy()])
    _, second = curvature(deviance, center, step * units)
    H = np.asarray(second[:, :, 0] * np.outer(units, units), dtype=float)
    return np.asarray(np.sqrt(2.0 * np.linalg.inv(H).diagonal()[k:]) * units[k:], dtype=float)


@dataclass(frozen=True)
class _Linear:
    """Cross-products of ``[Z | X | y]``, weighted, of a linear mixed model.

    Attributes
    ----------
    products : ndarray of longdouble, shape (q + p + 1, q + p + 1)
    terms : tuple of RandomTerm
    p : int
    N : int
        Rows, less p for REML.
    reml : bool
    """

    products: Extended
    terms: Any
    p: int
    N: int
    reml: bool

    @classmethod
    def of(cls, result: Any) -> _Linear:
        state, design = result.state, result.state.problem.design
        if any(term.structure != "unstructured" for term in design.terms):
            raise NotImplementedError("the oracle knows unstructured covariances only")
        X = design.X[:, state.kept]
        # The criterion depends on what X leaves of y; the rest of y would only cost digits.
        y = (design.y - state.fixed).astype(np.longdouble)
        rows = np.column_stack([_random_columns(design.terms), X, y])
        if design.weights is not None:
            rows *= np.sqrt(design.weights.astype(np.longdouble))[:, None]
        n, p = X.shape
        return cls(rows.T @ rows, design.terms, p, n - p if state.reml else n, state.reml)

    def __call__(self, theta: Extended) -> Extended:
        """Log-determinant, penalized sum of squares, and (X'V^-1 X)^-1 at sigma = 1, row by row."""
        p, size = self.p, len(self.products)
        q = size - p - 1
        T = np.eye(size, dtype=np.longdouble)
        T[:q, :q] = _relative_factor(self.terms, theta)
        A = T.T @ self.products @ T
        A[:q, :q] += np.eye(q, dtype=np.longdouble)
        root = _cholesky(A)
        pivots = root.diagonal()
        inverse = _solve_lower(root[q:-1, q:-1], np.eye(p, dtype=np.longdouble))
        logdet = 2.0 * np.log(pivots[: q + p if self.reml else q]).sum()
        return np.concatenate([[logdet, pivots[-1] ** 2], (inverse.T @ inverse).ravel()])


@dataclass
class _Laplace:
    """Laplace's approximation of -2 log(likelihood) as a function of (theta, beta), without its constant.

    Attributes
    ----------
    Z, X : ndarray of longdouble, shapes (n, q) and (n, p)
    y, weights, offset : ndarray of longdouble, shape (n,)
        Proportions and numbers of trials of a binomial model.
    terms : tuple of RandomTerm
    binomial : bool
    u : ndarray of longdouble, shape (q,)
        Where the last search for the modes ended and the next one starts.
    """

    Z: Extended
    X: Extended
    y: Extended
    weights: Extended
    offset: Extended
    terms: Any
    binomial: bool
    u: Extended

    @classmethod
    def of(cls, result: Any) -> _Laplace:
        state, design = result.state, result.state.problem.design
        name, link = state.model.family.name, state.model.link.name
        if (name, link) not in (("binomial", "logit"), ("poisson", "log")):
            raise NotImplementedError(f"the oracle does not know the family {name} with the link {link}")
        zero = np.zeros(design.y.size)
        Z, X = _random_columns(design.terms), design.X[:, state.kept]
        weights = zero + 1.0 if design.weights is None else design.weights
        offset = zero if design.offset is None else design.offset
        Zx, Xx, y, w, o = (part.astype(np.longdouble) for part in (Z, X, design.y, weights, offset))
        return cls(Zx, Xx, y, w, o, design.terms, name == "binomial", np.zeros_like(Zx[0]))

    def __call__(self, parameters: Extended) -> Extended:
        k = parameters.size - self.X.shape[1]
        fixed = self.X @ parameters[k:] + self.offset
        columns = self.Z @ _relative_factor(self.terms, parameters[:k])
        for _ in range(_MOST_STEPS):
            loglik, score, weight = self._density(fixed + columns @ self.u)
            root = _cholesky(columns.T @ (weight[:, None] * columns) + np.eye(self.u.size, dtype=np.longdouble))
            half = _solve_lower(root, columns.T @ score - self.u)
            if half @ half < _AT_MODE:
                break
            self.u = self.u + _solve_lower(root.T[::-1, ::-1], half[::-1])[::-1]
        value = self.u @ self.u - 2.0 * loglik + 2.0 * np.log(root.diagonal()).sum()
        return np.array([value], dtype=np.longdouble)

    def _density(self, eta: Extended) -> tuple[Any, Extended, Extended]:
        """Log density without its constant, its first derivatives by eta, and its second ones with a minus."""
        if self.binomial:
            mu = 1.0 / (1.0 + np.exp(-eta))
            normalizer, spread = np.log1p(np.exp(eta)), mu * (1.0 - mu)
        else:
            mu = normalizer = spread = np.exp(eta)
        loglik = (self.weights * (self.y * eta - normalizer)).sum()
        return loglik, self.weights * (self.y - mu), self.weights * spread


def _random_columns(terms: Any) -> NDArray[np.float64]:
    """Dense Z, the effects of a level side by side, shape (n, q)."""
    blocks = []
    for term in terms:
        n, k = term.Z.shape
        block = np.zeros((n, len(term.levels), k))
        block[np.arange(n), term.codes] = term.Z
        blocks.append(block.reshape(n, -1))
    return np.column_stack(blocks)


def _relative_factor(terms: Any, theta: Extended) -> Extended:
    """Lambda of all random effects in the order of `_random_columns`, shape (q, q)."""
    sizes = [len(term.levels) * term.Z.shape[1] for term in terms]
    whole = np.zeros((sum(sizes), sum(sizes)), dtype=np.longdouble)
    start = 0
    for term, L, size in zip(terms, _factors(terms, theta), sizes, strict=True):
        whole[start : start + size, start : start + size] = np.kron(np.eye(len(term.levels), dtype=np.longdouble), L)
        start += size
    return whole


def _factors(terms: Any, theta: Extended) -> list[Extended]:
    """Lower triangles that theta fills column by column."""
    factors, start = [], 0
    for term in terms:
        k = term.Z.shape[1]
        columns, rows = np.triu_indices(k)
        L = np.zeros((k, k), dtype=np.longdouble)
        L[rows, columns] = theta[start : start + rows.size]
        factors.append(L)
        start += rows.size
    return factors


def _cholesky(A: Extended) -> Extended:
    """Lower Cholesky factor; numpy's own has no extended precision."""
    L = np.zeros_like(A)
    for j in range(len(A)):
        column = A[j:, j] - L[j:, :j] @ L[j, :j]
        L[j:, j] = column / np.sqrt(column[0])
    return L


def _solve_lower(L: Extended, B: Extended) -> Extended:
    """Solve L X = B for a lower triangle L."""
    X = np.zeros_like(B)
    for i in range(len(L)):
        X[i] = (B[i] - L[i, :i] @ X[:i]) / L[i, i]
    return X
