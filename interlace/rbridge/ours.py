"""A fit of interlace as the same plain numbers that come back from R."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.core.families import NegativeBinomial
from interlace.rbridge.names import r_label, r_name, r_names
from interlace.rbridge.numbers import RESIDUALS, FitNumbers, GeneralizedNumbers, Prediction, TermNumbers
from interlace.results.glmm import GLMMResult
from interlace.typing import FloatArray

if TYPE_CHECKING:
    import pandas as pd

    from interlace.frames.design import Design, RandomTerm

__all__ = ["numbers_of"]


def numbers_of(result: Any, newdata: Mapping[str, pd.DataFrame] | None = None) -> FitNumbers:
    """Read a result of ``interlace.fit``, ``glmer`` or ``glmer_nb`` through its public members.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    newdata : dict from label to DataFrame, optional
        Rows to predict.

    Returns
    -------
    FitNumbers
    """
    design = result.state.problem.design
    beta = result.fe_params
    return FitNumbers(
        names=_coefficient_names(list(beta.index), design.x_names),
        beta=beta.to_numpy(dtype=np.float64),
        # lme4's covariance has no adjustment for small samples, which fe_cov of a Kenward-Roger fit has.
        vcov=np.asarray(result.state.beta_cov, dtype=np.float64),
        sigma=float(result.sigma),
        terms=_terms(result, design),
        rows=np.asarray(design.rows, dtype=np.int64),
        fitted=np.asarray(result.fittedvalues, dtype=np.float64),
        residuals=np.asarray(result.residuals(type="response"), dtype=np.float64),
        criterion=float(result.reml_criterion if result.state.reml else -2.0 * result.llf),
        log_likelihood=float(result.llf),
        aic=float(result.aic),
        bic=float(result.bic),
        n_rows=int(result.nobs),
        n_parameters=int(result.n_params),
        df_residual=int(result.df_resid),
        reml=bool(result.state.reml and len(beta)),  # lme4 calls a fit without coefficients one by ML; it is both
        singular=bool(result.is_singular),
        predictions={label: _prediction(result, frame) for label, frame in (newdata or {}).items()},
        generalized=_generalized(result) if isinstance(result, GLMMResult) else None,
    )


def _generalized(result: GLMMResult) -> GeneralizedNumbers:
    family = result.family
    return GeneralizedNumbers(
        family=family.name,
        link=result.link.name,
        nAGQ=result.call.nAGQ,
        deviance=float(result.deviance),
        eta=np.asarray(result.predict(type="link"), dtype=np.float64),
        residuals={kind: np.asarray(result.residuals(type=kind), dtype=np.float64) for kind in RESIDUALS},
        nb_theta=family.theta if isinstance(family, NegativeBinomial) and result.call.free_theta else None,
    )


def _coefficient_names(kept: list[str], everything: tuple[str, ...]) -> tuple[str, ...]:
    named = dict(zip(everything, r_names(everything), strict=True))  # dropped columns count when R numbers contrasts
    return tuple(named[name] for name in kept)


def _by_term(theta: FloatArray, terms: tuple[RandomTerm, ...]) -> list[tuple[RandomTerm, FloatArray]]:
    sizes = [term.Z.shape[1] for term in terms]
    counts = [k if term.structure == "diagonal" else k * (k + 1) // 2 for term, k in zip(terms, sizes, strict=True)]
    return list(zip(terms, np.split(np.asarray(theta), np.cumsum(counts)[:-1]), strict=True))


def _terms(result: Any, design: Design) -> dict[str, TermNumbers]:
    frame = design.frame
    out = {}
    for (term, theta), spec in zip(_by_term(result.theta, design.terms), design.spec.random, strict=True):
        out[term.key] = _term(result, term, theta, _labels(term, [frame[name] for name in spec.group.group.columns]))
    return out


def _labels(term: RandomTerm, columns: Sequence[pd.Series[Any]]) -> tuple[str, ...]:
    """Labels in R; those of several columns are put together again, because each part is written as R writes it."""
    if len(columns) == 1:
        return tuple(r_label(level) for level in term.levels)
    _, first = np.unique(term.codes, return_index=True)
    return tuple(":".join(map(r_label, row)) for row in zip(*(column.iloc[first] for column in columns), strict=True))


def _term(result: Any, term: RandomTerm, theta: FloatArray, labels: tuple[str, ...]) -> TermNumbers:
    k = term.Z.shape[1]
    modes = np.asarray(result.random_effects[term.key], dtype=np.float64).reshape(-1, k)
    conditional = np.asarray(result.random_effects_cov[term.key], dtype=np.float64).reshape(-1, k, k)
    return TermNumbers(
        key=term.key,
        group=term.group,
        names=tuple(r_name(name, term.names) for name in term.names),
        theta=theta,
        z_scale=np.sqrt((term.Z**2).mean(axis=0)),
        covariance=np.asarray(result.variance_components[term.key], dtype=np.float64).reshape(k, k),
        levels=labels,
        modes=modes,
        conditional=conditional,
    )


def _prediction(result: Any, frame: pd.DataFrame) -> Prediction:
    def predicted(type: str, include_re: bool) -> FloatArray:
        return np.asarray(result.predict(frame, type=type, include_re=include_re), dtype=np.float64)

    kinds = ("response", "link") if isinstance(result, GLMMResult) else ("response",)
    return Prediction(*(predicted(kind, include_re) for kind in kinds for include_re in (True, False)))
