"""Every page of the documentation: its examples run, its commands exist, and it holds no code that no test runs."""

from __future__ import annotations

import ast
import doctest
import json
import re
import subprocess
import tempfile
import warnings
from pathlib import Path

import pytest

import interlace

ROOT = Path(__file__).resolve().parents[2]
DOCS = [page for page in (ROOT / "docs").rglob("*.md") if "generated" not in page.parts]
PAGES = sorted([*DOCS, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]

_FENCE = re.compile(r"^```(?P<language>\S*)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE_CALL = re.compile(r"`(?:interlace\.)?fit\((?P<arguments>[^`]*)\)`")
#: What a fence may hold besides examples that run; the FAQ has tests of its own.
_OTHER = {"", "sh", "text", "toml", "bash", "r"}
_PACKAGE = re.compile(r"\b(?:library|require|requireNamespace)\((?P<loaded>\w+)|\b(?P<named>\w+)::")
#: Packages whose numbers others print.
_BEHIND = {"emmeans": {"lmerTest", "pbkrtest"}, "lmerTest": {"pbkrtest"}}
#: Before each block of R: nothing on standard output but what the block prints.
_MARK = "---- block "


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


def r_pages() -> list[str]:
    """Pages with examples in R."""
    return [name for name in NAMES if any(language == "r" for language, _, _ in fences(ROOT / name))]


def packages_of(blocks: list[str]) -> set[str]:
    """Packages of R that some blocks use, and those behind them."""
    used = {match["loaded"] or match["named"] for block in blocks for match in _PACKAGE.finditer(block)}
    return {"lme4"} | used | {name for package in used for name in _BEHIND.get(package, set())}


def versions_in_r(packages: set[str]) -> dict[str, str]:
    """Versions of R and of those packages that are installed; nothing without R."""
    if not interlace.rbridge.available():
        return {}
    names = ", ".join(f'"{name}"' for name in sorted(packages))
    script = (
        'cat("R", as.character(getRversion()), "\\n")\n'
        f"for (name in c({names})) if (nzchar(system.file(package = name)))\n"
        '  cat(name, as.character(packageVersion(name)), "\\n")'
    )
    done = subprocess.run(["Rscript", "--vanilla", "-e", script], capture_output=True, text=True, check=True)
    return dict(line.split() for line in done.stdout.splitlines())


def printed_by_r(blocks: list[str]) -> list[list[str]]:
    """Lines that each of some blocks prints, all in one session; warnings go elsewhere."""
    script = "".join(f'cat("{_MARK}{number}\\n")\n{block}' for number, block in enumerate(blocks))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "page.R")
        path.write_text(script, "utf-8")
        done = subprocess.run(["Rscript", "--vanilla", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [part.splitlines()[1:] for part in done.stdout.split(_MARK)[1:]]


@pytest.mark.parametrize("name", r_pages())
def test_r_prints_what_the_page_says(name: str) -> None:
    """Lines after ``#>`` are what R prints, where it and the packages of the page are of the recorded versions."""
    blocks = [(body, line) for language, body, line in fences(ROOT / name) if language == "r"]
    expected = [[row[2:].split() for row in body.splitlines() if row.startswith("#>")] for body, _ in blocks]
    assert any(expected), "R code that shows nothing proves nothing"
    recorded = json.loads((ROOT / "r_reference" / "manifest.json").read_text("utf-8"))["versions"]
    packages = packages_of([body for body, _ in blocks])
    assert packages <= recorded.keys(), "r_reference/manifest.json has no version of a package that this page loads"
    if versions_in_r(packages) == {name: recorded[name] for name in ("R", *packages)}:
        for (_, line), says, prints in zip(blocks, expected, printed_by_r([body for body, _ in blocks]), strict=True):
            assert [row.split() for row in prints] == says, f"line {line}"


def test_blocks_of_r_depend_on_the_versions_of_all_packages() -> None:
    blocks = ["suppressMessages({library(lme4); library(emmeans)})", "performance::icc(m)"]
    assert packages_of(blocks) == {"lme4", "emmeans", "lmerTest", "pbkrtest", "performance"}
    found = versions_in_r({"lme4", "no.such.package"})
    assert found.keys() == ({"R", "lme4"} if interlace.rbridge.available() else set())


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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    parity = set(re.findall(r'"(record|report|demo)"', (ROOT / "parity" / "__main__.py").read_text("utf-8")))
    for command in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE):
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
    results = (interlace.LMMResult, interlace.GLMMResult)
    assert [name for name in members if not any(hasattr(kind, name) for kind in results)] == []
    functions = set(re.findall(r"`interlace\.([A-Za-z]+)\(", text))
    assert [name for name in functions if not hasattr(interlace, name)] == []
    for match in _INLINE_CALL.finditer(text.replace("\\|", "|")):
        ast.parse(f"fit({match['arguments']})")
