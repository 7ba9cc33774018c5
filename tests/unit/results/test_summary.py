"""Printed summaries."""

from __future__ import annotations

import re

import numpy as np
import pytest

import interlace
from interlace.results.text import abbreviate, significant

REML = """\
Linear mixed model fit by REML
Formula: Reaction ~ Days + (Days | Subject)

REML criterion at convergence: 1743.6

Scaled residuals:
    Min       1Q  Median      3Q     Max
-3.9536  -0.4634  0.0231  0.4634  5.1793

Random effects:
 Groups   Name      Variance Std.Dev. Corr
 Subject  Intercept   612.09   24.740
          Days         35.07    5.922 0.07
 Residual             654.94   25.592
Number of obs: 180, groups: Subject, 18

Fixed effects:
          Estimate Std. Error   df t value Pr(>|t|)
Intercept  251.405      6.825 17.0  36.838   <2e-16
Days        10.467      1.546 17.0   6.771 3.26e-06

Correlation of Fixed Effects:
     Intrcp
Days -0.138

t tests use Satterthwaite's degrees of freedom."""


def test_reml_summary_is_lme4s(slopes):
    assert str(slopes.summary()) == REML


def test_ml_summary_shows_aic_instead(slopes_ml):
    text = str(slopes_ml.summary())
    assert text.startswith("Linear mixed model fit by maximum likelihood")
    assert re.search(r"AIC +BIC +logLik +deviance +df.resid\n1763.9 +1783.1 +-876.0 +1751.9 +174", text)


def test_checks_and_weights_are_told(singular, weighted):
    notes = " ".join(str(singular.summary()).split())
    assert "Warning: the variance of (Intercept | Batch) is estimated as zero. What to try: the data show" in notes
    assert "Weights: w" in str(weighted.summary())


def test_groups_with_several_factors(crossed):
    assert "groups: plate, 24; sample, 6" in str(crossed.summary())
    assert "Correlation of Fixed Effects" not in str(crossed.summary())


def test_tables(slopes):
    tables = slopes.summary().tables
    assert list(tables["fixed"].columns) == ["Estimate", "Std. Error", "df", "t value", "Pr(>|t|)"]
    assert tables["groups"].loc["Subject", "levels"] == 18
    assert tables["correlation"].loc["Days", "Intercept"] == pytest.approx(-0.138, abs=1e-3)
    assert tables["criteria"]["REML criterion"][0] == slopes.deviance


def test_html_is_escaped(sleep):
    sleep["a<b"] = np.arange(180) % 7
    result = interlace.fit("Reaction ~ `a<b` + (1 | Subject)", sleep)
    page = result._repr_html_()
    assert "a&lt;b" in page
    assert "a<b" not in page


def test_latex_is_escaped(sleep):
    sleep["a_b"] = np.arange(180) % 7
    text = interlace.fit("Reaction ~ a_b + (1 | Subject)", sleep).summary().to_latex()
    assert r"a\_b" in text
    assert r"\times 10^{-" in interlace.fit("Reaction ~ Days + (1 | Subject)", sleep).summary().to_latex()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 2


def test_many_coefficients_wrap_or_are_left_out(sleep):
    rng = np.random.default_rng(1)
    for j in range(22):
        sleep[f"x{j}"] = rng.normal(size=180)
    some = " + ".join(f"x{j}" for j in range(15))
    wrapped = str(interlace.fit(f"Reaction ~ {some} + (1 | Subject)", sleep).summary())
    assert max(len(line) for line in wrapped.splitlines()) <= 100
    every = " + ".join(f"x{j}" for j in range(22))
    assert "23 coefficients, see .fe_cov" in str(interlace.fit(f"Reaction ~ {every} + (1 | Subject)", sleep).summary())


def test_short_print(slopes):
    assert repr(slopes) == "<LMMResult: Reaction ~ Days + (Days | Subject), REML, 180 rows>"
    text = str(slopes)
    assert "REML criterion at convergence: 1743.6283" in text
    assert text.splitlines()[-1].split() == ["251.41", "10.47"]


def test_short_print_wraps():
    cake = interlace.fit("angle ~ recipe * temperature + (1 | replicate)", interlace.datasets.load("cake"))
    lines = str(cake).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.split().count("Intercept") for line in lines[lines.index("Fixed effects:") :]) == 1


@pytest.mark.parametrize(
    ("values", "digits", "texts"),
    [
        ([24.74066, 5.922138, 25.5918], 5, ["24.7407", "5.9221", "25.5918"]),
        ([8.434, 1.657, 0.678], 4, ["8.434", "1.657", "0.678"]),
        ([0.0, 13.806], 4, ["0.00", "13.81"]),
        ([1e-14, 1.0], 4, ["1.000e-14", "1.000e+00"]),
        ([123456.0], 4, ["123456"]),
        ([np.nan, np.inf, 2.5], 4, ["nan", "inf", "2.5"]),
        ([-0.0], 4, ["0"]),
        ([], 4, []),
    ],
)
def test_numbers_are_shown_as_r_shows_them(values, digits, texts):
    assert significant(np.array(values), digits) == texts


def test_abbreviations_stay_apart():
    assert abbreviate(["Days", "Intercept"]) == ["Days", "Intrcp"]
    assert abbreviate(["period[T.2]", "period[T.3]"]) == ["p[T.2]", "p[T.3]"]
    assert abbreviate(["UNIVERSITY1", "UNIVERSITY2"]) == ["[1]", "[2]"]
