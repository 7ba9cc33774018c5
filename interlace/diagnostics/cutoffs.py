"""Which values of a measure of influence stand out, and what the flagged units do together."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import numpy as np
import pandas as pd

from interlace.diagnostics.case_deletion import CaseDeletion, deletion_of
from interlace.diagnostics.components import variance_columns
from interlace.diagnostics.deletion import exact_deletions
from interlace.diagnostics.influence_tables import measure_columns
from interlace.errors import ConvergenceWarning, ModelError
from interlace.results.confint import rows_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.diagnostics.influence_series import DeletionOptions
    from interlace.typing import BoolArray, FloatArray

__all__ = ["Limits", "internal_cutoff", "limits_of", "n_influential", "tau_gap"]

#: Lowest and highest value that do not stand out.
Limits: TypeAlias = tuple[float, float]


def internal_cutoff(values: ArrayLike, measure: str) -> Limits:
    """Limits beyond which a value of a measure stands out among the others: HLMdiag's ``internal`` cut-off.

    Parameters
    ----------
    values : array_like
        The measure of every unit; what is not a finite number does not count.
    measure : str
        Name of the measure: ``covratio``, ``rvc.*`` and ``dfbetas.*`` have a lower limit too.

    Returns
    -------
    low, high : float
        High is Q3 + 3 IQR, with IQR = Q3 - Q1 and quartiles interpolated as by R's ``quantile`` (type 7); low is
        Q1 - 3 IQR, or minus infinity for a measure that is small where there is no influence. Not a number where there
        are no values.

    Raises
    ------
    ValueError
        The values are not numbers.

    References
    ----------
    Loy, A. and Hofmann, H. (2014). HLMdiag: a suite of diagnostics for hierarchical linear models in R. Journal of
    Statistical Software 56(5). The fences are Tukey's outer ones.

    Examples
    --------
    >>> internal_cutoff([1.0, 2.0, 3.0, 4.0, 50.0], "cooksd")
    (-inf, 10.0)
    >>> internal_cutoff([1.0, 2.0, 3.0, 4.0, 50.0], "covratio")
    (-4.0, 10.0)
    """
    known = _numbers(values, f"values must be numbers, one for each unit; not {type(values).__name__}")
    known = known[np.isfinite(known)]
    if not known.size:
        return (np.nan, np.nan)
    first, third = np.quantile(known, [0.25, 0.75])
    reach = 3.0 * (third - first)
    two_sided = str(measure).split(".", maxsplit=1)[0] in ("covratio", "rvc", "dfbetas")
    return (float(first - reach) if two_sided else -np.inf, float(third + reach))


def n_influential(
    model: Any,
    level: int | str = 1,
    *,
    measure: str = "cooksd",
    cutoff: float | Limits | None = None,
    **options: Unpack[DeletionOptions],
) -> int:
    """Number of units whose measure of influence lies beyond a cut-off.

    Parameters
    ----------
    model : LMMResult, GLMMResult, statsmodels' MixedLMResults, or CaseDeletion
    level : 1 or str
        1 for rows; else a grouping factor.
    measure : str
        A column of measures of `hlm_influence`: ``cooksd``, ``mdffits``, ``covtrace``, ``covratio``, ``rvc.sigma2``,
        ``rvc.D11``, ...
    cutoff : float, or (low, high), optional
        Values above it, or outside the pair, count. `internal_cutoff` by default.
    **options
        As for `hlm_influence`.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        There is no such measure, or the cut-off is not a number or a pair of numbers.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> n_influential(result, "Subject"), n_influential(result, "Subject", cutoff=0.14)
    (0, 1)
    """
    return int(_flagged(deletion_of(model, level, **options), measure, cutoff).sum())


def tau_gap(
    model: Any,
    level: int | str = 1,
    *,
    measure: str = "cooksd",
    cutoff: float | Limits | None = None,
    **options: Unpack[DeletionOptions],
) -> pd.Series:
    """How far the standard deviations of the random effects move when all influential units are left out together.

    Parameters
    ----------
    model, level, measure, cutoff, **options
        As for `n_influential`, whose units are left out.

    Returns
    -------
    Series, one value for each column of each random-effects term
        tau_(I) / tau - 1, with tau the standard deviation from all rows and tau_(I) that of a fit without the flagged
        units; 0 if none is flagged. NaN or infinite for a standard deviation that is zero.

    Raises
    ------
    ValueError
        As `n_influential`.

    Warns
    -----
    ConvergenceWarning
        The model cannot be fitted without the flagged units: all values are NaN.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> tau_gap(result, "Subject", cutoff=0.14).round(3)
    sd_(Intercept)|Subject   -0.087
    sd_Days|Subject          -0.032
    Name: tau_gap, dtype: float64
    """
    deletion = deletion_of(model, level, **options)
    state = deletion.state
    names = [row.name for row in rows_of(state, "sd") if row.parameter is not None and row.parameter.kind == "sd"]
    flagged = np.flatnonzero(_flagged(deletion, measure, cutoff))
    if not flagged.size:
        return pd.Series(0.0, index=names, name="tau_gap")
    rows = np.unique(np.concatenate([deletion.units.rows[i] for i in flagged]))
    found = exact_deletions(state, [rows], optimizer=options.get("optimizer"))
    if not found.converged[0]:
        warnings.warn(
            f"the model has no estimates without the {flagged.size} influential units: {found.messages[0]}",
            ConvergenceWarning,
            stacklevel=2,
        )
    variances = variance_columns(state)
    whole, rest = (np.sqrt(values[variances]) for values in (deletion.measures.components, found.components[0]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(rest / whole - 1.0, index=names, name="tau_gap")


def _flagged(deletion: CaseDeletion, measure: str, cutoff: float | Limits | None) -> BoolArray:
    """Units whose measure lies outside the limits; those without one are not flagged."""
    columns = measure_columns(deletion)
    if measure not in tuple(columns):
        raise ModelError(f"measure must be one of {', '.join(map(repr, columns))}; not {measure!r}")
    values = columns[measure]
    low, high = internal_cutoff(values, measure) if cutoff is None else limits_of(cutoff)
    return np.asarray((values < low) | (values > high))


def limits_of(cutoff: float | Limits) -> Limits:
    """Limits that a user gives: a number, above which values stand out, or a pair that they lie outside of.

    Raises
    ------
    ValueError
    """
    message = f"cutoff must be a number, or a pair (low, high) with low <= high; not {cutoff!r}"
    given = _numbers(cutoff, message)
    if given.shape == ():
        given = np.array([-np.inf, given])
    if given.shape != (2,) or not given[0] <= given[1]:
        raise ValueError(message)
    return float(given[0]), float(given[1])


def _numbers(values: Any, message: str) -> FloatArray:
    """Values as an array, or a ValueError with a message."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(message) from None
