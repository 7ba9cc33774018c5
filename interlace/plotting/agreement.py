"""Differences from lme4 beside their limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.plotting.axes import BLUE, GRAY, ORANGE, one_axes
from interlace.rbridge.agreement import AgreementTable, compare
from interlace.rbridge.check import check
from interlace.rbridge.ours import numbers_of
from interlace.results.arguments import state_of_result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from interlace.rbridge.numbers import FitNumbers

__all__ = ["plot_agreement"]

#: Where differences of zero, and smaller ones than the double numbers can show, are drawn.
_LEAST = 1e-17


def plot_agreement(result: Any, recorded: FitNumbers | None = None, *, ax: Axes | None = None) -> Axes:
    """Draw how far a fit is from lme4's, quantity by quantity, beside what the difference may be.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or AgreementTable
        A result is fitted again in R (`interlace.rbridge.check`) unless numbers are given; a table, which ``check`` and
        ``interlace.rbridge.compare`` return, is drawn as it is.
    recorded : FitNumbers, optional
        lme4's numbers for the same model and data, from an earlier run of R.
    ax : matplotlib Axes, optional
        A new figure by default.

    Returns
    -------
    Axes
        Logarithmic; differences of exactly zero are open circles at the left, those that are no number crosses.

    Raises
    ------
    ImportError
        R is needed and not there.
    ValueError
        lme4 does not have the model.
    TypeError
        ``result`` is something else, or ``ax`` no axes.

    Examples
    --------
    >>> from interlace.plotting import plot_agreement
    >>> from interlace.rbridge.agreement import AgreementTable, Row
    >>> rows = (Row("sigma", 2e-9, 1e-5, "relative", "sigma"), Row("counts", 0.0, 0.0, "rows that differ", "n"))
    >>> ax = plot_agreement(AgreementTable(rows, 0.0, "lme4 1.1.31 (R 4.2.2)", ()))
    >>> ax.get_title()
    'interlace and lme4 1.1.31 (R 4.2.2): all within limits'
    """
    table = _table(result, recorded)
    ax = one_axes(ax, (7.6, 1.4 + 0.3 * len(table.rows)))
    rows = table.rows[::-1]
    for place, row in enumerate(rows):
        missing = not np.isfinite(row.difference)
        shown = max(row.limit, _LEAST) if missing else max(row.difference, _LEAST)
        color = BLUE if row.agrees else ORANGE
        if row.limit > 0.0:
            ax.hlines(place, _LEAST, row.limit, color=GRAY, alpha=0.25, linewidth=6)
            ax.plot([row.limit], [place], "|", color="black", markersize=11, markeredgewidth=1.6)
        ax.plot([shown], [place], "x" if missing else "o", color=color, fillstyle="full" if row.difference else "none")
    ax.set_xscale("log")
    known = [max(row.limit, row.difference) for row in rows if np.isfinite(row.difference)]
    ax.set_xlim(_LEAST / 4, 30.0 * max([1e-5, *known]))
    ax.set_yticks(range(len(rows)), [row.quantity.replace("_", " ") for row in rows])
    ax.set_ylim(-0.7, len(rows) - 0.3)
    failed = len(table.failures)
    verdict = f"{failed} beyond limits" if failed else "all within limits"
    ax.set_title(f"interlace and {table.reference}: {verdict}")
    ax.set_xlabel("Largest difference, in the units of the table; bars end at the limit")
    return ax


def _table(result: Any, recorded: FitNumbers | None) -> AgreementTable:
    if isinstance(result, AgreementTable):
        return result
    state_of_result(result)
    if recorded is None:
        return check(result)
    return compare(numbers_of(result), recorded, reference="recorded numbers of lme4")
