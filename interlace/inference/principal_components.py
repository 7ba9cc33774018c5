"""Principal components of the random effects: how many directions their covariance needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interlace.estimate.derived import term_factors

if TYPE_CHECKING:
    from interlace.estimate.state import State
    from interlace.typing import FloatArray

__all__ = ["Components", "principal_components"]


@dataclass(frozen=True)
class Components:
    """Principal components of the k random effects of a grouping factor.

    Attributes
    ----------
    group : str
    names : tuple of str, length k
        Effects.
    sdev : ndarray, shape (k,)
        Standard deviations of the components, falling, relative to the residual one.
    rotation : ndarray, shape (k, k)
        Loadings of the effects, a column for each component; the largest one is positive.
    """

    group: str
    names: tuple[str, ...]
    sdev: FloatArray
    rotation: FloatArray

    @property
    def proportion(self) -> FloatArray:
        """Share of each component in the total variance, shape (k,); NaN if there is none."""
        squares = self.sdev**2
        with np.errstate(invalid="ignore"):
            return np.asarray(squares / squares.sum())


def principal_components(state: State) -> list[Components]:
    """Singular value decomposition of the relative covariance factor of each grouping factor.

    Parameters
    ----------
    state : FitState or GlmmState

    Returns
    -------
    list of Components
        Terms on the same grouping factor are taken together, as lme4's ``rePCA`` does.

    Examples
    --------
    >>> import interlace
    >>> state = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy")).state
    >>> principal_components(state)[0].sdev.round(4)
    array([0.9669, 0.2309])
    """
    by_group: dict[str, list[int]] = {}
    for number, term in enumerate(state.problem.design.terms):
        by_group.setdefault(term.group, []).append(number)
    factors, out = term_factors(state), []
    for group, numbers in by_group.items():
        names = tuple(name for i in numbers for name in state.problem.design.terms[i].names)
        L, start = np.zeros((len(names), len(names))), 0
        for i in numbers:
            stop = start + factors[i].shape[0]
            L[start:stop, start:stop] = factors[i]
            start = stop
        rotation, sdev, _ = np.linalg.svd(L)
        largest = np.abs(rotation).argmax(axis=0)
        rotation = rotation * np.where(rotation[largest, np.arange(len(names))] < 0.0, -1.0, 1.0)
        out.append(Components(group, names, sdev, rotation))
    return out
