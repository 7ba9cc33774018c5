"""Predictions from a fitted model, with standard errors and intervals."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from interlace.core.families import Gaussian
from interlace.core.links import Identity
from interlace.errors import DataError, FormulaError
from interlace.frames.adapt import Table
from interlace.frames.build import build_design
from interlace.frames.design import NewRows
from interlace.frames.levels import level_text
from interlace.frames.newdata import new_rows
from interlace.frames.parse import parse
from interlace.inference import wald
from interlace.prediction.response import distribution, has_mean
from interlace.prediction.uncertainty import degrees_of_freedom, predictors, variances

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.core.working import WorkingModel
    from interlace.estimate.state import State
    from interlace.inference.contrasts import CoefficientTests
    from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray

__all__ = ["Interval", "chosen_effects", "linear_predictor_of_rows", "means", "predict", "prediction_rows"]

Interval: TypeAlias = Literal["confidence", "prediction"]


def predict(
    state: State,
    newdata: FrameLike | None = None,
    *,
    type: str = "response",
    include_re: bool = True,
    re_formula: str | None = None,
    allow_new_levels: bool = True,
    se: bool = False,
    interval: Interval | None = None,
    level: float = 0.95,
    tests: CoefficientTests | None = None,
) -> pd.Series | pd.DataFrame:
    """Predict from a fit on new data, or on the rows that it used; ``predict`` of a result documents the arguments.

    Parameters
    ----------
    state : State
    type : {"response", "link"}
        Means, or linear predictors.
    tests : CoefficientTests, optional
        Where the covariance of the fixed effects, if they alone enter, and the degrees of freedom of intervals come
        from; by default the covariance of the fit and the normal distribution.

    Returns
    -------
    Series or DataFrame, m rows
        A linear predictor that has no mean (a negative one, with the inverse link of a Gamma model) gives NaN.

    Raises
    ------
    ValueError
        An argument is not one of those it may be, or ``newdata`` cannot be used.

    Notes
    -----
    Everything is computed for the linear predictor. For means the standard error is that times the slope of the inverse
    link (delta method), and the ends of an interval are turned into means, so that they stay within their range.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> predict(result.state, {"Days": [0, 5], "Subject": ["308", "someone new"]}).round(2)
    0    253.66
    1    303.74
    Name: fit, dtype: float64
    """
    model = distribution(state)
    _check_choices(model, type, interval)
    columns = chosen_effects(state, include_re=include_re, re_formula=re_formula)
    rows = prediction_rows(state, newdata, columns)
    if not allow_new_levels:
        _refuse_new_levels(state, rows, columns, newdata)
    eta = linear_predictor_of_rows(state, rows, columns)
    fit = eta if type == "link" else means(model, eta)
    if not se and interval is None:
        return pd.Series(fit, index=rows.index, name="fit")
    uncertain = predictors(state, rows, columns)
    variance = variances(state, uncertain, tests)
    out = {"fit": fit}
    if se:
        out["se"] = np.sqrt(variance)
        if type == "response":
            with np.errstate(all="ignore"):
                out["se"] *= np.abs(model.link.d1(eta))
            out["se"][np.isnan(fit)] = np.nan
    if interval is not None:
        new = interval == "prediction"
        spread = variance + (state.sigma**2 if new else 0.0)
        df = np.inf if tests is None else degrees_of_freedom(state, uncertain, tests, new_observation=new)
        quantiles = np.broadcast_to(wald.critical_value(level, df), len(uncertain.X))
        reach = uncertain.by_row(quantiles) * np.sqrt(spread)
        lower, upper = eta - reach, eta + reach
        out["lower"], out["upper"] = (lower, upper) if type == "link" else _mean_range(model, eta, lower, upper)
    return pd.DataFrame(out, index=rows.index)


def _check_choices(model: WorkingModel, type: str, interval: str | None) -> None:
    if type not in ("response", "link"):
        raise ValueError(f"type must be 'response' or 'link', not {type!r}")
    if interval not in (None, "confidence", "prediction"):
        raise ValueError(f"interval must be None, 'confidence' or 'prediction', not {interval!r}")
    linear = isinstance(model.family, Gaussian) and isinstance(model.link, Identity)
    if interval == "prediction" and not linear:
        raise ValueError(
            f"interval='prediction' is for linear models: new responses of the family {model.family.name!r} do not "
            "spread evenly about their mean. Take quantiles of the responses that simulate() draws, or "
            "interval='confidence' for the mean itself"
        )


def means(model: WorkingModel, eta: FloatArray) -> FloatArray:
    """Means of linear predictors, NaN where there is none.

    Parameters
    ----------
    model : WorkingModel
        Of the response.
    eta : ndarray, any shape

    Examples
    --------
    >>> import interlace, numpy as np
    >>> df = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period", df, "binomial", groups="herd", weights="size")
    >>> means(distribution(result.state), np.array([0.0, 2.0])).round(3)
    array([0.5  , 0.881])
    """
    with np.errstate(all="ignore"):
        mu = model.link.mu(eta)
        return np.where(has_mean(model.family, model.link, eta, mu), mu, np.nan)


def _mean_range(
    model: WorkingModel, eta: FloatArray, lower: FloatArray, upper: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Smallest and largest mean between two linear predictors around ``eta``; NaN where that has no mean."""
    link = model.link
    if not link.valid_eta(np.zeros(1))[0]:  # 1/mu, sqrt: two branches, of which the one that eta lies on counts
        lower, upper = (
            np.where(eta > 0.0, np.maximum(lower, 0.0), lower),
            np.where(eta < 0.0, np.minimum(upper, -0.0), upper),
        )
    with np.errstate(all="ignore"):
        ends = [link.mu(np.clip(end, *link.eta_domain)) for end in (lower, upper)]
    ends = [np.where(np.isnan(means(model, eta)), np.nan, np.clip(end, *model.family.mu_domain)) for end in ends]
    return np.minimum(*ends), np.maximum(*ends)


def chosen_effects(state: State, *, include_re: bool = True, re_formula: str | None = None) -> tuple[BoolArray, ...]:
    """Which random effects a prediction uses.

    Parameters
    ----------
    state : State
    include_re : bool
        False leaves all of them out.
    re_formula : str or None
        None for all, ``"~0"`` for none, or bars such as ``"~ (1 | g)"``: every effect named must be in the fit.

    Returns
    -------
    tuple of ndarray of bool, shapes (k_i,)

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> chosen_effects(result.state, re_formula="~ (1 | Subject)")
    (array([ True, False]),)
    """
    terms = state.problem.design.terms
    if re_formula is not None and not isinstance(re_formula, str):
        raise TypeError(f"re_formula must be None or text such as '~0' or '~ (1 | g)', not {type(re_formula).__name__}")
    if not include_re and re_formula is not None:
        raise ValueError("include_re=False leaves all random effects out, re_formula chooses among them: give only one")
    nothing = not include_re or (re_formula is not None and re_formula.strip().lstrip("~").strip() in ("0", "NA"))
    if nothing:
        return tuple(np.zeros(len(term.names), dtype=bool) for term in terms)
    if re_formula is None:
        return tuple(np.ones(len(term.names), dtype=bool) for term in terms)
    wanted = _named_effects(state, re_formula)
    known = {(term.group, name) for term in terms for name in term.names}
    for group, name in wanted:
        if (group, name) not in known:
            raise FormulaError(
                f"re_formula {re_formula!r} asks for the effect {name!r} of {group!r}, which the model does not have; "
                + _what_it_has(state)
            )
    return tuple(np.array([(term.group, name) in wanted for name in term.names], dtype=bool) for term in terms)


def _what_it_has(state: State) -> str:
    known = {(term.group, name) for term in state.problem.design.terms for name in term.names}
    return "it has " + ", ".join(f"{name!r} of {group!r}" for group, name in sorted(known))


def _named_effects(state: State, re_formula: str) -> set[tuple[str, str]]:
    """(group, effect) pairs of a formula of bars, evaluated on the model frame."""
    right = re_formula.strip().removeprefix("~")
    if "~" in right:
        raise FormulaError(f"re_formula {re_formula!r} has a left-hand side; write only '~ (1 | g)'")
    if "|" not in right:
        raise FormulaError(
            f"re_formula {re_formula!r} has no random-effects terms; write '~0' for none or bars such as '~ (1 | g)'"
        )
    frame = state.problem.design.frame_of_levels.reset_index(drop=True)
    response = "_response_"
    while response in frame.columns:
        response += "1"
    frame[response] = np.linspace(-1.0, 1.0, len(frame))
    formula, extra = f"{response} ~ 1 + {right}", state.problem.control.extra_transforms
    unknown = [name for name in parse(formula, extra=frozenset(extra)).columns if name not in frame.columns]
    if unknown:
        listed = ", ".join(map(repr, unknown))
        raise FormulaError(
            f"re_formula {re_formula!r} names {listed}, which the model does not use; {_what_it_has(state)}"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = build_design(formula, frame, extra_transforms=extra)
    return {(term.group, name) for term in part.terms for name in term.names}


def prediction_rows(state: State, newdata: FrameLike | None, columns: tuple[BoolArray, ...]) -> NewRows:
    """Rows to predict for: the ones of the fit where ``newdata`` is None."""
    design = state.problem.design
    if newdata is not None:
        if design.spec.offset_given:
            raise DataError(
                "the offset of this fit was an array, which new data do not have; name a column instead, "
                'offset="column", or write offset(column) in the formula'
            )
        used = [term.key for term, keep in zip(design.terms, columns, strict=True) if keep.any()]
        return new_rows(design, newdata, random=used)
    n = design.n
    return NewRows(
        X=design.X,
        Z=tuple(term.Z for term in design.terms),
        codes=tuple(term.codes for term in design.terms),
        offset=np.zeros(n) if design.offset is None else design.offset,
        valid=np.ones(n, dtype=bool),
        index=design.index,
    )


def linear_predictor_of_rows(state: State, rows: NewRows, columns: tuple[BoolArray, ...]) -> FloatArray:
    """X beta + offset + Z b over the chosen effects, shape (m,); NaN where something is missing.

    Parameters
    ----------
    state : State
    rows : NewRows
    columns : tuple of ndarray of bool, shapes (k_i,)
        Random effects of each term that count, as of `chosen_effects`.
    """
    # Row by row: a product by BLAS gives equal rows different last bits, and ranks of predictions would see that.
    mean = np.einsum("np,p->n", rows.X[:, state.kept], state.beta) + rows.offset
    for z, codes, modes, keep in zip(rows.Z, rows.codes, state.modes, columns, strict=True):
        if keep.any():
            mean += np.einsum("mk,mk->m", z[:, keep], _modes_at(modes, codes)[:, keep])
    mean[~rows.valid] = np.nan
    return np.asarray(mean)


def _modes_at(modes: FloatArray, codes: IntArray) -> FloatArray:
    """Conditional modes of each row's level, zero for a level that the fit has not seen; shape (m, k)."""
    out = modes[codes]
    out[codes < 0] = 0.0
    return np.asarray(out)


def _refuse_new_levels(state: State, rows: NewRows, columns: tuple[BoolArray, ...], newdata: FrameLike | None) -> None:
    """Raise for rows whose level of a chosen factor the fit has not seen."""
    for term, codes, keep, spec in zip(
        state.problem.design.terms, rows.codes, columns, state.problem.design.spec.random, strict=True
    ):
        unseen = rows.valid & (codes < 0)
        if keep.any() and unseen.any():
            raise DataError(
                f"newdata has levels of {term.group!r} that the model has not seen: "
                f"{_level_names(newdata, spec.group.group.columns, unseen)}; "
                "with allow_new_levels=True their random effects are zero"
            )


def _level_names(newdata: FrameLike, columns: Sequence[str], unseen: BoolArray) -> str:
    """First few labels of unseen levels, read off the columns that make up the factor."""
    table = Table(newdata)
    parts = [table.column(name).series[unseen] for name in columns]
    labels = list(dict.fromkeys(":".join(map(level_text, row)) for row in zip(*parts, strict=True)))
    more = f" and {len(labels) - 5} more" if len(labels) > 5 else ""
    return ", ".join(repr(label) for label in labels[:5]) + more
