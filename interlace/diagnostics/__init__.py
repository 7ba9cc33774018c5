"""What is wrong with a fitted model: influence, residuals, leverage, checks.

Public names are loaded on first use.
"""

from __future__ import annotations

from typing import Any

from interlace.lazy import load

__all__ = [
    "CaseDeletion",
    "Lme4Influence",
    "case_delete",
    "check_model",
    "cooks_distance",
    "covratio",
    "covtrace",
    "dfbetas",
    "hatvalues",
    "hlm_augment",
    "hlm_influence",
    "hlm_resid",
    "internal_cutoff",
    "leverage",
    "lme4_cooks_distance",
    "lme4_influence",
    "lmer_influence_measures",
    "mdffits",
    "n_influential",
    "pull_resid",
    "quantile_residuals",
    "resid_conditional",
    "resid_marginal",
    "rotate_ranef",
    "rstudent",
    "rvc",
    "tau_gap",
]

_HOME: dict[str, str] = {
    "CaseDeletion": "case_deletion",
    "Lme4Influence": "lme4_measures",
    "case_delete": "case_deletion",
    "check_model": "checks_of_model",
    "cooks_distance": "influence_series",
    "covratio": "influence_series",
    "covtrace": "influence_series",
    "dfbetas": "influence_series",
    "hatvalues": "lme4_measures",
    "hlm_augment": "augmented",
    "hlm_influence": "influence_tables",
    "hlm_resid": "residual_tables",
    "internal_cutoff": "cutoffs",
    "leverage": "leverages",
    "lme4_cooks_distance": "lme4_measures",
    "lme4_influence": "lme4_measures",
    "lmer_influence_measures": "influence_tables",
    "mdffits": "influence_series",
    "n_influential": "cutoffs",
    "pull_resid": "residual_tables",
    "quantile_residuals": "quantile",
    "resid_conditional": "row_residuals",
    "resid_marginal": "row_residuals",
    "rotate_ranef": "rotation",
    "rstudent": "lme4_measures",
    "rvc": "influence_series",
    "tau_gap": "cutoffs",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    return load(__name__, _HOME, name)


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
