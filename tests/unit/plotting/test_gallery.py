"""The code of the gallery runs, and draws what it is there for."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from matplotlib import pyplot as plt

from interlace import plotting

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "plots.rst").read_text("utf-8")
BLOCK = re.compile(r"^\.\. plot::\n(?P<options>(?:   :.*\n)+)\n(?P<code>(?:(?:   .*)?\n)+)", re.MULTILINE)


def test_gallery_draws_every_figure():
    blocks = list(BLOCK.finditer(PAGE))
    assert len(blocks) == PAGE.count(".. plot::") > 10
    names: dict[str, object] = {}
    for block in blocks:
        plt.close("all")
        exec(textwrap.dedent(block["code"]), names)
        figures = [plt.figure(number) for number in plt.get_fignums()]
        assert bool(figures) != (":nofigs:" in block["options"])
        assert all(ax.has_data() for figure in figures for ax in figure.axes)
    for name in plotting.__all__:
        assert name in PAGE or name == "plot_model"
