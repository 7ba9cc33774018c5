"""What users of lme4, nlme and statsmodels write is answered with what to write here."""

from __future__ import annotations

import inspect
from typing import Any

import pandas as pd
import pytest

import interlace
from interlace.errors import DataError, FormulaError

FORMULA = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleepstudy() -> pd.DataFrame:
    return interlace.datasets.load("sleepstudy").assign(grp=lambda df: df.Days % 2)


@pytest.fixture(scope="module")
def result(sleepstudy: pd.DataFrame) -> interlace.LMMResult:
    return interlace.fit(FORMULA, sleepstudy)


@pytest.mark.parametrize(
    ("argument", "hint"),
    [
        ("REML", 'method="ML"'),
        ("family", "use interlace.glmer"),
        ("nAGQ", "use interlace.glmer"),
        ("subset", "choose the rows first"),
        ("start", "theta0="),
        ("re_formula", "random="),
    ],
)
def test_arguments_of_other_libraries(
    sleepstudy: pd.DataFrame, result: interlace.LMMResult, argument: str, hint: str
) -> None:
    given: dict[str, Any] = {argument: False}
    with pytest.raises(TypeError, match=f"fit.. has no argument '{argument}': .*{hint}"):
        interlace.fit(FORMULA, sleepstudy, **given)
    with pytest.raises(TypeError, match=f"update.. has no argument '{argument}': .*{hint}"):
        result.update(**given)


@pytest.mark.parametrize(
    ("argument", "hint"), [("re_form", "re_formula="), ("se_fit", "se=True"), ("exog", "newdata=")]
)
def test_arguments_of_other_predict_functions(result: interlace.LMMResult, argument: str, hint: str) -> None:
    given: dict[str, Any] = {argument: None}
    with pytest.raises(TypeError, match=f"predict.. has no argument '{argument}': .*{hint}"):
        result.predict(**given)


def test_signatures_stay_readable(result: interlace.LMMResult) -> None:
    assert list(inspect.signature(interlace.fit).parameters)[:4] == ["formula", "data", "groups", "random"]
    assert "re_formula" in inspect.signature(result.predict).parameters
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        interlace.fit(FORMULA, None, nonsense=1)


@pytest.mark.parametrize(
    ("groups", "hint"),
    [
        ("Subject/grp", r'random=\["\(1 \| Subject/grp\)"\]'),
        (["Subject:grp"], r'random=\["\(1 \| Subject:grp\)"\]'),
        ("Days | Subject", r'random=\["\(Days \| Subject\)"\]'),
        ("Subjec", "did you mean 'Subject'"),
    ],
)
def test_groups_that_are_no_columns(sleepstudy: pd.DataFrame, groups: Any, hint: str) -> None:
    with pytest.raises(DataError, match=f"groups column '.*' not found in data.*{hint}"):
        interlace.fit("Reaction ~ Days", sleepstudy, groups=groups)


@pytest.mark.parametrize("random", ["~Days|Subject", "~ (Days|Subject)"])
def test_random_as_in_nlme(sleepstudy: pd.DataFrame, random: str) -> None:
    with pytest.raises(FormulaError, match=r"one-sided formula.*random=\['\(Days\|Subject\)'\]"):
        interlace.fit("Reaction ~ Days", sleepstudy, random=random)


@pytest.mark.parametrize(
    ("term", "hint"), [("ns(Days, 3)", r"cr\(x, df=4, constraints='center'\).*bs\(x, df=4\)"), ("s(Days)", "cr|bs")]
)
def test_functions_of_r_with_another_name(sleepstudy: pd.DataFrame, term: str, hint: str) -> None:
    with pytest.raises(FormulaError, match=hint):
        interlace.fit(f"Reaction ~ {term} + (1 | Subject)", sleepstudy)
