"""Figures are drawn without a screen, and closed after each test."""

from __future__ import annotations

import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    """No figure of a test is there for the next one, and none leaves a setting behind."""
    from matplotlib import pyplot as plt

    settings = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == settings
