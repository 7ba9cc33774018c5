"""Log densities of unseen rows beside dense Gaussian algebra and numerical integration."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

import interlace
from interlace.estimate.derived import term_covariances
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import FitState
from interlace.frames.newdata import new_rows
from interlace.prediction.predictive_density import (
    generalized_density,
    joined_density,
    linear_likelihood,
)

LINEAR = {
    "slopes": ("y ~ x + (x | g)", {}),
    "weights and offset": ("y ~ x + (1 | g)", {"weights": "w", "offset": "o"}),
    "crossed": ("y ~ x + (1 | g) + (x || h)", {"weights": "w"}),
    "nested": ("y ~ 0 + x + (1 | h / g)", {"offset": "o"}),
    "ml": ("y ~ x + (x | g) + (1 | h)", {"method": "ML"}),
}


def frame(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    df = pd.DataFrame({"g": rng.integers(0, 6, n), "h": rng.integers(0, 4, n), "x": rng.normal(size=n)})
    df["w"], df["o"] = rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    effects = rng.normal(size=(6, 2)) @ [[1.5, 0.4], [0.0, 0.6]]
    df["y"] = 20.0 + df["x"] + effects[df["g"], 0] + effects[df["g"], 1] * df["x"]
    df["y"] += rng.normal(size=4)[df["h"]] + rng.normal(size=n) / np.sqrt(df["w"])
    return df


def covariance(state: FitState) -> np.ndarray:
    """sigma^2 W^-1 + Z Psi Z', with every entry."""
    design = state.problem.design
    weights = np.ones(design.y.size) if design.weights is None else design.weights
    V = np.diag(state.sigma**2 / weights)
    for term, psi in zip(design.terms, term_covariances(state), strict=True):
        same = term.codes[:, None] == term.codes
        V += same * (term.Z @ psi @ term.Z.T)
    return V


@pytest.mark.parametrize("name", LINEAR)
def test_likelihood_at_any_parameters_is_the_gaussian_density(name: str) -> None:
    formula, options = LINEAR[name]
    state = interlace.fit(formula, frame(), **options).state
    rng = np.random.default_rng(1)
    for _ in range(3):
        theta = np.abs(state.theta) + rng.uniform(0.1, 1.0, state.theta.size)
        beta, sigma = state.beta + rng.normal(size=state.beta.size), state.sigma * rng.uniform(0.5, 2.0)
        moved = FitState(**{**vars(state), "theta": theta, "beta": beta, "sigma": sigma})
        design = state.problem.design
        mean = design.X @ beta + (0.0 if design.offset is None else design.offset)
        expected = stats.multivariate_normal(mean, covariance(moved)).logpdf(design.y)
        assert linear_likelihood(state.problem, theta, beta, sigma) == pytest.approx(expected, rel=1e-11)


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")  # has a density too
@pytest.mark.parametrize("name", LINEAR)
def test_density_given_other_rows_is_the_conditional_gaussian_one(name: str) -> None:
    """Some of the new rows are of levels that the fit has seen, some of others, and these are not alone."""
    formula, options = LINEAR[name]
    df = frame()
    test = np.flatnonzero((df["g"] == 2) | (np.arange(60) % 7 == 0))
    train = np.setdiff1d(np.arange(60), test)
    whole = interlace.fit(formula, df, **options).state
    state = interlace.fit(formula, df.iloc[train], **options).state
    moved = FitState(**{**vars(whole), "theta": state.theta, "beta": state.beta, "sigma": state.sigma})
    design, V = whole.problem.design, covariance(moved)
    residual = design.y - design.X @ state.beta - (0.0 if design.offset is None else design.offset)
    pull = np.linalg.solve(V[np.ix_(train, train)], V[np.ix_(train, test)]).T
    left = V[np.ix_(test, test)] - pull @ V[np.ix_(train, test)]
    expected = stats.multivariate_normal(pull @ residual[train], left).logpdf(residual[test])
    rows = new_rows(state.problem.design, df.iloc[test])
    codes = {term.group: term.codes[test] for term in design.terms}
    levels = [codes[term.group] for term in state.problem.design.terms]
    assert joined_density(state, rows, design, test, levels) == pytest.approx(expected, rel=1e-9)


# -- generalized models -------------------------------------------------------------------------------------------
def herds(**options: object) -> GlmmState:
    df = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size", **options).state


def herd_integral(state: GlmmState, rows: np.ndarray) -> float:
    """Density of the counts of one herd, its random effect integrated out."""
    design = state.problem.design
    sd = float(state.theta[0])
    eta, y, size = state.fixed[rows], design.y[rows], design.weights[rows]

    def density(b: float) -> float:
        p = 1.0 / (1.0 + np.exp(-(eta + b)))
        return float(np.prod(stats.binom.pmf(np.round(y * size), size, p)) * stats.norm.pdf(b, scale=sd))

    return integrate.quad(density, -10.0 * sd, 10.0 * sd, epsabs=0.0, epsrel=1e-11, limit=200)[0]


@pytest.mark.parametrize("nodes", [0, 1, 5])
def test_a_new_group_is_integrated_over_whatever_the_nodes_of_the_fit(nodes: int) -> None:
    state = herds(nAGQ=nodes)
    codes = state.problem.design.terms[0].codes
    for level in (0, 3):
        found = generalized_density(state.problem, state, codes == level, codes != level)
        assert found == pytest.approx(np.log(herd_integral(state, np.flatnonzero(codes == level))), abs=1e-8)


def test_the_rest_of_a_group_is_conditioned_on() -> None:
    state = herds()
    codes = state.problem.design.terms[0].codes
    own = np.flatnonzero(codes == 3)
    test = np.zeros(codes.size, dtype=bool)
    test[own[:2]] = True
    expected = np.log(herd_integral(state, own) / herd_integral(state, own[2:]))
    assert generalized_density(state.problem, state, test, ~test) == pytest.approx(expected, abs=1e-8)


def test_two_random_effects_of_a_new_group() -> None:
    rng = np.random.default_rng(4)
    g, x = np.repeat(np.arange(12), 6), rng.normal(size=72)
    b = rng.normal(size=(12, 2)) * [0.8, 0.5]
    df = pd.DataFrame({"g": g, "x": x, "y": rng.poisson(np.exp(1.0 + b[g, 0] + (0.3 + b[g, 1]) * x))})
    state = interlace.glmer("y ~ x + (x | g)", df, "poisson").state
    [psi] = term_covariances(state)
    design, first = state.problem.design, np.flatnonzero(g == 0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    root, total = np.linalg.cholesky(psi), 0.0
    for (i, u), (j, v) in product(enumerate(nodes), repeat=2):
        eta = state.fixed[first] + design.terms[0].Z[first] @ (root @ [u, v])
        total += weights[i] * weights[j] * np.prod(stats.poisson.pmf(design.y[first], np.exp(eta)))
    found = generalized_density(state.problem, state, g == 0, g != 0)
    assert found == pytest.approx(np.log(total / (2.0 * np.pi)), abs=1e-5)


def test_crossed_factors_by_laplace_are_near_the_integral() -> None:
    """Given the two levels of b, those of a are independent, so that the integral has two dimensions and one more."""
    rng = np.random.default_rng(2)
    a, b = np.repeat(np.arange(8), 6), np.tile(np.arange(2), 24)
    eta = 1.0 + rng.normal(0.0, 0.5, 8)[a] + np.array([0.4, -0.4])[b]
    y = rng.poisson(np.exp(eta))
    state = interlace.glmer("y ~ 1 + (1 | a) + (1 | b)", {"y": y, "a": a, "b": b}, "poisson").state
    sd = dict(zip([term.group for term in state.problem.design.terms], state.theta, strict=True))
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / np.sqrt(2.0 * np.pi)
    log_density = np.zeros((2, 60, 60))  # of all rows, and without those of the first level of a
    for level in range(8):
        rows = a == level
        eta = state.beta[0] + sd["a"] * nodes[:, None, None] + sd["b"] * nodes[:, None]
        by_b = [stats.poisson.logpmf(y[rows & (b == j)], np.exp(eta)).sum(axis=2) for j in (0, 1)]
        inner = np.einsum("k,ki,kj->ij", weights, *np.exp(by_b))
        log_density[0] += np.log(inner)
        log_density[1] += np.log(inner) if level else 0.0
    both, given = (float(np.log(np.einsum("i,j,ij", weights, weights, np.exp(part)))) for part in log_density)
    found = generalized_density(state.problem, state, a == 0, a != 0)
    assert found == pytest.approx(both - given, abs=0.01)
