"""Estimators of scikit-learn."""

from __future__ import annotations

import importlib
import pickle
import sys
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, GroupKFold, LeaveOneGroupOut, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import _num_samples

import interlace
from interlace.interop.sklearn import MixedModelClassifier, MixedModelRegressor


def in_turn(X: Any) -> np.ndarray:
    """Labels of four groups."""
    return np.arange(_num_samples(X)) % 4


class InQuarters(MixedModelRegressor):
    """Scikit-learn's checks give no groups: rows in turn are of four."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> InQuarters:
        return super().fit(X, y, in_turn(X))


class ClassesInQuarters(MixedModelClassifier):
    """The same for two classes."""

    def fit(self, X: Any, y: Any, groups: Any = None) -> ClassesInQuarters:
        return super().fit(X, y, in_turn(X))


#: Checks that a mixed model cannot pass, and why.
EXACT = "y is an exact linear function of X there, so that no variance is left and the likelihood has no maximum"
EXPECTED_TO_FAIL = {
    InQuarters: {"check_estimators_dtypes": EXACT, "check_regressors_no_decision_function": EXACT},
    ClassesInQuarters: {},
}
CHECKS = [
    pytest.param(kind, check, id=f"{kind.__name__}-{check.func.__name__}-{number}")
    for kind, expected in EXPECTED_TO_FAIL.items()
    for number, (_, check) in enumerate(estimator_checks_generator(kind(), expected_failed_checks=expected, mark=None))
    if check.func.__name__ != "check_array_api_input"  # runs only where an environment variable of SciPy's is set
]


@pytest.mark.parametrize(("kind", "check"), CHECKS)
def test_checks_of_scikit_learn(kind: type[Any], check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # blobs of the checks are separated, and groups of rows in turn do not vary
        if check.func.__name__ in EXPECTED_TO_FAIL[kind]:
            with pytest.raises(interlace.ModelError, match="perfect fit"):
                check(kind())
        else:
            check(kind())


def sleep() -> tuple[pd.DataFrame, pd.Series]:
    df = interlace.datasets.load("sleepstudy")
    return df[["Days", "Subject"]], df["Reaction"]


def test_the_fit_is_that_of_fit() -> None:
    X, y = sleep()
    df = X.assign(Reaction=y)
    expected = interlace.fit("Reaction ~ Days + (Days | Subject)", df, method="ML")
    for formula in ("Reaction ~ Days + (Days | Subject)", "~ Days + (Days | Subject)", "Days + (Days | Subject)"):
        model = MixedModelRegressor(formula, fit_options={"method": "ML"}).fit(X, y)
        assert model.result_.llf == expected.llf
        np.testing.assert_array_equal(model.predict(X), expected.fittedvalues)
    apart = MixedModelRegressor("~ Days", random="(Days | Subject)", fit_options={"method": "ML"}).fit(X, y)
    assert apart.result_.llf == expected.llf
    population = MixedModelRegressor("~ Days + (Days | Subject)", include_re=False).fit(X, y)
    np.testing.assert_array_equal(population.predict(X), population.result_.predict(df, include_re=False))
    assert population.score(X, y) < MixedModelRegressor("~ Days + (Days | Subject)").fit(X, y).score(X, y)
    assert list(X.columns) == ["Days", "Subject"]


def test_scores_of_cross_validation_are_those_of_cross_val() -> None:
    X, y = sleep()
    model = MixedModelRegressor("~ Days + (Days | Subject)")
    scores = cross_val_score(
        model, X, y, groups=X["Subject"], cv=LeaveOneGroupOut(), scoring="neg_root_mean_squared_error"
    )
    cv = interlace.cross_val("Reaction ~ Days + (Days | Subject)", X.assign(Reaction=y))
    np.testing.assert_allclose(-scores, cv.scores, rtol=1e-9)


def test_without_a_formula_all_columns_are_predictors() -> None:
    rng = np.random.default_rng(1)
    X = pd.DataFrame({"a b": rng.normal(size=40), "y": rng.normal(size=40), "w": rng.uniform(1.0, 2.0, 40)})
    X["site"] = np.repeat(list("abcde"), 8)
    y = X["y"] + rng.normal(size=40) + np.repeat(rng.normal(0.0, 2.0, 5), 8)
    model = MixedModelRegressor(groups="site", fit_options={"weights": "w"}).fit(X, y)
    assert model.result_.formula == "y_ ~ `a b` + y + (1 | site)"
    expected = interlace.fit("target ~ `a b` + y", X.assign(target=y), groups="site", weights="w")
    assert model.result_.llf == pytest.approx(expected.llf, rel=1e-12)
    array = MixedModelRegressor(groups=2).fit(np.column_stack([X[["a b", "y"]], np.repeat(np.arange(5), 8)]), y)
    assert array.result_.formula == "y ~ x0 + x1 + (1 | x2)"
    assert list(model.feature_names_in_) == list(X.columns)
    assert array.n_features_in_ == 3


def test_labels_given_to_fit() -> None:
    X, y = sleep()
    days, labels = X[["Days"]], X["Subject"].to_numpy()
    model = MixedModelRegressor().fit(days, y, groups=labels)
    assert model.result_.formula == "y ~ Days + (1 | groups)"
    by_column = MixedModelRegressor(groups="Subject").fit(X, y)
    np.testing.assert_allclose(model.predict(days, groups=labels), by_column.predict(X), rtol=1e-12)
    np.testing.assert_allclose(model.predict(days), by_column.result_.predict(X, include_re=False), rtol=1e-12)
    slopes = MixedModelRegressor("~ Days + (Days | groups)").fit(days, y, groups=labels)
    np.testing.assert_allclose(slopes.predict(days), slopes.result_.predict(include_re=False), rtol=1e-12)
    numbers = MixedModelRegressor().fit(days, y, groups=np.arange(180) // 10)
    np.testing.assert_allclose(numbers.predict(days), model.predict(days), rtol=1e-9)
    with pytest.raises(ValueError, match="grouping factors of its own, none of which is 'groups'"):
        MixedModelRegressor(groups="Subject").fit(X, y, groups=labels)
    with pytest.raises(ValueError, match="groups has 3 labels, and X has 180 rows"):
        MixedModelRegressor().fit(days, y, groups=labels[:3])
    with pytest.raises(ValueError, match="X has a column 'groups' of its own"):
        MixedModelRegressor().fit(days.assign(groups=labels), y, groups=labels)


def test_labels_by_metadata_routing() -> None:
    X, y = sleep()
    with sklearn.config_context(enable_metadata_routing=True):
        model = MixedModelRegressor().set_fit_request(groups=True)
        scores = cross_val_score(model, X[["Days"]], y, cv=GroupKFold(6), params={"groups": X["Subject"].to_numpy()})
    plain = cross_val_score(MixedModelRegressor(groups="Subject"), X, y, groups=X["Subject"], cv=GroupKFold(6))
    np.testing.assert_allclose(scores, plain, rtol=1e-9)


def test_pipelines_searches_clones_and_pickles() -> None:
    X, y = sleep()
    scaler = ColumnTransformer([("days", StandardScaler(), ["Days"])], remainder="passthrough")
    scaler.set_params(verbose_feature_names_out=False).set_output(transform="pandas")
    pipeline = Pipeline([("scale", scaler), ("model", MixedModelRegressor("~ Days + (Days | Subject)"))])
    np.testing.assert_allclose(
        pipeline.fit(X, y).predict(X), MixedModelRegressor("~ Days + (Days | Subject)").fit(X, y).predict(X), rtol=1e-7
    )
    grid = {"model__formula": ["~ 1 + (1 | Subject)", "~ Days + (Days | Subject)"]}
    search = GridSearchCV(pipeline, grid, cv=GroupKFold(3), scoring="neg_root_mean_squared_error")
    assert search.fit(X, y, groups=X["Subject"]).best_params_["model__formula"] == "~ Days + (Days | Subject)"
    fitted = MixedModelRegressor("~ Days", groups="Subject").fit(X, y)
    assert clone(fitted).get_params() == fitted.get_params()
    assert not hasattr(clone(fitted), "result_")
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), fitted.predict(X))


def test_counts() -> None:
    df = interlace.datasets.load("grouseticks")
    model = MixedModelRegressor("~ YEAR + (1 | BROOD)", family="poisson").fit(df, df["TICKS"])
    expected = interlace.glmer("TICKS ~ YEAR + (1 | BROOD)", df, "poisson")
    np.testing.assert_allclose(model.predict(df), expected.fittedvalues, rtol=1e-9)


@pytest.mark.parametrize("labels", [np.array(["no", "yes"]), np.array([-1, 1]), np.array([False, True])])
def test_classes(labels: np.ndarray) -> None:
    df = interlace.datasets.load("VerbAgg")[:900]
    y = labels[(df["r2"] == "Y").astype(int)]
    model = MixedModelClassifier("~ Anger + situ + (1 | item)", link="probit", fit_options={"nAGQ": 3}).fit(df, y)
    expected = interlace.glmer("r2 ~ Anger + situ + (1 | item)", df, "binomial", link="probit", nAGQ=3)
    np.testing.assert_array_equal(model.classes_, labels)
    np.testing.assert_allclose(model.predict_proba(df)[:, 1], expected.fittedvalues, rtol=1e-8)
    np.testing.assert_allclose(model.predict_proba(df).sum(axis=1), 1.0)
    np.testing.assert_allclose(model.decision_function(df), expected.predict(type="link"), rtol=1e-8)
    np.testing.assert_array_equal(model.predict(df), labels[(expected.fittedvalues > 0.5).astype(int)])
    scores = cross_val_score(model, df, y, groups=df["item"], cv=GroupKFold(3), scoring="roc_auc")
    assert (scores > 0.5).all()


def test_what_is_refused() -> None:
    X, y = sleep()
    with pytest.raises(interlace.ModelError, match="no random effects"):
        MixedModelRegressor("~ Days").fit(X, y)
    with pytest.raises(ValueError, match=r"left-hand side 'log\(y\)' of the formula is y of fit\(\)"):
        MixedModelRegressor("log(y) ~ Days + (1 | Subject)").fit(X, y)
    with pytest.raises(ValueError, match="left-hand side 'Days'"):
        MixedModelRegressor("Days ~ 1 + (1 | Subject)").fit(X, y)
    with pytest.raises(NotFittedError):
        MixedModelRegressor().predict(X)
    with pytest.raises(ValueError, match="na_action='raise' and values are missing in: Days"):
        MixedModelRegressor(groups="Subject").fit(X.assign(Days=np.nan), y)
    model = MixedModelRegressor(groups="Subject").fit(X, y)
    missing = X.astype({"Days": float})
    missing.loc[missing.index[:2], "Days"] = np.nan
    with pytest.raises(ValueError, match=r"2 of the 180 rows of X have no prediction: values are missing.*'Days'"):
        model.predict(missing)
    with pytest.raises(ValueError, match="needs two classes"):
        MixedModelClassifier(groups="Subject").fit(X, np.ones(180))
    with pytest.raises(ValueError, match="Only binary classification"):
        MixedModelClassifier(groups="Subject").fit(X, np.arange(180) % 3)


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "interlace.interop.sklearn")
    with pytest.raises(ImportError, match="pip install 'scikit-learn>=1.6'"):
        importlib.import_module("interlace.interop.sklearn")
