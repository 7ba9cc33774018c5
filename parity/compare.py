"""Fit a case with interlace and hold it against its reference."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

from interlace.rbridge import AgreementTable, compare, numbers_of
from parity.bridge import Reference
from parity.case import Case

__all__ = ["Comparison", "compare_case", "reproduction"]


@dataclass(frozen=True)
class Comparison:
    """Agreement of one case, and how long interlace took to fit it."""

    case: Case
    table: AgreementTable
    seconds: float
    summary: str


def compare_case(case: Case, reference: Reference) -> Comparison:
    """Fit the case and compare every quantity.

    Parameters
    ----------
    case : Case
    reference : Reference

    Returns
    -------
    Comparison
    """
    frame = case.frame()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # singular fits and dropped columns are what some cases are about
        start = time.perf_counter()
        result = case.fit(frame)
        seconds = time.perf_counter() - start
        ours = numbers_of(result, case.newdata(frame))
        summary = str(result.summary())
    table = compare(ours, reference.numbers, reference=reference.source, model=case.name)
    return Comparison(case, table, seconds, summary)


def reproduction(case: Case) -> str:
    """Python code that fits the case again, data included."""
    frame = case.frame()
    arguments = "".join(f", {name}={value!r}" for name, value in case.fit_arguments().items())
    return "\n".join(
        [
            "import io, pandas as pd, interlace",
            "from interlace import Control",
            "from interlace.families import NegativeBinomial",
            f'frame = pd.read_csv(io.StringIO("""{frame.to_csv(index=False)}"""))',
            f"result = interlace.{case.function}({case.formula!r}, frame{arguments})",
            "print(interlace.rbridge.check(result))",
        ]
    )
