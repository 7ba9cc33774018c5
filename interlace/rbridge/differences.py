"""Differences between two fits in units in which they mean something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from interlace.rbridge.names import canonical
from interlace.rbridge.numbers import FitNumbers, GeneralizedNumbers, TermNumbers
from interlace.typing import FloatArray, IntArray

__all__ = ["Difference", "differences"]

# A mean that is so near to a response of 0 or 1 has lost its last six digits in the difference.
_NEAR = 1e-9
# A standard deviation below this many residual standard deviations is no unit to measure in.
_SMALLEST_SD = 1e-3


@dataclass(frozen=True)
class Difference:
    """The largest difference of one quantity in one place."""

    quantity: str
    value: float
    where: str


def differences(ours: FitNumbers, theirs: FitNumbers) -> list[Difference]:
    """List what differs; everything is matched by name, level and row, never by position.

    Parameters
    ----------
    ours, theirs : FitNumbers
        ``theirs`` may hold a selection of rows and levels.
    """
    found = [*_criteria(ours, theirs), *_counts(ours, theirs), *_coefficients(ours, theirs)]
    for key, term in theirs.terms.items():
        if key in ours.terms and theirs.identified:
            found += _term(ours, theirs, ours.terms[key], term)
    found += [*_rows(ours, theirs), *_predictions(ours, theirs)]
    if ours.generalized and theirs.generalized:
        found += _generalized(ours, theirs, ours.generalized, theirs.generalized)
    return found


def _relative(mine: float, yours: float) -> float:
    return abs(mine - yours) / max(1.0, abs(yours))


def _largest(quantity: str, values: NDArray[Any], labels: Sequence[str]) -> Iterator[Difference]:
    """Largest absolute value of an array whose first axis has these labels."""
    if values.size:
        flat = np.abs(values).reshape(len(values), -1).max(axis=1)
        worst = int(np.argmax(np.where(np.isnan(flat), np.inf, flat)))
        yield Difference(quantity, float(flat[worst]), labels[worst])


def _criteria(ours: FitNumbers, theirs: FitNumbers) -> Iterator[Difference]:
    worse = (ours.criterion - theirs.criterion) / max(1.0, abs(theirs.criterion))
    yield Difference(
        "deviance",
        max(worse, 0.0) if np.isfinite(worse) else np.nan,
        f"ours {ours.criterion!r}, lme4 {theirs.criterion!r}",
    )
    for name in ("log_likelihood", "aic", "bic"):
        mine, yours = getattr(ours, name), getattr(theirs, name)
        yield Difference(name, _relative(mine, yours), f"ours {mine!r}, lme4 {yours!r}")
    yield Difference("sigma", abs(ours.sigma / theirs.sigma - 1), f"ours {ours.sigma!r}, lme4 {theirs.sigma!r}")


def _counts(ours: FitNumbers, theirs: FitNumbers) -> Iterator[Difference]:
    for name in ("n_rows", "n_parameters", "df_residual", "reml"):
        mine, yours = getattr(ours, name), getattr(theirs, name)
        yield Difference("counts", float(abs(mine - yours)), f"{name}: ours {mine}, lme4 {yours}")
    lists = {
        "coefficients": (map(canonical, ours.names), map(canonical, theirs.names)),
        "terms": (ours.terms, theirs.terms),
        "rows": ([], np.setdiff1d(theirs.rows, ours.rows).tolist()),
    }
    for key in theirs.terms.keys() & ours.terms.keys():
        mine_term, yours_term = ours.terms[key], theirs.terms[key]
        lists[f"columns of {key}"] = (map(canonical, mine_term.names), map(canonical, yours_term.names))
        lists[f"levels of {key}"] = ([], set(yours_term.levels) - set(mine_term.levels))
    for what, (mine_items, yours_items) in lists.items():
        apart = set(mine_items) ^ set(yours_items)
        yield Difference("counts", float(len(apart)), f"{what} on one side only: {sorted(map(str, apart))[:6]}")


def _matched(mine: Sequence[str], yours: Sequence[str]) -> tuple[IntArray, IntArray]:
    """Positions of the names that both have."""
    places = {name: i for i, name in enumerate(mine)}
    pairs = [(places[name], j) for j, name in enumerate(yours) if name in places]
    both = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


def _coefficients(ours: FitNumbers, theirs: FitNumbers) -> Iterator[Difference]:
    i, j = _matched([*map(canonical, ours.names)], [*map(canonical, theirs.names)])
    names = [theirs.names[position] for position in j]
    se = theirs.se[j]
    yield from _largest("coefficients", (ours.beta[i] - theirs.beta[j]) / se, names)
    yield from _largest("standard_errors", ours.se[i] / se - 1, names)
    yield from _largest("vcov", (ours.vcov[np.ix_(i, i)] - theirs.vcov[np.ix_(j, j)]) / np.outer(se, se), names)


def _term(ours: FitNumbers, theirs: FitNumbers, mine: TermNumbers, yours: TermNumbers) -> Iterator[Difference]:
    i, _ = _matched([*map(canonical, mine.names)], [*map(canonical, yours.names)])
    if len(i) < len(yours.names):
        return  # already counted as a difference of names
    key = yours.key
    labels = [f"{key}: {name}" for name in yours.names]
    unit = yours.z_scale / theirs.sigma
    square = np.outer(unit, unit)
    my_covariance, your_covariance = mine.covariance[np.ix_(i, i)] * square, yours.covariance * square
    sd = np.sqrt(np.diag(your_covariance))
    size = np.maximum(1.0, np.outer(sd, sd))
    yield from _largest("covariance", (my_covariance - your_covariance) / size, labels)
    if theirs.regular:
        yield from _largest("standard_deviations", (np.sqrt(np.diag(my_covariance)) - sd) / np.maximum(1, sd), labels)
        large = np.outer(sd, sd) > _SMALLEST_SD**2
        apart = np.where(large, mine.correlation[np.ix_(i, i)] - yours.correlation, 0.0)
        yield from _largest("correlations", apart, labels)
        if (i == np.arange(len(i))).all() and mine.theta.shape == yours.theta.shape:
            rows = yours.z_scale[_theta_rows(len(i))]
            theta, reference = mine.theta * rows, yours.theta * rows
            yield from _largest("theta", (theta - reference) / np.maximum(1, np.abs(reference)), [key] * len(theta))
    yield from _by_level(mine, yours, sd, unit, i)


def _theta_rows(k: int) -> IntArray:
    """Row of the factor that each theta stands in, column by column of the lower triangle."""
    return np.concatenate([np.arange(column, k) for column in range(k)])


def _by_level(
    mine: TermNumbers, yours: TermNumbers, sd: FloatArray, unit: FloatArray, columns: IntArray
) -> Iterator[Difference]:
    """Modes in standard deviations; variances in those times sigma / 10 or more, because theta is known absolutely."""
    at_least, tenth = np.maximum(sd, _SMALLEST_SD) / unit, np.maximum(sd, 0.1) / unit
    i, j = _matched(mine.levels, yours.levels)
    labels = [f"{yours.key} {yours.levels[position]}" for position in j]
    modes = mine.modes[np.ix_(i, columns)] - yours.modes[j]
    yield from _largest("modes", modes / at_least, labels)
    conditional = mine.conditional[i][:, columns][:, :, columns] - yours.conditional[j]
    size = np.sqrt(np.outer(at_least, at_least) * np.outer(tenth, tenth))
    yield from _largest("conditional_variances", conditional / size, labels)


def _rows(ours: FitNumbers, theirs: FitNumbers) -> Iterator[Difference]:
    i, j, labels = _common_rows(ours, theirs)
    for name in ("fitted", "residuals"):
        apart = getattr(ours, name)[i] - getattr(theirs, name)[j]
        yield from _largest(name, apart / _size(theirs, theirs.fitted[j]), labels)


def _common_rows(ours: FitNumbers, theirs: FitNumbers) -> tuple[IntArray, IntArray, list[str]]:
    _, i, j = np.intersect1d(ours.rows, theirs.rows, return_indices=True)
    return i, j, [f"row {row}" for row in theirs.rows[j]]


def _size(theirs: FitNumbers, values: FloatArray) -> FloatArray | float:
    """Unit of values on the response's scale: sigma; the value itself, or 1, in generalized models."""
    return np.maximum(1.0, np.abs(values)) if theirs.generalized else theirs.sigma


def _predictions(ours: FitNumbers, theirs: FitNumbers) -> Iterator[Difference]:
    for label in ours.predictions.keys() & theirs.predictions.keys():
        mine, yours = ours.predictions[label], theirs.predictions[label]
        for kind in ("with_modes", "without"):
            reference = getattr(yours, kind)
            apart = (getattr(mine, kind) - reference) / _size(theirs, reference)
            yield from _largest("predictions", apart, [f"{label}, {kind}, row {row}" for row in range(len(apart))])


def _generalized(
    ours: FitNumbers, theirs: FitNumbers, mine: GeneralizedNumbers, yours: GeneralizedNumbers
) -> Iterator[Difference]:
    """What only generalized models have; the linear predictor and residuals relative above 1."""
    for name in ("family", "link", "nAGQ"):
        one, other = getattr(mine, name), getattr(yours, name)
        yield Difference("counts", float(one != other), f"{name}: ours {one}, lme4 {other}")
    yield Difference(
        "residual_deviance",
        _relative(mine.deviance, yours.deviance),
        f"ours {mine.deviance!r}, lme4 {yours.deviance!r}",
    )
    if yours.nb_theta is not None:
        found = np.nan if mine.nb_theta is None else mine.nb_theta
        yield Difference("nb_theta", abs(found / yours.nb_theta - 1), f"ours {found!r}, lme4 {yours.nb_theta!r}")
    i, j, labels = _common_rows(ours, theirs)
    pairs = {"linear_predictor": (mine.eta, yours.eta)}
    pairs |= {f"residuals_{kind}": (mine.residuals[kind], values) for kind, values in yours.residuals.items()}
    for quantity, (one, other) in pairs.items():
        size = np.maximum(1.0, np.abs(other[j]))
        if quantity == "residuals_working":  # a residual divided by what may be as small
            size *= np.maximum(1.0, _NEAR / np.maximum(np.abs(theirs.residuals[j]), 1e-300))
        yield from _largest(quantity, (one[i] - other[j]) / size, labels)
    for label in ours.predictions.keys() & theirs.predictions.keys():
        for kind in ("with_link", "without_link"):
            one, other = getattr(ours.predictions[label], kind), getattr(theirs.predictions[label], kind)
            apart = (one - other) / np.maximum(1.0, np.abs(other))
            yield from _largest("predictions_link", apart, [f"{label}, {kind}, row {row}" for row in range(len(apart))])
