"""Numbers and columns as text: what the printed tables share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from interlace.typing import FloatArray

__all__ = ["abbreviate", "align", "latex_escape", "p_value", "significant"]

_MOST_DECIMALS = 10
_LATEX = {char: f"\\{char}" for char in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "∞": r"$\infty$",
}


def significant(values: FloatArray, digits: int) -> list[str]:
    """Texts of the numbers with as many decimals as the one needing most, shown with ``digits`` significant digits.

    Parameters
    ----------
    values : ndarray, shape (n,)
    digits : int

    Returns
    -------
    list of str
        Fixed notation, or scientific notation for all where some number is too small or too large for it.

    Examples
    --------
    >>> import numpy as np
    >>> significant(np.array([612.1, 35.0717]), 4)
    ['612.10', '35.07']
    """
    values = np.asarray(values, dtype=float)
    finite = values[np.isfinite(values) & (values != 0)]
    decimals = max((_decimals(v, digits) for v in finite), default=0)
    if decimals > _MOST_DECIMALS or (finite.size and np.abs(finite).max() >= 1e15):
        return [f"{v:.{digits - 1}e}" for v in values]
    return [f"{v + 0.0:.{decimals}f}" for v in values]


def _decimals(value: float, digits: int) -> int:
    """Decimals that show ``value`` to ``digits`` significant digits, trailing zeros left out."""
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    return max(0, len(mantissa.replace(".", "").rstrip("0")) - 1 - int(exponent))


def p_value(value: float) -> str:
    """Text of a probability with three significant digits.

    Examples
    --------
    >>> p_value(0.04321), p_value(1e-20)
    ('0.0432', '<2e-16')
    """
    return "<2e-16" if value < np.finfo(float).eps else f"{value:.3g}"


def align(columns: Iterable[tuple[str, Sequence[str], str]], gap: str = " ") -> list[str]:
    """Lines of a table, the first one with the headings.

    Parameters
    ----------
    columns : iterable of (heading, cells, "<" or ">")
    gap : str
        Text between columns.

    Returns
    -------
    list of str
        No spaces at line ends.

    Examples
    --------
    >>> align([("a", ["x", "yy"], "<"), ("n", ["1", "10"], ">")])
    ['a   n', 'x   1', 'yy 10']
    """
    filled = []
    for heading, cells, side in columns:
        width = max(len(text) for text in (heading, *cells))
        filled.append([f"{text:{side}{width}}" for text in (heading, *cells)])
    return [gap.join(row).rstrip() for row in zip(*filled, strict=True)]


def abbreviate(names: Sequence[str], width: int = 6) -> list[str]:
    """Short column headings: inner lower-case vowels go first, then other lower-case letters, from the right.

    Parameters
    ----------
    names : sequence of str
    width : int
        Length aimed at.

    Returns
    -------
    list of str
        ``[1]``, ``[2]``, ... for all where short names would not be unique.

    Examples
    --------
    >>> abbreviate(["Intercept", "Days"])
    ['Intrcp', 'Days']
    """
    short = [_shorten(name, width) for name in names]
    return short if len(set(short)) == len(short) else [f"[{j + 1}]" for j in range(len(names))]


def _shorten(name: str, width: int) -> str:
    for droppable in ("aeiou", "abcdefghijklmnopqrstuvwxyz"):
        for at in range(len(name) - 1, 0, -1):
            if len(name) <= width:
                return name
            if name[at] in droppable and name[at - 1].isalnum():
                name = name[:at] + name[at + 1 :]
    return name[:width]


def latex_escape(text: str) -> str:
    r"""Text in which no character is special to LaTeX.

    Examples
    --------
    >>> print(latex_escape("x_1 & 5%"))
    x\_1 \& 5\%
    """
    return "".join(_LATEX.get(char, char) for char in text)
