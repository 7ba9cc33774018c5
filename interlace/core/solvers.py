"""Which way the system of the crossed random effects is solved: by estimates of time and memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from interlace.core import cholmod
from interlace.core.iterative_fit import most_probes
from interlace.core.probes import Probes
from interlace.core.structure import Structure, as_one_system
from interlace.typing import IntArray, Solver

__all__ = ["DENSE", "Cost", "Plan", "choose"]

#: Evaluations of a typical fit; multiplications in a second, dense and of sparse matrices with vectors.
_EVALUATIONS, _DENSE, _SPARSE = 8, 3e10, 5e8
#: Steps of the iterations.
_STEPS = 15
#: Seconds up to which an exact solution is preferred to a faster one with a Monte Carlo error.
PATIENCE = 60.0
#: Memory that may be asked for, in GB.
MEMORY = 16.0


@dataclass(frozen=True)
class Cost:
    """Estimates for one way.

    Attributes
    ----------
    seconds : float
        Of a fit with eight evaluations, on one core.
    gigabytes : float
        Of its largest arrays together.
    """

    seconds: float
    gigabytes: float

    def __str__(self) -> str:
        """Both in words."""
        return f"{self.seconds:.2g} s, {self.gigabytes:.2g} GB"


@dataclass(frozen=True)
class Plan:
    """The way that was chosen.

    Attributes
    ----------
    solver : {"dense", "cholmod", "iterative"}
    costs : mapping from solver to Cost
        Of the ways that were considered.
    reason : str
        Why this one, in words.
    """

    solver: Solver
    costs: Mapping[Solver, Cost] = field(default_factory=dict)
    reason: str = ""


#: Where there is nothing to choose.
DENSE = Plan("dense")


def choose(
    structure: Structure, order: Sequence[int], codes: Sequence[IntArray], *, solver: Solver, probes: Probes | None
) -> tuple[Structure, list[int], Plan]:
    """Choose a solver, and storage for it.

    Parameters
    ----------
    structure : Structure
    order : sequence of int
        Positions of its blocks in the input of :func:`interlace.core.structure.analyze`.
    codes : sequence of ndarray of int64, shapes (n,)
        Per block of the structure.
    solver : {"auto", "dense", "cholmod", "iterative"}
        What is asked for. A model without crossed factors is eliminated level by level whatever it says.
    probes : Probes or None
        None where there must be no Monte Carlo error.

    Returns
    -------
    structure : Structure
    order : list of int
    plan : Plan
        May cost more memory than there should be: that is for the caller to refuse.
    """
    plan = _plan(structure, codes, solver, iterative=probes is not None)
    if plan.solver == "iterative" and probes is not None:
        probes = replace(probes, count=probes.count if probes.fixed else min(probes.count, most_probes(structure.m_z)))
        return *as_one_system(structure, order, probes), plan
    if plan.solver == "cholmod":
        return *as_one_system(structure, order), plan
    return structure, list(order), plan


def _plan(structure: Structure, codes: Sequence[IntArray], solver: Solver, *, iterative: bool) -> Plan:
    if not structure.rest:
        return Plan("dense", reason="no crossed factors: eliminated level by level")
    if solver == "auto" and structure.m_z < cholmod.CONSIDERED_FROM:
        return Plan("dense", {"dense": _dense(structure)}, "a small dense matrix")
    costs: dict[Solver, Cost] = {"dense": _dense(structure)}
    work = cholmod.work(structure, codes) if solver in ("auto", "cholmod") else None
    if work is not None:
        flops, entries = work
        costs["cholmod"] = Cost(_EVALUATIONS * flops / _DENSE, 4 * 8e-9 * entries)
    if iterative:
        costs["iterative"] = _iterative(structure, codes[0].size)
    if solver != "auto":
        return Plan(solver, costs, "asked for")
    exact = {name: cost for name, cost in costs.items() if name != "iterative"}
    fitting = {name: cost for name, cost in exact.items() if cost.gigabytes <= MEMORY} or exact
    best = min(fitting, key=lambda name: fitting[name].seconds)
    if fitting[best].seconds <= PATIENCE and fitting[best].gigabytes <= MEMORY:
        return Plan(best, costs, f"exact, and estimated to take no more than {PATIENCE:g} s")
    if iterative and costs["iterative"].seconds < fitting[best].seconds:
        return Plan("iterative", costs, f"no exact way is estimated to take {PATIENCE:g} s and {MEMORY:g} GB or less")
    return Plan(best, costs, "the fastest")


def _dense(structure: Structure) -> Cost:
    order = float(structure.m)
    return Cost(_EVALUATIONS * 2.0 * order**3 / _DENSE, 5 * 8e-9 * order**2)


def _iterative(structure: Structure, n: int) -> Cost:
    lead = structure.blocks[0]
    entries = sum(float(min(n, lead.q * b.q)) * lead.k * b.k for b in structure.rest)
    vectors = min(16, most_probes(structure.m_z)) + sum(b.k for b in structure.rest)
    seconds = _EVALUATIONS * 2.0 * _STEPS * vectors * entries / _SPARSE / 2.0
    numbers = 3.0 * entries + vectors * (_STEPS * structure.m_z + 4.0 * lead.size)
    return Cost(seconds, 8e-9 * numbers)
