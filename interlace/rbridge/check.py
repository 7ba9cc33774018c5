"""Fit a result's model again in lme4 and compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.rbridge.agreement import AgreementTable, compare
from interlace.rbridge.names import r_formula
from interlace.rbridge.ours import numbers_of
from interlace.rbridge.run import lmer
from interlace.rbridge.session import require, versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

__all__ = ["check"]


def check(result: Any, newdata: Mapping[str, pd.DataFrame] | None = None) -> AgreementTable:
    """Compare a fitted model with lme4's fit of the same model to the same rows.

    Parameters
    ----------
    result : LMMResult
    newdata : dict from label to DataFrame, optional
        Rows to compare predictions on. Not for models with an offset: R is passed the offset of the fitted rows.

    Returns
    -------
    AgreementTable
        ``print`` it, or use ``frame``, ``agrees``, ``failures``.

    Raises
    ------
    ImportError
        When rpy2, R or lme4 is missing; the message says what to install.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
    >>> interlace.rbridge.check(result).agrees  # doctest: +SKIP
    True
    """
    require()
    design = result.state.problem.design
    theirs = lmer(
        r_formula(design.formula, offsets=False),
        result.model.data.frame,
        reml=bool(result.state.reml),
        weights=design.weights,
        offset=design.offset,
        contrasts=design.spec.contrasts,
        newdata=newdata,
    )
    ours = replace(numbers_of(result, newdata), rows=np.arange(design.y.size, dtype=np.int64))
    return compare(ours, theirs, reference=reference())


def reference() -> str:
    """Name the R in use: ``lme4 1.1.31 (R 4.2.2)``."""
    found = versions()
    return f"lme4 {found['lme4']} (R {found['R']})"
