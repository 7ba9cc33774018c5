"""Every example of the FAQ page that no box calls planned runs as written there, and does what the text says."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats
from scipy.linalg import LinAlgWarning

import interlace
from interlace.core import cholmod
from interlace.estimate.lmm import prepare
from interlace.frames.build import build_design

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "faq.md").read_text("utf-8")
#: The page without the boxes that were added to it and without the targets of links, white space collapsed.
WORDS_SHA256 = "61949fc7b3978fc248f3776de572494f28ecb9ecf933b32605806564f40bcecb"

_BOX = re.compile(r"^:::\{admonition\} (?P<title>.*)\n(?:.*\n)*?:::\n", re.MULTILINE)
_FENCE = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)

#: A piece of each example by which it is found.
WORKING = {
    "missing values": "Used {model.nobs}",
    "column names": "df.columns.tolist()",
    "keys of random effects": 'groups=["student_id", "school_id"]',
    "rescaled predictor": "StandardScaler",
    "other optimizer": 'Requires: pip install "interlace-lme[bobyqa]"',
    "updates": "m_final = result.update",
    "cross-validation": "cross_val(",
    "singular fit": "from interlace import isSingular",
    "intervals": "result.confint()",
    "condition number": "patsy.dmatrices",
    "binomial and Poisson": 'family="poisson"',
    "binary response": '"outcome ~ treatment + age"',
    "influence": "lmer_influence_measures(result",
    "influence with another optimizer": 'hlm_influence(model, optimizer="bobyqa")',
}


def examples() -> list[tuple[str, bool]]:
    """Code of each example in order, and whether a box right before it says that it is planned."""
    found = []
    for match in _FENCE.finditer(PAGE):
        boxes = [box for box in _BOX.finditer(PAGE, 0, match.start()) if not PAGE[box.end() : match.start()].strip()]
        found.append((match["code"], any(box["title"].startswith("Planned") for box in boxes)))
    return found


def example(piece: str) -> str:
    """Find the one example that contains ``piece``."""
    (code,) = [code for code, _ in examples() if piece in code]
    return code


def run(name: str, **names: Any) -> dict[str, Any]:
    """Execute a working example with the given variables; no warning may come up."""
    return steps(name, **names)[-1]


def steps(name: str, **names: Any) -> list[dict[str, Any]]:
    """Variables after each statement of a working example; no warning may come up."""
    space, found = {"interlace": interlace, "pd": pd, **names}, []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for statement in ast.parse(example(WORKING[name])).body:
            exec(compile(ast.Module([statement], []), f"faq.md: {name}", "exec"), space)
            found.append(dict(space))
    return found


@pytest.fixture
def df() -> pd.DataFrame:
    """Pupils in schools, and firms across them; every variance is well away from zero."""
    rng = np.random.default_rng(11)
    n = 240
    frame = pd.DataFrame(
        {"firm": rng.integers(0, 24, n), "student_id": np.arange(n) % 40, "x": rng.normal(5.0, 3.0, n)}
    )
    frame["school_id"] = [f"school {s % 8}" for s in frame["student_id"]]
    frame["frequency"] = rng.gamma(2.0, 1.0, n)
    frame["n_obs"] = rng.integers(1, 20, n)
    frame["x1"], frame["x2"] = rng.normal(size=n), rng.normal(size=n)
    school = rng.normal(0.0, 2.0, 8)[frame["student_id"] % 8]
    random = rng.normal(0.0, 1.0, 24)[frame["firm"]] + rng.normal(0.0, 1.0, 40)[frame["student_id"]] + school
    return frame.assign(y=1.0 + 0.5 * frame["x"] + 0.8 * frame["frequency"] + random + rng.normal(size=n))


# -- the page ------------------------------------------------------------------------------------------------------
def test_words_are_the_original_ones() -> None:
    words = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", _BOX.sub("", PAGE))
    assert hashlib.sha256(" ".join(words.split()).encode()).hexdigest() == WORDS_SHA256


def test_every_example_is_looked_after() -> None:
    assert len(examples()) == len(WORKING)
    for piece in WORKING.values():
        assert not dict(examples())[example(piece)]


# -- data ----------------------------------------------------------------------------------------------------------
def test_incomplete_rows_are_dropped_silently(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    df = df.astype({"firm": object})
    df.loc[3, "y"], df.loc[[5, 8], "x"], df.loc[13, "firm"], df.loc[21, "x1"] = np.nan, np.nan, None, np.nan
    model = run("missing values", df=df)["model"]
    assert model.nobs == 236
    assert capsys.readouterr().out == "Used 236 of 240 rows\n"


@pytest.mark.parametrize("kind", [int, str, "category"])
def test_groups_may_be_numbers_text_or_categories(df: pd.DataFrame, kind: Any) -> None:
    expected = interlace.fit("y ~ x", df, groups="firm").llf
    assert run("missing values", df=df.astype({"firm": kind}))["model"].llf == pytest.approx(expected, rel=1e-12)


def test_effects_of_singleton_groups_shrink_toward_zero(df: pd.DataFrame) -> None:
    lone = df.index[0]
    df.loc[lone, ["firm", "y"]] = [99, df["y"].max() + 5.0]
    model = interlace.fit("y ~ x", data=df, groups="firm")
    away = df.loc[lone, "y"] - model.predict(include_re=False)[lone]
    assert 0.0 < model.random_effects["firm"][99] < away


# -- error messages ------------------------------------------------------------------------------------------------
def test_unknown_group(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^groups column 'X' not found in data"):
        interlace.fit("y ~ x", data=df, groups="X")
    with pytest.raises(ValueError, match=r"^groups column 'firm ' not found in data"):
        interlace.fit("y ~ x", data=df, groups=["student_id", "firm "])
    run("column names", df=df)
    assert capsys.readouterr().out == f"{list(df.columns)}\n"


def test_unknown_variable(df: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r"^formula refers to unknown variables: 'X'"):
        interlace.fit("y ~ X", data=df, groups="firm")


def test_random_effects_have_a_key_for_each_group(df: pd.DataFrame) -> None:
    space = run("keys of random effects", df=df)
    assert set(space["result"].random_effects) == {"student_id", "school_id"}
    assert sorted(space["blups"].index) == sorted(df["student_id"].unique())
    with pytest.raises(KeyError):
        space["result"].random_effects["group"]


def test_perfect_multicollinearity_is_reported_and_survived(df: pd.DataFrame) -> None:
    dummies = pd.get_dummies(df["n_obs"] % 3, prefix="d", dtype=float)
    data = pd.concat([df, dummies], axis=1)
    with pytest.warns(interlace.RankDeficiencyWarning, match="dropped 'd_2'"):
        every = interlace.fit("y ~ d_0 + d_1 + d_2", data=data, groups="firm")
    fewer = pd.concat([df, pd.get_dummies(df["n_obs"] % 3, prefix="d", drop_first=True, dtype=float)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_less = interlace.fit("y ~ d_1 + d_2", data=fewer, groups="firm")
    assert list(every.fe_params.index) == ["Intercept", "d_0", "d_1"]
    np.testing.assert_allclose(every.fittedvalues, one_less.fittedvalues, rtol=1e-9)


# -- convergence ---------------------------------------------------------------------------------------------------
def test_iteration_limit_gives_the_warning(df: pd.DataFrame) -> None:
    with pytest.warns(interlace.ConvergenceWarning, match=r"^optimizer did not converge"):
        model = interlace.fit(
            "y ~ x", data=df, groups=["student_id", "firm"], control=interlace.Control(max_iterations=1)
        )
    assert not model.converged


def test_standardized_predictor(df: pd.DataFrame) -> None:
    plain = interlace.fit("y ~ x", data=df, groups="firm")
    model = run("rescaled predictor", df=df)["model"]
    assert model.converged
    assert df["x_scaled"].mean() == pytest.approx(0.0, abs=1e-12)
    assert model.fe_params["x_scaled"] == pytest.approx(plain.fe_params["x"] * df["x"].std(ddof=0), rel=1e-6)
    np.testing.assert_allclose(model.fittedvalues, plain.fittedvalues, rtol=1e-7)


def test_bobyqa(df: pd.DataFrame) -> None:
    model = run("other optimizer", df=df)["model"]
    assert model.converged
    assert model.convergence.optimizer == "bobyqa"
    for optimizer in ("auto", "lbfgsb"):
        other = interlace.fit("y ~ x", data=df, groups="firm", optimizer=optimizer)
        assert other.converged
        assert other.llf == pytest.approx(model.llf, abs=1e-7)


def test_bobyqa_is_optional(df: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pybobyqa", None)
    assert interlace.fit("y ~ x", data=df, groups="firm").converged
    with pytest.raises(ImportError, match=r'pip install "interlace-lme\[bobyqa\]"'):
        interlace.fit("y ~ x", data=df, groups="firm", optimizer="bobyqa")


# -- comparison and updates ----------------------------------------------------------------------------------------
def test_likelihood_ratio_test(df: pd.DataFrame) -> None:
    small = interlace.fit("y ~ x", data=df, groups="firm", method="ML")
    large = small.update(". ~ . + frequency")
    assert stats.chi2.sf(2 * (large.llf - small.llf), large.n_params - small.n_params) < 0.05


def test_updates_inherit_everything_else(df: pd.DataFrame) -> None:
    result = interlace.fit("y ~ x", data=df, groups=["student_id", "school_id"], method="ML")
    space = run("updates", result=result, df=df)
    m2, m_sens, m_final = space["m2"], space["m_sens"], space["m_final"]
    assert m2.formula == "y ~ x + frequency + (1 | student_id) + (1 | school_id)"
    assert (m2.method, m_sens.method, m_final.method) == ("ML", "ML", "REML")
    assert m_sens.formula == result.formula == "y ~ x + (1 | student_id) + (1 | school_id)"
    assert m_sens.nobs == (df["n_obs"] > 5).sum() < result.nobs == len(df)
    assert m_final.formula == m2.formula
    again = interlace.fit("y ~ x + frequency", data=df, groups=["student_id", "school_id"])
    assert m_final.llf == pytest.approx(again.llf, abs=1e-9)


# -- cross-validation ----------------------------------------------------------------------------------------------
def test_cross_validation_leaves_out_groups(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    df = df.assign(score=df["y"], hours_studied=df["x"], prior_gpa=df["frequency"])
    cv = run("cross-validation", df=df)["cv"]
    scores = []
    for school in sorted(df["school_id"].unique()):
        left_out = df[df["school_id"] == school]
        model = interlace.fit("score ~ hours_studied + prior_gpa", df[df["school_id"] != school], groups="school_id")
        scores.append(np.sqrt(np.mean((left_out["score"] - model.predict(left_out)) ** 2)))
    np.testing.assert_allclose(cv.scores, scores, rtol=1e-8)
    assert capsys.readouterr().out == f"LOGO RMSE: {np.mean(scores):.3f} ± {np.std(scores, ddof=1):.3f}\n"


# -- influence -----------------------------------------------------------------------------------------------------
def test_influence_in_parallel(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    result = interlace.fit("y ~ x", df, groups="firm")
    space = run("influence", result=result)
    infl, measures = space["infl"], space["measures"]
    out, err = capsys.readouterr()
    assert not out
    assert "240/240" in err
    np.testing.assert_array_equal(infl["cooksd"], measures["cooksd"])
    change = result.fe_params - interlace.fit("y ~ x", df.drop(index=7), groups="firm").fe_params
    expected = change @ np.linalg.solve(result.fe_cov, change) / 2
    assert infl.loc[7, "cooksd"] == pytest.approx(expected, rel=1e-5)


def test_influence_with_bobyqa(df: pd.DataFrame) -> None:
    pytest.importorskip("pybobyqa")
    space = run("influence with another optimizer", df=df.iloc[:60])
    assert space["model"].convergence.optimizer == "bobyqa"
    expected = interlace.influence.hlm_influence(interlace.fit("y ~ x", df.iloc[:60], groups="firm"))
    np.testing.assert_allclose(space["infl"]["cooksd"], expected["cooksd"], rtol=1e-3, atol=1e-6)


# -- boundary ------------------------------------------------------------------------------------------------------
@pytest.fixture
def level_schools(df: pd.DataFrame) -> pd.DataFrame:
    """All schools have the same mean of y, so that their variance is estimated as zero."""
    return df.assign(y=df["y"] - df.groupby("school_id")["y"].transform("mean"))


def test_singular_fit(level_schools: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(
        interlace.ConvergenceWarning, match=r"the variance of \(Intercept \| school_id\) is estimated as zero"
    ):
        result = interlace.fit("y ~ x", data=level_schools, groups=["student_id", "school_id"])
    assert result.is_singular
    assert result.boundary_flags == {"school_id": True, "student_id": False}
    run("singular fit", result=result)
    assert capsys.readouterr().out == f"{result.boundary_flags}\n"


def test_regular_fit_is_not_flagged(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    result = interlace.fit("y ~ x", data=df, groups=["student_id", "school_id"])
    run("singular fit", result=result)
    assert capsys.readouterr().out == ""
    assert not result.is_singular


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
@pytest.mark.parametrize("optimizer", ["auto", "bobyqa", "lbfgsb"])
def test_small_components_show_beside_the_scale(level_schools: pd.DataFrame, optimizer: Any) -> None:
    result = interlace.fit("y ~ x", data=level_schools, groups=["student_id", "school_id"], optimizer=optimizer)
    assert result.converged
    small = {group for group, variance in result.variance_components.items() if variance < 1e-4 * result.scale}
    assert small == {"school_id"}
    alone = interlace.fit("y ~ x", data=level_schools, groups="student_id")
    np.testing.assert_allclose(result.fe_bse, alone.fe_bse, rtol=1e-6)


# -- generalized models --------------------------------------------------------------------------------------------
def test_intervals(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    """A frame of the printed form; the estimates times the root of the scale are standard deviations."""
    result = interlace.fit("y ~ x", data=df, groups="school_id")
    ci = run("intervals", result=result)["ci"]
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split("  ")[-1].strip() == "97.5 %"
    assert [line.split()[0] for line in printed[1:]] == ["school_id", "residual"]
    assert ci.columns.tolist() == ["estimate", "2.5 %", "97.5 %"]
    assert ci.loc["residual"].tolist() == [1.0, 1.0, 1.0]
    low, estimate, high = ci.loc["school_id", ["2.5 %", "estimate", "97.5 %"]]
    assert 0.0 < low < estimate < high
    sd = np.sqrt(result.variance_components["school_id"])
    assert estimate * result.scale**0.5 == pytest.approx(sd)


@pytest.fixture
def herds() -> pd.DataFrame:
    """The herds of cbpp, with counts at 14 sites in 4 years beside them."""
    rng = np.random.default_rng(3)
    frame = interlace.datasets.load("cbpp")
    row = np.arange(len(frame))
    frame = frame.assign(site=row // 4, year=2001 + row % 4, x1=rng.normal(size=row.size), x2=rng.normal(size=row.size))
    random = rng.normal(0.0, 0.7, 14)[row // 4] + rng.normal(0.0, 0.5, 4)[row % 4]
    return frame.assign(count=rng.poisson(np.exp(1.0 + 0.5 * frame["x1"] - 0.3 * frame["x2"] + random)))


def test_binomial_proportions(herds: pd.DataFrame) -> None:
    """The numbers of lme4 on its own example."""
    result = steps("binomial and Poisson", df=herds)[1]["result"]
    assert result.converged
    assert -2.0 * result.llf == pytest.approx(184.0526, abs=5e-5)
    np.testing.assert_allclose(result.fe_params, [-1.3985, -0.9923, -1.1287, -1.5803], atol=5e-5)
    counted = interlace.glmer("cbind(incidence, size - incidence) ~ period + (1 | herd)", herds, "binomial")
    assert result.llf == pytest.approx(counted.llf, rel=1e-12)


def test_poisson_counts_with_two_crossed_factors(herds: pd.DataFrame) -> None:
    result = steps("binomial and Poisson", df=herds)[2]["result"]
    assert result.converged
    assert result.ngroups == {"site": 14, "year": 4}
    assert (abs(result.fe_params - [1.0, 0.5, -0.3]) < 3.0 * result.fe_bse).all()
    written_out = interlace.glmer("count ~ x1 + x2 + (1 | site) + (1 | year)", herds, "poisson")
    assert result.llf == pytest.approx(written_out.llf, rel=1e-12)
    assert result.convergence.details["nAGQ"] == 1  # the Laplace approximation


@pytest.fixture
def trial() -> pd.DataFrame:
    """A treatment that works, in 50 subjects seen 8 times."""
    rng = np.random.default_rng(3)
    n = 400
    frame = pd.DataFrame({"subject": np.arange(n) % 50, "treatment": rng.choice(["placebo", "drug"], n)})
    frame["age"] = rng.normal(45.0, 10.0, n)
    log_odds = -2.0 + 0.9 * (frame["treatment"] == "drug") + 0.04 * frame["age"]
    chance = special.expit(log_odds + rng.normal(0.0, 1.0, 50)[frame["subject"]])
    return frame.assign(outcome=(rng.uniform(size=n) < chance).astype(int))


def test_binary_response(trial: pd.DataFrame) -> None:
    result = run("binary response", df=trial)["result"]
    assert result.converged
    probabilities = result.predict(type="response")
    assert probabilities.between(0.0, 1.0, inclusive="neither").all()
    np.testing.assert_allclose(special.logit(probabilities), result.predict(type="link"), rtol=1e-9, atol=1e-12)
    alike = pd.DataFrame({"treatment": ["drug", "placebo"], "age": [45.0, 45.0], "subject": [0, 0]})
    drug, placebo = special.logit(result.predict(alike, type="response"))
    assert placebo - drug == pytest.approx(result.fe_params["treatment[T.placebo]"], rel=1e-9)


def test_fit_sends_responses_of_two_kinds_to_glmer(trial: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match=r'interlace.glmer\(..., family="binomial"\)'):
        interlace.fit("outcome ~ treatment + age", trial.assign(outcome=trial["outcome"] == 1), groups="subject")


# -- solver and design ---------------------------------------------------------------------------------------------
def test_cholmod_is_used_where_it_is_installed_and_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    firm = rng.integers(0, 5000, 20_000)
    city = (firm // 2 + rng.integers(0, 2, firm.size)) % 2500
    y = rng.normal(size=5000)[firm] + rng.normal(size=2500)[city] + rng.normal(size=firm.size)
    sparse_data = pd.DataFrame({"y": y, "x": rng.normal(size=firm.size), "firm": firm, "city": city})
    design = build_design("y ~ x", sparse_data, groups=["firm", "city"])
    assert prepare(design, reml=True).structure.storage.cholmod is cholmod.available()

    few = interlace.datasets.load("Penicillin")
    assert not prepare(
        build_design("diameter ~ 1", few, groups=["plate", "sample"]), reml=True
    ).structure.storage.cholmod
    if cholmod.available():
        model = interlace.fit("y ~ x", data=sparse_data, groups=["firm", "city"])
        assert model.converged
        assert all(0.8 < variance < 1.2 for variance in model.variance_components.values())
    monkeypatch.setattr(cholmod, "available", lambda: False)
    assert not prepare(design, reml=True).structure.storage.cholmod


def test_condition_number_and_warning(df: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    run("condition number", df=df)
    assert float(capsys.readouterr().out) < 1e6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        interlace.fit("y ~ x1 + x2", data=df, groups="firm")

    close = df.assign(x2=df["x1"] + 2e-7 * df["x2"])
    run("condition number", df=close)
    assert float(capsys.readouterr().out) > 1e6
    with pytest.warns(LinAlgWarning, match="ill-conditioned"):
        interlace.fit("y ~ x1 + x2", data=close, groups="firm")
