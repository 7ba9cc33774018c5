"""Profiles of single parameters: their slopes, curvatures and drifts against differences of the profiles themselves."""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.core.terms import split_theta
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import State
from interlace.inference.profile_coefficients import LinearCoefficient
from interlace.inference.profile_parameters import (
    coefficients,
    covariance_parameters,
    estimates,
    of_fit,
    standard_deviations,
)
from interlace.inference.profile_sections import restricted_section, surface
from tests.problems import frame_of, random_problem


@lru_cache
def states():
    sleep, cbpp = interlace.datasets.load("sleepstudy"), interlace.datasets.load("cbpp")
    pastes = interlace.datasets.load("Pastes")
    formula, df = frame_of(random_problem(np.random.default_rng(12), "nested3", n=150))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "slopes": interlace.fit("Reaction ~ Days + (Days | Subject)", sleep).state,
            "nested": interlace.fit("strength ~ 1 + (1 | batch / cask)", pastes, method="ML").state,
            "chain": interlace.fit(formula, df, method="ML").state,
            "binomial": interlace.glmer(
                "incidence / size ~ period + (1 | herd)", cbpp, "binomial", weights="size"
            ).state,
            "gamma": interlace.glmer("Reaction ~ Days + (Days | Subject)", sleep, "gamma", link="log").state,
        }


def sections_of(state: State):
    table = covariance_parameters(state) + standard_deviations(state) + coefficients(state)
    table += [p for p in standard_deviations(state, other="cov") if p.kind == "cov"]
    for parameter in table:
        found = surface(state, fitted=parameter.kind == "theta")
        if parameter.kind == "beta" and not isinstance(state, GlmmState):
            yield parameter, LinearCoefficient(parameter, found)
        else:
            section = restricted_section(parameter, found)
            if section is not None:
                yield parameter, section


MODELS = ["slopes", "nested", "chain", "binomial", "gamma"]


def _inside(section, step):
    low, high = section.bounds
    return low < section.start.s - abs(step) and section.start.s + abs(step) < high


@pytest.mark.parametrize("model", MODELS)
def test_slope_is_the_derivative_of_the_rise(model):
    checked = 0
    for _, section in sections_of(states()[model]):
        start = section.start
        step = 0.7 * np.sqrt(2.0 / start.slope) if start.slope > 0.0 else np.nan
        if not (np.isfinite(step) and _inside(section, step)):
            continue
        s, h = start.s + step, 1e-3 * step
        at = [section.solve(s + d, start.z, 1e-11) for d in (-h, 0.0, h)]
        assert_allclose((at[2].rise - at[0].rise) / (2 * h), at[1].slope, rtol=2e-5)
        checked += 1
    assert checked >= 4


@pytest.mark.parametrize("model", MODELS)
def test_curvature_and_drift_at_the_estimate(model):
    """From average information, hence approximate."""
    for _, section in sections_of(states()[model]):
        start = section.start
        step = 0.05 * np.sqrt(2.0 / start.slope) if start.slope > 0.0 else np.nan
        if not (np.isfinite(step) and _inside(section, step)):
            continue
        ahead, behind = (section.solve(start.s + d, start.z, 1e-11) for d in (step, -step))
        curvature = (ahead.rise + behind.rise) / step**2
        assert 0.5 < curvature / start.slope < 2.0
        drift = (ahead.z - behind.z) / (2 * step)
        size = np.abs(drift).max(initial=1e-3 / step)
        assert_allclose(section.drift(), drift, atol=size if isinstance(section, LinearCoefficient) else 0.7 * size)


@pytest.mark.parametrize("model", MODELS)
def test_values_of_a_point_contain_the_parameter(model):
    state = states()[model]
    for parameter, section in sections_of(state):
        start = section.start
        step = 0.3 * np.sqrt(2.0 / start.slope) if start.slope > 0.0 else 0.1
        if not _inside(section, step):
            continue
        for point in (start, section.solve(start.s + step, start.z, 1e-9)):
            v = section.values(point)
            factors = split_theta(state.problem.shapes, v.theta)
            found = estimates(factors, v.unit, v.sigma, v.beta, [parameter])[0]
            assert_allclose(found, section.natural(point.s), rtol=1e-7, atol=1e-12)
        if not state.reml:
            v = section.values(start)
            factors = split_theta(state.problem.shapes, v.theta)
            table = standard_deviations(state) + coefficients(state)
            assert_allclose(estimates(factors, v.unit, v.sigma, v.beta, table), of_fit(state, table), rtol=1e-6)


@pytest.mark.parametrize("model", MODELS)
def test_minimum_from_another_start(model):
    state = states()[model]
    there, here = surface(state, fitted=True, theta=1.3 * state.theta), surface(state, fitted=True)
    assert_allclose(here.theta, state.theta, rtol=1e-9)
    assert_allclose(there.theta, here.theta, atol=1e-4 * np.abs(here.theta).max())
    assert_allclose(there.rest, here.rest, atol=1e-4 * np.abs(here.rest).max())
