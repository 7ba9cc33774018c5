"""Generalized models from a design to a state: optimum, standard errors, checks, and exact integrals as the judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, optimize
from scipy.special import logsumexp

import interlace
from interlace import Control
from interlace.core.families import Binomial, Gamma, Gaussian, InverseGaussian, NegativeBinomial, Poisson
from interlace.core.familynames import link_for
from interlace.estimate import derived
from interlace.estimate.glmm import fit_glmm, prepare_glmm, refit_glmm, state_at, target
from interlace.estimate.glmm_state import curvature
from interlace.frames.build import build_design

CBPP = "incidence / size ~ period + (1 | herd)"


def fitted(formula, data, family, link=None, *, weights=None, offset=None, **options):
    design = build_design(formula, data, weights=weights, offset=offset, family=family.name)
    return fit_glmm(design, family, link_for(family, link), **options)


def cbpp(**options):
    return fitted(CBPP, interlace.datasets.load("cbpp"), Binomial(), weights="size", **options)


def sleep(family, link, **options):
    return fitted("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"), family, link, **options)


def small(seed: int, n_groups: int = 8, size: int = 5) -> pd.DataFrame:
    """Positive amounts and counts in a few groups."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(n_groups), size)
    x = rng.normal(size=g.size)
    mean = np.exp(0.4 + 0.3 * x + 0.5 * rng.normal(size=n_groups)[g])
    return pd.DataFrame(
        {
            "g": g.astype(str),
            "x": x,
            "amount": rng.gamma(4.0, mean / 4.0),
            "count": rng.negative_binomial(2, 2 / (2 + mean)),
        }
    )


@pytest.mark.parametrize(
    ("nodes", "criterion", "theta", "beta"),
    [
        (1, 184.052563743, 0.6422615, [-1.3985321, -0.9923327, -1.1286721, -1.5803139]),
        (9, 183.966743593, 0.6475177, [-1.3992302, -0.9914038, -1.1278197, -1.5794710]),
    ],
)
def test_cbpp_is_that_of_lme4(nodes, criterion, theta, beta):
    """glmer of lme4 1.1-31 with tolPwrss = 1e-13; the constant that it leaves out for nAGQ > 1 is added."""
    state = cbpp(nodes=nodes)
    assert state.opt.converged
    assert state.criterion == pytest.approx(criterion, abs=1e-6)
    assert state.theta[0] == pytest.approx(theta, abs=5e-6)
    np.testing.assert_allclose(state.beta, beta, atol=5e-6)


@pytest.mark.parametrize("optimizer", ["lbfgsb", "bobyqa"])
@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_optimizers_agree(optimizer, nodes):
    best, other = cbpp(nodes=nodes), cbpp(nodes=nodes, optimizer=optimizer)
    assert other.opt.optimizer == optimizer
    assert other.opt.converged
    assert other.criterion == pytest.approx(best.criterion, abs=1e-7)
    np.testing.assert_allclose(other.beta, best.beta, atol=1e-3)


RESPONSES = [
    ("amount", Gamma(), "log"),
    ("amount", Gamma(), "inverse"),
    ("amount", InverseGaussian(), "log"),
    ("amount", Gaussian(), "log"),
    ("count", Poisson(), "log"),
    ("count", Poisson(), "sqrt"),
    ("count", NegativeBinomial(1.0), "log"),
]


def exact_deviance(frame, response, family, link, beta, sd, phi):
    """-2 log-likelihood by adaptive integration over the random intercept of each group."""
    return sum(
        exact_group(part[response].to_numpy(float), beta[0] + beta[1] * part["x"].to_numpy(), family, link, sd, phi)
        for _, part in frame.groupby("g")
    )


def exact_group(y, fixed, family, link, sd, phi):
    one, link = np.ones(y.size), link_for(family, link)

    def log_integrand(b):
        mu = link.mu(fixed + sd * b)
        if not (link.valid_eta(fixed + sd * b) & family.valid_mu(mu)).all():
            return -np.inf
        return float(np.sum(family.loglik(y, mu, one, phi))) - 0.5 * b * b - 0.5 * np.log(2 * np.pi)

    grid = np.linspace(-9.0, 9.0, 721)
    values = np.array([log_integrand(b) for b in grid])
    peak, top, possible = grid[np.argmax(values)], values.max(), grid[values > -np.inf]
    low, high = max(peak - 9.0, possible.min()), min(peak + 9.0, possible.max())

    def integrand(b):
        return np.exp(log_integrand(b) - top)

    area, _ = integrate.quad(integrand, low, high, points=[peak], epsabs=0, epsrel=1e-11, limit=400)
    return -2.0 * (np.log(area) + top)


@pytest.mark.parametrize(
    ("response", "family", "link"), RESPONSES, ids=[f"{f.name}-{name}" for _, f, name in RESPONSES]
)
def test_exact_integrals_agree_with_quadrature_at_the_optimum(response, family, link):
    """Where lme4 has conventions of its own, the likelihood itself is the judge: its value, and that it is largest."""
    frame = small(4)
    free = isinstance(family, NegativeBinomial)
    state = fitted(f"{response} ~ x + (1 | g)", frame, family, link, nodes=25, free_theta=free)
    assert state.opt.converged
    point = np.array([*state.beta, state.theta[0], np.log(state.model.family.theta if free else state.sigma**2)])

    def exact(v):
        here, phi = (NegativeBinomial(np.exp(v[3])), 1.0) if free else (family, np.exp(v[3]))
        return exact_deviance(frame, response, here, link, v[:2], v[2], phi)

    assert state.criterion == pytest.approx(exact(point), abs=2e-6)
    moves = np.sqrt(np.append(np.diagonal(state.beta_cov), 0.01 * state.theta[0] ** 2))
    steps = 0.02 * np.append(moves, 0.1 if free or family.has_dispersion else 0.0)
    for i in np.flatnonzero(steps):
        step = np.zeros(4)
        step[i] = steps[i]
        ahead, behind = exact(point + step), exact(point - step)
        here = state.criterion
        curvature_along = max(ahead + behind - 2.0 * here, 0.0)
        assert ahead > here - 1e-7, i
        assert behind > here - 1e-7, i
        assert abs(ahead - behind) < 0.2 * curvature_along + 1e-5, i


@pytest.mark.parametrize(
    ("family", "link", "tolerance"), [(Gamma(), "identity", 1e-5), (InverseGaussian(), "1/mu^2", 0.02)]
)
def test_where_linear_predictors_are_confined_many_nodes_approach_the_integral(family, link, tolerance):
    """The integrand ends where a mean would become impossible, which a smooth rule sees slowly."""
    frame = small(4)
    state = fitted("amount ~ x + (1 | g)", frame, family, link, nodes=99)
    exact = exact_deviance(frame, "amount", family, link, state.beta, state.theta[0], state.sigma**2)
    assert state.criterion == pytest.approx(exact, abs=tolerance)


def test_laplace_is_close_to_the_exact_likelihood_for_amounts():
    frame = small(2, size=12)
    laplace, exact = (fitted("amount ~ x + (1 | g)", frame, Gamma(), "log", nodes=k) for k in (1, 25))
    np.testing.assert_allclose(laplace.beta, exact.beta, atol=0.01)
    assert laplace.sigma == pytest.approx(exact.sigma, rel=0.01)


def test_quadrature_of_a_vector_valued_term_is_the_double_integral():
    rng = np.random.default_rng(8)
    g = np.repeat(np.arange(12), 6)
    x = rng.normal(size=g.size)
    eta = -0.3 + 0.5 * x + rng.normal(size=12)[g] + 0.6 * rng.normal(size=12)[g] * x
    frame = pd.DataFrame({"g": g.astype(str), "x": x, "y": (rng.random(g.size) < 1 / (1 + np.exp(-eta))).astype(int)})
    state = fitted("y ~ x + (x | g)", frame, Binomial(), nodes=15)
    assert state.opt.converged
    L = derived.term_factors(state)[0]
    grid = np.linspace(-7.0, 7.0, 141)
    u = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
    log_prior = -0.5 * (u * u).sum(axis=1) - np.log(2 * np.pi) + 2 * np.log(grid[1] - grid[0])
    total = 0.0
    for _, part in frame.groupby("g"):
        Z = np.column_stack([np.ones(len(part)), part["x"]])
        eta = (Z @ state.beta)[:, None] + Z @ L @ u.T
        sign = np.where(part["y"].to_numpy() == 1, 1.0, -1.0)[:, None]
        total += -2.0 * logsumexp(-np.logaddexp(0.0, -sign * eta).sum(axis=0) + log_prior)
    assert state.criterion == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("nodes", [1, 7])
def test_standard_errors_are_those_of_the_numerical_hessian(nodes):
    state = cbpp(nodes=nodes)
    deviance = target(state.problem)
    x, h = state.opt.x, 1e-3
    units = np.eye(x.size)
    by_values = np.array(
        [
            [
                (
                    deviance(x + h * a + h * b)
                    - deviance(x + h * a - h * b)
                    - deviance(x - h * a + h * b)
                    + deviance(x - h * a - h * b)
                )
                / (4 * h * h)
                for a in units
            ]
            for b in units
        ]
    )
    np.testing.assert_allclose(curvature(state), by_values, rtol=2e-4, atol=2e-4 * np.abs(by_values).max())
    inverse = 2.0 * np.linalg.inv(by_values)[1:, 1:]
    back = state.problem.basis.backward(np.eye(4))
    np.testing.assert_allclose(state.beta_cov, back @ inverse @ back.T, rtol=1e-3)


@pytest.mark.parametrize("nodes", [1, 9])
def test_second_derivatives_have_nine_digits(nodes):
    """Differences of sixth order at steps of two sizes, extrapolated."""
    state = cbpp(nodes=nodes)
    deviance = target(state.problem)

    def slope(x):
        return deviance.derivatives(deviance.at(x)).gradient

    def differences(h):
        units = h / np.sqrt(np.diagonal(state.opt.hessian))
        weights = {1: 45.0, 2: -9.0, 3: 1.0}
        rows = [
            sum(w * (slope(state.opt.x + k * e) - slope(state.opt.x - k * e)) for k, w in weights.items())
            for e in np.diag(units)
        ]
        return np.array(rows) / (60.0 * units[:, None])

    H = (64.0 * differences(0.02) - differences(0.04)) / 63.0
    scale = np.sqrt(np.outer(np.diagonal(H), np.diagonal(H)))
    assert np.abs((curvature(state) - 0.5 * (H + H.T)) / scale).max() < 1e-9


def test_standard_errors_of_nagq_0_are_given_theta():
    state = cbpp(nodes=0)
    H = state.elimination()
    root = state.problem.basis.backward(H.beta_root)
    np.testing.assert_allclose(state.beta_cov, root @ root.T)
    score = state.model.at(state.eta).score
    np.testing.assert_allclose(state.problem.X.T @ score, 0.0, atol=1e-6)


def test_a_variance_of_zero_leaves_the_glm():
    """With theta on the boundary the standard errors are those of the model without random effects."""
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.tile(list("abcdef"), 20), "x": rng.normal(size=120)})
    frame["y"] = np.random.default_rng(14).poisson(np.exp(0.5 + 0.2 * frame["x"]))
    state = fitted("y ~ x + (1 | g)", frame, Poisson())
    assert state.theta[0] == 0.0
    assert [check.code for check in state.checks] == ["singular"]
    X = np.column_stack([np.ones(120), frame["x"]])
    np.testing.assert_allclose(state.beta_cov, np.linalg.inv(X.T @ (state.fitted[:, None] * X)), rtol=1e-5)


def test_observed_information_is_by_choice():
    """They agree for the canonical link only."""
    observed = Control(information="observed")
    assert cbpp(control=observed).criterion == pytest.approx(cbpp().criterion, abs=1e-9)
    formula, frame = "cbind(incidence, size - incidence) ~ period + (1 | herd)", interlace.datasets.load("cbpp")
    expected = fitted(formula, frame, Binomial(), "cloglog")
    other = fitted(formula, frame, Binomial(), "cloglog", control=observed)
    exact = fitted(formula, frame, Binomial(), "cloglog", nodes=25)
    assert other.opt.converged
    assert 1e-3 < abs(other.criterion - expected.criterion) < 0.5
    assert abs(other.criterion - exact.criterion) < 0.5
    x = other.opt.x
    deviance = target(other.problem)
    gradient = deviance.derivatives(deviance.at(x + 0.05)).gradient
    by_values = [(deviance(x + 0.05 + 1e-4 * e) - deviance(x + 0.05 - 1e-4 * e)) / 2e-4 for e in np.eye(x.size)]
    np.testing.assert_allclose(gradient, by_values, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "link"),
    [(Gamma(), "log"), (Gamma(), "inverse"), (Gamma(), "identity"), (Gaussian(), "log"), (InverseGaussian(), "log")],
)
def test_the_convention_of_lme4_for_dispersions_reaches_a_stationary_point(family, link):
    state = sleep(family, link, control=Control(dispersion="lme4"))
    assert state.opt.converged
    assert state.opt.gradient_norm < 1e-4
    mu = state.fitted
    penalty = float(sum((b**2).sum() for b in state.modes)) / state.theta[0] ** 2 if state.theta[0] else 0.0
    squares = float(((state.model.y - mu) ** 2 / family.variance(mu)).sum())
    assert state.sigma == pytest.approx(np.sqrt((squares + penalty) / mu.size), rel=1e-6)


@pytest.mark.parametrize(("family", "link"), [(Gamma(), "inverse"), (Gamma(), "identity"), (Gaussian(), "log")])
@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_units_of_the_response_do_not_matter(family, link, factor):
    frame = interlace.datasets.load("sleepstudy")
    state = sleep(family, link)
    other = fitted("Reaction ~ Days + (1 | Subject)", frame.assign(Reaction=factor * frame["Reaction"]), family, link)
    assert other.opt.converged
    assert other.criterion == pytest.approx(state.criterion + 2 * 180 * np.log(factor), abs=1e-5)
    np.testing.assert_allclose(other.fitted, factor * state.fitted, rtol=1e-6)


def test_theta_of_the_negative_binomial_is_the_best_of_those_known():
    frame = interlace.datasets.load("grouseticks")
    formula = "TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)"
    joint = fitted(formula, frame, NegativeBinomial(1.0), free_theta=True)
    theta = joint.model.family.theta
    at = {factor: fitted(formula, frame, NegativeBinomial(factor * theta)).criterion for factor in (0.98, 1.0, 1.02)}
    assert joint.criterion == pytest.approx(at[1.0], abs=1e-8)
    assert min(at.values()) == at[1.0]
    found = optimize.minimize_scalar(
        lambda v: fitted(formula, frame, NegativeBinomial(np.exp(v))).criterion, bracket=(0.8, 1.2), tol=1e-6
    )
    assert np.exp(found.x) == pytest.approx(theta, rel=1e-4)


def test_counts_without_overdispersion_are_said_to_be_poisson():
    frame = small(1)
    frame["even"] = np.tile([1, 2, 3, 2, 1], 8)
    state = fitted("even ~ x + (1 | g)", frame, NegativeBinomial(1.0), free_theta=True)
    assert "no-overdispersion" in [check.code for check in state.checks]
    poisson = fitted("even ~ x + (1 | g)", frame, Poisson())
    assert state.criterion == pytest.approx(poisson.criterion, abs=1e-3)


def test_separation_names_the_predictors():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat(list("abcdefgh"), 10), "x": rng.normal(size=80), "z": rng.normal(size=80)})
    frame["y"] = (frame["x"] > 0.1).astype(int)
    state = fitted("y ~ z + x + (1 | g)", frame, Binomial())
    check = next(c for c in state.checks if c.code == "separation")
    assert "'x'" in check.message
    assert not state.opt.converged
    frame["count"] = np.where(frame["z"] > 0.5, 0, 1 + rng.poisson(1.0, 80))
    frame["high"] = (frame["z"] > 0.5).astype(int)
    codes = [c.code for c in fitted("count ~ high + (1 | g)", frame, Poisson()).checks]
    assert "separation" in codes


def test_groups_of_one_kind_of_response_are_said_to_diverge():
    frame = pd.DataFrame({"g": np.repeat(np.arange(20), 10).astype(str), "y": np.repeat([0, 1, 0, 1], 50)})
    state = fitted("y ~ 1 + (1 | g)", frame, Binomial())
    assert "diverging" in [check.code for check in state.checks]
    assert not state.opt.converged


def test_coefficients_that_run_away_without_separation_are_reported():
    """Means above zero for responses below it: minus infinity on the scale of the log link fits them best."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"g": np.repeat(np.arange(20), 10).astype(str), "z": np.tile([0, 1], 100)})
    frame["y"] = rng.normal(size=200) + np.where(frame["z"] == 1, 0.5, -0.5)
    state = fitted("y ~ z + (1 | g)", frame, Gaussian(), "log")
    assert "diverging" in [c.code for c in state.checks]
    assert not state.opt.converged
    with pytest.raises(ValueError, match="'log' link has no linear predictor for a response whose mean is -39.98"):
        fitted("y ~ z + (1 | g)", frame.assign(y=frame["y"] - 40.0), Gaussian(), "log")


def test_state_at_the_estimates_is_the_fit():
    for state in (cbpp(), cbpp(nodes=0), cbpp(nodes=7), sleep(Gamma(), "log")):
        again = state_at(state.problem, state.opt.x)
        assert again.criterion == pytest.approx(state.criterion, abs=1e-9)
        np.testing.assert_allclose(again.beta, state.beta, rtol=1e-7)
        np.testing.assert_allclose(again.beta_cov, state.beta_cov, rtol=1e-5)
        assert again.sigma == pytest.approx(state.sigma)


def test_refit_to_the_same_response_is_the_fit():
    state = cbpp()
    again = refit_glmm(state, state.problem.design.y)
    assert again.criterion == state.criterion
    shifted = refit_glmm(state, np.round(state.model.weights * state.fitted) / state.model.weights)
    assert shifted.criterion != state.criterion


def test_offset_and_start_change_nothing_that_they_should_not():
    frame = interlace.datasets.load("grouseticks").assign(known=0.7)
    formula = "TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)"
    plain, shifted = fitted(formula, frame, Poisson()), fitted(formula, frame, Poisson(), offset="known")
    assert shifted.criterion == pytest.approx(plain.criterion, abs=1e-7)
    np.testing.assert_allclose(plain.beta - shifted.beta, [0.7, 0.0, 0.0], atol=1e-5)
    started = fitted(formula, frame, Poisson(), theta0=np.array([0.1, 2.0]))
    assert started.criterion == pytest.approx(plain.criterion, abs=1e-7)


def test_what_is_derived_fits_together():
    """Conditional covariances and the variance of the linear predictor against the dense joint precision matrix."""
    state = cbpp()
    design, working = state.problem.design, state.model.at(state.eta)
    Z = np.zeros((56, 15))
    Z[np.arange(56), design.terms[0].codes] = 1.0
    V = np.column_stack([design.X, Z])
    precision = V.T @ (working.fisher[:, None] * V)
    precision[4:, 4:] += np.eye(15) / state.theta[0] ** 2
    joint = np.linalg.inv(precision)
    forms = np.einsum("ni,ij,nj->n", V, joint, V)
    found = derived.linear_predictor_variance(state, design.X, [design.terms[0].Z], [design.terms[0].codes])
    np.testing.assert_allclose(found, forms, rtol=1e-8)
    given = np.linalg.inv(precision[4:, 4:])
    np.testing.assert_allclose(derived.conditional_covariances(state)[0][:, 0, 0], np.diagonal(given), rtol=1e-8)
    np.testing.assert_allclose(state.fixed + Z @ state.modes[0][:, 0], state.eta, atol=1e-9)


def test_prepare_refuses_what_cannot_be_integrated():
    frame = interlace.datasets.load("grouseticks")
    design = build_design("TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)", frame, family="poisson")
    log = link_for(Poisson(), None)
    with pytest.raises(
        ValueError, match="needs a model with one grouping factor, and this one has 'BROOD', 'LOCATION'"
    ):
        prepare_glmm(design, Poisson(), log, nodes=3)
    wide = build_design("TICKS ~ 1 + (YEAR + cHEIGHT | LOCATION)", frame, family="poisson")
    with pytest.raises(ValueError, match=r"would need 5\^4 nodes"):
        prepare_glmm(wide, Poisson(), log, nodes=5)
    with pytest.raises(ValueError, match="from 0 to 100, not 101"):
        prepare_glmm(wide, Poisson(), log, nodes=101)
    with pytest.raises(ValueError, match="does not fit the family 'poisson'"):
        prepare_glmm(replace(design, y=design.y - 1.0), Poisson(), log)


def test_an_effect_of_every_row_is_allowed_without_a_dispersion():
    frame = interlace.datasets.load("grouseticks")
    state = fitted("TICKS ~ YEAR + (1 | INDEX) + (1 | BROOD)", frame, Poisson())
    assert state.opt.converged
    assert (state.theta > 0.1).all()
    positive = frame.assign(amount=frame["TICKS"] + 0.5)
    with pytest.raises(ValueError, match="as many levels"):
        fitted("amount ~ YEAR + (1 | INDEX)", positive, Gamma(), "log")


@pytest.mark.parametrize("trials", [10**3, 10**5, 10**7])
def test_standard_errors_hold_for_any_number_of_trials(trials):
    """With very many trials the rows tell the groups' effects exactly, and the intercept is known as their mean."""
    rng = np.random.default_rng(8)
    g = np.arange(60) % 6
    eta = 0.5 * rng.normal(size=6)[g]
    frame = pd.DataFrame({"g": g.astype(str), "s": rng.binomial(trials, 1 / (1 + np.exp(-eta))), "n": trials})
    state = fitted("cbind(s, n - s) ~ 1 + (1 | g)", frame, Binomial())
    assert state.opt.converged
    assert np.sqrt(state.beta_cov[0, 0]) == pytest.approx(state.theta[0] / np.sqrt(6), rel=0.03)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit", "log"])
@pytest.mark.parametrize("nodes", [0, 1, 7])
def test_separation_is_seen_on_every_scale(link, nodes):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": (np.arange(100) % 10).astype(str), "h": np.repeat(list("abcd"), 25)})
    frame["y"] = np.where(frame["h"] == "a", 0, rng.integers(0, 2, 100))
    state = error = None
    try:
        state = fitted("y ~ h + (1 | g)", frame, Binomial(), link, nodes=nodes)
    except ValueError as raised:  # beta among the modes: these may not exist at all
        error = raised
    if state is None:
        assert nodes == 0
        assert "separate the response 'y'" in str(error)
    else:
        assert "separation" in [check.code for check in state.checks]
        assert not state.opt.converged
    assert fitted("y ~ 1 + (1 | g)", frame, Binomial(), link, nodes=nodes).opt.converged


def test_separation_of_negative_binomial_counts():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": (np.arange(100) % 10).astype(str), "h": np.repeat(list("abcd"), 25)})
    frame["k"] = np.where(frame["h"] == "a", 0, rng.negative_binomial(1, 0.3, 100))
    for free in (True, False):
        state = fitted("k ~ h + (1 | g)", frame, NegativeBinomial(2.0), free_theta=free)
        assert "separation" in [check.code for check in state.checks]


def test_means_at_the_edge_of_a_link_are_reported():
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"g": (np.arange(100) % 10).astype(str), "h": np.repeat(list("abcd"), 25)})
    frame["y"] = np.where(frame["h"] == "a", 1, rng.integers(0, 2, 100))
    state = fitted("y ~ h + (1 | g)", frame, Binomial(), "log")
    assert "edge" in [check.code for check in state.checks]
    assert state.beta_cov.shape == (4, 4)


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_do_not_matter_for_inverse_gaussian_amounts(factor):
    frame = small(6)
    state, other = (
        fitted("amount ~ x + (1 | g)", frame.assign(amount=f * frame["amount"]), InverseGaussian())
        for f in (1.0, factor)
    )
    assert other.criterion == pytest.approx(state.criterion + 2 * 40 * np.log(factor), abs=1e-5)


def test_too_many_densities_are_refused_with_what_is_affordable():
    frame = pd.DataFrame({"g": np.arange(4000) % 50, "x": np.linspace(0, 1, 4000), "z": np.linspace(0, 1, 4000) ** 2})
    frame["y"] = (np.arange(4000) % 3 == 0).astype(int)
    with pytest.raises(ValueError, match=r"needs 50\^3 densities .* at most nAGQ=29 is affordable"):
        fitted("y ~ x + (x + z | g)", frame, Binomial(), nodes=50)
