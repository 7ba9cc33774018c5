"""Contrasts among estimated marginal means against emmeans 1.8.4 (fits as in test_emmeans)."""

from __future__ import annotations

import pickle
import warnings
from functools import lru_cache

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.errors import RankDeficiencyWarning
from interlace.results.contrasts_of_means import contrast, pairs
from interlace.results.emmeans import EmmeansResult, emmeans
from tests.glmm_fits import cbpp


@lru_cache
def machines(ddf: str = "kenward-roger") -> EmmeansResult:
    result = interlace.fit("score ~ Machine + (Machine | Worker)", interlace.datasets.load("Machines"))
    return emmeans(result, "Machine", ddf=ddf)  # type: ignore[arg-type]


@lru_cache
def cake() -> EmmeansResult:
    formula = "angle ~ recipe * temperature + (1 | recipe:replicate)"
    result = interlace.fit(formula, interlace.datasets.load("cake"), df_method="kenward-roger")
    return emmeans(result, "~ temperature | recipe")


@lru_cache
def rats(ddf: str = "satterthwaite") -> EmmeansResult:
    result = interlace.fit("weight ~ Treatment * sex + Lsize + (1 | Litter)", interlace.datasets.load("RatPupWeight"))
    return emmeans(result, "~ sex | Treatment", ddf=ddf)  # type: ignore[arg-type]


P_VALUES = {
    "holm": [0.0433860970417, 0.0008320134529, 0.0592293407190],
    "bonferroni": [0.0650791455626, 0.0008320134529, 0.1776880221570],
    "sidak": [0.0636775889962, 0.0008317827255, 0.1673714610778],
    "none": [0.0216930485209, 0.0002773378176, 0.0592293407190],
    "fdr": [0.0325395727813, 0.0008320134529, 0.0592293407190],
    "tukey": [0.0480657546148, 0.0006524959063, 0.1253190455021],
}
ENDS = {
    "holm": [-16.52221849, 0.5888851608],
    "bonferroni": [-16.52221849, 0.5888851608],
    "fdr": [-16.52221849, 0.5888851608],
    "sidak": [-16.48359498, 0.5502616477],
    "none": [-14.18965965, -1.7436736811],
    "tukey": [-15.84389769, -0.08943563844],
}


@pytest.mark.parametrize("adjust", list(P_VALUES))
def test_adjusted_p_values_and_intervals(adjust: str) -> None:
    found = pairs(machines(), adjust=adjust)  # type: ignore[arg-type]
    table = found.to_frame()
    assert list(table.columns) == ["contrast", "estimate", "SE", "df", "t.ratio", "p.value"]
    assert table["contrast"].tolist() == ["A - B", "A - C", "B - C"]
    np.testing.assert_allclose(table["estimate"], [-7.966666667, -13.916666667, -5.95], rtol=1e-9)
    np.testing.assert_allclose(table["SE"], [2.420849980, 1.540099507, 2.446474971], rtol=1e-6)
    # R's ptukey is good to about 1e-6 (scipy's studentized_range, an integral too, agrees with ours to 1e-13).
    np.testing.assert_allclose(table["p.value"], P_VALUES[adjust], rtol=5e-6, atol=5e-7 if adjust == "tukey" else 0)
    ends = found.confint()[["lower.CL", "upper.CL"]].iloc[0]
    np.testing.assert_allclose(ends, ENDS[adjust], rtol=5e-6, atol=1e-5 if adjust == "tukey" else 2e-6)


def test_groups_are_families_of_their_own() -> None:
    table = pairs(cake()).to_frame()
    assert len(table) == 45
    assert table["recipe"].tolist() == ["A"] * 15 + ["B"] * 15 + ["C"] * 15
    assert table["contrast"].iloc[0] == "temperature175 - temperature185"
    of_a = [0.6946292369, 0.9146286549, 0.08716937504, 4.186567643e-07, 0.005419882725]
    np.testing.assert_allclose(table["p.value"].iloc[:5], of_a, rtol=2e-6)
    np.testing.assert_allclose(table["p.value"].iloc[30:32], [0.9905704075, 0.1986486111], rtol=1e-7)
    ends = pairs(cake()).confint().iloc[0]
    np.testing.assert_allclose([ends["lower.CL"], ends["upper.CL"]], [-7.151820752, 2.351820752], rtol=1e-7)


def test_polynomial_contrasts() -> None:
    table = contrast(cake(), "poly").to_frame().iloc[:5]
    assert table["contrast"].tolist() == ["linear", "quadratic", "cubic", "quartic", "degree 5"]
    np.testing.assert_allclose(table["estimate"], [53.8, -6.533333333, -31.2, -17.73333333, -2.4], rtol=1e-9)
    se = [9.773989164, 10.706868683, 15.673250894, 6.181613517, 18.544840550]
    np.testing.assert_allclose(table["SE"], se, rtol=1e-7)
    p = [1.073857550e-07, 0.5423889606, 0.04781567212, 0.004542150284, 0.8971523179]
    np.testing.assert_allclose(table["p.value"], p, rtol=1e-6)


def test_effects_use_the_false_discovery_rate() -> None:
    found = contrast(cake(), "eff")
    assert found.adjust == "fdr"
    p = [0.0007110016794, 0.1652965432, 0.06110522196, 0.7002554914, 2.843623291e-06, 0.1045145480]
    np.testing.assert_allclose(found.to_frame()["p.value"].iloc[:6], p, rtol=1e-6)
    assert found.to_frame()["contrast"].iloc[0] == "temperature175 effect"


def test_comparisons_that_overlap_use_their_joint_distribution() -> None:
    steps = contrast(cake(), "consec")
    assert steps.adjust == "mvt"
    # R's are averages over random points: repeats differ by 1e-4 or so.
    p = [0.493771818608, 0.990771886383, 0.363059549509, 0.009887046523, 0.129213158395]
    np.testing.assert_allclose(steps.to_frame()["p.value"].iloc[:5], p, rtol=0.02, atol=2e-4)
    control = contrast(machines(), "trt.vs.ctrl")
    assert control.to_frame()["contrast"].tolist() == ["B - A", "C - A"]
    tails = control.to_frame()["p.value"].to_numpy()
    alone, bonferroni = P_VALUES["none"][:2], 2 * np.array(P_VALUES["none"][:2])
    assert (tails > alone).all()
    assert (tails < bonferroni).all()
    # The interval is the test turned round.
    t = control.to_frame()["t.ratio"].iloc[0]
    ends = control.confint(1 - tails[0]).iloc[0]
    assert t > 0
    assert abs(ends["lower.CL"]) < 1e-3 * ends["SE"]


def test_tukey_of_other_contrasts_becomes_sidak() -> None:
    found = contrast(machines(), {"x": [1, -0.5, -0.5], "y": [0, 1, -1]}, adjust="tukey")
    np.testing.assert_allclose(found.to_frame()["p.value"], [0.002150810133, 0.114950566636], rtol=5e-6)
    assert "Sidak" in repr(found)
    plain = contrast(machines(), [[1, -0.5, -0.5]])
    np.testing.assert_allclose(plain.to_frame().iloc[0, 1:3].astype(float), [-10.94166667, 1.618610704], rtol=1e-6)
    np.testing.assert_allclose(plain.to_frame()["p.value"], 0.001075983937, rtol=5e-6)


@pytest.mark.parametrize(
    ("ddf", "first", "across"),
    [
        ("satterthwaite", [0.07315409688, 295.3014328, 4.244465695e-08], [31.28551204, 6.905945761e-06]),
        ("kenward-roger", [0.07318714562, 294.8247585, 4.306759731e-08], [30.57356096, 7.713579922e-06]),
    ],
)
def test_pairs_within_and_across_groups(ddf: str, first: list[float], across: list[float]) -> None:
    inside = pairs(rats(ddf)).to_frame().iloc[0]
    assert (inside["contrast"], inside["Treatment"]) == ("Male - Female", "Control")
    np.testing.assert_allclose(inside[["SE", "df", "p.value"]].astype(float), first, rtol=2e-6)
    everywhere = pairs(rats(ddf), by=()).to_frame()
    assert len(everywhere) == 15
    chosen = everywhere.loc[everywhere["contrast"] == "Male Control - Female High"].iloc[0]
    np.testing.assert_allclose(chosen[["df", "p.value"]].astype(float), across, rtol=2e-5)


def test_odds_ratios() -> None:
    means = emmeans(cbpp(), "period", type="response")
    table = pairs(means).to_frame()
    assert list(table.columns) == ["contrast", "odds.ratio", "SE", "df", "null", "z.ratio", "p.value"]
    assert table["contrast"].tolist()[:2] == ["period1 / period2", "period1 / period3"]
    expected = [
        [2.697519667, 0.8271734128, 1, 3.2361255307, 0.006649382705],
        [3.091548375, 1.0098158366, 1, 3.4554263650, 0.003084369498],
        [4.856479497, 2.0758340551, 1, 3.6971941527, 0.001247401421],
        [1.146070745, 0.4363183150, 1, 0.3581205127, 0.984274162394],
        [1.800349987, 0.8466172022, 1, 1.2503546257, 0.594688877988],
        [1.570889052, 0.7607561323, 1, 0.9325972231, 0.787331813294],
    ]
    np.testing.assert_allclose(table.drop(columns=["contrast", "df"]), expected, rtol=3e-5)
    ends = pairs(means).confint()[["asymp.LCL", "asymp.UCL"]]
    np.testing.assert_allclose(ends.iloc[:2], [[1.2269839781, 5.930486857], [1.3357992083, 7.155020975]], rtol=1e-5)
    link = pairs(means, type="link").to_frame()
    np.testing.assert_allclose(np.exp(link["estimate"]), table["odds.ratio"], rtol=1e-12)
    effects = contrast(means, "eff").to_frame()
    np.testing.assert_allclose(effects["odds.ratio"].iloc[0], 2.5226997053, rtol=1e-6)
    np.testing.assert_allclose(effects["p.value"].iloc[2], 5.421457499e-01, rtol=1e-5)


def test_what_is_no_ratio_stays_on_the_link_scale() -> None:
    means = emmeans(cbpp(), "period", type="response")
    found = contrast(means, {"first": [1, 0, 0, 0]})
    np.testing.assert_allclose(found.to_frame()["estimate"], means.estimates.estimate[:1], rtol=1e-12)
    assert "Contrasts are on the logit scale" in repr(found)


def test_ratios_of_other_bases() -> None:
    data = interlace.datasets.load("ergoStool")
    natural = pairs(emmeans(interlace.fit("log(effort) ~ Type + (1 | Subject)", data), "Type", type="response"))
    decimal = pairs(emmeans(interlace.fit("log10(effort) ~ Type + (1 | Subject)", data), "Type", type="response"))
    columns = ["ratio", "SE", "p.value"]
    np.testing.assert_allclose(decimal.to_frame()[columns], natural.to_frame()[columns], rtol=1e-6)
    ends = ["lower.CL", "upper.CL"]
    np.testing.assert_allclose(decimal.confint()[ends], natural.confint()[ends], rtol=1e-6)


def test_contrasts_of_means_that_are_not_estimable() -> None:
    data = interlace.datasets.load("cake")
    empty = ((data["recipe"] == "B") & (data["temperature"] == "195")) | (
        (data["recipe"] == "C") & (data["temperature"] == "225")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficiencyWarning)
        result = interlace.fit("angle ~ recipe * temperature + (1 | recipe:replicate)", data[~empty])
    found = pairs(emmeans(result, "temperature", ddf="kenward-roger"))
    table = found.to_frame()
    assert table["p.value"].notna().sum() == 6
    there = table.dropna()
    np.testing.assert_allclose(
        there["p.value"],
        [0.2841881587, 1.802870770e-04, 2.468e-13, 0.1700708769, 3.297782025e-08, 1.715597191e-03],
        rtol=1e-4,
        atol=1e-12,
    )
    assert "not estimable" in repr(found)
    # Sidak's adjustment counts the comparisons that can be made.
    alone = pairs(emmeans(result, "temperature", ddf="kenward-roger"), adjust="none").to_frame()["p.value"]
    six = pairs(emmeans(result, "temperature", ddf="kenward-roger"), adjust="sidak").to_frame()["p.value"]
    np.testing.assert_allclose(six.dropna(), 1 - (1 - alone.dropna()) ** 6, rtol=1e-3, atol=1e-12)


def test_a_difference_of_means_that_are_not_estimable_can_be_estimated() -> None:
    data = interlace.datasets.load("cake")
    twin = data.assign(oven=data["replicate"].astype(int) % 2, site=data["replicate"].astype(int) % 2 * 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RankDeficiencyWarning)
        result = interlace.fit("angle ~ recipe + oven + site + (1 | recipe:replicate)", twin)
    means = emmeans(result, "recipe", at={"oven": 1, "site": 1})
    assert not means.estimates.estimable.any()
    plain = interlace.fit("angle ~ recipe + oven + (1 | recipe:replicate)", twin)
    expected = pairs(emmeans(plain, "recipe")).to_frame()
    found = pairs(means).to_frame()
    np.testing.assert_allclose(found[["estimate", "SE", "p.value"]], expected[["estimate", "SE", "p.value"]], rtol=1e-6)


def test_arguments_that_cannot_be() -> None:
    means = machines()
    with pytest.raises(TypeError, match=r"what emmeans\(\) returns"):
        contrast(means.to_frame())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="method must be one of"):
        contrast(means, "helmert")
    with pytest.raises(ValueError, match="adjust must be one of"):
        contrast(means, adjust="scheffe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="must have 3 finite weights"):
        contrast(means, {"x": [1, -1]})
    with pytest.raises(ValueError, match="must have 3 finite weights"):
        contrast(means, [[1, -1, np.nan]])
    for weights in ([[1, -1, 0], [1, -1]], [["A", "B", "C"]], {}):
        with pytest.raises(ValueError, match="must have 3 finite weights"):
            contrast(means, weights)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        contrast(means, level=95)
    with pytest.raises(TypeError, match="by must be the name of a factor or several, not 1"):
        contrast(means, by=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="by names 'Worker'"):
        contrast(means, by="Worker")
    with pytest.raises(ValueError, match="nothing to compare"):
        contrast(means, by="Machine")
    result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    with pytest.raises(ValueError, match="nothing to compare it with"):
        pairs(emmeans(result, "~ 1"))
    with pytest.raises(ValueError, match="type must be"):
        pairs(means, type="odds")  # type: ignore[arg-type]


def test_reverse_pairs_have_the_other_sign() -> None:
    table = pairs(machines(), reverse=True).to_frame()
    assert table["contrast"].tolist() == ["B - A", "C - A", "C - B"]
    np.testing.assert_allclose(table["estimate"], [7.966666667, 13.916666667, 5.95], rtol=1e-9)
    np.testing.assert_allclose(table["p.value"], P_VALUES["tukey"], rtol=5e-6, atol=5e-7)


def test_labels_with_operators_are_put_apart() -> None:
    data = interlace.datasets.load("Machines")
    data["kind"] = data["Machine"].cat.rename_categories({"A": "old-1", "B": "new", "C": "x*y"})
    result = interlace.fit("score ~ kind + (1 | Worker)", data)
    names = pairs(emmeans(result, "kind")).to_frame()["contrast"].tolist()
    assert names == ["(old-1) - new", "(old-1) - (x*y)", "new - (x*y)"]


@pytest.mark.parametrize("response", ["effort", "log(effort)", "log2(effort)", "log10(effort)", "sqrt(effort)"])
def test_results_can_be_pickled(response: str) -> None:
    result = interlace.fit(f"{response} ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
    means = emmeans(result, "Type", type="response")
    again = pickle.loads(pickle.dumps(means))
    pd.testing.assert_frame_equal(again.to_frame(), means.to_frame())
    found = pairs(means)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(found)).confint(), found.confint())
