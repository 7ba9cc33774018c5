"""Effect sizes: explained variance and intraclass correlation."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interlace.errors import ConvergenceWarning
from interlace.inference.r2 import null_state, variances
from interlace.results.arguments import state_of_result

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.inference.r2 import Approximation, Mean
    from interlace.results.members import Members

__all__ = ["icc", "r2_nakagawa"]


def r2_nakagawa(
    result: Members, by_group: bool = False, *, approximation: Approximation | None = None, mean: Mean = "typical"
) -> pd.Series:
    """Explained variance: R's ``performance::r2_nakagawa``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    by_group : bool
        By how much the fixed effects lower the variance at each level, against the model that has an intercept and the
        same random effects; negative where it rises.
    approximation : {"theoretical", "lognormal", "delta", "trigamma"}, optional
        Variance that the distribution of a generalized model adds on the scale of the linear predictor. The default for
        binomial responses is the variance of the distribution behind the link (pi^2 / 3 for logit, 1 for probit,
        pi^2 / 6 for cloglog), for Poisson and negative binomial responses with a log link ``"lognormal"``, otherwise
        ``"delta"``.
    mean : {"typical", "average"}
        Mean response for which it is taken, from the model that has an intercept and the same random effects: where
        these are zero, as ``performance`` 0.10 has it, or averaged over them, as Nakagawa et al. (2017) do (log link).

    Returns
    -------
    Series
        ``conditional`` (fixed and random effects) and ``marginal`` (fixed effects); by group ``Level 1`` (the rows) and
        each grouping factor.

    Raises
    ------
    ValueError
        The approximation does not exist or is not for this family and link.

    Warns
    -----
    ConvergenceWarning
        The model without fixed effects, where it is needed, did not converge.

    Notes
    -----
    The variance of random effects is the mean over the rows of z'Psi z (Johnson, 2014). Of a grouping factor with a
    level for every row it counts as overdispersion, with that of the distribution.

    Numbers agree with ``performance`` 0.10.2, with these exceptions. It takes only the first of two terms on one
    grouping factor, ``(x || g)``; has no number for singular fits; leaves offsets out of the mean response; takes the
    dispersion of Gamma and Gaussian responses, and its root for inverse Gaussian ones, whatever the link, where the
    delta method is used here (the same thing for Gamma with a log link); and counts only intercepts by group, where
    there are random slopes.

    References
    ----------
    Nakagawa and Schielzeth (2013), Methods Ecol. Evol. 4, 133-142; Johnson (2014), ibid. 5, 944-946; Nakagawa, Johnson
    and Schielzeth (2017), J. R. Soc. Interface 14, 20170213.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.effect_sizes import r2_nakagawa
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> r2_nakagawa(result).round(3)
    conditional    0.799
    marginal       0.279
    Name: R2, dtype: float64
    """
    state = state_of_result(result)
    null = null_state(state) if by_group else None
    found = variances(state, approximation, mean, null=null)
    _warn_of(found.null)
    if null is None:
        return pd.Series({"conditional": found.conditional, "marginal": found.marginal}, name="R2")
    before = variances(null, approximation, mean, null=null)
    out = {"Level 1": _fall(found.residual, before.residual)}
    out |= {group: _fall(value, before.by_group[group]) for group, value in found.by_group.items()}
    return pd.Series(out, name="R2")


def icc(
    result: Members, by_group: bool = False, *, approximation: Approximation | None = None, mean: Mean = "typical"
) -> pd.Series:
    """Intraclass correlation: R's ``performance::icc``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    by_group : bool
        The share of each grouping factor.
    approximation, mean
        Of the variance of a generalized model's distribution, as for `r2_nakagawa`.

    Returns
    -------
    Series
        ``adjusted``, the share of the random effects in the variance that the fixed effects leave, and ``unadjusted``,
        in all of it; by group the parts of the former.

    Raises
    ------
    ValueError
        As `r2_nakagawa`.

    Warns
    -----
    ConvergenceWarning
        As `r2_nakagawa`.

    Notes
    -----
    See `r2_nakagawa` for what the variances are and where ``performance`` has other numbers.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.effect_sizes import icc
    >>> result = interlace.fit("diameter ~ 1", interlace.datasets.load("Penicillin"), groups=["plate", "sample"])
    >>> icc(result, by_group=True).round(3)
    plate     0.151
    sample    0.785
    Name: ICC, dtype: float64
    """
    found = variances(state_of_result(result), approximation, mean)
    _warn_of(found.null)
    values = found.shares if by_group else {"adjusted": found.adjusted, "unadjusted": found.unadjusted}
    return pd.Series(values, name="ICC", dtype=float)


def _warn_of(null: State | None) -> None:
    if null is not None and not null.opt.converged:
        message = f"the model without fixed effects did not converge: {null.opt.message}"
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


def _fall(after: float, before: float) -> float:
    """Relative fall of a variance; NaN where there was none."""
    return 1.0 - after / before if before > 0.0 else np.nan
