"""Fit a result's model again in lme4 and compare."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.errors import ModelError
from interlace.rbridge.agreement import AgreementTable, compare
from interlace.rbridge.names import r_formula
from interlace.rbridge.ours import numbers_of
from interlace.rbridge.run import fit_in_r
from interlace.rbridge.session import require, versions
from interlace.results.lmm import LMMResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from interlace.frames.design import RandomTerm

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
    ModelError
        For a covariance structure that lme4 does not have.
    FormulaError
        For a function in the formula that R's formulas do not have.
    TypeError
        For anything but a result of ``interlace.fit``.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", df)
    >>> not interlace.rbridge.available() or interlace.rbridge.check(result).agrees
    True
    """
    if not isinstance(result, LMMResult):
        raise TypeError(f"expected a result of interlace.fit(), not {type(result).__name__}")
    require()
    design = result.state.problem.design
    _require_counterpart(design.terms)
    theirs = fit_in_r(
        r_formula(design.formula, offsets=False),
        _observed_levels(result.model.data.frame),
        reml=bool(result.state.reml),
        weights=design.weights,
        offset=design.offset,
        contrasts=result.call.contrasts or {},
        newdata=newdata or {},
    )
    ours = replace(numbers_of(result, newdata), rows=np.arange(design.y.size, dtype=np.int64))
    return compare(ours, theirs, reference=reference())


def _observed_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out categories that do not occur, as a fit does; R's ``C()`` stumbles over them."""
    import pandas as pd

    categories = [name for name, dtype in frame.dtypes.items() if isinstance(dtype, pd.CategoricalDtype)]
    return frame.assign(**{str(name): frame[name].cat.remove_unused_categories() for name in categories})


def _require_counterpart(terms: Sequence[RandomTerm]) -> None:
    for term in terms:
        if term.structure == "diagonal" and term.Z.shape[1] > 1:
            raise ModelError(
                f"lme4 has no diagonal covariance within one term, as ({' + '.join(term.names)} | {term.group}) has: "
                f"write (x || {term.group}) with numeric x, which is the same model in separate terms"
            )


def reference() -> str:
    """Name the R in use: ``lme4 1.1.31 (R 4.2.2)``."""
    found = versions()
    return f"lme4 {found['lme4']} (R {found['R']})"
