"""Conditional modes on the scale on which they are standard normal if the model is true."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from interlace.estimate.derived import conditional_covariances, term_covariances

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from interlace.estimate.state import State
    from interlace.frames.design import RandomTerm
    from interlace.typing import FloatArray

__all__ = ["StandardizedModes", "standardized_modes"]


class StandardizedModes(NamedTuple):
    """Modes of one random effect at the m levels of which the data say something.

    Attributes
    ----------
    number : int
        Of the term in the model.
    term : RandomTerm
    column : int
        Of the effect in the term.
    values : ndarray, shape (m,)
    levels : pandas.Index, length m
    """

    number: int
    term: RandomTerm
    column: int
    values: FloatArray
    levels: pd.Index

    @property
    def name(self) -> str:
        """Name of the effect and key of its term."""
        return f"{self.term.names[self.column]} | {self.term.key}"


def standardized_modes(state: State) -> Iterator[StandardizedModes]:
    """Each conditional mode over its own standard deviation in repeated samples, effect by effect.

    That is the root of the variance of the random effect less its conditional variance, for known parameters: a mode is
    shrunken the more, the less the data say of its level. Effects without variance have no modes.

    References
    ----------
    Lange, N. and Ryan, L. (1989). Assessing normality in random effects models. Annals of Statistics 17, 624-642.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (1 | Subject)", interlace.datasets.load("sleepstudy"))
    >>> [(found.name, found.values[:2].round(2).tolist()) for found in standardized_modes(result.state)]
    [('Intercept | Subject', [1.14, -2.17])]
    """
    terms = state.problem.design.terms
    of_terms = zip(terms, state.modes, term_covariances(state), conditional_covariances(state), strict=True)
    for i, (term, b, psi, given) in enumerate(of_terms):
        for j in range(len(term.names)):
            variance = psi[j, j] - given[:, j, j]
            told = (variance > 1e-6 * psi[j, j]) & (psi[j, j] > 0.0)
            values = np.asarray(b[told, j] / np.sqrt(variance[told]))
            yield StandardizedModes(i, term, j, values, term.levels[told])
