"""Generalized models put into R's words, and those that have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

import interlace
from interlace import Control, datasets, families, rbridge
from interlace.core.links import Logit
from interlace.errors import ModelError
from interlace.rbridge.check import _generalized, _weights
from interlace.rbridge.ours import numbers_of

CBIND = "cbind(incidence, size - incidence) ~ period + (1 | herd)"


@pytest.fixture(scope="module")
def cbpp() -> pd.DataFrame:
    frame = datasets.load("cbpp")
    some = np.where(frame["incidence"] > 0, "some", "none")
    return frame.assign(twice=2.0, some=some, amount=frame["size"] / 7)


def fit(frame: pd.DataFrame, formula: str = CBIND, family: Any = "binomial", **arguments: Any) -> Any:
    return interlace.glmer(formula, frame, family, **arguments)


@pytest.mark.filterwarnings("ignore:singular fit")
@pytest.mark.parametrize(
    ("formula", "family", "arguments"),
    [
        (CBIND, "binomial", {}),
        (CBIND, "binomial", {"weights": "twice", "link": "probit"}),
        ("incidence / size ~ period + (1 | herd)", "binomial", {"weights": "size", "nAGQ": 5}),
        ("some ~ period + (1 | herd)", "binomial", {"nAGQ": 0}),
        ("incidence ~ period + offset(log(size)) + (1 | herd)", "poisson", {}),
        ("incidence ~ period + (1 | herd)", families.NegativeBinomial(3.0), {"offset": "amount"}),
        ("amount ~ period + (1 | herd)", "Gamma", {"link": "log", "control": Control(dispersion="lme4")}),
    ],
)
def test_agreement_where_r_is_there(cbpp: pd.DataFrame, formula: str, family: Any, arguments: dict[str, Any]) -> None:
    result = fit(cbpp, formula, family, **arguments)
    assert numbers_of(result).generalized is not None
    if rbridge.available():
        table = rbridge.check(result)
        assert table.agrees, str(table)


def test_what_r_is_asked_for(cbpp: pd.DataFrame) -> None:
    result = fit(cbpp, "incidence ~ period + (1 | herd)", families.NegativeBinomial(3.0), link="sqrt")
    assert _generalized(result) == {"family": "negative.binomial", "link": "sqrt", "nAGQ": 1, "nb_theta": 3.0}
    estimated = interlace.glmer_nb("TICKS ~ YEAR + (1 | LOCATION)", datasets.load("grouseticks"))
    assert _generalized(estimated)["nb_theta"] is None
    assert numbers_of(estimated).generalized.nb_theta == estimated.family.theta  # type: ignore[union-attr]


def test_trials_are_not_passed_twice(cbpp: pd.DataFrame) -> None:
    def passed(result: Any) -> Any:
        return _weights(result.state.problem.design)

    assert passed(fit(cbpp)) is None
    np.testing.assert_array_equal(passed(fit(cbpp, weights="twice")), 2.0)
    proportions = fit(cbpp, "incidence / size ~ period + (1 | herd)", weights="size")
    np.testing.assert_array_equal(passed(proportions), cbpp["size"])


class _Own(families.Poisson):
    name = "own"


class _OwnLink(Logit):
    name = "own"


@pytest.mark.parametrize(
    ("formula", "family", "arguments", "message"),
    [
        ("incidence ~ period + (1 | herd)", _Own(), {}, "family 'own' is your own"),
        (CBIND, "binomial", {"link": _OwnLink()}, "link 'own' is your own"),
        ("amount ~ period + (1 | herd)", "Gamma", {"link": "log"}, r'Control\(dispersion="lme4"\)'),
        (
            CBIND, "binomial", {"link": "probit", "control": Control(information="observed")},
            r'Control\(information="expected"\)',
        ),
        (f"{CBIND.replace('(1', '(size')}", "binomial", {"nAGQ": 2}, "fit with nAGQ=1"),
    ],
)  # fmt: skip
def test_what_lme4_does_not_have_is_refused(
    cbpp: pd.DataFrame, formula: str, family: Any, arguments: dict[str, Any], message: str
) -> None:
    result = fit(cbpp, formula, family, **arguments)
    with pytest.raises(ModelError, match=message):
        _generalized(result)


def test_a_likelihood_that_is_wrong_in_lme4_is_no_reference(cbpp: pd.DataFrame) -> None:
    result = fit(cbpp, "incidence ~ period + (1 | herd)", families.NegativeBinomial(3.0), weights="twice")
    if rbridge.available():
        with pytest.raises(rbridge.RError, match="likelihood is wrong with prior weights"):
            rbridge.check(result)
    # Two equal rows stand for a row of weight two, which is what the weights mean here.
    repeated = cbpp.loc[np.repeat(cbpp.index, 2)].reset_index(drop=True)
    other = fit(repeated, "incidence ~ period + (1 | herd)", families.NegativeBinomial(3.0))
    assert result.llf == pytest.approx(other.llf, rel=1e-9)
