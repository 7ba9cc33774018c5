"""Budgets that keep every part readable: lines of modules, classes and functions (without their docstrings)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import interlace

ROOT = Path(interlace.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
MODULE, CLASS, FUNCTION = 400, 250, 60

Function = ast.FunctionDef | ast.AsyncFunctionDef


def lines_of(node: Function | ast.ClassDef) -> int:
    """Lines of a definition; for a function without its docstring."""
    total = (node.end_lineno or node.lineno) - node.lineno + 1
    if isinstance(node, Function) and ast.get_docstring(node) is not None:
        text = node.body[0]
        total -= (text.end_lineno or text.lineno) - text.lineno + 1
    return total


def too_long(path: Path) -> list[str]:
    """Definitions of a module that exceed their budget."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, Function | ast.ClassDef):
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if lines_of(node) > limit:
                found.append(f"{node.name}: {lines_of(node)} lines, limit {limit}")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes_stay_within_budget(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= MODULE
    assert not too_long(path)
