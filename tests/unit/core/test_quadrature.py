"""Adaptive quadrature against numerical integration, finite differences, the Laplace approximation and lme4."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, linalg

import interlace
from interlace.core.covariance import cholesky_factor
from interlace.core.dispersion import FreeDispersion, FreeTheta, ProfiledDispersion
from interlace.core.families import Binomial, Family, Gamma, NegativeBinomial, Poisson
from interlace.core.familynames import link_for
from interlace.core.laplace import Laplace
from interlace.core.pirls import Modes, Pirls
from interlace.core.quadrature import Quadrature
from interlace.core.working import WorkingModel
from tests.problems import Problem, term
from tests.responses import PAIRS

pytestmark = pytest.mark.fast

Array = NDArray[np.float64]
KINDS = {1: ("scalar",), 2: ("slope", "split"), 3: ("wide", "wide-split")}
every_pair = pytest.mark.parametrize(("family", "name"), PAIRS, ids=lambda x: x if isinstance(x, str) else x.name)


@dataclass(frozen=True)
class Situation:
    """A model with one grouping factor, at parameters where every node has a possible linear predictor."""

    problem: Problem
    laplace: Laplace
    x: Array
    scale: float

    def deviance(self, nodes: int, x: Array | None = None) -> float:
        return Quadrature(self.laplace, nodes)(self.x if x is None else x)

    def derivatives(self, nodes: int, x: Array | None = None):
        target = Quadrature(self.laplace, nodes)
        return target.derivatives(target.at(self.x if x is None else x))


def response(family: Family, name: str, y: Array, weights: Array) -> WorkingModel:
    """With the parameter that the family has beside the mean, if any."""
    link = link_for(family, name)
    if family.has_dispersion:
        return FreeDispersion(family, link, y, weights, phi=0.3)
    return (FreeTheta if isinstance(family, NegativeBinomial) else WorkingModel)(family, link, y, weights)


def situation(kind: str, family: Family, name: str, *, seed: int = 5) -> Situation:
    rng = np.random.default_rng(seed)
    n, q = 64, 7
    g = np.concatenate([np.arange(q), rng.integers(0, q, n - q)])
    z = np.column_stack([np.ones(n), rng.uniform(-1, 1, (n, 2))])
    terms = {
        "scalar": lambda: (term("g", g, z[:, :1]),),
        "slope": lambda: (term("g", g, z[:, :2]),),
        "split": lambda: (term("g", g, z[:, :1]), term("g", g, z[:, 1:2])),
        "wide": lambda: (term("g", g, z),),
        "wide-split": lambda: (term("g", g, z[:, :2]), term("g", g, z[:, 2:])),
    }[kind]()
    weights = np.ones(n)
    if family.name == "binomial":
        weights = rng.integers(1, 6, n).astype(float)
        mean, y = 0.4, rng.binomial(weights.astype(int), 0.4) / weights
    elif family.name in ("poisson", "negative.binomial"):
        mean, y = 3.0, rng.poisson(3.0, n).astype(float)
    else:
        mean, y = 3.0, rng.gamma(5.0, 0.6, n)
    model = response(family, name, y, weights)
    problem = Problem(kind, terms, np.column_stack([np.ones(n), z[:, 2]]), y)
    structure, rows = problem.layout()
    center = float(model.link.eta(np.array([mean]))[0])
    everywhere = (
        model.link.valid_eta(np.array([-1e3, 1e3])) & family.valid_mu(model.link.mu(np.array([-9.0, 9.0])))
    ).all()
    scale = 1.0 if everywhere else 0.15 * abs(center)
    theta = scale * np.where(rng.random(problem.n_theta) < 0.5, -1, 1) * rng.uniform(0.3, 0.8, problem.n_theta)
    laplace = Laplace(Pirls(structure, rows.codes, rows.Z, model), problem.X, 0.05 * scale * rng.normal(size=n))
    return Situation(problem, laplace, np.concatenate([theta, [center, 0.2 * scale], model.extra_start]), scale)


def slopes(f, x: Array, h: float) -> Array:
    """Sixth-order central differences."""
    steps, weights = (-3, -2, -1, 1, 2, 3), (-1, 9, -45, 45, -9, 1)
    out = [sum(w * f(x + k * h * e) for k, w in zip(steps, weights, strict=True)) / (60 * h) for e in np.eye(x.size)]
    return np.array(out)


@every_pair
@pytest.mark.parametrize("kind", [kind for kinds in KINDS.values() for kind in kinds])
def test_one_node_is_the_laplace_approximation(kind: str, family: Family, name: str) -> None:
    s = situation(kind, family, name)
    modes = s.laplace.at(s.x)
    assert modes.converged
    one = Quadrature(s.laplace, 1)
    assert one.value(modes) == pytest.approx(s.laplace.value(modes), rel=1e-12)
    np.testing.assert_array_equal(one.derivatives(modes).gradient, s.laplace.derivatives(modes).gradient)


@every_pair
@pytest.mark.parametrize(
    ("kind", "nodes"), [("scalar", 2), ("scalar", 5), ("slope", 4), ("split", 3), ("wide", 3), ("wide-split", 2)]
)
def test_gradient_is_exact(kind: str, nodes: int, family: Family, name: str) -> None:
    s = situation(kind, family, name)
    gradient = s.derivatives(nodes).gradient
    expected = slopes(lambda x: s.deviance(nodes, x), s.x, 4e-3 * min(s.scale, 1.0))
    assert gradient.size == s.x.size
    np.testing.assert_allclose(gradient, expected, atol=3e-8 * max(1.0, float(np.abs(expected).max())))


def logs_of_integrands(s: Situation, level: int, u: Array, L: Array) -> Array:
    """Log of density times prior of one level at spherical effects of shape (m, k)."""
    pirls, m = s.laplace.pirls, u.shape[0]
    rows = np.flatnonzero(pirls.codes[0] == level)
    model = pirls.model
    beta = s.laplace.split(s.x)[1]
    eta = s.laplace.X[rows] @ beta + s.laplace.offset[rows] + u @ (pirls.Z[0][rows] @ L).T
    copies = replace(model, y=np.tile(model.y[rows], m), weights=np.tile(model.weights[rows], m))
    density = copies.log_density(eta.reshape(-1)).reshape(m, -1).sum(axis=1)
    return density - 0.5 * (u * u).sum(axis=1) - 0.5 * u.shape[1] * np.log(2.0 * np.pi)


@pytest.mark.parametrize(
    ("family", "name"),
    [
        (Binomial(), "logit"),
        (Binomial(), "cloglog"),
        (Poisson(), "log"),
        (Gamma(), "log"),
        (NegativeBinomial(1.7), "log"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.name,
)
def test_many_nodes_are_the_integral(family: Family, name: str) -> None:
    s = situation("scalar", family, name)
    modes = s.laplace.at(s.x)
    total = 0.0
    for level in range(7):
        mode = float(modes.u[0][level, 0])
        top = float(logs_of_integrands(s, level, np.array([[mode]]), modes.L[0])[0])

        def integrand(u: float, level: int = level, top: float = top) -> float:
            return float(np.exp(logs_of_integrands(s, level, np.array([[u]]), modes.L[0])[0] - top))

        area = integrate.quad(integrand, mode - 12.0, mode + 12.0, points=[mode], epsabs=0.0, epsrel=1e-13, limit=200)[
            0
        ]
        total += top + np.log(area)
    assert s.deviance(50) == pytest.approx(-2.0 * total, rel=1e-10)


@pytest.mark.parametrize("kind", KINDS[2])
@pytest.mark.parametrize(("family", "name"), [(Binomial(), "probit"), (Poisson(), "log")], ids=("probit", "log"))
def test_many_nodes_are_the_integral_over_two_effects(kind: str, family: Family, name: str) -> None:
    """The trapezoidal rule on a fine grid, which converges faster than any power of the step."""
    s = situation(kind, family, name)
    modes = s.laplace.at(s.x)
    line, step = np.linspace(-9.0, 9.0, 241, retstep=True)
    grid = np.stack([axis.ravel() for axis in np.meshgrid(line, line)], axis=1)
    total = 0.0
    for level in range(7):
        total += np.logaddexp.reduce(logs_of_integrands(s, level, grid + modes.u[0][level], modes.L[0]))
        total += 2.0 * np.log(step)
    assert s.deviance(50) == pytest.approx(-2.0 * total, rel=1e-8)


@pytest.mark.parametrize("kind", ["scalar", "slope", "wide"])
def test_more_nodes_come_closer(kind: str) -> None:
    s = situation(kind, Binomial(), "logit")
    s = replace(s, x=s.x * np.where(np.arange(s.x.size) < s.problem.n_theta, 2.0, 1.0))
    best = s.deviance(15)
    errors = [abs(s.deviance(nodes) - best) for nodes in (1, 3, 5, 9)]
    assert errors[0] > 1e-3
    assert all(later < 0.3 * earlier for earlier, later in pairwise(errors))


def as_theta(psi: Array, x: Array) -> Array:
    """Parameters of an unstructured term whose Psi is given."""
    L = cholesky_factor(psi)
    rows, cols = np.tril_indices(psi.shape[0])
    order = np.lexsort((rows, cols))
    return np.concatenate([L[rows[order], cols[order]], x[rows.size :]])


@pytest.mark.parametrize(
    ("kind", "nodes", "k"), [("scalar", 4, 1), ("slope", 3, 2), ("wide", 3, 3)], ids=("one", "two", "three")
)
@pytest.mark.parametrize(("family", "name"), [(Binomial(), "probit"), (Gamma(), "log")], ids=("probit", "log"))
def test_gradient_by_psi(kind: str, nodes: int, k: int, family: Family, name: str) -> None:
    s = situation(kind, family, name)
    psi = 0.3 * np.eye(k) + 0.1
    G = s.derivatives(nodes, as_theta(psi, s.x)).psi[0]
    np.testing.assert_array_equal(G, G.T)
    for i, j in np.ndindex(k, k):
        unit = np.zeros((k, k))
        unit[i, j] += 0.5
        unit[j, i] += 0.5
        along = slopes(lambda h, e=unit: s.deviance(nodes, as_theta(psi + h[0] * e, s.x)), np.zeros(1), 2e-3)[0]
        assert G[i, j] == pytest.approx(along, abs=1e-7 * float(np.abs(G).max()))


@pytest.mark.parametrize("nodes", [2, 3, 8])
@pytest.mark.parametrize(("family", "name"), [(Binomial(), "probit"), (Gamma(), "log")], ids=("probit", "log"))
def test_gradient_by_psi_without_variance(nodes: int, family: Family, name: str) -> None:
    """One-sided: the deviance is a function of the square of theta, whose slope at zero says nothing."""
    s = situation("scalar", family, name)
    x = np.concatenate([[0.0], s.x[1:]])
    d = s.derivatives(nodes, x)
    assert d.gradient[0] == 0.0
    assert s.deviance(nodes, x) == pytest.approx(s.laplace.pirls.model.minus_two_loglik(s.laplace.at(x).eta), rel=1e-13)
    at = [s.deviance(nodes, np.concatenate([[np.sqrt(h)], s.x[1:]])) for h in (0.0, 1e-4, 2e-4, 3e-4)]
    forward = (-11.0 * at[0] + 18.0 * at[1] - 9.0 * at[2] + 2.0 * at[3]) / 6e-4
    assert d.psi[0][0, 0] == pytest.approx(forward, rel=1e-5)


@pytest.mark.parametrize("kind", ["slope", "wide"])
def test_gradient_by_psi_in_directions_that_the_factor_does_not_span(kind: str) -> None:
    s = situation(kind, Binomial(), "probit")
    k = int(s.laplace.pirls.Z[0].shape[1])
    w = np.array([0.6, -0.3, 0.2])[:k]
    nodes = {2: 20, 3: 9}[k]

    psi = np.outer(w, w)
    G = s.derivatives(nodes, as_theta(psi, s.x)).psi[0]
    for v in linalg.null_space(w[None, :]).T:
        outer = np.outer(v, v)
        at = [s.deviance(nodes, as_theta(psi + h * outer, s.x)) for h in (0.0, 1e-3, 2e-3, 3e-3)]
        forward = (-11.0 * at[0] + 18.0 * at[1] - 9.0 * at[2] + 2.0 * at[3]) / 6e-3
        assert v @ G @ v == pytest.approx(forward, rel=1e-4)
    # in the direction that it does span, exact as elsewhere
    along = slopes(lambda h: s.deviance(nodes, as_theta((1.0 + h[0]) * psi, s.x)), np.zeros(1), 2e-3)[0]
    assert w @ G @ w == pytest.approx(along, rel=1e-6)


def test_gradient_by_psi_keeps_its_digits_near_a_singular_factor() -> None:
    """Dividing the gradient by a tiny entry of L would leave its rounding."""
    s = situation("slope", Binomial(), "probit")
    at, near = (s.derivatives(9, np.concatenate([[0.6, -0.3, last], s.x[3:]])).psi[0] for last in (0.0, 1e-12))
    np.testing.assert_allclose(near, at, rtol=1e-8)


def test_levels_add_up_whatever_the_number_of_rows() -> None:
    """With 9600 rows the nodes are evaluated one by one, with 64 all at once."""
    s = situation("slope", Poisson(), "log")
    times, pirls, model = 150, s.laplace.pirls, s.laplace.pirls.model
    codes = pirls.codes[0]
    labels = np.concatenate([codes + i * (codes.max() + 1) for i in range(times)])
    many = Problem(
        "many",
        (term("g", labels, np.tile(pirls.Z[0], (times, 1))),),
        np.tile(s.laplace.X, (times, 1)),
        np.tile(model.y, times),
    )
    structure, rows = many.layout()
    copies = replace(model, y=many.y, weights=np.tile(model.weights, times))
    large = Laplace(Pirls(structure, rows.codes, rows.Z, copies), many.X, np.tile(s.laplace.offset, times))
    target = Quadrature(large, 4)
    modes = target.at(s.x)
    assert target.value(modes) == pytest.approx(times * s.deviance(4), rel=1e-11)
    np.testing.assert_allclose(target.derivatives(modes).gradient, times * s.derivatives(4).gradient, rtol=1e-8)


class NoNumber(FreeDispersion):
    """A response of the user's own whose density is no number where it does not exist."""

    def log_density(self, eta: Array, dispersion: float | None = None) -> Array:
        value = super().log_density(eta, dispersion)
        return np.where(np.isneginf(value), np.nan, value)


@pytest.mark.parametrize("kind", [FreeDispersion, NoNumber])
def test_nodes_with_an_impossible_linear_predictor_do_not_count(kind: type[FreeDispersion]) -> None:
    """A Gamma mean of eta must be positive; with 50 nodes and a large theta many predictors are not."""
    s = situation("scalar", Gamma(), "identity")
    pirls, model = s.laplace.pirls, s.laplace.pirls.model
    model = kind(model.family, model.link, model.y, model.weights, phi=0.3)
    laplace = Laplace(Pirls(pirls.structure, pirls.codes, pirls.Z, model), s.laplace.X, s.laplace.offset)
    target = Quadrature(laplace, 50)
    modes = target.at(np.concatenate([[1.5], s.x[1:]]))
    assert np.isfinite(target.value(modes))
    assert np.isfinite(target.derivatives(modes).gradient).all()


@pytest.mark.parametrize("kind", ["scalar", "wide"])
def test_infinite_where_the_modes_are_impossible(kind: str) -> None:
    s = situation(kind, Gamma(), "identity")
    x = s.x.copy()
    x[s.problem.n_theta] = -3.0
    assert s.deviance(5, x) == np.inf


def test_terms_beyond_the_range_of_doubles() -> None:
    """Densities of e^-40000 a level, with a sum of terms that only logarithms can hold."""
    s = situation("scalar", Poisson(), "log")
    model = replace(s.laplace.pirls.model, y=1e4 * s.problem.y)
    pirls = s.laplace.pirls
    far = replace(
        s, laplace=Laplace(Pirls(pirls.structure, pirls.codes, pirls.Z, model), s.laplace.X, s.laplace.offset)
    )
    assert far.deviance(9) > 1e5
    gradient = far.derivatives(9).gradient
    np.testing.assert_allclose(gradient, slopes(lambda x: far.deviance(9, x), far.x, 1e-3), rtol=1e-6)


def test_convention_of_lme4_for_a_dispersion() -> None:
    s = situation("slope", Gamma(), "log")
    model, pirls = s.laplace.pirls.model, s.laplace.pirls
    profiled = ProfiledDispersion(model.family, model.link, model.y, model.weights)
    laplace = Laplace(Pirls(pirls.structure, pirls.codes, pirls.Z, profiled), s.laplace.X, s.laplace.offset)
    p = replace(s, laplace=laplace, x=s.x[:-1])
    assert p.deviance(1) == pytest.approx(laplace(p.x), rel=1e-12)
    d = p.derivatives(3)
    np.testing.assert_allclose(d.gradient, slopes(lambda x: p.deviance(3, x), p.x, 2e-3), rtol=1e-6, atol=1e-6)
    x = np.concatenate([np.zeros(3), p.x[3:]])
    at = [p.deviance(3, np.concatenate([[np.sqrt(h)], x[1:]])) for h in (0.0, 1e-4, 2e-4, 3e-4)]
    forward = (-11.0 * at[0] + 18.0 * at[1] - 9.0 * at[2] + 2.0 * at[3]) / 6e-4
    assert p.derivatives(3, x).psi[0][0, 0] == pytest.approx(forward, rel=1e-5)


def cbpp() -> Laplace:
    frame = interlace.datasets.load("cbpp")
    X = np.column_stack([np.ones(len(frame)), *(frame["period"] == str(i) for i in (2, 3, 4))]).astype(float)
    herd = frame["herd"].cat.codes.to_numpy().astype(np.int64)
    size = frame["size"].to_numpy(float)
    herds = Problem(
        "cbpp", (term("herd", herd, np.ones((len(frame), 1))),), X, frame["incidence"].to_numpy(float) / size
    )
    structure, rows = herds.layout()
    model = WorkingModel(Binomial(), link_for(Binomial(), "logit"), herds.y, size)
    return Laplace(Pirls(structure, rows.codes, rows.Z, model), X, np.zeros(len(frame)))


@pytest.mark.parametrize(
    ("nodes", "x", "lme4"),
    [
        (9, (0.7, -1.3, -1.0, -1.1, -1.6), 100.351685758585),
        (25, (0.7, -1.3, -1.0, -1.1, -1.6), 100.351677694595),
        (9, (1.5, -1.5, -0.9, -1.2, -1.4), 109.251896759428),
        (25, (1.5, -1.5, -0.9, -1.2, -1.4), 109.251655809888),
    ],
)
def test_deviance_of_lme4(nodes: int, x: tuple[float, ...], lme4: float) -> None:
    """devFunOnly of lme4 1.1-31 with tolPwrss = 1e-13, which leaves out -2 log density of the saturated model."""
    saturated = 83.9567075378711  # -2 sum(dbinom(incidence, size, incidence / size, log = TRUE))
    assert Quadrature(cbpp(), nodes)(np.array(x)) == pytest.approx(lme4 + saturated, abs=1e-9)


def test_information_serves_newton_steps() -> None:
    """They find the optimum of cbpp with 25 nodes."""
    target = Quadrature(cbpp(), 25)
    x = np.array([0.5, -1.4, -1.0, -1.0, -1.5])
    for _ in range(30):
        modes: Modes = target.at(x)
        d = target.derivatives(modes)
        x = x - np.linalg.solve(target.information(modes, d), d.gradient)
    assert np.abs(d.gradient).max() < 1e-8
    assert target(x) <= min(target(x + shift) for shift in 1e-3 * np.vstack([np.eye(5), -np.eye(5)]))


def test_what_it_refuses() -> None:
    one = situation("scalar", Poisson(), "log").laplace
    for nodes in (0, 101):
        with pytest.raises(ValueError, match=f"from 1 to 100, not {nodes}"):
            Quadrature(one, nodes)
    pirls = one.pirls
    inside = Laplace(Pirls(pirls.structure, pirls.codes, pirls.Z, pirls.model, one.X), one.X, one.offset)
    with pytest.raises(ValueError, match="outside the search"):
        Quadrature(inside, 3)


def two_factors_and_four_columns() -> list[tuple[Problem, str]]:
    rng = np.random.default_rng(1)
    z, g, h = rng.normal(size=(40, 4)), np.arange(40) % 8, np.arange(40) % 5
    crossed = (term("g", g, z[:, :1]), term("h", h, z[:, :1]))
    return [
        (Problem("crossed", crossed, z[:, :1], np.ones(40)), "one grouping factor"),
        (Problem("wide", (term("g", g, z),), z[:, :1], np.ones(40)), "3 columns on the factor, not 4"),
    ]


@pytest.mark.parametrize(("problem", "message"), two_factors_and_four_columns())
def test_designs_that_it_refuses(problem: Problem, message: str) -> None:
    structure, rows = problem.layout()
    model = WorkingModel(Poisson(), link_for(Poisson(), "log"), problem.y, np.ones(40))
    with pytest.raises(ValueError, match=message):
        Quadrature(Laplace(Pirls(structure, rows.codes, rows.Z, model), problem.X, np.zeros(40)), 3)
