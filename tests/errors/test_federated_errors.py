"""What several sites can do wrong, and what they are told."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace import federated
from interlace.errors import DataError, FormulaError, ModelError


def rows(n: int = 120, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    d = pd.DataFrame({"g": rng.integers(0, 6, n), "t": rng.choice(["a", "b"], n), "x": rng.normal(size=n)})
    d["y"], d["w"], d["flag"] = d["x"] + rng.normal(size=n), rng.uniform(1.0, 2.0, n), rng.random(n) < 0.5
    return d


@pytest.mark.parametrize(
    ("formula", "arguments", "error", "message"),
    [
        ("y ~ center(x) + (1 | g)", {}, FormulaError, r"center\(x\) depends on the rows that a site has"),
        ("y ~ poly(x, 2) + (1 | g)", {}, FormulaError, "I\\(\\(x - 40\\) / 10\\)"),
        ("scale(y) ~ x + (1 | g)", {}, FormulaError, r"scale\(y\)"),
        ("y ~ I(x > 0) + (1 | g)", {}, FormulaError, "makes true/false values"),
        ("y ~ C(x > 0) + (1 | g)", {}, FormulaError, "depends on the rows"),
        ("y ~ C(t) + (1 | g)", {}, FormulaError, "give the levels that it has at any site"),
        ("y ~ . + (1 | g)", {}, FormulaError, "does not have: name the columns"),
        ("cbind(y, x) ~ 1 + (1 | g)", {}, FormulaError, "binomial"),
        ("y ~ x", {}, ValueError, "random"),
        ("y ~ x + (1 | g)", {"levels": {"t": ["a", "b"]}}, DataError, "'t', which is not a predictor"),
        ("y ~ t + (1 | g)", {"levels": {"t": ["a"]}}, DataError, "needs two"),
        ("y ~ t + (1 | g)", {"levels": {"t": ["a", "a"]}}, DataError, "different labels"),
        ("y ~ t + (1 | g)", {"levels": {"t": ["a", 1]}}, DataError, "one type"),
        ("y ~ t + (1 | g)", {"levels": {"t": "ab"}}, TypeError, "list of labels"),
        ("y ~ t + (1 | g)", {"levels": {"t": [None, "a"]}}, DataError, "NoneType"),
        ("y ~ t + (1 | g)", {"levels": ["t"]}, TypeError, "dict"),
        ("y ~ log(t) + (1 | g)", {"levels": {"t": [1, 2]}}, FormulaError, "calculates with 't'"),
        ("y ~ x + (1 | g)", {"local": "h"}, DataError, "'h'.*is not a grouping column"),
        ("y ~ x + g + (1 | g)", {"local": "g"}, DataError, "predictor too"),
        ("y ~ x + (1 | g)", {"weights": np.ones(3)}, TypeError, "weights must be the name of a column"),
        ("y ~ x + (1 | g)", {"contrasts": {"x": "sum"}}, FormulaError, "'x', which has no levels="),
        ("y ~ x + (1 | g)", {"covariance": {"h": "diagonal"}}, FormulaError, "'h', which is not a grouping factor"),
    ],
)
def test_models_that_sites_cannot_share(formula, arguments, error, message):
    with pytest.raises(error, match=message):
        federated.plan(formula, **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop(columns="x"), "site 'A': .*unknown variables"),
        (lambda d: d.drop(columns="g"), "site 'A': groups column 'g' not found"),
        (lambda d: d.drop(columns="w"), "site 'A': weights column 'w' not found"),
        (
            lambda d: d.assign(t=np.where(d.index < 30, "z", d["t"])),
            "has the level 'z', which the plan does not",
        ),
        (
            lambda d: d.assign(x=d["x"].astype(str)),
            "column 'x' holds text or categories .*, and the plan takes it",
        ),
        (lambda d: d.assign(x=d["flag"]), "holds true/false values"),
        (lambda d: d.assign(x=np.inf), "site 'A': .*infinite"),
        (lambda d: d.assign(x=np.nan), "site 'A': no row is left"),
        (lambda d: d.assign(w=-1.0), "site 'A': .*negative"),
        (lambda d: d.assign(x=d["x"] * 1e200), "site 'A': the values of 'x' are of the order of"),
        (lambda d: d.assign(y=d["y"] * 1e-200), "site 'A': the values of 'y' are of the order of"),
        (lambda d: d.assign(g=pd.Timestamp("2020-01-01") + pd.to_timedelta(d["g"], "D")), "make labels text"),
        (lambda d: d.head(0), "site 'A': data has no rows"),
        (lambda d: d.assign(g=[object() for _ in d.index]), "site 'A'|labels text or whole numbers"),
    ],
)
def test_rows_that_do_not_go_with_the_plan(change, message):
    plan = federated.plan("y ~ x + t + (1 | g)", levels={"t": ["a", "b"]}, weights="w")
    with pytest.raises((DataError, FormulaError, ModelError), match=message):
        federated.summarize(plan, change(rows()), "A")


PLAN = "y ~ x + (1 | g)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"site": "A/B"}, TypeError, "site must be a name"),
        ({"site": 3}, TypeError, "site must be a name"),
        ({"min_cell": 0}, ValueError, "min_cell must be a whole number"),
        ({"min_cell": 2.5}, ValueError, "min_cell"),
        ({"min_cell": True}, ValueError, "min_cell"),
        ({"secret": "short"}, ValueError, "at least 16 characters"),
        ({"data": 3}, TypeError, "data must be"),
        ({"plan": "y ~ x + (1 | g)"}, TypeError, "plan must be an interlace.federated.Plan"),
    ],
)
def test_arguments_of_summarize(arguments, error, message):
    given = {"plan": federated.plan(PLAN), "data": rows(), "site": "A"} | arguments
    with pytest.raises(error, match=message):
        federated.summarize(**given)


def test_a_secret_cannot_hide_what_the_plan_shows():
    plan = federated.plan("y ~ x + g + (1 | g)")
    with pytest.raises(DataError, match="'g' is a predictor too"):
        federated.summarize(plan, rows(), "A", secret="sixteen characters at least")


def test_parts_that_do_not_go_together():
    plan = federated.plan(PLAN)
    a, b = (federated.summarize(plan, rows(seed=s), name) for s, name in ((1, "A"), (2, "B")))
    other = federated.summarize(federated.plan("y ~ x + t + (1 | g)", levels={"t": ["a", "b"]}), rows(), "C")
    for use in (lambda: a + other, lambda: federated.fit(plan, [a, other])):
        with pytest.raises(DataError, match=r"formula: 'y ~ x .*levels: \{\}"):
            use()
    with pytest.raises(DataError, match="site 'A' is in both parts"):
        federated.fit(plan, [a, b, a])
    with pytest.raises(DataError, match="site 'B' is not in this part"):
        a - b
    with pytest.raises(DataError, match="nothing would be left"):
        a - a
    text = federated.summarize(plan, rows().assign(g=lambda d: d["g"].astype(str)), "T")
    with pytest.raises(DataError, match="'g' holds text at one site"):
        a + text
    fake = federated.summarize(plan, rows(n=400, seed=9), "B")
    with pytest.raises(DataError, match="was not made from the sums of 'B'"):
        a + b - fake
    with pytest.raises(TypeError):
        a + 1


def test_what_can_be_fitted():
    plan = federated.plan(PLAN)
    with pytest.raises(DataError, match="parts is empty"):
        federated.fit(plan, [])
    with pytest.raises(TypeError, match="parts must be parts or paths"):
        federated.fit(plan, [3])
    with pytest.raises(TypeError, match="plan must be"):
        federated.fit(PLAN, [])
    with pytest.raises(FileNotFoundError):
        federated.fit(plan, "nowhere.npz")
    part = federated.summarize(plan, rows(), "A")
    with pytest.raises(TypeError, match="fit\\(\\) has no argument 'REML'"):
        federated.fit(plan, part, REML=False)
    with pytest.raises(ValueError, match="method must be one of"):
        federated.fit(plan, part, method="reml")
    with pytest.raises(ValueError, match="theta0 must hold 1 values"):
        federated.fit(plan, part, theta0=[1.0, 2.0])
    one = federated.summarize(plan, rows().assign(g="only"), "A")
    with pytest.raises(ModelError, match="only one level"):
        federated.fit(plan, one)
    flat = federated.summarize(plan, rows().assign(y=7.0), "A")
    with pytest.raises(ModelError, match="reproduce the response 'y' exactly"):
        federated.fit(plan, flat)
    dependent = federated.summarize(plan, rows().assign(y=lambda d: 2.0 * d["x"] + 1.0), "A")
    with pytest.raises(ModelError, match="reproduce the response 'y' exactly"):
        federated.fit(plan, dependent)


def test_levels_of_other_sites_are_not_known_to_a_result():
    plan = federated.plan(PLAN)
    result = federated.fit(plan, federated.summarize(plan, rows(), "A", secret="sixteen characters at least"))
    with pytest.raises(DataError, match="does not know 6 of 6 levels of 'g'"):
        federated.at_site(result, plan, rows(), "A")
    with pytest.raises(TypeError, match="result must come from"):
        federated.at_site(interlace.fit(PLAN, rows()), plan, rows(), "A")


@pytest.mark.parametrize("wrong", [rows(), {"A": "a.npz"}, [rows()], 3])
def test_what_is_not_a_part(wrong):
    with pytest.raises(
        TypeError, match="parts must be parts or paths of their files, or a list of them, not (DataFrame|dict|int)"
    ):
        federated.fit(federated.plan("y ~ x + (1 | g)"), wrong)
