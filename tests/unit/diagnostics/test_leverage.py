"""Leverages, beside dense hat matrices and R."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.diagnostics.leverages import leverage
from interlace.estimate.hat import conditional_cooks_distance, hat_diagonal, one_minus
from tests.unit.diagnostics.dense import dense

NAMES = ("slopes", "weighted", "apart", "crossed", "nested", "no intercept")


@pytest.mark.parametrize("name", NAMES)
def test_diagonals_of_dense_hat_matrices(models, name):
    result = models[name]
    matrices = dense(result.state)
    fixed = matrices.X @ matrices.C @ matrices.X.T @ np.linalg.inv(matrices.V)
    random = matrices.Z @ matrices.D @ matrices.Z.T @ np.linalg.solve(matrices.V, np.eye(len(fixed)) - fixed)
    prior = np.diagonal(matrices.Z @ matrices.D @ matrices.Z.T) * matrices.weights / result.scale
    expected = [np.diagonal(fixed + random), np.diagonal(fixed), np.diagonal(random), prior]
    table = leverage(result)
    assert table.columns.tolist() == ["overall", "fixef", "ranef", "ranef.uc"]
    assert table.index.equals(result.model.data.row_labels)
    assert_allclose(table.to_numpy().T, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("name", "level"), [("weighted", "Subject"), ("nested", "batch/cask"), ("crossed", "sample")])
def test_groups_have_the_means_of_their_rows(models, name, level):
    result = models[name]
    table, rows = leverage(result, level), leverage(result)
    assert table.columns.tolist() == [table.columns[0], *rows.columns]
    frame = result.model.data.frame
    parts = [frame[column] for column in table.columns[0].split(":")]
    labels = parts[0].astype(str) if len(parts) == 1 else parts[0].str.cat(parts[1], sep=":")
    assert table[table.columns[0]].astype(str).tolist() == pd.unique(labels).tolist()
    expected = rows.groupby(labels.to_numpy(), sort=False).mean()
    assert_allclose(table[rows.columns], expected, rtol=1e-12)


def test_a_factor_with_the_name_of_a_kind(unbalanced):
    data = unbalanced.rename(columns={"Subject": "overall"})
    table = leverage(interlace.fit("Reaction ~ Days + (1 | overall)", data), "overall")
    assert table.columns.tolist() == ["overall.data", "overall", "fixef", "ranef", "ranef.uc"]
    assert table["overall.data"].tolist() == pd.unique(data["overall"]).tolist()


def test_values_of_r(at_rs_optimum):
    """HLMdiag 0.5.1, and lme4 1.1-31 for the distance, on sleepstudy with (Days | Subject)."""
    table = leverage(at_rs_optimum).iloc[[0, 3]]
    assert_allclose(table["overall"], [0.22930301316672, 0.100584904483629], rtol=1e-9)
    assert_allclose(table["fixef"], [0.0191919191919192, 0.00707070707070705], rtol=1e-9)
    assert_allclose(table["ranef.uc"], [0.934572600217527, 1.50450321832978], rtol=1e-9)
    distances = at_rs_optimum.augment()[".cooksd"].iloc[[0, 3]]
    assert_allclose(distances, [0.00496312473740485, 0.00731320429629149], rtol=1e-9)


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")
def test_no_variance_leaves_nothing_to_the_random_effects():
    data = pd.DataFrame({"y": [1.0, 2.0, 0.5, 1.5, 1.2, 2.3], "g": list("aabbcc")})
    fit = interlace.fit("y ~ 1 + (1 | g)", data.assign(y=data["y"] - data.groupby("g")["y"].transform("mean")))
    assert fit.theta[0] == 0.0
    table = leverage(fit)
    assert_allclose(table, [[1 / 6, 1 / 6, 0.0, 0.0]] * 6, rtol=1e-12)


def test_chosen_kinds(models):
    table = leverage(models["slopes"], kind=["ranef.uc", "fixef"])
    assert table.columns.tolist() == ["fixef", "ranef.uc"]
    with pytest.raises(ValueError, match="kind may be 'overall', .* not 'random'"):
        leverage(models["slopes"], kind="random")
    with pytest.raises(ValueError, match="not nothing"):
        leverage(models["slopes"], kind=[])
    with pytest.raises(ValueError, match="level='Days' is not a grouping factor"):
        leverage(models["slopes"], "Days")


def test_working_weights_of_a_generalized_model():
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period", data, "binomial", groups="herd", weights="size")
    mu, variance = result.fittedvalues, result.variance_components["herd"]
    assert_allclose(leverage(result, kind="ranef.uc")["ranef.uc"], data["size"] * mu * (1 - mu) * variance, rtol=1e-10)


def test_lme4s_cooks_distance(models):
    result = models["weighted"]
    state = result.state
    hat = hat_diagonal(state.elimination(), state.problem.rows)
    matrices = dense(state)
    expected = 1.0 - np.diagonal(matrices.P) * state.sigma**2 / matrices.weights
    assert_allclose(hat, expected, rtol=1e-9)
    e = matrices.e * np.sqrt(matrices.weights) / state.sigma
    assert_allclose(conditional_cooks_distance(state, hat), e**2 * expected / (1 - expected) ** 2 / 2, rtol=1e-8)
    table = result.augment()
    assert table.columns[table.columns.get_loc(".resid") + 1 :][:3].tolist() == [".hat", ".cooksd", ".fixed"]
    assert_allclose(table[".hat"], expected, rtol=1e-9)
    assert_allclose(table[".cooksd"], conditional_cooks_distance(state, hat))


def test_a_row_with_its_own_coefficient_has_no_distance():
    data = interlace.datasets.load("sleepstudy")
    data["own"] = (np.arange(len(data)) == 7) * 1.0
    table = interlace.fit("Reaction ~ Days + own + (Days | Subject)", data).augment()
    assert table[".cooksd"].isna().to_numpy().nonzero()[0].tolist() == [7]
    assert_allclose(table[".hat"].iloc[7], 1.0)
    assert_allclose(one_minus(np.array([0.25, 1.0 - 1e-15])), [0.75, np.nan])


def test_without_fixed_effects_there_is_no_distance(unbalanced):
    result = interlace.fit("Reaction ~ 0 + (1 | Subject)", unbalanced)
    assert result.augment()[".cooksd"].isna().all()
    assert (leverage(result, kind="fixef")["fixef"] == 0.0).all()
