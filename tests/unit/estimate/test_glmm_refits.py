"""Refits of a generalized model without some of its rows, beside fits that begin from nothing."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import interlace
from interlace.core.dispersion import FreeTheta
from interlace.errors import ModelError
from interlace.estimate.glmm import fit_glmm
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.refits import refit_rows


def _cbpp() -> GlmmState:
    df = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size").state


def _ticks() -> GlmmState:
    df = interlace.datasets.load("grouseticks")
    return interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", df, "poisson").state


def _negative_binomial() -> GlmmState:
    df = interlace.datasets.load("grouseticks")
    return interlace.glmer_nb("TICKS ~ YEAR + (1 | LOCATION)", df).state


def _gamma() -> GlmmState:
    df = interlace.datasets.load("cake")
    return interlace.glmer("angle ~ temp + (1 | replicate)", df, "gamma", link="log").state


def _from_nothing(state: GlmmState, keep: np.ndarray) -> GlmmState:
    problem = state.problem
    model = problem.model
    return fit_glmm(
        problem.design.some_rows(keep),
        model.family,
        model.link,
        nodes=problem.nodes,
        free_theta=isinstance(model, FreeTheta),
        control=problem.control,
    )


@pytest.mark.parametrize("model", [_cbpp, _ticks, _negative_binomial, _gamma])
def test_as_a_fit_that_begins_from_nothing(model: object) -> None:
    state = model()  # type: ignore[operator]
    codes = state.problem.design.terms[0].codes
    for keep in (codes != 0, codes != 3, np.arange(codes.size) != 7):
        warm, cold = refit_rows(state, keep), _from_nothing(state, keep)
        assert warm.opt.converged
        assert warm.criterion == pytest.approx(cold.criterion, abs=1e-7)
        np.testing.assert_allclose(warm.beta, cold.beta, rtol=0, atol=1e-5 * np.sqrt(np.diagonal(cold.beta_cov)).max())
        np.testing.assert_allclose(warm.theta, cold.theta, rtol=0, atol=2e-5)


def test_leaves_a_boundary() -> None:
    """Without some rows the best variance may be positive where that of all rows is zero."""
    rng = np.random.default_rng(5)
    group = np.repeat(np.arange(8), 12)
    y = rng.poisson(np.exp(0.4 + np.where(group < 4, 0.5, -0.5)))
    y[group >= 6] = y[group < 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = interlace.glmer("y ~ 1 + (1 | g)", {"y": y, "g": group}, "poisson").state
        zero = refit_rows(state, group < 4)
        again = refit_rows(zero, np.arange(48) % 12 != 0)
    assert again.criterion == pytest.approx(_from_nothing(zero, np.arange(48) % 12 != 0).criterion, abs=1e-7)


def test_what_cannot_be_refitted() -> None:
    state = _cbpp()
    period = state.problem.design.frame["period"].to_numpy()
    with pytest.raises(ModelError, match="do not identify the fixed effects"):
        refit_rows(state, period != "2" if "2" in set(period) else period != 2)
