"""Every page of the documentation: its examples run, its commands exist, and it holds no code that no test runs."""

from __future__ import annotations

import ast
import doctest
import re
import warnings
from pathlib import Path

import pytest

import interlace

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_CALL = re.compile(r"`(?:interlace\.)?fit\((?P<arguments>[^`]*)\)`")
#: What a fence may hold besides examples that run; the FAQ has tests of its own.
_OTHER = {"", "sh", "text", "toml", "bash"}


def fences(page: Path) -> list[tuple[str, str, int]]:
    """Language, content and line of every fenced block."""
    text = page.read_text("utf-8")
    return [(m["language"], m["body"], text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


@pytest.mark.parametrize("name", NAMES)
def test_examples_run(name: str) -> None:
    """All examples of a page are one session, from top to bottom."""
    parser = doctest.DocTestParser()
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    names, output = {"__name__": "__main__"}, []
    for language, body, line in fences(ROOT / name):
        if language == "pycon":
            test = parser.get_doctest(body, names, f"{name}:{line}", name, line)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                runner.run(test, out=output.append, clear_globs=False)
            names = test.globs
    assert not runner.failures, "".join(output)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_left_untested(name: str) -> None:
    assert not re.search(r"^[ \t]+```", (ROOT / name).read_text("utf-8"), re.MULTILINE), "indented fences are not run"
    for language, body, line in fences(ROOT / name):
        if language == "python":
            assert name == "docs/faq.md", f"line {line}: write examples as a session (pycon), so that they are run"
            continue
        assert language == "pycon" or language in _OTHER or language.startswith("{"), f"line {line}: {language!r}"
        assert ">>>" not in body or language == "pycon", f"line {line}: an example that is not run"


@pytest.mark.parametrize("name", NAMES)
def test_commands_exist(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    parity = set(re.findall(r'"(record|report|demo)"', (ROOT / "parity" / "__main__.py").read_text("utf-8")))
    for command in re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE):
        assert command in targets, f"make {command}"
    for command in re.findall(r"python -m parity ([a-z]+)", text):
        assert command in parity, f"python -m parity {command}"
    for path in re.findall(r"`((?:interlace|parity|tests|r_reference|tools|benchmarks)/[\w./]*)`", text):
        assert (ROOT / path).exists() or path.startswith("parity/out"), path


@pytest.mark.parametrize("name", NAMES)
def test_counts_of_data_sets(name: str) -> None:
    for count in re.findall(r"(\d+) data sets", (ROOT / name).read_text("utf-8")):
        assert int(count) == len(interlace.datasets.names())


def test_links_between_files_of_the_repository() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / name).read_text("utf-8")):
            assert target.startswith("http") or (ROOT / target).exists(), f"{name}: {target}"


def test_table_for_r_users_names_real_members() -> None:
    """Every call in the tables is Python, and every member of a result in them exists."""
    text = (ROOT / "docs" / "for-r-users.md").read_text("utf-8")
    members = set(re.findall(r"`(?:r|result)\.([A-Za-z_]+)", text))
    assert len(members) > 20
    assert [name for name in members if not hasattr(interlace.LMMResult, name)] == []
    functions = set(re.findall(r"`interlace\.([A-Za-z]+)\(", text))
    assert [name for name in functions if not hasattr(interlace, name)] == []
    for match in _INLINE_CALL.finditer(text.replace("\\|", "|")):
        ast.parse(f"fit({match['arguments']})")
