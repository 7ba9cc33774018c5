"""Share of problems whose best optimum is found: ``python -m benchmarks.optimum_study [problems] [seed] [tiny]``.

Each random problem is solved from the default start and from six others; the best deviance is the standard. With
``tiny`` the problems have 10 to 45 rows in 3 to 8 groups, and slopes, which is where rival optima are most common.
A boundary miss is a result whose deviance can still be lowered along a direction off the boundary.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np

from interlace.core import blas
from interlace.core.boundary import find_escape
from interlace.core.objective import Objective
from interlace.core.optimize import Settings, minimize
from interlace.core.scaling import FixedBasis, Response, TermBasis
from interlace.core.start import starting_points
from tests.problems import KINDS, TINY, Problem, random_problem, tiny_problem


def standardized(problem: Problem) -> Problem:
    """The problem in the basis in which the library optimizes."""
    X = FixedBasis.of(problem.X).forward(problem.X)
    terms = tuple(type(t)(t.group, t.codes, t.Z @ TermBasis.of(t).M, t.n_levels, t.structure) for t in problem.terms)
    return Problem(problem.kind, terms, X, Response.of(X, problem.y).values)


def main(problems: int = 500, seed: int = 20261124, family: str = "") -> None:
    rng = np.random.default_rng(seed)
    kinds, draw = (TINY, tiny_problem) if family == "tiny" else (KINDS, random_problem)
    within, misses, unconverged, evaluations = 0, 0, 0, []
    failures: Counter[str] = Counter()
    started = time.perf_counter()
    for number in range(problems):
        kind = kinds[number % len(kinds)]
        problem = standardized(draw(rng, kind))
        reml = bool(number // len(kinds) % 2)
        with blas.limited(0):
            cp = problem.cross_products()
            objective = Objective(cp, reml=reml)
            start, *rivals = starting_points(cp, reml=reml)
            summary, e = minimize(objective, start, optimizer="auto", settings=Settings(), rivals=rivals, rows=cp.n)
            escape = find_escape(objective, e, objective.derivatives(e), summary.x)
            others = []
            for _ in range(6):
                start = rng.normal(size=problem.n_theta) * float(rng.choice([0.1, 1.0, 3.0]))
                others.append(minimize(Objective(cp, reml=reml), start, optimizer="auto", settings=Settings())[0].value)
        good = summary.value <= min(others) + 1e-6
        within += good
        misses += escape is not None
        unconverged += not summary.converged
        evaluations.append(summary.evaluations)
        if not good:
            failures[kind] += 1
            method = "REML" if reml else "ML"
            print(f"problem {number} ({kind}, {method}): {summary.value - min(others):.2e} above the best")
    print(f"{problems} problems in {time.perf_counter() - started:.1f} s")
    share = f"{within} ({100 * within / problems:.2f} %)"
    print(f"within 1e-6 of the best of seven starts: {share}; missed: {dict(failures)}")
    print(f"boundary misses: {misses}; not converged: {unconverged}; median evaluations {np.median(evaluations):.0f}")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:3]), *sys.argv[3:])
