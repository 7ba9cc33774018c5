"""Explained variance and intraclass correlations against performance 0.10.2."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import interlace
from interlace.errors import ConvergenceWarning
from interlace.results.effect_sizes import icc, r2_nakagawa
from tests.glmm_fits import cbpp, ticks, verbal

TWO = "TICKS ~ YEAR + (1 | BROOD) + (1 | LOCATION)"


def fit(name: str, formula: str, **options: Any) -> Callable[[], Any]:
    return lambda: interlace.fit(formula, interlace.datasets.load(name), **options)


def glmer(formula: str, family: str, **options: Any) -> Callable[[], Any]:
    return lambda: interlace.glmer(formula, interlace.datasets.load("grouseticks"), family, **options)


def slopes() -> Any:
    frame = interlace.datasets.load("grouseticks").assign(height=lambda d: d["cHEIGHT"] / 30)
    return interlace.glmer("TICKS ~ YEAR + height + (height | LOCATION)", frame, "poisson")


# Conditional and marginal R2, adjusted and unadjusted ICC.
TOTALS: dict[str, tuple[Callable[[], Any], tuple[float, float, float, float]]] = {
    "sleepstudy slopes": (
        fit("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
        (0.799218897, 0.278652043, 0.721658458, 0.520566854),
    ),
    "sleepstudy intercepts": (
        fit("sleepstudy", "Reaction ~ Days + (1 | Subject)"),
        (0.704255455, 0.279885635, 0.589308922, 0.424369820),
    ),
    "sleepstudy weights": (
        fit("sleepstudy", "Reaction ~ Days + (1 | Subject)", weights=np.tile([0.5, 1.0, 2.0], 60)),
        (0.640835534, 0.244780304, 0.524423863, 0.396055231),
    ),
    "sleepstudy ML": (
        fit("sleepstudy", "Reaction ~ Days + (1 | Subject)", method="ML"),
        (0.697967802, 0.287611500, 0.576028813, 0.410356302),
    ),
    "Penicillin": (
        fit("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
        (0.936336845, 0.0, 0.936336845, 0.936336845),
    ),
    "cake": (
        fit("cake", "angle ~ recipe * temperature + (1 | recipe:replicate)"),
        (0.713227049, 0.127139936, 0.671455983, 0.586087112),
    ),
    "Machines": (
        fit("Machines", "score ~ Machine + (Machine | Worker)"),
        (0.986942228, 0.467700266, 0.975469136, 0.519241962),
    ),
    "binomial logit": (cbpp, (0.1873145358, 0.0854160612, 0.111415115, 0.101898475)),
    "binomial probit": (
        lambda: cbpp().update(link="probit"),
        (0.1711573520, 0.0764716626, 0.1025260250, 0.0946856894),
    ),
    "binomial cloglog": (
        lambda: cbpp().update(link="cloglog"),
        (0.281878364, 0.131611606, 0.173040956, 0.150266758),
    ),
    "binary": (verbal, (0.489277832, 0.172563574, 0.382765670, 0.316714258)),
    "poisson": (lambda: ticks(TWO), (0.844759904, 0.300157073, 0.778178660, 0.544602831)),
    "poisson overdispersed": (
        glmer(TWO + " + (1 | INDEX)", "poisson"),
        (0.758614376, 0.282680950, 0.663489177, 0.475933426),
    ),
    "poisson slopes": (slopes, (0.905866485, 0.610848008, 0.758106042, 0.295018476)),
    "poisson root": (
        glmer("TICKS ~ YEAR + (1 | BROOD)", "poisson", link="sqrt"),
        (0.906144192, 0.250101011, 0.874842067, 0.656043181),
    ),
    "Gamma": (lambda: reaction(dispersion="lme4"), (0.5785756640, 0.3596733929, 0.3418603392, 0.2189022711)),
    "negative binomial": (
        lambda: interlace.glmer_nb(TWO, interlace.datasets.load("grouseticks")),
        (0.793987948, 0.293113188, 0.708564302, 0.500874760),
    ),
}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_performances(name: str) -> None:
    make, expected = TOTALS[name]
    result = make()
    r2, correlation = r2_nakagawa(result), icc(result)
    assert list(r2.index) == ["conditional", "marginal"]
    assert list(correlation.index) == ["adjusted", "unadjusted"]
    # glmer.nb alternates between theta and the rest, and stops early.
    np.testing.assert_allclose([*r2, *correlation], expected, rtol=2e-5 if name == "negative binomial" else 1e-5)


def reaction(**options: Any) -> Any:
    control = interlace.Control(**options)
    frame = interlace.datasets.load("sleepstudy")
    return interlace.glmer("Reaction ~ Days + (1 | Subject)", frame, "Gamma", link="log", control=control)


# Shares of the grouping factors in icc, falls of the variances from the null model in r2.
GROUPS: dict[str, tuple[Callable[[], Any], dict[str, float], dict[str, float]]] = {
    "sleepstudy": (
        TOTALS["sleepstudy intercepts"][0],
        {"Subject": 0.589308922},
        {"Level 1": 0.5096872495, "Subject": -0.0781020876},
    ),
    "sleepstudy ML": (
        TOTALS["sleepstudy ML"][0],
        {"Subject": 0.576028813},
        {"Level 1": 0.5127138710, "Subject": -0.0839440461},
    ),
    "Penicillin": (
        TOTALS["Penicillin"][0],
        {"plate": 0.150920357, "sample": 0.785416488},
        {"Level 1": 0.0, "plate": 0.0, "sample": 0.0},
    ),
    "cbpp": (cbpp, {"herd": 0.111415115}, {"Level 1": 0.0, "herd": 0.374377597}),
    "VerbAgg": (
        verbal,
        {"id": 0.3367383421, "item": 0.0460273284},
        {"Level 1": 0.0, "id": 0.0483787197, "item": 0.8077003543},
    ),
    "poisson": (
        lambda: ticks(TWO),
        {"BROOD": 0.251755532, "LOCATION": 0.526423127},
        {"Level 1": 0.0, "BROOD": 0.656635419, "LOCATION": -0.103462132},
    ),
    "Gamma": (
        TOTALS["Gamma"][0],
        {"Subject": 0.3418603392},
        {"Level 1": 0.5023237875, "Subject": 0.2323535108},
    ),
    "poisson overdispersed": (
        TOTALS["poisson overdispersed"][0],
        {"INDEX": 0.124208769, "BROOD": 0.203673145, "LOCATION": 0.459816032},
        {"Level 1": 0.0054988399, "INDEX": 0.0147589366, "BROOD": 0.6765509179, "LOCATION": -0.1259459492},
    ),
}


@pytest.mark.parametrize("name", GROUPS)
def test_levels_are_performances(name: str) -> None:
    make, shares, falls = GROUPS[name]
    result = make()
    assert icc(result, by_group=True).to_dict() == pytest.approx(shares, rel=5e-6)
    assert r2_nakagawa(result, by_group=True).to_dict() == pytest.approx(falls, rel=1e-4, abs=1e-6)


def test_shares_of_slopes_add_up_to_the_whole() -> None:
    """performance counts the intercept alone here, with a warning: 0.260."""
    result = TOTALS["sleepstudy slopes"][0]()
    assert icc(result, by_group=True)["Subject"] == pytest.approx(icc(result)["adjusted"])


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_a_singular_fit_has_numbers_where_performance_has_none() -> None:
    result = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff2"))
    assert r2_nakagawa(result).tolist() == [0.0, 0.0]
    assert icc(result).tolist() == [0.0, 0.0]
    levels = r2_nakagawa(result, by_group=True)
    assert levels["Level 1"] == 0.0
    assert np.isnan(levels["Batch"])


def test_options_reach_the_decomposition() -> None:
    result = ticks(TWO)
    assert icc(result, approximation="delta")["adjusted"] < icc(result)["adjusted"]
    assert r2_nakagawa(result, mean="average")["conditional"] > r2_nakagawa(result)["conditional"]
    with pytest.raises(TypeError, match=r"expected a result of interlace.fit\(\)"):
        icc("y ~ x")  # type: ignore[arg-type]


def test_a_null_model_that_did_not_converge_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    null = cbpp().update("incidence / size ~ 1 + (1 | herd)").state
    stopped = replace(null, opt=replace(null.opt, converged=False, message="limit"))
    monkeypatch.setattr("interlace.inference.r2.null_state", lambda state: stopped)
    monkeypatch.setattr("interlace.results.effect_sizes.null_state", lambda state: stopped)
    words = "the model without fixed effects did not converge: limit"
    with pytest.warns(ConvergenceWarning, match=words):
        icc(cbpp(), approximation="delta")
    with pytest.warns(ConvergenceWarning, match=words):
        r2_nakagawa(cbpp(), by_group=True)


def test_no_warning_for_a_good_fit() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        r2_nakagawa(cbpp(), by_group=True)
