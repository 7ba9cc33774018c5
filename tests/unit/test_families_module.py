"""The public module of families: what it offers, what its table says, and that a user's own family works."""

from __future__ import annotations

import re

import numpy as np
import pytest

from interlace import families
from interlace.core.familynames import FAMILIES, family, link_for
from interlace.core.working import WorkingModel
from interlace.families import Family, NegativeBinomial, link, validate_family

TABLE = [
    re.split(r"\s{2,}", line.strip())
    for line in families.__doc__.split("response\n", 1)[1].splitlines()
    if re.match(r"\S+\s+`\w+\(", line)
]


def test_every_public_name_is_there() -> None:
    assert {name: getattr(families, name).__name__ for name in families.__all__} == {n: n for n in families.__all__}
    assert {"Family", "Link", "Binomial", "Poisson", "Gamma", "InverseGaussian", "Gaussian", "NegativeBinomial"} < set(
        families.__all__
    )


def test_the_table_of_the_module_says_what_is_so() -> None:
    assert {row[0] for row in TABLE} == {one.name for one in FAMILIES.values()} | {"(none)"}
    for name, written, links, _ in TABLE:
        one = NegativeBinomial(2.0) if name == "(none)" else family(name)
        assert written.strip("`").split("(")[0] == type(one).__name__
        assert tuple(links.split(", ")) == one.links
        assert one.links[0] == one.default_link


class Logarithmic(Family):
    """Logarithmic-series counts 1, 2, ..., written in p by Fisher (1943), here with p solved from the mean."""

    name = "logarithmic"
    default_link = "log"
    mu_domain = (1.0, np.inf)

    def _p(self, mu):
        low, high = np.zeros_like(mu), np.ones_like(mu)
        for _ in range(200):
            p = (low + high) / 2.0
            below = -p / ((1.0 - p) * np.log1p(-p)) < mu
            low, high = np.where(below, p, low), np.where(below, high, p)
        return (low + high) / 2.0

    def variance(self, mu):
        return mu * (1.0 / (1.0 - self._p(mu)) - mu)

    def d_variance(self, mu):
        p = self._p(mu)
        return 1.0 / (1.0 - p) + mu * p / (1.0 - p) ** 2 / self.variance(mu) - 2.0 * mu

    def d2_variance(self, mu):
        h = 1e-4 * mu
        return (self.d_variance(mu + h) - self.d_variance(mu - h)) / (2.0 * h)

    def loglik(self, y, mu, weights, dispersion=1.0):
        p = self._p(mu)
        return weights * (y * np.log(p) - np.log(y) - np.log(-np.log1p(-p)))

    def unit_deviance(self, y, mu):
        at = np.where(y > 1.0, y, 1.0 + 1e-12)
        return 2.0 * (self.loglik(y, at, np.ones_like(mu)) - self.loglik(y, mu, np.ones_like(mu)))

    def start_mu(self, y, weights):
        return y + 0.5


def test_a_family_that_is_nobody_elses() -> None:
    one = Logarithmic()
    y = np.array([1.0, 2.0, 5.0])
    validate_family(one, link("log"), y)
    k = np.arange(1.0, 4000.0)
    for mu in (1.3, 4.0):
        density = np.exp(one.loglik(k, np.full_like(k, mu), np.ones_like(k)))
        assert density.sum() == pytest.approx(1.0, abs=1e-9)
        assert density @ k == pytest.approx(mu, rel=1e-9)
        assert density @ (k - mu) ** 2 == pytest.approx(one.variance(np.array([mu]))[0], rel=1e-8)
    model = WorkingModel(family(one), link_for(one), y, np.ones(3))
    eta, h = np.array([0.4, 0.9, 1.5]), 1e-5
    slope = (model.log_density(eta + h) - model.log_density(eta - h)) / (2.0 * h)
    np.testing.assert_allclose(model.at(eta).score, slope, rtol=1e-6)


def test_a_slip_in_it_is_found() -> None:
    class Slip(Logarithmic):
        def variance(self, mu):
            return super().variance(mu) * 1.001

    with pytest.raises(ValueError, match=r"'logarithmic': \w+\(\) is wrong at mu"):
        validate_family(Slip(), link("log"), np.array([1.0, 2.0, 5.0]))
