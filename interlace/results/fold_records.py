"""Records of the folds of a cross-validation, and what they say together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.errors import ConvergenceWarning, ModelError
from interlace.results.folds import Split, groups_left_out
from interlace.results.scoring import Scored, Scorer

if TYPE_CHECKING:
    from interlace.frames.design import Design
    from interlace.prediction.cross_validation import Fold
    from interlace.results.fold_fits import FoldFit
    from interlace.results.glmm import GLMMResult
    from interlace.results.lmm import LMMResult
    from interlace.typing import FloatArray

__all__ = ["CVResult", "FoldResult", "Marking", "report"]


@dataclass(frozen=True, eq=False)
class FoldResult:
    """One fold of a cross-validation.

    Attributes
    ----------
    fold : int
        Its number, from 0.
    groups : tuple
        Levels of the factor that makes the folds of which the fit had no row.
    n_train, n_test : int
        Rows of the fit, and rows predicted.
    scores : dict of str to float
        By name; NaN where the fold failed.
    converged : bool
    messages : tuple of str
        Why it failed, or what was found about the fit.
    model : LMMResult, GLMMResult or None
        The fit, for ``return_models=True``.
    observed, predicted : ndarray, shapes (n_test,)
        Responses of the rows left out and their predicted means; empty where the fold failed.
    index : pandas.Index
        Labels of these rows in the data.
    """

    fold: int
    groups: tuple[Any, ...]
    n_train: int
    n_test: int
    scores: dict[str, float]
    converged: bool
    messages: tuple[str, ...]
    model: LMMResult | GLMMResult | None
    observed: FloatArray
    predicted: FloatArray
    index: pd.Index[Any]

    @property
    def score(self) -> float:
        """The first score."""
        return next(iter(self.scores.values()))

    @property
    def failed(self) -> bool:
        """Whether some score is missing."""
        return any(np.isnan(score) for score in self.scores.values())

    @property
    def predictions(self) -> pd.DataFrame:
        """Columns ``observed`` and ``predicted``, indexed as the data."""
        return pd.DataFrame({"observed": self.observed, "predicted": self.predicted}, index=self.index)

    def __repr__(self) -> str:
        scores = ", ".join(f"{name}={score:.6g}" for name, score in self.scores.items())
        return f"<FoldResult {self.fold}: {scores}, {self.n_test} of {self.n_train + self.n_test} rows left out>"


@dataclass(frozen=True, eq=False, repr=False)
class CVResult:
    """Scores of a cross-validation.

    Attributes
    ----------
    scores : ndarray, shape (folds,), or DataFrame, shape (folds, scores)
        A table where several scores were asked for; NaN for a fold that failed.
    mean, std : float or Series
        Over the folds that did not fail; the standard deviation has folds - 1 in its denominator.
    fold_results : list of FoldResult
    formula : str
    groups : str
        The factor whose levels stay together.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> cv = interlace.cross_val("Reaction ~ Days", df, groups="Subject", scoring=["rmse", "mae"])
    >>> cv
    <CVResult: Reaction ~ Days + (1 | Subject), 18 folds by Subject, rmse 43.45 ± 24.62, mae 37.85 ± 23.41>
    """

    scores: Any
    mean: Any
    std: Any
    fold_results: list[FoldResult]
    formula: str
    groups: str

    def __repr__(self) -> str:
        table = self._table
        parts = [f"{name} {table[name].mean():.4g} ± {table[name].std():.4g}" for name in table]
        return f"<CVResult: {self.formula}, {len(table)} folds by {self.groups}, {', '.join(parts)}>"

    def _repr_html_(self) -> str:
        return self.to_frame().to_html(float_format="{:.5g}".format)

    @classmethod
    def of(cls, results: Sequence[FoldResult], formula: str, groups: str, *, single: bool) -> CVResult:
        """Means over folds; numbers where there is one score, else tables.

        Examples
        --------
        >>> none = np.empty(0), np.empty(0), pd.Index([])
        >>> folds = [FoldResult(i, (), 8, 2, {"rmse": 1.0 + i}, True, (), None, *none) for i in range(3)]
        >>> CVResult.of(folds, "y ~ x + (1 | g)", "g", single=True).mean
        2.0
        """
        table = pd.DataFrame([fold.scores for fold in results])
        mean, std = table.mean(), table.std()
        if not single:
            return cls(table, mean, std, list(results), formula, groups)
        scores = table.iloc[:, 0].to_numpy()
        return cls(scores, float(mean.iloc[0]), float(std.iloc[0]), list(results), formula, groups)

    @cached_property
    def _table(self) -> pd.DataFrame:
        return pd.DataFrame([fold.scores for fold in self.fold_results])

    def to_frame(self) -> pd.DataFrame:
        """One row for each fold: groups left out, numbers of rows, scores, convergence, messages."""
        facts = [
            {"groups": fold.groups, "n_train": fold.n_train, "n_test": fold.n_test} | fold.scores
            | {"converged": fold.converged, "messages": "; ".join(fold.messages)}
            for fold in self.fold_results
        ]  # fmt: skip
        return pd.DataFrame(facts, index=pd.RangeIndex(len(facts), name="fold"))

    @property
    def predictions(self) -> pd.DataFrame:
        """Every row left out: its ``fold``, what was ``observed`` and ``predicted``; indexed as the data."""
        parts = [fold.predictions.assign(fold=fold.fold) for fold in self.fold_results]
        return pd.concat(parts)[["fold", "observed", "predicted"]]


@dataclass(frozen=True, eq=False)
class Marking:
    """Scores folds.

    Parameters
    ----------
    design : Design
        Of all rows.
    split : Split
    scorers : sequence of Scorer
    binary : bool
        Whether the response is 0 or 1, and its mean a probability.
    """

    design: Design
    split: Split
    scorers: Sequence[Scorer]
    binary: bool

    def record(self, number: int, fold: Fold, fit: FoldFit) -> FoldResult:
        """Record of one fold."""
        y, index, found = self.design.y[fold.test], self.design.index[fold.test], fit.found
        messages: tuple[str, ...] = (fit.reason,)
        scores = {scorer.name: float("nan") for scorer in self.scorers}
        if found is None:
            y, index, predicted = y[:0], index[:0], y[:0]
        else:
            predicted = found.mean
            scored = Scored(y, found.mean, found.log_density, self.binary)
            scores = {scorer.name: scorer.function(scored) for scorer in self.scorers}
            missing = [name for name, score in scores.items() if np.isnan(score)]
            reason = (f"{', '.join(missing)} of these {y.size} rows is not a number",) if missing else ()
            messages = (*reason, *found.messages)
        return FoldResult(
            fold=number,
            groups=groups_left_out(self.split, fold),
            n_train=self.design.y.size - fold.lost.size,
            n_test=fold.test.size,
            scores=scores,
            converged=found is not None and found.converged,
            messages=messages,
            model=fit.model,
            observed=y,
            predicted=predicted,
            index=index,
        )


def report(results: Sequence[FoldResult], *, stacklevel: int) -> None:
    """One warning for all folds that failed, and one for those that did not converge.

    Parameters
    ----------
    results : sequence of FoldResult
    stacklevel : int
        As in ``warnings.warn``, counted from the caller.

    Raises
    ------
    ModelError
        No fold could be fitted.
    """
    failed = [fold for fold in results if fold.failed]
    if failed:
        first = f"{_named(failed[0])}: {failed[0].messages[0]}"
        if not any(fold.predicted.size for fold in results):
            raise ModelError(f"none of the {len(results)} folds could be fitted; {first}")
        warnings.warn(
            f"{len(failed)} of {len(results)} folds failed: their scores are NaN, and mean and std are over the "
            f"others; {first}",
            UserWarning,
            stacklevel=stacklevel + 1,
        )
    stuck = [fold for fold in results if not (fold.converged or fold.failed)]
    if stuck:
        warnings.warn(
            f"the optimizer did not converge in {len(stuck)} of {len(results)} folds; {_named(stuck[0])}: "
            f"{'; '.join(stuck[0].messages)}",
            ConvergenceWarning,
            stacklevel=stacklevel + 1,
        )


def _named(fold: FoldResult) -> str:
    groups = ", ".join(repr(str(group)) for group in fold.groups[:3]) + (", ..." if len(fold.groups) > 3 else "")
    return f"fold {fold.fold}" + (f" ({groups})" if groups else "")
