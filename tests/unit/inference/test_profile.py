"""Profile likelihood intervals against R's deviance, dense formulas, and R's confint."""

from __future__ import annotations

import warnings
from functools import lru_cache

import joblib
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import optimize, stats

import interlace
from interlace.core.scaling import convert_theta
from interlace.errors import ModelError
from interlace.estimate.glmm import target
from interlace.estimate.lmm import state_at
from interlace.inference.profile import profile_curves, profile_limits
from interlace.inference.profile_parameters import (
    Parameter,
    coefficients,
    covariance_parameters,
    estimates,
    of_fit,
    standard_deviations,
)
from tests.problems import Problem, factors_of, frame_of, marginal, random_problem, random_theta

QUANTILE = 3.841458820694124


@lru_cache
def fitted(formula, data, method="REML"):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit(formula, interlace.datasets.load(data), method=method).state


def all_of(state):
    return standard_deviations(state) + coefficients(state)


#: Ends found in R by root finding (uniroot, optim) on the deviance function of lme4 1.1-31 itself, not its splines.
EXACT = {
    ("Reaction ~ Days + (Days | Subject)", "sleepstudy"): [
        (14.38138452, 37.71605499),
        (-0.4814925806, 0.6850189685),
        (3.801177285, 8.753391986),
        (22.89825651, 28.85799921),
        (237.6806899, 265.1295198),
        (7.358652004, 13.57591991),
    ],
    ("Yield ~ 1 + (1 | Batch)", "Dyestuff"): [(12.19650528, 84.06341097), (38.23012331, 67.65767279)],
    ("Yield ~ 1 + (1 | Batch)", "Dyestuff2"): [(0.0, 2.084047872), (2.892845043, 4.815830304)],
    ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin"): [
        (0.6335651869, 1.18210333),
        (1.095831475, 3.556322393),
        (0.4858455593, 0.6294534265),
    ],
    ("strength ~ 1 + (1 | batch / cask)", "Pastes"): [
        (2.157930924, 4.053805118),
        (0.0, 2.946597082),
        (0.6520228893, 1.085447559),
    ],
}


@pytest.mark.parametrize(("model", "ends"), EXACT.items(), ids=[key[1] for key in EXACT])
@pytest.mark.parametrize("method", ["ML", "REML"])
def test_root_finding_on_the_deviance_of_r(model, ends, method):
    state = fitted(*model, method)
    found = profile_limits(state, all_of(state)[: len(ends)])
    assert_allclose(found.ends, ends, rtol=2e-8)
    assert not found.failed.any()
    assert found.lowest > -1e-8


#: confint(m, oldNames = FALSE) of lme4 1.1-31: profiles through splines, so three digits or so.
CAKE = {
    0: (5.04874397716459, 7.914537742037),
    1: (3.99631203624727, 4.808256975321),
    2: (29.76207508006303, 36.482369398174),
    3: (-6.22974343778871, 3.274187930022),
    5: (4.20883317813407, 8.651826658484),
    8: (-5.57278173410013, -1.129788253751),
    19: (-4.76691805253536, 1.516423584910),
}


def test_interactions_with_polynomial_contrasts():
    df = interlace.datasets.load("cake")
    state = interlace.fit("angle ~ recipe * C(temperature, contr.poly) + (1 | recipe:replicate)", df).state
    table = all_of(state)
    assert len(table) == 20
    names = state.problem.design.x_names
    order = {0: 0, 1: 1, 2: 2 + names.index("Intercept"), 3: 2 + names.index("recipe[T.B]")}
    found = profile_limits(state, [table[i] for i in order.values()]).ends
    assert_allclose(found, [CAKE[i] for i in order], atol=2e-4)


def test_variance_that_is_zero_at_the_estimate_only():
    """Far from the mean, random intercepts make up for a coefficient: the deviance is that of a model without one."""
    df = interlace.datasets.load("Dyestuff2")
    state = fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff2", "ML")
    for end in profile_limits(state, [Parameter("beta")]).ends[0]:
        less = interlace.fit("known ~ 0 + (1 | Batch)", df.assign(known=df["Yield"] - end), method="ML")
        assert less.theta[0] > 0.1
        assert_allclose(less.deviance - state.criterion, QUANTILE, atol=1e-7)


def dense_deviance(problem: Problem, values: np.ndarray, known: tuple[int, float] | None = None) -> float:
    """-2 log likelihood from the n x n covariance; with one coefficient known where it is given."""
    values = np.append(np.clip(values[:-1], -100.0, 100.0), np.clip(values[-1], -6.0, 6.0))
    sigma2 = np.exp(2 * values[-1])
    factors = [L / np.sqrt(sigma2) for L in factors_of(problem, values[:-1])]
    V = sigma2 * marginal(problem, factors)
    y, X = problem.y, problem.X
    if known is not None:
        y, X = y - X[:, known[0]] * known[1], np.delete(X, known[0], axis=1)
    half = np.linalg.cholesky(V)
    a, B = np.linalg.solve(half, y), np.linalg.solve(half, X)
    residual = a - B @ np.linalg.lstsq(B, a, rcond=None)[0]
    return float(2 * np.log(np.diagonal(half)).sum() + residual @ residual + y.size * np.log(2 * np.pi))


def brute_force(problem: Problem, parameter: Parameter, value: float, start: np.ndarray, further: int = 0) -> float:
    """Least dense deviance with a parameter at a value, by a general constrained optimizer from several points."""
    rng = np.random.default_rng(0)
    starts = [start, 0.5 * start + 0.2, start + 0.3 * rng.normal(size=start.size)]
    starts += [np.append(random_theta(rng, problem, size), start[-1]) for size in np.geomspace(0.5, 2.0, further)]
    if parameter.kind == "beta":
        known = (parameter.row, value)
        runs = [optimize.minimize(lambda v: dense_deviance(problem, v, known), s, method="L-BFGS-B") for s in starts]
        return min(run.fun for run in runs)

    def off(values):
        factors, sigma = factors_of(problem, values[:-1]), float(np.exp(np.clip(values[-1], -6.0, 6.0)))
        return estimates(factors, 1.0, sigma, np.empty(0), [parameter])[0] - value

    best = np.inf
    for s in starts:
        run = optimize.minimize(
            lambda v: dense_deviance(problem, v),
            s,
            method="SLSQP",
            constraints=[{"type": "eq", "fun": off}],
            options={"ftol": 1e-12, "maxiter": 300},
        )
        if abs(off(run.x)) < 1e-7:
            best = min(best, run.fun)
    return best


@pytest.mark.parametrize(("kind", "seed"), [("one", 1), ("slopes", 3), ("split", 5), ("crossed", 2), ("nested", 11)])
def test_limits_by_brute_force(kind, seed):
    problem = random_problem(np.random.default_rng(seed), kind, n=48)
    formula, df = frame_of(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = interlace.fit(formula, df, method="ML").state
    covariances = [p for p in standard_deviations(state, other="cov") if p.kind == "cov"]
    table = all_of(state) + covariances
    found = profile_limits(state, table)
    start = np.append(state.theta * state.sigma, np.log(state.sigma))
    least = dense_deviance(problem, start)
    assert_allclose(least, state.criterion, atol=1e-7)
    interior = 0
    for parameter, ends, rises in zip(table, found.ends, found.rises, strict=True):
        for end, rise in zip(ends, rises, strict=True):
            at_bound = (parameter.kind == "cor" and abs(end) == 1.0) or (parameter.kind == "sd" and end == 0.0)
            if at_bound:
                assert rise <= QUANTILE
            elif np.isfinite(end):
                interior += 1
                assert abs(rise - QUANTILE) < 1e-6
                assert_allclose(brute_force(problem, parameter, end, start) - least, QUANTILE, atol=2e-5)
    assert interior >= 2 * len(coefficients(state)) + 3


@pytest.mark.parametrize(("kind", "seed"), [("slopes", 0), ("crossed-slopes", 8)])
def test_limits_around_singular_fits(kind, seed):
    """A variance that is zero along the path is a local minimum over the others, from which no slope leads away."""
    problem = random_problem(np.random.default_rng(seed), kind, n=40)
    formula, df = frame_of(problem)
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        state = interlace.fit(formula, df, method="ML").state
    table = [p for p in all_of(state) if p.kind != "cor"]
    found = profile_limits(state, table)
    assert not found.failed.any()
    start = np.append(state.theta * state.sigma, np.log(state.sigma))
    least = dense_deviance(problem, start)
    for parameter, ends, rises in zip(table, found.ends, found.rises, strict=True):
        for end, rise in zip(ends, rises, strict=True):
            if rise > QUANTILE - 1e-6:
                assert_allclose(brute_force(problem, parameter, end, start, 6) - least, QUANTILE, atol=2e-5)


@pytest.mark.parametrize("method", ["ML", "REML"])
def test_theta_is_profiled_on_the_criterion_of_the_fit(method):
    """By a bounded optimizer on the same criterion, diagonal entries not negative."""
    state = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy", method)
    table = covariance_parameters(state)
    found = profile_limits(state, table)
    for i, ends in enumerate(found.ends):
        free = [j for j in range(3) if j != i]
        bounds = [(0.0, None) if table[j].row == table[j].col else (None, None) for j in free]
        for end in ends:

            def criterion(values, i=i, free=free, end=end):
                theta = np.empty(3)
                theta[free], theta[i] = values, end
                return state_at(state.problem, theta).criterion

            run = optimize.minimize(
                criterion, state.theta[free], method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-14, "gtol": 1e-7}
            )
            assert_allclose(run.fun - state.criterion, QUANTILE, atol=1e-5)


def test_theta_of_one_term_is_a_standard_deviation_without_sigma():
    """One parameter: nothing to minimize over, so the criterion itself crosses the level."""
    state = fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff")
    for end in profile_limits(state, covariance_parameters(state)).ends[0]:
        assert_allclose(state_at(state.problem, np.array([end])).criterion - state.criterion, QUANTILE, atol=1e-7)


@pytest.mark.parametrize("level", [0.5, 0.9, 0.999])
def test_levels(level):
    state = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    rises = profile_limits(state, all_of(state), level).rises
    at_bound = rises < stats.chi2.ppf(level, 1) - 1e-6
    assert_allclose(rises[~at_bound], stats.chi2.ppf(level, 1), atol=1e-6)
    assert at_bound.sum() == (level == 0.999)  # the correlation's lower or upper end


def test_units_change_nothing():
    df = interlace.datasets.load("sleepstudy")
    df["Hours"] = 24.0 * df["Days"]
    df["Reaction"] = 1e-3 * df["Reaction"]
    state = interlace.fit("Reaction ~ Hours + (Hours | Subject)", df).state
    ends = profile_limits(state, all_of(state)).ends
    other = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    scale = np.array([1e-3, 1.0, 1e-3 / 24, 1e-3, 1e-3, 1e-3 / 24])
    assert_allclose(ends, profile_limits(other, all_of(other)).ends * scale[:, None], rtol=1e-7)


def test_weights_and_offset():
    df = interlace.datasets.load("sleepstudy")
    df["w"], df["o"] = np.tile([0.5, 1.0, 2.0], 60), np.tile([10.0, -5.0], 90)
    state = interlace.fit("Reaction ~ Days + (1 | Subject)", df, weights="w", offset="o").state
    shifted = df.assign(Reaction=df["Reaction"] - df["o"])
    plain = interlace.fit("Reaction ~ Days + (1 | Subject)", shifted, weights="w").state
    ends = profile_limits(state, all_of(state)).ends
    assert_allclose(ends, profile_limits(plain, all_of(plain)).ends, rtol=1e-8)
    # The end of a coefficient: the model in which it is known, fitted as one with an offset.
    known = shifted.assign(Reaction=shifted["Reaction"] - ends[3, 1] * df["Days"])
    less = interlace.fit("Reaction ~ 1 + (1 | Subject)", known, weights="w", method="ML")
    full = interlace.fit("Reaction ~ Days + (1 | Subject)", shifted, weights="w", method="ML")
    assert_allclose(less.deviance - full.deviance, QUANTILE, atol=1e-6)


def test_processes_change_nothing():
    state = fitted("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin")
    expected = profile_limits(state, all_of(state)).ends
    assert_allclose(profile_limits(state, all_of(state), n_jobs=2).ends, expected)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_allclose(profile_limits(state, all_of(state), n_jobs=None).ends, expected)


def test_no_parameters():
    found = profile_limits(fitted("Yield ~ 1 + (1 | Batch)", "Dyestuff"), [])
    assert found.ends.shape == found.rises.shape == (0, 2)
    assert found.lowest == 0.0


#: Five groups of three: two minima of the deviance, of which the optimizer may find the higher one.
TWO_MINIMA = pd.DataFrame(
    {
        "y": [1.359, 0.761, 0.501, -0.771, 1.766, 3.305, 2.567, 2.565, 2.768, 0.476, 0.434, 0.058, 2.057, 0.73, -0.114],
        "x": np.array([-1847, 1567, -96, 680, -137, -379, 463, 825, -203, -153, 686, -870, -1514, 395, -671]) / 1000.0,
        "g": np.repeat(range(5), 3),
    }
)


def _from(start):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.fit("y ~ x + (x | g)", TWO_MINIMA, method="ML", theta0=start).state


def test_lower_minima_are_found():
    lower, higher = _from([0.1, 0.0, 0.1]), state_at(_from([1.0, 0.0, 1.0]).problem, _second_minimum())
    assert higher.criterion > lower.criterion + 0.1
    for table in (all_of(lower), covariance_parameters(lower)):
        expected, found = profile_limits(lower, table), profile_limits(higher, table)
        assert not expected.improved
        assert found.improved
        assert_allclose(found.lowest, lower.criterion - higher.criterion, atol=1e-5)
        assert_allclose(found.ends, expected.ends, atol=1e-5)


def _second_minimum():
    """Theta of the higher minimum, wherever the library's optimizer would go from there."""
    problem = _from([1.0, 0.0, 1.0]).problem
    run = optimize.minimize(
        lambda theta: state_at(problem, theta).criterion,
        [1.12, -0.34, 1.51],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 2000},
    )
    assert_allclose(run.x, [1.12, -0.34, 1.51], atol=0.05)
    return run.x


def test_correlation_beside_a_variance_of_zero():
    """Groups with the same line, and residuals about it that no line could explain."""
    rng = np.random.default_rng(3)
    x = np.arange(6.0)
    basis = np.column_stack([np.ones(6), x])
    noise = rng.normal(size=(8, 6))
    noise -= noise @ basis @ np.linalg.pinv(basis.T @ basis) @ basis.T
    df = pd.DataFrame({"y": (1.0 + 2.0 * x + noise).ravel(), "x": np.tile(x, 8), "g": np.repeat(range(8), 6)})
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        state = interlace.fit("y ~ x + (x | g)", df).state
    found = profile_limits(state, [Parameter("cor", 0, 1, 0), Parameter("cov", 0, 1, 0), Parameter("sd", 0, 1, 1)])
    assert_allclose(found.ends[:2], [[-1.0, 1.0], [np.nan, np.nan]])
    assert found.ends[2, 0] == 0.0 < found.ends[2, 1]
    assert not profile_curves(state, [Parameter("cor", 0, 1, 0)], all_of(state)).curves


def test_the_lowest_of_several_minima():
    """An off-diagonal entry far from its estimate goes with a first variance of zero, off the path that leads there."""
    rng = np.random.default_rng(49)
    q, m = rng.integers(5, 12), rng.integers(3, 7)
    g = np.repeat(np.arange(q), m)
    rng.integers(0, 4, q * m)
    x = rng.normal(size=q * m) + 1.0
    rng.normal(size=q * m)
    sd = rng.choice([0, 0.3, 1.0], 2)
    y = 1 + 0.5 * x + rng.normal(size=q * m) + sd[0] * rng.normal(size=q)[g] + sd[1] * rng.normal(size=q)[g] * x
    state = interlace.fit("y ~ x + (x | g)", {"y": y, "x": x, "g": g}, method="ML").state
    for ends in profile_limits(state, covariance_parameters(state)).ends[1:2]:
        for end in ends:
            found = []
            for first in (0.0, 0.5, 1.0, 2.0):
                run = optimize.minimize(
                    lambda v, end=end: state_at(state.problem, np.array([v[0], end, v[1]])).criterion,
                    [first, 1.0],
                    method="L-BFGS-B",
                    bounds=[(0, None)] * 2,
                )
                found.append(run.fun - state.criterion)
            assert_allclose(min(found), QUANTILE, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "seed", "correlation"),
    [("slopes", 24, (0, 2, 0)), ("crossed-slopes", 21, (1, 1, 0)), ("crossed-slopes", 5, (1, 1, 0))],
)
def test_profiles_with_plateaus(kind, seed, correlation):
    """Where a variance of zero is a local minimum over the others, whatever the correlation is."""
    problem = random_problem(np.random.default_rng(seed), kind, n=40)
    formula, df = frame_of(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = interlace.fit(formula, df, method="ML").state
    found = profile_limits(state, [Parameter("cor", *correlation)])
    assert not found.failed.any()
    for end, rise in zip(found.ends[0], found.rises[0], strict=True):
        assert rise < QUANTILE if abs(end) == 1.0 else abs(rise - QUANTILE) < 1e-6


def test_bound_behind_a_plateau():
    """From afar the minimization at a correlation of -1 ends above the level; the lowest deviance there is below it."""
    rng = np.random.default_rng(3019)
    q, m = rng.integers(4, 10), rng.integers(3, 7)
    g = np.repeat(np.arange(q), m)
    x = rng.normal(size=q * m) + rng.choice([0.0, 1.0])
    sd = rng.choice([0, 0.3, 1.0], 2)
    y = 1 + 0.5 * x + rng.normal(size=q * m) + sd[0] * rng.normal(size=q)[g] + sd[1] * rng.normal(size=q)[g] * x
    state = interlace.fit("y ~ x + (x | g)", {"y": y, "x": x, "g": g}, method="ML").state
    found = profile_limits(state, [Parameter("cor", 0, 1, 0)])
    run = optimize.minimize(
        lambda v: state_at(state.problem, np.array([v[0], -v[1], 0.0])).criterion,
        [1.0, 0.5],
        method="L-BFGS-B",
        bounds=[(0, None)] * 2,
    )
    assert run.fun - state.criterion < QUANTILE - 0.5
    assert found.ends[0, 0] == -1.0
    assert not found.failed.any()
    assert_allclose(found.rises[0, 0], run.fun - state.criterion, atol=1e-5)


def test_plateau_below_the_level():
    """With a variance of zero every correlation has the same deviance, here below the level: all are possible."""
    problem = random_problem(np.random.default_rng(2), "crossed-slopes", n=40)
    formula, df = frame_of(problem)
    with pytest.warns(interlace.ConvergenceWarning, match="singular"):
        state = interlace.fit(formula, df, method="ML").state
    found = profile_limits(state, [Parameter("cor", 0, 1, 0)])
    assert_allclose(found.ends, [[-1.0, 1.0]])
    assert (found.rises < QUANTILE).all()
    assert not found.failed.any()


def glmm(formula, data, **arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return interlace.glmer(formula, interlace.datasets.load(data), **arguments).state


def cbpp(**arguments):
    return glmm("incidence / size ~ period + (1 | herd)", "cbpp", family="binomial", weights="size", **arguments)


#: confint(m) of lme4 1.1-31, through splines.
CBPP = [
    (0.346073203325, 1.099974648238),
    (-1.901211954871, -0.947754005963),
    (-1.616783255654, -0.407763067760),
    (-1.801024365627, -0.511536071275),
    (-2.500750563008, -0.800755315285),
]


def test_binomial_model_against_r():
    state = cbpp()
    assert_allclose(profile_limits(state, all_of(state)).ends, CBPP, atol=1e-4)


@pytest.mark.parametrize("nodes", [1, 9])
def test_ends_of_a_generalized_model_by_an_offset(nodes):
    """A model in which the coefficient is known, fitted with an offset, has the deviance of the end."""
    df = interlace.datasets.load("cbpp")
    df["trend"] = df["period"].astype(int) - 2.5
    formula = "incidence / size ~ trend + (1 | herd)"
    full = interlace.glmer(formula, df, "binomial", weights="size", nAGQ=nodes)
    for end in profile_limits(full.state, [Parameter("beta", row=1)]).ends[0]:
        offset = end * df["trend"].to_numpy()
        less = interlace.glmer(
            "incidence / size ~ 1 + (1 | herd)", df, "binomial", weights="size", nAGQ=nodes, offset=offset
        )
        assert_allclose(2 * (full.llf - less.llf), QUANTILE, atol=1e-6)


def test_generalized_model_on_theta_and_sd_scale_agree():
    state = cbpp()
    assert_allclose(
        profile_limits(state, covariance_parameters(state)).ends, profile_limits(state, standard_deviations(state)).ends
    )


def test_correlation_and_dispersion_of_a_gamma_model():
    """Ends lie where a general optimizer finds the level, with the parameter held by a penalty-free substitution."""
    state = glmm("Reaction ~ Days + (Days | Subject)", "sleepstudy", family="gamma", link="log")
    table = all_of(state)
    found = profile_limits(state, table)
    assert [p.kind for p in table] == ["sd", "cor", "sd", "sigma", "beta", "beta"]
    assert_allclose(found.rises, QUANTILE, atol=1e-6)
    deviance, n_theta = target(state.problem), 3
    rho = found.ends[1, 1]

    def at(values):
        first, second = np.exp(values[0]), np.exp(values[1])
        theta = np.array([first, second * rho, second * np.sqrt(1 - rho * rho)])
        inner = convert_theta(state.problem.terms, state.problem.bases, theta, to_user=False)
        return deviance(np.concatenate([inner, values[2:]]))

    start = np.concatenate([np.log(of_fit(state, [table[0], table[2]])), state.opt.x[n_theta:]])
    run = optimize.minimize(at, start, method="BFGS", options={"gtol": 1e-5})
    assert_allclose(run.fun - state.criterion, QUANTILE, atol=1e-4)


def test_refusals():
    message = "maximizes no likelihood"
    state = glmm(
        "Reaction ~ Days + (1 | Subject)",
        "sleepstudy",
        family="gamma",
        link="log",
        control=interlace.Control(dispersion="lme4"),
    )
    with pytest.raises(ModelError, match=message):
        profile_limits(state, covariance_parameters(state))
    joint = cbpp(nAGQ=0)
    with pytest.raises(ModelError, match="nAGQ=0"):
        profile_limits(joint, coefficients(joint))
    assert (profile_limits(joint, standard_deviations(joint)).rises > 3.8).all()


def test_curves():
    state = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    table = all_of(state)
    limits = profile_limits(state, table, 0.95)
    found = profile_curves(state, table, table, 0.99)
    assert [c.parameter for c in found.curves] == table
    for i, curve in enumerate(found.curves):
        assert (np.diff(curve.values) > 0.0).all()
        assert (np.diff(curve.zeta) > 0.0).all()
        assert curve.zeta[0] < -2.5
        assert curve.zeta[-1] > 2.5
        # Each curve contains its own parameter among the others, and passes through the limits.
        assert_allclose(curve.others[:, i], curve.values, rtol=1e-6)
        ends = np.interp([-np.sqrt(QUANTILE), np.sqrt(QUANTILE)], curve.zeta, curve.values)
        assert_allclose(ends, limits.ends[i], atol=0.03 * np.ptp(limits.ends[i]))


def test_points_of_curves_have_the_deviance_they_claim():
    """All parameters of a point, put into the dense deviance."""
    problem = random_problem(np.random.default_rng(3), "slopes", n=48)
    formula, df = frame_of(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = interlace.fit(formula, df, method="ML").state
    k = state.problem.shapes[0][0]
    table = all_of(state)
    n_sd = len(standard_deviations(state))
    for curve in profile_curves(state, table, table).curves:
        for zeta, values in zip(curve.zeta, curve.others, strict=True):
            psi = np.zeros((k, k))
            for parameter, value in zip(table, values, strict=True):
                if parameter.kind == "sd":
                    psi[parameter.row, parameter.row] = value**2
            for parameter, value in zip(table, values, strict=True):
                if parameter.kind == "cor" and np.isfinite(value):
                    i, j = parameter.row, parameter.col
                    psi[i, j] = psi[j, i] = value * np.sqrt(psi[i, i] * psi[j, j])
            sigma = values[n_sd - 1]
            V = sigma**2 * marginal(problem, [np.zeros((k, k))])
            Z = problem.terms[0].Z
            V += (Z @ psi @ Z.T) * (problem.terms[0].codes[:, None] == problem.terms[0].codes)
            residual = problem.y - problem.X @ values[n_sd:]
            deviance = np.linalg.slogdet(2 * np.pi * V)[1] + residual @ np.linalg.solve(V, residual)
            assert_allclose(deviance - state.criterion, zeta**2, atol=1e-5)
