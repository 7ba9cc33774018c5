"""One model of the harness: formula, data, options, and rows to predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

import interlace
from interlace import Control, datasets
from interlace.families import NegativeBinomial
from interlace.rbridge import FitNumbers, glmer, lmer

__all__ = ["Case", "new_rows"]


#: lme4's convention for these maximizes no likelihood, so interlace has to be asked for it.
_WITH_DISPERSION = ("Gamma", "inverse.gaussian", "gaussian")


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
        Of a linear model; generalized ones have maximum likelihood only.
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
    family : str, optional
        R's name of the family of a generalized model, ``negative.binomial`` included; None for a linear one.
    link : str, optional
        The family's default if left out.
    nAGQ : int
    nb_theta : float, optional
        Parameter of the negative binomial; estimated if left out.
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
    family: str | None = None
    link: str | None = None
    nAGQ: int = 1  # noqa: N815 - lme4's name
    nb_theta: float | None = None

    def frame(self) -> pd.DataFrame:
        """Build the data; a new frame at every call."""
        data = datasets.load(self.data) if isinstance(self.data, str) else self.data.copy()
        return self.prepare(data) if self.prepare else data

    def fit_arguments(self) -> dict[str, Any]:
        """Keyword arguments of the function that fits, next to formula and data."""
        optional = {"weights": self.weights, "offset": self.offset, "contrasts": dict(self.contrasts) or None}
        given = {name: value for name, value in optional.items() if value is not None}
        if self.family is None:
            return {"method": self.method} | given
        if self.family != "negative.binomial":
            given["family"] = self.family
        elif self.nb_theta is not None:
            given["family"] = NegativeBinomial(self.nb_theta)
        if self.family in _WITH_DISPERSION:
            given["control"] = Control(dispersion="lme4")
        given |= {} if self.link is None else {"link": self.link}
        return given | ({} if self.nAGQ == 1 else {"nAGQ": self.nAGQ})

    @property
    def function(self) -> str:
        """Name of the function that fits: ``fit``, ``glmer`` or ``glmer_nb``."""
        if self.family is None:
            return "fit"
        return "glmer_nb" if self.family == "negative.binomial" and self.nb_theta is None else "glmer"

    @property
    def options_in_r(self) -> dict[str, Any]:
        """Arguments of the R function that only linear, or only generalized, models have."""
        if self.family is None:
            return {"reml": self.method == "REML"}
        return {"family": self.family, "link": self.link, "nAGQ": self.nAGQ, "nb_theta": self.nb_theta}

    def fit(self, frame: pd.DataFrame, **arguments: Any) -> Any:
        """Fit with interlace; ``arguments`` come before the case's own."""
        return getattr(interlace, self.function)(self.formula, frame, **(self.fit_arguments() | arguments))

    def fit_in_r(self, frame: pd.DataFrame, **options: Any) -> FitNumbers:
        """Fit with a live R."""
        fit: Callable[..., FitNumbers] = lmer if self.family is None else glmer
        return fit(
            self.formula,
            frame,
            weights=self.weights,
            offset=self.offset,
            contrasts=self.contrasts,
            newdata=self.newdata(frame),
            **self.options_in_r,
            **options,
        )

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
