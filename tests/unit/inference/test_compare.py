"""Likelihoods that may be compared, smaller models, and tests at the boundary, by independent means."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

import interlace
from interlace.errors import DataError, ModelError
from interlace.estimate.lmm import refit_response
from interlace.estimate.state import FitState
from interlace.inference.compare import Simulated, check_comparable, compare, simulated_ratios, with_one_criterion
from interlace.inference.ranova import boundary_p_value, fixed_deletions, random_deletions
from interlace.inference.submodels import deletable, with_fixed_terms, with_random_effects, without_random
from interlace.prediction.simulate import draws
from tests.glmm_fits import cbpp, ticks_nb

pytestmark = pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")


def sleep() -> pd.DataFrame:
    frame = interlace.datasets.load("sleepstudy")
    factors = {"f": np.tile(list("abc"), 60), "h": np.tile(list("uvwx"), 45), "two": np.repeat(list("stts"), 45)}
    return frame.assign(z=np.tile([1, 3, 2, 5, 4], 36), **factors)


def state_of(formula: str, data: pd.DataFrame | None = None, method: str = "ML") -> FitState:
    return interlace.fit(formula, sleep() if data is None else data, method=method).state


@pytest.mark.parametrize("reml", [False, True])
def test_without_random_effects_a_linear_model_is_least_squares(reml: bool) -> None:
    frame = sleep().assign(w=np.tile([0.5, 1.0, 2.0], 60), o=np.tile([10.0, -5.0], 90))
    method = "REML" if reml else "ML"
    state = interlace.fit("Reaction ~ Days + (Days | Subject)", frame, method=method, weights="w", offset="o").state
    X, root = np.column_stack([np.ones(180), frame["Days"]]), np.sqrt(frame["w"].to_numpy())
    weighted, y = X * root[:, None], (frame["Reaction"] - frame["o"]).to_numpy() * root
    rss = float(((y - weighted @ np.linalg.lstsq(weighted, y, rcond=None)[0]) ** 2).sum())
    N = 178 if reml else 180
    expected = N * (1 + np.log(2 * np.pi * rss / N)) - np.log(frame["w"]).sum()
    if reml:
        expected += np.linalg.slogdet(weighted.T @ weighted)[1]
    assert without_random(state) == pytest.approx(expected, rel=1e-12)


def test_without_random_effects_a_generalized_model_has_the_likelihood_of_its_rows() -> None:
    frame = interlace.datasets.load("cbpp")
    groups = frame.groupby("period", observed=True)[["incidence", "size"]].sum()
    p = frame["period"].map(groups["incidence"] / groups["size"]).astype(float)
    expected = -2 * stats.binom.logpmf(frame["incidence"], frame["size"], p).sum()
    for nodes in (1, 5):
        assert without_random(cbpp(nodes).state) == pytest.approx(expected, rel=1e-10)
    none = interlace.glmer("incidence / size ~ period", frame, "binomial", groups="herd", weights="size", nAGQ=0)
    assert without_random(none.state) == pytest.approx(expected, rel=1e-10)


def test_without_random_effects_theta_of_a_negative_binomial_is_found_anew() -> None:
    state = interlace.glmer_nb("TICKS ~ 1 + (1 | BROOD)", interlace.datasets.load("grouseticks")).state
    y = interlace.datasets.load("grouseticks")["TICKS"]

    def minus_two(theta: float) -> float:
        size = np.exp(theta)
        return float(-2 * stats.nbinom.logpmf(y, size, size / (size + y.mean())).sum())

    expected = optimize.minimize_scalar(minus_two, bounds=(-4, 4), method="bounded", options={"xatol": 1e-10}).fun
    assert without_random(state) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("link", ["log", "inverse"])
def test_without_random_effects_the_dispersion_is_found_anew(link: str) -> None:
    state = interlace.glmer("Reaction ~ 1 + (1 | Subject)", sleep(), "Gamma", link=link).state
    y = sleep()["Reaction"].to_numpy()
    shape, _, scale = stats.gamma.fit(y, floc=0)
    expected = -2 * stats.gamma.logpdf(y, shape, scale=scale).sum()
    assert without_random(state) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("formula", "gone", "smaller"),
    [
        ("Reaction ~ Days * z + f + (1 | Subject)", "Days:z", "Reaction ~ Days + z + f + (1 | Subject)"),
        ("Reaction ~ Days + f + h + (1 | Subject)", "f", "Reaction ~ Days + h + (1 | Subject)"),
        ("Reaction ~ 0 + f + h + (1 | Subject)", "f", "Reaction ~ 0 + h + (1 | Subject)"),
        ("Reaction ~ 0 + Days + (1 | Subject)", "Days", "Reaction ~ 0 + (1 | Subject)"),
    ],
)
def test_without_a_fixed_term_the_fit_is_that_of_the_shorter_formula(formula: str, gone: str, smaller: str) -> None:
    found = fixed_deletions(state_of(formula))
    other = state_of(smaller)
    at = found.labels.index(gone)
    assert found.criterion[at] == pytest.approx(other.criterion, abs=1e-7)
    assert found.n_params - found.df[at] == len(other.beta) + len(other.theta) + 1


@pytest.mark.parametrize(
    ("term", "labels", "smaller"),
    [
        ("(Days + z | Subject)", ["Days in (Days + z | Subject)", "z in (Days + z | Subject)"], ["(z", "(Days"]),
        (
            "(0 + Days + z | Subject)",
            ["Days in (0 + Days + z | Subject)", "z in (0 + Days + z | Subject)"],
            ["(0 + z", "(0 + Days"],
        ),
        (
            "(0 + f + h | Subject)",
            ["f in (0 + f + h | Subject)", "h in (0 + f + h | Subject)"],
            ["(0 + h", "(0 + f"],
        ),
        (
            "diag(Days + z | Subject)",
            ["Days in diag(Days + z | Subject)", "z in diag(Days + z | Subject)"],
            ["diag(z", "diag(Days"],
        ),
        ("(Days * z | Subject)", ["Days:z in (Days + z + Days:z | Subject)"], ["(Days + z"]),
        ("(0 + f | Subject)", ["f in (0 + f | Subject)"], ["(1"]),
        ("(0 + f:two | Subject)", ["f:two in (0 + f:two | Subject)"], ["(1"]),
        (
            "(0 + f | Subject) + (0 + Days | Subject)",
            ["f in (0 + f | Subject)", "Days in (0 + Days | Subject)"],
            ["(1 | Subject) + (0 + Days", "(0 + f"],
        ),
        (
            "(0 + f | Subject) + (Days | Subject)",
            ["f in (0 + f | Subject)", "Days in (Days | Subject)"],
            ["(Days", "(0 + f | Subject) + (1"],
        ),
        (
            "(0 + f | Subject) + (0 + h | Subject)",
            ["f in (0 + f | Subject)", "h in (0 + h | Subject)"],
            ["(0 + h", "(0 + f"],
        ),
        (
            "(0 + f | Subject) + (1 | h)",
            ["f in (0 + f | Subject)", "(1 | h)"],
            ["(1 | h) + (1", "(0 + f"],
        ),
    ],
)
def test_smaller_random_terms_are_those_of_the_shorter_formula(
    term: str, labels: list[str], smaller: list[str]
) -> None:
    found = random_deletions(state_of(f"Reaction ~ Days + {term}"))
    assert list(found.labels) == labels
    others = [state_of(f"Reaction ~ Days + {bar} | Subject)") for bar in smaller]
    np.testing.assert_allclose(found.criterion, [other.criterion for other in others], atol=2e-6)
    n_params = [len(other.beta) + len(other.theta) + 1 for other in others]
    assert (found.n_params - found.df).tolist() == n_params


@pytest.mark.parametrize("term", ["(0 + Days | Subject)", "(0 + Days:f | Subject)", "diag(0 + f | Subject)"])
def test_a_term_that_does_not_contain_random_intercepts_goes_as_a_whole(term: str) -> None:
    state = state_of(f"Reaction ~ Days + {term}")
    found = random_deletions(state)
    assert found.criterion[0] == without_random(state)
    assert found.df.tolist() == [len(state.theta)]


def test_whole_terms_of_a_factor_leave_no_intercepts() -> None:
    state = state_of("Reaction ~ Days + (0 + f | Subject)")
    assert random_deletions(state, reduce_terms=False).criterion[0] == without_random(state)


def test_the_terms_of_a_formula_are_found_whatever_their_order() -> None:
    """lme4's order of terms is not that of the formula; a second term on one factor has a key of its own."""
    state = state_of("Reaction ~ Days + (1 | f) + (0 + Days | Subject) + (1 | Subject)", method="REML")
    found = random_deletions(state)
    assert list(found.labels) == ["(1 | f)", "Days in (0 + Days | Subject)", "(1 | Subject)"]
    shorter = ["(0 + Days | Subject) + (1 | Subject)", "(1 | f) + (1 | Subject)", "(1 | f) + (0 + Days | Subject)"]
    expected = [state_of(f"Reaction ~ Days + {one}", method="REML").criterion for one in shorter]
    np.testing.assert_allclose(found.criterion, expected, atol=1e-7)
    assert found.df.tolist() == [1, 1, 1]


def test_a_structure_given_by_covariance_is_kept() -> None:
    result = interlace.fit("Reaction ~ 1 + (Days + z | Subject)", sleep(), covariance={"Subject": "diagonal"})
    found = random_deletions(result.state)
    assert found.labels[1] == "z in diag(Days + z | Subject)"
    assert found.df.tolist() == [1, 1]


def test_expressions_that_leave_rows_out_are_evaluated_on_all_rows() -> None:
    state = state_of("Reaction ~ lag(Days) + z + (lag(Days) | Subject)")
    design = state.problem.design
    same = with_random_effects(design, 0, design.spec.formula.random[0].terms)
    np.testing.assert_array_equal(same.terms[0].Z, design.terms[0].Z)
    np.testing.assert_array_equal(with_fixed_terms(design, design.spec.formula.terms).X, design.X)


def test_a_term_inside_an_interaction_stays() -> None:
    assert deletable([("a",), ("b",), ("a", "b"), ("a", "b", "c")]) == [("a", "b", "c")]
    assert deletable([()]) == []


def test_mixtures_of_chi_square_distributions() -> None:
    t = np.array([0.0, 1.5, 4.0, 9.0, 9.0])
    df = np.array([1, 1, 2, 2, 5])
    expected = [
        1.0,
        0.5 * stats.chi2.sf(1.5, 1),
        *(0.5 * stats.chi2.sf(x, k - 1) + 0.5 * stats.chi2.sf(x, k) for x, k in zip(t[2:], df[2:], strict=True)),
    ]
    np.testing.assert_allclose(boundary_p_value(t, df), expected, rtol=1e-12)


def test_the_mixture_is_the_distribution_of_simulated_statistics() -> None:
    """Balanced one-way data without a group effect: half of the statistics are (nearly) zero, the rest chi-square."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({"y": rng.normal(size=400), "g": np.repeat(np.arange(100), 4)})
    state = interlace.fit("y ~ 1 + (1 | g)", frame.assign(y=frame["y"] + rng.normal(size=100)[frame["g"]])).state
    none = without_random(state)
    assert random_deletions(state).statistic[0] == pytest.approx(none - state.criterion)
    statistics = []
    for _ in range(400):
        fit = refit_response(state, rng.normal(size=400))
        statistics.append(random_deletions(fit).statistic[0])
    p = boundary_p_value(np.array(statistics), np.ones(400, dtype=np.int64))
    for level in (0.05, 0.2, 0.4):
        assert (p < level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 400))


def test_corrected_aic() -> None:
    found = compare([state_of("Reaction ~ Days + (Days | Subject)"), state_of("Reaction ~ 1 + (1 | Subject)")])
    assert found.order.tolist() == [1, 0]
    np.testing.assert_allclose(found.aicc - found.aic, [2 * 3 * 4 / (180 - 4), 2 * 6 * 7 / (180 - 7)])
    assert np.isnan(replace(found, nobs=7).aicc[1])


def test_other_data_are_refused() -> None:
    first = state_of("Reaction ~ Days + (1 | Subject)")
    for other, words in [
        (state_of("Reaction ~ 1 + (1 | Subject)", sleep()[2:]), "one uses 180 rows and two 178: missing values"),
        (state_of("np.log(Reaction) ~ 1 + (1 | Subject)"), r"the responses 'Reaction' of one and 'np.log\(Reaction\)'"),
        (state_of("Reaction ~ Days + (1 | Subject)", sleep()[::-1]), "differ; models can be compared only on the same"),
    ]:
        with pytest.raises(DataError, match=words):
            check_comparable([first, other], ["one", "two"])
    weighted = interlace.fit("Reaction ~ 1", sleep(), groups="Subject", weights=np.tile([1.0, 2.0], 90)).state
    with pytest.raises(DataError, match="the weights of one and two differ"):
        check_comparable([first, weighted], ["one", "two"])
    ones = interlace.fit("Reaction ~ 1", sleep(), groups="Subject", weights=np.ones(180)).state
    check_comparable([first, ones], ["one", "two"])
    generalized = interlace.glmer("Reaction ~ 1 + (1 | Subject)", sleep(), "Gamma", link="log").state
    with pytest.raises(ModelError, match="one is a linear model and two a generalized one"):
        check_comparable([first, generalized], ["one", "two"])


def test_families_for_other_responses_are_refused() -> None:
    ticks = interlace.datasets.load("grouseticks").assign(one=lambda d: d["TICKS"] + 1)
    poisson = interlace.glmer("one ~ 1 + (1 | BROOD)", ticks, "poisson").state
    check_comparable([poisson, interlace.glmer_nb("one ~ 1 + (1 | BROOD)", ticks).state], ["a", "b"])
    gamma = interlace.glmer("one ~ 1 + (1 | BROOD)", ticks, "Gamma", link="log").state
    with pytest.raises(ModelError, match="a has a response of counts and b one of measurements"):
        check_comparable([poisson, gamma], ["a", "b"])


def test_restricted_likelihoods() -> None:
    reml = state_of("Reaction ~ Days + (Days | Subject)", method="REML")
    other = state_of("Reaction ~ Days + (1 | Subject)", method="REML")
    null = state_of("Reaction ~ 1 + (1 | Subject)", method="REML")
    states, refitted = with_one_criterion([reml, state_of("Reaction ~ 1 + (1 | Subject)")], ["a", "b"], by_ml=True)
    assert refitted == ["a"]
    assert states[0].criterion == pytest.approx(state_of("Reaction ~ Days + (Days | Subject)").criterion, abs=1e-8)
    assert with_one_criterion([reml, other], ["a", "b"], by_ml=False) == ([reml, other], [])
    with pytest.raises(ModelError, match="a and b are fits by REML with different fixed effects"):
        with_one_criterion([reml, null], ["a", "b"], by_ml=False)
    with pytest.raises(ModelError, match="some of the fits are by REML and some by ML"):
        with_one_criterion([reml, state_of("Reaction ~ Days + (1 | Subject)")], ["a", "b"], by_ml=False)


def test_simulated_statistics_of_linear_models_are_those_of_single_refits() -> None:
    small, large = state_of("Reaction ~ Days + (1 | Subject)"), state_of("Reaction ~ Days + (Days | Subject)")
    found = simulated_ratios(small, large, 30, np.random.default_rng(3))
    expected = []
    for y in draws(small, 30, np.random.default_rng(3)):
        gain = refit_response(small, y).criterion - refit_response(large, y).criterion
        expected.append(max(gain, 0.0))
    np.testing.assert_allclose(found.values, expected, atol=2e-6)
    assert found.observed == pytest.approx(small.criterion - large.criterion)
    assert found.p_value == pytest.approx(1 / 31)


def test_simulated_statistics_of_generalized_models() -> None:
    large = cbpp().state
    small = cbpp().update(". ~ 1 + (1 | herd)").state
    found = simulated_ratios(small, large, 40, np.random.default_rng(3))
    assert found.observed == pytest.approx(25.6100634, abs=1e-5)
    assert found.used == 40
    assert stats.kstest(found.values, stats.chi2(3).cdf).pvalue > 0.01
    again = simulated_ratios(small, large, 40, np.random.default_rng(3))
    np.testing.assert_array_equal(found.values, again.values)


def test_failed_replicates_do_not_count() -> None:
    found = Simulated(2.0, np.array([1.0, np.nan, 2.0, 3.0]), ("", "did not converge", "", ""))
    assert found.used == 3
    assert found.p_value == 3 / 4


def test_a_model_without_negative_binomial_terms() -> None:
    found = random_deletions(ticks_nb().state)
    assert found.df.tolist() == [1, 1]
    assert (found.statistic > 0).all()
    assert found.converged.all()
