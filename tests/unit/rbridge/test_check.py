"""Models whose two sides have to be put into words with care before they are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace import datasets, rbridge
from interlace.rbridge.ours import numbers_of


@pytest.fixture
def sleep() -> pd.DataFrame:
    df = datasets.load("sleepstudy")
    part = np.where(df["Days"] > 4, "hi", "lo")
    return df.assign(
        late=df["Days"] > 4,
        part=pd.Categorical(part, categories=["lo", "mid", "hi"]),
        third=df["Subject"].astype(float) / 3,
    )


def test_labels_of_combined_factors_are_written_as_r_writes_each_part(sleep: pd.DataFrame) -> None:
    terms = numbers_of(interlace.fit("Reaction ~ Days + (1 | third/late)", sleep)).terms
    assert terms["late:third"].levels[0] == "FALSE:102.666666666667"
    assert terms["third"].levels[0] == "102.666666666667"


@pytest.mark.parametrize(
    "formula",
    [
        "log(Reaction) ~ Days + (1 | Subject/late)",
        "Reaction ~ Days + (1 | third)",
        "Reaction ~ C(part, contr.sum) + (1 | Subject)",
        "Reaction ~ 0 + (1 | Subject)",
    ],
)
def test_agreement_where_r_is_there(sleep: pd.DataFrame, formula: str) -> None:
    result = interlace.fit(formula, sleep)
    if rbridge.available():
        table = rbridge.check(result)
        assert table.agrees, str(table)
    assert numbers_of(result).reml == (len(result.fe_params) > 0)


def test_what_is_no_result_is_refused() -> None:
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\) or glmer\(\), not int"):
        rbridge.check(3)
