"""Tests and intervals of interlace held against those of R's packages, quantity by quantity."""

from __future__ import annotations

import math
import tomllib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd

import interlace
from interlace import Control
from interlace.rbridge.names import canonical, r_name
from interlace.results.comparison import ranova
from interlace.results.contrasts_of_means import pairs
from interlace.results.effect_sizes import icc, r2_nakagawa
from interlace.results.emmeans import emmeans
from parity.case import Case

__all__ = ["Gap", "compare_inference", "failures", "inference_limits", "inference_units"]

_DDF = {"satterthwaite": "satterthwaite", "kenward_roger": "kenward-roger"}
_TYPES = {"I": 1, "II": 2, "III": 3}


@dataclass(frozen=True)
class Gap:
    """One quantity: the largest difference, what it may be, and where it was found."""

    quantity: str
    value: float
    limit: float
    where: str

    @property
    def agrees(self) -> bool:
        """Whether the difference is within its limit; one that is not a number is not."""
        return self.value <= self.limit

    @property
    def margin(self) -> float:
        """How many times the difference fits into the limit."""
        return math.inf if self.value == 0 else self.limit / self.value

    def __str__(self) -> str:
        """Quantity, difference, limit and place in one line."""
        return f"{self.quantity}: {self.value:.3g}, limit {self.limit:.0e}, at {self.where}"


@lru_cache(maxsize=1)
def _tolerances() -> dict[str, Any]:
    return tomllib.loads((files("interlace.rbridge") / "tolerances.toml").read_text(encoding="utf-8"))


def inference_limits(model: str | None = None) -> dict[str, float]:
    """Limit of each quantity of ``[inference]`` in tolerances.toml, with the exceptions of one model."""
    own = _tolerances().get("inference_exception", {}).get(model, {})
    return {quantity: float((entry | own.get(quantity, {}))["limit"]) for quantity, entry in _inference().items()}


def inference_units() -> dict[str, str]:
    """Unit of each quantity of ``[inference]``."""
    return {quantity: str(entry["unit"]) for quantity, entry in _inference().items()}


def _inference() -> Mapping[str, Mapping[str, Any]]:
    table: Mapping[str, Mapping[str, Any]] = _tolerances()["inference"]
    return table


class _Ours:
    """A fit of interlace, once for each method of finding degrees of freedom."""

    def __init__(self, case: Case, control: Control | None) -> None:
        self.case, self.control = case, control

    @cached_property
    def result(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # singular fits are what some cases are about
            return self.case.fit(self.case.frame(), **({"control": self.control} if self.control else {}))

    def by(self, ddf: str) -> Any:
        """The fit with another ``df_method``; only its arrays are used again."""
        return self.result if ddf == "satterthwaite" else self.result.update(df_method=ddf)


@dataclass(frozen=True)
class _Item:
    """A difference; of the end of an interval positive where it lies inside R's."""

    quantity: str
    value: float
    where: str


def compare_inference(
    case: Case, theirs: Mapping[str, Any], *, narrower: bool = False, control: Control | None = None
) -> list[Gap]:
    """Compare every part that a record has.

    Parameters
    ----------
    case : Case
    theirs : dict
        A record of ``r_reference/inference.R``.
    narrower : bool
        Count ends of exact intervals only where they lie inside R's. A search in R that stops short of a minimum makes
        the deviance too large and R's interval too narrow, never too wide.
    control : Control, optional
        Of the fit of interlace.

    Returns
    -------
    list of Gap
        The largest difference of each quantity.
    """
    ours = _Ours(case, control)
    items: list[_Item] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for part, compare in _PARTS.items():
            if part in theirs:
                items += compare(ours, theirs[part])
    if narrower:
        items = [replace(i, value=max(0.0, i.value)) if i.quantity.startswith("exact") else i for i in items]
    return list(_largest(items, inference_limits(case.name)))


def failures(gaps: Sequence[Gap]) -> str:
    """Name the quantities beyond their limits, one a line; empty when there are none."""
    return "\n".join(str(gap) for gap in gaps if not gap.agrees)


def _largest(items: Sequence[_Item], limits: Mapping[str, float]) -> Iterator[Gap]:
    for quantity in dict.fromkeys(item.quantity for item in items):
        of_this = [item for item in items if item.quantity == quantity]
        worst = max(of_this, key=lambda item: math.inf if math.isnan(item.value) else abs(item.value))
        yield Gap(quantity, float(abs(worst.value)), limits[quantity], worst.where)


# ---- tables by name ------------------------------------------------------------------------------------------------


def _aligned(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Refuse tables whose rows are about different things."""
    mine = [canonical(r_name(name, list(ours))) for name in ours]
    if mine != [canonical(name) for name in theirs]:
        raise AssertionError(f"rows differ: {mine} here, {list(theirs)} in R")


def _differences(quantity: str, ours: Any, theirs: Any, unit: Any, names: Sequence[str]) -> list[_Item]:
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    if ours.shape != theirs.shape:
        raise AssertionError(f"{quantity}: {ours.size} numbers here, {theirs.size} in R")
    apart = np.abs(ours - theirs) / np.where(ours == theirs, 1.0, unit)
    return [_Item(quantity, float(value), name) for value, name in zip(apart, names, strict=True)]


def _relative(quantity: str, ours: Any, theirs: Any, names: Sequence[str]) -> list[_Item]:
    return _differences(quantity, ours, theirs, np.abs(np.asarray(theirs, dtype=float)), names)


def _small_or_relative(quantity: str, ours: Any, theirs: Any, names: Sequence[str]) -> list[_Item]:
    """Relative above 1, absolute below."""
    return _differences(quantity, ours, theirs, np.maximum(1.0, np.abs(np.asarray(theirs, dtype=float))), names)


# ---- tests ---------------------------------------------------------------------------------------------------------


def _tests(method: str) -> Callable[[_Ours, Mapping[str, Any]], list[_Item]]:
    def compare(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
        ddf = _DDF[method]
        result, table = ours.by(ddf), theirs["coefficients"]
        names = list(result.fe_params.index)
        _aligned(names, table["names"])
        items = _relative(f"{method}_df", result.fe_df, table["df"], names)
        items += _relative(f"{method}_se", result.fe_bse, table["se"], names)
        items += _differences(f"{method}_p", result.fe_pvalues, table["p"], 1.0, names)
        tables = theirs["anova"] if isinstance(theirs["anova"], Mapping) else {}  # no terms, no tables
        for roman, other in tables.items():
            items += _anova(method, roman, interlace.anova_table(result, type=_TYPES[roman], ddf=ddf), other)
        return items

    return compare


def _anova(method: str, roman: str, ours: pd.DataFrame, theirs: Mapping[str, Any]) -> list[_Item]:
    _aligned(list(ours.index), theirs["terms"])
    if ours["NumDF"].tolist() != [int(df) for df in theirs["num_df"]]:
        raise AssertionError(f"NumDF of type {roman}: {ours['NumDF'].tolist()} here, {theirs['num_df']} in R")
    names = [f"type {roman}, {term}" for term in ours.index]
    items = _relative(f"{method}_anova_df", ours["DenDF"], theirs["den_df"], names)
    items += _small_or_relative(f"{method}_anova_f", ours["F value"], theirs["f"], names)
    items += _differences(f"{method}_anova_p", ours["Pr(>F)"], theirs["p"], 1.0, names)
    return items + _relative(f"{method}_anova_sum_sq", ours["Sum Sq"], theirs["sum_sq"], names)


def _chi_square(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    items = []
    for roman in ("II", "III"):
        table, other = interlace.anova_table(ours.result, type=_TYPES[roman]), theirs[roman]
        _aligned(list(table.index), other["terms"])
        names = [f"type {roman}, {term}" for term in table.index]
        items += _differences("chi_square_df", table["Df"], other["df"], 1.0, names)
        items += _small_or_relative("chi_square", table["Chisq"], other["chi_square"], names)
        items += _differences("chi_square_p", table["Pr(>Chisq)"], other["p"], 1.0, names)
    return items


def _ranova(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    table = ranova(ours.result)
    names = list(table.index)
    tests = slice(1, None)
    items = _differences("ranova_npar", table["npar"], theirs["npar"], 1.0, names)
    items += _differences("ranova_npar", table["Df"].iloc[tests].astype(float), theirs["df"][tests], 1.0, names[tests])
    items += _differences("ranova_log_likelihood", table["logLik"], theirs["log_likelihood"], 1.0, names)
    items += _differences("ranova_lrt", table["LRT"].iloc[tests], theirs["lrt"][tests], 1.0, names[tests])
    return items + _differences("ranova_p", table["Pr(>Chisq)"].iloc[tests], theirs["p"][tests], 1.0, names[tests])


def _effect_sizes(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    r2, share = r2_nakagawa(ours.result), icc(ours.result)
    mine = {"conditional": r2["conditional"], "marginal": r2["marginal"]} | share.to_dict()
    return [
        _Item("effect_sizes", abs(mine[name] - float(np.asarray(theirs[name]).item())), name)
        for name in ("conditional", "marginal", "adjusted", "unadjusted")
    ]


def _means(method: str) -> Callable[[_Ours, Mapping[str, Any]], list[_Item]]:
    def compare(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
        found = emmeans(ours.result, theirs["factor"][0], ddf=_DDF[method])
        means, differences = found.to_frame(), pairs(found).to_frame()
        items = _means_table(means, "emmean", theirs["means"])
        items += _means_table(differences, "estimate", theirs["pairs"])
        names = [str(name) for name in theirs["pairs"]["rows"]]
        return items + _differences("means_p", differences["p.value"], theirs["pairs"]["p"], 1.0, names)

    return compare


def _means_table(ours: pd.DataFrame, estimate: str, theirs: Mapping[str, Any]) -> list[_Item]:
    names = [str(name) for name in theirs["rows"]]
    if [str(label) for label in ours.iloc[:, 0]] != names:
        raise AssertionError(f"means differ: {ours.iloc[:, 0].tolist()} here, {names} in R")
    return [
        *_differences("means", ours[estimate], theirs["estimate"], np.asarray(theirs["se"]), names),
        *_relative("means_se", ours["SE"], theirs["se"], names),
        *_relative("means_df", ours["df"], theirs["df"], names),
    ]


# ---- intervals -----------------------------------------------------------------------------------------------------


def _limits(quantity: str, ours: pd.DataFrame, theirs: Mapping[str, Any]) -> list[_Item]:
    """Differences of both ends, in widths of R's interval."""
    lower, upper = np.asarray(theirs["lower"], dtype=float), np.asarray(theirs["upper"], dtype=float)
    names = list(ours.index)
    known = np.isfinite(lower) & np.isfinite(upper)
    if "names" in theirs:
        _aligned([name for name in names if "|" not in name], [name for name in theirs["names"] if "|" not in name])
        if [name for name in names if "|" in name] != [name for name in theirs["names"] if "|" in name]:
            raise AssertionError(f"{quantity}: rows {names} here, {theirs['names']} in R")
    kept = [name for name, good in zip(names, known, strict=True) if good]
    items = []
    for column, ends, inwards in zip(ours.columns[1:], (lower, upper), (1.0, -1.0), strict=True):
        inside = inwards * (ours[column].to_numpy()[known] - ends[known]) / (upper - lower)[known]
        items += [_Item(quantity, float(value), f"{name} {column}") for name, value in zip(kept, inside, strict=True)]
    return items


def _wald(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    table = ours.by("normal").confint(method="wald", scale="sd", parm="beta_")
    return _limits("wald", table, theirs)


def _profile(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    kind = "spline_profile" if ours.case.family is None else "spline_profile_generalized"
    return _limits(kind, ours.result.confint(scale="sd"), theirs)


def _exact(kind: str) -> Callable[[_Ours, Mapping[str, Any]], list[_Item]]:
    def compare(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
        if kind == "theta":
            table = ours.result.confint(scale="theta")
            return _limits("exact_theta", table.drop(index="residual"), theirs)
        return _limits(f"exact_{kind}", ours.result.confint(scale="sd", parm=_GROUPS[kind]), theirs)

    return compare


def _exact_generalized(ours: _Ours, theirs: Mapping[str, Any]) -> list[_Item]:
    parm = ["theta_", "beta_"]
    return _limits("exact_generalized", ours.result.confint(scale="theta", parm=parm), theirs)


_GROUPS = {"variances": "theta_", "coefficients": "beta_"}
_PARTS: dict[str, Callable[[_Ours, Any], list[_Item]]] = {
    "satterthwaite": _tests("satterthwaite"),
    "kenward_roger": _tests("kenward_roger"),
    "anova": _chi_square,
    "wald": _wald,
    "ranova": _ranova,
    "effect_sizes": _effect_sizes,
    "means_satterthwaite": _means("satterthwaite"),
    "means_kenward_roger": _means("kenward_roger"),
    "profile": _profile,
    "exact_theta": _exact("theta"),
    "exact_variances": _exact("variances"),
    "exact_coefficients": _exact("coefficients"),
    "exact": _exact_generalized,
}
