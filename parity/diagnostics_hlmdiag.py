"""A running R that has HLMdiag: what it says about a model, in the layout of the recorded references."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from interlace.rbridge.session import require
from parity.case import Case
from parity.diagnostics_lme4 import ask
from parity.record import REFERENCE

__all__ = ["installed", "library", "live_record"]

SCRIPT = REFERENCE / "hlmdiag.R"


def installed() -> bool:
    """Whether R finds HLMdiag."""
    base = require().base
    return bool(base["nzchar"](base["system.file"](package="HLMdiag"))[0])


@contextmanager
def library(path: Path) -> Iterator[None]:
    """Have R look for packages in a folder first, for as long as the context lasts."""
    base = require().base
    before = base[".libPaths"]()
    base["unloadNamespace"]("HLMdiag")
    base[".libPaths"](require().interface.StrSexpVector([str(path), *before]))
    try:
        yield
    finally:
        base["unloadNamespace"]("HLMdiag")
        base[".libPaths"](before)


def live_record(case: Case, levels: tuple[str, ...]) -> dict[str, Any]:
    """Ask HLMdiag about a model.

    Parameters
    ----------
    case : Case
        Linear.
    levels : tuple of str
        ``"1"`` for rows, or grouping factors.

    Returns
    -------
    dict
        For `parity.diagnostics.compare_model`; without refits, which are as far from the optimum as ``lmer``'s.
    """
    session = require()
    session.base["sys.source"](str(SCRIPT), envir=session.environment)
    return ask("interlace_hlmdiag", case, {}, levels=",".join(levels))
