"""Preconditioned conjugate gradients, many right-hand sides at a time.

Hestenes and Stiefel (1952), J. Res. Natl. Bur. Stand. 49, 409-436; each right-hand side has its own scalars, and leaves
when it is solved. One product with a block of vectors costs much less than as many products with one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from interlace.typing import FloatArray

__all__ = ["TOLERANCE", "solve"]

#: Residual, relative to the right-hand side, with which a system counts as solved.
TOLERANCE = 1e-12
_MOST_STEPS = 5000
#: Steps without progress after which rounding is to blame, and the residual that is then good enough.
_STALLED, _GOOD_ENOUGH = 50, 1e-8


def solve(
    apply: Callable[[FloatArray], FloatArray],
    precondition: Callable[[FloatArray], FloatArray],
    B: FloatArray,
    *,
    tol: float = TOLERANCE,
) -> tuple[FloatArray, bool]:
    """Solve F X = B for a symmetric positive definite F that is only known by its products.

    Parameters
    ----------
    apply : callable
        x -> F x, shapes (m, r).
    precondition : callable
        r -> P^-1 r, shapes (m, r), with P near F.
    B : ndarray, shape (m, r)
    tol : float
        Length of the residual relative to that of the right-hand side, both in the metric of P^-1.

    Returns
    -------
    X : ndarray, shape (m, r)
    solved : bool
        False if some column has not converged.

    Examples
    --------
    >>> import numpy as np
    >>> F = np.array([[4.0, 1.0], [1.0, 3.0]])
    >>> X, solved = solve(lambda x: F @ x, lambda r: r / 4.0, np.array([[1.0], [2.0]]))
    >>> X.ravel().round(6), solved
    (array([0.090909, 0.636364]), True)
    """
    X, R = np.zeros_like(B), B.copy()
    Y = precondition(R)
    rho = (R * Y).sum(axis=0)
    limit = tol * tol * rho
    best, idle = rho / np.where(rho > 0.0, rho, 1.0), 0
    active = np.flatnonzero(rho > 0.0)
    R, D, rho = R[:, active], Y[:, active], rho[active]
    start = rho.copy()
    for _ in range(_MOST_STEPS):
        if not active.size:
            return X, True
        FD = apply(D)
        alpha = rho / (D * FD).sum(axis=0)
        X[:, active] += alpha * D
        R = R - alpha * FD
        Y = precondition(R)
        new = (R * Y).sum(axis=0)
        if not np.isfinite(new).all():  # the matrix is not positive definite
            return X, False
        going = new > limit[active]
        D = (Y + (new / rho) * D)[:, going]
        active, R, rho, start = active[going], R[:, going], new[going], start[going]
        share = rho / start
        idle = 0 if (share < 0.9 * best[active]).any() else idle + 1
        best[active] = np.minimum(best[active], share)
        if idle > _STALLED:
            break
    return X, bool((best[active] <= _GOOD_ENOUGH**2).all())
