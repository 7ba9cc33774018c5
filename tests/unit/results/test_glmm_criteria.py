"""Criteria of generalized models against lme4 1.1-31 (tolPwrss 1e-13, Newton on numerical derivatives)."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.results.glmm import GLMMResult
from tests import glmm_fits

#: -2 log-likelihood, AIC, BIC, deviance(m), attr(logLik(m), "df"), df.residual(m).
LME4 = {
    "cbpp": (184.052563729514, 194.052563729514, 204.17932218319, 73.4717233667658, 5, 51),
    "cbpp nAGQ = 9": (183.966743592669, 193.966743592669, 204.093502046345, 73.3730351456109, 5, 51),
    "cbpp nAGQ = 0": (184.108590944328, 194.108590944328, 204.235349398004, 73.4846437693009, 5, 51),
    "nested ticks": (1780.5426601748, 1794.5426601748, 1822.53521610842, 220.924816513629, 7, 396),
    "ticks, theta estimated": (1777.68103573923, 1791.68103573923, 1819.67359167285, 343.198397952492, 7, 396),
    "ticks, theta = 2": (1786.73066032457, 1800.73066032457, 1828.7232162582, 292.44552898297, 7, 396),
    "VerbAgg": (8151.39971974203, 8167.39971974203, 8222.87008809351, 7156.54710819892, 8, 7576),
}
NESTED = "TICKS ~ YEAR + cHEIGHT + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION)"


def fitted(name: str) -> GLMMResult:
    if name.startswith("cbpp"):
        return glmm_fits.cbpp(int(name.rpartition("=")[2]) if "=" in name else 1)
    if name == "nested ticks":
        return glmm_fits.ticks(NESTED)
    if name.startswith("ticks"):
        return glmm_fits.ticks_nb(2.0 if "=" in name else None)
    return glmm_fits.verbal()


@pytest.mark.parametrize("name", LME4)
def test_criteria_are_lme4s(name):
    result, (criterion, aic, bic, deviance, n_params, df_resid) = fitted(name), LME4[name]
    assert_allclose([-2 * result.llf, result.aic, result.bic], [criterion, aic, bic], rtol=1e-12)
    assert_allclose(result.deviance, deviance, rtol=1e-9)
    assert (result.n_params, result.df_resid) == (n_params, df_resid)
    assert (result.method, result.reml_criterion) == ("ML", None)
    assert (result.sigma, result.scale) == (1.0, 1.0)


def test_a_dispersion_counts_and_is_the_scale():
    result = glmm_fits.reaction()
    assert result.n_params == 4
    assert result.sigma == pytest.approx(0.0966, abs=1e-4)
    assert_allclose(result.scale, result.sigma**2)


def test_deviance_is_the_sum_of_squared_deviance_residuals():
    for result in (glmm_fits.cbpp(), glmm_fits.ticks_nb(), glmm_fits.reaction()):
        assert_allclose(result.deviance, np.sum(result.residuals("deviance") ** 2), rtol=1e-12)


def test_convergence_has_lme4s_value_where_it_is_another():
    details = glmm_fits.cbpp(9).convergence.details
    assert details["nAGQ"] == 9
    assert_allclose(details["lme4_criterion"], 183.966743592669 - 83.9567075378712, rtol=1e-12)
    assert glmm_fits.cbpp().convergence.details == {"nAGQ": 1}
    assert glmm_fits.cbpp(0).convergence.details == {"nAGQ": 0}
    assert glmm_fits.reaction(nodes=3).convergence.details == {"nAGQ": 3}


def test_linear_models_have_no_details(slopes):
    assert slopes.convergence.details == {}


def test_eigenvalues_are_of_all_parameters():
    assert glmm_fits.cbpp().convergence.hessian_eigenvalues.shape == (5,)
    assert glmm_fits.cbpp(0).convergence.hessian_eigenvalues.shape == (1,)
    eigenvalues = glmm_fits.ticks_nb().convergence.hessian_eigenvalues
    assert eigenvalues.shape == (7,)
    assert (eigenvalues > 0).all()
    assert glmm_fits.ticks_nb(2.0).convergence.hessian_eigenvalues.shape == (6,)


def test_separation_is_no_convergence():
    data = interlace.datasets.load("cbpp")
    data["ill"] = (data["incidence"] > 0).astype(float)
    data["sure"] = data["ill"]
    with pytest.warns(interlace.ConvergenceWarning, match="separate"):
        result = interlace.glmer("ill ~ sure + (1 | herd)", data, "binomial")
    assert not result.converged
    assert any("separate" in message for message in result.convergence.messages)
