"""Comparisons of models against lme4 1.1-31 (anova, drop1), lmerTest 3.1-3 (ranova) and pbkrtest 0.5.2 (PBmodcomp).

R's fits are by bobyqa with rhoend 1e-9 (glmer: 1e-8, tolPwrss = 1e-12).
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import interlace
from interlace.errors import ConvergenceWarning, DataError, ModelError
from interlace.estimate.state import FitState
from interlace.inference import compare
from interlace.results.comparison import aic_table, anova, drop1_lrt, ranova
from interlace.results.lmm import LMMResult
from tests.glmm_fits import TICKS, cbpp, ticks, verbal

NULL, DAYS = "Reaction ~ 1 + (Days | Subject)", "Reaction ~ Days + (Days | Subject)"
SQUARE = "Reaction ~ Days + I(Days^2) + (Days | Subject)"


@lru_cache
def fitted(name: str, formula: str, method: str = "REML") -> LMMResult:
    data = interlace.datasets.load(name)
    if name == "sleepstudy":
        data["z"] = np.tile([1, 3, 2], 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return interlace.fit(formula, data, method=method)


def sleep(formula: str, method: str = "REML") -> LMMResult:
    return fitted("sleepstudy", formula, method)


# npar, AIC, BIC, logLik, Chisq, Df, p-value of each row.
ANOVA: dict[str, tuple[Any, list[tuple[float, ...]]]] = {
    "three fits by REML, not in order": (
        lambda: [sleep(SQUARE), sleep(NULL), sleep(DAYS)],
        [
            (5, 1785.47588, 1801.44067, -887.737941),
            (6, 1763.93934, 1783.09709, -875.969672, 23.53653750, 1, 1.22563996e-06),
            (7, 1764.28159, 1786.63229, -875.140797, 1.65774991, 1, 1.97907401e-01),
        ],
    ),
    "as many parameters": (
        lambda: [
            fitted("Penicillin", f"diameter ~ 1 + {terms}", "ML")
            for terms in ("(1 | plate)", "(1 | sample)", "(1 | plate) + (1 | sample)")
        ],
        [
            (3, 617.629553, 626.538993, -305.814777),
            (3, 443.190076, 452.099516, -218.595038, 174.439477, 0, np.nan),
            (4, 340.188349, 352.067602, -166.094174, 105.001727, 1, 1.22029423e-24),
        ],
    ),
    "binomial": (
        lambda: [cbpp().update(". ~ 1 + (1 | herd)"), cbpp()],
        [
            (2, 213.662627, 217.713331, -104.8313136),
            (5, 194.052564, 204.179322, -92.0262819, 25.6100634, 3, 1.15093669e-05),
        ],
    ),
    "poisson": (
        lambda: [ticks("TICKS ~ YEAR + (1 | BROOD)"), ticks("TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)")],
        [
            (4, 2038.58754, 2054.58329, -1015.29377),
            (5, 2020.11359, 2040.10828, -1005.05680, 20.4739502, 1, 6.04483756e-06),
        ],
    ),
}


@pytest.mark.parametrize("name", ANOVA)
def test_anova_is_lme4s(name: str) -> None:
    results, rows = ANOVA[name]
    table = anova(*results())
    assert list(table.columns) == ["npar", "AIC", "BIC", "logLik", "deviance", "Chisq", "Df", "Pr(>Chisq)"]
    np.testing.assert_allclose(table[["npar", "AIC", "BIC", "logLik"]], [row[:4] for row in rows], rtol=1e-8)
    np.testing.assert_allclose(table["deviance"], -2 * table["logLik"], rtol=1e-14)
    tests = table[["Chisq", "Df", "Pr(>Chisq)"]].iloc[1:].to_numpy(dtype=float)
    np.testing.assert_allclose(tests, [row[4:] for row in rows[1:]], rtol=2e-5)
    assert table.iloc[0][["Chisq", "Df", "Pr(>Chisq)"]].isna().all()


def test_rows_have_names_and_the_note_says_what_was_fitted_again() -> None:
    table = anova(sleep(DAYS, "ML"), sleep(NULL))
    assert list(table.index) == ["m2", "m1"]
    assert table.attrs["note"].startswith("m2: fitted again by ML")
    assert table.attrs["formulas"] == {"m2": NULL, "m1": DAYS}
    named = anova(sleep(NULL, "ML"), sleep(DAYS, "ML"), names=["null", "days"])
    assert list(named.index) == ["null", "days"]
    assert named.attrs["note"] == ""


def test_restricted_likelihoods_can_be_compared_where_the_fixed_effects_are_the_same() -> None:
    """anova(z0, m2, refit = FALSE)."""
    table = anova(sleep("Reaction ~ Days + (1 | Subject)"), sleep(DAYS), refit=False)
    np.testing.assert_allclose(table["logLik"], [-893.232543, -871.814136], rtol=1e-8)
    assert table["Chisq"].iloc[1] == pytest.approx(42.8368134, rel=1e-7)
    with pytest.raises(ModelError, match="different fixed effects"):
        anova(sleep(NULL), sleep(DAYS), refit=False)
    with pytest.raises(ModelError, match="leave refit=False out"):
        anova(sleep("Reaction ~ Days + (1 | Subject)"), sleep(DAYS), refit=False, test="bootstrap")


def test_the_workflow_of_the_faq() -> None:
    result = interlace.fit("Reaction ~ 1", interlace.datasets.load("sleepstudy"), groups="Subject", method="ML")
    more = result.update(". ~ . + Days")
    table = anova(result, more)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(stats.chi2.sf(2 * (more.llf - result.llf), 1))


def test_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match=r"at least two results .* drop1_lrt\(result\) or ranova\(result\)"):
        anova(sleep(DAYS))
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\) or interlace.glmer\(\), not str"):
        anova(sleep(DAYS), "y ~ x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="names must hold 2 different names"):
        anova(sleep(DAYS), sleep(NULL), names=["a", "a"])
    with pytest.raises(ValueError, match="test must be 'LRT' or 'bootstrap', not 'F'"):
        anova(sleep(DAYS), sleep(NULL), test="F")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nsim must be at least 1, but is 0"):
        anova(sleep(DAYS), sleep(NULL), test="bootstrap", nsim=0)
    for nsim in (2.5, "many"):
        with pytest.raises(TypeError, match="nsim must be a whole number, not"):
            anova(sleep(DAYS), sleep(NULL), test="bootstrap", nsim=nsim)  # type: ignore[arg-type]
    other = sleep(NULL).update(data=interlace.datasets.load("sleepstudy")[1:])
    with pytest.raises(DataError, match="m1 uses 180 rows and m2 179"):
        anova(sleep(DAYS), other)


def test_different_approximations_of_the_likelihood_are_noted() -> None:
    table = anova(cbpp().update(". ~ 1 + (1 | herd)"), cbpp(9))
    assert table.attrs["note"] == "the fits approximate the likelihood differently: nAGQ = 1, 9"


def test_the_bootstrap_agrees_with_pbmodcomp() -> None:
    """PBmodcomp(m3, m2, nsim = 1000): 0.1958; both have a standard error of 0.0125."""
    small, large = sleep(DAYS), sleep(SQUARE)
    table = anova(small, large, test="bootstrap", seed=1)
    assert list(table.columns)[-2:] == ["Pr(>Chisq)", "Pr(boot)"]
    assert table["Pr(boot)"].iloc[1] == pytest.approx(0.1958, abs=3 * np.hypot(0.0125, 0.0125))
    assert np.isnan(table["Pr(boot)"].iloc[0])
    pd.testing.assert_frame_equal(table, anova(small, large, test="bootstrap", seed=1))
    assert anova(small, large, test="bootstrap", seed=2)["Pr(boot)"].iloc[1] != table["Pr(boot)"].iloc[1]


def test_the_bootstrap_knows_the_boundary() -> None:
    """A variance that the smaller model lacks: half of the statistics are zero, so that p is about half of R's."""
    nested = [fitted("Pastes", f"strength ~ 1 + {terms}") for terms in ("(1 | batch:cask)", "(1 | batch/cask)")]
    table = anova(*nested, test="bootstrap", seed=3)
    assert table["Chisq"].iloc[1] == pytest.approx(0.4072339, rel=1e-5)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(0.5233768, rel=1e-5)
    assert 0.15 < table["Pr(boot)"].iloc[1] < 0.32


def test_models_of_one_size_have_no_bootstrap() -> None:
    plate, sample = (fitted("Penicillin", f"diameter ~ 1 + (1 | {g})", "ML") for g in ("plate", "sample"))
    assert anova(plate, sample, test="bootstrap", nsim=5)["Pr(boot)"].isna().all()


def test_failed_replicates_and_fits_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def some_fail(*arguments: Any, **options: Any) -> compare.Simulated:
        return compare.Simulated(1.0, np.array([np.nan, 2.0]), ("did not converge: limit", ""))

    monkeypatch.setattr("interlace.results.comparison.simulated_ratios", some_fail)
    with pytest.warns(ConvergenceWarning, match="1 of 2 replicates for m1 and m2 could not be fitted; the first: did"):
        table = anova(sleep(NULL, "ML"), sleep(DAYS, "ML"), test="bootstrap", nsim=2)
    assert table["Pr(boot)"].iloc[1] == 1.0


def test_fits_that_did_not_converge_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(state: FitState) -> FitState:
        return replace(state, opt=replace(state.opt, converged=False, message="limit of iterations"))

    result = sleep(DAYS, "ML")
    with pytest.warns(ConvergenceWarning, match="the fit m2 did not converge: limit of iterations"):
        anova(sleep(NULL, "ML"), LMMResult(stopped(result.state), result.call))
    monkeypatch.setattr("interlace.inference.ranova.fit_again", lambda state, design: stopped(state))
    with pytest.warns(ConvergenceWarning, match="the fit without Days did not converge, so its test is doubtful"):
        drop1_lrt(result)


def test_aic_table() -> None:
    table = aic_table(sleep(NULL), sleep(SQUARE), sleep(DAYS), names=["null", "square", "days"])
    assert list(table.index) == ["days", "square", "null"]
    np.testing.assert_allclose(table["AIC"], [1763.93934, 1764.28159, 1785.47588], rtol=1e-8)
    np.testing.assert_allclose(table["AICc"] - table["AIC"], [84 / 173, 112 / 172, 60 / 174], rtol=1e-8)
    np.testing.assert_allclose(table["delta"], table["AIC"] - 1763.939344, atol=1e-5)
    ratios = np.exp(-table["delta"] / 2)
    np.testing.assert_allclose(table["weight"], ratios / ratios.sum())
    assert "fitted again by ML" in table.attrs["note"]
    by_bic = aic_table(sleep(SQUARE), sleep(DAYS), by="BIC")
    assert by_bic["delta"].iloc[1] == pytest.approx(1786.63229 - 1783.09709, abs=1e-4)
    with pytest.raises(ValueError, match="by must be 'AIC', 'AICc' or 'BIC', not 'DIC'"):
        aic_table(sleep(NULL), sleep(DAYS), by="DIC")  # type: ignore[arg-type]


# Rows of ranova(m): npar, logLik, LRT, Df, p-value.
RANOVA: dict[tuple[str, ...], dict[str, tuple[float, ...]]] = {
    ("sleepstudy", DAYS): {
        "<none>": (6, -871.814136),
        "Days in (Days | Subject)": (4, -893.232543, 42.8368134, 2, 4.99004143e-10),
    },
    ("sleepstudy", DAYS, "ML"): {
        "<none>": (6, -875.969672),
        "Days in (Days | Subject)": (4, -897.039322, 42.1392985, 2, 7.07241255e-10),
    },
    ("sleepstudy", "Reaction ~ Days + (Days || Subject)"): {
        "<none>": (5, -871.834647),
        "(1 | Subject)": (4, -883.262514, 22.8557339, 1, 1.7462759e-06),
        "Days in (0 + Days | Subject)": (4, -893.232543, 42.7957918, 1, 6.0762731e-11),
    },
    ("sleepstudy", "Reaction ~ Days + (Days + I(Days^2) | Subject)"): {
        "<none>": (9, -865.003843),
        "Days in (Days + I(Days ** 2) | Subject)": (6, -874.038953, 18.0702215, 3, 0.000425422363),
        "I(Days ** 2) in (Days + I(Days ** 2) | Subject)": (6, -871.814136, 13.6205868, 3, 0.003469842851),
    },
    ("sleepstudy", "Reaction ~ Days + (0 + Days + z | Subject)"): {
        "<none>": (6, -879.909577),
        "Days in (0 + Days + z | Subject)": (4, -912.084016, 64.34887830, 2, 1.06369868e-14),
        "z in (0 + Days + z | Subject)": (4, -883.262514, 6.70587286, 2, 3.49814824e-02),
    },
    ("sleepstudy", "Reaction ~ Days + (Days * z | Subject)"): {
        "<none>": (13, -870.782006),
        "Days:z in (Days + z + Days:z | Subject)": (9, -871.254363, 0.944714756, 4, 0.918059934),
    },
    ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"): {
        "<none>": (4, -165.430294),
        "(1 | plate)": (3, -217.958931, 105.057273, 1, 1.18656152e-24),
        "(1 | sample)": (3, -306.628012, 282.395435, 1, 2.25734086e-63),
    },
    ("Pastes", "strength ~ 1 + (1 | batch/cask)"): {
        "<none>": (4, -123.495373),
        "(1 | cask:batch)": (3, -150.797705, 54.604664877, 1, 1.47385370e-13),
        "(1 | batch)": (3, -123.824201, 0.657655927, 1, 4.17388711e-01),
    },
    ("Dyestuff", "Yield ~ 1 + (1 | Batch)"): {
        "<none>": (3, -159.827138),
        "(1 | Batch)": (2, -163.011616, 6.36895531, 1, 0.0116133944),
    },
    ("Machines", "score ~ Machine + (Machine | Worker)"): {
        "<none>": (10, -104.155609),
        "Machine in (Machine | Worker)": (5, -143.439101, 78.5669837, 5, 1.67320935e-15),
    },
    ("Machines", "score ~ Machine + (0 + Machine | Worker)"): {
        "<none>": (10, -104.155609),
        "Machine in (0 + Machine | Worker)": (5, -143.439101, 78.5669837, 5, 1.67320935e-15),
    },
    ("cake", "angle ~ recipe * temp + (temp | recipe:replicate)"): {
        "<none>": (10, -850.306587),
        "temp in (temp | recipe:replicate)": (8, -851.633740, 2.65430671, 2, 0.265231207),
    },
}


@pytest.mark.parametrize("case", RANOVA, ids=" ".join)
def test_ranova_is_lmertests(case: tuple[str, str]) -> None:
    table, rows = ranova(fitted(*case)), RANOVA[case]
    assert list(table.columns) == ["npar", "logLik", "AIC", "LRT", "Df", "Pr(>Chisq)"]
    assert list(table.index) == list(rows)
    np.testing.assert_allclose(table[["npar", "logLik"]], [row[:2] for row in rows.values()], rtol=1e-8)
    np.testing.assert_allclose(table["AIC"], 2 * table["npar"] - 2 * table["logLik"])
    tests = table[["LRT", "Df", "Pr(>Chisq)"]].iloc[1:].to_numpy(dtype=float)
    np.testing.assert_allclose(tests, [row[2:] for row in list(rows.values())[1:]], rtol=1e-5)
    assert table.iloc[0][["LRT", "Df", "Pr(>Chisq)"]].isna().all()


def test_whole_terms_can_be_taken_away() -> None:
    """ranova(m, reduce.terms = FALSE)."""
    table = ranova(sleep(DAYS), reduce_terms=False)
    assert list(table.index) == ["<none>", "(Days | Subject)"]
    assert table["npar"].tolist() == [6, 3]
    assert table["LRT"].iloc[1] == pytest.approx(150.035391512, rel=1e-9)
    assert table["Pr(>Chisq)"].iloc[1] == pytest.approx(2.58899864254e-32, rel=1e-6)


def test_the_boundary_halves_the_p_value_of_one_variance() -> None:
    """As RLRsim and the textbooks have it for a random intercept; 0.5 chi2(1) + 0.5 chi2(2) for a slope."""
    result = fitted("Dyestuff", "Yield ~ 1 + (1 | Batch)")
    assert ranova(result, boundary=True)["Pr(>Chisq)"].iloc[1] == pytest.approx(0.0116133944 / 2, rel=1e-7)
    p = ranova(sleep(DAYS), boundary=True)["Pr(>Chisq)"].iloc[1]
    assert p == pytest.approx(0.5 * (stats.chi2.sf(42.8368134, 1) + stats.chi2.sf(42.8368134, 2)), rel=1e-6)


def test_generalized_models_have_tests_of_random_terms() -> None:
    """Against glm(): logLik of the cbpp model without herds is -99.0292."""
    table = ranova(cbpp())
    assert table["npar"].tolist() == [5, 4]
    assert table["logLik"].iloc[1] == pytest.approx(-99.029199, abs=1e-5)


DROP1 = {
    "cbpp": (cbpp, {"<none>": (194.052564,), "period": (213.662627, 3, 25.6100634, 1.15093669e-05)}),
    "ticks": (
        lambda: ticks(TICKS),
        {
            "<none>": (1987.87631,),
            "YEAR": (2046.47453, 2, 62.5982177, 2.55252345e-14),
            "cHEIGHT": (2020.11359, 1, 34.2372793, 4.87853938e-09),
        },
    ),
    "VerbAgg": (
        lambda: verbal().update("r2 ~ Anger + Gender * btype + (1 | item)"),
        {
            "<none>": (9395.22654,),
            "Anger": (9457.03675, 1, 63.8102153, 1.37001334e-15),
            "Gender:btype": (9407.90792, 2, 16.6813790, 2.38607771e-04),
        },
    ),
    "sleepstudy": (
        lambda: sleep(SQUARE),
        {
            "<none>": (1764.28159,),
            "Days": (1769.18452, 1, 6.90292097, 0.00860550367),
            "I(Days ** 2)": (1763.93934, 1, 1.65774991, 0.19790740109),
        },
    ),
}


@pytest.mark.parametrize("name", DROP1)
def test_drop1_is_lme4s(name: str) -> None:
    result, rows = DROP1[name]
    table = drop1_lrt(result())
    assert list(table.columns) == ["npar", "AIC", "LRT", "Pr(Chi)"]
    assert list(table.index) == list(rows)
    np.testing.assert_allclose(table["AIC"], [row[0] for row in rows.values()], rtol=1e-8)
    tests = table[["npar", "LRT", "Pr(Chi)"]].iloc[1:].to_numpy(dtype=float)
    np.testing.assert_allclose(tests, [row[1:] for row in list(rows.values())[1:]], rtol=5e-6)
    assert ("fitted again by ML" in table.attrs["note"]) == (name == "sleepstudy")
