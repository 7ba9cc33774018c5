"""Responses that do not suit the family: every message names the response and says what to do."""

import numpy as np
import pandas as pd
import pytest

from interlace.errors import DataError, FormulaError
from interlace.frames.build import build_design


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return pd.DataFrame(
        {
            "f": list("abcb") * 5,
            "one": "only",
            "b": [True, False] * 10,
            "s": np.arange(20.0),
            "n": 10.0,
            "x": rng.normal(size=20),
            "k": np.arange(20) % 3,
            "g": np.repeat(list("pqrs"), 5),
        }
    )


def refused(message, response, frame, family="binomial", error=DataError, **kwargs):
    with pytest.raises(error, match=message):
        build_design(f"{response} ~ x + (1 | g)", frame, family=family, **kwargs)


def test_too_many_levels(data):
    refused(
        r"response 'f' has 3 levels \('a', 'b', 'c'\).*needs two.*use data\['f'\] != 'a' as the response", "f", data
    )
    refused(r"use data\['f'\] != 1 as", "f", data.assign(f=pd.Categorical(data.k + 1)))
    refused(r"'C\(k % 3\)' has 3 levels.*use k % 3 != 0 as the response", "C(k % 3)", data)
    refused(r"20 levels \('0', '1', '2', '3', '4', \.\.\.\)", "C(s)", data)
    # What the messages propose works.
    for response, frame in (("f != 'a'", data), ("k % 3 != 0", data), ("r", data.assign(r=data["f"] != "a"))):
        assert build_design(f"{response} ~ x + (1 | g)", frame, family="binomial").y.sum() > 0


def test_one_level(data):
    refused("response 'one' has only the level 'only' in the rows used.*needs two", "one", data)
    refused("'one' has only the level 'only'", "one", data.assign(one=pd.Categorical(data.one, ["never", "only"])))
    refused("has only the level 'b' in the rows used", "f", data.assign(f=data.f.where(data.f == "b", None)))
    weights = np.where(data.f == "c", 1.0, 0.0)
    refused("has only the level 'c' in the rows used", "f", data, weights=weights)


def test_impossible_counts(data):
    refused(r"'n - s' in cbind\(s, n - s\) is negative in 9 rows.*failures \(not of trials\)", "cbind(s, n - s)", data)
    data.loc[3, "s"] = -1
    refused(r"'s' in cbind\(s, n\) is negative in 1 row:", "cbind(s, n)", data)
    refused(r"'s / 0' in cbind\(n, s / 0\) has infinite values", "cbind(n, s / 0)", data)
    data.loc[3, "s"] = np.inf
    refused(r"cbind\(s, n\): column 's' has 1 infinite value", "cbind(s, n)", data)
    refused(r"cbind\(f, n\): column 'f' must be numeric.*text", "cbind(f, n)", data)
    refused(r"cbind\(I\(f\), n\): column 'f' must be numeric", "cbind(I(f), n)", data)
    refused("has 0 trials in every row, so no row is left", "cbind(0 * n, 0 * n)", data)


def test_counts_that_are_not_arithmetic(data):
    for part in ("C(k)", "scale(n)", "poly(n, 2)"):
        refused("is not row-by-row arithmetic; compute it", f"cbind({part}, n)", data, error=FormulaError)


def test_counts_with_missing_values(data):
    refused(r"no row is left.*s \(20\)", "cbind(s, n)", data.assign(s=np.nan))
    refused(r"missing in: s \(1\)", "cbind(s, n)", data.assign(s=data.s.where(data.s > 0)), na_action="raise")
    refused("no row is left: an expression", "cbind(log(-n), n)", data)
    refused("unknown variables: 'm'", "cbind(s, m)", data, error=FormulaError)
    refused("unknown variables: 'm'", "m / n", data, error=FormulaError)


def test_responses_of_a_linear_model_point_to_glmer(data):
    glmer = r'interlace\.glmer\(\.\.\., family="binomial"\)'
    refused(f"'b' must be numeric.*true/false.*{glmer}", "b", data, None)
    refused(f"'f' must be numeric.*text.*{glmer}", "f", data, None)
    refused(f"'x > 0' must be numeric.*true/false.*{glmer}", "x > 0", data, None)
    refused(rf"'C\(k\)' must be numeric.*levels of a factor.*{glmer}", "C(k)", data, None)
    refused(f"cbind.*is a binomial response, which.*{glmer}", "cbind(s, n)", data, None, FormulaError)


def test_other_families_point_to_the_binomial(data):
    for response in ("b", "f", "x > 0", "C(k)"):
        with pytest.raises(DataError, match='must be numeric.*response of family="binomial"') as caught:
            build_design(f"{response} ~ x + (1 | g)", data, family="poisson")
        assert "glmer" not in str(caught.value)
    refused("'binomial'|\"binomial\", not of 'poisson': choose", "cbind(s, n)", data, "poisson", FormulaError)


def test_not_one_number_a_row(data):
    for family in ("binomial", "poisson", None):
        refused(r"'poly\(s, 2\)' is not one number a row; compute", "poly(s, 2)", data, family)
    refused("is not one number a row", "C(f, contr.sum)", data)


def test_dates_are_no_response(data):
    refused("response 'd' must be numeric.*dates", "d", data.assign(d=pd.Timestamp("2020-01-01")))
