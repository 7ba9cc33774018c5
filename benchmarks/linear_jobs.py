"""How each Python library fits the linear models of `benchmarks.cases`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case, new_response

__all__ = ["JOBS", "Job", "gpboost_work"]

#: One piece of work ready to run, and how to read the criterion (-2 log-likelihood) from what it returns.
Job = tuple[Callable[[], Any], Callable[[Any], float] | None]


def interlace_job(case: Case) -> Job:
    """`interlace.fit` from a pandas frame, or `refit`."""
    import interlace

    data = case.data()

    def criterion(result: Any) -> float:
        return float(-2.0 * result.llf)

    if case.kind == "refit":
        fitted, y = interlace.fit(case.formula, data, method=case.method), new_response(case)
        return (lambda: fitted.refit(y)), criterion
    return (lambda: interlace.fit(case.formula, data, method=case.method)), criterion


def lme_python_job(case: Case) -> Job:
    """lme-python from a polars frame, which is what it takes."""
    import lme_python
    import polars

    data = polars.from_pandas(case.data())
    reml = case.method == "REML"

    def criterion(result: Any) -> float:
        return float(result.reml_criterion if reml else -2.0 * result.log_likelihood)

    if case.kind == "refit":
        prepared, y = lme_python.prepare_lmer(case.formula, data), new_response(case)
        return (lambda: lme_python.fit_prepared(prepared, reml, y=y)), criterion
    return (lambda: lme_python.lmer(case.formula, data, reml)), criterion


def mixedlm_job(case: Case) -> Job:
    """Mixedlm from a pandas frame."""
    import mixedlm

    data, reml = case.data(), case.method == "REML"

    def criterion(result: Any) -> float:
        value = result.logLik()
        return -2.0 * float(getattr(value, "value", value))

    if case.kind == "refit":
        fitted, y = mixedlm.lmer(case.formula, data, REML=reml), new_response(case)
        return (lambda: fitted.refit(y)), criterion
    return (lambda: mixedlm.lmer(case.formula, data, REML=reml)), criterion


def statsmodels_job(case: Case) -> Job | None:
    """MixedLM where it can express the model and finish; its restricted likelihood has other constants."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    data = case.data()
    if case.key == "sleepstudy":
        return (lambda: MixedLM.from_formula("Reaction ~ Days", data, re_formula="~Days", groups="Subject").fit()), None
    if case.key == "penicillin":
        parts = {"plate": "0 + C(plate)", "sample": "0 + C(sample)"}
        one = data.assign(one=1)
        return (lambda: MixedLM.from_formula("diameter ~ 1", one, groups="one", vc_formula=parts).fit()), None
    return None


def gpboost_job(case: Case) -> Job | None:
    """Gpboost for models with independent random intercepts by ML."""
    if case.key != "insteval":
        return None
    return gpboost_work(case, case.data()["y"].to_numpy(float), "gaussian")


def gpboost_work(case: Case, y: Any, likelihood: str, weights: Any = None, **options: Any) -> Job:
    """Gpboost from arrays that are ready: it knows no formulas.

    Its default method for crossed factors estimates the log-determinant from random vectors, so that the reported
    likelihood is off (by up to 3 here) and may even be better than the optimum. The criterion is therefore evaluated
    with a Cholesky factorization, at the estimates and outside the timing.
    """
    import gpboost
    from formulaic import model_matrix

    data = case.data()
    groups, X = data[case.groups].to_numpy(str), model_matrix(case.fixed, data).to_numpy(float)
    parts = {"group_data": groups, "likelihood": likelihood, "weights": weights, "num_parallel_threads": 1}

    def work() -> Any:
        model = gpboost.GPModel(**parts, **options)
        model.fit(y=y, X=X)
        return model

    def criterion(model: Any) -> float:
        aux = model.get_aux_pars(format_pandas=False)
        exact = gpboost.GPModel(**parts, matrix_inversion_method="cholesky")
        value = exact.neg_log_likelihood(
            model.get_cov_pars(format_pandas=False).ravel(),
            y,
            fixed_effects=X @ model.get_coef(format_pandas=False).ravel(),
            aux_pars=aux if likelihood == "negative_binomial" else None,
        )
        return 2.0 * float(value)

    return work, criterion


JOBS: dict[str, Callable[[Case], Job | None]] = {
    "interlace": interlace_job,
    "lme-python": lme_python_job,
    "mixedlm": mixedlm_job,
    "statsmodels": statsmodels_job,
    "gpboost": gpboost_job,
}
