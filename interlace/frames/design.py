"""What a formula and a data frame become: arrays with names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interlace.typing import BoolArray, FloatArray, IntArray, Structure

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
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
    levels: pd.Index
    codes: IntArray
    Z: FloatArray
    structure: Structure


@dataclass(frozen=True)
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
    index: pd.Index
