"""Fits of statsmodels' ``MixedLM`` as states, so that the diagnostics take them; statsmodels is not imported."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.core.covariance import cholesky_factor, entries
from interlace.errors import ModelError
from interlace.estimate import checks
from interlace.estimate.lmm import at_theta
from interlace.frames.build import unique_keys
from interlace.frames.design import Design, DesignSpec
from interlace.frames.names import encode
from interlace.frames.parse import Formula, RandomPart, Response
from interlace.frames.terms import Term, sum_of
from interlace.frames.tree import Bar, Leaf, Nest, groups_of, write
from interlace.interop.variance_components import parts_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from interlace.estimate.state import FitState
    from interlace.frames.design import RandomTerm
    from interlace.typing import FloatArray

__all__ = ["as_state"]

#: How far the estimates may be from those that belong to the covariance parameters: in standard errors, and relative.
_AGREEMENT = 1e-3


def as_state(result: Any) -> FitState:
    """Take over a mixed model that statsmodels has fitted, with its own estimates of the covariance parameters.

    Parameters
    ----------
    result : statsmodels' MixedLMResults
        Of ``MixedLM(...).fit()``, ``MixedLM.from_formula(...).fit()`` or ``mixedlm(...).fit()``; n rows.

    Returns
    -------
    FitState
        Coefficients, residual variance and random effects are those that belong to the covariance parameters of
        ``result``; so is the criterion, -2 times its log-likelihood. Nothing is fitted.

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        What was fitted is no linear mixed model with random-effects terms on grouping factors, or not by (restricted)
        maximum likelihood: penalties, parameters fixed by ``free=`` (covariances of zero can be), a variance component
        with several columns that are not zero in one row, coefficients other than those of generalized least squares;
        or the estimates are not finite.

    Notes
    -----
    The grouping factor has the name of the column given as ``groups=`` where one can be found, and is called ``Group``
    otherwise. A variance component is a scalar term: on the groups if it has one column, on a factor with its own name
    and the columns as levels if it has several (``groups:name`` if the same columns come again in other groups). The
    random intercept and constant covariates are called ``Intercept``. Covariances that ``free=`` kept at zero make
    several terms on one factor. Rows have the labels of the data frame; the columns of the model frame are those
    that the formulas name, or the arrays. Standard errors are given the covariance parameters, as those of
    interlace.fit are; those of statsmodels come from the Hessian in all parameters. The columns of a factor count as
    numbers: a regression in one group, as `hlm_resid` makes it, does not know that a level is absent there.

    Examples
    --------
    >>> import interlace
    >>> import statsmodels.formula.api as smf
    >>> df = interlace.datasets.load("sleepstudy")
    >>> state = as_state(smf.mixedlm("Reaction ~ Days", df, groups="Subject", re_formula="~ Days").fit())
    >>> state.problem.design.formula, state.beta.round(3), round(state.sigma, 2)
    ('Reaction ~ Days + (Days | Subject)', array([251.405,  10.467]), 25.59)
    """
    fit = _unwrapped(result)
    design, psis = _design(fit)
    theta = [cholesky_factor(psi)[entries(len(psi), "unstructured")] for psi in psis]
    state = at_theta(design, np.concatenate(theta), reml=bool(fit.reml))
    _refuse_other_estimates(fit, state)
    message = "the optimizer of statsmodels converged" if fit.converged else "the optimizer of statsmodels gave up"
    opt = replace(state.opt, optimizer="statsmodels", converged=bool(fit.converged), message=message)
    state = replace(state, opt=opt)
    return replace(state, checks=tuple(checks.diagnose(state)))


def _unwrapped(result: Any) -> Any:
    """The bare results, whose members are arrays; what is no fit by maximum likelihood is refused."""
    fit = getattr(result, "_results", result)
    if type(fit).__name__ != "MixedLMResults":
        remedy = "; call its fit() first" if type(fit).__name__ == "MixedLM" else ""
        raise TypeError(f"expected a fitted MixedLM of statsmodels, not {type(result).__name__}{remedy}")
    if not hasattr(fit, "freepat"):
        raise ModelError("a fit by fit_regularized() has penalized coefficients; take that of MixedLM.fit()")
    if fit.cov_pen is not None or fit.model.fe_pen is not None:
        raise ModelError("the fit has a penalty (fe_pen= or cov_pen=); fit the model without one")
    if not all(np.isfinite(values).all() for values in (fit.fe_params, fit.cov_re, fit.vcomp, fit.scale)):
        raise ModelError(
            "the estimates of the fit are not finite; fit the model again, for example with method='lbfgs'"
        )
    return fit


def _refuse_other_estimates(fit: Any, state: FitState) -> None:
    """Refuse coefficients and residual variances other than those that belong to the covariance parameters."""
    beta = np.asarray(fit.fe_params)
    same = beta.size == state.beta.size and bool(
        (np.abs(beta - state.beta) <= _AGREEMENT * np.sqrt(np.diagonal(state.beta_cov))).all()
    )
    if not same or abs(fit.scale / state.sigma**2 - 1.0) > _AGREEMENT:
        raise ModelError(
            "the coefficients or the residual variance of the fit are not those that belong to its covariance "
            "parameters, as they are where predictors are linearly dependent, or the covariance matrix of the random "
            f"effects is singular (scale {fit.scale:.6g}, and {state.sigma**2:.6g} by interlace.fit's formulas); leave "
            "out the predictors or random effects that others determine, or fit the model with interlace.fit"
        )


def _design(fit: Any) -> tuple[Design, list[FloatArray]]:
    """Arrays of the model, and the relative covariance of each of its terms."""
    model = fit.model
    parts = parts_of(fit, _group_name(model))
    keys = unique_keys([part.term.group for part in parts])
    terms = tuple(replace(part.term, key=key) for part, key in zip(parts, keys, strict=True))
    y, X = np.array(model.endog, dtype=np.float64), np.array(model.exog, dtype=np.float64)
    response, x_names = str(model.endog_names), tuple(map(str, model.exog_names))
    of_column = [_without_levels(name) for name in x_names]
    x_terms = tuple(dict.fromkeys(of_column))
    formula = _formula(response, x_terms, terms)
    labels = model.data.row_labels
    index = pd.RangeIndex(y.size) if labels is None else pd.Index(labels)
    design = Design(
        formula=_text(model, formula), response=response, y=y, X=X, x_names=x_names, terms=terms, weights=None,
        offset=None, rows=np.arange(y.size), complete=np.arange(y.size), n_zero_weight=0, x_terms=x_terms,
        assign=tuple(map(x_terms.index, of_column)), columns=_columns(model, response, x_names, terms, index),
        all_index=index,
        # Nothing to evaluate on new data with: statsmodels' formulas are another language.
        spec=DesignSpec(
            formula=formula, x_names=x_names, blocks=(), encoders={}, random=(), offset_column=None,
            offset_given=False, weights_column=None, covariance={term.key: term.structure for term in terms},
        ),
    )  # fmt: skip
    return design, [part.psi for part in parts]


def _formula(response: str, x_terms: Iterable[str], terms: Iterable[RandomTerm]) -> Formula:
    """Formula of columns that have the names of the arrays."""
    fixed = _as_terms(x_terms)
    bars, random = [], []
    for term in terms:
        effects = _as_terms(term.names)
        outer, colon, inner = term.group.partition(":")
        group = Nest(":", Leaf(outer, outer), Leaf(inner, inner)) if colon else Leaf(outer, outer)
        bars.append(Bar(sum_of(effects), group))
        random.append(RandomPart(effects, groups_of(group)[0], term.structure))
    return Formula(
        Response("expression", (encode(response),)), sum_of(fixed), fixed, tuple(bars), tuple(random), (), False
    )


def _as_terms(names: Iterable[str]) -> tuple[Term, ...]:
    return tuple(() if name == "Intercept" else (encode(name),) for name in names)


def _text(model: Any, formula: Formula) -> str:
    """The whole formula: the caller's fixed part where there is one, and random-effects terms as lme4 writes them."""
    given = getattr(model, "formula", None)
    if not isinstance(given, str):
        return formula.text
    return " + ".join([given.strip(), *map(write, formula.bars)])


def _group_name(model: Any) -> str:
    """Name of the column that the groups come from, if it can be found."""
    name = getattr(model.groups, "name", None)
    if name is not None:
        return str(name)
    groups = np.asarray(model.groups)
    frame = getattr(model.data, "frame", None)
    if frame is not None:
        for column in frame.columns:
            if np.array_equal(frame[column].to_numpy(), groups):
                return str(column)
        if model.k_re and np.all(model.exog_re[:, 0] == 1.0):
            return str(model.data.exog_re_names[0])  # from_formula calls the random intercept so
    return "Group"


def _columns(
    model: Any, response: str, x_names: Sequence[str], terms: Sequence[RandomTerm], index: pd.Index[Any]
) -> dict[str, pd.Series[Any]]:
    """Columns of the model frame: the caller's that the formulas name, or the arrays; and the groups."""
    frame = getattr(model.data, "frame", None)
    group = _group_name(model)
    out: dict[str, pd.Series[Any]] = {}
    factors = [term.group for term in terms if frame is None or term.group == group]
    if frame is not None:
        components = [name for some in model.exog_vc.colnames for name in some[0]]
        effects = [name for term in terms for name in term.names]
        text = " ".join(_without_levels(str(name)) for name in (response, *x_names, *components, *effects, *factors))
        for name in sorted(frame.columns, key=lambda name: name != response):
            if re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", text):
                out[str(name)] = frame[name].set_axis(index)
    else:
        out[response] = pd.Series(model.endog, index=index)
        for names, values in [(x_names, model.exog), *((term.names, term.Z) for term in terms)]:
            for name, column in zip(names, values.T, strict=True):
                if np.ptp(column) > 0.0:
                    out.setdefault(name, pd.Series(column, index=index))
    for term in terms:
        if term.group in factors:
            out.setdefault(term.group, pd.Series(term.levels.take(term.codes).to_numpy(), index=index))
    return out


def _without_levels(name: str) -> str:
    """``C(x)`` for ``C(x)[T.a]``."""
    return re.sub(r"\[[^\[\]]*\]", "", name)
