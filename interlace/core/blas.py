"""One BLAS thread for small problems.

Several BLAS threads slow down the many small factorizations of a fit by more than an order of magnitude; large
ones gain from them. The controller is created once: looking up the loaded libraries costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import LibController, ThreadpoolController

__all__ = ["libraries", "limited"]

#: Order of the dense matrix from which several threads pay off.
_THREADED_FROM = 1500


@lru_cache(maxsize=1)
def _controller() -> ThreadpoolController:
    import scipy.linalg  # noqa: F401  # loads scipy's own BLAS, so that the controller sees it

    return ThreadpoolController()


@lru_cache(maxsize=1)
def _libraries() -> list[LibController]:
    return [library for library in _controller().lib_controllers if library.user_api == "blas"]


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
    threaded = [(library, n) for library in _libraries() if (n := library.get_num_threads()) > 1]
    for library, _ in threaded:
        library.set_num_threads(1)
    try:
        yield
    finally:
        for library, n in threaded:
            library.set_num_threads(n)


def libraries() -> list[str]:
    """BLAS libraries in use, each with its version and architecture: ``openblas 0.3.30 (Haswell)``."""
    found = _controller().select(user_api="blas").info()
    return sorted({f"{lib['internal_api']} {lib['version']} ({lib.get('architecture', 'unknown')})" for lib in found})
