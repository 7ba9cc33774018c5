"""Random-effects members of a result."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from interlace.estimate.derived import conditional_covariances
from interlace.results import varcorr

if TYPE_CHECKING:
    import pandas as pd

    from interlace.estimate.state import State
    from interlace.results.varcorr import ByTerm
    from interlace.typing import FloatArray

__all__ = ["RandomEffects"]


class RandomEffects:
    """What is known about the t random-effects terms; term i has k_i effects and q_i levels.

    Dictionaries have one entry a term, keyed by its grouping factor; a second term on the same factor g has the key
    ``g.1``, as in lme4's ``VarCorr``.
    """

    state: State

    @cached_property
    def _conditional(self) -> tuple[FloatArray, ...]:
        return conditional_covariances(self.state)

    @property
    def theta(self) -> FloatArray:
        """Covariance parameters, shape (n_theta,): lme4's ``getME(m, "theta")``.

        The covariance factor L_i of each term, lower triangle column by column, terms in lme4's order. The covariance
        matrix of a term is sigma^2 L_i L_i' in a linear model, in which theta is relative to the residual standard
        deviation, and L_i L_i' in a generalized one.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).theta.round(3)
        array([0.967, 0.015, 0.231])
        """
        return self.state.theta.copy()

    @property
    def variance_components(self) -> dict[str, float | pd.DataFrame]:
        """Variance of each scalar term, and covariance matrix of each vector term, shape (k_i, k_i).

        Of a generalized model on the scale of the linear predictor. With a dispersion lme4 1.1 prints these times
        sigma^2; here, as in lme4 2.0, they are the variances of the random effects themselves.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).variance_components["Subject"].round(2)
                   Intercept   Days
        Intercept     612.09   9.60
        Days            9.60  35.07
        """
        return varcorr.variance_components(self.state)

    @property
    def random_effects(self) -> ByTerm:
        """Conditional modes (BLUPs): a Series (q_i,) for an intercept-only term, else a DataFrame (q_i, k_i).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (1 | Subject)", df).random_effects["Subject"].head(2).round(3)
        Subject
        308    40.784
        309   -77.850
        Name: Intercept, dtype: float64
        """
        return varcorr.conditional_modes(self.state)

    @property
    def random_effects_se(self) -> ByTerm:
        """Conditional standard deviations of the random effects, shaped as ``random_effects``.

        Given the data, the fixed effects and the variance parameters, as lme4's ``ranef(m, condVar = TRUE)``: the
        uncertainty of those is left out. ``predict(se=True)`` includes that of the fixed effects. For a generalized
        model from the working weights at the modes, which is the normal approximation of Laplace's method.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (1 | Subject)", df).random_effects_se["Subject"].head(1).round(3)
        Subject
        308    9.476
        Name: Intercept, dtype: float64
        """
        return varcorr.conditional_sd(self.state.problem.design.terms, self._conditional)

    @property
    def random_effects_cov(self) -> ByTerm:
        """Conditional covariances: a Series of variances (q_i,) for an intercept-only term, else a DataFrame.

        The DataFrame has k_i rows a level, indexed by (level, effect), and k_i columns: shape (q_i k_i, k_i).

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).random_effects_cov["Subject"].head(2).round(3)
                           Intercept    Days
        Subject effect
        308     Intercept    145.705 -21.444
                Days         -21.444   5.312
        """
        return varcorr.conditional_cov(self.state.problem.design.terms, self._conditional)

    @property
    def is_singular(self) -> bool:
        """Whether some combination of random effects of a term has no variance; see ``isSingular``.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).is_singular
        False
        """
        return any(self.boundary_flags.values())

    @property
    def boundary_flags(self) -> dict[str, bool]:
        """Which terms are singular: no variance, or correlations of 1, -1 or combinations of these.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("sleepstudy")
        >>> interlace.fit("Reaction ~ Days + (Days | Subject)", df).boundary_flags
        {'Subject': False}
        """
        return varcorr.boundary_flags(self.state)

    @property
    def ngroups(self) -> dict[str, int]:
        """Number of levels in use of each grouping factor.

        Examples
        --------
        >>> import interlace
        >>> df = interlace.datasets.load("Penicillin")
        >>> interlace.fit("diameter ~ 1 + (1 | plate) + (1 | sample)", df).ngroups
        {'plate': 24, 'sample': 6}
        """
        return {term.group: len(term.levels) for term in self.state.problem.design.terms}
