"""What the table of other libraries says of an answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import case_of
from benchmarks.contest import Outcome
from benchmarks.machine import describe
from benchmarks.peers_report import Row, page, picture, table

LIBRARIES = ["interlace", "lme4", "mixedlm"]


def row(key: str = "sleepstudy", **outcomes: Outcome) -> Row:
    return Row(case_of(key), outcomes)


def done(seconds: float, answer: float | None = 100.0) -> Outcome:
    return Outcome([seconds], answer, "1.0")


def test_a_fast_answer_that_is_not_the_optimum_is_marked_and_never_bold() -> None:
    one = row(interlace=done(2e-3), lme4=done(1.5), mixedlm=done(1e-3, 100.25))
    assert one.fastest() == "interlace"
    cells = table([one], LIBRARIES).splitlines()[2].split(" | ")
    assert cells[1:] == ["**2 ms**", "1.5 s", "1 ms ✗ +0.25", "≤ 1.5 ms |"]


def test_differences_below_the_limit_are_none() -> None:
    one = row(interlace=done(2.0, 100.0009), lme4=done(1.0, 100.0))
    assert one.flaw("interlace") == ""
    assert one.fastest() == "lme4"


def test_numbers_that_must_agree_are_compared_with_lme4() -> None:
    one = row("bootstrap", interlace=done(1.0, 1.55), lme4=done(9.0, 1.5), mixedlm=done(2.0, 0.66))
    assert one.flaw("interlace") == one.flaw("lme4") == ""
    assert one.flaw("mixedlm") == "-56%"
    without = row("bootstrap", interlace=done(1.0, 1.5), lme4=Outcome(word="not installed"), mixedlm=done(2.0, 0.75))
    assert without.flaw("mixedlm") == "-50%"


def test_what_has_no_answer_or_no_number() -> None:
    one = row(interlace=done(1.0), lme4=done(1.0, None), mixedlm=done(1.0, float("nan")))
    assert [one.flaw(name) for name in LIBRARIES] == ["", "", "no number"]


def test_words_stand_where_there_is_no_time() -> None:
    gone = Outcome([0.1], None, "", "> 60 s")  # some rounds were done
    one = row(interlace=gone, lme4=Outcome(word="fails"), mixedlm=done(1.0))
    assert table([one], LIBRARIES).splitlines()[2].split(" | ")[1:4] == ["> 60 s", "fails", "**1 s**"]
    assert row(interlace=gone).fastest() is None


def test_versions_are_those_of_any_case() -> None:
    rows = [row(interlace=Outcome(word="fails"), lme4=done(1.0)), row("refit", interlace=done(1.0), lme4=done(1.0))]
    assert table(rows, LIBRARIES[:2]).startswith("| work | interlace 1.0 | lme4 1.0 | target |")


def test_page_and_figure(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [
        row(interlace=done(1e-3), lme4=Outcome(word="> 60 s"), mixedlm=done(2e-3, 101.0)),
        row("first_fit", interlace=done(0.5, None), lme4=Outcome(word="-"), mixedlm=done(1.0, None)),
    ]
    about = describe() | {"rounds": "3", "budget": "5", "limit": "60"}
    text = page(rows, LIBRARIES, about, figure="peers.svg")
    assert table(rows, LIBRARIES) in text
    assert "](peers.svg)" in text
    for name in ("one", "two"):
        picture(rows, LIBRARIES, tmp_path / f"{name}.svg")
    drawn = (tmp_path / "one.svg").read_text("utf-8")
    assert drawn == (tmp_path / "two.svg").read_text("utf-8")
    assert all(one.case.title in drawn for one in rows)
    assert "<dc:date>" not in drawn
