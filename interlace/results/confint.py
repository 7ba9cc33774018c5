"""Confidence intervals of all parameters of a fit, with names: ``result.confint``."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.errors import ConvergenceWarning
from interlace.inference.intervals import wald_intervals
from interlace.inference.profile import Limits, profile_limits
from interlace.inference.profile_parameters import (
    Parameter,
    coefficients,
    covariance_parameters,
    of_fit,
    shapes,
    standard_deviations,
)
from interlace.inference.wald import critical_value
from interlace.results.arguments import one_of
from interlace.results.fixed import coefficient_names, interval_columns

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.inference.bootstrap import Replicates
    from interlace.prediction.simulate import Seed
    from interlace.results.call import FitCall, GlmerCall
    from interlace.typing import FloatArray

__all__ = ["IntervalMethod", "Parm", "Row", "Scale", "confint", "default_rows", "rows_of", "selected", "theta_name"]

IntervalMethod: TypeAlias = Literal["profile", "wald", "boot"]
Scale: TypeAlias = Literal["theta", "sd", "var"]
Parm: TypeAlias = "str | int | Sequence[str | int] | None"

#: Row of a negative binomial's theta; the name alone would be that of the covariance parameters.
_SHAPE = "theta_nb"
#: Simulated responses of a bootstrap.
_NSIM = 1000


@dataclass(frozen=True)
class Row:
    """One row of a table of parameters.

    Attributes
    ----------
    name : str
    parameter : Parameter or None
        None for the residual standard deviation relative to itself.
    squared : bool
        Whether the row is the square of the parameter.
    """

    name: str
    parameter: Parameter | None
    squared: bool = False

    @property
    def is_coefficient(self) -> bool:
        """Whether it is a fixed effect."""
        return self.parameter is not None and self.parameter.kind == "beta"


def rows_of(state: State, scale: Scale) -> list[Row]:
    """All rows of a scale: variance parameters in the order of theta, the residual or sigma, coefficients.

    Parameters
    ----------
    state : State
    scale : {"theta", "sd", "var"}
    """
    fixed = [Row(name, p) for name, p in zip(coefficient_names(state), coefficients(state), strict=True)]
    terms = state.problem.design.terms
    if scale == "theta":
        rows = [Row(theta_name(terms[p.term], p), p) for p in covariance_parameters(state)]
        # Theta of a generalized model is relative to nothing.
        residual = [Row("residual", None)] if state.unit == state.sigma and state.has_scale else []
        return rows + residual + [Row(_SHAPE, p) for p in shapes(state)] + fixed
    squared = scale == "var"
    rows = []
    for p in standard_deviations(state, other="cov" if squared else "cor"):
        if p.kind == "sigma":
            rows.append(Row("sigma^2" if squared else "sigma", p, squared))
        elif p.kind == "shape":
            rows.append(Row(_SHAPE, p))
        else:
            rows.append(Row(_effect_name(terms[p.term], p, squared), p, squared and p.kind == "sd"))
    return rows + fixed


def theta_name(term: RandomTerm, p: Parameter) -> str:
    """Name of an entry of theta: its grouping factor, and its effects where the term has several.

    Parameters
    ----------
    term : RandomTerm
    p : Parameter
        Of the kind ``"theta"``.

    Returns
    -------
    str
    """
    if len(term.names) == 1:
        return term.key
    row, col = term.names[p.row], term.names[p.col]
    return f"{term.key}.{row}" if p.row == p.col else f"{term.key}.{row}.{col}"


def _effect_name(term: RandomTerm, p: Parameter, squared: bool) -> str:
    """lme4's name with ``oldNames = FALSE``; its name of the group has no ``.1`` for a second term."""
    names = ["(Intercept)" if name == "Intercept" else name for name in term.names]
    if p.kind == "sd":
        return f"{'var' if squared else 'sd'}_{names[p.row]}|{term.group}"
    return f"{p.kind}_{names[p.row]}.{names[p.col]}|{term.group}"


def default_rows(rows: Sequence[Row], scale: Scale, method: IntervalMethod) -> list[Row]:
    """Rows of a table that nothing was chosen for: on the theta scale without the coefficients."""
    return [row for row in rows if scale != "theta" or method == "wald" or not row.is_coefficient]


def selected(rows: Sequence[Row], parm: str | int | Sequence[str | int]) -> list[Row]:
    """Rows by name, by position, or by ``"theta_"`` and ``"beta_"``, in the order in which they were asked for.

    Parameters
    ----------
    rows : sequence of Row
    parm : str, int, or sequence of these
    """
    wanted = list(parm) if isinstance(parm, Iterable) and not isinstance(parm, str) else [parm]
    out: list[Row] = []
    for one in wanted:
        if isinstance(one, int | np.integer) and not isinstance(one, bool):
            if not 0 <= one < len(rows):
                raise ValueError(
                    f"parm: position {one} is out of range; there are {len(rows)} parameters, 0 to {len(rows) - 1}"
                )
            found = [rows[int(one)]]
        elif one in ("theta_", "beta_"):
            found = [row for row in rows if row.is_coefficient == (one == "beta_")]
        else:
            found = [row for row in rows if row.name == one]
        if not found:
            names = ", ".join(repr(row.name) for row in rows)
            raise ValueError(f"parm: no parameter {one!r}; there are {names}, and the groups 'theta_' and 'beta_'")
        out += [row for row in found if row not in out]
    return out


def confint(
    state: State,
    call: FitCall | GlmerCall,
    level: float = 0.95,
    *,
    method: IntervalMethod = "profile",
    scale: Scale = "theta",
    parm: Parm = None,
    n_jobs: int | None = 1,
    nsim: int = _NSIM,
    seed: Seed = None,
    stacklevel: int = 2,
) -> pd.DataFrame:
    """Confidence intervals; ``LMMResult.confint`` documents the arguments up to ``seed``.

    Parameters
    ----------
    state : FitState or GlmmState
    call : FitCall or GlmerCall
    level, method, scale, parm, n_jobs, nsim, seed
        As in ``LMMResult.confint``.
    stacklevel : int
        As in ``warnings.warn``, counted from the caller of this function.

    Returns
    -------
    DataFrame
        One row a parameter, with the columns ``estimate``, ``2.5 %`` and ``97.5 %`` (for a level of 0.95).

    Raises
    ------
    ValueError
        For an unknown method, scale or parameter, or a level outside 0 to 1.
    ModelError
        For a profile of a fit that maximizes no likelihood.

    Notes
    -----
    With ``scale="theta"`` the profile is that of the criterion of the fit, REML for a REML fit; with ``"sd"`` and
    ``"var"``, and for coefficients, it is that of the likelihood, also for a REML fit, as in lme4. The column
    ``estimate`` is always that of the fit.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> confint(result.state, result.call).round(3)
                            estimate  2.5 %  97.5 %
    Subject.Intercept          0.967  0.567   1.571
    Subject.Days.Intercept     0.015 -0.150   0.165
    Subject.Days               0.231  0.136   0.363
    residual                   1.000  1.000   1.000
    >>> confint(result.state, result.call, scale="sd").round(3)
                                  estimate    2.5 %   97.5 %
    sd_(Intercept)|Subject          24.740   14.381   37.716
    cor_Days.(Intercept)|Subject     0.066   -0.481    0.685
    sd_Days|Subject                  5.922    3.801    8.753
    sigma                           25.592   22.898   28.858
    Intercept                      251.405  237.681  265.130
    Days                            10.467    7.359   13.576
    """
    one_of("method", method, get_args(IntervalMethod))
    one_of("scale", scale, get_args(Scale))
    critical_value(level)
    rows = rows_of(state, scale)
    rows = default_rows(rows, scale, method) if parm is None else selected(rows, parm)
    parameters = [row.parameter for row in rows if row.parameter is not None]
    if method == "wald":
        ends = wald_intervals(state, parameters, level, call.df_method)
    elif method == "boot":
        from interlace.inference.bootstrap_intervals import bootstrap_intervals

        found = bootstrap_intervals(state, parameters, level, nsim=nsim, seed=seed, n_jobs=n_jobs)
        _warn_of_replicates(found.replicates, stacklevel=stacklevel)
        ends = found.ends
    else:
        limits = profile_limits(state, parameters, level, n_jobs=n_jobs)
        _warn(limits, [row.name for row in rows if row.parameter is not None], stacklevel=stacklevel)
        ends = limits.ends
    return _table(rows, np.column_stack([of_fit(state, parameters), ends]), level)


def _table(rows: Sequence[Row], values: FloatArray, level: float) -> pd.DataFrame:
    """Put estimates and ends, shape (r, 3) without the residual, under their names."""
    out = np.ones((len(rows), 3))
    out[[row.parameter is not None for row in rows]] = values
    squared = [row.squared for row in rows]
    out[squared] **= 2
    return pd.DataFrame(out, index=[row.name for row in rows], columns=["estimate", *interval_columns(level)])


def _warn_of_replicates(replicates: Replicates, *, stacklevel: int) -> None:
    """Say that replicates failed."""
    failures = replicates.failures
    if failures.size:
        warnings.warn(
            f"{failures.size} of {len(replicates.messages)} bootstrap replicates could not be fitted and are left out; "
            f"the first one: {replicates.messages[failures[0]]}",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def _warn(limits: Limits, names: Sequence[str], *, stacklevel: int) -> None:
    """Say what makes profile intervals doubtful."""
    if limits.improved:
        warnings.warn(
            f"profiling met a deviance {-limits.lowest:.2g} below that of the fit, which therefore is not at the "
            "minimum: its intervals are doubtful. What to try: fit again with other starting values theta0=",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )
    failed = [name for name, bad in zip(names, limits.failed, strict=True) if bad]
    if failed:
        warnings.warn(
            f"the deviance could not be minimized at the ends of the interval of {', '.join(map(repr, failed))}. What "
            "to try: a larger Control(max_iterations=...), or simpler random effects",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )
