"""Contrasts among estimated marginal means: ``interlace.contrast`` and ``interlace.pairs``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np
import pandas as pd

from interlace.frames.levels import level_text
from interlace.inference.emmeans import ContrastMethod, ContrastSet, LinearEstimates, contrast_set
from interlace.inference.multiplicity import Adjustment, adjusted_p_values, joint_critical_values
from interlace.inference.wald import critical_value
from interlace.results.arguments import listed_names
from interlace.results.emmeans import NOT_ESTIMABLE, EmmeansResult, Kind, check_kind, end_columns, table_text

if TYPE_CHECKING:
    from interlace.results.backtransform import Scale
    from interlace.typing import DfMethod, FloatArray, IntArray

__all__ = ["ContrastResult", "contrast", "pairs"]


@dataclass(frozen=True, eq=False, repr=False)
class ContrastResult:
    """Contrasts among estimated marginal means, with tests that account for how many there are.

    Attributes
    ----------
    factors : DataFrame, c rows
        Name of each contrast, and its group.
    estimates : LinearEstimates
        On the scale of the linear predictor.
    families : tuple of ndarray of int64
        Rows that are adjusted together: those of one group.
    means : tuple of int
        Number of means in each group.
    adjust : str
        Adjustment of p-values.
    ratios : bool
        Whether the tables show ratios.
    method : str
        How degrees of freedom were found.
    scale : Scale
    level : float
    coefficients : tuple of str
    notes : tuple of str
    """

    factors: pd.DataFrame
    estimates: LinearEstimates
    families: tuple[IntArray, ...]
    means: tuple[int, ...]
    adjust: Adjustment
    ratios: bool
    method: DfMethod
    scale: Scale
    level: float
    coefficients: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def cov(self) -> pd.DataFrame:
        """Covariance matrix of the contrasts on the scale of the linear predictor, shape (c, c).

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.contrasts_of_means import contrast
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("effort ~ Type + (1 | Subject)", interlace.datasets.load("ergoStool"))
        >>> contrast(emmeans(result, "Type", at={"Type": ["T1", "T3"]})).cov.round(3)
               0
        0  0.269
        """
        return pd.DataFrame(self.estimates.cov.copy())

    def to_frame(self) -> pd.DataFrame:
        """Make a table of tests with the columns of R's ``summary(contrast(...))``.

        Returns
        -------
        DataFrame, c rows
            ``contrast``, the groups, ``estimate`` (``ratio`` or ``odds.ratio``), ``SE``, ``df``, ``null`` (of ratios),
            ``t.ratio`` or ``z.ratio``, ``p.value``. Tests are on the scale of the linear predictor.

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.contrasts_of_means import pairs
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("score ~ Machine + (Machine | Worker)", interlace.datasets.load("Machines"))
        >>> pairs(emmeans(result, "Machine")).to_frame().round(4)
          contrast  estimate      SE   df  t.ratio  p.value
        0    A - B   -7.9667  2.4209  5.0  -3.2909   0.0481
        1    A - C  -13.9167  1.5401  5.0  -9.0362   0.0007
        2    B - C   -5.9500  2.4465  5.0  -2.4321   0.1253
        """
        found = self.estimates
        p = np.full(found.estimate.shape, np.nan)
        for rows, means in zip(self.families, self.means, strict=True):
            p[rows] = adjusted_p_values(
                found.statistic[rows],
                found.df[rows],
                self.adjust,
                means=means,
                correlation=found.correlation[np.ix_(rows, rows)],
            )
        letter = "z" if self.method == "normal" else "t"
        columns = self._estimates() | ({"null": np.ones(p.size)} if self.ratios else {})
        return self.factors.assign(**columns, **{f"{letter}.ratio": found.statistic, "p.value": p})

    def confint(self, level: float | None = None) -> pd.DataFrame:
        """Make a table of intervals that hold together with the confidence ``level`` within a group.

        Parameters
        ----------
        level : float, optional
            That of the means by default.

        Returns
        -------
        DataFrame, c rows
            As ``to_frame``, with ``lower.CL`` and ``upper.CL`` (``asymp.LCL``, ``asymp.UCL``) in place of the test.
            Holm's and the false discovery rate's adjustments have no intervals; Bonferroni's are used, as in emmeans.

        Examples
        --------
        >>> import interlace
        >>> from interlace.results.contrasts_of_means import pairs
        >>> from interlace.results.emmeans import emmeans
        >>> result = interlace.fit("score ~ Machine + (Machine | Worker)", interlace.datasets.load("Machines"))
        >>> pairs(emmeans(result, "Machine")).confint().round(2)
          contrast  estimate    SE   df  lower.CL  upper.CL
        0    A - B     -7.97  2.42  5.0    -15.84     -0.09
        1    A - C    -13.92  1.54  5.0    -18.93     -8.91
        2    B - C     -5.95  2.45  5.0    -13.91      2.01
        """
        found = self.estimates
        reach = np.full(found.estimate.shape, np.nan)
        for rows, means in zip(self.families, self.means, strict=True):
            reach[rows] = joint_critical_values(
                found.df[rows],
                self.level if level is None else level,
                self.adjust,
                means=means,
                correlation=found.correlation[np.ix_(rows, rows)],
            )
        ends = [found.estimate - reach * found.se, found.estimate + reach * found.se]
        if self.ratios:
            ends = [np.exp(self.scale.unit * end) for end in ends]
        return self.factors.assign(**self._estimates(), **dict(zip(end_columns(self.method), ends, strict=True)))

    def _estimates(self) -> dict[str, FloatArray]:
        found = self.estimates
        if not self.ratios or self.scale.ratio is None:
            return {"estimate": found.estimate, "SE": found.se, "df": found.df}
        ratio = np.exp(self.scale.unit * found.estimate)
        return {self.scale.ratio: ratio, "SE": self.scale.unit * ratio * found.se, "df": found.df}

    def __repr__(self) -> str:
        notes = [f"Degrees-of-freedom method: {self.method}", f"P value adjustment: {self.adjust}"]
        if self.ratios:
            notes.append(f"Tests are performed on the {self.scale.name} scale")
        elif self.scale.name != "identity":
            notes.append(f"Contrasts are on the {self.scale.name} scale")
        return table_text(self.to_frame(), [*self.notes, *notes])


def contrast(
    emm: EmmeansResult,
    method: ContrastMethod = "pairwise",
    *,
    by: str | Sequence[str] | None = None,
    adjust: Adjustment | None = None,
    type: Kind | None = None,
    level: float | None = None,
) -> ContrastResult:
    """Compare estimated marginal means: R's ``emmeans::contrast``.

    Parameters
    ----------
    emm : EmmeansResult
        What ``emmeans`` returned.
    method : {"pairwise", "revpairwise", "trt.vs.ctrl", "consec", "eff", "poly"}, mapping, or array-like
        All pairs; each mean against the first; each against the one before; each against the average of all; orthogonal
        polynomials in equal steps. Or weights of the k means of a group: ``{"A against the rest": [1, -0.5, -0.5]}``,
        or an array of shape (c, k).
    by : str or sequence of str, optional
        Groups within which to compare; those of ``emm`` by default, ``()`` for none.
    adjust : {"tukey", "mvt", "holm", "bonferroni", "sidak", "fdr", "none"}, optional
        How p-values and intervals account for the number of comparisons in a group. By default Tukey's for pairs,
        ``"mvt"`` (by their joint t distribution, to about 0.5 %) for ``"trt.vs.ctrl"`` and ``"consec"``,
        ``"fdr"`` for ``"eff"``, none for the others.
    type : {"link", "response"}, optional
        Whether differences on a log or logit scale are given as ratios; as ``emm`` by default.
    level : float, optional
        Confidence level of the intervals; that of ``emm`` by default.

    Returns
    -------
    ContrastResult

    Raises
    ------
    TypeError
        ``emm`` is not what ``emmeans`` returned.
    ValueError
        There is no such method, adjustment or group, or weights do not fit.

    Notes
    -----
    For ``"trt.vs.ctrl"`` emmeans's default ``dunnettx`` approximates what ``"mvt"`` computes. Tukey's adjustment of
    anything but all pairs becomes Sidak's, as in emmeans. Differences on scales other than log and logit cannot be
    turned into ratios and stay as they are.

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.contrasts_of_means import contrast
    >>> from interlace.results.emmeans import emmeans
    >>> df = interlace.datasets.load("cbpp")
    >>> result = interlace.glmer("incidence / size ~ period + (1 | herd)", df, "binomial", weights="size")
    >>> means = emmeans(result, "period", type="response")
    >>> contrast(means, "trt.vs.ctrl", adjust="holm").to_frame().round(4)
                contrast  odds.ratio      SE   df  null  z.ratio  p.value
    0  period2 / period1      0.3707  0.1137  inf   1.0  -3.2361   0.0012
    1  period3 / period1      0.3235  0.1057  inf   1.0  -3.4554   0.0011
    2  period4 / period1      0.2059  0.0880  inf   1.0  -3.6972   0.0007
    """
    if not isinstance(emm, EmmeansResult):
        raise TypeError(f"contrast() compares what emmeans() returns, not {emm.__class__.__name__}")
    if adjust is not None and adjust not in get_args(Adjustment):
        raise ValueError(f"adjust must be one of {', '.join(get_args(Adjustment))}; not {adjust!r}")
    kind = emm.type if type is None else type
    check_kind(kind)
    level = emm.level if level is None else level
    critical_value(level)
    groups = emm.by if by is None else listed_names("by", by, "factor")
    labels = np.array(_labels(emm.factors[_inside(emm, groups)]), dtype=object)
    rows_of = _groups(emm.factors, groups)
    if isinstance(method, str):
        rows_of = [rows for rows in rows_of if len(rows) > 1]
    if not rows_of:
        raise ValueError("there is one mean (in each group) and nothing to compare it with")
    sets = [contrast_set(method, labels[rows].tolist()) for rows in rows_of]
    ratios = kind == "response" and emm.scale.ratio is not None
    ratios = ratios and all(np.allclose(one.weights.sum(axis=1), 0.0) for one in sets)
    if ratios:
        sets = [contrast_set(method, labels[rows].tolist(), "/") for rows in rows_of]
    notes = [note for note in emm.notes if note != NOT_ESTIMABLE]
    chosen = sets[0].adjust if adjust is None else adjust
    if chosen == "tukey" and not sets[0].pairwise:
        chosen = "sidak"
        notes.append("Tukey's adjustment is for all pairs only; Sidak's is used instead")
    weights, factors, families = _all_groups(emm, sets, groups, rows_of)
    estimates = emm.space.estimates(weights @ emm.estimates.L, weights @ emm.estimates.offset)
    if not estimates.estimable.all():
        notes.append(NOT_ESTIMABLE)
    return ContrastResult(
        factors,
        estimates,
        families,
        tuple(len(rows) for rows in rows_of),
        chosen,  # type: ignore[arg-type]
        ratios,
        emm.space.tests.method,
        emm.scale,
        level,
        emm.coefficients,
        tuple(notes),
    )


def pairs(
    emm: EmmeansResult,
    *,
    reverse: bool = False,
    by: str | Sequence[str] | None = None,
    adjust: Adjustment | None = None,
    type: Kind | None = None,
    level: float | None = None,
) -> ContrastResult:
    """Compare all pairs of estimated marginal means: R's ``pairs(emmeans(...))``.

    Parameters
    ----------
    emm : EmmeansResult
    reverse : bool
        Subtract the earlier mean from the later one.
    by, adjust, type, level
        As for ``contrast``; Tukey's adjustment by default.

    Returns
    -------
    ContrastResult

    Examples
    --------
    >>> import interlace
    >>> from interlace.results.contrasts_of_means import pairs
    >>> from interlace.results.emmeans import emmeans
    >>> cake = interlace.datasets.load("cake")
    >>> result = interlace.fit("angle ~ recipe + temp + (1 | recipe:replicate)", cake)
    >>> pairs(emmeans(result, "recipe"), adjust="none").to_frame().round(3)
      contrast  estimate     SE    df  t.ratio  p.value
    0    A - B     1.478  2.456  42.0    0.602    0.551
    1    A - C     1.522  2.456  42.0    0.620    0.539
    2    B - C     0.044  2.456  42.0    0.018    0.986
    """
    return contrast(emm, "revpairwise" if reverse else "pairwise", by=by, adjust=adjust, type=type, level=level)


def _inside(emm: EmmeansResult, groups: Sequence[str]) -> list[str]:
    """Factors that tell the means of a group apart."""
    known = list(emm.factors.columns)
    for name in groups:
        if name not in known:
            raise ValueError(f"by names {name!r}, which is no factor of these means: {', '.join(map(repr, known))}")
    inside = [name for name in known if name not in groups]
    if not inside:
        raise ValueError(f"by={list(groups)!r} leaves one mean in each group and nothing to compare")
    return inside


def _groups(factors: pd.DataFrame, groups: Sequence[str]) -> list[IntArray]:
    """Rows of each group, in the order of the table."""
    if not groups:
        return [np.arange(len(factors))]
    found = factors.groupby(list(groups), sort=False, observed=True).indices
    return sorted((np.sort(np.asarray(rows, dtype=np.int64)) for rows in found.values()), key=lambda rows: int(rows[0]))


def _labels(factors: pd.DataFrame) -> list[str]:
    """Name the means by their levels; levels that are numbers get the name of their factor in front."""
    parts = []
    for name in factors.columns:
        texts = [level_text(value) for value in factors[name]]
        parts.append([f"{name}{text}" for text in texts] if all(map(_is_number, texts)) else texts)
    return [" ".join(row) for row in zip(*parts, strict=True)]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _all_groups(
    emm: EmmeansResult, sets: Sequence[ContrastSet], groups: Sequence[str], rows_of: Sequence[IntArray]
) -> tuple[FloatArray, pd.DataFrame, tuple[IntArray, ...]]:
    """Weights of all means for the contrasts of every group, their names, and the rows of each group."""
    counts = [len(one.names) for one in sets]
    weights = np.zeros((sum(counts), len(emm.factors)))
    families = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    for own, one, rows in zip(families, sets, rows_of, strict=True):
        weights[np.ix_(own, rows)] = one.weights
    first = np.repeat([int(rows[0]) for rows in rows_of], counts)
    factors = pd.DataFrame({"contrast": np.array([name for one in sets for name in one.names], dtype=object)})
    for name in groups:
        factors[name] = emm.factors[name].take(first).to_numpy()
    return weights, factors, tuple(families)
