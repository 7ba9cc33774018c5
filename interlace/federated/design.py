"""Design, problem and means of a fit whose rows are at several sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from interlace.core.crossproducts import Rows
from interlace.errors import ModelError
from interlace.estimate.problem import LinearProblem, Means
from interlace.federated.plans import Encoding
from interlace.frames.design import Design, RandomTerm

if TYPE_CHECKING:
    from interlace.federated.labels import Labels
    from interlace.federated.parts import Part
    from interlace.typing import FloatArray

__all__ = ["FederatedDesign", "FederatedProblem", "no_rows", "refusal"]

#: Rows of the largest frame that stands for the combinations of levels that occur.
_MOST = 100_000
#: Distinct values up to which a numeric column counts as a factor in a reference grid.
_FEW = 2


def refusal() -> ModelError:
    """Error for what needs rows."""
    return ModelError(
        "this fit was made from the sums of several sites, and what was asked for needs their rows. predict(newdata=) "
        "takes rows that you have, interlace.federated.at_site() gives a site the fitted values and residuals of its "
        "own, and interlace.federated.fit() fits the same sums with another method or optimizer"
    )


def no_rows() -> Iterator[Rows]:
    """Refuse to read rows."""
    raise refusal()


def _refused() -> Any:
    def refuse(self: object) -> NoReturn:
        raise refusal()

    return property(refuse, doc="Refused.")


class FederatedTerm(RandomTerm):
    """A term without its rows.

    Parameters
    ----------
    term : RandomTerm
        With the names, levels and structure.
    """

    codes = _refused()
    Z = _refused()

    def __init__(self, term: RandomTerm) -> None:
        known = ("key", "group", "names", "levels", "structure")
        vars(self).update({name: getattr(term, name) for name in known})


class FederatedDesign(Design):
    """A design that has no rows, only what the parts say of them.

    Parameters
    ----------
    encoding : Encoding
        The plan with all levels.
    part : Part
        Of all sites.
    labels : tuple of tuple
        Published names of the levels of each grouping factor of the plan, in the order of the design.
    grouping : DataFrame
        Grouping columns, with rows that show every combination of labels.
    """

    order: tuple[int, ...]
    labels: tuple[Labels, ...]
    _part: Part
    _grouping: pd.DataFrame
    y = X = rows = complete = columns = _refused()

    def __init__(self, encoding: Encoding, part: Part, labels: tuple[Labels, ...], grouping: pd.DataFrame) -> None:
        plan, spec = part.plan, encoding.spec
        vars(self).update(
            formula=encoding.text,
            response=plan.parsed.response.name,
            x_names=spec.x_names,
            terms=tuple(map(FederatedTerm, encoding.terms)),
            trials=None,
            n_zero_weight=part.extras.n_zero_weight,
            x_terms=plan.parsed.x_terms,
            assign=encoding.assign,
            spec=spec,
            all_index=pd.RangeIndex(part.n),
            order=encoding.order,
            labels=labels,
            _part=part,
            _grouping=grouping,
        )

    @property
    def has_rows(self) -> bool:
        """No."""
        return False

    @property
    def n(self) -> int:
        """Number of rows of all sites."""
        return self._part.n

    @property
    def weights(self) -> None:
        """None, where there are no weights."""
        if self._part.plan.weights is not None:
            raise refusal()

    @property
    def offset(self) -> None:
        """None, where there is no offset."""
        if self._part.plan.offset is not None or self._part.plan.parsed.offsets:
            raise refusal()

    @property
    def root_of_x(self) -> FloatArray:
        """Triangular factor of X, not weighted, shape (p, p)."""
        part = self._part
        root = part.sums.root[:-1, :-1] if part.extras.root_of_x is None else part.extras.root_of_x
        return root @ part.v.raw[:-1, :-1]

    @property
    def mean_offset(self) -> float:
        """Mean of the offset."""
        return self._part.extras.offset_sum / self.n

    @property
    def frame_of_levels(self) -> pd.DataFrame:
        """Made-up rows that show every level."""
        predictors, grouping = self._part.plan.witnesses, self._grouping
        m = max(len(predictors), len(grouping))
        columns: dict[str, Any] = {name: np.resize(grouping[name].to_numpy(), m) for name in map(str, grouping)}
        places = np.arange(m) % max(len(predictors), 1)
        return pd.DataFrame(columns | {name: predictors[name].array.take(places) for name in map(str, predictors)})

    @property
    def frame_of_grid(self) -> pd.DataFrame:
        """Rows with the levels that occur together, pair by pair, and with the means of the numeric columns."""
        plan, extras = self._part.plan, self._part.extras
        values: dict[str, Sequence[Any]] = {a: plan.levels[a] for a, b in extras.together if a == b}
        values |= extras.number_values
        sizes = [len(found) for found in values.values()]
        if np.prod(sizes, dtype=np.float64) > _MOST:
            raise refusal()
        combinations = list(product(*map(range, sizes)))
        codes = np.array(combinations, dtype=np.int64).reshape(len(combinations), len(sizes))
        place = {name: j for j, name in enumerate(values)}
        for (a, b), seen in extras.together.items():
            codes = codes[seen[codes[:, place[a]], codes[:, place[b]]]]
        columns: dict[str, Any] = {}
        codes = np.tile(codes, (_FEW + 1, 1))
        for name, found in values.items():
            index = pd.Index(list(found))
            chosen = codes[:, place[name]]
            columns[name] = pd.Categorical.from_codes(chosen, index) if name in plan.levels else index.take(chosen)
        for name, total in extras.number_sums.items():
            if name not in values:
                mean = total / self.n
                numbers = np.full(len(codes), mean)
                numbers[:2] += np.array([-0.5, 0.5]) * (abs(mean) or 1.0)  # three distinct values: not a factor
                columns[name] = numbers
        return pd.DataFrame(columns, index=range(len(codes)))

    def pieces(self) -> NoReturn:
        """Refused."""
        raise refusal()


@dataclass(frozen=True)
class FederatedProblem(LinearProblem):
    """A linear model whose cross-products were summed up site by site."""

    def means(self, beta: FloatArray, modes: Sequence[FloatArray]) -> Means:
        """Means at given coefficients and modes, which sites alone can compute."""
        return FederatedMeans()


@dataclass(frozen=True)
class FederatedMeans:
    """Means of the rows, which are not here."""

    @property
    def fixed(self) -> FloatArray:
        """Refused."""
        raise refusal()

    @property
    def fitted(self) -> FloatArray:
        """Refused."""
        raise refusal()
