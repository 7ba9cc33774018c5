"""Fit a model with lme4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from interlace.errors import FormulaError
from interlace.rbridge.names import r_formula
from interlace.rbridge.numbers import FitNumbers
from interlace.rbridge.session import call

if TYPE_CHECKING:
    import pandas as pd

    from interlace.typing import FloatArray

__all__ = ["fit_in_r", "glmer", "lmer", "r_contrasts"]

_WEIGHTS, _OFFSET = "interlace_weights", "interlace_offset"
_CONTRASTS = {name: f"contr.{name}" for name in ("treatment", "sum", "helmert", "poly")}


def lmer(
    formula: str,
    data: pd.DataFrame,
    *,
    reml: bool = True,
    weights: str | FloatArray | None = None,
    offset: str | FloatArray | None = None,
    contrasts: Mapping[str, str] | None = None,
    newdata: Mapping[str, pd.DataFrame] | None = None,
    **options: Any,
) -> FitNumbers:
    """Fit a linear mixed model with lme4, as accurately as it can be fitted there.

    The best of several optimizers is polished by Newton steps on numerical derivatives, which takes theta to about
    1e-8 where the optimum is regular; lme4's own stopping rule leaves it at about 1e-5.

    Parameters
    ----------
    formula : str
        In interlace's language; it is translated.
    data : DataFrame
        Rows with missing values are dropped by R.
    reml : bool
    weights, offset : str or ndarray of shape (n,), optional
        Column of ``data``, or values.
    contrasts : dict, optional
        ``{"x": "sum"}``, as in :func:`interlace.fit`.
    newdata : dict from label to DataFrame, optional
        Rows to predict, with and without random effects; unseen levels count as zero.
    **options
        ``keep_rows``, ``keep_levels``: bring back only so many fitted values and levels, evenly spaced.
        ``time_default=True`` also times a default call of ``lmer``.

    Returns
    -------
    FitNumbers
        By R's names; R's warnings are in ``warnings``.

    Raises
    ------
    ImportError
        When rpy2, R or lme4 is missing; the message says what to install.
    RError
        When R refuses the model.
    """
    return fit_in_r(
        "interlace_lmer",
        r_formula(formula),
        data,
        weights=weights,
        offset=offset,
        contrasts=contrasts or {},
        newdata=newdata or {},
        reml=reml,
        **options,
    )


def glmer(
    formula: str,
    data: pd.DataFrame,
    family: str,
    *,
    link: str | None = None,
    nAGQ: int = 1,
    nb_theta: float | None = None,
    weights: str | FloatArray | None = None,
    offset: str | FloatArray | None = None,
    contrasts: Mapping[str, str] | None = None,
    newdata: Mapping[str, pd.DataFrame] | None = None,
    **options: Any,
) -> FitNumbers:
    """Fit a generalized linear mixed model with lme4, as accurately as it can be fitted there.

    The modes of the random effects are iterated to rounding error, all parameters are polished by Newton steps on
    numerical derivatives, and the covariance of the coefficients comes from a Hessian by seven-point differences.
    lme4's own tolerances are worth 1 % of a standard error on some data.

    Parameters
    ----------
    formula : str
        In interlace's language; it is translated.
    data : DataFrame
        Rows with missing values are dropped by R.
    family : str
        A name of R's (``binomial``, ``poisson``, ``Gamma``, ...) or ``negative.binomial``.
    link : str, optional
        The family's default if left out.
    nAGQ : int
        Quadrature points; 1 is the Laplace approximation, 0 leaves the coefficients to the inner iteration.
    nb_theta : float, optional
        Parameter of the negative binomial; estimated if left out.
    weights, offset : str or ndarray of shape (n,), optional
        Column of ``data``, or values.
    contrasts : dict, optional
        ``{"x": "sum"}``, as in :func:`interlace.glmer`.
    newdata : dict from label to DataFrame, optional
        Rows to predict, with and without random effects; unseen levels count as zero.
    **options
        As for :func:`lmer`.

    Returns
    -------
    FitNumbers
        ``criterion`` is on one scale for every ``nAGQ``: lme4 1.1 leaves the saturated model out above 1.

    Raises
    ------
    ImportError
        When rpy2, R or lme4 is missing; the message says what to install.
    RError
        When R refuses the model.
    """
    return fit_in_r(
        "interlace_glmer",
        r_formula(formula),
        data,
        weights=weights,
        offset=offset,
        contrasts=contrasts or {},
        newdata=newdata or {},
        family=family,
        link=link,
        nAGQ=nAGQ,
        nb_theta=nb_theta,
        **options,
    )


def fit_in_r(
    function: str,
    formula: str,
    data: pd.DataFrame,
    *,
    weights: str | FloatArray | None,
    offset: str | FloatArray | None,
    contrasts: Mapping[str, str],
    newdata: Mapping[str, pd.DataFrame],
    **options: Any,
) -> FitNumbers:
    """Do what :func:`lmer` and :func:`glmer` do, from a formula that is R's already."""
    extra: dict[str, Any] = {}
    columns: dict[str, str | None] = {}
    for kind, name, given in (("weights", _WEIGHTS, weights), ("offset", _OFFSET, offset)):
        columns[kind] = given if given is None or isinstance(given, str) else name
        if given is not None and not isinstance(given, str):
            extra[name] = given
    record = call(
        function,
        formula,
        data.assign(**extra) if extra else data,
        contrasts=r_contrasts(contrasts),
        newdata=newdata,
        **columns,
        **options,
    )
    return FitNumbers.from_record(record)


def r_contrasts(contrasts: Mapping[str, str]) -> dict[str, str]:
    """Return R's names of contrast functions: ``{"x": "sum"}`` becomes ``{"x": "contr.sum"}``."""
    unknown = [name for name in contrasts.values() if name not in _CONTRASTS]
    if unknown:
        raise FormulaError(f"contrasts {unknown} have no counterpart in R: use one of {sorted(_CONTRASTS)}")
    return {column: _CONTRASTS[name] for column, name in contrasts.items()}
