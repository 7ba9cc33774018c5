"""Tables of residuals, with the columns of HLMdiag: one row a row of the data, or one row a group."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.diagnostics.data_columns import beside, data_columns
from interlace.diagnostics.group_regressions import group_coefficients, regressions
from interlace.diagnostics.model import linear_state_of
from interlace.diagnostics.row_residuals import conditional_residuals, marginal_residuals
from interlace.diagnostics.units import grouping_term, is_of_rows, units_of
from interlace.estimate.derived import conditional_covariances
from interlace.rbridge.names import r_name
from interlace.results.fixed import coefficient_names

if TYPE_CHECKING:
    from collections.abc import Collection

    from interlace.diagnostics.least_squares import GroupwiseFit
    from interlace.estimate.state import FitState
    from interlace.frames.design import RandomTerm
    from interlace.typing import FloatArray, IntArray

__all__ = ["PulledResidual", "Standardize", "hlm_resid", "pull_resid"]

Standardize: TypeAlias = Literal[False, True, "semi"]
PulledResidual: TypeAlias = Literal["ls", "eb", "marginal"]


def hlm_resid(
    model: Any, level: int | str = 1, *, standardize: Standardize = False, include_ls: bool = True
) -> pd.DataFrame:
    """Residuals of rows, or of groups, beside the data: HLMdiag's ``hlm_resid``.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for rows; else a grouping factor, whose random effects are the residuals.
    standardize : {False, True, "semi"}
        ``"semi"`` changes the least-squares residuals of rows only.
    include_ls : bool
        Whether to give least-squares residuals, from a regression of each group on its own.

    Returns
    -------
    DataFrame
        For rows: shape (n, ...), indexed by the rows' labels, which also stand in ``.id``, then the model frame and

        - ``.resid``, ``.fitted``: y minus the fitted values, conditional modes included, and these. Standardized,
          ``.std.resid``: times sqrt(w) / sigma, with w the prior weights.
        - ``.ls.resid``, ``.ls.fitted``: from the regressions of the groups of the factor with the most levels on the
          columns of X. ``.semi.ls.resid``: times sqrt(w / (1 - h)), with h the leverage within the group's regression;
          ``.std.ls.resid``: that over the residual standard deviation of the same regression. NaN where h is 1 or
          nothing is left but rounding.
        - ``.mar.resid``, ``.mar.fitted``: y minus X beta + offset, and this. ``.chol.mar.resid``: the Cholesky
          residuals of `resid_marginal`.

        For a grouping factor: one row a level in order of first appearance. The first column has the factor's name;
        then come the columns of the model frame that are constant within its levels, and for each random effect x

        - ``.ranef.x``: conditional modes (EB residuals). ``.std.ranef.x``: over the conditional standard deviation,
          which is not the standard deviation of the mode itself.
        - ``.ls.x``, if x is a fixed effect too: coefficient of the group's own regression minus the mean over groups,
          or over the groups with the same parent where the factor is nested in another. ``.std.ls.x``: over the
          standard deviation of the same coefficients; NaN for groups in which any coefficient of the regression is
          NaN, which a predictor that is constant within groups makes all of them.

        Names are R's in lower case with underscores: ``intercept``, ``days``. A column of the data that has the name
        of one of these is called ``<name>.data``.

    Raises
    ------
    ValueError
        For a level or ``standardize`` that there is not; for Cholesky residuals that would not fit in memory.
    TypeError
        For what is no linear mixed model.

    Notes
    -----
    A group's regression follows R's ``lm``: columns that others determine within the group have no coefficient; of a
    factor with treatment contrasts the first level in the group is the reference, so that the group's intercept may
    mean something else than others', and a group with one level only of a factor that varies in other groups has no
    coefficients at all.

    Unlike HLMdiag 0.5.1 this takes prior weights and offsets into account, and works with crossed factors, several
    terms on one factor, without an intercept, and with predictors that are constant within every group.

    References
    ----------
    Hilden-Minton, J. A. (1995). Multilevel diagnostics for mixed and hierarchical linear models. PhD thesis, University
    of California, Los Angeles. Loy, A. and Hofmann, H. (2014). HLMdiag: a suite of diagnostics for hierarchical linear
    models in R. Journal of Statistical Software 56(5).

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> hlm_resid(result).filter(like="resid").head(2).round(2)
       .resid  .ls.resid  .mar.resid
    0   -4.10       5.37       -1.85
    1  -14.63      -7.25       -3.17
    >>> hlm_resid(result, "Subject").head(2).round(2)
      Subject  .ranef.intercept  .ranef.days  .ls.intercept  .ls.days
    0     308              2.26         9.20          -7.21     11.30
    1     309            -40.40        -8.62         -46.35     -8.21
    """
    state = linear_state_of(model, "hlm_resid()")
    if not any(standardize is some for some in (False, True)) and standardize != "semi":
        raise ValueError(f"standardize must be False, True or 'semi', not {standardize!r}")
    if is_of_rows(level):
        return _rows_table(state, standardize, include_ls=include_ls)
    return _groups_table(state, level, standardize is True, include_ls=include_ls)


def pull_resid(model: Any, type: PulledResidual = "ls", *, standardize: Standardize = False) -> pd.Series:
    """One kind of residual of the rows, as `hlm_resid` has it, without the table.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    type : {"ls", "eb", "marginal"}
        Least squares by group, conditional (empirical Bayes), or marginal.
    standardize : {False, True, "semi"}
        As in `hlm_resid`; ``"semi"`` for ``"ls"`` only.

    Returns
    -------
    Series, shape (n,)
        With the column's name in `hlm_resid`.

    Raises
    ------
    ValueError
        For another type or ``standardize``.
    TypeError
        For what is no linear mixed model.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> pull_resid(result, "marginal", standardize=True).head(2).round(3)
    0   -0.052
    1   -0.071
    Name: .chol.mar.resid, dtype: float64
    """
    state = linear_state_of(model, "pull_resid()")
    if type not in get_args(PulledResidual):
        raise ValueError(f"type must be one of {', '.join(map(repr, get_args(PulledResidual)))}, not {type!r}")
    if not any(standardize is some for some in (False, True)) and not (standardize == "semi" and type == "ls"):
        semi = ", or 'semi' with type='ls'"
        raise ValueError(f"standardize must be False or True{semi}, not {standardize!r} with type={type!r}")
    if type == "ls":
        name, values = _least_squares(state, regressions(state, _innermost(state)), standardize)
    elif type == "eb":
        name, values = _conditional(state, standardize)
    else:
        name, values = _marginal(state, standardize)
    return pd.Series(values, index=state.problem.design.index, name=name)


def _rows_table(state: FitState, standardize: Standardize, *, include_ls: bool) -> pd.DataFrame:
    design = state.problem.design
    columns = dict([_conditional(state, standardize)])
    columns[".fitted"] = state.fitted
    if include_ls:
        fit = regressions(state, _innermost(state))
        name, values = _least_squares(state, fit, standardize)
        columns[name] = values
        columns[".ls.fitted"] = design.y - fit.residual / _root_weights(state)
    name, values = _marginal(state, standardize)
    columns[name] = values
    columns[".mar.fitted"] = state.fixed
    labels = pd.DataFrame({".id": design.index}, index=design.index)
    data = data_columns(state, [".id", *columns])
    return pd.concat([labels, data, pd.DataFrame(columns, index=design.index)], axis=1)


def _conditional(state: FitState, standardize: Standardize) -> tuple[str, FloatArray]:
    if standardize is True:
        return ".std.resid", conditional_residuals(state, "pearson")
    return ".resid", conditional_residuals(state, "raw")


def _marginal(state: FitState, standardize: Standardize) -> tuple[str, FloatArray]:
    if standardize is True:
        return ".chol.mar.resid", marginal_residuals(state, "cholesky")
    return ".mar.resid", marginal_residuals(state, "raw")


def _least_squares(state: FitState, fit: GroupwiseFit, standardize: Standardize) -> tuple[str, FloatArray]:
    if standardize is True:
        return ".std.ls.resid", fit.standardized
    if standardize == "semi":
        return ".semi.ls.resid", fit.semi_standardized
    return ".ls.resid", fit.residual / _root_weights(state)


def _root_weights(state: FitState) -> FloatArray | float:
    weights = state.problem.design.weights
    return 1.0 if weights is None else np.sqrt(weights)


def _innermost(state: FitState) -> RandomTerm:
    """First term on the factor with the most levels."""
    return max(state.problem.design.terms, key=lambda term: len(term.levels))


def _groups_table(state: FitState, level: int | str, standardized: bool, *, include_ls: bool) -> pd.DataFrame:
    term = grouping_term(state, level)
    units = units_of(state, level)
    first = np.array([rows[0] for rows in units.rows])
    order = term.codes[first]
    columns = _effects(state, term, standardized)
    if include_ls:
        columns |= _coefficients(state, term, standardized)
    labels = pd.DataFrame({beside(term.group, columns): units.labels})
    constant = _group_level(state, term, first, columns).reset_index(drop=True)
    effects = pd.DataFrame({name: values[order] for name, values in columns.items()})
    return pd.concat([labels, constant, effects], axis=1)


def _group_level(state: FitState, term: RandomTerm, first: IntArray, taken: Collection[str]) -> pd.DataFrame:
    """Columns of the data that are constant within the levels of a factor, grouping columns first."""
    design, frame = state.problem.design, data_columns(state, taken)
    of_level = np.empty(len(first), dtype=np.int64)
    of_level[term.codes[first]] = first
    grouping = {name for part in design.spec.random for name in part.group.group.columns}
    constant = []
    for name in frame.columns:
        codes, _ = pd.factorize(frame[name])
        if name not in (design.response, term.group) and bool((codes == codes[of_level][term.codes]).all()):
            constant.append(name)
    found: pd.DataFrame = frame[sorted(constant, key=lambda name: name not in grouping)].iloc[first]
    return found


def _effects(state: FitState, term: RandomTerm, standardized: bool) -> dict[str, FloatArray]:
    """Conditional modes of all terms on a factor by name of column, shapes (q,)."""
    out: dict[str, FloatArray] = {}
    covariances = conditional_covariances(state) if standardized else ()
    for i, other in enumerate(state.problem.design.terms):
        if other.group != term.group:
            continue
        values = state.modes[i]
        if standardized:
            spread = np.sqrt(np.diagonal(covariances[i], axis1=1, axis2=2))
            values = values / np.where(spread > 0.0, spread, np.nan)
        for name, column in zip(other.names, values.T, strict=True):
            out[_new_name(out, f".std.ranef.{snake(name)}" if standardized else f".ranef.{snake(name)}")] = column
    return out


def _coefficients(state: FitState, term: RandomTerm, standardized: bool) -> dict[str, FloatArray]:
    """Centered coefficients of the groups' regressions by name of column, shapes (q,)."""
    names = coefficient_names(state)
    effects = [name for other in state.problem.design.terms if other.group == term.group for name in other.names]
    shared = [name for name in dict.fromkeys(effects) if name in names]
    if not shared:
        return {}
    found = group_coefficients(state, term)
    family = _parents(state, term)
    whole = ~np.isnan(found).any(axis=1)
    out: dict[str, FloatArray] = {}
    for name in shared:
        values = found[:, names.index(name)]
        mean, spread = _moments(values, family)
        centered = values - mean[family]
        if standardized:
            out[_new_name(out, f".std.ls.{snake(name)}")] = np.where(whole, centered / spread[family], np.nan)
        else:
            out[_new_name(out, f".ls.{snake(name)}")] = centered
    return out


def _parents(state: FitState, term: RandomTerm) -> IntArray:
    """Level of the factor that a factor is nested in, the finest if there are several; shape (q,), else zeros."""
    q, best = len(term.levels), np.zeros(len(term.levels), dtype=np.int64)
    count = 1
    for other in state.problem.design.terms:
        above = np.zeros(q, dtype=np.int64)
        above[term.codes] = other.codes
        if count < len(other.levels) < q and bool((above[term.codes] == other.codes).all()):
            best, count = above, len(other.levels)
    return best


def _moments(values: FloatArray, family: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of the values that are not NaN, by family; NaN where there are too few."""
    known = ~np.isnan(values)
    count = np.bincount(family[known], minlength=family.max() + 1).astype(np.float64)
    mean = np.bincount(family[known], values[known], minlength=count.size) / np.where(count > 0, count, np.nan)
    squares = np.bincount(family[known], (values - mean[family])[known] ** 2, minlength=count.size)
    spread = np.sqrt(squares / np.where(count > 1, count - 1, np.nan))
    return mean, np.where(spread > 0.0, spread, np.nan)


def snake(name: str) -> str:
    """R's name of a coefficient in lower case with underscores.

    Examples
    --------
    >>> [snake(name) for name in ("Intercept", "standLRT", "I(age2 - 2)", "sex[T.M]", "x:Days")]
    ['intercept', 'stand_lrt', 'i_age2_2', 'sex_m', 'x_days']
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", r_name(name))
    return re.sub(r"\W+|_+", "_", words).strip("_").lower()


def _new_name(taken: dict[str, FloatArray], name: str) -> str:
    """Append _2, _3 ... to a name where it is taken."""
    names = (name if i == 1 else f"{name}_{i}" for i in range(1, len(taken) + 2))
    return next(some for some in names if some not in taken)
