"""Tables by maketables, with what the plug-in format of that package lets us say."""

from __future__ import annotations

import maketables
import pytest

import interlace
from interlace.interop.maketables import as_maketables

pytestmark = pytest.mark.filterwarnings("ignore")  # maketables' own


@pytest.fixture(scope="module")
def models() -> list[interlace.LMMResult]:
    slopes = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    return [slopes.update("Reaction ~ Days + (1 | Subject)"), slopes]


def lines(tex: str, start: str) -> str:
    (found,) = [line for line in tex.splitlines() if line.startswith(start)]
    return found


def test_coefficients_and_statistics(models: list[interlace.LMMResult]) -> None:
    keys = ["N", "Levels of Subject", "aic", "SD Residual", "SD Days | Subject", "r2"]
    tex = maketables.ETable([as_maketables(model) for model in models], model_stats=keys).make(type="tex")
    for model in models:
        assert f"{model.fe_params['Days']:.3f}" in lines(tex, "Days &")
        assert f"({model.fe_bse['Days']:.3f})" in lines(tex, "Days &")
        assert f"{model.sigma:.3f}" in lines(tex, "SD Residual &")
        assert f"{model.aic:,.2f}" in lines(tex, "AIC &")
    assert "& 18 & 18 " in lines(tex, "Levels of Subject &")
    assert "& - & 5.922 " in lines(tex, "SD Days | Subject &")
    assert r"\multicolumn{2}{c}{Reaction}" in tex


def test_statistics_by_default_name_the_random_effects() -> None:
    data = interlace.datasets.load("cbpp")
    result = interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")
    tex = maketables.ETable([as_maketables(result)]).make(type="tex")
    assert "& 0.642 " in lines(tex, "SD Intercept | herd &")
    assert "SD Residual" not in tex
    assert "& -92.026 " in lines(tex, "Log-likelihood &")


def test_results_as_they_are(models: list[interlace.LMMResult]) -> None:
    tex = maketables.ETable(models).make(type="tex")
    assert "10.467" in lines(tex, "Days &")
    assert "& 180 & 180 " in lines(tex, "Observations &")


def test_what_is_no_result() -> None:
    with pytest.raises(TypeError, match="result"):
        as_maketables(3)  # type: ignore[arg-type]
