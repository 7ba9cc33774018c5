"""Means of nested factors against emmeans 1.8.4: populations of regions, Arabidopsis (bobyqa with rhoend 1e-10)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import interlace
from interlace.errors import RankDeficiencyWarning
from interlace.results.contrasts_of_means import contrast, pairs
from interlace.results.emmeans import emmeans
from interlace.results.lmm import LMMResult


@lru_cache
def fitted(terms: str) -> LMMResult:
    with pytest.warns(RankDeficiencyWarning):
        return interlace.fit(f"log1p(total.fruits) ~ {terms} + (1 | gen)", interlace.datasets.load("Arabidopsis"))


#: Populations occur in one region each, which only the data say.
BY_DATA = "reg + popu + amd"


@pytest.mark.parametrize(
    ("specs", "weights", "means"),
    [
        ("reg", "equal", [2.379244871, 3.012922490, 1.972310842]),
        ("reg", "proportional", [2.397511188, 3.004630140, 1.561482715]),
        ("amd", "equal", [2.290519533, 2.619132602]),
        ("amd", "proportional", [2.221586623, 2.550199692]),
        ("~ 1", "equal", [2.454826068]),
        ("~ 1", "proportional", [2.390888076]),
    ],
)
def test_means_over_nested_factors(specs: str, weights: str, means: list[float]) -> None:
    """emmeans(lmer(log1p(total.fruits) ~ reg + popu + amd + (1 | gen), Arabidopsis), specs, weights = weights)."""
    found = emmeans(fitted(BY_DATA), specs, weights=weights)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.to_frame()["emmean"], means, rtol=1e-8)
    assert "Nested: popu in reg" in repr(found)


def test_nested_levels_come_with_those_around_them() -> None:
    table = emmeans(fitted(BY_DATA), "popu").to_frame()
    assert table.columns[:2].tolist() == ["popu", "reg"]
    assert table["popu"].tolist() == ["3.NL", "5.NL", "1.SP", "5.SP", "6.SP", "8.SP", "1.SW", "2.SW", "7.SW"]
    assert table["reg"].tolist() == ["NL"] * 2 + ["SP"] * 4 + ["SW"] * 3
    expected = [2.026096081, 2.732393661, 3.016902370, 2.799889458, 3.098281331, 3.136616802, 2.387099116, 2.486986261]
    np.testing.assert_allclose(table["emmean"][:8], expected, rtol=1e-8)


def test_groups_of_different_sizes_are_families_of_their_own() -> None:
    table = pairs(emmeans(fitted(BY_DATA), "~ popu | reg")).to_frame()
    assert table["contrast"].tolist()[:3] == ["3.NL - 5.NL", "1.SP - 5.SP", "1.SP - 6.SP"]
    assert table["reg"].tolist() == ["NL"] + ["SP"] * 6 + ["SW"] * 3
    expected = [0.02589597901, 0.80946758942, 0.99006581452, 0.96434602648, 0.71642212365]
    np.testing.assert_allclose(table["p.value"][:5], expected, rtol=1e-6)
    np.testing.assert_allclose(table["p.value"][8:], [0.00038512106, 0.00019017622], rtol=1e-5)
    with pytest.raises(ValueError, match="must have 2 finite weights"):
        contrast(emmeans(fitted(BY_DATA), "~ popu | reg"), [1, -1, 0])


def test_groups_of_one_mean_have_no_pairs() -> None:
    means = emmeans(fitted(BY_DATA), "~ popu | reg", at={"popu": ["3.NL", "1.SP", "5.SP"]})
    assert len(means.factors) == 3
    assert pairs(means).to_frame()["contrast"].tolist() == ["1.SP - 5.SP"]


def test_effects_within_levels_are_nested_by_the_formula() -> None:
    """emmeans(lmer(log1p(total.fruits) ~ amd + amd:status + (1 | gen), Arabidopsis), ...): all cells are there."""
    data = interlace.datasets.load("Arabidopsis")
    result = interlace.fit("log1p(total.fruits) ~ amd + amd:status + (1 | gen)", data)
    table = emmeans(result, "status").to_frame()
    assert table["amd"].tolist() == ["clipped"] * 3 + ["unclipped"] * 3
    np.testing.assert_allclose(table["emmean"].round(2), [2.45, 2.12, 2.27, 2.82, 2.38, 2.54])
    proportional = emmeans(result, "amd", weights="proportional").to_frame()["emmean"]
    shares = data.groupby(["amd", "status"], observed=True).size().to_numpy().reshape(2, 3)
    expected = (shares * table["emmean"].to_numpy().reshape(2, 3)).sum(axis=1) / shares.sum(axis=1)
    np.testing.assert_allclose(proportional, expected, rtol=1e-10)
    np.testing.assert_allclose(proportional.round(2), [2.36, 2.68])
