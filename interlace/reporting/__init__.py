"""Reports that can be checked: what `interlace.report` writes, and what `interlace.verify` fits again.

Public names are loaded on first use.
"""

from __future__ import annotations

from typing import Any

from interlace.lazy import load

__all__ = [
    "ModelComparison",
    "ReportFiles",
    "Verification",
    "compare",
    "data_hash",
    "read_data",
    "read_table",
    "report",
    "verify",
    "verify_results",
]

_HOME: dict[str, str] = {
    "ModelComparison": "comparison",
    "ReportFiles": "bundle",
    "Verification": "verification",
    "compare": "comparison",
    "data_hash": "data",
    "read_data": "stored",
    "read_table": "files",
    "report": "bundle",
    "verify": "verification",
    "verify_results": "verification",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    return load(__name__, _HOME, name)


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
