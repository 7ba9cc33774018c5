"""Tidy tables with broom's columns, dots replaced by underscores except in the per-row ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.estimate.derived import elimination
from interlace.estimate.hat import conditional_cooks_distance, hat_diagonal
from interlace.estimate.state import FitState
from interlace.inference import wald
from interlace.prediction.response import linear_predictor, response_model
from interlace.results.fixed import coefficient_names, coefficient_tests_of
from interlace.results.rows import model_frame, residuals
from interlace.results.varcorr import variance_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.estimate.state import State
    from interlace.results.criteria import Criteria
    from interlace.results.fixed import FixedEffects
    from interlace.results.members import Members
    from interlace.results.random import RandomEffects

__all__ = ["Effects", "augment", "coefficient_table", "glance", "tidy"]

Effects: TypeAlias = Literal["fixed", "ran_pars", "ran_vals"]
_COLUMNS = ["effect", "group", "term", "estimate", "std_error", "statistic", "df", "p_value", "conf_low", "conf_high"]
_TEXT = frozenset({"effect", "group", "level", "term"})


def coefficient_table(result: FixedEffects, level: float = 0.95) -> pd.DataFrame:
    """One row a coefficient: estimate, std_error, statistic, df, p_value, conf_low, conf_high."""
    found = coefficient_tests_of(result).single(np.eye(len(result.state.beta)))
    ends = wald.interval(found.estimate, found.se, found.df, level)
    return pd.DataFrame(
        {
            "estimate": found.estimate,
            "std_error": found.se,
            "statistic": found.statistic,
            "df": found.df,
            "p_value": found.p_value,
            "conf_low": ends[:, 0],
            "conf_high": ends[:, 1],
        },
        index=coefficient_names(result.state),
    )


def _exponentiated(table: pd.DataFrame) -> pd.DataFrame:
    """Coefficients as ratios; their standard errors by the delta method."""
    out = table.copy()
    with np.errstate(over="ignore", invalid="ignore"):
        for name in ("estimate", "conf_low", "conf_high"):
            out[name] = np.exp(table[name])
        out["std_error"] *= out["estimate"]
    return out


def tidy(
    result: Members,
    effects: Sequence[Effects] = ("fixed", "ran_pars"),
    *,
    level: float = 0.95,
    exponentiate: bool = False,
) -> pd.DataFrame:
    """One row an estimate; see ``Reports.tidy``."""
    wanted = (effects,) if isinstance(effects, str) else tuple(effects)
    unknown = sorted(set(wanted) - set(get_args(Effects)))
    if unknown:
        raise ValueError(f"effects may be {', '.join(get_args(Effects))}; not {', '.join(map(repr, unknown))}")
    parts = []
    if "fixed" in wanted:
        fixed = coefficient_table(result, level)
        fixed = _exponentiated(fixed) if exponentiate else fixed
        parts.append(fixed.rename_axis("term").reset_index().assign(effect="fixed"))
    if "ran_pars" in wanted:
        parts.append(_random_parameters(result.state))
    if "ran_vals" in wanted:
        parts.append(_random_values(result, level))
    columns = [*_COLUMNS[:2], "level", *_COLUMNS[2:]] if "ran_vals" in wanted else _COLUMNS
    out = pd.concat([part.reindex(columns=columns) for part in parts] or [pd.DataFrame(columns=columns)])
    text = [name for name in columns if name in _TEXT]
    out[text] = out[text].astype(object).where(out[text].notna(), None)
    return out.reset_index(drop=True)


def _random_parameters(state: State) -> pd.DataFrame:
    """Name standard deviations and correlations as broom.mixed does: ``sd__Days``, ``cor__Intercept.Days``."""
    table = variance_table(state).as_dataframe()
    terms = []
    for var1, var2 in zip(table["var1"], table["var2"], strict=True):
        if var1 is None:
            terms.append("sd__Observation")
        else:
            terms.append(f"sd__{var1}" if var2 is None else f"cor__{var1}.{var2}")
    return pd.DataFrame({"effect": "ran_pars", "group": table["grp"], "term": terms, "estimate": table["sdcor"]})


def _random_values(result: RandomEffects, level: float) -> pd.DataFrame:
    """Conditional modes with conditional standard deviations and normal intervals, as broom.mixed gives them."""
    parts = []
    spread = result.random_effects_se
    for key, modes in result.random_effects.items():
        estimate, se = (pd.DataFrame(part).stack() for part in (modes, spread[key]))
        ends = wald.interval(estimate.to_numpy(), se.to_numpy(), level=level)
        labels = estimate.index
        parts.append(
            pd.DataFrame(
                {
                    "effect": "ran_vals",
                    "group": key,
                    "level": labels.get_level_values(0).astype(str),
                    "term": labels.get_level_values(1),
                    "estimate": estimate.to_numpy(),
                    "std_error": se.to_numpy(),
                    "conf_low": ends[:, 0],
                    "conf_high": ends[:, 1],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def glance(result: Criteria) -> pd.DataFrame:
    """One row about the whole fit; see ``Reports.glance``."""
    return pd.DataFrame(
        {
            "nobs": [result.nobs],
            "sigma": [result.sigma],
            "logLik": [result.llf],
            "AIC": [result.aic],
            "BIC": [result.bic],
            ("REMLcrit" if result.state.reml else "deviance"): [result.deviance],
            "df_residual": [result.df_resid],
        }
    )


def augment(state: State) -> pd.DataFrame:
    """Model frame with one column for each thing known about a row; see ``Reports.augment``."""
    offset, out = state.problem.design.offset, model_frame(state)
    model, eta = response_model(state), linear_predictor(state)
    with np.errstate(divide="ignore", invalid="ignore"):  # a mean that rounds to 0 or 1 leaves no variance
        root = np.sqrt(model.weights / model.family.variance(state.fitted))
        from_predictor = root * model.link.d1(eta)
    out[".fitted"] = eta
    out[".resid"] = residuals(state)
    if isinstance(state, FitState):
        hat = hat_diagonal(elimination(state), state.problem.rows)
        out[".hat"] = hat
        out[".cooksd"] = conditional_cooks_distance(state, hat)
    out[".fixed"] = state.fixed
    out[".mu"] = state.fitted
    out[".offset"] = 0.0 if offset is None else offset
    out[".sqrtXwt"] = from_predictor
    out[".sqrtrwt"] = root
    out[".weights"] = model.weights
    out[".wtres"] = residuals(state, "pearson")
    out[".eta"] = eta
    return out
