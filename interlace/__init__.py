"""Mixed-effects models for researchers: every number checked against R.

Public names are loaded on first use, so that ``import interlace`` stays fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interlace.lazy import load as _load

if TYPE_CHECKING:
    from interlace import datasets, diagnostics, families, federated, influence, plotting, rbridge, reporting
    from interlace.api import fit, glmer, glmer_nb
    from interlace.diagnostics.augmented import hlm_augment
    from interlace.diagnostics.checks_of_model import check_model
    from interlace.diagnostics.leverages import leverage
    from interlace.diagnostics.residual_tables import hlm_resid
    from interlace.errors import (
        ConvergenceWarning,
        DataError,
        FormulaError,
        InterlaceError,
        ModelError,
        RankDeficiencyWarning,
    )
    from interlace.estimate.control import Control
    from interlace.estimate.state import Check
    from interlace.reporting.bundle import report
    from interlace.reporting.comparison import compare
    from interlace.reporting.verification import verify
    from interlace.results.comparison import aic_table, anova, drop1_lrt, ranova
    from interlace.results.contrasts_of_means import contrast, pairs
    from interlace.results.cross_val import cross_val
    from interlace.results.effect_sizes import icc, r2_nakagawa
    from interlace.results.emmeans import emmeans
    from interlace.results.glmm import GLMMResult
    from interlace.results.lmm import LMMResult
    from interlace.results.loading import load
    from interlace.results.optimizers import allFit, rePCA
    from interlace.results.tests import anova_table, contest, drop1
    from interlace.results.varcorr import VarCorr, isSingular, ranef

__version__ = "0.1.0"

__all__ = [
    "Check",
    "Control",
    "ConvergenceWarning",
    "DataError",
    "FormulaError",
    "GLMMResult",
    "InterlaceError",
    "LMMResult",
    "ModelError",
    "RankDeficiencyWarning",
    "VarCorr",
    "__version__",
    "aic_table",
    "allFit",
    "anova",
    "anova_table",
    "check_model",
    "compare",
    "contest",
    "contrast",
    "cross_val",
    "datasets",
    "diagnostics",
    "drop1",
    "drop1_lrt",
    "emmeans",
    "families",
    "federated",
    "fit",
    "glmer",
    "glmer_nb",
    "hlm_augment",
    "hlm_resid",
    "icc",
    "influence",
    "isSingular",
    "leverage",
    "load",
    "pairs",
    "plotting",
    "r2_nakagawa",
    "ranef",
    "ranova",
    "rbridge",
    "rePCA",
    "report",
    "reporting",
    "verify",
]

_HOME: dict[str, str] = {
    "Check": "estimate.state",
    "Control": "estimate.control",
    "ConvergenceWarning": "errors",
    "DataError": "errors",
    "FormulaError": "errors",
    "GLMMResult": "results.glmm",
    "InterlaceError": "errors",
    "LMMResult": "results.lmm",
    "ModelError": "errors",
    "RankDeficiencyWarning": "errors",
    "VarCorr": "results.varcorr",
    "aic_table": "results.comparison",
    "allFit": "results.optimizers",
    "anova": "results.comparison",
    "anova_table": "results.tests",
    "check_model": "diagnostics.checks_of_model",
    "compare": "reporting.comparison",
    "contest": "results.tests",
    "contrast": "results.contrasts_of_means",
    "cross_val": "results.cross_val",
    "datasets": "datasets",
    "diagnostics": "diagnostics",
    "drop1": "results.tests",
    "drop1_lrt": "results.comparison",
    "emmeans": "results.emmeans",
    "families": "families",
    "federated": "federated",
    "fit": "api",
    "glmer": "api",
    "glmer_nb": "api",
    "hlm_augment": "diagnostics.augmented",
    "hlm_resid": "diagnostics.residual_tables",
    "icc": "results.effect_sizes",
    "influence": "influence",
    "isSingular": "results.varcorr",
    "leverage": "diagnostics.leverages",
    "load": "results.loading",
    "pairs": "results.contrasts_of_means",
    "plotting": "plotting",
    "r2_nakagawa": "results.effect_sizes",
    "ranef": "results.varcorr",
    "ranova": "results.comparison",
    "rbridge": "rbridge",
    "rePCA": "results.optimizers",
    "report": "reporting.bundle",
    "reporting": "reporting",
    "verify": "reporting.verification",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    return _load(__name__, _HOME, name)


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
