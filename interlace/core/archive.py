"""Files of numbers: a zip archive that holds JSON and arrays, and nothing that can be executed.

``meta.json`` has ``format``, ``version`` and whatever describes the arrays; ``arrays.npz`` is numpy's own archive of
arrays a0, a1, ..., read with ``allow_pickle=False``; ``arrays.json`` lists what they are, because names of arrays may
hold characters that names of files may not.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from interlace.errors import DataError, InterlaceError

__all__ = ["Arrays", "Kind", "read", "write"]

Arrays: TypeAlias = dict[str, np.ndarray]


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes
    ----------
    format : str
        Identifier within the file.
    version : int
        Of the format; files of other versions are refused.
    noun : str
        What messages call it: "a result saved by interlace".
    remedy : str
        What to do about a file of another version, beside updating the library.
    """

    format: str
    version: int
    noun: str
    remedy: str

    def damaged(self, path: str | os.PathLike[str], error: Exception | str) -> DataError:
        """Error for a file of this kind that cannot be used."""
        why = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        return DataError(f"{os.fsdecode(path)!r} is damaged and cannot be read ({why})")


def write(path: str | os.PathLike[str], kind: Kind, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write a file.

    Parameters
    ----------
    path : str or path-like
    kind : Kind
    meta : mapping
        What JSON can hold.
    arrays : mapping from name to ndarray

    Raises
    ------
    TypeError
        JSON cannot hold ``meta``; no file is written then.
    """
    text = json.dumps({"format": kind.format, "version": kind.version, **meta}, indent=1)
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **{_member(i): value for i, value in enumerate(arrays.values())})
    # Level 1: numbers compress hardly better at higher ones, and take up to ten times as long.
    with zipfile.ZipFile(os.fsdecode(path), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("meta.json", text)
        archive.writestr("arrays.json", json.dumps(list(arrays)))
        archive.writestr("arrays.npz", packed.getvalue())


def _member(i: int) -> str:
    return f"a{i}"


def read(path: str | os.PathLike[str], kind: Kind) -> tuple[dict[str, Any], Arrays]:
    """Read a file, after a look at its format and version.

    Parameters
    ----------
    path : str or path-like
    kind : Kind

    Returns
    -------
    meta : dict
    arrays : dict of str to ndarray

    Raises
    ------
    DataError
        The file is of another kind or version, or is damaged.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> kind = Kind("example", 1, "an example", "write it again")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "example.npz")
    ...     write(path, kind, {"n": 2}, {"x": np.array([1.0, 2.0])})
    ...     read(path, kind)
    ({'format': 'example', 'version': 1, 'n': 2}, {'x': array([1., 2.])})
    """
    name = os.fsdecode(path)
    try:
        with zipfile.ZipFile(name) as archive:
            meta = json.loads(archive.read("meta.json"))
            if not isinstance(meta, dict) or meta.get("format") != kind.format:
                raise DataError(f"{name!r} is not {kind.noun}")
            if meta.get("version") != kind.version:
                raise DataError(
                    f"{name!r} has format version {meta.get('version')!r} (written by interlace "
                    f"{meta.get('interlace')}); this version reads {kind.version}: update interlace, or {kind.remedy}"
                )
            order = json.loads(archive.read("arrays.json"))
            with np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False) as packed:
                return meta, {key: packed[_member(i)] for i, key in enumerate(order)}
    except zipfile.BadZipFile as error:
        if zipfile.is_zipfile(name):
            raise kind.damaged(path, error) from error
        raise DataError(f"{name!r} is not {kind.noun}") from error
    except KeyError as error:
        raise DataError(f"{name!r} is not {kind.noun}: {error}") from error
    except (ValueError, TypeError, EOFError, zlib.error) as error:
        if isinstance(error, InterlaceError):
            raise
        raise kind.damaged(path, error) from error
