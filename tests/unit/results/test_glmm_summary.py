"""Printed summaries of generalized models."""

from __future__ import annotations

import re

import numpy as np
import pytest

import interlace
from tests import glmm_fits

CBPP = """\
Generalized linear mixed model fit by maximum likelihood (Laplace Approximation)
Formula: incidence / size ~ period + (1 | herd)
Family: binomial (logit)
Weights: size

  AIC    BIC  logLik  -2*log(L)  df.resid
194.1  204.2   -92.0      184.1        51

Scaled residuals:
    Min       1Q   Median      3Q     Max
-2.3818  -0.7888  -0.2024  0.5146  2.8796

Random effects:
 Groups Name      Variance Std.Dev.
 herd   Intercept   0.4125   0.6423
Number of obs: 56, groups: herd, 15

Fixed effects:
            Estimate Std. Error z value Pr(>|z|)
Intercept    -1.3985     0.2325  -6.016 1.79e-09
period[T.2]  -0.9923     0.3066  -3.236  0.00121
period[T.3]  -1.1287     0.3266  -3.455 0.000549
period[T.4]  -1.5803     0.4274  -3.697 0.000218

Correlation of Fixed Effects:
            Intrcp p[T.2] p[T.3]
period[T.2] -0.364
period[T.3] -0.340  0.278
period[T.4] -0.261  0.212  0.196

z tests use the normal distribution."""

TICKS = """\
Generalized linear mixed model fit by maximum likelihood (Laplace Approximation)
Formula: TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | LOCATION)
Family: Negative Binomial(3.3034) (log)

   AIC     BIC  logLik  -2*log(L)  df.resid
1791.7  1819.7  -888.8     1777.7       396

Scaled residuals:
    Min       1Q   Median      3Q     Max
-1.4798  -0.6080  -0.3085  0.4916  3.4182

Random effects:
 Groups   Name      Variance Std.Dev.
 BROOD    Intercept   0.5012   0.7079
 LOCATION Intercept   0.3341   0.5780
Number of obs: 403, groups: BROOD, 118; LOCATION, 63

Fixed effects:
            Estimate Std. Error z value Pr(>|z|)
Intercept   0.488474   0.193953   2.519   0.0118
YEAR[T.96]  1.162726   0.232572   4.999 5.75e-07
YEAR[T.97] -0.979615   0.256569  -3.818 0.000134
cHEIGHT    -0.023582   0.003477  -6.783 1.18e-11

Correlation of Fixed Effects:
                  [1]   [2]   [3]
[2] YEAR[T.96] -0.718
[3] YEAR[T.97] -0.601 0.513
[4] cHEIGHT     0.012 0.047 0.044

z tests use the normal distribution."""

SHORT = """\
Generalized linear mixed model fit by maximum likelihood (Laplace Approximation)
Formula: incidence / size ~ period + (1 | herd)
Family: binomial (logit)
Weights: size
-2*log(L) at convergence: 184.0526
Random effects:
 Groups Name      Std.Dev.
 herd   Intercept   0.6423
Number of obs: 56, groups: herd, 15
Fixed effects:
Intercept  period[T.2]  period[T.3]  period[T.4]
  -1.3985      -0.9923      -1.1287      -1.5803"""


def test_binomial_summary_is_lme4s():
    assert str(glmm_fits.cbpp().summary()) == CBPP


def test_negative_binomial_summary_is_lme4s():
    assert str(glmm_fits.ticks_nb().summary()) == TICKS


def test_short_print():
    assert str(glmm_fits.cbpp()) == SHORT


def test_quadrature_tells_lme4s_value():
    text = str(glmm_fits.cbpp(9).summary())
    assert text.splitlines()[0].endswith("(Adaptive Gauss-Hermite Quadrature, nAGQ = 9)")
    assert re.search(r"194\.0 +204\.1 +-92\.0 +184\.0 +51", text)
    assert "lme4 1.1 gives 100.0 for -2*log(L)" in text
    assert "leaves out a constant, 84.0" in text
    assert "lme4 1.1" not in str(glmm_fits.cbpp().summary())


def test_no_nodes_are_told():
    summary = glmm_fits.cbpp(0).summary()
    assert summary.title.endswith("(Laplace Approximation, nAGQ = 0)")
    assert any(note.startswith("With nAGQ = 0") for note in summary.notes)


def test_what_counts_as_success_is_told():
    assert glmm_fits.verbal().summary().details == ("Family: binomial (logit)", "Success: r2 = Y")
    data = interlace.datasets.load("cbpp")
    data["ill"] = data["incidence"] > 0
    with pytest.warns(interlace.ConvergenceWarning, match="zero"):
        result = interlace.glmer("ill ~ period + (1 | herd)", data, "binomial", link="probit")
    assert result.summary().details == ("Family: binomial (probit)", "Success: ill = True")
    text = str(glmm_fits.verbal().summary())
    assert "groups: id, 316; item, 24" in text


def test_trials_are_not_weights():
    data, formula = interlace.datasets.load("cbpp"), "cbind(incidence, size - incidence) ~ period + (1 | herd)"
    assert "Weights" not in str(interlace.glmer(formula, data, "binomial").summary())
    doubled = interlace.glmer(formula, data, "binomial", weights=np.full(56, 2.0))
    assert "Weights: given as an array" in str(doubled.summary())


def test_a_dispersion_is_shown_as_residual():
    text = str(glmm_fits.reaction().summary())
    assert "Family: Gamma (log)" in text
    assert re.search(r"\n Residual +0\.00934 +0\.09664\n", text)
    assert "lme4's" not in text
    theirs = str(glmm_fits.reaction(link="inverse", nodes=0, dispersion="lme4").summary())
    assert "The residual is lme4's, and not a maximum likelihood estimate" in theirs


def test_tables():
    tables = glmm_fits.cbpp().summary().tables
    assert list(tables["fixed"].columns) == ["Estimate", "Std. Error", "z value", "Pr(>|z|)"]
    assert list(tables["criteria"].columns) == ["AIC", "BIC", "logLik", "-2*log(L)", "df.resid"]
    assert tables["criteria"]["-2*log(L)"][0] == pytest.approx(184.052563729514, rel=1e-12)
    quantiles = [-2.381792886747323, -0.788811229557760, -0.202412673615975, 0.514601517848656, 2.879615591819808]
    np.testing.assert_allclose(tables["residuals"].to_numpy()[0], quantiles, rtol=1e-8)
    assert tables["random"]["Groups"].tolist() == ["herd"]


def test_checks_come_last():
    data = interlace.datasets.load("cbpp")
    data["sure"] = (data["incidence"] > 0).astype(float)
    data["ill"] = data["incidence"] > 0
    with pytest.warns(interlace.ConvergenceWarning, match="separate"):
        result = interlace.glmer("ill ~ sure + (1 | herd)", data, "binomial")
    last = str(result.summary()).partition("z tests use the normal distribution.\n")[2]
    assert last.startswith("Error: the fixed effects 'sure' separate the response 'ill'")
    assert "What to try:" in last


def test_html_has_the_numbers_of_the_text():
    page = glmm_fits.cbpp()._repr_html_()
    for text in ("Family: binomial (logit)", "Weights: size", "-2*log(L)", "1.79e-09", "-1.3985", "0.6423", "194.1"):
        assert f">{text}<" in page
    assert "Pr(&gt;|z|)" in page
    assert page.count("<table") == page.count("</table>") == 3


def test_latex():
    lines = glmm_fits.cbpp().summary().to_latex().splitlines()
    assert lines[0] == r"\begin{tabular}{lrrrr}"
    assert lines[4] == r"Intercept & $-1.3985$ & 0.2325 & $-6.016$ & $1.79 \times 10^{-9}$ \\"
    assert r"herd & Intercept & 0.4125 & 0.6423 \\" in lines
    assert not any(line.startswith("Residual") for line in lines)
    assert any(line.startswith("Residual") for line in glmm_fits.reaction().summary().to_latex().splitlines())
