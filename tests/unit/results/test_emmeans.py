"""Estimated marginal means against emmeans 1.8.4 (models fitted by lme4 1.1-31, bobyqa with rhoend 1e-9)."""

from __future__ import annotations

import re
import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import ConvergenceWarning, DataError, FormulaError, ModelError, RankDeficiencyWarning
from interlace.results.contrasts_of_means import pairs
from interlace.results.emmeans import EmmeansResult, emmeans
from interlace.results.glmm import GLMMResult
from interlace.results.lmm import LMMResult

GLMM = {"rtol": 2e-5, "atol": 1e-8}


@lru_cache
def arms() -> pd.DataFrame:
    """Sleepstudy with a factor between subjects and some further columns."""
    data = interlace.datasets.load("sleepstudy")
    data["arm"] = ["xyz"[(code + 1) % 3] for code in data["Subject"].cat.codes]
    data["early"] = np.where(data["Days"] < 4, "a", "b")
    data["late"] = data["Days"] > 4
    data["late1"] = data["late"] * 1.0
    data["w"] = np.where(data["Days"] < 4, 3.0, 1.0)
    return data


@lru_cache
def fitted(formula: str, data: str = "arms", weights: str | None = None) -> LMMResult:
    frame = arms() if data == "arms" else interlace.datasets.load(data)
    return interlace.fit(formula, frame, weights=weights)


@lru_cache
def cake_with_holes() -> LMMResult:
    data = interlace.datasets.load("cake")
    empty = ((data["recipe"] == "B") & (data["temperature"] == "195")) | (
        (data["recipe"] == "C") & (data["temperature"] == "225")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficiencyWarning)
        return interlace.fit("angle ~ recipe * temperature + (1 | recipe:replicate)", data[~empty])


@lru_cache
def binomial() -> GLMMResult:
    data = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")


def numbers(means: EmmeansResult) -> np.ndarray:
    return means.to_frame().iloc[:, -5:].to_numpy()


RATS = "weight ~ Treatment * sex + Lsize + (1 | Litter)"
# emmean, SE, df, lower, upper
MEANS = {
    ("cake", "recipe", "satterthwaite"): [
        [33.12222222, 1.736833396, 41.99999997, 29.61715052, 36.62729392],
        [31.64444444, 1.736833396, 41.99999991, 28.13937275, 35.14951614],
        [31.60000000, 1.736833396, 41.99999991, 28.09492830, 35.10507170],
    ],
    ("Machines", "Machine", "kenward-roger"): [
        [52.35555556, 1.680710745, 5, 48.03515104, 56.67596007],
        [60.32222222, 3.528545682, 5, 51.25180679, 69.39263766],
        [66.27222222, 1.806272728, 5, 61.62905036, 70.91539409],
    ],
    ("Machines", "Machine", "satterthwaite"): [
        [52.35555556, 1.680710745, 5.000003966, 48.03515208, 56.67595904],
        [60.32222222, 3.528545682, 5.000003553, 51.25180872, 69.39263572],
        [66.27222222, 1.806272728, 5.000005073, 61.62905177, 70.91539267],
    ],
    ("RatPupWeight", "Treatment", "satterthwaite"): [
        [6.406266401, 0.1054808642, 22.83723755, 6.187976523, 6.624556278],
        [5.981159737, 0.1064722660, 22.86273230, 5.760831876, 6.201487597],
        [5.553721183, 0.1472876657, 24.88008512, 5.250302406, 5.857139959],
    ],
    ("RatPupWeight", "Treatment", "kenward-roger"): [
        [6.406266401, 0.1055049672, 22.30242742, 6.187634390, 6.624898411],
        [5.981159737, 0.1065354984, 22.32737074, 5.760406309, 6.201913164],
        [5.553721183, 0.1474100869, 24.30141413, 5.249681283, 5.857761082],
    ],
    ("RatPupWeight", "~ sex | Treatment", "kenward-roger"): [
        [6.612110298, 0.1095622442, 25.88270726, 6.386852198, 6.837368398],
        [6.200422503, 0.1137404501, 30.05307225, 5.968150715, 6.432694291],
        [6.145070772, 0.1142217704, 29.04860788, 5.911478000, 6.378663544],
        [5.817248701, 0.1121188451, 27.50517123, 5.587397371, 6.047100031],
        [5.706053514, 0.1571236983, 30.84243243, 5.385531251, 6.026575777],
        [5.401388851, 0.1575095056, 31.48366174, 5.080345999, 5.722431704],
    ],
}  # fmt: skip
MODELS = {
    "cake": "angle ~ recipe * temperature + (1 | recipe:replicate)",
    "Machines": "score ~ Machine + (Machine | Worker)",
    "RatPupWeight": RATS,
}


@pytest.mark.parametrize(("data", "specs", "ddf"), list(MEANS))
def test_means_are_those_of_emmeans(data: str, specs: str, ddf: str) -> None:
    means = emmeans(fitted(MODELS[data], data), specs, ddf=ddf)
    np.testing.assert_allclose(numbers(means), MEANS[data, specs, ddf], rtol=2e-6)
    assert list(means.to_frame().columns[-5:]) == ["emmean", "SE", "df", "lower.CL", "upper.CL"]


def test_proportional_weights_are_frequencies_of_rows() -> None:
    means = emmeans(fitted(RATS, "RatPupWeight"), "Treatment", weights="proportional")
    expected = [
        [6.419051736, 0.1053678364, 22.73885680, 6.200943161, 6.637160311],
        [5.991340546, 0.1065660058, 22.93065639, 5.770855073, 6.211826019],
        [5.563182818, 0.1473125979, 24.88844034, 5.259717872, 5.866647764],
    ]
    np.testing.assert_allclose(numbers(means), expected, rtol=1e-6)
    weighted = emmeans(fitted("Reaction ~ arm + early + (1 | Subject)", weights="w"), "arm", weights="proportional")
    np.testing.assert_allclose(weighted.estimates.estimate, [288.45036, 316.07220, 291.00111], rtol=1e-7)


def test_numeric_predictors_go_through_the_formula_at_their_mean() -> None:
    result = fitted("Reaction ~ arm * Days + I(Days^2) + (Days | Subject)")
    means = emmeans(result, "arm", ddf="kenward-roger")
    expected = [
        [284.8690375, 15.41515607, 15.60664429, 252.1232985, 317.6147764],
        [317.0585808, 15.41515607, 15.60664429, 284.3128419, 349.8043197],
        [285.2547541, 15.41515607, 15.60664429, 252.5090152, 318.0004930],
    ]
    np.testing.assert_allclose(numbers(means), expected, rtol=1e-6)
    assert means.notes[0].startswith("Results may be misleading")
    assert "At Days = 4.5" in means.notes
    at = emmeans(result, "~ arm | Days", at={"Days": [0, 5]}, ddf="kenward-roger")
    assert at.to_frame()["arm"].tolist() == ["x", "y", "z"] * 2
    assert at.to_frame()["Days"].tolist() == [0, 0, 0, 5, 5, 5]
    np.testing.assert_allclose(
        at.estimates.estimate,
        [250.4806155, 265.8104507, 250.0570522, 289.5325291, 323.5953733, 290.0081657],
        rtol=1e-8,
    )
    np.testing.assert_allclose(at.estimates.df[[0, 3]], [17.06678703, 15.50791063], rtol=1e-6)
    overall = emmeans(result, "~ 1", ddf="kenward-roger")
    np.testing.assert_allclose(numbers(overall)[0, :3], [295.7274575, 9.07313209, 16.85166835], rtol=1e-6)
    assert overall.to_frame()["1"].tolist() == ["overall"]


def test_orthogonal_polynomials_keep_the_basis_of_the_fit() -> None:
    means = emmeans(fitted("Reaction ~ arm + poly(Days, 2) + (1 | Subject)"), "arm", ddf="kenward-roger")
    expected = [284.8690375, 15.48647383, 15.896847, 252.0218575, 317.7162174]
    np.testing.assert_allclose(numbers(means)[0], expected, rtol=1e-6)


@pytest.mark.parametrize("column", ["late", "late1"])
def test_columns_of_two_values_are_taken_at_both(column: str) -> None:
    result = fitted(f"Reaction ~ arm + {column} + (1 | Subject)")
    means = emmeans(result, column)
    expected = [[271.6301789, 9.171466179, 17.5895066], [325.3856044, 9.171466179, 17.5895066]]
    np.testing.assert_allclose(numbers(means)[:, :3], expected, rtol=1e-7)
    assert means.to_frame()[column].tolist() == [0, 1]
    np.testing.assert_allclose(emmeans(result, "arm").estimates.estimate[0], 287.6494717, rtol=1e-8)


def test_numbers_made_a_factor_have_a_mean_for_each() -> None:
    means = emmeans(fitted("Reaction ~ arm + factor(Days) + (1 | Subject)"), "Days")
    assert means.to_frame()["Days"].tolist() == list(range(10))
    np.testing.assert_allclose(numbers(means)[9, :3], [350.8512222, 11.27085027, 38.61186583], rtol=1e-7)
    some = emmeans(fitted("Reaction ~ arm + factor(Days) + (1 | Subject)"), "arm", at={"Days": [9, 0]})
    by_hand = means.estimates.estimate[[0, 9]].mean()
    np.testing.assert_allclose(some.estimates.estimate.mean(), by_hand, rtol=1e-12)


@pytest.mark.parametrize("coding", ["sum", "helmert", "poly"])
def test_coding_does_not_matter(coding: str) -> None:
    recoded = interlace.fit(
        RATS, interlace.datasets.load("RatPupWeight"), contrasts={"Treatment": coding, "sex": "sum"}
    )
    np.testing.assert_allclose(
        numbers(emmeans(recoded, "Treatment")), numbers(emmeans(fitted(RATS, "RatPupWeight"), "Treatment")), rtol=1e-6
    )


def test_means_of_a_full_grid_are_predictions() -> None:
    result = fitted(RATS, "RatPupWeight")
    means = emmeans(result, ["Treatment", "sex"], at={"Lsize": 11})
    table = means.to_frame()
    found = result.predict(table[["Treatment", "sex"]].assign(Lsize=11), re_formula="~0", se=True)
    np.testing.assert_allclose(table["emmean"], found["fit"], rtol=1e-12)
    np.testing.assert_allclose(table["SE"], found["se"], rtol=1e-12)
    np.testing.assert_allclose(means.L @ result.fe_params, table["emmean"], rtol=1e-12)
    np.testing.assert_allclose(means.L @ result.fe_cov @ means.L.T.to_numpy(), means.cov, rtol=1e-10)


def test_binomial_means_on_both_scales() -> None:
    link = emmeans(binomial(), "period")
    expected = [
        [-1.398532150, 0.2324718178, np.inf, -1.854168540, -0.9428957593],
        [-2.390864859, 0.3102136699, np.inf, -2.998872479, -1.7828572381],
        [-2.527204207, 0.3302748925, np.inf, -3.174531101, -1.8798773130],
        [-2.978845942, 0.4300713599, np.inf, -3.821770318, -2.1359215656],
    ]
    np.testing.assert_allclose(numbers(link), expected, **GLMM)
    assert list(link.to_frame().columns) == ["period", "emmean", "SE", "df", "asymp.LCL", "asymp.UCL"]
    response = emmeans(binomial(), "period", type="response")
    assert response.to_frame().columns[1] == "prob"
    expected = [
        [0.19804914045, 0.03692249418, np.inf, 0.13538420516, 0.2803157840],
        [0.08387195444, 0.02383602726, np.inf, 0.04747683680, 0.1439506815],
        [0.07397293307, 0.02262414001, np.inf, 0.04013549221, 0.1324029663],
        [0.04839074435, 0.01980439055, np.inf, 0.02142015005, 0.1056541469],
    ]
    np.testing.assert_allclose(numbers(response), expected, **GLMM)


def test_poisson_means_and_the_square_root_link() -> None:
    data = interlace.datasets.load("grouseticks")
    data["ch"] = data["HEIGHT"] - data["HEIGHT"].mean()
    result = interlace.glmer("TICKS ~ YEAR + ch + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)", data, "poisson")
    means = emmeans(result, "YEAR", type="response")
    expected = [
        [1.4517679149, 0.2850858363, np.inf, 0.9879739056, 2.1332851677],
        [4.7265315087, 0.7787408198, np.inf, 3.4221500141, 6.5280890699],
        [0.5455753265, 0.1153430623, np.inf, 0.3604935923, 0.8256802429],
    ]
    np.testing.assert_allclose(numbers(means), expected, **GLMM)
    assert means.to_frame().columns[1] == "rate"
    root = emmeans(interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", data, "poisson", link="sqrt"), "YEAR", type="response")
    eta, se = root.estimates.estimate, root.estimates.se
    np.testing.assert_allclose(numbers(root)[:, 0], eta**2, rtol=1e-12)
    np.testing.assert_allclose(numbers(root)[:, 1], 2 * eta * se, rtol=1e-12)


def test_the_end_of_an_interval_does_not_cross_the_vertex_of_an_even_link() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"g": np.repeat(np.arange(8), 5), "y": rng.poisson(0.15, 40)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = interlace.glmer("y ~ 1 + (1 | g)", data, "poisson", link="sqrt")
    means = emmeans(result, "~ 1", type="response", level=1 - 1e-12)
    assert means.estimates.estimate[0] < 7 * means.estimates.se[0]  # the linear predictor's interval holds 0
    lower, upper = numbers(means)[0, 3:]
    assert lower == 0.0
    assert upper > means.to_frame()["rate"].iloc[0]


def test_the_offset_is_the_average_one() -> None:
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"g": np.repeat(np.arange(20), 6), "f": list("abc") * 40, "ex": [1.0, 2, 3, 5] * 30})
    data["y"] = rng.poisson(2 * data["ex"] * np.exp(0.6 * rng.normal(size=20))[data["g"]])
    result = interlace.glmer("y ~ f + offset(log(ex)) + (1 | g)", data, "poisson")
    per_unit = emmeans(result, "f", offset=0).estimates.estimate
    np.testing.assert_allclose(per_unit[0], result.fe_params["Intercept"], rtol=1e-12)
    mean = np.log(data["ex"]).mean()
    np.testing.assert_allclose(emmeans(result, "f").estimates.estimate, per_unit + mean, rtol=1e-12)
    named = interlace.glmer("y ~ f + (1 | g)", data.assign(o=np.log(data["ex"])), "poisson", offset="o")
    np.testing.assert_allclose(emmeans(named, "f").estimates.estimate, per_unit + mean, rtol=1e-8)


def test_transformed_responses_go_back() -> None:
    means = emmeans(fitted("log(Reaction) ~ arm + Days + (1 | Subject)"), "arm", type="response")
    expected = [
        [282.9244047, 14.90409024, 15, 252.8756198, 316.5438362],
        [314.9859098, 16.59304869, 15, 281.5319423, 352.4151560],
        [283.4413586, 14.93132270, 15, 253.3376692, 317.1222189],
    ]
    np.testing.assert_allclose(numbers(means), expected, rtol=1e-7)
    assert means.to_frame().columns[1] == "response"
    means = emmeans(fitted("sqrt(Reaction) ~ arm + Days + (1 | Subject)"), "arm", type="response")
    expected = [285.2543492, 15.06381073, 15, 254.0500954, 318.2656003]
    np.testing.assert_allclose(numbers(means)[0], expected, rtol=1e-7)


def test_constants_added_to_a_transformed_response_are_subtracted() -> None:
    """``log(y + 1)`` is ``log1p(y)``; emmeans gives 1.15758475 for the like of it, on the scale log(mu + 1)."""
    columns = ["response", "SE", "df", "lower.CL", "upper.CL"]
    exact = emmeans(fitted("log1p(Reaction) ~ arm + (1 | Subject)"), "arm", type="response").to_frame()[columns]
    for response in ("log(Reaction + 1)", "np.log(1 + Reaction)", "log(Reaction - -1)"):
        means = emmeans(fitted(f"{response} ~ arm + (1 | Subject)"), "arm", type="response")
        np.testing.assert_allclose(means.to_frame()[columns], exact, rtol=1e-7)
        assert "back-transformed from the log(mu + 1) scale" in repr(means)
    root = fitted("sqrt(Reaction - 20.5) ~ arm + (1 | Subject)")
    means = emmeans(root, "arm", type="response")
    np.testing.assert_allclose(means.to_frame()["response"], means.estimates.estimate**2 + 20.5)
    assert "sqrt(mu - 20.5)" in repr(means)
    # Ratios are those of what the logarithm is of, and a sum of two columns is given as such.
    ratio = pairs(emmeans(fitted("log(Reaction + 1) ~ arm + (1 | Subject)"), "arm", type="response")).to_frame()
    assert ratio["ratio"][0] == pytest.approx((exact["response"][0] + 1) / (exact["response"][1] + 1))
    both = emmeans(fitted("log(Reaction + Days) ~ arm + (1 | Subject)"), "arm", type="response")
    np.testing.assert_allclose(both.to_frame()["response"], np.exp(both.estimates.estimate))


@pytest.mark.parametrize(("name", "inverse"), [("log2", np.exp2), ("log10", lambda x: 10.0**x), ("log1p", np.expm1)])
def test_slopes_of_back_transformations(name: str, inverse: object) -> None:
    means = emmeans(fitted(f"{name}(Reaction) ~ arm + (1 | Subject)"), "arm", type="response")
    eta, step = means.estimates.estimate, 1e-6
    slope = (inverse(eta + step) - inverse(eta - step)) / (2 * step)  # type: ignore[operator]
    np.testing.assert_allclose(means.to_frame()["SE"], slope * means.estimates.se, rtol=1e-8)
    np.testing.assert_allclose(means.to_frame()["response"], inverse(eta), rtol=1e-13)  # type: ignore[operator]


def test_means_of_empty_cells_are_not_estimable() -> None:
    means = emmeans(cake_with_holes(), "recipe", ddf="kenward-roger")
    assert np.isnan(numbers(means)[1:]).all()
    expected = [33.12222222, 1.67728724, 41.14862276, 29.73524344, 36.50920101]
    np.testing.assert_allclose(numbers(means)[0], expected, rtol=1e-6)
    assert "not estimable" in repr(means)
    cells = emmeans(cake_with_holes(), "~ temperature | recipe")
    lost = cells.to_frame().loc[~cells.estimates.estimable, ["temperature", "recipe"]].to_numpy().tolist()
    assert lost == [["195", "B"], ["225", "C"]]
    there = cells.to_frame().loc[cells.estimates.estimable, "emmean"]
    np.testing.assert_allclose(there.iloc[[0, 8, -1]], [29.13333333, 32.13333333, 34.4], rtol=1e-8)


def test_a_collinear_column_leaves_means_estimable() -> None:
    data = arms().assign(twice=2.0 * arms()["Days"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficiencyWarning)
        result = interlace.fit("Reaction ~ arm + Days + twice + (1 | Subject)", data)
    plain = fitted("Reaction ~ arm + Days + (1 | Subject)")
    np.testing.assert_allclose(numbers(emmeans(result, "arm")), numbers(emmeans(plain, "arm")), rtol=1e-7)
    off = emmeans(result, "arm", at={"Days": 1, "twice": 3})  # a place where the two columns contradict
    assert not off.estimates.estimable.any()


def test_text_and_intercept_only() -> None:
    means = emmeans(
        interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", interlace.datasets.load("Penicillin")), "~1"
    )
    np.testing.assert_allclose(means.estimates.estimate, 22.9722222, rtol=1e-8)
    text = repr(emmeans(binomial(), "period", type="response"))
    assert "asymp.LCL" in text
    assert "Results are back-transformed from the logit scale" in text


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"specs": "period2"}, FormulaError, "'period2' is not a predictor"),
        ({"specs": "period * herd"}, FormulaError, "Several are a list, or a formula: '~ period * herd'"),
        ({"specs": "herd"}, FormulaError, "'herd' is not a predictor"),
        ({"specs": "pairwise ~ period"}, FormulaError, "on the left of '~'"),
        ({"specs": "~ period | period"}, FormulaError, "'period' twice"),
        ({"specs": "~ period | herd", "by": "herd"}, FormulaError, "use one of them"),
        ({"specs": "period", "at": {"size": 1}}, DataError, "at names 'size'"),
        ({"specs": "period", "at": {"period": ["1", "9"]}}, DataError, "level '9' of 'period'"),
        ({"specs": "period", "at": {"period": ["1", "1"]}}, DataError, "twice"),
        ({"specs": "period", "at": {"period": []}}, DataError, "is empty"),
        ({"specs": "period", "at": ["1"]}, TypeError, "at must be a dict"),
        ({"specs": "period", "type": "prob"}, ValueError, "type must be"),
        ({"specs": "period", "weights": "cells"}, ValueError, "weights must be"),
        ({"specs": None}, TypeError, "specs must be the name of a predictor or several, not None"),
        ({"specs": 1}, TypeError, "specs must be the name of a predictor or several, not 1"),
        ({"specs": "period", "by": 1}, TypeError, "by must be the name of a predictor or several, not 1"),
        ({"specs": "period", "offset": "size"}, TypeError, "offset must be one finite number, not 'size'"),
        ({"specs": "period", "offset": [1, 2]}, TypeError, "offset must be one finite number, not [1, 2]"),
        ({"specs": "period", "offset": np.nan}, ValueError, "offset must be one finite number, not nan"),
        ({"specs": "period", "level": 95}, ValueError, "between 0 and 1"),
        ({"specs": "period", "ddf": "satterthwaite"}, ModelError, "leave ddf out"),
    ],
)
def test_arguments_that_cannot_be(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        emmeans(binomial(), **arguments)  # type: ignore[arg-type]


def test_numbers_are_needed_for_numeric_predictors() -> None:
    result = fitted("Reaction ~ arm + log(Days + 1) + (1 | Subject)")
    with pytest.raises(DataError, match=r"at\['Days'\] must hold numbers"):
        emmeans(result, "arm", at={"Days": "early"})
    with pytest.raises(DataError, match="finite"):
        emmeans(result, "arm", at={"Days": np.inf})
    for column in ("Days", "arm"):
        with pytest.raises(DataError, match=rf"at\['{column}'\] must be one value or a plain list of values"):
            emmeans(result, "arm", at={column: [["x", "y"]]})
    with pytest.raises(DataError, match="no value at some points"):
        emmeans(result, "arm", at={"Days": -2})
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\)"):
        emmeans(arms(), "arm")  # type: ignore[arg-type]


def test_terms_that_look_at_other_rows_are_refused() -> None:
    result = fitted("Reaction ~ lag(Days) + arm + (1 | Subject)")
    with pytest.raises(FormulaError, match="lag"):
        emmeans(result, "arm")


def test_a_grid_without_end_is_refused() -> None:
    result = fitted("Reaction ~ arm + Days + late1 + (1 | Subject)")
    with pytest.raises(ModelError, match="reference grid has 1200000 points, 200000 values of 'Days'"):
        emmeans(result, "arm", at={"Days": range(200_000)})


def test_linear_predictors_without_a_mean_give_none() -> None:
    data = interlace.datasets.load("sleepstudy")
    result = interlace.glmer("Reaction ~ Days + (1 | Subject)", data, interlace.families.Gamma(), link="inverse")
    means = emmeans(result, "Days", at={"Days": [3, 1000]}, type="response")
    assert means.estimates.estimate[1] < 0.0
    assert np.isnan(numbers(means)[1, [0, 1, 3, 4]]).all()
    eta, se = means.estimates.estimate[0], means.estimates.se[0]
    np.testing.assert_allclose(numbers(means)[0, :2], [1 / eta, se / eta**2], rtol=1e-12)
    lower, upper = numbers(means)[0, 3:]
    np.testing.assert_allclose([1 / upper, 1 / lower], [eta - 1.959963985 * se, eta + 1.959963985 * se], rtol=1e-8)


def test_levels_that_never_meet_have_no_weights() -> None:
    with pytest.raises(DataError, match="do not occur together"):
        emmeans(cake_with_holes(), "~ 1", at={"recipe": "B", "temperature": "195"}, weights="proportional")
