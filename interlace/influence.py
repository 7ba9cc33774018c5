"""Influence of rows and groups on a fit: what HLMdiag and lme4 measure, for any mixed model.

=========================================  ============================================================================
`hlm_influence`                            measures in HLMdiag's columns, beside the data
`lmer_influence_measures`                  every measure in one table
`case_delete`                              the refits without each unit, as an object
`cooks_distance`, `mdffits`, `covtrace`,   single measures, of a model or of refits made before
`covratio`, `rvc`, `dfbetas`
`n_influential`, `internal_cutoff`,        which units stand out, and how far the random effects' standard deviations
`tau_gap`                                  move without all of them
`lme4_influence`, `lme4_cooks_distance`,   lme4's measures of the same names, which differ
`hatvalues`, `rstudent`
=========================================  ============================================================================

Everything here is also in :mod:`interlace.diagnostics`.

Examples
--------
>>> import interlace
>>> from interlace.influence import hlm_influence
>>> result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
>>> hlm_influence(result, level="Subject").nlargest(1, "cooksd")["Subject"].item()
'335'
"""

from interlace.diagnostics.case_deletion import CaseDeletion, case_delete
from interlace.diagnostics.cutoffs import internal_cutoff, n_influential, tau_gap
from interlace.diagnostics.influence_series import cooks_distance, covratio, covtrace, dfbetas, mdffits, rvc
from interlace.diagnostics.influence_tables import hlm_influence, lmer_influence_measures
from interlace.diagnostics.lme4_measures import (
    Lme4Influence,
    hatvalues,
    lme4_cooks_distance,
    lme4_influence,
    rstudent,
)

__all__ = [
    "CaseDeletion",
    "Lme4Influence",
    "case_delete",
    "cooks_distance",
    "covratio",
    "covtrace",
    "dfbetas",
    "hatvalues",
    "hlm_influence",
    "internal_cutoff",
    "lme4_cooks_distance",
    "lme4_influence",
    "lmer_influence_measures",
    "mdffits",
    "n_influential",
    "rstudent",
    "rvc",
    "tau_gap",
]
