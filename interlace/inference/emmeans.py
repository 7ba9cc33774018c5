"""Estimated marginal means and contrasts among them, as linear functions of the fixed effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from interlace.inference import wald
from interlace.inference.contrasts import CoefficientTests
from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = [
    "ContrastMethod",
    "ContrastSet",
    "FunctionSpace",
    "LinearEstimates",
    "average_rows",
    "contrast_set",
    "function_space",
]

#: Methods by name, or weights.
ContrastMethod: TypeAlias = str | Mapping[str, ArrayLike] | ArrayLike

_METHODS = ("pairwise", "revpairwise", "trt.vs.ctrl", "consec", "eff", "poly")
_DEGREES = ("linear", "quadratic", "cubic", "quartic", "degree 5", "degree 6")
#: Distance from what the data determine, in units of the largest entry of the column, that counts as none.
_ESTIMABLE = 1e-8


@dataclass(frozen=True, eq=False)
class LinearEstimates:
    """Estimates of m linear functions of the fixed effects.

    Attributes
    ----------
    L : ndarray, shape (m, P)
        Weights of all columns of X, linearly dependent ones included.
    offset : ndarray, shape (m,)
        What is added.
    estimate, se, df, statistic, p_value : ndarray, shape (m,)
        NaN where the data do not determine the function.
    cov : ndarray, shape (m, m)
    """

    L: FloatArray
    offset: FloatArray
    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    statistic: FloatArray
    p_value: FloatArray
    cov: FloatArray

    @property
    def estimable(self) -> BoolArray:
        """Whether the data determine each function, shape (m,)."""
        return ~np.isnan(self.estimate)

    @property
    def correlation(self) -> FloatArray:
        """Correlations of the estimates, shape (m, m)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.clip(self.cov / np.outer(self.se, self.se), -1.0, 1.0)
        np.fill_diagonal(found, 1.0)
        return np.asarray(found)


@dataclass(frozen=True, eq=False)
class FunctionSpace:
    """Which linear functions of the columns of X the data determine, and what tests of these need.

    Attributes
    ----------
    tests : CoefficientTests
        Of the p coefficients in the fit.
    kept, dropped : ndarray of int64, shapes (p,) and (P - p,)
        Columns in the fit, and those that they determine.
    dependence : ndarray, shape (p, P - p)
        The dropped columns as combinations of the kept ones.
    size : ndarray, shape (P - p,)
        Largest entry of each dropped column.
    """

    tests: CoefficientTests
    kept: IntArray
    dropped: IntArray
    dependence: FloatArray
    size: FloatArray

    def estimates(self, L: FloatArray, offset: FloatArray | None = None) -> LinearEstimates:
        """Estimate linear functions.

        Parameters
        ----------
        L : ndarray, shape (m, P)
        offset : ndarray, shape (m,), optional

        Returns
        -------
        LinearEstimates

        Notes
        -----
        A function l'b of all columns can be estimated if every solution of the normal equations gives it the same
        value, that is, if l lies in the row space of X (Searle, 1971, *Linear Models*, section 5.4): its weights of the
        dropped columns are those of the kept ones times ``dependence``.
        """
        offset = np.zeros(len(L)) if offset is None else offset
        kept = L[:, self.kept]
        away = np.abs(L[:, self.dropped] - kept @ self.dependence)
        lost = (away > _ESTIMABLE * self.size).any(axis=1)
        found = self.tests.single(kept)
        estimate = found.estimate + offset
        cov = np.asarray(kept @ self.tests.cov @ kept.T)
        statistic = wald.statistics(estimate, found.se)
        columns = [estimate, found.se, found.df, statistic, wald.p_values(statistic, found.df)]
        estimate, se, df, statistic, p_value = (np.where(lost, np.nan, column) for column in columns)
        cov[lost], cov[:, lost] = np.nan, np.nan
        return LinearEstimates(L, offset, estimate, se, df, statistic, p_value, cov)


def function_space(X: FloatArray, kept: IntArray, tests: CoefficientTests) -> FunctionSpace:
    """Find out which linear functions can be estimated.

    Parameters
    ----------
    X : ndarray, shape (n, P)
    kept : ndarray of int64, shape (p,)
        Columns in the fit; they determine the others.
    tests : CoefficientTests

    Examples
    --------
    >>> import numpy as np
    >>> tests = CoefficientTests("normal", np.array([1.0]), np.eye(1), np.inf)
    >>> X = np.array([[1.0, 2.0], [1.0, 2.0]])
    >>> function_space(X, np.array([0]), tests).estimates(np.array([[1.0, 2.0], [1.0, 0.0]])).estimate
    array([ 1., nan])
    """
    dropped = np.setdiff1d(np.arange(X.shape[1]), kept)
    dependence = np.zeros((kept.size, dropped.size))
    if dropped.size and kept.size:
        dependence[:] = np.linalg.lstsq(X[:, kept], X[:, dropped], rcond=None)[0]
    return FunctionSpace(tests, kept, dropped, dependence, np.abs(X[:, dropped]).max(axis=0, initial=1e-300))


def average_rows(
    X: FloatArray, sizes: Sequence[int], targets: Sequence[int], weights: FloatArray | None = None
) -> tuple[IntArray, FloatArray]:
    """Average the points of a grid over the variables that are not asked for.

    Parameters
    ----------
    X : ndarray, shape (g, P)
        One row a point, the last variable changing fastest.
    sizes : sequence of int, length k
        Numbers of values of the variables.
    targets : sequence of int
        Positions of the t variables asked for.
    weights : ndarray, shape of the sizes, optional
        Of the points; equal by default. A mean of points without weight is left out.

    Returns
    -------
    ndarray of int64, shape (m, t)
        Values of each mean, the first target changing fastest.
    ndarray, shape (m, P)

    Examples
    --------
    >>> import numpy as np
    >>> average_rows(np.array([[1.0], [2.0], [3.0], [5.0]]), (2, 2), [0])[1].ravel()
    array([1.5, 4. ])
    """
    others = [i for i in range(len(sizes)) if i not in targets]
    grid = X.reshape(*sizes, X.shape[1])
    order = [*reversed(targets), *others, len(sizes)]
    cells = np.transpose(grid, order).reshape(*(sizes[i] for i in reversed(targets)), -1, X.shape[1])
    shares = np.ones(sizes) if weights is None else weights
    shares = np.transpose(shares, order[:-1]).reshape(cells.shape[:-1])
    total = shares.sum(axis=-1)
    there = total > 0.0
    means = np.einsum("...wp,...w->...p", cells, shares / np.where(there, total, 1.0)[..., None])
    codes = np.stack(np.nonzero(there)[::-1], axis=-1) if targets else np.zeros((1, 0), dtype=np.int64)
    return codes.astype(np.int64), np.atleast_2d(means[there])


@dataclass(frozen=True, eq=False)
class ContrastSet:
    """Contrasts of k means.

    Attributes
    ----------
    names : tuple of str, length c
    weights : ndarray, shape (c, k)
    adjust : str
        Adjustment for multiplicity that suits them.
    pairwise : bool
        Whether they are all pairs.
    """

    names: tuple[str, ...]
    weights: FloatArray
    adjust: str
    pairwise: bool = False


def contrast_set(method: ContrastMethod, labels: Sequence[str], sign: str = "-") -> ContrastSet:
    """Make weights and names of contrasts.

    Parameters
    ----------
    method : {"pairwise", "revpairwise", "trt.vs.ctrl", "consec", "eff", "poly"}, mapping, or array-like
        All differences of an earlier and a later mean, or the other way around; of each one and the first; of each one
        and the one before it; of each one and their average; orthogonal polynomials in equal steps, as whole numbers.
        Or k weights by name, or an array of shape (c, k) or (k,).
    labels : sequence of str, length k
    sign : str
        Between the names of two means: ``"-"``, or ``"/"`` for ratios.

    Returns
    -------
    ContrastSet

    Raises
    ------
    ValueError
        There is no such method, or weights do not fit.

    Examples
    --------
    >>> found = contrast_set("poly", ["low", "middle", "high"])
    >>> found.names, found.weights.tolist()
    (('linear', 'quadratic'), [[-1.0, 0.0, 1.0], [1.0, -2.0, 1.0]])
    """
    k = len(labels)
    if not isinstance(method, str):
        return _given_weights(method, k)
    if method not in _METHODS:
        raise ValueError(f"method must be one of {', '.join(_METHODS)}, or weights; not {method!r}")
    unit = np.eye(k)
    if method == "eff":
        return ContrastSet(tuple(f"{label} effect" for label in labels), unit - 1.0 / k, "fdr")
    if method == "poly":
        weights = _polynomials(k)
        return ContrastSet(_DEGREES[: len(weights)], weights, "none")
    pairs = {
        "pairwise": [(i, j) for i in range(k) for j in range(i + 1, k)],
        "revpairwise": [(j, i) for j in range(k) for i in range(j)],
        "trt.vs.ctrl": [(i, 0) for i in range(1, k)],
        "consec": [(i, i - 1) for i in range(1, k)],
    }[method]
    weights = np.array([unit[i] - unit[j] for i, j in pairs]).reshape(len(pairs), k)
    of_all = method.endswith("pairwise")
    names = tuple(f"{_apart(labels[i])} {sign} {_apart(labels[j])}" for i, j in pairs)
    return ContrastSet(names, weights, "tukey" if of_all else "mvt", of_all)


def _apart(label: str) -> str:
    """Put a label with operators into parentheses."""
    return f"({label})" if any(sign in label for sign in "-+*/") else label


def _given_weights(method: Any, k: int) -> ContrastSet:
    named = isinstance(method, Mapping)
    try:
        given = list(method.values()) if named else np.atleast_2d(np.asarray(method, dtype=np.float64))
        weights = np.array([np.asarray(row, dtype=np.float64) for row in given])
    except (TypeError, ValueError):
        weights = np.empty(0)
    if weights.ndim != 2 or weights.shape[1] != k or not np.isfinite(weights).all():
        raise ValueError(
            f"each contrast must have {k} finite weights, one for each mean (of a by-group), in their order"
        )
    names = tuple(map(str, method)) if named else tuple(f"C{i + 1}" for i in range(len(weights)))
    return ContrastSet(names, weights, "none")


def _polynomials(k: int) -> FloatArray:
    """Orthogonal polynomials at 1, ..., k of degrees up to 6, scaled to whole numbers without a common factor."""
    found: list[list[Fraction]] = [[Fraction(1)] * k]
    for degree in range(1, min(k - 1, len(_DEGREES)) + 1):
        row = [Fraction(x) ** degree for x in range(1, k + 1)]
        for other in found:
            slope = _product(row, other) / _product(other, other)
            row = [a - slope * b for a, b in zip(row, other, strict=True)]
        found.append(row)
    out = []
    for row in found[1:]:
        scale = lcm(*(value.denominator for value in row))
        whole = [int(value * scale) for value in row]
        out.append([value // gcd(*whole) for value in whole])
    return np.array(out, dtype=np.float64).reshape(len(out), k)


def _product(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))
