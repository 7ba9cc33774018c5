"""Every number of a report about one model, in one nested record."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from interlace.core.families import NegativeBinomial
from interlace.errors import ConvergenceWarning
from interlace.estimate.glmm_state import GlmmState
from interlace.results.glmm import GLMMResult
from interlace.results.tables import coefficient_table
from interlace.results.varcorr import correlations, standard_deviations, variance_table

if TYPE_CHECKING:
    from interlace.results.intervals import Intervals

__all__ = ["SEED", "Numbers", "criterion_name", "from_json", "leaves", "numbers_of", "ratio_name", "to_json"]

#: Nested dictionaries whose leaves are numbers.
Numbers: TypeAlias = "dict[str, Any]"

#: What exponentiated coefficients are, by family and link; ratios of means for other families with a log link.
_RATIOS = {
    ("binomial", "logit"): "Odds ratio",
    ("binomial", "log"): "Risk ratio",
    ("poisson", "log"): "Rate ratio",
    ("negative.binomial", "log"): "Rate ratio",
}
#: Seed of everything in a report that is drawn.
SEED = 1
_MOST_INFLUENTIAL = 5
_NOT_FINITE = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def numbers_of(result: Intervals, *, bootstrap: int = 0, influence: bool = True) -> Numbers:
    """Collect the numbers of a fit.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    bootstrap : int
        Replicates of a parametric bootstrap; 0 for none.
    influence : bool
        Whether to look for influential levels.

    Returns
    -------
    dict
        ``rows``, ``parameters``, ``residual_df``, ``levels`` by grouping factor; ``criteria``; ``coefficients`` by name
        (estimate, std_error, df, statistic, p_value, conf_low, conf_high); ``ratios`` for a logit or a log link;
        ``random_effects`` by term (sd and correlation); ``sigma`` where there is one; ``theta``;
        ``negative_binomial_theta``; ``influence``, the five largest Cook's distances of levels by grouping factor;
        ``bootstrap``.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff"))
    >>> found = numbers_of(result)
    >>> found["levels"], round(found["random_effects"]["Batch"]["sd"]["Intercept"], 3)
    ({'Batch': 6}, 42.001)
    """
    state = result.state
    coefficients = coefficient_table(result)
    out: Numbers = {
        "rows": int(result.nobs),
        "parameters": int(result.n_params),
        "residual_df": int(result.df_resid),
        "levels": {str(name): int(count) for name, count in result.ngroups.items()},
        "criteria": {
            criterion_name(result): float(state.criterion),
            "log-likelihood": float(result.llf),
            "AIC": float(result.aic),
            "BIC": float(result.bic),
        },
        "coefficients": {
            str(name): {column: float(value) for column, value in row.items()}
            for name, row in coefficients.to_dict("index").items()
        },
        "random_effects": _random_effects(result),
        "theta": {str(i + 1): float(value) for i, value in enumerate(state.theta)},
    }
    if state.has_scale:
        out["sigma"] = float(result.sigma)
    if isinstance(result, GLMMResult):
        if ratio_name(result):
            with np.errstate(over="ignore"):
                out["ratios"] = _ratios(out["coefficients"])
        if isinstance(result.family, NegativeBinomial):
            out["negative_binomial_theta"] = float(result.family.theta)
    if influence:
        out["influence"] = _influence(result)
    if bootstrap:
        out["bootstrap"] = _bootstrap(result, bootstrap)
    return out


def criterion_name(result: Intervals) -> str:
    """What was minimized."""
    if isinstance(result.state, GlmmState):
        return "-2 log-likelihood"
    return "REML criterion" if result.state.reml else "deviance"


def ratio_name(result: Intervals) -> str:
    """What the exponential of a coefficient is; empty where it is nothing to report."""
    if not isinstance(result, GLMMResult):
        return ""
    link = result.link.name
    return _RATIOS.get((result.family.name, link), "Ratio of means" if link == "log" else "")


def _random_effects(result: Intervals) -> Numbers:
    table, out = variance_table(result.state), {}
    for key, names, cov, structure in zip(table.keys, table.names, table.covariances, table.structures, strict=True):
        out[key] = {"sd": dict(zip(names, standard_deviations(cov).tolist(), strict=True))}
        if len(names) > 1 and structure != "diagonal":
            found = correlations(cov)
            out[key]["correlation"] = {
                name: {names[j]: float(found[i, j]) for j in range(i)} for i, name in enumerate(names) if i
            }
    return out


def _ratios(coefficients: Mapping[str, Mapping[str, float]]) -> Numbers:
    columns = ("estimate", "conf_low", "conf_high")
    return {
        name: {column: float(np.exp(row[column])) for column in columns}
        for name, row in coefficients.items()
        if name != "Intercept"
    }


def _bootstrap(result: Intervals, replicates: int) -> Numbers:
    found = result.bootstrap(replicates, seed=SEED)
    ends = found.ci(kind="percentile")
    return {
        "replicates": replicates,
        "seed": SEED,
        "failed": len(found.failures),
        "intervals": {
            str(name): {"estimate": float(estimate), "conf_low": float(low), "conf_high": float(high)}
            for name, estimate, low, high in ends.itertuples()
        },
    }


def _influence(result: Intervals) -> Numbers:
    """Cook's distances of the levels that stand out most, by grouping factor, from one-step deletions."""
    from interlace.influence import cooks_distance

    out: Numbers = {}
    for group in dict.fromkeys(term.group for term in result.state.problem.design.terms):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # levels that cannot be left out have no distance
            distances = cooks_distance(result, group, approx=True).dropna()
        largest = distances.sort_values(ascending=False, kind="stable").head(_MOST_INFLUENTIAL)
        out[group] = {str(level): float(value) for level, value in largest.items()}
    return out


def leaves(numbers: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Numbers with the keys that lead to them.

    Examples
    --------
    >>> list(leaves({"rows": 3, "criteria": {"AIC": 1.5}}))
    [(('rows',), 3), (('criteria', 'AIC'), 1.5)]
    """
    for key, value in numbers.items():
        if isinstance(value, Mapping):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def to_json(value: Any) -> Any:
    """Put text in place of infinity and of what is not a number, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value


def from_json(value: Any) -> Any:
    """Undo `to_json` for numbers."""
    if isinstance(value, Mapping):
        return {key: from_json(item) for key, item in value.items()}
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
