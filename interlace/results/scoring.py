"""Scores of predictions for rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from interlace.typing import FloatArray

__all__ = ["Scored", "Scorer", "Scoring", "scorers_of"]

#: What ``scoring=`` takes: a name, a function of observed and predicted values, a scorer of scikit-learn, or several.
Scoring: TypeAlias = "str | Callable[..., float] | Sequence[str | Callable[..., float]] | Mapping[str, Any]"


@dataclass(frozen=True, eq=False)
class Scored:
    """The m rows of a fold.

    Attributes
    ----------
    y : ndarray, shape (m,)
        Observed.
    mean : ndarray, shape (m,)
        Predicted.
    log_density : float
        Of all m responses together.
    binary : bool
        Whether the response is 0 or 1, and ``mean`` the probability of 1.
    """

    y: FloatArray
    mean: FloatArray
    log_density: float
    binary: bool


@dataclass(frozen=True, eq=False)
class Scorer:
    """A score and its name.

    Attributes
    ----------
    name : str
    function : callable
        From `Scored` to a number.
    density : bool
        Whether it needs the log density.
    """

    name: str
    function: Callable[[Scored], float]
    density: bool = False


def _rmse(fold: Scored) -> float:
    return float(np.sqrt(np.mean((fold.y - fold.mean) ** 2)))


def _mae(fold: Scored) -> float:
    return float(np.mean(np.abs(fold.y - fold.mean)))


def _r2(fold: Scored) -> float:
    spread = float(np.sum((fold.y - fold.y.mean()) ** 2))
    return 1.0 - float(np.sum((fold.y - fold.mean) ** 2)) / spread if spread > 0.0 else float("nan")


def _log_score(fold: Scored) -> float:
    return -fold.log_density / fold.y.size


_BUILT_IN: dict[str, Callable[[Scored], float]] = {"rmse": _rmse, "mae": _mae, "r2": _r2, "log_score": _log_score}


def scorers_of(scoring: Scoring) -> tuple[list[Scorer], bool]:
    """Read ``scoring=``.

    Returns
    -------
    list of Scorer
    bool
        Whether it is a single one.

    Raises
    ------
    ValueError
        There is no score of that name; two have the same.
    TypeError
        It is neither a name nor a function, nor several of them.

    Examples
    --------
    >>> scorers, single = scorers_of(["rmse", "log_score"])
    >>> [scorer.name for scorer in scorers], single
    (['rmse', 'log_score'], False)
    """
    if isinstance(scoring, str) or callable(scoring):
        return [_scorer(scoring)], True
    if isinstance(scoring, Mapping):
        found = [_scorer(one, str(name)) for name, one in scoring.items()]
    elif isinstance(scoring, Sequence):
        found = [_scorer(one) for one in scoring]
    else:
        raise TypeError(
            f"scoring must be a name such as 'rmse', a function of observed and predicted values, or a list or dict of "
            f"them, not {scoring!r}"
        )
    names = [scorer.name for scorer in found]
    if not found:
        raise ValueError("scoring is empty: name at least one score, such as 'rmse'")
    if len(set(names)) < len(names):
        raise ValueError(f"two scores have the same name among {names}; give a dict of names to functions")
    return found, False


def _scorer(scoring: Any, name: str | None = None) -> Scorer:
    if isinstance(scoring, str):
        built_in = _BUILT_IN.get(scoring)
        if built_in is not None:
            return Scorer(name or scoring, built_in, scoring == "log_score")
        return Scorer(name or scoring, _OfEstimator(_by_name(scoring)))
    if not callable(scoring):
        raise TypeError(f"a score must be a name or a function of observed and predicted values, not {scoring!r}")
    label = str(name or getattr(scoring, "__name__", type(scoring).__name__))
    return Scorer(label, _OfEstimator(scoring) if _takes_estimator(scoring) else _OfValues(scoring, label))


def _by_name(name: str) -> Callable[..., float]:
    """A scorer of scikit-learn."""
    known = ", ".join(map(repr, _BUILT_IN))
    try:
        from sklearn.metrics import get_scorer, get_scorer_names
    except ImportError as error:
        raise ValueError(
            f"scoring must be one of {known} or a function, not {name!r}; names of scikit-learn's scorers need it "
            "installed: pip install scikit-learn"
        ) from error
    if name not in get_scorer_names():
        raise ValueError(
            f"there is no score {name!r}: choose one of {known}, a name of sklearn.metrics.get_scorer_names(), or give "
            "a function of observed and predicted values"
        )
    found: Callable[..., float] = get_scorer(name)
    return found


def _takes_estimator(function: Callable[..., float]) -> bool:
    """Whether it is a scorer in scikit-learn's form, ``scorer(estimator, X, y)``."""
    try:
        first = next(iter(signature(function).parameters), "")
    except (TypeError, ValueError):  # some functions in C have no signature
        return False
    return first == "estimator"


@dataclass(frozen=True)
class _OfValues:
    """A function of observed and predicted values."""

    function: Callable[..., Any]
    name: str

    def __call__(self, fold: Scored) -> float:
        found = np.asarray(self.function(fold.y, fold.mean))
        if found.ndim or found.dtype.kind not in "fiub":
            raise TypeError(f"the score {self.name!r} must return a number, not {found.tolist()!r}")
        return float(found)


@dataclass(frozen=True)
class _OfEstimator:
    """A scorer of scikit-learn, which sees a classifier where the response is 0 or 1, else a regressor."""

    scorer: Callable[..., Any]

    def __call__(self, fold: Scored) -> float:
        y = fold.y.astype(np.int64) if fold.binary else fold.y
        return float(self.scorer(_predicted(fold), np.empty((y.size, 0)), y))


def _predicted(fold: Scored) -> Any:
    """An estimator of scikit-learn whose predictions are already there."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Classified(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        """Classes and their probabilities."""

        classes_ = np.array([0, 1])

        def predict(self, X: Any) -> Any:
            """The likelier class."""
            return (fold.mean > 0.5).astype(np.int64)

        def predict_proba(self, X: Any) -> Any:
            """Probabilities of 0 and 1, shape (m, 2)."""
            return np.column_stack([1.0 - fold.mean, fold.mean])

    class Regressed(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        """Means."""

        def predict(self, X: Any) -> Any:
            """The means."""
            return fold.mean

    return Classified() if fold.binary else Regressed()
