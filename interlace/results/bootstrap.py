"""Bootstrap of a result: tables of replicates, bias, standard errors and intervals."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np
import pandas as pd

from interlace.errors import ConvergenceWarning
from interlace.estimate.state import State
from interlace.inference.bootstrap import Kind, Replicates
from interlace.inference.bootstrap import bootstrap as drawn
from interlace.inference.bootstrap_intervals import IntervalKind, Jackknife, intervals, jackknife
from interlace.inference.wald import critical_value
from interlace.results.confint import Row, rows_of
from interlace.results.fixed import interval_columns

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.inference.profile_parameters import Parameter
    from interlace.prediction.simulate import Seed
    from interlace.results.members import Members
    from interlace.typing import FloatArray

__all__ = ["BootstrapResult", "Scale", "bootstrap"]

Scale: TypeAlias = Literal["sd", "var", "theta"]


class _Options(TypedDict):
    kind: Kind
    n_jobs: int | None
    show_progress: bool


#: What a user computes from every refit: a number, or several with or without names.
ResultStatistic: TypeAlias = "Callable[[Any], float | ArrayLike | pd.Series | Mapping[str, float]]"


@dataclass(frozen=True)
class _OfResult:
    """A user's statistic as a function of a state; can be sent to other processes."""

    function: ResultStatistic
    result: Members

    def of(self, state: State) -> pd.Series:
        """The statistic, with names."""
        found = self.function(type(self.result)(state, self.result.call))
        try:
            if found is None:
                raise TypeError("nothing came back")
            if isinstance(found, Mapping | pd.Series):
                return pd.Series(found, dtype=float)
            values = np.atleast_1d(np.asarray(found, dtype=np.float64))
        except (TypeError, ValueError) as error:
            raise TypeError(f"statistic must return a number or a vector of numbers, not {found!r}") from error
        names = ["statistic"] if values.size == 1 else [f"statistic_{i + 1}" for i in range(values.size)]
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"statistic must return a number or a vector of numbers, not shape {values.shape}")
        return pd.Series(values, index=names)

    def __call__(self, state: State) -> FloatArray:
        return self.of(state).to_numpy(dtype=np.float64)


@dataclass(frozen=True)
class _Source:
    """What the statistics are of: parameters of a fit, or a user's function of it."""

    state: State
    rows: tuple[Row, ...]
    function: _OfResult | None

    @property
    def parameters(self) -> list[Parameter]:
        """Parameters; none for a user's function."""
        return [row.parameter for row in self.rows if row.parameter is not None]

    def on_scale(self, values: FloatArray) -> FloatArray:
        """Square what is a variance; values of shape (..., s)."""
        if self.function is not None:
            return values
        return np.where([row.squared for row in self.rows], values**2, values)

    def jackknife(self) -> Jackknife:
        """The statistics without one group at a time."""
        found = jackknife(self.state, parameters=self.parameters, statistic=self.function)
        return replace(found, values=self.on_scale(found.values))


@dataclass(frozen=True, eq=False, repr=False)
class BootstrapResult:
    """Replicates of a bootstrap, and what they say of the estimates.

    Attributes
    ----------
    draws : Replicates
        As arrays.
    names : tuple of str
        Of the statistics.
    kind : {"parametric", "conditional", "semiparametric"}
    source
        What they are of.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> found = bootstrap(result, 200, seed=1)
    >>> found
    <BootstrapResult: parametric, 200 replicates of 3 statistics, 0 failed>
    >>> found.replicates.shape
    (200, 3)
    """

    draws: Replicates
    names: tuple[str, ...]
    kind: Kind
    source: _Source

    def __repr__(self) -> str:
        failed = len(self.draws.failures)
        return (
            f"<BootstrapResult: {self.kind}, {len(self.draws.values)} replicates of {len(self.names)} "
            f"statistic{'s' if len(self.names) != 1 else ''}, {failed} failed>"
        )

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.5g}".format)

    @property
    def replicates(self) -> pd.DataFrame:
        """Statistics of every replicate, shape (nsim, s); NaN in the rows of those that failed."""
        index = pd.RangeIndex(1, len(self.draws.values) + 1, name="replicate")
        return pd.DataFrame(self.draws.values.copy(), index=index, columns=list(self.names))

    @property
    def failures(self) -> pd.Series:
        """Why replicates failed, indexed by replicate; empty if none did."""
        failed = self.draws.failures
        index = pd.Index(failed + 1, name="replicate")
        return pd.Series([self.draws.messages[i] for i in failed], index=index, name="message", dtype=object)

    @property
    def estimate(self) -> pd.Series:
        """Statistics of the fit itself, shape (s,)."""
        return self._named(self.draws.estimate.copy(), "estimate")

    @property
    def bias(self) -> pd.Series:
        """Mean of the replicates less the estimate, shape (s,)."""
        return self._named(self.draws.bias, "bias")

    @property
    def se(self) -> pd.Series:
        """Standard deviations of the replicates, shape (s,)."""
        return self._named(self.draws.se, "std_error")

    def _named(self, values: FloatArray, name: str) -> pd.Series:
        return pd.Series(values, index=list(self.names), name=name)

    @cached_property
    def _jackknife(self) -> Jackknife:
        found = self.source.jackknife()
        failed = sum(bool(message) for message in found.messages)
        if failed:
            warnings.warn(
                f"the acceleration of BCa intervals lacks {failed} of {len(found.messages)} groups, without which the "
                f"model could not be fitted: {next(message for message in found.messages if message)}",
                ConvergenceWarning,
                stacklevel=4,
            )
        return found

    def ci(self, level: float = 0.95, kind: IntervalKind = "percentile") -> pd.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        level : float
            Between 0 and 1.
        kind : {"percentile", "basic", "bca", "normal"}
            Quantiles of the replicates; these mirrored at the estimate; quantiles with bias correction and
            acceleration, for which the model is fitted without one group at a time; or estimate less bias -/+ normal
            quantile times standard error.

        Returns
        -------
        DataFrame, shape (s, 3)
            Columns ``estimate``, ``2.5 %`` and ``97.5 %`` (for a level of 0.95). Replicates that failed, and those in
            which a statistic is not a number (a correlation beside a variance of zero), are left out.

        Raises
        ------
        ValueError
            Unknown kind, or level outside 0 to 1.
        ModelError
            For "bca", when the model cannot be fitted without single groups.

        Notes
        -----
        The intervals are those of R's ``boot::boot.ci``, which interpolates quantiles on the normal scale.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> bootstrap(result, 500, seed=1).ci(0.9).shape
        (3, 3)
        """
        critical_value(level)
        acceleration = self._jackknife.acceleration if kind == "bca" else None
        ends = intervals(self.draws, level, kind, acceleration)
        columns = ["estimate", *interval_columns(level)]
        return pd.DataFrame(np.column_stack([self.draws.estimate, ends]), index=list(self.names), columns=columns)

    def to_frame(self) -> pd.DataFrame:
        """One row a statistic.

        Returns
        -------
        DataFrame, shape (s, 6)
            Columns ``estimate``, ``bias``, ``std_error``, ``conf_low`` and ``conf_high`` (95 % percentile intervals),
            and ``n``, the number of replicates in which the statistic is a number.

        Examples
        --------
        >>> import interlace
        >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
        >>> bootstrap(result, 200, seed=1).to_frame().columns.tolist()
        ['estimate', 'bias', 'std_error', 'conf_low', 'conf_high', 'n']
        """
        ends = intervals(self.draws)
        columns = {
            "estimate": self.draws.estimate,
            "bias": self.draws.bias,
            "std_error": self.draws.se,
            "conf_low": ends[:, 0],
            "conf_high": ends[:, 1],
            "n": np.isfinite(self.draws.values).sum(axis=0),
        }
        return pd.DataFrame(columns, index=list(self.names))


def bootstrap(
    result: Members,
    nsim: int = 1000,
    seed: Seed = None,
    statistic: ResultStatistic | None = None,
    *,
    kind: Kind = "parametric",
    scale: Scale = "sd",
    n_jobs: int | None = None,
    show_progress: bool = False,
) -> BootstrapResult:
    """Draw responses from a fitted model, fit the model to each, and collect statistics: lme4's ``bootMer``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    nsim : int
        Number of replicates.
    seed : int, numpy.random.Generator or None
        An integer gives the same replicates every time, whatever ``n_jobs`` and ``statistic`` are.
    statistic : callable, optional
        Takes the result of every refit; returns a number, an array, or a Series or mapping with names. By default
        standard deviations and correlations of the random effects, sigma, and fixed effects.
    kind : {"parametric", "conditional", "semiparametric"}
        Random effects and responses drawn from the model; responses only, the random effects at their modes (lme4's
        ``use.u=TRUE``); or residuals drawn with replacement around the fitted values (linear models only).
    scale : {"sd", "var", "theta"}
        Of the variance parameters when there is no ``statistic``.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; by default what ``joblib.parallel_config`` says, else one. The refits of
        a linear model without ``statistic`` are quick, so that one process is usually best.
    show_progress : bool

    Returns
    -------
    BootstrapResult

    Raises
    ------
    ValueError, TypeError
        An argument is out of range.
    ModelError
        No replicate could be fitted.

    Warns
    -----
    ConvergenceWarning
        Replicates failed; ``failures`` says why.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> found = bootstrap(result, 200, seed=1, statistic=lambda refit: refit.sigma)
    >>> found.replicates.shape, found.names
    ((200, 1), ('statistic',))
    """
    if scale not in get_args(Scale):
        raise ValueError(f"scale must be one of {', '.join(map(repr, get_args(Scale)))}; not {scale!r}")
    if statistic is not None and not callable(statistic):
        raise TypeError(
            f"statistic must be a function of a result, such as lambda refit: refit.sigma; not {statistic!r}"
        )
    state, options = result.state, _Options(kind=kind, n_jobs=n_jobs, show_progress=show_progress)
    if statistic is None:
        source = _Source(state, tuple(row for row in rows_of(state, scale) if row.parameter is not None), None)
        names = tuple(row.name for row in source.rows)
        found = drawn(state, nsim, seed, parameters=source.parameters, **options)
    else:
        function = _OfResult(statistic, result)
        source = _Source(state, (), function)
        names = tuple(str(name) for name in function.of(state).index)
        found = drawn(state, nsim, seed, statistic=function, **options)
    found = replace(found, values=source.on_scale(found.values), estimate=source.on_scale(found.estimate))
    failed = len(found.failures)
    if failed:
        warnings.warn(
            f"{failed} of {nsim} replicates failed and are left out, the first one: "
            f"{found.messages[found.failures[0]]}. All are in .failures",
            ConvergenceWarning,
            stacklevel=2,
        )
    return BootstrapResult(found, names, kind, source)
