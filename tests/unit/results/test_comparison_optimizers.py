"""All optimizers on one model, and principal components of random effects against lme4 1.1-31."""

from __future__ import annotations

import numpy as np
import pytest

import interlace
from interlace.errors import ModelError
from interlace.results.lmm import LMMResult
from interlace.results.optimizers import allFit, rePCA
from tests.glmm_fits import cbpp


def test_all_optimizers_agree(slopes: LMMResult) -> None:
    pytest.importorskip("pybobyqa")
    table = allFit(slopes)
    assert table.index.names == ["optimizer", "start"]
    assert list(table.index.unique("optimizer")) == ["auto", "lbfgsb", "bobyqa"]
    assert list(table.index.unique("start")) == ["default", "large", "small"]
    assert table["fit", "converged"].all()
    assert not table["fit", "singular"].any()
    assert table["fit", "difference"].min() == 0.0
    assert table["fit", "difference"].max() < 1e-6
    assert table["fit", "criterion"].min() == pytest.approx(slopes.reml_criterion, abs=1e-9)
    assert list(table["theta"].columns) == ["Subject.Intercept", "Subject.Days.Intercept", "Subject.Days"]
    np.testing.assert_allclose(table["theta"] - slopes.theta, 0.0, atol=2e-4)
    np.testing.assert_allclose(table["beta"] - slopes.fe_params, 0.0, atol=1e-4)


def test_generalized_models_have_all_optimizers() -> None:
    table = allFit(cbpp(), ["auto", "lbfgsb"])
    assert table.shape[0] == 6
    np.testing.assert_allclose(table["fit", "criterion"], -2 * cbpp().llf, atol=1e-6)
    np.testing.assert_allclose(table["theta", "herd"], cbpp().theta[0], atol=1e-4)


@pytest.mark.filterwarnings("ignore::interlace.ConvergenceWarning")
def test_singular_fits_are_marked(singular: LMMResult) -> None:
    assert allFit(singular, ["auto"])["fit", "singular"].all()


def test_an_optimizer_that_fails_has_a_row(slopes: LMMResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object, **options: object) -> None:
        raise ModelError("no modes")

    monkeypatch.setattr("interlace.results.optimizers.fit_problem", fails)
    table = allFit(slopes, ["auto"])
    assert (table["fit", "message"] == "no modes").all()
    assert table["beta"].isna().to_numpy().all()


def test_unknown_optimizers_are_refused(slopes: LMMResult) -> None:
    with pytest.raises(ValueError, match="optimizers must be one of auto, lbfgsb, bobyqa; not 'nlopt'"):
        allFit(slopes, ["nlopt"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="optimizers must be one of auto, lbfgsb, bobyqa; not 'nlopt'"):
        allFit(slopes, "nlopt")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="optimizers is empty"):
        allFit(slopes, [])


def test_one_optimizer_can_be_named_alone(slopes: LMMResult) -> None:
    assert set(allFit(slopes, "auto").index.get_level_values("optimizer")) == {"auto"}


def test_components_are_lme4s(slopes: LMMResult) -> None:
    """rePCA(m); the signs of R's components are arbitrary."""
    found = rePCA(slopes)["Subject"]
    np.testing.assert_allclose(found.importance.loc["sdev"], [0.966858991, 0.230879459], rtol=1e-5)
    np.testing.assert_allclose(found.rotation, [[0.9998615812, -0.0166378616], [0.0166378616, 0.9998615812]], atol=1e-6)
    assert list(found.rotation.index) == ["Intercept", "Days"]
    np.testing.assert_allclose(found.importance.loc["proportion"], [0.9460549, 0.0539451], atol=2e-5)
    assert found.importance.loc["cumulative", "PC2"] == pytest.approx(1.0)
    assert "Importance of components:\n" in str(found)


def test_components_of_several_factors(crossed: LMMResult) -> None:
    machines = interlace.fit("score ~ Machine + (Machine | Worker)", interlace.datasets.load("Machines"))
    found = rePCA(machines)["Worker"]
    np.testing.assert_allclose(found.importance.loc["sdev"], [6.63442511, 4.63242455, 2.14698338], rtol=1e-4)
    loadings = [
        [-0.405921438, 0.639661847, 0.652733106],
        [-0.904258690, -0.177599473, -0.388297114],
        [-0.132453794, -0.747857706, 0.650511217],
    ]
    np.testing.assert_allclose(np.abs(found.rotation), np.abs(loadings), atol=1e-4)
    ml = rePCA(crossed.update(method="ML"))
    assert list(ml) == ["plate", "sample"]
    assert ml["plate"].importance.loc["sdev", "PC1"] == pytest.approx(1.53759354, rel=1e-5)
    assert ml["sample"].importance.loc["sdev", "PC1"] == pytest.approx(3.21975412, rel=1e-5)
