"""The stages of a fit, each alone and together, and what can be asked of a fitted state."""

from __future__ import annotations

import warnings
import zlib
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.linalg import LinAlgWarning

import interlace
from interlace import Control
from interlace.core.terms import Term
from interlace.errors import ConvergenceWarning, RankDeficiencyWarning
from interlace.estimate import derived, lmm
from interlace.frames.build import build_design
from tests.problems import KINDS, Problem, dense_fit, factors_of, frame_of, joint_covariance, random_problem


def design_of(kind: str, seed: int = 0, **kwargs):
    problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), seed, 11]), kind)
    formula, data = frame_of(problem)
    return build_design(formula, data, **kwargs)


def as_problem(design) -> Problem:
    """A design as arrays for the dense formulas, rows multiplied by the roots of their weights."""
    root = np.ones(design.y.size) if design.weights is None else np.sqrt(design.weights)
    terms = tuple(Term(t.group, t.codes, t.Z * root[:, None], len(t.levels), t.structure) for t in design.terms)
    y = design.y if design.offset is None else design.y - design.offset
    return Problem("", terms, design.X * root[:, None], y * root)


def assert_state_is_dense(state, *, rtol: float = 1e-7) -> None:
    """Everything in a state against the dense formulas at its theta."""
    design = state.problem.design
    problem = as_problem(design)
    problem = replace(problem, X=problem.X[:, state.kept])
    dense = dense_fit(problem, factors_of(problem, state.theta), reml=state.reml)
    log_weights = 0.0 if design.weights is None else np.log(design.weights).sum()
    assert state.criterion == pytest.approx(dense.deviance - log_weights, rel=1e-9, abs=1e-6)
    np.testing.assert_allclose(state.beta, dense.beta, rtol=rtol, atol=rtol * np.abs(dense.beta).max(initial=0.0))
    np.testing.assert_allclose(state.beta_cov, dense.beta_cov, rtol=rtol * 10)
    assert state.sigma == pytest.approx(dense.sigma, rel=rtol)
    covariances = derived.conditional_covariances(state)
    for ours, theirs in zip(state.modes, dense.modes, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * max(np.abs(theirs).max(), dense.sigma))
    for ours, theirs in zip(covariances, dense.condvar, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol * 10, atol=rtol * dense.sigma**2)
    fixed = design.X[:, state.kept] @ state.beta + (0.0 if design.offset is None else design.offset)
    np.testing.assert_allclose(state.fixed, fixed, rtol=1e-9, atol=1e-9)
    random = sum((t.Z * b[t.codes]).sum(axis=1) for t, b in zip(design.terms, state.modes, strict=True))
    np.testing.assert_allclose(state.fitted, fixed + random, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_is_what_the_dense_formulas_give(kind, reml):
    assert_state_is_dense(lmm.fit_design(design_of(kind), reml=reml))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_offset(kind):
    plain = design_of(kind)
    rng = np.random.default_rng(5)
    weighted = replace(plain, weights=rng.uniform(0.2, 3.0, plain.y.size), offset=rng.normal(size=plain.y.size))
    state = lmm.fit_design(weighted, reml=True)
    assert_state_is_dense(state)
    assert abs(state.criterion - lmm.fit_design(plain, reml=True).criterion) > 1e-3


@pytest.mark.parametrize("kind", ["slopes", "nested", "crossed-slopes"])
def test_stages_one_by_one_are_the_fit(kind):
    design = design_of(kind)
    problem = lmm.prepare(design, reml=True)
    assert problem.design is design
    assert problem.control == Control()
    target = lmm.objective(problem)
    summary, e = lmm.optimize(problem)
    assert target(summary.x) == pytest.approx(summary.value, abs=1e-10)
    state, whole = lmm.finish(problem, summary, e), lmm.fit_design(design, reml=True)
    assert state.criterion == whole.criterion
    np.testing.assert_array_equal(state.theta, whole.theta)
    np.testing.assert_array_equal(state.beta, whole.beta)
    assert derived.elimination(state).pwrss == pytest.approx(e.pwrss, rel=1e-12)


@pytest.mark.parametrize("reml", [True, False], ids=["REML", "ML"])
@pytest.mark.parametrize("kind", KINDS)
def test_at_theta_of_a_fit_is_the_fit(kind, reml):
    design = design_of(kind, 1)
    state = lmm.fit_design(design, reml=reml)
    again = lmm.at_theta(design, state.theta, reml=reml)
    np.testing.assert_array_equal(again.theta, state.theta)
    assert again.criterion == pytest.approx(state.criterion, abs=1e-8)
    assert again.sigma == pytest.approx(state.sigma, rel=1e-9)
    np.testing.assert_allclose(again.beta, state.beta, rtol=1e-9, atol=1e-9)
    for a, b in zip(again.modes, state.modes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert (again.opt.optimizer, again.opt.evaluations, again.opt.iterations) == ("none", 1, 0)


def test_at_theta_away_from_the_optimum():
    design = design_of("crossed-slopes")
    theta = np.array([1.0, -0.3, 0.4, 0.7, 0.2, 0.0])
    assert_state_is_dense(lmm.at_theta(design, theta, reml=True))
    assert_state_is_dense(lmm.at_theta(design, np.zeros(6), reml=False))


@pytest.mark.parametrize("kind", KINDS)
def test_refit_is_a_fresh_fit(kind):
    design = design_of(kind)
    rng = np.random.default_rng(9)
    design = replace(design, weights=rng.uniform(0.5, 2.0, design.y.size), offset=rng.normal(size=design.y.size))
    old = lmm.fit_design(design, reml=True)
    criterion = old.criterion
    y = design.y + design.terms[0].Z[:, 0] * rng.normal(size=len(design.terms[0].levels))[design.terms[0].codes]
    again, fresh = lmm.refit_response(old, y), lmm.fit_design(replace(design, y=y), reml=True)
    assert again.criterion == pytest.approx(fresh.criterion, abs=1e-7)
    np.testing.assert_allclose(again.beta, fresh.beta, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(again.problem.design.y, y)
    assert_state_is_dense(again)
    assert old.criterion == criterion
    assert lmm.at_theta(old.problem.design, old.theta, reml=True).criterion == pytest.approx(criterion, abs=1e-8)


def test_means_of_the_rows_are_formed_when_asked_for():
    state = lmm.fit_design(design_of("slopes"), reml=True)
    assert "fitted" not in vars(state.means)
    refitted = lmm.refit_response(state, state.problem.design.y[::-1].copy())
    assert "fitted" not in vars(state.means)
    assert_state_is_dense(refitted)
    assert refitted.fitted is refitted.fitted


def sd_scale(kind: str, **changes):
    """Fit after changes to the frame, and the plain fit."""
    problem = random_problem(np.random.default_rng([zlib.crc32(kind.encode()), 0, 11]), kind)
    formula, data = frame_of(problem)
    weights = changes.pop("weights", None)
    changed = data.assign(**{name: change(data[name]) for name, change in changes.items() if name in data})
    plain = lmm.fit_design(build_design(formula, data), reml=True)
    return lmm.fit_design(build_design(formula, changed, weights=weights), reml=True), plain


@pytest.mark.parametrize("kind", ["slopes", "nested", "crossed", "split"])
@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_units_of_the_response(kind, scale):
    state, plain = sd_scale(kind, y=lambda y: y * scale)
    N = plain.problem.cp.n - plain.beta.size
    assert state.criterion == pytest.approx(plain.criterion + 2 * N * np.log(scale), abs=1e-6)
    np.testing.assert_allclose(state.theta, plain.theta, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state.beta, scale * plain.beta, rtol=1e-6, atol=1e-8 * scale)
    assert state.sigma == pytest.approx(scale * plain.sigma, rel=1e-7)


@pytest.mark.parametrize("kind", ["slopes", "nested", "crossed"])
def test_shift_of_the_response(kind):
    state, plain = sd_scale(kind, y=lambda y: y + 1e6)
    assert state.criterion == pytest.approx(plain.criterion, abs=1e-5)
    np.testing.assert_allclose(state.theta, plain.theta, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(state.beta - plain.beta, [1e6, *np.zeros(plain.beta.size - 1)], atol=1e-6)


@pytest.mark.parametrize("scale", [1e12, 1e-12, -3.0])
def test_units_of_a_covariate_with_a_random_slope(scale):
    state, plain = sd_scale("slopes", x1=lambda x: x * scale, z01=lambda x: x * scale)
    L, K = derived.term_factors(state)[0], derived.term_factors(plain)[0]
    units = np.diag([1.0, 1.0 / scale, *np.ones(len(L) - 2)])
    assert state.criterion == pytest.approx(plain.criterion - 2 * -np.log(abs(scale)), abs=1e-6)
    np.testing.assert_allclose(L @ L.T, units @ K @ K.T @ units, rtol=1e-5)
    assert state.beta[1] == pytest.approx(plain.beta[1] / scale, rel=1e-7)
    assert [c.code for c in state.checks] == [c.code for c in plain.checks]


@pytest.mark.parametrize("shift", [1.0, 1e3, 1e6])
def test_shift_of_a_covariate_with_a_random_slope(shift):
    """The model is the same one: intercepts are those at x = -shift."""
    state, plain = sd_scale("slopes", x1=lambda x: x + shift, z01=lambda x: x + shift)
    assert state.criterion == pytest.approx(plain.criterion, abs=1e-5)
    np.testing.assert_allclose(state.fitted, plain.fitted, atol=1e-5)
    L, K = derived.term_factors(state)[0], derived.term_factors(plain)[0]
    move = np.eye(len(L))
    move[0, 1] = shift
    np.testing.assert_allclose(move @ L @ L.T @ move.T, K @ K.T, rtol=1e-3, atol=1e-3)
    assert state.opt.evaluations < 40


@pytest.mark.parametrize("kind", ["slopes", "crossed", "split"])
@pytest.mark.parametrize("scale", [1e12, 1e-12])
def test_units_of_the_weights(kind, scale):
    """Only the residual variance is in units of the weights."""
    state, plain = sd_scale(kind, weights=np.full(72, scale))
    assert state.criterion == pytest.approx(plain.criterion, abs=1e-6)
    assert state.sigma == pytest.approx(plain.sigma * np.sqrt(scale), rel=1e-7)
    np.testing.assert_allclose(state.beta, plain.beta, rtol=1e-7, atol=1e-9)
    for a, b in zip(derived.term_covariances(state), derived.term_covariances(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert [c.code for c in state.checks] == [c.code for c in plain.checks]


def test_integer_weights_are_repeated_rows_for_the_fixed_effects():
    """At given theta: beta and the quadratic form are those of repeated rows."""
    design = design_of("one")
    count = np.random.default_rng(1).integers(1, 4, design.y.size)
    formula, data = frame_of(random_problem(np.random.default_rng([zlib.crc32(b"one"), 0, 11]), "one"))
    repeated = build_design(formula, data.loc[data.index.repeat(count)])
    theta = np.array([0.8])
    a = lmm.at_theta(replace(design, weights=count.astype(float)), theta, reml=False)
    b = lmm.at_theta(repeated, theta, reml=False)
    np.testing.assert_allclose(a.beta, b.beta, rtol=1e-10)
    np.testing.assert_allclose(a.modes[0], b.modes[0], atol=1e-10)


def new_rows(design, rng, m=30):
    """Covariates and levels of new rows: fitted, shuffled (inconsistent nesting), and unseen ones."""
    pick = rng.integers(0, design.y.size, m)
    Z = [t.Z[rng.integers(0, design.y.size, m)] for t in design.terms]
    codes = {}
    for t in design.terms:
        shuffled = rng.integers(0, len(t.levels), m)
        level = np.where(rng.random(m) < 0.5, t.codes[pick], shuffled)
        codes.setdefault(t.group, np.where(rng.random(m) < 0.2, -1, level))
    return design.X[pick] + rng.normal(size=(m, design.X.shape[1])), Z, [codes[t.group] for t in design.terms]


@pytest.mark.parametrize("excluded", [None, 0, -1])
@pytest.mark.parametrize("kind", KINDS)
def test_linear_predictor_variance(kind, excluded):
    design = design_of(kind)
    state = lmm.fit_design(design, reml=True)
    X, Z, codes = new_rows(design, np.random.default_rng(3))
    if excluded is not None:
        Z[excluded] = codes[excluded] = None
    problem = as_problem(design)
    factors = factors_of(problem, state.theta)
    wide, extra = [], np.zeros(len(X))
    for t, z, c, L in zip(problem.terms, Z, codes, factors, strict=True):
        columns = np.zeros((len(X), t.n_levels, t.k))
        if z is not None:
            seen = np.flatnonzero(c >= 0)
            columns[seen, c[seen]] = z[seen]
            extra += np.where(c < 0, ((z @ L) ** 2).sum(axis=1), 0.0)
        wide.append(columns.reshape(len(X), -1))
    rows = np.concatenate([*wide, X], axis=1)
    expected = np.einsum("ni,ij,nj->n", rows, joint_covariance(problem, factors), rows) + extra
    ours = derived.linear_predictor_variance(state, X, Z, codes)
    np.testing.assert_allclose(ours, state.sigma**2 * expected, rtol=1e-6, atol=1e-8)


def test_linear_predictor_variance_with_weights_of_any_unit():
    design = replace(design_of("slopes"), weights=np.full(72, 1e8))
    X, Z, codes = new_rows(design, np.random.default_rng(3))
    a = derived.linear_predictor_variance(lmm.fit_design(design, reml=True), X, Z, codes)
    b = derived.linear_predictor_variance(lmm.fit_design(replace(design, weights=None), reml=True), X, Z, codes)
    np.testing.assert_allclose(a, b, rtol=1e-4)


def test_theta0_is_where_the_optimizer_starts():
    design = design_of("slopes")
    best = lmm.fit_design(design, reml=True)
    shape = best.theta.shape
    for start in (best.theta, np.zeros(shape), np.full(shape, -0.7), np.full(shape, 30.0)):
        state = lmm.fit_design(design, reml=True, theta0=start)
        assert state.criterion == pytest.approx(best.criterion, abs=1e-6)
    again = lmm.fit_design(design, reml=True, theta0=best.theta)
    assert again.opt.evaluations <= best.opt.evaluations
    first = lmm.fit_design(design, reml=True, theta0=np.full(shape, 0.3)).opt.trace[0]
    assert first[1] == pytest.approx(at_inner(design, np.full(shape, 0.3)), abs=1e-8)


def at_inner(design, theta) -> float:
    """Criterion at theta in the units of the optimizer's trace (standardized response and covariates)."""
    return lmm.at_theta(design, theta, reml=True).opt.value - inner_constant(design)


def inner_constant(design) -> float:
    problem = lmm.prepare(design, reml=True)
    N = problem.cp.n - problem.structure.p
    return 2.0 * N * np.log(problem.response.scale) + 2.0 * problem.basis.log_det


@pytest.mark.parametrize("optimizer", ["auto", "lbfgsb", "bobyqa"])
def test_each_optimizer_reaches_the_fit(optimizer):
    design = design_of("nested")
    best = lmm.fit_design(design, reml=True).criterion
    assert lmm.fit_design(design, reml=True, optimizer=optimizer).criterion == pytest.approx(best, abs=1e-5)


def test_singular_values_have_no_units():
    small, large = (sd_scale("slopes", x1=lambda x, s=s: x * s, z01=lambda x, s=s: x * s)[0] for s in (1e-6, 1e6))
    for a, b in zip(derived.singular_values(small), derived.singular_values(large), strict=True):
        assert (np.diff(a) >= 0).all()
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-8)


def records(formula: str, data: pd.DataFrame, **kwargs):
    """Result and warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = interlace.fit(formula, data, **kwargs)
    return result, caught


@pytest.fixture
def data() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    g = np.repeat(np.arange(12), 10)
    x = rng.normal(size=120)
    y = 1 + x + rng.normal(size=12)[g] + rng.normal(size=120)
    return pd.DataFrame({"y": y, "x": x, "g": g, "none": rng.permutation(g), "w": rng.normal(size=120)})


def test_a_good_fit_says_nothing(data):
    result, caught = records("y ~ x + (1 | g)", data)
    assert caught == []
    assert result.state.checks == ()


def flat(data: pd.DataFrame) -> pd.DataFrame:
    """Group means of the response that differ less than chance."""
    return data.assign(y=np.tile(np.arange(10.0), 12) + 0.01 * data["x"])


def test_singular_fit(data):
    result, caught = records("y ~ x + (1 | g)", flat(data))
    (check,) = result.state.checks
    assert (check.code, check.severity, check.term) == ("singular", "warning", "g")
    assert check.value == 0.0
    assert check.message == "the variance of (Intercept | g) is estimated as zero"
    (warning,) = caught
    assert warning.category is ConvergenceWarning
    text = str(warning.message)
    assert text == f"singular fit: {check.message}. What to try: {check.advice}"


def test_singular_covariance_names_its_rank(data):
    result, caught = records("y ~ x + (w | g)", data.assign(w=np.random.default_rng(0).normal(size=120)))
    (values,) = derived.singular_values(result.state)
    assert values[0] < 1e-4 < 0.1 < values[1]
    assert "has rank 1 instead of 2" in result.state.checks[0].message
    assert "(Intercept + w | g)" in str(caught[0].message)


def test_several_problems_make_one_convergence_warning(data):
    result, caught = records("y ~ x + (1 | g) + (1 | none)", flat(data))
    assert [c.code for c in result.state.checks] == ["singular", "singular"]
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert "(Intercept | g)" in str(caught[0].message)
    assert "(Intercept | none)" in str(caught[0].message)


def test_rank_deficient_columns_are_named(data):
    result, caught = records("y ~ x + I(2 * x) + (1 | g)", data)
    (check,) = result.state.checks
    assert check.code == "rank-deficient"
    assert check.value == 1.0
    assert [w.category for w in caught] == [RankDeficiencyWarning]
    assert "dropped" in str(caught[0].message)
    assert check.term in str(caught[0].message)
    assert result.state.kept.tolist() == [0, 1]
    plain, _ = records("y ~ x + (1 | g)", data)
    assert result.state.criterion == pytest.approx(plain.state.criterion, abs=1e-9)


def test_ill_conditioned_matrix(data):
    result, caught = records("y ~ z + (1 | g)", data.assign(z=data["x"] + 1e7 / 2))
    assert [c.code for c in result.state.checks] == ["ill-conditioned"]
    assert [w.category for w in caught] == [LinAlgWarning]
    assert "center and scale" in str(caught[0].message)
    assert result.state.checks[0].value > 1e6


def test_units_alone_are_not_ill_conditioned(data):
    _, caught = records("y ~ z + (1 | g)", data.assign(z=data["x"] * 1e12))
    assert caught == []


def test_not_converged(data):
    start = [20.0, 3.0, 9.0]
    result, caught = records("y ~ x + (w | g)", data, theta0=start, control=Control(max_iterations=1, max_restarts=0))
    assert result.state.checks[0].code == "not-converged"
    assert result.state.checks[0].severity == "error"
    assert [w.category for w in caught] == [ConvergenceWarning]
    text = str(caught[0].message)
    assert text.startswith("optimizer did not converge: ")
    assert 'optimizer="bobyqa"' in text
    assert "Control(max_iterations=...)" in text
    assert not result.state.opt.converged


def test_zero_weights_are_mentioned_but_not_warned_of(data):
    weights = np.ones(120)
    weights[:3] = 0.0
    result, caught = records("y ~ x + (1 | g)", data, weights=weights)
    assert caught == []
    (check,) = result.state.checks
    assert (check.code, check.severity, check.value) == ("zero-weight", "info", 3.0)


def test_singular_tol_can_be_changed(data):
    design = build_design("y ~ x + (1 | g)", data)
    theta = np.array([0.01])
    assert lmm.at_theta(design, theta, reml=True).checks == ()
    (check,) = lmm.at_theta(design, theta, reml=True, control=Control(singular_tol=0.1)).checks
    assert (check.code, check.limit) == ("singular", 0.1)


def test_warnings_point_at_the_line_of_the_call(data):
    for frame, formula in ((flat(data), "y ~ x + (1 | g)"), (data, "y ~ x + I(2 * x) + (1 | g)")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            interlace.fit(formula, frame)
        (warning,) = caught
        assert warning.filename == __file__


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tol": 0.0}, "tol must be positive"),
        ({"tol": float("nan")}, "tol must be positive"),
        ({"singular_tol": -1.0}, "singular_tol must be positive"),
        ({"rank_tol": 0}, "rank_tol must be positive"),
        ({"max_iterations": 0}, "max_iterations must be a whole number of at least 1"),
        ({"max_iterations": 2.5}, "max_iterations must be a whole number"),
        ({"max_restarts": -1}, "max_restarts must be a whole number of at least 0"),
    ],
)
def test_control_refuses_what_cannot_be_meant(options, message):
    with pytest.raises(ValueError, match=message):
        Control(**options)


def test_control_is_passed_on(data):
    design = build_design("y ~ x + z + (1 | g)", data.assign(z=data["x"] + 1e-5 * data["w"]))
    assert lmm.prepare(design, reml=True).basis.kept.size == 3
    assert lmm.prepare(design, reml=True, control=Control(rank_tol=1e-3)).basis.kept.size == 2


def test_a_degenerate_fit_says_which_effects_depend_on_which() -> None:
    frame = interlace.datasets.load("kb_like")
    with pytest.warns(ConvergenceWarning, match=r"rank 2 instead of 4: at every level a = .* b, c = .* b") as caught:
        result = interlace.fit("y ~ a + b + c + (a + b + c | s) + (a + b + c | i)", frame, method="ML")
    assert len(caught) == 1
    assert result.deviance < 28751.305
    of_subjects, of_items = derived.dependencies(result.state)
    assert of_items == {}
    modes = result.random_effects["s"].to_numpy()
    assert sorted(of_subjects) == [1, 3]
    for column, coefficients in of_subjects.items():
        np.testing.assert_allclose(modes[:, column], modes @ coefficients, atol=1e-6 * np.abs(modes).max())


def test_an_effect_without_variance_depends_on_nothing() -> None:
    rng = np.random.default_rng(0)
    g, x = np.repeat(np.arange(12), 6), np.tile(np.arange(6.0), 12)
    residual = rng.normal(size=(12, 6))
    # Orthogonal to slopes within every group: no slope varies.
    residual -= (residual @ (x[:6] - 2.5))[:, None] * (x[:6] - 2.5) / 17.5
    frame = pd.DataFrame({"y": (3.0 * rng.normal(size=12)[:, None] + residual).ravel(), "x": x, "g": g})
    with pytest.warns(ConvergenceWarning, match=r"the variances of .x. in .* are estimated as zero"):
        result = interlace.fit("y ~ x + diag(x | g)", frame)
    (found,) = derived.dependencies(result.state)
    assert list(found) == [1]
    assert not found[1].any()
