"""What the command line writes: results to standard output, warnings and errors to standard error."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text
from scipy.linalg import LinAlgWarning

from interlace.reporting.numbers import to_json

__all__ = ["complain", "print_json", "print_table", "print_text", "warnings_on_stderr"]

#: Width of tables that go to a file or another program.
_WIDTH = 160


def complain(message: str) -> None:
    """Write one line to standard error."""
    sys.stderr.write(f"interlace: {' '.join(message.split())}\n")


def print_text(text: object) -> None:
    """Write text as it is."""
    sys.stdout.write(f"{text}\n")


def print_json(value: Any) -> None:
    """Write JSON; infinity and what is not a number are text."""
    print_text(json.dumps(to_json(value), indent=1, ensure_ascii=False, allow_nan=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table that fits the terminal."""
    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH)
    console.print(table)


@contextmanager
def warnings_on_stderr(*said: type[Warning]) -> Iterator[None]:
    """Write warnings as lines to standard error, but not of the categories that are said elsewhere."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    for category, text in dict.fromkeys((warning.category, str(warning.message)) for warning in found):
        if issubclass(category, UserWarning | LinAlgWarning) and not issubclass(category, said):
            complain(f"warning: {text}")
