"""Libraries take turns, and one that fails, hangs or babbles does not stop the others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise

import pytest

from benchmarks.contest import Child, Gone, calls_per_round, due, hold, rounds_of

#: Answers as `benchmarks.worker` does; {time} and {answer} are what it does for these.
SCRIPT = """
import json, os, sys, time
say = lambda **reply: print(json.dumps(reply), flush=True)
print("babble", 1)
print("17")
say(version="1.0")
calls = 0
for line in sys.stdin:
    calls += 1
    if line.startswith("time"):
        {time}
        say(seconds={seconds})
    else:
        {answer}
        say(answer=float(calls))
"""


def starter(time: str = "pass", answer: str = "pass", seconds: float = 0.5) -> Callable[[], Child]:
    code = SCRIPT.format(time=time, answer=answer, seconds=seconds)
    return lambda: Child([sys.executable, "-c", code])


def test_medians_answers_and_versions() -> None:
    found = hold({"a": starter(seconds=0.25), "b": starter(seconds=3.0)}, rounds=4, budget=100.0, limit=30.0)
    assert found["a"].seconds == [0.25] * 4
    assert found["b"].seconds == [3.0] * 5  # slow: the first call counts
    assert found["a"].median == 0.25
    assert found["a"].answer == 2 + 4 + 1
    assert {one.version for one in found.values()} == {"1.0"}
    assert {one.word for one in found.values()} == {""}


def test_others_go_on() -> None:
    told: list[str] = []
    starters = {
        "crashes": starter(time="sys.exit('no more')"),
        "hangs": starter(time="time.sleep(60)"),
        "late": starter(time="calls == 3 and os._exit(3)"),
        "mute": starter(answer="sys.exit()"),
        "never": lambda: Child([sys.executable, "-c", "raise SystemExit('not for me')"]),
        "cannot": lambda: Child([sys.executable, "-c", "print('{\"cannot\": true}')"]),
        "well": starter(),
    }
    found = hold(starters, rounds=3, budget=10.0, limit=3.0, tell=told.append)
    words = {name: one.word for name, one in found.items()}
    assert words == {
        "crashes": "fails",
        "hangs": "> 3 s",
        "late": "fails",
        "mute": "fails",
        "never": "fails",
        "cannot": "-",
        "well": "",
    }
    assert len(found["well"].seconds) == 3
    assert told == ["crashes: no more", "never: not for me"]


def test_a_child_that_is_closed_is_gone() -> None:
    child = starter()()
    assert child.reply(30.0) == {"version": "1.0"}
    child.close()
    with pytest.raises(Gone, match="fails"):
        child.send("time 1")


@pytest.mark.parametrize(
    ("first", "rounds", "calls"),
    [(1e-6, 15, 500), (1e-3, 15, 333), (0.1, 15, 3), (0.5, 10, 1), (4.0, 2, 1), (10.0, 2, 1), (11.0, 0, 1)],
)
def test_the_budget_becomes_rounds_and_calls(first: float, rounds: int, calls: int) -> None:
    assert rounds_of(first, 15, 5.0) == rounds
    assert calls_per_round(first, 15, 5.0) == calls


@pytest.mark.parametrize("taking", [0, 1, 2, 7, 15])
def test_rounds_are_spread(taking: int) -> None:
    taken = [number for number in range(15) if due(number, taking, 15)]
    assert len(taken) == taking
    gaps = [later - earlier for earlier, later in pairwise(taken)]
    assert not gaps or max(gaps) - min(gaps) <= 1
