"""One model of the harness: formula, data, options, and rows to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from interlace import datasets

__all__ = ["Case", "new_rows"]


@dataclass(frozen=True)
class Case:
    """A model to fit on both sides.

    Attributes
    ----------
    name : str
        File name of its recorded reference.
    formula : str
        In interlace's language, terms in bars.
    data : str or DataFrame
        Name of a packaged data set, or the data themselves.
    method : {"REML", "ML"}
    about : str
        What it is here for.
    prepare : callable, optional
        Makes the frame out of the data set.
    weights, offset : str, optional
        Columns.
    contrasts : dict
    groups : tuple of str
        Columns that get an unseen level in the rows to predict.
    cost : {"fast", "slow"}
        Slow models run live only on request; everywhere else against the recorded reference.
    """

    name: str
    formula: str
    data: str | pd.DataFrame
    method: Literal["REML", "ML"] = "REML"
    about: str = ""
    prepare: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    weights: str | None = None
    offset: str | None = None
    contrasts: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    cost: Literal["fast", "slow"] = "fast"

    def frame(self) -> pd.DataFrame:
        """Build the data; a new frame at every call."""
        data = datasets.load(self.data) if isinstance(self.data, str) else self.data.copy()
        return self.prepare(data) if self.prepare else data

    def fit_arguments(self) -> dict[str, Any]:
        """Keyword arguments of interlace.fit, next to formula and data."""
        optional = {"weights": self.weights, "offset": self.offset, "contrasts": dict(self.contrasts) or None}
        return {"method": self.method} | {name: value for name, value in optional.items() if value is not None}

    def newdata(self, frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Rows to predict; none where the offset came as an argument, which belongs to the fitted rows."""
        return {} if self.offset else new_rows(frame, self.groups)


def new_rows(frame: pd.DataFrame, groups: tuple[str, ...]) -> dict[str, pd.DataFrame]:
    """Take a few complete rows, and the same with unseen levels of all grouping columns."""
    whole = frame.dropna()
    known = whole.iloc[np.unique(np.linspace(0, len(whole) - 1, 5).astype(int))]
    unseen = known.copy()
    for name in groups:
        column = unseen[name]
        numbers = pd.api.types.is_numeric_dtype(column.dtype)
        unseen[name] = frame[name].max() + 1 if numbers else pd.Categorical(["unseen"] * len(unseen))
    return {"known": known} | ({"unseen": unseen} if groups else {})
