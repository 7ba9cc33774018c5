"""Tests of hypotheses about the fixed effects, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd

from interlace.errors import ModelError
from interlace.estimate.glmm_state import GlmmState
from interlace.frames.names import suggest
from interlace.inference import wald
from interlace.inference.contrasts import chi_square_p_value
from interlace.inference.hypotheses import Hypothesis, coefficients_of, deletions, term_hypotheses
from interlace.results.arguments import state_of_result
from interlace.results.fixed import coefficient_names, coefficient_tests_of

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from interlace.estimate.state import State
    from interlace.inference.contrasts import CoefficientTests, FTest
    from interlace.results.members import Members
    from interlace.typing import DfMethod, FloatArray, IntArray

__all__ = ["Contrasts", "anova_table", "contest", "drop1"]

#: Linear functions of the coefficients, by position or by name.
Contrasts: TypeAlias = "ArrayLike | pd.DataFrame | pd.Series | Mapping[str, ArrayLike]"

_F_COLUMNS = ["Sum Sq", "Mean Sq", "NumDF", "DenDF", "F value", "Pr(>F)"]
_CHI_COLUMNS = ["Chisq", "Df", "Pr(>Chisq)"]


def anova_table(result: Members, type: int = 3, ddf: DfMethod | None = None) -> pd.DataFrame:
    """Test each fixed-effects term: R's ``lmerTest::anova`` for linear models, ``car::Anova`` for generalized ones.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    type : {3, 2, 1}
        Type of the sums of squares: of each term beside all others (III), beside those that do not contain it (II), or
        after those before it in the formula (I; linear models only).
    ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        How to find denominator degrees of freedom; the method of the fit by default. ``"kenward-roger"`` uses the
        adjusted covariance too and needs a fit by REML. Tests of generalized models have none.

    Returns
    -------
    DataFrame
        One row a term. Columns ``Sum Sq``, ``Mean Sq``, ``NumDF``, ``DenDF``, ``F value``, ``Pr(>F)``, where the mean
        square is F times the residual variance (with ``ddf="kenward-roger"``, as in lmerTest, F before Kenward and
        Roger's factor); for a generalized model Wald's ``Chisq``, ``Df``, ``Pr(>Chisq)``.

    Raises
    ------
    ValueError
        Unknown ``type`` or ``ddf``, or type I for a generalized model.
    ModelError
        Kenward-Roger tests of a fit by ML, or of one with too many levels.

    Notes
    -----
    With an intercept, hypotheses of linear models do not depend on the coding of factors. A term contains another one
    if it has the same numeric variables and more factors, among them those of the other: with ``f * x``, x is tested at
    the average of the levels of f (type III), f where x is zero. Where a combination of levels has no data, a test of
    type III is about those functions that can be estimated.

    A term of several columns, ``poly(x, 2)`` or ``bs(x)``, is numeric here as x is. lmerTest takes it for a factor: its
    test of type II of f in ``f * poly(x, 2)`` does not account for the interaction, that in ``f * x`` does.

    For formulas without a main effect (``a + a:b``), lmerTest tests ``a`` at the first level of b, and without an
    intercept (``0 + a * b``) all means of ``a`` at once; here it is the differences between means over b in both cases.

    For generalized models, as in ``car::Anova``: type III tests the coefficients of each term, the intercept too, and
    depends on the coding of factors (``contrasts={"f": "sum"}`` gives the usual hypotheses); type II tests them after
    the terms that do not contain all variables of the term.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.tests import anova_table
    >>> cake = interlace.datasets.load("cake")
    >>> result = interlace.fit("angle ~ recipe * temperature + (1 | recipe:replicate)", cake)
    >>> anova_table(result)[["NumDF", "DenDF", "F value", "Pr(>F)"]].round(4)
                        NumDF  DenDF  F value  Pr(>F)
    recipe                  2   42.0   0.2488  0.7809
    temperature             5  210.0  20.5199  0.0000
    recipe:temperature     10  210.0   1.0062  0.4393
    """
    if isinstance(type, bool) or type not in (1, 2, 3):
        raise ValueError(f"type must be 1, 2 or 3, not {type!r}")
    state = state_of_result(result)
    tests = coefficient_tests_of(result, ddf)
    if isinstance(state, GlmmState):
        if type == 1:
            raise ValueError("type=1 is defined for linear models; use type=2, or compare a sequence of models")
        return _chi_square_table(result, tests, type)
    return _f_table(result, tests, term_hypotheses(state.problem.design, state.kept, type))  # type: ignore[arg-type]


def drop1(result: Members, ddf: DfMethod | None = None) -> pd.DataFrame:
    """Test, for each term that is part of no other one, that it can be left out: R's ``lmerTest::drop1``.

    Parameters
    ----------
    result : LMMResult
    ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        How to find denominator degrees of freedom; the method of the fit by default.

    Returns
    -------
    DataFrame
        One row a term, columns as those of ``anova_table``.

    Raises
    ------
    ModelError
        The model is a generalized one, or has no such degrees of freedom.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.tests import drop1
    >>> oats = interlace.datasets.load("Oats")
    >>> drop1(interlace.fit("`yield` ~ Variety + nitro + (1 | Block)", oats))[["NumDF", "F value"]].round(3)
             NumDF  F value
    Variety      2    3.805
    nitro        1   83.230
    """
    state = state_of_result(result)
    if isinstance(state, GlmmState):
        raise ModelError(
            "drop1() tests terms of linear models by F tests; drop1_lrt(result) tests those of generalized models by "
            "likelihood ratios"
        )
    return _f_table(result, coefficient_tests_of(result, ddf), deletions(state.problem.design, state.kept))


def contest(
    result: Members,
    L: Contrasts,
    *,
    ddf: DfMethod | None = None,
    joint: bool = True,
    rhs: ArrayLike = 0.0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Test linear functions of the fixed effects, L beta = rhs: R's ``lmerTest::contest``.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    L : array-like of shape (q, p) or (p,), DataFrame with q rows, Series, or mapping
        Weights of the coefficients: by position, or by their names as columns of a DataFrame, as the index of a Series
        or as keys of a mapping (``{"Days": 1}``, or q weights each). Coefficients that are not named have weight 0.
    ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        How to find degrees of freedom; the method of the fit by default.
    joint : bool
        Test all rows together, or each by itself.
    rhs : float or array-like of shape (q,)
        Values under the hypothesis.
    level : float
        Confidence level of the intervals of ``joint=False``.

    Returns
    -------
    DataFrame
        One row with the columns of ``anova_table``; for ``joint=False`` one row each, labeled as the rows of ``L``,
        with columns ``Estimate``, ``Std. Error``, ``df``, ``t value``, ``lower``, ``upper``, ``Pr(>|t|)`` (``z value``
        and ``Pr(>|z|)``, without ``df``, where the normal distribution is used).

    Raises
    ------
    ValueError
        ``L`` or ``rhs`` does not fit the model, or rows contradict one another.
    ModelError
        The model has no such degrees of freedom.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.tests import contest
    >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
    >>> contest(result, {"Type[T.T2]": 1, "Type[T.T3]": -1}, joint=False).round(3)
       Estimate  Std. Error    df  t value  lower  upper  Pr(>|t|)
    0     1.667       0.519  24.0    3.213  0.596  2.737     0.004
    """
    state = state_of_result(result)
    names = coefficient_names(state)
    weights, labels = _weights(L, names)
    null = _null(rhs, len(weights))
    tests = coefficient_tests_of(result, ddf)
    if not joint:
        return _single_table(tests, weights, labels, null, level)
    found = tests.joint(weights, null)
    if isinstance(state, GlmmState):
        return _chi_square_rows({"": (found.num_df * found.statistic, found.num_df)}).reset_index(drop=True)
    return pd.DataFrame([_f_row(found, state)], columns=_F_COLUMNS)


def _f_table(result: Members, tests: CoefficientTests, hypotheses: list[Hypothesis]) -> pd.DataFrame:
    rows = [_f_row(tests.joint(hypothesis.L), result.state) for hypothesis in hypotheses]
    index = pd.Index([hypothesis.term for hypothesis in hypotheses], dtype=object)
    return pd.DataFrame(rows, index=index, columns=_F_COLUMNS).astype(dict.fromkeys(_F_COLUMNS, float) | {"NumDF": int})


def _f_row(found: FTest, state: State) -> list[float]:
    mean = found.unscaled * state.sigma**2
    return [mean * found.num_df, mean, found.num_df, found.den_df, found.statistic, found.p_value]


def _chi_square_table(result: Members, tests: CoefficientTests, kind: int) -> pd.DataFrame:
    """Wald tests of the coefficients of each term; for type II of what is left of them given the larger terms."""
    state = state_of_result(result)
    design, unit = state.problem.design, np.eye(len(state.beta))
    columns, terms = coefficients_of(design, state.kept), design.spec.formula.terms
    found = {}
    if kind == 3 and () in terms and "Intercept" in coefficient_names(state):
        found["Intercept"] = unit[[coefficient_names(state).index("Intercept")]]
    for number, own in columns.items():
        larger = [columns[i] for i in columns if set(terms[number]) < set(terms[i])]
        rest = np.concatenate(larger) if larger and kind == 2 else np.empty(0, dtype=np.int64)
        found[design.x_terms[number]] = _conditional(tests.cov, own, rest)
    joint = {name: tests.joint(L) for name, L in found.items()}
    return _chi_square_rows({name: (test.num_df * test.statistic, test.num_df) for name, test in joint.items()})


def _conditional(cov: FloatArray, own: IntArray, rest: IntArray) -> FloatArray:
    """Coefficients ``own`` less their regression, within their sampling distribution, on ``rest``; shape (q, p)."""
    L = np.eye(len(cov))[own]
    if rest.size:
        L[:, rest] -= np.linalg.solve(cov[np.ix_(rest, rest)], cov[np.ix_(rest, own)]).T
    return L


def _chi_square_rows(tests: Mapping[str, tuple[float, int]]) -> pd.DataFrame:
    rows = [[statistic, df, float(chi_square_p_value(statistic, df))] for statistic, df in tests.values()]
    index = pd.Index(list(tests), dtype=object)
    return pd.DataFrame(rows, index=index, columns=_CHI_COLUMNS).astype({"Chisq": float, "Df": int})


def _single_table(
    tests: CoefficientTests, L: FloatArray, labels: pd.Index[Any], null: FloatArray, level: float
) -> pd.DataFrame:
    found = tests.single(L, null)
    ends = wald.interval(found.estimate, found.se, found.df, level)
    letter = "z" if tests.method == "normal" else "t"
    table = {
        "Estimate": found.estimate,
        "Std. Error": found.se,
        "df": found.df,
        f"{letter} value": found.statistic,
        "lower": ends[:, 0],
        "upper": ends[:, 1],
        f"Pr(>|{letter}|)": found.p_value,
    }
    if letter == "z":
        del table["df"]
    return pd.DataFrame(table, index=labels)


def _weights(L: Any, names: list[str]) -> tuple[FloatArray, pd.Index[Any]]:
    """Rows of weights of all coefficients, shape (q, p), and their labels."""
    if isinstance(L, Mapping):
        rows = {name: np.atleast_1d(weights) for name, weights in L.items()}
        if len({len(weights) for weights in rows.values()}) > 1:
            listed = ", ".join(f"{name} {len(weights)}" for name, weights in rows.items())
            raise ValueError(f"L names coefficients with different numbers of weights: {listed}; give one for each row")
        L = pd.DataFrame(rows)
    elif isinstance(L, pd.Series):
        L = L.to_frame().T
    if isinstance(L, pd.DataFrame):
        if not L.columns.is_unique:
            raise ValueError(f"L names {L.columns[L.columns.duplicated()][0]!r} twice")
        unknown = [name for name in L.columns if name not in names]
        if unknown:
            listed = ", ".join(f"{name!r}{suggest(str(name), names)}" for name in unknown)
            raise ValueError(f"L names coefficients that the fit does not have: {listed}")
        weights, labels = _numbers(L.reindex(columns=names, fill_value=0.0)), L.index
    else:
        weights = np.atleast_2d(_numbers(L))
        labels = pd.RangeIndex(len(weights))
    if weights.size == 0:
        raise ValueError("L has no rows, so there is nothing to test; give the weights of one linear function or more")
    if weights.ndim != 2 or weights.shape[1] != len(names):
        raise ValueError(
            f"L must have one column for each of the {len(names)} coefficients ({', '.join(names)}), not the shape "
            f"{np.shape(L)}; name them in a dict or DataFrame to leave some out"
        )
    if not np.isfinite(weights).all() or not weights.any(axis=1).all():
        raise ValueError("each row of L must have finite weights that are not all zero")
    return weights, labels


def _numbers(L: Any) -> FloatArray:
    try:
        return np.asarray(L, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(
            "L must hold numbers, the weights of the coefficients, as many in each row: an array, or a dict such as "
            f'{{"Days": 1}}; not {L!r}'
        ) from error


def _null(rhs: ArrayLike, rows: int) -> FloatArray:
    try:
        null = np.asarray(rhs, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"rhs must hold numbers, not {rhs!r}") from error
    if null.shape not in ((), (rows,)):
        raise ValueError(f"rhs must be one number, or one for each of the {rows} rows of L, not of shape {null.shape}")
    if not np.isfinite(null).all():
        raise ValueError(f"rhs must hold finite numbers, not {rhs!r}")
    return np.broadcast_to(null, (rows,))
