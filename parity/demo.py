"""Six models on real data: what interlace says of the fit, its checks, its speed, and how far it is from lme4."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from typing import Any

import interlace
from interlace.influence import cooks_distance
from parity.bridge import Bridge, recorded
from parity.case import Case
from parity.catalogue import case
from parity.compare import compare_case

__all__ = ["demo"]

_SHOWN = (
    ("sleep_slopes", "Reaction times of 18 subjects over 10 days of sleep deprivation: a slope for each subject"),
    ("penicillin", "24 plates x 6 penicillin samples: crossed factors"),
    ("pastes", "Casks within batches of a chemical paste: nested factors"),
    ("cbpp", "Incidence of a disease in 15 herds over 4 periods: binomial proportions"),
    ("ticks_poisson", "Ticks on grouse chicks, in broods, at locations: counts, three nested random effects"),
    ("evaluations", "73421 lecture evaluations by 2972 students of 1128 lecturers in 14 departments"),
)


def demo(bridge: Bridge) -> Iterator[str]:
    """Yield the demonstration paragraph by paragraph.

    Parameters
    ----------
    bridge : Bridge

    Yields
    ------
    str
    """
    yield f"interlace against lme4: {bridge.describe()}"
    agree = 0
    for name, title in _SHOWN:
        model = case(name)
        yield f"\n{'=' * 100}\n{title}\n{'=' * 100}"
        reference = bridge(model)
        first, again = compare_case(model, reference), compare_case(model, reference)
        yield first.summary
        agree += first.table.agrees
        seconds = min(first.seconds, again.seconds)
        plain = recorded(model).seconds
        theirs, ours = ("glmer", "glmer") if model.family else ("lmer", "fit")
        compared = "" if plain is None else f"; lme4's {theirs}() by its defaults took {_seconds(plain)} when recorded"
        yield f"\n{ours}() took {_seconds(seconds)} ({_seconds(first.seconds)} the first time){compared}"
        yield from _diagnosis(model)
        yield f"\n{first.table}"
    yield f"\n{agree} of {len(_SHOWN)} models agree with lme4 in every quantity."


#: Rows up to which a model is diagnosed by refits here; larger ones would keep the demonstration waiting.
_FEW = 1000


def _diagnosis(model: Case) -> Iterator[str]:
    """Checks of the fit that found something, and the levels without which its fixed effects would differ most."""
    frame = model.frame()
    if len(frame) > _FEW:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a fit warns of is among its checks
        result: Any = model.fit(frame)
        checks = interlace.check_model(result).to_frame()
        factor = next(iter(result.ngroups))
        start = time.perf_counter()
        worst = cooks_distance(result, factor).nlargest(3)
    seconds = time.perf_counter() - start
    found = checks[checks["result"].isin(["warning", "error"])]
    yield f"\n{len(checks)} checks of the model" + (":" if len(found) else " found nothing wrong")
    yield from (f"  {check.result}: {check.message}" for check in found.itertuples())
    refits = f"{result.ngroups[factor]} refits without a level of {factor!r} ({_seconds(seconds)})"
    influential = ", ".join(f"{level} ({distance:.3f})" for level, distance in worst.items())
    yield f"largest Cook's distances by {refits}: {influential}"


def _seconds(value: float) -> str:
    return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.1f} ms"
