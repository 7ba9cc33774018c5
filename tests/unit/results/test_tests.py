"""Tables of tests against lmerTest 3.1-3, pbkrtest 0.5.2 and car 3.1-1."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import interlace
from interlace.errors import ModelError
from interlace.results.lmm import LMMResult
from interlace.results.tests import anova_table, contest, drop1
from tests.glmm_fits import cbpp, verbal

RATS = ("RatPupWeight", "weight ~ Treatment * sex + Lsize + (1 | Litter)")
EXAM = ("Exam", "normexam ~ standLRT * schgend + sex + (standLRT | school)")
CAKE, CELLS = "angle ~ recipe * temperature + (1 | recipe:replicate)", "cake with holes"
NOT_ALL = ("cake with empty cells", CAKE)

# DenDF and F value of each term: anova(m, type, ddf) at an optimum found by bobyqa with rhoend 1e-9.
ANOVA = {
    (*RATS, 1, "satterthwaite"): [
        (23.6551412, 4.45458768),
        (306.674889, 42.3709253),
        (31.7361199, 47.3520594),
        (302.263479, 0.465580587),
    ],
    (*RATS, 1, "kenward-roger"): [
        (23.0992236, 4.44936597),
        (306.46548, 42.2649193),
        (31.0150342, 47.1489772),
        (301.861495, 0.464469537),
    ],
    (*RATS, 2, "satterthwaite"): [
        (24.2395864, 11.7153918),
        (300.338154, 56.0923748),
        (31.7975134, 46.8652373),
        (302.30311, 0.465580587),
    ],
    (*RATS, 2, "kenward-roger"): [
        (23.6654446, 11.7023909),
        (299.97716, 55.9425523),
        (31.0751857, 46.6636486),
        (301.861495, 0.464469537),
    ],
    (*RATS, 3, "satterthwaite"): [
        (24.2785388, 11.4895491),
        (302.899932, 46.9914525),
        (31.7975134, 46.8652373),
        (302.30311, 0.465580587),
    ],
    (*RATS, 3, "kenward-roger"): [
        (23.7014672, 11.4770547),
        (302.599409, 46.8188852),
        (31.0751857, 46.6636486),
        (301.861495, 0.464469537),
    ],
    (*EXAM, 1, "satterthwaite"): [
        (54.6012579, 745.508353),
        (59.0542891, 3.86308946),
        (4048.75578, 25.0304336),
        (54.8796208, 0.12851594),
    ],
    (*EXAM, 2, "satterthwaite"): [
        (54.7198013, 731.778727),
        (63.8674216, 2.12730262),
        (4023.91078, 24.5971635),
        (54.8877001, 0.12851594),
    ],
    (*EXAM, 2, "kenward-roger"): [
        (58.4663431, 728.767617),
        (66.7338357, 2.12517682),
        (4025.56213, 24.5498912),
        (58.6400309, 0.127987286),
    ],
    (*EXAM, 3, "satterthwaite"): [
        (55.3770601, 563.96351),
        (63.8674216, 2.12730262),
        (4023.91078, 24.5971635),
        (54.8877001, 0.12851594),
    ],
    ("cake", CAKE, 1, "satterthwaite"): [(42, 0.248788787), (210, 20.5198604), (210, 1.00619798)],
    ("cake", CAKE, 2, "kenward-roger"): [(42, 0.248788787), (210, 20.5198604), (210, 1.00619798)],
    ("cake", CAKE, 3, "satterthwaite"): [(42, 0.248788787), (210, 20.5198604), (210, 1.00619798)],
    (CELLS, CAKE, 1, "satterthwaite"): [(41.8755012, 0.523976037), (171.979954, 16.561961), (171.985453, 0.886938372)],
    (CELLS, CAKE, 2, "satterthwaite"): [(41.8780758, 0.504555001), (171.979954, 16.561961), (171.985422, 0.886938372)],
    (CELLS, CAKE, 3, "satterthwaite"): [(41.8822568, 0.509608266), (171.987984, 16.5040185), (171.985422, 0.886938372)],
    (CELLS, CAKE, 3, "kenward-roger"): [(41.9166794, 0.509606758), (172.02188, 16.4981713), (172.01934, 0.886634719)],
    (*NOT_ALL, 1, "kenward-roger"): [(41.8971563, 1.33555228), (149.179234, 11.8082873), (149.208436, 0.985259154)],
    (*NOT_ALL, 2, "satterthwaite"): [(42.6276797, 0.539105189), (149.322788, 11.8138615), (149.351789, 0.985759082)],
    (*NOT_ALL, 3, "satterthwaite"): [(42.6369179, 0.546690599), (149.327581, 11.7359547), (149.351789, 0.985759082)],
    (*NOT_ALL, 3, "kenward-roger"): [(42.4877022, 0.546679389), (149.18407, 11.7304196), (149.208436, 0.985259154)],
    (CELLS, "angle ~ recipe * temp + (temp | recipe:replicate)", 3, "satterthwaite"): [
        (149.111913, 0.085448156),
        (170.980243, 77.1852795),
        (170.97866, 0.130013143),
    ],
    (CELLS, "angle ~ recipe * temp + (temp | recipe:replicate)", 3, "kenward-roger"): [
        (40.1014102, 0.0849173101),
        (40.0191152, 76.6868032),
        (40.0116675, 0.129136374),
    ],
    (CELLS, "angle ~ 0 + recipe + temperature + (1 | replicate) + (1 | recipe:replicate)", 1, "satterthwaite"): [
        (20.7418864, 128.919542),
        (185.326757, 17.3869534),
    ],
    (CELLS, "angle ~ 0 + recipe + temperature + (1 | replicate) + (1 | recipe:replicate)", 3, "kenward-roger"): [
        (32.5568646, 82.537136),
        (185.322017, 17.3615277),
    ],
    ("Machines", "score ~ Machine + (Machine | Worker)", 3, "satterthwaite"): [(5, 41.0037865)],
    ("Machines", "score ~ Machine + (Machine | Worker)", 3, "kenward-roger"): [(4, 32.8030292)],
    ("Orthodont", "distance ~ age * Sex + (age | Subject)", 3, "satterthwaite"): [
        (25, 87.9987387),
        (25, 0.418335874),
        (25, 5.11859868),
    ],
    ("Oats", "`yield` ~ Variety * nitro + (1 | Block/Variety)", 1, "satterthwaite"): [
        (10, 1.48534031),
        (51, 115.771261),
        (51, 0.498814821),
    ],
    ("Oats", "`yield` ~ Variety * nitro + (1 | Block/Variety)", 3, "kenward-roger"): [
        (21.5747588, 1.9422531),
        (51, 115.771261),
        (51, 0.498814821),
    ],
}


@lru_cache
def data(name: str) -> pd.DataFrame:
    if not name.startswith("cake with"):
        return interlace.datasets.load(name)
    cake = interlace.datasets.load("cake")
    cake = cake[np.arange(len(cake)) % 7 != 3]
    first = (cake["recipe"] == "C") & (cake["temperature"] == "225")
    second = (cake["recipe"] == "A") & (cake["temperature"] == "175")
    return cake if name == CELLS else cake[~first & ~second]


@lru_cache
def fitted(name: str, formula: str, method: str = "REML") -> LMMResult:
    return interlace.fit(formula, data(name), method=method)


@pytest.fixture(scope="module")
def sleep() -> LMMResult:
    return fitted("sleepstudy", "Reaction ~ Days + (Days | Subject)")


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning", "ignore::interlace.RankDeficiencyWarning")
@pytest.mark.parametrize(("name", "formula", "kind", "ddf"), ANOVA)
def test_anova_tables_are_lmertests(name: str, formula: str, kind: int, ddf: str) -> None:
    result = fitted(name, formula)
    table = anova_table(result, type=kind, ddf=ddf)
    assert list(table.columns) == ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]
    np.testing.assert_allclose(table[["DenDF", "F value"]], ANOVA[name, formula, kind, ddf], rtol=2e-6)
    np.testing.assert_allclose(table["Pr(>F)"], stats.f.sf(table["F value"], table["NumDF"], table["DenDF"]), rtol=1e-8)
    if ddf == "satterthwaite":
        np.testing.assert_allclose(table["Mean Sq"], table["F value"] * result.scale)
    np.testing.assert_allclose(table["Sum Sq"], table["Mean Sq"] * table["NumDF"])


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_mean_squares_are_without_the_factor_of_kenward_and_roger(kind: int) -> None:
    """lmerTest's anova(m, ddf = "Kenward-Roger"); the factor is 0.8."""
    result = fitted("Machines", "score ~ Machine + (Machine | Worker)")
    row = anova_table(result, type=kind, ddf="kenward-roger").loc["Machine"]
    np.testing.assert_allclose(row, [75.82659844, 37.91329922, 2, 4, 32.80301475, 0.003302374], rtol=1e-6)
    joint = contest(result, np.eye(3)[1:], ddf="kenward-roger").iloc[0]
    np.testing.assert_allclose(joint, row, rtol=1e-9)
    np.testing.assert_allclose(row["F value"], 0.8 * row["Mean Sq"] / result.scale, rtol=1e-6)


def test_rows_are_the_terms_and_the_default_is_type_three_by_the_method_of_the_fit() -> None:
    result = fitted(*RATS)
    table = anova_table(result)
    assert list(table.index) == ["Treatment", "sex", "Lsize", "Treatment:sex"]
    assert table["NumDF"].tolist() == [2, 1, 1, 2]
    pd.testing.assert_frame_equal(table, anova_table(result, type=3, ddf="satterthwaite"))
    residual = anova_table(result.update(df_method="residual"))
    assert (residual["DenDF"] == 322 - 7).all()
    normal = anova_table(result, ddf="normal")
    assert np.isinf(normal["DenDF"]).all()
    chi_square = normal["F value"] * normal["NumDF"]
    np.testing.assert_allclose(normal["Pr(>F)"], stats.chi2.sf(chi_square, normal["NumDF"]))


def test_fits_by_ml() -> None:
    result = fitted("ergoStool", "effort ~ Type + (1 | Subject)", "ML")
    assert anova_table(result).loc["Type", "DenDF"] == pytest.approx(27.0, rel=1e-6)
    with pytest.raises(ModelError, match="defined for fits by REML"):
        anova_table(result, ddf="kenward-roger")


def test_without_terms_a_table_is_empty() -> None:
    table = anova_table(fitted("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"))
    assert table.shape == (0, 6)
    assert drop1(fitted("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)")).empty


@pytest.mark.filterwarnings("ignore::interlace.RankDeficiencyWarning")
def test_a_term_without_columns_has_no_test(sleep: LMMResult) -> None:
    frame = data("sleepstudy").assign(twice=lambda d: 2 * d["Days"])
    table = anova_table(interlace.fit("Reaction ~ Days + twice + (Days | Subject)", frame))
    pd.testing.assert_series_equal(table.loc["Days"], anova_table(sleep).loc["Days"], rtol=1e-6)
    assert table.loc["twice", "NumDF"] == 0
    assert table.loc["twice"].drop("NumDF").isna().all()


def test_drop1_is_lmertests() -> None:
    """drop1(m) for RatPupWeight: Lsize and the interaction only."""
    table = drop1(fitted(*RATS))
    assert list(table.index) == ["Lsize", "Treatment:sex"]
    np.testing.assert_allclose(table["DenDF"], [31.7975134, 302.30311], rtol=2e-6)
    np.testing.assert_allclose(table["F value"], [46.8652373, 0.465580587], rtol=2e-6)
    kenward = drop1(fitted(*RATS), ddf="kenward-roger")
    np.testing.assert_allclose(kenward["DenDF"], [31.0751857, 301.861495], rtol=2e-6)


def test_contest_is_lmertests(sleep: LMMResult) -> None:
    """contest(m, L, joint, rhs, ddf) for sleepstudy."""
    one = contest(sleep, [0, 1], joint=False, rhs=5)
    assert list(one.columns) == ["Estimate", "Std. Error", "df", "t value", "lower", "upper", "Pr(>|t|)"]
    expected = [10.46728596, 1.545789644, 17, 3.536888723, 7.205954651, 13.72861727, 0.002533083722]
    np.testing.assert_allclose(one.to_numpy()[0], expected, rtol=1e-5)
    both = contest(sleep, np.eye(2), rhs=[240, 5])
    np.testing.assert_allclose(
        both.to_numpy()[0], [11300.96272, 5650.481358, 2, 17, 8.627479291, 0.002592227518], rtol=5e-5
    )
    kenward = contest(sleep, np.eye(2), rhs=[240, 5], ddf="kenward-roger")
    np.testing.assert_allclose(kenward.to_numpy()[0, 3:], [16, 8.119980509, 0.003679627001], rtol=5e-5)


def test_contrasts_by_name(sleep: LMMResult) -> None:
    by_position = contest(sleep, [[1, 3], [0, 2]], joint=False, level=0.9)
    frame = pd.DataFrame({"Days": [3, 2], "Intercept": [1, 0]}, index=["at 3", "two days"])
    named = contest(sleep, frame, joint=False, level=0.9)
    assert list(named.index) == ["at 3", "two days"]
    np.testing.assert_allclose(named, by_position)
    mapping = contest(sleep, {"Intercept": [1, 0], "Days": [3, 2]}, joint=False, level=0.9)
    np.testing.assert_allclose(mapping, by_position)
    series = contest(sleep, pd.Series({"Days": 2.0}, name="slope"), joint=False, level=0.9)
    assert list(series.index) == ["slope"]
    np.testing.assert_allclose(series.to_numpy()[0], by_position.to_numpy()[1])
    reach = stats.t.isf(0.05, named["df"]) * named["Std. Error"]
    np.testing.assert_allclose(named["upper"], named["Estimate"] + reach)


def test_contrasts_that_do_not_fit_are_refused(sleep: LMMResult) -> None:
    with pytest.raises(ValueError, match=r"L names coefficients that the fit does not have: 'days' \(did you mean"):
        contest(sleep, {"days": 1})
    with pytest.raises(ValueError, match=r"one column for each of the 2 coefficients \(Intercept, Days\)"):
        contest(sleep, [1, 2, 3])
    with pytest.raises(ValueError, match="each row of L must have finite weights that are not all zero"):
        contest(sleep, [[0, 0]])
    with pytest.raises(ValueError, match="each row of L must have finite weights"):
        contest(sleep, [[np.nan, 1]])
    for empty in ({}, [], np.ones((0, 2)), {"Days": []}):
        with pytest.raises(ValueError, match="L has no rows"):
            contest(sleep, empty)
    with pytest.raises(ValueError, match="different numbers of weights: Intercept 1, Days 2; give one"):
        contest(sleep, {"Intercept": 1, "Days": [1, 2]})
    with pytest.raises(ValueError, match="L names 'Days' twice"):
        contest(sleep, pd.DataFrame([[1, 2]], columns=["Days", "Days"]))
    for text in ("Days", ["Days"], {"Days": "one"}, pd.Series({"Days": "one"}), [[1, 0], [1]]):
        with pytest.raises(ValueError, match="L must hold numbers, the weights of the coefficients"):
            contest(sleep, text)
    with pytest.raises(ValueError, match="rhs must hold numbers, not 'zero'"):
        contest(sleep, [0, 1], rhs="zero")
    with pytest.raises(ValueError, match="rhs must hold finite numbers"):
        contest(sleep, [0, 1], rhs=np.nan)
    with pytest.raises(ValueError, match="one for each of the 2 rows of L"):
        contest(sleep, np.eye(2), rhs=[1, 2, 3])
    with pytest.raises(ValueError, match="contradict one another"):
        contest(sleep, [[0, 1], [0, 2]], rhs=[1, 3])
    with pytest.raises(ValueError, match="ddf must be one of"):
        contest(sleep, [0, 1], ddf="Kenward-Roger")
    with pytest.raises(ValueError, match="type must be 1, 2 or 3, not 'III'"):
        anova_table(sleep, type="III")  # type: ignore[arg-type]


def test_generalized_models_have_cars_wald_tests() -> None:
    """Anova(m, type) of fits with tolPwrss = 1e-12, whose numerical second derivatives are good to about 1e-3."""
    third = anova_table(cbpp())
    assert list(third.columns) == ["Chisq", "Df", "Pr(>Chisq)"]
    assert list(third.index) == ["Intercept", "period"]
    np.testing.assert_allclose(third["Chisq"], [36.1913273, 24.9486596], rtol=1e-4)
    second = anova_table(cbpp(), type=2)
    assert second["Df"].tolist() == [3]
    np.testing.assert_allclose(second["Pr(>Chisq)"], stats.chi2.sf(second["Chisq"], 3))
    frame = interlace.datasets.load("VerbAgg")
    crossed = interlace.glmer("r2 ~ Gender * btype + Anger + (1 | item)", frame, "binomial")
    second, third = anova_table(crossed, type=2), anova_table(crossed, type=3)
    assert list(second.index) == ["Gender", "btype", "Anger", "Gender:btype"]
    np.testing.assert_allclose(second["Chisq"], [16.10997, 31.80973, 62.90323, 16.42560], rtol=3e-3)
    np.testing.assert_allclose(third["Chisq"], [1.062068, 10.936293, 27.591855, 62.903229, 16.425596], rtol=3e-3)


def test_generalized_models_have_normal_tests_only() -> None:
    result = verbal()
    single = contest(result, {"Anger": 1}, joint=False)
    assert list(single.columns) == ["Estimate", "Std. Error", "z value", "lower", "upper", "Pr(>|z|)"]
    joint = contest(result, {"Anger": 1})
    assert joint["Chisq"][0] == pytest.approx(single["z value"][0] ** 2)
    assert joint["Pr(>Chisq)"][0] == pytest.approx(single["Pr(>|z|)"][0])
    with pytest.raises(ValueError, match="type=1 is defined for linear models"):
        anova_table(result, type=1)
    with pytest.raises(ModelError, match="'satterthwaite' degrees of freedom: leave ddf out"):
        anova_table(result, ddf="satterthwaite")
    with pytest.raises(ModelError, match=r"drop1\(\) tests terms of linear models"):
        drop1(result)


@pytest.mark.parametrize("function", [interlace.anova_table, interlace.drop1, lambda x: interlace.contest(x, [1.0])])
def test_what_is_no_result_is_refused(function):
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\) or interlace.glmer\(\), not int"):
        function(3)
