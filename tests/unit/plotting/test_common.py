"""What all figures have in common: axes in, axes out, nothing of pyplot's changed, clear errors."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import interlace
from interlace import plotting
from interlace.plotting.axes import as_returned, several_axes
from interlace.rbridge.agreement import AgreementTable, Row
from tests.unit.plotting.fits import axes, cbpp, large, penicillin, singular, sleep

TABLE = AgreementTable((Row("sigma", 1e-9, 1e-5, "relative", "sigma"),), 0.0, "lme4", ())
#: Function, arguments, and number of axes.
CALLS = {
    "resid": (plotting.plot_resid, (), {}, 1),
    "resid marginal": (plotting.plot_resid, (), {"kind": "marginal", "type": "cholesky"}, 1),
    "scale": (plotting.plot_scale_location, (), {}, 1),
    "qq": (plotting.plot_qq, (), {}, 1),
    "qq of effects": (plotting.plot_qq, ("Subject",), {}, 2),
    "quantile": (plotting.plot_quantile_residuals, (), {"nsim": 50}, 2),
    "influence": (plotting.plot_influence, (), {"approx": True}, 1),
    "influence of groups": (plotting.plot_influence, ("Subject",), {"measure": "covratio"}, 1),
    "dotplot": (plotting.dotplot_diag, ("Subject",), {}, 1),
    "ranef": (plotting.plot_ranef, (), {}, 2),
    "profile": (plotting.plot_profile, (), {"parm": ["sigma", "Days"]}, 2),
    "fitted": (plotting.plot_fitted, (), {}, 1),
    "fitted panels": (plotting.plot_fitted, (), {"panels": True, "levels": ["308", "309"]}, 2),
    "effects": (plotting.plot_effects, (), {}, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_axes_that_are_given_are_drawn_in_and_returned(name):
    function, arguments, options, count = CALLS[name]
    given = axes(count)
    mine, _ = plt.subplots()
    found = function(sleep(), *arguments, **options, ax=given)
    assert np.ravel(np.array(found, dtype=object)).tolist() == (given if count > 1 else [given])
    assert plt.get_fignums() == [mine.number]
    assert plt.gcf() is mine
    for ax in [given] if count == 1 else given:
        assert ax.has_data()
        assert ax.get_title()
    (given if count == 1 else given[0]).figure.canvas.draw()


@pytest.mark.parametrize("name", CALLS)
def test_new_figures_are_of_pyplot_and_do_not_touch_others(name):
    function, arguments, options, count = CALLS[name]
    mine, my_axes = plt.subplots()
    found = np.ravel(np.array(function(sleep(), *arguments, **options), dtype=object))
    assert len(found) == count
    assert all(isinstance(ax, Axes) for ax in found)
    assert len(plt.get_fignums()) == 2
    assert plt.gcf() is found[0].figure
    assert mine.axes == [my_axes]
    assert not my_axes.has_data()


def test_every_public_function_is_documented_and_tested():
    called = {function.__name__ for function, *_ in CALLS.values()}
    assert set(plotting.__all__) - called == {"plot_model", "plot_agreement"}
    assert sorted(plotting.__all__) == plotting.__all__ == dir(plotting)
    assert all(name in plotting.__doc__ for name in plotting.__all__)
    with pytest.raises(AttributeError, match="no attribute 'plot_all'"):
        plotting.plot_all  # noqa: B018


@pytest.mark.parametrize("name", CALLS)
def test_what_is_no_result_and_what_are_no_axes(name):
    function, arguments, options, count = CALLS[name]
    with pytest.raises(TypeError, match=r"expected a result of interlace\.fit"):
        function("y ~ x", *arguments, **options)
    with pytest.raises(
        (TypeError, ValueError), match="ax must be matplotlib Axes|ax holds 1 axes, but there are 2 plots"
    ):
        function(sleep(), *arguments, **options, ax="here")
    if count == 1:
        with pytest.raises(
            (TypeError, ValueError), match="ax must be matplotlib Axes|ax holds 2 axes, but there are 1"
        ):
            function(sleep(), *arguments, **options, ax=axes(2))
    assert plt.get_fignums() == []


def test_agreement_takes_axes_too():
    given = axes()
    assert plotting.plot_agreement(TABLE, ax=given) is given
    with pytest.raises(TypeError, match="ax must be matplotlib Axes"):
        plotting.plot_agreement(TABLE, ax=3)
    with pytest.raises(TypeError, match=r"expected a result of interlace\.fit"):
        plotting.plot_agreement("sleepstudy")


def test_arrays_of_axes_keep_their_order():
    given = Figure().subplots(2, 2)
    assert several_axes(given, list("abcd")) == given.ravel().tolist()
    assert as_returned(several_axes(given, list("abcd"))).shape == (4,)
    assert as_returned([given[0, 0]]) is given[0, 0]


# -- one page ------------------------------------------------------------------------------------------------------
def test_page_of_a_linear_model():
    found = sleep().plot()
    assert found.shape == (2, 3)
    assert [ax.get_title() for ax in found.ravel()] == [
        "Residuals against fitted values", "Normal Q-Q plot", "Spread of the residuals",
        "Random effects: Intercept | Subject", "Intercept | Subject", "Cook's distance, rows (one step)",
    ]  # fmt: skip
    assert found[0, 0].figure.get_suptitle() == "Reaction ~ Days + (Days | Subject)"
    assert len(plt.get_fignums()) == 1


def test_page_in_a_figure_that_is_given_and_of_another_factor():
    figure = Figure()
    found = penicillin().plot("sample", figure=figure)
    assert figure.axes == found.ravel().tolist()
    assert found[1, 1].get_title() == "Intercept | sample"
    assert plt.get_fignums() == []
    with pytest.raises(ValueError, match="group='batch' is not a grouping factor of this model; use 'plate', 'sample'"):
        penicillin().plot("batch", figure=Figure())


def test_page_of_a_generalized_model_has_quantile_residuals():
    found = cbpp().plot(nsim=50, figure=Figure())
    assert found[0, 0].get_title() == "Quantile residuals along predictions"
    assert found[0, 2].get_ylabel() == "Root of |Quantile residual (normal scale)|"
    again = cbpp().plot(nsim=50, figure=Figure())
    assert found[0, 1].texts[0].get_text() == again[0, 1].texts[0].get_text()


def test_page_of_a_singular_fit_says_so():
    found = singular().plot(figure=Figure())
    assert "random effects of 'Batch' are zero" in found[1, 0].texts[0].get_text()
    with pytest.raises(ValueError, match="random effects of 'Batch' are zero"):
        plotting.plot_qq(singular(), "Batch")


def test_page_of_a_model_without_fixed_effects_says_so():
    fit = interlace.fit("Reaction ~ 0 + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    assert "no finite value" in fit.plot(figure=Figure())[1, 2].texts[0].get_text()


def test_page_of_very_many_rows():
    figure = Figure(figsize=(12, 7))
    found = large().plot(figure=figure)
    hexagons = found[0, 0].collections[0]
    assert hexagons.get_array().sum() == large().nobs
    assert len(found[0, 1].collections[1].get_offsets()) == 3000
    figure.canvas.draw()


# -- imports -------------------------------------------------------------------------------------------------------
def test_matplotlib_is_imported_when_a_figure_is_drawn_and_missed_in_words():
    code = (
        "import sys, interlace; from interlace.plotting import *; assert 'matplotlib' not in sys.modules\n"
        "result = interlace.fit('Yield ~ 1 + (1 | Batch)', interlace.datasets.load('Dyestuff'))\n"
        "sys.modules['matplotlib'] = None\n"
        "try:\n    plot_ranef(result)\nexcept ImportError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == 'figures need matplotlib: pip install "interlace-lme[plot]"'


def test_statsmodels_fits_are_drawn():
    sm = pytest.importorskip("statsmodels.formula.api")
    df = interlace.datasets.load("sleepstudy")
    model = sm.mixedlm("Reaction ~ Days", df, groups="Subject").fit()
    ours = interlace.fit("Reaction ~ Days + (1 | Subject)", df)
    theirs = plotting.plot_resid(model, ax=axes()).collections[0].get_offsets()
    expected = plotting.plot_resid(ours, ax=axes()).collections[0].get_offsets()
    np.testing.assert_allclose(theirs, expected, rtol=1e-3, atol=1e-3)


def test_style_of_the_caller_is_kept():
    with mpl.rc_context({"axes.titlesize": 20, "figure.dpi": 50}):
        assert plotting.plot_resid(sleep()).title.get_fontsize() == 20
