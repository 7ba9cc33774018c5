"""Content of the figures of effects, random effects, profiles, fitted lines, agreement."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

import interlace
from interlace.plotting import plot_agreement, plot_effects, plot_fitted, plot_profile, plot_ranef
from interlace.rbridge import numbers_of
from interlace.rbridge.agreement import AgreementTable, Row
from tests.unit.plotting.fits import axes, cbpp, dots, load, penicillin, singular, sleep


# -- random effects ------------------------------------------------------------------------------------------------
def test_caterpillar_has_modes_in_order_with_normal_intervals():
    intercepts, slopes = plot_ranef(sleep(), level=0.9, ax=axes(2))
    modes, spread = (table["Subject"] for table in (sleep().random_effects, sleep().random_effects_se))
    order = modes["Intercept"].sort_values().index
    for ax, name in ((intercepts, "Intercept"), (slopes, "Days")):
        np.testing.assert_allclose(ax.lines[-1].get_xdata(), modes.loc[order, name])
        assert [text.get_text() for text in ax.get_yticklabels()] == order.tolist()
        ends = np.array([segment[:, 0] for segment in ax.collections[0].get_segments()])
        reach = stats.norm.ppf(0.95) * spread.loc[order, name]
        middle = modes.loc[order, name]
        np.testing.assert_allclose(ends, np.column_stack([middle - reach, middle + reach]))
    assert slopes.get_xlabel() == "Conditional mode, 90 % interval"


def test_caterpillar_of_chosen_effects():
    assert [ax.get_title() for ax in plot_ranef(penicillin())] == ["Intercept | plate", "Intercept | sample"]
    assert plot_ranef(penicillin(), "sample").get_title() == "Intercept | sample"
    assert plot_ranef(sleep(), effect="Days").get_title() == "Days | Subject"
    nested = interlace.fit("strength ~ 1 + (1 | batch / cask)", load("Pastes"))
    assert plot_ranef(nested, "batch/cask").get_title() == "Intercept | cask:batch"
    many = interlace.fit("y ~ 1 + (1 | s)", load("InstEval"))
    ax = plot_ranef(many, ax=axes())
    assert ax.lines[-1].get_xdata().size == 2972
    assert ax.get_ylabel() == "2972 levels of s, by size"
    with pytest.raises(ValueError, match="group='Item' is not a grouping factor of this model; use 'Subject'"):
        plot_ranef(sleep(), "Item")
    with pytest.raises(ValueError, match="effect='Nights' is not a random effect; use 'Intercept', 'Days'"):
        plot_ranef(sleep(), effect="Nights")
    with pytest.raises(ValueError, match="ax holds 1 axes, but there are 2 plots: Intercept"):
        plot_ranef(sleep(), ax=axes())


# -- profiles ------------------------------------------------------------------------------------------------------
def test_zeta_its_tangent_and_the_ends_of_the_interval():
    profiles = sleep().profile(parm=["sigma", "Days"])
    sigma, days = plot_profile(profiles, ax=axes(2))
    ends = profiles.confint()
    for ax, name in ((sigma, "sigma"), (days, "Days")):
        _, tangent, curve, *marks = ax.lines
        points = profiles.to_frame().query("parameter == @name")
        np.testing.assert_allclose(np.interp(points["value"], *curve.get_xydata().T), points["zeta"], atol=2e-3)
        found = sorted({mark.get_xdata()[0] for mark in marks})
        np.testing.assert_allclose(found, ends.loc[name].to_numpy()[1:], rtol=2e-4)
        x, y = tangent.get_xydata().T
        at = float(np.interp(0.0, y, x))
        assert at == pytest.approx(float(np.interp(0.0, points["zeta"], points["value"])), rel=1e-3)
    # For a coefficient the slope is that of Wald: one over the standard error by ML.
    x, y = days.lines[1].get_xydata().T
    ml = sleep().update(method="ML").fe_bse["Days"]
    assert 1.0 / np.diff(y)[0] * np.diff(x)[0] == pytest.approx(ml, rel=0.01)


def test_profile_density_has_unit_area_and_shades_the_interval():
    profiles = sleep().profile(parm=["sigma"], level=0.9999)
    ax = plot_profile(profiles, kind="density", ax=axes())
    x, y = ax.lines[0].get_xydata().T
    assert integrate.trapezoid(y, x) == pytest.approx(1.0, abs=2e-3)
    shaded = ax.collections[0].get_paths()[0].vertices
    low, high = profiles.confint().iloc[0, 1:]
    assert shaded[:, 0].min() == pytest.approx(low, abs=0.1)
    assert shaded[:, 0].max() == pytest.approx(high, abs=0.1)
    assert ax.get_ylim()[0] == 0.0


def test_profile_at_a_boundary_has_one_end():
    ax = plot_profile(singular(), parm="sd_(Intercept)|Batch", ax=axes())
    _, curve, mark = ax.lines
    assert curve.get_xdata()[0] == 0.0
    high = singular().confint(scale="sd", parm="sd_(Intercept)|Batch").iloc[0, 2]
    assert mark.get_xdata()[0] == pytest.approx(high, rel=1e-3)


def test_profiles_of_generalized_models_and_errors():
    assert plot_profile(cbpp(), parm="period[T.2]", ax=axes()).get_xlabel() == "period[T.2]"
    with pytest.raises(ValueError, match="kind must be 'zeta' or 'density', not 'likelihood'"):
        plot_profile(sleep(), kind="likelihood")
    with pytest.raises(ValueError, match="parm: no parameter 'Nights'"):
        plot_profile(sleep(), parm="Nights")
    with pytest.raises(ValueError, match="level"):
        plot_profile(sleep(), level=95)


# -- fitted lines --------------------------------------------------------------------------------------------------
def test_lines_of_groups_and_of_the_population():
    ax = plot_fitted(sleep(), levels=["335", "308"], ax=axes())
    first, second, population = ax.lines
    for line, name in ((first, "335"), (second, "308")):
        expected = sleep().predict({"Days": line.get_xdata(), "Subject": [name] * line.get_xdata().size})
        np.testing.assert_allclose(line.get_ydata(), expected)
        assert line.get_label() == name
    np.testing.assert_allclose(
        population.get_ydata(), sleep().predict({"Days": population.get_xdata()}, include_re=False)
    )
    df = load("sleepstudy")
    np.testing.assert_allclose(dots(ax), df.loc[df["Subject"] == "335", ["Days", "Reaction"]])
    assert ax.get_title() == "Fitted lines, 2 of 18 levels of Subject"
    whole = plot_fitted(sleep(), ax=axes())
    assert len(whole.lines) == 19
    assert len(dots(whole)) == 180


def test_lines_over_a_factor_and_means_of_a_generalized_model():
    ax = plot_fitted(cbpp(), levels=["1"], ax=axes())
    line = ax.lines[0]
    assert line.get_xdata().tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(line.get_ydata(), cbpp().predict({"period": list("1234"), "herd": ["1"] * 4}))
    assert [text.get_text() for text in ax.get_xticklabels()] == list("1234")


def test_other_predictors_are_typical_of_the_group_and_parents_are_in():
    df = load("Pastes").assign(x=lambda d: np.arange(len(d)) % 3, z=lambda d: np.arange(len(d)) / 60.0)
    fit = interlace.fit("strength ~ x + z + (1 | batch / cask)", df)
    (line, _) = plot_fitted(fit, "x", "cask:batch", levels=["a:A"], ax=axes()).lines
    rows = df[(df["batch"] == "A") & (df["cask"] == "a")]
    m = line.get_xdata().size
    expected = fit.predict({"x": line.get_xdata(), "z": [rows["z"].mean()] * m, "batch": ["A"] * m, "cask": ["a"] * m})
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert (line.get_xdata().min(), line.get_xdata().max()) == (rows["x"].min(), rows["x"].max())


def test_effects_of_crossed_factors_are_zero():
    df = load("Penicillin").assign(x=lambda d: np.arange(len(d)) % 5)
    fit = interlace.fit("diameter ~ x + (1 | plate) + (1 | sample)", df)
    (line, _) = plot_fitted(fit, "x", "sample", levels=["F"], ax=axes()).lines
    mode = fit.random_effects["sample"]["F"]
    expected = fit.fe_params["Intercept"] + fit.fe_params["x"] * line.get_xdata() + mode
    np.testing.assert_allclose(line.get_ydata(), expected)


def test_panels_share_their_limits():
    found = plot_fitted(sleep(), panels=True)
    assert len(found) == 18
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in found}) == 1
    assert [ax.get_title() for ax in found[:2]] == ["308", "309"]
    assert all(len(dots(ax)) == 10 for ax in found)


def test_fitted_lines_that_there_are_not():
    with pytest.raises(ValueError, match="x='Day' is not a predictor of the fixed effects.*these are 'Days'"):
        plot_fitted(sleep(), "Day")
    with pytest.raises(ValueError, match="the fixed effects have no predictor: there is no line to draw"):
        plot_fitted(penicillin())
    with pytest.raises(ValueError, match=r"levels=\['999'\]: '999' is no level of 'Subject', which has '308'"):
        plot_fitted(sleep(), levels=["999"])
    with pytest.raises(ValueError, match="group='Item' is not a grouping factor of this model"):
        plot_fitted(sleep(), group="Item")
    ticks = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", load("grouseticks"), "poisson")
    with pytest.raises(ValueError, match="no predictor varies within levels of 'BROOD'"):
        plot_fitted(ticks)
    assert {line.get_xdata().size for line in plot_fitted(ticks, "YEAR", ax=axes()).lines[:-1]} == {1}


# -- effects -------------------------------------------------------------------------------------------------------
def test_effect_of_a_number_is_the_mean_with_its_interval():
    ax = plot_effects(sleep(), "Days", level=0.9, ax=axes())
    (line,) = ax.lines
    means = interlace.emmeans(sleep(), "Days", at={"Days": line.get_xdata()}).to_frame(0.9)
    np.testing.assert_allclose(line.get_ydata(), means["emmean"])
    band = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(means["lower.CL"].min())
    assert band.max() == pytest.approx(means["upper.CL"].max())
    assert (line.get_xdata().min(), line.get_xdata().max()) == (0.0, 9.0)


def test_effect_of_a_factor_on_both_scales():
    for kind, column, text in (("response", "prob", "Probability of"), ("link", "emmean", "Linear predictor (logit)")):
        ax = plot_effects(cbpp(), "period", type=kind, ax=axes())
        means = interlace.emmeans(cbpp(), "period", type=kind).to_frame()
        container = ax.containers[0]
        np.testing.assert_allclose(container.lines[0].get_ydata().astype(float), means[column])
        ends = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
        np.testing.assert_allclose(ends, means[["asymp.LCL", "asymp.UCL"]])
        assert ax.get_ylabel().startswith(text)


def test_means_of_a_transformed_response_are_called_so():
    fit = interlace.fit("log(Reaction) ~ Days + (1 | Subject)", load("sleepstudy"))
    ax = plot_effects(fit, "Days", ax=axes())
    assert ax.get_ylabel() == "log(Reaction), back-transformed"
    assert ax.lines[0].get_ydata()[0] == pytest.approx(np.exp(fit.fe_params["Intercept"]))
    assert plot_effects(fit, "Days", type="link", ax=axes()).get_ylabel() == "Mean of log(Reaction)"


def test_effects_by_another_predictor():
    cake = interlace.fit("angle ~ recipe * temp + (1 | replicate)", load("cake").astype({"temp": float}))
    ax = plot_effects(cake, "temp", by="recipe", ax=axes())
    assert [line.get_label() for line in ax.lines] == ["A", "B", "C"]
    slopes = [np.diff(line.get_ydata())[0] / np.diff(line.get_xdata())[0] for line in ax.lines]
    b = cake.fe_params
    assert slopes == pytest.approx([b["temp"], b["temp"] + b["recipe[T.B]:temp"], b["temp"] + b["recipe[T.C]:temp"]])
    ax = plot_effects(cake, "recipe", by="temp", ax=axes())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["182.9", "200", "217.1"]
    assert len(plot_effects(cake)) == 2
    with pytest.raises(ValueError, match=r"by='temp' has 9 levels; choose at most 7 of them with at="):
        plot_effects(cake, "recipe", by="temp", at={"temp": list(range(175, 184))})


def test_effects_that_there_are_not():
    with pytest.raises(ValueError, match="by='Day' is not a predictor of the fixed effects"):
        plot_effects(sleep(), by="Day")
    with pytest.raises(ValueError, match="x and by are both 'Days'"):
        plot_effects(sleep(), "Days", by="Days")
    with pytest.raises(ValueError, match="no predictor whose effect could be drawn"):
        plot_effects(penicillin())


# -- agreement -----------------------------------------------------------------------------------------------------
def test_agreement_shows_differences_limits_and_verdict():
    rows = (
        Row("coefficients", 1e-9, 1e-6, "standard errors", "Days"),
        Row("counts", 0.0, 0.0, "names", "n"),
        Row("theta", 1e-3, 1e-5, "absolute", "1"),
        Row("sigma", float("nan"), 1e-5, "relative", "sigma"),
    )
    ax = plot_agreement(AgreementTable(rows, 0.0, "lme4 1.1", ()), ax=axes())
    assert [text.get_text() for text in ax.get_yticklabels()] == ["sigma", "theta", "counts", "coefficients"]
    points = {line.get_ydata()[0]: line for line in ax.lines if line.get_marker() in "ox"}
    assert points[3].get_xdata()[0] == 1e-9
    assert points[1].get_xdata()[0] == 1e-3
    assert points[1].get_color() != points[3].get_color()
    assert points[2].get_fillstyle() == "none"
    assert points[0].get_marker() == "x"
    limits = {line.get_ydata()[0]: line.get_xdata()[0] for line in ax.lines if line.get_marker() == "|"}
    assert limits == {3: 1e-6, 1: 1e-5, 0: 1e-5}
    assert ax.get_title() == "interlace and lme4 1.1: 2 beyond limits"
    assert ax.get_xscale() == "log"


def test_agreement_with_recorded_numbers():
    ax = plot_agreement(sleep(), numbers_of(sleep()), ax=axes())
    assert ax.get_title() == "interlace and recorded numbers of lme4: all within limits"
