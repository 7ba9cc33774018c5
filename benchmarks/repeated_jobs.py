"""How each Python library fits one model many times: the bootstrap and the deletion of `benchmarks.cases`.

The answer is a number that has to agree between libraries: of the bootstrap the standard error of the last
coefficient, of the deletion its largest change without a subject (scaled measures such as Cook's distance are defined
differently in lme4 and in HLMdiag). mixedlm's influence measures are approximations without refits, so they are not
timed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.cases import REPLICATES, Case
from benchmarks.linear_jobs import Job

__all__ = ["JOBS"]


def interlace_job(case: Case) -> Job:
    """`bootstrap` with everything that it collects, or every influence measure of rows and of subjects."""
    import interlace
    from interlace.influence import lmer_influence_measures

    result = interlace.fit(case.formula, case.data(), method=case.method)
    if case.kind == "bootstrap":
        return (lambda: result.bootstrap(REPLICATES, seed=1)), lambda found: float(found.se.iloc[-1])
    return (
        lambda: [lmer_influence_measures(result, level) for level in (1, "Subject")],
        lambda tables: float(tables[1]["dfbeta.Days"].abs().max()),
    )


def lme_python_job(case: Case) -> Job | None:
    """lme-python's bootstrap on one worker.

    What it calls parametric keeps the random effects at their modes, so its standard errors are smaller, and marked.
    """
    import lme_python
    import polars

    if case.kind != "bootstrap":
        return None
    data = polars.from_pandas(case.data())
    fitted = lme_python.lmer(case.formula, data, case.method == "REML")

    def work() -> Any:
        return lme_python.boot_lmer(
            case.formula, data, fitted, nsim=REPLICATES, reml=case.method == "REML", seed=1, n_jobs=1
        )

    def answer(found: Any) -> float:
        last = found.fixed_names[-1]
        values = [replicate.coefficients[found.fixed_names.index(last)] for replicate in found.replicates]
        return float(np.std(values, ddof=1))

    return work, answer


def mixedlm_job(case: Case) -> Job | None:
    """Mixedlm's bootstrap on one worker."""
    import mixedlm

    if case.kind != "bootstrap":
        return None
    fitted = mixedlm.lmer(case.formula, case.data(), REML=case.method == "REML")

    def work() -> Any:
        return mixedlm.bootMer(fitted, nsim=REPLICATES, seed=1)

    return work, lambda found: float(np.nanstd(np.asarray(found.beta_samples)[:, -1], ddof=1))


JOBS = {"interlace": interlace_job, "lme-python": lme_python_job, "mixedlm": mixedlm_job}
