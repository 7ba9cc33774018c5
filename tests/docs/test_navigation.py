"""A reader finds what there is: pages are in the contents, topics of the FAQ one click from the first page."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
INDEX = (DOCS / "index.md").read_text("utf-8")
_CONTENTS = re.compile(r"^```\{toctree\}\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def contents() -> list[str]:
    """Pages of every table of contents."""
    lines = "\n".join(match["body"] for match in _CONTENTS.finditer(INDEX)).splitlines()
    return [line for line in lines if line and not line.startswith(":")]


def anchor(heading: str) -> str:
    """Target of a heading, as MyST makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_in_the_contents() -> None:
    files = [path.relative_to(DOCS) for suffix in ("md", "rst") for path in DOCS.rglob(f"*.{suffix}")]
    pages = [path.with_suffix("").as_posix() for path in files if path.parts[0] not in ("generated", "_templates")]
    assert sorted([*contents(), "index"]) == sorted(pages)


def test_every_table_of_contents_has_a_caption() -> None:
    bodies = [match["body"] for match in _CONTENTS.finditer(INDEX)]
    assert bodies
    assert all(":caption: " in body for body in bodies)


def test_every_topic_of_the_faq_is_one_click_away() -> None:
    topics = re.findall(r"^## (.+)$", (DOCS / "faq.md").read_text("utf-8"), re.MULTILINE)
    assert len(topics) > 10
    assert [topic for topic in topics if f"(faq.md#{anchor(topic)})" not in INDEX] == []
