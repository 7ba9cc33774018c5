"""Libraries that take turns: each in a process of its own that lives as long as the case, timed in rounds.

A machine that slows down or is busy for a while does so for all libraries alike, since each round has each of them, in
another order every time. A process that fails, hangs or cannot do the work drops out with a word of explanation, and
the others go on.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import THREADS

__all__ = ["SLOW", "Child", "Gone", "Outcome", "calls_per_round", "due", "hold", "rounds_of"]

ROOT = Path(__file__).resolve().parents[1]
#: Seconds of a first call from which on it is the measurement; and from which on it counts as one of several.
ONLY, SLOW = 10.0, 2.0
_MOST_CALLS = 500


class Gone(Exception):  # noqa: N818 - not an error: a contestant that is out
    """A process has left, and why: in a word, and in what it wrote to its standard error."""

    def __init__(self, word: str, details: str = "") -> None:
        super().__init__(word)
        self.word, self.details = word, details


class Child:
    """A process that answers each line it is sent by a line of JSON.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    environment : mapping of str to str, optional
        Variables beside those of this process.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - lives as long
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **THREADS, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # what it starts goes with it
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take lines from the process as they come; None at their end."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def send(self, line: str) -> None:
        """Ask for something."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # it has ended, or was closed
            raise self._gone("fails") from None

    def reply(self, limit: float) -> dict[str, Any]:
        """Wait for an answer; lines that are none are passed over.

        Raises
        ------
        Gone
            If the process has ended, or says nothing within the limit (it is stopped then).
        """
        while True:
            try:
                line = self._lines.get(timeout=limit)
            except queue.Empty:
                self.close()
                raise Gone(f"> {limit:g} s") from None
            if line is None:
                raise self._gone("fails")
            try:
                found = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(found, dict):
                return found

    def _gone(self, word: str) -> Gone:
        """Clean up; the end of what the process complained about."""
        self.close()
        self._errors.seek(0)
        return Gone(word, self._errors.read()[-500:].strip())

    def close(self) -> None:
        """End the process and all that it started."""
        if self._process.poll() is None:
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        with suppress(OSError):  # what it never read
            assert self._process.stdin is not None
            self._process.stdin.close()


@dataclass
class Outcome:
    """What became of a library.

    Attributes
    ----------
    seconds : list of float
        Of a call, one a round.
    answer : float or None
        Criterion of the last call, or the number in its place.
    version : str
        Of the library, and of R.
    word : str
        Why there is no time; empty otherwise.
    """

    seconds: list[float] = field(default_factory=list)
    answer: float | None = None
    version: str = ""
    word: str = ""

    @property
    def median(self) -> float:
        """Median of the rounds."""
        return statistics.median(self.seconds)


def rounds_of(first: float, rounds: int, budget: float) -> int:
    """Rounds that a library takes part in, by the seconds of its first call: all, fewer if slow, none if very slow."""
    return 0 if first > ONLY else min(rounds, max(2, int(budget / first)))


def calls_per_round(first: float, rounds: int, budget: float) -> int:
    """Calls of a round that together use the budget in all rounds."""
    return max(1, min(_MOST_CALLS, int(budget / (rounds * first))))


def due(number: int, taking: int, rounds: int) -> bool:
    """Whether a library that takes part in some rounds takes part in this one, spread evenly."""
    return (number + 1) * taking // rounds > number * taking // rounds


class Contest:
    """Times libraries in turns; the arguments are those of `hold`."""

    def __init__(self, rounds: int, budget: float, limit: float, tell: Callable[[str], None]) -> None:
        self.rounds, self.budget, self.limit, self.tell = rounds, budget, limit, tell
        self.children: dict[str, Child] = {}
        self.plans: dict[str, tuple[int, int]] = {}
        self.found: dict[str, Outcome] = {}

    def attempt(self, step: Callable[[str], None], name: str) -> None:
        """Do a step of a library, which drops out if it fails."""
        try:
            step(name)
        except Gone as gone:
            self.found[name].word = gone.word
            self.children.pop(name, None)
            if gone.details:
                self.tell(f"{name}: {gone.details}")

    def begin(self, name: str) -> None:
        """Greet a process, and plan its rounds by its first call."""
        hello = self.children[name].reply(2.0 * self.limit)
        if hello.get("cannot"):
            self.children[name].close()
            raise Gone("-")
        outcome = self.found[name]
        outcome.version = hello.get("version", "") + (f", R {hello['r']}" if "r" in hello else "")
        first = self.timed(name, 1)
        if first >= SLOW:
            outcome.seconds.append(first)
        else:  # it loaded code
            first = self.timed(name, 1)
        self.plans[name] = rounds_of(first, self.rounds, self.budget), calls_per_round(first, self.rounds, self.budget)

    def measure(self, name: str) -> None:
        """Time the calls of a round."""
        self.found[name].seconds.append(self.timed(name, self.plans[name][1]))

    def end(self, name: str) -> None:
        """Take down the answer."""
        self.children[name].send("answer")
        self.found[name].answer = self.children[name].reply(self.limit)["answer"]

    def timed(self, name: str, calls: int) -> float:
        """Seconds of one call, the mean of several."""
        self.children[name].send(f"time {calls}")
        return float(self.children[name].reply(self.limit)["seconds"])

    def hold(self, starters: Mapping[str, Callable[[], Child]]) -> dict[str, Outcome]:
        """Begin, all rounds, end."""
        self.found = {name: Outcome() for name in starters}
        try:
            for name, start in starters.items():
                self.children[name] = start()
                self.attempt(self.begin, name)
            for number in range(self.rounds):
                names = list(self.children)
                turn = number % max(1, len(names))
                for name in names[turn:] + names[:turn]:
                    if due(number, self.plans[name][0], self.rounds):
                        self.attempt(self.measure, name)
            for name in list(self.children):
                self.attempt(self.end, name)
        finally:
            for child in self.children.values():
                child.close()
        return self.found


def hold(
    starters: Mapping[str, Callable[[], Child]],
    *,
    rounds: int,
    budget: float,
    limit: float,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Outcome]:
    """Time libraries in turns.

    Parameters
    ----------
    starters : mapping of str to callable
        Starts the process of each library.
    rounds : int
    budget : float
        Seconds that a library may use in all rounds together, unless it is so slow that two calls take longer.
    limit : float
        Seconds that an answer may take.
    tell : callable
        Gets a line about each process that fails.

    Returns
    -------
    dict of str to Outcome
    """
    return Contest(rounds, budget, limit, tell).hold(starters)
