"""Residuals of rows and groups, beside dense matrices, loops over groups, and R."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import interlace
from interlace.diagnostics import marginal_covariance
from interlace.diagnostics.marginal_covariance import MarginalCovariance
from interlace.diagnostics.residual_tables import hlm_resid, pull_resid
from interlace.diagnostics.row_residuals import resid_conditional, resid_marginal
from interlace.errors import ModelError
from tests.unit.diagnostics.dense import dense

NAMES = ("slopes", "weighted", "apart", "crossed", "nested", "no intercept")


@pytest.mark.parametrize("name", NAMES)
def test_rows_as_dense_matrices_have_them(models, name):
    matrices = dense(models[name].state)
    r, e = matrices.r, matrices.e
    sigma = models[name].sigma / np.sqrt(matrices.weights)
    expected = {
        "raw": (r, e),
        "pearson": (r / np.sqrt(np.diagonal(matrices.V)), e / sigma),
        "studentized": (
            r / np.sqrt(np.diagonal(matrices.V - matrices.X @ matrices.C @ matrices.X.T)),
            e / (sigma**2 * np.sqrt(np.diagonal(matrices.P))),
        ),
        "cholesky": (np.linalg.solve(np.linalg.cholesky(matrices.V), r), e / sigma),
    }
    for kind, (marginal, conditional) in expected.items():
        assert_allclose(resid_marginal(models[name], kind), marginal, rtol=1e-7, atol=1e-9 * np.abs(marginal).max())
        assert_allclose(resid_conditional(models[name], kind), conditional, rtol=1e-7, atol=1e-9)


def test_values_of_r(at_rs_optimum):
    """HLMdiag 0.5.1 on sleepstudy with (Days | Subject)."""
    picked = [0, 3]
    marginal = {
        "pearson": [-0.0518355171303498, 0.953882122648327],
        "studentized": [-0.0528153201378424, 0.97162897417],
    }
    for kind, values in marginal.items():
        assert_allclose(resid_marginal(at_rs_optimum, kind).iloc[picked], values, rtol=1e-9)
    table = hlm_resid(at_rs_optimum, standardize=True).iloc[picked]
    assert_allclose(table[".std.resid"], [-0.160350889447708, 0.342975121905144], rtol=1e-9)
    assert_allclose(table[".std.ls.resid"], [0.138849771434733, 0.267790525652642], rtol=1e-9)
    assert_allclose(table[".chol.mar.resid"], [-0.0518355171303498, 1.54071024334006], rtol=1e-9)
    semi = hlm_resid(at_rs_optimum, standardize="semi").iloc[picked]
    assert_allclose(semi[".semi.ls.resid"], [6.63419856129048, 12.7949473856143], rtol=1e-9)
    groups = hlm_resid(at_rs_optimum, "Subject", standardize=True).iloc[picked]
    assert groups["Subject"].tolist() == ["308", "330"]
    assert_allclose(groups[".std.ranef.intercept"], [0.187109275602484, 1.96262286168113], rtol=1e-9)
    assert_allclose(groups[".std.ranef.days"], [3.99115938295898, -2.08879481072866], rtol=1e-9)
    assert_allclose(groups[".std.ls.intercept"], [-0.249098590220427, 1.32209025283109], rtol=1e-9)
    assert_allclose(groups[".std.ls.days"], [1.72263276294034, -1.13738261663352], rtol=1e-9)


def test_columns_of_rows(models, unbalanced):
    data = [".id", "Reaction", "Days", "Subject", "w", "o"]
    ends = [".ls.fitted", ".mar.resid", ".mar.fitted"]
    table = hlm_resid(models["weighted"])
    assert table.columns.tolist() == [*data, ".resid", ".fitted", ".ls.resid", *ends]
    assert table.index.equals(unbalanced.index)
    assert (table[".id"] == unbalanced.index).all()
    for pair in ((".resid", ".fitted"), (".ls.resid", ".ls.fitted"), (".mar.resid", ".mar.fitted")):
        assert_allclose(table[pair[0]] + table[pair[1]], table["Reaction"])
    assert hlm_resid(models["weighted"], include_ls=False).columns.tolist() == [
        *data, ".resid", ".fitted", ".mar.resid", ".mar.fitted",
    ]  # fmt: skip
    assert hlm_resid(models["weighted"], standardize=True).columns.tolist() == [
        *data, ".std.resid", ".fitted", ".std.ls.resid", ".ls.fitted", ".chol.mar.resid", ".mar.fitted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "group"), [("weighted", "Subject"), ("no intercept", "Subject"), ("crossed", "plate")]
)
def test_least_squares_of_rows_group_by_group(models, name, group):
    result = models[name]
    table, model = hlm_resid(result, standardize="semi"), result.model
    root = np.sqrt(np.ones(len(table)) if model.weights is None else model.weights)
    y = model.endog - (0.0 if model.offset is None else model.offset)
    groups = model.data.frame[group].to_numpy()
    for label in pd.unique(groups):
        rows = groups == label
        U, values, _ = np.linalg.svd(root[rows, None] * model.exog[rows], full_matrices=False)
        U = U[:, values > 1e-9 * values[0]]
        residual = root[rows] * y[rows] - U @ (U.T @ (root[rows] * y[rows]))
        left = 1.0 - np.einsum("ij,ij->i", U, U)
        expected = np.where(left > 1e-9, residual / np.sqrt(np.maximum(left, 1e-9)), np.nan)
        assert_allclose(table[".semi.ls.resid"].to_numpy()[rows], expected, rtol=1e-7, atol=1e-8)
        assert_allclose(pull_resid(result, "ls").to_numpy()[rows] * root[rows], residual, rtol=1e-7, atol=1e-8)


def test_pulled_residuals_are_columns_of_the_table(models):
    result = models["weighted"]
    for standardize in (False, True):
        table = hlm_resid(result, standardize=standardize)
        for kind in ("ls", "eb", "marginal"):
            pulled = pull_resid(result, kind, standardize=standardize)
            pd.testing.assert_series_equal(pulled, table[pulled.name])
    assert pull_resid(result, standardize="semi").name == ".semi.ls.resid"


@pytest.mark.parametrize("name", ["weighted", "apart", "crossed", "nested"])
def test_random_effects_over_their_conditional_deviations(models, name):
    result = models[name]
    matrices = dense(result.state)
    spread = np.sqrt(
        np.diagonal(matrices.D - matrices.D @ matrices.Z.T @ np.linalg.solve(matrices.V, matrices.Z @ matrices.D))
    )
    start = 0
    for term in result.state.problem.design.terms:
        table = hlm_resid(result, term.group, standardize=True).set_index(term.group)
        raw = hlm_resid(result, term.group).set_index(term.group)
        for j, effect in enumerate(term.names):
            where = start + len(term.names) * np.arange(len(term.levels)) + j
            column = f"ranef.{effect.lower()}"
            assert_allclose(raw[f".{column}"].loc[term.levels], matrices.u[where], rtol=1e-6, atol=1e-8)
            expected = matrices.u[where] / spread[where]
            assert_allclose(table[f".std.{column}"].loc[term.levels], expected, rtol=1e-6, atol=1e-8)
        start += len(term.levels) * len(term.names)


def _by_lm(data: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """Coefficients of y ~ x + f in each group by R's rules, one at a time."""
    out = {}
    for label, part in data.groupby("g", sort=False):
        levels = [level for level in "abc" if (part["f"] == level).any()]
        columns = {"Intercept": np.ones(len(part)), "x": part["x"].to_numpy()}
        columns |= {f"f[T.{level}]": (part["f"] == level).to_numpy() * 1.0 for level in levels[1:]}
        X = np.column_stack(list(columns.values()))
        found = pd.Series(np.nan, index=names)
        if len(levels) > 1:
            kept: list[int] = []
            for j in range(X.shape[1]):
                if np.linalg.matrix_rank(X[:, [*kept, j]]) > len(kept):
                    kept.append(j)
            found[[list(columns)[j] for j in kept]] = np.linalg.lstsq(X[:, kept], part["y"].to_numpy())[0]
        out[label] = found
    return pd.DataFrame(out).T


@pytest.fixture(scope="module")
def factor_data():
    rng = np.random.default_rng(21)
    g = np.repeat([f"g{i}" for i in range(14)], rng.integers(3, 9, 14))
    data = pd.DataFrame({"g": g, "x": rng.normal(size=g.size), "f": rng.choice(list("abc"), g.size)})
    data.loc[data["g"] == "g3", "f"] = "b"
    data.loc[data["g"] == "g5", "f"] = np.resize(["b", "c"], (data["g"] == "g5").sum())
    effect = dict(zip(pd.unique(g), rng.normal(size=14), strict=True))
    return data.assign(y=data["x"] + (data["f"] == "c") + data["g"].map(effect) + rng.normal(size=g.size))


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")
def test_coefficients_of_groups_as_lm_has_them(factor_data):
    result = interlace.fit("y ~ x + f + (x | g)", factor_data)
    expected = _by_lm(factor_data, result.fe_params.index.tolist())
    table = hlm_resid(result, "g").set_index("g")
    standardized = hlm_resid(result, "g", standardize=True).set_index("g")
    assert table.columns.tolist() == [".ranef.intercept", ".ranef.x", ".ls.intercept", ".ls.x"]
    assert table[".ls.x"].isna()["g3"]
    assert not table[".ls.x"].isna()["g5"]
    whole = expected.notna().all(axis=1)
    assert 0 < whole.sum() < 13
    for name, column in (("Intercept", "intercept"), ("x", "x")):
        centered = expected[name] - expected[name].mean()
        assert_allclose(table[f".ls.{column}"], centered, rtol=1e-8)
        assert_allclose(standardized[f".std.ls.{column}"], (centered / expected[name].std()).where(whole), rtol=1e-8)


def test_a_factor_that_is_constant_in_every_group_is_left_out():
    data = interlace.datasets.load("ahd")
    result = interlace.fit("sbvalue ~ treatment * week + (week | subject)", data)
    table = hlm_resid(result, "subject").set_index("subject")
    assert table.columns.tolist() == ["treatment", ".ranef.intercept", ".ranef.week", ".ls.intercept", ".ls.week"]
    frame = result.model.data.frame
    slopes = {
        label: np.polyfit(part["week"], part["sbvalue"], 1)[0] if len(part) > 1 else np.nan
        for label, part in frame.groupby("subject", observed=True)
    }
    expected = pd.Series(slopes).loc[table.index]
    assert_allclose(table[".ls.week"], expected - expected.mean(), rtol=1e-8, atol=1e-8)


def test_nested_groups_are_compared_within_their_parent(models):
    result = models["nested"]
    frame = result.model.data.frame
    table = hlm_resid(result, "cask:batch")
    assert table.columns.tolist() == ["cask:batch", "cask", "batch", ".ranef.intercept", ".ls.intercept"]
    means = frame.groupby(["batch", "cask"], observed=True)["strength"].mean()
    centered = means - means.groupby("batch", observed=True).transform("mean")
    keys = pd.MultiIndex.from_frame(table[["batch", "cask"]])
    assert_allclose(table[".ls.intercept"], centered.loc[keys], atol=1e-10)
    spread = means.groupby("batch", observed=True).transform("std")
    standardized = hlm_resid(result, "cask:batch", standardize=True)
    assert_allclose(standardized[".std.ls.intercept"], (centered / spread).loc[keys], rtol=1e-8)


def test_groups_stand_in_order_of_appearance_with_what_is_constant_in_them():
    data = interlace.datasets.load("radon").sample(frac=1.0, random_state=1)
    name = "log.radon" if "log.radon" in data else "log_radon"
    result = interlace.fit(f"Q('{name}') ~ basement + uranium + (basement | county)", data)
    table = hlm_resid(result, "county")
    assert table.columns[:2].tolist() == ["county", "uranium"]
    assert table["county"].astype(str).tolist() == pd.unique(data["county"].astype(str)).tolist()
    assert_allclose(table["uranium"], data.groupby("county", sort=False, observed=True)["uranium"].first())
    modes = result.random_effects["county"].loc[table["county"]]
    assert_allclose(table[[".ranef.intercept", ".ranef.basement"]], modes)


@pytest.mark.filterwarnings("ignore:singular fit:interlace.ConvergenceWarning")
def test_no_variance_leaves_standardized_effects_undefined():
    data = pd.DataFrame({"y": [1.0, -1.0, 2.0, -2.0, 0.5, -0.5], "g": list("aabbcc")})
    table = hlm_resid(interlace.fit("y ~ 1 + (1 | g)", data), "g", standardize=True)
    assert table[".std.ranef.intercept"].isna().all()


def test_a_second_effect_of_the_same_name_is_numbered(unbalanced):
    result = interlace.fit("Reaction ~ Days + (1 | Subject) + (1 + Days | Subject)", unbalanced)
    names = [".ranef.intercept", ".ranef.intercept_2", ".ranef.days"]
    assert hlm_resid(result, "Subject", include_ls=False).columns.tolist() == ["Subject", *names]


def test_columns_of_the_data_step_aside(unbalanced):
    data = unbalanced.rename(columns={"Days": ".resid"})
    table = hlm_resid(interlace.fit("Reaction ~ Q('.resid') + (1 | Subject)", data))
    assert_allclose(table[".resid.data"], data[".resid"])
    assert table.columns.is_unique


@pytest.mark.parametrize("name", NAMES)
def test_the_filter_agrees_with_the_blocks(models, name, monkeypatch):
    whole = resid_marginal(models[name], "cholesky")
    for step in (1, 7, 64):
        monkeypatch.setattr(marginal_covariance, "_SMALL", 0)
        monkeypatch.setattr(marginal_covariance, "_STEP", step)
        assert_allclose(resid_marginal(models[name], "cholesky"), whole, rtol=1e-9, atol=1e-11)


def test_components_are_rows_that_share_levels(models):
    assert len(MarginalCovariance(models["crossed"].state).components) == 1
    nested = MarginalCovariance(models["nested"].state).components
    assert sorted(np.concatenate(nested)) == list(range(60))
    batch = models["nested"].model.data.frame["batch"].to_numpy()
    assert sorted(map(len, nested)) == [6] * 10
    assert all(len(set(batch[rows])) == 1 and (np.diff(rows) > 0).all() for rows in nested)


def test_components_too_large_are_refused(models, monkeypatch):
    monkeypatch.setattr(marginal_covariance, "_SMALL", 0)
    monkeypatch.setattr(marginal_covariance, "_LARGEST", 20)
    with pytest.raises(ModelError, match="27 random effects, through which 72 rows are all connected"):
        resid_marginal(models["crossed"], "cholesky")
    assert resid_marginal(models["nested"], "cholesky").notna().all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: hlm_resid(m, "Days"), "level='Days' is not a grouping factor"),
        (lambda m: hlm_resid(m, standardize="full"), "standardize must be False, True or 'semi', not 'full'"),
        (lambda m: resid_marginal(m, "deviance"), "must be one of raw, pearson, studentized, cholesky; not 'deviance'"),
        (lambda m: resid_conditional(m, "ls"), "not 'ls'"),
        (lambda m: pull_resid(m, "raw"), "type must be one of 'ls', 'eb', 'marginal', not 'raw'"),
        (lambda m: pull_resid(m, "eb", standardize="semi"), "not 'semi' with type='eb'"),
    ],
)
def test_what_there_is_not(models, call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call(models["slopes"])


@pytest.mark.parametrize("function", [hlm_resid, pull_resid, resid_marginal, resid_conditional])
def test_generalized_models_have_other_residuals(function):
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period", data, "binomial", groups="herd", weights="size")
    with pytest.raises(TypeError, match="is defined for linear mixed models"):
        function(result)
