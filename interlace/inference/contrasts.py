"""Tests of linear functions L beta of the fixed effects, whichever way their degrees of freedom are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtrc, fdtrc  # scipy.stats takes half a second to import

from interlace.errors import ModelError
from interlace.inference import wald
from interlace.typing import DfMethod, FloatArray

__all__ = [
    "CoefficientTests",
    "FTest",
    "Sensitivity",
    "SingleTests",
    "chi_square_p_value",
    "quadratic_forms",
    "rank_of_hypothesis",
]

#: Eigenvalues of the covariance of L beta, in units of its own variances, that count as zero.
_RANK_TOL = 1e-10
#: Contradiction between rows of a hypothesis, in standard errors, that counts as one.
_CONTRADICTION = 1e-6


@dataclass(frozen=True)
class SingleTests:
    """One t test (z test where ``df`` is infinite) for each of q linear functions.

    Attributes
    ----------
    estimate, se, df, statistic, p_value : ndarray, shape (q,)
    """

    estimate: FloatArray
    se: FloatArray
    df: FloatArray
    statistic: FloatArray
    p_value: FloatArray


@dataclass(frozen=True)
class FTest:
    """One test of several linear functions together.

    Attributes
    ----------
    statistic : float
        F; where ``den_df`` is infinite, chi-square over ``num_df``.
    num_df : int
        Rank of the hypothesis.
    den_df : float
    p_value : float
    unscaled : float
        The statistic before Kenward and Roger's factor; by other methods the statistic itself.
    """

    statistic: float
    num_df: int
    den_df: float
    p_value: float
    unscaled: float


@dataclass(frozen=True)
class Sensitivity:
    """How the covariance of beta depends on r variance parameters, and how well these are known.

    Attributes
    ----------
    cov : ndarray, shape (p, p)
        Covariance of beta given the parameters.
    derivatives : ndarray, shape (r, p, p)
        Of ``cov`` by each parameter.
    parameter_cov : ndarray, shape (r, r)
        Covariance of the estimates of the parameters.
    """

    cov: FloatArray
    derivatives: FloatArray
    parameter_cov: FloatArray

    def df(self, L: FloatArray) -> FloatArray:
        """Degrees of freedom of t tests by matching two moments, 2 v^2 / var(v) with v = l'cov l.

        Parameters
        ----------
        L : ndarray, shape (q, p)

        Returns
        -------
        ndarray, shape (q,)
            NaN for a row of zeros.

        Notes
        -----
        Satterthwaite (1946, Biometrics Bulletin 2, 110-114), with the delta method for var(v) as in Kuznetsova,
        Brockhoff and Christensen (2017, J. Stat. Softw. 82(13), eq. 9). Kenward and Roger's (1997) degrees of freedom
        of a single function have the same form.
        """
        v = quadratic_forms(L, self.cov)
        slopes = np.column_stack([quadratic_forms(L, slope) for slope in self.derivatives])
        spread = quadratic_forms(slopes, self.parameter_cov)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(2.0 * v * v / spread)


@dataclass(frozen=True)
class CoefficientTests:
    """What tests and intervals of the p fixed effects need.

    Attributes
    ----------
    method : {"satterthwaite", "kenward-roger", "residual", "normal"}
    beta : ndarray, shape (p,)
    cov : ndarray, shape (p, p)
        Covariance of beta that the tests use; Kenward and Roger's adjusted one for their method.
    constant_df : float
        Degrees of freedom of every test by the residual (n - p) or the normal (infinity) method; else NaN.
    sensitivity : Sensitivity or None
        For the two methods that find degrees of freedom for each test.
    """

    method: DfMethod
    beta: FloatArray
    cov: FloatArray
    constant_df: float
    sensitivity: Sensitivity | None = None

    def df(self, L: FloatArray) -> FloatArray:
        """Degrees of freedom of the t test of each row of ``L``, shapes (q, p) to (q,)."""
        if self.sensitivity is None:
            return np.full(L.shape[0], self.constant_df)
        return self.sensitivity.df(L)

    @property
    def coefficient_df(self) -> FloatArray:
        """Degrees of freedom of the test of each coefficient, shape (p,)."""
        return self.df(np.eye(self.beta.size))

    def single(self, L: FloatArray, null: ArrayLike = 0.0) -> SingleTests:
        """Test each row of ``L``, shape (q, p), by itself."""
        estimate = L @ self.beta
        se = np.sqrt(quadratic_forms(L, self.cov))
        df = self.df(L)
        statistic = wald.statistics(estimate, se, null)
        return SingleTests(estimate, se, df, statistic, wald.p_values(statistic, df))

    def joint(self, L: FloatArray, null: ArrayLike = 0.0) -> FTest:
        """Test that L beta equals ``null`` as a whole, by an F test or chi-square over its degrees of freedom.

        Parameters
        ----------
        L : ndarray, shape (q, p)
            Rows that others determine are allowed.
        null : float or ndarray, shape (q,)

        Returns
        -------
        FTest

        Raises
        ------
        ValueError
            Rows of L contradict one another.
        ModelError
            Kenward and Roger's approximation fails for the hypothesis.

        Notes
        -----
        Satterthwaite's method for several rows follows Fai and Cornelius (1996, J. Stat. Comput. Simul. 54, 363-378):
        the eigenvectors of the covariance of L beta give independent t tests, from whose degrees of freedom those of
        their mean square are matched. Kenward and Roger (1997, Biometrics 53, 983-997) scale the statistic too.
        """
        gap = L @ self.beta - np.asarray(null, dtype=np.float64)
        if self.method == "kenward-roger" and self.sensitivity is not None:
            return self._kenward_roger(self.sensitivity, L, gap)
        values, vectors = independent_rows(L @ self.cov @ L.T, gap)
        q = values.size
        if q == 0:
            return FTest(np.nan, 0, np.nan, np.nan, np.nan)
        statistic = float(((vectors.T @ gap) ** 2 / values).sum()) / q
        den_df = self.constant_df
        if self.sensitivity is not None:
            den_df = matched_df(self.sensitivity.df(vectors.T @ L))
        return FTest(statistic, q, den_df, _p_value(statistic, q, den_df), statistic)

    def _kenward_roger(self, sensitivity: Sensitivity, L: FloatArray, gap: FloatArray) -> FTest:
        values, vectors = independent_rows(L @ sensitivity.cov @ L.T, gap)
        q = values.size
        if q == 0:
            return FTest(np.nan, 0, np.nan, np.nan, np.nan)
        rows, gap = vectors.T @ L, vectors.T @ gap
        scale, den_df = _scaled_f(sensitivity, rows, values)
        if not (scale > 0.0 and den_df > 0.0):
            raise ModelError(
                f"the Kenward-Roger approximation gives no F distribution for this hypothesis ({den_df:.3g} degrees of "
                f'freedom, factor {scale:.3g}): the data tell too little of the variances; use ddf="satterthwaite"'
            )
        unscaled = float(gap @ np.linalg.solve(rows @ self.cov @ rows.T, gap)) / q
        return FTest(scale * unscaled, q, den_df, _p_value(scale * unscaled, q, den_df), unscaled)


def quadratic_forms(L: FloatArray, M: FloatArray) -> FloatArray:
    """Forms l'M l of the q rows of ``L``, shapes (q, p) and (p, p) to (q,)."""
    return np.asarray(np.einsum("qi,qi->q", L @ M, L))


def chi_square_p_value(statistic: ArrayLike, df: ArrayLike) -> FloatArray:
    """Upper tail probability of the chi-square distribution."""
    return np.asarray(chdtrc(np.asarray(df, dtype=float), np.asarray(statistic, dtype=float)))


def _p_value(statistic: float, num_df: int, den_df: float) -> float:
    if np.isinf(den_df):
        return float(chi_square_p_value(num_df * statistic, num_df))
    return float(fdtrc(num_df, den_df, max(statistic, 0.0)))


def rank_of_hypothesis(cov: FloatArray) -> int:
    """Number of independent rows of L from the covariance of L beta, shape (q, q), whatever the units of the rows."""
    sd = np.sqrt(np.diagonal(cov))
    used = sd > 0.0
    scaled = cov[np.ix_(used, used)] / np.outer(sd[used], sd[used])
    return int((np.linalg.eigvalsh(scaled) > _RANK_TOL).sum()) if used.any() else 0


def independent_rows(cov: FloatArray, gap: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues, shape (r,), and eigenvectors, shape (q, r), of the covariance of L beta that are not zero.

    Parameters
    ----------
    cov : ndarray, shape (q, q)
    gap : ndarray, shape (q,)
        L beta minus its value under the hypothesis.

    Raises
    ------
    ValueError
        Rows of the hypothesis contradict one another.
    """
    values, vectors = np.linalg.eigh(cov)
    rank = rank_of_hypothesis(cov)
    cut = values.size - rank
    left_over = np.abs(vectors[:, :cut].T @ gap)
    size = np.sqrt(np.diagonal(cov)).max(initial=0.0) + np.abs(gap).max(initial=0.0)
    if (left_over > _CONTRADICTION * size).any():
        raise ValueError(
            "rows of L that are multiples or sums of one another contradict one another in rhs: no coefficients can "
            "satisfy them all; take the superfluous rows out"
        )
    return values[cut:][::-1], vectors[:, cut:][:, ::-1]


def matched_df(df: FloatArray) -> float:
    """Denominator degrees of freedom of the mean of q independent squared t statistics (Fai and Cornelius, 1996).

    Parameters
    ----------
    df : ndarray, shape (q,)
        Degrees of freedom of each.

    Returns
    -------
    float
        From the mean E of q F to which that of an F distribution is matched, 2 E / (E - q). Where some t statistic has
        no variance (2 degrees of freedom or fewer) the sum has no mean, and 2 is returned, as lmerTest does.

    Examples
    --------
    >>> import numpy as np
    >>> matched_df(np.array([10.0, 10.0]))
    10.0
    """
    if df.size == 1 or float(np.ptp(df)) < 1e-8:
        return float(df.mean())
    if not (df > 2.0).all():
        return 2.0
    expected = float((df / (df - 2.0)).sum())
    return 2.0 * expected / (expected - df.size)


def _scaled_f(sensitivity: Sensitivity, L: FloatArray, variances: FloatArray) -> tuple[float, float]:
    """Factor of the F statistic and denominator degrees of freedom (Kenward and Roger, 1997, section 4).

    Parameters
    ----------
    sensitivity : Sensitivity
        With the covariance before its adjustment.
    L : ndarray, shape (q, p)
        Rows whose estimates are uncorrelated.
    variances : ndarray, shape (q,)
        Of these estimates.

    Notes
    -----
    Expressions that vanish for exact F tests are set to that limit, as pbkrtest does (Halekoh and Hojsgaard, 2014,
    J. Stat. Softw. 59(9), section 4). A variance no larger than that of chi-square over q gives infinity.
    """
    q = variances.size
    root = L / np.sqrt(variances)[:, None]
    D = np.einsum("qi,rij,pj->rqp", root, sensitivity.derivatives, root)
    W = sensitivity.parameter_cov
    traces = np.einsum("rqq->r", D)
    A1 = float(traces @ W @ traces)
    A2 = float(np.einsum("rs,rqp,spq->", W, D, D))
    B = (A1 + 6.0 * A2) / (2.0 * q)
    g = ((q + 1) * A1 - (q + 4) * A2) / ((q + 2) * A2)
    below = 3 * q + 2 * (1 - g)
    c1, c2, c3 = g / below, (q - g) / below, (q + 2 - g) / below
    V0, V1, V2 = (0.0 if abs(v) < 1e-10 else v for v in (1.0 + c1 * B, 1.0 - c2 * B, 1.0 - c3 * B))
    shrink = 1.0 - A2 / q
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 1.0 if abs(shrink) < 1e-14 and abs(V1) < 1e-14 else float(np.divide(shrink, V1))
        excess = ratio * ratio * float(np.divide(V0, V2)) - 1.0
    if V2 > 0.0 and excess <= 0.0:
        return shrink, np.inf
    den_df = 4.0 + (q + 2.0) / excess
    scale = 1.0 if abs(den_df - 2.0) < 0.01 else den_df * shrink / (den_df - 2.0)
    return scale, den_df
