"""Folds of cross-validation fitted from their rows: the formula is evaluated on the training rows alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.errors import InterlaceError
from interlace.estimate.glmm_state import GlmmState
from interlace.estimate.state import FitState
from interlace.frames.newdata import new_rows
from interlace.frames.select import numeric_values
from interlace.prediction.cross_validation import Fold, LeftOut
from interlace.prediction.predict import predict
from interlace.prediction.predictive_density import joined_density
from interlace.results.call import FitCall, GlmerCall
from interlace.results.glmm import GLMMResult, glmer_call
from interlace.results.lmm import LMMResult, fit_call

if TYPE_CHECKING:
    import pandas as pd

    from interlace.frames.design import Design

__all__ = ["FoldFit", "FoldFits"]


@dataclass(frozen=True, eq=False)
class FoldFit:
    """One fold, fitted from its rows.

    Attributes
    ----------
    found : LeftOut or None
        Predictions; None where the fit failed.
    model : LMMResult, GLMMResult or None
    reason : str
        Why it failed.
    """

    found: LeftOut | None
    model: LMMResult | GLMMResult | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class FoldFits:
    """Fits folds, one after the other; can be sent to other processes.

    Parameters
    ----------
    call : FitCall or GlmerCall
        On ``design.frame`` with columns in place of arrays.
    design : Design
        Of all rows.
    density : bool
        Whether to compute log densities.
    keep : bool
        Whether to keep the models.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Yield ~ 1", interlace.datasets.load("Dyestuff"), groups="Batch")
    >>> fits = FoldFits.of(result.call, result.state.problem.design)
    >>> [one] = fits([Fold(np.arange(5), np.arange(5))])
    >>> one.found.mean.round(3)
    array([1532., 1532., 1532., 1532., 1532.])
    """

    call: FitCall | GlmerCall
    design: Design
    density: bool = False
    keep: bool = False

    @classmethod
    def of(cls, call: FitCall | GlmerCall, design: Design, *, density: bool = False, keep: bool = False) -> FoldFits:
        """From a call on the caller's data and its design."""
        frame, changes = design.frame, dict[str, Any]()
        for name in ("weights", "offset"):
            given = getattr(call, name)
            if given is not None and not isinstance(given, str):
                column = f"_{name}_"
                while column in frame.columns:
                    column += "_"
                frame[column] = numeric_values(name, given)[design.rows]
                changes[name] = column
        return cls(replace(call, data=frame, **changes), design, density, keep)

    def __call__(self, folds: Sequence[Fold]) -> list[FoldFit]:
        """Fit each fold."""
        return [self._one(fold) for fold in folds]

    def _one(self, fold: Fold) -> FoldFit:
        frame: pd.DataFrame = self.call.data
        train = np.ones(len(frame), dtype=np.bool_)
        train[fold.lost] = False
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what there is to say is in the checks
                model = _fitted(replace(self.call, data=frame[train]))
                new = frame.iloc[fold.test]
                mean = np.asarray(predict(model.state, new), dtype=np.float64)
                log_density = self._log_density(model, new, fold) if self.density else float("nan")
        except (InterlaceError, np.linalg.LinAlgError) as error:
            return FoldFit(None, None, str(error))
        messages = tuple(check.message for check in model.state.checks if check.severity != "info")
        return FoldFit(LeftOut(mean, log_density, model.converged, messages), model if self.keep else None)

    def _log_density(self, model: LMMResult | GLMMResult, new: pd.DataFrame, fold: Fold) -> float:
        state: Any = model.state
        assert isinstance(state, FitState | GlmmState)
        rows = new_rows(state.problem.design, new)
        codes = {term.group: term.codes[fold.test] for term in self.design.terms}
        levels = [codes[term.group] for term in state.problem.design.terms]
        return joined_density(state, rows, self.design, fold.test, levels)


def _fitted(call: FitCall | GlmerCall) -> LMMResult | GLMMResult:
    return fit_call(call) if isinstance(call, FitCall) else glmer_call(call)
