"""The fixed-effects part of a model, fitted to each group on its own by least squares, as R's ``lm`` would.

A factor then has only the levels that the group has, and the first of them is the reference. With treatment contrasts
no column has to be made anew for that: those of levels that are absent are zero in the group, and those of the
group's own reference level are left out.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from interlace.diagnostics.least_squares import GroupwiseFit, fit_by_group
from interlace.frames.adapt import Table
from interlace.frames.encode import FactorEncoder
from interlace.frames.rows import Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interlace.estimate.state import FitState
    from interlace.frames.design import Design, RandomTerm
    from interlace.typing import BoolArray, FloatArray, IntArray

__all__ = ["group_coefficients", "regressions"]


def regressions(state: FitState, term: RandomTerm) -> GroupwiseFit:
    """Regress the rows of each level of a grouping factor on the fixed-effects columns; weighted rows.

    The columns are those of the fit, so that residuals and leverages do not depend on how factors are coded. Constants
    are among them if the model has an intercept.

    Parameters
    ----------
    state : FitState
    term : RandomTerm
        Its grouping factor is used, and nothing else of it.
    """
    return _fit(state, term, np.ones((len(term.levels), state.kept.size), dtype=np.bool_))


def group_coefficients(state: FitState, term: RandomTerm) -> FloatArray:
    """Coefficients of each group's regression, under R's rules for factors.

    A group in which a factor has one level only cannot be fitted by ``lm`` and has none. A factor that has one level in
    every group is no different from a numeric predictor that is constant in every group, and is left out like one.

    Parameters
    ----------
    state : FitState
    term : RandomTerm

    Returns
    -------
    ndarray, shape (q, p)
        Columns as ``state.beta``; NaN where there is none.
    """
    design, q = state.problem.design, len(term.levels)
    allowed = np.ones((q, design.X.shape[1]), dtype=np.bool_)
    possible = np.ones(q, dtype=np.bool_)
    present = _present_levels(design, term.codes, q)
    for code, found in present.items():
        several = found.sum(axis=1) > 1
        if several.any():
            possible &= several
        reference = found.argmax(axis=1)
        for column, levels in enumerate(_contrasts(design)):
            allowed[:, column] &= reference != levels.get(code, -1)
    coefficients = _fit(state, term, allowed[:, state.kept]).coefficients
    return np.where(possible[:, None], coefficients, np.nan)


def _fit(state: FitState, term: RandomTerm, allowed: BoolArray) -> GroupwiseFit:
    """Regress with the columns ``allowed`` in each group, shape (q, p)."""
    design = state.problem.design
    root = np.ones(design.y.size) if design.weights is None else np.sqrt(design.weights)
    y = design.y if design.offset is None else design.y - design.offset
    X = design.X[:, state.kept] * root[:, None]
    if not allowed.all():
        X *= allowed[term.codes]
    return fit_by_group(X, root * y, term.codes, len(term.levels))


def _present_levels(design: Design, codes: IntArray, q: int) -> dict[str, BoolArray]:
    """Which levels of each factor with treatment contrasts occur in each group, shapes (q, levels)."""
    out = {}
    rows = Rows(Table(design.frame), None)
    for code, encoder in design.spec.encoders.items():
        if isinstance(encoder, FactorEncoder):
            found = np.zeros((q, len(encoder.levels)), dtype=np.bool_)
            found[codes, encoder.codes(rows)] = True
            out[code] = found
    return out


def _contrasts(design: Design) -> Iterator[dict[str, int]]:
    """For each column of X in turn, the levels that its factors with a reference level are at."""
    encoders = design.spec.encoders
    for scoped in design.spec.blocks:
        for block in scoped:
            widths = [range(encoders[code].width(reduced)) for code, reduced in block]
            for places in product(*reversed(widths)):  # the first factor changes fastest
                yield {
                    code: place + 1
                    for (code, reduced), place in zip(block, reversed(places), strict=True)
                    if reduced and isinstance(encoders[code], FactorEncoder)
                }
