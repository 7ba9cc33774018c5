"""Results from files, of whatever kind of model."""

from __future__ import annotations

import os

from interlace.estimate.glmm_state import GlmmState
from interlace.results import persist
from interlace.results.call import FitCall, GlmerCall
from interlace.results.glmm import GLMMResult
from interlace.results.lmm import LMMResult

__all__ = ["load"]


def load(path: str | os.PathLike[str]) -> LMMResult | GLMMResult:
    """Read a fit that ``save`` wrote.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    LMMResult or GLMMResult
        With the numbers of the fit that was saved. No optimizer runs, and nothing in the file is executed.

    Raises
    ------
    DataError
        The file is not such a file, is damaged, or was written by a later version.

    Examples
    --------
    >>> import interlace, pathlib, tempfile
    >>> result = interlace.fit("Reaction ~ Days + (Days | Subject)", interlace.datasets.load("sleepstudy"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(pathlib.Path(folder, "sleep.interlace"))
    ...     interlace.load(pathlib.Path(folder, "sleep.interlace"))
    <LMMResult: Reaction ~ Days + (Days | Subject), REML, 180 rows>
    """
    state, call = persist.load(path)
    if isinstance(state, GlmmState):
        assert isinstance(call, GlmerCall)
        return GLMMResult(state, call)
    assert isinstance(call, FitCall)
    return LMMResult(state, call)
