"""What is said when R is not there."""

from __future__ import annotations

import importlib
import subprocess
import sys
from typing import Any

import pytest

import interlace
from interlace import datasets, rbridge
from interlace.rbridge import session


@pytest.fixture
def without_rpy2(monkeypatch: pytest.MonkeyPatch) -> Any:
    real = importlib.import_module

    def absent(name: str, package: str | None = None) -> Any:
        if name.startswith("rpy2"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    session.missing.cache_clear()
    yield
    session.missing.cache_clear()


@pytest.mark.usefixtures("without_rpy2")
def test_missing_rpy2_says_what_to_install() -> None:
    assert not rbridge.available()
    frame = datasets.load("sleepstudy")
    with pytest.raises(ImportError, match=r'rpy2 is not installed; pip install "interlace-lme\[r\]"'):
        rbridge.lmer("Reaction ~ Days + (1 | Subject)", frame)
    with pytest.raises(ImportError, match="rpy2 is not installed"):
        rbridge.glmer("incidence / size ~ 1 + (1 | herd)", datasets.load("cbpp"), "binomial", weights="size")
    with pytest.raises(ImportError, match="rpy2 is not installed"):
        rbridge.check(interlace.fit("Reaction ~ Days + (1 | Subject)", frame))


def test_importing_the_bridge_does_not_start_r() -> None:
    code = "import sys, interlace.rbridge; sys.exit(any(name.startswith('rpy2') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_contrasts_unknown_to_r() -> None:
    with pytest.raises(interlace.FormulaError, match="no counterpart in R"):
        rbridge.lmer("y ~ f + (1 | g)", datasets.load("sleepstudy"), contrasts={"f": "banana"})
