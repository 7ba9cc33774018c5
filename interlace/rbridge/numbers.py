"""Everything that is compared about a fit, as plain numbers under R's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from interlace.typing import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FitNumbers", "GeneralizedNumbers", "Prediction", "RFit", "TermNumbers", "family_name"]

# Second derivative of the criterion by a parameter near 1: below this its standard error is above 20.
_FLAT = 5e-3
# Diagonal of a relative factor, times the covariate's root mean square: below this an estimate is on the boundary.
_BOUNDARY = 1e-3
#: Kinds of residuals that a generalized model has beside the response ones.
RESIDUALS: tuple[Literal["pearson", "deviance", "working"], ...] = ("pearson", "deviance", "working")
_REALS = ("sigma", "criterion", "log_likelihood", "aic", "bic")


@dataclass(frozen=True)
class TermNumbers:
    """One random-effects term with k columns and q levels.

    Attributes
    ----------
    key, group : str
        Unique name (``Subject``, ``Subject.1``), grouping factor.
    names : tuple of str
        R's names of the k columns.
    theta : ndarray, shape (k (k + 1) / 2,)
        Lower triangle of the relative factor, column by column.
    z_scale : ndarray, shape (k,)
        Root mean square of each column of Z: makes the covariance free of the covariates' units.
    covariance : ndarray, shape (k, k)
    levels : tuple of str, length q
    modes : ndarray, shape (q, k)
    conditional : ndarray, shape (q, k, k)
        Conditional covariances of the modes.
    """

    key: str
    group: str
    names: tuple[str, ...]
    theta: FloatArray
    z_scale: FloatArray
    covariance: FloatArray
    levels: tuple[str, ...]
    modes: FloatArray
    conditional: FloatArray

    @property
    def sd(self) -> FloatArray:
        """Standard deviations, shape (k,)."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def diagonal(self) -> FloatArray:
        """Diagonal of the relative factor times ``z_scale``, shape (k,); zero where the covariance is singular."""
        k = len(self.names)
        starts = np.cumsum([0, *range(k, 1, -1)]) if self.theta.size > k else np.arange(k)
        return np.asarray(self.theta[starts] * self.z_scale)

    @property
    def correlation(self) -> FloatArray:
        """Correlations, shape (k, k); NaN where a standard deviation is zero."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.covariance / np.outer(self.sd, self.sd))


@dataclass(frozen=True)
class Prediction:
    """Predictions for new rows, with and without the random effects; shapes (m,).

    The scale is the response's; generalized models also have the linear predictors, ``with_link`` and
    ``without_link``.
    """

    with_modes: FloatArray
    without: FloatArray
    with_link: FloatArray | None = None
    without_link: FloatArray | None = None


@dataclass(frozen=True)
class GeneralizedNumbers:
    """What a generalized model has beyond a linear one.

    Attributes
    ----------
    family, link : str
        R's names; ``negative.binomial`` without its parameter.
    nAGQ : int
        Quadrature points.
    deviance : float
        Sum of squared deviance residuals.
    eta : ndarray, shape (m,)
        Linear predictor of the rows.
    residuals : dict from "pearson", "deviance", "working" to ndarray, shape (m,)
    nb_theta : float or None
        Parameter of the negative binomial where it is estimated.
    """

    family: str
    link: str
    nAGQ: int  # noqa: N815 - lme4's name
    deviance: float
    eta: FloatArray
    residuals: Mapping[str, FloatArray]
    nb_theta: float | None = None


def family_name(name: str) -> str:
    """Return one name for all negative binomials: R writes the parameter into it, interlace does not."""
    lowered = name.lower().replace(" ", ".")
    return "negative.binomial" if lowered.startswith("negative.binomial") else name


@dataclass(frozen=True)
class FitNumbers:
    """Estimates of one fit. A fit of lme4 and one of interlace look alike.

    Attributes
    ----------
    names : tuple of str
        R's names of the p coefficients.
    beta, vcov : ndarray, shapes (p,) and (p, p)
    sigma : float
    terms : dict from key to TermNumbers
    rows : ndarray of int64, shape (m,)
        Positions, in the frame that was passed, of the rows that ``fitted`` and ``residuals`` belong to.
    fitted, residuals : ndarray, shape (m,)
        On the scale of the response.
    criterion : float
        REML criterion, or -2 log-likelihood.
    log_likelihood, aic, bic : float
    n_rows, n_parameters, df_residual : int
    reml, singular : bool
    predictions : dict from label to Prediction
    generalized : GeneralizedNumbers or None
        None for a linear mixed model.
    notes : dict
        For R: versions, warnings and messages, optimizers tried, gradient and curvature at the optimum, seconds.
    """

    names: tuple[str, ...]
    beta: FloatArray
    vcov: FloatArray
    sigma: float
    terms: Mapping[str, TermNumbers]
    rows: IntArray
    fitted: FloatArray
    residuals: FloatArray
    criterion: float
    log_likelihood: float
    aic: float
    bic: float
    n_rows: int
    n_parameters: int
    df_residual: int
    reml: bool
    singular: bool
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    generalized: GeneralizedNumbers | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def se(self) -> FloatArray:
        """Standard errors of the coefficients, shape (p,)."""
        return np.asarray(np.sqrt(np.diag(self.vcov)))

    @property
    def regular(self) -> bool:
        """Whether every term's covariance is well inside the space of covariances, in units free of the covariates'."""
        return all(float(np.min(term.diagonal)) > _BOUNDARY for term in self.terms.values())

    @property
    def identified(self) -> bool:
        """False where the criterion is flat in some direction: the terms then share variance in no unique way."""
        curvature = self.notes.get("eigenvalues", ())
        return not self.regular or not len(curvature) or float(min(curvature)) > _FLAT

    @property
    def fe_params(self) -> pd.Series[float]:
        """Coefficients by R's names."""
        import pandas as pd

        return pd.Series(self.beta, index=list(self.names))

    @property
    def fe_cov(self) -> pd.DataFrame:
        """Covariance of the coefficients by R's names."""
        import pandas as pd

        return pd.DataFrame(self.vcov, index=list(self.names), columns=list(self.names))

    @property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """Conditional modes of each term: levels x columns."""
        import pandas as pd

        return {
            key: pd.DataFrame(term.modes, index=list(term.levels), columns=list(term.names))
            for key, term in self.terms.items()
        }

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings and messages that R gave."""
        return tuple(self.notes.get("messages", ()))

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> FitNumbers:
        """Read what lmer.R or glmer.R returned, straight from R or out of a recorded JSON file.

        Where a negative binomial's parameter was estimated, ``vcov`` counts its uncertainty in; lme4's own, which
        takes it for known, is ``notes["vcov_given_nb"]``.
        """
        terms = [_term(term) for term in record["terms"]]
        predictions = record["predictions"] or {}
        kept = ("messages", "versions", "optimizers", "seconds", "plain", "constant")
        notes = {name: record[name] for name in kept if name in record}
        notes |= {name: _array(record[name]) for name in ("gradient", "eigenvalues", "uncertainty")}
        notes["dropped"] = tuple(record["dropped"])
        if "vcov_joint" in record:
            notes["vcov_given_nb"] = _matrix(record["vcov"])
        scalars: dict[str, Any] = {name: float(record[name][0]) for name in _REALS}
        scalars |= {name: int(record[name][0]) for name in ("n_rows", "n_parameters", "df_residual")}
        scalars |= {name: bool(record[name][0]) for name in ("reml", "singular")}
        return cls(
            names=tuple(record["beta"]["names"]),
            beta=_array(record["beta"]["values"]),
            vcov=_matrix(record.get("vcov_joint", record["vcov"])),
            terms={term.key: term for term in terms},
            rows=np.asarray(record["rows"], dtype=np.int64) - 1,
            fitted=_array(record["fitted"]),
            residuals=_array(record["residuals"]),
            predictions={label: _prediction(item) for label, item in predictions.items()},
            generalized=_generalized(record) if "family" in record else None,
            notes=notes,
            **scalars,
        )


#: A fit of lme4; the same record as one of interlace.
RFit = FitNumbers


def _term(item: Mapping[str, Any]) -> TermNumbers:
    k = len(item["names"])
    return TermNumbers(
        key=item["key"][0],
        group=item["group"][0],
        names=tuple(item["names"]),
        theta=_array(item["theta"]),
        z_scale=_array(item["z_scale"]),
        covariance=_matrix(item["covariance"]),
        levels=tuple(item["levels"]),
        modes=_matrix(item["modes"]),
        conditional=np.array([_matrix(block) for block in item["conditional"]]).reshape(-1, k, k),
    )


def _prediction(item: Mapping[str, Any]) -> Prediction:
    kinds = ("with", "without", "with_link", "without_link")
    return Prediction(*(_array(item[kind]) for kind in kinds if kind in item))


def _generalized(record: Mapping[str, Any]) -> GeneralizedNumbers:
    estimated = record.get("nb_theta")
    return GeneralizedNumbers(
        family=family_name(record["family"][0]),
        link=record["link"][0],
        nAGQ=int(record["nAGQ"][0]),
        deviance=float(record["deviance"][0]),
        eta=_array(record["eta"]),
        residuals={kind: _array(record["residuals_by_type"][kind]) for kind in RESIDUALS},
        nb_theta=None if estimated is None else float(estimated[0]),
    )


def _array(values: Sequence[float]) -> FloatArray:
    return np.asarray(values, dtype=np.float64)


def _matrix(item: Mapping[str, Any]) -> FloatArray:
    shape = tuple(int(size) for size in item["dim"])
    return np.ascontiguousarray(_array(item["values"]).reshape(shape, order="F"))
