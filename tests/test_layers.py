"""What importing the package loads, checked in fresh processes (import-linter checks what the sources say)."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys

import pytest

import interlace.core

OPTIONAL = {
    "sksparse",
    "pybobyqa",
    "rpy2",
    "matplotlib",
    "jinja2",
    "duckdb",
    "pyarrow",
    "dask",
    "polars",
    "statsmodels",
    "typer",
    "rich",
}
FRAMES = {"pandas", "polars", "pyarrow", "narwhals", "formulaic", "matplotlib", "rpy2"}
CORE = sorted(module.name for module in pkgutil.walk_packages(interlace.core.__path__, "interlace.core."))


def loaded_by(*modules: str) -> set[str]:
    """Top-level packages in a fresh process that imports the modules in turn."""
    lines = ["import importlib, json, sys", *(f"importlib.import_module({name!r})" for name in modules)]
    lines.append("print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))")
    run = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout))


def test_the_core_loads_no_frames() -> None:
    assert CORE
    assert not loaded_by(*CORE) & FRAMES


@pytest.mark.parametrize("module", CORE)
def test_each_part_of_the_core_can_be_imported_first(module: str) -> None:
    assert module.split(".", maxsplit=1)[0] in loaded_by(module)


def test_import_interlace_loads_no_optional_package_and_no_formulaic() -> None:
    assert not loaded_by("interlace") & (OPTIONAL | {"formulaic"})
