"""Names under which a site publishes the levels of its grouping factors."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from interlace.errors import DataError
from interlace.federated.plans import Label, Plan, plain_label
from interlace.frames.levels import level_text
from interlace.typing import IntArray

__all__ = ["Labels", "Publisher", "joined", "ranks"]

#: Of one grouping factor: for each level its label in each column.
Labels: TypeAlias = tuple[tuple[Label, ...], ...]

#: A shorter secret could be found by trying.
_SHORTEST = 16


@dataclass(frozen=True)
class Publisher:
    """How one site names its levels.

    Attributes
    ----------
    plan : Plan
    site : str
    secret : str or None
        Key of the digests (HMAC with SHA-256: RFC 2104) that stand for labels; None publishes the labels.
    """

    plan: Plan
    site: Any
    secret: Any

    def __post_init__(self) -> None:
        if not isinstance(self.site, str) or not self.site or "/" in self.site:
            raise TypeError(f"site must be a name without '/', not {self.site!r}")
        if self.secret is None:
            return
        if not isinstance(self.secret, str) or len(self.secret) < _SHORTEST:
            raise ValueError(f"secret must be a text of at least {_SHORTEST} characters, such as secrets.token_hex(16)")
        predictors = {*self.plan.levels, *self.plan.numbers} & {*self.plan.parsed.grouping}
        if predictors:
            raise DataError(
                f"the grouping column {min(predictors)!r} is a predictor too, whose values the plan gives in clear: a "
                "secret cannot hide them; use a copy of the column under another name"
            )

    def label(self, column: str, label: Any) -> Label:
        """The published name of a label."""
        if self.secret is not None:
            message = f"{column}\0{level_text(label)}".encode()
            label = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()[:16]
        if column in self.plan.local:
            return f"{self.site}/{level_text(label)}"
        return plain_label(label, f"grouping column {column!r}")


def ranks(labels: Sequence[tuple[Label, ...]]) -> list[int]:
    """Places that sort labels by their text, so that their order says nothing about the rows."""
    return sorted(range(len(labels)), key=lambda level: [(level_text(part), str(type(part))) for part in labels[level]])


def joined(parts: Iterable[Labels], columns: Sequence[str]) -> tuple[Labels, list[IntArray]]:
    """All levels of one factor at several sites, and the place of each site's levels among them.

    Raises
    ------
    DataError
        A column has text at one site and numbers at another.

    Examples
    --------
    >>> joined([(("a",), ("c",)), (("b",), ("c",))], ["ward"])
    ((('a',), ('b',), ('c',)), [array([0, 2]), array([1, 2])])
    """
    parts = list(parts)
    found = list(dict.fromkeys(label for labels in parts for label in labels))
    for i, column in enumerate(columns):
        kinds = {"text" if isinstance(label[i], str) else type(label[i]) is bool for label in found}
        if len(kinds) > 1:
            raise DataError(
                f"grouping column {column!r} holds text at one site and other labels at another; make it one type"
            )
    ordered = tuple(found[i] for i in ranks(found))
    place = {label: i for i, label in enumerate(ordered)}
    return ordered, [np.array([place[label] for label in labels], dtype=np.int64) for labels in parts]
