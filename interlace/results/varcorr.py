"""Variances, correlations and conditional modes of the random effects, with names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import pandas as pd

from interlace.estimate.derived import singular_values, term_covariances
from interlace.results.arguments import state_of_result
from interlace.results.text import align, significant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.results.members import Members
    from interlace.typing import FloatArray

__all__ = ["ByTerm", "VarCorr", "VarianceTable", "isSingular", "ranef"]

_TEXTS = ("grp", "var1", "var2")

#: One pandas object a random-effects term, by the key of the term.
ByTerm: TypeAlias = "dict[str, pd.Series | pd.DataFrame]"


def standard_deviations(cov: FloatArray) -> FloatArray:
    """Roots of the diagonal; rounding below zero counts as zero."""
    return np.asarray(np.sqrt(np.clip(np.diagonal(cov), 0.0, None)))


def correlations(cov: FloatArray) -> FloatArray:
    """Correlation matrix of a covariance matrix, shape (k, k); NaN beside a variance of zero."""
    sd = standard_deviations(cov)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = cov / np.outer(sd, sd)
    np.fill_diagonal(out, 1.0)
    return np.asarray(out)


@dataclass(frozen=True)
class VarianceTable:
    """Estimated standard deviations and correlations of the random effects; printed as lme4 prints ``VarCorr``.

    Attributes
    ----------
    keys : tuple of str
        Key of each term: its grouping factor, with ``.1``, ``.2`` ... for further terms on the same one.
    names : tuple of tuple of str
        Names of the k_i effects of each term.
    covariances : tuple of ndarray, shapes (k_i, k_i)
        Covariance matrix of each term.
    structures : tuple of str
        ``"unstructured"`` or ``"diagonal"``.
    sigma : float or None
        Residual standard deviation or root of the dispersion; None for a response without one, which has no row.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> print(interlace.VarCorr(interlace.fit("Reaction ~ Days + (Days | Subject)", df)))
     Groups   Name      Std.Dev.  Corr
     Subject  Intercept  24.7405
              Days        5.9221 0.066
     Residual            25.5918
    """

    keys: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    covariances: tuple[FloatArray, ...]
    structures: tuple[str, ...]
    sigma: float | None

    def as_dataframe(self, order: Literal["cov.last", "lower.tri"] = "cov.last") -> pd.DataFrame:
        """One row a variance or covariance, as R's ``as.data.frame(VarCorr(m))``.

        Parameters
        ----------
        order : {"cov.last", "lower.tri"}
            Covariances after the variances of their term, or the lower triangle column by column.

        Returns
        -------
        DataFrame
            Columns ``grp``, ``var1``, ``var2`` (missing for a variance), ``vcov`` (variance or covariance),
            ``sdcor`` (standard deviation or correlation). The last row is the residual, if there is one.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> table = interlace.VarCorr(interlace.fit("Reaction ~ Days + (Days | Subject)", df))
        >>> table.as_dataframe().round(3)
                grp       var1  var2     vcov   sdcor
        0   Subject  Intercept  None  612.090  24.740
        1   Subject       Days  None   35.072   5.922
        2   Subject  Intercept  Days    9.604   0.066
        3  Residual       None  None  654.941  25.592
        """
        if order not in ("cov.last", "lower.tri"):
            raise ValueError(f"order must be 'cov.last' or 'lower.tri', not {order!r}")
        rows: list[tuple[str, str | None, str | None, float, float]] = []
        for key, names, cov, structure in zip(self.keys, self.names, self.covariances, self.structures, strict=True):
            rows += _term_rows(key, names, cov, structure, order)
        if self.sigma is not None:
            rows.append(("Residual", None, None, self.sigma**2, self.sigma))
        grp, var1, var2, vcov, sdcor = zip(*rows, strict=True)
        # Text columns stay of type object, in which a missing name is None and not NaN.
        texts = {name: pd.Series(values, dtype=object) for name, values in zip(_TEXTS, (grp, var1, var2), strict=True)}
        return pd.DataFrame({**texts, "vcov": vcov, "sdcor": sdcor})

    def frame(self, *, variance: bool = True) -> pd.DataFrame:
        """Layout of the printed table: one row an effect.

        Parameters
        ----------
        variance : bool
            Whether to include a column of variances.

        Returns
        -------
        DataFrame
            Columns ``Groups``, ``Name``, ``Variance``, ``Std.Dev.``, and ``Corr``, ``Corr.1`` ... with the
            correlations with the effects before it in the same term (missing where there are none).
        """
        widest = max((len(n) for n, s in zip(self.names, self.structures, strict=True) if s != "diagonal"), default=1)
        rows: list[list[object]] = []
        for key, names, cov, structure in zip(self.keys, self.names, self.covariances, self.structures, strict=True):
            sd, corr = standard_deviations(cov), correlations(cov)
            for j, name in enumerate(names):
                known = j if structure != "diagonal" else 0
                rows.append(
                    [key if j == 0 else "", name, cov[j, j], sd[j], *(corr[j, i] for i in range(known))]
                    + [np.nan] * (widest - 1 - known)
                )
        if self.sigma is not None:
            rows.append(["Residual", "", self.sigma**2, self.sigma, *[np.nan] * (widest - 1)])
        corr_columns = ["Corr" if i == 0 else f"Corr.{i}" for i in range(widest - 1)]
        out = pd.DataFrame(rows, columns=["Groups", "Name", "Variance", "Std.Dev.", *corr_columns])
        return out if variance else out.drop(columns="Variance")

    def to_text(self, *, variance: bool = False, digits: int = 5, corr_digits: int = 3) -> str:
        """Aligned text of the table.

        Parameters
        ----------
        variance : bool
            Whether to show variances beside the standard deviations, as lme4's ``summary`` does.
        digits : int
            Significant digits of the least precise number in a column.
        corr_digits : int
            Decimals of the correlations.

        Returns
        -------
        str
        """
        frame = self.frame(variance=variance)
        columns: list[tuple[str, Sequence[str], str]] = [
            (name, [str(v) for v in frame[name]], "<") for name in ("Groups", "Name")
        ]
        for name in frame.columns[2:]:
            values = frame[name].to_numpy(dtype=float)
            if name.startswith("Corr"):
                cells = ["" if np.isnan(v) else f"{v:.{corr_digits}f}" for v in values]
                columns.append(("Corr" if name == "Corr" else "", cells, ">"))
            else:
                columns.append((name, significant(values, digits), ">"))
        return "\n".join(f" {line}".rstrip() for line in align(columns))

    def __str__(self) -> str:
        return self.to_text()

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False, na_rep="", float_format="{:.5g}".format)


def _term_rows(
    key: str, names: tuple[str, ...], cov: FloatArray, structure: str, order: str
) -> list[tuple[str, str | None, str | None, float, float]]:
    """Rows of ``as_dataframe`` for one term."""
    sd, corr, k = standard_deviations(cov), correlations(cov), len(names)
    diagonal = structure == "diagonal"
    # A covariance that the model fixes at zero is no estimate, so a diagonal term has none.
    pairs = [(i, j) for j in range(k) for i in range(j, k) if i == j or not diagonal]
    if order == "cov.last":
        pairs.sort(key=lambda pair: pair[0] != pair[1])
    return [
        (key, names[j], None, float(cov[j, j]), float(sd[j]))
        if i == j
        else (key, names[j], names[i], float(cov[i, j]), float(corr[i, j]))
        for i, j in pairs
    ]


def variance_table(state: State) -> VarianceTable:
    """Collect standard deviations and correlations of a fit, with names."""
    terms = state.problem.design.terms
    return VarianceTable(
        keys=tuple(term.key for term in terms),
        names=tuple(term.names for term in terms),
        covariances=term_covariances(state),
        structures=tuple(term.structure for term in terms),
        sigma=state.sigma if state.has_scale else None,
    )


def variance_components(state: State) -> dict[str, float | pd.DataFrame]:
    """Variance of each scalar term and covariance matrix of each other term, by key."""
    return {
        term.key: float(cov[0, 0]) if cov.shape == (1, 1) else pd.DataFrame(cov, index=term.names, columns=term.names)
        for term, cov in zip(state.problem.design.terms, term_covariances(state), strict=True)
    }


def by_level(term: RandomTerm, values: FloatArray) -> pd.Series | pd.DataFrame:
    """One row a level: a Series for an intercept-only term, else a DataFrame; ``values`` has shape (q, k)."""
    index = term.levels.rename(term.group)
    if term.names == ("Intercept",):
        return pd.Series(values[:, 0].copy(), index=index, name="Intercept")
    return pd.DataFrame(values.copy(), index=index, columns=list(term.names))


def conditional_modes(state: State) -> ByTerm:
    """Conditional modes b of each term, by key."""
    return {
        term.key: by_level(term, modes) for term, modes in zip(state.problem.design.terms, state.modes, strict=True)
    }


def conditional_sd(terms: tuple[RandomTerm, ...], covariances: tuple[FloatArray, ...]) -> ByTerm:
    """Conditional standard deviations from conditional covariances of shapes (q_i, k_i, k_i), by key."""
    return {
        term.key: by_level(term, np.sqrt(np.clip(np.einsum("qkk->qk", cov), 0.0, None)))
        for term, cov in zip(terms, covariances, strict=True)
    }


def conditional_cov(terms: tuple[RandomTerm, ...], covariances: tuple[FloatArray, ...]) -> ByTerm:
    """Conditional covariances with names: variances for an intercept-only term, else k rows a level, by key."""
    out: ByTerm = {}
    for term, cov in zip(terms, covariances, strict=True):
        if term.names == ("Intercept",):
            out[term.key] = by_level(term, cov[:, :, 0])
        else:
            rows = pd.MultiIndex.from_product([term.levels, list(term.names)], names=[term.group, "effect"])
            out[term.key] = pd.DataFrame(cov.reshape(-1, cov.shape[-1]), index=rows, columns=list(term.names))
    return out


def boundary_flags(state: State, tol: float | None = None) -> dict[str, bool]:
    """Whether each term is singular, by key; ``tol`` is the one of the fit's ``Control`` by default."""
    limit: Any = state.problem.control.singular_tol if tol is None else tol
    if not isinstance(limit, int | float | np.number) or not limit >= 0.0:
        raise ValueError(f"tol must be a number of at least 0, not {limit!r}")
    keys = (term.key for term in state.problem.design.terms)
    return {key: bool(values.min() < limit) for key, values in zip(keys, singular_values(state), strict=True)}


def VarCorr(result: Members) -> VarianceTable:  # noqa: N802  (R's name)
    """Collect standard deviations and correlations of the random effects.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    VarianceTable
        Prints as lme4's ``VarCorr(m)``; ``as_dataframe()`` gives R's ``as.data.frame(VarCorr(m))``.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("Dyestuff")
    >>> print(interlace.VarCorr(interlace.fit("Yield ~ 1 + (1 | Batch)", df)))
     Groups   Name      Std.Dev.
     Batch    Intercept   42.001
     Residual             49.510
    """
    return variance_table(state_of_result(result))


def ranef(result: Members) -> ByTerm:
    """Conditional modes of the random effects (BLUPs), lme4's ``ranef(m)``.

    Parameters
    ----------
    result : LMMResult or GLMMResult

    Returns
    -------
    dict of str to Series or DataFrame
        One entry a term: a Series for an intercept-only term, else a DataFrame of levels by effects. lme4 merges terms
        on one grouping factor into one table; here a second one has its own entry ``group.1``.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> interlace.ranef(interlace.fit("Reaction ~ Days + (Days | Subject)", df))["Subject"].head(2).round(3)
             Intercept   Days
    Subject
    308          2.259  9.199
    309        -40.399 -8.620
    """
    return conditional_modes(state_of_result(result))


def isSingular(result: Members, tol: float = 1e-4) -> bool:  # noqa: N802  (R's name)
    """Whether the fit is singular: some combination of random effects of a term has (nearly) no variance.

    Parameters
    ----------
    result : LMMResult or GLMMResult
    tol : float
        Limit on the standard deviation of the least variable combination, relative to the residual one; in a
        generalized model on the scale of the linear predictor.

    Returns
    -------
    bool

    Notes
    -----
    lme4 asks whether a diagonal element of a relative covariance factor L is below ``tol``. This asks about the
    smallest singular value of L with the covariates in standard units. For a random intercept the two agree; for
    vectors neither the order of the effects nor their units matter here.

    Examples
    --------
    >>> import interlace, warnings
    >>> df = interlace.datasets.load("Dyestuff2")
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     interlace.isSingular(interlace.fit("Yield ~ 1 + (1 | Batch)", df))
    True
    """
    return any(boundary_flags(state_of_result(result), tol).values())
