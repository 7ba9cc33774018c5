"""Generalized models that cannot be fitted say why; odd data that can be fitted give the right numbers in silence."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import ConvergenceWarning, DataError, FormulaError, ModelError, RankDeficiencyWarning
from interlace.families import Binomial, Family, Gaussian, NegativeBinomial, Poisson
from interlace.results.glmm import GLMMResult


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    g, x = np.arange(120) % 12, rng.normal(size=120)
    eta = 0.3 * x + 0.8 * rng.normal(size=12)[g]
    N = rng.integers(2, 9, 120)
    return pd.DataFrame(
        {
            "x": x,
            "g": [f"g{i:02d}" for i in g],
            "h": [f"h{i}" for i in rng.permutation(np.arange(120) % 6)],
            "three": list("abc") * 40,
            "N": N,
            "s": rng.binomial(N, 1.0 / (1.0 + np.exp(-eta))),
            "b": rng.binomial(1, 1.0 / (1.0 + np.exp(-eta))),
            "k": rng.poisson(np.exp(1.0 + eta)),
            "a": rng.gamma(4.0, np.exp(eta) / 4.0),
        }
    ).assign(p=lambda df: df["s"] / df["N"], half=lambda df: df["k"] + 0.5)


def refused(
    data: Any, response: str, family: Any, message: str, error: type[Exception] = DataError, **kwargs: Any
) -> None:
    """The error has this class and text, and no numerical warning comes before it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(error, match=message) as caught:
            interlace.glmer(f"{response} ~ x + (1 | g)", data, family, **kwargs)
    assert type(caught.value) is error


def quietly(formula: str, data: Any, family: Any, **kwargs: Any) -> tuple[GLMMResult, list[warnings.WarningMessage]]:
    """Fit with everything that it is asked for usually, without numerical warnings; and the warnings of the fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", RuntimeWarning)
        if family == "nb":
            result = interlace.glmer_nb(formula, data, **kwargs)
        else:
            result = interlace.glmer(formula, data, family, **kwargs)
        found = list(caught)
        assert str(result.summary())
        assert np.isfinite(result.predict(se=True, interval="confidence")["se"]).all()
        assert np.isfinite([result.llf, result.aic, result.bic, result.deviance]).all()
        assert (result.fe_bse > 0.0).all()
        result.tidy(), result.glance(), result.augment(), interlace.VarCorr(result)
        for kind in ("response", "pearson", "deviance", "working"):
            assert np.isfinite(result.residuals(type=kind)).all()
    return result, found


def singular_only(found: list[warnings.WarningMessage]) -> bool:
    return all(w.category is ConvergenceWarning and str(w.message).startswith("singular fit") for w in found)


# -- family and link -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "message", "error"),
    [
        (
            "binomal",
            r"no family 'binomal'; did you mean 'binomial'\? The families are 'binomial', 'poisson'",
            ModelError,
        ),
        ("tweedie", r"no family 'tweedie'\. The families are .*NegativeBinomial\(theta=", ModelError),
        ("", "no family ''", ModelError),
        ("binomial(link='probit')", "write the family as 'binomial' and its link apart, as link=", ModelError),
        ("poisson()", "write the family as 'poisson'", ModelError),
        ("nb", r"needs its theta: write NegativeBinomial\(theta=...\), or estimate it with glmer_nb", ModelError),
        ("negative.binomial", "estimate it with glmer_nb", ModelError),
        (NegativeBinomial, "estimate it with glmer_nb", ModelError),
        ("quasipoisson", "has no likelihood, which a mixed model needs", ModelError),
        ("gaussian", r"is a linear mixed model: use interlace\.fit", ModelError),
        (Gaussian, r"use interlace\.fit", ModelError),
        (Gaussian(), 'or another link, such as link="log"', ModelError),
        (None, "family must be a name .*not None; a link is given apart", TypeError),
        (5, "family must be a name", TypeError),
        (["binomial"], "family must be a name", TypeError),
        (len, "family must be a name", TypeError),
    ],
)
def test_families_that_are_none(data, family, message, error):
    refused(data, "b", family, message, error)


@pytest.mark.parametrize("family", [Binomial, Binomial(), "BINOMIAL", " binomial "])
def test_spellings_of_a_family(data, family):
    plain = interlace.glmer("b ~ x + (1 | g)", data, "binomial")
    assert interlace.glmer("b ~ x + (1 | g)", data, family).llf == plain.llf


@pytest.mark.parametrize(
    ("response", "family", "link", "message", "error"),
    [
        ("b", "binomial", "sqrt", "'binomial' has no link 'sqrt'. Its links are 'logit', 'probit'", ModelError),
        ("k", "poisson", "logit", "Its links are 'log', 'identity', 'sqrt'", ModelError),
        ("a", "Gamma", "probit", "Its links are 'inverse', 'log', 'identity'", ModelError),
        ("a", "inverse.gaussian", "sqrt", "Its links are '1/mu.2', 'inverse', 'log', 'identity'", ModelError),
        ("b", "binomial", "c-log-log", "no link 'c-log-log'; did you mean 'cloglog'", ModelError),
        ("b", "binomial", "foo", "no link 'foo'. The links are 'logit'", ModelError),
        ("k", "poisson", 5, "link must be a name or a Link object", TypeError),
        ("k", "poisson", ["log"], "link must be a name or a Link object", TypeError),
        ("k", "poisson", np.log, "link must be a name or a Link object", TypeError),
    ],
)
def test_links_that_are_none(data, response, family, link, message, error):
    refused(data, response, family, message, error, link=link)


@pytest.mark.parametrize("theta", [0.0, -1.0, np.nan, np.inf])
def test_theta_of_a_negative_binomial(theta):
    with pytest.raises(ModelError, match="theta of a negative binomial family must be positive and finite"):
        NegativeBinomial(theta)


class Counts(Poisson):
    """A Poisson distribution that does not know that it is one."""

    name = "counts"


class WrongSlope(Counts):
    name = "wrong slope"

    def d_variance(self, mu):
        return 2.0 * np.ones_like(mu)


class WrongDensity(Counts):
    name = "wrong density"

    def loglik(self, y, mu, weights, dispersion=1.0):
        return 1.5 * super().loglik(y, mu, weights, dispersion)


class WrongShape(Counts):
    name = "wrong shape"

    def variance(self, mu):
        return 1.0


class NoNumbers(Counts):
    name = "no numbers"

    def unit_deviance(self, y, mu):
        return np.nan * mu


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (WrongSlope, r"'wrong slope': d_variance\(\) is wrong at mu = .*finite differences give 1, it gives 2"),
        (WrongDensity, r"'wrong density': loglik\(\) is wrong.*its slope should be"),
        (WrongShape, r"'wrong shape': variance\(\) must return an array of shape"),
        (NoNumbers, r"'no numbers': unit_deviance\(\) is wrong"),
    ],
)
def test_families_whose_functions_disagree(data, family, message):
    refused(data, "k", family(), message, ModelError)


def test_a_family_of_ones_own_cannot_be_saved(data, tmp_path):
    result = interlace.glmer("k ~ x + (1 | g)", data, Counts())
    assert result.llf == pytest.approx(interlace.glmer("k ~ x + (1 | g)", data, "poisson").llf, abs=1e-8)
    with pytest.raises(DataError, match=r"family of your own \('counts'\) cannot be saved.*use pickle"):
        result.save(tmp_path / "counts")
    assert isinstance(result.family, Family)


# -- nAGQ, options, other spellings --------------------------------------------------------------------------------


@pytest.mark.parametrize("nodes", [-1, 101, 1.0, 2.5, "5", None, True, [3], np.nan, 1e9])
def test_numbers_of_nodes_that_are_none(data, nodes):
    refused(data, "b", "binomial", "nAGQ must be a whole number from 0 to 100, not", ValueError, nAGQ=nodes)


def test_models_that_quadrature_cannot_take(data):
    with pytest.raises(ModelError, match=r"nAGQ=5 needs .* one grouping factor.*'g', 'h'.*use nAGQ=1"):
        interlace.glmer("b ~ x + (1 | g) + (1 | h)", data, "binomial", nAGQ=5)
    with pytest.raises(ModelError, match="nAGQ=3 needs .* one grouping factor"):
        interlace.glmer("b ~ x + (1 | h/g)", data, "binomial", nAGQ=3)
    with pytest.raises(ModelError, match=r"nAGQ=5 would need 5\^4 nodes for the 4 random effects.*at most 3"):
        interlace.glmer("b ~ x + (x + N + a | g)", data, "binomial", nAGQ=5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"REML": True}, "no argument 'REML': generalized models are fitted by maximum likelihood"),
        ({"method": "REML"}, "no argument 'method': generalized models are fitted by maximum likelihood"),
        ({"nagq": 3}, "no argument 'nagq': write nAGQ="),
        ({"df_method": "satterthwaite"}, "no argument 'df_method': .*normal distribution"),
        ({"start": [1.0]}, "no argument 'start': starting values are theta0="),
        ({"control": {"tol": 1.0}}, r"control must be an interlace\.Control"),
    ],
)
def test_arguments_of_other_functions(data, arguments, message):
    refused(data, "b", "binomial", message, TypeError, **arguments)


@pytest.mark.parametrize(("argument", "hint"), [("family", "is the negative binomial"), ("theta", "is estimated")])
def test_arguments_that_glmer_nb_does_not_need(data, argument, hint):
    with pytest.raises(TypeError, match=f"glmer_nb.. has no argument '{argument}': .*{hint}"):
        interlace.glmer_nb("k ~ x + (1 | g)", data, **{argument: 2.0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"optimizer": "nlopt"}, "optimizer must be one of auto, lbfgsb, bobyqa; not 'nlopt'"),
        ({"theta0": [1.0, 2.0]}, r"theta0 must hold 1 values .*shape \(2,\)"),
        ({"theta0": "a"}, "theta0 must hold numbers"),
        ({"theta0": [np.nan]}, "theta0 must be finite"),
    ],
)
def test_options_out_of_range(data, arguments, message):
    refused(data, "b", "binomial", message, ValueError, **arguments)


def test_no_random_effects(data):
    with pytest.raises(ModelError, match=r"no random effects: add a term such as \(1 \| group\)"):
        interlace.glmer("k ~ x", data, "poisson")


# -- responses and weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("response", "family", "message", "error"),
    [
        ("s", "binomial", r"'s' does not fit the family 'binomial'.*outside \[0, 1\] at \d+ of 120 rows", DataError),
        ("k - 50", "poisson", "Poisson model, a count, is negative at 120 of 120 rows", DataError),
        ("half", "poisson", "Poisson model, a count, is not a whole number at 120 of 120 rows", DataError),
        ("-k - 1", NegativeBinomial(2.0), "a count, is negative", DataError),
        ("k - k", "Gamma", "Gamma model, a positive amount, is not positive at 120", DataError),
        ("-a", "inverse.gaussian", "a positive amount, is not positive at 120", DataError),
        ("three", "binomial", r"'three' has 3 levels \('a', 'b', 'c'\), and a binomial response needs two", DataError),
        ("three", "poisson", "'three' must be numeric, but it holds text or categories", DataError),
        ("x > 0", "poisson", 'must be numeric.*response of family="binomial"', DataError),
        ("cbind(s, N - s)", "poisson", "response of the family \"binomial\", not of 'poisson'", FormulaError),
        ("cbind(s)", "binomial", "takes two columns", FormulaError),
        ("cbind(s, N, N)", "binomial", "takes two columns", FormulaError),
        ("cbind(s - s, s - s)", "binomial", "has 0 trials in every row", DataError),
        ("cbind(s, s - N - 1)", "binomial", "negative in 120 rows: give .* the number of failures", DataError),
        ("b - b", "binomial", "is constant .0 in all 120 rows.: there is nothing to explain", ModelError),
        ("missing", "poisson", "formula refers to unknown variables: 'missing'", FormulaError),
    ],
)
def test_responses_that_do_not_suit_the_family(data, response, family, message, error):
    refused(data, response, family, message, error)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones(5), "weights has 5 values, but data has 120 rows"),
        (np.full(120, -1.0), "weights must not be negative; 120 values are"),
        (np.full(120, np.inf), "weights has 120 infinite values"),
        (np.zeros(120), "every row has weight zero, so no row is left"),
        (np.full(120, np.nan), "no row is left"),
        (np.ones((120, 1)), "one number for each of the 120 rows"),
        (5, "name of a column or hold one number for each"),
        ("nothing", "weights column 'nothing' not found in data"),
        ("three", "weights column 'three' must be numeric"),
        ({"w": 1}, "name of a column or hold one number for each"),
    ],
)
def test_weights_that_are_none(data, weights, message):
    refused(data, "p", "binomial", message, weights=weights)


@pytest.mark.parametrize(
    ("offset", "message"),
    [
        (np.full(120, np.inf), "offset has 120 infinite values"),
        ("nothing", "offset column 'nothing' not found"),
        (2.0, "name of a column or hold one number for each"),
    ],
)
def test_offsets_that_are_none(data, offset, message):
    refused(data, "k", "poisson", message, offset=offset)


def test_proportions_without_trials_are_warned_of(data):
    with pytest.warns(UserWarning, match="'p': the number of successes .*no weights say how many trials"):
        interlace.glmer("p ~ x + (1 | g)", data, "binomial")
    with pytest.warns(UserWarning, match="'half': .*a count, is not a whole number at 120"):
        interlace.glmer("half ~ x + (1 | g)", data, NegativeBinomial(2.0))


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        (None, TypeError, "data must be a pandas, polars or pyarrow data frame"),
        ("data", TypeError, "data must be a pandas"),
        (pd.DataFrame({"k": [], "x": [], "g": []}), DataError, "data has no rows"),
    ],
)
def test_data_that_are_none(frame, error, message):
    refused(frame, "k", "poisson", message, error)


# -- members -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fits(data) -> dict[str, GLMMResult]:
    return {
        "b": interlace.glmer("b ~ x + three + (1 | g)", data, "binomial"),
        "p": interlace.glmer("p ~ x + (1 | g)", data, "binomial", weights="N"),
        "k": interlace.glmer("k ~ x + (1 | g)", data, "poisson", offset=np.log(data["N"])),
        "a": interlace.glmer("a ~ x + (1 | g)", data, "Gamma", link="log"),
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"newdata": {"g": ["g01"], "three": ["a"]}}, DataError, "newdata lacks columns .*'x'"),
        ({"newdata": {"x": [1.0], "three": ["a"]}}, DataError, "newdata lacks columns .*'g'"),
        ({"newdata": {"x": [1.0], "g": ["g01"], "three": ["z"]}}, DataError, "'three' has level 'z'.*has not seen"),
        ({"newdata": {"x": ["one"], "g": ["g01"], "three": ["a"]}}, DataError, "column 'x' must be numeric"),
        ({"type": "probs"}, ValueError, "type must be 'response' or 'link', not 'probs'"),
        ({"type": None}, ValueError, "type must be 'response' or 'link', not None"),
        ({"interval": "prediction"}, ValueError, "family 'binomial'.*quantiles of the responses that simulate"),
        ({"interval": "all"}, ValueError, "interval must be None, 'confidence' or 'prediction'"),
        ({"interval": "confidence", "level": 95}, ValueError, "level must lie between 0 and 1, not 95"),
        ({"re_formula": "~ (1 | h)"}, FormulaError, "names 'h', which the model does not use"),
        ({"re_form": "NA"}, TypeError, "no argument 're_form': re_formula="),
    ],
)
def test_predictions_that_cannot_be_made(fits, arguments, error, message):
    with pytest.raises(error, match=message):
        fits["b"].predict(**arguments)


def test_new_rows_need_what_the_fit_used(fits):
    row = {"x": [1.0], "g": ["new"], "three": ["a"]}
    with pytest.raises(DataError, match="levels of 'g' that the model has not seen: 'new'"):
        fits["b"].predict(row, allow_new_levels=False)
    with pytest.raises(DataError, match='offset of this fit was an array.*offset="column"'):
        fits["k"].predict(row)
    assert fits["b"].predict(row).notna().all()


@pytest.mark.parametrize(
    ("which", "y", "message"),
    [
        ("b", np.full(120, -1.0), r"'b' does not fit the family 'binomial'.*outside \[0, 1\] at 120"),
        ("p", np.arange(120.0), r"outside \[0, 1\] at 118 of 120 rows"),
        ("k", np.full(120, -1.0), "a count, is negative"),
        ("k", np.arange(120) / 2, "a count, is not a whole number at 60"),
        ("a", np.zeros(120), "a positive amount, is not positive"),
        ("k", np.ones(3), "new response has 3 values; it must have 120 values"),
        ("k", np.r_[np.nan, np.ones(119)], "new response is missing or infinite at row 0"),
        ("k", np.ones((120, 2)), r"one number a row; it has shape \(120, 2\)"),
        ("k", ["a"] * 120, "new response must be numeric, but holds text"),
        ("k", 3, "one number a row"),
        ("k", None, "one number a row"),
    ],
)
def test_refits_to_impossible_responses(fits, which, y, message):
    with pytest.raises(DataError, match=message):
        fits[which].refit(y)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"foo": 1}, TypeError, r"unknown argument 'foo'; it takes formula, data and those of glmer\(\): .*nAGQ"),
        ({"REML": False}, TypeError, "no argument 'REML': generalized models are fitted by maximum likelihood"),
        ({"family": "foo"}, ModelError, "there is no family 'foo'"),
        ({"link": "logit"}, ModelError, "'poisson' has no link 'logit'"),
        ({"weights": "nothing"}, DataError, "weights column 'nothing' not found"),
        ({"formula": ". ~ . + nothing"}, FormulaError, "unknown variables: 'nothing'"),
        ({"formula": 5}, TypeError, "formula as text"),
        ({"groups": "h"}, FormulaError, "given twice, by bars in the formula and by groups="),
    ],
)
def test_updates_that_cannot_be_made(fits, arguments, error, message):
    with pytest.raises(error, match=message):
        fits["k"].update(**arguments)


def test_an_offset_given_as_array_belongs_to_its_rows(fits, data):
    with pytest.raises(DataError, match="inherits offset, an array of 120 values, but the new data have 50 rows"):
        fits["k"].update(data=data.head(50))
    with pytest.raises(DataError, match="'three' must be numeric"):
        fits["b"].update("three ~ .", family="poisson")


@pytest.mark.parametrize("kind", ["standardized", "Pearson", ""])
def test_residuals_of_an_unknown_kind(fits, kind):
    with pytest.raises(ValueError, match="residual type must be one of response, pearson, deviance, working"):
        fits["b"].residuals(type=kind)


# -- data that are odd, and allowed --------------------------------------------------------------------------------


@pytest.mark.parametrize(("response", "family"), [("k", "poisson"), ("p", "binomial"), ("b", "binomial")])
@pytest.mark.parametrize("nodes", [1, 9])
def test_one_row_a_group(data, response, family, nodes):
    weights = {"weights": "N"} if response == "p" else {}
    _, found = quietly(f"{response} ~ x + (1 | row)", data.assign(row=range(120)), family, nAGQ=nodes, **weights)
    assert singular_only(found)


def test_one_row_a_group_leaves_no_dispersion(data):
    with pytest.raises(ModelError, match=r"'g' has as many levels \(120\) as there are rows"):
        interlace.glmer("a ~ x + (1 | g)", data.assign(g=range(120)), "Gamma", link="log")


@pytest.mark.parametrize("link", ["log", "identity", "sqrt"])
def test_two_groups(data, link):
    result, found = quietly("k ~ x + (1 | g)", data.assign(g=data["x"] > 0), "poisson", link=link)
    assert singular_only(found)
    assert result.ngroups == {"g": 2}


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.parametrize(("response", "family", "link"), [("k", "poisson", "log"), ("a", "Gamma", "inverse")])
def test_covariates_of_any_size(data, scale, response, family, link):
    formula = f"{response} ~ x + (x | g)"
    plain, _ = quietly(formula, data, family, link=link)
    scaled, _ = quietly(formula, data.assign(x=scale * data["x"]), family, link=link)
    assert scaled.llf == pytest.approx(plain.llf, abs=1e-6)
    np.testing.assert_allclose(scaled.fe_zvalues, plain.fe_zvalues, rtol=1e-3)


@pytest.mark.parametrize("shift", [-1e4, -800.0, -50.0, 50.0, 800.0, 1e4])
@pytest.mark.parametrize(("response", "family"), [("k", "poisson"), ("b", "binomial"), ("k", "nb")])
def test_offsets_of_any_size(data, shift, response, family):
    formula = f"{response} ~ x + (1 | g)"
    plain, _ = quietly(formula, data.head(60), family)
    moved, _ = quietly(formula, data.head(60), family, offset=np.full(60, shift))
    assert moved.llf == pytest.approx(plain.llf, abs=1e-5)
    assert moved.fe_params["Intercept"] + shift == pytest.approx(plain.fe_params["Intercept"], abs=1e-3)


@pytest.mark.parametrize(("weight", "response", "family"), [(w, *m) for w in (1e-6, 0.3, 1e6) for m in (
    ("k", "poisson"), ("a", "Gamma"))])  # fmt: skip
def test_weights_of_any_size(data, weight, response, family):
    result, _ = quietly(f"{response} ~ x + (1 | g)", data, family, link="log", weights=np.full(120, weight))
    assert result.converged
    if weight == 1e6:  # every group tells its own mean, so that only the groups' number limits the intercept
        assert result.fe_bse["Intercept"] == pytest.approx(result.theta[0] / np.sqrt(12), rel=1e-2)


def test_missing_values_everywhere(data):
    holes = data.astype({"k": float, "N": float}).astype({"g": object})
    for row, name in enumerate(["k", "x", "g", "N"]):
        holes.loc[row, name] = np.nan
    offset = np.where(np.arange(120) == 4, np.nan, 0.1)
    result, _ = quietly("k ~ x + (1 | g)", holes, "poisson", weights="N", offset=offset)
    rest, _ = quietly("k ~ x + (1 | g)", data.iloc[5:], "poisson", weights="N", offset=offset[5:])
    assert result.nobs == rest.nobs == 115
    assert result.llf == pytest.approx(rest.llf, abs=1e-9)
    with pytest.raises(DataError, match="na_action='raise' and values are missing in: .*x"):
        interlace.glmer("k ~ x + (1 | g)", holes, "poisson", na_action="raise")


def test_rows_without_trials_are_left_out(data):
    idle = data.copy()
    idle.loc[[3, 7], ["N", "s"]] = 0
    counts, _ = quietly("cbind(s, N - s) ~ x + (1 | g)", idle, "binomial")
    shares, _ = quietly("s / N ~ x + (1 | g)", idle, "binomial", weights="N")
    assert counts.nobs == shares.nobs == len(counts.simulate(1, seed=1)) == 118
    assert counts.llf == pytest.approx(shares.llf, abs=1e-9)
    whole = np.where(idle["N"] > 0, idle["s"] / np.maximum(idle["N"], 1), np.nan)
    assert counts.refit(whole).llf == pytest.approx(counts.llf, abs=1e-9)


def test_kinds_of_two_valued_responses_agree(data):
    plain, _ = quietly("b ~ x + (1 | g)", data, "binomial")
    text = np.where(data["b"] == 1, "yes", "no")
    kinds = [data["b"] == 1, (data["b"] == 1).astype("boolean"), text, pd.Categorical(text), data["b"].astype(object)]
    for values in kinds:
        assert quietly("b ~ x + (1 | g)", data.assign(b=values), "binomial")[0].llf == plain.llf
    reversed_, _ = quietly("b ~ x + (1 | g)", data.assign(b=pd.Categorical(text, ["yes", "no"])), "binomial")
    np.testing.assert_allclose(reversed_.fe_params, -plain.fe_params, atol=1e-6)


def test_dependent_columns_are_dropped_by_name(data):
    plain, _ = quietly("k ~ x + (1 | g)", data, "poisson")
    for nodes in (0, 1):
        result, found = quietly("k ~ x + x2 + (1 | g)", data.assign(x2=2 * data["x"]), "poisson", nAGQ=nodes)
        assert [w.category for w in found] == [RankDeficiencyWarning]
        assert "dropped 'x2'" in str(found[0].message)
        assert result.llf == pytest.approx(plain.llf, abs=0.1 if nodes == 0 else 1e-9)
    with pytest.raises(ModelError, match="fixed effects already determine 'Intercept' .* in every level of 'g'"):
        interlace.glmer("k ~ g + (1 | g)", data, "poisson")


def test_levels_that_do_not_occur_do_not_count(data):
    wide = data.assign(
        g=pd.Categorical(data["g"], [*sorted(set(data["g"])), "none"]),
        three=pd.Categorical(data["three"], list("zabc")),
    )
    result, _ = quietly("k ~ three + (1 | g)", wide, "poisson")
    plain, _ = quietly("k ~ three + (1 | g)", data, "poisson")
    assert result.llf == pytest.approx(plain.llf, abs=1e-9)
    assert result.ngroups == {"g": 12}
    assert list(result.fe_params.index) == list(plain.fe_params.index)


@pytest.mark.parametrize("link", ["logit", "cauchit"])
@pytest.mark.parametrize("nodes", [1, 7])
def test_separation_is_told_with_its_predictors(data, link, nodes):
    apart = data.assign(b=np.where(data["three"] == "a", 0, data["b"]))
    with pytest.warns(
        ConvergenceWarning, match=r"fixed effects 'Intercept', 'three\[T.b\]'.* separate the response 'b'"
    ):
        result = interlace.glmer("b ~ three + (1 | g)", apart, "binomial", link=link, nAGQ=nodes)
    assert not result.converged


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_complete_separation_by_a_covariate(data, link):
    with pytest.warns(ConvergenceWarning, match="fixed effects 'Intercept', 'x' separate the response 'b'"):
        result = interlace.glmer("b ~ x + (1 | g)", data.assign(b=1 * (data["x"] > 0.1)), "binomial", link=link)
    assert not result.converged


def test_separation_of_counts(data):
    with pytest.warns(ConvergenceWarning, match="separate the response 'k'"):
        interlace.glmer("k ~ three + (1 | g)", data.assign(k=np.where(data["three"] == "a", 0, data["k"])), "poisson")


@pytest.mark.parametrize("link", ["logit", "probit"])
def test_groups_of_one_kind_of_response_run_away(data, link):
    with pytest.warns(ConvergenceWarning, match=r"standard deviation of \(Intercept \| g\) runs away"):
        result = interlace.glmer("b ~ x + (1 | g)", data.assign(b=1 * (data["g"] < "g06")), "binomial", link=link)
    assert not result.converged


@pytest.mark.parametrize("theta", [1e-6, 1e-2, 1e4, 1e10, 1e300])
def test_known_theta_of_any_size(data, theta):
    result, found = quietly("k ~ x + (1 | g)", data, NegativeBinomial(theta))
    assert singular_only(found)
    if theta >= 1e10:
        assert result.llf == pytest.approx(quietly("k ~ x + (1 | g)", data, "poisson")[0].llf, abs=1e-4)


@pytest.mark.parametrize("theta0", [0.0, 1e-10, -3.0, 30.0])
@pytest.mark.parametrize(
    ("response", "family", "link"), [("k", "poisson", "log"), ("k", "poisson", "identity"), ("a", "Gamma", "inverse")]
)
def test_starts_of_any_size(data, theta0, response, family, link):
    plain, _ = quietly(f"{response} ~ x + (1 | h)", data, family, link=link)
    started, _ = quietly(f"{response} ~ x + (1 | h)", data, family, link=link, theta0=[theta0])
    assert started.llf == pytest.approx(plain.llf, abs=1e-6)


def test_a_fit_that_may_not_iterate_says_so(data):
    control = interlace.Control(max_iterations=1, max_restarts=0)
    with pytest.warns(ConvergenceWarning, match="optimizer did not converge: iteration limit reached"):
        result = interlace.glmer("b ~ x + (x | g) + (1 | h)", data, "binomial", control=control)
    assert not result.converged


def test_the_same_call_gives_the_same_numbers(data):
    for formula, family in (("b ~ x + (x | g)", "binomial"), ("k ~ x + (1 | g) + (1 | h)", "nb")):
        first, second = (quietly(formula, data, family)[0] for _ in range(2))
        assert first.llf == second.llf
        assert first.fe_bse.equals(second.fe_bse)
