"""What one pass over the rows leaves behind for the choice of bases, of the order of elimination, and for refusals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from interlace.core.scaling import FixedBasis, Response
from interlace.core.streams import LevelPairs, with_rows
from interlace.core.terms import Term
from interlace.estimate import refusals
from interlace.frames.design import Design, RandomTerm
from interlace.streaming.batches import Batch
from interlace.typing import FloatArray, Structure

__all__ = ["Moments", "TermShape"]


class TermShape(NamedTuple):
    """What has to be known of a term: its factor with q levels, and k columns."""

    group: str
    q: int
    k: int
    structure: Structure

    @classmethod
    def of(cls, term: RandomTerm) -> TermShape:
        """Shape of a term with its names and levels."""
        return cls(term.group, len(term.levels), len(term.names), term.structure)


@dataclass
class Moments:
    """Sums over the rows of a model with p fixed-effects columns and terms of k_i columns.

    Attributes
    ----------
    terms : tuple of TermShape
    n : int
        Rows.
    log_weights : float
        Sum of the logarithms of the weights.
    offset_sum : float
    low, high : float
        Range of the response.
    R : ndarray, shape (p + 1, p + 1)
        Triangular factor of [X | y - offset], weighted.
    X_root : ndarray, shape (p, p)
        That of X without weights.
    Z_roots : list of ndarray, shapes (k_i, k_i)
        Those of the terms' columns, without weights.
    sizes : list of ndarray
        Largest absolute values of the columns of response, X and terms, and of weights and offset.
    """

    terms: tuple[TermShape, ...]
    p: int
    n: int = 0
    log_weights: float = 0.0
    offset_sum: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    weighted: bool = False
    R: FloatArray = field(init=False)
    X_root: FloatArray = field(init=False)
    Z_roots: list[FloatArray] = field(init=False)
    sizes: list[FloatArray] = field(init=False)
    pairs: LevelPairs = field(init=False)

    def __post_init__(self) -> None:
        self.R, self.X_root = np.empty((0, self.p + 1)), np.empty((0, self.p))
        self.Z_roots = [np.empty((0, term.k)) for term in self.terms]
        widths = [1, self.p, *(term.k for term in self.terms), 1, 1]
        self.sizes = [np.zeros(width) for width in widths]
        self._factors = list({term.group: i for i, term in reversed(list(enumerate(self.terms)))}.values())[::-1]
        self.pairs = LevelPairs(tuple(self.terms[i].q for i in self._factors))

    def add(self, batch: Batch) -> None:
        """Add rows."""
        self.n += batch.y.size
        self.low, self.high = min(self.low, float(batch.y.min())), max(self.high, float(batch.y.max()))
        columns = [batch.y, batch.X, *batch.Z, batch.weights, batch.offset]
        for i, values in enumerate(columns):
            if values is not None:
                self.sizes[i] = np.maximum(self.sizes[i], np.abs(values).max(axis=0, initial=0.0))
        y = batch.y
        if batch.offset is not None:
            y = y - batch.offset
            self.offset_sum += float(batch.offset.sum())
        Xy = np.column_stack([batch.X, y])
        if batch.weights is not None:
            self.log_weights += float(np.log(batch.weights).sum())
            self.weighted = True
            self.X_root = with_rows(self.X_root, batch.X)
            Xy *= np.sqrt(batch.weights)[:, None]
        self.R = with_rows(self.R, Xy)
        self.Z_roots = [with_rows(root, Z) for root, Z in zip(self.Z_roots, batch.Z, strict=True)]
        self.pairs.add([batch.codes[i] for i in self._factors])

    def merge(self, other: Moments) -> None:
        """Add the sums over other rows."""
        if not other.n:
            return
        self.n += other.n
        self.log_weights += other.log_weights
        self.offset_sum += other.offset_sum
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        self.weighted = self.weighted or other.weighted
        self.R, self.X_root = with_rows(self.R, other.R), with_rows(self.X_root, other.X_root)
        self.Z_roots = [with_rows(*roots) for roots in zip(self.Z_roots, other.Z_roots, strict=True)]
        self.sizes = [np.maximum(*sizes) for sizes in zip(self.sizes, other.sizes, strict=True)]
        for codes in other.pairs.found:
            self.pairs.add([np.ascontiguousarray(column) for column in codes.T])

    def check(self, design: Design) -> None:
        """Refuse what cannot be identified, before anything is computed from the sums; no row of it is read."""
        terms = design.terms
        names = [(design.response,), design.x_names, *(term.names for term in terms), ("weights",), ("offset",)]
        for columns, sizes in zip(names, self.sizes, strict=True):
            refusals.within_range(columns, sizes)
        if design.offset is None:
            refusals.varying_response(design.response, self.low, self.high, self.n)
        refusals.enough_rows(terms, self.n)

    @property
    def typical_weight(self) -> float:
        """Geometric mean of the weights."""
        return math.exp(self.log_weights / self.n)

    @property
    def root_of_x(self) -> FloatArray:
        """Matrix with the cross-products of X, not weighted, shape (p, p)."""
        return self.X_root if self.weighted else self.R[: self.p, : self.p]

    def fixed_basis(self, tol: float) -> FixedBasis:
        """Basis of the (weighted) columns of X."""
        return FixedBasis.of(self.R[:, : self.p], tol=tol)

    def response(self, basis: FixedBasis) -> Response:
        """Least-squares coefficients and spread of the response; its residuals, which are not kept, are empty."""
        found = Response.of(basis.forward(self.R[:, : self.p]), self.R[:, self.p])
        left = found.scale * float(np.linalg.norm(found.values)) if found.scale > 0.0 else 0.0
        return Response(np.empty(0), found.coefficients, left / math.sqrt(max(self.n - basis.kept.size, 1)))

    @property
    def size(self) -> float:
        """Length of the (weighted) response without its offset."""
        return float(np.linalg.norm(self.R[:, self.p]))

    def compressed(self) -> tuple[Term, ...]:
        """Terms in whose place few rows stand: columns with the same averages of products, codes that show all pairs.

        Codes and columns do not belong to the same rows.
        """
        height = max(root.shape[0] for root in self.Z_roots)
        codes = dict(zip((self.terms[i].group for i in self._factors), self.pairs.codes, strict=True))
        out = []
        for term, root in zip(self.terms, self.Z_roots, strict=True):
            Z = np.zeros((height, root.shape[1]))
            Z[: root.shape[0]] = root * math.sqrt(height / self.n)
            out.append(Term(term.group, codes[term.group], Z, term.q, term.structure))
        return tuple(out)
