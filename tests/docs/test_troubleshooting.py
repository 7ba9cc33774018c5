"""The messages that the troubleshooting page explains are messages of the package."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import interlace

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md").read_text("utf-8")
#: First cell of every table whose first heading is "message".
_TABLE = re.compile(r"^\| message \|.*\n\|[-| ]+\n(?P<rows>(?:\|.*\n)+)", re.MULTILINE)
_MESSAGES = [row.split("`")[1] for table in _TABLE.finditer(PAGE) for row in table["rows"].splitlines()]


@cache
def texts() -> list[str]:
    """Every text in the package, pieces that are filled in later left out."""
    found = []
    for path in Path(interlace.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "\0" for part in node.values))
    return found


def test_the_page_has_its_tables() -> None:
    assert len(_MESSAGES) > 40


@pytest.mark.parametrize("message", _MESSAGES)
def test_message_exists(message: str) -> None:
    pieces = [piece for piece in message.split("...") if piece.strip()]
    wanted = re.compile(".*".join(map(re.escape, pieces)), re.DOTALL)
    assert any(wanted.search(text) for text in texts())
