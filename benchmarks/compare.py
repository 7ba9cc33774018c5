"""Save the timings of the benchmarks, and find out later what has become slower.

    python -m benchmarks.compare save                  run them, write benchmarks/baseline.json (`make bench-save`)
    python -m benchmarks.compare check                 run them, compare with it (`make bench-compare`)
    python -m benchmarks.compare check --run FILE      compare a run of pytest-benchmark (--benchmark-json) instead
    python -m benchmarks.compare check --tolerance 0.5 --pytest "-k lmm"      another limit; some benchmarks only

Times are in units of a fixed piece of work that is timed right before and after each benchmark
(`benchmarks.machine.calibrate`), so that the baseline of another machine, or of a slower hour, can be compared with.
A benchmark is slower if its ratio to the baseline exceeds 1 by the tolerance, or by twice the spread of the rounds
(interquartile range over median, of both runs together) where that is more, and always if it takes more than twice as
long. Those that seem slower run once more, and the faster run counts. The exit code is 1 if any is slower still.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.machine import THREADS, describe, sentence, versions
from benchmarks.peers_report import human

__all__ = ["BASELINE", "TOLERANCE", "Comparison", "Timing", "compare", "faster_of", "read", "reduced", "report"]

ROOT = Path(__file__).resolve().parents[1]
BASELINE, OUT = ROOT / "benchmarks" / "baseline.json", ROOT / "benchmarks" / "out"
#: How much slower a benchmark may become unnoticed, as a part of its time.
TOLERANCE = 0.3
#: Ratio that no noise excuses.
_MOST = 2.0


@dataclass(frozen=True)
class Timing:
    """What is kept of a benchmark: seconds of a call, their interquartile range, rounds, seconds of the fixed work."""

    median: float
    iqr: float
    rounds: int
    calibration: float

    @property
    def units(self) -> float:
        """Median in units of the fixed work."""
        return self.median / self.calibration

    @property
    def spread(self) -> float:
        """Interquartile range relative to the median."""
        return self.iqr / self.median


@dataclass(frozen=True)
class Comparison:
    """A benchmark in both runs.

    Attributes
    ----------
    name : str
    before, now : Timing or None
        None where a run does not have it.
    limit : float
        Ratio that may not be exceeded.
    """

    name: str
    before: Timing | None
    now: Timing | None
    limit: float

    @property
    def ratio(self) -> float:
        """Time now over time before, in units of the fixed work; NaN if one is missing."""
        return self.now.units / self.before.units if self.now and self.before else math.nan

    @property
    def verdict(self) -> Literal["slower", "faster", "same", "new", "gone"]:
        """In a word."""
        if self.before is None:
            return "new"
        if self.now is None:
            return "gone"
        return "slower" if self.ratio > self.limit else "faster" if self.ratio < 1.0 / self.limit else "same"


def reduced(run: Mapping[str, Any]) -> dict[str, Timing]:
    """Timings in what pytest-benchmark writes, by the full names of the tests.

    Raises
    ------
    ValueError
        If a benchmark has no time of the fixed work: it did not run with ``benchmarks/conftest.py``.
    """
    found = {}
    for one in run["benchmarks"]:
        if "calibration" not in one["extra_info"]:
            raise ValueError(f"{one['fullname']} has no calibration: run it from benchmarks/")
        stats = one["stats"]
        found[one["fullname"]] = Timing(
            float(stats["median"]), float(stats["iqr"]), int(stats["rounds"]), float(one["extra_info"]["calibration"])
        )
    return found


def compare(before: Mapping[str, Timing], now: Mapping[str, Timing], tolerance: float = TOLERANCE) -> list[Comparison]:
    """Compare benchmarks by name, the slowest in relation to its limit first, missing ones last."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        noise = math.hypot(old.spread, new.spread) if old and new else 0.0
        limit = max(1.0 + tolerance, min(_MOST, 1.0 + 2.0 * noise))
        found.append(Comparison(name, old, new, limit))
    return sorted(found, key=lambda one: (math.isnan(one.ratio), -one.ratio / one.limit))


def faster_of(first: Mapping[str, Timing], second: Mapping[str, Timing]) -> dict[str, Timing]:
    """Of each benchmark the faster run, in units of the fixed work."""
    both = {name: min(first[name], second[name], key=lambda one: one.units) for name in first if name in second}
    return {**second, **first, **both}


def report(comparisons: Sequence[Comparison]) -> str:
    """Table of the comparison, in Markdown."""
    lines = ["| benchmark | baseline | now | ratio | limit | verdict |", "|---|---:|---:|---:|---:|---|"]
    for one in comparisons:
        before, now = (human(timing.median) if timing else "" for timing in (one.before, one.now))
        numbers = "| " if math.isnan(one.ratio) else f"{one.ratio:.2f} | {one.limit:.2f}"
        word = f"**{one.verdict}**" if one.verdict == "slower" else one.verdict
        name = one.name.removeprefix("benchmarks/").replace("|", r"\|")
        lines.append(f"| {name} | {before} | {now} | {numbers} | {word} |")
    return "\n".join(lines)


def run(arguments: Sequence[str], tests: Sequence[str] = ("benchmarks",)) -> dict[str, Timing]:
    """Run benchmarks in a process of their own; ends this one if any of them fails."""
    OUT.mkdir(exist_ok=True)
    path = OUT / "run.json"
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-columns=median,iqr,rounds", *arguments, *tests]
    command.append(f"--benchmark-json={path}")
    if subprocess.run(command, cwd=ROOT, env={**os.environ, **THREADS}, check=False).returncode:
        sys.exit("a benchmark failed: nothing is saved or compared")
    return reduced(json.loads(path.read_text("utf-8")))


def read(path: Path) -> tuple[dict[str, Timing], dict[str, str]]:
    """Timings and machine of a baseline; ends this process with a remedy if there is none."""
    if not path.exists():
        sys.exit(f"{path} does not exist: `make bench-save` writes it")
    kept = json.loads(path.read_text("utf-8"))
    return {name: Timing(**values) for name, values in kept["benchmarks"].items()}, kept["machine"]


def save(path: Path, timings: Mapping[str, Timing], machine: Mapping[str, str]) -> None:
    """Write a baseline: what a comparison needs, four digits, nothing that names the machine."""
    rounded = {
        name: {key: value if key == "rounds" else float(f"{value:.4g}") for key, value in vars(one).items()}
        for name, one in timings.items()
    }
    kept = {"machine": dict(machine), "versions": versions(), "benchmarks": dict(sorted(rounded.items()))}
    lines = json.dumps(kept, indent=1)
    path.write_text(lines + "\n", "utf-8")


def check(before: Mapping[str, Timing], now: dict[str, Timing], tolerance: float, again: Sequence[str] | None) -> int:
    """Compare, repeat what seems slower (with these arguments for pytest), print; the exit code."""
    slower = [one.name for one in compare(before, now, tolerance) if one.verdict == "slower"]
    if slower and again is not None:
        print(f"once more: {len(slower)} that seem slower", flush=True)
        now = faster_of(now, run(again, slower))
    comparisons = compare(before, now, tolerance)
    print(report(comparisons))
    count = sum(one.verdict == "slower" for one in comparisons)
    print(f"\n{count} of {len(comparisons)} slower" if count else f"\nnone of {len(comparisons)} slower")
    return int(count > 0)


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["save", "check"])
    parser.add_argument("--run", type=Path, help="a file of pytest-benchmark, instead of a run")
    parser.add_argument("--baseline", type=Path, default=BASELINE)
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help=f"part of a time ({TOLERANCE})")
    parser.add_argument("--pytest", type=shlex.split, default=[], metavar="ARGUMENTS", help="for pytest")
    options = parser.parse_args()
    before, machine = ({}, {}) if options.what == "save" else read(options.baseline)
    about = describe()
    now = reduced(json.loads(options.run.read_text("utf-8"))) if options.run else run(options.pytest)
    if options.what == "save":
        save(options.baseline, now, about)
        print(f"{len(now)} benchmarks written to {options.baseline}")
        return 0
    if options.pytest:  # what was not asked for is not missing
        before = {name: timing for name, timing in before.items() if name in now}
    print(f"baseline: {sentence(machine)}\nnow: {sentence(about)}\n")
    return check(before, now, options.tolerance, None if options.run else options.pytest)


if __name__ == "__main__":
    sys.exit(main())
