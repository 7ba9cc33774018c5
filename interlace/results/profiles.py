"""Profile likelihood of the parameters of a fit as tables, for plotting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from interlace.inference.profile import ProfileResult, profile_curves
from interlace.results.arguments import one_of
from interlace.results.confint import Row, Scale, confint, default_rows, rows_of, selected

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.results.call import FitCall, GlmerCall
    from interlace.results.confint import Parm

__all__ = ["Profiles", "profile"]


@dataclass(frozen=True)
class Profiles:
    """Profile likelihood of some parameters of a fit: lme4's ``profile(m)``.

    Attributes
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    scale : {"theta", "sd", "var"}
    rows : tuple of Row
        Parameters with a profile.
    columns : tuple of Row
        Parameters that are known at every point.
    result : ProfileResult

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> profile(result.state, result.call, parm="theta_")
    <Profiles: sd_(Intercept)|Batch, sigma>
    """

    state: State = field(repr=False)
    call: FitCall | GlmerCall = field(repr=False)
    scale: Scale
    rows: tuple[Row, ...]
    columns: tuple[Row, ...]
    result: ProfileResult = field(repr=False)

    def __repr__(self) -> str:
        return f"<Profiles: {', '.join(row.name for row in self.rows)}>"

    def to_frame(self) -> pd.DataFrame:
        """Give all points, one parameter after the other.

        Returns
        -------
        DataFrame
            Columns ``parameter``, ``value``, ``zeta`` (signed root of the rise of the deviance: a straight line where
            Wald intervals are right), then the value of every parameter at that point.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> frame = profile(result.state, result.call, parm="sigma").to_frame()
        >>> list(frame.columns)
        ['parameter', 'value', 'zeta', 'sd_(Intercept)|Batch', 'sigma', 'Intercept']
        """
        names = {row.parameter: row for row in self.rows}
        squared = np.array([row.squared for row in self.columns])
        parts = []
        for curve in self.result.curves:
            row = names[curve.parameter]
            head = pd.DataFrame({"value": curve.values**2 if row.squared else curve.values, "zeta": curve.zeta})
            head.insert(0, "parameter", row.name)
            others = np.where(squared, curve.others**2, curve.others)
            parts.append(pd.concat([head, pd.DataFrame(others, columns=[r.name for r in self.columns])], axis=1))
        return pd.concat(parts, ignore_index=True)

    def confint(self, level: float = 0.95) -> pd.DataFrame:
        """Intervals of these parameters, by root finding on the deviance and not on the points of the profile.

        Parameters
        ----------
        level : float
            Confidence level.

        Returns
        -------
        DataFrame
            Columns ``estimate``, ``2.5 %``, ``97.5 %``.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> profile(result.state, result.call, parm="sigma").confint().round(2)
               estimate  2.5 %  97.5 %
        sigma     49.51  38.23   67.66
        """
        return confint(self.state, self.call, level, scale=self.scale, parm=[row.name for row in self.rows])


def profile(
    state: State,
    call: FitCall | GlmerCall,
    *,
    scale: Scale = "sd",
    parm: Parm = None,
    level: float = 0.99,
) -> Profiles:
    """Profile the likelihood for plotting.

    Parameters
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    scale : {"sd", "var", "theta"}
        As in ``LMMResult.confint``.
    parm : str, int, or sequence of these, optional
        Parameters to profile, all of the scale by default.
    level : float
        Confidence level that the profiles reach.

    Returns
    -------
    Profiles
        A correlation beside a variance of zero, about which the data say nothing, has no profile.
    """
    one_of("scale", scale, get_args(Scale))
    columns = [row for row in rows_of(state, scale) if row.parameter is not None]
    rows = default_rows(columns, scale, "profile") if parm is None else selected(columns, parm)
    wanted = [row.parameter for row in rows if row.parameter is not None]
    table = [row.parameter for row in columns if row.parameter is not None]
    result = profile_curves(state, wanted, table, level)
    done = {curve.parameter for curve in result.curves}
    kept = tuple(row for row in rows if row.parameter in done)
    return Profiles(state, call, scale, kept, tuple(columns), result)
