"""Figures of a report, as PNG images."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interlace.plotting.images import png
from interlace.reporting.agreement import Agreement
from interlace.reporting.numbers import SEED

if TYPE_CHECKING:
    from interlace.results.intervals import Intervals

__all__ = ["Figure", "agreement_figure", "diagnostics_figure"]


@dataclass(frozen=True)
class Figure:
    """An image with its caption and the name of its file."""

    file: str
    caption: str
    image: bytes

    @property
    def source(self) -> str:
        """The image as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.image).decode("ascii")


def diagnostics_figure(result: Intervals, prefix: str = "") -> Figure:
    """Draw the page of diagnostics of a fit; ``prefix`` begins the name of its file."""
    from interlace.plotting import plot_model

    page = png(lambda figure: plot_model(result, figure=figure, seed=SEED), size=(13.5, 8.0))
    return Figure(f"{prefix}diagnostics.png", "Residuals, random effects and influence.", page)


def agreement_figure(compared: Agreement, prefix: str = "") -> Figure | None:
    """Draw how far a fit is from lme4's; None where R was not asked."""
    from interlace.plotting import plot_agreement

    table = compared.table
    if table is None:
        return None
    image = png(lambda figure: plot_agreement(table, ax=figure.add_subplot()), size=(8.0, 4.4))
    return Figure(f"{prefix}agreement.png", "Differences from R beside their limits.", image)
