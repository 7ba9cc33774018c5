"""Profile likelihood of the parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from scipy.interpolate import CubicSpline, PchipInterpolator

from interlace.errors import ModelError
from interlace.inference.wald import critical_value
from interlace.plotting.axes import BLUE, GRAY, ORANGE, as_returned, several_axes
from interlace.results.arguments import state_of_result
from interlace.results.profiles import Profiles, profile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from interlace.results.confint import Parm, Scale
    from interlace.typing import FloatArray

__all__ = ["ProfileKind", "plot_profile"]

ProfileKind: TypeAlias = Literal["zeta", "density"]


def plot_profile(
    result: Any,
    *,
    parm: Parm = None,
    scale: Scale = "sd",
    kind: ProfileKind = "zeta",
    level: float = 0.95,
    ax: Axes | Sequence[Axes] | None = None,
) -> Any:
    """Draw the profile likelihood of each parameter, with its interval.

    Parameters
    ----------
    result : LMMResult, GLMMResult, or Profiles
        What ``result.profile()`` returns saves profiling again; ``parm`` and ``scale`` are then those it was made with.
    parm : str, int, or sequence of these, optional
        Parameters, as for ``result.profile``; all of them by default.
    scale : {"sd", "var", "theta"}
    kind : {"zeta", "density"}
        ``zeta``: the signed root of the rise of the deviance. A straight line means that Wald's interval is right; the
        dashed line is the one with the slope at the estimate. ``density``: the density of a parameter of which zeta is
        standard normal, phi(zeta) dzeta / dparameter, in which asymmetry and boundaries are plain to see.
    level : float
        Confidence level of the interval that is marked.
    ax : matplotlib Axes, or a sequence of them, optional
        One for each parameter; a new figure by default.

    Returns
    -------
    Axes, or ndarray of Axes if there are several parameters

    Raises
    ------
    ValueError
        There is no such parameter, scale or kind; the profile does not exist.
    TypeError
        ``result`` is something else, or ``ax`` no axes.

    Notes
    -----
    The profile is that of the likelihood on the scales "sd" and "var" also of a fit by REML, as in lme4, and zeta is
    zero at the ML estimate. Between the points of the profile curves are interpolated; the ends of the interval that
    ``confint()`` finds are exact.

    References
    ----------
    Bates, D., Maechler, M., Bolker, B. and Walker, S. (2015). Fitting linear mixed-effects models using lme4. Journal
    of Statistical Software 67(1), section 5.1.

    Examples
    --------
    >>> import interlace
    >>> from interlace.plotting import plot_profile
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> ax = plot_profile(result, parm="sigma")
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('sigma', 'Signed root of the deviance, zeta')
    """
    if kind not in ("zeta", "density"):
        raise ValueError(f"kind must be 'zeta' or 'density', not {kind!r}")
    wide = float(critical_value(level))
    profiles = result
    if not isinstance(result, Profiles):
        reach = max(0.99, 1.0 - (1.0 - level) / 4.0)
        profiles = profile(state_of_result(result), result.call, scale=scale, parm=parm, level=reach)
    points = profiles.to_frame()
    names = [row.name for row in profiles.rows]
    if not names:
        raise ModelError("there is no profile to draw: the data say nothing about a correlation beside a variance of 0")
    axes = several_axes(ax, names, (3.8, 3.2))
    for where, name in zip(axes, names, strict=True):
        one = points[points["parameter"] == name].sort_values("zeta")
        value, zeta = one["value"].to_numpy(), one["zeta"].to_numpy()
        keep = np.concatenate([[True], (np.diff(value) > 0.0) & (np.diff(zeta) > 0.0)])
        draw = _zeta if kind == "zeta" else _density
        draw(where, value[keep], zeta[keep], wide)
        where.set_xlabel(name)
        where.set_title(f"Profile {'zeta' if kind == 'zeta' else 'density'}")
    return as_returned(axes)


def _zeta(ax: Axes, value: FloatArray, zeta: FloatArray, wide: float) -> None:
    curve = PchipInterpolator(value, zeta)
    fine = np.linspace(value[0], value[-1], 200)
    ax.axhline(0.0, color=GRAY, linewidth=0.6)
    estimate = float(np.interp(0.0, zeta, value))
    if zeta[0] < 0.0 < zeta[-1] and value.size > 3:
        slope = float(CubicSpline(value, zeta)(estimate, 1))
        ax.plot(fine, slope * (fine - estimate), color=ORANGE, linestyle="--", linewidth=1.2, label="by Wald")
    ax.plot(fine, curve(fine), color=BLUE, linewidth=1.8, label="profile")
    for end, height in zip(_ends(value, zeta, wide), (-wide, wide), strict=True):
        if np.isfinite(end):
            ax.plot([end, end, value[0]], [0.0, height, height], color=GRAY, linewidth=0.9, linestyle=":")
    ax.set_ylim(1.1 * min(zeta[0], -wide), 1.1 * max(zeta[-1], wide))
    ax.set_ylabel("Signed root of the deviance, zeta")
    ax.legend(loc="lower right", frameon=False, fontsize="small")


def _density(ax: Axes, value: FloatArray, zeta: FloatArray, wide: float) -> None:
    curve = CubicSpline(value, zeta) if value.size > 3 else PchipInterpolator(value, zeta)
    fine = np.linspace(value[0], value[-1], 400)
    height = _normal_density(curve(fine)) * np.maximum(curve(fine, 1), 0.0)
    ax.plot(fine, height, color=BLUE, linewidth=1.8)
    low, high = _ends(value, zeta, wide)
    inside = ~((fine < low) | (fine > high))
    ax.fill_between(fine[inside], 0.0, height[inside], color=BLUE, alpha=0.18, linewidth=0)
    ax.axvline(float(np.interp(0.0, zeta, value)), color=GRAY, linewidth=0.9, linestyle="--")
    ax.set_ylim(bottom=0.0)
    ax.set_ylabel("Profile density")


def _normal_density(z: FloatArray) -> FloatArray:
    return np.asarray(np.exp(-0.5 * z * z) / np.sqrt(2.0 * np.pi))


def _ends(value: FloatArray, zeta: FloatArray, wide: float) -> FloatArray:
    """Ends of the interval, shape (2,); NaN for one that the profile does not reach."""
    return np.asarray(PchipInterpolator(zeta, value, extrapolate=False)([-wide, wide]))
