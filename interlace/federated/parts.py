"""What leaves a site: sums, the names of levels, and constants."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from interlace.core.streams import with_rows
from interlace.core.sums import Constants, LevelSums, without_rows
from interlace.errors import DataError
from interlace.federated.labels import Labels, joined
from interlace.federated.plans import Plan
from interlace.typing import BoolArray, FloatArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Extras", "Part"]


@dataclass(frozen=True)
class Extras:
    """Sums over all rows of a part that the fit itself does not need.

    Attributes
    ----------
    root_of_x : ndarray, shape (p, p), or None
        Triangular factor of X without weights, centered and scaled as in the sums; None where there are no weights.
    offset_sum : float
    n_zero_weight : int
        Rows left out because their weight is zero.
    number_sums : dict of str to float
        Sum of each numeric predictor.
    number_values : dict of str to tuple of float
        The values of predictors that have one or two.
    together : dict of (str, str) to ndarray of bool
        For two categorical predictors, or one and itself: which of their levels occur together.
    """

    root_of_x: FloatArray | None
    offset_sum: float
    n_zero_weight: int
    number_sums: Mapping[str, float]
    number_values: Mapping[str, tuple[float, ...]]
    together: Mapping[tuple[str, str], BoolArray]


@dataclass(frozen=True, eq=False)
class Part:
    """The sums of the rows of one site, or of several.

    :func:`interlace.federated.summarize` makes one. Parts of one plan can be added, and taken away again.

    Attributes
    ----------
    plan : Plan
    sites : tuple of str
    min_cell : int
        The smallest rule under which the sites made their sums.
    sums : LevelSums
        Over the grouping factors of the plan, of columns that are centered and scaled by the constants.
    v : Constants
        Of the fixed-effects columns and the response.
    u : tuple of Constants
        Of the columns of each grouping factor.
    labels : tuple of tuple
        Published names of the levels of each grouping factor, one for each of its columns.
    extras : Extras

    Examples
    --------
    >>> import interlace
    >>> df = interlace.datasets.load("sleepstudy")
    >>> plan = interlace.federated.plan("Reaction ~ Days + (Days | Subject)")
    >>> young = interlace.federated.summarize(plan, df[df.Subject.astype(int) < 335], site="one")
    >>> old = interlace.federated.summarize(plan, df[df.Subject.astype(int) >= 335], site="two")
    >>> young + old
    <Part of 'one', 'two': 180 rows, 18 levels of 'Subject'>
    >>> young + old - young
    <Part of 'two': 100 rows, 10 levels of 'Subject'>
    """

    plan: Plan
    sites: tuple[str, ...]
    min_cell: int
    sums: LevelSums = field(repr=False)
    v: Constants = field(repr=False)
    u: tuple[Constants, ...] = field(repr=False)
    labels: tuple[Labels, ...] = field(repr=False)
    extras: Extras = field(repr=False)

    def __repr__(self) -> str:
        sizes = zip(self.sums.sizes, self.plan.groups, strict=True)
        levels = ", ".join(f"{q} level{'s' * (q != 1)} of {group.name!r}" for q, group in sizes)
        return f"<Part of {', '.join(map(repr, self.sites))}: {self.n} rows, {levels}>"

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.sums.n

    def disclosed(self) -> pd.DataFrame:
        """Everything that the part holds, and whoever receives it learns.

        Returns
        -------
        DataFrame
            ``what``, ``of``, ``numbers`` (how many), and ``rows``: over how few rows the sums among them are; for pairs
            of levels of two grouping factors this is not known, and can be one.

        Examples
        --------
        >>> import interlace
        >>> plan = interlace.federated.plan("Reaction ~ Days + (Days | Subject)")
        >>> part = interlace.federated.summarize(plan, interlace.datasets.load("sleepstudy"), site="all")
        >>> part.disclosed()[["what", "numbers", "rows"]].head(4)
                                    what  numbers  rows
        0              model and columns        1   180
        1  means and standard deviations        6   180
        2            products of columns        6   180
        3                names of levels       18    10
        """
        from interlace.federated.disclosure import table

        return table(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the part to a file of JSON and arrays.

        Parameters
        ----------
        path : str or path-like
        """
        from interlace.federated.files import write

        write(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Part:
        """Read a part that ``save`` wrote, and check that it can be one.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        DataError
            The file is not a part, is damaged or of another version, or its numbers contradict each other.
        """
        from interlace.federated.files import read

        return read(path)

    def __add__(self, other: object) -> Part:
        """Sums of the rows of both."""
        if not isinstance(other, Part):
            return NotImplemented
        self._check_plan(other)
        twice = sorted({*self.sites} & {*other.sites})
        if twice:
            raise DataError(f"site {twice[0]!r} is in both parts; its rows would count twice")
        groups = zip(self.labels, other.labels, self.plan.groups, strict=True)
        found = [joined((mine, theirs), group.columns) for mine, theirs, group in groups]
        labels, sizes = tuple(labels for labels, _ in found), [len(labels) for labels, _ in found]
        mine = replace(self, labels=labels, sums=self.sums.placed([places[0] for _, places in found], sizes))._carried(
            self.v.pooled(self.n, other.v, other.n),
            tuple(a.pooled(self.n, b, other.n) for a, b in zip(self.u, other.u, strict=True)),
        )
        theirs = replace(other, sums=other.sums.placed([places[1] for _, places in found], sizes))
        theirs = theirs._carried(mine.v, mine.u)
        return replace(
            mine,
            sites=(*self.sites, *other.sites),
            min_cell=min(self.min_cell, other.min_cell),
            sums=mine.sums + theirs.sums,
            extras=_added(mine.extras, theirs.extras),
        )

    def __sub__(self, other: object) -> Part:
        """Sums without the rows of ``other``, whose sites must be among those of this part."""
        if not isinstance(other, Part):
            return NotImplemented
        self._check_plan(other)
        unknown = [site for site in other.sites if site not in self.sites]
        if unknown:
            raise DataError(f"site {unknown[0]!r} is not in this part (it has {', '.join(map(repr, self.sites))})")
        if len(other.sites) == len(self.sites):
            raise DataError("nothing would be left: these are all sites of this part")
        groups = zip(self.labels, other.labels, self.plan.groups, strict=True)
        found = [joined((mine, theirs), group.columns) for mine, theirs, group in groups]
        strange = [len(labels) > len(mine) for (labels, _), mine in zip(found, self.labels, strict=True)]
        gone = other
        try:
            if any(strange):
                raise ValueError(f"it has levels of {self.plan.groups[strange.index(True)].name!r} of its own")
            gone = replace(other, sums=other.sums.placed([places[1] for _, places in found], self.sums.sizes))
            gone = gone._carried(self.v, self.u)
            sums, extras = self.sums - gone.sums, _without(self.extras, gone.extras)
        except ValueError as error:
            raise DataError(
                f"this part was not made from the sums of {', '.join(map(repr, other.sites))}: {error}"
            ) from error
        left = [np.flatnonzero(count) for count in sums.counts]
        return replace(
            self,
            sites=tuple(site for site in self.sites if site not in other.sites),
            sums=sums.kept(left),
            labels=tuple(tuple(labels[i] for i in keep) for labels, keep in zip(self.labels, left, strict=True)),
            extras=extras,
        )

    def _check_plan(self, other: Part) -> None:
        differences = self.plan.differences(other.plan)
        if differences:
            raise DataError(
                f"{', '.join(map(repr, other.sites))} summed up another model than {', '.join(map(repr, self.sites))}, "
                f"so that their sums do not go together: {differences}"
            )

    def _carried(self, v: Constants, u: tuple[Constants, ...]) -> Part:
        """The same with other constants."""
        to_v = self.v.onto(v)
        root = self.extras.root_of_x
        if root is not None:
            root = root @ to_v[:-1, :-1]
        return replace(
            self,
            v=v,
            u=u,
            sums=self.sums.carried([old.onto(new) for old, new in zip(self.u, u, strict=True)], to_v),
            extras=replace(self.extras, root_of_x=root),
        )


def _added(a: Extras, b: Extras) -> Extras:
    root = a.root_of_x
    if root is not None and b.root_of_x is not None:
        root = with_rows(root, b.root_of_x)
    values = {
        name: tuple(sorted({*a.number_values[name], *b.number_values[name]}))
        for name in a.number_values
        if name in b.number_values
    }
    return Extras(
        root,
        a.offset_sum + b.offset_sum,
        a.n_zero_weight + b.n_zero_weight,
        {name: total + b.number_sums[name] for name, total in a.number_sums.items()},
        {name: found for name, found in values.items() if len(found) <= 2},
        {key: seen | b.together[key] for key, seen in a.together.items()},
    )


def _without(a: Extras, b: Extras) -> Extras:
    """Without the sums of ``b``; what occurred stays."""
    root = a.root_of_x
    if root is not None and b.root_of_x is not None:
        root = without_rows(root, b.root_of_x)
    return replace(
        a,
        root_of_x=root,
        offset_sum=a.offset_sum - b.offset_sum,
        n_zero_weight=a.n_zero_weight - b.n_zero_weight,
        number_sums={name: total - b.number_sums[name] for name, total in a.number_sums.items()},
    )
