"""Column names inside formula expressions.

A formula may name any column: with spaces, dots, non-ASCII letters, or called like a transform (``log``). Inside the
Python expressions made from a formula every such name is replaced by a plain identifier that spells out the name, so
an expression can be parsed, checked and evaluated without a column ever being mistaken for a function.
"""

from __future__ import annotations

import keyword
import re
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CONTRAST_CLASSES", "RESERVED", "decode", "display", "encode", "quote", "suggest", "unknown_message"]

_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_DOTTED = re.compile(r"[^\W\d][\w.]*\Z")
_CODED = re.compile(r"__c([0-9a-f]+)__")

#: formulaic's classes of contrasts, ``C(x, Sum)``.
CONTRAST_CLASSES = frozenset(["Treatment", "Sum", "Helmert", "Poly", "Diff"])

_AMBIGUOUS = CONTRAST_CLASSES | {"TRUE", "FALSE", "True", "False", "None"}

#: Names that mean something to the formula language; a column called so is always replaced by its code.
RESERVED = CONTRAST_CLASSES | {
    "I", "C", "Q", "np", "contr", "factor", "offset", "cbind", "diag", "us", "interaction",
    "poly", "bs", "cs", "cr", "cc", "center", "scale", "standardize", "lag", "hashed",
    "log", "log2", "log10", "log1p", "exp", "exp2", "exp10", "expm1", "sqrt", "abs", "sin", "cos", "tan",
}  # fmt: skip


@lru_cache(maxsize=4096)
def encode(name: str) -> str:
    """Return the identifier that stands for the column ``name`` inside an expression."""
    plain = (
        _SIMPLE.match(name) and not keyword.iskeyword(name) and name not in RESERVED | _AMBIGUOUS and "__" not in name
    )
    return name if plain else f"__c{name.encode('utf-8', 'surrogatepass').hex()}__"


@lru_cache(maxsize=4096)
def decode(identifier: str) -> str:
    """Return the column name that ``identifier`` stands for."""
    found = _CODED.fullmatch(identifier)
    return _unhex(found) if found else identifier


def _unhex(found: re.Match[str]) -> str:
    return bytes.fromhex(found.group(1)).decode("utf-8", "surrogatepass")


def quote(name: str) -> str:
    """Write a column name as a formula would: in backticks where it is not a plain (or dotted) name."""
    needs = not _DOTTED.match(name) or keyword.iskeyword(name) or "__" in name or name in _AMBIGUOUS
    return f"`{name}`" if needs else name


@lru_cache(maxsize=4096)
def display(code: str) -> str:
    """Text of an expression as users see it; a bare column is shown by its plain name."""
    if "__c" not in code:
        return code
    if _CODED.fullmatch(code):
        return decode(code)
    return _CODED.sub(lambda found: quote(_unhex(found)), code)


def suggest(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'x'?)"`` when a known name is close to ``name``, else an empty string."""
    names = [str(k) for k in known]
    folded = {k.casefold().strip(): k for k in reversed(names)}
    close = folded.get(name.casefold().strip()) or next(iter(get_close_matches(name, names, n=1, cutoff=0.6)), None)
    return f" (did you mean {close!r}?)" if close is not None else ""


def unknown_message(missing: Iterable[str], known: Iterable[str]) -> str:
    """Message for names in a formula that are not columns."""
    known = list(known)
    listed = ", ".join(f"{name!r}{suggest(name, known)}" for name in missing)
    have = ", ".join(repr(str(k)) for k in known[:20]) + (", ..." if len(known) > 20 else "")
    return (
        f"formula refers to unknown variables: {listed}. The data have the columns {have or '(none)'}. "
        "Names in a formula are columns of data; values of your own must be put into a column first."
    )
