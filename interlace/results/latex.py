"""Small LaTeX tables, written here so that they need no template engine."""

from __future__ import annotations

from collections.abc import Sequence

from interlace.results.text import latex_escape

__all__ = ["booktabs"]


def booktabs(columns: Sequence[tuple[str, Sequence[str]]], *, text_columns: int = 1) -> str:
    r"""A ``tabular`` environment with the rules of the booktabs package.

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
    >>> print(booktabs([("", ["x_1"]), ("b", ["-2"])]))
    \begin{tabular}{lr}
    \toprule
     & b \\
    \midrule
    x\_1 & $-2$ \\
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
    """A minus sign and a less-than sign are set as mathematics; everything else is text."""
    if number and text.startswith(("-", "<")):
        return f"${text}$"
    return latex_escape(text).replace("<", r"\textless{}").replace(">", r"\textgreater{}").replace("|", r"\textbar{}")
