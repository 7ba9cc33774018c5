"""Read a packaged data set into a pandas frame."""

from __future__ import annotations

import gzip
import io
from collections.abc import Mapping
from typing import Any

import pandas as pd

from interlace.datasets.catalogue import data_file, require

__all__ = ["EXACT_FLOATS", "load"]

#: Reading floats to the last bit is the default from pandas 3.1 on, where asking for it gives a deprecation warning.
EXACT_FLOATS: dict[str, Any] = (
    {} if tuple(map(int, pd.__version__.split(".")[:2])) >= (3, 1) else {"float_precision": "round_trip"}
)


def load(name: str) -> pd.DataFrame:
    """Load a packaged data set.

    Factors come back as categoricals with their levels in R's order, ordered ones as ordered.

    Parameters
    ----------
    name : str
        One of :func:`interlace.datasets.names`.

    Returns
    -------
    pandas.DataFrame
        A new frame at every call; changing it changes nothing else.

    Raises
    ------
    ValueError
        If no data set has this name; the message suggests the closest one.

    Examples
    --------
    >>> load("Pastes").head(2)
       strength batch cask sample
    0      62.8     A    a    A:a
    1      62.6     A    a    A:a
    """
    types = {column: _dtype(kind) for column, kind in require(name)["columns"].items()}
    text = io.BytesIO(csv_bytes(name))
    # "None" and "NA" are labels of some factors: only an empty cell is a missing value.
    frame: pd.DataFrame = pd.read_csv(text, dtype=types, keep_default_na=False, na_values=[""], **EXACT_FLOATS)
    return frame


def csv_bytes(name: str) -> bytes:
    """Return the uncompressed CSV file of a data set, the one that its hash is about."""
    require(name)
    return gzip.decompress(data_file(f"{name}.csv.gz").read_bytes())


def _dtype(kind: Mapping[str, Any]) -> Any:
    if kind["type"] != "category":
        return kind["type"]
    levels = kind["levels"]
    if isinstance(levels, dict):  # consecutive whole numbers, stored as the first and the last
        levels = [str(number) for number in range(levels["first"], levels["last"] + 1)]
    return pd.CategoricalDtype(levels, ordered=kind["ordered"])
