"""The first pass over the rows: all levels, what a reference grid needs, and counts."""

from __future__ import annotations

from dataclasses import dataclass

from interlace.frames.adapt import Table
from interlace.frames.rows import Rows
from interlace.streaming.batches import Recipe
from interlace.streaming.grid import GridRows
from interlace.streaming.parts import Readable
from interlace.streaming.witnesses import Witnesses

__all__ = ["Survey"]


@dataclass
class Survey:
    """What is known of rows that were read once.

    Attributes
    ----------
    witnesses : Witnesses
        Rows that show every level.
    grid : GridRows
    total : int
        Rows read.
    n_zero_weight : int
        Complete ones among them with a weight of zero.
    used : int
        Rows in use.
    """

    witnesses: Witnesses
    grid: GridRows
    total: int = 0
    n_zero_weight: int = 0
    used: int = 0

    @classmethod
    def of(cls, recipe: Recipe, source: Readable) -> Survey:
        """Read all rows of a source, or of a part."""
        groups = (part.group.columns for part in recipe.formula.random)
        codes = [code for code in recipe.formula.codes if code not in recipe.learned]  # which have their levels
        out = cls(Witnesses(codes, groups, recipe.columns), GridRows(recipe.formula))
        for rows, zero, table in recipe.complete(source):
            out.total += table.n
            out.n_zero_weight += zero
            if rows is not None:
                defined = recipe.defined(rows)
                out.witnesses.add(rows, defined)
                out.grid.add(rows, defined)
                out.used += int(defined.sum())
        return out

    def merge(self, other: Survey, recipe: Recipe) -> None:
        """Add later rows."""
        self.total += other.total
        self.n_zero_weight += other.n_zero_weight
        self.used += other.used
        rows = recipe.rows(Rows(Table(other.witnesses.frame()), None))
        self.witnesses.merge(other.witnesses, rows, recipe.defined(rows))
        self.grid.merge(other.grid)
