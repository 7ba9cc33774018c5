"""Figures of fitted models: each function draws one and returns its axes.

=================================================  ====================================================================
`plot_resid`, `plot_scale_location`, `plot_qq`     residuals against fitted values, their spread, their distribution and
                                                   that of the random effects
`plot_quantile_residuals`                          the same for any family, from simulated responses
`plot_influence`, `dotplot_diag`                   measures of influence, by unit and in order of size
`plot_ranef`                                       conditional modes with intervals
`plot_profile`                                     profile likelihood of each parameter
`plot_fitted`, `plot_effects`                      fitted lines of the groups, and means over a predictor
`plot_agreement`                                   differences from lme4 beside their limits
`plot_model`                                       one page about a fit, which ``result.plot()`` gives
=================================================  ====================================================================

All take a result first and axes to draw in as ``ax=``; without them they make a new figure of pyplot's. Nothing is
shown and no setting of matplotlib is changed. Matplotlib is imported when a figure is drawn, names here on first use.
"""

from __future__ import annotations

from typing import Any

from interlace.lazy import load

__all__ = [
    "dotplot_diag",
    "plot_agreement",
    "plot_effects",
    "plot_fitted",
    "plot_influence",
    "plot_model",
    "plot_profile",
    "plot_qq",
    "plot_quantile_residuals",
    "plot_ranef",
    "plot_resid",
    "plot_scale_location",
]

_HOME: dict[str, str] = {
    "dotplot_diag": "dotplot",
    "plot_agreement": "agreement",
    "plot_effects": "effects",
    "plot_fitted": "fitted",
    "plot_influence": "influence_index",
    "plot_model": "panel",
    "plot_profile": "profiles",
    "plot_qq": "qq",
    "plot_quantile_residuals": "quantiles",
    "plot_ranef": "caterpillar",
    "plot_resid": "residuals",
    "plot_scale_location": "scale_location",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    return load(__name__, _HOME, name)


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
