"""``python -m parity record | record-inference | report | demo``."""

from __future__ import annotations

import argparse
import sys

from parity.bridge import Bridge
from parity.catalogue import CASES
from parity.demo import demo
from parity.glmm_strategies import seeded_glmm_case
from parity.inference_plans import PLANS
from parity.inference_reference import record_inference
from parity.record import record
from parity.report import OUT, report
from parity.strategies import seeded_case

#: How many generated models are recorded, linear and generalized.
GENERATED, GENERATED_GLMM = 40, 12


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m parity", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="run R and write the references into r_reference/")
    recording.add_argument("names", nargs="*", help="models of the catalogue; all, and the generated ones, if none")
    inference = commands.add_parser("record-inference", help="run R's packages for tests and intervals")
    inference.add_argument("names", nargs="*", help="models of parity/inference_plans.py; all if none")
    for name, text in (
        ("report", "table of all differences, limits and margins"),
        ("demo", "four models on real data"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--r", choices=("live", "recorded", "auto"), default="auto")
        command.add_argument("--slow-r", action="store_true", help="run slow models in R as well")
        if name == "report":
            command.add_argument("names", nargs="*")
    chosen = parser.parse_args(arguments)
    if chosen.command == "record":
        return _record(chosen.names)
    if chosen.command == "record-inference":
        return _record_inference(chosen.names)
    bridge = Bridge(chosen.r, slow_live=chosen.slow_r)
    if chosen.command == "demo":
        for paragraph in demo(bridge):
            print(paragraph, flush=True)
        return 0
    text, agrees = report(bridge, chosen.names)
    print(text)
    print(f"written to {OUT}")
    return 0 if agrees else 1


def _known(names: list[str], among: set[str]) -> bool:
    if unknown := set(names) - among:
        print(f"no such models: {sorted(unknown)}", file=sys.stderr)
    return not unknown


def _record_inference(names: list[str]) -> int:
    if not _known(names, {plan.name for plan in PLANS}):
        return 2
    record_inference([plan for plan in PLANS if not names or plan.name in names])
    return 0


def _record(names: list[str]) -> int:
    if not _known(names, {case.name for case in CASES}):
        return 2
    record([case for case in CASES if not names or case.name in names])
    if not names:
        record([seeded_case(seed) for seed in range(GENERATED)], folder="generated")
        record([seeded_glmm_case(seed) for seed in range(GENERATED_GLMM)], folder="generated_glmm")
    return 0


if __name__ == "__main__":
    sys.exit(main())
