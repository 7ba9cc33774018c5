"""What is wrong with a fitted model: influence, residuals, leverage, checks.

Public names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__: list[str] = []

_HOME: dict[str, str] = {}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _HOME:
        raise AttributeError(f"module 'interlace.diagnostics' has no attribute {name!r}")
    value = getattr(import_module(f"interlace.diagnostics.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Public names, loaded or not."""
    return sorted(__all__)
