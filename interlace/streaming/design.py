"""Design, problem and means of a fit whose rows are read again when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from interlace.errors import ModelError
from interlace.estimate.problem import KnownMeans, LinearProblem, Means
from interlace.frames.design import Design, RandomTerm
from interlace.streaming.batches import Batch, Reader
from interlace.typing import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd


__all__ = ["StreamedDesign", "StreamedMeans", "StreamedProblem", "StreamedTerm", "refusal"]


def refusal() -> ModelError:
    """Error for what needs all rows together."""
    return ModelError(
        "this fit has read its rows in batches and does not keep them, and what was asked for needs all of them at "
        "once. predict(newdata=...) takes rows that you pass, and fittedvalues and resid read the data again; for "
        "anything else fit a data frame, of all rows or of some"
    )


def _refuse() -> NoReturn:
    raise refusal()


@dataclass(frozen=True)
class _Responses:
    """Vectors of all rows in use, shapes (n,)."""

    y: FloatArray
    weights: FloatArray | None
    offset: FloatArray | None
    positions: IntArray


@dataclass(frozen=True)
class _Parts:
    """What a streamed design knows of its rows."""

    reader: Reader
    n: int
    root_of_x: FloatArray
    mean_offset: float
    witnesses: pd.DataFrame
    grid: pd.DataFrame | None


class StreamedTerm(RandomTerm):
    """A term without its rows.

    Parameters
    ----------
    term : RandomTerm
        With the names, levels and structure.
    """

    def __init__(self, term: RandomTerm) -> None:
        known = ("key", "group", "names", "levels", "structure")
        vars(self).update({name: getattr(term, name) for name in known})

    @property
    def codes(self) -> IntArray:
        """Refused."""
        _refuse()

    @property
    def Z(self) -> FloatArray:  # noqa: N802
        """Refused."""
        _refuse()


class StreamedDesign(Design):
    """A design that holds no rows; vectors are read when they are asked for, matrices are refused.

    Parameters
    ----------
    design : Design
        Of rows that show every level, for names and levels.
    reader : Reader
    n : int
        Rows in use.
    total : int
        Rows of the source.
    n_zero_weight : int
    root_of_x : ndarray, shape (p, p)
        Triangular factor of X.
    mean_offset : float
    grid : DataFrame or None
        Rows that lead to the reference grid of all; None where that is too large.
    """

    _parts: _Parts

    def __init__(
        self,
        design: Design,
        reader: Reader,
        *,
        n: int,
        total: int,
        n_zero_weight: int,
        root_of_x: FloatArray,
        mean_offset: float,
        grid: pd.DataFrame | None,
    ) -> None:
        import pandas as pd

        known = ("formula", "response", "x_names", "x_terms", "assign", "spec")
        vars(self).update({name: getattr(design, name) for name in known})
        vars(self).update(
            terms=tuple(map(StreamedTerm, design.terms)),
            trials=None,
            n_zero_weight=n_zero_weight,
            all_index=pd.RangeIndex(total),
            _parts=_Parts(reader, n, root_of_x, mean_offset, design.frame, grid),
        )

    @property
    def n(self) -> int:
        """Number of rows in use."""
        return self._parts.n

    @property
    def root_of_x(self) -> FloatArray:
        """Triangular factor of X, shape (p, p)."""
        return self._parts.root_of_x

    @property
    def mean_offset(self) -> float:
        """Mean of the offset."""
        return self._parts.mean_offset

    @property
    def frame_of_levels(self) -> pd.DataFrame:
        """Rows that show every level."""
        return self._parts.witnesses

    @property
    def frame_of_grid(self) -> pd.DataFrame:
        """Rows that lead to the same reference grid."""
        if self._parts.grid is None:
            _refuse()
        return self._parts.grid

    @cached_property
    def _responses(self) -> _Responses:
        parts = [(b.y, b.weights, b.offset, b.positions) for b in self.batches()]
        y, weights, offset, positions = zip(*parts, strict=True)
        return _Responses(np.concatenate(y), _joined(weights), _joined(offset), np.concatenate(positions))

    def batches(self) -> Iterator[Batch]:
        """Read all rows in use."""
        return self._parts.reader.batches(self.spec)

    def pieces(self) -> Iterator[tuple[pd.DataFrame, BoolArray, FloatArray]]:
        """Read all rows in use: their columns, all of them in use, and X."""
        for frame, batch in self._parts.reader.pieces(self.spec):
            yield frame, np.ones(len(frame), dtype=np.bool_), batch.X

    @property
    def y(self) -> FloatArray:
        """Response, shape (n,)."""
        return self._responses.y

    @property
    def weights(self) -> FloatArray | None:
        """Weights, shape (n,)."""
        return None if self.spec.weights_column is None else self._responses.weights

    @property
    def offset(self) -> FloatArray | None:
        """Offset, shape (n,)."""
        return self._responses.offset if self.spec.offset_column or self.spec.formula.offsets else None

    @property
    def rows(self) -> IntArray:
        """Positions of the rows in use, shape (n,)."""
        return self._responses.positions

    @property
    def X(self) -> FloatArray:  # noqa: N802
        """Refused."""
        _refuse()

    @property
    def complete(self) -> IntArray:
        """Refused."""
        _refuse()

    @property
    def columns(self) -> Mapping[str, pd.Series[Any]]:
        """Refused."""
        _refuse()


def _joined(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    there = [part for part in parts if part is not None]
    return np.concatenate(there) if there else None


@dataclass(frozen=True)
class StreamedProblem(LinearProblem):
    """A linear model whose cross-products were summed up batch by batch."""

    def means(self, beta: FloatArray, modes: Sequence[FloatArray]) -> Means:
        """Means at given coefficients and modes, computed when asked for."""
        return StreamedMeans(self, beta, tuple(modes))


@dataclass(frozen=True)
class StreamedMeans:
    """Means of the rows, for which the data are read once more."""

    problem: StreamedProblem = field(repr=False)
    beta: FloatArray
    modes: tuple[FloatArray, ...]

    @cached_property
    def _known(self) -> KnownMeans:
        parts = [self._of(batch) for batch in _design(self.problem).batches()]
        return KnownMeans(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    def _of(self, batch: Batch) -> tuple[FloatArray, FloatArray]:
        fixed = batch.X[:, self.problem.basis.kept] @ self.beta
        if batch.offset is not None:
            fixed = fixed + batch.offset
        fitted = fixed.copy()
        for Z, codes, b in zip(batch.Z, batch.codes, self.modes, strict=True):
            fitted += np.einsum("nk,nk->n", Z, b[codes])
        return fixed, fitted

    @property
    def fixed(self) -> FloatArray:
        """X beta + offset, shape (n,)."""
        return self._known.fixed

    @property
    def fitted(self) -> FloatArray:
        """X beta + offset + Z b, shape (n,)."""
        return self._known.fitted


def _design(problem: StreamedProblem) -> StreamedDesign:
    assert isinstance(problem.design, StreamedDesign)
    return problem.design
