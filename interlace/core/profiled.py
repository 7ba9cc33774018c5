"""The profiled deviance on given cross-products, by the solver that their storage is for."""

from __future__ import annotations

from interlace.core.cholmod import AnyObjective, SparseObjective
from interlace.core.crossproducts import CrossProducts
from interlace.core.iterative import IterativeObjective
from interlace.core.objective import Objective

__all__ = ["profiled_deviance"]


def profiled_deviance(cp: CrossProducts, *, reml: bool) -> AnyObjective:
    """Deviance or REML criterion as a function of theta.

    Parameters
    ----------
    cp : CrossProducts
    reml : bool

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> profiled_deviance(state.problem.cp, reml=True).structure.n_theta
    1
    """
    storage = cp.structure.storage
    if storage.probes is not None:
        return IterativeObjective(cp, reml=reml)
    return SparseObjective(cp, reml=reml) if storage.cholmod else Objective(cp, reml=reml)
