"""Members of a result with one value a row, and the model as statsmodels spells it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd
from scipy import sparse

from interlace.results.fixed import coefficient_names

if TYPE_CHECKING:
    from interlace.estimate.state import FitState
    from interlace.typing import FloatArray

__all__ = ["DataView", "ModelView", "ResidualType", "Rows", "model_frame", "random_effects_matrix", "residuals"]

ResidualType: TypeAlias = Literal["response", "pearson", "deviance", "working"]


def residuals(state: FitState, type: str = "response", *, scaled: bool = False) -> FloatArray:
    """Residuals given the conditional modes, shape (n,); see ``Rows.residuals``."""
    if type not in get_args(ResidualType):
        raise ValueError(f"residual type must be one of {', '.join(get_args(ResidualType))}; not {type!r}")
    design = state.problem.design
    out = design.y - state.fitted
    if type in ("pearson", "deviance") and design.weights is not None:
        out = out * np.sqrt(design.weights)
    return out / state.sigma if scaled else out


def random_effects_matrix(state: FitState) -> sparse.csr_array:
    """Z of all terms side by side, level by level, shape (n, sum q_i k_i): lme4's ``getME(m, "Z")``."""
    blocks = []
    for term in state.problem.design.terms:
        n, k = term.Z.shape
        columns = term.codes[:, None] * k + np.arange(k)
        pointers = np.arange(0, n * k + 1, k)
        blocks.append(sparse.csr_array((term.Z.ravel(), columns.ravel(), pointers), shape=(n, len(term.levels) * k)))
    return sparse.csr_array(sparse.hstack(blocks, format="csr"))


def model_frame(state: FitState) -> pd.DataFrame:
    """Columns and rows used, a copy; after ``refit`` a response that is a plain column holds the new values."""
    design = state.problem.design
    frame = design.frame.copy()
    if design.response in frame.columns and pd.api.types.is_numeric_dtype(frame[design.response].dtype):
        stored = frame[design.response].to_numpy(dtype=float)
        if not np.array_equal(stored, design.y):
            frame[design.response] = design.y
    return frame


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

    state: FitState

    @property
    def formula(self) -> str:
        """The whole formula, random-effects terms included."""
        return self.state.problem.design.formula

    @property
    def endog(self) -> FloatArray:
        """Response, shape (n,)."""
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
        """Prior weights, shape (n,), or None."""
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

    state: FitState

    @property
    def fittedvalues(self) -> pd.Series:
        """X beta + Z b + offset, shape (n,): lme4's ``fitted(m)``.

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
        """Response minus fitted values, shape (n,): lme4's ``resid(m)``.

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

    def residuals(self, type: ResidualType = "response", *, scaled: bool = False) -> pd.Series:
        """Residuals given the conditional modes.

        Parameters
        ----------
        type : {"response", "pearson", "deviance", "working"}
            ``response`` and ``working``: y minus fitted. ``pearson`` and ``deviance``: that times the root of the
            prior weight.
        scaled : bool
            Whether to divide by sigma.

        Returns
        -------
        Series, shape (n,)
            lme4's ``resid(m, type, scaled)``.

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
