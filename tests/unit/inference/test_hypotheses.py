"""Hypotheses of types I, II and III against lmerTest's rows (show_tests) and against their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace.estimate.state import FitState
from interlace.inference.degrees_of_freedom import coefficient_tests
from interlace.inference.hypotheses import deletions, term_hypotheses


def crossed_factors(*, empty: bool = False) -> pd.DataFrame:
    """Unbalanced cells of two factors with a covariate, some of them empty."""
    rng = np.random.default_rng(7)
    a, b, g = rng.integers(0, 3, 150), rng.integers(0, 4, 150), rng.integers(0, 12, 150)
    data = pd.DataFrame({"a": np.array(list("ABC"))[a], "b": np.array(list("pqrs"))[b], "g": g})
    data["x"] = rng.normal(size=150)
    data["y"] = a - 0.5 * b + data["x"] + rng.normal(size=12)[g] + rng.normal(size=150)
    gone = ((data["a"] == "C") & (data["b"] == "s")) | ((data["a"] == "A") & (data["b"] == "p"))
    return data[~gone] if empty else data


@pytest.fixture(scope="module")
def data() -> pd.DataFrame:
    return crossed_factors()


def state_of(formula: str, data: pd.DataFrame, **options: Any) -> FitState:
    return interlace.fit(formula, data, **options).state


def rows_of(state: FitState, kind: int) -> dict[str, pd.DataFrame]:
    names = [state.problem.design.x_names[j] for j in state.kept]
    found = term_hypotheses(state.problem.design, state.kept, kind)  # type: ignore[arg-type]
    return {hypothesis.term: pd.DataFrame(hypothesis.L, columns=names) for hypothesis in found}


@pytest.mark.filterwarnings("ignore::interlace.RankDeficiencyWarning")
def test_type_three_with_empty_cells_has_lmertests_rows() -> None:
    """y ~ a * b + x without the cells A:p and C:s; SAS's hypotheses of what can be estimated."""
    rows = rows_of(state_of("y ~ a * b + x + (1 | g)", crossed_factors(empty=True)), 3)
    assert list(rows) == ["a", "b", "x", "a:b"]
    columns = [c for c in rows["a"] if ":" in c]
    assert columns == ["a[T.B]:b[T.q]", "a[T.C]:b[T.q]", "a[T.B]:b[T.r]", "a[T.C]:b[T.r]"]
    np.testing.assert_allclose(rows["a"][columns], [[2 / 7, 2 / 35, 2 / 7, 2 / 35], [0, 2 / 5, 0, 2 / 5]], atol=1e-12)
    np.testing.assert_allclose(
        rows["b"][columns],
        [[8 / 21, 43 / 105, 1 / 21, 8 / 105], [1 / 21, 8 / 105, 8 / 21, 43 / 105], [0, 1 / 5, 0, 1 / 5]],
        atol=1e-12,
    )
    np.testing.assert_allclose(rows["a"][["a[T.B]", "a[T.C]"]], np.eye(2), atol=1e-12)
    assert (rows["a"][["Intercept", "x", "b[T.q]"]].to_numpy() == 0).all()


def test_type_three_is_the_test_of_unweighted_means(data: pd.DataFrame) -> None:
    """With all cells filled: coefficients of sum-to-zero coding."""
    state = state_of("y ~ a * b + x + (1 | g)", data)
    summed = interlace.fit("y ~ a * b + x + (1 | g)", data, contrasts={"a": "sum", "b": "sum"})
    treatment, plain = coefficient_tests(state, "residual"), coefficient_tests(summed.state, "residual")
    assign = np.asarray(summed.state.problem.design.assign)
    for number, hypothesis in enumerate(term_hypotheses(state.problem.design, state.kept, 3), start=1):
        expected = plain.joint(np.eye(assign.size)[assign == number])
        assert treatment.joint(hypothesis.L).statistic == pytest.approx(expected.statistic, rel=1e-6)


def test_type_two_is_the_reduction_that_a_term_makes_beside_those_that_do_not_contain_it(data: pd.DataFrame) -> None:
    """By regression: L beta = 0 holds exactly for the part of a fit without the term and its containing terms."""
    state = state_of("y ~ a * b + x + (1 | g)", data)
    X, names = state.problem.design.X, list(state.problem.design.x_names)
    rows = rows_of(state, 2)["a"]
    small = [j for j, name in enumerate(names) if "a[" not in name]
    medium = [j for j, name in enumerate(names) if ":" not in name]
    for j in small:
        assert np.abs(rows.to_numpy()[:, j]).max() < 1e-10
    # Any X beta, projected on the columns up to a: its coefficients of a vanish where L beta does.
    y = np.random.default_rng(0).normal(size=len(X))
    beta = np.linalg.lstsq(X, y, rcond=None)[0]
    projected = np.linalg.lstsq(X[:, medium], X @ beta, rcond=None)[0]
    of_a = projected[[i for i, j in enumerate(medium) if "a[" in names[j]]]
    assert np.linalg.norm(rows.to_numpy() @ beta - rows[["a[T.B]", "a[T.C]"]].to_numpy() @ of_a) < 1e-8


def test_type_one_is_sequential(data: pd.DataFrame) -> None:
    """Sums of squares of the least-squares fit add up in the order of the formula."""
    state = state_of("y ~ x + a + b + (1 | g)", data)
    X, y = state.problem.design.X, state.problem.design.y
    beta, inverse = np.linalg.lstsq(X, y, rcond=None)[0], np.linalg.inv(X.T @ X)
    assign = np.asarray(state.problem.design.assign)
    for number, hypothesis in enumerate(term_hypotheses(state.problem.design, state.kept, 1), start=1):
        gap = hypothesis.L @ beta
        explained = gap @ np.linalg.solve(hypothesis.L @ inverse @ hypothesis.L.T, gap)
        fits = [np.linalg.lstsq(X[:, assign <= m], y, rcond=None)[1][0] for m in (number - 1, number)]
        assert explained == pytest.approx(fits[0] - fits[1], rel=1e-8)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_coding_does_not_matter(data: pd.DataFrame, kind: int) -> None:
    formula = "y ~ a * b + a * x + (1 | g)"
    base = state_of(formula, data)
    tests = coefficient_tests(base, "kenward-roger")
    expected = [tests.joint(h.L) for h in term_hypotheses(base.problem.design, base.kept, kind)]  # type: ignore[arg-type]
    for contrasts in ({"a": "sum", "b": "helmert"}, {"a": "poly"}):
        state = state_of(formula, data, contrasts=contrasts)
        found = coefficient_tests(state, "kenward-roger")
        for h, other in zip(term_hypotheses(state.problem.design, state.kept, kind), expected, strict=True):  # type: ignore[arg-type]
            mine = found.joint(h.L)
            assert (mine.statistic, mine.den_df) == (
                pytest.approx(other.statistic, rel=1e-6),
                pytest.approx(other.den_df, rel=1e-6),
            )


@pytest.mark.parametrize("contrasts", [{}, {"status": "sum", "amd": "sum"}, {"status": "helmert", "amd": "poly"}])
def test_degrees_of_freedom_of_type_three_do_not_depend_on_the_coding(contrasts: dict[str, str]) -> None:
    """anova(lmer(log1p(total.fruits) ~ status * amd + (1 | gen), Arabidopsis)) of lmerTest 3.1-3, for all codings."""
    formula = "log1p(total.fruits) ~ status * amd + (1 | gen)"
    table = interlace.anova_table(interlace.fit(formula, interlace.datasets.load("Arabidopsis"), contrasts=contrasts))
    assert table["DenDF"].to_list() == pytest.approx([608.134876, 600.236904, 600.793206], rel=1e-8)


@pytest.mark.filterwarnings("ignore::interlace.RankDeficiencyWarning")
def test_degrees_of_freedom_of_type_three_with_an_empty_cell_and_sums_to_zero() -> None:
    """The same without the clipped transplants and with rack, contr.sum for both factors."""
    df = interlace.datasets.load("Arabidopsis")
    df = df[(df["status"] != "Transplant") | (df["amd"] != "clipped")]
    formula, contrasts = "log1p(total.fruits) ~ status * amd + rack + (1 | gen)", {"status": "sum", "amd": "sum"}
    table = interlace.anova_table(interlace.fit(formula, df, contrasts=contrasts))
    assert table["DenDF"].to_list() == pytest.approx([528.447622, 522.777591, 522.394166, 524.045105], rel=1e-8)


def test_factors_with_covariates_as_in_lmertest(data: pd.DataFrame) -> None:
    """A term with a covariate does not contain the factor alone, but does contain the covariate alone."""
    third = rows_of(state_of("y ~ a * x + (1 | g)", data), 3)
    assert third["a"].to_numpy().tolist() == np.eye(6)[1:3].tolist()
    np.testing.assert_allclose(third["x"], [[0, 0, 0, 1, 1 / 3, 1 / 3]], atol=1e-12)
    second = rows_of(state_of("y ~ a * x + (1 | g)", data), 2)
    assert second["a"].to_numpy().tolist() == np.eye(6)[1:3].tolist()
    within = data["x"] - data.groupby("a")["x"].transform("mean")
    share = (within**2).groupby(data["a"]).sum() / (within**2).sum()
    np.testing.assert_allclose(second["x"], [[0, 0, 0, 1, share["B"], share["C"]]], atol=1e-12)


def test_units_of_covariates_do_not_matter(data: pd.DataFrame) -> None:
    data = data.assign(big=1e7 * data["x"])
    plain = rows_of(state_of("y ~ a * x + b + (1 | g)", data), 3)
    scaled = rows_of(state_of("y ~ a * big + b + (1 | g)", data), 3)
    for one, other in zip(plain.values(), scaled.values(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_nested_fixed_effects_are_tested_over_the_levels_below(data: pd.DataFrame) -> None:
    """a + a:b, where lmerTest's row of a is about the first level of b."""
    rows = rows_of(state_of("y ~ a + a:b + (1 | g)", data), 3)["a"]
    own = [f"a[{level}]:b[T.{other}]" for other in "qrs" for level in "B"]
    np.testing.assert_allclose(rows.loc[0, own].astype(float), 0.25, atol=1e-10)


def test_transformed_rows_that_are_left_out_do_not_count(data: pd.DataFrame) -> None:
    state = state_of("y ~ a * b + lag(x) + (1 | g)", data)
    assert list(rows_of(state, 3)) == ["a", "b", "lag(x)", "a:b"]


def test_deletions_keep_to_marginality(data: pd.DataFrame) -> None:
    state = state_of("y ~ a * b + x + (1 | g)", data)
    found = deletions(state.problem.design, state.kept)
    assert [h.term for h in found] == ["x", "a:b"]
    assert [h.L.shape[0] for h in found] == [1, 6]
    covariate = state_of("y ~ a * x + (1 | g)", data)
    assert [h.term for h in deletions(covariate.problem.design, covariate.kept)] == ["a:x"]


@pytest.mark.filterwarnings("ignore::interlace.RankDeficiencyWarning")
def test_a_column_that_was_left_out_replaces_a_deleted_one(data: pd.DataFrame) -> None:
    state = state_of("y ~ x + twice + b + (1 | g)", data.assign(twice=2 * data["x"]))
    sizes = {h.term: h.L.shape[0] for h in deletions(state.problem.design, state.kept)}
    assert sizes == {"x": 0, "twice": 0, "b": 3}
