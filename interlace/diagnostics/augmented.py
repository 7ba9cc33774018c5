"""The data, residuals and influence in one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from interlace.diagnostics.case_deletion import deletion_of
from interlace.diagnostics.data_columns import stepped_aside
from interlace.diagnostics.influence_tables import influence_table
from interlace.diagnostics.model import linear_state_of
from interlace.diagnostics.residual_tables import hlm_resid

if TYPE_CHECKING:
    from interlace.typing import Optimizer

__all__ = ["hlm_augment"]


def hlm_augment(
    model: Any,
    level: int | str = 1,
    *,
    approx: bool = True,
    include_ls: bool = True,
    optimizer: Optimizer | None = None,
    n_jobs: int | None = 1,
    show_progress: bool = False,
) -> pd.DataFrame:
    """Residuals and influence of rows, or of groups, beside the data: HLMdiag's ``hlm_augment``.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    level : 1 or str
        1 for rows; else a grouping factor.
    approx : bool
        True, as in HLMdiag: influence by the closed forms, with theta and sigma as they are. False: from refits
        without each row or group, which adds ``rvc.*``. `interlace.influence.hlm_influence` refits unless it is told
        otherwise, so that its numbers differ from those here.
    include_ls : bool
        Whether to give least-squares residuals.
    optimizer, n_jobs, show_progress
        Of the refits; as for `interlace.influence.hlm_influence`.

    Returns
    -------
    DataFrame
        Columns of `interlace.hlm_resid`, then ``cooksd``, ``mdffits``, ``covtrace``, ``covratio``, with refits
        ``rvc.*``, and ``leverage.overall`` of `interlace.influence.hlm_influence`. A column of the data that has the
        name of one of these is called ``<name>.data``.

    Raises
    ------
    ValueError
        For a level that there is not.
    TypeError
        For what is no linear mixed model.

    Warns
    -----
    ConvergenceWarning
        Some units cannot be left out; their measures are NaN.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> hlm_augment(result)[["Reaction", ".resid", "cooksd", "leverage.overall"]].head(2).round(3)
       Reaction  .resid  cooksd  leverage.overall
    0   249.560  -4.104   0.000             0.229
    1   258.705 -14.625   0.001             0.170
    """
    linear_state_of(model, "hlm_augment()")
    residuals = hlm_resid(model, level, include_ls=include_ls)
    deletion = deletion_of(model, level, approx=approx, optimizer=optimizer, n_jobs=n_jobs, show_progress=show_progress)
    measures = influence_table(deletion, ["overall"]).loc[:, "cooksd":]
    return pd.concat([stepped_aside(residuals, measures.columns), measures], axis=1)
