"""Minimize a deviance whose log-determinant is estimated: roughly at first, then with enough probes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from interlace.core.crossproducts import CrossProducts
from interlace.core.iterative import IterativeElimination, IterativeObjective
from interlace.core.optimize import Settings, minimize
from interlace.core.optsummary import OptSummary
from interlace.core.probes import Probes
from interlace.typing import FloatArray, Optimizer

__all__ = ["CRITERION_ERROR", "minimize_iteratively", "most_probes", "with_probes"]

#: Monte Carlo error of the criterion that is aimed at.
CRITERION_ERROR = 0.05
#: Probes of the first, rough minimization, and the decrement at which it ends.
_FEW, _ROUGH = 4, 1e-2
#: Numbers of vectors with which nearly singular directions are sought, one after the other.
_SEARCHED = (0, 64, 256)
#: Probes that there may be, and numbers in the bases of their Lanczos processes (2 GB at 15 steps).
_MOST, _NUMBERS = 256, 15_000_000


def most_probes(m_z: int) -> int:
    """Largest number of probes that memory allows, for ``m_z`` random effects."""
    return max(4, min(_MOST, _NUMBERS // max(m_z, 1)))


def minimize_iteratively(
    cp: CrossProducts,
    x: FloatArray,
    *,
    reml: bool,
    optimizer: Optimizer,
    settings: Settings,
    rivals: Sequence[FloatArray] = (),
) -> tuple[OptSummary, IterativeElimination]:
    """Minimize, from cross-products whose storage has probes.

    Parameters
    ----------
    cp : CrossProducts
    x : ndarray, shape (n_theta,)
    reml : bool
    optimizer : {"auto", "lbfgsb", "bobyqa"}
    settings : Settings
    rivals : sequence of ndarray, shapes (n_theta,)

    Returns
    -------
    OptSummary
        With the Monte Carlo errors.
    IterativeElimination
        At the optimum; the structure of its cross-products has the probes and the reference that were used.
    """
    probes = cp.structure.storage.probes
    assert probes is not None
    evaluations = 0
    if probes.reference is None:
        rough = replace(probes, count=min(_FEW, probes.count))
        target = IterativeObjective(with_probes(cp, rough), reml=reml)
        loose = replace(settings, tol=max(settings.tol, _ROUGH))
        first, _ = minimize(target, x, optimizer=optimizer, settings=loose, rivals=rivals, far=False)
        x, rivals, evaluations = first.x, (), first.evaluations
        probes = _enough(cp, x, replace(probes, reference=tuple(x.tolist())), reml=reml)
    target = IterativeObjective(with_probes(cp, probes), reml=reml)
    summary, e = minimize(target, x, optimizer=optimizer, settings=settings, rivals=rivals, far=False, alone=not rivals)
    if _turned(summary):
        summary, e = minimize(target, summary.x, optimizer=optimizer, settings=settings, alone=True)
    if _turned(summary):  # about zero on both sides
        e = target.at(summary.x)
        summary = replace(summary, value=target.value(e), gradient=target.derivatives(e).gradient)
    assert isinstance(e, IterativeElimination)
    errors = target.monte_carlo(e, summary.hessian)
    return replace(summary, evaluations=target.evaluations + evaluations, monte_carlo=errors), e


def _turned(summary: OptSummary) -> bool:
    """Whether signs of columns were changed in the end, which changes what the probes say a little."""
    return bool((summary.x * summary.trace[-1][0] < 0.0).any())


def with_probes(cp: CrossProducts, probes: Probes) -> CrossProducts:
    """Same cross-products, to be used with other probes."""
    storage = replace(cp.structure.storage, probes=probes)
    return replace(cp, structure=replace(cp.structure, storage=storage))


def _enough(cp: CrossProducts, x: FloatArray, probes: Probes, *, reml: bool) -> Probes:
    """As many probes as the error aimed at needs at ``x``; where it is large, nearly singular directions are sought."""
    if probes.fixed:
        return probes
    most = most_probes(cp.structure.m_z)
    best, cost = probes, math.inf
    for searched in _SEARCHED:
        tried = replace(probes, count=min(probes.count, most), searched=min(searched, most))
        target = IterativeObjective(with_probes(cp, tried), reml=reml)
        error = target.criterion_error(target.with_factors(cp.structure.factors(x)))
        needed = max(tried.count, math.ceil(tried.count * (error / CRITERION_ERROR) ** 2))
        if needed + tried.searched < cost:
            best, cost = replace(tried, count=min(needed, most)), needed + tried.searched
        if error <= CRITERION_ERROR:
            break
    return best
