"""The modules of ``interlace.frames`` form no import circle, and hide none inside functions."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import interlace.frames

MODULES = sorted(Path(next(iter(interlace.frames.__path__))).glob("[a-z]*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Names of the modules of frames that a tree imports anywhere."""
    froms = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {name.removeprefix("interlace.frames.") for name in froms if name.startswith("interlace.frames.")}


def test_no_circle() -> None:
    graph = {path.stem: imported(ast.parse(path.read_text("utf-8"))) for path in MODULES}
    assert set(TopologicalSorter(graph).static_order()) == set(graph)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_only_other_packages_are_imported_inside_functions(path: Path) -> None:
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)]
    assert not any(imported(function) for function in functions)
