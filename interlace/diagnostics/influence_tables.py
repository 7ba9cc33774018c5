"""Tables of influence: one row for each row of the data or for each group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from interlace.diagnostics.case_deletion import deletion_of
from interlace.diagnostics.components import component_names
from interlace.diagnostics.data_columns import beside, data_columns
from interlace.diagnostics.leverages import LEVERAGES, chosen_leverages, leverages
from interlace.diagnostics.projection import Projection
from interlace.results.fixed import coefficient_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlace.diagnostics.case_deletion import CaseDeletion
    from interlace.diagnostics.leverages import LeverageKind
    from interlace.diagnostics.units import Delete
    from interlace.typing import FloatArray, Optimizer

__all__ = ["hlm_influence", "influence_table", "lmer_influence_measures", "measure_columns"]


def hlm_influence(
    model: Any,
    level: int | str = 1,
    *,
    approx: bool = False,
    delete: Delete | None = None,
    leverage: LeverageKind | Sequence[LeverageKind] = "overall",
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Influence of each row or group on the estimates: HLMdiag's ``hlm_influence``.

    Parameters
    ----------
    model : LMMResult or GLMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for rows; else a grouping factor, spelled as in the formula or as lme4 names it (``cask:batch``).
    approx : bool
        False: the model is fitted again without each unit, all parameters anew. True: theta and sigma stay at the
        estimates from all rows, and beta has a closed form (HLMdiag's default).
    delete : sequence of labels, or dict from names to such sequences, optional
        Rows (by their labels in the frame) or levels of the factor that are left out together: one set, or several.
    leverage : {"overall", "fixef", "ranef", "ranef.uc"} or sequence of these
        Columns of leverage to add; see `interlace.leverage`.
    optimizer : {"auto", "lbfgsb", "bobyqa"}, optional
        Of the refits; that of the fit by default. With "auto" the refits of a linear model run many at once.
    n_jobs : int, optional
        Processes, as for ``joblib.Parallel``; -1 for all cores. The numbers do not depend on it.
    show_progress : bool

    Returns
    -------
    DataFrame
        For rows: ``id`` (1 to n), the data, measures, leverages; indexed by the rows' labels. For a grouping factor:
        its levels in order of first appearance under its name, measures, leverages (means over the rows of the
        group). For sets: ``set``, measures, leverages. With b, C the estimates and their covariance, b_(u), C_(u)
        those without unit u, and p coefficients, the measures are

        - ``cooksd``: (b - b_(u))' C^-1 (b - b_(u)) / p
        - ``mdffits``: (b - b_(u))' C_(u)^-1 (b - b_(u)) / p
        - ``covtrace``: abs(trace(C^-1 C_(u)) - p)
        - ``covratio``: det C_(u) / det C
        - ``rvc.sigma2``, ``rvc.D11``, ``rvc.D21``, ...: relative change of each variance component (exact refits
          only); NaN or infinite for one that is zero in the fit to all rows.

        A column of the data that has the name of one of these is called ``<name>.data``.

    Raises
    ------
    ValueError
        There is no such grouping factor, label or leverage, or an argument is out of range.
    TypeError
        For what is no fitted mixed model.

    Warns
    -----
    ConvergenceWarning
        Some units cannot be left out; their measures are NaN. ``case_delete(...).failed`` says why.

    See Also
    --------
    case_delete : the refits themselves.
    lmer_influence_measures : every measure in one table, without the data.

    Notes
    -----
    HLMdiag 0.5.1 prints group tables in an order that is not that of their labels, refits by REML only and from
    default optimizers that may stop at a false boundary, and knows no weights, no offsets and no crossed factors; none
    of this is so here. lme4's measures of the same names differ: see `lme4_influence`.

    Generalized models: C and C_(u) of refits are the covariances of the fits, which count the uncertainty of theta
    (with ``nAGQ=0`` given theta, as in lme4). With ``approx=True`` they are given theta, and beta_(u) comes from one
    step of Newton's method for (beta, b) without the rows of the unit, from the estimates of all, with the expected
    information, at fixed theta and dispersion: Pregibon's approximation, with random effects. It finds the units that
    matter; the largest Cook's distances are typically within a tenth or two of those of refits.

    References
    ----------
    Loy, A. and Hofmann, H. (2014). HLMdiag: a suite of diagnostics for hierarchical linear models in R. Journal of
    Statistical Software 56(5). Pregibon, D. (1981). Logistic regression diagnostics. Annals of Statistics 9, 705-724.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> table = hlm_influence(result, level="Subject")
    >>> table[["Subject", "cooksd", "mdffits", "rvc.sigma2", "leverage.overall"]].head(2).round(3)
      Subject  cooksd  mdffits  rvc.sigma2  leverage.overall
    0     308   0.092    0.101      -0.146             0.161
    1     309   0.149    0.188       0.052             0.161
    """
    kinds = chosen_leverages(leverage, "leverage")
    deletion = deletion_of(
        model,
        level,
        approx=approx,
        delete=delete,
        optimizer=optimizer,
        n_jobs=n_jobs,
        show_progress=show_progress,
    )
    return influence_table(deletion, kinds)


def influence_table(deletion: CaseDeletion, kinds: Sequence[LeverageKind]) -> pd.DataFrame:
    """Measures and leverages as `hlm_influence` has them, of refits that were made."""
    columns = measure_columns(deletion) | _leverage_columns(deletion, kinds)
    units = deletion.units
    if units.level is not None:
        first = {beside(units.level, columns): units.labels}
        return pd.DataFrame(first | columns)
    numbers = pd.DataFrame({"id": range(1, len(units) + 1)}, index=units.labels)
    data = data_columns(deletion.state, ["id", *columns])
    return pd.concat([numbers, data, pd.DataFrame(columns, index=units.labels)], axis=1)


def measure_columns(deletion: CaseDeletion) -> dict[str, FloatArray]:
    """Measures by HLMdiag's names, shapes (u,); ``rvc.*`` of exact refits only."""
    found = deletion.measures
    columns = {
        "cooksd": found.cooksd,
        "mdffits": found.mdffits,
        "covtrace": found.covtrace,
        "covratio": found.covratio,
    }
    if deletion.exact:
        names = component_names(deletion.state)
        columns |= {f"rvc.{name}": column for name, column in zip(names, found.rvc.T, strict=True)}
    return columns


def _leverage_columns(deletion: CaseDeletion, kinds: Sequence[LeverageKind]) -> dict[str, FloatArray]:
    found = leverages(Projection(deletion.state), deletion.units, kinds)
    return {f"leverage.{kind}": values for kind, values in found.items()}


def lmer_influence_measures(
    model: Any,
    level: int | str = 1,
    *,
    approx: bool = False,
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Every measure of influence in one table.

    Parameters
    ----------
    model, level, approx, optimizer, n_jobs, show_progress
        As for `hlm_influence`.

    Returns
    -------
    DataFrame, shape (units, measures)
        Indexed by the rows' labels, or by the levels of the grouping factor in order of first appearance. Columns:
        ``cooksd``, ``mdffits``, ``covtrace``, ``covratio``, ``rvc.*`` (exact refits only), ``leverage.*`` of all four
        kinds, ``dfbeta.*`` (change of each coefficient, full less deleted) and ``dfbetas.*`` (the same over the
        standard error without the unit), and ``converged``.

    Raises
    ------
    ValueError, TypeError
        As `hlm_influence`.

    Warns
    -----
    ConvergenceWarning
        Some units cannot be left out; their measures are NaN.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> measures = lmer_influence_measures(result, level="Subject")
    >>> measures[["cooksd", "dfbeta.Days", "dfbetas.Days"]].head(2).round(3)
             cooksd  dfbeta.Days  dfbetas.Days
    Subject
    308       0.092        0.665         0.449
    309       0.149       -0.483        -0.310
    """
    deletion = deletion_of(model, level, approx=approx, optimizer=optimizer, n_jobs=n_jobs, show_progress=show_progress)
    columns = measure_columns(deletion) | _leverage_columns(deletion, LEVERAGES)
    for prefix, values in (("dfbeta", deletion.measures.dfbeta), ("dfbetas", deletion.measures.dfbetas)):
        names = coefficient_names(deletion.state)
        columns |= {f"{prefix}.{name}": column for name, column in zip(names, values.T, strict=True)}
    return pd.DataFrame(columns, index=deletion.index).assign(converged=deletion.found.converged)
