"""A process that times one library on one case when it is asked to: ``python -m benchmarks.worker LIBRARY CASE``.

It prepares the work, says ``{"version": ...}`` (or ``{"cannot": true}``), and then answers each line of its standard
input: ``time K`` with the seconds of a call, the mean of K calls; ``answer`` with the criterion of the last call, or
the number that takes its place (null where the library counts differently). `lme4_worker.R` speaks the same language.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from benchmarks import fresh_jobs, generalized_jobs, linear_jobs, repeated_jobs
from benchmarks.cases import Case, case_of
from benchmarks.linear_jobs import Job

__all__ = ["job_of", "main", "version_of"]


def job_of(library: str, case: Case) -> Job | None:
    """The work of a library; None where it does not do such a thing."""
    if case.kind in ("import", "first_fit"):
        return fresh_jobs.fresh_job(library, case)
    repeated = case.kind in ("bootstrap", "deletion")
    module = repeated_jobs if repeated else generalized_jobs if case.family else linear_jobs
    prepare = module.JOBS.get(library)
    return prepare(case) if prepare else None


def version_of(library: str) -> str:
    """Version of the distribution of a library."""
    try:
        return version("interlace-lme" if library == "interlace" else library)
    except PackageNotFoundError:
        return ""


def main(library: str, key: str) -> None:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not get among the answers

    def say(**reply: Any) -> None:
        print(json.dumps(reply), file=answers, flush=True)

    warnings.simplefilter("ignore")
    job = job_of(library, case_of(key))
    if job is None:
        say(cannot=True)
        return
    say(version=version_of(library))
    work, criterion = job
    result = None
    for line in sys.stdin:
        what, *rest = line.split()
        if what == "answer":
            say(answer=criterion(result) if criterion else None)
            continue
        calls = int(rest[0])
        start = time.perf_counter()
        for _ in range(calls):
            result = work()
        say(seconds=(time.perf_counter() - start) / calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
