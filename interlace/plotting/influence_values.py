"""Measures of influence to draw: values, names and cut-off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.diagnostics.case_deletion import CaseDeletion
from interlace.diagnostics.cutoffs import Limits, internal_cutoff, limits_of
from interlace.diagnostics.influence_tables import lmer_influence_measures
from interlace.errors import ModelError
from interlace.frames.names import suggest
from interlace.plotting.axes import BLUE, ORANGE
from interlace.plotting.labels import largest, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["Influence", "influence_of"]

_NAMES = {
    "cooksd": "Cook's distance",
    "mdffits": "MDFFITS",
    "covtrace": "COVTRACE",
    "covratio": "COVRATIO",
    "rvc": "Relative variance change",
    "dfbeta": "DFBETA",
    "dfbetas": "DFBETAS",
    "leverage": "Leverage",
}


@dataclass(frozen=True, eq=False)
class Influence:
    """A measure of influence of u units.

    Attributes
    ----------
    values : ndarray, shape (u,)
        NaN for a unit that cannot be left out.
    labels : pandas.Index, length u
    measure : str
        Name in the tables of influence.
    unit : str or None
        Grouping factor; None for rows.
    limits : (float, float)
        Lowest and highest value that do not stand out.
    """

    values: FloatArray
    labels: pd.Index
    measure: str
    unit: str | None
    limits: Limits

    @property
    def neutral(self) -> float:
        """Value of a unit without influence."""
        return 1.0 if self.measure == "covratio" else 0.0

    @property
    def beyond(self) -> BoolArray:
        """Which units stand out, shape (u,)."""
        return np.asarray((self.values < self.limits[0]) | (self.values > self.limits[1]))

    @property
    def name(self) -> str:
        """Label of the axis."""
        kind, _, of = self.measure.partition(".")
        return (
            _NAMES.get(kind, kind)
            + (f" of {of}" if kind in ("rvc", "dfbeta", "dfbetas") else "")
            + (f" ({of})" if kind == "leverage" else "")
        )

    @property
    def units(self) -> str:
        """What the units are."""
        return "rows" if self.unit is None else f"levels of {self.unit}"

    def worst(self, count: int) -> IntArray:
        """Positions of the units with the largest influence."""
        return largest(np.abs(self.values - self.neutral), count)

    def texts(self, chosen: IntArray) -> list[str]:
        """Labels of some units."""
        return [shortened(str(text)) for text in self.labels[chosen]]

    def colors(self) -> list[str]:
        """One color a unit: another one for those that stand out."""
        return [ORANGE if beyond else BLUE for beyond in self.beyond]

    def draw_limits(self, ax: Axes, *, across: bool) -> None:
        """Draw the finite limits as lines, with the first one in the legend."""
        line = ax.axhline if across else ax.axvline
        ends = [end for end in self.limits if np.isfinite(end)]
        text = f"cut-off {' and '.join(f'{end:.3g}' for end in ends)}"
        for i, end in enumerate(ends):
            line(end, color=ORANGE, linewidth=1.0, linestyle="--", label=text if i == 0 else None)


def influence_of(
    model: Any, level: int | str, measure: str | None, cutoff: float | Limits | None, **options: Any
) -> Influence:
    """A measure of influence of a fit, of refits made before, or as a Series.

    `interlace.plotting.plot_influence` documents the arguments.

    Raises
    ------
    ValueError
        There is no such measure or grouping factor, or no unit has a finite value of it.
    TypeError
        For what is no fitted mixed model.
    """
    if isinstance(model, pd.Series):
        measure = measure or str(model.name)
        values, unit = model, model.index.name
    else:
        table = lmer_influence_measures(model, level, **options).drop(columns="converged")
        measure = measure or "cooksd"
        if measure not in table:
            known = ", ".join(map(repr, table.columns))
            raise ModelError(f"no measure {measure!r}{suggest(measure, list(table.columns))}; there are {known}")
        values = table[measure]
        unit = model.units.level if isinstance(model, CaseDeletion) else (None if level == 1 else level)
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).any():
        raise ModelError(f"{measure!r} has no finite value: there is nothing to draw")
    numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    limits = internal_cutoff(numbers, measure) if cutoff is None else limits_of(cutoff)
    return Influence(numbers, values.index, measure, None if unit is None else str(unit), limits)
