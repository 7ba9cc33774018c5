"""Predictions, comparisons and slopes by the package ``marginaleffects`` (version 0.6 or later)."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from interlace.errors import DataError
from interlace.estimate.glmm_state import GlmmState
from interlace.frames.adapt import Table
from interlace.frames.evaluate import inspect
from interlace.frames.levels import level_text
from interlace.frames.newdata import new_rows
from interlace.frames.reference_grid import factor_columns, fixed_columns
from interlace.frames.rows import Rows
from interlace.results.backtransform import scale_of
from interlace.results.fixed import coefficient_names, residual_df
from interlace.results.members import Members

if TYPE_CHECKING:
    import polars as pl

    from interlace.estimate.state import State
    from interlace.frames.design import Design
    from interlace.typing import FloatArray

__all__ = ["PopulationModel", "as_marginaleffects"]

Kind: TypeAlias = Literal["response", "link"]


def as_marginaleffects(result: Members, type: Kind = "response") -> Any:
    """Wrap a result for the functions of ``marginaleffects``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    type : {"response", "link"}
        What to predict: means, or linear predictors.

    Returns
    -------
    marginaleffects.classes.ModelAbstract
        A model that ``predictions``, ``comparisons``, ``slopes``, ``datagrid``, ``hypotheses`` and their ``avg_``
        variants take. Predictions are of the population: random effects are zero.

    Raises
    ------
    ImportError
        The package ``marginaleffects`` is not installed.
    TypeError
        Not a result of interlace.
    ValueError
        ``type`` is not one of the two, or the offset of the fit was an array, which new data do not have.

    Notes
    -----
    Standard errors use ``result.fe_cov`` by the delta method. Marginaleffects has one number of degrees of freedom for
    all tests: n - p for a fit with ``df_method="residual"``; the normal distribution otherwise, as in its R version.
    For tests with degrees of freedom by Satterthwaite or Kenward and Roger use ``interlace.emmeans``. Categorical
    columns, and those that the formula makes factors, have their levels as text. Version 0.6.0 of the package needs
    polars before 2 for comparisons between levels.

    Examples
    --------
    >>> import interlace
    >>> from marginaleffects import avg_slopes
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> found = avg_slopes(as_marginaleffects(result))
    >>> found["estimate"].round(3).to_list(), found["std_error"].round(3).to_list()
    ([10.467], [1.546])
    """
    if not isinstance(result, Members):
        raise TypeError(
            f"as_marginaleffects() takes a result of interlace.fit or glmer, not {result.__class__.__name__}"
        )
    if type not in ("response", "link"):
        raise ValueError(f"type must be 'response' or 'link', not {type!r}")
    if result.state.problem.design.spec.offset_given:
        raise DataError(
            "the offset of this fit was an array, which new data do not have; name a column instead, "
            'offset="column", or write offset(column) in the formula'
        )
    return _adapter()(result, type)


@cache
def _adapter() -> Any:
    """Make the class that marginaleffects recognizes."""
    try:
        base: Any = import_module("marginaleffects.classes").ModelAbstract
    except ImportError as error:
        raise ImportError("the package marginaleffects is needed: pip install 'marginaleffects>=0.6'") from error

    class InterlaceModel(PopulationModel, base):  # type: ignore[misc]
        """A result of interlace, as marginaleffects sees it."""

    return InterlaceModel


class PopulationModel:
    """What ``marginaleffects`` asks of a model, answered for predictions without random effects.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    type : {"response", "link"}
    """

    def __init__(self, result: Members, type: Kind) -> None:
        state = result.state
        design = state.problem.design
        self.state: State = state
        self.type = type
        self._cov = result.fe_cov.to_numpy()
        self._residual_df = float(residual_df(state)) if result.call.df_method == "residual" else float("inf")
        response = inspect(design.spec.formula.response.codes[0]).columns[0]
        names = [response, *(name for name in fixed_columns(design) if name != response)]
        right = " + ".join(f"`{name}`" for name in names[1:]) or "1"
        vault = import_module("marginaleffects.classes").ModelVault(
            coef=state.beta.copy(),
            coefnames=np.array(coefficient_names(state)),
            # Only the columns: what the formula makes of them, new_rows() knows.
            formula=f"`{response}` ~ {right}",
            modeldata=_model_data(design),
            package="interlace",
            vcov=self._cov,
            variable_names=names,
        )
        super().__init__(result, vault)  # type: ignore[call-arg]

    def validation(self) -> None:
        """Set what the package otherwise derives from the formula.

        It would miss columns that are called like functions of formulaic (``Treatment``), and needs polars before 2.
        """
        vault: Any = self.vault  # type: ignore[attr-defined]
        self.coef, self.formula, self.response_name = vault.coef, vault.formula, vault.variable_names[0]
        vault.variables_type = {name: _kind(vault.modeldata[name]) for name in vault.variable_names}

    @property
    def df_resid(self) -> float:
        """Degrees of freedom of all tests; infinity for the normal distribution."""
        return self._residual_df

    def get_df(self) -> float:
        """Degrees of freedom of joint tests."""
        return self._residual_df

    def get_vcov(self, vcov: Any = True) -> FloatArray | None:
        """Covariance matrix of the coefficients, shape (p, p); None for ``False``.

        Raises
        ------
        ValueError
            A name of another covariance is given.
        """
        if vcov is None or isinstance(vcov, bool):
            return self._cov.copy() if vcov else None
        raise ValueError(f"vcov must be True, False or a matrix for a mixed model, not {vcov!r}")

    def get_exog(self, newdata: pl.DataFrame) -> FloatArray:
        """Columns of X in the fit, and the offset, shape (m, p + 1); NaN for a row with a missing value."""
        rows = new_rows(self.state.problem.design, newdata, random=False)
        out = np.column_stack([rows.X[:, self.state.kept], rows.offset])
        out[~rows.valid] = np.nan
        return out

    def get_predict(self, params: FloatArray, newdata: Any) -> pl.DataFrame:
        """Predict with other coefficients ``params``, shape (p,), at what ``get_exog`` gave or at a data frame."""
        import polars as pl

        exog = newdata if isinstance(newdata, np.ndarray) else self.get_exog(newdata)
        eta = np.asarray(exog[:, :-1] @ params + exog[:, -1])
        estimate = _means(self.state, eta) if self.type == "response" else eta
        return pl.DataFrame({"rowid": pl.Series(range(len(eta)), dtype=pl.Int32), "estimate": estimate})


def _means(state: State, eta: FloatArray) -> FloatArray:
    """Means of the left-hand side of the formula: that of a linear model may be a transformed response."""
    return scale_of(state).back(eta, eta)[0] if isinstance(state, GlmmState) else eta


def _kind(values: pl.Series) -> str:
    """Marginaleffects' word for what a column holds."""
    if values.dtype.is_numeric():
        return "binary" if set(values.unique()) <= {0.0, 1.0} else "numeric"
    return "boolean" if str(values.dtype) == "Boolean" else "character"


def _model_data(design: Design) -> pl.DataFrame:
    """Model frame in polars; factors as enumerations of their levels, in order."""
    import polars as pl

    rows = Rows(Table(design.frame), None)
    numeric = {
        name
        for code, encoder in design.spec.encoders.items()
        if not encoder.categorical
        for name in inspect(code).columns
    }
    factors = factor_columns(design)
    out: dict[str, pl.Series] = {}
    for name in design.columns:
        kind = rows.column(name).kind
        if kind == "bool":
            out[name] = pl.Series(name, rows.numbers(name) == 1.0)
        elif kind == "number" and (name not in factors or name in numeric):
            out[name] = pl.Series(name, rows.numbers(name))
        else:
            codes, levels = rows.factor(name)
            texts = [level_text(level) for level in levels]
            out[name] = pl.Series(name, [texts[code] for code in codes], dtype=pl.Enum(texts))
    return pl.DataFrame(out)
