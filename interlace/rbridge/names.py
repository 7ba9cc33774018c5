"""Names of coefficients in R, and formulas in R's language."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from interlace.errors import FormulaError
from interlace.rbridge.deparse import deparse, quote_name

__all__ = ["canonical", "r_formula", "r_label", "r_name", "r_names"]

_OPEN, _CLOSE = "([{", ")]}"
_TOKEN = re.compile(r"\s+|`[^`]*`|'[^']*'|\"[^\"]*\"|\*\*|\|\||(?:[^\W\d]|\.(?!\d))[\w.]*|[\d.]+(?:[eE][+-]?\d+)?|.")


def r_name(name: str, among: Sequence[str] | None = None) -> str:
    """Return R's name of a coefficient.

    Parameters
    ----------
    name : str
        Name as interlace prints it: ``Intercept``, ``period[T.2]``, ``x:f[T.b]``, ``C(x, contr.sum)[S.a]``.
    among : sequence of str, optional
        All coefficients of the model, in order. R numbers the columns of sum and Helmert contrasts instead of
        naming them after levels, so those need to be counted.

    Returns
    -------
    str
        ``(Intercept)``, ``period2``, ``x:fb``, ``C(x, contr.sum)1``.

    Examples
    --------
    >>> r_name("period[T.2]:treated[T.True]")
    'period2:treatedTRUE'
    """
    if name in ("Intercept", "1", "(Intercept)"):
        return "(Intercept)"
    return ":".join(_part(part, among) for part in _split(name, ":"))


def r_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return R's names of all coefficients of a model, given in order."""
    return tuple(r_name(name, names) for name in names)


def canonical(name: str) -> str:
    """Return a form of an R name in which the order within interactions and spaces do not matter."""
    return ":".join(sorted(part.replace(" ", "") for part in _split(name, ":")))


def r_label(label: object) -> str:
    """Return a level's label as R prints it: ``1.0`` as ``1``, ``True`` as ``TRUE``, fractions with 15 digits."""
    if isinstance(label, float | np.floating) and not float(label).is_integer():
        return _r_fraction(float(label))
    text = str(label)
    if text in ("True", "False"):
        return text.upper()
    return text.removesuffix(".0") if re.fullmatch(r"-?\d+\.0", text) else text


def _r_fraction(value: float) -> str:
    """Return what R's ``as.character`` makes of a double: 15 digits at most, fixed notation unless it is longer."""
    mantissa, exponent = f"{value:.14e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".")
    decimals = len(mantissa.lstrip("-").replace(".", "")) - 1 - int(exponent)
    fixed, scientific = f"{value:.{max(decimals, 0)}f}", f"{mantissa}e{exponent}"
    return fixed if len(fixed) <= len(scientific) else scientific


def _part(part: str, among: Sequence[str] | None) -> str:
    base, level = part, ""
    if part.endswith("]"):
        start = _opening(part)
        base, level = part[:start], part[start + 1 : -1]
    written = _base(base)
    kind, _, label = level.partition(".")
    if kind == "T" and label:
        return written + r_label(label)
    if kind in ("S", "H") and label:
        return f"{written}{_column(base, level, among)}"
    if base.startswith("poly("):
        return written + _polynomial(base, level)
    return written + r_label(level)


def _polynomial(base: str, number: str) -> str:
    """R's number of a column of ``poly()``: from 1, where formulaic counts raw ones from 0; a line has none."""
    options = [option.replace(" ", "") for option in _split(base[len("poly(") : -1], ",")]
    options = [option.removeprefix(",") for option in options[1:]]
    raw = "raw=True" in options or options[1:2] == ["True"]
    degree = next((option.removeprefix("degree=") for option in options if option.startswith("degree=")), None)
    if degree is None:
        degree = options[0] if options and "=" not in options[0] else "1"
    return "" if degree == "1" else str(int(number) + raw)


def _base(text: str) -> str:
    try:
        return deparse(text)
    except FormulaError:
        if re.match(r"[\w.]+\(", text):
            raise
        return quote_name(text.strip("`"))  # formulaic drops the backticks of a column name


def _column(base: str, level: str, among: Sequence[str] | None) -> int:
    """Return the number of a sum or Helmert column: its place among the levels of the same factor."""
    if among is None:
        raise FormulaError(f"R numbers the column {base}[{level}]: pass all coefficient names as among=")
    prefix = f"{base}[{level[0]}."
    parts = (part for name in among for part in _split(name, ":"))
    seen = list(dict.fromkeys(part for part in parts if part.startswith(prefix)))
    return seen.index(f"{base}[{level}]") + 1


def _opening(text: str) -> int:
    """Position of the bracket that the last character closes."""
    depth = 0
    for position in range(len(text) - 1, -1, -1):
        depth += (text[position] == "]") - (text[position] == "[")
        if depth == 0:
            return position
    raise FormulaError(f"unbalanced brackets in {text!r}")


def _split(text: str, separator: str) -> list[str]:
    """Split where the separator stands outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for position, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "`'\"":
            quote = character
        elif character in _OPEN:
            depth += 1
        elif character in _CLOSE:
            depth -= 1
        elif character == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]]


def r_formula(formula: str, *, offsets: bool = True) -> str:
    """Translate a formula of interlace into R's language.

    Parameters
    ----------
    formula : str
        Formula with its random-effects terms in bars.
    offsets : bool
        Keep ``offset(...)`` terms. False leaves them out, for callers that pass the evaluated offset.

    Returns
    -------
    str

    Examples
    --------
    >>> r_formula("y ~ C(x) + x ** 2 + (1 | g)")
    'y ~ factor(x) + x ^ 2 + (1 | g)'
    """
    left, tilde, right = formula.partition("~")
    if not tilde:
        raise FormulaError(f"{formula!r} has no ~")
    response = deparse(left.strip())
    return f"{response} ~ {_right_hand_side(right.strip(), offsets)}"


def _right_hand_side(text: str, offsets: bool) -> str:
    written: list[str] = []
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None
        word, position = token.group(), token.end()
        if position < len(text) and text[position] == "(" and re.fullmatch(r"[\w.]+", word):
            end = _closing(text, position)
            written.append(_call(word, text[position + 1 : end], offsets))
            position = end + 1
        elif word == "**":
            written.append("^")
        elif re.fullmatch(r"[^\W\d][\w.]*", word):
            written.append(quote_name(word))
        else:
            written.append(word)
    joined = re.sub(r"^\s*\+|\s*\+(?=\s*\+)|\s*\+\s*$", "", "".join(written))  # what left-out offsets leave
    return re.sub(r"\s+", " ", joined).strip() or "1"


def _call(function: str, inside: str, offsets: bool) -> str:
    if function == "offset":
        return f"offset({deparse(inside)})" if offsets else ""
    if function == "diag":
        raise FormulaError("diag(x | g) has no counterpart in lme4: write (x || g), which is the same for numeric x")
    return deparse(f"{function}({inside})")


def _closing(text: str, start: int) -> int:
    depth, quote = 0, ""
    for position in range(start, len(text)):
        character = text[position]
        if quote:
            quote = "" if character == quote else quote
        elif character in "`'\"":
            quote = character
        else:
            depth += (character in _OPEN) - (character in _CLOSE)
            if depth == 0:
                return position
    raise FormulaError(f"unbalanced parentheses in {text!r}")
