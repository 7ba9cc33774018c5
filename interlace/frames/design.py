"""What a formula and a data frame become: arrays with names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from interlace.frames.encode import Encoder
from interlace.frames.grouping import GroupSpec
from interlace.frames.parse import Formula
from interlace.frames.terms import Scoped
from interlace.typing import BoolArray, FloatArray, IntArray, Structure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Design", "DesignSpec", "NewRows", "RandomSpec", "RandomTerm"]


@dataclass(frozen=True, eq=False)
class RandomTerm:
    """One random-effects term, evaluated on the rows in use.

    Attributes
    ----------
    key : str
        Unique name of the term: the grouping factor, with ``.1``, ``.2`` ... for further terms on the same one.
    group : str
        Grouping factor as lme4 names it (``Subject``, ``cask:batch``).
    names : tuple of str
        Names of the k columns of ``Z`` (``Intercept``, ``Days``).
    levels : pandas.Index
        Labels of the q observed levels.
    codes : ndarray of int64, shape (n,)
        Level of each row, 0 to q - 1.
    Z : ndarray of float64, shape (n, k)
        Covariates of the term.
    structure : {"unstructured", "diagonal"}
        Shape of the relative covariance factor.
    """

    key: str
    group: str
    names: tuple[str, ...]
    levels: pd.Index[Any]
    codes: IntArray
    Z: FloatArray
    structure: Structure


@dataclass(frozen=True, eq=False)
class NewRows:
    """A design evaluated on new data. Rows with a missing value have ``valid`` False and zeros elsewhere.

    Attributes
    ----------
    X : ndarray, shape (m, p)
    Z : tuple of ndarray, shapes (m, k_i)
    codes : tuple of ndarray of int64, shapes (m,)
        Level of each row within the fitted levels; -1 for a level not seen in the fit.
    offset : ndarray, shape (m,)
    valid : ndarray of bool, shape (m,)
    index : pandas.Index
    """

    X: FloatArray
    Z: tuple[FloatArray, ...]
    codes: tuple[IntArray, ...]
    offset: FloatArray
    valid: BoolArray
    index: pd.Index[Any]


@dataclass(frozen=True, eq=False)
class RandomSpec:
    """What is needed to evaluate one random-effects term on new data."""

    key: str
    group: GroupSpec
    names: tuple[str, ...]
    blocks: tuple[tuple[Scoped, ...], ...]
    encoders: Mapping[str, Encoder]


@dataclass(frozen=True, eq=False)
class DesignSpec:
    """What is needed to evaluate a design on new data; holds no rows.

    Attributes
    ----------
    formula : Formula
        The parsed formula, ``.`` replaced.
    x_names : tuple of str
    blocks : tuple
        Scoped blocks of each fixed-effects term.
    encoders : mapping
        How each expression of the fixed part is encoded.
    random : tuple of RandomSpec
        In the order of ``Design.terms``.
    offset_column : str or None
        Column given as ``offset=``.
    offset_given : bool
        An array was given as ``offset=``; new data cannot have it, so ``new_rows`` counts it as zero.
    weights_column : str or None
    covariance : mapping
        Structure of each term by its key.
    success : str or None
        What counts as 1 in a response of two kinds that are not numbers: a level, or ``True``.
    """

    formula: Formula
    x_names: tuple[str, ...]
    blocks: tuple[tuple[Scoped, ...], ...]
    encoders: Mapping[str, Encoder]
    random: tuple[RandomSpec, ...]
    offset_column: str | None
    offset_given: bool
    weights_column: str | None
    covariance: Mapping[str, Structure]
    success: str | None = None


@dataclass(frozen=True, eq=False)
class Design:
    """A model's arrays, on the n rows in use, with p fixed-effects columns.

    Attributes
    ----------
    formula : str
        Canonical text of the whole formula, random-effects terms included.
    response : str
        Text of the left-hand side.
    y : ndarray, shape (n,)
        Response; for ``cbind(successes, failures)`` the proportions of successes, and 0 or 1 for a response of two
        kinds.
    X : ndarray, shape (n, p)
    x_names : tuple of str, length p
    terms : tuple of RandomTerm
        In lme4's order: as in the formula when the numbers of levels never rise, else sorted by falling number of
        levels with ties reversed.
    weights, offset : ndarray, shape (n,), or None
        For ``cbind(successes, failures)`` the weights are the numbers of trials, times those given.
    rows : ndarray of int64, shape (n,)
        Positions in the caller's frame of the rows in use.
    complete : ndarray of int64
        Positions of the rows on which the formula was evaluated: those in use, and those that an expression such as
        ``lag(x)`` or ``log(-1)`` then left out.
    n_zero_weight : int
        Rows left out because their weight is zero, or because ``cbind(successes, failures)`` has no trials there.
    x_terms : tuple of str
        Fixed-effects terms: ``Intercept``, ``Days``, ``a:b``.
    assign : tuple of int, length p
        Term, within ``x_terms``, of each column of ``X``.
    spec : DesignSpec
    columns : mapping from column name to pandas.Series
        Every column used, all rows of the caller's frame.
    trials : ndarray, shape (n,), or None
        Numbers of trials of ``cbind(successes, failures)`` where the weights are these times something else.
    """

    formula: str
    response: str
    y: FloatArray
    X: FloatArray
    x_names: tuple[str, ...]
    terms: tuple[RandomTerm, ...]
    weights: FloatArray | None
    offset: FloatArray | None
    rows: IntArray
    complete: IntArray
    n_zero_weight: int
    x_terms: tuple[str, ...]
    assign: tuple[int, ...]
    spec: DesignSpec
    columns: Mapping[str, pd.Series[Any]] = field(repr=False)
    all_index: pd.Index[Any] = field(repr=False)
    trials: FloatArray | None = None

    @property
    def n(self) -> int:
        """Number of rows in use."""
        return int(self.y.size)

    @property
    def has_rows(self) -> bool:
        """Whether the rows can be read, here or where they are kept."""
        return True

    @property
    def root_of_x(self) -> FloatArray:
        """Matrix with the cross-products of X, shape (r, p); X itself, where all rows are there."""
        return self.X

    @property
    def mean_offset(self) -> float:
        """Mean of the offset, 0 without one."""
        return 0.0 if self.offset is None else float(self.offset.mean())

    def pieces(self) -> Iterator[tuple[pd.DataFrame, BoolArray, FloatArray]]:
        """Rows in pieces, here one: a frame, which of its rows are in use, and X of these."""
        yield self.complete_frame, np.isin(self.complete, self.rows), self.X

    @property
    def frame_of_levels(self) -> pd.DataFrame:
        """Model frame, or few rows of it that show every level of every factor."""
        return self.frame

    @property
    def frame_of_grid(self) -> pd.DataFrame:
        """Model frame, or few rows with the means of its numbers and the levels that occur together in it."""
        return self.frame

    @cached_property
    def index(self) -> pd.Index[Any]:
        """Labels in the caller's frame of the rows in use."""
        return self.all_index if len(self.rows) == len(self.all_index) else self.all_index[self.rows]

    @property
    def frame(self) -> pd.DataFrame:
        """Model frame: every column used, rows in use only, the caller's dtypes and index; a copy."""
        return self._frame_at(self.rows)

    @property
    def complete_frame(self) -> pd.DataFrame:
        """As ``frame``, with the ``complete`` rows: on these the formula gives the same design again."""
        return self._frame_at(self.complete)

    def some_rows(self, keep: BoolArray) -> Design:
        """The same design with some of the n rows; levels without rows keep their places.

        Parameters
        ----------
        keep : ndarray of bool, shape (n,)
        """
        return replace(
            self,
            y=self.y[keep],
            X=self.X[keep],
            terms=tuple(replace(term, codes=term.codes[keep], Z=term.Z[keep]) for term in self.terms),
            weights=None if self.weights is None else self.weights[keep],
            offset=None if self.offset is None else self.offset[keep],
            trials=None if self.trials is None else self.trials[keep],
            rows=self.rows[keep],
        )

    def _frame_at(self, rows: IntArray) -> pd.DataFrame:
        import pandas as pd

        taken = {name: series.array.take(rows) for name, series in self.columns.items()}
        index = self.all_index if len(rows) == len(self.all_index) else self.all_index[rows]
        return pd.DataFrame(taken, index=index, copy=True)
