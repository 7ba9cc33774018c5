"""Tables of influence, case deletion and single measures, as a user meets them."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace import influence
from interlace.diagnostics.case_deletion import deletion_of
from interlace.influence import (
    case_delete,
    cooks_distance,
    covratio,
    covtrace,
    dfbetas,
    hatvalues,
    hlm_influence,
    internal_cutoff,
    lme4_cooks_distance,
    lme4_influence,
    lmer_influence_measures,
    mdffits,
    n_influential,
    rstudent,
    rvc,
    tau_gap,
)

MEASURES = ["cooksd", "mdffits", "covtrace", "covratio"]
COMPONENTS = ["rvc.sigma2", "rvc.D11", "rvc.D21", "rvc.D22"]


#: HLMdiag 0.5.1 on tightly converged fits of lme4 1.1-31.
REFERENCE = {
    "row 60": {
        "exact": {
            "cooksd": 0.04642434200086505,
            "mdffits": 0.04408433594222999,
            "covtrace": 0.05370807175991654,
            "covratio": 1.0530802156529375,
            "rvc.sigma2": -0.14491941278307285,
            "rvc.D11": 0.04257881456658774,
            "rvc.D21": -0.767106940265716,
            "rvc.D22": 0.10661556811733996,
        },
        "approx": {
            "cooksd": 0.04544020636407863,
            "mdffits": 0.0452433675918318,
            "covtrace": 0.004350665804161213,
            "covratio": 1.0043506658041608,
        },
    },
    "subject 335": {
        "exact": {
            "cooksd": 0.12948050581721823,
            "mdffits": 0.1553140722084847,
            "covtrace": 0.04133113808486799,
            "covratio": 0.9378774696540854,
            "rvc.sigma2": 0.04717452556253021,
            "rvc.D11": 0.05354254965831218,
            "rvc.D21": 1.0751102851339724,
            "rvc.D22": -0.2702331365618237,
        },
        "approx": {
            "cooksd": 0.1294805058172429,
            "mdffits": 0.1222871443829516,
            "covtrace": 0.11764705882352988,
            "covratio": 1.1211072664359862,
        },
    },
}


@pytest.fixture(scope="module")
def sleep():
    return interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))


def test_columns_for_rows(sleep):
    table = hlm_influence(sleep, leverage=["ranef.uc", "overall"])
    data = ["Reaction", "Days", "Subject"]
    assert table.columns.tolist() == [
        "id", *data, *MEASURES, *COMPONENTS, "leverage.overall", "leverage.ranef.uc"
    ]  # fmt: skip
    assert table["id"].tolist() == list(range(1, 181))
    pd.testing.assert_frame_equal(table[data], sleep.model.data.frame[data])


def test_columns_for_groups(sleep):
    table = hlm_influence(sleep, level="Subject", approx=True)
    assert table.columns.tolist() == ["Subject", *MEASURES, "leverage.overall"]
    assert table["Subject"].tolist() == pd.unique(sleep.model.data.frame["Subject"]).tolist()


def test_values_of_r(sleep):
    """HLMdiag 0.5.1 on tightly converged fits of lme4 1.1-31: row 60 and subject 335."""
    exact, approx = (hlm_influence(sleep, approx=a).set_index("id").loc[60] for a in (False, True))
    expected = REFERENCE["row 60"]
    assert_allclose(exact[list(expected["exact"])].astype(float), list(expected["exact"].values()), rtol=2e-6)
    assert_allclose(approx[list(expected["approx"])].astype(float), list(expected["approx"].values()), rtol=1e-8)
    exact, approx = (
        hlm_influence(sleep, level="Subject", approx=a).set_index("Subject").loc["335"] for a in (False, True)
    )
    expected = REFERENCE["subject 335"]
    assert_allclose(exact[list(expected["exact"])].astype(float), list(expected["exact"].values()), rtol=2e-6)
    assert_allclose(approx[list(expected["approx"])].astype(float), list(expected["approx"].values()), rtol=1e-8)


def test_lme4s_values(sleep):
    """lme4 1.1-31, refits tightly converged: the first row and subject 308."""
    assert hatvalues(sleep).iloc[0] == pytest.approx(0.2293030131667205, rel=1e-9)
    assert rstudent(sleep).iloc[0] == pytest.approx(-0.18265414943948682, rel=1e-8)
    assert lme4_cooks_distance(sleep).iloc[0] == pytest.approx(0.004963124737404853, rel=1e-8)
    found = lme4_influence(sleep, "Subject")
    assert found.cooks_distance["308"] == pytest.approx(0.08214848360470295, rel=1e-7)
    assert_allclose(found.dfbeta.loc["308"], [0.4242609269178672, -0.6645539096852602], rtol=1e-7)
    assert_allclose(found.dfbetas.loc["308"], [0.05872502050826651, -0.4489296330973707], rtol=1e-7)
    expected = [-95.76220134779521, 82.03543206712993, -1.4636915414411291, -4.597309884397273]
    assert_allclose(found.dfbeta_var_cov.loc["308"], expected, rtol=1e-6)
    assert_allclose(found.dfbetas, -dfbetas(sleep, "Subject"))
    assert found.dfbeta.columns.tolist() == found.dfbetas.columns.tolist() == ["Intercept", "Days"]


def test_labels_and_values_belong_together():
    """Groups in the order of their rows, whatever the order of their names: HLMdiag mixes them up."""
    frame = interlace.datasets.load("sleepstudy").sample(frac=1.0, random_state=5)
    frame["Subject"] = "s" + (frame["Subject"].astype(int) - 300).astype(str)
    fit = interlace.fit("Reaction ~ Days + (Days | Subject)", frame)
    table = hlm_influence(fit, level="Subject")
    assert table["Subject"].tolist() == pd.unique(frame["Subject"]).tolist()
    for label in ("s10", "s9", "s71"):
        other = interlace.fit("Reaction ~ Days + (Days | Subject)", frame[frame["Subject"] != label])
        d = fit.fe_params - other.fe_params
        expected = d @ np.linalg.solve(fit.fe_cov, d) / 2
        assert table.set_index("Subject")["cooksd"][label] == pytest.approx(expected, rel=1e-5)
    rows = hlm_influence(fit)
    assert rows.index.equals(frame.index)


@pytest.mark.parametrize("approx", [False, True])
def test_columns_of_the_data_with_taken_names(approx):
    frame = interlace.datasets.load("sleepstudy").rename(columns={"Subject": "id", "Days": "cooksd"})
    fit = interlace.fit("Reaction ~ cooksd + (1 | id)", frame)
    table = hlm_influence(fit, approx=approx)
    assert table.columns[:4].tolist() == ["id", "Reaction", "cooksd.data", "id.data"]
    assert table["id.data"].tolist() == frame["id"].tolist()
    assert table.columns.is_unique
    groups = hlm_influence(fit, level="id", approx=approx)
    assert groups.columns[0] == "id"


def test_a_factor_with_a_taken_name():
    frame = interlace.datasets.load("sleepstudy").rename(columns={"Subject": "cooksd"})
    table = hlm_influence(interlace.fit("Reaction ~ Days + (1 | cooksd)", frame), level="cooksd", approx=True)
    assert table.columns[:2].tolist() == ["cooksd.data", "cooksd"]


def test_rows_with_missing_values_keep_labels_right():
    frame = interlace.datasets.load("sleepstudy").set_index(np.arange(1000, 1180))
    frame.loc[1004, "Reaction"] = np.nan
    table = hlm_influence(interlace.fit("Reaction ~ Days + (1 | Subject)", frame), approx=True)
    assert table.index.tolist() == [label for label in range(1000, 1180) if label != 1004]
    assert table["id"].tolist() == list(range(1, 180))


def test_everything_in_one_table(sleep):
    table = lmer_influence_measures(sleep, level="Subject")
    leverages = [f"leverage.{kind}" for kind in ("overall", "fixef", "ranef", "ranef.uc")]
    changes = ["dfbeta.Intercept", "dfbeta.Days", "dfbetas.Intercept", "dfbetas.Days"]
    assert table.columns.tolist() == [*MEASURES, *COMPONENTS, *leverages, *changes, "converged"]
    assert table.index.name == "Subject"
    assert table["converged"].all()
    same = hlm_influence(sleep, level="Subject", leverage=["overall", "fixef", "ranef", "ranef.uc"])
    pd.testing.assert_frame_equal(table[same.columns[1:]].reset_index(drop=True), same.drop(columns="Subject"))
    deletion = case_delete(sleep, level="Subject")
    assert_allclose(table[["dfbeta.Intercept", "dfbeta.Days"]], sleep.fe_params.to_numpy() - deletion.coefficients)
    assert not [c for c in lmer_influence_measures(sleep, level="Subject", approx=True) if c.startswith("rvc")]


def test_single_measures_of_a_model_and_of_its_deletion(sleep):
    table, deletion = hlm_influence(sleep, level="Subject"), case_delete(sleep, level="Subject")
    for function, name in (
        (cooks_distance, "cooksd"),
        (mdffits, "mdffits"),
        (covtrace, "covtrace"),
        (covratio, "covratio"),
    ):
        series = function(sleep, "Subject")
        assert series.name == name
        assert series.index.tolist() == table["Subject"].tolist()
        np.testing.assert_array_equal(series, table[name])
        pd.testing.assert_series_equal(function(deletion), series)
    np.testing.assert_array_equal(rvc(deletion), table[COMPONENTS])
    assert rvc(sleep, "Subject").columns.tolist() == ["sigma2", "D11", "D21", "D22"]
    assert_allclose(
        cooks_distance(sleep, "Subject", approx=True), hlm_influence(sleep, "Subject", approx=True)["cooksd"]
    )
    with pytest.raises(ValueError, match="rvc\\(\\) needs exact refits"):
        rvc(sleep, approx=True)


def test_sets(sleep):
    sets = {"two": ["308", "335"], "one": ["309"]}
    table = hlm_influence(sleep, level="Subject", delete=sets)
    assert table.columns.tolist() == ["set", *MEASURES, *COMPONENTS, "leverage.overall"]
    assert table["set"].tolist() == ["two", "one"]
    assert table["cooksd"][1] == pytest.approx(cooks_distance(sleep, "Subject")["309"], rel=1e-9)
    frame = interlace.datasets.load("sleepstudy")
    other = interlace.fit("Reaction ~ Days + (Days | Subject)", frame[~frame["Subject"].isin(["308", "335"])])
    deletion = case_delete(sleep, level="Subject", delete=["308", "335"])
    assert repr(deletion) == "<CaseDeletion: 1 set, exact refits, 0 failed>"
    assert_allclose(deletion.coefficients.loc["deleted"], other.fe_params, rtol=1e-6)
    rows = case_delete(sleep, delete=[0, 56, 57])
    assert_allclose(
        rows.coefficients.loc["deleted"], sleep.update(data=frame.drop(index=[0, 56, 57])).fe_params, rtol=1e-6
    )


def test_what_a_deletion_holds(sleep):
    deletion = case_delete(sleep, level="Subject")
    frame = interlace.datasets.load("sleepstudy")
    other = interlace.fit("Reaction ~ Days + (Days | Subject)", frame[frame["Subject"] != "310"])
    assert deletion.coefficients.index.name == "Subject"
    assert_allclose(deletion.coefficients.loc["310"], other.fe_params, rtol=1e-6)
    assert_allclose(deletion.cov_params[2], other.fe_cov, rtol=1e-5)
    assert deletion.sigma["310"] == pytest.approx(other.sigma, rel=1e-6)
    assert_allclose(deletion.theta.loc["310"], other.theta, rtol=1e-4, atol=1e-6)
    assert deletion.criterion["310"] == pytest.approx(other.reml_criterion, abs=1e-7)
    assert deletion.variance_components.loc["310", "D22"] == pytest.approx(
        other.variance_components["Subject"].loc["Days", "Days"], rel=1e-5
    )
    assert deletion.converged.all()
    assert deletion.failed.empty
    assert (deletion.evaluations > 0).all()
    fitted = deletion.fitted("310")
    assert_allclose(fitted, other.fittedvalues, rtol=1e-6)
    assert fitted.index.equals(other.fittedvalues.index)
    assert_allclose(deletion.random_effects(310)["Subject"], other.random_effects["Subject"], rtol=1e-4, atol=1e-4)
    values = deletion.fitted_values
    assert values.shape == (180, 18)
    assert_allclose(values["310"].dropna(), fitted, rtol=1e-12)
    assert values["310"].isna().sum() == 10


def test_what_a_deletion_does_not_hold(sleep):
    deletion = case_delete(sleep, level="Subject", delete={"a": ["308"]})
    with pytest.raises(ValueError, match="'b' is not one of the units"):
        deletion.fitted("b")
    one_step = deletion_of(sleep, "Subject", approx=True)
    with pytest.raises(ValueError, match="need exact refits"):
        one_step.random_effects("308")
    frame = interlace.datasets.load("sleepstudy").set_axis(np.arange(180) % 100, axis=0)
    twice = case_delete(interlace.fit("Reaction ~ Days + (1 | Subject)", frame))
    with pytest.raises(ValueError, match="5 is the label of several rows"):
        twice.fitted(5)
    assert_allclose(twice.fitted(99).size, 179)


def test_units_that_cannot_be_left_out_are_named():
    frame = interlace.datasets.load("sleepstudy")
    frame["rare"] = np.where(np.arange(180).astype(int) == 77, "yes", "no")
    fit = interlace.fit("Reaction ~ Days + rare + (1 | Subject)", frame)
    text = r"without 1 of 180 units \(77\): the rows do not identify the fixed effects. Its measures are NaN"
    for approx in (False, True):
        with pytest.warns(interlace.ConvergenceWarning, match=text) as caught:
            table = hlm_influence(fit, approx=approx)
        assert caught[0].filename == __file__
        assert table[MEASURES].isna().all(axis=1).to_numpy().nonzero()[0].tolist() == [77]
    with pytest.warns(interlace.ConvergenceWarning, match=text) as caught:
        deletion = case_delete(fit)
    assert caught[0].filename == __file__
    assert deletion.failed.to_dict() == {77: "the rows do not identify the fixed effects"}
    with pytest.raises(ValueError, match="could not be fitted without 77: the rows do not identify"):
        deletion.fitted(77)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(cooks_distance(deletion)[77])
    assert deletion.fitted_values[77].isna().all()


def test_reml_or_ml_as_the_fit():
    """HLMdiag refits by REML whatever the fit was."""
    frame = interlace.datasets.load("sleepstudy")
    fit = interlace.fit("Reaction ~ Days + (Days | Subject)", frame, method="ML")
    other = interlace.fit("Reaction ~ Days + (Days | Subject)", frame[frame["Subject"] != "309"], method="ML")
    change = rvc(fit, "Subject").loc["309", "sigma2"]
    assert change == pytest.approx(other.scale / fit.scale - 1.0, rel=1e-5)


def test_the_call_of_the_faq(sleep):
    from interlace.influence import hlm_influence, lmer_influence_measures

    result = sleep
    infl = hlm_influence(result, n_jobs=-1, show_progress=True)
    measures = lmer_influence_measures(result, n_jobs=-1)
    np.testing.assert_array_equal(infl["cooksd"], measures["cooksd"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"level": "Days"}, ValueError, "level='Days' is not a grouping factor"),
        ({"leverage": "some"}, ValueError, "leverage may be 'overall', .* not 'some'"),
        ({"optimizer": "nlopt"}, ValueError, "optimizer must be one of"),
        ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number"),
        ({"delete": [999]}, ValueError, "999 is not the label of a row in use"),
    ],
)
def test_arguments_out_of_range(sleep, options, error, message):
    with pytest.raises(error, match=message):
        hlm_influence(sleep, **options)


def test_what_is_no_model():
    with pytest.raises(TypeError, match="expected a result of interlace.fit"):
        hlm_influence("y ~ x")
    fit = interlace.glmer(
        "incidence / size ~ period", interlace.datasets.load("cbpp"), "binomial", groups="herd", weights="size"
    )
    for function in (hatvalues, rstudent, lme4_cooks_distance):
        with pytest.raises(TypeError, match="is defined for linear mixed models"):
            function(fit)


def test_a_generalized_model():
    fit = interlace.glmer(
        "incidence / size ~ period", interlace.datasets.load("cbpp"), "binomial", groups="herd", weights="size"
    )
    exact, approx = hlm_influence(fit, level="herd"), hlm_influence(fit, level="herd", approx=True)
    assert exact.columns.tolist() == ["herd", *MEASURES, "rvc.D11", "leverage.overall"]
    assert np.corrcoef(exact["cooksd"], approx["cooksd"])[0, 1] > 0.9
    deletion = case_delete(fit, level="herd", delete=[3])
    frame = interlace.datasets.load("cbpp")
    other = interlace.glmer(
        "incidence / size ~ period", frame[frame["herd"].astype(str) != "3"], "binomial", groups="herd", weights="size"
    )
    assert_allclose(deletion.coefficients.loc["deleted"], other.fe_params, rtol=1e-4)
    assert_allclose(deletion.fitted("deleted"), other.fittedvalues, rtol=1e-3)


def test_one_fixed_effect_and_none():
    """HLMdiag stops with a single coefficient."""
    frame = interlace.datasets.load("Dyestuff")
    table = hlm_influence(interlace.fit("Yield ~ 1 + (1 | Batch)", frame))
    assert np.isfinite(table[[*MEASURES, "rvc.sigma2", "rvc.D11"]]).all(axis=None)
    none = hlm_influence(interlace.fit("Yield ~ 0 + (1 | Batch)", frame))
    assert none[MEASURES].isna().all(axis=None)
    assert np.isfinite(none["rvc.sigma2"]).all()


class TestCutoffs:
    """What stands out."""

    def test_quartiles_are_those_of_r(self):
        """R: quantile(c(1, 3, 4, 9, 11, 20), c(.25, .75)) is 3.25 and 10.5."""
        low, high = internal_cutoff([4.0, 1.0, 20.0, np.nan, 3.0, 11.0, 9.0, np.inf], "covratio")
        assert (low, high) == (3.25 - 3 * 7.25, 10.5 + 3 * 7.25)
        assert internal_cutoff([4.0, 1.0, 20.0, 3.0, 11.0, 9.0], "mdffits") == (-np.inf, high)
        assert internal_cutoff([4.0, 1.0, 20.0, 3.0, 11.0, 9.0], "rvc.D11") == (low, high)
        assert np.isnan(internal_cutoff([np.nan], "cooksd")).all()

    def test_counts(self, sleep):
        distances = cooks_distance(sleep)
        limit = internal_cutoff(distances, "cooksd")[1]
        assert n_influential(sleep) == (distances > limit).sum() > 0
        assert n_influential(sleep, cutoff=0.02) == (distances > 0.02).sum()
        ratios = covratio(sleep)
        low, high = internal_cutoff(ratios, "covratio")
        assert n_influential(sleep, measure="covratio") == ((ratios < low) | (ratios > high)).sum()
        assert (
            n_influential(sleep, measure="covratio", cutoff=(0.99, 1.01)) == ((ratios < 0.99) | (ratios > 1.01)).sum()
        )
        assert n_influential(case_delete(sleep, level="Subject"), measure="rvc.D22", cutoff=(-0.1, 0.1)) > 0

    def test_gap(self, sleep):
        deletion = case_delete(sleep, level="Subject")
        gap = tau_gap(deletion, cutoff=0.1)
        flagged = cooks_distance(deletion)[lambda d: d > 0.1].index
        assert len(flagged) > 1
        frame = interlace.datasets.load("sleepstudy")
        other = interlace.fit("Reaction ~ Days + (Days | Subject)", frame[~frame["Subject"].isin(flagged)])
        sd = [np.sqrt(np.diagonal(m.variance_components["Subject"])) for m in (other, sleep)]
        assert gap.index.tolist() == ["sd_(Intercept)|Subject", "sd_Days|Subject"]
        assert_allclose(gap, sd[0] / sd[1] - 1.0, rtol=1e-4)
        assert (tau_gap(deletion, cutoff=10.0) == 0.0).all()

    def test_without_nearly_everything_there_is_no_gap(self, sleep):
        with pytest.warns(interlace.ConvergenceWarning, match="no estimates without the 18 influential units"):
            assert tau_gap(sleep, "Subject", cutoff=-1.0).isna().all()

    def test_what_is_no_measure(self, sleep):
        with pytest.raises(ValueError, match="measure must be one of 'cooksd', .* not 'cook'"):
            n_influential(sleep, "Subject", measure="cook")


def test_public_names_are_in_both_places():
    for name in influence.__all__:
        assert getattr(interlace.diagnostics, name) is getattr(influence, name)
    assert interlace.influence is influence


class TestMistakes:
    """Arguments that say something else than what is given or asked for."""

    @pytest.mark.parametrize("function", [cooks_distance, hlm_influence, lmer_influence_measures])
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"n_jobs": 0}, ValueError, "n_jobs must be a whole number"),
            ({"optimizer": "nlopt"}, ValueError, "optimizer must be one of"),
            ({"approx": "yes"}, TypeError, "approx must be True or False, not 'yes'"),
            ({"approx": None}, TypeError, "approx must be True or False, not None"),
        ],
    )
    def test_closed_forms_check_their_arguments_too(self, sleep, function, options, error, message):
        with pytest.raises(error, match=message):
            function(sleep, **{"approx": True} | options)

    @pytest.mark.parametrize("leverage", [None, 3])
    def test_leverage_has_a_name(self, sleep, leverage):
        with pytest.raises(
            TypeError, match=f"leverage must be the name of a kind of leverage or several, not {leverage}"
        ):
            hlm_influence(sleep, approx=True, leverage=leverage)

    @pytest.mark.parametrize(
        ("made", "asked", "message"),
        [
            ({}, {"level": "Subject"}, "level='Subject', but the deletion is of rows"),
            ({"level": "Subject"}, {"level": "Day"}, "level='Day' is not a grouping factor"),
            ({"level": "Subject"}, {"approx": True}, "approx=True, but the deletion is made of exact refits"),
            ({"level": "Subject"}, {"delete": ["308"]}, "delete= is for a model, and this is a deletion"),
        ],
    )
    def test_a_deletion_is_not_taken_for_another(self, sleep, made, asked, message):
        if made:
            deletion = case_delete(sleep, **made)
        else:
            deletion = case_delete(sleep, delete={"all": [0]})
            deletion = replace(deletion, units=replace(deletion.units, level=None))
        for function in (cooks_distance, hlm_influence, n_influential):
            with pytest.raises(ValueError, match=message):
                function(deletion, **asked)

    def test_a_deletion_is_taken_for_what_it_is(self, sleep):
        deletion = case_delete(sleep, "Subject")
        pd.testing.assert_series_equal(cooks_distance(deletion, "Subject"), cooks_distance(deletion))
        one_step = deletion_of(sleep, "Subject", approx=True)
        pd.testing.assert_series_equal(cooks_distance(one_step, approx=True), cooks_distance(one_step))
        some = case_delete(sleep, "Subject", delete=["308"])
        pd.testing.assert_series_equal(cooks_distance(some, "Subject"), cooks_distance(some))

    def test_lme4s_measures_are_of_refits(self, sleep):
        with pytest.raises(ValueError, match="is made of exact refits"):
            lme4_influence(sleep, "Subject", approx=True)

    def test_what_is_no_unit(self, sleep):
        with pytest.raises(ValueError, match=r"\['308'\] is not one of the units"):
            case_delete(sleep, "Subject", delete={"a": ["308"]}).fitted(["308"])

    @pytest.mark.parametrize("measure", [["cooksd"], None, "dfbetas.Days"])
    def test_what_is_no_measure(self, sleep, measure):
        with pytest.raises(ValueError, match="measure must be one of 'cooksd', .*; not "):
            n_influential(sleep, "Subject", measure=measure, approx=True)

    @pytest.mark.parametrize(
        "cutoff", [np.nan, (1.0, 2.0, 3.0), "high", {"a": 1}, (2.0, 1.0), (None, 1.0), [[1.0, 2.0]]]
    )
    def test_what_is_no_cutoff(self, sleep, cutoff):
        with pytest.raises(
            ValueError, match=r"cutoff must be a number, or a pair \(low, high\) with low <= high; not "
        ):
            n_influential(sleep, "Subject", cutoff=cutoff, approx=True)
        with pytest.raises(ValueError, match="values must be numbers"):
            internal_cutoff(["a"], "cooksd")


def test_names_that_are_taken_twice():
    frame = interlace.datasets.load("sleepstudy").assign(id=lambda d: d["Days"] ** 2)
    frame = frame.rename(columns={"Days": "id.data", "Subject": "cooksd"})
    table = hlm_influence(interlace.fit("Reaction ~ Q('id.data') + id + (1 | cooksd)", frame), approx=True)
    assert table.columns.is_unique
    assert table.columns[:5].tolist() == ["id", "Reaction", "id.data", "id.data.data", "cooksd.data"]
    assert table["id.data"].tolist() == frame["id.data"].tolist()
