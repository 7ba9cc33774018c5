"""How far predictions are from what they predict: variances given the variance parameters, and degrees of freedom.

The variance of a prediction is v = sigma^2 q(theta), that of x'beta_hat + z'(b_hat - b), plus sigma^2 for a new
observation. It is itself an estimate. Matching two moments of it to those of a multiple of a chi-square variable gives
2 v^2 / var(v) degrees of freedom, with var(v) = g'Cg by the delta method, g the derivatives of v by (theta, log sigma)
and C the covariance of their estimates. For v = var(x'beta_hat) these are the degrees of freedom of the test of x'beta.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.scaling import convert_theta
from interlace.estimate.derived import linear_predictor_variance
from interlace.estimate.state import FitState
from interlace.inference.contrasts import quadratic_forms
from interlace.inference.satterthwaite import satterthwaite
from interlace.prediction.distinct import distinct_rows

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.frames.design import NewRows
    from interlace.inference.contrasts import CoefficientTests
    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Predictors", "degrees_of_freedom", "predictors", "variances"]

#: From here on, equal rows are looked for before variances are computed.
_MANY_ROWS = 10_000
#: Step of differences by theta, covariates in standard units.
_STEP = 1e-4


@dataclass(frozen=True)
class Predictors:
    """What the variances of predictions for m rows depend on, d distinct combinations of it.

    Attributes
    ----------
    X : ndarray, shape (d, p)
        The kept fixed-effects columns.
    Z : tuple of ndarray, shapes (d, k_i), or None
        Covariates of the random effects in use; None for a term of which none is.
    codes : tuple of ndarray of int64, shapes (d,)
        Levels, -1 for one that the fit has not seen.
    place : ndarray of int64, shape (m,)
        Combination of each row; -1 where something is missing.
    """

    X: FloatArray
    Z: tuple[FloatArray | None, ...]
    codes: tuple[IntArray, ...]
    place: IntArray

    @property
    def fixed_only(self) -> bool:
        """Whether no random effects are in use."""
        return all(z is None for z in self.Z)

    def by_row(self, values: FloatArray) -> FloatArray:
        """Values of the combinations, shape (d,), for the rows, shape (m,); NaN where something is missing."""
        return np.append(values, np.nan)[self.place]


def predictors(state: State, rows: NewRows, columns: Sequence[BoolArray]) -> Predictors:
    """Find what has to be computed for some rows.

    Parameters
    ----------
    state : State
    rows : NewRows
    columns : sequence of ndarray of bool, shapes (k_i,)
        Random effects in use.

    Returns
    -------
    Predictors
    """
    at = np.flatnonzero(rows.valid)
    X = rows.X[:, state.kept]
    Z = [_masked(z, keep) for z, keep in zip(rows.Z, columns, strict=True)]
    place = np.full(len(rows.valid), -1, dtype=np.int64)
    place[at] = np.arange(len(at))
    if len(at) > _MANY_ROWS:
        parts = [*X.T]
        for z, codes in zip(Z, rows.codes, strict=True):
            parts += [] if z is None else [*z.T, codes]
        equal = distinct_rows((part[at] for part in parts), len(at))
        if equal is not None:
            place[at], at = equal[1], at[equal[0]]
    return Predictors(
        X[at], tuple(None if z is None else z[at] for z in Z), tuple(codes[at] for codes in rows.codes), place
    )


def variances(state: State, rows: Predictors, tests: CoefficientTests | None = None) -> FloatArray:
    """Variance of each linear predictor, shape (m,), given the variance parameters; NaN where something is missing.

    Parameters
    ----------
    state : State
    rows : Predictors
    tests : CoefficientTests, optional
        Whose covariance the fixed effects have where no random effects are in use; that of ``state`` by default. Both
        count the uncertainty of theta in a generalized model, which where modes of the fit enter does not.
    """
    if rows.fixed_only and tests is not None:
        return rows.by_row(quadratic_forms(rows.X, tests.cov))
    return rows.by_row(_variances(state, rows))


def _variances(state: State, rows: Predictors) -> FloatArray:
    """Variance for each combination, shape (d,)."""
    if rows.fixed_only:
        return quadratic_forms(rows.X, state.beta_cov)
    known = np.any([c >= 0 for c, z in zip(rows.codes, rows.Z, strict=True) if z is not None], axis=0)
    values = linear_predictor_variance(state, rows.X * known[:, None], rows.Z, rows.codes)
    if not known.all():
        values[~known] += quadratic_forms(rows.X[~known], state.beta_cov)
    return values


def degrees_of_freedom(
    state: State, rows: Predictors, tests: CoefficientTests, *, new_observation: bool = False
) -> FloatArray:
    """Degrees of freedom of the interval for each combination of ``rows``, shape (d,).

    Parameters
    ----------
    state : State
    rows : Predictors
    tests : CoefficientTests
        Of the method that finds them.
    new_observation : bool
        Whether the interval is one of a new observation, with the residual variance.

    Notes
    -----
    Kenward and Roger's are defined for functions of the fixed effects; where random effects or a residual enter,
    Satterthwaite's are used for that method too. A prediction without variance has infinity.

    Examples
    --------
    For an observation of a new group of a balanced design, from the mean squares between (5 degrees of freedom) and
    within groups (24) by the classical formula:

    >>> import interlace
    >>> from interlace.inference.degrees_of_freedom import coefficient_tests
    >>> from interlace.prediction.predict import chosen_effects, prediction_rows
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> chosen = chosen_effects(state)
    >>> rows = predictors(state, prediction_rows(state, {"Batch": ["new"]}, chosen), chosen)
    >>> degrees_of_freedom(state, rows, coefficient_tests(state, "satterthwaite"), new_observation=True).round(4)
    array([13.6545])
    >>> between, within = 11271.5 * (1 + 1 / 6) / 5, 2451.25 * (1 - 1 / 5)
    >>> round((between + within) ** 2 / (between**2 / 5 + within**2 / 24), 4)
    13.6545
    """
    if tests.method in ("residual", "normal") or not isinstance(state, FitState):
        return np.full(len(rows.X), tests.constant_df)
    if rows.fixed_only and not new_observation:
        df = tests.df(rows.X)
    else:
        df = _matched(state, rows, tests, state.sigma**2 if new_observation else 0.0)
    return np.where(np.isnan(df), np.inf, df)


def _matched(state: FitState, rows: Predictors, tests: CoefficientTests, residual: float) -> FloatArray:
    """2 v^2 / var(v) for each combination, shape (d,), by central differences in theta."""
    found = tests.sensitivity if tests.method == "satterthwaite" else None
    sensitivity = satterthwaite(state) if found is None else found
    v = _variances(state, rows) + residual
    slopes = np.empty((len(v), state.opt.x.size + 1))
    slopes[:, -1] = 2.0 * v  # everything is proportional to sigma^2
    for s, (value, by_theta) in enumerate(zip(state.opt.x, sensitivity.derivatives[:-1], strict=True)):
        h = _STEP * max(0.1, abs(float(value)))
        ends = [_variances(_moved(state, s, step, by_theta), rows) for step in (h, -h)]
        slopes[:, s] = (ends[0] - ends[1]) / (2.0 * h)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(2.0 * v * v / quadratic_forms(slopes, sensitivity.parameter_cov))


def _moved(state: FitState, s: int, step: float, by_theta: FloatArray) -> FitState:
    """A fit with one theta changed and the same sigma, as far as variances of predictions need it."""
    problem, x = state.problem, state.opt.x.copy()
    x[s] += step
    theta = convert_theta(problem.terms, problem.bases, x, to_user=True)
    return replace(state, opt=replace(state.opt, x=x), theta=theta, beta_cov=state.beta_cov + step * by_theta)


def _masked(z: FloatArray, keep: BoolArray) -> FloatArray | None:
    """Covariates with those of effects left out set to zero; None where all of a term's are."""
    if keep.all():
        return z
    return z * keep if keep.any() else None
