"""The package marginaleffects on our results, against emmeans and the delta method by hand."""

from __future__ import annotations

import subprocess
import sys
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from marginaleffects import (
    avg_comparisons,
    avg_predictions,
    avg_slopes,
    comparisons,
    datagrid,
    hypotheses,
    predictions,
    slopes,
)
from marginaleffects.classes import ModelAbstract

import interlace
from interlace.errors import DataError
from interlace.interop.marginaleffects import as_marginaleffects
from interlace.results.contrasts_of_means import contrast
from interlace.results.emmeans import emmeans
from interlace.results.glmm import GLMMResult
from interlace.results.lmm import LMMResult
from tests.glmm_fits import cbpp

# The package differentiates by a forward difference with a step of 1e-8 of each coefficient.
SE = 1e-5


@lru_cache
def rats() -> LMMResult:
    data = interlace.datasets.load("RatPupWeight")
    return interlace.fit("weight ~ Treatment * sex + log(Lsize) + (1 | Litter)", data)


@lru_cache
def counts() -> GLMMResult:
    rng = np.random.default_rng(11)
    data = pd.DataFrame(
        {
            "g": np.repeat([f"g{i:02d}" for i in range(20)], 12),
            "x": rng.normal(size=240),
            "treated": np.tile([False, True], 120),
            "f": np.tile(["a", "b", "c"], 80),
            "ex": rng.uniform(1, 3, size=240),
        }
    )
    eta = 0.3 + 0.4 * data["x"] - 0.3 * data["treated"] + np.log(data["ex"]) + np.repeat(rng.normal(0, 0.4, 20), 12)
    data["y"] = rng.poisson(np.exp(eta))
    return interlace.glmer("y ~ x * treated + f + offset(log(ex)) + (1 | g)", data, "poisson")


def columns(table: Any, *names: str) -> np.ndarray:
    return np.column_stack([table[name].to_numpy() for name in names])


@pytest.mark.parametrize("fit", [rats, cbpp, counts])
def test_predictions_are_those_of_the_population(fit: Any) -> None:
    result = fit()
    model = as_marginaleffects(result)
    assert isinstance(model, ModelAbstract)
    found = predictions(model)
    expected = result.predict(re_formula="~0", se=True)
    np.testing.assert_allclose(found["estimate"], expected["fit"], rtol=1e-12)
    np.testing.assert_allclose(found["std_error"], expected["se"], rtol=SE)
    link = predictions(as_marginaleffects(result, "link"))
    expected = result.predict(re_formula="~0", se=True, type="link")
    np.testing.assert_allclose(columns(link, "estimate", "std_error"), expected[["fit", "se"]], rtol=SE)


def test_averages_over_a_balanced_grid_are_marginal_means() -> None:
    model = as_marginaleffects(rats())
    grid = datagrid(model, Treatment=["Control", "Low", "High"], sex=["Male", "Female"])
    found = avg_predictions(model, by="Treatment", newdata=grid)
    means = emmeans(rats(), "Treatment", ddf="normal").to_frame()
    assert found["Treatment"].to_list() == means["Treatment"].tolist()
    np.testing.assert_allclose(columns(found, "estimate"), means[["emmean"]], rtol=1e-12)
    names = ("std_error", "conf_low", "conf_high")
    np.testing.assert_allclose(columns(found, *names), means[["SE", "asymp.LCL", "asymp.UCL"]], rtol=SE)


def test_comparisons_of_factors_are_contrasts() -> None:
    model = as_marginaleffects(rats())
    found = avg_comparisons(model, variables="Treatment", newdata=datagrid(model, sex=["Male", "Female"]))
    assert found["contrast"].to_list() == ["Low - Control", "High - Control"]
    table = contrast(emmeans(rats(), "Treatment", ddf="normal"), "trt.vs.ctrl", adjust="none").to_frame()
    names = ("estimate", "std_error", "p_value")
    np.testing.assert_allclose(columns(found, *names), table[["estimate", "SE", "p.value"]], rtol=1e-4)


def test_odds_and_risks_of_a_binomial_model() -> None:
    found = avg_predictions(as_marginaleffects(cbpp()), by="period")
    means = emmeans(cbpp(), "period", type="response").to_frame()
    np.testing.assert_allclose(columns(found, "estimate", "std_error"), means[["prob", "SE"]], rtol=SE)
    odds = comparisons(as_marginaleffects(cbpp()), comparison="lnor", newdata="mean")
    table = contrast(emmeans(cbpp(), "period"), "trt.vs.ctrl", adjust="none").to_frame()
    np.testing.assert_allclose(columns(odds, "estimate", "std_error"), table[["estimate", "SE"]], rtol=1e-4)
    risk = avg_comparisons(as_marginaleffects(cbpp()))
    p = means["prob"].to_numpy()
    np.testing.assert_allclose(risk["estimate"], p[1:] - p[0], rtol=1e-10)
    # Of the first difference by hand: R's emmeans gives 0.03528471948 for pairs(regrid(...)).
    np.testing.assert_allclose(risk["std_error"][0], 0.03528471948, rtol=2e-5)


def test_slopes_by_the_delta_method() -> None:
    result = counts()
    found = avg_slopes(as_marginaleffects(result), variables="x")
    beta, cov = result.fe_params, result.fe_cov.to_numpy()
    frame = result.state.problem.design.frame
    X = result.state.problem.design.X
    names = list(beta.index)
    main, product = names.index("x"), next(i for i, name in enumerate(names) if name.startswith("x:"))
    mu = result.predict(re_formula="~0").to_numpy()
    on = frame["treated"].to_numpy()
    slope = beta.iloc[main] + beta.iloc[product] * on
    gradient = (mu * slope)[:, None] * X
    gradient[:, main] += mu
    gradient[:, product] += mu * on
    gradient = gradient.mean(axis=0)
    np.testing.assert_allclose(found["estimate"][0], (mu * slope).mean(), rtol=1e-6)
    np.testing.assert_allclose(found["std_error"][0], np.sqrt(gradient @ cov @ gradient), rtol=1e-4)
    each = slopes(as_marginaleffects(result), variables="x")
    np.testing.assert_allclose(each["estimate"], mu * slope, rtol=1e-5)


def test_truth_values_and_offsets() -> None:
    result = counts()
    found = avg_comparisons(as_marginaleffects(result), variables="treated")
    frame = result.state.problem.design.frame
    hi, lo = (result.predict(frame.assign(treated=value), re_formula="~0") for value in (True, False))
    np.testing.assert_allclose(found["estimate"][0], (hi - lo).mean(), rtol=1e-12)
    new = frame.head(3).assign(ex=7.0)
    expected = result.predict(new, re_formula="~0")
    np.testing.assert_allclose(predictions(as_marginaleffects(result), newdata=new)["estimate"], expected, rtol=1e-12)


def test_formulas_that_the_package_cannot_read() -> None:
    data = interlace.datasets.load("sleepstudy").rename(columns={"Days": "days of test"})
    data["arm"] = np.where(data["Subject"].cat.codes % 2 == 0, "x", "y")
    result = interlace.fit("log(Reaction) ~ scale(`days of test`) * arm + I(`days of test`^2) + (1 | Subject)", data)
    found = slopes(as_marginaleffects(result), variables="days of test", newdata=data.head(4))
    later, earlier = (
        result.predict(data.head(4).assign(**{"days of test": data["days of test"].head(4) + step}), re_formula="~0")
        for step in (1e-3, -1e-3)
    )
    np.testing.assert_allclose(found["estimate"], (later - earlier) / 2e-3, rtol=1e-6)


def test_numbers_made_a_factor_are_levels() -> None:
    result = interlace.fit("Reaction ~ C(Days) + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    model = as_marginaleffects(result)
    assert isinstance(model.get_modeldata()["Days"].dtype, pl.Enum)
    found = avg_comparisons(model, variables={"Days": ["0", "9"]})
    np.testing.assert_allclose(found["estimate"][0], result.fe_params.iloc[-1], rtol=1e-10)
    np.testing.assert_allclose(found["std_error"][0], result.fe_bse.iloc[-1], rtol=1e-4)


def test_degrees_of_freedom_and_covariance() -> None:
    data = interlace.datasets.load("ergoStool")
    formula = "effort ~ Type + (1 | Subject)"
    residual = interlace.fit(formula, data, df_method="residual")
    found = hypotheses(as_marginaleffects(residual))
    np.testing.assert_allclose(columns(found, "conf_low", "conf_high"), residual.fe_conf_int, rtol=1e-6)
    np.testing.assert_allclose(found["p_value"], residual.fe_pvalues, rtol=1e-5, atol=1e-12)
    adjusted = interlace.fit(
        "weight ~ Treatment + (1 | Litter)", interlace.datasets.load("RatPupWeight"), df_method="kenward-roger"
    )
    found = hypotheses(as_marginaleffects(adjusted))
    np.testing.assert_allclose(found["std_error"], adjusted.fe_bse, rtol=1e-7)
    np.testing.assert_allclose(found["conf_low"], adjusted.fe_params - 1.959963985 * adjusted.fe_bse, rtol=1e-7)
    assert "std_error" not in predictions(as_marginaleffects(adjusted), vcov=False).columns
    with pytest.raises(ValueError, match="vcov must be True, False or a matrix"):
        predictions(as_marginaleffects(adjusted), vcov="HC3")


def test_the_result_is_left_as_it_was() -> None:
    result = rats()
    before = result.fe_params
    avg_slopes(as_marginaleffects(result), variables="Lsize")
    pd.testing.assert_series_equal(result.fe_params, before)


def test_what_cannot_be_wrapped() -> None:
    with pytest.raises(TypeError, match="takes a result"):
        as_marginaleffects(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="type must be"):
        as_marginaleffects(rats(), "probs")  # type: ignore[arg-type]
    data = interlace.datasets.load("sleepstudy")
    result = interlace.fit("Reaction ~ Days + (1 | Subject)", data, offset=np.arange(180.0))
    with pytest.raises(DataError, match="the offset of this fit was an array"):
        as_marginaleffects(result)


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['marginaleffects'] = None\n"
        "import interlace\n"
        "from interlace.interop.marginaleffects import as_marginaleffects\n"
        "result = interlace.fit('Yield ~ 1 + (1 | Batch)', interlace.datasets.load('Dyestuff'))\n"
        "try:\n    as_marginaleffects(result)\nexcept ImportError as error:\n    print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'marginaleffects>=0.6'" in run.stdout
