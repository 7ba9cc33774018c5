"""Members of a result with one value a row, and the model as statsmodels spells it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from interlace.estimate.glmm_state import GlmmState
from interlace.frames.adapt import Column
from interlace.frames.levels import level_text
from interlace.prediction.response import linear_predictor, response_model
from interlace.results.fixed import coefficient_names

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.typing import FloatArray

__all__ = ["DataView", "ModelView", "ResidualType", "Rows", "model_frame", "random_effects_matrix", "residuals"]

ResidualType: TypeAlias = Literal["response", "pearson", "deviance", "working"]


def residuals(state: State, type: str | None = None, *, scaled: bool = False) -> FloatArray:
    """Residuals given the conditional modes, shape (n,); see ``Rows.residuals``.

    Formulas: McCullagh and Nelder, Generalized Linear Models, 2nd ed., sections 2.4 and 2.5.
    """
    if type is None:
        type = "deviance" if isinstance(state, GlmmState) else "response"
    if type not in get_args(ResidualType):
        raise ValueError(f"residual type must be one of {', '.join(get_args(ResidualType))}; not {type!r}")
    model, mu = response_model(state), state.fitted
    out = model.y - mu
    with np.errstate(all="ignore"):
        if type == "pearson":
            # A mean that rounds to the response has no variance left in its digits.
            out = np.where(out == 0.0, 0.0, out * np.sqrt(model.weights / model.family.variance(mu)))
        elif type == "deviance":
            out = np.sign(out) * np.sqrt(model.weights * np.maximum(model.family.unit_deviance(model.y, mu), 0.0))
        elif type == "working":
            working = model.at(linear_predictor(state))
            out = working.score / working.fisher
    return out / state.sigma if scaled else out


def random_effects_matrix(state: State) -> sparse.csr_array:
    """Z of all terms side by side, level by level, shape (n, sum q_i k_i): lme4's ``getME(m, "Z")``."""
    blocks = []
    for term in state.problem.design.terms:
        n, k = term.Z.shape
        columns = term.codes[:, None] * k + np.arange(k)
        pointers = np.arange(0, n * k + 1, k)
        blocks.append(sparse.csr_array((term.Z.ravel(), columns.ravel(), pointers), shape=(n, len(term.levels) * k)))
    return sparse.csr_array(sparse.hstack(blocks, format="csr"))


def model_frame(state: State) -> pd.DataFrame:
    """Columns and rows used, a copy, with the response of the fit.

    A response that is a column holds the values of the fit, which after ``refit`` are the new ones. One that is
    computed (``log(y)``, ``cbind(s, f)``) is a further column named as the left-hand side, as in R's model frames; the
    columns it was computed from stay as they were.
    """
    design = state.problem.design
    frame = design.frame
    if design.response not in frame.columns:
        frame.insert(0, design.response, design.y)
    elif not np.array_equal(_stored(Column(design.response, frame[design.response]), design.spec.success), design.y):
        frame[design.response] = design.y
    return frame


def _stored(column: Column, success: str | None) -> FloatArray:
    """What a response in a column enters the fit as: 1 for success where it is of two kinds."""
    if column.kind == "number":
        return column.numbers
    codes, levels = column.coded
    return np.array([level_text(level) == success for level in levels], dtype=np.float64)[codes]


@dataclass(frozen=True)
class DataView:
    """The data of a model.

    Attributes
    ----------
    frame : DataFrame, shape (n, columns used)
    row_labels : Index, shape (n,)
    xnames : list of str
    ynames : str
    """

    frame: pd.DataFrame
    row_labels: pd.Index
    xnames: list[str]
    ynames: str


@dataclass(frozen=True)
class ModelView:
    """The model of a result, spelled as statsmodels' ``MixedLM`` spells it; every member is made when asked for.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> model = interlace.fit("Reaction ~ Days + (Days | Subject)", df).model
    >>> model.formula, model.exog_names, model.Z.shape
    ('Reaction ~ Days + (Days | Subject)', ['Intercept', 'Days'], (180, 36))
    """

    state: State

    @property
    def formula(self) -> str:
        """The whole formula, random-effects terms included."""
        return self.state.problem.design.formula

    @property
    def endog(self) -> FloatArray:
        """Response, shape (n,): as numbers, proportions for ``cbind(successes, failures)``."""
        return self.state.problem.design.y.copy()

    @property
    def endog_names(self) -> str:
        """Left-hand side of the formula."""
        return self.state.problem.design.response

    @property
    def exog(self) -> FloatArray:
        """Fixed-effects model matrix, shape (n, p), without linearly dependent columns."""
        return np.ascontiguousarray(self.state.problem.design.X[:, self.state.kept])

    @property
    def exog_names(self) -> list[str]:
        """Names of the p columns of ``exog``."""
        return coefficient_names(self.state)

    @property
    def exog_re(self) -> FloatArray:
        """Covariates of the first random-effects term, shape (n, k_1)."""
        return self.state.problem.design.terms[0].Z.copy()

    @property
    def groups(self) -> np.ndarray:
        """Level of the first term's grouping factor at each row, shape (n,): the factor with the most levels."""
        term = self.state.problem.design.terms[0]
        return np.asarray(term.levels.take(term.codes))

    @property
    def Z(self) -> sparse.csr_array:  # noqa: N802  (the symbol)
        """Sparse random-effects matrix of all terms, shape (n, sum q_i k_i), as lme4's ``getME(m, "Z")``."""
        return random_effects_matrix(self.state)

    @property
    def weights(self) -> FloatArray | None:
        """Prior weights, shape (n,), or None; for ``cbind(successes, failures)`` the numbers of trials."""
        weights = self.state.problem.design.weights
        return None if weights is None else weights.copy()

    @property
    def offset(self) -> FloatArray | None:
        """Known part of the linear predictor, shape (n,), or None."""
        offset = self.state.problem.design.offset
        return None if offset is None else offset.copy()

    @property
    def data(self) -> DataView:
        """The rows and columns used: ``.frame``, ``.row_labels``, ``.xnames``, ``.ynames``."""
        return DataView(model_frame(self.state), self.state.problem.design.index, self.exog_names, self.endog_names)


class Rows:
    """Members with one value for each of the n rows used, indexed by the rows' labels in the caller's frame."""

    state: State

    @property
    def fittedvalues(self) -> pd.Series:
        """Means given the conditional modes, shape (n,): lme4's ``fitted(m)``.

        X beta + Z b + offset for a linear model; the inverse link of that for a generalized one.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).fittedvalues.head(2).round(2)
        0    253.66
        1    273.33
        Name: fitted, dtype: float64
        """
        return pd.Series(self.state.fitted.copy(), index=self.state.problem.design.index, name="fitted")

    @property
    def resid(self) -> pd.Series:
        """Residuals of the default type, shape (n,): lme4's ``resid(m)``.

        Response minus fitted values for a linear model, deviance residuals for a generalized one.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).resid.head(2).round(2)
        0    -4.10
        1   -14.63
        Name: resid, dtype: float64
        """
        return self.residuals()

    def residuals(self, type: ResidualType | None = None, *, scaled: bool = False) -> pd.Series:
        """Residuals given the conditional modes.

        Parameters
        ----------
        type : {"response", "pearson", "deviance", "working"}, optional
            ``response``: y - mu, with mu the fitted means. ``pearson``: that times the root of weight / V(mu), with V
            the variance function. ``deviance``: with the sign of y - mu, the root of weight times unit deviance; their
            squares sum to the deviance. ``working``: (y - mu) / (d mu / d eta). By default ``response`` for linear and
            ``deviance`` for generalized models, as in lme4.
        scaled : bool
            Whether to divide by sigma.

        Returns
        -------
        Series, shape (n,)
            lme4's ``resid(m, type, scaled)``.

        Notes
        -----
        In a linear model mu is eta and V is 1: ``working`` residuals are those of ``response``, and ``deviance``
        residuals those of ``pearson``, y - mu times the root of the weight.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
        >>> result.residuals("pearson", scaled=True).abs().max().round(3)
        np.float64(5.179)
        """
        values = residuals(self.state, type, scaled=scaled)
        return pd.Series(values, index=self.state.problem.design.index, name="resid")

    @cached_property
    def model(self) -> ModelView:
        """The model and its data: ``.formula .endog .exog .exog_names .groups .Z .data.frame``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).model.exog.shape
        (180, 2)
        """
        return ModelView(self.state)
