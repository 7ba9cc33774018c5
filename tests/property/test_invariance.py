"""Random problems end to end through ``interlace.fit``: the dense oracle, and changes whose effect is known."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import interlace
from interlace.estimate import derived, lmm
from interlace.estimate.state import FitState
from tests.problems import KINDS, Array, Problem, dense_fit, factors_of, frame_of, random_problem

settings.register_profile(
    "invariance", derandomize=True, deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow]
)
few = settings(settings.get_profile("invariance"))
# A session that asks for more examples (--hypothesis-profile=thorough) gets them.
if settings.default.max_examples > 100:
    few = settings(deadline=None, max_examples=settings.default.max_examples)

problems = st.builds(
    lambda kind, seed, n: random_problem(np.random.default_rng(seed), kind, n),
    st.sampled_from(KINDS),
    st.integers(0, 2**32 - 1),
    st.sampled_from([48, 72, 120]),
)
methods = st.sampled_from(["REML", "ML"])
seeds = st.integers(0, 2**32 - 1)


def estimable(problem: Problem) -> bool:
    return all(t.n_levels * t.k < problem.y.size and t.n_levels > 1 for t in problem.terms)


def fitted(formula: str, data: pd.DataFrame, **kwargs) -> FitState:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit(formula, data, **kwargs).state


def same_covariances(a: FitState, b: FitState, *, scale: float = 1.0) -> bool:
    """Whether two fits found the same optimum, up to what a flat one leaves open."""
    pairs = zip(derived.term_covariances(a), derived.term_covariances(b), strict=True)
    return all(np.allclose(p, scale * q, rtol=1e-2, atol=1e-2 * abs(scale) * b.sigma**2) for p, q in pairs)


@few
@given(problems, methods)
def test_fit_is_what_the_dense_formulas_give_at_its_theta(problem, method):
    assume(estimable(problem))
    state = fitted(*frame_of(problem), method=method)
    by_group = {(t.group, t.k): t for t in problem.terms}
    terms = [by_group[t.group, t.Z.shape[1]] for t in state.problem.design.terms]
    ordered = Problem(problem.kind, tuple(terms), problem.X, problem.y)
    dense = dense_fit(ordered, factors_of(ordered, state.theta), reml=method == "REML")
    assert state.criterion == pytest.approx(dense.deviance, rel=1e-9, abs=1e-6)
    np.testing.assert_allclose(state.beta, dense.beta, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(state.beta_cov, dense.beta_cov, rtol=1e-6, atol=1e-10)
    assert state.sigma == pytest.approx(dense.sigma, rel=1e-7)
    for ours, theirs in zip(state.modes, dense.modes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * max(1.0, np.abs(theirs).max()))


@few
@given(problems, methods, seeds)
def test_no_nearby_theta_is_better(problem, method, seed):
    assume(estimable(problem))
    state = fitted(*frame_of(problem), method=method)
    design, rng = state.problem.design, np.random.default_rng(seed)
    for size in (1e-3, 1e-2, 0.1):
        theta = state.theta + size * rng.normal(size=state.theta.size)
        moved = lmm.at_theta(design, theta, reml=method == "REML")
        assert moved.criterion >= state.criterion - 1e-6


@few
@given(problems, methods, seeds)
def test_order_of_rows_and_names_of_levels_do_not_matter(problem, method, seed):
    assume(estimable(problem))
    formula, data = frame_of(problem)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data))
    shuffled = data.iloc[order].copy()
    for t in problem.terms:
        names = rng.permutation([f"level {i:02d}" for i in range(t.n_levels)])
        shuffled[t.group] = names[data[t.group].to_numpy()[order]]
    a, b = fitted(formula, data, method=method), fitted(formula, shuffled, method=method)
    assert a.criterion == pytest.approx(b.criterion, abs=1e-5)
    if same_covariances(a, b):
        np.testing.assert_allclose(b.fitted, a.fitted[order], rtol=1e-2, atol=1e-2 * a.sigma)


@few
@given(problems, methods, st.floats(1e-6, 1e6), st.booleans(), st.floats(-1e3, 1e3))
def test_affine_change_of_the_response(problem, method, scale, flip, shift):
    assume(estimable(problem))
    scale = -scale if flip else scale
    formula, data = frame_of(problem)
    a = fitted(formula, data, method=method)
    b = fitted(formula, data.assign(y=scale * data["y"] + scale * shift), method=method)
    N = problem.y.size - (problem.X.shape[1] if method == "REML" else 0)
    assert b.criterion == pytest.approx(a.criterion + 2 * N * np.log(abs(scale)), abs=1e-4)
    if same_covariances(b, a, scale=scale**2):
        moved = scale * (a.beta + np.array([shift, *np.zeros(a.beta.size - 1)]))
        se = np.sqrt(np.diagonal(b.beta_cov))
        assert (np.abs(b.beta - moved) <= 1e-3 * se + 1e-9 * abs(scale * shift)).all()
        assert b.sigma == pytest.approx(abs(scale) * a.sigma, rel=1e-3)


@few
@given(problems, methods, st.floats(1e-6, 1e6), st.floats(-1e3, 1e3))
def test_affine_change_of_a_fixed_covariate(problem, method, scale, shift):
    """x -> scale x + shift: the slope is divided, the intercept moves, REML gains log det of the change of basis."""
    assume(estimable(problem))
    formula, data = frame_of(problem)
    a = fitted(formula, data, method=method)
    b = fitted(formula, data.assign(x1=scale * data["x1"] + scale * shift), method=method)
    change = 2 * np.log(scale) if method == "REML" else 0.0
    assert b.criterion == pytest.approx(a.criterion + change, abs=1e-4)
    if same_covariances(a, b):
        se = np.sqrt(np.diagonal(a.beta_cov))
        assert abs(b.beta[1] * scale - a.beta[1]) <= 1e-3 * se[1]
        back = b.beta[0] + b.beta[1] * scale * shift
        assert abs(back - a.beta[0]) <= 1e-3 * se[0] + 1e-6 * abs(shift) * se[1]


@few
@given(
    st.sampled_from(["slopes", "nested", "crossed-slopes"]), seeds, methods, st.floats(1e-4, 1e4), st.floats(-1e2, 1e2)
)
def test_affine_change_of_a_random_covariate(kind, seed, method, scale, shift):
    """An unstructured term spans the same columns whatever the origin and the unit of its covariate."""
    problem = random_problem(np.random.default_rng(seed), kind, 120)
    formula, data = frame_of(problem)
    moved = data.assign(**{c: scale * data[c] + scale * shift for c in data if c == "z01"})
    a, b = fitted(formula, data, method=method), fitted(formula, moved, method=method)
    assert b.criterion == pytest.approx(a.criterion, abs=1e-4)
    back = np.array([[1.0, scale * shift], [0.0, scale]])
    k = derived.term_covariances(a)[0].shape[0]
    T: Array = np.eye(k)
    T[:2, :2] = back
    mine = T @ derived.term_covariances(b)[0] @ T.T
    scale_of = np.abs(np.diagonal(derived.term_covariances(a)[0])).max() + a.sigma**2
    if abs(a.criterion - b.criterion) < 1e-7:
        np.testing.assert_allclose(mine, derived.term_covariances(a)[0], atol=2e-2 * scale_of)


@few
@given(problems, methods, seeds, st.floats(1e-6, 1e6))
def test_units_of_the_weights(problem, method, seed, scale):
    assume(estimable(problem))
    formula, data = frame_of(problem)
    weights = np.random.default_rng(seed).uniform(0.3, 3.0, len(data))
    a = fitted(formula, data, method=method, weights=weights)
    b = fitted(formula, data, method=method, weights=scale * weights)
    assert b.criterion == pytest.approx(a.criterion, abs=1e-5)
    if same_covariances(b, a):
        assert b.sigma == pytest.approx(a.sigma * np.sqrt(scale), rel=1e-3)


@few
@given(problems, methods, seeds)
def test_chosen_effects_added_to_the_response_are_found_again(problem, method, seed):
    """y + X c: the criterion and everything random stay, beta moves by c."""
    assume(estimable(problem))
    formula, data = frame_of(problem)
    c = 5.0 * np.random.default_rng(seed).normal(size=problem.X.shape[1])
    a = fitted(formula, data, method=method)
    b = fitted(formula, data.assign(y=data["y"] + problem.X @ c), method=method)
    assert b.criterion == pytest.approx(a.criterion, abs=1e-5)
    if same_covariances(a, b):
        assert (np.abs(b.beta - a.beta - c) <= 1e-3 * np.sqrt(np.diagonal(a.beta_cov))).all()
        for p, q in zip(a.modes, b.modes, strict=True):
            np.testing.assert_allclose(p, q, atol=2e-2 * (a.sigma + np.abs(q).max()))
