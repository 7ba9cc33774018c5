"""Checks of what a linear mixed model assumes of its residuals, and every mixed model of its random effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from interlace.diagnostics.row_residuals import conditional_residuals
from interlace.diagnostics.standardized_modes import standardized_modes
from interlace.estimate.state import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from interlace.estimate.state import FitState, State
    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["LEVEL", "brown_forsythe", "listed", "random_effects_normality", "residual_checks"]

#: P-value below which a check is not passed; smaller than 0.05, as there are about ten of them.
LEVEL = 0.01

#: Skewness and excess kurtosis, and rank correlation, up to which a departure is real but hardly matters.
_SMALL_SKEWNESS, _SMALL_KURTOSIS, _SMALL_CORRELATION = 0.5, 1.0, 0.1
#: Most values for which Shapiro and Wilk's p-value is accurate (Royston, 1995).
_MOST = 5000
#: Fewest rows of a level that says something of its variance, and fewest levels whose effects have a shape.
_FEWEST_ROWS, _FEWEST_LEVELS = 5, 10


def residual_checks(state: FitState) -> Iterator[Check]:
    """Normality, homogeneity and outliers of the studentized residuals given the conditional modes."""
    residuals = conditional_residuals(state, "studentized")
    known = np.isfinite(residuals)  # a row that has its own coefficient has no residual
    if known.sum() < 3:
        return
    yield _normality(
        residuals[known],
        "residual-normality",
        None,
        "residuals",
        "look at a normal Q-Q plot; transform the response, or find the rows that cause it. Tests and intervals of "
        "fixed effects are robust, prediction intervals are not",
    )
    yield _against_fitted(residuals[known], state.fitted[known])
    for group, codes in {term.group: term.codes for term in state.problem.design.terms}.items():
        yield from _between_groups(residuals, known, codes, group)
    yield _outliers(residuals, state.problem.design.index)


def random_effects_normality(state: State) -> Iterator[Check]:
    """Whether the conditional modes look like draws from a normal distribution, effect by effect.

    Each mode is divided by its own standard deviation in repeated samples; see `standardized_modes`.
    """
    for found in standardized_modes(state):
        if found.values.size >= _FEWEST_LEVELS:
            yield _normality(
                found.values,
                "random-effects-normality",
                found.term.key,
                f"random effects {found.term.names[found.column]!r} of {found.term.group!r}",
                "look at a Q-Q plot of the random effects for outlying levels, or for a predictor of the levels "
                "that is missing; fixed effects are robust, predictions of single levels are not",
            )


def _normality(values: FloatArray, code: str, term: str | None, what: str, advice: str) -> Check:
    some = values
    if values.size > _MOST:
        some = np.random.default_rng(0).choice(values, _MOST, replace=False)
    if np.ptp(some) == 0.0:
        return Check(code, "info", term, None, LEVEL, f"the {what} are all the same", "")
    p_value = float(stats.shapiro(some).pvalue)
    skewness, kurtosis = float(stats.skew(values)), float(stats.kurtosis(values))
    shape = f"Shapiro and Wilk's test of {some.size} values: p = {p_value:.3g}; skewness {skewness:.2f}, "
    shape += f"excess kurtosis {kurtosis:.2f}"
    if p_value >= LEVEL:
        return Check(code, "info", term, p_value, LEVEL, f"the {what} look normal ({shape})", "")
    if abs(skewness) <= _SMALL_SKEWNESS and abs(kurtosis) <= _SMALL_KURTOSIS:
        return Check(code, "info", term, p_value, LEVEL, f"the {what} are not quite normal ({shape})", advice)
    return Check(code, "warning", term, p_value, LEVEL, f"the {what} are not normal ({shape})", advice)


def _against_fitted(residuals: FloatArray, fitted: FloatArray) -> Check:
    """Whether the spread of the residuals follows the fitted values: rank correlation with their sizes."""
    code = "homogeneity"
    if np.ptp(fitted) == 0.0:
        return Check(code, "info", None, None, LEVEL, "all fitted values are the same", "")
    found = stats.spearmanr(np.abs(residuals), fitted)
    rho, p_value = float(found.statistic), float(found.pvalue)
    measured = f"rank correlation of the sizes of residuals with fitted values {rho:.2f}, p = {p_value:.3g}"
    if not p_value < LEVEL:
        return Check(
            code, "info", None, p_value, LEVEL, f"the spread does not follow the fitted values ({measured})", ""
        )
    grows = "grows" if rho > 0.0 else "falls"
    return Check(
        code,
        "warning" if abs(rho) > _SMALL_CORRELATION else "info",
        None,
        p_value,
        LEVEL,
        f"the spread of the residuals {grows} with the fitted values ({measured})",
        "transform the response (a logarithm where the spread is proportional to the mean), give weights=, or use a "
        "generalized model such as a Gamma one",
    )


def _between_groups(residuals: FloatArray, known: BoolArray, codes: IntArray, group: str) -> Iterator[Check]:
    """Whether levels of a grouping factor differ in their residual variance."""
    counts = np.bincount(codes[known], minlength=codes.max() + 1)
    used = known & (counts >= _FEWEST_ROWS)[codes]
    _, inside = np.unique(codes[used], return_inverse=True)
    if inside.size == 0 or inside.max() < 1 or np.ptp(residuals[used]) == 0.0:
        return
    q = int(inside.max()) + 1
    statistic, p_value = brown_forsythe(residuals[used], inside)
    measured = f"Brown and Forsythe's test of {q} levels: F = {statistic:.2f}, p = {p_value:.3g}"
    if not p_value < LEVEL:
        text = f"levels of {group!r} show no difference in residual variance ({measured})"
        yield Check("homogeneity-groups", "info", group, p_value, LEVEL, text, "")
        return
    yield Check(
        "homogeneity-groups",
        "warning",
        group,
        p_value,
        LEVEL,
        f"the residual variance differs between levels of {group!r} ({measured})",
        "look at residuals by level: a random slope may be missing, some levels may be measured differently, or the "
        "response needs a transformation",
    )


def brown_forsythe(values: FloatArray, codes: IntArray) -> tuple[float, float]:
    """F statistic and p-value of equal variances: analysis of variance of absolute deviations from the medians.

    Parameters
    ----------
    values : ndarray, shape (n,)
    codes : ndarray of int64, shape (n,)
        Group of each value, 0 to q - 1; every group occurs.

    References
    ----------
    Brown, M. B. and Forsythe, A. B. (1974). Robust tests for the equality of variances. Journal of the American
    Statistical Association 69, 364-367.
    """
    counts = np.bincount(codes)
    ends = np.cumsum(counts)
    in_order = values[np.lexsort((values, codes))]
    medians = 0.5 * (in_order[ends - counts + (counts - 1) // 2] + in_order[ends - counts + counts // 2])
    sizes = np.abs(values - medians[codes])
    means = np.bincount(codes, sizes) / counts
    between = float(np.sum(counts * (means - sizes.mean()) ** 2)) / (counts.size - 1)
    within = float(np.sum((sizes - means[codes]) ** 2)) / (values.size - counts.size)
    statistic = between / within if within > 0.0 else np.inf
    return statistic, float(stats.f.sf(statistic, counts.size - 1, values.size - counts.size))


def _outliers(residuals: FloatArray, index: pd.Index) -> Check:
    """Rows whose studentized residual is too large for the largest of n normal values."""
    sizes = np.nan_to_num(np.abs(residuals), nan=0.0)
    limit = float(stats.norm.isf(0.5 * LEVEL / sizes.size))
    beyond, largest = sizes > limit, float(sizes.max())
    if not beyond.any():
        text = f"no outlying rows (largest studentized residual {largest:.2f}, limit {limit:.2f} for {sizes.size} rows)"
        return Check("outliers", "info", None, largest, limit, text, "")
    names = listed(index[np.argsort(-sizes, kind="stable")[: beyond.sum()]])
    return Check(
        "outliers",
        "warning",
        None,
        largest,
        limit,
        f"{beyond.sum()} of {sizes.size} rows are outliers, with studentized residuals up to {largest:.2f} (limit "
        f"{limit:.2f}): {names}",
        "check these rows for errors; fit the model without them and compare",
    )


def listed(labels: Sequence[object] | pd.Index) -> str:
    """The first five labels, and that there are more."""
    others = len(labels) - 5
    return ", ".join(map(str, labels[:5])) + (f" and {others} more" if others > 0 else "")
