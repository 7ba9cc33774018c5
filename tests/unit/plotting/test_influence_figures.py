"""Content of the figures of influence: values, cut-offs, names."""

from __future__ import annotations

import matplotlib.colors as mcolors
import numpy as np
import pandas as pd
import pytest

from interlace.influence import case_delete, cooks_distance, hlm_influence, internal_cutoff, lmer_influence_measures
from interlace.plotting import dotplot_diag, plot_influence
from interlace.plotting.axes import ORANGE
from tests.unit.plotting.fits import axes, cbpp, dots, names, sleep


def beyond(ax):
    """Number of dots in the color of those that stand out."""
    return sum(mcolors.same_color(color, ORANGE) for color in ax.collections[-1].get_facecolors())


def dashed(line_of, ax):
    return sorted(set(np.concatenate([line_of(line) for line in ax.lines if line.get_linestyle() == "--"])))


def test_rows_and_their_names_are_those_of_hlm_influence():
    table = hlm_influence(sleep())
    ax = plot_influence(sleep(), ax=axes())
    np.testing.assert_allclose(dots(ax), table[["id", "cooksd"]])
    assert names(ax) == [str(i) for i in table["cooksd"].nlargest(5).index]
    _, cutoff = internal_cutoff(table["cooksd"], "cooksd")
    assert dashed(lambda line: line.get_ydata(), ax) == [pytest.approx(cutoff)]
    assert beyond(ax) == (table["cooksd"] > cutoff).sum()
    assert ax.get_legend().get_texts()[0].get_text() == f"cut-off {cutoff:.3g}"


def test_groups_with_two_limits_around_one():
    table = hlm_influence(sleep(), "Subject")
    ax = plot_influence(sleep(), "Subject", measure="covratio", label=2, ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1], table["covratio"])
    assert dashed(lambda line: line.get_ydata(), ax) == pytest.approx(internal_cutoff(table["covratio"], "covratio"))
    worst = (table["covratio"] - 1.0).abs().nlargest(2).index
    assert names(ax) == table.loc[worst, "Subject"].tolist()
    assert [text.get_text() for text in ax.get_xticklabels()] == table["Subject"].tolist()


@pytest.mark.parametrize("measure", ["mdffits", "covtrace", "rvc.sigma2", "leverage.overall", "dfbetas.Days"])
def test_any_measure(measure):
    table = lmer_influence_measures(sleep(), "Subject")
    ax = plot_influence(sleep(), "Subject", measure=measure, ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 1], table[measure], atol=1e-12)
    assert names(ax)[0] == table[measure].abs().idxmax()


def test_refits_and_series_that_were_made_before():
    series = cooks_distance(sleep(), "Subject")
    of_series, of_refits = (
        plot_influence(given, cutoff=0.14, ax=axes()) for given in (series, case_delete(sleep(), level="Subject"))
    )
    np.testing.assert_allclose(dots(of_series), dots(of_refits))
    for ax in (of_series, of_refits):
        assert ax.get_title() == "Cook's distance, levels of Subject"
        assert beyond(ax) == 1
        assert names(ax)[0] == "309"
    both = plot_influence(series, cutoff=(0.01, 0.14), ax=axes())
    assert beyond(both) == ((series < 0.01) | (series > 0.14)).sum()


def test_dot_plot_is_in_order_of_size():
    series = cooks_distance(cbpp(), "herd")
    ax = dotplot_diag(cbpp(), "herd", ax=axes())
    np.testing.assert_allclose(dots(ax)[:, 0], np.sort(series))
    assert dots(ax)[:, 1].tolist() == list(range(1, 16))
    assert [text.get_text() for text in ax.get_yticklabels()] == [str(i) for i in series.sort_values().index]
    assert dashed(lambda line: line.get_xdata(), ax) == [pytest.approx(internal_cutoff(series, "cooksd")[1])]
    ax = dotplot_diag(sleep(), approx=True, label=2, ax=axes())
    rows = cooks_distance(sleep(), approx=True)
    assert names(ax) == [str(i) for i in rows.nlargest(2).index]
    assert beyond(ax) == (rows > internal_cutoff(rows, "cooksd")[1]).sum()


def test_units_that_cannot_be_left_out_are_not_drawn():
    series = pd.Series([0.1, np.nan, 0.3, np.inf], index=list("abcd"), name="cooksd")
    ax = dotplot_diag(series, cutoff=0.2, ax=axes())
    assert dots(ax)[:, 0].tolist() == [0.1, 0.3]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "c"]
    assert names(plot_influence(series, cutoff=0.2, ax=axes())) == ["c", "a"]


def test_very_many_units():
    values = pd.Series(np.random.default_rng(3).exponential(size=100_000), name="cooksd")
    for function in (plot_influence, dotplot_diag):
        ax = function(values, ax=axes())
        assert len(dots(ax)) == 100_000
        assert names(ax) == [str(i) for i in values.nlargest(5).index]
        ax.figure.canvas.draw()


def test_errors():
    with pytest.raises(ValueError, match=r"no measure 'cooks'.*there are 'cooksd', 'mdffits'"):
        plot_influence(sleep(), "Subject", measure="cooks", approx=True)
    with pytest.raises(ValueError, match="level='Item' is not a grouping factor"):
        dotplot_diag(sleep(), "Item")
    with pytest.raises(ValueError, match="cutoff must be a number, or a pair"):
        plot_influence(sleep(), "Subject", cutoff=(1, 2, 3), approx=True)
    with pytest.raises(ValueError, match="'rvc.D11' has no finite value: there is nothing to draw"):
        plot_influence(pd.Series([np.inf, np.nan], name="rvc.D11"))
