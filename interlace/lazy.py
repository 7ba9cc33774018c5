"""Public names of a package that are loaded on first use, so that importing the package stays fast."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

__all__ = ["load"]


def load(package: str, homes: Mapping[str, str], name: str) -> Any:
    """What a package's ``__getattr__`` returns (PEP 562); the package keeps it.

    Parameters
    ----------
    package : str
        ``__name__`` of the package.
    homes : mapping of str to str
        Public name to the module that defines it; to itself where it is a module. Modules are relative to the package.
    name : str

    Raises
    ------
    AttributeError
        If the package has no such name.

    Examples
    --------
    >>> load("interlace", {"fit": "api"}, "fit").__name__
    'fit'
    >>> load("interlace", {"fit": "api"}, "fitt")
    Traceback (most recent call last):
    AttributeError: module 'interlace' has no attribute 'fitt'
    """
    if name not in homes:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    module = import_module(f"{package}.{homes[name]}")
    value = module if homes[name] == name else getattr(module, name)
    setattr(sys.modules[package], name, value)
    return value
