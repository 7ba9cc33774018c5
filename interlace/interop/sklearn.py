"""Mixed models as estimators of scikit-learn (version 1.6 or later), for its pipelines, splitters and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from interlace.api import fit, glmer
from interlace.errors import DataError, ModelError
from interlace.frames.build import grouping_factors
from interlace.frames.names import quote

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets, type_of_target
    from sklearn.utils.validation import (
        check_array,
        check_consistent_length,
        check_is_fitted,
        column_or_1d,
        validate_data,
    )
except ImportError as missing:
    raise ImportError("estimators need scikit-learn 1.6 or later: pip install 'scikit-learn>=1.6'") from missing

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from interlace.core.familybase import Family
    from interlace.results.glmm import GLMMResult
    from interlace.results.lmm import LMMResult

__all__ = ["MixedModelClassifier", "MixedModelRegressor"]

#: The column that labels given to ``fit(groups=)`` become, and what the response is called if the formula has no name
#: for it.
_GROUPS, _RESPONSE = "groups", "y"


class _MixedModel(BaseEstimator):  # type: ignore[misc]
    """What regressor and classifier have in common.

    Parameters
    ----------
    formula, groups, random, include_re, fit_options
        See `MixedModelRegressor`.
    """

    formula: str | None
    groups: Any
    random: str | Sequence[str] | None
    include_re: bool
    fit_options: Mapping[str, Any] | None

    def __sklearn_tags__(self) -> Any:
        """Data frames with columns of text are welcome; so are arrays of numbers."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        return tags

    def _fit(self, X: Any, y: NDArray[Any], groups: Any, family: Any, **more: Any) -> None:
        """Fit and keep the result."""
        frame = self._frame(X, reset=True)
        if groups is not None:
            frame[_GROUPS] = self._labels(groups, frame)
        formula, response = self._whole_formula(frame, groups is not None)
        frame[response] = y
        options: dict[str, Any] = {"na_action": "raise", "random": self.random} | more | dict(self.fit_options or {})
        by = self._group_columns()
        if not by and self.random is None and groups is not None and not _has_terms(formula):
            by = [_GROUPS]
        if by:
            options["groups"] = by
        if groups is not None and not self._uses_labels(formula, by):
            raise ValueError(
                "fit() was given groups, but the model has grouping factors of its own, none of which is 'groups': use "
                "that name in the formula, or leave one of them out"
            )
        self.result_: LMMResult | GLMMResult
        if family is None:
            self.result_ = fit(formula, frame, **options)
        else:
            self.result_ = glmer(formula, frame, family, **options)

    def _frame(self, X: Any, *, reset: bool) -> pd.DataFrame:
        """X as a frame, after scikit-learn's checks of names and numbers of columns."""
        if isinstance(X, pd.DataFrame):
            if not len(X):
                raise ValueError(f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X.rename(columns=str)
        values = validate_data(self, X, reset=reset, dtype="numeric", ensure_min_samples=2 if reset else 1)
        return pd.DataFrame(values, columns=[f"x{j}" for j in range(values.shape[1])])

    def _labels(self, groups: Any, frame: pd.DataFrame) -> Any:
        if _GROUPS in frame.columns:
            raise ValueError(f"X has a column {_GROUPS!r} of its own, so labels cannot be given to fit() or predict()")
        labels = column_or_1d(groups, dtype=None)
        if len(labels) != len(frame):
            raise ValueError(f"groups has {len(labels)} labels, and X has {len(frame)} rows")
        return labels

    def _group_columns(self) -> list[str]:
        given = self.groups
        if given is None:
            return []
        return [f"x{g}" if isinstance(g, int) else str(g) for g in ([given] if isinstance(given, str | int) else given)]

    def _whole_formula(self, frame: pd.DataFrame, labels: bool) -> tuple[str, str]:
        """Formula with a response, and the column that the response becomes."""
        left, tilde, right = (self.formula or "").partition("~")
        left, right = left.strip(), right.strip()
        if not tilde:
            left, right = "", left
        if left:
            name = left.strip("`")
            if not (name.isidentifier() or left.startswith("`")) or name in frame.columns:
                raise ValueError(
                    f"the left-hand side {left!r} of the formula is y of fit(): write a name that is no column of X, "
                    "or nothing; to transform y use TransformedTargetRegressor"
                )
            return f"{left} ~ {right}", name
        response = _RESPONSE
        while response in frame.columns:
            response += "_"
        if not right:
            taken = {*self._group_columns(), *([_GROUPS] if labels else []), *self._columns_of_options()}
            right = " + ".join(quote(name) for name in frame.columns if name not in taken) or "1"
        return f"{quote(response)} ~ {right}", response

    def _columns_of_options(self) -> list[str]:
        """Weights and offset that are columns of X."""
        options = self.fit_options or {}
        return [options[name] for name in ("weights", "offset") if isinstance(options.get(name), str)]

    def _uses_labels(self, formula: str, by: Sequence[str]) -> bool:
        names = grouping_factors(
            formula, list(by) or None, [self.random] if isinstance(self.random, str) else self.random
        )
        return any(_GROUPS in name.split(":") for name in names)

    def _predicted(self, X: Any, groups: Any, kind: str) -> NDArray[np.float64]:
        """Means or linear predictors of new rows."""
        check_is_fitted(self)
        frame = self._frame(X, reset=False)
        known = self.result_.state.problem.design.columns
        if groups is not None:
            frame[_GROUPS] = self._labels(groups, frame)
        elif _GROUPS in known and _GROUPS not in frame.columns:
            frame[_GROUPS] = _unseen(known[_GROUPS])
        found = self.result_.predict(frame, type=kind, include_re=self.include_re).to_numpy()
        bad = int(np.isnan(found).sum())
        if bad:
            columns = [repr(name) for name in frame.columns if name in known and frame[name].isna().any()]
            reason = f": values are missing (NaN) in {', '.join(columns)}" if columns else ""
            raise DataError(f"{bad} of the {len(found)} rows of X have no prediction{reason}")
        return np.asarray(found, dtype=np.float64)


def _has_terms(formula: str) -> bool:
    """Whether a formula has random effects."""
    try:
        return bool(grouping_factors(formula, None, None))
    except ModelError:
        return False


def _unseen(labels: pd.Series) -> Any:
    """A label that no group has: nothing is known of new rows without labels."""
    if pd.api.types.is_numeric_dtype(labels):
        return labels.max() + 1
    taken, label = set(labels.astype(str)), "new"
    while label in taken:
        label += "_"
    return label


class MixedModelRegressor(RegressorMixin, _MixedModel):  # type: ignore[misc]
    """A linear mixed model, or with ``family`` a generalized one, as a regressor.

    Parameters
    ----------
    formula : str, optional
        As for `interlace.fit`, with or without its left-hand side, which is the ``y`` given to ``fit``:
        ``"~ x + (x | school)"``. By default the sum of all columns of X that are not grouping factors.
    groups : str, int, or sequence of them, optional
        Columns of X (positions in an array) with random intercepts.
    random : str or sequence of str, optional
        Random-effects terms apart from the formula.
    family : str or Family, optional
        As for `interlace.glmer`; None for a linear model.
    include_re : bool
        Whether predictions use the random effects of levels that the fit has seen.
    fit_options : mapping, optional
        Further arguments of `interlace.fit` or `interlace.glmer`, such as ``{"method": "ML"}``.

    Attributes
    ----------
    result_ : LMMResult or GLMMResult
        The fit.
    n_features_in_, feature_names_in_
        As in every estimator.

    Notes
    -----
    Scikit-learn does not hand the ``groups`` of its splitters to ``fit``, so the grouping factor is best a column of X.
    Labels can be given to ``fit(X, y, groups=labels)`` as well, by hand or by metadata routing; they are the factor
    ``groups``, with random intercepts where the model has no random effects of its own. Columns of an array are ``x0``,
    ``x1``, ... in formulas. Missing values are errors, as elsewhere in scikit-learn; ``fit_options={"na_action":
    "drop"}`` leaves such rows out of the fit. For folds without refits from rows see `interlace.cross_val`.

    Examples
    --------
    >>> import interlace
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> df = interlace.datasets.load("sleepstudy")
    >>> X, y = df[["Days", "Subject"]], df["Reaction"]
    >>> model = MixedModelRegressor(groups="Subject").fit(X, y)
    >>> model.result_.formula
    'y ~ Days + (1 | Subject)'
    >>> model.predict(X[:2]).round(2)
    array([292.19, 302.66])
    >>> scores = cross_val_score(
    ...     model, X, y, groups=X["Subject"], cv=GroupKFold(18), scoring="neg_root_mean_squared_error"
    ... )
    >>> round(-scores.mean(), 3)
    np.float64(43.453)
    """

    def __init__(
        self,
        formula: str | None = None,
        *,
        groups: Any = None,
        random: str | Sequence[str] | None = None,
        family: str | Family | None = None,
        include_re: bool = True,
        fit_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.formula = formula
        self.groups = groups
        self.random = random
        self.family = family
        self.include_re = include_re
        self.fit_options = fit_options

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> MixedModelRegressor:
        """Fit the model.

        Parameters
        ----------
        X : data frame or array of numbers, shape (n, columns)
        y : array-like, shape (n,)
        groups : array-like, shape (n,), optional
            Labels of groups that are no column of X.

        Returns
        -------
        MixedModelRegressor
            Itself.
        """
        self._fit(X, _response(X, y, numeric=True), groups, self.family)
        return self

    def predict(self, X: Any, groups: ArrayLike | None = None) -> NDArray[np.float64]:
        """Means of new rows, shape (m,).

        Parameters
        ----------
        X : data frame or array, m rows
        groups : array-like, shape (m,), optional
            Labels, where ``fit`` had them; without, random effects of these are zero.
        """
        return self._predicted(X, groups, "response")


class MixedModelClassifier(ClassifierMixin, _MixedModel):  # type: ignore[misc]
    """A binomial mixed model as a classifier of two classes.

    Parameters
    ----------
    formula, groups, random, include_re
        As for `MixedModelRegressor`.
    link : str, optional
        ``"logit"`` by default, or ``"probit"``, ``"cloglog"``, ``"cauchit"``.
    fit_options : mapping, optional
        Further arguments of `interlace.glmer`, such as ``{"nAGQ": 9}``.

    Attributes
    ----------
    result_ : GLMMResult
        The fit; success is the second class.
    classes_ : ndarray, shape (2,)
    n_features_in_, feature_names_in_
        As in every estimator.

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("VerbAgg")[:600]
    >>> model = MixedModelClassifier("~ Anger + situ + (1 | item)").fit(df, df["r2"])
    >>> model.classes_
    array(['N', 'Y'], dtype=object)
    >>> model.predict_proba(df[:2]).round(2)
    array([[0.3, 0.7],
           [0.3, 0.7]])
    """

    def __init__(
        self,
        formula: str | None = None,
        *,
        groups: Any = None,
        random: str | Sequence[str] | None = None,
        link: str | None = None,
        include_re: bool = True,
        fit_options: Mapping[str, Any] | None = None,
    ) -> None:
        self.formula = formula
        self.groups = groups
        self.random = random
        self.link = link
        self.include_re = include_re
        self.fit_options = fit_options

    def __sklearn_tags__(self) -> Any:
        """Two classes only."""
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: Any, y: ArrayLike, groups: ArrayLike | None = None) -> MixedModelClassifier:
        """Fit the model.

        Parameters
        ----------
        X : data frame or array of numbers, shape (n, columns)
        y : array-like, shape (n,)
            Labels of two classes.
        groups : array-like, shape (n,), optional
            Labels of groups that are no column of X.

        Returns
        -------
        MixedModelClassifier
            Itself.
        """
        labels = _response(X, y, numeric=False)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) > 2:
            raise ValueError(
                f"Only binary classification is supported. The type of the target is {type_of_target(labels)}."
            )
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two classes, but y has only one class: {self.classes_.tolist()}")
        self._fit(X, codes.astype(np.float64), groups, "binomial", link=self.link)
        return self

    def decision_function(self, X: Any, groups: ArrayLike | None = None) -> NDArray[np.float64]:
        """Linear predictor of the second class, shape (m,); arguments as for ``predict``."""
        return self._predicted(X, groups, "link")

    def predict_proba(self, X: Any, groups: ArrayLike | None = None) -> NDArray[np.float64]:
        """Probabilities of the two classes, shape (m, 2); arguments as for ``predict``."""
        second = self._predicted(X, groups, "response")
        return np.column_stack([1.0 - second, second])

    def predict(self, X: Any, groups: ArrayLike | None = None) -> NDArray[Any]:
        """The likelier class of new rows, shape (m,).

        Parameters
        ----------
        X : data frame or array, m rows
        groups : array-like, shape (m,), optional
            Labels, where ``fit`` had them; without, random effects of these are zero.
        """
        likelier = (self.predict_proba(X, groups)[:, 1] > 0.5).astype(np.int64)
        found: NDArray[Any] = self.classes_[likelier]
        return found


def _response(X: Any, y: Any, *, numeric: bool) -> NDArray[Any]:
    """Y as an array with one value for each row of X."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    values = column_or_1d(y, warn=True, dtype=None)
    if numeric:
        values = check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
    check_consistent_length(X, values)
    found: NDArray[Any] = values
    return found
