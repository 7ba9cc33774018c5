"""What the packaged data sets are: names, sources, meanings of the columns."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Any

from interlace.errors import DataError

__all__ = ["Dataset", "describe", "names"]


@dataclass(frozen=True)
class Dataset:
    """A packaged data set in words.

    Attributes
    ----------
    name, title : str
        Name that :func:`load` takes, and one line on the content.
    package, version : str
        R package and version the data were exported from.
    license : str
        License of that package, which the data keep.
    citation : str
        Publication the data come from.
    sha256 : str
        Hash of the uncompressed CSV file.
    rows : int
        Number of rows.
    columns : mapping of str to str
        Meaning of each column, in order.
    typical_model : str
        Formula often fitted to the data.
    family : {"gaussian", "binomial", "poisson"}
        Distribution of the response in that model.
    """

    name: str
    title: str
    package: str
    version: str
    license: str
    citation: str
    sha256: str
    rows: int
    columns: Mapping[str, str]
    typical_model: str
    family: str

    @property
    def source(self) -> str:
        """Where the data were exported from, in one line."""
        return f"package {self.package} {self.version} ({self.license})"

    def __str__(self) -> str:
        """Describe the data set on a few lines."""
        width = max(map(len, self.columns))
        head = [f"{self.name}: {self.title}", f"{self.rows} rows; {self.source}", self.citation]
        model = f"typical model: {self.typical_model} [{self.family}]"
        return "\n".join([*head, model, *(f"  {name:<{width}}  {text}" for name, text in self.columns.items())])


def data_file(name: str) -> Traversable:
    """Path of a file in the data folder of the package."""
    return resources.files("interlace.datasets").joinpath("data", name)


@cache
def provenance() -> dict[str, dict[str, Any]]:
    """Types, hashes and versions of every data set, as recorded when it was exported."""
    record: dict[str, dict[str, Any]] = json.loads(data_file("provenance.json").read_text("utf-8"))
    return record


@cache
def _texts() -> dict[str, dict[str, Any]]:
    return tomllib.loads(data_file("catalogue.toml").read_text("utf-8"))


def names() -> list[str]:
    """Names of the packaged data sets, in alphabetical order.

    Returns
    -------
    list of str

    Examples
    --------
    >>> names()[:3]
    ['ahd', 'Alfalfa', 'Arabidopsis']
    """
    return sorted(provenance(), key=str.casefold)


def require(name: str) -> dict[str, Any]:
    """Provenance entry of a data set; an error with a suggestion for a name that does not exist."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a data set is a string, not {type(name).__name__}")
    known = provenance()
    if name in known:
        return known[name]
    folded = {key.casefold(): key for key in known}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    advice = f"did you mean {folded[close[0]]!r}?" if close else "interlace.datasets.names() lists all of them"
    raise DataError(f"no data set is called {name!r}; {advice}")


def describe(name: str) -> Dataset:
    """Describe a packaged data set.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If no data set has this name; the message suggests the closest one.

    Examples
    --------
    >>> describe("Penicillin").columns["plate"]
    'assay plate'
    """
    entry, texts = require(name), _texts()[name]
    return Dataset(
        name=name,
        title=texts["title"],
        package=entry["package"],
        version=entry["version"],
        license=entry["license"],
        citation=texts["citation"],
        sha256=entry["sha256"],
        rows=entry["rows"],
        columns=MappingProxyType({column: texts["columns"][column] for column in entry["columns"]}),
        typical_model=texts["typical_model"],
        family=texts.get("family", "gaussian"),
    )
