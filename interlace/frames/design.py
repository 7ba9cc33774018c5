"""What a formula and a data frame become: arrays with names."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interlace.frames.encode import Encoder
from interlace.frames.grouping import GroupSpec
from interlace.frames.parse import Formula
from interlace.frames.terms import Scoped
from interlace.typing import BoolArray, FloatArray, FrameLike, IntArray, Structure

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Design", "DesignSpec", "NewRows", "RandomSpec", "RandomTerm", "build_design", "new_rows", "update_formula"]


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
    X : ndarray, shape (n, p)
    x_names : tuple of str, length p
    terms : tuple of RandomTerm
        In lme4's order: as in the formula when the numbers of levels never rise, else sorted by falling number of
        levels with ties reversed.
    weights, offset : ndarray, shape (n,), or None
    rows : ndarray of int64, shape (n,)
        Positions in the caller's frame of the rows in use.
    n_zero_weight : int
        Rows left out because their weight is zero.
    x_terms : tuple of str
        Fixed-effects terms: ``Intercept``, ``Days``, ``a:b``.
    assign : tuple of int, length p
        Term, within ``x_terms``, of each column of ``X``.
    spec : DesignSpec
    columns : mapping from column name to pandas.Series
        Every column used, all rows of the caller's frame.
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
    n_zero_weight: int
    x_terms: tuple[str, ...]
    assign: tuple[int, ...]
    spec: DesignSpec
    columns: Mapping[str, pd.Series[Any]] = field(repr=False)
    all_index: pd.Index[Any] = field(repr=False)

    @cached_property
    def index(self) -> pd.Index[Any]:
        """Labels in the caller's frame of the rows in use."""
        return self.all_index if len(self.rows) == len(self.all_index) else self.all_index[self.rows]

    @property
    def frame(self) -> pd.DataFrame:
        """Model frame: every column used, rows in use only, the caller's dtypes and index; a copy."""
        import pandas as pd

        taken = {name: series.array.take(self.rows) for name, series in self.columns.items()}
        return pd.DataFrame(taken, index=self.index, copy=True)


def build_design(
    formula: str,
    data: FrameLike,
    groups: str | Sequence[str] | None = None,
    random: str | Sequence[str] | None = None,
    *,
    weights: Any = None,
    offset: Any = None,
    contrasts: Mapping[str, str] | None = None,
    covariance: Mapping[str, str] | None = None,
    na_action: str = "drop",
    extra_transforms: Mapping[str, Callable[..., Any]] | None = None,
) -> Design:
    """Turn a formula and data into arrays.

    Parameters
    ----------
    formula : str
        Fixed effects in Wilkinson's language, random effects as lme4 writes them.
    data : data frame or mapping
        pandas, polars, pyarrow, any eager narwhals frame, or a dict of columns. Never modified.
    groups : str or list of str, optional
        Grouping columns, short for ``(1 | g)``.
    random : str or list of str, optional
        Random-effects terms given apart from the formula.
    weights, offset : column name or array-like of one value per row of ``data``, optional
        Arrays count by position; a Series with the labels of ``data`` in another order is refused.
    contrasts : mapping from column to {"treatment", "sum", "helmert", "poly"}, optional
        For factors among the fixed effects, as in lme4; random slopes keep treatment contrasts.
    covariance : mapping from group to {"unstructured", "diagonal"}, optional
    na_action : {"drop", "raise"}
        Leave out rows with a missing value in any column used, or refuse them.
    extra_transforms : mapping from name to function, optional
        Functions of the caller's that the formula may call.

    Returns
    -------
    Design

    Raises
    ------
    FormulaError, DataError, ModelError
        All of them ``ValueError``; the message names the column, term or argument.
    """
    from interlace.frames.build import Request, build

    named: dict[str, Any] = {"contrasts": contrasts, "covariance": covariance, "extra_transforms": extra_transforms}
    for name, given in named.items():
        if given is not None and not (isinstance(given, Mapping) and all(isinstance(key, str) for key in given)):
            raise TypeError(f"{name} must be a dict with names as keys, not {given!r}")
    request = Request(
        formula,
        data,
        groups,
        random,
        weights,
        offset,
        contrasts or {},
        covariance or {},
        na_action,
        extra_transforms or {},
    )
    return build(request)


def new_rows(design: Design | DesignSpec, newdata: FrameLike, *, random: bool | Collection[str] = True) -> NewRows:
    """Evaluate a fitted design on new data; the response is not needed.

    Parameters
    ----------
    design : Design or DesignSpec
    newdata : data frame or mapping
    random : bool or collection of str
        Random-effects terms to evaluate: all, none, or those with the given keys. Columns of the others need not be in
        ``newdata``; their codes are -1 and their Z zero.
    """
    from interlace.frames.newdata import evaluate_new

    spec = design.spec if isinstance(design, Design) else design
    keys = {term.key for term in spec.random}
    wanted = (keys if random else set()) if isinstance(random, bool) else keys & set(random)
    return evaluate_new(spec, newdata, wanted)


def update_formula(old: str, new: str, *, extra_transforms: Collection[str] = ()) -> str:
    """Apply lme4's dot notation: ``update_formula("y ~ x + (1 | g)", ". ~ . + z")``.

    Parameters
    ----------
    old, new : str
    extra_transforms : collection of str
        Names of the caller's functions that the formulas may call.

    Returns
    -------
    str
        Taking away what is not there is a FormulaError.
    """
    from interlace.frames.update import updated

    return updated(old, new, extra_transforms)
