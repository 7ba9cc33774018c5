"""One BLAS thread for small problems.

Several BLAS threads slow down the many small factorizations of a fit by more than an order of magnitude; large
ones gain from them. The controller is created once: looking up the loaded libraries costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController

__all__ = ["libraries", "limited"]

#: Order of the dense matrix from which several threads pay off.
_THREADED_FROM = 1500


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # loads scipy's own BLAS, so that the controller sees it

    return ThreadpoolController()


@contextmanager
def limited(m: int) -> Iterator[None]:
    """Limit BLAS to one thread while the dense matrices have an order below 1500.

    Parameters
    ----------
    m : int
        Order of the largest dense matrix in the work to be done.
    """
    if m >= _THREADED_FROM:
        yield
        return
    with _controller().limit(limits=1, user_api="blas"):
        yield


def libraries() -> list[str]:
    """BLAS libraries in use, each with its version and architecture: ``openblas 0.3.30 (Haswell)``."""
    found = _controller().select(user_api="blas").info()
    return sorted({f"{lib['internal_api']} {lib['version']} ({lib.get('architecture', 'unknown')})" for lib in found})
