"""Time interlace beside other libraries: whole calls, same machine, same run, one BLAS thread.

    python benchmarks/peers.py                         all cases, all libraries that are installed
    python benchmarks/peers.py --cases sleepstudy refit --libraries interlace lme4
    python benchmarks/peers.py --quick                 a few rounds, without the cases of a million rows
    python benchmarks/peers.py --publish               also write the page of the documentation
    python benchmarks/peers.py --list                  the optional packages, as pip requirements

The libraries take turns: a round has one call or a few of each, in another order every time, so that a change in the
machine's speed hits all of them alike. Prints a Markdown table of medians over rounds and writes it, a figure and all
numbers to benchmarks/out. A time is followed by a cross and the excess of the library's deviance (or REML criterion)
over the best one where that exceeds 0.001: such a fit stopped short of the optimum. Where the answer is another number,
the cross marks one that differs from lme4's. Deviances of generalized models have all their constants, also where a
library leaves some out. "-" stands where a library does not do such a thing, "not timed" where a case leaves it out.
`make bench-peers` runs this in an environment of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import argparse
import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable
from importlib.util import find_spec

from benchmarks.cases import CASES, REPLICATES, Case, new_response
from benchmarks.contest import Child, Outcome, hold
from benchmarks.machine import describe
from benchmarks.peers_report import Row, page, picture, table

HERE = Path(__file__).resolve().parent
OUT, DOCS = HERE / "out", HERE.parent / "docs"
LIBRARIES = ["interlace", "lme4", "lme-python", "mixedlm", "statsmodels", "gpboost"]


def absent(library: str, case: Case) -> str:
    """Why a library is not timed on a case, in a word; empty where it is."""
    if case.libraries and library not in case.libraries:
        return "not timed"
    there = shutil.which("Rscript") if library == "lme4" else find_spec(library.replace("-", "_"))
    return "" if there else "not installed"


def start_lme4(case: Case, folder: Path) -> Child:
    """A process of R that has the data of a case; reading them and starting R do not count."""
    data = case.data()
    levels = {name: list(kind.categories) for name, kind in data.dtypes.items() if kind == "category"}
    classes = {name: "character" if name in levels else "numeric" for name in data.columns}
    job = {"formula": case.formula, "reml": case.method == "REML", "kind": case.kind, "replicates": REPLICATES}
    job |= {"levels": levels, "classes": classes, "y": list(new_response(case)) if case.kind == "refit" else None}
    job |= {"family": case.family, "weights": case.weights, "nAGQ": case.nAGQ}
    csv, plan = folder / "data.csv", folder / "job.json"
    data.to_csv(csv, index=False)
    plan.write_text(json.dumps(job), "utf-8")
    return Child(["Rscript", "--vanilla", str(HERE / "lme4_worker.R"), str(csv), str(plan)])


def starter(library: str, case: Case, folder: Path) -> Callable[[], Child]:
    """Starts a library's process."""
    if library == "lme4" and case.kind not in ("import", "first_fit"):
        return lambda: start_lme4(case, folder)
    return lambda: Child([sys.executable, "-m", "benchmarks.worker", library, case.key])


def run(case: Case, libraries: list[str], *, rounds: int, budget: float, limit: float) -> Row:
    """Time all libraries on one case."""
    found = {name: Outcome(word=absent(name, case)) for name in libraries}

    def report(line: str) -> None:
        tell(f"{case.key}, {line}")

    with tempfile.TemporaryDirectory() as folder:
        starters = {name: starter(name, case, Path(folder)) for name in libraries if not found[name].word}
        found |= hold(starters, rounds=rounds, budget=budget, limit=limit, tell=report)
    return Row(case, found)


def tell(line: str) -> None:
    """Say how it goes, beside the table."""
    print(line, file=sys.stderr, flush=True)


def requirements() -> list[str]:
    """Peers as pip requirements; lme-python reads polars frames, made from pandas through pyarrow."""
    config = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))
    return [*config["dependency-groups"]["peers"], "polars", "pyarrow", "matplotlib"]


def write(rows: list[Row], libraries: list[str], about: dict[str, str], *, publish: bool) -> None:
    """Table, figure and numbers to benchmarks/out; with ``publish`` the page of the documentation too."""
    OUT.mkdir(exist_ok=True)
    numbers = {row.case.key: {name: vars(outcome) for name, outcome in row.outcomes.items()} for row in rows}
    (OUT / "peers.json").write_text(json.dumps({"machine": about, "cases": numbers}, indent=1), "utf-8")
    (OUT / "peers.md").write_text(page(rows, libraries, about, figure="peers.svg"), "utf-8")
    drawn = find_spec("matplotlib") is not None
    if drawn:
        picture(rows, libraries, OUT / "peers.svg")
    tell(f"written to {OUT}" + ("" if drawn else "; no figure, since matplotlib is not installed"))
    if publish:
        (DOCS / "_static").mkdir(exist_ok=True)
        (DOCS / "peers.md").write_text(page(rows, libraries, about, figure="_static/peers.svg"), "utf-8")
        picture(rows, libraries, DOCS / "_static" / "peers.svg")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="print the optional packages and stop")
    parser.add_argument("--cases", nargs="+", choices=[case.key for case in CASES])
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=LIBRARIES)
    parser.add_argument("--rounds", type=int, help="rounds of each case (15; quick: 3)")
    parser.add_argument("--budget", type=float, help="seconds of each library and case in all rounds (5; quick: 0.5)")
    parser.add_argument("--limit", type=float, help="seconds after which a call is given up (60; quick: 15)")
    parser.add_argument("--quick", action="store_true", help="a rough look, without the cases of a million rows")
    parser.add_argument("--publish", action="store_true", help="write docs/peers.md and its figure")
    options = parser.parse_args()
    if options.list:
        print("\n".join(requirements()))
        return
    if options.publish and find_spec("matplotlib") is None:
        parser.error("--publish draws a figure: pip install matplotlib")
    rounds, budget, limit = (3, 0.5, 15.0) if options.quick else (15, 5.0, 60.0)
    plan = {
        "rounds": options.rounds or rounds,
        "budget": options.budget or budget,
        "limit": options.limit or limit,
    }
    chosen = options.cases or [case.key for case in CASES if not (options.quick and case.large)]
    about = describe() | {name: f"{value:g}" for name, value in plan.items()}
    rows = []
    for case in CASES:
        if case.key in chosen:
            rows.append(run(case, options.libraries, **plan))
            tell(table(rows[-1:], options.libraries).splitlines()[-1])
    print(table(rows, options.libraries))
    write(rows, options.libraries, about, publish=options.publish)


if __name__ == "__main__":
    main()
