"""What the project says of itself in several places must agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import interlace

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_one_version() -> None:
    cited = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), re.MULTILINE)
    newest = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert cited is not None
    assert newest is not None
    assert interlace.__version__ == cited[1] == newest[1]


def test_one_license() -> None:
    assert PROJECT["license"] == "BSD-3-Clause"
    assert "license: BSD-3-Clause" in (ROOT / "CITATION.cff").read_text("utf-8")
    assert (ROOT / "LICENSE").read_text("utf-8").startswith("BSD 3-Clause License")


def test_the_extra_all_holds_the_others() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(re.findall(r"\w+", extras["all"][0].partition("[")[2])) == set(extras) - {"all"}


def test_every_public_name_is_in_the_reference() -> None:
    words = set((ROOT / "docs" / "reference.rst").read_text("utf-8").split())
    modules = {"datasets", "families", "rbridge", "__version__"}
    assert set(interlace.__all__) - modules <= words


def test_every_public_name_can_be_loaded() -> None:
    assert all(getattr(interlace, name) is not None for name in interlace.__all__)
