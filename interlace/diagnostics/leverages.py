"""Leverages of rows and of groups: how much of a fitted value is due to the response at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.diagnostics.data_columns import beside
from interlace.diagnostics.marginal_covariance import MarginalCovariance
from interlace.diagnostics.model import state_of
from interlace.diagnostics.projection import Projection
from interlace.diagnostics.units import units_of
from interlace.results.arguments import listed_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.diagnostics.units import Units
    from interlace.typing import FloatArray

__all__ = ["LEVERAGES", "LeverageKind", "chosen_leverages", "leverage", "leverages"]

LeverageKind: TypeAlias = Literal["overall", "fixef", "ranef", "ranef.uc"]
LEVERAGES: tuple[LeverageKind, ...] = get_args(LeverageKind)


def leverage(
    model: Any, level: int | str = 1, *, kind: LeverageKind | Sequence[LeverageKind] = LEVERAGES
) -> pd.DataFrame:
    """Leverages of rows, or their means over the rows of each group.

    Parameters
    ----------
    model : LMMResult, GLMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for rows; else a grouping factor.
    kind : {"overall", "fixef", "ranef", "ranef.uc"} or sequence of these
        ``fixef``: from the fixed effects, the diagonal of H1 = X (X'V^-1 X)^-1 X'V^-1. ``ranef``: from the random
        effects, that of H2 = Z Psi Z'V^-1 (I - H1). ``overall``: their sum, lme4's ``hatvalues``, as (H1 + H2) y are
        the fitted values. ``ranef.uc``: the diagonal of Z Psi Z' / sigma^2, which neither the fixed effects nor other
        rows confound, and which may exceed 1. With prior weights w all of them refer to the rows times sqrt(w); in a
        generalized model w are the working weights at the conditional modes, and sigma^2 is what theta is relative to.

    Returns
    -------
    DataFrame
        For rows: shape (n, kinds), indexed by their labels. For a grouping factor: shape (groups, 1 + kinds), the first
        column with the factor's name (``<name>.data`` if a kind has that name) and its levels in order of first
        appearance.

    Raises
    ------
    ValueError
        For a level or a kind that there is not.
    TypeError
        For what is no mixed model, and a ``kind`` that is no name.

    References
    ----------
    Demidenko, E. and Stukel, T. A. (2005). Influence analysis for linear mixed-effects models. Statistics in Medicine
    24, 893-909. Nobre, J. S. and Singer, J. M. (2011). Leverage analysis for linear mixed models. Journal of Applied
    Statistics 38, 1063-1072.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> leverage(result).head(2).round(4)
       overall   fixef   ranef  ranef.uc
    0   0.2293  0.0192  0.2101    0.9346
    1   0.1697  0.0138  0.1559    1.0175
    >>> leverage(result, "Subject", kind="overall").head(2).round(4)
      Subject  overall
    0     308   0.1612
    1     309   0.1612
    """
    state = state_of(model)
    wanted = chosen_leverages(kind, "kind")
    units = units_of(state, level)
    columns = leverages(Projection(state), units, wanted)
    if units.level is None:
        return pd.DataFrame(columns, index=units.labels)
    return pd.DataFrame({beside(units.level, columns): units.labels} | columns)


def chosen_leverages(kind: str | Sequence[str], argument: str) -> tuple[LeverageKind, ...]:
    """Kinds of leverage asked for, in the order of the tables, or an error that names the argument."""
    wanted = listed_names(argument, kind, "kind of leverage")
    unknown = [some for some in wanted if some not in LEVERAGES]
    if unknown or not wanted:
        found = ", ".join(map(repr, unknown)) or "nothing"
        raise ValueError(f"{argument} may be {', '.join(map(repr, LEVERAGES))}, one or several; not {found}")
    return tuple(some for some in LEVERAGES if some in wanted)


def leverages(
    projection: Projection, units: Units, kinds: Sequence[LeverageKind] = LEVERAGES
) -> dict[LeverageKind, FloatArray]:
    """Leverages of some kinds, one value a unit: plain means over its rows.

    Parameters
    ----------
    projection : Projection
    units : Units
    kinds : sequence of str

    Returns
    -------
    dict from kind to ndarray, shape (u,)
    """
    found: dict[LeverageKind, FloatArray] = {}
    V = MarginalCovariance(projection.state)
    for kind in kinds:
        if kind == "overall":
            values = projection.leverage
        elif kind == "fixef":
            values = projection.fixed_leverage
        elif kind == "ranef":
            values = (
                projection.leverage - projection.fixed_leverage if V.loadings else np.zeros_like(projection.leverage)
            )
        else:
            values = V.from_random_effects
        found[kind] = values if units.level is None else np.array([values[rows].mean() for rows in units.rows])
    return found
