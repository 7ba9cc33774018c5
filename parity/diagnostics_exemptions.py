"""Where HLMdiag 0.5.1 stops or is wrong, so that there is nothing to compare: one table, each entry with its reason."""

from __future__ import annotations

from parity.diagnostics_gaps import Exempt

__all__ = ["EXEMPT"]

#: ``fault`` counts as docs/influence-differences.md does.
EXEMPT: tuple[Exempt, ...] = (
    Exempt("penicillin_crossed", "influence.*.approx_FALSE", 14, "no refits of crossed models"),
    Exempt("penicillin_crossed", "hlm_resid.*", 14, "no residual tables for crossed models"),
    Exempt("penicillin_crossed", "pull_resid.ls*", 14, "no least-squares residuals for crossed models"),
    Exempt("autism_centred", "influence.*.approx_FALSE", 5, "refits need columns of the model frame"),
    Exempt("autism_centred", "hlm_resid.childid.*", 5, "least squares need columns of the model frame"),
    Exempt("autism_rs", "hlm_resid.childid.*", 17, "a factor constant within groups stops least squares"),
    Exempt("ahd_*", "hlm_resid.subject.*", 17, "a factor constant within groups stops least squares"),
    Exempt("sleepstudy_uncorrelated", "hlm_resid.Subject.standardize_TRUE", 11, "two terms on one factor"),
    Exempt("sleepstudy_rs_ml", "influence.*.approx_FALSE.measures", 6, "REML refits against an ML original"),
    Exempt("wages_rs", "influence.1.columns", 12, "a column named id stops hlm_influence"),
)
