"""Numbers under the figures: smooth lines, bands, places of names."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from interlace.diagnostics.standardized_modes import standardized_modes
from interlace.plotting.envelope import local_level, uniform_envelope, uniform_medians
from interlace.plotting.labels import label_points, largest, shortened
from interlace.plotting.smooth import local_quantiles, lowess
from tests.unit.plotting.fits import large, sleep


@pytest.mark.parametrize("kind", ["smooth", "outliers", "ties"])
@pytest.mark.parametrize("rounds", [0, 3])
def test_lowess_is_clevelands(kind, rounds):
    smoothers = pytest.importorskip("statsmodels.nonparametric.smoothers_lowess")
    rng = np.random.default_rng(2)
    x = rng.uniform(0.0, 4.0, 80)
    if kind == "ties":
        x = np.round(x, 1)
    y = np.sin(x) + 0.2 * rng.normal(size=80)
    if kind == "outliers":
        y[[3, 40]] += 8.0
    theirs = smoothers.lowess(y, x, frac=2 / 3, it=rounds, delta=0.0)
    at, line = lowess(x, y, rounds=rounds)
    np.testing.assert_allclose(np.interp(theirs[:, 0], at, line), theirs[:, 1], atol=1e-6)


def test_lowess_of_very_many_points_is_close_to_that_of_all(monkeypatch):
    rng = np.random.default_rng(3)
    x = rng.uniform(0.0, 4.0, 8000)
    y = np.sin(x) + 0.2 * rng.normal(size=x.size)
    at, line = lowess(x, y)
    monkeypatch.setattr("interlace.plotting.smooth._MOST", 10**9)
    all_at, all_line = lowess(x, y)
    assert np.abs(line - np.interp(at, all_at, all_line)).max() < 0.02  # a tenth of the noise
    discrete = np.repeat([1.0, 2.0, 5.0], 4000)
    monkeypatch.undo()
    at, line = lowess(discrete, discrete**2)
    assert at.tolist() == [1.0, 2.0, 5.0]


def test_lowess_of_too_few_points_is_empty():
    at, line = lowess(np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    assert at.size == line.size == 0


def test_local_quantiles_are_naive_weighted_ones():
    rng = np.random.default_rng(5)
    x, y = np.sort(rng.random(60)), rng.random(60)
    at, found = local_quantiles(x, y, (0.25, 0.5))
    for k in (0, 30, 59):
        distance = np.abs(x - at[k])
        inside = np.argsort(distance)[:30]
        weight = (1.0 - (distance[inside] / (1.001 * distance[inside].max())) ** 3) ** 3
        order = np.argsort(y[inside])
        share = (np.cumsum(weight[order]) - 0.5 * weight[order]) / weight.sum()
        np.testing.assert_allclose(found[:, k], np.interp((0.25, 0.5), share, y[inside][order]))


def test_bands_hold_what_they_say():
    n, rng = 40, np.random.default_rng(11)
    i = np.arange(1, n + 1)
    samples = np.sort(rng.random((20_000, n)), axis=1)
    lower, upper = uniform_envelope(i, n, 0.9)
    inside = (samples >= lower) & (samples <= upper)
    np.testing.assert_allclose(inside.mean(axis=0), 0.9, atol=0.012)
    lower, upper = uniform_envelope(i, n, 0.9, simultaneous=True)
    inside = (samples >= lower) & (samples <= upper)
    assert inside.all(axis=1).mean() == pytest.approx(0.9, abs=0.015)
    np.testing.assert_allclose(uniform_medians(i, n), np.median(samples, axis=0), atol=0.01)


def test_simultaneous_band_of_many_points_costs_little_coverage():
    n, rng = 2000, np.random.default_rng(12)
    lower, upper = uniform_envelope(np.arange(1, n + 1), n, 0.95, simultaneous=True)
    samples = np.sort(rng.random((2000, n)), axis=1)
    assert 0.925 < ((samples >= lower) & (samples <= upper)).all(axis=1).mean() < 0.965
    assert local_level(n, 0.95) < local_level(40, 0.95) < 0.05


def test_modes_are_divided_by_their_own_standard_deviations():
    """In a balanced model with one random intercept all have the same: the root of shrinkage times the variance."""
    fit = large(5_000)
    (found,) = standardized_modes(fit.state)
    counts = np.bincount(fit.state.problem.design.terms[0].codes)
    variance = fit.variance_components["g"]
    shrunk = variance * counts * variance / (counts * variance + fit.scale)
    np.testing.assert_allclose(found.values, fit.random_effects["g"] / np.sqrt(shrunk), rtol=1e-6)
    assert 0.7 < found.values.std() < 1.3
    assert [one.name for one in standardized_modes(sleep().state)] == ["Intercept | Subject", "Days | Subject"]


def test_names_do_not_cover_each_other_or_leave_the_axes():
    rng = np.random.default_rng(8)
    ax = Figure(figsize=(5, 4)).subplots()
    x, y = rng.normal(size=300), rng.normal(size=300)
    ax.scatter(x, y)
    worst = largest(x**2 + y**2, 8)
    worst = np.concatenate([worst, worst[:1]])  # the same point again
    label_points(ax, x[worst], y[worst], [f"row {i}" for i in worst], beside=(x, y))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 9
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    frame = ax.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def test_largest_and_shortened():
    assert largest(np.array([2.0, np.nan, 5.0, 5.0]), 9).tolist() == [2, 3, 0]
    assert shortened("abc", 3) == "abc"
    assert len(shortened("x" * 99)) == 28


def test_median_places_are_filliben_like():
    np.testing.assert_allclose(uniform_medians(np.array([1, 9]), 9), [1 - 0.5 ** (1 / 9), 0.5 ** (1 / 9)])
    assert stats.beta(3, 7).cdf(uniform_medians(np.array([3]), 9)) == pytest.approx(0.5)
