"""Linear combinations of predicted random effects that the errors of the rows confound least.

Predicted random effects are a mixture of the random effects and of the errors, so that they may look normal although
the random effects are not. Rotating them to the combinations with the least share of errors makes tests of their
distribution more telling. On the scale sigma = 1, with V = I + Z Psi Z', P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1, and S
the selection of one random effect of all levels, S'u = S' Psi Z'P y has the covariance B = S' Psi Z'P Z Psi S, of which
A = S' Psi Z'P P Z Psi S is from the errors. The directions K that maximize k'Bk / k'Ak are found in the space that B
spans, B = T diag(c) T':

    c^-1/2 T'A T c^-1/2 = U diag(a) U',   K = T c^-1/2 U_s,   S' u rotated: K' S' u,

with U_s the eigenvectors of the s smallest a. Then K'BK = I.

References
----------
Loy, A. and Hofmann, H. (2015). Are you normal? The problem of confounded residual structures in hierarchical linear
models. Journal of Computational and Graphical Statistics 24, 1191-1209.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.linalg
from scipy import sparse

from interlace.core import blas
from interlace.diagnostics.model import linear_state_of
from interlace.diagnostics.units import grouping_term
from interlace.errors import ModelError
from interlace.estimate.derived import term_factors
from interlace.rbridge.names import r_name
from interlace.results.rows import random_effects_matrix

if TYPE_CHECKING:
    from interlace.estimate.state import FitState
    from interlace.typing import FloatArray, IntArray

__all__ = ["rotate_ranef", "varimax_rotation"]

#: Most random effects of a model: the largest dense matrix fills 0.8 GB.
_LARGEST = 10_000
#: Eigenvalues of B below this share of the largest are zero.
_NULL = 1e-10


def rotate_ranef(
    model: Any, level: str | None = None, *, which: str = "Intercept", s: int | None = None, varimax: bool = False
) -> pd.Series:
    """Rotate predicted random effects to the combinations that errors confound least.

    Parameters
    ----------
    model : LMMResult, or statsmodels' MixedLMResults
    level : str, optional
        Grouping factor; may be left out where there is only one.
    which : str
        The random effect: ``"Intercept"``, ``"Days"``.
    s : int, optional
        Number of combinations, at most the rank of the covariance of the predictions (as a rule the number of groups
        less that of the fixed effects that vary between groups only), which is the default.
    varimax : bool
        Whether to turn the chosen combinations towards few groups each, by the raw varimax criterion.

    Returns
    -------
    Series, shape (s,)
        Combinations in order of falling confounding; the signs are arbitrary, and where shares of errors are tied, as
        in balanced data, only the sum of squares of the tied ones is determined. The effects have variance sigma^2 if
        the model holds.

    Raises
    ------
    ValueError
        For a level or an effect that there is not; for ``s`` beyond the rank; for an effect that is zero in all groups;
        for more than 10,000 random effects.
    TypeError
        For what is no linear mixed model.

    References
    ----------
    Loy, A. and Hofmann, H. (2015). Are you normal? The problem of confounded residual structures in hierarchical linear
    models. Journal of Computational and Graphical Statistics 24, 1191-1209.

    Examples
    --------
    >>> import interlace
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> rotated = rotate_ranef(result, which="Days")
    >>> len(rotated), round(float((rotated**2).sum()) / result.scale, 1)
    (17, 17.0)
    """
    state = linear_state_of(model, "rotate_ranef()")
    picked, u = _picked(state, level, which)
    A, B = _confounding(state, picked)
    with blas.limited(len(u)):
        c, T = np.linalg.eigh(B)
        used = c > _NULL * max(float(c[-1]), 0.0)
        if not used.any():
            raise ModelError(f"the random effect {which!r} is estimated to be zero in all groups: nothing to rotate")
        rank = int(used.sum())
        s = rank if s is None else _count(s, rank)
        half = T[:, used] / np.sqrt(c[used])
        _, U = np.linalg.eigh(half.T @ A @ half)
        K = half @ U[:, :s][:, ::-1]
    if varimax:
        K = K @ varimax_rotation(K)
    return pd.Series(K.T @ u, index=pd.RangeIndex(1, s + 1, name="combination"), name=which)


def _count(s: Any, rank: int) -> int:
    """Check the number of combinations."""
    if isinstance(s, bool) or not isinstance(s, int | np.integer) or not 1 <= s <= rank:
        raise ValueError(f"s must be a whole number from 1 to {rank}, the rank of what can be rotated; not {s!r}")
    return int(s)


def _picked(state: FitState, level: str | None, which: str) -> tuple[IntArray, FloatArray]:
    """Columns of `random_effects_matrix`, shape (q,), of one effect, and its conditional modes, shape (q,)."""
    terms = state.problem.design.terms
    groups = list(dict.fromkeys(term.group for term in terms))
    if level is None and len(groups) > 1:
        raise ValueError(f"level must be one of {', '.join(map(repr, groups))}, as there are several grouping factors")
    group = grouping_term(state, groups[0] if level is None else level).group
    start = 0
    names: list[str] = []
    for term, modes in zip(terms, state.modes, strict=True):
        if term.group == group:
            names += term.names
            for j, name in enumerate(term.names):
                if which in (name, r_name(name)):
                    columns = start + len(term.names) * np.arange(len(term.levels), dtype=np.int64) + j
                    return columns, modes[:, j]
        start += modes.size
    raise ValueError(f"which={which!r} is not a random effect of {group!r}; it has {', '.join(map(repr, names))}")


def _confounding(state: FitState, picked: IntArray) -> tuple[FloatArray, FloatArray]:
    """A and B of the module, shapes (q, q), from V^-1 Z L = Z L (I + L'Z'Z L)^-1."""
    design = state.problem.design
    if sum(modes.size for modes in state.modes) > _LARGEST:
        raise ModelError(f"rotate_ranef() is for models of up to {_LARGEST} random effects; this one has more")
    root = np.ones((design.y.size, 1)) if design.weights is None else np.sqrt(design.weights)[:, None]
    X = root * design.X[:, state.kept]
    blocks = [
        sparse.kron(sparse.eye_array(len(t.levels)), L) for t, L in zip(design.terms, term_factors(state), strict=True)
    ]
    factor = sparse.csr_array(sparse.block_diag(blocks, format="csr"))
    ZL = sparse.csr_array(random_effects_matrix(state).multiply(root)) @ factor
    with blas.limited(ZL.shape[1]):
        gram = np.asarray((ZL.T @ ZL).todense())
        H = scipy.linalg.cho_factor(gram + np.eye(len(gram)), lower=True, overwrite_a=True)
        LS = np.asarray(factor[picked].T.todense())
        F = scipy.linalg.cho_solve(H, LS)  # V^-1 Z Psi S = Z L F
        Q, _ = np.linalg.qr(X)
        ZLX = np.asarray(ZL.T @ Q)
        VX = Q - ZL @ scipy.linalg.cho_solve(H, ZLX)  # V^-1 Q
        ZLVX = np.asarray(ZL.T @ VX)
        share = np.linalg.solve(Q.T @ VX, ZLVX.T @ LS)
        GF, cross = gram @ F, ZLVX.T @ F
        A = F.T @ GF - cross.T @ share - share.T @ cross + share.T @ (VX.T @ VX) @ share
        B = LS.T @ GF - (ZLX.T @ F).T @ share
    return (A + A.T) / 2.0, (B + B.T) / 2.0


def varimax_rotation(K: FloatArray, *, tol: float = 1e-5, iterations: int = 1000) -> FloatArray:
    """Orthogonal matrix that maximizes the sum over columns of the variance of the squared loadings K R.

    Parameters
    ----------
    K : ndarray, shape (q, s)
    tol : float
        Stop when the sum of singular values rises by no more than this share.
    iterations : int

    Returns
    -------
    ndarray, shape (s, s)

    References
    ----------
    Kaiser, H. F. (1958). The varimax criterion for analytic rotation in factor analysis. Psychometrika 23, 187-200.

    Examples
    --------
    >>> K = np.array([[1.0, 0], [2, 0], [0, 1], [0, 3]]) @ np.array([[0.8, 0.6], [-0.6, 0.8]])
    >>> np.abs(K @ varimax_rotation(K)).round(3).tolist()
    [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]]
    """
    R, reached = np.eye(K.shape[1]), 0.0
    if K.shape[1] < 2:
        return R
    for _ in range(iterations):
        turned = K @ R
        slope = K.T @ (turned**3 - turned * (turned**2).mean(axis=0))
        left, values, right = np.linalg.svd(slope)
        R = left @ right
        before, reached = reached, math.fsum(values)
        if reached < before * (1.0 + tol):
            break
    return R
