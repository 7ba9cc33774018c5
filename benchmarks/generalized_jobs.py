"""How each Python library fits the generalized models of `benchmarks.cases`.

statsmodels is absent: its BinomialBayesMixedGLM and PoissonBayesMixedGLM approximate a posterior distribution (by
variational Bayes or at its mode, with priors) and maximize no likelihood that could be compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.cases import NEGATIVE_BINOMIAL, Case
from benchmarks.linear_jobs import Job, gpboost_work

__all__ = ["JOBS"]

LIKELIHOODS = {
    "binomial": "bernoulli_logit",
    "poisson": "poisson",
    NEGATIVE_BINOMIAL: "negative_binomial",
}


def plain_response(case: Case) -> np.ndarray:
    """The response as numbers: a proportion, a count, or 1 for the second level of a factor."""
    data = case.data()
    if case.response in data and isinstance(data[case.response].dtype, pd.CategoricalDtype):
        return data[case.response].cat.codes.to_numpy(float)
    return data.eval(case.response).to_numpy(float)


def plain(case: Case) -> tuple[str, pd.DataFrame]:
    """Formula and frame for libraries whose formulas need one numeric column on the left."""
    right = case.formula.split("~", maxsplit=1)[1]
    return f"response ~ {right}", case.data().assign(response=plain_response(case))


def saturated(case: Case) -> float:
    """-2 log-likelihood of the saturated model."""
    y = plain_response(case)
    if case.family == "poisson":
        return float(-2.0 * stats.poisson.logpmf(y, y).sum())
    trials = np.ones_like(y) if case.weights is None else case.data()[case.weights].to_numpy(float)
    return float(-2.0 * stats.binom.logpmf(np.rint(trials * y), trials, y).sum())


def interlace_job(case: Case) -> Job:
    """`interlace.glmer` or `interlace.glmer_nb` from a pandas frame."""
    import interlace

    data = case.data()

    def criterion(result: Any) -> float:
        return float(-2.0 * result.llf)

    if case.family == NEGATIVE_BINOMIAL:
        return (lambda: interlace.glmer_nb(case.formula, data)), criterion
    return (lambda: interlace.glmer(case.formula, data, case.family, weights=case.weights, nAGQ=case.nAGQ)), criterion


def lme_python_job(case: Case) -> Job | None:
    """lme-python by Laplace, from a polars frame; its deviance leaves out the saturated model.

    Its estimates are those of ``nAGQ=0`` in lme4, which the excess shows. With several nodes it returns the same ones
    and another criterion: that is not the fit by quadrature which is timed here. It has no negative binomial.
    """
    import lme_python
    import polars

    if case.nAGQ > 1 or case.family == NEGATIVE_BINOMIAL:
        return None
    formula, frame = plain(case)
    data = polars.from_pandas(frame)
    weights = None if case.weights is None else frame[case.weights].tolist()

    def criterion(result: Any) -> float:
        return float(-2.0 * result.log_likelihood) + saturated(case)

    return (lambda: lme_python.glmer_weighted(formula, data, case.family, weights=weights)), criterion


def mixedlm_job(case: Case) -> Job | None:
    """Mixedlm from a pandas frame; its negative binomial has a known theta only."""
    import mixedlm
    from mixedlm import families

    if case.family == NEGATIVE_BINOMIAL:
        return None
    formula, data = plain(case)
    family = {"binomial": families.Binomial, "poisson": families.Poisson}[str(case.family)]()

    def criterion(result: Any) -> float:
        value = result.logLik()
        return -2.0 * float(getattr(value, "value", value))

    return (lambda: mixedlm.glmer(formula, data, family=family, weights=case.weights, nAGQ=case.nAGQ)), criterion


def gpboost_job(case: Case) -> Job | None:
    """Gpboost by Laplace; with a Cholesky factorization, never slower than its default here, up to 20 times faster."""
    if case.nAGQ > 1:
        return None
    likelihood, weights = LIKELIHOODS[str(case.family)], None
    if case.weights is not None:
        likelihood, weights = "binomial_logit", case.data()[case.weights].to_numpy(float)
    return gpboost_work(case, plain_response(case), likelihood, weights, matrix_inversion_method="cholesky")


JOBS: dict[str, Callable[[Case], Job | None]] = {
    "interlace": interlace_job,
    "lme-python": lme_python_job,
    "mixedlm": mixedlm_job,
    "gpboost": gpboost_job,
}
