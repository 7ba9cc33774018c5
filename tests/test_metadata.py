"""What the project says of itself in several places must agree."""

from __future__ import annotations

import pkgutil
import re
import tomllib
from pathlib import Path

import yaml

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


def test_the_citation_file_has_the_fields_of_its_format() -> None:
    """What Citation File Format 1.2.0 requires, and nothing that it does not know."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    required = {"cff-version", "message", "title", "authors"}
    known = {"type", "version", "license", "keywords", "abstract", "date-released", "doi", "url", "repository-code"}
    assert required <= set(cited) <= required | known
    assert cited["cff-version"] == "1.2.0"
    assert cited["type"] == "software"
    assert cited["authors"]
    assert all("name" in author or {"family-names", "given-names"} <= set(author) for author in cited["authors"])


def test_every_supported_python_is_named() -> None:
    oldest = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])
    named = [int(minor) for minor in re.findall(r"Python :: 3\.(\d+)", "\n".join(PROJECT["classifiers"]))]
    assert oldest is not None
    assert named == list(range(int(oldest[1]), int(oldest[1]) + len(named)))
    assert len(named) >= 3


def test_the_changelog_names_what_exists() -> None:
    """Every name after ``interlace.``, and every public function."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for dotted in re.findall(r"`interlace\.([a-z_.]+)`", text):
        assert pkgutil.resolve_name(f"interlace.{dotted}") is not None
    functions = {name for name in interlace.__all__ if name[0].islower() and callable(getattr(interlace, name))}
    assert [name for name in sorted(functions) if not re.search(rf"`(?:interlace\.)?{name}`", text)] == []


def test_the_extra_all_holds_the_others() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(re.findall(r"\w+", extras["all"][0].partition("[")[2])) == set(extras) - {"all"}


def test_every_public_name_is_in_the_reference() -> None:
    words = set((ROOT / "docs" / "reference.rst").read_text("utf-8").split())
    modules = {"datasets", "diagnostics", "families", "federated", "influence", "plotting", "rbridge", "reporting"}
    assert set(interlace.__all__) - modules - {"__version__"} <= words


def test_every_public_name_can_be_loaded() -> None:
    assert all(getattr(interlace, name) is not None for name in interlace.__all__)
