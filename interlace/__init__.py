"""Mixed-effects models for researchers: every number checked against R.

Public names are loaded on first use, so that ``import interlace`` stays fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interlace import datasets, diagnostics, families, influence, plotting, rbridge, reporting
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

_HOME = {
    "Check": "interlace.estimate.state",
    "Control": "interlace.estimate.control",
    "ConvergenceWarning": "interlace.errors",
    "DataError": "interlace.errors",
    "FormulaError": "interlace.errors",
    "GLMMResult": "interlace.results.glmm",
    "InterlaceError": "interlace.errors",
    "LMMResult": "interlace.results.lmm",
    "ModelError": "interlace.errors",
    "RankDeficiencyWarning": "interlace.errors",
    "VarCorr": "interlace.results.varcorr",
    "aic_table": "interlace.results.comparison",
    "allFit": "interlace.results.optimizers",
    "anova": "interlace.results.comparison",
    "anova_table": "interlace.results.tests",
    "check_model": "interlace.diagnostics.checks_of_model",
    "compare": "interlace.reporting.comparison",
    "contest": "interlace.results.tests",
    "contrast": "interlace.results.contrasts_of_means",
    "cross_val": "interlace.results.cross_val",
    "drop1": "interlace.results.tests",
    "drop1_lrt": "interlace.results.comparison",
    "emmeans": "interlace.results.emmeans",
    "fit": "interlace.api",
    "glmer": "interlace.api",
    "glmer_nb": "interlace.api",
    "hlm_augment": "interlace.diagnostics.augmented",
    "hlm_resid": "interlace.diagnostics.residual_tables",
    "icc": "interlace.results.effect_sizes",
    "isSingular": "interlace.results.varcorr",
    "leverage": "interlace.diagnostics.leverages",
    "load": "interlace.results.loading",
    "pairs": "interlace.results.contrasts_of_means",
    "r2_nakagawa": "interlace.results.effect_sizes",
    "ranef": "interlace.results.varcorr",
    "ranova": "interlace.results.comparison",
    "rePCA": "interlace.results.optimizers",
    "report": "interlace.reporting.bundle",
    "verify": "interlace.reporting.verification",
}
_MODULES = frozenset({"datasets", "diagnostics", "families", "influence", "plotting", "rbridge", "reporting"})


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = import_module(f"interlace.{name}")
    else:
        raise AttributeError(f"module 'interlace' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
