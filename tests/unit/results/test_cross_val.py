"""Cross-validation beside the loop that anyone would write, lme4, and scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn import metrics
from sklearn.model_selection import GroupKFold, KFold, LeaveOneGroupOut

import interlace
from interlace import cross_val
from interlace.errors import ConvergenceWarning, DataError, FormulaError, ModelError


def schools(n: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    df = pd.DataFrame({"school": rng.integers(0, 10, n), "teacher": rng.integers(0, 25, n)})
    df["x"], df["w"], df["o"] = rng.normal(size=n), rng.uniform(0.5, 2.0, n), rng.normal(size=n)
    df["track"] = rng.choice(["low", "middle", "high"], n)
    effects = rng.normal(size=(10, 2)) * [2.0, 0.7]
    df["y"] = (
        5.0 + 2.0 * df["x"] + (df["track"] == "high") + effects[df["school"], 0] + effects[df["school"], 1] * df["x"]
    )
    df["y"] += rng.normal(size=25)[df["teacher"]] + rng.normal(size=n)
    df["passed"] = (df["y"] + rng.normal(size=n) > 5.0).astype(int)
    df["count"] = rng.poisson(np.exp(0.2 * df["x"] + 0.3 * effects[df["school"], 0]))
    return df


def loop(df: pd.DataFrame, by: str, fit: Callable[[pd.DataFrame], Any], y: str) -> tuple[np.ndarray, np.ndarray]:
    """Root mean squared error of each fold, and the predictions of all rows."""
    scores, predicted = [], pd.Series(np.nan, index=df.index)
    for level in sorted(df[by].unique()):
        test = df[by] == level
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fit(df[~test]).predict(df[test])
        predicted[test] = found
        scores.append(np.sqrt(np.mean((df.loc[test, y] - found) ** 2)))
    return np.array(scores), predicted.to_numpy()


MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "intercepts": ("y ~ x + (1 | school)", {}),
    "slopes by ml": ("y ~ x + track + (x | school)", {"method": "ML"}),
    "crossed": ("y ~ x + (x || school) + (1 | teacher)", {}),
    "weights and offset": ("y ~ track + (1 | school) + (1 | teacher)", {"weights": "w", "offset": "o"}),
    "sum contrasts": ("y ~ track * x + (1 | school)", {"contrasts": {"track": "sum"}}),
    "diagonal": ("y ~ x + (x | school)", {"covariance": {"school": "diagonal"}}),
    "centered": ("y ~ center(x) + (1 | school)", {}),
    "scaled slopes": ("y ~ scale(x) + (scale(x) | school)", {}),
    "polynomial": ("y ~ poly(x, 3) + (1 | school)", {}),
    "splines": ("y ~ bs(x, df=5, extrapolation='clip') + (1 | school)", {}),
    "dot": ("y ~ . - w - o - passed - count - teacher", {"random": "(1 | school)"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_folds_are_those_of_the_naive_loop(name: str) -> None:
    formula, options = MODELS[name]
    df = schools()
    scores, predicted = loop(df, "school", lambda train: interlace.fit(formula, train, **options), "y")
    cv = cross_val(formula, df, groups="school", **options)
    np.testing.assert_allclose(cv.scores, scores, rtol=1e-8)
    np.testing.assert_allclose(cv.predictions["predicted"].sort_index(), predicted, rtol=1e-7)
    assert [fold.groups for fold in cv.fold_results] == [(level,) for level in range(10)]


GENERALIZED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "binomial": ("passed ~ x + (1 | school)", "passed", {"family": "binomial"}),
    "poisson": ("count ~ x + track + (1 | school) + (1 | teacher)", "count", {"family": "poisson"}),
    "quadrature": ("passed ~ x + (1 | school)", "passed", {"family": "binomial", "nAGQ": 7}),
    "centered": ("count ~ center(x) + (1 | school)", "count", {"family": "poisson"}),
}


@pytest.mark.parametrize("name", GENERALIZED)
def test_folds_of_generalized_models(name: str) -> None:
    formula, y, options = GENERALIZED[name]
    df = schools()
    scores, _ = loop(df, "school", lambda train: interlace.glmer(formula, train, **options), y)
    cv = cross_val(formula, df, groups="school", **options)
    np.testing.assert_allclose(cv.scores, scores, rtol=1e-6)


def test_lme4() -> None:
    """R 4.2, lme4 1.1-31: lmer without one subject, predict(allow.new.levels=TRUE), dense Gaussian density by 10."""
    cv = cross_val(
        "Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"), scoring=["rmse", "log_score"]
    )
    first = [71.69740159165, 91.97994413875, 73.52338637201, 30.61415940418]
    np.testing.assert_allclose(cv.scores["rmse"][:4], first, rtol=1e-9)
    np.testing.assert_allclose(cv.scores["log_score"][:4], [6.12992997, 4.78451718, 4.71253225, 4.84376259], atol=1e-6)
    crossed = cross_val(
        "diameter ~ 1 + (1 | plate) + (1 | sample)", interlace.datasets.load("Penicillin"), groups="sample"
    )
    expected = [2.692470023283, 1.333432269340, 2.396250567684, 0.602983436174, 0.672055802688, 3.664751310434]
    np.testing.assert_allclose(crossed.scores, expected, rtol=1e-6)


def test_glmer() -> None:
    """As above, the density of each herd by R's integrate()."""
    cv = cross_val(
        "cbind(incidence, size - incidence) ~ period + (1 | herd)",
        interlace.datasets.load("cbpp"),
        family="binomial",
        scoring=["rmse", "log_score"],
    )
    rmse = [0.2173881611, 0.04578034948, 0.1054247827, 0.09309044872, 0.1290945749]
    score = [2.731763759, 1.377556565, 2.032059667, 1.302185401, 2.230241003]
    np.testing.assert_allclose(cv.scores["rmse"][:5], rmse, atol=2e-6)
    np.testing.assert_allclose(cv.scores["log_score"][:5], score, atol=2e-6)


# -- what is learned from the training rows ------------------------------------------------------------------------
def test_knots_and_means_do_not_see_the_rows_left_out() -> None:
    """The covariate of one school is far away: its mean and its powers would be different with it."""
    df = schools()
    df.loc[df["school"] == 3, "x"] += 50.0
    for formula in ("y ~ poly(x, 2) + (1 | school)", "y ~ scale(x) + (scale(x) | school)"):
        scores, _ = loop(df, "school", lambda train, f=formula: interlace.fit(f, train), "y")
        np.testing.assert_allclose(cross_val(formula, df).scores, scores, rtol=1e-8)


def test_models_are_kept_and_give_the_same_scores() -> None:
    df = schools()
    plain = cross_val("y ~ x + track + (x | school)", df, scoring=["rmse", "log_score"])
    kept = cross_val("y ~ x + track + (x | school)", df, scoring=["rmse", "log_score"], return_models=True)
    np.testing.assert_allclose(kept.scores, plain.scores, rtol=1e-8)
    assert all(fold.model is None for fold in plain.fold_results)
    for fold in kept.fold_results:
        assert fold.model.nobs == fold.n_train
        assert fold.groups[0] not in fold.model.random_effects["school"].index


def test_arrays_of_weights_and_offsets_are_split_with_the_rows() -> None:
    df = schools()
    df.loc[4, "x"] = np.nan
    by_name = cross_val("y ~ x + (1 | school)", df, weights="w", offset="o", scoring=["rmse", "log_score"])
    for options in ({}, {"return_models": True}):
        by_array = cross_val(
            "y ~ x + (1 | school)",
            df,
            weights=df["w"].to_numpy(),
            offset=df["o"],
            scoring=["rmse", "log_score"],
            **options,
        )
        np.testing.assert_allclose(by_array.scores, by_name.scores, rtol=1e-8)
    assert sum(fold.n_test for fold in by_name.fold_results) == len(df) - 1


def test_another_optimizer_is_used_in_every_fold() -> None:
    df = schools()
    auto, other = (cross_val("y ~ x + (1 | school)", df, optimizer=name) for name in ("auto", "lbfgsb"))
    np.testing.assert_allclose(other.scores, auto.scores, rtol=1e-5)
    kept = cross_val("y ~ x + (1 | school)", df, optimizer="lbfgsb", return_models=True)
    assert {fold.model.convergence.optimizer for fold in kept.fold_results} == {"lbfgsb"}
    np.testing.assert_array_equal(kept.scores, other.scores)


# -- folds ---------------------------------------------------------------------------------------------------------
def test_kfold_leaves_out_whole_groups() -> None:
    df = schools()
    cv, again, other = (cross_val("y ~ x", df, "school", cv="kfold", k=4, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(cv.scores, again.scores)
    assert not np.allclose(np.sort(cv.scores), np.sort(other.scores))
    assert sorted(group for fold in cv.fold_results for group in fold.groups) == list(range(10))
    assert sorted(cv.predictions.index) == list(df.index)
    assert [fold.n_train + fold.n_test for fold in cv.fold_results] == [150] * 4


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored by KFold")
@pytest.mark.parametrize("splitter", [GroupKFold(4), LeaveOneGroupOut(), KFold(5, shuffle=True, random_state=1)])
def test_splitters_of_scikit_learn(splitter: Any) -> None:
    df = schools()
    cv = cross_val("y ~ x + (1 | school)", df, cv=splitter)
    folds = list(splitter.split(df, df["y"], df["school"]))
    assert [fold.n_test for fold in cv.fold_results] == [len(test) for _, test in folds]
    by_positions = cross_val("y ~ x + (1 | school)", df, cv=folds)
    np.testing.assert_array_equal(by_positions.scores, cv.scores)
    train, test = folds[0]
    model = interlace.fit("y ~ x + (1 | school)", df.iloc[train])
    expected = np.sqrt(np.mean((df["y"].iloc[test] - model.predict(df.iloc[test])) ** 2))
    assert cv.scores[0] == pytest.approx(expected, rel=1e-8)
    whole = isinstance(splitter, KFold)
    assert (cv.fold_results[0].groups == ()) == whole


def test_positions_are_those_of_the_data() -> None:
    df = schools()
    clean = cross_val("y ~ x + (1 | school)", df.iloc[10:], cv=[(np.arange(40, 140), np.arange(30))])
    df.loc[:9, "x"] = np.nan
    mask = np.arange(150) >= 50
    dirty = cross_val("y ~ x + (1 | school)", df, cv=iter([(mask, np.arange(40))]))
    assert dirty.scores[0] == pytest.approx(clean.scores[0], rel=1e-9)
    assert (dirty.fold_results[0].n_train, dirty.fold_results[0].n_test) == (100, 30)
    assert np.isnan(dirty.std)


def test_nested_factors_are_left_out_by_the_outermost() -> None:
    df = interlace.datasets.load("Pastes")
    cv = cross_val("strength ~ 1 + (1 | batch / cask)", df)
    assert (cv.groups, len(cv.scores)) == ("batch", 10)
    inner = cross_val("strength ~ 1 + (1 | batch / cask)", df, groups="cask:batch")
    assert (inner.groups, len(inner.scores)) == ("cask:batch", 30)


def test_first_of_several_groups_and_a_column_of_no_term() -> None:
    df = schools()
    cv = cross_val("y ~ x", df, groups=["teacher", "school"])
    assert (cv.groups, cv.formula) == ("teacher", "y ~ x + (1 | teacher) + (1 | school)")
    by_track = cross_val("y ~ x + (1 | school)", df, groups="track")
    assert [fold.groups for fold in by_track.fold_results] == [("high",), ("low",), ("middle",)]
    scores, _ = loop(df, "track", lambda train: interlace.fit("y ~ x + (1 | school)", train), "y")
    np.testing.assert_allclose(by_track.scores, scores, rtol=1e-8)
    df.loc[df.index[:5], "track"] = None
    fewer = cross_val("y ~ x + (1 | school)", df, groups="track")
    scores, _ = loop(df.iloc[5:], "track", lambda train: interlace.fit("y ~ x + (1 | school)", train), "y")
    np.testing.assert_allclose(fewer.scores, scores, rtol=1e-8)


@pytest.mark.parametrize("convert", [pl.from_pandas, lambda df: {name: df[name].to_numpy() for name in df}])
def test_other_frames(convert: Callable[[pd.DataFrame], Any]) -> None:
    df = schools()
    expected = cross_val("y ~ poly(x, 2) + (1 | school)", df).scores
    np.testing.assert_allclose(cross_val("y ~ poly(x, 2) + (1 | school)", convert(df)).scores, expected, rtol=1e-12)


# -- folds that cannot be scored -----------------------------------------------------------------------------------
def test_levels_that_only_the_left_out_rows_have() -> None:
    df = schools()
    df.loc[df["school"] == 3, "track"] = "special"
    with pytest.warns(
        UserWarning, match=r"1 of 10 folds failed.*fold 3 \('3'\): factor 'track' has the level 'special'"
    ):
        cv = cross_val("y ~ track + (1 | school)", df)
    assert np.isnan(cv.scores[3])
    assert np.isfinite(np.delete(cv.scores, 3)).all()
    assert cv.mean == pytest.approx(np.nanmean(cv.scores))
    assert not cv.fold_results[3].converged
    assert cv.fold_results[3].failed
    assert "in the rows left out only" in cv.fold_results[3].messages[0]
    rest, _ = loop(df[df["school"] != 3], "school", lambda train: interlace.fit("y ~ track + (1 | school)", train), "y")
    assert len(rest) == 9


def test_columns_that_the_rows_left_determine_are_dropped_in_that_fold() -> None:
    df = schools()
    df["only"] = np.where(df["school"] == 2, df["x"] ** 2, 0.0)
    scores, _ = loop(df, "school", lambda train: interlace.fit("y ~ x + only + (1 | school)", train), "y")
    cv = cross_val("y ~ x + only + (1 | school)", df)
    np.testing.assert_allclose(cv.scores, scores, rtol=1e-8)
    assert "dropped 'only'" in cv.fold_results[2].messages[0]


def test_too_few_groups_left() -> None:
    df = schools()
    two = df[df["school"] < 2]
    with pytest.raises(ModelError, match=r"none of the 2 folds could be fitted; fold 0 .*has only one level"):
        cross_val("y ~ x + (1 | school)", two)
    with pytest.raises(ValueError, match="at least two groups"):
        cross_val("y ~ x + (1 | teacher)", two[two["school"] == 0], groups="school")


def test_a_score_that_is_no_number_is_reported() -> None:
    df = schools()
    lone = df.index[0]
    df.loc[lone, "school"] = 99
    with pytest.warns(UserWarning, match=r"1 of 11 folds failed.*r2 of these 1 rows is not a number"):
        cv = cross_val("y ~ x + (1 | school)", df, scoring=["r2", "mae"])
    assert np.isnan(cv.scores["r2"].iloc[-1])
    assert np.isfinite(cv.scores["mae"]).all()


def test_folds_that_do_not_converge_count_and_are_reported() -> None:
    df = schools()
    control = interlace.Control(max_iterations=1)
    with pytest.warns(ConvergenceWarning, match=r"the optimizer did not converge in \d+ of 10 folds; fold 0"):
        cv = cross_val("y ~ center(x) + (x | school) + (1 | teacher)", df, control=control)
    assert np.isfinite(cv.scores).all()
    assert not cv.fold_results[0].converged


def test_a_fold_without_rows() -> None:
    df = schools()
    df.loc[df.index[:20], "y"] = np.nan
    rows = np.arange(150)
    with pytest.warns(UserWarning, match="none of the rows to predict can be used"):
        cv = cross_val("y ~ x + (1 | school)", df, cv=[(rows[40:], rows[:20]), (rows[60:], rows[20:60])])
    assert np.isnan(cv.scores).tolist() == [True, False]


# -- scores --------------------------------------------------------------------------------------------------------
def test_built_in_scores_and_functions() -> None:
    df = schools()
    names = ["rmse", "mae", "r2", "neg_root_mean_squared_error", "neg_mean_absolute_error"]
    cv = cross_val("y ~ x", df, "school", scoring=[*names, metrics.r2_score, metrics.get_scorer("neg_max_error")])
    assert list(cv.scores) == [*names, "r2_score", cv.scores.columns[-1]]
    for fold in cv.fold_results:
        assert fold.scores["rmse"] == pytest.approx(-fold.scores["neg_root_mean_squared_error"], rel=1e-12)
        assert fold.scores["mae"] == pytest.approx(-fold.scores["neg_mean_absolute_error"], rel=1e-12)
        assert fold.scores["r2"] == pytest.approx(fold.scores["r2_score"], rel=1e-12)
        table = fold.predictions
        assert fold.scores["rmse"] == fold.score
        assert -fold.scores[cv.scores.columns[-1]] == pytest.approx((table.observed - table.predicted).abs().max())
    assert cv.mean["mae"] == pytest.approx(cv.scores["mae"].mean())
    assert cv.std["mae"] == pytest.approx(np.std(cv.scores["mae"], ddof=1))
    named = cross_val("y ~ x", df, "school", scoring={"worst": lambda y, p: np.max(np.abs(y - p))})
    np.testing.assert_allclose(named.scores["worst"], -cv.scores.iloc[:, -1])


def test_scores_of_a_classifier() -> None:
    df = schools()
    names = ["roc_auc", "accuracy", "neg_log_loss", "rmse"]
    cv = cross_val("passed ~ x", df, "school", family="binomial", scoring=names)
    for fold in cv.fold_results:
        y, p = fold.observed.astype(int), fold.predicted
        assert fold.scores["roc_auc"] == metrics.roc_auc_score(y, p)
        assert fold.scores["accuracy"] == np.mean((p > 0.5) == y)
        assert fold.scores["neg_log_loss"] == pytest.approx(-metrics.log_loss(y, p), rel=1e-12)
        assert fold.scores["rmse"] == pytest.approx(np.sqrt(metrics.brier_score_loss(y, p)), rel=1e-12)


@pytest.mark.parametrize(
    ("scoring", "kind", "message"),
    [
        ("rsme", ValueError, "there is no score 'rsme': choose one of 'rmse', 'mae', 'r2', 'log_score'"),
        ([], ValueError, "scoring is empty"),
        (["rmse", "rmse"], ValueError, "same name"),
        (3, TypeError, "scoring must be a name"),
        ([3], TypeError, "a score must be a name or a function"),
        (lambda y, p: y - p, TypeError, "must return a number"),
    ],
)
def test_scores_that_are_none(scoring: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cross_val("y ~ x", schools(), "school", scoring=scoring)


def test_names_of_scikit_learn_need_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "sklearn.metrics", None)
    with pytest.raises(ValueError, match="need it installed: pip install scikit-learn"):
        cross_val("y ~ x", schools(), "school", scoring="max_error")
    assert len(cross_val("y ~ x", schools(), "school", scoring="mae").scores) == 10


# -- families ------------------------------------------------------------------------------------------------------
def test_negative_binomial_with_its_theta() -> None:
    df = interlace.datasets.load("grouseticks")
    plain, kept = (
        cross_val(
            "TICKS ~ YEAR + (1 | LOCATION)",
            df,
            family="nb",
            cv="kfold",
            scoring=["mae", "log_score"],
            return_models=keep,
        )
        for keep in (False, True)
    )
    np.testing.assert_allclose(kept.scores, plain.scores, rtol=1e-5)
    train = df[~df["LOCATION"].isin(plain.fold_results[0].groups)]
    alone = interlace.glmer_nb("TICKS ~ YEAR + (1 | LOCATION)", train)
    assert kept.fold_results[0].model.family.theta == pytest.approx(alone.family.theta, rel=1e-6)


def test_gaussian_family_is_a_linear_model() -> None:
    df = schools()
    np.testing.assert_array_equal(
        cross_val("y ~ x", df, "school", family="gaussian").scores, cross_val("y ~ x", df, "school").scores
    )


def test_density_of_a_fit_without_a_likelihood() -> None:
    df = interlace.datasets.load("cake")
    options = {"family": "Gamma", "link": "log", "control": interlace.Control(dispersion="lme4"), "groups": "replicate"}
    for extra in ({}, {"return_models": True}):
        with pytest.raises(ModelError, match="needs a likelihood"):
            cross_val("angle ~ temp", df, scoring="log_score", **options, **extra)


# -- arguments -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"groups": "schol"}, DataError, "groups column 'schol' not found in data"),
        ({"groups": "school", "cv": "loo"}, ValueError, "cv must be 'logo', 'kfold'"),
        ({"groups": "school", "cv": 5}, TypeError, "a number of folds is k="),
        ({"groups": "school", "cv": []}, ValueError, "cv gives no folds"),
        ({"groups": "school", "cv": [([0, 1], [1, 2])]}, ValueError, "fold 0 of cv has 1 row in both"),
        ({"groups": "school", "cv": [([0, 1], [150])]}, ValueError, "positions outside the 150 rows"),
        ({"groups": "school", "cv": [([0, 1], [0.5])]}, TypeError, "positions of rows as whole numbers"),
        ({"groups": "school", "cv": [3]}, TypeError, r"\(train, test\) pairs"),
        ({"groups": "school", "cv": "kfold", "k": 11}, ValueError, "k must be from 2 to the number of groups, 10"),
        ({"groups": "school", "n_jobs": 0}, ValueError, "n_jobs must be a whole number"),
        ({"groups": "school", "n_splits": 3}, TypeError, "the number of folds is k="),
        ({"groups": "school", "nAGQ": 3}, TypeError, r"no argument 'nAGQ' \('nAGQ': for a response"),
        ({"groups": "school", "colour": 3}, TypeError, "no argument 'colour'; beside its own"),
        ({"groups": None}, ModelError, "no random effects"),
        ({"random": "(1 | school)", "groups": ["school", "teacher"]}, TypeError, "the one column"),
    ],
)
def test_arguments_that_cannot_be(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cross_val("y ~ x", schools(), **options)


def test_rows_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(FormulaError, match="cross_val\\(\\) takes rows away"):
        cross_val("y ~ lag(x) + (1 | school)", schools())
    with pytest.raises(FormulaError, match="computed from all rows together"):
        cross_val("scale(y) ~ x + (1 | school)", schools())


# -- the result ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("formula", ["y ~ x + (1 | school)", "y ~ poly(x, 2) + (1 | school)"])
def test_processes_do_not_change_the_numbers(formula: str) -> None:
    df = schools()
    one, two = (cross_val(formula, df, n_jobs=n_jobs, scoring=["rmse", "log_score"]) for n_jobs in (1, 2))
    pd.testing.assert_frame_equal(one.scores, two.scores, check_exact=True)


def test_progress(capsys: pytest.CaptureFixture[str]) -> None:
    for formula in ("y ~ x + (1 | school)", "y ~ poly(x, 2) + (1 | school)"):
        cross_val(formula, schools(), show_progress=True)
        seen = capsys.readouterr()
        assert "10/10" in seen.err
        assert not seen.out


def test_tables_and_text() -> None:
    df = schools()
    cv = cross_val("y ~ x + (1 | school)", df)
    assert repr(cv) == f"<CVResult: y ~ x + (1 | school), 10 folds by school, rmse {cv.mean:.4g} ± {cv.std:.4g}>"
    table = cv.to_frame()
    assert list(table) == ["groups", "n_train", "n_test", "rmse", "converged", "messages"]
    assert "rmse" in cv._repr_html_()
    assert f"rmse={cv.scores[0]:.6g}" in repr(cv.fold_results[0])
    predictions = cv.predictions
    np.testing.assert_array_equal(predictions["observed"].sort_index(), df["y"])
    assert (df.loc[predictions.index, "school"].to_numpy() == predictions["fold"]).all()
