"""Separation against its definition, against fits that run away, and against the sizes it has to cope with."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.optimize
from scipy.optimize import linprog

from interlace.core import separation
from interlace.core.separation import separating_direction

pytestmark = [pytest.mark.fast, pytest.mark.filterwarnings("error::RuntimeWarning")]


def with_ones(*columns):
    return np.column_stack([np.ones(len(columns[0])), *columns])


def assert_separates(X, y, delta, kind="binomial"):
    """The definition, and the normalization."""
    moves = X @ delta
    size = np.abs(X) @ np.abs(delta) * 1e-9 + 1e-9
    if kind == "binomial":
        assert (moves >= -size)[y > 0].all()
        assert (moves <= size)[y < 1].all()
    else:
        assert (np.abs(moves) <= size)[y > 0].all()
        assert (moves <= size).all()
    assert (np.abs(moves) > 1e3 * size).any()
    assert np.max(np.abs(delta) * np.abs(X).max(axis=0)) == pytest.approx(1.0, rel=1e-12)


def test_complete_separation() -> None:
    x = np.array([-3.0, -1.0, 0.5, 2.0, 4.0])
    X, y = with_ones(x), (x > 0).astype(float)
    delta = separating_direction(X, y)
    assert_separates(X, y, delta)
    assert delta[1] > 0
    np.testing.assert_array_equal(np.sign(separating_direction(X, 1.0 - y)), [np.sign(-delta[0]), -1.0])
    y[0] = 1.0
    assert separating_direction(X, y) is None


def test_quasi_complete_separation_has_one_direction() -> None:
    x = np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
    delta = separating_direction(with_ones(x), np.array([0.0, 0.0, 0.0, 1.0, 1.0, 1.0]))
    np.testing.assert_allclose(delta, [-0.6, 0.2], rtol=1e-12)
    assert separating_direction(with_ones(x), np.array([0.0, 0.0, 1.0, 0.0, 1.0, 0.0])) is None


def test_proportions_strictly_between_hold_their_rows_fast() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_allclose(
        separating_direction(with_ones(x), np.array([0.0, 0.0, 0.4, 1.0])), [-0.75, 0.25], rtol=1e-12
    )
    assert separating_direction(with_ones(x), np.array([0.0, 0.3, 0.4, 1.0])) is None


def test_all_successes() -> None:
    X = with_ones(np.array([-1.0, 0.0, 2.0]))
    delta = separating_direction(X, np.ones(3))
    assert_separates(X, np.ones(3), delta)
    assert delta[0] == 1.0
    np.testing.assert_array_equal(separating_direction(-4.0 * np.ones((3, 1)), np.ones(3)), [-0.25])


def test_cells_of_a_factor() -> None:
    levels = np.repeat(np.arange(4), 6)
    dummies = (levels[:, None] == np.arange(1, 4)).astype(float)
    y = np.tile([0.0, 1.0, 1.0], 8)
    X = with_ones(*dummies.T)
    assert separating_direction(X, y) is None
    y[levels == 2] = 1.0
    np.testing.assert_array_equal(separating_direction(X, y), [0.0, 0.0, 1.0, 0.0])
    y[levels == 3] = 0.0
    np.testing.assert_array_equal(separating_direction(X, y), [0.0, 0.0, 1.0, -1.0])
    y[levels == 0] = 0.0  # the reference: the intercept falls, the others make up for it
    delta = separating_direction(X, y)
    assert_separates(X, y, delta)
    assert delta[0] < 0.0
    assert delta[1] == pytest.approx(-delta[0], rel=1e-12)
    covariate = np.random.default_rng(1).normal(size=24)
    y = np.where(levels == 1, 0.0, np.tile([0.0, 1.0, 1.0], 8))
    # within the levels 0, 2 and 3 successes and failures overlap on the covariate
    np.testing.assert_array_equal(separating_direction(with_ones(*dummies.T, covariate), y), [0, -1, 0, 0, 0])


def test_coefficients_that_take_no_part_are_exactly_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, level = (a.ravel() for a in np.meshgrid([0.3, 1.1, 2.7], [-1.3, 0.2, 0.9], [0.0, 1.0]))
    X = np.repeat(with_ones(x, level, z, x * z), 2, axis=0)
    y = np.tile([0.0, 1.0], len(x))
    assert separating_direction(X, y) is None
    y[X[:, 2] == 1] = 1.0
    np.testing.assert_array_equal(separating_direction(X, y), [0.0, 0.0, 1.0, 0.0, 0.0])

    def rounding(*args, **kwargs):
        solution = linprog(*args, **kwargs)
        solution.x = solution.x + np.array([3e-11, -2e-11, 0.0, 5e-11, -1e-11])
        return solution

    monkeypatch.setattr(scipy.optimize, "linprog", rounding)
    np.testing.assert_array_equal(separating_direction(X, y), [0.0, 0.0, 1.0, 0.0, 0.0])


def test_rows_that_differ_by_rounding_are_equal() -> None:
    A = np.array([[3.0, -1.0, -2.0], [2.0, 1.0, 0.0]])
    noise = 1e-12 * np.array([[-2.9, 0.1, -1.1], [-1.0, -0.6, 0.7]])
    assert separating_direction(np.vstack([A, A + noise]), np.array([1.0, 1.0, 0.0, 0.0])) is None
    x = np.array([0.3, 0.1 * 3.0, 0.7, 0.1 * 7.0])
    assert separating_direction(with_ones(x), np.array([1.0, 0.0, 0.0, 1.0])) is None


def test_rows_of_weight_zero_do_not_count() -> None:
    x = np.array([1.0, 2.0, 3.0, 4.0])
    y = np.array([0.0, 1.0, 0.0, 1.0])
    assert separating_direction(with_ones(x), y) is None
    assert separating_direction(with_ones(x), y, np.array([1.0, 2.0, 1.0, 1.0])) is None
    weights = np.array([3.0, 1.0, 0.0, 2.0])
    assert_separates(with_ones(x)[[0, 1, 3]], y[[0, 1, 3]], separating_direction(with_ones(x), y, weights))


def test_counts() -> None:
    group = np.repeat([0.0, 1.0], 5)
    x = np.tile(np.arange(5.0), 2)
    y = np.where(group == 1, 0.0, 1.0 + x)
    X = with_ones(group, x)
    np.testing.assert_array_equal(separating_direction(X, y, kind="poisson"), [0.0, -1.0, 0.0])
    y[7] = 3.0  # one positive count in the group: a slope could still turn the others down only on one side
    assert separating_direction(X, y, kind="poisson") is None
    y[7], y[9] = 0.0, 3.0  # its last count: all others lie below
    delta = separating_direction(with_ones(group, x, group * x), y, kind="poisson")
    np.testing.assert_allclose(delta, [0.0, -1.0, 0.0, 0.25], rtol=1e-12)
    assert separating_direction(np.ones((4, 1)), np.array([0.0, 1.0, 0.0, 0.0]), kind="poisson") is None
    np.testing.assert_array_equal(separating_direction(np.ones((4, 1)), np.zeros(4), kind="poisson"), [-1.0])


def test_successes_are_not_counts() -> None:
    X, y = with_ones(np.arange(4.0)), np.array([0.0, 0.0, 1.0, 1.0])
    assert separating_direction(X, y) is not None
    assert separating_direction(X, y, kind="poisson") is None


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_scales_and_origins_of_columns_do_not_matter(factor: float) -> None:
    year = np.array([2001.0, 2004.0, 2004.0, 2009.0, 2011.0]) * factor
    y = np.array([0.0, 0.0, 1.0, 1.0, 1.0])
    delta = separating_direction(with_ones(year), y)
    np.testing.assert_allclose(delta, [-2004.0 / 5.0, 1.0 / (5.0 * factor)], rtol=1e-9)
    assert separating_direction(with_ones(year), np.array([1.0, 0.0, 1.0, 0.0, 1.0])) is None


def test_a_column_of_zeros_takes_no_part() -> None:
    x = np.array([-1.0, 1.0, 2.0])
    assert separating_direction(with_ones(x, 0.0 * x), np.array([0.0, 1.0, 1.0]))[2] == 0.0
    assert separating_direction(with_ones(x, 0.0 * x), np.array([0.0, 0.4, 1.0]))[2] == 0.0


def test_columns_that_depend_on_one_another() -> None:
    X = with_ones(np.array([0.0, 0.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0]))
    assert separating_direction(X, np.array([0.0, 1.0, 0.0, 1.0])) is None
    moves = X @ separating_direction(X, np.array([0.0, 1.0, 1.0, 1.0]))
    assert moves[:2] == pytest.approx(0.0, abs=1e-9)
    assert moves[2:].min() > 0.5


def test_nothing_to_separate() -> None:
    assert separating_direction(np.zeros((3, 0)), np.array([0.0, 1.0, 0.5])) is None
    assert separating_direction(np.zeros((0, 2)), np.zeros(0)) is None
    assert separating_direction(np.zeros((3, 1)), np.ones(3)) is None
    assert separating_direction(np.ones((3, 2)), np.array([0.0, 1.0, 1.0])) is None
    nearly = np.array([[1.0], [1.0 + 1e-9], [1.0], [1.0 - 1e-9]])
    assert separating_direction(nearly, np.array([1.0, 0.0, 1.0, 0.0])) is None


def test_an_unsolved_program_proves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scipy.optimize, "linprog", lambda *_, **__: SimpleNamespace(success=False, x=None))
    assert separating_direction(with_ones(np.arange(4.0)), np.array([0.0, 0.0, 1.0, 1.0])) is None


def test_rows_told_apart_by_nothing_but_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distinct rows whose sums collide are kept apart."""

    class Alike:
        def uniform(self, *_, size):
            return np.ones(size)

    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])
    monkeypatch.setattr(separation.np.random, "default_rng", lambda _: Alike())
    rows, group = separation._distinct(X)
    np.testing.assert_array_equal(rows[group], X)
    delta = separating_direction(X, np.array([1.0, 0.0, 1.0, 0.0, 0.5]))
    np.testing.assert_allclose(delta, [1.0, -1.0], rtol=1e-12)


def ridge(X, y, kind, penalty):
    """Linear predictors that maximize the likelihood less a little of the squared coefficients (Newton, damped)."""

    def loss(b):
        eta = X @ b
        cumulant = np.exp(eta) if kind == "poisson" else np.logaddexp(0.0, eta)
        return float(np.sum(cumulant - y * eta) + penalty * b @ b / 2.0)

    beta = np.zeros(X.shape[1])
    for _ in range(200):
        eta = X @ beta
        mu = np.exp(eta) if kind == "poisson" else 1.0 / (1.0 + np.exp(-eta))
        weight = mu if kind == "poisson" else mu * (1.0 - mu)
        gradient = X.T @ (mu - y) + penalty * beta
        step = np.linalg.solve(X.T @ (weight[:, None] * X) + penalty * np.eye(len(beta)), gradient)
        size = 1.0
        while size > 1e-4 and loss(beta - size * step) > loss(beta):
            size /= 2.0
        beta = beta - size * step
        if size <= 1e-4 or np.abs(step).max() < 1e-4:
            break
    return X @ beta


def runs_away(X, y, kind):
    """Whether estimates keep growing while the penalty that holds them vanishes: then by 7 on the linear predictor."""
    return np.abs(ridge(X, y, kind, 1e-9) - ridge(X, y, kind, 1e-6)).max() > 2.0


@pytest.mark.parametrize("kind", ["binomial", "poisson"])
def test_against_fits_that_run_away_or_do_not(kind) -> None:
    rng = np.random.default_rng(11)
    found = []
    for trial in range(300):
        n, p = int(rng.integers(5, 15)), int(rng.integers(1, 4))
        X = with_ones(*rng.integers(-2, 3, size=(p, n)).astype(float))
        if np.linalg.matrix_rank(X) < X.shape[1]:
            continue
        eta = X @ rng.normal(size=X.shape[1]) - (kind == "poisson")
        if kind == "poisson":
            y = rng.poisson(np.exp(np.minimum(eta, 2.0))).astype(float)
        else:
            y = (rng.random(n) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
            if trial % 4 == 0:
                y[rng.integers(n)] = 0.5
        delta = separating_direction(X, y, kind=kind)
        assert (delta is not None) == runs_away(X, y, kind), (trial, X, y)
        if delta is not None:
            assert_separates(X, y, delta, kind)
        found.append(delta is not None)
    assert 0.15 < np.mean(found) < 0.85


def brute_force(X, y):
    """Separation of data on the line and in the plane by its definition: try every direction that the rows allow."""
    signs = np.where(y == 1.0, 1.0, -1.0)
    rows = X * signs[:, None]
    candidates = [np.zeros(X.shape[1])]
    for pair in itertools.combinations(range(len(rows)), X.shape[1] - 1):
        normal = np.linalg.svd(rows[list(pair)])[2][-1]
        candidates += [normal, -normal]
    return any((rows @ c >= -1e-9).all() and (rows @ c > 1e-6).any() for c in candidates)


def test_against_every_direction_there_is() -> None:
    rng = np.random.default_rng(7)
    found = []
    for _ in range(300):
        X = with_ones(*rng.integers(-3, 4, size=(2, int(rng.integers(6, 17)))).astype(float))
        if np.linalg.matrix_rank(X) < 3:
            continue
        y = (X @ rng.normal(size=3) + 2.0 * rng.normal(size=len(X)) > 0).astype(float)
        found.append(separating_direction(X, y) is not None)
        assert found[-1] == brute_force(X, y), (X, y)
    assert 0.15 < np.mean(found) < 0.85


def test_more_rows_than_one_program_takes() -> None:
    rng = np.random.default_rng(2)
    n = 30_000
    X = with_ones(*rng.normal(size=(4, n)))
    y = (X @ np.array([0.2, 1.0, -1.0, 0.5, 0.0]) > 0).astype(float)
    assert_separates(X, y, separating_direction(X, y))
    order = np.argsort(np.abs(X @ np.array([0.2, 1.0, -1.0, 0.5, 0.0])))
    y[order[-3:]] = 1.0 - y[order[-3:]]  # three rows among many, far on the wrong side
    assert separating_direction(X, y) is None


def test_one_row_among_many() -> None:
    """A factor level with one row: all the rest overlaps."""
    rng = np.random.default_rng(3)
    n = 200_000
    rare = np.zeros(n)
    rare[123] = 1.0
    X = with_ones(rng.normal(size=n), rare, rng.integers(0, 3, size=n).astype(float))
    y = (rng.random(n) < 0.5).astype(float)
    y[123] = 0.0
    np.testing.assert_array_equal(separating_direction(X, y), [0.0, 0.0, -1.0, 0.0])
    np.testing.assert_array_equal(separating_direction(X, y, kind="poisson"), [0.0, 0.0, -1.0, 0.0])
    y[123] = 0.5
    assert separating_direction(X, y) is None


def test_many_rows_of_few_patterns() -> None:
    rng = np.random.default_rng(4)
    n = 300_000
    level = rng.integers(0, 12, size=n)
    X = with_ones(*(level[:, None] == np.arange(1, 12)).astype(float).T)
    y = (rng.random(n) < 0.4).astype(float)
    assert separating_direction(X, y) is None
    y[level == 5] = 1.0
    np.testing.assert_array_equal(separating_direction(X, y), np.arange(12) == 5)
