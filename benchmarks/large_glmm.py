"""Generalized models of a million rows with crossed factors: time, memory, and gpboost beside them.

    python -m benchmarks.large_glmm                          all cases, interlace and gpboost if it is installed
    python -m benchmarks.large_glmm --cases binary --libraries interlace

Each fit has a fresh process with one BLAS thread; "peak" is the peak memory of that process, "data" what it was before
the fit. The time is that of one whole call after a small fit that loads code. Deviances have all their constants; that
of gpboost is evaluated with a Cholesky factorization at its estimates, outside of the timing, since what it reports by
default is estimated from random vectors. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.machine import THREADS, describe, sentence

__all__ = ["CASES", "LargeCase"]

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class LargeCase:
    """One model on generated data.

    Attributes
    ----------
    groups, items : int
        Levels of the two crossed factors.
    rows : int
    columns : int
        Covariates in the formula.
    family : {"binomial", "poisson"}
    """

    groups: int
    items: int
    rows: int = 1_000_000
    columns: int = 1
    family: str = "binomial"

    @property
    def formula(self) -> str:
        """In lme4's language."""
        return " + ".join(["s ~ x0", *(f"x{j}" for j in range(1, self.columns)), "(1 | g)", "(1 | h)"])

    @property
    def title(self) -> str:
        """What the table calls it."""
        kind = "Poisson" if self.family == "poisson" else "binary"
        return f"{self.rows:.0e} {kind} rows, {self.groups} x {self.items} levels, {self.columns} covariates"

    def data(self) -> pd.DataFrame:
        """Intercepts with standard deviations of 0.8 and 0.5, coefficients of 0.5 / columns."""
        rng = np.random.default_rng(1)
        g, h = rng.integers(self.groups, size=self.rows), rng.integers(self.items, size=self.rows)
        X = rng.normal(size=(self.columns, self.rows))
        eta = -0.8 + 0.5 * X.mean(axis=0)
        eta += rng.normal(scale=0.8, size=self.groups)[g] + rng.normal(scale=0.5, size=self.items)[h]
        s = rng.poisson(np.exp(eta)) if self.family == "poisson" else rng.random(self.rows) < 1.0 / (1.0 + np.exp(-eta))
        return pd.DataFrame({"s": s.astype(np.int64), "g": g, "h": h} | {f"x{j}": x for j, x in enumerate(X)})


CASES = {
    "binary": LargeCase(10_000, 1_000),
    "few_items": LargeCase(10_000, 100),
    "covariates": LargeCase(10_000, 1_000, columns=6),
    "poisson": LargeCase(10_000, 1_000, family="poisson"),
    "many_items": LargeCase(20_000, 5_000),
}


def interlace_work(case: LargeCase, data: pd.DataFrame) -> tuple[Callable[[], Any], Callable[[Any], float]]:
    """`interlace.glmer` from the frame."""
    import interlace

    interlace.glmer(case.formula, data[:2000], case.family)
    return lambda: interlace.glmer(case.formula, data, case.family), lambda result: -2.0 * float(result.llf)


def gpboost_work(case: LargeCase, data: pd.DataFrame) -> tuple[Callable[[], Any], Callable[[Any], float]]:
    """Gpboost with its defaults, from arrays that are ready."""
    import gpboost

    X = np.column_stack([np.ones(case.rows), *(data[f"x{j}"] for j in range(case.columns))])
    y, groups = data["s"].to_numpy(float), data[["g", "h"]].to_numpy()
    likelihood = "poisson" if case.family == "poisson" else "bernoulli_logit"
    parts = {"group_data": groups, "likelihood": likelihood, "num_parallel_threads": 1}

    def work() -> Any:
        model = gpboost.GPModel(**parts)
        model.fit(y=y, X=X)
        return model

    def criterion(model: Any) -> float:
        exact = gpboost.GPModel(**parts, matrix_inversion_method="cholesky")
        parameters, beta = (f(format_pandas=False).ravel() for f in (model.get_cov_pars, model.get_coef))
        return 2.0 * float(exact.neg_log_likelihood(parameters, y, fixed_effects=X @ beta))

    return work, criterion


LIBRARIES = {"interlace": interlace_work, "gpboost": gpboost_work}


def peak() -> float:
    """Peak memory of this process in GB."""
    unit = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def measure(library: str, key: str) -> dict[str, float]:
    """Fit once in this process."""
    case = CASES[key]
    work, criterion = LIBRARIES[library](case, case.data())
    before, start = peak(), time.perf_counter()
    result = work()
    found = {"seconds": time.perf_counter() - start, "data": before, "peak": peak()}
    return found | {"deviance": criterion(result)}


def row(library: str, key: str, limit: float) -> str:
    """One line of the table, from a fresh process."""
    command = [sys.executable, "-m", "benchmarks.large_glmm", "--one", library, key]
    try:
        run = subprocess.run(
            command, cwd=ROOT, env=os.environ | THREADS, capture_output=True, text=True, check=True, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"| {CASES[key].title} | {library} | > {limit:g} s | | | |"
    found = json.loads(run.stdout.strip().splitlines()[-1])
    memory = [f"{found[name]:.2f} GB" for name in ("data", "peak")]
    cells = [f"{found['seconds']:.1f} s", *memory, f"{found['deviance']:.4f}"]
    cells = [
        f"{found['seconds']:.1f} s",
        f"{found['data']:.2f} GB",
        f"{found['peak']:.2f} GB",
        f"{found['deviance']:.4f}",
    ]
    return "| " + " | ".join([CASES[key].title, library, *cells]) + " |"


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--libraries", nargs="+", choices=LIBRARIES, default=list(LIBRARIES))
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one fit")
    parser.add_argument("--one", nargs=2, metavar=("LIBRARY", "CASE"), help="fit once, print JSON")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    print(sentence(describe()), "| model | library | time | data | peak | deviance |", "|---" * 6 + "|", sep="\n")
    for key in options.cases:
        for library in options.libraries:
            if find_spec(library) is not None:
                print(row(library, key, options.limit), flush=True)


if __name__ == "__main__":
    main()
