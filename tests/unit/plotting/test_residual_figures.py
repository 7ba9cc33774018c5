"""Content of the figures of residuals: points, lines, labels, limits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from interlace.diagnostics import hlm_resid, quantile_residuals, resid_conditional, resid_marginal
from interlace.plotting import plot_qq, plot_quantile_residuals, plot_resid, plot_scale_location
from interlace.plotting.envelope import uniform_envelope
from interlace.plotting.smooth import lowess
from tests.unit.plotting.fits import axes, cbpp, large, names, penicillin, sleep


def dots(ax):
    return np.asarray(ax.collections[0].get_offsets())


def test_points_are_the_residuals_of_hlm_resid():
    table = hlm_resid(sleep())
    ax = plot_resid(sleep(), type="raw", ax=axes())
    np.testing.assert_allclose(dots(ax), table[[".fitted", ".resid"]])
    ax = plot_resid(sleep(), kind="marginal", type="raw", ax=axes())
    np.testing.assert_allclose(dots(ax), table[[".mar.fitted", ".mar.resid"]])
    assert ax.get_ylabel() == "Residual of Reaction"
    ax = plot_resid(sleep(), ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1], resid_conditional(sleep(), "studentized"))
    ax = plot_resid(sleep(), kind="marginal", type="cholesky", ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1], resid_marginal(sleep(), "cholesky"))


def test_the_largest_residuals_have_their_labels_and_the_line_is_smooth():
    ax = plot_resid(sleep(), label=4, ax=axes())
    residuals = resid_conditional(sleep(), "studentized")
    assert names(ax) == [str(i) for i in residuals.abs().nlargest(4).index]
    zero, smooth = ax.lines
    assert set(zero.get_ydata()) == {0.0}
    np.testing.assert_allclose(smooth.get_xydata().T, lowess(*dots(ax).T))
    assert names(plot_resid(sleep(), label=0, ax=axes())) == []
    assert len(plot_resid(sleep(), smooth=False, ax=axes()).lines) == 1


def test_scale_location_is_the_root_of_the_size_and_its_line_the_expected_one():
    ax = plot_scale_location(sleep(), ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1] ** 2, resid_conditional(sleep(), "studentized").abs())
    expected, _ = integrate.quad(lambda z: 2 * np.sqrt(z) * stats.norm.pdf(z), 0, np.inf)
    assert ax.lines[0].get_ydata()[0] == pytest.approx(expected)
    assert ax.get_ylim()[0] == 0.0
    assert len(plot_scale_location(sleep(), type="raw", ax=axes()).lines) == 1


def test_generalized_residuals():
    ax = plot_resid(cbpp(), nsim=100, ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1], quantile_residuals(cbpp(), nsim=100, seed=1).normal)
    np.testing.assert_allclose(dots(ax)[:, 0], cbpp().predict(type="link", include_re=False))
    ax = plot_resid(cbpp(), kind="conditional", ax=axes())
    np.testing.assert_allclose(dots(ax), np.column_stack([cbpp().predict(type="link"), cbpp().residuals("deviance")]))
    assert ax.get_xlabel() == "Linear predictor (logit), given the random effects"
    ax = plot_resid(cbpp(), kind="conditional", type="quantile", nsim=100, ax=axes())
    expected = quantile_residuals(cbpp(), nsim=100, seed=1, conditional=True).normal
    np.testing.assert_allclose(dots(ax)[:, 1], expected)


def test_residuals_that_a_model_does_not_have():
    with pytest.raises(ValueError, match="kind must be 'conditional' or 'marginal', not 'mixed'"):
        plot_resid(sleep(), kind="mixed")
    with pytest.raises(ValueError, match="of a linear model must be one of 'raw', .*; not 'deviance'"):
        plot_resid(sleep(), type="deviance")
    with pytest.raises(ValueError, match="of a generalized model must be one of 'quantile', .*; not 'cholesky'"):
        plot_resid(cbpp(), type="cholesky")
    with pytest.raises(ValueError, match="pearson residuals of a generalized model are given the random effects: use"):
        plot_resid(cbpp(), kind="marginal", type="pearson")
    for wrong in (-1, 2.5, True, "all"):
        with pytest.raises(ValueError, match="label must be the number of points to name"):
            plot_resid(sleep(), label=wrong)


def test_very_many_rows_are_counted_in_hexagons():
    ax = plot_resid(large(), ax=axes())
    hexagons = ax.collections[0]
    assert hexagons.get_array().sum() == 100_000
    assert [a.get_ylabel() for a in ax.figure.axes if a is not ax] == ["rows per hexagon"]
    marked = np.asarray(ax.collections[1].get_offsets())
    residuals = resid_conditional(large(), "studentized")
    assert sorted(marked[:, 1]) == pytest.approx(sorted(residuals[residuals.abs().nlargest(3).index]))


# -- quantiles -----------------------------------------------------------------------------------------------------
def test_qq_points_band_and_labels():
    ax = plot_qq(sleep(), ax=axes())
    band, points = ax.collections
    x, y = np.asarray(points.get_offsets()).T
    residuals = resid_conditional(sleep(), "studentized")
    np.testing.assert_allclose(y, np.sort(residuals))
    np.testing.assert_allclose(x, stats.probplot(residuals)[0][0], atol=0.02)
    lower, upper = uniform_envelope(np.arange(1, 181), 180, 0.95)
    ends = band.get_paths()[0].vertices[:, 1]
    assert ends.min() == pytest.approx(stats.norm.ppf(lower[0]))
    assert ends.max() == pytest.approx(stats.norm.ppf(upper[-1]))
    assert names(ax)[0] == str(residuals.abs().idxmax())
    line = ax.lines[0]
    assert line.get_slope() == 1.0
    assert ax.get_legend().get_texts()[0].get_text() == "95 % pointwise"
    wide = plot_qq(sleep(), envelope="simultaneous", ax=axes()).collections[0].get_paths()[0].vertices[:, 1]
    assert wide.max() > ends.max()
    assert len(plot_qq(sleep(), envelope=None, ax=axes()).collections) == 1


def test_qq_of_random_effects():
    ax = plot_qq(sleep(), "Subject", effect="Days", ax=axes())
    (_, points) = ax.collections
    modes = sleep().random_effects["Subject"]["Days"]
    given = sleep().random_effects_se["Subject"]["Days"] ** 2
    variance = sleep().variance_components["Subject"].loc["Days", "Days"]
    np.testing.assert_allclose(points.get_offsets()[:, 1], np.sort(modes / np.sqrt(variance - given)), rtol=1e-6)
    assert set(names(ax)) <= set(modes.index)
    assert plot_qq(penicillin(), "plate", ax=axes()).get_title() == "Random effects: Intercept | plate"
    assert plot_qq(cbpp(), "herd", ax=axes()).get_title() == "Random effects: Intercept | herd"


def test_qq_errors():
    with pytest.raises(ValueError, match="deviance residuals are not standard normal even if the model is true"):
        plot_qq(cbpp(), kind="conditional", type="deviance")
    with pytest.raises(ValueError, match="raw residuals are not standard normal"):
        plot_qq(sleep(), type="raw")
    with pytest.raises(ValueError, match="envelope must be 'pointwise', 'simultaneous' or None, not 'wide'"):
        plot_qq(sleep(), envelope="wide")
    with pytest.raises(ValueError, match="level='Item' is not a grouping factor"):
        plot_qq(sleep(), "Item")
    with pytest.raises(ValueError, match="effect='Nights' is not a random effect; use 'Intercept', 'Days'"):
        plot_qq(sleep(), "Subject", effect="Nights")
    with pytest.raises(ValueError, match="kind and type are of residuals of the rows"):
        plot_qq(sleep(), "Subject", type="raw")
    with pytest.raises(ValueError, match="level"):
        plot_qq(sleep(), confidence=2.0)


def test_quantile_residuals_their_tests_and_quartiles():
    qq, along = plot_quantile_residuals(cbpp(), nsim=200, ax=axes(2))
    found = quantile_residuals(cbpp(), nsim=200, seed=1)
    np.testing.assert_allclose(np.asarray(qq.collections[1].get_offsets())[:, 1], np.sort(found.values))
    text = names(qq)[0]
    assert f"uniformity: p = {found.test_uniformity().p_value:.2g}" in text
    assert f"dispersion: p = {found.test_dispersion().p_value:.2g}" in text
    assert f"outliers: p = {found.test_outliers().p_value:.2g}" in text
    x, y = dots(along).T
    np.testing.assert_allclose(y, found.values)
    eta = cbpp().predict(type="link", include_re=False)
    np.testing.assert_allclose(x, (eta.rank() - 0.5) / len(eta))
    dashed = [line.get_ydata()[0] for line in along.lines if line.get_linestyle() == "--"]
    assert dashed == [0.25, 0.5, 0.75]
    assert (along.get_xlim(), along.get_ylim()) == ((-0.02, 1.02), (-0.02, 1.02))
