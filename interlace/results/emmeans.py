"""Estimated marginal means: ``interlace.emmeans``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np
import pandas as pd

from interlace.errors import DataError, FormulaError
from interlace.frames.evaluate import inspect
from interlace.frames.levels import level_text
from interlace.frames.names import suggest
from interlace.frames.reference_grid import ReferenceGrid, reference_grid
from interlace.inference import wald
from interlace.inference.emmeans import FunctionSpace, LinearEstimates, average_rows, function_space
from interlace.inference.nesting import cell_weights, nested_factors
from interlace.results.arguments import listed_names, state_of_result
from interlace.results.backtransform import Scale, scale_of
from interlace.results.fixed import coefficient_names, coefficient_tests_of

if TYPE_CHECKING:
    from interlace.frames.design import Design
    from interlace.results.members import Members
    from interlace.typing import DfMethod, FloatArray

__all__ = ["NOT_ESTIMABLE", "EmmeansResult", "Kind", "Weighting", "check_kind", "emmeans", "end_columns", "table_text"]

Kind: TypeAlias = Literal["link", "response"]
Weighting: TypeAlias = Literal["equal", "proportional"]

#: Note of tables with NaN.
NOT_ESTIMABLE = "Some of these are not estimable: combinations of factor levels without data leave them undetermined"
_INTERACTION = "results may be misleading due to involvement in interactions"


@dataclass(frozen=True, eq=False, repr=False)
class EmmeansResult:
    """Estimated marginal means of m combinations of factor levels.

    Attributes
    ----------
    factors : DataFrame, m rows
        Levels of each mean; those of ``specs``, then those of ``by``.
    estimates : LinearEstimates
        On the scale of the linear predictor.
    specs, by : tuple of str
        What the means are of, and what makes groups of them.
    space : FunctionSpace
    scale : Scale
    type : {"link", "response"}
        Scale of the tables.
    level : float
        Confidence level of the intervals.
    coefficients : tuple of str
        Names of the p coefficients.
    notes : tuple of str
    """

    factors: pd.DataFrame
    estimates: LinearEstimates
    specs: tuple[str, ...]
    by: tuple[str, ...]
    space: FunctionSpace
    scale: Scale
    type: Kind
    level: float
    coefficients: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def L(self) -> pd.DataFrame:  # noqa: N802 - the name of the formulas
        """Weights of the coefficients, shape (m, p); without those that the fit left out.

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
        >>> emmeans(result, "Type", at={"Type": ["T1", "T3"]}).L
           Intercept  Type[T.T2]  Type[T.T3]  Type[T.T4]
        0        1.0         0.0         0.0         0.0
        1        1.0         0.0         1.0         0.0
        """
        return pd.DataFrame(self.estimates.L[:, self.space.kept], columns=list(self.coefficients))

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the means on the scale of the linear predictor, shape (m, m).

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
        >>> emmeans(result, "Type", at={"Type": ["T1", "T3"]}).cov.round(3)
               0      1
        0  0.332  0.197
        1  0.197  0.332
        """
        return pd.DataFrame(self.estimates.cov.copy())

    def to_frame(self, level: float | None = None) -> pd.DataFrame:
        """Make a table with the columns of R's ``summary(emmeans(...))``.

        Parameters
        ----------
        level : float, optional
            Confidence level; that of the call by default.

        Returns
        -------
        DataFrame, m rows
            The factors, ``emmean`` (``prob``, ``rate`` or ``response`` for ``type="response"``), ``SE``, ``df``,
            ``lower.CL`` and ``upper.CL``; ``asymp.LCL`` and ``asymp.UCL`` from the normal distribution. NaN where the
            data do not determine a mean.

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
        >>> emmeans(result, "Type").to_frame(0.9).round(2).head(2)
          Type  emmean    SE     df  lower.CL  upper.CL
        0   T1    8.56  0.58  15.53      7.55      9.56
        1   T2   12.44  0.58  15.53     11.44     13.45
        """
        found = self.estimates
        ends = wald.interval(found.estimate, found.se, found.df, self.level if level is None else level)
        columns = {"emmean": found.estimate, "SE": found.se, "df": found.df}
        lower, upper = ends[:, 0], ends[:, 1]
        if self.type == "response" and self.scale.name != "identity":
            mean, se = self.scale.back(found.estimate, found.se)
            columns = {self.scale.column: mean, "SE": se, "df": found.df}
            lower, upper = self.scale.ends(found.estimate, lower, upper)
        names = end_columns(self.space.tests.method)
        return self.factors.assign(**columns, **dict(zip(names, (lower, upper), strict=True)))

    def __repr__(self) -> str:
        notes = [f"Degrees-of-freedom method: {self.space.tests.method}", f"Confidence level: {self.level:g}"]
        if self.scale.name != "identity":
            written = "back-transformed from" if self.type == "response" else "given on"
            notes.append(f"Results are {written} the {self.scale.name} scale")
        return table_text(self.to_frame(), [*self.notes, *notes])


def end_columns(method: DfMethod) -> tuple[str, str]:
    """Headings that emmeans gives the ends of intervals."""
    return ("asymp.LCL", "asymp.UCL") if method == "normal" else ("lower.CL", "upper.CL")


def table_text(table: pd.DataFrame, notes: Sequence[str]) -> str:
    """Print a table with its notes below."""
    numbers = table.to_string(index=False, float_format=lambda x: f"{x:.4g}", na_rep="NA")
    return "\n".join([numbers, "", *notes])


def check_kind(type: str) -> None:
    """Refuse what is no scale.

    Raises
    ------
    ValueError
    """
    if type not in get_args(Kind):
        raise ValueError(f"type must be 'link' or 'response', not {type!r}")


def emmeans(
    result: Members,
    specs: str | Sequence[str],
    *,
    by: str | Sequence[str] | None = None,
    at: Mapping[str, Any] | None = None,
    type: Kind = "link",
    ddf: DfMethod | None = None,
    level: float = 0.95,
    weights: Weighting = "equal",
    offset: float | None = None,
) -> EmmeansResult:
    """Estimate marginal means: R's ``emmeans::emmeans``.

    Predictions at all combinations of the levels of the factors, with numeric predictors at their mean, are averaged
    over the factors that are not asked for. Random effects are zero.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    specs : str or sequence of str
        Predictors whose means are wanted: a name, several names, or ``"~ a + b | c"`` (means of a and b for each level
        of c); ``"~ 1"`` for the overall mean.
    by : str or sequence of str, optional
        Predictors that make groups; comparisons stay within a group.
    at : mapping from column to a value or values, optional
        Values of numeric predictors instead of their mean, or some of the levels of a factor.
    type : {"link", "response"}
        Scale of the tables: of the linear predictor; or of the response, with standard errors by the delta method.
        Means are averaged on the scale of the linear predictor in both cases.
    ddf : {"satterthwaite", "kenward-roger", "residual", "normal"}, optional
        How to find degrees of freedom; the method of the fit by default.
    level : float
        Confidence level of the intervals.
    weights : {"equal", "proportional"}
        How to average over factors: levels count alike, or as often as they occur in the rows of the data.
    offset : float, optional
        Offset of all means; the average one of the data by default. For rates per unit of exposure give 0.

    Returns
    -------
    EmmeansResult

    Raises
    ------
    TypeError
        ``result`` is not a result of interlace.
    ValueError
        An argument names a predictor that is not there, or has no such value.
    ModelError
        The model has no such degrees of freedom, or the grid would be too large.

    Notes
    -----
    As in emmeans, a numeric predictor of two distinct values is taken at both, like a factor. A mean that the data do
    not determine (an empty cell) is NaN. Levels of a factor that is nested in another one, by the data or as b is in
    ``a + a:b``, are averaged within the levels around them, and come with these in the table. See Searle, Speed and
    Milliken (1980, Am. Stat. 34, 216-221).

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.emmeans import emmeans
    >>> result = interlace.fit("score ~ Machine + (Machine | Worker)", interlace.datasets.load("Machines"))
    >>> emmeans(result, "Machine").to_frame().round(2)
      Machine  emmean    SE   df  lower.CL  upper.CL
    0       A   52.36  1.68  5.0     48.04     56.68
    1       B   60.32  3.53  5.0     51.25     69.39
    2       C   66.27  1.81  5.0     61.63     70.92
    """
    state = state_of_result(result)
    check_kind(type)
    if weights not in get_args(Weighting):
        raise ValueError(f"weights must be 'equal' or 'proportional', not {weights!r}")
    wald.critical_value(level)
    design = state.problem.design
    names, groups = _targets(specs, by)
    grid = reference_grid(design, at)
    nests = _nests(design, grid)
    around = [i for j in _positions((*names, *groups), grid) for i in nests.get(j, ())]
    names = (*names, *(grid.names[i] for i in dict.fromkeys(around) if grid.names[i] not in (*names, *groups)))
    positions = _positions((*names, *groups), grid)
    shares = cell_weights(nests, [v.codes for v in grid.variables], grid.sizes)
    if weights == "proportional":
        shares = (shares > 0.0) * _frequencies(grid, positions, nests, design.X.shape[0])
    codes, L = average_rows(grid.X, grid.sizes, positions, shares)
    labels = {grid.names[i]: grid.variables[i].values.take(codes[:, j]) for j, i in enumerate(positions)}
    factors = pd.DataFrame(labels) if labels else pd.DataFrame({"1": ["overall"]})
    space = function_space(design.root_of_x, state.kept, coefficient_tests_of(result, ddf))
    estimates = space.estimates(L, np.full(len(L), _offset(offset, design)))
    notes = _notes(design, grid, positions)
    notes += [f"nested: {grid.names[i]} in {', '.join(grid.names[j] for j in nests[i])}" for i in nests]
    if not estimates.estimable.all():
        notes.append(NOT_ESTIMABLE)
    return EmmeansResult(
        factors.reset_index(drop=True),
        estimates,
        names or ("1",),
        groups,
        space,
        scale_of(state),
        type,
        level,
        tuple(coefficient_names(state)),
        tuple(note[0].upper() + note[1:] for note in notes),
    )


def _targets(specs: str | Sequence[str], by: str | Sequence[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the predictors asked for, and of those that make groups."""
    groups = () if by is None else listed_names("by", by, "predictor")
    if not isinstance(specs, str) or "~" not in specs:
        names = listed_names("specs", specs, "predictor")
    else:
        left, _, right = specs.partition("~")
        if left.strip():
            raise FormulaError(
                f"specs {specs!r} has something on the left of '~'; write '~{right}', and pairs() or contrast() of the "
                "means for comparisons"
            )
        inside, bar, given = right.partition("|")
        if bar and groups:
            raise FormulaError(f"specs {specs!r} has a '|', and by= is given too; use one of them")
        names, groups = _listed(inside), (_listed(given) if bar else groups)
        names = () if names == ("1",) else names
    overlap = [name for name in dict.fromkeys((*names, *groups)) if (*names, *groups).count(name) > 1]
    if overlap:
        raise FormulaError(f"specs and by= name {', '.join(map(repr, overlap))} twice")
    return names, groups


def _listed(text: str) -> tuple[str, ...]:
    return tuple(name.strip().strip("`") for name in re.split(r"[+*:]", text))


def _offset(given: Any, design: Design) -> float:
    """Offset of all means: the one asked for, or the average one."""
    if given is None:
        return design.mean_offset
    said = f"offset must be one finite number, not {given!r}"
    if isinstance(given, bool) or not isinstance(given, Real):
        raise TypeError(said)
    value = float(given)
    if not np.isfinite(value):
        raise ValueError(said)
    return value


def _positions(names: Sequence[str], grid: ReferenceGrid) -> list[int]:
    for name in names:
        if name not in grid.names:
            raise FormulaError(
                f"{name!r} is not a predictor of the fixed effects{suggest(str(name), list(grid.names))}; these are "
                + (", ".join(map(repr, grid.names)) or "none")
                + (f". Several are a list, or a formula: '~ {name}'" if re.search(r"[+*:|]", str(name)) else "")
            )
    return [grid.names.index(name) for name in names]


def _nests(design: Design, grid: ReferenceGrid) -> dict[int, tuple[int, ...]]:
    """Factors that each factor is nested in, by position."""
    columns = [{name for code in term for name in inspect(code).columns} for term in design.spec.formula.terms]
    terms = [{i for i, name in enumerate(grid.names) if name in term} for term in columns]
    return nested_factors([variable.codes for variable in grid.variables], grid.sizes, terms)


def _frequencies(
    grid: ReferenceGrid, positions: Sequence[int], nests: Mapping[int, Sequence[int]], n: int
) -> FloatArray:
    """In how many of n rows each combination of the other variables, and of those that they are nested in, occurs.

    Values of numeric ones count alike.
    """
    variables = grid.variables
    others = {i for i in range(len(variables)) if i not in positions}
    others |= {i for j in others for i in nests.get(j, ())}
    factors = {i: codes for i in sorted(others) if (codes := variables[i].codes) is not None}
    shape = [size if i in factors else 1 for i, size in enumerate(grid.sizes)]
    cell = np.zeros(n, dtype=np.int64)
    there = np.ones(n, dtype=bool)
    for i, codes in factors.items():
        cell, there = cell * shape[i] + codes, there & (codes >= 0)
    found = np.bincount(cell[there], minlength=int(np.prod(shape))).reshape(shape)
    if not found.any():
        raise DataError("weights='proportional': the levels chosen by at= do not occur together in the data")
    return found.astype(np.float64)


def _notes(design: Design, grid: ReferenceGrid, positions: Sequence[int]) -> list[str]:
    """What readers should know about how the means were made."""
    asked = {grid.names[i] for i in positions}
    averaged = [v.name for i, v in enumerate(grid.variables) if i not in positions and len(v.values) > 1]
    notes = []
    columns = [{name for code in term for name in inspect(code).columns} for term in design.spec.formula.terms]
    if any(names & asked and names - asked for names in columns):
        notes.append(_INTERACTION)
    if averaged:
        notes.append(f"averaged over the levels of {', '.join(averaged)}")
    fixed = [
        f"{v.name} = {level_text(v.values[0]) if v.codes is not None else format(v.values[0], '.5g')}"
        for i, v in enumerate(grid.variables)
        if i not in positions and len(v.values) == 1
    ]
    if fixed:
        notes.append(f"at {', '.join(fixed)}")
    return notes
