"""How far estimates move when rows are left out: measures of influence, as arrays.

With estimates b and covariance C of the whole fit, b_(u) and C_(u) of the fit without unit u, and p coefficients:

    Cook's distance   (b - b_(u))' C^-1 (b - b_(u)) / p
    MDFFITS           (b - b_(u))' C_(u)^-1 (b - b_(u)) / p
    COVTRACE          |trace(C^-1 C_(u)) - p|
    COVRATIO          det C_(u) / det C
    RVC               v_(u) / v - 1 for each variance component v

References
----------
Loy, A. and Hofmann, H. (2014). HLMdiag: a suite of diagnostics for hierarchical linear models in R. Journal of
Statistical Software 56(5), sections 4.1 and 4.2. Christensen, R., Pearson, L. M. and Johnson, W. (1992).
Case-deletion diagnostics for mixed models. Technometrics 34, 38-45. Dillane, D. (2005). Deletion diagnostics for the
linear mixed model. PhD thesis, Trinity College Dublin.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from interlace.diagnostics.deletion import Deletions
from interlace.typing import FloatArray

__all__ = ["Measures"]


@dataclass(frozen=True)
class Measures:
    """Measures of u deletions; NaN where there are no estimates, and of coefficients where there are none (p = 0).

    Attributes
    ----------
    beta : ndarray, shape (p,)
    beta_cov : ndarray, shape (p, p)
    components : ndarray, shape (c,)
        Of the whole fit.
    found : Deletions

    Examples
    --------
    >>> import interlace
    >>> from interlace.diagnostics.deletion import exact_deletions
    >>> state = interlace.fit("Yield ~ 1 + (1 | Batch)", interlace.datasets.load("Dyestuff")).state
    >>> found = exact_deletions(state, [np.arange(5)])
    >>> Measures(state.beta, state.beta_cov, np.array([2451.25, 1764.05]), found).cooksd.round(4)
    array([0.0539])
    """

    beta: FloatArray
    beta_cov: FloatArray
    components: FloatArray
    found: Deletions

    @property
    def dfbeta(self) -> FloatArray:
        """B - b_(u), shape (u, p)."""
        return self.beta - self.found.beta

    @cached_property
    def dfbetas(self) -> FloatArray:
        """``dfbeta`` over the standard errors without the unit, shape (u, p)."""
        return self.dfbeta / np.sqrt(np.diagonal(self.found.beta_cov, axis1=1, axis2=2))

    @cached_property
    def cooksd(self) -> FloatArray:
        """Cook's distances, shape (u,)."""
        along = self._root @ self.dfbeta.T
        return self._mean((along * along).sum(axis=0))

    @cached_property
    def mdffits(self) -> FloatArray:
        """MDFFITS, shape (u,)."""
        change = (self._root @ self.dfbeta.T).T[..., None]
        return self._mean((change * np.linalg.solve(self._relative, change)).sum(axis=(1, 2)))

    @cached_property
    def covtrace(self) -> FloatArray:
        """COVTRACE, shape (u,)."""
        p = self.beta.size
        return self._defined(np.abs(np.trace(self._relative, axis1=1, axis2=2) - p))

    @cached_property
    def covratio(self) -> FloatArray:
        """COVRATIO, shape (u,)."""
        with np.errstate(invalid="ignore"):
            return self._defined(np.linalg.det(self._relative))

    @cached_property
    def rvc(self) -> FloatArray:
        """Relative change of each variance component, shape (u, c).

        A component that is zero in the whole fit has none: NaN where it stays zero, infinity where it does not.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.found.components / self.components - 1.0

    @cached_property
    def _root(self) -> FloatArray:
        """Inverse of the lower Cholesky factor of C, shape (p, p), by way of correlations: units do not matter."""
        scale = np.sqrt(np.diagonal(self.beta_cov))
        factor = np.linalg.cholesky(self.beta_cov / np.outer(scale, scale))
        return np.asarray(np.linalg.inv(factor) / scale)

    @cached_property
    def _relative(self) -> FloatArray:
        """C_(u) with C as the unit, shape (u, p, p)."""
        return np.asarray(self._root @ self.found.beta_cov @ self._root.T)

    def _mean(self, total: FloatArray) -> FloatArray:
        return self._defined(total / max(self.beta.size, 1))

    def _defined(self, values: FloatArray) -> FloatArray:
        return values if self.beta.size else np.full(values.shape, np.nan)
