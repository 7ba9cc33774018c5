"""The works that reports cite, as text and as BibTeX."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from typing import Any

from interlace.results.persist import library_version
from interlace.results.text import latex_escape

__all__ = ["bibtex", "cited", "listed"]

_IN_BIBTEX = ("journal", "publisher", "volume", "number", "pages", "doi", "note")
#: Accented letters of the authors' names, for BibTeX without Unicode.
_ACCENTS = {"ä": '{\\"a}', "é": "{\\'e}"}


@lru_cache(maxsize=1)
def _works() -> dict[str, dict[str, Any]]:
    text = (files("interlace.reporting") / "references.toml").read_text(encoding="utf-8")
    works: dict[str, dict[str, Any]] = tomllib.loads(text)
    works["interlace"]["note"] = f"Version {library_version()}"
    return works


def cited(*keys: str) -> str:
    """Citation in parentheses.

    Examples
    --------
    >>> cited("laird1982", "bates2015")
    '(Laird & Ware, 1982; Bates et al., 2015)'
    """
    return f"({'; '.join(_works()[key]['short'] for key in keys)})"


def listed(keys: Iterable[str]) -> list[str]:
    """Entries of a list of references, in alphabetical order.

    Examples
    --------
    >>> listed(["cook1977"])[0][:80]
    'Cook, R. D. (1977). Detection of influential observation in linear regression. T'
    """
    return sorted(_entry(_works()[key]) for key in keys)


def _entry(work: dict[str, Any]) -> str:
    authors = [_initials(name) for name in work["author"]]
    who = authors[0] if len(authors) == 1 else f"{', '.join(authors[:-1])} & {authors[-1]}"
    year = f" ({work['year']})." if "year" in work else ("" if who.endswith(".") else ".")
    where = work.get("journal", work.get("publisher", work.get("note", "")))
    if "volume" in work:
        where += f" {work['volume']}({work['number']}), {work['pages'].replace('--', '–')}"  # noqa: RUF001
    doi = f" https://doi.org/{work['doi']}" if "doi" in work else ""
    return f"{who}{year} {work['title']}. {where}.{doi}"


def _initials(name: str) -> str:
    last, _, first = name.strip("{}").partition(", ")
    return f"{last}, {' '.join(part[0] + '.' for part in first.split())}" if first else last


def bibtex(keys: Iterable[str]) -> str:
    """Entries of a BibTeX file, in alphabetical order of their keys.

    Examples
    --------
    >>> print(bibtex(["davison1997"]))
    @book{davison1997,
      author = {Davison, Anthony C. and Hinkley, David V.},
      title = {{Bootstrap methods and their application}},
      year = {1997},
      publisher = {Cambridge University Press},
      doi = {10.1017/CBO9780511802843},
    }
    """
    return "\n\n".join(_bibtex_entry(key, _works()[key]) for key in sorted(keys))


def _bibtex_entry(key: str, work: dict[str, Any]) -> str:
    fields = {"author": " and ".join(work["author"]), "title": f"{{{latex_escape(work['title'])}}}"}
    fields |= {"year": work["year"]} if "year" in work else {}
    fields |= {name: work[name] for name in _IN_BIBTEX if name in work}
    lines = [f"@{work['type']}{{{key},", *(f"  {name} = {{{value}}}," for name, value in fields.items()), "}"]
    text = "\n".join(lines)
    for letter, command in _ACCENTS.items():
        text = text.replace(letter, command)
    return text
