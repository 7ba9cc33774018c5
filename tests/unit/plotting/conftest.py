"""Figures are drawn without a screen, and closed after each test."""

from __future__ import annotations

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    """No figure is there from before (doctests leave theirs) or for the next test, and none leaves a setting behind."""
    from matplotlib import pyplot as plt

    plt.close("all")
    settings = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == settings
