"""Reports that several tests read."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import interlace

#: Everything that HTML, Markdown, LaTeX or BibTeX could trip over.
AWKWARD = "<b>&_%#$|\\`*~^{}\"'"


@pytest.fixture(scope="session")
def sleepstudy() -> interlace.LMMResult:
    return interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))


@pytest.fixture(scope="session")
def cbpp() -> interlace.GLMMResult:
    data = interlace.datasets.load("cbpp")
    return interlace.glmer("incidence / size ~ period + (1 | herd)", data, "binomial", weights="size")


@pytest.fixture(scope="session")
def awkward() -> interlace.LMMResult:
    rng = np.random.default_rng(1)
    group = np.repeat([f"{AWKWARD}{i}" for i in range(12)], 10)
    data = pd.DataFrame(
        {
            "y": rng.normal(size=120) + np.repeat(rng.normal(size=12), 10),
            "a<b&_%#$|c": rng.normal(size=120),
            "g <script>|_%&": group,
            "f": pd.Categorical(rng.choice(["<i>", "x & y_1%", "$z#"], 120)),
        }
    )
    return interlace.fit("y ~ `a<b&_%#$|c` + f", data, groups="g <script>|_%&")


@pytest.fixture(scope="session")
def written(sleepstudy: interlace.LMMResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "sleepstudy"
    return interlace.report(sleepstudy, folder, check_r=False, bootstrap=50).folder


@pytest.fixture(scope="session")
def several(sleepstudy: interlace.LMMResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {"slopes": sleepstudy, "inter_cepts": sleepstudy.update("Reaction ~ Days + (1 | Subject)")}
    folder = tmp_path_factory.mktemp("reports") / "several"
    return interlace.report(models, folder, check_r=False, title="Two models").folder


@pytest.fixture(scope="session")
def awkward_report(awkward: interlace.LMMResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports") / "awkward"
    return interlace.report(awkward, folder, check_r=False, title=f"Title {AWKWARD}").folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A report to tamper with."""
    return lambda folder: Path(shutil.copytree(folder, tmp_path / "copy"))
