"""Random generalized models end to end: a dense oracle, and changes of the data whose effect is known."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from scipy import special, stats

import interlace
from interlace.errors import ConvergenceWarning
from interlace.results.glmm import GLMMResult
from tests.problems import Array

settings.register_profile(
    "glmm-invariance", derandomize=True, deadline=None, max_examples=12, suppress_health_check=[HealthCheck.too_slow]
)
few = settings(settings.get_profile("glmm-invariance"))
# A session that asks for more examples (--hypothesis-profile=thorough) gets them.
if settings.default.max_examples > 100:
    few = settings(deadline=None, max_examples=settings.default.max_examples)

#: Response, family and link of each kind of model; no family stands for `glmer_nb`.
MODELS: dict[str, tuple[str, str | None, str]] = {
    "logit": ("cbind(s, N - s)", "binomial", "logit"),
    "probit": ("y", "binomial", "probit"),
    "cloglog": ("cbind(s, N - s)", "binomial", "cloglog"),
    "cauchit": ("cbind(s, N - s)", "binomial", "cauchit"),
    "poisson": ("k", "poisson", "log"),
    "Gamma": ("a", "Gamma", "log"),
    "inverse Gaussian": ("a", "inverse.gaussian", "log"),
    "gaussian": ("a", "gaussian", "log"),
    "negative binomial": ("c", None, "log"),
}
TERMS = ("(1 | g)", "(1 | g) + (1 | h)", "(x | g)", "(x || g)", "(1 | h/g)")
seeds = st.integers(0, 2**32 - 1)
kinds = st.sampled_from(sorted(MODELS))
terms = st.sampled_from(TERMS)


def random_data(seed: int, n: int = 96) -> pd.DataFrame:
    """Responses of every family with the same effects; each level of every factor occurs."""
    rng = np.random.default_rng(seed)
    g, h, f = (rng.permutation(np.arange(n) % q) for q in (12, 5, 3))
    x, o = rng.normal(size=n), 0.3 * rng.normal(size=n)
    eta = 0.2 + 0.3 * x + 0.4 * (f == 1) + o
    eta += 0.7 * rng.normal(size=12)[g] + 0.4 * rng.normal(size=12)[g] * x + 0.5 * rng.normal(size=5)[h]
    mu, p, N = np.exp(eta), special.expit(eta), rng.integers(2, 8, n)
    return pd.DataFrame(
        {
            "x": x,
            "o": o,
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in h],
            "f": [f"f{i}" for i in f],
            "N": N,
            "s": rng.binomial(N, p),
            "y": rng.binomial(1, p),
            "k": rng.poisson(mu),
            "a": rng.gamma(4.0, mu / 4.0),
            "c": rng.negative_binomial(1.0, 1.0 / (1.0 + mu)),
            "w": rng.choice([0.5, 1.0, 2.0], n),
        }
    )


def fitted(kind: str, data: object, term: str, *, fixed: str = "x + f", response: str = "", **kwargs) -> GLMMResult:
    """Fit of one kind, without any numerical warning; problems whose likelihood has no maximum are given back."""
    own, family, link = MODELS[kind]
    formula = f"{response or own} ~ {fixed} + {term}"
    kwargs = {"offset": "o", "link": link} | kwargs
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        if family is None:
            result = interlace.glmer_nb(formula, data, **kwargs)
        else:
            result = interlace.glmer(formula, data, family, **kwargs)
    # A theta that runs off to infinity is reached only as far as rounding allows.
    assume(result.converged and getattr(result.family, "theta", 1.0) < 1e3)
    return result


def same_fit(a: GLMMResult, b: GLMMResult, order: object = slice(None)) -> None:
    """The likelihoods agree closely, what depends on a flat optimum less so."""
    assert b.llf == pytest.approx(a.llf, abs=1e-6)
    np.testing.assert_allclose(b.fittedvalues.to_numpy(), a.fittedvalues.to_numpy()[order], rtol=2e-3)
    assert b.sigma == pytest.approx(a.sigma, rel=1e-3)


def same_coefficients(b: pd.Series, a: pd.Series, se: pd.Series) -> None:
    assert (np.abs(b.to_numpy() - a.to_numpy()) <= 2e-3 * se.to_numpy()).all()


# -- the oracle ----------------------------------------------------------------------------------------------------


def log_density(result: GLMMResult, y: Array, mu: Array, weights: Array) -> float:
    """Independent of the library's own densities."""
    phi = result.sigma**2
    match result.family.name:
        case "binomial":
            terms = stats.binom.logpmf(np.round(weights * y), weights, mu)
        case "poisson":
            terms = weights * stats.poisson.logpmf(y, mu)
        case "Gamma":
            terms = weights * stats.gamma.logpdf(y, 1.0 / phi, scale=mu * phi)
        case "inverse.gaussian":
            terms = weights * stats.invgauss.logpdf(y, mu * phi, scale=1.0 / phi)
        case "gaussian":
            terms = stats.norm.logpdf(y, mu, np.sqrt(phi / weights))
        case _:
            theta = result.family.theta
            terms = weights * stats.nbinom.logpmf(y, theta, theta / (theta + mu))
    return float(np.sum(terms))


def variance(result: GLMMResult, mu: Array) -> Array:
    name, phi = result.family.name, result.sigma**2
    if name == "binomial":
        return mu * (1.0 - mu)
    if name == "negative.binomial":
        return mu + mu**2 / result.family.theta
    return phi * mu ** {"poisson": 1, "Gamma": 2, "inverse.gaussian": 3, "gaussian": 0}[name]


INVERSE: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "logit": (special.expit, lambda e: special.expit(e) * special.expit(-e)),
    "probit": (stats.norm.cdf, stats.norm.pdf),
    "cloglog": (lambda e: -np.expm1(-np.exp(e)), lambda e: np.exp(e - np.exp(e))),
    "cauchit": (stats.cauchy.cdf, stats.cauchy.pdf),
    "log": (np.exp, np.exp),
}


def dense_deviance(result: GLMMResult, theta: Array, beta: Array) -> float:
    """-2 log-likelihood by Laplace's method, all random effects together, with the dispersion of the fit."""
    design = result.state.problem.design
    columns, start = [], 0
    for term in design.terms:
        q, k = len(term.levels), term.Z.shape[1]
        L = np.zeros((k, k))
        lower = [(i, j) for j in range(k) for i in range(j, k)]
        L[tuple(np.transpose(lower))] = theta[start : start + len(lower)]
        start += len(lower)
        Z = np.zeros((design.y.size, q, k))
        Z[np.arange(design.y.size), term.codes] = term.Z @ L
        columns.append(Z.reshape(design.y.size, -1))
    A, weights = np.hstack(columns), np.ones(design.y.size) if design.weights is None else design.weights
    fixed = design.X @ beta + design.offset
    inverse, slope = INVERSE[result.link.name]

    def penalized(u: Array) -> float:
        return u @ u - 2.0 * log_density(result, design.y, inverse(fixed + A @ u), weights)

    u = np.zeros(A.shape[1])
    for _ in range(1000):  # Fisher scoring, which is slow where the link is not canonical
        eta = fixed + A @ u
        mu, d = inverse(eta), slope(eta)
        ratio = weights * d / variance(result, mu)
        H = (A.T * (ratio * d)) @ A + np.eye(u.size)
        gradient = A.T @ (ratio * (design.y - mu)) - u
        step, value = np.linalg.solve(H, gradient), penalized(u)
        promised = gradient @ step
        if promised < 1e-13:
            break
        while penalized(u + step) > value - 0.1 * promised + 1e-12:
            step, promised = 0.5 * step, 0.5 * promised
        u = u + step
    return penalized(u) + np.linalg.slogdet(H)[1]


@few
@given(kinds, terms, seeds)
def test_likelihood_is_that_of_the_dense_formula_and_none_nearby_is_better(kind, term, seed):
    weights = {} if MODELS[kind][1] == "binomial" else {"weights": "w"}
    result = fitted(kind, random_data(seed, 72), term, **weights)
    theta, beta = result.theta, result.state.beta
    assert dense_deviance(result, theta, beta) == pytest.approx(-2.0 * result.llf, abs=2e-6)
    rng, se = np.random.default_rng(seed), result.fe_bse.to_numpy()
    for size in (1e-2, 0.1):
        moved = dense_deviance(
            result, theta + 0.5 * size * rng.normal(size=theta.size), beta + size * se * rng.normal(size=beta.size)
        )
        assert moved >= -2.0 * result.llf - 1e-6


@few
@given(st.sampled_from([kind for kind, model in MODELS.items() if model[1] in ("binomial", "poisson")]), seeds)
def test_standard_errors_are_those_of_the_dense_deviance(kind, seed):
    """In all parameters together, so that the uncertainty of theta counts."""
    result = fitted(kind, random_data(seed, 72), "(1 | g)", fixed="x")
    assume(not result.is_singular)
    x = np.append(result.theta, result.state.beta)
    steps = np.append(0.02 * result.theta, 0.05 * result.fe_bse)
    H, unit = np.empty((3, 3)), np.diag(steps)

    def at(v: Array) -> float:
        return dense_deviance(result, v[:1], v[1:])

    for i, j in np.ndindex(3, 3):
        corners = [s * r * at(x + s * unit[i] + r * unit[j]) for s in (1, -1) for r in (1, -1)]
        H[i, j] = sum(corners) / (4.0 * steps[i] * steps[j])
    expected = np.sqrt(np.diagonal(np.linalg.inv(0.5 * H)))[1:]
    np.testing.assert_allclose(result.fe_bse, expected, rtol=5e-3)


# -- rows, levels, covariates --------------------------------------------------------------------------------------


@few
@given(kinds, terms, seeds)
def test_order_of_rows_and_names_of_levels_do_not_matter(kind, term, seed):
    data, rng = random_data(seed), np.random.default_rng(seed)
    order = rng.permutation(len(data))
    shuffled = data.iloc[order].copy()
    for name in ("g", "h"):
        levels = data[name].unique()
        shuffled[name] = shuffled[name].map(dict(zip(levels, rng.permutation(levels), strict=True)))
    a, b = fitted(kind, data, term), fitted(kind, shuffled, term)
    same_fit(a, b, order)
    same_coefficients(b.fe_params, a.fe_params, a.fe_bse)
    np.testing.assert_allclose(b.fe_bse, a.fe_bse, rtol=5e-3)


@few
@given(kinds, terms, seeds, st.sampled_from(["sum", "helmert", "poly"]))
def test_coding_of_a_factor_does_not_matter(kind, term, seed, coding):
    data = random_data(seed)
    a = fitted(kind, data, term)
    same_fit(a, fitted(kind, data, term, contrasts={"f": coding}))
    other = data.assign(f=pd.Categorical(data["f"], ["f2", "f0", "f1"]))
    b = fitted(kind, other, term)
    same_fit(a, b)
    assert b.fe_params["f[T.f0]"] == pytest.approx(-a.fe_params["f[T.f2]"], abs=2e-3 * a.fe_bse["f[T.f2]"])


@few
@given(
    kinds, st.sampled_from([t for t in TERMS if "||" not in t]), seeds, st.floats(1e-4, 1e4), st.floats(-100.0, 100.0)
)
def test_units_and_origin_of_a_covariate(kind, term, seed, scale, shift):
    data = random_data(seed)
    a = fitted(kind, data, term)
    b = fitted(kind, data.assign(x=scale * (data["x"] + shift)), term)
    same_fit(a, b)
    se = a.fe_bse
    assert scale * b.fe_params["x"] == pytest.approx(a.fe_params["x"], abs=2e-3 * se["x"])
    assert scale * b.fe_bse["x"] == pytest.approx(se["x"], rel=5e-3)
    back = b.fe_params["Intercept"] + scale * shift * b.fe_params["x"]
    assert back == pytest.approx(a.fe_params["Intercept"], abs=2e-3 * (se["Intercept"] + abs(shift) * se["x"]))


@few
@given(kinds, terms, seeds, st.floats(-50.0, 50.0))
def test_a_shift_of_the_offset_moves_the_intercept(kind, term, seed, shift):
    data = random_data(seed)
    a, b = fitted(kind, data, term), fitted(kind, data.assign(o=data["o"] + shift), term)
    same_fit(a, b)
    moved = b.fe_params + shift * (b.fe_params.index == "Intercept")
    same_coefficients(moved, a.fe_params, a.fe_bse)


# -- responses -----------------------------------------------------------------------------------------------------


@few
@given(st.sampled_from(["Gamma", "inverse Gaussian", "gaussian"]), terms, seeds, st.floats(1e-6, 1e6))
def test_units_of_an_amount(kind, term, seed, scale):
    data = random_data(seed)
    a, b = fitted(kind, data, term), fitted(kind, data.assign(a=scale * data["a"]), term)
    assert b.llf == pytest.approx(a.llf - len(data) * np.log(scale), abs=1e-6 * (1.0 + abs(np.log(scale))))
    moved = b.fe_params - np.log(scale) * (b.fe_params.index == "Intercept")
    same_coefficients(moved, a.fe_params, a.fe_bse)
    power = {"Gamma": 0.0, "inverse Gaussian": -0.5, "gaussian": 1.0}[kind]
    assert b.sigma == pytest.approx(scale**power * a.sigma, rel=1e-3)


@few
@given(seeds, st.floats(1e-4, 1e4))
def test_units_of_an_amount_with_the_inverse_link(seed, scale):
    data = random_data(seed)
    a = fitted("Gamma", data, "(1 | g)", link="inverse", offset=None)
    b = fitted("Gamma", data.assign(a=scale * data["a"]), "(1 | g)", link="inverse", offset=None)
    assert b.llf == pytest.approx(a.llf - len(data) * np.log(scale), abs=1e-5)
    same_coefficients(scale * b.fe_params, a.fe_params, a.fe_bse)
    np.testing.assert_allclose(scale * b.theta, a.theta, rtol=1e-2, atol=1e-4)


@few
@given(st.sampled_from(["logit", "cloglog", "cauchit"]), terms, seeds)
def test_three_forms_of_a_binomial_response(kind, term, seed):
    data = random_data(seed, 60)
    counts = fitted(kind, data, term)
    shares = fitted(kind, data, term, response="s / N", weights="N")
    assert shares.llf == pytest.approx(counts.llf, abs=1e-9)
    np.testing.assert_allclose(shares.fe_bse, counts.fe_bse, rtol=1e-9)
    rows = np.repeat(np.arange(60), data["N"])
    number = np.concatenate([np.arange(N) for N in data["N"]])
    trials = data.iloc[rows].assign(y=(number < data["s"].to_numpy()[rows]).astype(int))
    single = fitted(kind, trials, term, response="y")
    constant = np.log(special.comb(data["N"], data["s"])).sum()
    assert single.llf + constant == pytest.approx(counts.llf, abs=1e-6)
    same_coefficients(single.fe_params, counts.fe_params, counts.fe_bse)
    np.testing.assert_allclose(single.fe_bse, counts.fe_bse, rtol=5e-3)


@few
@given(st.sampled_from(["logit", "probit", "cauchit"]), terms, seeds)
def test_failures_for_successes_flip_the_signs(kind, term, seed):
    data = random_data(seed)
    opposite = data.assign(s=data["N"] - data["s"], y=1 - data["y"], o=-data["o"])
    a, b = fitted(kind, data, term), fitted(kind, opposite, term)
    assert b.llf == pytest.approx(a.llf, abs=1e-6)
    same_coefficients(-b.fe_params, a.fe_params, a.fe_bse)
    np.testing.assert_allclose(b.fittedvalues, 1.0 - a.fittedvalues, rtol=2e-3, atol=1e-6)


@few
@given(st.sampled_from(["poisson", "Gamma", "inverse Gaussian", "negative binomial"]), terms, seeds)
def test_equal_rows_are_one_row_of_weight_two(kind, term, seed):
    data = random_data(seed, 60)
    twice = fitted(kind, data.iloc[np.repeat(np.arange(60), 2)], term)
    weighted = fitted(kind, data.assign(two=2.0), term, weights="two")
    assert weighted.llf == pytest.approx(twice.llf, abs=1e-6)
    same_coefficients(weighted.fe_params, twice.fe_params, twice.fe_bse)
    np.testing.assert_allclose(weighted.fe_bse, twice.fe_bse, rtol=5e-3)


@few
@given(kinds, terms, seeds)
def test_rows_of_weight_zero_are_left_out(kind, term, seed):
    data = random_data(seed)
    keep = np.arange(96) < 84
    ones = data.assign(v=keep * 1.0)
    left = fitted(kind, ones, term, weights="v")
    without = fitted(kind, data[keep], term)
    assert left.nobs == without.nobs == 84
    assert left.llf == pytest.approx(without.llf, abs=1e-9)


# -- calls ---------------------------------------------------------------------------------------------------------


@few
@given(kinds, st.sampled_from([t for t in TERMS if "/" not in t]), seeds)
def test_terms_may_come_from_three_places(kind, term, seed):
    data = random_data(seed)
    own, family, link = MODELS[kind]
    bars = fitted(kind, data, term)
    apart = [f"({part.strip(' ()')})" for part in term.split(" + ")]
    calls = [{"random": apart}]
    if "x" not in term:
        calls.append({"groups": [part.strip("()").split("|")[1].strip() for part in apart]})
    for call in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            arguments = {"offset": "o", "link": link} | call
            if family is None:
                other = interlace.glmer_nb(f"{own} ~ x + f", data, **arguments)
            else:
                other = interlace.glmer(f"{own} ~ x + f", data, family, **arguments)
        assert other.llf == bars.llf


@few
@given(kinds, seeds)
def test_kinds_of_frames_and_columns_do_not_matter(kind, seed):
    data = random_data(seed)
    expected = fitted(kind, data, "(1 | g) + (1 | h)").llf
    frames = [
        pl.from_pandas(data),
        pa.Table.from_pandas(data),
        {name: data[name].to_numpy() for name in data},
        data.convert_dtypes(),
        data.astype({"g": "category", "h": "category", "f": "category"}),
        data.astype({"k": "uint8", "s": "uint8", "N": "uint8", "y": "int8"}),
    ]
    for frame in frames:
        assert fitted(kind, frame, "(1 | g) + (1 | h)").llf == pytest.approx(expected, abs=1e-9)


@few
@given(kinds, terms, seeds)
def test_a_result_survives_refit_and_storage(tmp_path_factory, kind, term, seed):
    data = random_data(seed)
    result = fitted(kind, data, term)
    path = tmp_path_factory.mktemp("fits") / "one.interlace"
    result.save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = result.refit(result.model.endog)
        shorter = result.update(". ~ . - f").llf
        assert again.llf == pytest.approx(result.llf, abs=1e-6)
        for other in (interlace.load(path), pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
            assert other.llf == result.llf
            np.testing.assert_allclose(other.fe_bse, result.fe_bse, rtol=1e-9)
            assert str(other.summary()) == str(result.summary())
            pd.testing.assert_frame_equal(other.simulate(2, seed=1), result.simulate(2, seed=1))
            pd.testing.assert_series_equal(other.predict(data), result.predict(data))
            assert other.update(". ~ . - f").llf == shorter


@few
@given(kinds, terms, seeds)
def test_refit_to_simulated_responses_is_a_fit_to_them(kind, term, seed):
    data = random_data(seed)
    result = fitted(kind, data, term)
    new = result.simulate(1, seed=seed % 1000)["sim_1"].to_numpy()
    assume(np.ptp(new) > 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refitted = result.refit(new)
    response = MODELS[kind][0]
    changed = {"s": np.round(new * data["N"])} if response.startswith("cbind") else {response: new}
    fresh = fitted(kind, data.assign(**changed), term)
    assert refitted.llf == pytest.approx(fresh.llf, abs=1e-6)


@few
@given(kinds, terms, seeds)
def test_predictions_for_the_own_rows(kind, term, seed):
    data = random_data(seed)
    result = fitted(kind, data, term)
    own = result.predict(se=True, interval="confidence")
    new = result.predict(data, se=True, interval="confidence")
    np.testing.assert_allclose(own["fit"], result.fittedvalues, rtol=1e-12)
    np.testing.assert_allclose(new, own, rtol=1e-8)
    assert (own["lower"] < own["fit"]).all()
    assert (own["fit"] < own["upper"]).all()
    inverse, slope = INVERSE[result.link.name]
    link = result.predict(data, type="link", se=True)
    np.testing.assert_allclose(inverse(link["fit"].to_numpy()), own["fit"], rtol=1e-9)
    np.testing.assert_allclose(link["se"] * slope(link["fit"].to_numpy()), own["se"], rtol=1e-9)


@few
@given(st.sampled_from(["logit", "probit", "poisson", "Gamma", "negative binomial"]), seeds)
def test_more_nodes_settle_and_two_terms_of_one_factor_are_one_diagonal_term(kind, seed):
    data = random_data(seed, 60)
    at = {nodes: fitted(kind, data, "(x || g)", nAGQ=nodes).llf for nodes in (7, 11)}
    assert at[11] == pytest.approx(at[7], abs=2e-2)
    split = fitted(kind, data, "(1 | g) + (0 + x | g)", nAGQ=7)
    assert split.llf == pytest.approx(at[7], abs=1e-7)
    rough = fitted(kind, data, "(x || g)", nAGQ=0)
    assert rough.llf <= fitted(kind, data, "(x || g)").llf + 1e-6
