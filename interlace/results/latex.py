"""Small LaTeX tables, written here so that they need no template engine."""

from __future__ import annotations

from collections.abc import Sequence

from interlace.results.text import latex_escape

__all__ = ["booktabs"]


def booktabs(columns: Sequence[tuple[str, Sequence[str]]], *, text_columns: int = 1) -> str:
    r"""Write a ``tabular`` environment with the rules of the booktabs package.

    Parameters
    ----------
    columns : sequence of (heading, cells)
    text_columns : int
        Columns at the left that hold text; the others are numbers and stand at the right.

    Returns
    -------
    str

    Examples
    --------
    >>> print(booktabs([("", ["x_1"]), ("b", ["-2"]), ("p", ["2e-09"])]))
    \begin{tabular}{lrr}
    \toprule
     & b & p \\
    \midrule
    x\_1 & $-2$ & $2 \times 10^{-9}$ \\
    \bottomrule
    \end{tabular}
    """
    width = len(columns)
    layout = "l" * text_columns + "r" * (width - text_columns)
    cells = [[_cell(cell, number=j >= text_columns) for cell in column] for j, (_, column) in enumerate(columns)]
    rows = [" & ".join(row) + r" \\" for row in zip(*cells, strict=True)]
    heading = " & ".join(_cell(name, number=False) for name, _ in columns) + r" \\"
    lines = [rf"\begin{{tabular}}{{{layout}}}", r"\toprule", heading, r"\midrule", *rows, r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}"])


def _cell(text: str, *, number: bool) -> str:
    """Escape text; set a number with a sign or an exponent as mathematics, not what stands behind it."""
    head, space, rest = text.partition(" ")
    if number and (head.startswith(("-", "<")) or "e-" in head or "e+" in head):
        mantissa, e, exponent = head.partition("e")
        power = rf" \times 10^{{{int(exponent)}}}" if e else ""
        return f"${mantissa}{power}${space}{latex_escape(rest)}"
    # Behind the end of a row or a rule, LaTeX would take [ or * for an argument of that.
    return ("{}" if text.startswith(("[", "*")) else "") + latex_escape(text)
