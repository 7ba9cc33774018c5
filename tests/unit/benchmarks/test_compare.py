"""What counts as slower, and what a comparison reads, writes and returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare as module
from benchmarks.compare import Timing, compare, faster_of, read, reduced, report, save


def timing(median: float = 1.0, iqr: float = 0.01, calibration: float = 0.01) -> Timing:
    return Timing(median, iqr, 5, calibration)


def verdict(before: Timing | None, now: Timing | None, **options: float) -> str:
    sides = [{} if one is None else {"a": one} for one in (before, now)]
    [found] = compare(*sides, **options)
    return found.verdict


@pytest.mark.parametrize(
    ("now", "expected"), [(1.0, "same"), (1.29, "same"), (1.31, "slower"), (0.78, "same"), (0.76, "faster")]
)
def test_the_tolerance_decides_where_rounds_agree(now: float, expected: str) -> None:
    assert verdict(timing(), timing(now)) == expected


def test_another_tolerance() -> None:
    assert verdict(timing(), timing(1.15), tolerance=0.1) == "slower"
    assert verdict(timing(), timing(1.45), tolerance=0.5) == "same"


def test_noise_of_either_run_excuses_but_not_everything() -> None:
    assert verdict(timing(), timing(1.5)) == "slower"
    assert verdict(timing(), timing(1.5, iqr=0.45)) == "same"
    assert verdict(timing(iqr=0.3), timing(1.5)) == "same"
    assert verdict(timing(iqr=5.0), timing(2.1)) == "slower"


def test_a_tolerance_above_two_is_meant() -> None:
    assert verdict(timing(iqr=5.0), timing(2.4), tolerance=1.5) == "same"


def test_a_slower_machine_is_not_a_regression() -> None:
    assert verdict(timing(1.0, calibration=0.01), timing(3.0, calibration=0.03)) == "same"
    assert verdict(timing(1.0, calibration=0.01), timing(1.0, calibration=0.005)) == "slower"


def test_benchmarks_of_one_run_only_are_listed_last_and_no_regression() -> None:
    found = compare({"gone": timing(), "both": timing()}, {"new": timing(), "both": timing(5.0)})
    assert [(one.name, one.verdict) for one in found] == [("both", "slower"), ("gone", "gone"), ("new", "new")]


def test_the_worst_in_relation_to_its_limit_comes_first() -> None:
    before = {name: timing() for name in "abc"}
    found = compare(before, {"a": timing(1.1), "b": timing(1.6, iqr=1.0), "c": timing(1.4)})
    assert [one.name for one in found] == ["c", "a", "b"]


def test_a_second_run_replaces_a_slower_first_one() -> None:
    first = {"a": timing(2.0), "b": timing(1.0), "c": timing(1.0)}
    second = {"a": timing(1.0), "b": timing(1.5), "d": timing(7.0)}
    found = faster_of(first, second)
    assert {name: one.median for name, one in found.items()} == {"a": 1.0, "b": 1.0, "c": 1.0, "d": 7.0}
    slower_machine = timing(1.5, calibration=0.1)
    assert faster_of({"a": timing(1.0)}, {"a": slower_machine})["a"] is slower_machine


def test_table_escapes_formulas() -> None:
    name = "benchmarks/test_x.py::test_y[y ~ (1 | g)]"
    lines = report(compare({name: timing()}, {name: timing(4.0)})).splitlines()
    assert lines[2] == r"| test_x.py::test_y[y ~ (1 \| g)] | 1 s | 4 s | 4.00 | 1.30 | **slower** |"
    assert {line.replace(r"\|", "").count("|") for line in lines} == {7}


def raw(**extra: Any) -> dict[str, Any]:
    """What pytest-benchmark writes, as far as it is read."""
    stats = {"median": 0.5, "iqr": 0.1, "rounds": 3, "min": 0.4, "data": [0.4, 0.5, 0.6]}
    return {"machine_info": {"node": "secret"}, "benchmarks": [{"fullname": "f", "stats": stats, "extra_info": extra}]}


def test_reduced_keeps_what_a_comparison_needs() -> None:
    assert reduced(raw(calibration=0.02)) == {"f": Timing(0.5, 0.1, 3, 0.02)}


def test_a_run_without_calibration_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^f has no calibration"):
        reduced(raw())


def test_a_baseline_comes_back_and_names_no_machine(tmp_path: Path) -> None:
    path = tmp_path / "baseline.json"
    save(path, reduced(raw(calibration=0.02)), {"processor": "p"})
    assert read(path) == (reduced(raw(calibration=0.02)), {"processor": "p"})
    assert "secret" not in path.read_text("utf-8")


def test_without_a_baseline_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="make bench-save"):
        read(tmp_path / "none.json")


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: float, *arguments: str) -> int:
    """Compare a run in a file with a baseline of half a second, by the command line."""
    baseline, run = tmp_path / "baseline.json", tmp_path / "run.json"
    save(baseline, reduced(raw(calibration=0.02)), module.describe())
    found = raw(calibration=0.02)
    found["benchmarks"][0]["stats"] |= {"median": now}
    run.write_text(json.dumps(found), "utf-8")
    files = ["--baseline", str(baseline), "--run", str(run)]
    monkeypatch.setattr("sys.argv", ["compare", "check", *files, *arguments])
    return module.main()


def test_the_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(monkeypatch, tmp_path, 0.5) == 0
    assert "none of 1 slower" in capsys.readouterr().out
    assert command(monkeypatch, tmp_path, 1.5) == 1
    assert "1 of 1 slower" in capsys.readouterr().out
    assert command(monkeypatch, tmp_path, 1.5, "--tolerance", "3") == 0


def test_what_seems_slower_gets_a_second_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def second(arguments: list[str], tests: list[str]) -> dict[str, Timing]:
        asked.append((arguments, tests))
        return {"a": timing(1.0)}

    monkeypatch.setattr(module, "run", second)
    before = {"a": timing(), "b": timing()}
    assert module.check(before, {"a": timing(3.0), "b": timing()}, 0.3, ["-x"]) == 0
    assert asked == [(["-x"], ["a"])]
    assert module.check(before, {"a": timing(3.0), "b": timing(3.0)}, 0.3, []) == 1
    assert "1 of 2 slower" in capsys.readouterr().out
