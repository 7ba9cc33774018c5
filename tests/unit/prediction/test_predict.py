"""Predictions against lme4's, and their standard errors against the dense mixed-model equations."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy import stats

import interlace
from interlace.errors import DataError, FormulaError


@pytest.fixture(scope="module")
def sleep():
    return interlace.datasets.load("sleepstudy")


@pytest.fixture(scope="module")
def slopes(sleep):
    return interlace.fit("Reaction ~ Days + (Days | Subject)", sleep)


@pytest.fixture(scope="module")
def split(sleep):
    return interlace.fit("Reaction ~ Days + (1 | Subject) + (0 + Days | Subject)", sleep)


@pytest.fixture
def new():
    return pd.DataFrame({"Days": [0.0, 5, 3, 2], "Subject": ["308", "309", "new", "308"]}, index=list("abcd"))


def joint_covariance(result) -> tuple[np.ndarray, np.ndarray]:
    """Dense covariance of (beta_hat, b_hat - b) from Henderson's equations, and Psi of one term."""
    X, Z = result.model.exog, result.model.Z.toarray()
    weights = np.ones(len(X)) if result.model.weights is None else result.model.weights
    psi = np.atleast_2d(np.asarray(next(iter(result.variance_components.values()))))
    q = Z.shape[1] // len(psi)
    V = np.column_stack([X, Z])
    penalty = np.zeros((V.shape[1],) * 2)
    penalty[X.shape[1] :, X.shape[1] :] = np.kron(np.eye(q), np.linalg.inv(psi))
    return np.linalg.inv(V.T @ (V * weights[:, None]) / result.scale + penalty), psi


def test_new_rows_have_lme4s_predictions(slopes, new):
    fit = slopes.predict(new)
    assert fit.name == "fit"
    assert fit.index.tolist() == list("abcd")
    assert_allclose(fit, [253.6637, 220.2444, 282.8070, 292.9962], atol=6e-4)


@pytest.mark.parametrize(
    ("re_formula", "expected"),
    [
        ("~ (1 | Subject)", [253.6637, 263.3428, 282.8070, 274.5982]),
        ("~ (0 + Days | Subject)", [251.4051, 260.6431, 282.8070, 290.7376]),
        ("~ (Days | Subject)", [253.6637, 220.2444, 282.8070, 292.9962]),
        ("~0", [251.4051, 303.7415, 282.8070, 272.3397]),
        ("~ 0", [251.4051, 303.7415, 282.8070, 272.3397]),
        ("NA", [251.4051, 303.7415, 282.8070, 272.3397]),
    ],
)
def test_re_formula_picks_effects_as_lme4s_re_form(slopes, new, re_formula, expected):
    assert_allclose(slopes.predict(new, re_formula=re_formula), expected, atol=6e-4)


def test_re_formula_picks_terms(split, new):
    assert_allclose(split.predict(new[:2], re_formula="~ (0 + Days | Subject)"), [251.4051, 260.7457], atol=6e-3)
    assert_allclose(split.predict(new[:2], re_formula="~ (1 | Subject)"), [252.9178, 263.3677], atol=6e-3)


def test_re_formula_that_the_model_does_not_have(slopes, new):
    with pytest.raises(FormulaError, match=r"'I\(Days \*\* 2\)' of 'Subject'.*which the model does not have"):
        slopes.predict(new, re_formula="~ (I(Days**2) | Subject)")
    with pytest.raises(FormulaError, match="no random-effects terms"):
        slopes.predict(new, re_formula="~ Days")
    for text, name in (("~ (1 | Batch)", "Batch"), ("~ (dose | Subject)", "dose")):
        with pytest.raises(
            ValueError, match=rf"names '{name}', which the model does not use; it has 'Days' of 'Subject'"
        ):
            slopes.predict(new, re_formula=text)
    with pytest.raises(TypeError, match="re_formula must be None or text"):
        slopes.predict(new, re_formula=0)


def test_without_random_effects_the_groups_may_be_absent(slopes, new):
    expected = slopes.predict(new, re_formula="~0")
    assert_allclose(slopes.predict(new, include_re=False), expected)
    assert_allclose(slopes.predict(new[["Days"]], include_re=False), expected)
    with pytest.raises(ValueError, match="Subject"):
        slopes.predict(new[["Days"]])


def test_own_rows_and_the_same_data_agree(slopes, sleep):
    assert_allclose(slopes.predict(), slopes.fittedvalues)
    assert_allclose(slopes.predict(sleep), slopes.fittedvalues)
    assert_allclose(slopes.predict(include_re=False), slopes.state.fixed)
    assert_allclose(slopes.predict(type="link"), slopes.fittedvalues)
    with pytest.raises(ValueError, match="type must be"):
        slopes.predict(type="terms")


def test_missing_values_give_nan(slopes, new):
    new.loc["b", "Days"] = np.nan
    new.loc["d", "Subject"] = None
    table = slopes.predict(new, se=True, interval="confidence")
    assert table.isna().all(axis=1).tolist() == [False, True, False, True]
    assert table.notna().all(axis=1).tolist() == [True, False, True, False]


def test_new_levels_can_be_refused(slopes, new):
    with pytest.raises(DataError, match=r"levels of 'Subject' that the model has not seen: 'new'"):
        slopes.predict(new, allow_new_levels=False)
    assert_allclose(slopes.predict(new[:2], allow_new_levels=False), [253.6637, 220.2444], atol=6e-4)
    assert slopes.predict(new, allow_new_levels=False, include_re=False).notna().all()


def test_se_comes_from_the_joint_covariance(slopes, new):
    cov, psi = joint_covariance(slopes)
    levels = list(slopes.random_effects["Subject"].index)
    table = slopes.predict(new, se=True)
    assert list(table.columns) == ["fit", "se"]
    for label, days, subject in zip("abcd", new["Days"], new["Subject"], strict=True):
        x = np.array([1.0, days])
        full = np.concatenate([x, np.zeros(cov.shape[0] - 2)])
        extra = 0.0
        if subject in levels:
            at = 2 + 2 * levels.index(subject)
            full[at : at + 2] = x
        else:
            extra = x @ psi @ x
        assert_allclose(table.loc[label, "se"] ** 2, full @ cov @ full + extra, rtol=1e-7)


def test_se_without_random_effects_is_that_of_the_fixed_part(slopes, new):
    x = np.column_stack([np.ones(4), new["Days"]])
    expected = np.sqrt(np.einsum("mi,ij,mj->m", x, slopes.fe_cov.to_numpy(), x))
    assert_allclose(slopes.predict(new, include_re=False, se=True)["se"], expected)


def test_se_of_chosen_effects_and_with_weights(sleep, new):
    data = sleep.assign(w=np.tile([0.5, 1.0, 2.0], 60))
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", data, weights="w")
    cov, _ = joint_covariance(result)
    se = result.predict(new[:1], re_formula="~ (1 | Subject)", se=True)["se"].iloc[0]
    full = np.zeros(cov.shape[0])
    full[[0, 2 + 2 * list(result.random_effects["Subject"].index).index("308")]] = 1.0
    assert_allclose(se**2, full @ cov @ full, rtol=1e-7)


def test_intervals(slopes, new):
    slopes = slopes.update(df_method="residual")
    table = slopes.predict(new, se=True, interval="confidence", level=0.9)
    reach = stats.t.isf(0.05, 178)
    assert list(table.columns) == ["fit", "se", "lower", "upper"]
    assert_allclose(table["upper"] - table["fit"], reach * table["se"])
    wide = slopes.predict(new, interval="prediction", level=0.9)
    assert list(wide.columns) == ["fit", "lower", "upper"]
    assert_allclose(wide["fit"] - wide["lower"], reach * np.sqrt(table["se"] ** 2 + slopes.scale))
    with pytest.raises(ValueError, match="interval must be"):
        slopes.predict(new, interval="credible")
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        slopes.predict(new, interval="confidence", level=95)


def test_the_offset_is_included(sleep):
    data = sleep.assign(o=np.tile([10.0, -5.0], 90))
    for result in (
        interlace.fit("Reaction ~ Days + offset(o) + (1 | Subject)", data),
        interlace.fit("Reaction ~ Days + (1 | Subject)", data, offset="o"),
    ):
        assert_allclose(result.predict(data), result.fittedvalues)
        moved = result.predict(data.assign(o=data["o"] + 7))
        assert_allclose(moved, result.fittedvalues + 7)


def test_several_terms_with_se(sleep):
    data = interlace.datasets.load("Penicillin")
    result = interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", data)
    se = result.predict(pd.DataFrame({"plate": ["?", "a"], "sample": ["A", "?"]}), se=True)["se"]
    only = result.predict(pd.DataFrame({"sample": ["A"]}), se=True, re_formula="~ (1 | sample)")["se"]
    assert_allclose(se[0] ** 2, only[0] ** 2 + result.variance_components["plate"])
    assert se[1] > se[0]


def test_other_frames_and_dictionaries(slopes, new):
    expected = slopes.predict(new).to_numpy()
    assert_allclose(slopes.predict(new.to_dict("list")), expected)
    polars = pytest.importorskip("polars")
    assert_allclose(slopes.predict(polars.from_pandas(new.reset_index(drop=True))), expected)


def test_no_rows(slopes, new):
    assert slopes.predict(new[:0]).empty
    assert slopes.predict(new[:0], se=True).shape == (0, 2)


def test_re_formula_in_data_with_odd_column_names(sleep):
    data = sleep.rename(columns={"Days": "_response_"})
    result = interlace.fit("Reaction ~ _response_ + (_response_ | Subject)", data)
    whole = result.predict(data, re_formula="~ (_response_ | Subject)")
    assert_allclose(whole, result.fittedvalues)


def test_arguments_of_the_wrong_kind_are_named(slopes, new):
    with pytest.raises(FormulaError, match="has a left-hand side"):
        slopes.predict(new, re_formula="y ~ (1 | Subject)")
    with pytest.raises(TypeError, match="level must be a number between 0 and 1, not 'a'"):
        slopes.predict(new, interval="confidence", level="a")
    with pytest.raises(TypeError, match="newdata must be"):
        slopes.predict(5)


def test_two_ways_of_choosing_effects_at_once_are_refused() -> None:
    result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    with pytest.raises(ValueError, match="include_re=False .* re_formula .* give only one"):
        result.predict(include_re=False, re_formula="~ (1 | Subject)")
