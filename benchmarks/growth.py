"""How time and memory grow with rows, groups, crossed levels, slopes and fixed columns.

    python -m benchmarks.growth                      up to a million rows
    python -m benchmarks.growth --quick              up to a hundred thousand
    python -m benchmarks.growth --large              up to ten million rows and a million groups
    python -m benchmarks.growth --axes crossed

Prints Markdown tables and the measured exponents, and writes them with a figure to benchmarks/out. Each fit has a fresh
process with one BLAS thread. "data" is the peak memory of that process before the fit, with the libraries and the data
loaded; "peak" is the one after the first fit. The time is the median of whole calls, from the pandas frame to the
result, after a small fit that loads code. An exponent is the slope of log time on log size, over all sizes and between
the last two: 1 means twice the time for twice the size.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.cases import covariate, generated
from benchmarks.machine import THREADS, describe, sentence

__all__ = ["AXES", "POINTS", "Axis", "Point", "exponents", "fit", "made", "points"]

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "out"


@dataclass(frozen=True)
class Point:
    """A model on generated data (`benchmarks.cases.generated`).

    Attributes
    ----------
    rows, groups, items, slopes, columns : int
        Of the data; ``items`` are the levels of a factor that crosses the groups, 0 for none. Slopes are correlated.
    binary : bool
        The binary response, by `glmer`.
    """

    rows: int
    groups: int
    items: int = 0
    slopes: int = 0
    columns: int = 1
    binary: bool = False

    @property
    def formula(self) -> str:
        """Model that the data were made from."""
        names = [covariate(j) for j in range(self.columns)]
        random = ["(" + " + ".join(["1", *names[: self.slopes]]) + " | g)"] + ["(1 | h)"] * bool(self.items)
        return f"{'s' if self.binary else 'y'} ~ " + " + ".join([*names, *random])


@dataclass(frozen=True)
class Axis:
    """What grows.

    Attributes
    ----------
    key, title : str
    sizes : tuple of int
        What is on the axis.
    points : tuple of Point
        One for each size.
    theory : str
        Exponent that the operations count leads to, for large sizes.
    """

    key: str
    title: str
    sizes: tuple[int, ...]
    points: tuple[Point, ...]
    theory: str


_CROSSED = ((100, 50), (1_000, 200), (5_000, 1_000), (20_000, 2_000))
_ROWS = tuple(10**k for k in range(3, 8))
_GROUPS = tuple(10**k for k in range(2, 7))
_COLUMNS = (1, 10, 50, 200)

AXES = [
    Axis("rows", "rows, 100 groups, a slope", _ROWS, tuple(Point(n, 100, slopes=1) for n in _ROWS), "1"),
    Axis("groups", "groups of five rows", _GROUPS, tuple(Point(5 * q, q) for q in _GROUPS), "1"),
    Axis(
        "crossed",
        "levels of the smaller of two crossed factors",
        tuple(items for _, items in _CROSSED),
        tuple(Point(10 * groups, groups, items) for groups, items in _CROSSED),
        "3: one dense matrix of this order",
    ),
    Axis(
        "slopes",
        "correlated effects of 1000 groups, 100,000 rows",
        (2, 3, 4, 5),
        tuple(Point(100_000, 1_000, slopes=k, columns=k) for k in (1, 2, 3, 4)),
        "2: cross-products of the columns",
    ),
    Axis(
        "columns",
        "fixed columns, 100,000 rows",
        _COLUMNS,
        tuple(Point(100_000, 1_000, columns=p) for p in _COLUMNS),
        "2: cross-products of the columns",
    ),
    Axis(
        "binary",
        "binary rows, 100 groups",
        _ROWS[:4],
        tuple(Point(n, 100, binary=True) for n in _ROWS[:4]),
        "1",
    ),
    Axis(
        "binary_crossed",
        "binary rows, groups of 100 crossed with 100 items",
        _ROWS[:4],
        tuple(Point(n, n // 100, 100, binary=True) for n in _ROWS[:4]),
        "1",
    ),
]
POINTS = [(axis, size, point) for axis in AXES for size, point in zip(axis.sizes, axis.points, strict=True)]


def points(axis: Axis, most: int) -> list[tuple[int, Point]]:
    """Sizes of an axis with at most so many rows."""
    pairs = zip(axis.sizes, axis.points, strict=True)
    return [(size, point) for size, point in pairs if point.rows <= most]


def exponents(sizes: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Slope of log time on log size by least squares over all sizes, and between the last two."""
    x, y = np.log(sizes), np.log(seconds)
    return float(np.polyfit(x, y, 1)[0]), float((y[-1] - y[-2]) / (x[-1] - x[-2]))


def made(point: Point) -> pd.DataFrame:
    """Generate the data of a point."""
    return generated(point.rows, point.groups, point.items, point.slopes, point.columns)


def fit(point: Point, data: pd.DataFrame) -> Any:
    """Fit the model of a point."""
    import interlace

    if point.binary:
        return interlace.glmer(point.formula, data, "binomial")
    return interlace.fit(point.formula, data)


def peak_megabytes() -> float:
    """Largest memory that this process has held."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def measure(path: str, point: Point) -> dict[str, Any]:
    """Fit in this process: seconds, memory before and at the peak, and whether the fit converged."""
    from benchmarks.timing import median_seconds

    warnings.simplefilter("ignore")
    data = pd.read_pickle(path)
    small = replace(point, rows=2_000, groups=20, items=min(point.items, 20))
    fit(small, made(small))
    before = peak_megabytes()
    converged = fit(point, data).converged
    peak = peak_megabytes()
    seconds, _ = median_seconds(lambda: fit(point, data))
    return {"seconds": seconds, "before": before, "peak": peak, "converged": bool(converged)}


def child(what: str, path: Path, point: Point) -> str:
    """Run this module in a fresh process; what it printed.

    The process that starts it stays small on purpose: Linux hands the peak memory of a parent on to its children.
    """
    command = [sys.executable, "-m", "benchmarks.growth", what, str(path), json.dumps(vars(point))]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | THREADS, stdout=subprocess.PIPE, text=True, check=True)
    return run.stdout


def line(size: int, point: Point, found: dict[str, Any]) -> str:
    """One row of the table."""
    levels = f"{point.groups} x {point.items}" if point.items else f"{point.groups}"
    time = f"{found['seconds']:.3g} s" + ("" if found["converged"] else " (not converged)")
    per_row = f"{1e6 * found['seconds'] / point.rows:.2g} us"
    return (
        f"| {size} | {point.rows} | {levels} | {time} | {per_row} | {found['before']:.0f} MB | {found['peak']:.0f} MB |"
    )


def grow(axis: Axis, most: int, folder: Path) -> tuple[list[int], list[float]]:
    """Measure an axis and print its table row by row; sizes and seconds."""
    print(f"\n**{axis.title}**\n")
    print("| size | rows | levels | time | time per row | data | peak |")
    print("|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    sizes, seconds = [], []
    for size, point in points(axis, most):
        path = folder / "rows.pickle"
        child("--make", path, point)
        found = json.loads(child("--measure", path, point))
        print(line(size, point, found), flush=True)
        sizes.append(size)
        seconds.append(found["seconds"])
    return sizes, seconds


def summary(measured: dict[str, tuple[list[int], list[float]]]) -> str:
    """Table of exponents beside what theory says."""
    lines = ["| what grows | sizes | exponent | between the last two | theory |", "|---|---:|---:|---:|---|"]
    for axis in AXES:
        if len(measured.get(axis.key, ((),))[0]) > 1:
            sizes, seconds = measured[axis.key]
            slope, last = exponents(sizes, seconds)
            lines.append(f"| {axis.title} | {sizes[0]} to {sizes[-1]} | {slope:.2f} | {last:.2f} | {axis.theory} |")
    return "\n".join(lines)


def picture(measured: dict[str, tuple[list[int], list[float]]], path: Path) -> None:
    """Seconds against size, both logarithmic, a panel for each axis."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "interlace", "svg.fonttype": "none", "font.size": 8}):
        across = min(4, len(measured))
        down = -(-len(measured) // across)
        figure = Figure(figsize=(3.0 * across, 2.4 * down), layout="constrained")
        panels = figure.subplots(down, across, squeeze=False)
        for ax in panels.flat[len(measured) :]:
            ax.remove()
        for ax, axis in zip(panels.flat, [axis for axis in AXES if axis.key in measured], strict=False):
            ax.loglog(*measured[axis.key], marker="o", color="#0072B2")
            ax.set_title(axis.title, fontsize=8)
            ax.set_ylabel("seconds")
            ax.grid(color="0.9", linewidth=0.6)
        figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--quick", action="store_true", help="at most a hundred thousand rows")
    sizes.add_argument("--large", action="store_true", help="up to ten million rows")
    parser.add_argument("--axes", nargs="+", choices=[axis.key for axis in AXES])
    parser.add_argument("--make", nargs=2, metavar=("FILE", "POINT"), help="write generated rows")
    parser.add_argument("--measure", nargs=2, metavar=("FILE", "POINT"), help="one fit, as JSON")
    options = parser.parse_args()
    if options.make:
        point = Point(**json.loads(options.make[1]))
        made(point).to_pickle(options.make[0])
        return
    if options.measure:
        print(json.dumps(measure(options.measure[0], Point(**json.loads(options.measure[1])))))
        return
    most = 100_000 if options.quick else 10_000_000 if options.large else 1_000_000
    print(f"Measured on {sentence(describe())}")
    with tempfile.TemporaryDirectory() as folder:
        chosen = [axis for axis in AXES if options.axes is None or axis.key in options.axes]
        measured = {axis.key: grow(axis, most, Path(folder)) for axis in chosen}
    print(f"\n{summary(measured)}")
    OUT.mkdir(exist_ok=True)
    (OUT / "growth.md").write_text(summary(measured) + "\n", "utf-8")
    if find_spec("matplotlib"):
        picture(measured, OUT / "growth.svg")


if __name__ == "__main__":
    main()
