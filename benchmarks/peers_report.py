"""What `benchmarks.peers` measured, as a table, a page and a figure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.contest import Outcome
from benchmarks.machine import sentence

__all__ = ["MISSED", "Row", "human", "page", "picture", "table"]

#: Excess over the best criterion from which on an optimum was missed.
MISSED = 1e-3
#: Color (distinct for the color-blind) and marker of each library.
LOOKS = {
    "interlace": ("#0072B2", "o"),
    "lme4": ("#D55E00", "s"),
    "lme-python": ("#009E73", "^"),
    "mixedlm": ("#CC79A7", "D"),
    "statsmodels": ("#E69F00", "v"),
    "gpboost": ("#56B4E9", "P"),
}


@dataclass(frozen=True)
class Row:
    """A case, and what each library did with it."""

    case: Case
    outcomes: dict[str, Outcome]

    def flaw(self, name: str) -> str:
        """What is wrong with the answer of a library; empty if nothing is, or if it has no answer to compare."""
        answer = self.outcomes[name].answer
        known = {key: one.answer for key, one in self.timed().items() if one.answer is not None}
        if answer is None or name not in known:
            return ""
        if not math.isfinite(answer):
            return "no number"
        if self.case.agreement is None:
            excess = answer - min(value for value in known.values() if math.isfinite(value))
            return f"+{excess:.3g}" if excess > MISSED else ""
        reference = known.get("lme4", known.get("interlace", answer))
        difference = answer / reference - 1.0
        return f"{difference:+.0%}" if abs(difference) > self.case.agreement else ""

    def timed(self) -> dict[str, Outcome]:
        """Libraries with a time."""
        return {name: one for name, one in self.outcomes.items() if not one.word}

    def fastest(self) -> str | None:
        """The fastest library whose answer has no flaw."""
        right = {name: one.median for name, one in self.timed().items() if not self.flaw(name)}
        return min(right, key=right.__getitem__, default=None)


def human(seconds: float) -> str:
    """Seconds with three digits and a unit."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def cell(row: Row, name: str) -> str:
    """One cell of the table; the fastest right answer is bold."""
    outcome = row.outcomes[name]
    if outcome.word:
        return outcome.word
    text, flaw = human(outcome.median), row.flaw(name)
    if flaw:
        return f"{text} ✗ {flaw}"
    return f"**{text}**" if name == row.fastest() else text


def version(rows: list[Row], name: str) -> str:
    """Version of a library, as its processes said."""
    return next((row.outcomes[name].version for row in rows if row.outcomes[name].version), "")


def table(rows: list[Row], libraries: list[str]) -> str:
    """Markdown, with versions in the heading."""
    heading = ["work", *(f"{name} {version(rows, name)}".strip() for name in libraries), "target"]
    lines = [heading, ["---", *["---:"] * (len(libraries) + 1)]]
    for row in rows:
        method = "" if row.case.kind in ("import", "first_fit") else f", {row.case.method}"
        target = f"≤ {human(row.case.target)}" if row.case.target else ""
        lines.append([row.case.title + method, *(cell(row, name) for name in libraries), target])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(rows: list[Row], libraries: list[str], about: dict[str, str], figure: str) -> str:
    """A page of the documentation."""
    return f"""# Timings beside other libraries

<!-- written by: make bench-peers PEERS_ARGS=--publish -->

Whole calls of each library, one thread each, all in one run in which they took turns (`make bench-peers`). Medians over
{about["rounds"]} rounds, fewer where {about["budget"]} seconds do not suffice for them; a call that takes more than
{about["limit"]} seconds is given up.

Measured on {sentence(about)}

{table(rows, libraries)}

**Bold** is the fastest answer that is right. ✗ with a number: the criterion is worse than the best one by so much, a
fast answer that is not the optimum; for deletion and bootstrap, the largest change of a coefficient or its standard
error differs from lme4's by so many percent. "-": the library does not do such a thing. Imports include the start of
the interpreter.

![Seconds of each library on a logarithmic scale]({figure})

Open markers are answers marked ✗, arrows calls that were given up, vertical bars targets.
"""


def picture(rows: list[Row], libraries: list[str], path: Path) -> None:
    """One line per piece of work, a marker per library, seconds on a logarithmic axis; a file without a date."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "interlace", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9.0, 1.3 + 0.36 * len(rows)), layout="constrained")
        ax = figure.subplots()
        for place, row in enumerate(rows):
            if row.case.target:
                ax.plot(row.case.target, place, marker="|", color="black", markersize=15, markeredgewidth=1.6, zorder=4)
            for name in libraries:
                draw(ax, row, name, place)
        ax.set_yticks(range(len(rows)), [row.case.title for row in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xscale("log")
        ax.set_xlabel("seconds")
        ax.grid(axis="both", color="0.9", linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        for name in libraries:
            color, marker = LOOKS[name]
            ax.plot([], [], linestyle="none", marker=marker, color=color, label=f"{name} {version(rows, name)}")
        ax.plot([], [], linestyle="none", marker="|", color="black", markersize=12, label="target")
        figure.legend(loc="outside upper left", ncols=4, frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def draw(ax: object, row: Row, name: str, place: int) -> None:
    """The marker of a library: open where the answer is flawed, an arrow where it was given up."""
    outcome, (color, marker) = row.outcomes[name], LOOKS[name]
    look = {"color": color, "linestyle": "none", "zorder": 5 if name == "interlace" else 3}
    if not outcome.word:
        inside = "white" if row.flaw(name) else color
        ax.plot(outcome.median, place, marker=marker, markerfacecolor=inside, markersize=7, **look)
    elif outcome.word.startswith(">"):
        ax.plot(float(outcome.word.split()[1]), place, marker=">", markersize=6, markerfacecolor="white", **look)
